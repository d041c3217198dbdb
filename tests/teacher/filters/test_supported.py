from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.rendering import conclusion
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.registry import filters_named
from kard_ray.teacher.filters.supported import Supported, numbers

PASSAGES = (
    "Norway: The population of Norway is 5,509,733 (2023 est.). Oslo is its capital.",
    'Chile: The area of Chile is 756102 square kilometres. Growth was -2.5% in 2010-2015. "The long country."',
    "Côte d'Ivoire: Yamoussoukro is the capital. The U.S. dollar is not used. GDP per head is $5,500.",
)


def reason(rationale: str, *, options: tuple[str, ...] = ("Norway", "Chile")) -> str | None:
    written = Written(
        rationale=rationale,
        question="Which of Norway and Chile has the larger population?",
        options=options,
        answer=0,
        passages=PASSAGES,
        answer_form="text",
    )
    return Supported().reason(written)


@pytest.mark.parametrize(
    "rationale",
    [
        "The population of Norway is 5,509,733. So the answer is Norway.",
        "The population of Norway is 5509733.",  # the same number without its separators
        "The area of Chile is 756,102 square kilometres.",
        "Norway's population is 5,509,733, and Chile's area is 756,102.",
        "Norway’s capital is Oslo.",
        "Growth was -2.5% in 2010.",
        "Growth was 2.5 percent below zero until 2015.",  # a range's end is not a negative number
        "Because it is large, Norway wins. However, Chile is long. Therefore Norway.",
        "It has 5,509,733 people (2023 est.) So the answer is Norway.",
        'It is "The long country." So the answer is Chile.',
        "All is here:\nThe capital is Oslo.\nSo the answer is Norway.",
        "Here is why: The capital is Oslo; So the answer is Norway.",
        "NORWAY is large.",
        "The capital of Côte d'Ivoire is Yamoussoukro.",
        "The U.S. dollar is not used.",
        "It costs $5,500.",
        "",
    ],
)
def test_what_stands_in_the_question_or_the_passages_is_kept(rationale: str) -> None:
    assert reason(rationale) is None


@pytest.mark.parametrize(
    ("rationale", "named"),
    [
        ("The population of Norway is 5,509,734.", "5509734"),
        ("The population of Norway is 509,733.", "509733"),  # the tail of a known number
        ("The population of Norway is 5.", "5"),
        ("The population of Norway is 5.5 million.", "5.5"),
        ("Growth was -2.6%.", "-2.6"),
        ("Growth was 2%.", "2"),
        ("Peru is larger than Norway.", "Peru"),  # a name at a sentence's start
        ("It is larger than Peru.", "Peru"),
        ("Peru's population is larger.", "Peru's"),
        ("It is so. Peru wins.", "Peru"),
        ("The Norwegians know it.", "Norwegians"),
        ("So the answer is Norway, says The Economist.", "Economist"),
        ("The population is known to However.", "However"),  # an opener inside a sentence names something
    ],
)
def test_a_figure_or_name_from_nowhere_is_dropped_and_told(rationale: str, named: str) -> None:
    found = reason(rationale)
    assert found is not None
    assert found.rstrip(".").endswith(f": {named}")


def test_names_of_the_options_are_known() -> None:
    assert reason("It must be Peru.", options=("Norway", "Peru")) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5,509,733 people", ["5509733"]),
        ("12.5%, or 0.75.", ["12.5", "0.75"]),
        ("-40 to 10", ["-40", "10"]),
        ("In 2010, 3 of 4.", ["2010", "3", "4"]),
        ("none", []),
    ],
)
def test_numbers_lose_only_their_separators(text: str, found: list[str]) -> None:
    assert numbers(text) == found


WORD = st.from_regex(r"[A-Za-zÀ-ÿ]{1,8}('s)?|-?[1-9][0-9]{0,2}(,[0-9]{3}){0,2}(\.[0-9])?%?", fullmatch=True)
SENTENCE = st.lists(WORD, min_size=4, max_size=8).map(" ".join)
END = st.sampled_from([".", "!", "?", ".)", '."', "...", ".’", "?!"])
PASSAGE = st.lists(st.tuples(SENTENCE, END).map("".join), min_size=1, max_size=4)


@given(st.lists(PASSAGE, min_size=1, max_size=3), st.data())
def test_text_copied_from_the_passages_with_the_right_conclusion_is_kept(
    passages: list[list[str]], data: st.DataObject
) -> None:
    sentences = [sentence for passage in passages for sentence in passage]
    copied = data.draw(st.lists(st.sampled_from(sentences), min_size=1, max_size=3))
    options = ("Lisbon", "the second option")
    answer = data.draw(st.integers(0, 1))
    written = Written(
        rationale=" ".join([*copied, conclusion(options, answer, "text")]),
        question="Which?",
        options=options,
        answer=answer,
        passages=[" ".join(passage) for passage in passages],
        answer_form="text",
    )
    assert [check.reason(written) for check in filters_named(["concludes", "supported"])] == [None, None]
