"""A reranker: f(d, x), how useful passage d is for question x (KARD, section 3.2); three architectures, one interface.

    reranker = load_reranker(folder)
    scores = reranker.score(["Is Chad larger than Niger?"], [[passage_text("Chad", "Area: ..."), ...]])

Shape letters: B questions, C candidates of each, N texts, L tokens, D numbers of a vector.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kard_ray.reranker.config import Architecture, RerankerConfig
from kard_ray.reranker.encoder import (
    Ids,
    TextEncoder,
    by_length,
    load_encoder,
    most_tokens,
    require_encoder,
    with_lora,
)
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model

FORMAT = 1
SHAPE_FILE = "reranker.json"  # written last
ENCODER_FOLDER = "encoder"
HEAD_FILE = "head.safetensors"
BATCH_TOKENS = 16_384  # of one forward pass at use
_CHUNK_TOKENS = 4096  # in training, of passages of like length


def passage_text(title: str, text: str) -> str:
    """What a reranker reads of a passage."""
    return f"{title}\n{text}" if title else text


class RerankerShape(Frozen):
    """What is saved beside the weights: enough to use them, and to know where they come from."""

    format: int = FORMAT
    architecture: Architecture
    dimensions: int  # of a vector; 1 for a cross-encoder, whose head gives the score
    normalised: bool
    max_query_tokens: int
    max_passage_tokens: int
    base: str  # the encoder's reference and revision, before training
    base_revision: str
    knowledge_base: dict[str, Any] = {}  # the version whose passages it learned from, as manifests name it


class Reranker(torch.nn.Module, ABC):
    """An encoder and a linear head. What each architecture makes of them is in its own file."""

    architecture: ClassVar[Architecture]

    def __init__(self, encoder: TextEncoder, config: RerankerShape) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.head = torch.nn.Linear(encoder.hidden, config.dimensions, bias=False)
        if config.dimensions == encoder.hidden:
            # Nothing random stands between a sentence encoder and what it knows already.
            torch.nn.init.eye_(self.head.weight)
        else:
            torch.nn.init.orthogonal_(self.head.weight)
        self.head.to(next(encoder.parameters()).dtype)

    # -- training ----------------------------------------------------------------------------------------------------

    def query_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of questions, cut to their limit, without special tokens."""
        return self.encoder.tokens(texts, self.config.max_query_tokens)

    def passage_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of passages (see :func:`passage_text`), likewise."""
        return self.encoder.tokens(texts, self.config.max_passage_tokens)

    @abstractmethod
    def scores(self, query_tokens: Sequence[Ids], passage_tokens: Sequence[Sequence[Ids]]) -> Tensor:
        """float32 ``scores_BC`` with gradients to both sides; 0 where a question has fewer than C passages.

        Raises ValueError when a question has no passage.
        """

    # -- use ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def score(
        self,
        queries: Sequence[str],
        passages: Sequence[Sequence[str]],
        *,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[np.ndarray]:
        """float32 scores of each question's passages, in their order; the passages are encoded now."""

    @torch.no_grad()
    def save(self, folder: str) -> None:
        """Write encoder, head and shape into ``folder``; safetensors only."""
        os.makedirs(folder, exist_ok=True)
        self.encoder.save(os.path.join(folder, ENCODER_FOLDER))
        weights = {name: tensor.contiguous() for name, tensor in self.head.state_dict().items()}
        save_file(weights, os.path.join(folder, HEAD_FILE))
        with open(os.path.join(folder, SHAPE_FILE), "w", encoding="utf-8") as sink:
            sink.write(self.config.model_dump_json(indent=2) + "\n")


def new_reranker(config: RerankerConfig, *, knowledge_base: Mapping[str, Any] | None = None) -> Reranker:
    """The reranker that training starts from, on the CPU.

    Raises UserError when the encoder cannot be had, or as :func:`check_model`.
    """
    model = resolve_model(config.model)
    check_model(config, model.path)
    encoder = load_encoder(
        model.path,
        dtype=torch.bfloat16 if config.precision == "bf16" else torch.float32,
        dropout=config.dropout,
    )
    pair = config.architecture == "cross_encoder"
    shape = RerankerShape(
        architecture=config.architecture,
        dimensions=1 if pair else config.dimensions or encoder.hidden,
        normalised=config.normalised and not pair,
        max_query_tokens=config.max_query_tokens,
        max_passage_tokens=config.max_passage_tokens,
        base=model.ref,
        base_revision=model.revision,
        knowledge_base=dict(knowledge_base or {}),
    )
    reranker = _class_of(config.architecture)(encoder, shape)
    if config.lora_rank:
        with_lora(encoder, config.lora_rank)
    return reranker


def check_model(config: RerankerConfig, path: str) -> None:
    """Raise UserError when the model in ``path`` is no encoder, or has no positions for so many tokens."""
    require_encoder(path)
    pair = config.architecture == "cross_encoder"
    limits = (config.max_query_tokens, config.max_passage_tokens)
    asked, most = sum(limits) if pair else max(limits), most_tokens(path)
    if most is not None and asked > most:
        what = "max_query_tokens and max_passage_tokens together" if pair else "max_passage_tokens"
        if not pair and config.max_query_tokens > config.max_passage_tokens:
            what = "max_query_tokens"
        raise UserError(
            f"field reranker.{what.split()[0]}: {what} ask for {asked} tokens, but {config.model} reads at most "
            f"{most}; lower them."
        )


def load_reranker(folder: str, *, dtype: torch.dtype = torch.float32) -> Reranker:
    """The reranker in ``folder``, on the CPU, for use.

    Raises UserError when there is none, it is not whole, or another version of this program wrote it.
    """
    shape = read_shape(folder)
    where = os.path.join(folder, ENCODER_FOLDER)
    try:
        encoder = load_encoder(where, dtype=dtype)
        reranker = _class_of(shape.architecture)(encoder, shape)
        reranker.head.load_state_dict(load_file(os.path.join(folder, HEAD_FILE)))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the reranker {folder} cannot be read ({' '.join(str(error).split())[:200]}); train it again."
        ) from error
    return reranker.eval()


def read_shape(folder: str) -> RerankerShape:
    """What ``folder`` holds, without its weights; raises UserError as :func:`load_reranker`."""
    path = os.path.join(folder, SHAPE_FILE)
    try:
        with open(path, encoding="utf-8") as source:
            found = json.load(source)
        written = found.get("format")
        if written != FORMAT:
            raise UserError(
                f"the reranker {folder} has format {written}, this program reads {FORMAT}; train it again."
            )
        return RerankerShape.model_validate(found)
    except FileNotFoundError:
        raise UserError(f"{folder} holds no reranker (no {SHAPE_FILE}); train one.") from None
    except (OSError, AttributeError, ValueError, ValidationError) as error:
        raise UserError(
            f"the reranker {folder} is damaged ({SHAPE_FILE}: {' '.join(str(error).split())[:200]}); train it again."
        ) from None


def _class_of(architecture: Architecture) -> type[Reranker]:
    # Imported here: these files import this one.
    from kard_ray.reranker.bi_encoder import BiEncoder
    from kard_ray.reranker.cross_encoder import CrossEncoder
    from kard_ray.reranker.late_interaction import LateInteraction

    kinds: tuple[type[Reranker], ...] = (LateInteraction, CrossEncoder, BiEncoder)
    return next(kind for kind in kinds if kind.architecture == architecture)


def in_chunks(lengths: Sequence[int], score: Callable[[list[int]], Tensor]) -> Tensor:
    """``score_N`` of texts that are scored together with others of like length, which pads little."""
    order: list[int] = []
    parts = []
    for numbers in by_length(lengths, _CHUNK_TOKENS):
        order += numbers
        parts.append(score(numbers))
    if not parts:
        raise ValueError("there is no passage to score")
    place_N = torch.empty(len(order), dtype=torch.long)
    place_N[order] = torch.arange(len(order))
    return torch.cat(parts)[place_N.to(parts[0].device)]


def in_rows(score_N: Tensor, counts: Sequence[int]) -> Tensor:
    """Scores of all passages, one question after the other, as ``scores_BC`` padded with 0."""
    if min(counts, default=0) < 1:
        raise ValueError("a question has no passage to score")
    row_N = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    column_N = torch.cat([torch.arange(count) for count in counts])
    scores_BC = score_N.new_zeros(len(counts), max(counts))
    return scores_BC.index_put((row_N.to(score_N.device), column_N.to(score_N.device)), score_N)
