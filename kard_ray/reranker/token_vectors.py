"""Token vectors of all passages, computed once for one reranker and one version of a knowledge base.

Workers encode ranges of passages and write each as a Lance fragment; the driver commits them as one LanceDB table with
a multivector column, in the order of the knowledge base, and lays the same vectors out as flat arrays
(:mod:`kard_ray.reranker.maxsim`), from which candidates are read thirty times as fast. A range that is written has a
record and is not encoded again after a kill.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Literal

import fsspec
import lance
import numpy as np
import pyarrow as pa
from lance.fragment import FragmentMetadata

from kard_ray.knowledge.filters import COLUMNS
from kard_ray.knowledge.fragments import table_uri, write_fragment
from kard_ray.knowledge.versions import Version, find_version
from kard_ray.knowledge.work_files import read_json_files, write_json
from kard_ray.reranker.config import VectorType
from kard_ray.reranker.late_interaction import LateInteraction
from kard_ray.reranker.maxsim import ENDS_FILE, SCALES_FILE, VECTORS_FILE, quantised
from kard_ray.reranker.model import load_reranker, passage_text, read_shape
from kard_ray.reranker.multivector import make_multivector_index
from kard_ray.runtime.artifacts import PARTS, Artifact, Manifest
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError
from kard_ray.runtime.progress import Progress

Precision = Literal["fp32", "bf16"]

VERSION = 1  # of the stage
FORMAT = 1  # of the files
TABLE = "token_vectors"
INFO_FILE = "token_vectors.json"
_UNITS = 64  # a knowledge base is cut in about so many ranges, so that workers end together
# Passages of a range: 2,048 of 100 tokens and 384 numbers take 300 MB as float32
_MIN_ROWS, _MAX_ROWS = (64, 2048)


class TokenVectorsInfo(Frozen):
    """What vectors were made from; those of something else are not used."""

    format: int = FORMAT
    reranker: str  # fingerprint of its files
    knowledge_base: Version
    dtype: VectorType
    dimensions: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What every worker needs; picklable."""

    knowledge_table: str  # URI of the knowledge base's table
    version: int
    reranker: str  # folder
    table: str  # URI of the table of token vectors
    records_url: str
    dtype: VectorType
    precision: Precision
    threads: int
    gpus: float


@dataclass(frozen=True, slots=True)
class Range:
    """Passages ``first`` to ``last`` (not included) as the version's table scans them."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Of its record."""
        return f"{self.first:010}-{self.last:010}"


def plan_ranges(passages: int) -> list[Range]:
    """Ranges of equal size that hold every passage once."""
    size = min(max(-(-passages // _UNITS), _MIN_ROWS), _MAX_ROWS)
    return [Range(first, min(first + size, passages)) for first in range(0, passages, size)]


def fingerprint(folder: str) -> str:
    """16 hex digits of the SHA-256 of all files of a trained reranker."""
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            with path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()} {digest}\n".encode())
    return total.hexdigest()[:16]


def vectors_schema(dimensions: int, dtype: VectorType, passages: pa.Schema) -> pa.Schema:
    """The table's columns: one vector per token, and what searches filter by. Of int8, also a number to multiply by."""
    kind = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8()}[dtype]
    fields = [passages.field("passage_id"), *(passages.field(name) for name in COLUMNS)]
    fields.append(pa.field("vectors", pa.list_(pa.list_(kind, dimensions))))
    if dtype == "int8":
        fields.append(pa.field("scales", pa.list_(pa.float32())))
    return pa.schema(fields)


class TokenVectorWriter:
    """Encodes ranges of passages and writes them as fragments; an actor's callable for rows ``{range}``."""

    def __init__(self, plan: Plan, ranges: Sequence[Range]) -> None:
        import torch

        torch.set_num_threads(plan.threads)
        self.plan, self.ranges = plan, ranges
        dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
        reranker = load_reranker(plan.reranker, dtype=dtype)
        assert isinstance(reranker, LateInteraction)
        self.reranker = reranker.to("cuda") if plan.gpus else reranker
        self.passages = lance.dataset(plan.knowledge_table, version=plan.version)

    def __call__(self, row: dict[str, Any]) -> dict[str, int]:
        """Write one range and its record; returns how many passages it has."""
        part = self.ranges[int(row["range"])]
        table = self.passages.to_table(
            columns=["passage_id", *COLUMNS, "title", "text"],
            offset=part.first,
            limit=part.last - part.first,
        )
        texts = [
            passage_text(row["title"], row["text"]) for row in table.select(["title", "text"]).to_pylist()
        ]
        encoded = self.reranker.encode_passages(texts)
        fragment = write_fragment(self._with_vectors(table, encoded), self.plan.table)
        fs, folder = fsspec.core.url_to_fs(self.plan.records_url)
        fs.makedirs(folder, exist_ok=True)
        record = {"fragment": fragment, "passages": table.num_rows, "tokens": sum(map(len, encoded))}
        write_json(fs, posixpath.join(folder, f"{part.name}.json"), record)
        return {"passages": table.num_rows}

    def _with_vectors(self, table: pa.Table, encoded: Sequence[np.ndarray]) -> pa.Table:
        schema = vectors_schema(encoded[0].shape[1], self.plan.dtype, table.schema)
        begins = pa.array(np.cumsum([0, *map(len, encoded)]), pa.int32())
        vectors_PD = np.concatenate(encoded)
        columns = [table[name] for name in ("passage_id", *COLUMNS)]
        if self.plan.dtype == "int8":
            vectors_PD, scale_P = quantised(vectors_PD)
        elif self.plan.dtype == "float16":
            largest = float(np.abs(vectors_PD).max(initial=0.0))
            if largest > float(np.finfo(np.float16).max):
                raise UserError(
                    f"field reranker.vector_dtype: a vector has the number {largest:.3g}, which float16 cannot hold; "
                    "set float32 or int8."
                )
            vectors_PD = vectors_PD.astype(np.float16)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors_PD.reshape(-1)), vectors_PD.shape[1])
        columns.append(pa.ListArray.from_arrays(begins, flat))
        if self.plan.dtype == "int8":
            columns.append(pa.ListArray.from_arrays(begins, pa.array(scale_P)))
        return pa.table(columns, names=schema.names).cast(schema)


def write_token_vectors(
    artifact: Artifact,
    *,
    folder: str,
    version: str | int | None,
    reranker_folder: str,
    dtype: VectorType,
    precision: Precision = "fp32",
    workers: int = 1,
    threads: int = 1,
    gpus_per_worker: float = 0.0,
) -> Manifest:
    """Token vectors of every passage of ``version`` of the knowledge base in ``folder``.

    ``workers`` are Ray actors with ``threads`` each; 0 encodes in this process, without Ray.
    ``precision`` is the encoder's: bf16 is five times as fast as fp32 on CPUs with bfloat16 instructions, and changes
    scores by less than 1 % (200 passages of the factbook, MiniLM: 0.5 % at most, 0.1 % on average).
    Raises UserError for a reranker that is no late interaction, and when passages are lost on the way.
    """
    shape = read_shape(reranker_folder)
    if shape.architecture != "late_interaction":
        raise UserError(
            f"field reranker.architecture: a {shape.architecture} has no token vectors to compute beforehand; it "
            "reranks without them."
        )
    found = find_version(folder, version)
    plan = Plan(
        knowledge_table=table_uri(folder),
        version=found.number,
        reranker=reranker_folder,
        table=_table_uri(artifact.path),
        records_url=artifact.url(PARTS),
        dtype=dtype,
        precision=precision,
        threads=threads,
        gpus=gpus_per_worker,
    )
    ranges = plan_ranges(found.passages)
    records = _write_ranges(ranges, plan, workers=workers, label=artifact.spec.stage)
    passages = sum(record["passages"] for record in records)
    if passages != found.passages:
        raise UserError(
            f"stage {artifact.spec.stage}: version {found.tag} has {found.passages} passages and {passages} were "
            f"encoded; delete the folder {artifact.path} and run again."
        )
    tokens = sum(record["tokens"] for record in records)
    table = _commit(records, plan, shape.dimensions)
    _check_order(table, plan)
    write_arrays(table, artifact.path, passages=passages, tokens=tokens, dimensions=shape.dimensions)
    indexed = make_multivector_index(artifact.path, TABLE, tokens=tokens) if dtype != "int8" else False
    info = TokenVectorsInfo(
        reranker=fingerprint(reranker_folder),
        knowledge_base=found,
        dtype=dtype,
        dimensions=shape.dimensions,
        tokens=tokens,
    )
    artifact.write_text(INFO_FILE, info.model_dump_json(indent=2) + "\n")
    return artifact.seal(
        rows={TABLE: passages},
        counts={"tokens": tokens, "dimensions": shape.dimensions, "indexed": indexed},
    )


def _write_ranges(ranges: Sequence[Range], plan: Plan, *, workers: int, label: str) -> list[dict[str, Any]]:
    """Encode what has no record yet; returns every range's record, in order."""
    names = [part.name for part in ranges]
    records = read_json_files(plan.records_url, names)
    todo = [part for part in ranges if part.name not in records]
    total = ranges[-1].last
    done = total - sum(part.last - part.first for part in todo)
    if todo:
        if done:
            print(f"{label}: {done} of {total} passages were encoded before and are kept")
        with Progress(label, total=total, unit="passages", done=done) as progress:
            for row in _encoded(todo, plan, workers):
                progress.advance(row["passages"])
        records = read_json_files(plan.records_url, names)
    lost = [part for part in ranges if part.name not in records]
    if lost:
        raise UserError(
            f"stage {label}: {len(lost)} of {len(ranges)} parts were not written; run the same command again: finished "
            "parts are kept."
        )
    return [records[part.name] for part in ranges]


def _encoded(todo: Sequence[Range], plan: Plan, workers: int) -> Iterator[dict[str, Any]]:
    """What is told of each range of ``todo`` when it is written: by Ray actors, or in this process by none."""
    if workers == 0:
        here = TokenVectorWriter(plan, todo)
        yield from (here({"range": at}) for at in range(len(todo)))
        return
    import ray

    writer: Any = TokenVectorWriter
    yield from (
        ray.data.from_items([{"range": at} for at in range(len(todo))], override_num_blocks=len(todo))
        .map(
            writer,
            fn_constructor_args=(plan, todo),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(todo))),
            num_cpus=plan.threads,
            num_gpus=plan.gpus,
        )
        .iter_rows()
    )


def _commit(records: Sequence[dict[str, Any]], plan: Plan, dimensions: int) -> lance.LanceDataset:
    """One commit of all fragments, in order, as the whole table; files of killed workers are removed."""
    knowledge = lance.dataset(plan.knowledge_table, version=plan.version)
    schema = vectors_schema(dimensions, plan.dtype, knowledge.schema)
    fragments = [FragmentMetadata.from_json(json.dumps(record["fragment"])) for record in records]
    table = lance.LanceDataset.commit(plan.table, lance.LanceOperation.Overwrite(schema, fragments))
    table.cleanup_old_versions(timedelta(0), delete_unverified=True)
    return table


def _check_order(table: lance.LanceDataset, plan: Plan) -> None:
    """Raises UserError unless the table's rows are the knowledge base's, in its order: rows are found by number."""
    knowledge = lance.dataset(plan.knowledge_table, version=plan.version)
    one, other = (
        dataset.to_table(columns=["passage_id"])["passage_id"].combine_chunks()
        for dataset in (table, knowledge)
    )
    if not one.equals(other):
        raise UserError(
            f"token vectors {plan.table}: they were written in another order than the passages of "
            f"{plan.knowledge_table}; delete the folder and run again."
        )


def write_arrays(
    table: lance.LanceDataset, folder: str, *, passages: int, tokens: int, dimensions: int
) -> None:
    """The flat arrays of :class:`kard_ray.reranker.maxsim.TokenArrays` from the table, a batch at a time."""
    kind = table.schema.field("vectors").type.value_type.value_type.to_pandas_dtype()
    scaled = "scales" in table.schema.names
    count_N = np.empty(passages, np.int64)
    at = 0
    with open(os.path.join(folder, VECTORS_FILE), "wb") as vectors:
        _header(vectors, (tokens, dimensions), kind)
        for batch in table.to_batches(columns=["vectors"], batch_size=256, scan_in_order=True):
            column = batch["vectors"]
            count_N[at : at + len(column)] = column.value_lengths().to_numpy()
            at += len(column)
            column.flatten().flatten().to_numpy(zero_copy_only=False).tofile(vectors)
    np.save(os.path.join(folder, ENDS_FILE), np.cumsum(count_N))
    if scaled:
        column = table.to_table(columns=["scales"])["scales"].combine_chunks()
        np.save(os.path.join(folder, SCALES_FILE), column.flatten().to_numpy())
    if at != passages or count_N.sum() != tokens:
        raise UserError(
            f"token vectors {folder}: {passages} passages with {tokens} tokens were encoded, and {at} with "
            f"{count_N.sum()} can be read; delete the folder and run again."
        )


def _header(file: BinaryIO, shape: tuple[int, ...], kind: Any) -> None:
    """The first bytes of a .npy file whose values are written piece by piece afterwards."""
    described = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)  # type: ignore[no-untyped-call]


def _table_uri(folder: str) -> str:
    return posixpath.join(folder, f"{TABLE}.lance")


def read_info(folder: str) -> TokenVectorsInfo:
    """What the vectors in ``folder`` were made from; raises UserError when they cannot be read."""
    path = os.path.join(folder, INFO_FILE)
    try:
        with open(path, encoding="utf-8") as source:
            written = json.load(source)
        if written.get("format") != FORMAT:
            raise UserError(
                f"token vectors {folder}: they have format {written.get('format')}, this program reads {FORMAT}; make "
                "them anew with kard-ray token_vectors."
            )
        return TokenVectorsInfo.model_validate(written)
    except (OSError, AttributeError, ValueError) as error:
        raise UserError(
            f"token vectors {folder}: {path} cannot be read ({type(error).__name__}); make them with kard-ray "
            "token_vectors."
        ) from error


def require_matching(folder: str, *, reranker_folder: str, version: Version) -> TokenVectorsInfo:
    """Raises UserError unless the vectors in ``folder`` are those of this reranker and this version's passages."""
    info = read_info(folder)
    if info.knowledge_base != version:
        raise UserError(
            f"token vectors {folder}: they are of version {info.knowledge_base.tag} of the knowledge base, made "
            f"{info.knowledge_base.created} with {info.knowledge_base.passages} passages, and version {version.tag}, "
            f"made {version.created} with {version.passages}, is searched; make them anew with kard-ray token_vectors, "
            "or search the other version."
        )
    if info.reranker != fingerprint(reranker_folder):
        raise UserError(
            f"token vectors {folder}: another encoder than the reranker {reranker_folder} made them; make them anew "
            "with kard-ray token_vectors."
        )
    return info
