"""The passages that a teacher is shown, from a real knowledge base."""

from __future__ import annotations

import pytest

from kard_ray.benchmarks.question import Question
from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.knowledge.versions import find_version
from kard_ray.runtime.errors import UserError
from kard_ray.teacher.grounding import found_passages, gold_passages, require_gold
from tests.knowledge.rows import write_base

PASSAGES = [
    ("p1", "Chile", "The Atacama lies in Chile."),
    ("p2", "Norway", "Norway has deep fjords."),
    ("p3", "Peru", "Lima is the capital of Peru."),
]


def question(name: str, text: str, answer: str, *gold: str) -> Question:
    return Question(
        question_id=name, split="train", question=text, options=(answer, "none"), answer=0, gold_passages=gold
    )


QUESTIONS = [
    question("q1", "Which desert is the driest?", "Atacama", "p1", "not in the knowledge base"),
    question("q2", "Which land has fjords?", "Norway"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("knowledge")
    write_base(path, [PASSAGES])
    return str(path)


def test_gold_passages_are_those_that_the_knowledge_base_holds(folder: str) -> None:
    found = gold_passages(QUESTIONS, folder, version=find_version(folder, None).number)
    assert found == {"q1": [{"title": "Chile", "text": "The Atacama lies in Chile."}], "q2": []}
    assert require_gold(found) is found


def test_gold_grounding_without_a_gold_passage_is_told() -> None:
    with pytest.raises(UserError, match=r"teacher\.grounding: 'gold' needs questions with gold passages"):
        require_gold({"q1": []})


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_search_finds_passages_by_question_and_answer(folder: str) -> None:
    version = find_version(folder, None).number
    found = found_passages(QUESTIONS, folder, version=version, mode="bm25", k=1, config=RetrievalConfig())
    # Of the first question only the answer is in a passage.
    assert {name: [p["title"] for p in rows] for name, rows in found.items()} == {
        "q1": ["Chile"],
        "q2": ["Norway"],
    }
