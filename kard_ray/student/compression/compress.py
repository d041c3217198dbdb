"""Compression on Ray Data: the symbolic knowledge of every rationale at every stage (SKIntern, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import ray

from kard_ray.runtime.errors import UserError
from kard_ray.student.compression.base import Compressed
from kard_ray.student.compression.config import CompressionConfig
from kard_ray.student.compression.registry import load_compressor

VERSION = 1

_IDS = [
    pa.field("rationale_id", pa.string()),
    pa.field("question_id", pa.string()),
    pa.field("split", pa.string()),
]
_TEXTS = ("summary", "supplement")
_STAGE = [
    pa.field("stage", pa.int32()),  # from 1
    pa.field("asked_fraction", pa.float64()),
    pa.field("achieved_fraction", pa.float64()),  # of both texts together
    pa.field("summary", pa.string()),
    pa.field("supplement", pa.string()),
    pa.field("tokens_before", pa.int32()),  # of both texts, in the compressor's tokens
    pa.field("tokens_after", pa.int32()),
]

STAGES = pa.schema([*_IDS, pa.field("stages", pa.list_(pa.struct(_STAGE)))])
"""What the workers write: one row per rationale, so that unfinished work resumes by ``rationale_id``."""

COMPRESSED = pa.schema([*_IDS, *_STAGE])
"""One row per rationale and stage."""


class CompressingWorker:
    """Columns ids, ``summary`` and ``supplement`` in, STAGES out; an actor's callable."""

    def __init__(self, config: CompressionConfig, model_path: str, fractions: Sequence[float]) -> None:
        self.compressor = load_compressor(config, model_path)
        self.fractions = list(fractions)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Compress each of the two texts by itself; a null is an empty text."""
        texts = [text or "" for name in _TEXTS for text in batch[name].to_pylist()]
        found = self.compressor.compress(texts, self.fractions)
        pairs = zip(found[: batch.num_rows], found[batch.num_rows :], strict=True)
        stages = [
            [
                _stage(number, fraction, *texts)
                for number, (fraction, *texts) in enumerate(zip(self.fractions, *pair, strict=True), start=1)
            ]
            for pair in pairs
        ]
        ids = [batch[field.name] for field in _IDS]
        return pa.table([*ids, pa.array(stages, STAGES.field("stages").type)], names=STAGES.names).cast(
            STAGES
        )


def _stage(number: int, fraction: float, summary: Compressed, supplement: Compressed) -> dict[str, Any]:
    before = summary.tokens_before + supplement.tokens_before
    after = summary.tokens_after + supplement.tokens_after
    return {
        "stage": number,
        "asked_fraction": fraction,
        "achieved_fraction": after / before if before else fraction,  # of nothing, any fraction is kept
        "summary": summary.text,
        "supplement": supplement.text,
        "tokens_before": before,
        "tokens_after": after,
    }


def compression(
    config: CompressionConfig, model_path: str, fractions: Sequence[float]
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """A transform for Ray Data: rows of knowledge to STAGES, on ``config.workers`` models side by side.

    ``config`` is a ``chosen`` one. Fits ``map_resumable``; :func:`by_stage` then makes COMPRESSED of its table.
    """
    return lambda rows: rows.map_batches(
        CompressingWorker,
        fn_constructor_args=(config, model_path, list(fractions)),
        batch_format="pyarrow",
        batch_size=config.batch_rows,
        compute=ray.data.ActorPoolStrategy(size=config.workers),
        num_cpus=config.cpus_per_worker,
        num_gpus=config.gpus_per_worker,
    )


def by_stage(table: pa.Table) -> pa.Table:
    """STAGES in, COMPRESSED out, sorted by rationale and stage."""
    rows = [
        {field.name: row[field.name] for field in _IDS} | stage
        for row in table.to_pylist()
        for stage in row["stages"]
    ]
    return pa.Table.from_pylist(rows, schema=COMPRESSED).sort_by(
        [("rationale_id", "ascending"), ("stage", "ascending")]
    )


def refuse_repeated(table: pa.Table) -> None:
    """Raises UserError if a rationale stands twice in ``table``, which has the column rationale_id."""
    given = table["rationale_id"].to_pylist()
    if len(set(given)) != len(given):
        raise UserError(
            f"compression: got {len(given)} rows with {len(set(given))} rationale ids, expected one row for each "
            "rationale; remove the repeated rows."
        )
