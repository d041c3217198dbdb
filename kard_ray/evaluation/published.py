"""What the papers report, to stand beside what is measured here. Nothing in this file was measured here.

KARD (Kang et al. 2023, arXiv 2305.18395) and SKIntern (Liao et al. 2024, arXiv 2409.13183). Marks in ``source``:
``S`` is SKIntern's text and appendix, read in full; ``KR1`` and ``KR2`` are a review of KARD and notes on it by others
(its tables were not read first-hand). Accuracies are percentages. Data splits, teachers and student sizes are others
than here: the order of methods compares, the numbers do not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Paper = Literal["KARD", "SKIntern"]
BenchmarkName = Literal[
    "medqa", "strategyqa", "openbookqa", "bbh", "gsm8k", "bb_sub", "agieval", "gsm_plus", "arc_easy", "arc_challenge"
]  # fmt: skip

SECOND_HAND = "from notes on the paper, not from the paper itself"
THREE_RUNS = "mean of three runs; BBH and GSM8K are in-domain, the others out-of-domain"
PREFILL_ONLY = "relative FLOPs: one forward pass over each BBH test prompt; no generated token, no retrieval"
T_UNCLEAR = "T = 7 does not divide the 12 epochs; how many each step had is not stated"

SKINTERN_ORDER: tuple[BenchmarkName, ...] = (
    "bbh", "gsm8k", "bb_sub", "agieval", "gsm_plus", "arc_easy", "arc_challenge"
)  # fmt: skip
ABLATION_ORDER: tuple[BenchmarkName, ...] = ("bbh", "bb_sub", "agieval", "gsm_plus", "arc_easy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One reported accuracy, in percent. ``method`` is the name used here; ``variant`` tells an ablation."""

    paper: Paper
    student: str
    method: str
    benchmark: BenchmarkName
    accuracy: float
    source: str
    note: str = ""
    variant: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedRow:
    """One line of SKIntern's Table 1: accuracies in :data:`SKINTERN_ORDER`, their average, relative FLOPs."""

    student: str
    method: str
    accuracies: tuple[float, ...]
    average: float
    relative_flops: float  # 1.0: zero-shot of TinyLLaMA-1.1B
    source: str = "S Table 1"
    note: str = f"{THREE_RUNS}; {PREFILL_ONLY}"

    @property
    def recomputed_average(self) -> float:
        """The mean of ``accuracies``; it is the given ``average`` but for rounding, except in :data:`DISAGREEING`."""
        return sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedAverage:
    """An average over the seven benchmarks of SKIntern alone, in percent; the rows behind it are not given here."""

    student: str
    method: str
    average: float
    source: str = "S Table 7"
    note: str = THREE_RUNS


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What a paper says in words, or a caveat about what it reports."""

    paper: Paper
    text: str
    source: str


def _table(student: str, lines: str) -> tuple[PublishedRow, ...]:
    """Lines of method, seven accuracies, the average, and relative FLOPs."""
    rows = []
    for line in lines.split("\n"):
        method, *cells = line.split()
        *accuracies, average, flops = map(float, cells)
        rows.append(
            PublishedRow(
                student=student, method=method, accuracies=tuple(accuracies), average=average, relative_flops=flops
            )
        )  # fmt: skip
    return tuple(rows)


SKINTERN_TABLE: tuple[PublishedRow, ...] = _table(
    "TinyLLaMA-1.1B",
    """zero_shot 14.0 2.0 17.7 17.8 1.5 19.4 15.0 12.5 1.0
finetune 48.8 3.5 26.0 21.2 3.7 28.0 24.6 22.3 0.9
knowledge_finetune 49.3 3.7 27.4 21.9 3.3 29.4 25.3 22.9 3.7
std_cot 47.8 7.9 27.6 21.5 4.3 28.2 25.0 23.2 1.0
mt_cot 44.1 4.1 25.0 21.4 2.8 33.5 25.1 22.3 0.9
step_by_step 42.4 4.3 26.2 21.1 3.1 29.6 25.9 21.8 0.9
kard 49.5 7.6 26.9 20.2 4.0 28.2 26.5 23.3 3.9
cascod 48.1 6.8 23.1 19.4 4.8 29.0 27.1 22.6 3.0
skintern 55.5 8.1 31.4 24.4 5.3 36.8 31.2 27.5 1.0""",
) + _table(
    "LLaMA2-7B",
    """zero_shot 17.3 2.7 18.6 19.2 2.4 25.2 20.6 17.0 6.4
finetune 57.8 5.8 33.3 31.0 5.8 73.3 56.3 37.6 5.6
knowledge_finetune 58.7 6.3 34.2 31.8 6.1 75.1 57.0 38.5 23.7
std_cot 58.1 20.5 30.7 23.6 12.0 73.4 55.9 39.2 6.4
mt_cot 45.6 6.8 27.8 31.7 6.0 74.2 57.6 35.7 5.7
step_by_step 54.3 8.4 32.9 32.4 5.9 77.7 61.8 39.1 5.6
kard 58.9 27.5 30.3 18.9 19.1 73.7 57.0 40.8 24.5
cascod 58.9 29.2 32.2 28.8 21.4 74.7 57.3 43.2 19.0
skintern 69.3 33.9 37.2 31.3 21.2 78.1 62.1 47.6 6.4""",
)

# Rows whose given average is not that of their accuracies. Which number is wrong, and whether in the paper or in its
# transcription, is not known: both stand as they were given.
DISAGREEING: tuple[tuple[str, str], ...] = (("LLaMA2-7B", "zero_shot"),)  # 17.0 given, 15.1 recomputed

SKINTERN_AVERAGES: tuple[PublishedAverage, ...] = (
    *(
        PublishedAverage(student=student, method=method, average=average)
        for student, averages in (
            ("LLaMA3-8B", (60.5, 63.2, 34.5, 63.4)),
            ("Qwen2-0.5B", (34.3, 36.7, 22.1, 36.7)),
            ("Qwen2-1.5B", (50.5, 53.1, 39.8, 54.1)),
            ("Qwen2-7B", (68.0, 69.2, 51.9, 69.6)),
        )
        for method, average in zip(("std_cot", "kard", "cascod", "skintern"), averages, strict=True)
    ),
    PublishedAverage(student="GPT-3.5-turbo", method="teacher", average=63.2, source="S"),
)


def _ablations() -> tuple[Published, ...]:
    variants: tuple[tuple[str, str, tuple[float, ...]], ...] = (
        ("linear, T = 4", "", (69.3, 37.2, 31.3, 21.2, 78.1)),
        ("exp, T = 4", "", (64.8, 36.2, 30.0, 16.3, 76.0)),
        ("exp⁻¹, T = 4", "", (59.5, 31.2, 28.8, 15.4, 73.9)),
        ("linear, T = 3", "", (60.2, 33.4, 29.1, 15.5, 74.8)),
        ("linear, T = 7", T_UNCLEAR, (65.7, 35.0, 30.0, 20.9, 76.6)),
        ("without summaries", "", (59.8, 30.8, 28.7, 15.3, 74.1)),
        ("without supplements", "", (62.3, 32.1, 29.5, 16.2, 75.7)),
        ("without examples", "", (61.9, 34.1, 29.4, 18.1, 74.6)),
    )
    return tuple(
        Published(
            paper="SKIntern", student="LLaMA2-7B", method="skintern", variant=variant, benchmark=benchmark,
            accuracy=accuracy, source="S ablations", note=note,
        )
        for variant, note, accuracies in variants
        for benchmark, accuracy in zip(ABLATION_ORDER, accuracies, strict=True)
    )  # fmt: skip


SKINTERN_ABLATIONS: tuple[Published, ...] = _ablations()

_KARD: tuple[tuple[str, str, BenchmarkName, float], ...] = (
    ("Flan-T5-base (250M)", "kard", "medqa", 38.15),
    ("Flan-T5-base (250M)", "finetune", "medqa", 30.71),
    ("T5-base", "kard", "strategyqa", 56.57),
    ("T5-base", "kard", "openbookqa", 59.33),
)
KARD_RESULTS: tuple[Published, ...] = tuple(
    Published(
        paper="KARD", student=student, method=method, benchmark=benchmark, accuracy=accuracy,
        source="KR2", note=SECOND_HAND,
    )
    for student, method, benchmark, accuracy in _KARD
)  # fmt: skip

PUBLISHED: tuple[Published, ...] = KARD_RESULTS + tuple(
    Published(
        paper="SKIntern", student=row.student, method=row.method, benchmark=benchmark, accuracy=accuracy,
        source=row.source, note=THREE_RUNS,
    )
    for row in SKINTERN_TABLE
    for benchmark, accuracy in zip(SKINTERN_ORDER, row.accuracies, strict=True)
)  # fmt: skip

_KARD_FINDINGS: tuple[tuple[str, str], ...] = (
    ("A 250M KARD student beats a fine-tuned 3B one on MedQA and StrategyQA.", "abstract (v2)"),
    ("A 250M KARD student is about as good as in-context learning with an 11B model.", "KR1"),
    ("The reranker's Hits@k is above BM25's (gold: top 3 passages by the teacher's rationale).", "KR1"),
    ("More passages make BM25 worse; with the reranker k = 2 is best.", "KR2"),
    ("More candidates for the reranker are better.", "KR1, KR2"),
    ("Rationales per question: flat from 3 (KR1); 5 better than 3, 10 adds little (KR2).", "KR1, KR2"),
    ("The gap of KARD to fine-tuning grows with the data.", "KR1"),
    ("Of 30 failures 15 were the retriever's and 15 the student's.", "KR1, KR2"),
)

_SKINTERN_FINDINGS: tuple[tuple[str, str], ...] = (
    (
        (
            "The abstract's gain of more than 5 points is not met against the best baseline: on LLaMA2-7B +4.4 over"
            " CasCoD, +6.8 over KARD, +8.4 over Std-CoT; on TinyLLaMA +4.2 over KARD, and +4.3 over Std-CoT, where"
            " the text says 5.9."
        ),
        "S Table 1, recomputed",
    ),
    (
        "On strong base models SKIntern is 0 to 1 point above KARD, at about a quarter of the prefill FLOPs.",
        "S Table 7",
    ),
    (
        (
            "The published FLOPs are those of prefill alone, one forward pass over each BBH test prompt: generated"
            " tokens, retrieval and compression are not counted."
        ),
        "SKIntern's evaluator.py",
    ),
    (
        (
            "The zero-shot average of LLaMA2-7B is given as 17.0; its seven accuracies average 15.1. All other averages"
            " of the table agree with their rows."
        ),
        "S Table 1, recomputed",
    ),
    ("GSM8K is in-domain in the text and Table 1, out-of-domain in Table 4.", "S Table 4"),
)

FINDINGS: tuple[Finding, ...] = (
    *(Finding(paper="KARD", text=text, source=source) for text, source in _KARD_FINDINGS),
    *(Finding(paper="SKIntern", text=text, source=source) for text, source in _SKINTERN_FINDINGS),
)


def published_rows(benchmark: str) -> list[dict[str, Any]]:
    """What the papers report for ``benchmark``, ablations last; for results.json. Empty when they do not know it.

    ``relative_flops`` is SKIntern's column for the row's student and method (measured on BBH), None for KARD.
    """
    flops = {(row.student, row.method): row.relative_flops for row in SKINTERN_TABLE}
    return [
        asdict(one) | {"relative_flops": flops.get((one.student, one.method)) if one.paper == "SKIntern" else None}
        for one in (*PUBLISHED, *SKINTERN_ABLATIONS)
        if one.benchmark == benchmark
    ]  # fmt: skip
