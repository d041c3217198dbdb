from __future__ import annotations

import pytest

from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
from kard_ray.benchmarks.factbook_patterns import PATTERNS
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.registry import filters_named

PASSAGES = (
    "The population of Norway is 5,509,733 (2023 est.). The capital of Norway is Oslo.",
    "The area of Chile is 756,102 square kilometres. The internet country code of Chile is .cl.",
)


def reason(
    rationale: str,
    *,
    by: str = "grounded",
    passages: tuple[str, ...] = PASSAGES,
    question: str = "Is the area of Chile larger than the area of Peru?",
    closing: str = "So the answer is yes.",
) -> str | None:
    written = Written(
        rationale=f"{rationale} {closing}",
        question=question,
        options=("yes", "no"),
        answer=0,
        passages=passages,
        answer_form="text",
    )
    (check,) = filters_named([by])
    return check.reason(written)


@pytest.mark.parametrize(
    "rationale",
    [
        "The area of Chile is 756,102 square kilometres.",
        "The area of Chile is 756102 square kilometres.",  # the same number without its separators
        "Chile has an area of 756,102.",  # "area" is in the passage's sentence
        "The capital of Norway is Oslo. The population of Norway is 5,509,733.",
        "756,102 is larger than 5,509,733.",  # joins two facts: true_comparisons looks at it
        "The area of Chile, 756,102, is larger than that of Norway, 323,802.",
        "This is larger, so it holds.",  # states nothing
        "",
    ],
)
def test_facts_that_stand_in_one_sentence_of_a_passage_are_kept(rationale: str) -> None:
    assert reason(rationale) is None


@pytest.mark.parametrize(
    "rationale",
    [
        "The area of Norway is 756,102 square kilometres.",  # each is in the passages, never together
        "The population of Norway is 756,102.",
        "The internet country code of Chile is Oslo.",
        "The area of Chile is 756,103 square kilometres.",
        "The capital of Chile is Peru.",
        "Tall mountains rise everywhere around Chile.",  # the name alone does not make it said
        "The capital of Norway is Oslo. The area of Norway is 756,102.",
        "The number of airports in Chile is 481 (2013).",  # two numbers and "number" make no comparison
        "The birth rate of Niger is 46.29 births/1,000 population.",
        "The capital of Norway is Norway.",  # the passage names Norway once
        "The number of people in Norway is 5,509,733 of 5,509,733.",
    ],
)
def test_a_fact_that_no_sentence_of_a_passage_states_is_dropped_and_quoted(rationale: str) -> None:
    found = reason(rationale)
    assert found is not None
    assert found.startswith("no passage says: '")
    assert found.removeprefix("no passage says: ").strip("'") in rationale


LISTS = (
    "Main export partners of Chile: China 39%, USA 16%, S. Korea 6%, Brazil 4% (2023). Main imports of Chile: cars.",
    "Languages of Iraq: Arabic (official), Kurdish (official). People from Iraq are called Iraqi.",
)


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("The main export partners of Chile include Brazil 4%.", True),
        ("The main export partners of Chile include Brazil 6%.", False),
        ("The main export partners of Chile include China 39%, the USA 16%, and Brazil 4%.", True),
        ("The main export partners of Chile include China 39% and Peru 4%.", False),
        ("The main export partners of Chile do not include Peru or Brazil.", False),
        ("The main export partners of Chile include cars.", False),  # another list
        ("The main export partners of Chile do not include cars.", True),
        ("The main export partners of Chile do not include the USA.", False),
        ("The official languages of Iraq do not include English.", True),
        ("The official languages of Iraq do not include Kurdish.", False),  # the opposite is said
        ("The official languages of Iraq include Kurdish.", True),
        ("The official languages of Chile do not include Kurdish.", False),  # nothing is said of them
    ],
)
def test_an_item_of_a_list_must_stand_in_it_and_one_that_is_denied_must_not(
    sentence: str, kept: bool
) -> None:
    asked = (
        "Do the official languages, exports and partners of Chile and Iraq include Kurdish, cars or the USA?"
    )
    assert (reason(sentence, passages=LISTS, question=asked) is None) == kept


def test_the_conclusion_is_no_fact_whatever_the_answer_looks_like() -> None:
    stated = "The capital of Norway is Oslo."
    assert reason(stated, closing="So the answer is St. Helena.") is None
    assert reason(stated, closing="So the answer is Washington, D.C.") is None
    assert reason("The capital of Norway is Oslo,", closing="so the answer is St. Helena.") is None


def test_the_last_sentence_is_checked_where_there_is_no_conclusion() -> None:
    assert reason("The capital of Norway is Oslo.", closing="The capital of Chile is Oslo.") is not None


def test_words_of_the_question_may_be_repeated() -> None:
    stated = "The country with the largest harbour has the capital Oslo."
    assert reason(stated) is not None
    assert reason(stated, question="Which country with the largest harbour has this capital?") is None


def test_without_passages_every_fact_is_from_nowhere() -> None:
    assert reason("The capital of Norway is Oslo.", passages=()) is not None
    assert reason("It is so.", passages=()) is None


def test_cites_all_asks_for_a_fact_of_every_passage() -> None:
    one = "The area of Chile is 756,102 square kilometres."
    both = f"The capital of Norway is Oslo. {one}"
    assert reason(both, by="cites_all") is None
    assert reason(one) is None
    found = reason(one, by="cites_all")
    assert found is not None
    assert found.startswith("no fact of this passage is stated: 'The population of Norway is 5,509,733")
    assert reason("The capital of Chile is Oslo.", by="cites_all", passages=()) == reason(
        "The capital of Chile is Oslo.", passages=()
    )


def test_passages_that_say_the_same_are_cited_together() -> None:
    assert reason("The capital of Norway is Oslo.", by="cites_all", passages=(PASSAGES[0],) * 2) is None


@pytest.mark.parametrize("pattern", [pattern for patterns in PATTERNS.values() for pattern in patterns])
def test_the_worked_examples_pass_every_filter(factbook: Factbook, pattern: str) -> None:
    checks = filters_named(["concludes", "supported", "grounded", "cites_all", "true_comparisons"])
    for example in factbook.examples(pattern):
        written = Written(
            rationale=f"{example.rationale} {conclusion(example.options, example.answer, 'text')}",
            question=example.question,
            options=example.options,
            answer=example.answer,
            passages=example.passages,
            answer_form="text",
        )
        assert [check.reason(written) for check in checks] == [None] * len(checks)


@pytest.fixture(scope="module")
def factbook() -> Factbook:
    return Factbook(FactbookConfig(train=0, dev=0, test=0))
