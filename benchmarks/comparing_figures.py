"""Can a student of 135M parameters learn to compare two figures from rationales? Training without any other link.

The student is given the two facts, so retrieval cannot fail, and learns from the Factbook's own, faultless rationales,
so the teacher cannot fail. Train and test questions are about different countries. Chance is 50 %.

    .venv/bin/python benchmarks/comparing_figures.py             # as the benchmark compares: "57 is smaller than 94"
    .venv/bin/python benchmarks/comparing_figures.py --spelled   # digit by digit, and what that says of the question
"""

from __future__ import annotations

import argparse
import os
import random
import re
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoTokenizer

from kard_ray.benchmarks.factbook_facts import countries
from kard_ray.benchmarks.factbook_questions import Draft, Writer
from kard_ray.benchmarks.reading import parse_answer
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.evaluation.scoring import wilson_interval
from kard_ray.runtime.models import resolve_model
from kard_ray.student.batching import collate
from kard_ray.student.config import StudentConfig
from kard_ray.student.loading import load_student
from kard_ray.student.loss import target_loss
from kard_ray.student.rendering import Renderer, RenderingConfig
from kard_ray.training.optimizer import MasterAdamW, learning_rate
from kard_ray.training.order import plan_batches

SEED, TEST_ROWS, TOGETHER, BATCH, PEAK = 0, 300, 30, 8, 3e-4


def drafts(train_rows: int) -> tuple[list[Draft], list[Draft]]:
    """Comparisons about 60 % of the countries, and comparisons about the others."""
    pool = list(countries())
    random.Random(SEED).shuffle(pool)
    cut = len(pool) * 6 // 10
    train, test = (Writer(part, random.Random(SEED)) for part in (pool[:cut], pool[cut:]))
    return [train.write("compare") for _ in range(train_rows)], [
        test.write("compare") for _ in range(TEST_ROWS)
    ]


def spelled(draft: Draft) -> str:
    """The draft's rationale with its comparison spelled out: each word is a copy, or compares two digits."""
    facts, _, comparison = draft.rationale.rpartition(". ")
    found = re.fullmatch(r"(\S+) is (larger|smaller) than (\S+?)\.?", comparison)
    word = re.search(r"\b(larger|higher|smaller|lower)\b", draft.question)
    assert found is not None, draft.rationale
    assert word is not None, draft.question
    a, how, b = found.groups()
    asked = "larger" if word.group() in ("larger", "higher") else "smaller"
    verdict = "true" if draft.options[draft.answer] == "yes" else "false"
    return (
        f"{facts}. {_by_digits(a, b)} So {a} is {how} than {b}. The question asks whether it is {asked}. It is {how}, "
        f"so that is {verdict}."
    )


def _by_digits(a: str, b: str) -> str:
    lengths = [len(figure.replace(",", "").partition(".")[0]) for figure in (a, b)]
    if lengths[0] != lengths[1]:
        how = "more" if lengths[0] > lengths[1] else "less"
        return (
            f"{a} has {lengths[0]} digits and {b} has {lengths[1]}, {lengths[0]} is {how} than {lengths[1]}."
        )
    steps: list[str] = []
    for x, y in zip(*(figure.replace(",", "").replace(".", "") for figure in (a, b)), strict=False):
        if x != y:
            steps.append(f"{x} is {'more' if x > y else 'less'} than {y}")
            break
        steps.append(f"{x} and {y} are equal")
    return f"{a} and {b}: {', '.join(steps)}."


def prompt(renderer: Renderer, draft: Draft) -> list[int]:
    """The question behind the two sentences that state its figures (all of the rationale but the comparison)."""
    facts = draft.rationale.rsplit(". ", 1)[0] + "."
    return renderer.prompt_ids(draft.question, draft.options, [("", facts)])


def train(renderer: Renderer, path: str, rows: list[Draft], write: Callable[[Draft], str]) -> Any:
    """One epoch over ``rows``, whose rationales ``write`` makes."""
    pairs = [
        (prompt(renderer, d), renderer.target_ids(f"{write(d)} {conclusion(d.options, d.answer, 'text')}"))
        for d in rows
    ]
    model = load_student(path, StudentConfig()).train()
    optimizer = MasterAdamW(model.parameters(), lr=PEAK, weight_decay=0.0)
    plan = plan_batches([len(p) + len(t) for p, t in pairs], batch_size=BATCH, epochs=1, seed=SEED)
    for step, numbers in enumerate(plan):
        chosen = [pairs[number] for number in numbers]
        loss = target_loss(model, collate(chosen, pad=renderer.tokenizer.eos_token_id))
        (loss / sum(len(target) for _, target in chosen)).backward()
        optimizer.step(lr=learning_rate(step, steps=len(plan), peak=PEAK, warmup_fraction=0.06), max_norm=1.0)
    return model.eval()


@torch.inference_mode()
def correct(renderer: Renderer, model: Any, rows: list[Draft]) -> int:
    """How many of ``rows`` the student answers right, greedily."""
    right, pad = 0, renderer.tokenizer.eos_token_id
    for at in range(0, len(rows), TOGETHER):
        asked = rows[at : at + TOGETHER]
        prompts = [prompt(renderer, draft) for draft in asked]
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        written = model.generate(
            ids, attention_mask=mask, max_new_tokens=160, do_sample=False, pad_token_id=pad
        )
        texts = renderer.tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
        right += sum(
            parse_answer(text, d.options, "text") == d.answer for text, d in zip(texts, asked, strict=True)
        )
    return right


def main() -> None:
    """Train, answer, print one line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--spelled", action="store_true", help="compare digit by digit")
    asked_for = parser.parse_args()
    rows = asked_for.rows
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(SEED)
    started = time.monotonic()
    path = resolve_model("bundled:smollm2-135m-instruct").path
    renderer = Renderer(AutoTokenizer.from_pretrained(path, local_files_only=True), RenderingConfig(), "text")
    training, test = drafts(rows)
    model = train(renderer, path, training, spelled if asked_for.spelled else lambda draft: draft.rationale)
    right = correct(renderer, model, test)
    low, high = wilson_interval(right, len(test))
    how = ", spelled out" if asked_for.spelled else ""
    print(
        f"{rows} rationales{how}, seed {SEED}: {right / len(test):.1%} [{low:.1%}, {high:.1%}] of {len(test)} "
        f"comparisons right, {time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
