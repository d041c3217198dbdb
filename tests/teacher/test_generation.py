"""Texts on a real local Ray: only what the ledger lacks is asked for, and everything asked for comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kard_ray.runtime.errors import UserError
from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.backends.recorded import Recorded, RecordedConfig
from kard_ray.teacher.backends.work import Item, Keys
from kard_ray.teacher.generation import Plan, generate

OPENINGS = {"a": [{"role": "system", "content": "Explain."}], "b": [{"role": "system", "content": "Tell."}]}


def recorded(folder: Path, texts: Mapping[str, list[str]], name: str = "teacher.jsonl") -> Recorded:
    path = folder / name
    path.write_text("".join(json.dumps({"id": i, "rationales": t}) + "\n" for i, t in texts.items()))
    return Recorded(RecordedConfig(kind="recorded", path=str(path)))


def items(count: int, samples: int = 2) -> list[Item]:
    return [
        Item(item_id=f"q{n}", opening="ab"[n % 2], turn=f"Question {n}", samples=tuple(range(samples)))
        for n in range(count)
    ]


TEXTS = {f"q{n}": [f"Reason {n}.{s}" for s in range(3)] for n in range(12)}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path / "ledger"))


class Counting:
    """The recorded teacher, with a note of what it was asked for."""

    def __init__(self, inner: Recorded) -> None:
        self.inner, self.block_items = inner, 4
        self.asked: list[tuple[str, int]] = []

    def identity(self) -> Mapping[str, Any]:
        return self.inner.identity()

    def models(self) -> Mapping[str, str]:
        return self.inner.models()

    def transform(self, prompts: Any, openings: Any, ledger: Ledger) -> Any:
        for row in prompts.take_all():
            self.asked += [(row["item_id"], int(sample)) for sample in row["samples"]]
        return self.inner.transform(prompts, openings, ledger)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestGenerate:
    def test_replies_come_in_the_order_of_items_and_samples(self, tmp_path: Path, ledger: Ledger) -> None:
        wanted = list(reversed(items(12)))
        table = generate(wanted, OPENINGS, recorded(tmp_path, TEXTS), ledger, label="rationales").table
        assert table["item_id"].to_pylist() == [item.item_id for item in wanted for _ in range(2)]
        assert table["generated_text"].to_pylist() == [
            TEXTS[item.item_id][sample] for item in wanted for sample in (0, 1)
        ]
        assert set(table["error"].to_pylist()) == {""}

    def test_only_what_is_missing_is_asked_for(self, tmp_path: Path, ledger: Ledger) -> None:
        backend = Counting(recorded(tmp_path, TEXTS))
        generate(items(6, samples=1), OPENINGS, backend, ledger, label="rationales")
        first = set(backend.asked)
        assert len(backend.asked) == 6
        backend.asked.clear()
        more = generate(items(8, samples=3), OPENINGS, backend, ledger, label="rationales").table
        assert len(backend.asked) == 8 * 3 - 6
        assert not first & set(backend.asked)
        assert more.num_rows == 24
        backend.asked.clear()
        again = generate(items(8, samples=3), OPENINGS, backend, ledger, label="rationales")
        assert again.table.equals(more)
        assert again.tokens_per_second is None
        assert backend.asked == []

    def test_an_error_is_told_kept_apart_and_asked_for_again(self, tmp_path: Path, ledger: Ledger) -> None:
        known = {name: texts for name, texts in TEXTS.items() if name != "q3"}
        backend = Counting(recorded(tmp_path, known | {"q4": ["Reason 4.0", "  "]}))
        table = generate(items(6), OPENINGS, backend, ledger, label="rationales").table
        failed = {row["item_id"]: row["error"] for row in table.to_pylist() if row["error"]}
        assert failed == {
            "q3": "the recorded teacher has nothing for q3",
            "q4": "the recorded text is empty",
        }
        assert len(ledger.finished()) == 9
        backend.asked.clear()
        generate(items(6), OPENINGS, backend, ledger, label="rationales")
        assert sorted(backend.asked) == [("q3", 0), ("q3", 1), ("q4", 1)]

    def test_a_row_that_is_lost_is_told_and_the_others_are_kept(self, tmp_path: Path, ledger: Ledger) -> None:
        class Losing(Counting):
            def transform(self, prompts: Any, openings: Any, ledger: Ledger) -> Any:
                return self.inner.transform(
                    prompts.filter(lambda row: row["item_id"] != "q1"), openings, ledger
                )

        with pytest.raises(UserError, match=r"rows were lost on the way; 6 of 8 texts are finished"):
            generate(items(4), OPENINGS, Losing(recorded(tmp_path, TEXTS)), ledger, label="rationales")
        assert len(ledger.finished()) == 6


def test_a_benchmarks_name_before_an_id_is_no_hindrance(tmp_path: Path, ledger: Ledger) -> None:
    from kard_ray.teacher.backends.recorded import Replayer
    from kard_ray.teacher.backends.work import PROMPTS

    path = tmp_path / "teacher.jsonl"
    path.write_text('{"id": "train-00000", "rationales": ["It is."]}\n')
    row = {
        "item_id": "strategyqa-train-00000",
        "opening": "a",
        "turn": "",
        "samples": [0, 1],
        "keys": ["k0", "k1"],
    }
    import pyarrow as pa

    counted = Replayer(str(path), ledger.url)(pa.Table.from_pylist([row], schema=PROMPTS)).to_pylist()[0]
    assert (counted["replies"], counted["errors"]) == (1, 1)
    assert ledger.finished() == {"k0"}


@pytest.mark.parametrize("line", ["no JSON", '{"id": "a"}', '{"id": "a", "rationales": "text"}', "[1]"])
def test_a_wrong_line_of_a_recording_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    from kard_ray.teacher.backends.recorded import read_records

    path = tmp_path / "teacher.jsonl"
    path.write_text('{"id": "a", "rationales": []}\n\n' + line + "\n")
    with pytest.raises(UserError, match=r"line 3: expected a JSON object with id and rationales"):
        list(read_records(str(path)))


def test_a_missing_recording_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe field teacher\.backend\.path"):
        Recorded(RecordedConfig(kind="recorded", path=str(tmp_path / "none.jsonl.gz")))


class TestKeys:
    item = Item(item_id="q0", opening="a", turn="Question 0", samples=(0,))

    def key(self, *, identity: Mapping[str, Any] | None = None, sample: int = 0, **changes: Any) -> str:
        fields = {name: getattr(self.item, name) for name in ("item_id", "opening", "turn", "samples")}
        return Keys(OPENINGS, identity or {"model": "m"}).of(Item(**fields | changes), sample)

    def test_everything_that_decides_a_reply_is_in_its_key(self) -> None:
        keys = {
            self.key(),
            self.key(sample=1),
            self.key(item_id="q1"),
            self.key(turn="Question 1"),
            self.key(opening="b"),
            self.key(identity={"model": "m", "seed": 1}),
        }
        assert len(keys) == 6

    def test_how_many_samples_are_asked_for_is_not(self) -> None:
        assert self.key(samples=(0, 1, 2)) == self.key()


def test_a_plan_cuts_what_is_missing_into_blocks_of_items(tmp_path: Path, ledger: Ledger) -> None:
    plan = Plan(items(7, samples=3), OPENINGS, recorded(tmp_path, TEXTS), ledger)
    blocks = list(plan.blocks(3))
    assert [block.num_rows for block in blocks] == [3, 3, 1]
    assert plan.missing == plan.total == 21
    keys = [key for block in blocks for found in block["keys"].to_pylist() for key in found]
    assert len(set(keys)) == 21
