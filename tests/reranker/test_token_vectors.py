from __future__ import annotations

import json
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.fragments import table_uri
from kard_ray.reranker import token_vectors
from kard_ray.reranker.late_interaction import LateInteraction
from kard_ray.reranker.maxsim import TokenArrays
from kard_ray.reranker.model import load_reranker, passage_text
from kard_ray.reranker.token_vectors import (
    INFO_FILE,
    TABLE,
    fingerprint,
    plan_ranges,
    read_info,
    write_token_vectors,
)
from kard_ray.runtime.artifacts import PARTS
from kard_ray.runtime.errors import UserError
from tests.reranker.bases import artifact_at, config_of, write_countries, write_here, write_reranker


@given(st.integers(1, 300_000))
def test_ranges_hold_every_passage_once(passages: int) -> None:
    ranges = plan_ranges(passages)
    assert [part.first for part in ranges] == [0, *(part.last for part in ranges[:-1])]
    assert ranges[-1].last == passages
    assert all(0 < part.last - part.first <= 2048 for part in ranges)
    assert len({part.name for part in ranges}) == len(ranges)


@pytest.fixture(scope="module")
def knowledge(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_countries(tmp_path_factory.mktemp("base") / "knowledge")


@pytest.fixture(scope="module")
def reranker(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_reranker(tmp_path_factory.mktemp("trained") / "reranker", config_of(bert_folder))


@pytest.mark.parametrize(
    ("dtype", "precision", "error"),
    [("float16", "fp32", 1e-3), ("int8", "fp32", 1e-2), ("float16", "bf16", 5e-2)],
)
def test_table_and_arrays_hold_each_passages_vectors_in_the_order_of_the_base(
    knowledge: str, reranker: str, bert_folder: Path, tmp_path: Path, dtype: str, precision: str, error: float
) -> None:
    config = config_of(bert_folder, vector_dtype=dtype, precision=precision)
    folder = write_here(tmp_path, knowledge, reranker, config)
    rows = lance.dataset(table_uri(knowledge)).to_table(columns=["passage_id", "title", "text"]).to_pylist()
    model = load_reranker(reranker)
    assert isinstance(model, LateInteraction)
    encoded = model.encode_passages([passage_text(row["title"], row["text"]) for row in rows])
    table = lance.dataset(f"{folder}/{TABLE}.lance")
    assert table.to_table(columns=["passage_id"])["passage_id"].to_pylist() == [r["passage_id"] for r in rows]
    assert len(table.get_fragments()) > 1
    kind = table.schema.field("vectors").type
    assert pa.types.is_fixed_size_list(kind.value_type)
    arrays = TokenArrays.open(folder)
    assert arrays.passages == len(rows)
    assert arrays.tokens(np.arange(len(rows))).tolist() == [len(of) for of in encoded]
    flat = arrays.vectors_TD.astype(np.float32)
    if arrays.scale_T is not None:
        flat = flat * arrays.scale_T[:, None]
    np.testing.assert_allclose(flat, np.concatenate(encoded), atol=error)
    assert arrays.vectors_TD.dtype == np.dtype(dtype)
    info = read_info(folder)
    assert (info.reranker, info.knowledge_base.passages) == (fingerprint(reranker), 30)
    assert info.tokens == len(flat)


def test_only_late_interaction_has_vectors_to_compute_before(
    knowledge: str, bert_folder: Path, tmp_path: Path
) -> None:
    config = config_of(bert_folder, architecture="cross_encoder")
    other = write_reranker(tmp_path / "other", config)
    with pytest.raises(UserError, match=r"reranker\.architecture: a cross_encoder has no token vectors"):
        write_here(tmp_path / "run", knowledge, other, config)


def test_numbers_that_float16_cannot_hold_are_told(knowledge: str, bert_folder: Path, tmp_path: Path) -> None:
    from kard_ray.reranker.model import new_reranker

    config = config_of(bert_folder, normalised=False)
    large = new_reranker(config)
    large.head.weight.data *= 1e6
    large.save(str(tmp_path / "large"))
    with pytest.raises(
        UserError, match=r"reranker\.vector_dtype: a vector has the number .* float16 cannot hold"
    ):
        write_here(tmp_path / "run", knowledge, str(tmp_path / "large"), config)


def test_files_of_another_format_are_told(tmp_path: Path) -> None:
    (tmp_path / INFO_FILE).write_text(json.dumps({"format": 0}))
    with pytest.raises(UserError, match="they have format 0, this program reads 1; make them anew"):
        read_info(str(tmp_path))


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("local_ray")
def test_a_killed_run_encodes_only_what_is_missing(
    knowledge: str, reranker: str, bert_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(token_vectors, "_MIN_ROWS", 7)
    artifact = artifact_at(tmp_path / "run")

    def write() -> None:
        write_token_vectors(
            artifact, folder=knowledge, version=None, reranker_folder=reranker, dtype="float16", workers=2
        )

    with monkeypatch.context() as patch:
        patch.setattr(token_vectors, "_commit", _killed)
        with pytest.raises(KeyboardInterrupt):
            write()
    records = sorted(Path(artifact.at(PARTS)).glob("*.json"))
    assert len(records) == 5
    records[1].unlink()
    write()
    assert "23 of 30 passages were encoded before and are kept" in capsys.readouterr().out
    manifest = artifact.verify()
    assert manifest.rows == {TABLE: 30}
    data = [name for name in manifest.files if "/data/" in name]
    assert len(data) == 5  # the fragment that was written twice is there once
    expected = write_here(tmp_path / "other", knowledge, reranker, config_of(bert_folder))
    one, other = (TokenArrays.open(folder) for folder in (artifact.path, expected))
    np.testing.assert_array_equal(one.begin_N, other.begin_N)
    np.testing.assert_allclose(one.vectors_TD, other.vectors_TD, atol=1e-2)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt
