"""Settings for all tests, and tiny models that are written once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tiny_models import tiny_llama, tiny_t5

# No deadline: the machine may be busy, and the first example of a test pays for imports.
settings.register_profile("kard_ray", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kard_ray")


LONGEST_FIRST = ("e2e", "engine", "ray")
CLUSTER: list[ExitStack] = []  # what ends the local cluster of this process, when there is one
ASK_FOR_IT: set[Path] = set()  # modules


@pytest.hookimpl(trylast=True)  # of what is left when some are deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In one of several test processes: modules that take long come first.

    So no process is left with a long module when the other has nothing to do any more.
    """
    ASK_FOR_IT.update(item.path for item in items if "local_ray" in getattr(item, "fixturenames", ()))
    if not hasattr(config, "workerinput"):
        return
    ranks: dict[Path, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        rank = next((at for at, name in enumerate(LONGEST_FIRST) if name in marks), len(LONGEST_FIRST))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """After a module: its cluster goes to the next one if that asks for a cluster, and if nothing is left in it."""
    yield
    if nextitem is None or nextitem.path != item.path:
        goes_on = nextitem is not None and nextitem.path in ASK_FOR_IT
        if not goes_on or not is_free_soon():
            while CLUSTER:
                CLUSTER.pop().close()


def is_free_soon() -> bool:
    """Whether nobody holds a CPU of the cluster of this process, after a moment for those that end."""
    import ray

    deadline = time.monotonic() + 2
    while ray.is_initialized():
        if ray.available_resources().get("CPU") == ray.cluster_resources().get("CPU"):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return False


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("models") / "t5")


@pytest.fixture(scope="module")
def local_ray() -> None:
    """A local Ray cluster: that of the module before, or a new one."""
    import ray

    from kard_ray.runtime.session import ClusterConfig, ray_session

    if CLUSTER:
        return
    assert not ray.is_initialized(), "another module has left its cluster"
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        # For what the cluster starts: a training of seconds need not wait for Ray's 2 s. Had this process the variable
        # later on, each training would start processes with an environment of their own.
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        stack.enter_context(ray_session(ClusterConfig(num_cpus=4, object_store_mb=200)))
        CLUSTER.append(stack.pop_all())


def question_line(number: int, split: str) -> str:
    row = {
        "id": f"{split}{number}",
        "question": f"Which {number}?",
        "options": ["a", "b"],
        "answer": number % 2,
    }
    return json.dumps(row)


@pytest.fixture
def recipe_path(tmp_path: Path) -> str:
    """A recipe over own files: 12 train and 5 test questions, one worked example, one passage."""
    for split, count in (("train", 12), ("test", 5)):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(question_line(n, split) for n in range(count)))
    worked = {"question": "Which 99?", "options": ["a", "b"], "answer": 0, "rationale": "It is a."}
    (tmp_path / "worked.jsonl").write_text(json.dumps(worked))
    (tmp_path / "corpus.jsonl").write_text('{"id": "p1", "text": "A fact."}\n')
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""
        benchmark:
          {{kind: jsonl, train: {tmp_path}/train.jsonl, test: {tmp_path}/test.jsonl, examples: {tmp_path}/worked.jsonl}}
        knowledge: {{corpus: {{kind: jsonl, path: {tmp_path}/corpus.jsonl}}}}
        """
    )
    return str(path)
