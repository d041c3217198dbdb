"""A BERT-like encoder and its tokenizer: what all rerankers are made of.

Token ids outside this file are plain: special tokens are put around them here, in the encoder's own way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.quiet import quiet_transformers

Ids = Sequence[int]

_GRID = 16  # tokens; fewer shapes, and so more blocks of memory that can be used again


@dataclass(frozen=True, slots=True)
class Padded:
    """Token ids of N texts, padded on the right to L tokens."""

    id_NL: Tensor
    mask_NL: Tensor  # 1 where there is a token
    type_NL: Tensor | None = None  # 0 and 1 for the two texts of a pair, where the encoder tells them apart

    def to(self, device: torch.device) -> Padded:
        """The same on ``device``."""
        types = None if self.type_NL is None else self.type_NL.to(device)
        return Padded(self.id_NL.to(device), self.mask_NL.to(device), types)


class TextEncoder(torch.nn.Module):
    """Tokens to vectors."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._most = getattr(model.config, "max_position_embeddings", None) or 1 << 30
        self._single = _around(tokenizer)
        self._pair = _around(tokenizer, pair=True)

    @property
    def hidden(self) -> int:
        """Numbers of one token's vector."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def tokens(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Plain token ids of each text: at most ``limit`` with the special tokens that will be put around them."""
        if not texts:
            return []
        room = limit - len(self._single[0]) - len(self._single[1])
        found = self.tokenizer(
            list(texts), add_special_tokens=False, truncation=True, max_length=room, verbose=False
        )
        return [list(ids) for ids in found["input_ids"]]

    def single(self, texts: Sequence[Ids]) -> Padded:
        """Texts, each for itself."""
        before, after = self._single
        return self._padded([[*before, *ids, *after] for ids in texts])

    def pairs(self, pairs: Sequence[tuple[Ids, Ids]]) -> Padded:
        """Two texts in one sequence."""
        before, between, after = self._pair
        rows = [[*before, *first, *between, *second, *after] for first, second in pairs]
        padded = self._padded(rows)
        if getattr(self.model.config, "type_vocab_size", 0) < 2:
            return padded
        type_NL = torch.zeros_like(padded.id_NL)
        # The separators between them belong to the first text, but for its last one in encoders that write two.
        for row, (first, second) in enumerate(pairs):
            begin = len(before) + len(first) + len(between)
            type_NL[row, begin : begin + len(second) + len(after)] = 1
        return Padded(padded.id_NL, padded.mask_NL, type_NL)

    def _padded(self, rows: Sequence[Ids]) -> Padded:
        # To a multiple of 16: with another shape at every step a trainer grew to 5.1 GB in an epoch, so to 4.1.
        longest = min(-(-max(map(len, rows)) // _GRID) * _GRID, max(self._most, *map(len, rows)))
        id_NL = torch.full((len(rows), longest), self.pad)
        mask_NL = torch.zeros((len(rows), longest), dtype=torch.long)
        for row, ids in enumerate(rows):
            id_NL[row, : len(ids)] = torch.tensor(ids)
            mask_NL[row, : len(ids)] = 1
        return Padded(id_NL, mask_NL)

    def forward(self, texts: Padded) -> Tensor:
        """``[N, L, hidden]``; where the mask is 0, nothing of meaning."""
        more = {} if texts.type_NL is None else {"token_type_ids": texts.type_NL}
        found = self.model(input_ids=texts.id_NL, attention_mask=texts.mask_NL, **more)
        return found.last_hidden_state

    def prefer_products(self) -> None:
        """Attend by matrix products: for short texts on CPUs, there and back, they are faster than PyTorch's kernel."""
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        base.set_attn_implementation("eager")

    def save(self, folder: str) -> None:
        """As transformers writes a model and its tokenizer; an adapter is merged into its base."""
        model = self.model
        if hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
            self.model = model
        model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)


def require_encoder(path: str) -> Any:
    """The configuration of the model in ``path``; raises UserError when it is no BERT-like encoder."""
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise UserError(
            f"field reranker.model: {path} holds a model of type {config.model_type}, expected a BERT-like encoder "
            "(one trained to fill in masked words)."
        )
    return config


def load_encoder(path: str, *, dtype: torch.dtype, dropout: float | None = None) -> TextEncoder:
    """The encoder in the directory ``path``, on the CPU; ``dropout`` takes the place of its own.

    Raises UserError for a model that is no BERT-like encoder, or is not whole.
    """
    config = require_encoder(path)
    if dropout is not None:
        for name, value in config.to_dict().items():
            if "dropout" in name and isinstance(value, int | float):
                setattr(config, name, dropout)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    kind: Any = AutoModel._model_mapping[type(config)]
    # The pooler reads the first token alone, and nothing here reads the pooler.
    more = {"add_pooling_layer": False} if "add_pooling_layer" in signature(kind).parameters else {}
    with quiet_transformers():  # it tells at length of weights that are not read
        model, told = kind.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **more,
        )
    if told["missing_keys"]:
        raise UserError(
            f"field reranker.model: {path} lacks weights that its encoder needs ({min(told['missing_keys'])} and so "
            "on); copy it again."
        )
    return TextEncoder(model, tokenizer)


def most_tokens(path: str) -> int | None:
    """How many tokens the encoder in ``path`` has positions for; None when it sets no limit."""
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    found = getattr(config, "max_position_embeddings", None)
    if found is None:
        return None
    # RoBERTa and its like count positions from behind the padding's.
    offset = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    return int(found) - offset


def with_lora(encoder: TextEncoder, rank: int) -> None:
    """Freeze the encoder and put an adapter on it (KARD's code: alpha twice the rank, dropout 0.1, query and value)."""
    from peft import LoraConfig, get_peft_model
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    encoder.model = get_peft_model(
        encoder.model,
        LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.1,
            target_modules=None if encoder.model.config.model_type in KNOWN else "all-linear",
        ),
    )


def by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of the texts in batches of like length, each of at most ``batch_tokens`` with padding (or one text)."""
    order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    begin = 0
    while begin < len(order):
        count = max(1, batch_tokens // max(1, lengths[order[begin]]))
        yield order[begin : begin + count]
        begin += count


def _around(tokenizer: Any, *, pair: bool = False) -> list[list[int]]:
    """The special tokens before, (between) and after one text, or two."""
    plain = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", "a")["input_ids"] if pair else tokenizer("a")["input_ids"])
    parts: list[list[int]] = [[]]
    at = 0
    while at < len(full):
        if len(parts) <= 1 + pair and full[at : at + len(plain)] == plain:
            parts.append([])
            at += len(plain)
        else:
            parts[-1].append(full[at])
            at += 1
    if len(parts) != 2 + pair:
        raise UserError(
            f"field reranker.model: the tokenizer in {os.path.basename(tokenizer.name_or_path)} puts its special "
            "tokens into texts, not around them; name another encoder."
        )
    return parts
