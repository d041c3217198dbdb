from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import fields
from kard_ray.knowledge.readers.fields import FieldMapping, check_columns, document_of
from kard_ray.runtime.errors import UserError

EVERYTHING = FieldMapping(
    id="doc", title="head", text=["abstract", "body"], source="from", language="lang", date="day"
)
ROW = {"doc": 7, "head": "T", "abstract": "A", "body": "B", "from": "S", "lang": "en", "day": "2024-01-31"}


def test_every_field_can_be_mapped():
    assert document_of(ROW, EVERYTHING, "f:1") == Document(
        source_id="7", title="T", text="A\nB", source="S", language="en", date=datetime.date(2024, 1, 31)
    )


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_what_is_not_needed_may_be_blank(blank):
    row = {**ROW, "head": blank, "abstract": blank, "from": blank, "lang": blank, "day": blank}
    assert document_of(row, EVERYTHING, "f:1") == Document(source_id="7", title="", text="B")


@pytest.mark.parametrize(
    ("value", "day"),
    [
        ("2024-01-31", datetime.date(2024, 1, 31)),
        (" 20240131 ", datetime.date(2024, 1, 31)),
        ("2024-01-31T23:30:00-08:00", datetime.date(2024, 1, 31)),
        ("2024-01-31 10:00:00.5Z", datetime.date(2024, 1, 31)),
        (datetime.date(1, 1, 1), datetime.date(1, 1, 1)),
        (datetime.datetime(2024, 1, 31, 10, tzinfo=datetime.UTC), datetime.date(2024, 1, 31)),
    ],
)
def test_a_date_is_read_from_text_date_or_datetime(value, day):
    found = document_of({**ROW, "day": value}, EVERYTHING, "f:1")
    assert isinstance(found, Document)
    assert found.date == day
    assert type(found.date) is datetime.date


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"day": "31.1.2024"}, "field day: expected a date such as 2024-01-31, got '31.1.2024'"),
        ({"day": "2024-02-30"}, "field day"),
        ({"day": 2024}, "field day"),
        ({"day": True}, "field day"),
        ({"doc": 1.0}, "field doc: expected an integer or text that is not empty, got 1.0"),
        ({"doc": False}, "field doc"),
        ({"doc": Decimal(1)}, "field doc"),
        ({"lang": 5}, "field lang: expected text or nothing, got 5"),
        ({"from": ["x"]}, "field from"),
        ({"abstract": 5}, "field abstract"),
        ({"abstract": " ", "body": None}, "field abstract, body: all are empty"),
        ({"body": b"bytes"}, "field body"),
        ({"lang": "\udc80"}, "field lang: half of a surrogate pair or bytes that are not UTF-8"),
    ],
)
def test_a_bad_value_names_its_column(change, reason):
    found = document_of({**ROW, **change}, EVERYTHING, "f:1")
    assert isinstance(found, BadRow)
    assert found.reason.startswith(reason)
    assert len(found.reason) < 300


@pytest.mark.parametrize("column", ROW)
def test_a_row_without_a_mapped_column_says_what_it_has(column):
    row = {name: value for name, value in ROW.items() if name != column}
    found = document_of(row, EVERYTHING, "f:1")
    assert isinstance(found, BadRow)
    assert found.reason == (f"field {column}: the row does not have it; its fields are: {', '.join(row)}")


def test_without_an_id_column_the_id_is_a_hash_of_title_and_text():
    def found(title, text):
        row = {"title": title, "text": text}
        document = document_of(row, FieldMapping(id=None), "f:1")
        assert isinstance(document, Document)
        return document.source_id

    assert found("a", "b") == found("a", "b")
    assert (
        len({found("a", "b"), found("", "a b"), found("b", "a"), found("a b", "c"), found("a", "b c")}) == 5
    )
    assert found("a", "b") == "3554d2b8a1e340990538"  # it may never change: passages are resumed by id


def test_texts_are_limited_in_every_field(monkeypatch):
    monkeypatch.setattr(fields, "MAX_DOCUMENT_CHARACTERS", 10)
    mapping = FieldMapping(text=["a", "b"])
    good = {"id": "x" * 10, "title": "x" * 10, "a": "x" * 4, "b": "x" * 5}
    assert isinstance(document_of(good, mapping, "f:1"), Document)
    for change in ({"id": "x" * 11}, {"title": "x" * 11}, {"a": "x" * 11}, {"b": "x" * 6}):
        found = document_of({**good, **change}, mapping, "f:1")
        assert isinstance(found, BadRow)
        assert "11 characters, at most 10 are allowed" in found.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = {"id": JSON, "title": JSON, "text": JSON, "source": JSON, "language": JSON, "date": JSON}


@given(
    JSON | st.fixed_dictionaries({}, optional=KEYS),
    st.sampled_from(
        [
            FieldMapping(),
            FieldMapping(id=None, title=None),
            FieldMapping(text=["text", "title"], source="source", language="language", date="date"),
        ]
    ),
)
def test_no_json_value_breaks_it_and_what_comes_out_can_be_written(row, mapping):
    found = document_of(row, mapping, "f:1")
    if isinstance(found, Document):
        assert found.source_id.strip()
        assert found.text.strip()
        pa.array([found.source_id, found.title, found.text, found.source, found.language], pa.string())
        pa.array([found.date], pa.date32())
    else:
        pa.array([found.where, found.reason], pa.string())
        assert len(found.reason) < 300


def test_columns_are_checked_against_a_header():
    check_columns(EVERYTHING, [*ROW, "more"], where="a.csv")
    check_columns(FieldMapping(), ["id", "text"], where="a.csv")  # a title is not needed by default
    wrong = FieldMapping(title="heading", text=["text", "body"], date="when")
    with pytest.raises(UserError) as error:
        check_columns(wrong, ["text", "id", "id"], where="a.csv")
    found = [
        line.removeprefix("recipe field knowledge.corpus.fields.") for line in str(error.value).split("\n")
    ]
    columns = "its columns are: text, id, id"
    assert found == [
        f"id: a.csv has 2 columns 'id'; {columns}; with null, ids are made from title and text.",
        f"title: a.csv has no column 'heading'; {columns}.",
        f"date: a.csv has no column 'when'; {columns}.",
        f"text: a.csv has no column 'body'; {columns}.",
    ]


@pytest.mark.parametrize("wrong", [{"id": ""}, {"text": []}, {"text": [""]}, {"text": None}, {"body": "x"}])
def test_a_mapping_that_names_nothing_is_refused(wrong):
    with pytest.raises(ValidationError) as error:
        FieldMapping(**wrong)
    assert error.value.error_count() == 1


def test_a_mapping_survives_json():
    assert FieldMapping.model_validate(EVERYTHING.model_dump(mode="json")) == EVERYTHING
