from __future__ import annotations

import itertools
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.runtime.artifacts import MANIFEST, PARTS, Artifact, ArtifactSpec, Manifest, RunDirectory
from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

TABLE = pa.table({"id": ["a", "b"], "n": [1, 2]})


class Inner(Frozen):
    EXECUTION = frozenset({"threads"})

    depth: int = 1
    threads: int = 4


class Outer(Frozen):
    EXECUTION = frozenset({"workers"})

    model: str = "m"
    workers: int = 2
    inner: Inner = Inner()
    maybe: Inner | None = None


@pytest.fixture(params=["local", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> RunDirectory:
    return RunDirectory(
        str(tmp_path / "run") if request.param == "local" else f"memory://{uuid.uuid4().hex}/run"
    )


def spec(**changes: Any) -> ArtifactSpec:
    fields: dict[str, Any] = {
        "stage": "train/kard",
        "version": 1,
        "config": {"epochs": 1},
        "inputs": {"silver": "k1"},
    }
    return ArtifactSpec(**(fields | changes))


def sealed(run: RunDirectory, made: ArtifactSpec | None = None) -> Artifact:
    artifact = run.artifact(made or spec())
    artifact.write_table("table.parquet", TABLE)
    artifact.write_text("deep/er/note.txt", "naïve")
    artifact.seal(rows={"table": 2}, counts={"kept": 2}, models={"m": "r1"}, seed=7)
    return artifact


# -- the key -------------------------------------------------------------------------------------------------------


def test_the_key_does_not_depend_on_the_order_of_fields_or_on_tuples() -> None:
    a = spec(config={"x": 1, "y": {"a": [1, 2], "b": None}}, inputs={"p": "1", "q": "2"})
    b = spec(config={"y": {"b": None, "a": (1, 2)}, "x": 1}, inputs={"q": "2", "p": "1"})
    assert a.key == b.key


def test_the_key_is_the_same_in_every_process_and_version() -> None:
    assert spec().key == "c38603496c616af5"
    code = (
        "from kard_ray.runtime.artifacts import ArtifactSpec as S;"
        "print(S(stage='train/kard', version=1, config={'epochs': 1}, inputs={'silver': 'k1'}).key)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"})
    assert done.stdout.strip() == spec().key


@pytest.mark.parametrize(
    "changes",
    [
        {"stage": "train/std_cot"},
        {"version": 2},
        {"config": {"epochs": 2}},
        {"config": {"epochs": 1, "more": None}},
        {"config": {"epochs": "1"}},
        {"inputs": {"silver": "k2"}},
        {"inputs": {}},
    ],
)
def test_whatever_decides_the_content_changes_the_key(changes: dict[str, Any]) -> None:
    assert spec(**changes).key != spec().key


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_the_key_survives_a_trip_through_json(config: dict[str, Any]) -> None:
    made = spec(config=config)
    assert spec(config=json.loads(json.dumps(config))).key == made.key
    assert len(made.key) == 16
    assert set(made.key) <= set("0123456789abcdef")


def test_fields_that_say_only_how_fast_do_not_change_the_content() -> None:
    content = Outer().content()
    assert content == {"model": "m", "inner": {"depth": 1}, "maybe": None}
    assert Outer(workers=9, inner=Inner(threads=1)).content() == content
    assert Outer(inner=Inner(depth=2)).content() != content
    assert Outer(maybe=Inner(threads=3)).content() == Outer(maybe=Inner()).content() != content


# -- writing and reading -------------------------------------------------------------------------------------------


def test_a_sealed_artifact_gives_back_what_was_written(run: RunDirectory) -> None:
    artifact = sealed(run)
    assert artifact.finished
    assert artifact.read_table("table.parquet") == TABLE
    assert artifact.read_table("table.parquet", ["n"]).column_names == ["n"]
    assert artifact.read_text("deep/er/note.txt") == "naïve"
    manifest = artifact.verify()
    assert manifest == artifact.manifest()
    assert (manifest.stage, manifest.key, manifest.seed) == ("train/kard", artifact.spec.key, 7)
    assert (manifest.rows, manifest.counts, manifest.models) == ({"table": 2}, {"kept": 2}, {"m": "r1"})
    assert (manifest.config, manifest.inputs) == ({"epochs": 1}, {"silver": "k1"})


def test_the_manifest_lists_every_file_with_its_size_and_no_work_file(run: RunDirectory) -> None:
    artifact = run.artifact(spec())
    artifact.write_text(f"{PARTS}/half.parquet", "half a row")
    artifact = sealed(run)
    assert set(artifact.manifest().files) == {"table.parquet", "deep/er/note.txt"}
    assert artifact.manifest().files["deep/er/note.txt"] == len("naïve".encode())
    assert not run.fs.exists(artifact.at(PARTS))


def test_an_artifact_is_unfinished_until_its_manifest_is_there(run: RunDirectory) -> None:
    artifact = run.artifact(spec())
    assert not artifact.finished
    artifact.write_table("table.parquet", TABLE)
    assert not artifact.finished
    with pytest.raises(UserError, match="is not finished"):
        artifact.verify()


def test_the_manifest_is_written_last(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = run.artifact(spec())
    artifact.write_table("table.parquet", TABLE)

    def killed(path: str, text: str) -> None:
        assert not run.fs.exists(artifact.at(MANIFEST))
        assert json.loads(text)["files"].keys() == {"table.parquet"}
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        artifact.seal(rows={})
    assert not artifact.finished


def test_a_kill_while_the_manifest_was_written_harms_nothing(run: RunDirectory) -> None:
    artifact = run.artifact(spec())
    artifact.write_text(MANIFEST + ".tmp", '{"half')
    sealed(run).verify()
    assert set(artifact.manifest().files) == {"table.parquet", "deep/er/note.txt"}


def test_writing_atomically_replaces_the_file_and_leaves_no_other(run: RunDirectory) -> None:
    for text in ("one", "two, longer", "3"):
        run.write_atomically(f"{run.path}/folder/file.json", text)
        with run.fs.open(f"{run.path}/folder/file.json", "rb") as source:
            assert source.read().decode() == text
    assert len(run.fs.ls(f"{run.path}/folder", detail=False)) == 1


def test_another_specification_never_touches_finished_work(run: RunDirectory) -> None:
    first, second = sealed(run), sealed(run, spec(config={"epochs": 2}))
    assert first.path != second.path
    first.verify()
    second.verify()


def test_an_address_can_be_opened_from_its_url(run: RunDirectory) -> None:
    artifact = sealed(run)
    other = RunDirectory(artifact.url("deep"))
    assert other.fs.exists(f"{other.path}/er/note.txt")
    assert run.is_local == artifact.url().startswith("file://")


# -- damage --------------------------------------------------------------------------------------------------------


def overwrite(artifact: Artifact, name: str, data: bytes) -> None:
    with artifact.run.fs.open(artifact.at(name), "wb") as sink:
        sink.write(data)


def assert_tells_the_way_out(error: UserError, artifact: Artifact, *words: str) -> None:
    text = str(error)
    assert "\n" not in text
    for word in (*words, artifact.path):
        assert word in text
    assert "delete the folder" in text


def test_a_truncated_file_is_told_with_both_sizes(run: RunDirectory) -> None:
    artifact = sealed(run)
    overwrite(artifact, "table.parquet", b"PAR1")
    with pytest.raises(UserError) as caught:
        artifact.verify()
    size = artifact.manifest().files["table.parquet"]
    assert_tells_the_way_out(caught.value, artifact, "table.parquet", "has 4 bytes", f"{size} bytes")


def test_a_missing_file_is_told(run: RunDirectory) -> None:
    artifact = sealed(run)
    run.fs.rm(artifact.at("deep/er/note.txt"))
    with pytest.raises(UserError) as caught:
        artifact.verify()
    assert_tells_the_way_out(caught.value, artifact, "note.txt", "is missing")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b'{"stage": "train"}', b"null"])
def test_a_broken_manifest_is_told(run: RunDirectory, data: bytes) -> None:
    artifact = sealed(run)
    overwrite(artifact, MANIFEST, data)
    for call in (artifact.manifest, artifact.verify, lambda: run.why_stale(spec())):
        with pytest.raises(UserError) as caught:
            call()
        assert_tells_the_way_out(caught.value, artifact, MANIFEST, "cannot be read")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all" * 10])
def test_a_table_that_cannot_be_read_is_told(run: RunDirectory, data: bytes) -> None:
    artifact = sealed(run)
    overwrite(artifact, "table.parquet", data)
    with pytest.raises(UserError) as caught:
        artifact.read_table("table.parquet")
    assert_tells_the_way_out(caught.value, artifact, "table.parquet", "cannot be read")


def test_a_table_that_is_not_there_is_told(run: RunDirectory) -> None:
    artifact = sealed(run)
    with pytest.raises(UserError) as caught:
        artifact.read_table("other.parquet")
    assert_tells_the_way_out(caught.value, artifact, "other.parquet")


# -- why a stage runs again ----------------------------------------------------------------------------------------


def test_a_stage_without_artifacts_was_not_made_yet(run: RunDirectory) -> None:
    assert run.why_stale(spec()) == "not made yet"
    run.artifact(spec()).write_text("half.txt", "x")
    assert run.why_stale(spec()) == "not made yet"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config": {"epochs": 3}}, ["epochs: 1 -> 3"]),
        ({"config": {"epochs": 1, "rendering": {"template": "chat"}}}, ["rendering", "chat"]),
        ({"config": {}}, ["epochs: 1 -> null"]),
        ({"inputs": {"silver": "k2"}}, ["input silver"]),
        ({"inputs": {}}, ["input silver"]),
        ({"version": 2}, ["stage version: 1 -> 2"]),
        ({"config": {"epochs": 2}, "inputs": {"silver": "k2"}}, ["epochs: 1 -> 2", "input silver"]),
    ],
)
def test_the_changed_fields_are_named(run: RunDirectory, changes: dict[str, Any], words: list[str]) -> None:
    sealed(run)
    told = run.why_stale(spec(**changes))
    assert told.startswith("changed: ")
    assert all(word in told for word in words)


def test_a_nested_field_is_named_with_its_group_and_others_are_not(run: RunDirectory) -> None:
    sealed(run, spec(config={"a": {"b": {"c": 1, "d": [1, 2]}}, "e": "x" * 200}))
    told = run.why_stale(spec(config={"a": {"b": {"c": 2, "d": (1, 2)}}, "e": "y" * 200}))
    assert "a.b.c: 1 -> 2" in told
    assert "a.b.d" not in told
    assert len(told) < 300


def test_the_newest_artifact_is_compared_with(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    days = itertools.count(1)

    class Clock:
        @staticmethod
        def now(zone: object) -> Clock:
            return Clock()

        def isoformat(self, timespec: str) -> str:
            return f"2026-01-{next(days):02}T00:00:00+00:00"

    monkeypatch.setattr("kard_ray.runtime.artifacts.datetime", Clock)
    for epochs in (1, 5, 3):
        sealed(run, spec(config={"epochs": epochs}))
    assert run.why_stale(spec(config={"epochs": 9})) == "changed: epochs: 3 -> 9"


def test_an_old_manifest_that_cannot_be_read_is_skipped_and_told(run: RunDirectory) -> None:
    old = sealed(run)
    overwrite(old, MANIFEST, b"{")
    told = run.why_stale(spec(version=2))
    assert told == f"not made yet; cannot be read: {old.at(MANIFEST)}"
    sealed(run, spec(config={"epochs": 5}))
    told = run.why_stale(spec(config={"epochs": 9}))
    assert told == f"changed: epochs: 5 -> 9; cannot be read: {old.at(MANIFEST)}"


def test_a_manifest_refuses_fields_it_does_not_know(run: RunDirectory) -> None:
    plain = json.loads(sealed(run).manifest().model_dump_json())
    Manifest.model_validate(plain)
    with pytest.raises(ValueError, match="extra"):
        Manifest.model_validate(plain | {"extra": 1})


_HOLD = """
import sys, time
from kard_ray.runtime.artifacts import RunDirectory
with RunDirectory(sys.argv[1]).alone():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_directory_is_one_process_own_until_that_ends_even_by_a_kill(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    holder = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="in use by another kard-ray"), run.alone():
            pass
    finally:
        holder.kill()
        holder.wait()
    with run.alone():
        pass
    with run.alone():
        pass


def test_an_object_store_has_no_lock() -> None:
    run = RunDirectory(f"memory://{uuid.uuid4().hex}")
    with run.alone(), run.alone():
        pass
