from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.teacher.symbolic_parsing import (
    PLACEHOLDERS,
    SUMMARY,
    SUPPLEMENT,
    TURN_LABELS,
    Malformed,
    SectionLimits,
    SymbolicKnowledge,
    parse,
    render,
)

STEPS = "Name the process first, then recall its rule."
FACTS = "Heat flows from warm things to cold ones."
GOOD = SymbolicKnowledge(summary=STEPS, supplement=FACTS)


def reason(text: str, **given: object) -> str:
    found = parse(text, **given)  # type: ignore[arg-type]
    assert isinstance(found, Malformed)
    return found.reason


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Learning summary:", "Supplementary knowledge:"),
        ("LEARNING SUMMARY:", "supplementary  knowledge :"),
        ("**Learning Summary:**", "**Supplementary Knowledge:**"),
        ("**Learning Summary**:", "__Supplementary Knowledge__:"),
        ("## Learning summary\n", "## Supplementary knowledge\n"),
        ("### **Learning summary**\n\n", "### *Supplementary knowledge*\n\n"),
        ("1. Learning summary:", "2. Supplementary knowledge:"),
        ("1) **Learning summary:**\n", "2) **Supplementary knowledge:**\n"),
        ("**1. Learning summary:**", "**2. Supplementary knowledge:**"),
        ("\n \nLearning summary:\r\n", "\r\n  Supplementary knowledge:\r\n"),
    ],
)
def test_labels_are_read_in_whatever_markdown(first: str, second: str) -> None:
    assert parse(f"{first} {STEPS}\n\n{second} {FACTS}\n") == GOOD


def test_sections_may_have_lines_lists_and_paragraphs() -> None:
    knowledge = SymbolicKnowledge(
        summary="1. Name the process.\n2. Recall its rule.\n\n- Check **all** options.",
        supplement="Heat:\n  flows from warm to cold.",
    )
    assert parse(render(knowledge)) == knowledge


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "'Learning summary' begins no line"),
        (f"{STEPS} {FACTS}", "'Learning summary' begins no line"),
        (f"Learning summary: {STEPS}", "'Supplementary knowledge' begins no line"),
        (
            f"Learning summary: {STEPS} Supplementary knowledge: {FACTS}",
            "'Supplementary knowledge' begins no",
        ),
        (f"The learning summary: {STEPS}\nSupplementary knowledge: {FACTS}", "'Learning summary' begins no"),
        (f"Learning summary {STEPS}\nSupplementary knowledge: {FACTS}", "'Learning summary' begins no line"),
        (f"**Learning summary: {STEPS}**\nSupplementary knowledge: {FACTS}", "'Learning summary' begins no"),
        (f"{render(GOOD)}\n{render(GOOD)}", "'Learning summary' begins 2 lines"),
        (f"{render(GOOD)}\nSupplementary knowledge: {STEPS}", "'Supplementary knowledge' begins 2 lines"),
        (f"Supplementary knowledge: {FACTS}\nLearning summary: {STEPS}", "stands before 'Learning summary'"),
        (f"Sure! Here are my notes.\n{render(GOOD)}", "text stands before"),
        (f"Learning summary:\nSupplementary knowledge: {FACTS}", "'Learning summary' is empty"),
        (f"Learning summary: {STEPS}\nSupplementary knowledge: \n", "'Supplementary knowledge' is empty"),
        (f"Learning summary: Think.\nSupplementary knowledge: {FACTS}", "has 1 words, expected 5 to 300"),
        (f"Learning summary: {STEPS}\nSupplementary knowledge: {FACTS * 50}", "expected 5 to 300"),
        (f"Learning summary: {STEPS}\nSupplementary knowledge: {STEPS.upper()}", "the same text"),
        (f"{render(GOOD)}\nQuestion: What next?", "'Question:', which belongs to a further question"),
        (f"{render(GOOD)}\n**Answer**: (B)", "further question"),
        (f"Learning summary: {STEPS}\nNotes: {STEPS}\nSupplementary knowledge: {FACTS}", "further question"),
    ],
)
def test_a_text_without_two_good_sections_is_refused_with_the_reason(text: str, because: str) -> None:
    assert because in reason(text)


@pytest.mark.parametrize(
    "leak",
    [
        "So the answer is Lisbon.",
        "so, the answer is (B)",
        "Therefore, the correct answer is 84.",
        "Thus the right option must be the second.",
        "The correct answer is to evaporate.",
        "The answer is (C).",
    ],
)
def test_a_section_that_tells_the_answer_is_refused(leak: str) -> None:
    told = SymbolicKnowledge(summary=f"{STEPS} {leak}", supplement=FACTS)
    assert "'Learning summary' tells the answer" in reason(render(told))
    told = SymbolicKnowledge(summary=STEPS, supplement=f"{FACTS} {leak}")
    assert "'Supplementary knowledge' tells the answer" in reason(render(told))


@pytest.mark.parametrize(
    "advice",
    [
        "Check that the answer is a whole number.",
        "Compare the answer with each of the options.",
        "If both hold, the answer is yes.",
        "This learning summary: short and general.",
    ],
)
def test_general_advice_about_answers_is_no_leak(advice: str) -> None:
    knowledge = SymbolicKnowledge(summary=f"{STEPS} {advice}", supplement=FACTS)
    assert parse(render(knowledge)) == knowledge


def test_a_text_that_was_cut_off_is_refused_even_if_it_looks_whole() -> None:
    assert parse(render(GOOD), finish_reason="stop") == GOOD
    assert parse(render(GOOD), finish_reason=None) == GOOD
    assert "token limit" in reason(render(GOOD), finish_reason="length")


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("wrap", ["{}", "*{}*", "{} and so on"])
def test_the_form_that_the_prompt_shows_is_refused(place: int, wrap: str) -> None:
    for placeholder in (PLACEHOLDERS[place], PLACEHOLDERS[place].strip("<>")):
        sections = [STEPS, FACTS]
        sections[place] = wrap.format(placeholder)
        echoed = SymbolicKnowledge(summary=sections[0], supplement=sections[1])
        assert "repeats the prompt" in reason(render(echoed))


def test_a_section_copied_from_an_example_is_refused() -> None:
    other = SymbolicKnowledge(
        summary="Write the places in a row first.", supplement="Left of is a transitive relation."
    )
    assert parse(render(GOOD), shown=[other]) == GOOD
    copied = SymbolicKnowledge(summary=STEPS, supplement=other.supplement.upper())
    assert "'Supplementary knowledge' is copied" in reason(render(copied), shown=[other])


def test_the_limits_are_inclusive_and_checked_against_each_other() -> None:
    limits = SectionLimits(min_words=2, max_words=3)
    for words, good in ((1, False), (2, True), (3, True), (4, False)):
        knowledge = SymbolicKnowledge(summary="step " * words + "", supplement="fact one")
        assert isinstance(parse(render(knowledge), limits=limits), SymbolicKnowledge) is good
    with pytest.raises(ValidationError, match="at least min_words"):
        SectionLimits(min_words=9, max_words=8)


WORDS = st.lists(
    st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=8), min_size=5, max_size=40
)
SECTIONS = st.tuples(WORDS, st.lists(st.sampled_from([" ", "  ", "\n", "\n\n", "\t"]), min_size=40)).map(
    lambda drawn: "".join(word + gap for word, gap in zip(*drawn, strict=False)).strip()
)


@given(summary=SECTIONS, supplement=SECTIONS)
def test_what_is_rendered_is_read_back(summary: str, supplement: str) -> None:
    both = f"\n{summary}\n{supplement}".lower()
    assume(not any(label.lower() in both for label in (*TURN_LABELS, SUMMARY, SUPPLEMENT)))
    knowledge = SymbolicKnowledge(summary=summary, supplement=supplement)
    found = parse(render(knowledge))
    if isinstance(found, Malformed):  # of marks alone, both are the same text
        assert found.reason == "both sections are the same text"
    else:
        assert found == knowledge


MARKS = [":", "**", "_", "# ", "1. ", " ", "\t", "\n", "\r\n", "\r", "\v", "\u2028"]
PIECES = st.lists(
    st.sampled_from([*MARKS, SUMMARY, SUPPLEMENT, "Answer", "so the answer is", STEPS, FACTS]), max_size=24
)


@given(before=PIECES, summary=PIECES, supplement=PIECES)
def test_whatever_is_accepted_is_read_back_the_same(
    before: list[str], summary: list[str], supplement: list[str]
) -> None:
    text = "".join([*before, "\nLearning summary:", *summary, "\nSupplementary knowledge:", *supplement])
    found = parse(text)
    if isinstance(found, SymbolicKnowledge):
        assert parse(render(found)) == found
        assert found.summary in text.replace("\r\n", "\n").replace("\r", "\n")
    else:
        assert found.reason
