"""A tiny world in which the whole product runs: 20 questions, 40 passages, random models of a few thousand weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from kard_ray.runtime.session import processes_of
from kard_ray.teacher.prompt import INSTRUCTION
from tests.tiny_models import VOCAB_TEXT, tiny_bert, tiny_llama, tiny_t5

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
KARD_RAY = str(BIN / "kard-ray")

TOWNS = (
    "Arlen", "Brock", "Caldy", "Drumm", "Eskel", "Farno", "Gless", "Hovik", "Inver", "Jarrow",
    "Keswi", "Lomar", "Mirth", "Nairn", "Ousel", "Perth", "Quorn", "Rhode", "Selby", "Tarbe",
)  # fmt: skip
RIVERS = ("Dorn", "Esk", "Isar", "Odra")
TRAIN, TEST = 12, 8
METHODS = ("finetune", "kard")
EPOCHS = 10  # of students: long enough for a training to be killed in its middle
SAMPLES, TEST_SAMPLES = 2, 1
STEPS = TRAIN * SAMPLES // 4 * EPOCHS  # of KARD, in batches of 4


def passages() -> list[dict[str, str]]:
    """Two passages per town: its river, and the year it was founded in."""
    rows = []
    for at, town in enumerate(TOWNS):
        river = RIVERS[at % len(RIVERS)]
        rows.append({"id": f"{town}/river", "title": town, "text": f"{town} lies on the river {river}."})
        rows.append({"id": f"{town}/year", "title": town, "text": f"{town} was founded in {1200 + 7 * at}."})
    return rows


def questions(numbers: Iterable[int], *, prefix: str = "q") -> list[dict[str, Any]]:
    """One question on the river of each town in ``numbers``; its gold passage is the one on the river."""
    return [
        {
            "id": f"{prefix}{at}",
            "question": f"On which river does {TOWNS[at]} lie?",
            "options": list(RIVERS),
            "answer": at % len(RIVERS),
            "passages": [f"{TOWNS[at]}/river"],
        }
        for at in numbers
    ]


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write ``rows`` as JSON Lines; return ``path``."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@dataclass(frozen=True)
class World:
    """Files, models and a recipe in ``folder``."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """The recipe of the whole run."""
        return self.folder / "tiny.yaml"

    @property
    def llama(self) -> Path:
        """The teacher, and the student of tests of an engine."""
        return self.folder / "llama"

    @property
    def t5(self) -> Path:
        """The student: an encoder-decoder answers without vLLM, whose start would take half a minute each time."""
        return self.folder / "t5"


def recipe_tree(folder: Path) -> dict[str, Any]:
    """The recipe: two methods; no filter, because a random teacher concludes nothing."""
    engine = {"max_model_tokens": 512, "max_sequences": 16, "batch_rows": 8, "kv_cache_gib": 1}
    return {
        "name": "tiny",
        "benchmark": {
            "kind": "jsonl",
            "name": "towns",
            "train": str(folder / "train.jsonl"),
            "test": str(folder / "test.jsonl"),
        },
        "knowledge": {
            "corpus": {"kind": "jsonl", "path": str(folder / "corpus.jsonl")},
            "embedder": str(folder / "bert"),
            "workers": 1,
        },
        "teacher": {
            "model": str(folder / "llama"),
            "samples": SAMPLES,
            "test_samples": TEST_SAMPLES,
            "grounding": "gold",
            "filters": [],
            "sampling": {"temperature": 0.8, "max_tokens": 24},
            "engine": engine,
        },
        "silver": {"passages": 3},
        "student": {
            "model": str(folder / "t5"),
            "methods": list(METHODS),
            "passages": 2,
            "rationales": 2,
            "epochs": EPOCHS,
            "batch_size": 4,
            "micro_batch_tokens": 512,
            "learning_rate": 5e-3,  # learns to write words: a random T5 repeats the token for padding
            "precision": "fp32",
            "rendering": {"max_prompt_tokens": 256},
        },
        "prediction": {"sampling": {"max_tokens": 16}, "engine": engine},
        "cluster": {"object_store_mb": 200},
    }


def make_world(folder: Path) -> World:
    """Write everything; a few seconds, most of them imports."""
    write_jsonl(folder / "train.jsonl", questions(range(TRAIN)))
    write_jsonl(folder / "test.jsonl", questions(range(TRAIN, TRAIN + TEST)))
    write_jsonl(folder / "corpus.jsonl", passages())
    # The tokenizer has seen the teacher's instruction and the passages: prompts stay short.
    text = "\n".join([VOCAB_TEXT, INSTRUCTION, *(f"{row['title']}: {row['text']}" for row in passages())])
    tiny_llama(folder / "llama", text)
    tiny_t5(folder / "t5", text)
    tiny_bert(folder / "bert", text)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe_tree(folder), sort_keys=False))
    return World(folder)


def environment(ray_folder: Path, **more: str) -> dict[str, str]:
    """The environment of a command: no network, and Ray's files and token in ``ray_folder``, not in the user's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return clean | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "RAY_TMPDIR": str(ray_folder),
        "RAY_AUTH_TOKEN_PATH": str(ray_folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # reports are fetched so often, else every 2 s
        **more,
    }


@contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for one command's Ray, with a short name (a socket's path may have 107 characters)."""
    folder = Path(tempfile.mkdtemp(prefix="kr-", dir="/tmp"))
    try:
        yield folder
    finally:
        wait_until(lambda: not left_in(folder), seconds=60, what=f"the processes of {folder} end")
        shutil.rmtree(folder, ignore_errors=True)


def sessions_in(folder: Path) -> list[Path]:
    """Folders of the Ray sessions that were started in ``folder``."""
    return [path for path in folder.glob("ray/session_2*") if path.is_dir()]


def left_in(folder: Path) -> list[int]:
    """Ids of live processes of Ray clusters whose files are in ``folder``."""
    return [pid for session in sessions_in(folder) for pid in processes_of(session)]


def workers(ray_folder: Path, names: tuple[bytes, ...]) -> list[int]:
    """Ids of the processes of this very cluster whose title begins with one of ``names``."""
    found = []
    for session in sessions_in(ray_folder):
        for pid in processes_of(session):
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if line.startswith(names):
                found.append(pid)
    return found


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str
    seconds: float
    ray_started: bool


def kard_ray(*arguments: str | Path, timeout: float = 400, **env: str) -> Outcome:
    """Run ``kard-ray`` to its end, in the repository."""
    with ray_folder() as folder:
        started = time.monotonic()
        done = subprocess.run(
            [KARD_RAY, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=REPOSITORY,
            env=environment(folder, **env),
        )
        return Outcome(
            code=done.returncode,
            out=done.stdout,
            err=done.stderr,
            seconds=time.monotonic() - started,
            ray_started=bool(sessions_in(folder)),
        )


def succeed(*arguments: str | Path, **env: str) -> Outcome:
    """Like :func:`kard_ray`; fails the test, with the end of the log, unless the exit code is 0."""
    done = kard_ray(*arguments, **env)
    assert done.code == 0, f"exit code {done.code}\n{done.out[-2000:]}\n{done.err[-6000:]}"
    return done


@contextmanager
def running(*arguments: str | Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """``kard-ray`` in the background and the folder of its Ray; when the block ends it is dead, and so is its Ray."""
    with ray_folder() as folder, log.open("wb") as sink:
        process = subprocess.Popen(
            [KARD_RAY, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=REPOSITORY,
            env=environment(folder),
        )
        try:
            yield process, folder
        finally:
            process.kill()
            process.wait()


def wait_until(condition: Callable[[], T], *, seconds: float, what: str) -> T:
    """Look every 20 ms until ``condition`` is true; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s: not true that {what}"
        time.sleep(0.02)
    return value


def kill_when(
    condition: Callable[[], object], *arguments: str | Path, log: Path, seconds: float = 240
) -> None:
    """Start ``kard-ray`` and send its driver SIGKILL, by its id, as soon as ``condition`` is true."""

    def happened() -> object:
        if process.poll() is not None:
            raise AssertionError(f"it ended by itself, with {process.returncode}:\n{log.read_text()[-6000:]}")
        return condition()

    with running(*arguments, log=log) as (process, _):
        try:
            wait_until(happened, seconds=seconds, what=f"the moment to kill came in {arguments[0]}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()[-6000:]}") from None
        process.kill()


def manifests(run: Path, stage: str) -> list[dict[str, Any]]:
    """The manifests of all finished artifacts of ``stage``, oldest first; ``folder`` is where each lies."""
    found = [
        json.loads(path.read_text()) | {"folder": path.parent}
        for path in run.glob(f"{stage}/*/manifest.json")
    ]
    return sorted(found, key=lambda manifest: manifest["folder"].stat().st_ctime)


def only(run: Path, stage: str) -> dict[str, Any]:
    """The manifest of the only artifact of ``stage``."""
    (manifest,) = manifests(run, stage)
    return manifest


def copy_run(run: Path, target: Path, *stages: str) -> Path:
    """A run directory with the artifacts of ``stages`` (all when none is named)."""
    target.mkdir(parents=True)
    shutil.copy2(run / "run.json", target)
    for path in run.iterdir():
        if path.is_dir() and (not stages or path.name in stages):
            shutil.copytree(path, target / path.name)
    return target
