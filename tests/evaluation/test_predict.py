from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.predict import (
    GENERATION,
    PREDICTIONS,
    KnowledgeSource,
    StudentPrompts,
    prediction_rows,
    score,
)
from kard_ray.knowledge.retrieval import RetrievalConfig
from tests.knowledge.rows import write_base

QUESTIONS = [
    Question(
        question_id=f"q{n}", split="test", question=f"Which {n}?", options=("Lisbon", "Porto"), answer=n % 2
    )
    for n in range(4)
]
SILVER = {"q1": [{"passage_id": "p", "title": "T", "text": "x", "score": 2.0}]}


def generated(texts: list[str], errors: list[str]) -> pa.Table:
    rows = [
        {
            "prediction_id": f"none/q{n}",
            "question_id": f"q{n}",
            "source": "none",
            "passage_ids": [],
            "generated_text": text,
            "prompt_tokens": 5,
            "generated_tokens": 3,
            "error": error,
        }
        for n, (text, error) in enumerate(zip(texts, errors, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=GENERATION)


def test_every_question_is_asked_once_per_source() -> None:
    rows = prediction_rows(QUESTIONS, ["bm25", "silver"], SILVER, with_options=True).to_pylist()
    assert [row["prediction_id"] for row in rows] == [
        f"{s}/q{n}" for n in range(4) for s in ("bm25", "silver")
    ]
    assert all(row["prediction_id"] == f"{row['source']}/{row['question_id']}" for row in rows)


def test_only_silver_rows_are_given_passages() -> None:
    rows = prediction_rows(QUESTIONS, ["bm25", "silver", "none"], SILVER, with_options=True).to_pylist()
    given = {row["prediction_id"]: row["passages"] for row in rows if row["passages"]}
    assert given == {"silver/q1": SILVER["q1"]}


def test_the_query_never_tells_the_answer() -> None:
    (row, *_) = prediction_rows(QUESTIONS[:1], ["bm25"], {}, with_options=True).to_pylist()
    assert row["query"] == "Which 0? Lisbon Porto"
    (row, *_) = prediction_rows(QUESTIONS[:1], ["bm25"], {}, with_options=False).to_pylist()
    assert row["query"] == "Which 0?"
    assert "answer" not in row


def test_answers_are_read_and_what_cannot_be_read_is_wrong() -> None:
    written = generated(
        ["So the answer is Lisbon.", "So the answer is Lisbon.", "I do not know.", ""],
        ["", "", "", "refused"],
    )
    scored = score(written, {q.question_id: q for q in QUESTIONS}, "text")
    assert scored.schema == PREDICTIONS
    assert scored["prediction"].to_pylist() == [0, 0, None, None]
    assert scored["prediction_text"].to_pylist() == ["Lisbon", "Lisbon", None, None]
    assert scored["correct"].to_pylist() == [True, False, False, False]
    assert scored.select(GENERATION.names) == written


def test_letters_are_read_as_letters() -> None:
    written = generated(["So the answer is (A).", "So the answer is (B).", "(C)", "(A) or (B)"], [""] * 4)
    scored = score(written, {q.question_id: q for q in QUESTIONS}, "letter")
    assert scored["prediction"].to_pylist() == [0, 1, None, None]


def test_open_answers_are_kept_as_text_and_compared_by_value() -> None:
    asked = {
        f"q{n}": Question(question_id=f"q{n}", split="test", question="?", gold="1200") for n in range(4)
    }
    texts = ["6 * 200 = 1200. So the answer is $1,200.00.", "So the answer is 12.", "None.", ""]
    scored = score(generated(texts, [""] * 4), asked, "text")
    assert scored.schema == PREDICTIONS
    assert scored["prediction"].to_pylist() == [None] * 4
    assert scored["prediction_text"].to_pylist() == ["1200", "12", None, None]
    assert scored["correct"].to_pylist() == [True, False, False, False]


def test_an_open_question_is_searched_for_by_its_text_alone() -> None:
    asked = [Question(question_id="q", split="test", question="How many?", gold="72")]
    (row,) = prediction_rows(asked, ["bm25"], {}, with_options=True).to_pylist()
    assert (row["query"], row["options"]) == ("How many?", [])
    assert "72" not in str(row)


def test_no_question_makes_no_row() -> None:
    assert prediction_rows([], ["none"], {}, with_options=True).num_rows == 0
    assert score(generated([], []), {}, "text").schema == PREDICTIONS


@pytest.fixture(scope="module")
def knowledge_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("knowledge")
    passages = [(f"p{n}", f"Passage {n}", f"Which {n} is {('Lisbon', 'Porto')[n % 2]}.") for n in range(4)]
    write_base(folder, [passages])
    return str(folder)


def test_rows_are_shown_what_their_source_finds_and_no_more(
    llama_folder: Path, knowledge_folder: str
) -> None:
    rows = prediction_rows(QUESTIONS, ["none", "silver", "bm25"], SILVER, with_options=False)
    knowledge = KnowledgeSource(knowledge_folder, None, RetrievalConfig())
    prompts = StudentPrompts(str(llama_folder), {}, "text", 1, knowledge)(rows).to_pylist()
    shown = {row["prediction_id"]: row["passage_ids"] for row in prompts}
    assert shown == (
        {f"none/q{n}": [] for n in range(4)}
        | {f"silver/q{n}": ["p"] if n == 1 else [] for n in range(4)}
        | {f"bm25/q{n}": [f"p{n}"] for n in range(4)}
    )
    lengths = {row["prediction_id"]: len(row["prompt_ids"]) for row in prompts}
    assert lengths["bm25/q0"] > lengths["none/q0"] == lengths["silver/q0"]
