"""What a teacher will cost before it is paid: prompts are built, a sample of them is counted, the ledger is looked at.

Nothing is generated. The error of the prompt tokens is that of a random sample without replacement (95 %, normal). How
much a teacher will write is known only from what it wrote; before that the worked examples tell, and the limit
``max_tokens`` is the most it can be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from kard_ray.teacher.backends.work import Messages
from kard_ray.teacher.generation import Plan

_Z = 1.96  # 95 %


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenFigure:
    """Tokens in all, and how far the true number may be from it (95 %; 0: counted)."""

    tokens: int
    error: int
    basis: str  # how it was found


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherCost:
    """What is left to be written, and what it will take."""

    texts: int  # still to be written
    finished: int  # in the ledger: not paid again
    prompt: TokenFigure
    generated: TokenFigure
    most_generated: int  # every text as long as max_tokens allows
    calls: int  # requests; a prompt is billed once per request

    def money(self, prompt_per_million: float, generated_per_million: float) -> tuple[float, float]:
        """Expected price, and the highest it can be but for the prompts' error; in the prices' currency."""
        paid = self.prompt.tokens * prompt_per_million
        most = (self.prompt.tokens + self.prompt.error) * prompt_per_million
        return (
            (paid + self.generated.tokens * generated_per_million) / 1e6,
            (most + self.most_generated * generated_per_million) / 1e6,
        )

    def seconds(self, tokens_per_second: float) -> float:
        """Time of generation at this rate of all engines together, engine start not counted."""
        return self.generated.tokens / tokens_per_second


def teacher_cost(
    plan: Plan,
    count: Callable[[Messages], int],
    *,
    counted_by: str,
    max_tokens: int,
    samples_per_request: int = 1,
    example_tokens: Sequence[int] = (),
    written_tokens: Sequence[int] = (),
    sample: int = 200,
    seed: int = 0,
) -> TeacherCost:
    """The cost of what ``plan`` misses.

    ``count`` gives a prompt's tokens; ``written_tokens`` are lengths of texts that this teacher wrote for this plan,
    ``example_tokens`` those of its worked examples. ``sample`` prompts at most are counted.
    """
    missing = [(item, len(wanted)) for item, wanted in plan.missing_items()]
    calls = [-(-wanted // samples_per_request) for _, wanted in missing]
    chosen = sorted(random.Random(seed).sample(range(len(missing)), min(sample, len(missing))))
    lengths = [
        count([*plan.openings[missing[at][0].opening], {"role": "user", "content": missing[at][0].turn}])
        for at in chosen
    ]
    texts = sum(wanted for _, wanted in missing)
    longest = written_tokens or example_tokens
    each = min(fmean(longest), max_tokens) if longest else max_tokens
    spread = _Z * stdev(written_tokens) / sqrt(len(written_tokens)) if len(written_tokens) > 1 else 0.0
    if written_tokens:
        basis = f"mean of {len(written_tokens):,} texts that it wrote"
    elif example_tokens:
        basis = "mean of the worked examples: a guess until the teacher has written"
    else:
        basis = "max_tokens each: nothing is known about the teacher's texts yet"
    return TeacherCost(
        texts=texts,
        finished=plan.finished,
        prompt=_total(lengths, len(missing), sum(calls), counted_by),
        generated=TokenFigure(tokens=round(each * texts), error=round(spread * texts), basis=basis),
        most_generated=max_tokens * texts,
        calls=sum(calls),
    )


def _total(lengths: Sequence[int], items: int, calls: int, counted_by: str) -> TokenFigure:
    """Tokens of ``calls`` prompts of ``items`` items, from the ``lengths`` of some of them."""
    if not lengths:
        return TokenFigure(tokens=0, error=0, basis="nothing is left to be written")
    counted = len(lengths)
    error = 0.0
    if 1 < counted < items:
        error = _Z * stdev(lengths) / sqrt(counted) * sqrt(1 - counted / items)
    basis = f"{counted_by}, {counted:,} of {items:,} prompts counted"
    return TokenFigure(tokens=round(fmean(lengths) * calls), error=round(error * calls), basis=basis)
