"""Worked examples are right, are judged like a teacher's rationales, and are in no benchmark's files."""

from __future__ import annotations

import ast
import datetime
import itertools
import operator
import re

import pytest

from kard_ray.benchmarks.agieval_examples import EXAMPLES as AGIEVAL
from kard_ray.benchmarks.arc_examples import EXAMPLES as ARC
from kard_ray.benchmarks.bbh import TASKS, Bbh, BbhConfig
from kard_ray.benchmarks.bbh_examples import EXAMPLES as BBH
from kard_ray.benchmarks.gsm8k_examples import EXAMPLES as GSM8K
from kard_ray.benchmarks.kard_examples import EXAMPLES as KARD
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.knowledge.contamination import ContaminationConfig, Overlaps
from kard_ray.teacher.filters.base import Written
from kard_ray.teacher.filters.concludes import Concludes
from kard_ray.teacher.filters.true_comparisons import TrueComparisons

GROUPS = {**AGIEVAL, **BBH, **KARD, "gsm8k": GSM8K, "arc": ARC}
CASES = [pytest.param(e, id=f"{name}-{n}") for name, group in GROUPS.items() for n, e in enumerate(group)]
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def value(text):
    """The value of an expression of numbers or truth values, computed from its tree."""

    def of(node):
        match node:
            case ast.Constant():
                return node.value
            case ast.UnaryOp(op=ast.USub()):
                return -of(node.operand)
            case ast.UnaryOp(op=ast.Not()):
                return not of(node.operand)
            case ast.BinOp():
                return OPERATORS[type(node.op)](of(node.left), of(node.right))
            case ast.BoolOp():
                return (all if isinstance(node.op, ast.And) else any)([of(part) for part in node.values])
        raise ValueError(ast.dump(node))

    return of(ast.parse(text.strip(), mode="eval").body)


@pytest.mark.parametrize("form", ["text", "letter"])
@pytest.mark.parametrize("example", CASES)
def test_the_filters_of_rationales_keep_every_example(example, form):
    closing = conclusion(example.options, example.answer, form, example.gold)
    written = Written(
        rationale=f"{example.rationale} {closing}",
        question=example.question,
        options=example.options,
        answer=example.answer,
        gold=example.gold,
        passages=example.passages,
        answer_form=form,
    )
    assert Concludes().reason(written) is None
    assert TrueComparisons().reason(written) is None


@pytest.mark.parametrize("example", CASES)
def test_an_example_has_either_options_or_a_gold_answer_and_is_short(example):
    assert bool(example.options) != bool(example.gold)
    assert (0 <= example.answer < len(example.options)) if example.options else example.answer == -1
    assert len(set(example.options)) == len(example.options)
    assert "answer is" not in example.rationale
    assert "\n" not in example.rationale
    assert len(example.rationale.split()) <= 70


@pytest.mark.parametrize("example", CASES)
def test_every_equation_of_a_rationale_holds(example):
    for equation in re.findall(r"-?\d[\d*/+\- ]*(?:= ?-?\d[\d*/+\- ]*)+", example.rationale):
        sides = [value(side.strip()) for side in equation.rstrip(" -").split("=")]
        assert len(set(sides)) == 1, equation


def test_there_are_examples_of_all_27_tasks_and_four_of_the_others():
    assert set(BBH) == set(TASKS)
    assert len(GSM8K) == len(ARC) == 4
    benchmark = Bbh(BbhConfig(path="x"))
    assert all(1 <= len(benchmark.examples(task)) <= 2 for task in TASKS)


def test_boolean_expressions_and_arithmetic_are_what_python_makes_of_them():
    for example in BBH["boolean_expressions"]:
        assert str(value(example.question.removesuffix(" is"))) == example.answer_text
    for example in BBH["multistep_arithmetic_two"]:
        assert str(value(example.question.removesuffix(" ="))) == example.gold


def test_gsm8k_examples_end_in_their_answer():
    for example in GSM8K:
        assert re.findall(r"= (\d+)", example.rationale)[-1] == example.gold


def test_words_are_sorted_and_brackets_closed():
    for example in BBH["word_sorting"]:
        assert sorted(example.question.rpartition(": ")[2].split()) == example.gold.split()
    pairs = {"(": ")", "[": "]", "{": "}", "<": ">"}
    for example in BBH["dyck_languages"]:
        still_open = []
        for bracket in (example.question.rpartition(": ")[2] + " " + example.gold).split():
            if bracket in pairs:
                still_open.append(pairs[bracket])
            else:
                assert still_open.pop() == bracket
        assert not still_open


def test_objects_end_where_the_swaps_bring_them():
    names = ("three", "five", "seven")
    for example in itertools.chain.from_iterable(
        BBH[f"tracking_shuffled_objects_{n}_objects"] for n in names
    ):
        holds = dict(re.findall(r"([A-Z][a-z]+) has the (\w+)", example.question.partition("First,")[0]))
        for a, b in re.findall(r"(\w+) and (\w+) swap", example.question):
            holds[a], holds[b] = holds[b], holds[a]
        (asked,) = re.findall(r"At the end, (\w+) has the$", example.question)
        assert example.answer_text.split()[0] == holds[asked]


@pytest.mark.parametrize(
    ("task", "things", "rules", "asked"),
    [
        (
            "logical_deduction_three_objects",
            ("red", "blue", "green"),
            [lambda at: at["blue"] < at["red"], lambda at: at["green"] > at["red"]],
            0,
        ),
        (
            "logical_deduction_five_objects",
            ("Ada", "Ben", "Cleo", "Dan", "Eva"),
            [
                lambda at: at["Cleo"] == 0,
                lambda at: at["Eva"] == 4,
                lambda at: at["Ben"] > at["Ada"] > at["Dan"],
            ],
            2,
        ),
        (
            "logical_deduction_seven_objects",
            ("gray", "white", "black", "brown", "orange", "purple", "yellow"),
            [
                lambda at: (at["gray"], at["yellow"], at["white"], at["purple"]) == (0, 6, 1, 5),
                lambda at: at["black"] < at["brown"] < at["orange"],
            ],
            3,
        ),
    ],
)
def test_there_is_one_order_and_it_gives_the_answer(task, things, rules, asked):
    (example,) = BBH[task]
    orders = [
        order
        for order in itertools.permutations(things)
        if all(rule({thing: place for place, thing in enumerate(order)}) for rule in rules)
    ]
    assert len(orders) == 1
    assert orders[0][asked] in example.answer_text
    assert example.options[things.index(orders[0][asked])] == example.answer_text


def test_the_date_is_nine_days_after_the_third_of_march():
    (example,) = BBH["date_understanding"]
    assert example.answer_text == (datetime.date(2015, 3, 3) + datetime.timedelta(days=9)).strftime(
        "%m/%d/%Y"
    )


def test_no_example_stands_in_the_public_files(public_data):
    """No run of 13 words of an example is in a benchmark's files."""
    texts = [
        path.read_text(encoding="utf-8")
        for pattern in ("bbh/**/*", "gsm8k/*.jsonl", "arc/*/*.jsonl")
        for path in public_data.glob(pattern)
        if path.is_file()
    ]
    if not texts:
        pytest.skip(f"none of bbh, gsm8k, arc in {public_data}")
    examples = {
        f"{name} {n}": f"{example.question} {example.rationale}"
        for name, group in {**BBH, "gsm8k": GSM8K, "arc": ARC}.items()
        for n, example in enumerate(group)
    }
    overlaps = Overlaps(examples, ContaminationConfig())
    assert not overlaps.too_short
    assert [found for text in texts for found in overlaps.find(text)] == []
