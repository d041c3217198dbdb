from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.asking import WRITTEN
from kard_ray.evaluation.predict import PREDICTIONS, PredictionConfig, prediction_rows, score
from kard_ray.evaluation.prompts import STUDENT, Manner, StudentPrompts
from kard_ray.evaluation.reading import SAMPLES
from kard_ray.evaluation.searching import KnowledgeSource, SearchHere
from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.student.help import Shot
from kard_ray.student.rendering import RenderingConfig
from tests.knowledge.rows import write_base

QUESTIONS = [
    Question(
        question_id=f"q{n}", split="test", question=f"Which {n}?", options=("Lisbon", "Porto"), answer=n % 2
    )
    for n in range(4)
]
BY_ID = {q.question_id: q for q in QUESTIONS}
SILVER = {"q1": [{"passage_id": "p", "title": "T", "text": "x", "score": 2.0}]}


def sample(*texts: str, option: int | None = None, confidence: float | None = None) -> dict[str, Any]:
    log_probs = None if option is None else [-1.0, -2.0]
    return {"texts": texts, "option": option, "option_log_probs": log_probs, "confidence": confidence}


def written(*rows: list[dict[str, Any]]) -> pa.Table:
    """A row of WRITTEN for each list of samples; an empty list is an error."""
    return pa.Table.from_pylist(
        [
            {
                "prediction_id": f"none/q{n}",
                "question_id": f"q{n}",
                "source": "none",
                "passage_ids": [],
                "samples": samples,
                "calls": [{"prompt_tokens": 5, "generated_tokens": [3, 4]}] * 2 if samples else [],
                "seconds": 0.5,
                "error": "" if samples else "refused",
            }
            for n, samples in enumerate(rows)
        ],
        schema=WRITTEN,
    )


def texts(*of_rows: str) -> pa.Table:
    return written(*([sample(text, confidence=0.75)] for text in of_rows))


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
    table = pa.concat_tables(
        [
            texts("So the answer is Lisbon.", "So the answer is Lisbon.", "I do not know."),
            written([], [], [], []).slice(3),
        ]
    )
    scored, _ = score(table, BY_ID, "text")
    assert scored.schema == PREDICTIONS
    assert scored["prediction"].to_pylist() == [0, 0, None, None]
    assert scored["prediction_text"].to_pylist() == ["Lisbon", "Lisbon", None, None]
    assert scored["correct"].to_pylist() == [True, False, False, False]
    assert scored["confidence"].to_pylist() == [0.75, 0.75, 0.75, None]
    kept = [name for name in WRITTEN.names if name in PREDICTIONS.names]
    assert scored.select(kept) == table.select(kept)


def test_tokens_are_the_sums_over_the_calls() -> None:
    scored, _ = score(texts("So the answer is Lisbon."), BY_ID, "text")
    assert scored["prompt_tokens"].to_pylist() == [10]
    assert scored["generated_tokens"].to_pylist() == [14]


def test_letters_are_read_as_letters() -> None:
    table = texts("So the answer is (A).", "So the answer is (B).", "(C)", "(A) or (B)")
    assert score(table, BY_ID, "letter")[0]["prediction"].to_pylist() == [0, 1, None, None]


def test_open_answers_are_kept_as_text_and_compared_by_value() -> None:
    asked = {
        f"q{n}": Question(question_id=f"q{n}", split="test", question="?", gold="1200") for n in range(3)
    }
    table = texts("6 * 200 = 1200. So the answer is $1,200.00.", "So the answer is 12.", "No idea")
    scored, _ = score(table, asked, "text")
    assert scored.schema == PREDICTIONS
    assert scored["prediction"].to_pylist() == [None] * 3
    assert scored["prediction_text"].to_pylist() == ["1200", "12", None]
    assert scored["correct"].to_pylist() == [True, False, False]


def test_of_two_passes_the_last_one_answers() -> None:
    table = written(
        [sample("One could think that the answer is Lisbon.", "So the answer is Porto.")],
        [sample("So the answer is Lisbon.", "It rains.")],
    )
    scored, _ = score(table, BY_ID, "text")
    assert scored["prediction_text"].to_pylist() == ["Porto", None]
    assert scored["generated_text"].to_pylist()[1] == "So the answer is Lisbon.\nIt rains."


def test_several_samples_vote_and_all_are_kept() -> None:
    said = [
        "I do not know.",
        "So the answer is Porto.",
        "x. So the answer is Lisbon.",
        "So the answer is Lisbon.",
    ]
    table = written([sample(text, confidence=0.1) for text in said], [sample("?"), sample("??")])
    scored, samples = score(table, BY_ID, "text")
    assert scored["prediction_text"].to_pylist() == ["Lisbon", None]
    assert scored["generated_text"].to_pylist() == [said[2], "?"]
    assert scored["confidence"].to_pylist() == [pytest.approx(2 / 3), None]
    assert scored["correct"].to_pylist() == [True, False]
    assert samples.schema == SAMPLES
    assert samples["generated_text"].to_pylist() == [*said, "?", "??"]
    assert samples["prediction_text"].to_pylist() == [None, "Porto", "Lisbon", "Lisbon", None, None]
    assert samples["sample"].to_pylist() == [0, 1, 2, 3, 0, 1]


def test_a_scored_option_is_the_answer_whatever_the_text_says() -> None:
    table = written([sample("The answer is Porto, not that the answer is", option=0, confidence=0.6)])
    (row,) = score(table, BY_ID, "text")[0].to_pylist()
    assert (row["prediction"], row["correct"], row["confidence"]) == (0, True, 0.6)
    assert row["option_log_probs"] == [-1.0, -2.0]


def test_an_open_question_is_searched_for_by_its_text_alone() -> None:
    asked = [Question(question_id="q", split="test", question="How many?", gold="72")]
    (row,) = prediction_rows(asked, ["bm25"], {}, with_options=True).to_pylist()
    assert (row["query"], row["options"]) == ("How many?", [])
    assert "72" not in str(row)


def test_no_question_makes_no_row() -> None:
    assert prediction_rows([], ["none"], {}, with_options=True).num_rows == 0
    predictions, samples = score(texts(), {}, "text")
    assert (predictions.schema, samples.schema) == (PREDICTIONS, SAMPLES)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"votes": 5}, "votes is 5, but sampling.temperature is 0"),
        ({"ask_below": 0.5, "votes": 5, "sampling": {"temperature": 0.7}}, "ask_below needs"),
        ({"ask_below": 0.5, "confidence": False}, "ask_below needs"),
        ({"rounds": [1, 1]}, "a source or a number of rounds stands there twice"),
        ({"rounds": [4]}, "less than or equal to 3"),
        ({"sources": ["bm25", "bm25"]}, "a source or a number of rounds stands there twice"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PredictionConfig.model_validate(fields)


def test_what_further_rounds_search_for_counts_only_where_there_are_some() -> None:
    one, two = ({"rounds": rounds} for rounds in ((1,), (1, 2)))
    passage = {"next_query": "question_and_passage"}
    assert PredictionConfig(**one, **passage).content() == PredictionConfig().content()
    assert PredictionConfig(**two, **passage).content() != PredictionConfig(**two).content()


def test_when_to_ask_for_passages_makes_no_other_prediction() -> None:
    assert PredictionConfig(ask_below=0.5).content() == PredictionConfig().content()


@pytest.fixture(scope="module")
def knowledge_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("knowledge")
    passages = [(f"p{n}", f"Passage {n}", f"Which {n} is {('Lisbon', 'Porto')[n % 2]}.") for n in range(4)]
    write_base(folder, [passages])
    return str(folder)


def of_student(rows: pa.Table, student: int) -> pa.Table:
    return rows.append_column(STUDENT, pa.array([student] * rows.num_rows, pa.int32()))


def test_rows_are_shown_what_their_source_finds_and_no_more(
    llama_folder: Path, knowledge_folder: str
) -> None:
    manner = Manner(
        tokenizer=str(llama_folder),
        rendering=RenderingConfig(),
        form="text",
        passages=1,
        knowledge=KnowledgeSource(knowledge_folder, None, RetrievalConfig()),
    )
    rows = prediction_rows(QUESTIONS, ["none", "silver", "bm25"], SILVER, with_options=False)
    prompts = StudentPrompts([manner], SearchHere([manner.knowledge]))(of_student(rows, 0)).to_pylist()
    shown = {row["prediction_id"]: [p["passage_id"] for p in row["passages"]] for row in prompts}
    assert shown == (
        {f"none/q{n}": [] for n in range(4)}
        | {f"silver/q{n}": ["p"] if n == 1 else [] for n in range(4)}
        | {f"bm25/q{n}": [f"p{n}"] for n in range(4)}
    )
    lengths = {row["prediction_id"]: len(row["prompt_ids"]) for row in prompts}
    assert lengths["bm25/q0"] > lengths["none/q0"] == lengths["silver/q0"]


def test_students_of_one_engine_are_each_asked_in_their_own_manner(llama_folder: Path) -> None:
    plain = Manner(tokenizer=str(llama_folder), rendering=RenderingConfig(), form="text")
    shots = {"": [Shot(question="Why?", options=(), written="So the answer is 4.")]}
    other = Manner(
        tokenizer=str(llama_folder),
        rendering=RenderingConfig(instruction="Be brief."),
        form="letter",
        cues=("Rationale:", "Answer:"),
        shots=shots,
        adapter="/adapter",
    )
    rows = prediction_rows(QUESTIONS[:1], ["none"], {}, with_options=False)
    both = pa.concat_tables([of_student(rows, 0), of_student(rows, 1)])
    found = StudentPrompts([plain, other], SearchHere([None, None]))(both).to_pylist()
    decode = plain.renderer().tokenizer.decode
    assert [row["adapter"] for row in found] == ["", "/adapter"]
    few_shot = "Be brief.\nQuestion: Why?\nSo the answer is 4.\n\nQuestion: Which 0?"
    assert [decode(row["prompt_ids"], skip_special_tokens=True) for row in found] == [
        "Question: Which 0?\nOptions: Lisbon; Porto\nExplanation:",
        f"{few_shot}\nOptions: (A) Lisbon (B) Porto\nRationale:",
    ]
