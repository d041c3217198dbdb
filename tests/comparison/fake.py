"""Predictions of students that do not exist, as real ones look: for tests of the report, and to look at it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from transformers import LlamaConfig

from kard_ray.benchmarks.question import Question
from kard_ray.comparison.results import Answers, Training
from kard_ray.evaluation.model_shape import model_shape
from kard_ray.evaluation.predict import PREDICTIONS

KINDS = ("area", "border", "capital", "population")
COUNTRIES = ("Norway", "Chile", "Kenya", "Laos", "Malta", "Peru", "Fiji", "Ghana", "Cuba", "Iran")
HARM = "</script><script>document.title='broken'</script><img src=x onerror=document.title='broken'> & \u2028"

# Chance to be right alone, and with each gold passage found; what a prompt and a text have in tokens; calls.
METHODS: dict[str, tuple[float, float, int, int, int]] = {
    "finetune": (0.38, 0.0, 60, 9, 1),
    "knowledge_finetune": (0.40, 0.24, 380, 9, 1),
    "std_cot": (0.44, 0.0, 60, 42, 1),
    "mt_cot": (0.43, 0.0, 62, 12, 1),
    "step_by_step": (0.41, 0.0, 62, 11, 1),
    "cascod": (0.45, 0.0, 61, 26, 2),
    "kard": (0.42, 0.40, 390, 48, 1),
    "skintern": (0.52, 0.0, 60, 44, 1),
    "kard_intern": (0.48, 0.33, 380, 46, 1),
    "zero_shot": (0.25, 0.0, 58, 20, 1),
}
PASSAGE_METHODS = ("knowledge_finetune", "kard", "kard_intern")
SHAPE = model_shape(
    LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True,
    )
)  # fmt: skip


def fake_questions(count: int = 60, *, harm: bool = False) -> dict[str, Question]:
    """Questions with four options, two gold passages each; with ``harm`` the first few attack the page."""
    rng = random.Random(0)
    found = {}
    for number in range(count):
        options = tuple(rng.sample(COUNTRIES, 4))
        text = f"Which of these countries has the largest {KINDS[number % 4]} ({number})?"
        found[f"q{number:03}"] = Question(
            question_id=f"q{number:03}",
            split="test",
            question=text + (f" {HARM}" if harm and number % 3 == 0 else ""),
            options=(HARM, *options[1:]) if harm and number % 5 == 0 else options,
            answer=rng.randrange(4),
            kind=KINDS[number % 4],
            gold_passages=(f"p{number}a", f"p{number}b"),
        )
    return found


def fake_answers(
    questions: dict[str, Question], *, methods: Sequence[str] = tuple(METHODS), seeds: Sequence[int] = (42, 43, 44),
    student: str = "smollm2-135m", harm: bool = False,
) -> list[Answers]:  # fmt: skip
    """Answers of every method, seed and source, ready for ``make_results``."""
    found = []
    for method in methods:
        sources = ["none"]
        if method in PASSAGE_METHODS:
            sources = {"kard": ["bm25", "silver"], "kard_intern": ["none", "bm25"]}.get(method, ["bm25"])
        for seed in seeds if method in ("finetune", "std_cot", "kard", "skintern") else seeds[:1]:
            rng = random.Random(f"{method} {seed}")
            found += [
                Answers(
                    student=student,
                    method=method,
                    seed=seed,
                    passages=source,
                    predictions=_predictions(method, source, questions, rng, harm=harm),
                    k=0 if source == "none" else 3,
                    shape=SHAPE,
                    parameters=134_515_008,
                    training=None if method == "zero_shot" else _training(rng),
                )
                for source in sources
            ]
    return found


def _training(rng: random.Random) -> Training:
    steps = 240
    curve = pa.table(
        {
            "step": list(range(1, steps + 1)),
            "stage": [1] * steps,
            "loss": [0.4 + 2.2 * 0.985**step + rng.gauss(0, 0.06) for step in range(steps)],
            "learning_rate": [1e-4] * steps,
            "gradient_norm": [1.0] * steps,
            "tokens_per_second": [420.0] * steps,
        }
    )
    return Training(seconds=rng.uniform(300, 1200), tokens=410_000, final_loss=0.45, curve=curve)


def _predictions(
    method: str, source: str, questions: dict[str, Question], rng: random.Random, *, harm: bool
) -> pa.Table:
    alone, gain, prompt, written, calls = METHODS[method]
    rows: list[dict[str, Any]] = []
    for question in questions.values():
        gold = list(question.gold_passages)
        shown = [] if source == "none" else _found(gold, source, rng)
        chance = alone + (gain * len({*shown} & {*gold}) / 2 if shown else 0.0)
        right = rng.random() < chance
        readable = right or rng.random() > 0.06
        option = question.answer if right else rng.choice([at for at in range(4) if at != question.answer])
        text = (
            f"{question.options[option]} is larger than the others. So the answer is {question.options[option]}."
            if readable
            else "It is not known which of these"
        )
        tokens = max(3, round(rng.gauss(written, written / 6)))
        length = 60 if source == "none" else round(rng.gauss(prompt, prompt / 10))
        rows.append(
            {
                "prediction_id": f"{source}/{question.question_id}",
                "question_id": question.question_id,
                "source": source,
                "passage_ids": shown,
                "generated_text": (HARM if harm else "") + text,
                "calls": [{"prompt_tokens": length, "generated_tokens": [tokens]} for _ in range(calls)],
                "prompt_tokens": length * calls,
                "generated_tokens": tokens * calls,
                "confidence": min(1.0, max(0.01, rng.gauss(0.75 if right else 0.5, 0.2))),
                "seconds": 0.02 * tokens + 0.0004 * length,
                "error": "",
                "prediction": option if readable else None,
                "prediction_text": question.options[option] if readable else None,
                "correct": right,
                "option_log_probs": None,
            }
        )
    return pa.Table.from_pylist(rows, schema=PREDICTIONS)


def _found(gold: list[str], source: str, rng: random.Random) -> list[str]:
    chance = 0.95 if source == "silver" else 0.7
    others = [f"p{rng.randrange(900)}x" for _ in range(3)]
    shown = [passage for passage in gold if rng.random() < chance] + others
    rng.shuffle(head := shown[:3])
    return head


def fake_texts(ids: Any, *, harm: bool = False) -> dict[str, dict[str, str]]:
    """Title and text of each passage."""
    text = (HARM if harm else "") + "The area is 2,345 km². " * 12
    return {
        name: {"title": f"{COUNTRIES[len(name) % 10]}: Geography", "text": f"{name}. {text}"} for name in ids
    }
