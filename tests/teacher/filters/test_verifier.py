from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.runtime.models import resolve_model
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.option_scores import OptionScorer
from kard_ray.teacher.filters.verifier import LoadedVerifier, Verifier


def written(
    rationale: str,
    *,
    question: str = "Which of these is larger?",
    options: Sequence[str] = ("yes", "no"),
    answer: int = 0,
    form: AnswerForm = "text",
) -> Written:
    return Written(
        rationale=rationale, question=question, options=options, answer=answer, passages=(), answer_form=form
    )


def loaded(folder: Path, **settings: Any) -> LoadedVerifier:
    found = Verifier(model=str(folder), **({"dtype": "float32"} | settings)).load(str(folder))
    assert isinstance(found, LoadedVerifier)
    return found


@pytest.fixture(params=["llama", "t5"])
def folder(request: pytest.FixtureRequest, llama_folder: Path, t5_folder: Path) -> Path:
    return {"llama": llama_folder, "t5": t5_folder}[request.param]


PROMPTS = [
    "Question: Which? So the answer is",
    "Rationale: 9 is larger than 4. So the answer is",
    "Options: no is",
]
ANSWERS = [["yes", "no"], ["Norway", "Chile", "756,102 square kilometres", "(A)", "no"], ["population"]]


def test_scores_are_the_sums_of_what_the_model_gives_each_token_of_an_answer(folder: Path) -> None:
    scorer = OptionScorer(str(folder), dtype="float32", batch_tokens=1000)
    prompts = [scorer.prompt_ids(text) for text in PROMPTS]
    found = scorer.scores(prompts, ANSWERS, per_token=False)
    kind: Any = AutoModelForSeq2SeqLM if scorer.encoder_decoder else AutoModelForCausalLM
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt, answers, values in zip(prompts, ANSWERS, found, strict=True):
        for answer, value in zip(answers, values, strict=True):
            text = answer if scorer.encoder_decoder else f" {answer}"
            ids = scorer.tokenizer(text, add_special_tokens=False).input_ids
            with torch.inference_mode():
                if scorer.encoder_decoder:
                    given = {
                        "input_ids": torch.tensor([prompt]),
                        "decoder_input_ids": torch.tensor([[0, *ids[:-1]]]),
                    }
                    logits = model(**given).logits[0]
                else:
                    logits = model(input_ids=torch.tensor([[*prompt, *ids[:-1]]])).logits[
                        0, len(prompt) - 1 :
                    ]
            log_p = logits.double().log_softmax(-1)
            expected = sum(float(log_p[at, token]) for at, token in enumerate(ids))
            assert value == pytest.approx(expected, abs=1e-4)


def test_a_batch_is_judged_as_one_by_one(folder: Path) -> None:
    draw = random.Random(0)
    words = [
        "9",
        "is",
        "larger",
        "than",
        "4",
        "so",
        "the",
        "first",
        "number",
        "population",
        "of",
        "Norway",
        "area",
        "Chile",
        "square",
    ]
    samples = [
        written(
            " ".join(draw.choices(words, k=draw.randrange(30))),
            options=draw.sample(
                ["yes", "no", "Norway", "Chile", "756,102 square kilometres"], k=draw.choice([2, 5])
            ),
            answer=draw.randrange(2),
            form=draw.choice(["text", "letter"]),  # type: ignore[arg-type]
        )
        for _ in range(24)
    ]
    together = loaded(folder, batch_tokens=400).reasons(samples)
    alone = loaded(folder, batch_tokens=1)
    assert together == [alone.reasons([it])[0] for it in samples]
    assert {it is None for it in together} == {True, False}
    assert together == loaded(folder, batch_tokens=100_000).reasons(samples)


@pytest.mark.parametrize("form", ["text", "letter"])
@pytest.mark.parametrize("options", [("yes", "no"), ("Norway", "Chile", "9", "4", "the first number")])
def test_exactly_one_of_the_questions_own_options_is_the_verifiers_answer(
    folder: Path, options: tuple[str, ...], form: AnswerForm
) -> None:
    samples = [written("9 is larger.", options=options, answer=i) for i in range(len(options))]
    found = loaded(folder, answers=form).reasons(samples)
    (right,) = [i for i, it in enumerate(found) if it is None]
    named = f"({'ABCDE'[right]})" if form == "letter" else options[right]
    assert all(it.startswith(f"the verifier answers {named!r}, not ") for it in found if it)


def test_a_question_without_options_passes_and_nothing_is_judged_of_nothing(folder: Path) -> None:
    check = loaded(folder)
    assert check.reasons([written("It is 5.", options=(), answer=-1)] * 2) == [None, None]
    assert check.reasons([]) == []


def test_a_long_rationale_loses_its_first_words_and_a_question_that_does_not_fit_is_told(
    folder: Path,
) -> None:
    check = loaded(folder, max_prompt_tokens=64)
    long = f"{'larger ' * 300}9 is larger than 4."
    prompt = check._prompt(written(long), "text")
    assert prompt is not None
    assert len(prompt) <= 64
    assert "than 4. So the answer is" in check.scorer.tokenizer.decode(prompt)
    assert "Which of these is larger?" in check.scorer.tokenizer.decode(prompt)
    (found,) = check.reasons([written("It is.", question="Which is larger? " * 50)])
    assert found == "question and options alone take more than 64 tokens"


def test_the_verifier_reads_the_conclusion_only_where_that_is_asked_for(folder: Path) -> None:
    sample = written("9 is larger. So the answer is yes.")
    cut, whole = loaded(folder), loaded(folder, shown="whole")
    assert cut._prompt(sample, "text") == cut._prompt(written("9 is larger."), "text")
    assert whole._prompt(sample, "text") != cut._prompt(sample, "text")


@pytest.mark.engine
@pytest.mark.timeout(600)
def test_a_small_real_model_answers_what_the_reasoning_says() -> None:
    ref = "bundled:smollm2-135m-instruct"
    check = Verifier(model=ref).load(resolve_model(ref).path)
    # Nothing but the rationale tells which option is right, so only a verifier that reads it can.
    cases = [
        (
            "Which box holds the ball?",
            "The ball was put into {}, and nobody moved it.",
            ("the red box", "the blue box", "the green box"),
        ),
        (
            "Where does Anna live?",
            "Anna has bought a house in {} and moved there with her family.",
            ("Lisbon", "Oslo"),
        ),
        (
            "What does the shop sell?",
            "The shop's sign and its windows show nothing but {}.",
            ("shoes", "bread", "lamps", "flowers", "books"),
        ),
    ]
    read = [
        (asked, text.format(option), options, i)
        for asked, text, options in cases
        for i, option in enumerate(options)
    ]
    right = [written(text, question=q, options=options, answer=i) for q, text, options, i in read]
    wrong = [replace(it, answer=(it.answer + 1) % len(it.options)) for it in right]
    assert sum(it is None for it in check.reasons(right)) >= 8  # of 10; 3 by chance
    assert sum(it is None for it in check.reasons(wrong)) <= 2
