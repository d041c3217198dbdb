"""Which training questions are only looked at."""

from __future__ import annotations

import hashlib


def is_held_out(question_id: str, share: float, seed: int) -> bool:
    """Whether a question is one of the ``share`` (0 to 1) held out: by its hash, so all its rows are."""
    digest = hashlib.sha256(f"held out:{seed}:{question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
