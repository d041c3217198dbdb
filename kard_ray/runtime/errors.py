"""Errors a user can act on: one sentence, no traceback, exit code 2."""

from __future__ import annotations

import errno
import re
from typing import Any


class UserError(Exception):
    """Something the user can mend.

    The message is one sentence (or one line per mistake) that names the field or file, what was
    found, what was expected and what to do. ``kard-ray`` prints it and exits with 2.
    """


# Ray sends a worker's error without its causes, only as text: a traceback whose paragraphs end in "module.Class: text".
_USER_ERROR_IN_TEXT = re.compile(r"kard_ray\.runtime\.errors\.UserError: (.+?)(?:\n\s*\n|\Z)", re.DOTALL)


def explain(error: BaseException) -> str | None:
    """The sentence for an error that the user can mend, wherever it was raised (also in a Ray worker), else None."""
    seen: set[int] = set()
    current: Any = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, UserError):
            return str(current.args[0] if current.args else current)
        if told := _USER_ERROR_IN_TEXT.search(str(current)):
            return told[1].strip()
        full = isinstance(current, OSError) and current.errno == errno.ENOSPC
        if full or "No space left on device" in str(current):
            return (
                "the disk is full: a file could not be written. Free some space and run the same command again; "
                "finished rows are kept."
            )
        cause = getattr(current, "cause", None)  # Ray's errors; other libraries keep other things there
        current = cause if isinstance(cause, BaseException) else current.__cause__ or current.__context__
    return None
