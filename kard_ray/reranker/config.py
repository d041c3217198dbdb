"""Settings of the reranker: candidates, model, training, and how it is used."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from kard_ray.knowledge.retrieval import Mode
from kard_ray.runtime.config import Frozen, Seed

RERANKER_FOLDER = "reranker"  # of a trained reranker, in its artifact

Architecture = Literal["late_interaction", "cross_encoder", "bi_encoder"]
Loss = Literal["kl", "cross_entropy"]
VectorType = Literal["float32", "float16", "int8"]

_OF_CANDIDATES = ("by_rationale", "by_question", "first_stage", "dev_fraction", "dev_depth")


class RerankerConfig(Frozen):
    """Which reranker is trained, on what, and how it reranks."""

    # `depth`, `first_stage_weight` and `vector_dtype` say how a trained reranker is used: it stays the same.
    EXECUTION = frozenset(
        {
            "micro_batch_tokens", "workers", "cpus_per_worker", "gpus_per_worker", "checkpoint_seconds",
            "max_failures", "depth", "first_stage_weight", "vector_dtype",
        }
    )  # fmt: skip

    model: str = "bundled:minilm"  # a BERT-like encoder, by reference
    architecture: Architecture = "late_interaction"
    # Of a (token) vector; null: the encoder's hidden size
    dimensions: int | None = Field(None, ge=1, le=4096)
    normalised: bool = True  # vectors of length 1 (ColBERT); false: their plain dot product (KARD's code)
    max_query_tokens: int = Field(128, ge=4)  # of the encoder's tokens; longer questions lose their end
    max_passage_tokens: int = Field(256, ge=4)

    by_rationale: int = Field(32, ge=1, le=1000)  # κ1, candidates found by the rationale
    by_question: int = Field(32, ge=0, le=1000)  # κ2, candidates found by the question
    first_stage: Mode = "bm25"  # how the question searches, in training and at use
    dev_fraction: float = Field(0.1, gt=0, lt=1)  # share of the training questions that only measure
    # Passages found by a held-out question that are ranked, with the silver ones
    dev_depth: int = Field(32, ge=1, le=1000)

    loss: Loss = (
        "kl"  # cross_entropy: the candidate that the rationale scores best is right, all others wrong
    )
    rationale_temperature: float = Field(5.0, gt=0)  # τ1 of Q = softmax(rationale's scores / τ1)
    question_temperature: float = Field(1.0, gt=0)  # τ2 of P = softmax(reranker's scores / τ2)
    annealing: bool = True  # both go to their last values during training, as in KARD's code
    last_rationale_temperature: float = Field(1.0, gt=0)
    last_question_temperature: float = Field(0.2, gt=0)
    candidates_per_step: int = Field(8, ge=2, le=2000)  # half found by the rationale, half by the question

    lora_rank: int = Field(0, ge=0, le=512)  # 0: train all of the encoder's weights
    epochs: int = Field(3, ge=1)
    batch_size: int = Field(16, ge=1)  # rationales per optimizer step, over all workers
    micro_batch_tokens: int = Field(4096, ge=1)  # in one worker's forward pass; one rationale at least
    learning_rate: float = Field(1e-4, gt=0)  # peak, after warm-up
    warmup_fraction: float = Field(0.05, ge=0, le=1)  # of all steps
    weight_decay: float = Field(0.01, ge=0)
    max_gradient_norm: float = Field(1.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)  # of the encoder; 0.1 took 40 % of the speed on a CPU
    precision: Literal["bf16", "fp32"] = "bf16"  # bf16: bfloat16 weights with float32 master copies
    workers: int = Field(1, ge=1)  # data-parallel
    cpus_per_worker: int = Field(1, ge=1)  # cores, and torch threads, of one worker
    gpus_per_worker: float = Field(0.0, ge=0)
    checkpoint_seconds: float = Field(300.0, ge=0)  # a killed run loses at most this much training
    max_failures: int = Field(2, ge=0)  # worker failures survived within one run
    seed: Seed = 42

    depth: int = Field(100, ge=1, le=10_000)  # κ*, passages of the first stage that are reranked
    # How much of a candidate's score is the first stage's, both standardised over the question's candidates: a small
    # encoder blurs names that BM25 knows (Wang, Zhuang and Zuccon 2021 interpolate for this reason). 0: as in KARD.
    first_stage_weight: float = Field(0.0, ge=0, lt=1)
    # Of the token vectors of all passages, which are computed before (int8 takes half the room of float16, and has no
    # index for multivector search); null: candidates are encoded when they are asked for
    vector_dtype: VectorType | None = "float16"

    def candidates_content(self) -> dict[str, Any]:
        """What decides the candidate sets."""
        content = self.content()
        return {name: content[name] for name in (*_OF_CANDIDATES, "seed")}

    def training_content(self) -> dict[str, Any]:
        """What decides the reranker that is trained on given candidate sets."""
        return {name: value for name, value in self.content().items() if name not in _OF_CANDIDATES}

    @model_validator(mode="after")
    def _fields_fit_together(self) -> RerankerConfig:
        if self.candidates_per_step > self.by_rationale + self.by_question:
            raise ValueError(
                f"candidates_per_step is {self.candidates_per_step}, but there are at most by_rationale + by_question "
                f"= {self.by_rationale + self.by_question} candidates; lower the one or raise the others"
            )
        if self.architecture == "cross_encoder" and self.dimensions is not None:
            raise ValueError(
                f"dimensions is {self.dimensions}, but a cross_encoder has no vectors; set dimensions to null"
            )
        return self
