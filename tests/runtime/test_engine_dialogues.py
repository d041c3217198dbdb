"""Dialogues with a real vLLM engine, compared with what transformers computes for the same weights in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM

from kard_ray.runtime.dialogue import ADAPTER, Dialogue, Find, Score, Write
from kard_ray.runtime.engine import EngineConfig, SamplingConfig, dialogues

pytestmark = [
    pytest.mark.ray,
    pytest.mark.engine,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(600),
]

TOKENS = 8
LIMIT = 256  # tokens of the engine's context
# Two of them share a beginning; one fills a block of the prefix cache, which then holds what is to be scored.
OPTIONS = [[40, 41, 42], [40, 41, 50, 51], [60], [*range(100, 140)]]
ENGINE = EngineConfig(
    dtype="float32", device="cpu", max_model_tokens=LIMIT, batch_rows=4, max_sequences=8, kv_cache_gib=1
)
ROW = pa.schema(
    [
        ("id", pa.string()),
        ("first", pa.list_(pa.int32())),
        ("first_log_probs", pa.list_(pa.float64())),
        ("second", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.list_(pa.float64()))),
        ("seconds", pa.float64()),
        ("greedy", pa.list_(pa.int32())),
        ("found", pa.string()),
        ("error", pa.string()),
    ]
)


class TwiceThenScore:
    """Writes behind the prompt, then behind prompt and text, then scores OPTIONS behind prompt and text, twice.

    At last it writes greedily, and searches with its id.
    """

    def __call__(self, row: Mapping[str, Any]) -> Dialogue:
        (first,) = yield [Write(prompt_ids=row["prompt_ids"], seed=row["seed"])]
        longer = [*row["prompt_ids"], *first.tokens]
        (second,) = yield [Write(prompt_ids=longer, seed=row["seed"])]
        requests = [
            Score(prompt_ids=row["prompt_ids"], begun=first.tokens, scored=option) for option in OPTIONS
        ]
        before = yield requests
        scores = yield requests
        (greedy,) = yield [Write(prompt_ids=row["prompt_ids"], greedy=True)]
        (found,) = yield [Find(query=row["id"], how="", k=1)]
        assert [len(reply.log_probs) for reply in before] == [len(option) for option in OPTIONS]
        return {
            "id": row["id"],
            "first": first.tokens,
            "first_log_probs": first.log_probs,
            "second": second.tokens,
            "scores": [reply.log_probs for reply in scores],
            "seconds": first.seconds + second.seconds,
            "greedy": greedy.tokens,
            "found": found.found,
            "error": "",
        }

    def failed(self, row: Mapping[str, Any], error: str) -> dict[str, Any]:
        return {"id": row["id"], "error": error}

    def find(self, requests: Sequence[Find]) -> Future[list[Any]]:
        done: Future[list[Any]] = Future()
        done.set_result([f"for {request.query}" for request in requests])
        return done


def ask(folder: Path, rows: list[dict[str, Any]], *, temperature: float = 0.0) -> dict[str, dict[str, Any]]:
    transform = dialogues(
        model_path=str(folder),
        config=ENGINE,
        sampling=SamplingConfig(temperature=temperature, max_tokens=TOKENS),
        seed=0,
        ask=TwiceThenScore,
        schema=ROW,
        log_probs=True,
    )
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("prompt_ids", pa.list_(pa.int32())),
            ("seed", pa.int64()),
            (ADAPTER, pa.string()),
        ]
    )
    table = pa.Table.from_pylist([{ADAPTER: "", "seed": None} | row for row in rows], schema=schema)
    finished = pa.concat_tables(ray.get(transform(ray.data.from_arrow(table)).to_arrow_refs()))
    return {row["id"]: row for row in finished.to_pylist()}


def log_probs(model: Any, prompt: list[int], text: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *text]])).logits[0, len(prompt) - 1 : -1].float()
    told: torch.Tensor = logits.log_softmax(-1).gather(-1, torch.tensor(text)[:, None])[:, 0]
    return told


def test_a_greedy_dialogue_is_what_the_model_says(llama_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32).eval()
    long = [token % 300 + 5 for token in range(70)]  # fills two blocks of the prefix cache
    prompts = {"short": [7, 8, 9], "long": long, "again": long, "longer": [*long, 9, 9]}
    rows = [{"id": name, "prompt_ids": ids} for name, ids in prompts.items()]
    rows.append({"id": "refused", "prompt_ids": [5] * (LIMIT + 1)})
    found = ask(llama_folder, rows)
    assert found.keys() == {*prompts, "refused"}
    assert "longer than" in found["refused"]["error"] or str(LIMIT) in found["refused"]["error"]
    for name, ids in prompts.items():
        row = found[name]
        assert row["error"] == ""
        assert row["seconds"] > 0
        said = model.generate(
            torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=2, pad_token_id=2
        )
        assert row["first"] == row["greedy"] == said[0, len(ids) :].tolist()
        assert row["found"] == f"for {name}"
        told = log_probs(model, ids, row["first"])
        torch.testing.assert_close(
            torch.tensor(row["first_log_probs"]), told, atol=1e-3, rtol=0, check_dtype=False
        )
        behind = [*ids, *row["first"]]
        said = model.generate(
            torch.tensor([behind]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=2, pad_token_id=2
        )
        assert row["second"] == said[0, len(behind) :].tolist()
        for option, scored in zip(OPTIONS, row["scores"], strict=True):
            told = log_probs(model, behind, option)
            torch.testing.assert_close(torch.tensor(scored), told, atol=1e-3, rtol=0, check_dtype=False)


def test_draws_follow_their_own_seed_also_where_prompts_are_in_the_cache(llama_folder: Path) -> None:
    prompt = [token % 300 + 5 for token in range(70)]
    rows = [{"id": f"{seed}/{n}", "prompt_ids": prompt, "seed": seed} for n in range(2) for seed in range(8)]
    found = ask(llama_folder, rows, temperature=1.0)
    texts = {name: row["first"] for name, row in found.items()}
    assert all(texts[f"{seed}/0"] == texts[f"{seed}/1"] for seed in range(8))
    assert len({tuple(text) for text in texts.values()}) > 4
    assert len({tuple(row["greedy"]) for row in found.values()}) == 1
