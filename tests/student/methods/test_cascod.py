from __future__ import annotations

from kard_ray.student.methods.base import Evidence
from kard_ray.student.methods.registry import METHODS
from kard_ray.student.rendering import next_cue
from tests.student.methods.rows import rows_of


def test_it_learns_the_rationale_and_then_the_answer_behind_it() -> None:
    assert [(row.cue, row.target) for row in rows_of("cascod")] == [
        ("Rationale:", "One."),
        ("Rationale: One.\nAnswer:", "So the answer is Porto."),
        ("Rationale:", "Two."),
        ("Rationale: Two.\nAnswer:", "So the answer is Porto."),
    ]


def test_it_is_asked_at_test_as_it_was_trained() -> None:
    rows, cues = rows_of("cascod"), METHODS["cascod"].cues
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first.cue == next_cue(cues, [])
        assert second.cue == next_cue(cues, [f" {first.target}\n"])


def test_a_rationale_that_only_concludes_teaches_to_answer_behind_no_rationale() -> None:
    (row,) = rows_of("cascod", evidence=[Evidence(rationale="So the answer is Porto.", silver=[])])
    assert (row.cue, row.target) == ("Rationale:\nAnswer:", "So the answer is Porto.")
    assert row.cue == next_cue(METHODS["cascod"].cues, [""])
