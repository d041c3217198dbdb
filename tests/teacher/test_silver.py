from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.rationales import RATIONALES
from kard_ray.teacher.silver import queries, with_questions


def table(rows: list[tuple[str, str, int, bool]]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "rationale_id": f"{question_id}#{sample}",
                "question_id": question_id,
                "split": split,
                "sample": sample,
                "rationale": f"because {question_id} {sample}",
                "kept": kept,
                "dropped_by": "" if kept else "concludes",
                "dropped_because": "",
                "prompt_tokens": 1,
                "generated_tokens": 1,
            }
            for question_id, split, sample, kept in rows
        ],
        schema=RATIONALES,
    )


def test_all_kept_training_rationales_and_one_for_each_test_question_are_queries() -> None:
    rows = table(
        [
            ("a", "train", 0, True),
            ("a", "train", 1, True),
            ("b", "train", 0, False),
            ("c", "test", 0, False),
            ("c", "test", 1, True),
            ("c", "test", 2, True),
            ("d", "test", 1, False),
            ("d", "test", 0, False),
        ]
    )
    found = queries(rows, "test")
    assert sorted(found["rationale_id"].to_pylist()) == ["a#0", "a#1", "c#1", "d#0"]
    assert found.column_names == ["rationale_id", "question_id", "split", "rationale"]
    assert set(found["rationale"].to_pylist()) >= {"because c 1", "because d 0"}


def test_the_predicted_split_may_be_dev() -> None:
    rows = table([("a", "dev", 0, False), ("b", "train", 0, True)])
    assert sorted(queries(rows, "dev")["rationale_id"].to_pylist()) == ["a#0", "b#0"]


def test_no_rationale_makes_no_query() -> None:
    assert queries(table([]), "test").num_rows == 0
    assert queries(table([("a", "train", 0, False)]), "test").num_rows == 0


ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 4), st.booleans()), unique_by=lambda row: row[:2]
).map(lambda rows: [(q, "train" if q in "ab" else "test", sample, kept) for q, sample, kept in rows])


@given(ROWS)
def test_ids_are_unique_and_every_test_question_has_exactly_one(
    rows: list[tuple[str, str, int, bool]],
) -> None:
    found = queries(table(rows), "test").to_pylist()
    ids = [row["rationale_id"] for row in found]
    assert len(ids) == len(set(ids))
    tests = [row["question_id"] for row in found if row["split"] == "test"]
    assert sorted(tests) == sorted({q for q, split, _, _ in rows if split == "test"})
    training = {row["rationale_id"] for row in found if row["split"] == "train"}
    assert training == {f"{q}#{sample}" for q, split, sample, kept in rows if split == "train" and kept}


def test_a_question_can_stand_before_the_rationale_in_the_query() -> None:
    rows = pa.table(
        {
            "rationale_id": ["q1#0", "q2#0"],
            "question_id": ["q1", "q2"],
            "split": ["train", "test"],
            "rationale": ["Lisbon is in Portugal.", "So the answer is no."],
        }
    )
    joined = with_questions(rows, {"q1": "Where is Lisbon?", "q2": "Is it?"})
    assert joined["rationale"].to_pylist() == [
        "Where is Lisbon? Lisbon is in Portugal.",
        "Is it? So the answer is no.",
    ]
    assert joined.drop_columns(["rationale"]).equals(rows.drop_columns(["rationale"]))
