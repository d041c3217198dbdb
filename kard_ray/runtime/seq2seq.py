"""Text generation with encoder-decoder models (T5, the papers' Flan-T5) in transformers on Ray Data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa
import ray

from kard_ray.runtime.dialogue import Ask, Find, Reply, Request, Score, Write, in_step

_NO_LABEL = -100  # what a padded position is labelled with


class Seq2SeqModel:
    """One encoder-decoder model that answers batches of requests."""

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
        self.max_tokens = sampling["max_tokens"]
        self.drawing: dict[str, Any] = {"do_sample": False}
        if sampling["temperature"] > 0:
            self.drawing = {
                "do_sample": True,
                "temperature": sampling["temperature"],
                "top_p": sampling["top_p"],
                "top_k": sampling["top_k"],
            }
        self.stop: list[str] = sampling["stop"]

    def write(self, requests: Sequence[Write], *, log_probs: bool = False) -> list[Reply]:
        """Texts for ``requests``, in one forward batch.

        transformers draws for a whole batch: the first request's seed, where there is one, decides all of its draws,
        and whether it is greedy, whether anything is drawn.
        """
        torch, began = self.torch, time.monotonic()
        drawing = {"do_sample": False} if requests[0].greedy else self.drawing
        if requests[0].seed is not None:
            torch.manual_seed(requests[0].seed)
        padded = self._padded([r.prompt_ids for r in requests])
        chosen = _ChosenLogProbs(torch)
        with torch.inference_mode():
            written = self.model.generate(
                **padded,
                max_new_tokens=self.max_tokens,
                **drawing,
                **({"logits_processor": [chosen]} if log_probs else {}),
            )
        told = chosen.of(written).tolist() if log_probs else [[] for _ in requests]
        replies = []
        for request, row, of_row in zip(requests, written, told, strict=True):
            kept = [token for token in row.tolist()[1:] if token != self.tokenizer.pad_token_id]
            text = str(self.tokenizer.decode(kept, skip_special_tokens=True))
            for stop in (*self.stop, *request.stop):
                text = text.split(stop, 1)[0]
            seconds = time.monotonic() - began
            replies.append(Reply(text=text, tokens=kept, log_probs=of_row[: len(kept)], seconds=seconds))
        return replies

    def score(self, requests: Sequence[Score]) -> list[Reply]:
        """Log probabilities of what each request scores, in one forward batch."""
        torch, began = self.torch, time.monotonic()
        padded = self._padded([r.prompt_ids for r in requests])
        texts = [[*r.begun, *r.scored] for r in requests]
        longest = max(map(len, texts))
        labels = torch.tensor([t + [_NO_LABEL] * (longest - len(t)) for t in texts], device=self.device)
        with torch.inference_mode():
            # The labels make the decoder's input; a padded end is not looked at by what stands before it.
            logits = self.model(**padded, labels=labels).logits.float()
            log_p = logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1).tolist()
        seconds = time.monotonic() - began
        return [
            Reply(tokens=list(r.scored), log_probs=row[len(r.begun) : len(text)], seconds=seconds)
            for r, row, text in zip(requests, log_p, texts, strict=True)
        ]

    def _padded(self, prompts: Sequence[Sequence[int]]) -> Any:
        ids = [list(prompt) for prompt in prompts]
        return self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)


class _ChosenLogProbs:
    """A logits processor that keeps the log probability of each token that was chosen, and no step's logits but one.

    It stands before temperature, top-p and top-k.
    """

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.kept: list[Any] = []
        self.last: Any = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """``input_ids`` (rows, tokens so far) and ``scores`` (rows, vocabulary), which are returned as they are."""
        self._keep(input_ids)
        self.last = scores.float().log_softmax(-1)
        return scores

    def of(self, sequences: Any) -> Any:
        """Log probabilities (rows, tokens) of ``sequences`` (rows, 1 + tokens), which begin with the start token."""
        self._keep(sequences)
        self.last = None
        return self.torch.cat(self.kept, dim=-1)

    def _keep(self, ids: Any) -> None:
        if self.last is not None:
            self.kept.append(self.last.gather(-1, ids[:, -1:]))


class Seq2SeqGenerator(Seq2SeqModel):
    """Adds generated text to batches with ``prompt_ids``; an actor's callable."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One forward batch; columns GENERATED are added and ``prompt_ids`` taken away."""
        prompts = batch["prompt_ids"].to_pylist()
        replies = self.write([Write(prompt_ids=prompt) for prompt in prompts])
        return (
            batch.drop_columns(["prompt_ids"])
            .append_column("generated_text", pa.array([r.text for r in replies], pa.string()))
            .append_column("prompt_tokens", pa.array([len(p) for p in prompts], pa.int32()))
            .append_column("generated_tokens", pa.array([len(r.tokens) for r in replies], pa.int32()))
            .append_column("generation_seconds", pa.array([r.seconds for r in replies], pa.float64()))
            .append_column("error", pa.array([""] * len(replies), pa.string()))
        )


class Seq2SeqDialogues:
    """Answers the dialogues of batches, ``batch_rows`` requests at a time; an actor's callable."""

    def __init__(
        self, model: Callable[[], Seq2SeqModel], ask: Callable[[], Ask], schema: pa.Schema, log_probs: bool,
        batch_rows: int,
    ) -> None:  # fmt: skip
        self.model, self.ask = model(), ask()
        self.schema, self.log_probs, self.batch_rows = schema, log_probs, batch_rows

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The finished rows of ``batch``, in its order."""
        return pa.Table.from_pylist(in_step(batch.to_pylist(), self.ask, self._answer), schema=self.schema)

    def _answer(self, requests: Sequence[Request]) -> list[Reply]:
        replies: dict[int, Reply] = {}
        finds = [(at, r) for at, r in enumerate(requests) if isinstance(r, Find)]
        # Begun first: they are searched for while the model writes.
        finding = self.ask.find([r for _, r in finds]) if finds else None
        # What is greedy and what is drawn go in batches of their own.
        writes = sorted(
            ((at, r) for at, r in enumerate(requests) if isinstance(r, Write)), key=lambda one: one[1].greedy
        )
        scores = [(at, r) for at, r in enumerate(requests) if isinstance(r, Score)]
        for part in _batches(writes, self.batch_rows):
            written = self.model.write([r for _, r in part], log_probs=self.log_probs)
            replies |= {at: reply for (at, _), reply in zip(part, written, strict=True)}
        for begin in range(0, len(scores), self.batch_rows):
            scored = scores[begin : begin + self.batch_rows]
            told = self.model.score([r for _, r in scored])
            replies |= {at: reply for (at, _), reply in zip(scored, told, strict=True)}
        if finding is not None:
            replies |= {
                at: Reply(found=found) for (at, _), found in zip(finds, finding.result(), strict=True)
            }
        return [replies[at] for at in range(len(requests))]


def _batches(writes: Sequence[tuple[int, Write]], size: int) -> Iterator[list[tuple[int, Write]]]:
    """At most ``size`` at once, and those of a batch all greedy or none of them."""
    for _, alike in groupby(writes, key=lambda one: one[1].greedy):
        together = list(alike)
        for begin in range(0, len(together), size):
            yield together[begin : begin + size]


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


def seq2seq_dialogues(
    *,
    model_path: str,
    dtype: str,
    sampling: dict[str, Any],
    seed: int,
    replicas: int,
    batch_rows: int,
    gpus: int,
    ask: Callable[[], Ask],
    schema: pa.Schema,
    log_probs: bool,
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """Ray Data edge of :class:`Seq2SeqDialogues`; see :func:`kard_ray.runtime.engine.dialogues`."""
    return lambda rows: rows.map_batches(
        Seq2SeqDialogues,
        fn_constructor_args=(
            lambda: Seq2SeqModel(model_path, dtype, sampling, seed),
            ask,
            schema,
            log_probs,
            batch_rows,
        ),
        batch_format="pyarrow",
        batch_size=batch_rows,
        compute=ray.data.ActorPoolStrategy(size=replicas),
        num_cpus=1,
        num_gpus=gpus,
    )
