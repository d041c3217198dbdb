from __future__ import annotations

from kard_ray.serving.stillness import Stillness

HUNG_AFTER = 15.0


def given_up(*, stops_at: float, last_progress: float, share: float = 1.0, after: float = 0.0) -> float:
    """When an engine is given up that works with ``share`` of a core, and from ``stops_at`` with ``after``."""
    watch = Stillness()
    now = 0.0
    while now < 200:
        now += 0.5
        worked = share * min(now, stops_at) + after * max(0.0, now - stops_at)
        if watch.look(now, worked, max(0.0, now - last_progress), HUNG_AFTER):
            return now
    return now


def test_one_that_stops_between_two_answers_has_no_credit_for_its_work_before() -> None:
    # The last answer was finished at 10 s, and it wrote on others until 13 s.
    assert 28.0 <= given_up(stops_at=13.0, last_progress=10.0) <= 29.0


def test_one_that_works_has_four_times_as_long() -> None:
    assert 70.0 <= given_up(stops_at=1000.0, last_progress=10.0, share=0.05) <= 71.0


def test_a_heartbeat_is_no_work() -> None:
    assert 28.0 <= given_up(stops_at=13.0, last_progress=10.0, after=0.005) <= 29.0


def test_nothing_is_given_up_while_there_is_nothing_to_do_or_before_its_time() -> None:
    watch = Stillness()
    assert not any(watch.look(now, 0.0, 0.0, HUNG_AFTER) for now in range(100))
    assert not any(watch.look(100 + now, 0.0, now, HUNG_AFTER) for now in range(16))
    assert watch.look(116, 0.0, 16, HUNG_AFTER)
