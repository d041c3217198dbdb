"""Errors a user can act on: one sentence, no traceback, exit code 2."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend.

    The message is one sentence (or one line per mistake) that names the field or file, what was
    found, what was expected and what to do. ``kard-ray`` prints it and exits with 2.
    """
