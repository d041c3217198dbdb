"""Files of lines: cut into byte ranges that workers read on their own, with bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from kard_ray.knowledge.passage import BadRow
from kard_ray.knowledge.readers import files

SHARD_BYTES = 64 << 20  # a larger file that is not compressed is read in ranges of this size
MAX_LINE_BYTES = 64 << 20  # a longer line is skipped and told


def line_shards(urls: Iterable[str]) -> list[str]:
    """A shard for each file, or for each range of a large file as JSON: path, start and stop in bytes."""
    shards: list[str] = []
    for url in urls:
        size = None if files.is_compressed(url) else files.size_of(url)
        if size is None or size <= SHARD_BYTES:
            shards.append(url)
            continue
        shards += [
            json.dumps({"path": url, "start": start, "stop": min(start + SHARD_BYTES, size)})
            for start in range(0, size, SHARD_BYTES)
        ]
    return shards


def read_lines(shard: str) -> Iterator[tuple[str, bytes] | BadRow]:
    """(where, line) of each line that is not blank; a line beyond MAX_LINE_BYTES is a BadRow.

    ``where`` is file:number in a file read as a whole, and file:byte offset in a range of one.
    """
    # Paths are absolute or have a protocol, so that only a range begins with a brace.
    whole: dict[str, Any] = {"path": shard, "start": 0, "stop": None}
    part = json.loads(shard) if shard.startswith("{") else whole
    url, stop = part["path"], part["stop"]
    with files.open_plain(url) as stream:
        for number, (offset, line) in enumerate(lines_between(stream, part["start"], stop), start=1):
            where = f"{url}:{number}" if stop is None else f"{url}:byte {offset}"
            if line is None:
                yield too_long(where)
            elif line.strip():
                yield where, line


def lines_between(
    stream: IO[bytes], start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, bytes | None]]:
    """(offset of the first byte, line with its line feed) of the lines that begin in ``start <= offset < stop``.

    None stands for a line of more than MAX_LINE_BYTES, which is never held in memory.
    """
    offset = start
    if start:  # the line around byte start - 1 belongs to an earlier range
        stream.seek(start - 1)
        offset += _skip_line(stream) - 1
    while stop is None or offset < stop:
        line = stream.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        length = len(line)
        if length > MAX_LINE_BYTES:
            if not line.endswith(b"\n"):
                length += _skip_line(stream)
            yield offset, None
        else:
            yield offset, line
        offset += length


def _skip_line(stream: IO[bytes]) -> int:
    """Read to the end of the line; the number of bytes read."""
    skipped = 0
    while block := stream.readline(1 << 20):
        skipped += len(block)
        if block.endswith(b"\n"):
            break
    return skipped


def too_long(where: str) -> BadRow:
    """The failure of a line beyond MAX_LINE_BYTES."""
    return BadRow(where=where, reason=f"the line has more than {MAX_LINE_BYTES} bytes")


def parse_json(line: bytes, *, where: str) -> object | BadRow:
    """The JSON value of a line, or why it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow(where=where, reason=f"not JSON in UTF-8: {str(error)[:100]}")
