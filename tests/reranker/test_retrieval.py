from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.filters import PassageFilter
from kard_ray.knowledge.passage import RETRIEVED
from kard_ray.knowledge.retrieval import KnowledgeBase
from kard_ray.reranker import multivector
from kard_ray.reranker.config import RerankerConfig
from kard_ray.reranker.model import load_reranker, passage_text
from kard_ray.reranker.retrieval import Reranking, RerankingRetriever, interpolated
from kard_ray.reranker.trained import TrainedReranker
from kard_ray.runtime.errors import UserError
from tests.reranker.bases import config_of, write_countries, write_here, write_reranker

QUESTIONS = {
    "area": "What is the area of Norway?",
    "number": "Which number is larger in Peru?",
    "nothing": "???",
    "unknown": "xylophone",
}


@dataclass(frozen=True, kw_only=True)
class World:
    knowledge: str
    reranker: str
    vectors: str
    config: RerankerConfig

    def reranking(self, **fields: Any) -> Reranking:
        chosen = {"reranker": self.reranker, "vectors": self.vectors, "config": self.config} | fields
        base = chosen.get("base") or KnowledgeBase(self.knowledge, threads=1)
        return Reranking(base, chosen["reranker"], chosen["vectors"], chosen["config"])


@pytest.fixture(scope="module")
def world(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    config = config_of(bert_folder)
    knowledge = write_countries(folder / "knowledge")
    reranker = write_reranker(folder / "reranker", config, knowledge_base_tag="build-1")
    vectors = write_here(folder / "run", knowledge, reranker, config)
    return World(knowledge=knowledge, reranker=reranker, vectors=vectors, config=config)


def found(table: pa.Table) -> dict[str, list[tuple[str, float]]]:
    assert table.schema.equals(RETRIEVED)
    rows: dict[str, list[tuple[str, float]]] = {}
    for row in table.to_pylist():
        assert row["rank"] == len(rows.setdefault(row["query_id"], []))
        rows[row["query_id"]].append((row["passage_id"], row["score"]))
    return rows


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("normalised", [True, False])
def test_what_was_encoded_before_scores_as_what_is_encoded_now(
    bert_folder: Path, tmp_path: Path, world: World, dtype: Any, normalised: bool
) -> None:
    config = config_of(bert_folder, vector_dtype=dtype, normalised=normalised, dimensions=16)
    reranker = write_reranker(tmp_path / "reranker", config)
    vectors = write_here(tmp_path / "run", world.knowledge, reranker, config)
    before = world.reranking(reranker=reranker, vectors=vectors, config=config)
    now = world.reranking(reranker=reranker, vectors=None, config=config)
    one, other = found(before.rerank(QUESTIONS, 20)), found(now.rerank(QUESTIONS, 20))
    assert set(one) == set(other) == {"area", "number"}
    for query, hits in one.items():
        scores, expected = dict(hits), dict(other[query])
        assert scores.keys() == expected.keys()
        assert [scores[name] for name in expected] == pytest.approx(list(expected.values()), rel=1e-2)


def test_the_first_stage_proposes_and_the_reranker_orders(world: World) -> None:
    reranking = world.reranking()
    (question,) = [QUESTIONS["area"]]
    proposed = found(reranking.base.retrieve([question], 20))["0"]
    model = load_reranker(world.reranker)
    texts = {
        row["passage_id"]: passage_text(row["title"], row["text"])
        for row in reranking.base.retrieve([question], 20).to_pylist()
    }
    (scores,) = model.score([question], [[texts[name] for name, _ in proposed]])
    order = np.argsort(-scores, kind="stable")
    hits = found(reranking.rerank([question], 3))["0"]
    assert [name for name, _ in hits] == [proposed[at][0] for at in order[:3]]
    assert [score for _, score in hits] == pytest.approx([scores[at] for at in order[:3]], rel=1e-2)
    # Fewer candidates are another choice.
    shallow = world.reranking(config=world.config.model_copy(update={"depth": 4}))
    few = found(shallow.rerank([question], 3))["0"]
    assert {name for name, _ in few} <= {name for name, _ in proposed[:4]}


def test_the_first_stage_has_its_say_by_its_weight(world: World) -> None:
    question = QUESTIONS["area"]
    alone = dict(found(world.reranking().rerank([question], 30))["0"])
    proposed = dict(found(world.reranking().base.retrieve([question], 30))["0"])
    config = world.config.model_copy(update={"first_stage_weight": 0.5, "depth": 30})
    both = found(world.reranking(config=config).rerank([question], 30))["0"]
    for name, score in both:
        expected = 0.5 * standard(proposed)[name] + 0.5 * standard(alone)[name]
        assert score == pytest.approx(expected, abs=1e-3)
    nearly = world.config.model_copy(update={"first_stage_weight": 0.9999, "depth": 30})
    assert found(world.reranking(config=nearly).rerank([question], 3))["0"][0][0] == next(iter(proposed))


def standard(scores: dict[str, float]) -> dict[str, float]:
    values = np.array(list(scores.values()))
    return {name: (score - values.mean()) / values.std() for name, score in scores.items()}


@given(
    scores=st.lists(st.tuples(st.floats(-100, 100, width=32), st.floats(0, 100, width=32)), max_size=20),
    weight=st.floats(0, 0.99),
)
def test_interpolated_scores_are_numbers_and_agree_where_both_agree(
    scores: list[tuple[float, float]], weight: float
) -> None:
    own, first = (np.array([pair[i] for pair in scores], np.float32) for i in (0, 1))
    mixed = interpolated(own, first, weight)
    assert np.isfinite(mixed).all()
    assert len(mixed) == len(scores)
    if not weight:
        assert mixed is own
    for a, b in itertools.combinations(range(len(scores)), 2):
        if own[a] >= own[b] and first[a] >= first[b]:
            assert mixed[a] >= mixed[b] - 1e-5


def test_each_question_tells_what_it_made_the_reranker_do(world: World) -> None:
    _, (before,) = world.reranking().rerank_and_count([QUESTIONS["area"]], 3)
    _, (now,) = world.reranking(vectors=None).rerank_and_count([QUESTIONS["area"]], 3)
    assert before.precomputed
    assert not now.precomputed
    assert (before.query_tokens, before.candidate_tokens) == (now.query_tokens, now.candidate_tokens)
    assert len(now.candidate_tokens) <= world.config.depth


def test_all_passages_are_searched_without_a_first_stage(world: World) -> None:
    reranking = world.reranking()
    everything = world.reranking(
        config=world.config.model_copy(update={"depth": 1000, "first_stage": "bm25"})
    )
    table, works = reranking.nearest(QUESTIONS, 5)
    hits = found(table)
    assert set(hits) == {"area", "number", "unknown"}  # a question that has no words finds nothing
    assert [work.candidate_tokens for work in works] == [()] * len(QUESTIONS)
    assert all(len(of) == 5 for of in hits.values())
    reranked = dict(found(everything.rerank([QUESTIONS["area"]], 30))["0"])
    best = dict(hits["area"])
    assert all(best[name] == pytest.approx(reranked[name], rel=1e-5) for name in best.keys() & reranked)
    assert min(best.values()) >= max((s for name, s in reranked.items() if name not in best), default=-np.inf)


def test_the_index_proposes_and_its_candidates_are_scored_exactly(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multivector, "EXACT_TOKENS", 0)
    vectors = write_here(tmp_path / "run", world.knowledge, world.reranker, world.config)
    indexed, exact = world.reranking(vectors=vectors), world.reranking()
    assert indexed._search is not None
    assert indexed._search.table is not None
    only = PassageFilter(source=("web",))
    for filter_ in (None, only):
        one, other = (found(of.nearest([QUESTIONS["area"]], 5, filter_)[0])["0"] for of in (indexed, exact))
        assert len(one) == len(other) == 5
        assert one[0] == other[0]
        known = dict(found(exact.nearest([QUESTIONS["area"]], 30, filter_)[0])["0"])
        assert all(known[name] == score for name, score in one)


def test_a_filter_holds_in_every_way_of_searching(world: World) -> None:
    reranking = world.reranking()
    web = PassageFilter(source=("web",))
    for table in (reranking.rerank(QUESTIONS, 4, web), reranking.nearest(QUESTIONS, 4, web)[0]):
        hits = found(table)
        assert hits
        assert all(int(name[1:]) % 2 for of in hits.values() for name, _ in of)


def test_batches_gain_their_passages(world: World) -> None:
    trained = TrainedReranker(folder=world.reranker, token_vectors=world.vectors, config=world.config)
    retriever = RerankingRetriever(world.knowledge, 3, "query", trained)
    batch = retriever(pa.table({"query": list(QUESTIONS.values())}))
    expected = found(world.reranking().rerank(list(QUESTIONS.values()), 3))
    for at, passages in enumerate(batch["passages"].to_pylist()):
        ids, scores = [p["passage_id"] for p in passages], [p["score"] for p in passages]
        assert ids == [identity for identity, _ in expected.get(str(at), [])]
        assert scores == pytest.approx([score for _, score in expected.get(str(at), [])])


@pytest.mark.parametrize("architecture", ["cross_encoder", "bi_encoder"])
def test_other_architectures_encode_when_asked(
    world: World, bert_folder: Path, tmp_path: Path, architecture: Any
) -> None:
    config = config_of(bert_folder, architecture=architecture)
    reranking = world.reranking(
        reranker=write_reranker(tmp_path / "other", config), vectors=None, config=config
    )
    assert len(found(reranking.rerank(QUESTIONS, 3))["area"]) == 3
    with pytest.raises(
        UserError, match="source multivector: it searches precomputed token vectors, and there are"
    ):
        reranking.nearest(QUESTIONS, 3)


# -- what does not belong together -------------------------------------------------------------------------------------


def test_vectors_of_another_encoder_are_refused(world: World, bert_folder: Path, tmp_path: Path) -> None:
    other = write_reranker(tmp_path / "other", config_of(bert_folder, dimensions=8))
    with pytest.raises(
        UserError, match=r"another encoder than the reranker .*other made them; make them anew"
    ):
        world.reranking(reranker=other)


def test_vectors_of_another_version_are_refused(world: World, tmp_path: Path) -> None:
    base = KnowledgeBase(write_countries(tmp_path / "grown", passages=31))
    with pytest.raises(
        UserError, match=r"of version build-1 .* with 30 passages, and version build-1, .* with 31"
    ):
        world.reranking(base=base)


def test_a_reranker_of_another_version_is_refused(world: World, bert_folder: Path, tmp_path: Path) -> None:
    other = write_reranker(tmp_path / "other", world.config, knowledge_base_tag="update-2")
    with pytest.raises(
        UserError, match="learned from version update-2 of the knowledge base, and version build-1 is"
    ):
        world.reranking(reranker=other, vectors=None)


def test_vectors_that_are_not_there_are_told(world: World, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"token vectors .*: .*token_vectors\.json cannot be read"):
        world.reranking(vectors=str(tmp_path))
