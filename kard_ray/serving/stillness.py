"""When an engine that has something to do counts as hung."""

from __future__ import annotations

from collections import deque

_PATIENCE = 4  # times as long as one that does not work
_AT_WORK = 0.01  # share of a core that shows it does


class Stillness:
    """What regular looks at an engine have seen.

    On a machine with too much to do an engine may take long for a step; as long as its processes get to work at all, it
    has four times as long. Work counts of the last ``hung_after`` seconds, not since the last progress: an engine that
    was stopped in the middle of long answers had worked since then, and was waited for 60 seconds in place of 15.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[float, float]] = deque()

    def look(self, now: float, worked: float, silent: float, hung_after: float) -> bool:
        """Whether it hangs ``now``, having ``worked`` CPU seconds and not got on for ``silent`` seconds.

        ``silent`` is 0 while there is nothing to do. Looks come in the order of time, at least two in ``hung_after``.
        """
        self._looks.append((now, worked))
        while len(self._looks) > 1 and self._looks[1][0] <= now - hung_after:
            self._looks.popleft()
        began, before = self._looks[0]
        still = now - began >= hung_after and worked - before < _AT_WORK * (now - began)
        return silent > _PATIENCE * hung_after or (silent > hung_after and still)
