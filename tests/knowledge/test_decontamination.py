"""The contamination report over a real knowledge base, on a local Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from kard_ray.benchmarks.question import Question
from kard_ray.knowledge.contamination import ContaminationConfig
from kard_ray.knowledge.decontamination import write_contamination
from kard_ray.knowledge.retrieval import KnowledgeBase
from kard_ray.knowledge.versions import find_version
from kard_ray.runtime.artifacts import Artifact, ArtifactSpec, Manifest, RunDirectory
from tests.knowledge.rows import CONFIG, write_base

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

LEAKED = "In which of the four old harbour towns did the blind cartographer draw the last map of the strait"
OTHER = "Why do the fishermen of the northern islands never mend their nets on the eve of a winter storm"
PASSAGES = [
    ("leak", "Quiz", f"Question 7. {LEAKED.upper()}? Answer: Brock."),
    ("harbour", "Harbours", "The four old harbour towns lie on the strait."),
]


def question(identity: str, split: str, text: str) -> Question:
    return Question(question_id=identity, split=split, question=text, options=("yes", "no"), answer=0)  # type: ignore[arg-type]


TEST = [question("t1", "test", LEAKED), question("t2", "test", OTHER), question("t3", "test", "Is it?")]
TRAIN = [
    question("r1", "train", f"{OTHER}, do you think"),
    question("r2", "train", "Which town is the oldest of all?"),
]


def report(folder: Path, *, drop: bool) -> tuple[Artifact, Manifest]:
    version = write_base(folder / "base", [PASSAGES])
    artifact = RunDirectory(str(folder)).artifact(ArtifactSpec(stage="contamination", version=1, config={}))
    manifest = write_contamination(
        TEST,
        TRAIN,
        ContaminationConfig(drop=drop),
        folder=str(folder / "base"),
        version=version.number,
        knowledge=CONFIG,
        artifact=artifact,
    )
    return artifact, manifest


def test_overlaps_are_counted_listed_and_otherwise_left_alone(tmp_path: Path) -> None:
    artifact, manifest = report(tmp_path, drop=False)
    rows = artifact.read_table("contamination.parquet").to_pylist()
    assert {(row["question_id"], row["kind"], row["id"]) for row in rows} == {
        ("t1", "passage", "leak"),
        ("t2", "question", "r1"),
    }
    counts = manifest.counts
    assert counts["contaminated_test_questions"] == 2
    assert counts["first_contaminated_test_questions"] == ["t1", "t2"]
    assert counts["overlapping_passages"] == counts["overlapping_training_questions"] == 1
    assert counts["too_short_to_check"] == 1
    assert counts["knowledge_base_tag"] == "build-1"


def test_dropping_makes_a_version_without_the_passages_and_keeps_the_old_one(tmp_path: Path) -> None:
    _, manifest = report(tmp_path, drop=True)
    folder = str(tmp_path / "base")
    assert manifest.counts["knowledge_base_tag"] == "decontaminate-2"
    clean = KnowledgeBase(folder, version=manifest.counts["knowledge_base_version"])
    assert clean.retrieve([LEAKED], 5)["passage_id"].to_pylist() == ["harbour"]
    assert find_version(folder).tag == "build-1"  # what others read stays whole
    assert KnowledgeBase(folder).retrieve([LEAKED], 5)["passage_id"].to_pylist() == ["leak", "harbour"]
