from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.runtime.ledger import REPLIES, Ledger


def row(key: str, text: str = "A reason.", *, error: str = "", tokens: int = 5) -> dict[str, Any]:
    return {
        "key": key,
        "item_id": f"q-{key}",
        "sample": 0,
        "generated_text": "" if error else text,
        "prompt_tokens": 10,
        "generated_tokens": tokens,
        "finish_reason": "" if error else "stop",
        "error": error,
    }


@pytest.fixture(params=["file", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    return Ledger(f"{request.param}://{tmp_path}/ledger")


def keys(*names: str) -> pa.Array:
    return pa.array(names, pa.string())


def test_a_ledger_that_was_never_written_is_empty(ledger: Ledger) -> None:
    assert ledger.finished() == set()
    assert ledger.replies(keys("a")).schema == REPLIES
    assert ledger.replies(keys("a")).num_rows == ledger.tokens() == 0
    ledger.pack()


def test_replies_come_back_by_key_and_errors_are_never_among_them(ledger: Ledger) -> None:
    writer = ledger.writer()
    writer.append([row("b"), row("a"), row("c", error="HTTP 500")])
    writer.close()
    assert ledger.finished() == {"a", "b"}
    assert ledger.replies(keys("a", "b", "c", "z"))["key"].to_pylist() == ["a", "b"]
    assert ledger.errors(keys("a", "c"))["error"].to_pylist() == ["HTTP 500"]
    assert ledger.tokens() == 45


def test_a_reply_that_was_written_twice_is_read_once(ledger: Ledger) -> None:
    for _ in range(2):
        writer = ledger.writer()
        writer.append([row("a")])
        writer.close()
    assert ledger.replies(keys("a")).num_rows == 1
    assert ledger.tokens() == 15


def test_packing_changes_no_answer_and_leaves_one_file(ledger: Ledger) -> None:
    for number in range(9):
        writer = ledger.writer()
        writer.append([row(f"k{number}"), row(f"e{number}", error="boom")])
        writer.close()
    wanted = keys(*(f"{kind}{n}" for n in range(9) for kind in "ke"))
    before = ledger.replies(wanted), ledger.errors(wanted), ledger.tokens(), ledger.finished()
    ledger.pack()
    assert (ledger.replies(wanted), ledger.errors(wanted), ledger.tokens(), ledger.finished()) == before
    assert len(ledger.fs.ls(f"{ledger.path}/replies")) == 1


def test_half_a_line_of_a_killed_writer_is_not_read(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / "ledger"))
    writer = ledger.writer()
    writer.append([row("a"), row("b")])
    (journal,) = (tmp_path / "ledger" / "replies").iterdir()
    journal.write_bytes(journal.read_bytes()[:-7])
    assert ledger.finished() == {"a"}
    journal.write_bytes(journal.read_bytes()[:3])
    assert ledger.finished() == set()


KILLED = """
import os, signal, sys
from kard_ray.runtime.ledger import Ledger
writer = Ledger(sys.argv[1]).writer()
fields = dict(sample=0, generated_text="x", prompt_tokens=1, generated_tokens=1, finish_reason="stop", error="")
for n in range(int(sys.argv[2])):
    writer.append([fields | dict(key=str(n), item_id=str(n))])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_append_has_taken_survives_the_death_of_the_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "37"], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert Ledger(str(tmp_path)).finished() == {str(n) for n in range(37)}


def test_where_nothing_can_be_appended_rows_are_written_in_chunks(tmp_path: Path) -> None:
    ledger = Ledger(f"memory://{tmp_path}/chunks")
    writer = ledger.writer()
    for n in range(200):
        writer.append([row(f"{n:03}")])
    written = len(ledger.finished())
    assert 200 - 64 < written <= 200
    writer.close()
    assert len(ledger.finished()) == 200
    assert len(fsspec.filesystem("memory").ls(f"{ledger.path}/replies")) <= 200 // 64 + 2


@given(st.text(st.characters(codec=None), max_size=200))
def test_any_text_is_kept(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("ledger")))
    writer = ledger.writer()
    writer.append([row("a", text)])
    writer.close()
    assert ledger.replies(keys("a"))["generated_text"].to_pylist() == [text.encode(errors="replace").decode()]
