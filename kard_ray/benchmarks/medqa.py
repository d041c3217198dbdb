"""MedQA-USMLE, questions of US medical licensing examinations (Jin et al., arXiv 2009.13081).

Read in KARD's form, which the hub's data set has, and in the original one (JSON Lines: ``question``, ``options`` by
letter, ``answer_idx``).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from kard_ray.benchmarks.divided import Divided, DividedConfig
from kard_ray.benchmarks.files import MistakeError, key_among, shown, text_field
from kard_ray.benchmarks.kard_format import in_kard_format, kard_question
from kard_ray.benchmarks.question import Question


class MedQaConfig(DividedConfig):
    """A folder with train, dev and test in either form, or a data set of the hub."""

    HUB: ClassVar[str] = "GBaker/MedQA-USMLE-4-options-hf"

    kind: Literal["medqa"] = "medqa"


class MedQa(Divided):
    """Benchmark of questions with four options, or five in the authors' full version."""

    name = "medqa"

    def read(self, row: dict[str, Any]) -> Question:
        """The question of one row in either form; the original has no ids, so they follow from the content."""
        if in_kard_format(row):
            return kard_question(row, self.name)
        listed = row.get("options")
        if not isinstance(listed, dict) or len(listed) < 2:
            raise MistakeError(
                f"field options: got {shown(listed)}; expected an object with at least two options by letter."
            )
        return Question(
            question_id="",
            split="train",
            question=text_field(row, "question"),
            options=tuple(text_field(listed, letter) for letter in listed),
            answer=key_among(list(listed), row, "answer_idx"),
            kind=self.name,
        )
