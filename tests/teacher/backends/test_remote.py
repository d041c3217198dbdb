"""The actor that asks an endpoint, without Ray."""

from __future__ import annotations

import asyncio
from typing import Any

import pyarrow as pa

from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.backends.remote import Asking
from kard_ray.teacher.backends.work import PROMPTS, Style
from tests.teacher.backends.asking import SAMPLING, settings
from tests.teacher.backends.endpoint_server import MODEL


def test_replies_are_in_the_ledger_when_they_count_as_done_also_where_nothing_can_be_appended(
    serve: Any, tmp_path: Any
) -> None:
    ledger = Ledger(f"memory://{tmp_path}/ledger")
    rows = [
        {
            "item_id": f"q{n}",
            "opening": "a",
            "turn": f"Why {n}?",
            "samples": [0, 1],
            "keys": [f"{n}-0", f"{n}-1"],
        }
        for n in range(3)
    ]

    async def run() -> list[pa.Table]:
        openings = {"a": [{"role": "system", "content": "Explain."}]}
        asking = Asking(settings(serve()), MODEL, SAMPLING, Style(), 0, None, openings, ledger.url)
        return [counted async for counted in asking(pa.Table.from_pylist(rows, schema=PROMPTS))]

    (counted,) = asyncio.run(run())
    assert counted["replies"].to_pylist() == [6]
    assert ledger.finished() == {key for row in rows for key in row["keys"]}
