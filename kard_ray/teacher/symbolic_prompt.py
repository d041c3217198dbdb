"""The prompt for symbolic knowledge: from question, answer and rationale to general notes (SKIntern, section 3.1).

The paper's appendix shows a persona, requirements, a form with two labelled sections, and two examples. So it is here,
in other words.
"""

from __future__ import annotations

from collections.abc import Sequence

from kard_ray.benchmarks.rendering import AnswerForm, answer_text, question_block
from kard_ray.teacher.symbolic_examples import SymbolicExample
from kard_ray.teacher.symbolic_parsing import PLACEHOLDERS, SUMMARY, SUPPLEMENT, SymbolicKnowledge, render

NOTES = "Notes"  # what stands before the sections in a plain prompt (the rationale has "Explanation")

# A plain prompt is continued with the next example. A blank line is no end here: it may stand between the sections.
SYMBOLIC_STOP = ("\nQuestion:", "\nExplanation:", f"\n{NOTES}:")

INSTRUCTION = f"""\
You are an experienced teacher. A student with a weak memory will meet new questions like the one below, and can read \
only your notes. From the question, its right answer and the explanation, write these notes in two sections.
{SUMMARY}: the steps of thought that solve questions of this kind, mistakes to avoid, and experience to keep.
{SUPPLEMENT}: the definitions, formulas, rules or facts about the world that such questions need.
Write what holds for all questions of the kind, not only for this one, and do not tell which answer is right. \
Be brief: one to four sentences in each section, in words that the student can use.
Begin with the first section at once and write nothing after the second. The form is:
{render(SymbolicKnowledge(summary=PLACEHOLDERS[0], supplement=PLACEHOLDERS[1]))}"""


def symbolic_messages(
    *,
    question: str,
    options: Sequence[str],
    answer: int,
    gold: str,
    rationale: str,
    form: AnswerForm,
    examples: Sequence[SymbolicExample],
) -> list[dict[str, str]]:
    """Chat messages: the task, examples as earlier turns, then the question with answer and rationale.

    Without options (``answer`` is -1) the text ``gold`` is the answer. Everything before the last turn is the same for
    all questions with the same examples, so that the engine's prefix cache holds it. The plain form is
    ``plain_prompt(messages, label=NOTES)``; in both forms the teacher writes both labels.
    """
    messages = [{"role": "system", "content": INSTRUCTION}]
    for example in examples:
        shown = example.worked
        turn = _turn(shown.question, shown.options, shown.answer, shown.gold, shown.rationale, form)
        messages += [
            {"role": "user", "content": turn},
            {"role": "assistant", "content": render(example.knowledge)},
        ]
    target = _turn(question, options, answer, gold, rationale, form)
    return [*messages, {"role": "user", "content": target}]


def _turn(
    question: str, options: Sequence[str], answer: int, gold: str, rationale: str, form: AnswerForm
) -> str:
    # The rationale in one line: a blank line would end the turn of a plain prompt.
    return "\n".join(
        [
            question_block(question, options, form),
            f"Answer: {answer_text(options, answer, form, gold)}",
            f"Explanation: {' '.join(rationale.split())}",
        ]
    )
