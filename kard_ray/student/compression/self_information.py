"""Keep the words that a causal language model did not expect (LLMLingua, Selective Context).

The self-information of a token is -log p(token | the tokens before it), in nats: what a model foretells, a
student can do without. Any causal model serves; it need not be the student or the teacher.

LLMLingua compresses a segment after what was kept of the ones before it. Here, as in Selective Context, a text
is read whole, so that one forward pass serves every fraction and the fractions are nested.

In bfloat16 the same text in a batch of another shape has other rounding errors (SmolLM2 on a CPU: 0.02 nats in
the median, up to 0.3), so words of nearly equal information can change places. Batches are cut the same way each
time; a run that is resumed may cut them differently. float32 kept the same words in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kard_ray.runtime.errors import UserError
from kard_ray.student.compression.base import Tokenised, WordCompressor, batches, device_for, padded
from kard_ray.student.compression.config import CompressionConfig

_CAUSAL = ("ForCausalLM", "LMHeadModel")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    """Tokens ``start`` to ``end`` of a text, read at once; those from ``first`` on get their score here."""

    text: int
    start: int
    first: int
    end: int


class SelfInformation(WordCompressor):
    """Compressor: a token's score is its self-information in nats."""

    def __init__(self, model_path: str, config: CompressionConfig) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        super().__init__(model_path)
        settings = AutoConfig.from_pretrained(model_path, local_files_only=True)
        names = settings.architectures or []
        if settings.is_encoder_decoder or not any(name.endswith(_CAUSAL) for name in names):
            raise UserError(
                f"model {model_path!r}: got {', '.join(names) or 'no architecture'}, expected a causal language "
                "model for kind: self_information; name one, or use kind: llmlingua2 with a token classifier."
            )
        self.device = device_for(config.cpus_per_worker)
        model: Any = AutoModelForCausalLM  # its types do not know that .to() takes a device
        self.model = model.from_pretrained(
            model_path, dtype=getattr(torch, config.dtype), local_files_only=True, use_safetensors=True
        )
        self.model.to(self.device).eval()
        self.before = self._before()
        longest = getattr(settings, "max_position_embeddings", None) or config.window_tokens
        self.window_tokens = min(config.window_tokens, longest) - len(self.before)
        self.batch_tokens = config.batch_tokens

    def _before(self) -> list[int]:
        """Ids that every window starts with, since a first token needs something before it.

        What the tokenizer itself puts there (BOS), or else a newline: after it any text may begin, while a start
        token that the tokenizer does not add may open a chat's turn. EOS for a tokenizer without a newline.
        """
        bare = self.tokenizer("a", add_special_tokens=False).input_ids
        whole = self.tokenizer("a").input_ids
        newline = self.tokenizer("\n", add_special_tokens=False).input_ids
        return list(whole[: whole.index(bare[0])] or newline or [self.tokenizer.eos_token_id])

    def scores(self, texts: Sequence[Tokenised]) -> list[list[float]]:
        """Self-information in nats of each token of each text."""
        import torch

        result = [[0.0] * len(text.ids) for text in texts]
        windows = [window for at, text in enumerate(texts) for window in self._windows(at, len(text.ids))]
        skip = len(self.before)
        for group in batches([window.end - window.start + skip for window in windows], self.batch_tokens):
            chosen = [windows[at] for at in group]
            rows = [self.before + texts[w.text].ids[w.start : w.end] for w in chosen]
            with torch.inference_mode():
                logits_BTV = self.model(**padded(rows, self.device), use_cache=False).logits
                for row, logits_TV, window in zip(rows, logits_BTV, chosen, strict=True):
                    first = skip + window.first - window.start  # of the row; the logits before it foretell it
                    nats = torch.nn.functional.cross_entropy(
                        logits_TV[first - 1 : len(row) - 1].float(),
                        torch.tensor(row[first:], device=self.device),
                        reduction="none",
                    )
                    result[window.text][window.first : window.end] = nats.tolist()
        return result

    def _windows(self, text: int, tokens: int) -> list[_Window]:
        """Windows that give every token one score; after the first, a quarter of each is read again as context."""
        size, again = self.window_tokens, self.window_tokens // 4
        windows = [_Window(text=text, start=0, first=0, end=min(size, tokens))] if tokens else []
        while windows and (first := windows[-1].end) < tokens:
            start = first - again
            windows.append(_Window(text=text, start=start, first=first, end=min(start + size, tokens)))
        return windows
