from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.registry import FilterSpec, filters_named
from kard_ray.teacher.verification import (
    GENERATION,
    RATIONALES,
    Verdict,
    _blocks,
    _samples,
    count,
    judge,
    judge_block,
    models_of,
    verify,
)

PASSAGES = {
    f"q{n}": [
        {"title": "Chile", "text": "The area of Chile is 756,102."},
        {"title": "", "text": "The area of Norway is 323,802."},
    ]
    for n in range(5)
}
QUESTIONS = {
    f"q{n}": Question(
        question_id=f"q{n}",
        split="train" if n < 3 else "test",
        question="Is Chile larger than Norway?",
        options=("yes", "no"),
        answer=0,
    )
    for n in range(5)
}
GOOD = "756,102 is larger than 323,802. So the answer is yes."
ANOTHER = "756,102 is larger than 323,802. So the answer is no."
INVENTED = "The area of Peru is larger still. So the answer is yes."
FALSE = "323,802 is larger than 756,102. So the answer is yes."
NAMES = ["concludes", "supported", "true_comparisons", "duplicates"]


def written(rows: Sequence[tuple[str, str]], questions: int = 5) -> pa.Table:
    """Rows (text, error), dealt out to the questions in turn."""
    return pa.Table.from_pylist(
        [
            {
                "rationale_id": f"q{n % questions}#{n // questions}",
                "question_id": f"q{n % questions}",
                "split": QUESTIONS[f"q{n % questions}"].split,
                "sample": n // questions,
                "generated_text": text,
                "prompt_tokens": 10 + n,
                "generated_tokens": 5,
                "error": error,
            }
            for n, (text, error) in enumerate(rows)
        ],
        schema=GENERATION,
    )


def sample(text: str) -> Written:
    return Written(
        rationale=text,
        question="Is Chile larger than Norway?",
        options=("yes", "no"),
        answer=0,
        passages=("The area of Chile is 756,102.", "The area of Norway is 323,802."),
        answer_form="text",
    )


def judged(table: pa.Table, names: Sequence[str], **settings: Any) -> pa.Table:
    """What :func:`verify` does, without Ray."""
    blocks = _blocks(table, QUESTIONS, PASSAGES, "text", added=settings.get("added", False))
    plain: Any = filters_named(names)
    found = [_samples(judge_block(block, plain, "text")) for block in blocks]
    empty = pa.schema([pa.field("row", pa.int64()), *RATIONALES]).empty_table()
    return pa.concat_tables([empty, *found]).sort_by("row").drop_columns("row")


def test_the_first_filter_that_objects_gives_name_and_reason() -> None:
    filters: Any = filters_named(NAMES)
    verdicts = judge([sample(text) for text in (GOOD, ANOTHER, INVENTED, FALSE)], filters)
    assert [it.dropped_by for it in verdicts] == ["", "concludes", "supported", "true_comparisons"]
    assert [it.kept for it in verdicts] == [True, False, False, False]
    assert verdicts[1].because == "concludes with another answer"
    assert judge([sample(FALSE)], []) == [Verdict()]


def test_a_repetition_of_a_dropped_sample_is_judged_by_itself() -> None:
    near = [
        sample(f"756,102 is larger than 323,802. {closing}")
        for closing in ("So the answer is no.", "So the answer is yes.")
    ]
    spec = FilterSpec.model_validate({"duplicates": {"near": 0.3}})
    after: Any = filters_named(["concludes", spec])
    assert [it.dropped_by for it in judge(near, after)] == ["concludes", ""]
    before: Any = filters_named([spec, "concludes"])
    assert [it.dropped_by for it in judge(near, before)] == ["concludes", "duplicates"]


ROWS = st.lists(
    st.tuples(
        st.sampled_from([GOOD, ANOTHER, INVENTED, FALSE, "", f" {GOOD}\n"]), st.sampled_from(["", "", "boom"])
    ),
    max_size=15,
)


@given(ROWS, st.integers(1, 5), st.booleans())
def test_no_row_is_lost_moved_or_changed_and_counts_add_up(
    rows: list[tuple[str, str]], questions: int, added: bool
) -> None:
    table = written(rows, questions)
    found = judged(table, NAMES, added=added)
    assert found.schema == RATIONALES
    for name in ("rationale_id", "question_id", "split", "sample", "prompt_tokens", "generated_tokens"):
        assert found[name].to_pylist() == table[name].to_pylist()
    plain = found.to_pylist()
    for row, (text, error) in zip(plain, rows, strict=True):
        assert row["rationale"] == text.strip() or (
            added and row["rationale"].endswith("So the answer is yes.")
        )
        assert row["kept"] == (not row["dropped_by"]) == (not row["dropped_because"])
        assert (row["dropped_by"] == "error") == bool(error)
    counts = count(found)
    kept = {row["question_id"] for row in plain if row["kept"]}
    assert counts == {
        "samples": len(rows),
        "kept": sum(row["kept"] for row in plain),
        "dropped": dict(sorted(Counter(row["dropped_by"] for row in plain if not row["kept"]).items())),
        "questions": len({row["question_id"] for row in plain}),
        "questions_with_rationale": len(kept),
        "questions_without_rationale": sorted({row["question_id"] for row in plain} - kept),
        "prompt_tokens": sum(row["prompt_tokens"] for row in plain),
        "generated_tokens": sum(row["generated_tokens"] for row in plain),
    }


def test_a_text_without_a_closing_sentence_gets_the_gold_one_where_that_is_asked_for() -> None:
    table = written([("756,102 is larger than 323,802.", ""), (ANOTHER, "")])
    found = judged(table, ["concludes"], added=True)
    assert found["rationale"].to_pylist() == [GOOD, ANOTHER]
    assert found["kept"].to_pylist() == [True, False]
    assert judged(table, ["concludes"])["kept"].to_pylist() == [False, False]


def test_blocks_hold_whole_questions_in_any_order_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kard_ray.teacher.verification._BLOCK_SAMPLES", 7)
    table = written([(GOOD, "")] * 23)  # questions are dealt out in turn: none stands together
    blocks = list(_blocks(table, QUESTIONS, PASSAGES, "text", added=False))
    held = [[it["question_id"] for row in block.to_pylist() for it in row["samples"]] for block in blocks]
    assert len(blocks) > 1
    assert sum(len(set(ids)) for ids in held) == 5
    assert sorted(it for ids in held for it in ids) == sorted(table["question_id"].to_pylist())
    assert blocks[0].to_pylist()[0]["passages"] == [
        "Chile: The area of Chile is 756,102.",
        "The area of Norway is 323,802.",
    ]
    monkeypatch.undo()
    dropped = judged(table, ["duplicates"])
    assert dropped["kept"].to_pylist() == [True] * 5 + [False] * 18


def test_the_models_of_filters_are_told_with_their_revisions(llama_folder: Path) -> None:
    spec = FilterSpec.model_validate({"verifier": {"model": str(llama_folder)}})
    ((ref, revision),) = models_of(["concludes", spec]).items()
    assert ref == str(llama_folder)
    assert revision.startswith("dir-")
    assert models_of(["concludes"]) == {}


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    def test_ray_judges_as_one_process_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kard_ray.teacher.verification._BLOCK_SAMPLES", 6)
        rows = [(GOOD, ""), (ANOTHER, ""), (GOOD, "boom"), (INVENTED, ""), (FALSE, ""), ("", "")] * 4
        table = written(rows)
        assert verify(table, QUESTIONS, PASSAGES, NAMES, "text").equals(judged(table, NAMES))
        assert verify(table.slice(0, 0), QUESTIONS, PASSAGES, NAMES, "text") == RATIONALES.empty_table()
        unfiltered = verify(table, QUESTIONS, PASSAGES, [], "text")
        assert unfiltered["kept"].to_pylist() == [not error for _, error in rows]

    def test_a_verifier_judges_in_an_actor_what_the_filters_before_it_kept(self, llama_folder: Path) -> None:
        table = written([(GOOD, ""), (ANOTHER, ""), (FALSE, ""), (f"Surely {GOOD}", "")] * 3)
        spec = FilterSpec.model_validate({"verifier": {"model": str(llama_folder)}})
        found = verify(table, QUESTIONS, PASSAGES, ["concludes", spec, "duplicates"], "text")
        assert found["rationale_id"].to_pylist() == table["rationale_id"].to_pylist()
        plain = judged(table, ["concludes"])
        assert [by == "concludes" for by in found["dropped_by"].to_pylist()] == [
            by == "concludes" for by in plain["dropped_by"].to_pylist()
        ]
        assert (
            "verifier" in found["dropped_by"].to_pylist() or "duplicates" in found["dropped_by"].to_pylist()
        )


def test_a_shaped_rationale_keeps_its_own_conclusion_and_one_that_weighs_only_options_is_dropped() -> None:
    table = written(
        [
            ("Option (B) is wrong. Chile covers more. So the answer is no.", ""),
            ("Option (A) is right. So the answer is yes.", ""),
            ("Chile covers more.", ""),
        ],
        questions=3,
    )
    (block,) = _blocks(table, QUESTIONS, PASSAGES, "text", added=True, supporting=1)
    rows = [row for question in block.to_pylist() for row in question["samples"]]
    assert [(row["rationale"], row["dropped_by"]) for row in rows] == [
        ("Chile covers more. So the answer is no.", ""),  # a wrong conclusion is left to the filters
        ("Option (A) is right. So the answer is yes.", "supporting_sentences"),
        ("Chile covers more. So the answer is yes.", ""),
    ]
