"""Which student answers."""

from __future__ import annotations

import pytest

from kard_ray.serving.cache import LruCache
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.routing import Routing, StudentCard


def card(name: str) -> StudentCard:
    return StudentCard(
        name=name, method="kard", version=f"v/{name}", created=0, engine="e", passages=3, with_options=True
    )


ROUTING = Routing(
    students=(card("a"), card("b")),
    knowledge_version="build-1",
    more_knowledge_versions=("update-2",),
    mode="bm25",
    modes=("bm25",),
)


def test_the_first_student_answers_unless_one_is_named() -> None:
    assert ROUTING.choose(None, "q", ()).name == ROUTING.choose("default", "q", ()).name == "a"
    assert ROUTING.choose("b", "q", ()).name == "b"
    with pytest.raises(ServiceError, match="there is no 'c'; there is a, b"):
        ROUTING.choose("c", "q", ())


def test_shares_hold_over_many_questions_and_a_question_keeps_its_student() -> None:
    shared = ROUTING.model_copy(update={"traffic": {"a": 3.0, "b": 1.0}})
    chosen = [shared.choose(None, f"question {number}", ("x",)).name for number in range(4000)]
    assert chosen == [shared.choose(None, f"question {number}", ("x",)).name for number in range(4000)]
    assert 0.22 < chosen.count("b") / 4000 < 0.28
    alone = ROUTING.model_copy(update={"traffic": {"a": 0.0, "b": 1.0}})
    assert {alone.choose(None, f"{number}", ()).name for number in range(100)} == {"b"}
    assert alone.first.name == "b"


def test_a_shadow_is_never_its_own() -> None:
    shadowed = ROUTING.model_copy(update={"shadow": "b", "shadow_share": 0.5})
    found = shadowed.shadow_of(card("a"), 0.4)
    assert found is not None
    assert found.name == "b"
    assert shadowed.shadow_of(card("a"), 0.6) is shadowed.shadow_of(card("b"), 0.4) is None


def test_versions_and_modes_that_are_not_served_are_told() -> None:
    assert ROUTING.version(None) == ROUTING.version("build-1") == "build-1"
    assert ROUTING.version("update-2") == "update-2"
    with pytest.raises(ServiceError, match="there is build-1, update-2"):
        ROUTING.version("update-3")
    assert ROUTING.mode_for(None, "build-1") == "bm25"
    with pytest.raises(ServiceError, match="'vector' is not served"):
        ROUTING.mode_for("vector", "build-1")


def test_a_reranker_belongs_to_one_version() -> None:
    reranked = ROUTING.model_copy(update={"mode": "reranker", "modes": ("reranker", "bm25")})
    assert reranked.mode_for(None, "build-1") == "reranker"
    assert reranked.mode_for(None, "update-2") == "bm25"
    with pytest.raises(ServiceError, match="not served for version update-2; there is bm25"):
        reranked.mode_for("reranker", "update-2")


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: LruCache[int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c"), len(cache)) == (1, None, 3, 2)
    nothing: LruCache[int] = LruCache(0)
    nothing.put("a", 1)
    assert nothing.get("a") is None
