from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question, to_table
from kard_ray.knowledge.embedding import Embedder, EmbedderConfig
from kard_ray.runtime.errors import UserError
from kard_ray.student.curriculum import nearest
from kard_ray.student.curriculum.shots import (
    SHOTS,
    QuestionEncoder,
    embed_questions,
    in_order_of,
    nearest_questions,
    question_text,
    select_shots,
)
from tests.tiny_models import tiny_bert

# Few values, so that equal vectors, equal texts, opposite vectors and zeros come often.
ROWS = st.lists(
    st.tuples(
        st.lists(st.integers(-2, 2), min_size=3, max_size=3),
        st.sampled_from(["A b", "a  B", "c", "d", "e", "f", "g", "h"]),
        st.sampled_from(["x", "y"]),
    ),
    max_size=30,
)


def found(table: pa.Table) -> dict[str, list[str]]:
    return dict(zip(table["question_id"].to_pylist(), table["shots"].to_pylist(), strict=True))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return round(float(a @ b / length), 9) if length else 0.0


def one_by_one(
    ids: Sequence[str], texts: Sequence[str], vectors: np.ndarray, k: int, kinds: Sequence[str]
) -> dict[str, list[str]]:
    words = [text.lower().split() for text in texts]
    vectors = vectors.astype(np.float64)
    first = {(kinds[n], *words[n]): n for n in sorted(range(len(ids)), key=lambda n: ids[n], reverse=True)}
    result = {}
    for n, identity in enumerate(ids):
        firsts = [m for m in first.values() if kinds[m] == kinds[n] and words[m] != words[n]]
        firsts.sort(key=lambda m: (-cosine(vectors[n], vectors[m]), ids[m]))
        result[identity] = [ids[m] for m in firsts[:k]]
    return result


@given(rows=ROWS, k=st.integers(0, 12), by_kind=st.booleans(), seed=st.integers(0, 3))
def test_examples_are_those_that_a_comparison_one_by_one_finds(
    rows: list[tuple[list[int], str, str]], k: int, *, by_kind: bool, seed: int
) -> None:
    ids = [f"q{n}" for n in np.random.default_rng(seed).permutation(len(rows))]
    vectors = np.array([row[0] for row in rows], np.float32).reshape(-1, 3)
    texts, kinds = [row[1] for row in rows], [row[2] for row in rows]
    table = nearest_questions(ids, texts, vectors, k, kinds if by_kind else None)
    assert table.schema == SHOTS
    assert found(table) == one_by_one(ids, texts, vectors, k, kinds if by_kind else [""] * len(ids))


@pytest.mark.parametrize("block", [1, 700, 10**9])
def test_neither_the_size_of_blocks_nor_the_order_of_questions_shows(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 24)).astype(np.float32)
    vectors[100:160] = vectors[0]  # many questions that are all as near as each other
    ids, texts = [f"q{n:03}" for n in range(300)], [f"text {n // 2}" for n in range(300)]
    expected = one_by_one(ids, texts, vectors, 7, [""] * 300)
    monkeypatch.setattr(nearest, "_BLOCK_SCORES", block)
    order = rng.permutation(300)
    table = nearest_questions([ids[n] for n in order], [texts[n] for n in order], vectors[order], 7)
    assert table["question_id"].to_pylist() == [ids[n] for n in order]
    assert found(table) == expected


def test_many_questions_are_compared_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_BLOCK_SCORES", 1_000_000)
    count = 8_000
    vectors = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    tracemalloc.start()
    nearest_questions([f"q{n}" for n in range(count)], [f"t{n}" for n in range(count)], vectors, 6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # all cosines at once would be 256 MB


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="different"):
        nearest_questions(["a", "a"], ["x", "y"], np.eye(2, dtype=np.float32), 1)


def test_a_vector_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        nearest_questions(["a", "b"], ["x", "y"], np.array([[np.nan], [1.0]], np.float32), 1)


def test_the_order_of_options_makes_no_other_text() -> None:
    assert question_text("Which?", ("b", "a")) == question_text("Which?", ("a", "b"))
    assert question_text("Which?", ("a", "b")) != question_text("Which?", ("a", "c"))


def question(number: int, split: str, text: str, kind: str = "") -> Question:
    return Question(
        question_id=f"{split}{number}",
        split=split,  # type: ignore[arg-type]
        question=text,
        options=("yes", "no"),
        answer=0,
        kind=kind,
    )


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> EmbedderConfig:
    folder = tiny_bert(tmp_path_factory.mktemp("models") / "bert")
    return EmbedderConfig(
        model_path=str(folder), dtype="float32", batch_size=8, threads=0, passage_prefix="passage "
    )


def test_a_question_is_encoded_with_its_options_and_the_prefix(embedder: EmbedderConfig) -> None:
    batch = to_table([question(1, "train", "Is 9 larger than 4?"), question(2, "train", "Chile?")])
    encoded = QuestionEncoder(embedder)(batch)
    expected = Embedder(embedder).encode(["passage Is 9 larger than 4?\nno\nyes", "passage Chile?\nno\nyes"])
    assert encoded["question_id"].to_pylist() == ["train1", "train2"]
    np.testing.assert_allclose(np.stack(encoded["vector"].to_numpy()), expected, atol=1e-6)


def test_vectors_come_back_in_the_order_of_the_questions_and_none_may_be_lost(
    embedder: EmbedderConfig,
) -> None:
    table = to_table([question(n, "train", f"Is {n} larger than 4?") for n in range(6)])
    encode = QuestionEncoder(embedder)
    parts = [encode(table.slice(at, 2)) for at in (4, 0, 2)]
    vectors = in_order_of(table["question_id"], pa.concat_tables(parts))
    np.testing.assert_allclose(vectors, np.stack(encode(table)["vector"].to_numpy()), atol=1e-6)
    for wrong in ([parts[0], parts[1]], [*parts, parts[0]], [parts[0], parts[1], parts[1]]):
        with pytest.raises(UserError, match="6 questions went in"):
            in_order_of(table["question_id"], pa.concat_tables(wrong))


def test_no_questions_have_no_examples(embedder: EmbedderConfig) -> None:
    assert select_shots(to_table([question(1, "test", "Chile?")]), embedder, 4).num_rows == 0


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_examples_on_ray_come_from_the_training_questions_only(
    embedder: EmbedderConfig, local_ray: None
) -> None:
    texts = [f"Is the area of {name} larger than {n}?" for n, name in enumerate(["Chile", "Norway"] * 6)]
    train = [question(n, "train", text, f"k{n % 2}") for n, text in enumerate(texts)]
    held_out = [
        question(n, split, text, f"k{n % 2}") for split in ("dev", "test") for n, text in enumerate(texts)
    ]
    table = to_table([*held_out, *train])
    shots = found(select_shots(table, embedder, 4, workers=2))
    assert shots.keys() == {q.question_id for q in train}
    assert all(
        len(near) == 4 and own not in near and all(n.startswith("train") for n in near)
        for own, near in shots.items()
    )
    vectors = embed_questions(to_table(train), embedder)
    text = [question_text(q.question, q.options) for q in train]
    ids = [q.question_id for q in train]
    assert shots == one_by_one(ids, text, vectors, 4, [""] * len(ids))
    of_a_kind = found(select_shots(table, embedder, 4, same_kind=True))
    assert of_a_kind == one_by_one(ids, text, vectors, 4, [q.kind for q in train])
