from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kard_ray.runtime.ledger import Ledger
from kard_ray.teacher.backends.work import Item, Keys, reply_row
from kard_ray.teacher.cost import teacher_cost
from kard_ray.teacher.generation import Plan

OPENINGS = {"a": [{"role": "system", "content": "one two three"}]}
IDENTITY = {"model": "m"}


class Nobody:
    """A backend that is never started."""

    block_items = 1

    def identity(self) -> Mapping[str, Any]:
        return IDENTITY

    def models(self) -> Mapping[str, str]:
        return {}

    def transform(self, prompts: Any, openings: Any, ledger: Any) -> Any:
        raise AssertionError("an estimate must not generate")


def words(messages: Sequence[Mapping[str, str]]) -> int:
    return sum(len(message["content"].split()) for message in messages)


def items(count: int, samples: int = 2) -> list[Item]:
    turns = ["word " * (5 + n % 7) for n in range(count)]
    return [
        Item(item_id=f"q{n}", opening="a", turn=turn, samples=tuple(range(samples)))
        for n, turn in enumerate(turns)
    ]


def plan(folder: Path, found: list[Item]) -> Plan:
    return Plan(found, OPENINGS, Nobody(), Ledger(str(folder)))


def true_tokens(found: list[Item]) -> int:
    return sum((3 + len(item.turn.split())) * len(item.samples) for item in found)


def test_when_every_prompt_is_counted_the_figure_is_exact(tmp_path: Path) -> None:
    found = items(20)
    cost = teacher_cost(plan(tmp_path, found), words, counted_by="words", max_tokens=50)
    assert (cost.texts, cost.calls, cost.finished) == (40, 40, 0)
    assert cost.prompt.tokens == true_tokens(found)
    assert cost.prompt.error == 0
    assert cost.generated.tokens == cost.most_generated == 40 * 50


@pytest.mark.parametrize("seed", range(5))
def test_the_true_number_lies_within_three_times_the_half_interval(tmp_path: Path, seed: int) -> None:
    found = items(1000, samples=1)
    cost = teacher_cost(plan(tmp_path, found), words, counted_by="words", max_tokens=50, sample=50, seed=seed)
    assert 0 < cost.prompt.error < 0.1 * cost.prompt.tokens
    assert abs(cost.prompt.tokens - true_tokens(found)) <= 3 * cost.prompt.error


def test_several_samples_in_a_request_pay_for_its_prompt_once(tmp_path: Path) -> None:
    found = items(10, samples=5)
    single = teacher_cost(plan(tmp_path, found), words, counted_by="words", max_tokens=50)
    pairs = teacher_cost(
        plan(tmp_path, found), words, counted_by="words", max_tokens=50, samples_per_request=2
    )
    assert (single.calls, pairs.calls) == (50, 30)
    assert pairs.prompt.tokens == round(single.prompt.tokens * 30 / 50)
    assert pairs.generated == single.generated


def test_what_the_ledger_holds_is_not_paid_again(tmp_path: Path) -> None:
    found = items(10)
    key = Keys(OPENINGS, IDENTITY).of(found[0], 1)
    writer = Ledger(str(tmp_path)).writer()
    writer.append([reply_row(key=key, item_id="q0", sample=1, text="Because.", generated_tokens=7)])
    writer.close()
    cost = teacher_cost(plan(tmp_path, found), words, counted_by="words", max_tokens=50)
    assert (cost.texts, cost.finished) == (19, 1)
    assert cost.prompt.tokens < true_tokens(found)


def test_texts_of_the_teacher_tell_more_than_its_examples(tmp_path: Path) -> None:
    found = items(10)
    guess = teacher_cost(plan(tmp_path, found), words, counted_by="words", max_tokens=50, example_tokens=[10])
    known = teacher_cost(
        plan(tmp_path, found),
        words,
        counted_by="words",
        max_tokens=50,
        example_tokens=[10],
        written_tokens=[20, 30],
    )
    assert (guess.generated.tokens, known.generated.tokens) == (200, 500)
    assert known.generated.error > 0
    expected, most = known.money(1.0, 2.0)
    assert expected == pytest.approx((known.prompt.tokens + 2 * 500) / 1e6)
    assert most >= expected
    assert known.seconds(100.0) == pytest.approx(5.0)


def test_a_finished_plan_costs_nothing(tmp_path: Path) -> None:
    cost = teacher_cost(plan(tmp_path, []), words, counted_by="words", max_tokens=50)
    assert (cost.texts, cost.prompt.tokens, cost.generated.tokens, cost.calls) == (0, 0, 0, 0)
