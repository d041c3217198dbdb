from __future__ import annotations

import numpy as np
import pytest

from kard_ray.knowledge.embedding import Embedder, EmbedderConfig
from kard_ray.knowledge.passage import embedded
from tests.knowledge.rows import document, passage_rows
from tests.tiny_models import tiny_bert


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    folder = tiny_bert(tmp_path_factory.mktemp("models") / "bert")
    return Embedder(EmbedderConfig(model_path=str(folder), dtype="float32", batch_size=3, threads=0))


TEXTS = [
    "Chile",
    "The area of Chile is 756,102 square kilometres.",
    "4",
    "Norway is larger. " * 200,
    "",
    "9 " * 30,
    "A",
]


def test_each_text_has_the_vector_it_has_alone(embedder: Embedder) -> None:
    together = embedder.encode(TEXTS)
    alone = np.concatenate([embedder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert together.dtype == np.float32


def test_no_text_gives_no_vector(embedder: Embedder) -> None:
    assert embedder.encode([]).shape == (0, embedder.encode(["x"]).shape[1])


def test_passages_get_their_vectors_in_order(embedder: Embedder) -> None:
    rows = passage_rows(document(f"d{n}", "Title", text) for n, text in enumerate(t for t in TEXTS if t))
    table = embedder(rows)
    assert table.schema == embedded(embedder.encode(["x"]).shape[1])
    assert table["passage_id"] == rows["passage_id"]
    expected = embedder.encode(rows["content"].to_pylist())
    np.testing.assert_allclose(np.stack(table["vector"].to_numpy()), expected, atol=1e-6)
