"""Knowledge bases of given passages, made by the code that finishes a build, without Ray and without an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from kard_ray.knowledge.build import finish_build
from kard_ray.knowledge.config import KnowledgeConfig
from kard_ray.knowledge.cutting import Cutter
from kard_ray.knowledge.fragments import Written, table_uri, write_fragment
from kard_ray.knowledge.idset import IdSet
from kard_ray.knowledge.passage import PASSAGES, Document, embedded
from kard_ray.knowledge.readers.factbook import FactbookCorpus
from kard_ray.knowledge.settings import settings_of, write_settings
from kard_ray.knowledge.versions import Version

CONFIG = KnowledgeConfig(corpus=FactbookCorpus(), embedder=None, workers=1)
DIMENSIONS = 8


def document(identity: str, title: str, text: str) -> Document:
    return Document(source_id=identity, title=title, text=text)


def passage_rows(documents: Iterable[Document]) -> pa.Table:
    """Each document as one passage, schema PASSAGES."""
    rows = []
    for result in Cutter(None, max_characters=20_000)(list(documents)):
        assert isinstance(result, list), result
        rows += result
    return pa.Table.from_pylist(rows, schema=PASSAGES)


def with_vectors(rows: pa.Table, vectors: np.ndarray) -> pa.Table:
    """``rows`` with vectors brought to length 1."""
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    schema = embedded(vectors.shape[1])
    return rows.append_column(schema.field("vector"), column).cast(schema)


def write_unit(rows: pa.Table, folder: Path | str) -> Written:
    """``rows`` as one uncommitted fragment."""
    dimensions = rows.schema.field("vector").type.list_size if "vector" in rows.schema.names else 0
    return Written(
        rows=rows.num_rows,
        ids=IdSet.of(rows["passage_id"].to_pylist()),
        fragment=write_fragment(rows, table_uri(str(folder))),
        embedded=rows.num_rows,
        dimensions=dimensions,
    )


def write_base(
    folder: Path | str,
    parts: Sequence[pa.Table | Sequence[tuple[str, str, str]]],
    config: KnowledgeConfig = CONFIG,
) -> Version:
    """A knowledge base of one fragment per part: tables of passages, or (id, title, text) triples."""
    tables = [
        part if isinstance(part, pa.Table) else passage_rows(document(*triple) for triple in part)
        for part in parts
    ]
    written = [write_unit(table, folder) for table in tables]
    write_settings(str(folder), settings_of(config, None))
    return finish_build(str(folder), config, written)
