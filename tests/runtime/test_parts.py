"""Rows of an unfinished artifact on a real local Ray: kept, counted, retried, never doubled."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from kard_ray.runtime.artifacts import PARTS, Artifact, ArtifactSpec, RunDirectory
from kard_ray.runtime.errors import UserError, explain
from kard_ray.runtime.parts import PartWriter, map_resumable, read_parts

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("error", pa.string())])
IDS = [f"r{number:02}" for number in range(10)]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return RunDirectory(str(tmp_path / "run")).artifact(ArtifactSpec(stage="things", version=1, config={}))


def rows(ids: Iterable[str] = IDS) -> pa.Table:
    return pa.table({"id": list(ids)})


def writing(
    diary: Path, *, text: str = "new", bad: Iterable[str] = (), lost: Iterable[str] = ()
) -> Callable[[ray.data.Dataset], ray.data.Dataset]:
    """A transform that writes ``text``, fails rows ``bad``, drops rows ``lost``, and notes the ids it was given."""
    bad, lost = set(bad), set(lost)

    def write(batch: pa.Table) -> pa.Table:
        ids = batch["id"].to_pylist()
        with diary.open("a") as log:
            log.write("".join(f"{i}\n" for i in ids))
        made = [
            {"id": i, "text": "" if i in bad else text, "error": "no answer" if i in bad else ""}
            for i in ids
            if i not in lost
        ]
        return pa.Table.from_pylist(made, schema=SCHEMA)

    return lambda dataset: dataset.map_batches(write, batch_format="pyarrow", num_cpus=0.1)


def run(
    transform: Callable[[ray.data.Dataset], ray.data.Dataset],
    artifact: Artifact,
    *,
    given: pa.Table | None = None,
    block_rows: int = 4,
) -> list[dict[str, str]]:
    table = map_resumable(
        rows() if given is None else given,
        transform,
        artifact=artifact,
        schema=SCHEMA,
        id_column="id",
        label="things",
        block_rows=block_rows,
    )
    assert table.schema == SCHEMA
    return table.to_pylist()


def asked(diary: Path) -> list[str]:
    return sorted(diary.read_text().split()) if diary.exists() else []


def part_names(artifact: Artifact) -> list[str]:
    return sorted(path.name for path in Path(artifact.at(PARTS)).glob("*.parquet"))


def test_every_row_comes_out_once_in_the_order_of_ids(artifact: Artifact, tmp_path: Path) -> None:
    found = run(writing(tmp_path / "diary"), artifact, given=rows(reversed(IDS)))
    assert [row["id"] for row in found] == IDS
    assert asked(tmp_path / "diary") == IDS
    assert len(part_names(artifact)) == 3


def test_failed_rows_are_returned_with_their_error_and_tried_again(
    artifact: Artifact, tmp_path: Path
) -> None:
    found = run(writing(tmp_path / "first", bad=["r02", "r07"]), artifact)
    assert [row["id"] for row in found] == IDS
    assert {row["id"]: row["error"] for row in found if row["error"]} == {
        "r02": "no answer",
        "r07": "no answer",
    }

    found = run(writing(tmp_path / "second", text="later", bad=["r07"]), artifact)
    assert asked(tmp_path / "second") == ["r02", "r07"]
    assert {row["id"]: row["text"] for row in found} == dict.fromkeys(IDS, "new") | {
        "r02": "later",
        "r07": "",
    }
    assert [row["id"] for row in found if row["error"]] == ["r07"]

    found = run(writing(tmp_path / "third", text="at last"), artifact)
    assert asked(tmp_path / "third") == ["r07"]
    assert not any(row["error"] for row in found)


def test_finished_rows_are_kept_however_the_rest_is_cut(
    artifact: Artifact, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = [{"id": i, "text": "old", "error": ""} for i in ("r00", "r03", "r08")]
    PartWriter(artifact.url(PARTS), "id")(pa.Table.from_pylist(kept, schema=SCHEMA))
    # What a worker that was killed while writing leaves behind is not read.
    Path(artifact.at(PARTS), "abc.parquet.1234.tmp").write_bytes(b"PAR1 half a file")
    found = run(writing(tmp_path / "diary"), artifact, block_rows=3)
    assert {row["id"] for row in found if row["text"] == "old"} == {"r00", "r03", "r08"}
    assert asked(tmp_path / "diary") == [i for i in IDS if i not in ("r00", "r03", "r08")]
    captured = capfd.readouterr()
    assert "things: 3 of 10 rows were finished before and are kept" in captured.out + captured.err


def test_nothing_is_started_when_all_rows_are_finished(artifact: Artifact, tmp_path: Path) -> None:
    first = run(writing(tmp_path / "first"), artifact)
    assert run(writing(tmp_path / "second", text="other"), artifact) == first
    assert asked(tmp_path / "second") == []


def test_a_lost_row_is_an_error_and_what_was_finished_is_kept(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stage things: 10 rows went in and 8 came out \(2 lost\)"):
        run(writing(tmp_path / "first", lost=["r01", "r09"]), artifact)
    assert [row["id"] for row in run(writing(tmp_path / "second"), artifact)] == IDS
    assert asked(tmp_path / "second") == ["r01", "r09"]


def test_a_row_that_nobody_asked_for_is_an_error(artifact: Artifact) -> None:
    def rename(batch: pa.Table) -> pa.Table:
        made = [{"id": i + "x" * (i == "r05"), "text": "new", "error": ""} for i in batch["id"].to_pylist()]
        return pa.Table.from_pylist(made, schema=SCHEMA)

    with pytest.raises(UserError, match="1 lost"):
        run(lambda dataset: dataset.map_batches(rename, batch_format="pyarrow"), artifact)


def test_a_retried_write_gives_the_same_file(artifact: Artifact) -> None:
    writer = PartWriter(artifact.url(PARTS), "id")
    batch = pa.Table.from_pylist([{"id": i, "text": "a", "error": ""} for i in IDS], schema=SCHEMA)
    assert writer(batch)["rows"].to_pylist() == [10]
    first = part_names(artifact)
    writer(batch)
    assert part_names(artifact) == first
    assert len(first) == 1
    assert read_parts(artifact, SCHEMA, "id").num_rows == 10
    assert not list(Path(artifact.at(PARTS)).glob("*.tmp"))


def test_a_worker_that_dies_costs_no_row_and_leaves_no_second_file(
    artifact: Artifact, tmp_path: Path
) -> None:
    died = tmp_path / "died"

    def die_once(batch: pa.Table) -> pa.Table:
        if "r05" in batch["id"].to_pylist() and not died.exists():
            died.touch()
            os._exit(1)
        made = [{"id": i, "text": "new", "error": ""} for i in batch["id"].to_pylist()]
        return pa.Table.from_pylist(made, schema=SCHEMA)

    found = run(lambda dataset: dataset.map_batches(die_once, batch_format="pyarrow"), artifact, block_rows=2)
    assert died.exists()
    assert [row["id"] for row in found] == IDS
    assert len(part_names(artifact)) == 5


def test_rows_cut_into_other_batches_do_not_come_twice(artifact: Artifact) -> None:
    for ids in (IDS[:6], IDS[3:]):
        made = [{"id": i, "text": "a", "error": ""} for i in ids]
        PartWriter(artifact.url(PARTS), "id")(pa.Table.from_pylist(made, schema=SCHEMA))
    assert read_parts(artifact, SCHEMA, "id")["id"].to_pylist() == IDS


@pytest.mark.parametrize("content", [b"", b"PAR1 half a file"])
def test_a_part_that_cannot_be_read_is_told_and_its_rows_are_made_again(
    artifact: Artifact, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [{"id": i, "text": "old", "error": ""} for i in IDS[:4]]
    PartWriter(artifact.url(PARTS), "id")(pa.Table.from_pylist(kept, schema=SCHEMA))
    broken = Path(artifact.at(PARTS), "0broken.parquet")
    broken.write_bytes(content)
    found = run(writing(tmp_path / "diary"), artifact)
    assert [row["text"] for row in found] == ["old"] * 4 + ["new"] * 6
    assert f"{broken} cannot be read" in capsys.readouterr().out
    assert not broken.exists()


def test_a_part_with_the_columns_of_an_older_version_is_made_again(artifact: Artifact) -> None:
    PartWriter(artifact.url(PARTS), "id")(pa.table({"id": ["r00"], "error": [""]}))
    assert read_parts(artifact, SCHEMA, "id").num_rows == 0
    PartWriter(artifact.url(PARTS), "id")(pa.table({"id": ["r00"], "text": ["new"], "error": [""]}))
    assert read_parts(artifact, SCHEMA, "id").num_rows == 1


def test_a_full_disk_in_a_worker_ends_with_a_sentence(artifact: Artifact) -> None:
    def full(batch: pa.Table) -> pa.Table:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Exception, match="No space left on device") as caught:
        run(lambda dataset: dataset.map_batches(full, batch_format="pyarrow"), artifact)
    sentence = explain(caught.value)
    assert sentence is not None
    assert sentence.startswith("the disk is full")


def test_a_users_error_in_a_worker_is_found(artifact: Artifact) -> None:
    def refuse(batch: pa.Table) -> pa.Table:
        raise UserError("file a.jsonl: it is empty.")

    with pytest.raises(Exception, match="it is empty") as caught:
        run(lambda dataset: dataset.map_batches(refuse, batch_format="pyarrow"), artifact)
    assert explain(caught.value) == "file a.jsonl: it is empty."


def test_parts_are_gone_when_the_artifact_is_sealed(artifact: Artifact, tmp_path: Path) -> None:
    run(writing(tmp_path / "diary"), artifact)
    artifact.write_table("things.parquet", rows())
    manifest = artifact.seal(rows={"things": 10})
    assert set(manifest.files) == {"things.parquet"}
    assert pq.read_table(artifact.at("things.parquet")).num_rows == 10
    assert not Path(artifact.at(PARTS)).exists()
