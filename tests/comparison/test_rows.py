from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from kard_ray.comparison.rows import pairs_to_test, row_id


def test_further_sources_of_a_method_are_tested_against_its_first() -> None:
    sources = ("bm25", "bm25:2", "reranker", "reranker:2", "silver")
    keys = [("a", "std_cot", "none"), *(("a", "kard", source) for source in sources)]
    pairs = {(a.removeprefix("a/"), b.removeprefix("a/")) for a, b in pairs_to_test(keys, ("kard",))}
    assert pairs == (
        {("kard/bm25", "std_cot/none")}
        | {(f"kard/{source}", "kard/bm25") for source in ("bm25:2", "reranker", "reranker:2")}
        | {("kard/silver", f"kard/{source}") for source in sources[:-1]}
    )


def test_silver_passages_are_tested_against_those_of_another_method() -> None:
    keys = [
        ("a", method, source)
        for method in ("knowledge_finetune", "kard", "kard_intern")
        for source in ("bm25", "silver")
    ] + [("b", "kard", "silver")]
    pairs = pairs_to_test(keys, ("kard", "kard_intern"))
    assert [pair for pair in pairs if pair[0].endswith("silver") and pair[1].endswith("silver")] == [
        ("a/kard/silver", "a/knowledge_finetune/silver"),
        ("a/kard/silver", "a/kard_intern/silver"),
        ("a/kard_intern/silver", "a/knowledge_finetune/silver"),
    ]


ROWS = [
    (student, method, source)
    for student in "ab"
    for method, sources in {
        "finetune": ["none"], "std_cot": ["none"], "knowledge_finetune": ["bm25", "silver"],
        "kard": ["bm25", "reranker:2", "silver"],
        "kard_intern": ["none", "bm25", "gated bm25"],
    }.items()
    for source in sources
]  # fmt: skip


@given(
    st.lists(st.sampled_from(ROWS), unique=True),
    st.sets(st.sampled_from(["finetune", "kard", "kard_intern"])),
)
def test_a_pair_is_tested_once_and_within_one_student(
    keys: Sequence[tuple[str, str, str]], claims: set[str]
) -> None:
    pairs = pairs_to_test(keys, claims)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    for a, b in pairs:
        assert a != b
        assert a.split("/")[0] == b.split("/")[0]
        assert {a, b} <= {row_id(key) for key in keys}
        if "silver" in a:
            assert a.split("/")[1] == b.split("/")[1] or "silver" in b
        else:
            assert "silver" not in b
