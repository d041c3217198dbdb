"""Which questions can be asked at all: what no engine, endpoint or file can take is told before anything is spent."""

from __future__ import annotations

import re

from kard_ray.benchmarks.question import Question

# C0 and C1 controls but tab and line ends; they break terminals, logs and some servers, and no question needs them.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def question_problem(question: Question, max_characters: int) -> str | None:
    """Why ``question`` cannot be asked, as a phrase, or None."""
    if not question.question.strip():
        return "it is empty"
    if not question.answer_text.strip():
        return "its answer is empty"
    texts = (question.question, *question.options, question.gold)
    length = sum(map(len, texts))
    if length > max_characters:
        return f"it has {length:,} characters, more than teacher.max_question_characters ({max_characters:,})"
    for text in texts:
        if (found := _CONTROL.search(text)) is not None:
            return f"it holds the control character U+{ord(found[0]):04X}"
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = ord(text[error.start])
            return f"it is not valid Unicode: half a character (U+{code:04X}), from bytes that are not UTF-8"
    return None
