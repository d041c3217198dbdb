from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.reranker import maxsim
from kard_ray.reranker.late_interaction import max_sim_of
from kard_ray.reranker.maxsim import ENDS_FILE, SCALES_FILE, VECTORS_FILE, TokenArrays, quantised

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=8)


def passages(lengths: list[int], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, 5)).astype(np.float32) for length in lengths]


def arrays(of: list[np.ndarray], dtype: str) -> TokenArrays:
    ends, together = np.cumsum([len(one) for one in of]), np.concatenate(of)
    if dtype == "int8":
        vectors, scales = quantised(together)
        return TokenArrays(vectors, ends, scales)
    return TokenArrays(together.astype(dtype), ends)


@given(LENGTHS, st.integers(1, 4), st.integers(0, 99), st.data())
def test_scores_are_those_of_the_vectors_by_themselves(
    lengths: list[int], query: int, seed: int, data: st.DataObject
) -> None:
    of = passages(lengths, seed)
    query_QD = np.random.default_rng(seed + 1).normal(size=(query, 5)).astype(np.float32)
    stored = arrays(of, "float32")
    chosen = data.draw(st.lists(st.integers(0, len(of) - 1)))
    expected = max_sim_of(query_QD, [of[at] for at in chosen])
    np.testing.assert_allclose(
        stored.scores(query_QD, np.array(chosen, np.int64)), expected, rtol=1e-4, atol=1e-5
    )
    # However few vectors are compared at once.
    with patch.object(maxsim, "_BLOCK_NUMBERS", data.draw(st.integers(1, 200))):
        found = stored.all_scores([query_QD, -query_QD])
    for asked_QD, scores in zip((query_QD, -query_QD), found, strict=True):
        np.testing.assert_allclose(scores, max_sim_of(asked_QD, of), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("int8", 1e-2)])
def test_smaller_numbers_change_a_score_by_little(dtype: str, error: float) -> None:
    of = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in passages([9] * 40, 3)]
    query_QD = of[7] + 0.1
    exact, rounded = (arrays(of, kind).all_scores([query_QD])[0] for kind in ("float32", dtype))
    assert np.abs(rounded / exact - 1).max() < error
    assert rounded.argmax() == exact.argmax()


@given(st.lists(st.integers(-(10**6), 10**6).map(lambda n: n / 1000), min_size=1, max_size=20))
def test_a_quantised_number_is_off_by_half_a_step_at_most(numbers: list[float]) -> None:
    vector_1D = np.array([numbers], np.float32)
    small_1D, scale_1 = quantised(vector_1D)
    step = np.abs(vector_1D).max() / 127
    assert np.abs(small_1D * scale_1[:, None] - vector_1D).max() <= step / 2 + 1e-4 * step
    assert scale_1[0] == pytest.approx(step)


def test_arrays_are_mapped_from_their_files(tmp_path: Path) -> None:
    of = passages([2, 3, 1], 0)
    vectors, scales = quantised(np.concatenate(of))
    np.save(tmp_path / VECTORS_FILE, vectors)
    np.save(tmp_path / ENDS_FILE, np.array([2, 5, 6]))
    np.save(tmp_path / SCALES_FILE, scales)
    stored = TokenArrays.open(tmp_path)
    assert (stored.passages, stored.dimensions) == (3, 5)
    assert stored.tokens(np.array([2, 0, 1])).tolist() == [1, 2, 3]
    np.testing.assert_array_equal(stored.all_scores(of[:1]), arrays(of, "int8").all_scores(of[:1]))
    assert stored.scores(of[0], np.empty(0, np.int64)).size == 0
