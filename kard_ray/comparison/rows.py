"""Rows of a comparison, what they are called, and which of them stand against which.

A row is a student that answers all questions with passages from one source, the mean over its seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

ALONE, SILVER, GATED = "none", "silver", "gated"  # passages: none; the upper bound; asked for when unsure

Key = tuple[str, str, str]  # student, method, passages: a row


def row_id(key: Key) -> str:
    """How pairs name a row."""
    return "/".join(key)


def pairs_to_test(keys: Sequence[Key], claims: Collection[str]) -> list[tuple[str, str]]:
    """Which rows are compared: each claimed method with every other of its student. Without one, all pairs.

    Few tests, so that the correction for their number leaves something to be seen: a method stands against others as it
    reads its first source, and its further ones (a reranker, more rounds) against that. Silver passages are found with
    the teacher's rationale, so they stand against their own method, and against another's silver passages; the two ways
    of answering of a method that chooses between them stand against their own method alone.
    """
    rows = list(dict.fromkeys(keys))
    gated = {key[:2] for key in rows if key[2].startswith(GATED)}
    parts = [key for key in rows if key[2] == SILVER or (key[:2] in gated and not key[2].startswith(GATED))]
    fair = [key for key in rows if key not in parts]
    first = {key[:2]: key for key in reversed(fair)}
    leading = [key for key in fair if first[key[:2]] == key]
    claimed = [key for key in leading if key[1] in claims]
    pairs = [(key, first[key[:2]]) for key in fair if key not in leading]
    for at, a in enumerate(leading):
        for b in leading[at + 1 :]:
            if a[0] != b[0] or (claimed and a not in claimed and b not in claimed):
                continue
            # The claimed method comes first; of two, the one that is claimed earlier stays in front.
            pairs.append((b, a) if claimed and a not in claimed else (a, b))
    pairs.sort(key=lambda pair: rows.index(pair[0]))
    for part in parts:
        own = [key for key in fair if key[:2] == part[:2] and key[2] != ALONE]
        pairs += [(part, other) if part[2] == SILVER else (other, part) for other in own]
    silver = [key for key in rows if key[2] == SILVER]
    pairs += [
        (a, b)
        for a in silver
        for b in silver
        if a[0] == b[0] and a[1] in claims and (b[1] not in claims or rows.index(a) < rows.index(b))
    ]
    return [(row_id(a), row_id(b)) for a, b in pairs]
