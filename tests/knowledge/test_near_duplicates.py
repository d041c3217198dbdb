from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.knowledge.near_duplicates import DeduplicationConfig, band_keys, jaccard, shingles

NEAR = DeduplicationConfig(near=0.8)
VOCABULARY = [f"word{i}" for i in range(2000)]


def sentence(draw, count=100):
    return " ".join(draw.choices(VOCABULARY, k=count))


def changed(draw, text, count):
    """``text`` with ``count`` words replaced."""
    parts = text.split()
    for at in draw.sample(range(len(parts)), count):
        parts[at] = draw.choice(VOCABULARY)
    return " ".join(parts)


def share_a_band(one, two, config):
    keys = band_keys([one, two], config)
    return bool((keys[0] == keys[1]).any())


TEXTS = st.text(st.sampled_from("ab é,.\n東-∑"), max_size=40)


@given(TEXTS, st.integers(1, 6))
def test_equal_texts_share_all_keys(text, n):
    config = DeduplicationConfig(near=0.7, shingle_words=n)
    keys = band_keys([text, "another", text, f"  {text.replace(' ', chr(10))} "], config)
    assert keys.shape == (4, config.bands)
    assert keys.dtype == np.uint64
    assert (keys[0] == keys[2]).all()
    assert (keys[0] == keys[3]).all()
    assert jaccard(text, text, n) == 1
    assert len(shingles(text, n)) > 0


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_jaccard_is_the_share_of_shingles_in_common(one, two, n):
    a, b = shingles(one, n), shingles(two, n)
    assert jaccard(one, two, n) == len(a & b) / len(a | b) == jaccard(two, one, n)
    assert (jaccard(one, two, n) == 1) == (a == b)


def test_shingles_are_words_in_a_row():
    assert shingles("The CIA, the C.I.A.", 3) == {b"the cia the", b"cia the c", b"the c i", b"c i a"}
    assert shingles("Two words", 5) == {b"two words"}
    assert shingles("→  ∑", 5) == {"→ ∑".encode()}
    assert shingles("", 5) == {b""}


@pytest.mark.parametrize("near", [0.5, 0.6, 0.7, 0.8])
def test_near_texts_share_a_band(near):
    """Of texts with a similarity from near + 0.1 on, at least 95 % are found; of far ones, few."""
    draw = random.Random(7)
    config = DeduplicationConfig(near=near)
    found, far = [], []
    while len(found) < 300 or len(far) < 300:
        one = sentence(draw)
        two = changed(draw, one, draw.randrange(1, 40))
        similarity = jaccard(one, two, config.shingle_words)
        if near + 0.1 <= similarity < 1 and len(found) < 300:
            found.append(share_a_band(one, two, config))
        if similarity < near / 4 and len(far) < 300:
            far.append(share_a_band(one, two, config))
    assert np.mean(found) >= 0.95
    assert np.mean(far) < 0.2


@pytest.mark.parametrize("near", [0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("permutations", [16, 64, 128, 1000])
def test_bands_fit_the_threshold(near, permutations):
    config = DeduplicationConfig(near=near, permutations=permutations)
    assert config.bands * config.rows <= permutations
    assert (1 / config.bands) ** (1 / config.rows) <= near
    assert 1 - (1 - near**config.rows) ** config.bands >= 0.95


def test_without_a_threshold_there_are_no_keys():
    assert DeduplicationConfig().bands == 0
    assert band_keys(["a", "b"], DeduplicationConfig()).shape == (2, 0)
    assert band_keys([], NEAR).shape == (0, NEAR.bands)
    assert set(DeduplicationConfig().content()) == {"exact", "near", "shingle_words", "permutations"}
    with pytest.raises(ValidationError):
        DeduplicationConfig(near=0.4)


def test_columns_have_keys_of_their_own():
    keys = band_keys(["one text of six words only", ""], NEAR)
    assert len(np.unique(keys)) == keys.size


def test_keys_are_the_same_in_every_process():
    code = (
        "from kard_ray.knowledge.near_duplicates import *\n"
        "print(band_keys(['the rain fell on the plain'], DeduplicationConfig(near=0.8)).tolist())"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert shown == {f"{band_keys(['the rain fell on the plain'], NEAR).tolist()}\n"}


def speed(passages):
    """Passages of 100 words a second on this core."""
    draw = random.Random(0)
    texts = [sentence(draw) for _ in range(passages)]
    band_keys(texts[:1], NEAR)
    begin = time.process_time()
    band_keys(texts, NEAR)
    return passages / (time.process_time() - begin)


def test_two_thousand_passages_a_second():
    assert speed(1000) > 2000
