"""What is checked before a training: packages and GPUs that a recipe asks for, and every row of token ids."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from kard_ray.runtime.errors import UserError
from kard_ray.student.config import StudentConfig

_TRACKERS = {"tensorboard": ("tensorboardX",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}


def check_requirements(config: StudentConfig, *, run_is_local: bool) -> None:
    """Raise UserError when a field asks for a package or a GPU that is not there."""
    if config.quantization == "nf4":
        if config.gpus_per_worker == 0:
            raise UserError(
                "field student.quantization: got nf4, which needs a GPU, but student.gpus_per_worker is 0; set that "
                "to 1, or quantization to none."
            )
        if _missing("bitsandbytes"):
            raise UserError(
                "field student.quantization: got nf4, which needs the package bitsandbytes; run 'pip install "
                "bitsandbytes' on every machine, or set quantization to none."
            )
    for name in config.tracking:
        if missing := [package for package in _TRACKERS[name] if _missing(package)]:
            raise UserError(
                f"field student.tracking: got {name}, which needs {' and '.join(missing)}; run "
                "'pip install kard-ray[tracking]', or take it out of the list (curve.parquet is always written)."
            )
    if "mlflow" in config.tracking and config.mlflow_uri is None and not run_is_local:
        raise UserError(
            "field student.mlflow_uri: it is missing, and MLflow's own file cannot lie in a run directory that is not "
            "a local path; name the address of an MLflow server, or take mlflow out of student.tracking."
        )


def _missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


def check_rows(table: pa.Table, tokenizer: Any) -> None:
    """Raise UserError for a row (schema TRAINING) that would teach something else than its text.

    Each has a target that ends in EOS and has no other, and a prompt with exactly one BOS, at its beginning, when the
    tokenizer writes one.
    """
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    writes_bos = bos is not None and list(tokenizer("a").input_ids)[:1] == [bos]
    columns = (table[name].to_pylist() for name in ("question_id", "prompt_ids", "target_ids"))
    for question_id, prompt, target in zip(*columns, strict=True):
        fault = _fault(prompt, target, bos=bos if writes_bos else None, eos=eos)
        if fault:
            raise UserError(
                f"student.model: its tokenizer makes training rows that cannot be right (question {question_id}: "
                f"{fault}); look at its special tokens and its chat template, or set "
                "student.rendering.template to plain."
            )


def _fault(prompt: Sequence[int], target: Sequence[int], *, bos: int | None, eos: int) -> str:
    """What is wrong with a row, or nothing; ``bos`` is None for a tokenizer that writes none."""
    if not target or target[-1] != eos or list(target).count(eos) != 1:
        return f"its target has {list(target).count(eos)} EOS tokens, expected one, at the end"
    if not prompt:
        return "its prompt is empty"
    if bos is not None and (prompt[0] != bos or list(prompt).count(bos) != 1):
        return f"its prompt has {list(prompt).count(bos)} BOS tokens, expected one, at the beginning"
    if bos is not None and bos != eos and bos in target:
        return "its target has a BOS token"
    return ""
