from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.student.batching import collate, collate_source_target

IDS = st.lists(st.integers(3, 50), min_size=1, max_size=12)
ROWS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6)
PAD = 2


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
