from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.scheduling import Failure, Resources, Task, run_tasks


class Recorder:
    """Tasks that note when they run and what runs beside them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.order: list[str] = []
        self.running: dict[str, Resources] = {}
        self.most = Resources(0.0)
        self.beside: dict[str, set[str]] = {}

    def task(
        self, name: str, *needs: str, takes: Resources | None = None, fails: BaseException | None = None,
        until: Callable[[], object] = lambda: None,
    ) -> Task:  # fmt: skip
        def work() -> None:
            with self.lock:
                self.order.append(name)
                self.running[name] = takes or Resources(0.0)
                self.beside[name] = set(self.running) - {name}
                for other in self.running:
                    self.beside[other] |= set(self.running) - {other}
                cpus = sum(r.cpus for r in self.running.values())
                gpus = sum(r.gpus for r in self.running.values())
                self.most = Resources(max(cpus, self.most.cpus), max(gpus, self.most.gpus))
            until()
            with self.lock:
                del self.running[name]
            if fails is not None:
                raise fails

        return Task(key=name, name=name, work=work, needs=needs, takes=takes)


def names(failures: list[Failure]) -> list[tuple[str, str | None]]:
    return [(f.task.name, f.because.name if f.because else None) for f in failures]


def test_a_task_starts_after_those_it_needs_whatever_their_order() -> None:
    record = Recorder()
    tasks = [record.task("c", "b"), record.task("b", "a"), record.task("a")]
    assert run_tasks(tasks, Resources(4)) == []
    assert record.order == ["a", "b", "c"]


def test_tasks_that_fit_run_side_by_side() -> None:
    record = Recorder()
    # Each waits for the others: one after the other they would never end
    together = threading.Barrier(3, timeout=10)
    tasks = [record.task(name, takes=Resources(1), until=together.wait) for name in "abc"]
    assert run_tasks(tasks, Resources(3)) == []


@given(
    sizes=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=8),
    cpus=st.integers(1, 6),
    gpus=st.integers(0, 2),
)
def test_together_they_take_no_more_than_the_budget(
    sizes: list[tuple[int, int]], cpus: int, gpus: int
) -> None:
    record = Recorder()
    tasks = [record.task(str(at), takes=Resources(*size)) for at, size in enumerate(sizes)]
    assert run_tasks(tasks, Resources(cpus, gpus)) == []
    assert sorted(record.order, key=int) == [str(at) for at in range(len(sizes))]
    for at, (a, b) in enumerate(sizes):
        if a > cpus or b > gpus:  # more than there is: nothing that takes of it beside this one
            beside = [sizes[int(other)] for other in record.beside[str(at)]]
            assert not any((a > cpus and x) or (b > gpus and y) for x, y in beside)
    if all(a <= cpus and b <= gpus for a, b in sizes):
        assert record.most.cpus <= cpus
        assert record.most.gpus <= gpus


def test_a_task_that_asks_for_what_the_budget_has_none_of_runs_alone() -> None:
    record = Recorder()
    tasks = [record.task(name, takes=Resources(0, 1), until=lambda: time.sleep(0.02)) for name in ("a", "b")]
    assert run_tasks(tasks, Resources(4, 0)) == []
    assert record.beside == {"a": set(), "b": set()}


def test_what_takes_everything_runs_alone() -> None:
    record = Recorder()
    tasks = [
        record.task(name, takes=takes, until=lambda: time.sleep(0.02))
        for name, takes in (("a", Resources(1)), ("all", None), ("b", Resources(1)))
    ]
    assert run_tasks(tasks, Resources(2)) == []
    assert record.beside["all"] == set()


def test_a_task_that_does_not_fit_is_not_passed_by_later_ones() -> None:
    record = Recorder()
    tasks = [
        record.task("a", takes=Resources(1), until=lambda: time.sleep(0.05)),
        record.task("big", takes=Resources(2)),
        record.task("b", takes=Resources(1)),
    ]
    run_tasks(tasks, Resources(2))
    assert record.order == ["a", "big", "b"]


def test_a_failure_ends_only_what_needs_it_and_names_the_first_cause() -> None:
    record = Recorder()
    error = ValueError("x")
    tasks = [
        record.task("a", fails=error), record.task("c", "b"), record.task("b", "a"), record.task("d"),
        record.task("e", "d"),
    ]  # fmt: skip
    failures = run_tasks(tasks, Resources(1))
    assert record.order == ["a", "d", "e"]
    assert names(failures)[0] == ("a", None)
    assert failures[0].error is error
    assert sorted(names(failures)[1:]) == [("b", "a"), ("c", "a")]


def test_a_task_that_ends_its_thread_is_a_failure_too() -> None:
    record = Recorder()
    failures = run_tasks([record.task("a", fails=SystemExit(3)), record.task("b")], Resources(1))
    assert names(failures) == [("a", None)]
    assert record.order == ["a", "b"]


def test_what_is_needed_and_no_task_counts_as_done() -> None:
    record = Recorder()
    assert run_tasks([record.task("a", "finished long ago")], Resources(1)) == []
    assert run_tasks([], Resources(1)) == []


def test_tasks_in_a_circle_are_refused() -> None:
    record = Recorder()
    with pytest.raises(ValueError, match="need each other: a, b"):
        run_tasks([record.task("a", "b"), record.task("b", "a")], Resources(1))


@given(
    needs=st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=10),
    failing=st.sets(st.integers(0, 9)),
)
def test_every_task_runs_or_is_told_and_none_runs_before_its_needs(
    needs: list[list[int]], failing: set[int]
) -> None:
    record = Recorder()
    tasks = [
        record.task(
            str(at),
            *{str(n) for n in mine if n < at},
            takes=Resources(1),
            fails=ValueError() if at in failing else None,
        )
        for at, mine in enumerate(needs)
    ]
    failures = run_tasks(tasks[::-1], Resources(2))
    not_started = {name for name, because in names(failures) if because is not None}
    assert {*record.order} | not_started == {task.name for task in tasks}
    assert len(record.order) + len(not_started) == len(tasks)
    for task in tasks:
        if task.name in record.order:
            before = record.order[: record.order.index(task.name)]
            assert {*task.needs} <= {*before}
            assert not {*task.needs} & ({str(at) for at in failing} | not_started)


def test_what_takes_everything_runs_in_the_main_thread_and_an_interrupt_ends_the_run() -> None:
    threads = []
    record = Recorder()
    tasks = [
        record.task("small", takes=Resources(1), until=lambda: threads.append(threading.current_thread())),
        record.task("all", until=lambda: threads.append(threading.current_thread())),
    ]
    run_tasks(tasks, Resources(2))
    assert [thread is threading.main_thread() for thread in threads] == [False, True]
    with pytest.raises(KeyboardInterrupt):
        run_tasks([record.task("stopped", fails=KeyboardInterrupt()), record.task("never")], Resources(2))
    assert "never" not in record.order
