"""The searching part: gathered searches, versions, the reranker, and a folder that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from kard_ray.knowledge.retrieval import KnowledgeBase, RetrievalConfig
from kard_ray.reranker.retrieval import Reranking
from kard_ray.reranker.trained import TrainedReranker
from kard_ray.runtime.errors import UserError
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.parts import NOT_READY, Found, Query
from kard_ray.serving.plan import KnowledgePlan
from kard_ray.serving.retriever import Searches
from tests.reranker.bases import config_of, write_countries, write_reranker
from tests.serving.world import TOWNS, without_arlen, write_knowledge
from tests.tiny_models import tiny_bert

Run = Callable[[Awaitable[Any]], Any]


def plan_of(folder: Path | str, **fields: Any) -> KnowledgePlan:
    given = {"versions": ("build-1",), "retrieval": RetrievalConfig(), "modes": ("bm25",)} | fields
    return KnowledgePlan(folder=str(folder), **given)


def query(text: str, **fields: Any) -> Query:
    return Query(**({"text": text, "k": 2, "mode": "bm25", "version": "build-1"} | fields))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_knowledge(tmp_path / "knowledge")
    return tmp_path / "knowledge"


def test_many_queries_at_once_find_what_each_finds_alone(base: Path, run: Run) -> None:
    searches = Searches(plan_of(base), reranked=False)
    texts = [f"river {town}" for town in TOWNS] + ["nothing of the kind", "???"]
    asked = [query(text, k=k) for text in texts for k in (1, 2)]

    async def all_of_them() -> list[Found]:
        return await asyncio.gather(*(searches.find(one) for one in asked))

    direct = KnowledgeBase(str(base))
    for one, found in zip(asked, run(all_of_them()), strict=True):
        rows = direct.retrieve([one.text], one.k).to_pylist()
        assert [p["passage_id"] for p in found.passages] == [row["passage_id"] for row in rows]
        assert [p["text"] for p in found.passages] == [row["text"] for row in rows]
        assert [p["score"] for p in found.passages] == pytest.approx([row["score"] for row in rows])


def test_a_folder_that_goes_away_is_told_and_found_again(base: Path, run: Run) -> None:
    searches = Searches(plan_of(base), reranked=False)
    away = base.with_name("away")
    base.rename(away)
    run(searches.probe())
    assert "cannot be searched" in (searches.broken or "")
    with pytest.raises(ServiceError) as refused:
        run(searches.find(query("river")))
    assert (refused.value.status, refused.value.code) == (503, "unavailable")
    away.rename(base)
    run(searches.probe())
    assert searches.broken is None
    assert run(searches.find(query("river Arlen"))).passages


def test_a_version_that_is_not_there_or_not_indexed_does_not_start(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose one of them"):
        Searches(plan_of(base, versions=("build-1", "update-9")), reranked=False)
    index = next((base / "bm25").iterdir())
    index.rename(tmp_path / "taken")
    with pytest.raises(UserError, match="has no BM25 index"):
        Searches(plan_of(base), reranked=False)


def test_another_version_is_opened_beside_the_one_that_is_served(base: Path, run: Run) -> None:
    whole, smaller = "build-1", without_arlen(base)
    searches = Searches(plan_of(base, versions=()), reranked=False)
    run(searches.serve_versions([whole]))

    async def change() -> list[Found]:
        def asked(version: str, times: int) -> list[asyncio.Task[Found]]:
            return [asyncio.create_task(searches.find(query("Arlen", version=version))) for _ in range(times)]

        tasks = asked(whole, 20)
        changed = asyncio.create_task(searches.serve_versions([smaller]))
        tasks += asked(smaller, 20)
        await changed
        return await asyncio.gather(*tasks, *asked(whole, 1))  # the last one was chosen before the change

    assert [len(found.passages) for found in run(change())] == [2] * 20 + [0] * 20 + [2]


def test_who_gives_up_waiting_holds_up_nobody(base: Path, run: Run) -> None:
    searches = Searches(plan_of(base), reranked=False)

    async def some_leave() -> list[Any]:
        tasks = [asyncio.create_task(searches.find(query(f"river {number}"))) for number in range(40)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = run(some_leave())
    assert all(isinstance(one, asyncio.CancelledError) for one in found[::2])
    assert all(isinstance(one, Found) for one in found[1::2])


def test_the_reranker_orders_as_it_does_elsewhere(tmp_path: Path, run: Run) -> None:
    config = config_of(tiny_bert(tmp_path / "bert"))
    knowledge = write_countries(tmp_path / "knowledge")
    folder = write_reranker(tmp_path / "reranker", config, knowledge_base_tag="build-1")
    trained = TrainedReranker(folder=folder, token_vectors=None, config=config)
    plan = plan_of(knowledge, modes=("reranker", "bm25"), reranker=trained)
    searches = Searches(plan, reranked=True)
    texts = ["What is the area of Norway?", "Which number is larger in Peru?"]

    async def both() -> list[Found]:
        return await asyncio.gather(*(searches.find(query(text, k=3, mode="reranker")) for text in texts))

    direct = Reranking(KnowledgeBase(knowledge, threads=1), folder, None, config)
    for text, found in zip(texts, run(both()), strict=True):
        rows = direct.rerank([text], 3).to_pylist()
        assert [p["passage_id"] for p in found.passages] == [row["passage_id"] for row in rows]
        assert found.rerank > 0
        assert all("source" in passage for passage in found.passages)
    with pytest.raises(ServiceError) as refused:  # another replica may have the one of that version already
        run(searches.find(query(texts[0], mode="reranker", version="update-2")))
    assert refused.value.code == NOT_READY
    assert searches.broken is None
    other = write_reranker(tmp_path / "other", config, knowledge_base_tag="update-2")
    with pytest.raises(UserError, match="learned from version update-2"):
        Searches(plan_of(knowledge, modes=("reranker",), reranker=TrainedReranker(
            folder=other, token_vectors=None, config=config
        )), reranked=True)  # fmt: skip
