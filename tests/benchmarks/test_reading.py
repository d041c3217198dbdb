from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kard_ray.benchmarks.reading import parse_answer
from kard_ray.benchmarks.rendering import AnswerForm, conclusion

CAPITALS = ("Lisbon", "Porto", "Madrid")
YES_NO = ("yes", "no")
GUINEAS = ("Guinea", "Equatorial Guinea", "Guinea-Bissau", "Papua New Guinea")


@pytest.mark.parametrize(
    ("text", "options", "answer"),
    [
        ("Portugal's capital is Lisbon. So the answer is Lisbon.", CAPITALS, 0),
        ("So the answer is lisbon", CAPITALS, 0),
        ("So the answer is **Lisbon**.", CAPITALS, 0),
        ('So the answer is "Porto".', CAPITALS, 1),
        ("The answer is: Porto", CAPITALS, 1),
        ("Answer: Madrid", CAPITALS, 2),
        ("So the answer is\nMadrid.\n", CAPITALS, 2),
        ("The answer is Porto? No. So the answer is Lisbon.", CAPITALS, 0),
        ("So the answer is Lisbon, the capital of Portugal.", CAPITALS, 0),
        ("So the answer is Lisbon.\n\nQuestion: Where is Porto? Options: Madrid", CAPITALS, 0),
        ("Madrid", CAPITALS, 2),
        ("It must be Porto, I think", CAPITALS, 1),
        ("So the answer is Lisbon and Porto.", CAPITALS, None),
        ("So the answer is Seville.", CAPITALS, None),
        ("So the answer is", CAPITALS, None),
        ("", CAPITALS, None),
        ("\n\n", CAPITALS, None),
        ("I do not know.", CAPITALS, None),
        ("Lisbonne", CAPITALS, None),
        ("So the answer is not Lisbon.", CAPITALS, None),
        ("The answer is **not** Lisbon, I think.", CAPITALS, None),
        ("The answer isn't Lisbon.", CAPITALS, None),
        ("The answer is not Porto. So the answer is Lisbon.", CAPITALS, 0),
        ("So the answer is Lisbon, which is not in Spain.", CAPITALS, 0),
        ("So the answer is not guilty.", ("guilty", "not guilty"), 1),
        ("So the answer is not guilty, says the court.", ("guilty", "not guilty"), 1),
        ("So the answer is yes.", YES_NO, 0),
        ("So the answer is No.", YES_NO, 1),
        ("So the answer is no, because 3 is less than 5.", YES_NO, 1),
        ("So the answer is not known.", YES_NO, None),
        ("So the answer is yes and no.", YES_NO, None),
        ("So the answer is Norway.", YES_NO, None),
        ("So the answer is Guinea.", GUINEAS, 0),
        ("So the answer is Equatorial Guinea.", GUINEAS, 1),
        ("So the answer is Guinea-Bissau, on the coast.", GUINEAS, 2),
        ("So the answer is the state of Papua New Guinea.", GUINEAS, 3),
        ("So the answer is the Republic of Guinea.", GUINEAS, 0),
        ("So the answer is Guinea, not Equatorial Guinea.", GUINEAS, None),
        ("So the answer is Niger.", ("Niger", "Nigeria"), 0),
        ("So the answer is the country Nigeria.", ("Niger", "Nigeria"), 1),
        ("So the answer is Niger or Nigeria.", ("Niger", "Nigeria"), None),
        ("So the answer is 5,509,733 people.", ("5,509,733", "509,733"), 0),
        ("So the answer is 5.5 km.", ("5", "7"), None),
        ("So the answer is 1,234 km.", ("1", "234"), None),
        ("So the answer is -5 degrees.", ("5", "-5"), 1),
        ("So the answer is about -5 degrees.", ("5", "7"), None),
        ("So the answer is 7. That is more than 5.5.", ("5", "7"), 1),
        ("So the answer is Washington, D.C..", ("Washington, D.C.", "New York"), 0),
        ("So the answer is Côte d'Ivoire.", ("Côte d'Ivoire", "Ivory Coast"), 0),
        ("So the answer is (a+b)*.", ("(a+b)*", "a*b*"), 0),
        ("So the answer is polish.", ("Polish", "polish"), 1),
        ("So the answer is Ww or ww.", ("WW or Ww", "WW or ww", "Ww or WW", "Ww or ww"), 3),
        ("So the answer is ww or WW.", ("WW or Ww", "Ww or WW", "WW only", "ww only"), None),
    ],
)
def test_a_text_answer_is_read_from_what_models_write(
    text: str, options: tuple[str, ...], answer: int | None
) -> None:
    assert parse_answer(text, options, "text") == answer


@pytest.mark.parametrize(
    ("text", "options", "answer"),
    [
        ("So the answer is (B).", CAPITALS, 1),
        ("So the answer is (B) Porto.", CAPITALS, 1),
        ("So the answer is B.", CAPITALS, 1),
        ("So the answer is B) Porto", CAPITALS, 1),
        ("Answer: C", CAPITALS, 2),
        ("(C)", CAPITALS, 2),
        ("So the answer is **A**", CAPITALS, 0),
        ("So the answer is Porto.", CAPITALS, 1),
        ("So the answer is (D).", CAPITALS, None),
        ("So the answer is not (B).", CAPITALS, None),
        ("So the answer is not B.", CAPITALS, None),
        ("So the answer is (B) not guilty.", ("guilty", "not guilty"), 1),
        ("So the answer is (A) or (B).", CAPITALS, None),
        ("So the answer is Seville.", CAPITALS, None),
        ("So the answer is A boat.", ("Red", "A boat"), 1),
        ("So the answer is A boat on the sea.", ("Red", "A boat"), 1),
        ("So the answer is a boat.", ("Red", "A boat"), 1),
        ("So the answer is (A) Porto.", ("Lisbon", "Porto"), 0),
        ("So the answer is I think Porto.", (*CAPITALS, *GUINEAS, "Niger", "Nigeria"), 1),
    ],
)
def test_a_letter_answer_is_read_by_letter_and_else_by_text(
    text: str, options: tuple[str, ...], answer: int | None
) -> None:
    assert parse_answer(text, options, "letter") == answer


def _normal(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .!\"'")


TEXTS = st.text(min_size=1, max_size=30).filter(
    lambda t: _normal(t) and "\n" not in t.strip() and "answer" not in t.lower()
)
OPTIONS = st.lists(TEXTS, min_size=2, max_size=8, unique_by=_normal)


@given(OPTIONS, st.data(), st.sampled_from(["text", "letter"]), TEXTS)
def test_a_conclusion_is_read_back_whatever_the_options_are(
    options: list[str], data: st.DataObject, form: AnswerForm, body: str
) -> None:
    answer = data.draw(st.integers(0, len(options) - 1))
    assert parse_answer(f"{body} {conclusion(options, answer, form)}", options, form) == answer


@given(st.text(max_size=200), OPTIONS, st.sampled_from(["text", "letter"]))
def test_any_text_gives_an_option_or_none(text: str, options: list[str], form: AnswerForm) -> None:
    assert parse_answer(text, options, form) in {None, *range(len(options))}


@given(OPTIONS, st.data())
def test_two_options_with_the_same_wording_are_never_told_apart(
    options: list[str], data: st.DataObject
) -> None:
    answer = data.draw(st.integers(0, len(options) - 1))
    doubled = [*options, options[answer].strip() + " "]
    assume(_normal(doubled[-1]) == _normal(options[answer]))
    assert parse_answer(conclusion(doubled, answer, "text"), doubled, "text") is None
