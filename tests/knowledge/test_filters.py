"""Filters over a real table: what LanceDB finds by the SQL is what the mask says."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path

import lance
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.knowledge.filters import COLUMNS, PassageFilter
from kard_ray.knowledge.fragments import table_uri
from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.retrieval import KnowledgeBase, RetrievalConfig
from tests.knowledge.rows import passage_rows, write_base

SOURCES = ("who", "cdc's", "'; DROP TABLE passages; --", "")
LANGUAGES = ("en", "de")
DATES = (None, datetime.date(2020, 1, 1), datetime.date(2024, 6, 30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("knowledge")
    documents = [
        Document(
            source_id=f"d{n}",
            title="Fever",
            text=f"Fever number {n}.",
            source=s,
            language=language,
            date=date,
        )
        for n, (s, language, date) in enumerate(itertools.product(SOURCES, LANGUAGES, DATES))
    ]
    write_base(path, [passage_rows(documents[:10]), passage_rows(documents[10:])])
    return path


FILTERS = st.builds(
    PassageFilter,
    source=st.lists(st.sampled_from([*SOURCES, "x' OR '1'='1"]), max_size=2).map(tuple),
    language=st.lists(st.sampled_from(LANGUAGES), max_size=2).map(tuple),
    date_from=st.sampled_from(DATES),
    date_to=st.sampled_from(DATES),
)


@given(FILTERS)
def test_the_sql_and_the_mask_agree(folder: Path, chosen: PassageFilter) -> None:
    dataset = lance.dataset(table_uri(str(folder)))
    rows = dataset.to_table(columns=["passage_id", *COLUMNS])
    masked = rows.filter(chosen.mask(rows))["passage_id"].to_pylist()
    found = dataset.to_table(columns=["passage_id"], filter=chosen.where() or None)["passage_id"].to_pylist()
    assert masked == found


@pytest.mark.parametrize("engine", ["memory_mapped", "lancedb"])
@pytest.mark.parametrize(
    "chosen",
    [
        PassageFilter(source=("cdc's",)),
        PassageFilter(source=("'; DROP TABLE passages; --", "who"), language=("de",)),
        PassageFilter(date_from=datetime.date(2024, 1, 1)),
        PassageFilter(date_to=datetime.date(2023, 1, 1), language=("en",)),
        PassageFilter(source=("x' OR '1'='1",)),
        PassageFilter(),
    ],
)
def test_a_search_finds_what_passes_and_nothing_else(
    folder: Path, engine: str, chosen: PassageFilter
) -> None:
    base = KnowledgeBase(str(folder), RetrievalConfig(bm25_engine=engine))
    rows = base.dataset.to_table(columns=["passage_id", *COLUMNS])
    expected = set(rows.filter(chosen.mask(rows))["passage_id"].to_pylist())
    assert set(base.retrieve(["fever"], 100, "bm25", chosen)["passage_id"].to_pylist()) == expected


def test_a_recipes_filter_holds_for_every_search_that_names_none(folder: Path) -> None:
    base = KnowledgeBase(str(folder), RetrievalConfig(filter=PassageFilter(source=("who",))))
    assert base.retrieve(["fever"], 100).num_rows == 6
    assert base.retrieve(["fever"], 100, "bm25", PassageFilter()).num_rows == 24


def test_a_filter_takes_typed_values_only() -> None:
    with pytest.raises(ValidationError):
        PassageFilter.model_validate({"where": "1 = 1"})
    with pytest.raises(ValidationError):
        PassageFilter.model_validate({"date_from": "1 = 1"})
    with pytest.raises(ValidationError):
        PassageFilter.model_validate({"source": [{"sql": "x"}]})
