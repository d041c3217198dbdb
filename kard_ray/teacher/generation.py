"""Have texts written: only those that the ledger does not hold yet, by any backend, on Ray Data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.ledger import REPLIES, Ledger
from kard_ray.runtime.progress import Progress
from kard_ray.teacher.backends.work import PROMPTS, Backend, Item, Keys, Messages

_COUNTS = ("replies", "errors", "generated_tokens")
_SHORTEST_RATE = 5.0  # seconds; a rate of less says little


class Plan:
    """What has to be written for ``items``, and what of it the ledger of ``backend`` holds."""

    def __init__(
        self, items: Sequence[Item], openings: Mapping[str, Messages], backend: Backend, ledger: Ledger
    ) -> None:
        keys = Keys(openings, backend.identity())
        self.items, self.openings = items, openings
        self.keys = [[keys.of(item, sample) for sample in item.samples] for item in items]
        finished = ledger.finished()
        self.finished = sum(key in finished for found in self.keys for key in found)
        self._missing = [
            [sample for sample, key in zip(item.samples, found, strict=True) if key not in finished]
            for item, found in zip(items, self.keys, strict=True)
        ]
        self.missing = sum(map(len, self._missing))

    @property
    def total(self) -> int:
        """Samples in all."""
        return self.finished + self.missing

    def missing_items(self) -> Iterator[tuple[Item, list[int]]]:
        """Items of which something is missing, and those samples."""
        return ((item, wanted) for item, wanted in zip(self.items, self._missing, strict=True) if wanted)

    def blocks(self, items: int) -> Iterator[pa.Table]:
        """Tables of PROMPTS with up to ``items`` rows, of what is missing, in order."""
        rows = (
            {
                "item_id": item.item_id,
                "opening": item.opening,
                "turn": item.turn,
                "samples": wanted,
                "keys": [key for sample, key in zip(item.samples, keys, strict=True) if sample in wanted],
            }
            for item, keys, wanted in zip(self.items, self.keys, self._missing, strict=True)
            if wanted
        )
        while block := list(islice(rows, items)):
            yield pa.Table.from_pylist(block, schema=PROMPTS)


@dataclass(frozen=True, slots=True)
class Generated:
    """What came out, and how fast."""

    table: pa.Table  # schema REPLIES, one row per item and sample, in the items' order
    # Generated, from the first rows to the last; None: too few, or none were missing
    tokens_per_second: float | None


def generate(
    items: Sequence[Item], openings: Mapping[str, Messages], backend: Backend, ledger: Ledger, *, label: str
) -> Generated:
    """A reply for each item and sample, or the error it ended in.

    Samples that the ledger holds are not asked for again; those that ended in an error before are. Raises UserError
    when the backend stopped before the end (a budget) or a sample was lost; what is finished is kept.
    """
    plan = Plan(items, openings, backend, ledger)
    stopped, rate = _run(plan, backend, ledger, label) if plan.missing else ("", None)
    keys = pa.array([key for found in plan.keys for key in found], pa.string())
    replies = ledger.replies(keys)
    without = keys.filter(pc.invert(pc.is_in(keys, value_set=replies["key"].combine_chunks())))
    errors = ledger.errors(without) if len(without) else REPLIES.empty_table()
    lost = len(without) - errors.num_rows
    if lost or stopped:
        raise UserError(
            f"{label}: {stopped or 'rows were lost on the way'}; {replies.num_rows} of {plan.total} texts are finished "
            "and kept, and the same command asks only for the others."
        )
    found = pa.concat_tables([replies, errors])
    ledger.pack()
    return Generated(found.take(pc.index_in(keys, value_set=found["key"].combine_chunks())), rate)


def _run(plan: Plan, backend: Backend, ledger: Ledger, label: str) -> tuple[str, float | None]:
    """Have what is missing written; returns why the backend stopped early, if it did, and the rate."""
    import ray

    if plan.finished:
        print(f"{label}: {plan.finished} of {plan.total} texts were written before and are kept")
    blocks = list(plan.blocks(backend.block_items))
    tallies = backend.transform(ray.data.from_arrow(blocks), plan.openings, ledger)
    stopped = ""
    with Progress(label, total=plan.total, unit="texts", done=plan.finished) as progress:
        batches: Iterable[pa.Table] = tallies.iter_batches(batch_size=None, batch_format="pyarrow")
        for batch in batches:
            counted = {name: pc.sum(batch[name]).as_py() or 0 for name in _COUNTS}
            progress.advance(
                counted["replies"] + counted["errors"],
                failures=counted["errors"],
                tokens=counted["generated_tokens"],
                seconds=pc.max(batch["seconds"]).as_py() or 0.0,
            )
            stopped = next(filter(None, batch["stopped"].to_pylist()), stopped)
        rate = progress.tokens_per_second(_SHORTEST_RATE)
    return stopped, rate
