from __future__ import annotations

import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.passage import BadRow
from kard_ray.knowledge.readers import lines
from kard_ray.knowledge.readers.lines import line_shards, lines_between, read_lines

CONTENT = st.lists(
    st.sampled_from([b"\n", b"\r\n", b"\r", b"a", "é😀".encode(), b"\xff", b" "]) | st.binary(max_size=8),
    max_size=40,
).map(b"".join)


@given(CONTENT, st.integers(1, 50))
def test_ranges_of_any_size_give_each_line_once(content, size):
    whole = list(lines_between(io.BytesIO(content)))
    assert [line for _, line in whole] == io.BytesIO(content).readlines()
    assert all(content[at : at + len(line or b"")] == line for at, line in whole)
    ranged = []
    for start in range(0, len(content), size):
        found = list(lines_between(io.BytesIO(content), start, min(start + size, len(content))))
        assert all(start <= offset < start + size for offset, _ in found)
        ranged += found
    assert ranged == whole


@given(CONTENT, st.integers(1, 30), st.integers(1, 10))
def test_lines_beyond_the_limit_are_told_and_no_other(content, size, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "MAX_LINE_BYTES", limit)
        ranged = [
            found
            for start in range(0, len(content), size)
            for found in lines_between(io.BytesIO(content), start, start + size)
        ]
    whole = lines_between(io.BytesIO(content))
    assert ranged == [(at, None if len(line or b"") > limit else line) for at, line in whole]


class Endless(io.RawIOBase):
    """A file of one line that has no end."""

    def readable(self):
        return True

    def readinto(self, buffer):
        self.read_bytes = getattr(self, "read_bytes", 0) + len(buffer)
        if self.read_bytes > 50_000_000:
            return 0
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


def test_an_overlong_line_is_skipped_in_pieces(monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    tracemalloc.start()
    assert list(lines_between(io.BufferedReader(Endless()))) == [(0, None)]
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_large_file_is_cut_and_a_compressed_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "SHARD_BYTES", 10)
    for name, size in (("small", 10), ("large", 25), ("large.gz", 25), ("empty", 0)):
        (tmp_path / name).write_bytes(b"x" * size)
    shards = line_shards(str(tmp_path / name) for name in ("small", "large", "large.gz", "empty"))
    assert len(shards) == 1 + 3 + 1 + 1
    assert [s for s in shards if not s.startswith("{")] == [
        str(tmp_path / name) for name in ("small", "large.gz", "empty")
    ]


def test_places_are_numbers_in_a_whole_file_and_offsets_in_a_range(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"one\n\n  \ntwo\n" + b"x" * 20 + b"\nthree")
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 12)
    told = BadRow(where=f"{file}:5", reason="the line has more than 12 bytes")
    (shard,) = line_shards([str(file)])
    assert list(read_lines(shard)) == [
        (f"{file}:1", b"one\n"),
        (f"{file}:4", b"two\n"),
        told,
        (f"{file}:6", b"three"),
    ]
    monkeypatch.setattr(lines, "SHARD_BYTES", 16)
    found = [row for shard in line_shards([str(file)]) for row in read_lines(shard)]
    assert [row.where if isinstance(row, BadRow) else row[0] for row in found] == [
        f"{file}:byte {at}" for at in (0, 8, 12, 33)
    ]
