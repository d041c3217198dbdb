"""Text generation with encoder-decoder models (T5, the papers' Flan-T5) in transformers on Ray Data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import ray


class Seq2SeqGenerator:
    """Adds generated text to batches with ``prompt_ids``; an actor's callable."""

    def __init__(self, model_path: str, dtype: str, sampling: dict[str, Any], seed: int) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.torch = torch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu":
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.manual_seed(seed)
        self.tokenizer = AutoTokenizer.from_pretrained(model_path, local_files_only=True)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(
            model_path, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
        ).to(self.device)
        self.model.eval()
        self.arguments: dict[str, Any] = {"max_new_tokens": sampling["max_tokens"], "do_sample": False}
        if sampling["temperature"] > 0:
            self.arguments |= {
                "do_sample": True,
                "temperature": sampling["temperature"],
                "top_p": sampling["top_p"],
                "top_k": sampling["top_k"],
            }
        self.stop: list[str] = sampling["stop"]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One forward batch; columns GENERATED are added and ``prompt_ids`` taken away."""
        torch, began = self.torch, time.monotonic()
        prompts = batch["prompt_ids"].to_pylist()
        padded = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            written = self.model.generate(**padded, **self.arguments)
        texts, counts = [], []
        for row in written:
            kept = [token for token in row.tolist()[1:] if token != self.tokenizer.pad_token_id]
            text = str(self.tokenizer.decode(kept, skip_special_tokens=True))
            for stop in self.stop:
                text = text.split(stop, 1)[0]
            texts.append(text)
            counts.append(len(kept))
        return (
            batch.drop_columns(["prompt_ids"])
            .append_column("generated_text", pa.array(texts, pa.string()))
            .append_column("prompt_tokens", pa.array([len(p) for p in prompts], pa.int32()))
            .append_column("generated_tokens", pa.array(counts, pa.int32()))
            .append_column(
                "generation_seconds", pa.array([time.monotonic() - began] * len(texts), pa.float64())
            )
            .append_column("error", pa.array([""] * len(texts), pa.string()))
        )


def seq2seq_transform(
    *,
    model_path: str,
    dtype: str,
    sampling: dict[str, Any],
    seed: int,
    replicas: int,
    batch_rows: int,
    gpus: int,
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """Ray Data edge of :class:`Seq2SeqGenerator`."""
    return lambda rows: rows.map_batches(
        Seq2SeqGenerator,
        fn_constructor_args=(model_path, dtype, sampling, seed),
        batch_format="pyarrow",
        batch_size=batch_rows,
        compute=ray.data.ActorPoolStrategy(size=replicas),
        num_cpus=1,
        num_gpus=gpus,
    )
