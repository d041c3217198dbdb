"""What goes into every backend and what comes out of it: the tables, the key of a reply, and the interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.prompt import TEMPLATE_VERSION, TeacherTemplate

if TYPE_CHECKING:
    import ray

Messages = Sequence[Mapping[str, str]]  # role and content of each turn of a conversation

PROMPTS = pa.schema(
    [
        pa.field("item_id", pa.string()),
        pa.field("opening", pa.string()),  # name of the messages before the turn, which many items share
        pa.field("turn", pa.string()),  # the last message, the user's
        pa.field("samples", pa.list_(pa.int32())),  # those still wanted
        pa.field("keys", pa.list_(pa.string())),  # of their replies in the ledger
    ]
)

TALLY = pa.schema(
    [
        pa.field("replies", pa.int64()),
        pa.field("errors", pa.int64()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("generated_tokens", pa.int64()),
        # Since the first of these requests went to an engine; 0: not known
        pa.field("seconds", pa.float64()),
        pa.field("stopped", pa.string()),  # why no more requests are sent; empty while they are
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """Something to write texts for: a question (its rationales), or a rationale (its symbolic knowledge)."""

    item_id: str
    opening: str
    turn: str
    samples: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How a conversation becomes a prompt, and what form the text must have."""

    template: TeacherTemplate = "chat"
    label: str = "Explanation"  # opens the teacher's turns in a plain prompt
    schema: Mapping[str, Any] | None = None  # JSON schema of the text

    def identity(self) -> list[Any]:
        """JSON of it, with the version of the code that writes prompts."""
        return [self.template, TEMPLATE_VERSION, self.label, self.schema]


class Backend(Protocol):
    """Who writes. Replies go to the ledger from the workers, as they come; the driver only counts."""

    @property
    def block_items(self) -> int:
        """Items of one block: what is read, and repeated after a failure, together."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """JSON of everything but the prompt that decides a reply: model, revision, sampling, template, seed."""
        ...

    def models(self) -> Mapping[str, str]:
        """Model references and their revisions, for the manifest."""
        ...

    def transform(
        self, prompts: ray.data.Dataset, openings: Mapping[str, Messages], ledger: Ledger
    ) -> ray.data.Dataset:
        """PROMPTS in, TALLY out (any number of rows). Each sample ends as a reply or an error in the ledger.

        Raises UserError, here or in a worker, for what makes every request fail alike.
        """
        ...


def tally(rows: Iterable[Mapping[str, Any]], *, seconds: float = 0.0, stopped: str = "") -> pa.Table:
    """One row of TALLY for ``rows`` of the ledger."""
    found = list(rows)
    errors = sum(bool(row["error"]) for row in found)
    return pa.Table.from_pylist(
        [
            {
                "replies": len(found) - errors,
                "errors": errors,
                "prompt_tokens": sum(row["prompt_tokens"] for row in found),
                "generated_tokens": sum(row["generated_tokens"] for row in found),
                "seconds": seconds,
                "stopped": stopped,
            }
        ],
        schema=TALLY,
    )


def reply_row(
    *, key: str, item_id: str, sample: int, text: str = "", prompt_tokens: int = 0, generated_tokens: int = 0,
    finish_reason: str = "", error: str = "",
) -> dict[str, Any]:  # fmt: skip
    """A row of the ledger; a row with an error has no text."""
    return {
        "key": key,
        "item_id": item_id,
        "sample": sample,
        "generated_text": "" if error else text,
        "prompt_tokens": prompt_tokens,
        "generated_tokens": generated_tokens,
        "finish_reason": finish_reason,
        "error": error,
    }


class Keys:
    """The ledger's key of a sample: item, sample, prompt, and the backend's identity (32 hex digits of SHA-256)."""

    def __init__(self, openings: Mapping[str, Messages], identity: Mapping[str, Any]) -> None:
        said = json.dumps(identity, sort_keys=True, ensure_ascii=True)
        self._openings = {
            name: hashlib.sha256(json.dumps([list(map(dict, messages)), said]).encode()).hexdigest()
            for name, messages in openings.items()
        }

    def of(self, item: Item, sample: int) -> str:
        """The key of one sample of ``item``."""
        text = json.dumps([item.item_id, sample, self._openings[item.opening], item.turn])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def expanded(prompts: pa.Table) -> Iterator[dict[str, Any]]:
    """One row per sample of PROMPTS: item_id, opening, turn, sample, key."""
    for row in prompts.to_pylist():
        for sample, key in zip(row["samples"], row["keys"], strict=True):
            yield {name: row[name] for name in ("item_id", "opening", "turn")} | {
                "sample": sample,
                "key": key,
            }
