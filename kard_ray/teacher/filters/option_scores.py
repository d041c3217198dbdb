"""How likely a language model finds each of several answers after a prompt.

Causal models read every prompt once and then each answer behind its key-value cache; encoder-decoders encode the
prompt once and decode each answer. Answers may be several tokens long and as many per prompt as one likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from kard_ray.runtime.special_tokens import token_ids_of_text

_BEFORE = "The answer is"  # answers are tokenised behind a word, as they are read


class OptionScorer:
    """A causal or encoder-decoder model that scores answers; on a GPU when there is one."""

    def __init__(self, model_path: str, *, dtype: str, batch_tokens: int) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu":
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
        self.encoder_decoder = bool(
            AutoConfig.from_pretrained(model_path, local_files_only=True).is_encoder_decoder
        )
        kind: Any = AutoModelForSeq2SeqLM if self.encoder_decoder else AutoModelForCausalLM
        self.model = kind.from_pretrained(
            model_path, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
        ).to(self.device)
        self.model.eval()
        self.batch_tokens = batch_tokens
        self._answer_ids = lru_cache(maxsize=4096)(self._ids_of_answer)

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of ``text`` as the model reads a prompt."""
        ids = token_ids_of_text(self.tokenizer, text)
        # Behind an end of text nothing follows; an encoder is used to it.
        return ids[:-1] if not self.encoder_decoder and ids[-1:] == [self.tokenizer.eos_token_id] else ids

    def scores(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[str]], *, per_token: bool
    ) -> list[list[float]]:
        """For each prompt and each of its answers, log P(answer | prompt) in nats; ``per_token``: divided by length.

        Prompts of like length share a forward pass of at most ``batch_tokens`` padded tokens (one prompt at least).
        """
        ids = [[self._answer_ids(answer) for answer in texts] for texts in answers]
        found: list[list[float]] = [[] for _ in prompts]
        for batch in self._batches(prompts):
            forward = self._encoder_decoder if self.encoder_decoder else self._causal
            totals = iter(forward([prompts[at] for at in batch], [ids[at] for at in batch]))
            for at in batch:
                found[at] = [next(totals) / (len(answer) if per_token else 1) for answer in ids[at]]
        return found

    def _ids_of_answer(self, answer: str) -> tuple[int, ...]:
        def encode(text: str) -> list[int]:
            return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)

        if self.encoder_decoder:  # the answer opens the decoder's text
            return tuple(encode(answer))
        return tuple(encode(f"{_BEFORE} {answer}")[len(encode(_BEFORE)) :])

    def _batches(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        batch: list[int] = []
        for at in sorted(range(len(prompts)), key=lambda at: len(prompts[at])):
            if batch and (len(batch) + 1) * len(prompts[at]) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def _causal(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[tuple[int, ...]]]
    ) -> list[float]:
        """Log-probabilities of all answers, prompt by prompt."""
        torch = self.torch
        with torch.inference_mode():
            ids_BP, mask_BP = self._padded(prompts, left=True)  # B prompts of P tokens
            positions_BP = (mask_BP.cumsum(1) - 1).clamp(min=0)
            read = self.model(
                input_ids=ids_BP,
                attention_mask=mask_BP,
                position_ids=positions_BP,
                use_cache=True,
                logits_to_keep=1,
            )
            of_A = torch.tensor([at for at, texts in enumerate(answers) for _ in texts], device=self.device)
            # A answers of T tokens
            ids_AT, mask_AT = self._padded([ids for texts in answers for ids in texts])
            logits_ATV = read.logits[of_A, -1:]
            if ids_AT.shape[1] > 1:
                # The last token of an answer is only predicted, so it is not read.
                cache = read.past_key_values
                cache.batch_select_indices(of_A)
                more = self.model(
                    input_ids=ids_AT[:, :-1],
                    attention_mask=torch.cat([mask_BP[of_A], mask_AT[:, :-1]], 1),
                    position_ids=mask_BP.sum(1)[of_A, None]
                    + torch.arange(ids_AT.shape[1] - 1, device=self.device),
                    past_key_values=cache,
                )
                logits_ATV = torch.cat([logits_ATV, more.logits], 1)
            return self._totals(logits_ATV, ids_AT, mask_AT)

    def _encoder_decoder(
        self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[tuple[int, ...]]]
    ) -> list[float]:
        """Log-probabilities of all answers, prompt by prompt."""
        from transformers.modeling_outputs import BaseModelOutput

        torch = self.torch
        with torch.inference_mode():
            ids_BP, mask_BP = self._padded(prompts)
            encoded_BPH = self.model.get_encoder()(input_ids=ids_BP, attention_mask=mask_BP).last_hidden_state
            of_A = torch.tensor([at for at, texts in enumerate(answers) for _ in texts], device=self.device)
            ids_AT, mask_AT = self._padded([ids for texts in answers for ids in texts])
            start_A1 = torch.full(
                (len(of_A), 1), self.model.config.decoder_start_token_id, device=self.device
            )
            logits_ATV = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=encoded_BPH[of_A]),
                attention_mask=mask_BP[of_A],
                decoder_input_ids=torch.cat([start_A1, ids_AT[:, :-1]], 1),
                use_cache=False,
            ).logits
            return self._totals(logits_ATV, ids_AT, mask_AT)

    def _totals(self, logits_ATV: Any, ids_AT: Any, mask_AT: Any) -> list[float]:
        """Summed over the tokens of each answer."""
        totals: list[float] = []
        for logits_TV, ids_T, mask_T in zip(
            logits_ATV, ids_AT, mask_AT, strict=True
        ):  # float32 of all would be GBs
            logits_TV = logits_TV.float()
            log_p_T = logits_TV.gather(1, ids_T[:, None])[:, 0] - logits_TV.logsumexp(-1)
            totals.append(float((log_p_T * mask_T).sum()))
        return totals

    def _padded(self, rows: Sequence[Sequence[int]], *, left: bool = False) -> tuple[Any, Any]:
        """Ids and mask, padded to the longest row; padding is masked, so any id does."""
        width = max(map(len, rows))
        ids = [[0] * (width - len(r)) + [*r] if left else [*r] + [0] * (width - len(r)) for r in rows]
        mask = [
            [0] * (width - len(r)) + [1] * len(r) if left else [1] * len(r) + [0] * (width - len(r))
            for r in rows
        ]
        return self.torch.tensor(ids, device=self.device), self.torch.tensor(mask, device=self.device)
