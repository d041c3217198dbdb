from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from kard_ray.runtime.dialogue import Dialogue, Find, Score, Write
from kard_ray.runtime.engine import GENERATED
from kard_ray.runtime.seq2seq import Seq2SeqDialogues, Seq2SeqGenerator
from tests.tiny_models import tiny_t5

# Of very different lengths, so that most of them are padded when they stand in one batch.
PROMPTS = [
    "Question: Which of these is larger? Options: yes; no\nExplanation:",
    "x",
    "The population of Norway is 5,509,733. " * 6,
    "Is Chile larger?",
]


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random T5 that does not write its padding token: the tied embeddings make it repeat the decoder's start."""
    folder = tiny_t5(tmp_path_factory.mktemp("models") / "t5")
    settings = GenerationConfig.from_pretrained(folder)
    settings.suppress_tokens = [0]
    settings.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(t5_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(t5_folder)


@pytest.fixture(scope="module")
def model(t5_folder: Path) -> Any:
    return AutoModelForSeq2SeqLM.from_pretrained(t5_folder).eval()


def generator(folder: Path, *, seed: int = 0, **sampling: Any) -> Seq2SeqGenerator:
    greedy = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_tokens": 12, "stop": []}
    return Seq2SeqGenerator(str(folder), "float32", greedy | sampling, seed)


def batch(tokenizer: Any, prompts: list[str]) -> pa.Table:
    ids = [tokenizer(prompt).input_ids for prompt in prompts]
    return pa.table(
        {
            "prediction_id": [f"none/{n}" for n in range(len(ids))],
            "prompt_ids": pa.array(ids, pa.list_(pa.int32())),
        }
    )


@pytest.fixture(scope="module")
def written(t5_folder: Path, tokenizer: Any) -> pa.Table:
    return generator(t5_folder)(batch(tokenizer, PROMPTS))


def test_each_row_keeps_its_columns_and_gains_what_was_generated(written: pa.Table) -> None:
    assert written.schema == pa.schema([("prediction_id", pa.string()), *GENERATED])
    assert written["prediction_id"].to_pylist() == [f"none/{n}" for n in range(len(PROMPTS))]
    assert set(written["error"].to_pylist()) == {""}


def test_greedy_text_is_what_the_model_writes_for_each_prompt_alone(
    written: pa.Table, model: Any, tokenizer: Any
) -> None:
    texts = []
    for prompt, tokens in zip(PROMPTS, written["generated_tokens"].to_pylist(), strict=True):
        prompt = tokenizer(prompt, return_tensors="pt")
        (alone,) = model.generate(**prompt, max_new_tokens=12, do_sample=False)
        assert tokens == len(alone) - 1  # without the decoder's start token
        texts.append(tokenizer.decode(alone, skip_special_tokens=True))
    assert written["generated_text"].to_pylist() == texts
    assert len(set(texts)) > 1


def test_the_rows_of_a_batch_do_not_depend_on_each_other(
    written: pa.Table, t5_folder: Path, tokenizer: Any
) -> None:
    generate = generator(t5_folder)
    for n, prompt in enumerate(PROMPTS):
        alone = generate(batch(tokenizer, [prompt])).drop_columns(["prediction_id", "generation_seconds"])
        assert alone == written.slice(n, 1).drop_columns(["prediction_id", "generation_seconds"])


def test_prompt_tokens_are_counted_without_the_padding(written: pa.Table, tokenizer: Any) -> None:
    lengths = [len(tokenizer(prompt).input_ids) for prompt in PROMPTS]
    assert len(set(lengths)) > 2
    assert written["prompt_tokens"].to_pylist() == lengths


def test_a_row_that_ends_early_is_not_counted_with_its_padding(t5_folder: Path, tokenizer: Any) -> None:
    generate = generator(t5_folder, max_tokens=12)
    first = generate(batch(tokenizer, PROMPTS))["generated_text"][0].as_py()
    (end, *_) = tokenizer(first, add_special_tokens=False).input_ids
    generate.model.generation_config.eos_token_id = [1, end]  # the first row's first token now ends a text
    counts = generate(batch(tokenizer, PROMPTS))["generated_tokens"].to_pylist()
    assert counts[0] == 1
    assert max(counts) > 1


def test_a_text_ends_before_the_first_stop_string(written: pa.Table, t5_folder: Path, tokenizer: Any) -> None:
    text = written["generated_text"][0].as_py()
    assert len(text) >= 4
    stops = [text[3:], text[2:4], "does not occur"]
    stopped = generator(t5_folder, stop=stops)(batch(tokenizer, PROMPTS[:1]))
    assert stopped["generated_text"].to_pylist() == [text[: min(text.index(stop) for stop in stops[:2])]]


def test_no_more_tokens_are_written_than_allowed(t5_folder: Path, tokenizer: Any) -> None:
    for limit in (1, 3):
        counts = generator(t5_folder, max_tokens=limit)(batch(tokenizer, PROMPTS))["generated_tokens"]
        assert max(counts.to_pylist()) <= limit


def test_what_is_sampled_follows_the_seed(t5_folder: Path, tokenizer: Any, written: pa.Table) -> None:
    def sample(seed: int) -> list[str]:
        found: list[str] = generator(t5_folder, seed=seed, temperature=1.0)(batch(tokenizer, PROMPTS))[
            "generated_text"
        ].to_pylist()
        return found

    assert sample(1) == sample(1)
    assert sample(1) != sample(2)
    assert sample(1) != written["generated_text"].to_pylist()


def next_log_probs(model: Any, prompt: list[int], written: list[int]) -> Any:
    """Log probabilities (tokens, vocabulary) of each next token of ``written``, computed for one prompt alone."""
    start = model.config.decoder_start_token_id
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[start, *written[:-1]]])
        ).logits
    return logits[0].float().log_softmax(-1)


def test_each_written_token_comes_with_its_log_probability(
    t5_folder: Path, tokenizer: Any, model: Any
) -> None:
    prompts = [tokenizer(prompt).input_ids for prompt in PROMPTS]
    generate = generator(t5_folder)
    (end, *_) = generate.write([Write(prompt_ids=prompts[0])])[0].tokens
    generate.model.generation_config.eos_token_id = [1, end]  # rows of one batch end at different places
    replies = generate.write([Write(prompt_ids=prompt) for prompt in prompts], log_probs=True)
    assert len({len(reply.tokens) for reply in replies}) > 1
    for prompt, reply in zip(prompts, replies, strict=True):
        told = next_log_probs(model, prompt, list(reply.tokens))
        expected = told.gather(-1, torch.tensor(reply.tokens)[:, None])[:, 0]
        # transformers tells them after its own settings: here a token that is not to be written
        left = told.exp()[:, 1:].sum(-1).log()
        torch.testing.assert_close(torch.tensor(reply.log_probs), expected - left, atol=1e-5, rtol=0)


def test_scores_are_log_probabilities_behind_what_was_begun(
    t5_folder: Path, tokenizer: Any, model: Any
) -> None:
    requests = [
        Score(prompt_ids=tokenizer(prompt).input_ids, begun=[9] * n, scored=[5, 6, 7][: n + 1])
        for n, prompt in enumerate(PROMPTS[:3])
    ]
    for request, reply in zip(requests, generator(t5_folder).score(requests), strict=True):
        text = [*request.begun, *request.scored]
        told = next_log_probs(model, list(request.prompt_ids), text)[len(request.begun) :]
        expected = told.gather(-1, torch.tensor(request.scored)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(reply.log_probs), expected, atol=1e-5, rtol=0)


class WritesAndFinds:
    """A row writes greedily or draws; then it searches with what it wrote."""

    def __init__(self) -> None:
        self.searches: list[list[str]] = []

    def __call__(self, row: Mapping[str, Any]) -> Dialogue:
        seed = None if row["greedy"] else 1
        (written,) = yield [Write(prompt_ids=row["prompt_ids"], greedy=row["greedy"], seed=seed)]
        (found,) = yield [Find(query=written.text, how="", k=1)]
        return {"id": row["id"], "text": written.text, "found": found.found}

    def failed(self, row: Mapping[str, Any], error: str) -> dict[str, Any]:
        raise AssertionError(error)

    def find(self, requests: Sequence[Find]) -> Future[list[Any]]:
        self.searches.append([request.query for request in requests])
        done: Future[list[Any]] = Future()
        done.set_result([f"for {request.query}" for request in requests])
        return done


def test_greedy_rows_stand_beside_drawn_ones_and_all_are_searched_for_at_once(
    t5_folder: Path, tokenizer: Any, written: pa.Table
) -> None:
    asks = WritesAndFinds()
    drawing = generator(t5_folder, temperature=1.0)
    schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("found", pa.string())])
    answer = Seq2SeqDialogues(lambda: drawing, lambda: asks, schema, False, batch_rows=3)
    ids = [tokenizer(prompt).input_ids for prompt in PROMPTS] * 2
    rows = [{"id": at, "prompt_ids": one, "greedy": at % 2 == 0} for at, one in enumerate(ids)]
    found = answer(pa.Table.from_pylist(rows)).to_pylist()
    assert asks.searches == [[row["text"] for row in found]]
    assert [row["found"] for row in found] == [f"for {row['text']}" for row in found]
    greedy = written["generated_text"].to_pylist() * 2
    assert [row["text"] for row in found[::2]] == greedy[::2]
    assert [row["text"] for row in found[1::2]] != greedy[1::2]
