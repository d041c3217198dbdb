"""What a vector retriever pays for a question: one pass of its encoder over the query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kard_ray.evaluation.flops import encoder_flops
from kard_ray.evaluation.model_shape import encoder_shape_of_folder
from kard_ray.runtime.models import ModelRef, ModelStatus, check_model, resolve_model

_SENTENCE_CONFIG = "sentence_bert_config.json"  # where sentence-transformers keeps the longest input


def query_flops(folder: str | Path, queries: Sequence[str], *, prefix: str = "") -> float | None:
    """Mean FLOPs of encoding one of ``queries``, each behind ``prefix``, with the sentence encoder in ``folder``.

    Queries are cut as sentence-transformers cuts them, and not padded. The search itself, which compares the query's
    vector with those that the index keeps near it, is not counted. None when the encoder's architecture is not counted,
    or there is no query.
    """
    from transformers import AutoTokenizer

    shape = encoder_shape_of_folder(folder)
    if shape is None or not queries:
        return None
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    longest = _longest(Path(folder)) or tokenizer.model_max_length
    ids = tokenizer([prefix + query for query in queries], truncation=True, max_length=longest)["input_ids"]
    return sum(encoder_flops(shape, len(tokens)) for tokens in ids) / len(queries)


def query_flops_of_model(ref: ModelRef, queries: Sequence[str], *, prefix: str = "") -> float | None:
    """:func:`query_flops` of an encoder by reference; None also when it is not on this machine."""
    if check_model(ref).status is not ModelStatus.READY:
        return None
    return query_flops(resolve_model(ref).path, queries, prefix=prefix)


def _longest(folder: Path) -> int | None:
    """Tokens of the longest input as sentence-transformers was told; None when it was not."""
    file = folder / _SENTENCE_CONFIG
    if not file.is_file():
        return None
    longest = json.loads(file.read_text()).get("max_seq_length")
    return None if longest is None else int(longest)
