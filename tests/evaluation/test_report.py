from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.flops import decode_flops, prefill_flops
from kard_ray.evaluation.model_shape import ModelShape, Stack
from kard_ray.evaluation.predict import PREDICTIONS
from kard_ray.evaluation.report import flat, print_report, records, write_report
from kard_ray.evaluation.scoring import wilson_interval
from kard_ray.evaluation.search_cost import SearchCost
from kard_ray.runtime.artifacts import ArtifactSpec, RunDirectory

QUESTIONS = {
    f"q{n}": Question(
        question_id=f"q{n}",
        split="test",
        question="Which?",
        options=("yes", "no"),
        answer=0,
        kind=("area", "border")[n % 2],
        gold_passages=("p1", "p2") if n < 3 else (),
    )
    for n in range(6)
}


def predictions(source: str, answers: list[int | None], passage_ids: list[str]) -> pa.Table:
    rows = [
        {
            "prediction_id": f"{source}/q{n}",
            "question_id": f"q{n}",
            "source": source,
            "passage_ids": passage_ids,
            "generated_text": "x",
            "prompt_tokens": 10 * n,
            "generated_tokens": n,
            "error": "",
            "prediction": answer,
            "prediction_text": None if answer is None else ("yes", "no")[answer],
            "correct": answer == 0,
            "calls": [{"prompt_tokens": 10 * n, "generated_tokens": [n]}],
            "seconds": 0.1 * n,
        }
        for n, answer in enumerate(answers)
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTIONS)


ANSWERS: list[int | None] = [0, 0, 1, None, 0, 1]
FINETUNE = predictions("none", ANSWERS, [])
KARD = pa.concat_tables(
    [predictions("bm25", ANSWERS, ["p1", "x"]), predictions("silver", [0] * 6, ["p2", "p1"])]
)


def report(k: int = 2) -> list[dict[str, Any]]:
    return records({"finetune": FINETUNE, "kard": KARD}, QUESTIONS, benchmark="factbook", split="test", k=k)


def test_there_is_one_record_per_method_and_source() -> None:
    assert [(r["method"], r["passages"], r["k"]) for r in report()] == [
        ("finetune", "none", 0),
        ("kard", "bm25", 2),
        ("kard", "silver", 2),
    ]


def test_a_record_tells_accuracy_interval_and_tokens() -> None:
    record = report()[0]
    assert (record["n"], record["correct"], record["unparsable"]) == (6, 3, 1)
    assert record["accuracy"] == 0.5
    assert (record["ci_low"], record["ci_high"]) == wilson_interval(3, 6)
    assert (record["prompt_tokens"], record["generated_tokens"]) == (150, 15)


SHAPE = ModelShape(
    decoder=Stack(layers=2, hidden=8, heads=2, kv_heads=1, head_size=4, inner=16, gated=True),
    vocabulary=50,
    output_width=8,
)


def test_a_record_tells_flops_and_latency() -> None:
    table = predictions("vector", ANSWERS, ["p1"])
    (record,) = records(
        {"kard": table}, QUESTIONS, benchmark="b", split="test", k=1,
        shapes={"kard": SHAPE}, costs={"kard": {"vector": SearchCost(1000.0, 500.0)}},
    )  # fmt: skip
    cost = record["flops_per_question"]
    assert cost["prefill"] == sum(prefill_flops(SHAPE, 10 * n) for n in range(6)) / 6
    assert cost["decode"] == sum(decode_flops(SHAPE, 10 * n, n) for n in range(6)) / 6
    assert (cost["retriever"], cost["reranker"]) == (1000, 500)
    assert cost["total"] == cost["prefill"] + cost["decode"] + 1500
    assert record["seconds_p50"] == pytest.approx(0.25)
    assert [row["flops_per_question"] for row in flat([record]).to_pylist()] == [cost["total"], None, None]


def test_a_cost_that_is_not_known_in_full_is_not_told() -> None:
    found = records(
        {"kard": pa.concat_tables([predictions("vector", ANSWERS, []), predictions("bm25", ANSWERS, [])])},
        QUESTIONS, benchmark="b", split="test", k=1, shapes={"kard": SHAPE},
    )  # fmt: skip
    assert [record["flops_per_question"] is None for record in found] == [True, False]
    assert all(record["flops_per_question"] is None for record in report())


def test_an_open_answer_that_was_read_is_not_counted_as_unparsable() -> None:
    table = predictions("none", [None] * 3, [])
    texts = pa.array(["72", None, "9"], pa.string())
    table = table.set_column(table.schema.get_field_index("prediction_text"), "prediction_text", texts)
    (record,) = records({"finetune": table}, QUESTIONS, benchmark="gsm8k", split="test", k=0)
    assert (record["n"], record["unparsable"]) == (3, 1)


def test_retrieval_is_judged_only_where_passages_were_shown_and_gold_is_known() -> None:
    none, bm25, silver = report()
    assert (none["hits_at_k"], none["all_gold_at_k"]) == (None, None)
    assert (bm25["hits_at_k"], bm25["all_gold_at_k"]) == (1.0, 0.0)
    assert (silver["hits_at_k"], silver["all_gold_at_k"]) == (1.0, 1.0)
    assert [r["hits_at_k"] for r in report(k=0)] == [None, None, None]


@given(st.lists(st.sampled_from([0, 1, None]), min_size=1, max_size=6))
def test_kinds_add_up_to_the_whole(answers: list[int | None]) -> None:
    (record,) = records(
        {"finetune": predictions("none", answers, [])}, QUESTIONS, benchmark="b", split="test", k=3
    )
    for name in ("n", "correct", "unparsable", "prompt_tokens", "generated_tokens"):
        assert record[name] == sum(kind[name] for kind in record["by_kind"].values())
    assert record["n"] == len(answers)
    assert record["correct"] + record["unparsable"] <= record["n"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_questions_without_a_kind_are_one_group() -> None:
    plain = {"q0": Question(question_id="q0", split="test", question="?", options=("a", "b"), answer=0)}
    (record,) = records({"kard": predictions("bm25", [0], [])}, plain, benchmark="b", split="test", k=3)
    assert list(record["by_kind"]) == ["all"]
    assert record["hits_at_k"] is None


def test_the_flat_table_has_a_row_for_all_and_one_for_each_kind() -> None:
    table = flat(report())
    assert table.num_rows == 3 * 3
    assert [row["kind"] for row in table.to_pylist()] == ["", "area", "border"] * 3
    for row, record in zip(table.to_pylist()[::3], report(), strict=True):
        assert {name: row[name] for name in record if name != "by_kind"} == {
            name: value for name, value in record.items() if name != "by_kind"
        }


def test_the_written_files_hold_the_same_records(tmp_path: Path) -> None:
    artifact = RunDirectory(str(tmp_path)).artifact(ArtifactSpec(stage="report", version=1, config={}))
    manifest = write_report(report(), {"benchmark": 1.5}, artifact)
    assert set(manifest.files) == {"results.json", "results.parquet", "stages.json"}
    assert manifest.rows == {"results": 3}
    assert json.loads(artifact.read_text("results.json")) == report()
    assert artifact.read_table("results.parquet").num_rows == 9
    assert json.loads(artifact.read_text("stages.json")) == {"benchmark": 1.5}


def test_the_printed_report_names_every_method_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    again = records(
        {"kard": predictions("reranker:2", ANSWERS, ["p1"])},
        QUESTIONS,
        benchmark="factbook",
        split="test",
        k=2,
    )
    print_report([*report(), *again], {"benchmark": 1.0, "knowledge": 2.5})
    printed = capsys.readouterr().out
    for text in (
        "factbook",
        "n = 6",
        "finetune",
        "bm25 k=2",
        "silver k=2",
        "reranker, two",
        "50.0 %",
        "100.0 %",
        "border",
        "3.5",
    ):
        assert text in printed
    assert "GFLOPs" in printed


def test_the_printed_report_has_no_table_of_costs_that_nobody_knows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unknown = {"flops_per_question": None, "seconds_p50": None, "seconds_p95": None}
    print_report([record | unknown for record in report()], {})
    assert "GFLOPs" not in capsys.readouterr().out
