"""Keep the words that a token classifier would preserve (LLMLingua-2, section 3.3; SKIntern's compressor).

An encoder that reads both ways gives each token the probability of "preserve", learnt from texts that GPT-4
shortened by leaving words out. The probabilities are averaged to words, and the words of a text are kept from
the top until the fraction is reached: the threshold is a quantile over the whole text.

The `llmlingua` package is not used (0.2.2 of April 2024, its last release): it turns `trust_remote_code` on by
default, downloads a tokenizer of OpenAI's when it starts and measures its quantile in that one's tokens, takes
the quantile in each window alone, knows two models by the names in their paths, and its LLMLingua-1 reads
`past_key_values` by index, which transformers 5 has no longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kard_ray.runtime.errors import UserError
from kard_ray.student.compression.base import Tokenised, WordCompressor, batches, device_for, padded
from kard_ray.student.compression.config import CompressionConfig

_PRESERVE = 1  # the label's number; 0 is "drop"
_SENTENCE_ENDS = (".", "!", "?", "。", "！", "？")
_MARGIN = 2  # positions that RoBERTa's kind counts and cannot use


class LLMLingua2(WordCompressor):
    """Compressor: a token's score is its probability of being preserved."""

    def __init__(self, model_path: str, config: CompressionConfig) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForTokenClassification

        super().__init__(model_path)
        settings = AutoConfig.from_pretrained(model_path, local_files_only=True)
        names = settings.architectures or []
        # Without this check, transformers would put a random classifier on any encoder.
        if not any(name.endswith("ForTokenClassification") for name in names) or settings.num_labels != 2:
            raise UserError(
                f"model {model_path!r}: got {', '.join(names) or 'no architecture'} with {settings.num_labels} "
                "labels, expected a token classifier with two (drop, preserve) for kind: llmlingua2; name one, or "
                "use kind: self_information with a causal language model."
            )
        if self.tokenizer.cls_token_id is None or self.tokenizer.sep_token_id is None:
            raise UserError(f"model {model_path!r}: its tokenizer names no cls_token or no sep_token.")
        self.device = device_for(config.cpus_per_worker)
        self.model: Any = AutoModelForTokenClassification.from_pretrained(
            model_path, dtype=getattr(torch, config.dtype), local_files_only=True, use_safetensors=True
        )
        self.model.to(self.device).eval()
        longest = getattr(settings, "max_position_embeddings", config.window_tokens + _MARGIN) - _MARGIN
        # two for the tokens around a window
        self.window_tokens = min(config.window_tokens, longest, self.tokenizer.model_max_length) - 2
        self.batch_tokens = config.batch_tokens

    def scores(self, texts: Sequence[Tokenised]) -> list[list[float]]:
        """Probability of "preserve" of each token of each text."""
        import torch

        result = [[0.0] * len(text.ids) for text in texts]
        windows = [
            (at, *cut) for at, text in enumerate(texts) for cut in windows_of(text, self.window_tokens)
        ]
        opening, closing = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        for group in batches([end - start + 2 for _, start, end in windows], self.batch_tokens):
            chosen = [windows[at] for at in group]
            rows = [[opening, *texts[text].ids[start:end], closing] for text, start, end in chosen]
            with torch.inference_mode():
                logits_BTL = self.model(**padded(rows, self.device)).logits
                kept_BT = logits_BTL.float().softmax(-1)[..., _PRESERVE].tolist()
            for (text, start, end), kept_T in zip(chosen, kept_BT, strict=True):
                result[text][start:end] = kept_T[1 : 1 + end - start]
        return result


def windows_of(text: Tokenised, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of pieces of at most ``size`` tokens: up to the last full sentence, else the last whole word."""
    sentences = {word.end for word in text.words if word.text.endswith(_SENTENCE_ENDS)}
    words = {word.end for word in text.words}
    start = 0
    while start < len(text.ids):
        limit = min(start + size, len(text.ids))
        end = limit
        if limit < len(text.ids):
            inside = range(start + 1, limit + 1)
            end = max(sentences.intersection(inside), default=0) or max(
                words.intersection(inside), default=limit
            )
        yield start, end
        start = end
