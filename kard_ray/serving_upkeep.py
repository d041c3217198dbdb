"""What is done with what a service has gathered."""

from __future__ import annotations

import json
from pathlib import Path

from kard_ray.serving.feedback import TABLE, as_questions, read_feedback


def write_questions(target: str, out: Path) -> None:
    """Write the questions that verdicts answer to ``out``, JSON Lines; ``target``: run directory or their folder."""
    folder = target if (Path(target) / TABLE).is_dir() else str(Path(target) / "feedback")
    verdicts = read_feedback(folder)
    questions = as_questions(verdicts)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in questions), encoding="utf-8")
    print(f"{out}: {len(questions)} questions of {verdicts.num_rows} verdicts")
