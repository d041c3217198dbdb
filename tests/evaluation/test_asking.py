"""How a student is asked, with a scripted engine in place of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.benchmarks.question import Question
from kard_ray.evaluation.asking import WRITTEN, Asking, calls, common_prefix
from kard_ray.evaluation.predict import prediction_rows
from kard_ray.evaluation.prompts import STUDENT, Manner, StudentPrompts
from kard_ray.evaluation.searching import KnowledgeSource, SearchHere
from kard_ray.knowledge.retrieval import RetrievalConfig
from kard_ray.runtime.dialogue import Find, Reply, Request, Score, Write, in_step
from kard_ray.student.rendering import RenderingConfig
from tests.knowledge.rows import write_base

ASKED = Question(
    question_id="q", split="test", question="Which?", options=("Lisbon", "Porto", "Porto Alegre"), answer=1
)
PASSAGE = {"passage_id": "p", "title": "T", "text": "It is Porto.", "score": 1.0}


class Engine:
    """Writes the given texts one after the other; scores an option by how often its ids are even."""

    def __init__(self, manner: Manner, *texts: str, log_p: Sequence[float] = ()) -> None:
        self.tokenizer = manner.renderer().tokenizer
        self.texts, self.log_p = list(texts), list(log_p)
        self.rounds: list[list[Request]] = []

    def __call__(self, requests: Sequence[Request]) -> list[Reply]:
        if requests:
            self.rounds.append(list(requests))
        return [self._reply(request) for request in requests]

    def with_searches_of(self, asking: Asking) -> Engine:
        self.asking = asking
        return self

    def _reply(self, request: Request) -> Reply:
        if isinstance(request, Find):
            (found,) = self.asking.find([request]).result()
            return Reply(found=found)
        if isinstance(request, Score):
            return Reply(
                tokens=request.scored,
                log_probs=[-1.0 if token % 2 else -0.25 for token in request.scored],
                seconds=0.5,
            )
        text = self.texts.pop(0)
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        log_p = [math.log(self.log_p.pop(0))] + [0.0] * (len(ids) - 1) if self.log_p else []
        return Reply(text=text, tokens=ids, log_probs=log_p, seconds=1.0)

    def prompts(self, turn: int) -> list[str]:
        return [
            self.tokenizer.decode(request.prompt_ids, skip_special_tokens=True)
            for request in self.rounds[turn]
            if not isinstance(request, Find)
        ]


@pytest.fixture(scope="module")
def manner(llama_folder: Path) -> Manner:
    return Manner(tokenizer=str(llama_folder), rendering=RenderingConfig(), form="text", passages=2)


def ask(
    manner: Manner, engine: Engine, *, source: Any = "none", question: Question = ASKED
) -> dict[str, Any]:
    rows = prediction_rows([question], [source], {"q": [PASSAGE]}, with_options=True)
    search = SearchHere([manner.knowledge])
    rows = StudentPrompts([manner], search)(rows.append_column(STUDENT, pa.array([0], pa.int32())))
    asking = Asking([manner], search)
    (row,) = in_step(rows.to_pylist(), asking, engine.with_searches_of(asking))
    table = pa.Table.from_pylist([row], schema=WRITTEN.append(pa.field(STUDENT, pa.int32())))
    finished: dict[str, Any] = table.to_pylist()[0]
    return finished


def tokens(engine: Engine, text: str) -> int:
    return len(engine.tokenizer(text, add_special_tokens=False).input_ids)


def test_one_pass_one_sample_is_one_request(manner: Manner) -> None:
    engine = Engine(manner, "So the answer is Porto.", log_p=[0.5])
    row = ask(manner, engine, source="silver")
    (sample,) = row["samples"]
    assert engine.prompts(0)[0].endswith("Options: Lisbon; Porto; Porto Alegre\nExplanation:")
    assert "It is Porto." in engine.prompts(0)[0]
    assert (sample["texts"], sample["option"], row["passage_ids"]) == (
        ["So the answer is Porto."],
        None,
        ["p"],
    )
    assert sample["confidence"] == 1.0  # the improbable token stands before the answer
    assert row["calls"] == [
        {
            "prompt_tokens": len(engine.rounds[0][0].prompt_ids),
            "generated_tokens": [tokens(engine, "So the answer is Porto.")],
        }
    ]
    (request,) = engine.rounds[0]
    assert isinstance(request, Write)
    assert request.seed is None


def test_the_second_pass_reads_what_the_first_one_wrote(manner: Manner) -> None:
    twice = replace(manner, cues=("Rationale:", "Answer:"))
    engine = Engine(twice, "It is by the sea.", "So the answer is Porto.", log_p=[0.5, 0.25])
    row = ask(twice, engine)
    assert engine.prompts(0)[0].endswith("\nRationale:")
    assert engine.prompts(1)[0].endswith("\nRationale: It is by the sea.\nAnswer:")
    assert row["samples"][0]["texts"] == ["It is by the sea.", "So the answer is Porto."]
    assert [call["prompt_tokens"] for call in row["calls"]] == [
        len(requests[0].prompt_ids) for requests in engine.rounds
    ]
    assert row["seconds"] == 2.0


def test_what_the_cue_began_belongs_to_the_text(manner: Manner) -> None:
    asked = replace(manner, cues=("So the answer is",), reasons=False)
    engine = Engine(asked, "Porto.", log_p=[0.5])
    (sample,) = ask(asked, engine)["samples"]
    assert sample["texts"] == ["So the answer is Porto."]
    assert sample["confidence"] == 0.5


def test_samples_are_drawn_from_one_prompt_each_with_its_own_seed(manner: Manner) -> None:
    voting = replace(manner, samples=3, seed=7)
    said = ["So the answer is Porto.", "So the answer is Lisbon.", "Who knows?"]
    row = ask(voting, first := Engine(voting, *said))
    assert [sample["texts"] for sample in row["samples"]] == [[text] for text in said]
    (call,) = row["calls"]
    assert call["generated_tokens"] == [tokens(first, text) for text in said]
    ask(voting, again := Engine(voting, *said))
    seeds = [[r.seed for r in e.rounds[0] if isinstance(r, Write)] for e in (first, again)]
    assert len(set(seeds[0])) == 3
    assert seeds[0] == seeds[1]
    ask(replace(voting, seed=8), other := Engine(voting, *said))
    assert not set(seeds[0]) & {r.seed for r in other.rounds[0] if isinstance(r, Write)}


@pytest.mark.parametrize("by", ["sum", "mean"])
def test_the_most_probable_option_behind_the_rationale_is_the_answer(manner: Manner, by: Any) -> None:
    scoring = replace(manner, score_options=by)
    engine = Engine(scoring, "It is by the sea.")
    row = ask(scoring, engine)
    write, scores = engine.rounds[0][0], [r for r in engine.rounds[1] if isinstance(r, Score)]
    assert isinstance(write, Write)
    assert write.stop == ("So the answer is",)  # the rationale ends before it concludes
    whole = [engine.tokenizer.decode([*r.begun, *r.scored]) for r in scores]
    assert whole == [f" It is by the sea. So the answer is {option}." for option in ASKED.options]
    assert len({tuple(r.begun) for r in scores}) == 1
    sums = [sum(-1.0 if token % 2 else -0.25 for token in r.scored) for r in scores]
    values = sums if by == "sum" else [s / len(r.scored) for s, r in zip(sums, scores, strict=True)]
    (sample,) = row["samples"]
    assert sample["option_log_probs"] == sums
    assert sample["option"] == values.index(max(values))
    assert sample["texts"] == [f"It is by the sea. So the answer is {ASKED.options[sample['option']]}."]
    shares = [math.exp(value) for value in values]
    assert sample["confidence"] == pytest.approx(max(shares) / sum(shares))
    assert row["calls"][1] == {
        "prompt_tokens": len(scores[0].prompt_ids) + len(scores[0].begun),
        "generated_tokens": [len(r.scored) for r in scores],
    }


def test_a_student_that_only_answers_writes_nothing_where_options_are_scored(manner: Manner) -> None:
    scoring = replace(manner, score_options="sum", reasons=False)
    engine = Engine(scoring)
    row = ask(scoring, engine)
    assert len(engine.rounds) == 1
    whole = {engine.tokenizer.decode([*r.begun, *r.scored]) for r in engine.rounds[0] if isinstance(r, Score)}
    assert whole == {f" So the answer is {option}." for option in ASKED.options}
    assert row["samples"][0]["texts"][0].startswith("So the answer is ")


def test_options_can_be_scored_at_once_in_place_of_a_rationale(manner: Manner) -> None:
    scoring = replace(manner, score_options="sum", options_behind="question", answer_cue="Answer:")
    engine = Engine(scoring)
    row = ask(scoring, engine)
    assert len(engine.rounds) == 1  # nothing is written
    assert all(prompt.endswith("Answer:") for prompt in engine.prompts(0))
    whole = {engine.tokenizer.decode([*r.begun, *r.scored]) for r in engine.rounds[0] if isinstance(r, Score)}
    assert whole == {f" So the answer is {option}." for option in ASKED.options}
    assert row["samples"][0]["texts"][0].startswith("So the answer is ")


def test_options_scored_both_ways_are_judged_by_the_mean(manner: Manner) -> None:
    scoring = replace(
        manner, score_options="mean", options_behind="both", answer_cue="Answer:", samples=2, seed=0
    )
    engine = Engine(scoring, "It is by the sea.", "It is a large town.")
    row = ask(scoring, engine)
    scores = [r for r in engine.rounds[1] if isinstance(r, Score)]
    assert len(scores) == 9  # two rationales, and once the question alone
    assert [prompt.endswith("Answer:") for prompt in engine.prompts(1)] == [False] * 6 + [True] * 3
    sums = [sum(-1.0 if token % 2 else -0.25 for token in r.scored) for r in scores]
    means = [s / len(r.scored) for s, r in zip(sums, scores, strict=True)]
    for at, sample in enumerate(row["samples"]):
        by = [(means[3 * at + n] + means[6 + n]) / 2 for n in range(3)]
        assert sample["option"] == by.index(max(by))
        assert sample["option_log_probs"] == [(sums[3 * at + n] + sums[6 + n]) / 2 for n in range(3)]
    assert len(row["calls"]) == 1 + 3  # two drawn texts of one prompt are one call


def test_a_cue_that_begins_the_conclusion_leaves_only_the_option_to_score(manner: Manner) -> None:
    scoring = replace(
        manner, score_options="sum", reasons=False, cues=("Let's think step by step.", "So the answer is")
    )
    engine = Engine(scoring, "Hm.")
    row = ask(scoring, engine)
    whole = [engine.tokenizer.decode([*r.begun, *r.scored]) for r in engine.rounds[1] if isinstance(r, Score)]
    assert whole == [f" {option}." for option in ASKED.options]
    assert row["samples"][0]["texts"][0] == "Let's think step by step. Hm."
    assert row["samples"][0]["texts"][1].startswith("So the answer is ")


def test_an_open_question_is_read_though_options_are_scored(manner: Manner) -> None:
    scoring = replace(manner, score_options="sum")
    engine = Engine(scoring, "So the answer is 72.")
    row = ask(scoring, engine, question=replace(ASKED, options=(), answer=-1, gold="72"))
    assert len(engine.rounds) == 1
    assert row["samples"][0]["texts"] == ["So the answer is 72."]
    assert row["samples"][0]["option"] is None


@pytest.mark.parametrize(("sure", "asks"), [(0.9, False), (0.6, False), (0.5, True)])
def test_passages_are_read_only_by_a_student_that_is_unsure(manner: Manner, sure: float, asks: bool) -> None:
    asking = replace(manner, ask_below=0.6)
    texts = ["Lisbon", "Porto"]  # without "answer is" all tokens count
    engine = Engine(asking, *texts, log_p=[sure, 1.0])
    row = ask(asking, engine, source="silver")
    assert len(engine.rounds) == len(row["calls"]) == (2 if asks else 1)
    assert row["samples"][0]["texts"] == [texts[asks]]
    assert row["passage_ids"] == (["p"] if asks else [])
    assert ["It is Porto." in engine.prompts(turn)[0] for turn in range(len(engine.rounds))] == [
        False,
        True,
    ][: len(engine.rounds)]
    assert row["seconds"] == len(engine.rounds)


@pytest.fixture(scope="module")
def searching(manner: Manner, tmp_path_factory: pytest.TempPathFactory) -> Manner:
    """A student whose questions find "bridge", and only whose rationale finds "fact"."""
    folder = tmp_path_factory.mktemp("knowledge")
    write_base(
        folder,
        [[("bridge", "Capitals", "Porto? Its capital is Lima."), ("fact", "Peru", "Peru has llamas.")]],
    )
    known = KnowledgeSource(str(folder), None, RetrievalConfig())
    return replace(manner, knowledge=known, passages=2)


def test_a_second_round_searches_with_what_was_written_from_the_first(searching: Manner) -> None:
    drawing = replace(searching, samples=2, seed=7)
    said = ["It is Peru.", "So the answer is Lisbon.", "So the answer is Porto."]
    engine = Engine(drawing, *said)
    row = ask(drawing, engine, source="bm25:2")
    led, find, final = engine.rounds
    (write,), (request,) = led, find
    assert isinstance(write, Write)
    assert isinstance(request, Find)
    assert (write.greedy, write.seed) == (True, None)
    assert "Its capital is Lima." in engine.prompts(0)[0]
    assert "llamas" not in engine.prompts(0)[0]
    # Without the options, as rationales were searched for in training
    assert request.query == f"Which? {said[0]}"
    assert len(final) == 2
    assert not any(r.greedy for r in final if isinstance(r, Write))
    assert row["passage_ids"] == ["fact", "bridge"]
    assert [(s["query"], s["passage_ids"]) for s in row["searches"]] == [
        ("Which? Lisbon Porto Porto Alegre", ["bridge"]),
        (request.query, ["fact"]),
    ]
    assert [s["retriever_flops"] for s in row["searches"]] == [0, 0]
    assert row["calls"][0] == {
        "prompt_tokens": len(write.prompt_ids), "generated_tokens": [tokens(engine, said[0])],
    }  # fmt: skip
    assert row["calls"][1]["generated_tokens"] == [tokens(engine, text) for text in said[1:]]
    assert row["seconds"] == 2.0
    assert [sample["texts"] for sample in row["samples"]] == [[text] for text in said[1:]]


def test_a_further_round_can_search_with_the_best_passage_of_the_one_before(searching: Manner) -> None:
    plain = replace(searching, next_query="question_and_passage")
    engine = Engine(plain, "So the answer is Porto.")
    row = ask(plain, engine, source="bm25:3")
    assert [type(r).__name__ for requests in engine.rounds for r in requests] == ["Find", "Find", "Write"]
    _, second, third = (search["query"] for search in row["searches"])
    assert second == "Which? Capitals Porto? Its capital is Lima."
    assert third == "Which?"  # nothing new was found
    assert row["passage_ids"] == ["bridge"]
    assert len(row["calls"]) == 1


def test_each_round_of_a_method_with_two_passes_is_led_by_its_first_pass(searching: Manner) -> None:
    twice = replace(searching, cues=("Rationale:", "Answer:"))
    engine = Engine(twice, "Peru.", "Llamas in Peru.", "So the answer is Porto.")
    row = ask(twice, engine, source="bm25:2")
    assert engine.prompts(0)[0].endswith("Rationale:")
    assert row["searches"][1]["query"] == "Which? Peru."
    assert row["samples"][0]["texts"] == ["Llamas in Peru.", "So the answer is Porto."]
    assert "llamas" in engine.prompts(2)[0]
    assert len(row["calls"]) == 3


def test_who_is_sure_alone_searches_no_further(searching: Manner) -> None:
    asking = replace(searching, ask_below=0.6)
    engine = Engine(asking, "Porto", log_p=[0.9])
    row = ask(asking, engine, source="bm25:2")
    assert (row["passage_ids"], row["searches"], len(row["calls"])) == ([], [], 1)


def test_a_refused_row_keeps_its_name_and_says_why(manner: Manner) -> None:
    row = {"prediction_id": "none/q", "question_id": "q", "source": "none", STUDENT: 0, "passages": [PASSAGE]}
    failed = Asking([manner], SearchHere([None])).failed(row, "ValueError: too long")
    table = pa.Table.from_pylist([failed], schema=WRITTEN)
    assert table["error"].to_pylist() == ["ValueError: too long"]
    assert table["samples"].to_pylist() == table["calls"].to_pylist() == [[]]


TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=4)


@given(TEXTS)
def test_texts_share_as_much_as_they_can_and_keep_a_token_each(texts: list[list[int]]) -> None:
    shared = common_prefix(texts)
    assert len({tuple(text[:shared]) for text in texts}) == 1
    assert all(text[shared:] for text in texts)
    longer = shared + 1
    assert len({tuple(text[:longer]) for text in texts}) > 1 or any(len(text) == longer for text in texts)


@given(st.lists(st.tuples(st.lists(st.integers(0, 1), max_size=2), st.integers(0, 5)), max_size=8))
def test_each_prompt_is_counted_once_and_each_text_in_it(drawn: list[tuple[list[int], int]]) -> None:
    found = calls([prompt for prompt, _ in drawn], [Reply(tokens=[1] * n) for _, n in drawn])
    assert sum(call["prompt_tokens"] for call in found) == sum(len(p) for p in {tuple(p) for p, _ in drawn})
    assert sorted(n for call in found for n in call["generated_tokens"]) == sorted(n for _, n in drawn)
