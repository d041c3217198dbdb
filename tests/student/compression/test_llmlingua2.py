"""The token-classification compressor, with a tiny random XLM-RoBERTa."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kard_ray.runtime.errors import UserError
from kard_ray.student.compression.config import CompressionConfig
from kard_ray.student.compression.llmlingua2 import LLMLingua2, windows_of


def compressor(folder: Path, *, batch: int = 2048) -> LLMLingua2:
    config = CompressionConfig(kind="llmlingua2", dtype="float32", batch_tokens=batch)
    return LLMLingua2(str(folder), config)


def test_the_score_is_the_probability_of_preserve_whatever_stands_in_the_batch(
    classifier_folder: Path, hard_texts: list[str]
) -> None:
    found = compressor(classifier_folder, batch=150)
    texts = [text for text in map(found.tokenise, hard_texts) if len(text.ids) <= found.window_tokens]
    assert len(texts) > 10
    for text, scores in zip(texts, found.scores(texts), strict=True):
        with torch.inference_mode():
            logits_TL = found.model(torch.tensor([[0, *text.ids, 2]])).logits[0]
        assert scores == pytest.approx(logits_TL.softmax(-1)[1:-1, 1].tolist(), abs=1e-5)


def test_the_words_with_the_highest_probability_are_kept(classifier_folder: Path) -> None:
    found = compressor(classifier_folder)
    text = "The population of Norway is 5,509,733. The area of Chile is larger."
    tokenised = found.tokenise(text)
    (scores,) = found.scores([tokenised])
    means = {w.text.strip(): sum(scores[w.first : w.end]) / (w.end - w.first) for w in tokenised.words}
    ((half,),) = found.compress([text], [0.5])
    kept = {w.text.strip() for w in found.tokenise(half.text).words}
    dropped = set(means) - kept
    assert kept
    assert dropped
    # "is" and "The" stand twice; the rest is ranked without doubt
    assert min(means[w] for w in kept - {"is", "The", "."}) > max(means[w] for w in dropped)


def test_a_window_is_as_long_as_the_model_reads(classifier_folder: Path, hard_texts: list[str]) -> None:
    found = compressor(classifier_folder)
    assert found.window_tokens == 60
    results = found.compress(hard_texts, [1.0, 2 / 3, 0.0])
    assert [result[0].text for result in results] == hard_texts
    long = results[-1][1]
    assert long.tokens_before > 10 * found.window_tokens
    assert long.tokens_after / long.tokens_before == pytest.approx(2 / 3, abs=0.01)


def test_windows_end_with_a_sentence_else_with_a_word_and_cover_the_text(classifier_folder: Path) -> None:
    found = compressor(classifier_folder)
    for text in ("The area of Chile is larger. " * 20, "area of Chile " * 60, "x" * 400):
        tokenised = found.tokenise(text)
        windows = list(windows_of(tokenised, 60))
        assert windows[0][0] == 0
        assert windows[-1][1] == len(tokenised.ids)
        assert [end for _, end in windows[:-1]] == [start for start, _ in windows[1:]]
        assert all(0 < end - start <= 60 for start, end in windows)
        ends = {w.end: w.text for w in tokenised.words}
        for _, end in windows[:-1]:
            assert end in ends
            assert ("." not in text) or ends[end] == "."
    assert list(windows_of(found.tokenise(""), 60)) == []


def test_an_encoder_without_a_classifier_gets_no_random_one(llama_folder: Path) -> None:
    with pytest.raises(UserError, match="got LlamaForCausalLM with 2 labels, expected a token classifier"):
        LLMLingua2(str(llama_folder), CompressionConfig())


def test_a_classifier_of_other_labels_is_refused(five_labels_folder: Path) -> None:
    with pytest.raises(UserError, match="XLMRobertaForTokenClassification with 5 labels"):
        LLMLingua2(str(five_labels_folder), CompressionConfig())
