from __future__ import annotations

import pytest
from pydantic import ValidationError

from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.language import Language

TEXTS = {
    "en": "The sun gives plants the energy that they need for photosynthesis, so they grow and bloom.",
    "de": "Die Sonne gibt den Pflanzen die Energie, die sie für die Photosynthese brauchen, also wachsen sie.",
    "fr": "Le soleil donne aux plantes l'énergie dont elles ont besoin pour la photosynthèse et la croissance.",
    "zh": (
        "太阳为植物提供光合作用所需的能量。"
        "植物在光合作用中把二氧化碳和水变成糖和氧气，并用这些糖来发芽、生长和开花。"
    ),
}
QUESTIONS = {
    "en": "What is responsible for the growth of plants in the garden?",
    "de": "Was ist für das Wachstum der Pflanzen im Garten verantwortlich?",
    "fr": "Qu'est-ce qui est responsable de la croissance des plantes dans le jardin?",
    "zh": "是什么让花园里的植物生长？",
}


def reason(rationale: str, question: str, check: Language, options: tuple[str, ...] = ()) -> str | None:
    written = Written(
        rationale=rationale, question=question, options=options, answer=-1, passages=(), answer_form="text"
    )
    return check.reason(written)


@pytest.mark.parametrize("asked", QUESTIONS)
@pytest.mark.parametrize("written", TEXTS)
def test_a_rationale_must_be_in_the_language_of_its_question(asked: str, written: str) -> None:
    found = reason(TEXTS[written], QUESTIONS[asked], Language())
    if asked == written:
        assert found is None
    else:
        assert found == f"written in language {written!r}, not in {asked!r}"


@pytest.mark.parametrize("written", TEXTS)
def test_a_language_that_is_asked_for_goes_before_the_questions(written: str) -> None:
    assert (reason(TEXTS[written], QUESTIONS["en"], Language(language="de")) is None) == (written == "de")


@pytest.mark.parametrize(
    "rationale",
    [
        "Die Sonne gibt Energie.",  # too short to be sure
        "12 * 4 = 48, 48 / 2 = 24, 24 + 3 = 27, 27 * 100 = 2700",  # no language at all
        "",
        "???",
    ],
)
def test_a_text_that_is_too_short_or_has_no_words_passes(rationale: str) -> None:
    assert reason(rationale, QUESTIONS["en"], Language()) is None


@pytest.mark.parametrize(
    ("question", "rationale"),
    [  # short questions with foreign names are taken for another language
        (
            "Is Canon Inc. a Kabushiki gaisha?",
            "A Kabushiki gaisha is a Japanese company with shares, as Canon is.",
        ),
        (
            "Is Kim Kardashian a guru?",
            "A guru is a spiritual teacher, and Kim Kardashian is known for television.",
        ),
        ("?", "The sun gives plants the energy that they need for photosynthesis, so they grow."),
    ],
)
def test_an_unsure_question_is_no_ground_to_drop_its_rationales(question: str, rationale: str) -> None:
    assert reason(rationale, question, Language(), ("yes", "no")) is None


def test_an_unknown_language_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValidationError, match=r"expected one of .*\ben\b"):
        Language(language="english")
