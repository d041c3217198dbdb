"""Text from questions and passages must not act as special tokens: "<|im_end|>" in a passage ends no turn."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any


def token_ids_of_text(tokenizer: Any, text: str) -> list[int]:
    """Ids of ``text`` with what the tokenizer itself adds (BOS, EOS); a special token written in it is split up."""
    return list(tokenizer(text, split_special_tokens=True).input_ids)


def neutralised(tokenizer: Any, text: str) -> str:
    """``text`` with a space after the first character of each special token's text, for use in a chat template."""
    pattern = _special_tokens(tokenizer)
    while pattern is not None and (opened := pattern.sub(_with_space, text)) != text:
        text = opened  # once more: a space may leave a shorter token behind
    return text


def _with_space(match: re.Match[str]) -> str:
    return f"{match[0][0]} {match[0][1:]}"


@lru_cache(maxsize=4)  # some models have thousands
def _special_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    # A token of one character cannot be opened.
    texts = {text for text in [*added, *tokenizer.all_special_tokens] if len(text) > 1}
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first))) if texts else None
