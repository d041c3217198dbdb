"""What one student is shown with a question: passages that are searched for, and the prompt that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from kard_ray.benchmarks.rendering import AnswerForm
from kard_ray.evaluation.rounds import NextQuery
from kard_ray.evaluation.searching import SEARCHES, How, KnowledgeSource, Searching
from kard_ray.evaluation.sources import Search, searched
from kard_ray.knowledge.retrieval import PASSAGE_LIST
from kard_ray.runtime.dialogue import ADAPTER, Find
from kard_ray.runtime.model_files import is_encoder_decoder, load_tokenizer
from kard_ray.student.help import Shot
from kard_ray.student.rendering import DEFAULT_CUE, Renderer, RenderingConfig, next_cue

STUDENT = "student"  # column of a row: which of the students that share an engine is asked

OptionsBehind = Literal["rationale", "question", "both"]

_PROMPTS = pa.list_(pa.int32())


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """How one student is asked; the same for all of its questions."""

    tokenizer: str  # folder with the student's tokenizer and configuration
    rendering: RenderingConfig
    form: AnswerForm
    passages: int = 0  # k, shown at most
    knowledge: KnowledgeSource | None = None  # None: nothing is searched for
    next_query: NextQuery = "rationale"  # what is searched for in rounds behind the first
    cues: tuple[str, ...] = (DEFAULT_CUE,)
    reasons: bool = True  # whether what it writes in its last pass begins with a rationale
    stop: tuple[str, ...] = ()
    shots: Mapping[str, Sequence[Shot]] = field(default_factory=dict)  # by the question's pattern
    samples: int = 1
    seed: int | None = None  # of the draws; None: greedy
    score_options: Literal["sum", "mean"] | None = (
        None  # of log p over an option's tokens; None: it writes its answer
    )
    # What the options are scored behind: the rationale that it wrote, the question alone, or both, of which the mean
    # counts. Behind the question the prompt ends with ``answer_cue``.
    options_behind: OptionsBehind = "rationale"
    answer_cue: str = DEFAULT_CUE
    # A student that reads is first asked without passages, and is believed when it is at least this confident.
    ask_below: float | None = None
    adapter: str = ""  # folder of its LoRA adapter; empty: the model that the engine runs is the student

    def renderer(self) -> Renderer:
        """The renderer of its prompts."""
        return Renderer(
            load_tokenizer(self.tokenizer),
            self.rendering,
            self.form,
            encoder_decoder=is_encoder_decoder(self.tokenizer),
        )


class StudentPrompts:
    """Adds each row's passages and first prompt; an actor's callable, so that the engine waits for neither.

    Rows whose source is a search get the passages that their query finds. One actor for both steps: each one more is a
    process that imports its libraries while the engine does.
    """

    def __init__(self, manners: Sequence[Manner], search: Searching) -> None:
        self.manners = manners
        self.renderers = [manner.renderer() for manner in manners]
        self.search = search

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Columns of :func:`~kard_ray.evaluation.predict.prediction_rows` and STUDENT in; the dialogue's out."""
        rows = batch.to_pylist()
        records = self._find(rows)
        prompts, alone, shown, adapters = [], [], [], []
        for row in rows:
            manner = self.manners[row[STUDENT]]
            passages = row["passages"][: manner.passages]
            shown.append(passages)
            prompts.append(self._prompt(row, passages))
            twice = manner.ask_below is not None and row["source"] != "none"
            alone.append(self._prompt(row, []) if twice else None)
            adapters.append(manner.adapter)
        return (
            batch.drop_columns(["passages", "query"])
            .append_column("passages", pa.array(shown, PASSAGE_LIST))
            .append_column("searches", pa.array(records, SEARCHES))
            .append_column("prompt_ids", pa.array(prompts, _PROMPTS))
            .append_column("alone_ids", pa.array(alone, _PROMPTS))
            .append_column(ADAPTER, pa.array(adapters, pa.string()))
        )

    def _find(self, rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
        """Give rows the passages of their first search; returns what there is to tell of it."""
        records: list[list[dict[str, Any]]] = [[] for _ in rows]
        asking = [(at, source.search) for at, row in enumerate(rows) if (source := searched(row["source"]))]
        if not asking:
            return records
        requests = [
            search_for(rows[at]["query"], rows[at][STUDENT], search, self.manners) for at, search in asking
        ]
        told = self.search.begin(requests).result()
        for (at, _), request, found in zip(asking, requests, told, strict=True):
            rows[at]["passages"] = found.passages
            records[at].append(found.record(request.query))
        return records

    def _prompt(self, row: Mapping[str, Any], passages: Sequence[Mapping[str, Any]]) -> list[int]:
        return prompt_ids(self.renderers[row[STUDENT]], self.manners[row[STUDENT]], row, passages, ())


def search_for(query: str, student: int, search: Search, manners: Sequence[Manner]) -> Find:
    """The request for what ``student`` can be shown."""
    return Find(query=query, how=How(student, search), k=manners[student].passages)


def prompt_ids(
    renderer: Renderer,
    manner: Manner,
    row: Mapping[str, Any],
    passages: Sequence[Mapping[str, Any]],
    written: Sequence[str],
) -> list[int]:
    """The prompt of the pass after those in which ``written`` was written."""
    texts = [(p["title"], p["text"]) for p in passages]
    cue = next_cue(manner.cues, written)
    return renderer.prompt_ids(
        row["question"], row["options"], texts, cue, shots=manner.shots.get(row["pattern"], ())
    )
