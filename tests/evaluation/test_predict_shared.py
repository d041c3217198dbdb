"""Students of one model are answered by one engine: LoRA adapters as their merged models would, prompts as alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation import predict as predicting
from kard_ray.evaluation.asking import WRITTEN
from kard_ray.evaluation.predict import LoraStudent, Prediction, PredictionConfig, predict, predict_shared
from kard_ray.evaluation.prompts import STUDENT
from kard_ray.runtime.artifacts import PARTS, ArtifactSpec, RunDirectory
from kard_ray.runtime.engine import EngineConfig, SamplingConfig

QUESTIONS = [
    Question(question_id=f"q{n}", split="test", question=f"Which {n}?", options=("yes", "no"), answer=n % 2)
    for n in range(5)
]
TOKENS = 10
CONFIG = PredictionConfig(
    sampling=SamplingConfig(max_tokens=TOKENS),
    engine=EngineConfig(
        dtype="float32", device="cpu", max_model_tokens=256, batch_rows=3, max_sequences=8, kv_cache_gib=1
    ),
)


RANKS = {"std_cot": 4, "kard": 12}


@pytest.fixture(scope="module")
def students(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with ``model`` (merged, float32) and ``adapter``, as training leaves them; the ranks differ."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RANKS}
    for name, folder in folders.items():
        write_student(folder, llama_folder, RANKS[name], seed=0)
    return folders


@pytest.fixture(scope="module")
def legible(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Such folders, drawn until a student writes whole characters: of half ones, decoders make different texts."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RANKS}
    run = RunDirectory(str(tmp_path_factory.mktemp("run")))
    for name, folder in folders.items():
        for seed in range(50):
            write_student(folder, llama_folder, RANKS[name], seed)
            texts = "".join(expected(prediction(run, name, folder, llama_folder)))
            if all(line and line.isprintable() for line in texts.split("\n")) and "\ufffd" not in texts:
                break
        else:
            pytest.fail("no adapter writes whole characters")
    return folders


def write_student(folder: Path, base: Path, rank: int, seed: int) -> None:
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
            LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False),
        )
    model.save_pretrained(folder / "adapter")
    model.merge_and_unload().save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "model")


def prediction(run: RunDirectory, name: str, folder: Path, base: Path) -> Prediction:
    return Prediction(
        artifact=run.artifact(ArtifactSpec(stage=f"predict/{name}", version=1, config={}, inputs={})),
        questions=QUESTIONS,
        sources=["none"],
        student_path=str(folder / "model"),
        config=CONFIG,
        form="text",
        cues=("Explanation:",) if name == "kard" else ("Rationale:", "Answer:"),
        lora=LoraStudent(base=str(base), folder=str(folder / "adapter")),
    )


def expected(one: Prediction) -> list[str]:
    """What the merged model writes greedily, question by question."""
    renderer = one.manner().renderer()
    model = AutoModelForCausalLM.from_pretrained(one.student_path, dtype=torch.float32).eval()
    texts = []
    for asked in one.questions:
        written: list[str] = []
        for at in range(len(one.cues)):
            cue = "\n".join(f"{c} {t}".strip() for c, t in zip(one.cues, [*written, ""], strict=False))
            ids = renderer.prompt_ids(asked.question, asked.options, [], cue)
            assert at or cue == one.cues[0]
            said = model.generate(
                torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False, eos_token_id=2, pad_token_id=2
            )
            written.append(renderer.tokenizer.decode(said[0, len(ids) :], skip_special_tokens=True).strip())
        texts.append("\n".join(text for text in written if text))
    return texts


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("an engine was started")


@pytest.mark.ray
@pytest.mark.engine
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("local_ray")
def test_students_that_share_an_engine_answer_as_their_merged_models(
    legible: dict[str, Path], llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(str(tmp_path))
    both = [prediction(run, name, folder, llama_folder) for name, folder in legible.items()]
    predict_shared(both)
    assert not any(one.artifact.finished for one in both)
    monkeypatch.setattr(predicting, "dialogues", refuse)  # all rows are there: nothing starts any more
    predict_shared(both)
    found = []
    for one in both:
        manifest = predict(one)
        assert manifest.counts["errors"] == 0
        assert manifest.counts["cues"] == list(one.cues)
        table = one.artifact.read_table("predictions.parquet").sort_by("question_id")
        found.append(table["generated_text"].to_pylist())
        assert found[-1] == expected(one)
        assert all(0 <= p <= 1 for p in table["confidence"].to_pylist())
        assert [len(c) for c in table["calls"].to_pylist()] == [len(one.cues)] * len(QUESTIONS)
    assert found[0] != found[1]


def test_prompted_students_of_one_model_share_an_engine_without_adapters(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(str(tmp_path))
    both = [
        replace(prediction(run, name, llama_folder, llama_folder), student_path=str(llama_folder), lora=None)
        for name in ("zero_shot", "few_shot")
    ]
    engines: list[dict[str, Any]] = []

    def start(**settings: Any) -> Any:
        engines.append(settings)
        return lambda rows: rows

    monkeypatch.setattr(predicting, "dialogues", start)
    monkeypatch.setattr(predicting, "StudentPrompts", None)
    monkeypatch.setattr(predicting, "write_parts", lambda todo, transform, *_, **__: transform(_Rows(todo)))
    predict_shared(both)
    (engine,) = engines
    assert engine["model_path"] == str(llama_folder)
    assert engine["adapters"] is None


class _Rows:
    """Stands for Ray's rows where none are read."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def map_batches(self, *_: Any, **__: Any) -> _Rows:
        return self


def finished_row(name: str, question_id: str) -> dict[str, Any]:
    return {
        "prediction_id": f"none/{question_id}",
        "question_id": question_id,
        "source": "none",
        "passage_ids": [],
        "samples": [
            {
                "texts": [f"{name}. So the answer is yes."],
                "option": None,
                "option_log_probs": None,
                "confidence": 0.5,
            }
        ],
        "calls": [{"prompt_tokens": 3, "generated_tokens": [2]}],
        "seconds": 1.0,
        "error": "",
    }


def test_who_cannot_share_is_left_alone(
    students: dict[str, Path], llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "dialogues", refuse)
    run = RunDirectory(str(tmp_path))
    std_cot, kard = (prediction(run, name, folder, llama_folder) for name, folder in students.items())
    predict_shared([replace(std_cot, lora=None), replace(kard, lora=None)])
    predict_shared([std_cot])
    warmer = CONFIG.model_copy(update={"sampling": SamplingConfig(temperature=0.5)})
    predict_shared([std_cot, replace(kard, config=warmer)])
    # The model without an adapter
    predict_shared([std_cot, replace(kard, lora=None, student_path=str(llama_folder))])
    elsewhere = LoraStudent(base="/another/model", folder=str(students["kard"] / "adapter"))
    predict_shared([std_cot, replace(kard, lora=elsewhere)])


def test_only_what_is_unfinished_is_asked_and_rows_go_to_their_own_artifact(
    students: dict[str, Path], llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(str(tmp_path))
    both = [prediction(run, name, folder, llama_folder) for name, folder in students.items()]
    folder = Path(both[0].artifact.at(PARTS))
    folder.mkdir(parents=True)
    done = [finished_row("before", q.question_id) for q in QUESTIONS[:3]]
    pq.write_table(pa.Table.from_pylist(done, schema=WRITTEN), folder / "x.parquet")
    asked: list[tuple[int, str]] = []

    def answer(todo: pa.Table, _: Any, writer: Any, **__: Any) -> None:
        rows = [
            finished_row(f"student {row[STUDENT]}", row["question_id"]) | {STUDENT: row[STUDENT]}
            for row in todo.to_pylist()
        ]
        asked.extend((row[STUDENT], row["question_id"]) for row in rows)
        schema = WRITTEN.append(pa.field(STUDENT, pa.int32()))
        writer(pa.Table.from_pylist(rows, schema=schema))

    monkeypatch.setattr(predicting, "write_parts", answer)
    predict_shared(both)
    assert asked == [(0, "q3"), (0, "q4"), *((1, f"q{n}") for n in range(5))]
    monkeypatch.setattr(predicting, "write_parts", lambda todo, *_, **__: _assert_empty(todo))
    first, second = (_texts(one) for one in both)
    assert first == ["before. So the answer is yes."] * 3 + ["student 0. So the answer is yes."] * 2
    assert second == ["student 1. So the answer is yes."] * 5


def _assert_empty(todo: pa.Table) -> None:
    assert todo.num_rows == 0


def _texts(one: Prediction) -> Sequence[str]:
    predict(one)
    table = one.artifact.read_table("predictions.parquet").sort_by("question_id")
    texts: list[str] = table["generated_text"].to_pylist()
    return texts
