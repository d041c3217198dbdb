from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.batching import collate, collate_source_target, micro_batches, plan_batches

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=400)
IDS = st.lists(st.integers(3, 50), min_size=1, max_size=12)
ROWS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6)
PAD = 2


@given(LENGTHS, st.integers(1, 40), st.integers(1, 3), st.integers(0, 5))
def test_every_row_occurs_once_in_every_epoch(
    lengths: list[int], batch_size: int, epochs: int, seed: int
) -> None:
    plan = plan_batches(lengths, batch_size=batch_size, epochs=epochs, seed=seed)
    per_epoch = -(-len(lengths) // batch_size)
    assert len(plan) == per_epoch * epochs
    for epoch in range(epochs):
        rows = [row for batch in plan[epoch * per_epoch : (epoch + 1) * per_epoch] for row in batch]
        assert sorted(rows) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in plan)


@given(LENGTHS, st.integers(1, 40), st.floats(0.01, 3.5), st.integers(0, 5))
def test_a_part_epoch_ends_early_and_repeats_nothing(
    lengths: list[int], batch_size: int, epochs: float, seed: int
) -> None:
    plan = plan_batches(lengths, batch_size=batch_size, epochs=epochs, seed=seed)
    per_epoch = -(-len(lengths) // batch_size)
    assert len(plan) == max(1, round(per_epoch * epochs))
    seen = Counter(row for batch in plan for row in batch)
    assert max(seen.values()) - min(seen.get(row, 0) for row in range(len(lengths))) <= 1


@given(LENGTHS, st.integers(1, 40), st.integers(0, 5))
def test_the_same_seed_gives_the_same_plan_and_a_longer_training_begins_with_it(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    plan = plan_batches(lengths, batch_size=batch_size, epochs=2, seed=seed)
    assert plan == plan_batches(list(lengths), batch_size=batch_size, epochs=2, seed=seed)
    assert plan_batches(lengths, batch_size=batch_size, epochs=3, seed=seed)[: len(plan)] == plan


def test_another_seed_and_another_epoch_are_another_order() -> None:
    lengths = list(range(1, 101))
    plan = plan_batches(lengths, batch_size=10, epochs=2, seed=0)
    assert plan[:10] != plan[10:]
    assert plan != plan_batches(lengths, batch_size=10, epochs=2, seed=1)


def test_rows_of_a_batch_have_similar_lengths_but_batches_are_not_in_order_of_length() -> None:
    lengths = [1 + (row * 7919) % 1000 for row in range(1000)]
    plan = plan_batches(lengths, batch_size=20, epochs=1, seed=0)
    padded = sum(len(batch) * max(lengths[row] for row in batch) for batch in plan)
    assert padded < 1.05 * sum(lengths)
    longest = [max(lengths[row] for row in batch) for batch in plan]
    assert longest != sorted(longest)


@given(st.integers(1, 70), st.integers(1, 8), st.integers(1, 16))
def test_micro_batches_of_all_workers_cover_a_step_exactly_once(rows: int, world: int, size: int) -> None:
    step = [100 + row for row in range(rows)]
    shares = [micro_batches(step, rank=rank, world=world, size=size) for rank in range(world)]
    assert sorted(row for share in shares for part in share for row in part) == step
    assert len({len(share) for share in shares}) == 1  # every worker takes part in every gradient exchange
    assert all(len(part) <= size for share in shares for part in share)
    loads = [sum(map(len, share)) for share in shares]
    assert max(loads) - min(loads) <= 1


@given(ROWS)
def test_rows_begin_in_the_first_column_and_each_target_token_has_a_position_before_it(
    rows: list[tuple[list[int], list[int]]],
) -> None:
    batch = collate(rows, pad=PAD)
    longest = max(len(p) + len(t) for p, t in rows)
    length = batch.input_BL.shape[1]
    assert longest <= length < longest + 8
    assert batch.input_BL.shape == (len(rows), length)
    for b, (prompt, target) in enumerate(rows):
        end = len(prompt) + len(target)
        assert batch.input_BL[b].tolist() == prompt + target + [PAD] * (length - end)
    labels = [token for _, target in rows for token in target]
    assert batch.label_N.tolist() == labels + [-100] * (-len(labels) % 64)
    positions = batch.position_N[: len(labels)]
    assert batch.input_BL.flatten()[positions + 1].tolist() == labels
    assert positions.unique().numel() == len(labels)


def test_lengths_are_rounded_up_to_few_by_an_eighth_at_most() -> None:
    lengths = {n: collate([([5] * n, [7])], pad=PAD).input_BL.shape[1] for n in range(63, 1024)}
    assert all(n + 1 <= length <= 9 / 8 * (n + 1) for n, length in lengths.items())
    assert len(set(lengths.values())) <= 8 * 4 + 1


@given(ROWS)
def test_sources_and_targets_of_an_encoder_decoder_begin_in_the_first_column(
    rows: list[tuple[list[int], list[int]]],
) -> None:
    batch = collate_source_target(rows, pad=PAD)
    for b, (source, target) in enumerate(rows):
        assert batch.source_BS[b, : len(source)].tolist() == source
        assert batch.mask_BS[b].sum() == len(source)
        assert batch.source_BS[b][batch.mask_BS[b] == 0].eq(PAD).all()
        assert batch.label_BT[b, : len(target)].tolist() == target
        assert batch.label_BT[b, len(target) :].eq(-100).all()


@given(ROWS, st.data())
def test_every_target_token_has_the_weight_of_its_row(
    rows: list[tuple[list[int], list[int]]], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=len(rows), max_size=len(rows)))
    batch = collate(rows, pad=PAD, weights=weights)
    pairs = collate_source_target(rows, pad=PAD, weights=weights)
    if set(weights) == {1.0}:
        assert batch.weight_N is None
        assert pairs.weight_BT is None
        return
    assert batch.weight_N is not None
    assert pairs.weight_BT is not None
    of_tokens = [weight for weight, (_, target) in zip(weights, rows, strict=True) for _ in target]
    assert batch.weight_N.tolist() == of_tokens + [0.0] * (len(batch.label_N) - len(of_tokens))
    assert pairs.weight_BT[pairs.label_BT != -100].tolist() == of_tokens
    assert {batch.weight_N.dtype, pairs.weight_BT.dtype} == {torch.float32}


@pytest.mark.parametrize("row", [([5], []), ([], [5])])
def test_a_row_without_a_prompt_or_a_target_is_refused(row: tuple[list[int], list[int]]) -> None:
    with pytest.raises(ValueError, match="no prompt or no target"):
        collate([([5, 6], [7]), row], pad=PAD)


def test_tensors_hold_whole_numbers() -> None:
    batch = collate([([5, 6], [7])], pad=PAD)
    assert {batch.input_BL.dtype, batch.position_N.dtype, batch.label_N.dtype} == {torch.int64}
