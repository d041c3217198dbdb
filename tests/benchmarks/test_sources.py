from __future__ import annotations

import json
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter, ValidationError

from kard_ray.benchmarks.registry import BenchmarkConfig, load_benchmark
from kard_ray.runtime.errors import UserError


def configured(**tree):
    return TypeAdapter(BenchmarkConfig).validate_python(tree)


def benchmark(**tree):
    return load_benchmark(configured(**tree))


def parquet(rows):
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def sums(first, count):
    return [
        {"question": f"What are {n} and 1?", "answer": f"#### {n + 1}"} for n in range(first, first + count)
    ]


def arc(numbers):
    choices = {"text": ["one", "two", "three"], "label": ["1", "2", "3"]}
    return [
        {"id": f"q{n}", "question": f"Which is it {n}?", "choices": choices, "answerKey": "2"}
        for n in numbers
    ]


def bbh(count):
    return [{"input": f"not True {n} is", "target": "False"} for n in range(count)]


GSM8K = {
    "README.md": b"# GSM8K",
    "main/train-00000-of-00002.parquet": parquet(sums(0, 12)),
    "main/train-00001-of-00002.parquet": parquet(sums(12, 8)),
    "main/test-00000-of-00001.parquet": parquet(sums(100, 5)),
    "socratic/test-00000-of-00001.parquet": parquet(sums(100, 5)),
    "gsm8k.py": b"raise SystemExit('code of a data set is never run')",
}


def test_a_data_set_of_the_hub_is_downloaded_and_read(hub):
    hub.files["openai/gsm8k"] = GSM8K
    found = list(benchmark(kind="gsm8k").questions())
    assert [(q.split, q.gold) for q in found if q.split == "test"] == [
        ("test", str(n + 1)) for n in range(100, 105)
    ]
    assert sum(q.split != "test" for q in found) == 20
    assert not any(path.endswith((".py", ".md")) for path in hub.asked if "/resolve/" in path)


def test_a_hub_benchmark_is_keyed_by_its_commit_without_a_download(hub):
    hub.files["openai/gsm8k"] = dict(GSM8K)
    first = benchmark(kind="gsm8k").fingerprint()
    assert first == hub.commit("openai/gsm8k")
    assert not any("/resolve/" in path for path in hub.asked)
    hub.files["openai/gsm8k"]["main/test-00000-of-00001.parquet"] = parquet(sums(200, 5))
    assert benchmark(kind="gsm8k").fingerprint() == hub.commit("openai/gsm8k") != first


def test_a_commit_in_the_recipe_asks_the_hub_nothing_for_its_key(hub):
    commit = "0123456789abcdef0123456789abcdef01234567"
    config = configured(kind="gsm8k", hub="me/mine", revision=commit)
    assert load_benchmark(config).fingerprint() == commit
    assert hub.asked == []
    assert config.content() == {"kind": "gsm8k", "dev_fraction": 0.1, "hub": "me/mine"}


def test_what_was_downloaded_once_is_read_without_the_hub(hub, monkeypatch):
    import huggingface_hub.constants as constants

    hub.files["openai/gsm8k"] = GSM8K
    before = benchmark(kind="gsm8k")
    questions, key = list(before.questions()), before.fingerprint()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    after = benchmark(kind="gsm8k")
    assert (list(after.questions()), after.fingerprint()) == (questions, key)
    assert len(hub.asked) == asked


def test_the_same_files_in_a_folder_give_the_same_questions(hub, tmp_path):
    hub.files["openai/gsm8k"] = GSM8K
    for path, data in GSM8K.items():
        (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / path).write_bytes(data)
    copied = benchmark(kind="gsm8k", path=str(tmp_path / "copy"))
    assert list(copied.questions()) == list(benchmark(kind="gsm8k").questions())
    assert len(copied.fingerprint()) == 16


@pytest.mark.parametrize(
    ("kind", "name", "files", "count"),
    [
        (
            "arc_easy",
            "allenai/ai2_arc",
            {"ARC-Easy/validation-00000-of-00001.parquet": parquet(arc([1]))},
            {"dev": 1},
        ),
        (
            "arc_challenge",
            "allenai/ai2_arc",
            {
                "ARC-Easy/test-00000-of-00001.parquet": parquet(arc([1])),
                "ARC-Challenge/test-00000-of-00001.parquet": parquet(arc([2, 3])),
            },
            {"test": 2},
        ),
        (
            "openbookqa",
            "allenai/openbookqa",
            {
                "main/test-00000-of-00001.parquet": parquet(arc([1])),
                "additional/test-00000-of-00001.parquet": parquet(
                    [{"question_stem": row.pop("question"), **row, "fact1": "Sky."} for row in arc([1, 2])]
                ),
            },
            {"test": 2},
        ),
        (
            "strategyqa",
            "ChilleD/StrategyQA",
            {"test.json": json.dumps([{"qid": "a", "question": "Is it?", "answer": True}]).encode()},
            {"test": 1},
        ),
        (
            "medqa",
            "GBaker/MedQA-USMLE-4-options-hf",
            {"dev.json": lines([{"id": "1", "sent1": "What?", "ending0": "a", "ending1": "b", "label": 1}])},
            {"dev": 1},
        ),
    ],
)
def test_each_benchmark_knows_where_its_data_set_keeps_the_splits(hub, kind, name, files, count):
    hub.files[name] = files
    found = list(benchmark(kind=kind).questions())
    assert {split: sum(q.split == split for q in found) for split in {q.split for q in found}} == count


def test_tasks_stand_in_folders_on_the_hub(hub):
    hub.files["SaylorTwift/bbh"] = {
        "boolean_expressions/test-00000-of-00001.parquet": parquet(bbh(10)),
        "snarks/test-00000-of-00001.parquet": parquet(bbh(3)),
    }
    found = list(benchmark(kind="bbh", tasks=["boolean_expressions"]).questions())
    assert sum(q.split == "test" for q in found) == 2
    assert len(found) == 10
    with pytest.raises(
        UserError, match=r"benchmark.hub: the hub's data set SaylorTwift/bbh does not hold navi"
    ):
        list(benchmark(kind="bbh", tasks=["navigate"]).questions())


def test_a_data_set_or_revision_that_is_not_there_is_one_sentence(hub):
    hub.files["me/mine"] = GSM8K
    with pytest.raises(
        UserError, match=r"benchmark.hub: the hub's data set me/none is not there; expected"
    ) as e:
        benchmark(kind="gsm8k", hub="me/none").fingerprint()
    assert "\n" not in str(e.value)
    with pytest.raises(
        UserError, match=r"benchmark.revision: .* me/mine has no revision 'v9'; expected a branch"
    ):
        benchmark(kind="gsm8k", hub="me/mine", revision="v9").fingerprint()


def test_a_data_set_without_the_files_is_told_with_the_field(hub):
    hub.files["me/mine"] = {"README.md": b"", "other.json": b"[]"}
    with pytest.raises(
        UserError, match=r"benchmark.hub: the hub's data set me/mine holds none of train.jsonl, test"
    ):
        list(benchmark(kind="gsm8k", hub="me/mine").questions())


def test_without_the_hub_and_the_cache_there_is_one_sentence_with_the_way_out(hub, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match=r"HF_HUB_OFFLINE=1\): download it .* or give a folder in benchmark.path"
    ) as e:
        benchmark(kind="gsm8k").fingerprint()
    assert "\n" not in str(e.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.stop()
    with pytest.raises(UserError, match="the hub cannot be reached"):
        benchmark(kind="gsm8k", hub="me/mine").fingerprint()


@pytest.mark.parametrize(
    "tree",
    [{"path": "x", "hub": "a/b"}, {"path": "x", "revision": "main"}, {"hub": "no-owner"}, {"path": ""}],
)
def test_a_source_is_a_folder_or_a_data_set(tree):
    with pytest.raises(ValidationError):
        configured(kind="gsm8k", **tree)


@pytest.mark.parametrize(
    "name",
    [
        "test.json",
        "test.jsonl",
        "test-00000-of-00001.jsonl",
        "data/test.jsonl",
        "data/test-00000-of-00001-ab12.jsonl",
        "phrases_no_exclude_test.jsonl",
        "GSM8K-Test.jsonl",
        "test_complete.jsonl",
    ],
)
def test_a_split_is_found_under_the_names_that_authors_use(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(lines(sums(0, 2)))
    assert [q.split for q in benchmark(kind="gsm8k", path=str(tmp_path)).questions()] == ["test", "test"]


def test_a_name_that_fits_two_files_is_told_with_both(tmp_path):
    for name in ("a_test.jsonl", "b_test.jsonl"):
        (tmp_path / name).write_bytes(lines(sums(0, 2)))
    with pytest.raises(UserError, match=r"holds a_test.jsonl, b_test.jsonl; expected one such file"):
        list(benchmark(kind="gsm8k", path=str(tmp_path)).questions())
