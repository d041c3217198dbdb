"""The stage: prompts by pattern, failures apart from rationales, rounds for questions left without one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kard_ray.benchmarks.question import Question, WorkedExample
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.backends.recorded import RecordedConfig
from kard_ray.teacher.config import TeacherConfig
from kard_ray.teacher.filters.registry import FilterSpec
from kard_ray.teacher.grounding import Passages
from kard_ray.teacher.prompt import teacher_messages
from kard_ray.teacher.rationales import Asking, write_rationales

TEXTS = (
    {"title": "Chile", "text": "The area of Chile is 756,102."},
    {"title": "Norway", "text": "The area of Norway is 323,802."},
)
QUESTIONS = [
    Question(
        question_id=f"q{n}",
        split="train" if n < 4 else "test",
        question="Is Chile larger than Norway?",
        options=("yes", "no"),
        answer=0,
        kind="compare",
        pattern=("b", "a")[n % 2],
    )
    for n in range(6)
]
SHOWN: Passages = {q.question_id: TEXTS for q in QUESTIONS}
GOOD = "756,102 is larger than 323,802. So the answer is yes."
ANOTHER = "756,102 is larger than 323,802. So the answer is no."


def example(pattern: str) -> Sequence[WorkedExample]:
    shown = WorkedExample(
        question=f"Of pattern {pattern}?",
        options=("yes", "no"),
        answer=1,
        passages=("It is small. It is not of that pattern.",),
        rationale="It is.",
    )
    return (shown,)


def asking(passages: Passages, **config: Any) -> Asking:
    return Asking(TeacherConfig(**config), "text", example, passages)


class TestAsking:
    def test_opening_and_turn_together_are_the_messages_of_the_prompt(self) -> None:
        ask = asking(SHOWN)
        for question in QUESTIONS:
            item = ask.item(question, range(2))
            assert (item.item_id, item.samples) == (question.question_id, (0, 1))
            assert [*ask.openings[item.opening], {"role": "user", "content": item.turn}] == teacher_messages(
                question=question.question,
                options=question.options,
                answer=question.answer,
                facts=[text["text"] for text in TEXTS],
                examples=example(question.pattern),
                form="text",
            )
        assert len(ask.openings) == 2

    def test_examples_show_passages_only_beside_questions_that_have_some(self) -> None:
        ask = asking({"q0": TEXTS})
        with_facts, without = (ask.item(q, (0,)) for q in (QUESTIONS[0], QUESTIONS[2]))
        assert with_facts.opening != without.opening
        assert "It is small." in json.dumps(ask.openings[with_facts.opening])
        assert "It is small." not in json.dumps(ask.openings[without.opening])

    def test_a_question_without_a_pattern_is_shown_the_examples_of_its_kind(self) -> None:
        assert asking({}).item(replace(QUESTIONS[0], pattern=""), (0,)).opening == "compare"

    def test_a_focused_teacher_is_shown_the_sentences_that_bear_on_the_question(self) -> None:
        long = {"title": "Chile", "text": "Copper is mined. Chile is larger than most."}
        item = asking({"q0": [long]}, focus_sentences=1).item(QUESTIONS[0], (0,))
        assert "Chile is larger than most." in item.turn
        assert "Copper" not in item.turn

    def test_an_open_question_tells_its_gold_answer(self) -> None:
        question = Question(question_id="q", split="train", question="How many?", gold="72", kind="gsm8k")
        assert "Answer: 72" in asking({}).item(question, (0,)).turn


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    run = RunDirectory(str(tmp_path / "run"))
    return run.artifact(ArtifactSpec(stage="rationales", version=1, config={}))


def write(
    artifact: Artifact,
    texts: Mapping[str, Sequence[str]],
    questions: Sequence[Question] = QUESTIONS,
    **config: Any,
) -> Manifest:
    path = Path(artifact.run.path).parent / "teacher.jsonl"
    path.write_text("".join(json.dumps({"id": i, "rationales": list(t)}) + "\n" for i, t in texts.items()))
    settings = {"backend": RecordedConfig(kind="recorded", path=str(path)), "samples": 2} | config
    return write_rationales(
        questions,
        example,
        {},
        SHOWN,
        TeacherConfig(**settings),
        "text",
        artifact,
        Ledger(artifact.run.url("ledger")),
        test_split="test",
    )


def rows(artifact: Artifact, name: str = "rationales") -> list[dict[str, Any]]:
    found: pa.Table = artifact.read_table(f"{name}.parquet")
    return list(found.to_pylist())


POISON = {
    "empty": replace(QUESTIONS[0], question_id="empty", question=" \n"),
    "long": replace(QUESTIONS[0], question_id="long", question="Is it? " * 10_000),
    "half": replace(QUESTIONS[0], question_id="half", question="Is \udcff larger?"),
    "control": replace(QUESTIONS[0], question_id="control", question="Is Chile\x00 larger?"),
    "answer": Question(question_id="answer", split="train", question="How many?", gold=" "),
}


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestStage:
    def test_samples_are_written_verified_and_counted(self, artifact: Artifact) -> None:
        manifest = write(artifact, {q.question_id: [GOOD, ANOTHER] for q in QUESTIONS})
        found = {row["rationale_id"]: row for row in rows(artifact)}
        assert found.keys() == {f"q{n}#{s}" for n in range(4) for s in (0, 1)} | {"q4#0", "q5#0"}
        assert [row["kept"] for name, row in found.items() if name.endswith("#0")] == [True] * 6
        assert {row["dropped_by"] for name, row in found.items() if name.endswith("#1")} == {"concludes"}
        assert manifest.rows == {"rationales": 10, "failures": 0}
        counts = manifest.counts
        assert counts["samples"] == 10 == counts["kept"] + sum(counts["dropped"].values())
        assert (counts["questions"], counts["questions_with_rationale"]) == (6, 6)

    def test_no_test_samples_means_that_test_questions_are_not_asked(self, artifact: Artifact) -> None:
        write(artifact, {q.question_id: [GOOD, GOOD] for q in QUESTIONS}, test_samples=0)
        assert {row["split"] for row in rows(artifact)} == {"train"}

    def test_every_bad_question_is_a_failure_with_a_reason_and_every_good_one_comes_out(
        self, artifact: Artifact
    ) -> None:
        known = {q.question_id: [GOOD, GOOD] for q in QUESTIONS} | {"q2": [GOOD]}
        questions = [*QUESTIONS[:3], *POISON.values(), *QUESTIONS[3:]]
        manifest = write(artifact, known, questions)
        assert {row["question_id"] for row in rows(artifact)} == {f"q{n}" for n in range(6)}
        reasons = {row["rationale_id"]: row["reason"] for row in rows(artifact, "failures")}
        assert reasons.keys() == {f"{name}#{s}" for name in POISON for s in (0, 1)} | {"q2#1"}
        assert "it is empty" in reasons["empty#0"]
        assert "70,005 characters" in reasons["long#0"]
        assert "half a character (U+DCFF)" in reasons["half#1"]
        assert "control character U+0000" in reasons["control#0"]
        assert "its answer is empty" in reasons["answer#1"]
        assert manifest.rows == {"rationales": 9, "failures": 11}
        left = {row["question_id"] for row in rows(artifact, "questions_without_rationale")}
        assert left == set(POISON)

    def test_questions_left_without_a_rationale_are_asked_again(self, artifact: Artifact) -> None:
        texts = {q.question_id: [GOOD, GOOD] for q in QUESTIONS}
        texts |= {"q1": [ANOTHER, ANOTHER, ANOTHER, GOOD], "q2": [ANOTHER] * 6, "q4": [ANOTHER]}
        texts["q3"] = ["", "", GOOD, GOOD]  # its first requests fail
        write(artifact, texts, retry_empty=2)
        by_question: dict[str, list[int]] = {}
        for row in rows(artifact):
            by_question.setdefault(row["question_id"], []).append(row["sample"])
        assert sorted(by_question["q0"]) == [0, 1]
        assert sorted(by_question["q1"]) == [0, 1, 2, 3]
        assert sorted(by_question["q2"]) == [0, 1, 2, 3, 4, 5]
        assert sorted(by_question["q3"]) == [2, 3]
        assert by_question["q4"] == [0]  # a test question's rationale is for the upper bound alone
        left = {row["question_id"] for row in rows(artifact, "questions_without_rationale")}
        assert left == {"q2", "q4"}

    def test_a_text_without_a_conclusion_gets_the_gold_one_where_the_recipe_says_so(
        self, artifact: Artifact
    ) -> None:
        texts = {q.question_id: ["Chile is much the larger country.", ANOTHER] for q in QUESTIONS}
        write(artifact, texts, conclusion="added")
        for row in rows(artifact):
            assert row["kept"] == (row["sample"] == 0)
        assert rows(artifact)[0]["rationale"].endswith("country. So the answer is yes.")

    def test_other_filters_ask_the_teacher_for_nothing_new(self, artifact: Artifact, tmp_path: Path) -> None:
        texts = {q.question_id: [GOOD, ANOTHER] for q in QUESTIONS}
        write(artifact, texts)
        ledger = Ledger(artifact.run.url("ledger"))
        before = sorted(ledger.fs.find(ledger.path))
        again = artifact.run.artifact(ArtifactSpec(stage="rationales", version=1, config={"filters": 2}))
        write(again, texts, filters=(FilterSpec.model_validate("refusal"),))
        assert sorted(ledger.fs.find(ledger.path)) == before
        assert all(row["kept"] for row in rows(again))
