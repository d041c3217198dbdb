from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.teacher.filters.registry import FilterName
from kard_ray.teacher.prompt import TeacherTemplate, prompt_ids, teacher_messages
from kard_ray.teacher.rationales import (
    GENERATION,
    RATIONALES,
    TeacherConfig,
    TeacherRenderer,
    count,
    requests,
    verify,
)

TEXTS = {
    "p1": {"title": "Chile", "text": "The area of Chile is 756,102."},
    "p2": {"title": "Norway", "text": "The area of Norway is 323,802."},
}
QUESTIONS = [
    Question(
        question_id=f"q{n}",
        split="train" if n < 3 else "test",
        question="Is Chile larger than Norway?",
        options=("yes", "no"),
        answer=0,
        kind="compare",
        pattern=("b", "a")[n % 2],
        gold_passages=("p1", "p2", "not in the knowledge base"),
    )
    for n in range(5)
]
BY_ID = {q.question_id: q for q in QUESTIONS}

GOOD = "756,102 is larger than 323,802. So the answer is yes."
ANOTHER = "756,102 is larger than 323,802. So the answer is no."
INVENTED = "The area of Peru is larger still. So the answer is yes."
FALSE = "323,802 is larger than 756,102. So the answer is yes."


def generated(texts: Sequence[str], *, errors: Sequence[str] | None = None) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "rationale_id": f"q{n % 5}#{n // 5}",
                "question_id": f"q{n % 5}",
                "split": BY_ID[f"q{n % 5}"].split,
                "sample": n // 5,
                "generated_text": text,
                "prompt_tokens": 10 + n,
                "generated_tokens": 5,
                "error": errors[n] if errors else "",
            }
            for n, text in enumerate(texts)
        ],
        schema=GENERATION,
    )


def test_every_question_asks_for_its_samples_and_test_questions_for_theirs() -> None:
    config = TeacherConfig(samples=3, test_samples=1)
    rows = requests(QUESTIONS, config, TEXTS, test_split="test").to_pylist()
    assert sorted(row["rationale_id"] for row in rows) == sorted(
        [f"q{n}#{s}" for n in range(3) for s in range(3)] + ["q3#0", "q4#0"]
    )
    assert all(row["rationale_id"] == f"{row['question_id']}#{row['sample']}" for row in rows)
    config = TeacherConfig(samples=3, test_samples=0)
    assert set(requests(QUESTIONS, config, TEXTS, test_split="test")["split"].to_pylist()) == {"train"}


def test_questions_of_a_pattern_and_samples_of_a_question_stand_together() -> None:
    rows = requests(QUESTIONS, TeacherConfig(samples=2), TEXTS, test_split="test").to_pylist()
    patterns = [row["pattern"] for row in rows]
    assert patterns == sorted(patterns)
    ids = [row["question_id"] for row in rows]
    assert len(list(dict.fromkeys(ids))) == sum(a != b for a, b in zip([None, *ids], ids, strict=False))


def test_a_question_without_a_pattern_is_shown_the_examples_of_its_kind() -> None:
    plain = replace(QUESTIONS[0], pattern="")
    assert (
        requests([plain], TeacherConfig(), TEXTS, test_split="test")["pattern"].to_pylist() == ["compare"] * 2
    )


def test_gold_passages_are_shown_only_when_the_teacher_is_grounded() -> None:
    grounded = requests(QUESTIONS, TeacherConfig(grounding="gold"), TEXTS, test_split="test").to_pylist()
    assert {tuple(row["facts"]) for row in grounded} == {(TEXTS["p1"]["text"], TEXTS["p2"]["text"])}
    alone = requests(QUESTIONS, TeacherConfig(grounding="none"), TEXTS, test_split="test").to_pylist()
    assert {tuple(row["facts"]) for row in alone} == {()}


def test_a_focused_teacher_is_shown_the_sentences_that_bear_on_the_question() -> None:
    long = {"p1": {"title": "Chile", "text": "Chile is long. Copper is mined. Chile is larger than most."}}
    config = TeacherConfig(grounding="gold", focus_sentences=1)
    rows = requests(QUESTIONS, config, TEXTS | long, test_split="test").to_pylist()
    assert {tuple(row["facts"]) for row in rows} == {("Chile is larger than most.", TEXTS["p2"]["text"])}


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_the_renderer_writes_each_requests_prompt_with_the_examples_of_its_pattern(
    llama_folder: Path, template: TeacherTemplate
) -> None:
    rows = requests(QUESTIONS, TeacherConfig(samples=1, grounding="gold"), TEXTS, test_split="test")
    examples = {
        name: [
            WorkedExample(
                question=f"Of pattern {name}?",
                options=("yes", "no"),
                answer=1,
                passages=(),
                rationale="It is.",
            )
        ]
        for name in ("a", "b")
    }
    plain = {name: [asdict(example) for example in found] for name, found in examples.items()}
    rendered = TeacherRenderer(str(llama_folder), plain, "text", template)(rows)
    assert rendered.column_names == ["rationale_id", "question_id", "split", "sample", "prompt_ids"]
    assert rendered["rationale_id"] == rows["rationale_id"]
    assert rendered.schema.field("prompt_ids").type == pa.list_(pa.int32())
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    for row, ids in zip(rows.to_pylist(), rendered["prompt_ids"].to_pylist(), strict=True):
        messages = teacher_messages(
            question=row["question"],
            options=row["options"],
            answer=row["answer"],
            facts=[TEXTS["p1"]["text"], TEXTS["p2"]["text"]],
            examples=examples[row["pattern"]],
            form="text",
        )
        assert ids == prompt_ids(tokenizer, messages, template)


def test_the_first_filter_that_objects_gives_the_reason_and_no_row_disappears() -> None:
    names: list[FilterName] = ["concludes", "supported", "true_comparisons"]
    written = generated(
        [f" {GOOD}\n", ANOTHER, INVENTED, FALSE, ""], errors=["", "", "", "", "out of memory"]
    )
    verified = verify(written, BY_ID, TEXTS, names, "text")
    assert verified.schema == RATIONALES
    assert verified["rationale_id"].to_pylist() == written["rationale_id"].to_pylist()
    assert verified["kept"].to_pylist() == [True, False, False, False, False]
    assert verified["dropped_by"].to_pylist() == ["", "concludes", "supported", "true_comparisons", "error"]
    assert verified["dropped_because"][4].as_py() == "out of memory"
    assert verified["rationale"][0].as_py() == GOOD
    assert verified["rationale"][2].as_py() == INVENTED


def test_without_filters_only_errors_are_dropped() -> None:
    written = generated([GOOD, ANOTHER, "", FALSE, ""], errors=["", "", "", "", "refused"])
    assert verify(written, BY_ID, TEXTS, (), "text")["kept"].to_pylist() == [True, True, True, True, False]


@given(st.lists(st.tuples(st.sampled_from([GOOD, ANOTHER, INVENTED, FALSE, ""]), st.booleans()), max_size=15))
def test_counts_add_up(rows: list[tuple[str, bool]]) -> None:
    written = generated([text for text, _ in rows], errors=["boom" if bad else "" for _, bad in rows])
    verified = verify(written, BY_ID, TEXTS, ["concludes", "supported", "true_comparisons"], "text")
    found = count(verified)
    assert found["samples"] == len(rows)
    assert found["kept"] + sum(found["dropped"].values()) == found["samples"]
    assert found["dropped"].get("error", 0) == sum(bad for _, bad in rows)
    assert found["questions_with_rationale"] + len(found["questions_without_rationale"]) == found["questions"]
    assert found["questions"] == len(set(written["question_id"].to_pylist()))
    assert found["prompt_tokens"] == sum(10 + n for n in range(len(rows)))
    assert found["generated_tokens"] == 5 * len(rows)
