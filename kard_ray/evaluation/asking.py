"""How one student is asked one question: rounds, passes, samples, options, and what it held probable."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

import pyarrow as pa

from kard_ray.benchmarks.rendering import conclusion
from kard_ray.evaluation.confidence import written_confidence
from kard_ray.evaluation.prompts import STUDENT, Manner, prompt_ids, search_for
from kard_ray.evaluation.rounds import merged, query_with_passage
from kard_ray.evaluation.searching import SEARCHES, Found, Searching
from kard_ray.evaluation.sources import Search, searched
from kard_ray.runtime.dialogue import Dialogue, Find, Reply, Request, Score, Write
from kard_ray.student.rendering import opening

_CONCLUSION = "So the answer is"  # how every conclusion begins; a rationale ends before it

# One entry per prompt that was prefilled, in it one number per text that was drawn from it
CALLS = pa.list_(pa.struct([("prompt_tokens", pa.int32()), ("generated_tokens", pa.list_(pa.int32()))]))

WRITTEN = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("question_id", pa.string()),
        ("source", pa.string()),
        ("passage_ids", pa.list_(pa.string())),
        (
            "samples",
            pa.list_(
                pa.struct(
                    [
                        ("texts", pa.list_(pa.string())),  # one per pass
                        ("option", pa.int32()),  # the most probable one; null unless options were scored
                        ("option_log_probs", pa.list_(pa.float64())),  # one per option, in nats; else null
                        ("confidence", pa.float64()),  # of this sample's answer; null when unknown
                    ]
                )
            ),
        ),
        ("calls", CALLS),
        ("searches", SEARCHES),
        ("seconds", pa.float64()),
        ("error", pa.string()),
    ]
)


@dataclass(kw_only=True, slots=True)
class _Sample:
    """One line of thought: what was written in each pass, and what came of it."""

    texts: list[str] = field(default_factory=list)  # as they were written, without what the cue began
    option: int | None = None
    option_log_probs: list[float] | None = None
    confidence: float | None = None


@dataclass(kw_only=True, slots=True)
class _Asked:
    """One question asked once, with or without passages."""

    samples: list[_Sample]
    calls: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What a student is shown with a question, and how it was found."""

    passages: Sequence[Mapping[str, Any]] = ()
    searches: Sequence[Mapping[str, Any]] = ()


class Asking:
    """The dialogues of the rows of :class:`StudentPrompts`; see :class:`kard_ray.runtime.dialogue.Ask`."""

    def __init__(self, manners: Sequence[Manner], search: Searching) -> None:
        self.manners = manners
        self.renderers = [manner.renderer() for manner in manners]
        self.search = search

    def __call__(self, row: Mapping[str, Any]) -> Dialogue:
        """Ask once; with ``ask_below`` first without passages, and with them only when it is not confident enough."""
        manner = self.manners[row[STUDENT]]
        before: list[_Asked] = []
        if row["alone_ids"] is not None:
            alone = yield from self._ask(row, row["alone_ids"], ())
            confidence = alone.samples[0].confidence
            if confidence is not None and manner.ask_below is not None and confidence >= manner.ask_below:
                return self._finished(row, _Read(), alone)
            before.append(alone)
        prompt, read = row["prompt_ids"], _Read(passages=row["passages"], searches=row["searches"])
        source = searched(row["source"])
        if source is not None and source.rounds > 1:
            led, read = yield from self._search_again(row, read, source.search, source.rounds)
            before.append(led)
            prompt = prompt_ids(self.renderers[row[STUDENT]], manner, row, read.passages, ())
        asked = yield from self._ask(row, prompt, read.passages)
        return self._finished(row, read, *before, asked)

    def find(self, requests: Sequence[Find]) -> Future[list[Found]]:
        """See :meth:`kard_ray.runtime.dialogue.Ask.find`."""
        return self.search.begin(requests)

    def failed(self, row: Mapping[str, Any], error: str) -> dict[str, Any]:
        """A row without text, with its error."""
        read = _Read(passages=row["passages"])
        return self._row(row, read) | {"samples": [], "calls": [], "seconds": 0.0, "error": error}

    def _search_again(
        self, row: Mapping[str, Any], first: _Read, search: Search, rounds: int
    ) -> Generator[Sequence[Request], Sequence[Reply], tuple[_Asked, _Read]]:
        """All rounds behind the ``first``: what they cost the student, and what all of them found together.

        A rationale is written greedily from what the rounds before found, in the first pass of the method; what was
        searched for is not told to the student, so each round is asked as if it were the only one.
        """
        manner, renderer = self.manners[row[STUDENT]], self.renderers[row[STUDENT]]
        led = _Asked(samples=[])
        found: list[Sequence[Mapping[str, Any]]] = [first.passages]
        searches = list(first.searches)
        used: list[str] = []
        while len(found) < rounds:
            if manner.next_query == "rationale":
                prompt = prompt_ids(renderer, manner, row, merged(found, manner.passages), ())
                (written,) = yield [Write(prompt_ids=prompt, stop=manner.stop, greedy=True)]
                led.calls += calls([prompt], [written])
                led.seconds += written.seconds
                text = f"{opening(manner.cues[0])} {written.text}".strip()
                query = f"{row['question']} {text}".strip()
            else:
                query, joined = query_with_passage(row["question"], found[-1], used)
                used += [joined] if joined is not None else []
            request = search_for(query, row[STUDENT], search, self.manners)
            (reply,) = yield [request]
            found.append(reply.found.passages)
            searches.append(reply.found.record(query))
        return led, _Read(passages=merged(found, manner.passages), searches=searches)

    def _ask(
        self, row: Mapping[str, Any], first: Sequence[int], passages: Sequence[Mapping[str, Any]]
    ) -> Generator[Sequence[Request], Sequence[Reply], _Asked]:
        manner, renderer = self.manners[row[STUDENT]], self.renderers[row[STUDENT]]
        asked = _Asked(samples=[_Sample() for _ in range(manner.samples)])
        scored = manner.score_options is not None and len(row["options"]) > 1
        prompts: list[Sequence[int]] = [first] * manner.samples
        for turn in range(len(manner.cues)):
            if turn:
                prompts = [
                    prompt_ids(renderer, manner, row, passages, sample.texts) for sample in asked.samples
                ]
            last = turn == len(manner.cues) - 1
            if last and scored and (not manner.reasons or manner.options_behind == "question"):
                break  # there is nothing to write but the answer
            stop = (*manner.stop, _CONCLUSION) if last and scored else manner.stop
            replies = yield [
                Write(prompt_ids=prompt, stop=stop, seed=self._seed(row, number, turn))
                for number, prompt in enumerate(prompts)
            ]
            asked.seconds += max(reply.seconds for reply in replies)
            asked.calls += calls(prompts, replies)
            for sample, reply in zip(asked.samples, replies, strict=True):
                sample.texts.append(reply.text)
                sample.confidence = written_confidence(
                    reply.text,
                    reply.tokens,
                    reply.log_probs,
                    renderer.tokenizer,
                    before=opening(manner.cues[turn]),
                )
        if scored:
            if manner.options_behind == "question":
                prompts = [self._at_once(row, passages)] * manner.samples
            yield from self._score(row, prompts, asked, passages)
        return asked

    def _at_once(self, row: Mapping[str, Any], passages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The prompt of a student that answers without a rationale."""
        manner = self.manners[row[STUDENT]]
        return prompt_ids(
            self.renderers[row[STUDENT]], replace(manner, cues=(manner.answer_cue,)), row, passages, ()
        )

    def _score(
        self,
        row: Mapping[str, Any],
        prompts: Sequence[Sequence[int]],
        asked: _Asked,
        passages: Sequence[Mapping[str, Any]],
    ) -> Generator[Sequence[Request], Sequence[Reply], None]:
        """Have each sample conclude with its most probable option.

        All options share the beginning of the text, so only the tokens from where they part are scored.
        """
        manner = self.manners[row[STUDENT]]
        behind = [
            (prompt, sample.texts[-1].strip() if len(sample.texts) == len(manner.cues) else "")
            for sample, prompt in zip(asked.samples, prompts, strict=True)
        ]
        both = manner.options_behind == "both" and manner.reasons
        if both:  # the same for all samples, so it is asked once
            behind.append((self._at_once(row, passages), ""))
        requests: list[Score] = []
        for prompt, reasoned in behind:
            texts = [
                self._target(row[STUDENT], reasoned, row["options"], at) for at in range(len(row["options"]))
            ]
            shared = common_prefix(texts)
            requests += [
                Score(prompt_ids=prompt, begun=text[:shared], scored=text[shared:]) for text in texts
            ]
        replies = yield requests
        asked.seconds += max(reply.seconds for reply in replies)
        size = len(row["options"])
        log_probs: list[list[float]] = []  # of the options, in nats, behind each of `behind`
        scores: list[list[float]] = []
        for number in range(len(behind)):
            told = replies[number * size : (number + 1) * size]
            first = requests[number * size]
            begun = 0 if self.renderers[row[STUDENT]].encoder_decoder else len(first.begun)
            asked.calls.append(
                {
                    "prompt_tokens": len(first.prompt_ids) + begun,
                    # An encoder-decoder model reads what was begun in its decoder.
                    "generated_tokens": [len(first.begun) - begun + len(reply.tokens) for reply in told],
                }
            )
            sums = [math.fsum(reply.log_probs) for reply in told]
            log_probs.append(sums)
            scores.append(
                sums
                if manner.score_options == "sum"
                else [total / len(reply.tokens) for total, reply in zip(sums, told, strict=True)]
            )
        for sample, sums, by in zip(asked.samples, log_probs, scores, strict=False):
            if both:
                sums = [(a + b) / 2 for a, b in zip(sums, log_probs[-1], strict=True)]
                by = [(a + b) / 2 for a, b in zip(by, scores[-1], strict=True)]
            sample.option = by.index(max(by))
            sample.option_log_probs = sums
            sample.confidence = 1.0 / math.fsum(math.exp(other - by[sample.option]) for other in by)
            sentence = self._conclusion(row["options"], sample.option, manner)
            if len(sample.texts) < len(manner.cues):
                sample.texts.append(sentence)
            else:
                sample.texts[-1] = f"{sample.texts[-1].strip()} {sentence}".strip()

    def _target(self, student: int, reasoned: str, options: Sequence[str], option: int) -> list[int]:
        """Token ids of the whole text that ends in ``option``, without EOS, as the student learned to write it."""
        renderer, manner = self.renderers[student], self.manners[student]
        text = f"{reasoned} {self._conclusion(options, option, manner)}".strip()
        if opening(manner.cues[-1]):  # the text goes on in the middle of a sentence
            ids: list[int] = renderer.tokenizer(f" {text}", add_special_tokens=False).input_ids
            return ids
        return renderer.target_ids(text)[:-1]

    def _conclusion(self, options: Sequence[str], option: int, manner: Manner) -> str:
        """The closing sentence, without what the cue of the last pass has said of it."""
        return conclusion(options, option, manner.form).removeprefix(opening(manner.cues[-1])).strip()

    def _seed(self, row: Mapping[str, Any], sample: int, turn: int) -> int | None:
        """Its own for each draw; the same again whatever else is in the batch."""
        seed = self.manners[row[STUDENT]].seed
        if seed is None:
            return None
        name = f"{seed}/{row['prediction_id']}/{sample}/{turn}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1

    def _row(self, row: Mapping[str, Any], read: _Read) -> dict[str, Any]:
        return {name: row[name] for name in ("prediction_id", "question_id", "source", STUDENT)} | {
            "passage_ids": [passage["passage_id"] for passage in read.passages],
            "searches": read.searches,
        }

    def _finished(self, row: Mapping[str, Any], read: _Read, *asked: _Asked) -> dict[str, Any]:
        """The row of the last time it was ``asked``; all times cost."""
        cues = self.manners[row[STUDENT]].cues
        return self._row(row, read) | {
            "samples": [
                {
                    "texts": [
                        f"{opening(cue)} {text.strip()}".strip()
                        for cue, text in zip(cues, sample.texts, strict=True)
                    ],
                    "option": sample.option,
                    "option_log_probs": sample.option_log_probs,
                    "confidence": sample.confidence,
                }
                for sample in asked[-1].samples
            ],
            "calls": [call for one in asked for call in one.calls],
            "seconds": math.fsum(one.seconds for one in asked),
            "error": "",
        }


def calls(prompts: Sequence[Sequence[int]], replies: Sequence[Reply]) -> list[dict[str, Any]]:
    """What was computed: one entry per different prompt, with the tokens of each text that was drawn from it."""
    drawn: dict[tuple[int, ...], list[int]] = {}
    for prompt, reply in zip(prompts, replies, strict=True):
        drawn.setdefault(tuple(prompt), []).append(len(reply.tokens))
    return [{"prompt_tokens": len(prompt), "generated_tokens": counts} for prompt, counts in drawn.items()]


def common_prefix(texts: Sequence[Sequence[int]]) -> int:
    """Tokens that all ``texts`` begin with; each keeps at least one of its own."""
    same = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))
    return min(same, *(len(text) - 1 for text in texts))
