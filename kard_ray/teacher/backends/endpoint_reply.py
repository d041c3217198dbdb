"""What the body of a completion reply says, read strictly: a broken or lying one never becomes a result."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# Tokens that a reply may report beyond what was sent and asked for (hidden system prompts, hidden reasoning). More is
# not believed: one absurd number would use up the budget.
UNSEEN_TOKENS = 100_000
_SHOWN = 300  # characters of a server's own words in an error


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one call."""

    prompt: int = 0
    generated: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(prompt=self.prompt + other.prompt, generated=self.generated + other.generated)

    @property
    def total(self) -> int:
        """Prompt and generated tokens."""
        return self.prompt + self.generated


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One sample of a reply: a text, or what is wrong with it."""

    text: str = ""
    finish_reason: str = ""
    problem: str = ""  # a clause: "its text is empty"
    final: bool = True  # asking again would not help


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One body."""

    choices: Sequence[Choice] = field(default_factory=tuple)
    usage: Usage | None = None  # None: not reported
    problem: str = ""  # why the body as a whole cannot be used; there are no choices then


def estimated_tokens(text: str) -> int:
    """Tokens of ``text`` where nothing counts them: a quarter of its UTF-8 bytes, rounded up."""
    return -(-len(text.encode("utf-8", "replace")) // 4)


def read_answer(body: bytes, *, chat: bool, limit: Usage) -> Answer:
    """Read the body of an HTTP 200; ``limit`` are the most tokens that the call can have used."""
    try:
        tree = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError:
        return Answer(problem="the body is not UTF-8")
    except (ValueError, RecursionError):
        return Answer(problem=f"the body is not JSON, or cut off: {excerpt(body.decode('utf-8'))!r}")
    if not isinstance(tree, dict):
        return Answer(problem=f"the body is a JSON {type(tree).__name__}, not an object")
    if "choices" not in tree and tree.get("error"):  # some gateways put their errors into an HTTP 200
        return Answer(problem=f"an error in place of an answer: {excerpt(error_text(tree))}")
    usage, problem = _usage(tree.get("usage"), limit)
    if problem:
        return Answer(problem=problem)
    found = tree.get("choices")
    if not isinstance(found, list) or not found:
        return Answer(problem="there are no choices in it", usage=usage)
    return Answer(choices=[_choice(item, chat) for item in found], usage=usage)


def _usage(found: Any, limit: Usage) -> tuple[Usage | None, str]:
    if not isinstance(found, dict) or found.get("prompt_tokens") is None:
        return None, "" if found is None or isinstance(found, dict) else "its usage is not an object"
    prompt, generated = found["prompt_tokens"], found.get("completion_tokens", 0)
    for count, most in ((prompt, limit.prompt), (generated, limit.generated)):
        if type(count) is not int or not 0 <= count <= most + UNSEEN_TOKENS:
            shown = excerpt(json.dumps({"prompt_tokens": prompt, "completion_tokens": generated}))
            return None, f"its usage cannot be true: {shown}"
    return Usage(prompt=prompt, generated=generated), ""


def _choice(item: Any, chat: bool) -> Choice:
    if not isinstance(item, dict):
        return Choice(problem="a choice is not an object", final=False)
    reason = item.get("finish_reason")
    reason = reason if isinstance(reason, str) else ""
    message = item.get("message") if chat else item
    if not isinstance(message, dict):
        return Choice(problem="a choice has no message", final=False)
    if reason == "content_filter":
        return Choice(problem="the endpoint's content filter stopped the text")
    text = message.get("content" if chat else "text")
    if text is None or (isinstance(text, str) and not text.strip()):
        if reason == "length":
            return Choice(
                problem="all tokens were used up before any text; raise teacher.sampling.max_tokens"
            )
        if refusal := message.get("refusal"):
            return Choice(problem=f"the model refused: {excerpt(str(refusal))}")
        return Choice(problem=f"its text is {'null' if text is None else 'empty'}", final=False)
    if not isinstance(text, str):
        return Choice(problem=f"its text is a JSON {type(text).__name__}, not a string", final=False)
    if not is_unicode(text + reason):
        return Choice(problem="its text is not valid Unicode", final=False)
    return Choice(text=text, finish_reason=reason[:40])


def is_unicode(text: str) -> bool:
    """False when ``text`` holds half a surrogate pair, which no file or request can carry."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def error_text(tree: Any) -> str:
    """A server's own words in the body of an error: OpenAI's form, vLLM's, FastAPI's, or all of it."""
    if isinstance(tree, dict):
        for name in ("error", "message", "detail"):
            if tree.get(name):
                return error_text(tree[name])
    return tree if isinstance(tree, str) else json.dumps(tree)


def excerpt(text: str) -> str:
    """One line of at most 300 characters that any file can hold."""
    line = re.sub(r"[\s\x00-\x1f]+", " ", text.encode("utf-8", "replace").decode("utf-8")).strip()
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` split in whole numbers in proportion to ``weights`` (positive); they add up to ``total``."""
    whole, parts, given = sum(weights), [], 0
    seen = 0
    for weight in weights:
        seen += weight
        parts.append(total * seen // whole - given)
        given += parts[-1]
    return parts
