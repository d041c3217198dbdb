"""Keep a rationale only if every comparison it states between two numbers is true.

A weak teacher writes lines such as "9,460,972 is larger than 9,460,972. So the answer is yes."
They conclude with the gold answer and use only numbers from the passages, so the other filters
pass them; a student trained on them learns to compare wrongly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from kard_ray.teacher.filters.base import Written

_MORE = "larger|greater|higher|bigger|longer|more|older|above|taller"
_LESS = "smaller|less|lower|shorter|fewer|younger|below"
_SCALE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_NUMBER = rf"-?\$?\d[\d,]*(?:\.\d+)?(?:\s+(?:{'|'.join(_SCALE)})\b)?"
# Up to four words (a unit) may stand between a number and the verb, up to six before the second number, and either
# number may stand in parentheses.
_STATEMENT = re.compile(
    rf"(?P<a>{_NUMBER})(?P<unit>[%)]*(?:\s+[^\s\d.,;]+){{0,4}}?)\s+(?:is|are|was|were)\s+(?P<not>not\s+)?(?:much\s+)?"
    rf"(?P<word>{_MORE}|{_LESS})\s+than\s+(?:[^\s\d.;]+\s+){{0,6}}?\(?(?P<b>{_NUMBER})",
    re.IGNORECASE,
)
_MORE_WORDS = frozenset(_MORE.split("|"))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrueComparisons:
    """Filter: drops a rationale with a false comparison; ``reason`` names the statement."""

    name: str = "true_comparisons"

    def reason(self, written: Written) -> str | None:
        """Return why to drop the rationale, or None to keep it."""
        for match in _STATEMENT.finditer(written.rationale):
            a, b = _value(match["a"]), _value(match["b"])
            holds = a > b if match["word"].lower() in _MORE_WORDS else a < b
            if match["not"]:
                holds = not holds
            if not holds:
                return f"false comparison: {match[0]!r}"
        return None


def _value(number: str) -> Decimal:
    digits, *scale = number.replace(",", "").replace("$", "").split()
    return Decimal(digits) * (_SCALE[scale[0].lower()] if scale else 1)
