"""Run tasks that depend on each other, side by side as far as a budget of CPUs and GPUs allows.

It knows neither Ray nor stages. Each task runs in a thread of this process, one that takes everything in the main
thread; what it starts on the cluster asks for its
resources itself, and the budget only keeps two tasks from being started that could not run together: two engines or
two gangs of training workers that each hold a part of what they need would wait for each other for ever.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """CPUs and GPUs, of the cluster or of one task."""

    cpus: float
    gpus: float = 0.0

    def __sub__(self, other: Resources) -> Resources:
        return Resources(self.cpus - other.cpus, self.gpus - other.gpus)

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.cpus + other.cpus, self.gpus + other.gpus)

    def hold(self, other: Resources) -> bool:
        """Whether ``other`` fits into this."""
        return other.cpus <= self.cpus and other.gpus <= self.gpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Something to do once; ``name`` is told to people, ``key`` is what others name in ``needs``."""

    key: str
    name: str
    work: Callable[[], None]
    needs: Collection[str] = ()
    after: Collection[str] = ()  # waits for these too, but not for their success
    takes: Resources | None = None  # None: everything, so it runs alone


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that ended in an error, or could not be started because one that it needs did."""

    task: Task
    error: BaseException | None  # None: not started
    because: Task | None = None  # the failed task that it needs


def run_tasks(tasks: Sequence[Task], budget: Resources) -> list[Failure]:
    """Do all ``tasks``, each after those it ``needs``; return the failures, in the order in which they came.

    A failure ends nothing but what needs the failed task. Tasks start in the given order; one that does not fit beside
    those that run lets none behind it pass, so none waits for ever. A task that asks for more than the whole budget
    runs alone. A key that no task has counts as done. An interrupt is raised at once: the threads that
    still work are daemons and end with the process.
    """
    waiting = list(tasks)
    unfinished = {task.key for task in tasks}
    failed: dict[str, Task] = {}
    failures: list[Failure] = []
    running: dict[str, Resources] = {}
    free = budget
    ended: queue.SimpleQueue[tuple[Task, BaseException | None]] = queue.SimpleQueue()
    while waiting or running:
        while hopeless := [task for task in waiting if any(key in failed for key in task.needs)]:
            for task in hopeless:
                waiting.remove(task)
                unfinished.remove(task.key)
                first = next(failed[key] for key in task.needs if key in failed)
                failed[task.key] = first  # the first cause is what people want to know
                failures.append(Failure(task, None, first))
        for task in list(waiting):
            if any(key in unfinished for key in (*task.needs, *task.after)):
                continue
            takes = _within(task.takes, budget)
            if running and not free.hold(takes):
                break
            waiting.remove(task)
            running[task.key] = takes
            free -= takes
            if takes == budget:  # alone: here, where signals arrive and libraries set their handlers
                _run(task, ended)
                break
            threading.Thread(target=_run, args=(task, ended), name=task.name, daemon=True).start()
        if not running:
            if waiting:
                raise ValueError(f"tasks that need each other: {', '.join(task.name for task in waiting)}")
            break
        task, error = ended.get()
        free += running.pop(task.key)
        unfinished.remove(task.key)
        if isinstance(error, KeyboardInterrupt):
            raise error
        if error is not None:
            failed[task.key] = task
            failures.append(Failure(task, error))
    return failures


def _within(takes: Resources | None, budget: Resources) -> Resources:
    """What a task is given: all of the budget if that is what it takes, or if it would take more."""
    return takes if takes is not None and budget.hold(takes) else budget


def _run(task: Task, ended: queue.SimpleQueue[tuple[Task, BaseException | None]]) -> None:
    try:
        task.work()
    except BaseException as error:  # noqa: BLE001 - run_tasks returns it
        ended.put((task, error))
    else:
        ended.put((task, None))
