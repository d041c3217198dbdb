"""Settings for all tests, and tiny models that are written once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tiny_models import tiny_llama, tiny_t5

# No deadline: the machine may be busy, and the first example of a test pays for imports.
settings.register_profile("kard_ray", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kard_ray")


LONGEST_FIRST = ("e2e", "engine", "ray")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In one of several test processes: modules that take long come first.

    So no process is left with a long module when the other has nothing to do any more.
    """
    if not hasattr(config, "workerinput"):
        return
    ranks: dict[Path, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        rank = next((at for at, name in enumerate(LONGEST_FIRST) if name in marks), len(LONGEST_FIRST))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("models") / "t5")


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A local Ray cluster for one test module."""
    import ray

    from kard_ray.runtime.session import ClusterConfig, ray_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2"
        )  # training of seconds need not wait for Ray's 2 s
        assert not ray.is_initialized(), "another module has left its cluster"
        with ray_session(ClusterConfig(num_cpus=4, object_store_mb=200)):
            yield


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
