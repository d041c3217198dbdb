from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.training.order import micro_batches, plan_batches

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=400)


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
