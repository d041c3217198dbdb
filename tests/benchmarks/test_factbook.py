from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from kard_ray.benchmarks import factbook_wordings as wordings
from kard_ray.benchmarks.factbook import Factbook, FactbookConfig
from kard_ray.benchmarks.factbook_data import library
from kard_ray.benchmarks.factbook_facts import ATTRIBUTES, NUMERIC_FIELDS, countries, gives_away, is_false
from kard_ray.benchmarks.factbook_mentions import figure
from kard_ray.benchmarks.factbook_patterns import KINDS, PATTERNS
from kard_ray.benchmarks.factbook_questions import Writer
from kard_ray.benchmarks.question import from_table, to_table
from kard_ray.benchmarks.reading import parse_answer
from kard_ray.benchmarks.rendering import conclusion
from kard_ray.runtime.errors import UserError

YES_NO = ("yes", "no")
BRIDGE = re.compile(r"the country whose (?:capital|highest point|internet country code) is (?!higher|lower)")


def split_of(questions, split):
    return [q for q in questions if q.split == split]


def numeric_field(question):
    """The field that a comparison is about: the longest noun outside its bridge."""
    text = BRIDGE.sub("", question.question)
    return max((field for field in NUMERIC_FIELDS if field.noun in text), key=lambda field: len(field.noun))


def gold_text(question):
    return " ".join(library().by_id[passage_id].text for passage_id in question.gold_passages)


def test_each_split_has_the_rows_asked_for_and_every_kind(factbook_questions):
    assert Counter(q.split for q in factbook_questions) == {"train": 4000, "dev": 500, "test": 2000}
    for split in ("train", "dev", "test"):
        assert {q.kind for q in split_of(factbook_questions, split)} == set(KINDS)


def test_the_same_seed_gives_the_same_questions_and_another_seed_others():
    def write(seed):
        return list(Factbook(FactbookConfig(seed=seed, train=60, dev=20, test=20)).questions())

    assert write(0) == write(0)
    assert write(0) != write(1)


def test_questions_survive_the_arrow_table(factbook_questions):
    assert from_table(to_table(factbook_questions[:50])) == factbook_questions[:50]


def test_no_country_is_a_subject_in_two_splits(factbook_questions):
    subjects = {
        split: {subject for q in split_of(factbook_questions, split) for subject in q.subjects}
        for split in ("train", "dev", "test")
    }
    assert all(subjects.values())
    assert not subjects["train"] & subjects["test"]
    assert not subjects["train"] & subjects["dev"]
    assert not subjects["dev"] & subjects["test"]


def test_no_question_and_no_id_occurs_twice(factbook_questions):
    assert len({q.question for q in factbook_questions}) == len(factbook_questions)
    assert len({q.question_id for q in factbook_questions}) == len(factbook_questions)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_half_of_the_questions_reach_a_country_by_a_bridge(factbook_questions, split):
    rows = split_of(factbook_questions, split)
    assert 0.48 <= sum(q.kind.endswith("_bridge") for q in rows) / len(rows) <= 0.52


def test_a_bridge_question_does_not_name_the_country_it_leads_to(factbook_questions):
    for q in factbook_questions:
        assert (BRIDGE.search(q.question) is not None) == q.kind.endswith("_bridge"), q.question
        if q.kind.endswith("_bridge"):
            rest = q.question
            for subject in sorted(q.subjects, key=len, reverse=True):  # "Papua New Guinea" before "Guinea"
                rest = re.sub(rf"(?<!\w){re.escape(subject)}(?![\w-])", "#", rest)
            assert rest.count("#") == len(q.subjects) - 1, q.question


def test_a_bridge_question_has_the_bridge_among_its_gold_passages(factbook_questions):
    for q in factbook_questions:
        match = re.search(r"(?:capital|highest point|internet country code) is ([^?,:]{2,28})", q.question)
        if q.kind.endswith("_bridge"):
            assert match is not None
            assert match[1].split(" ")[0].rstrip(".?") in gold_text(q), q.question


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_yes_and_no_are_balanced_within_each_kind(factbook_questions, split):
    for kind in KINDS:
        rows = [q for q in split_of(factbook_questions, split) if q.kind == kind and q.options == YES_NO]
        if rows:
            assert 0.47 <= sum(q.answer == 0 for q in rows) / len(rows) <= 0.53, kind


def test_yes_and_no_are_balanced_within_each_field(factbook_questions):
    answers = defaultdict(Counter)
    for q in split_of(factbook_questions, "train"):
        if q.kind == "compare":
            noun = numeric_field(q).noun
            answers[noun][q.answer] += 1
    assert len(answers) >= 10
    assert all(abs(count[0] - count[1]) <= 2 for count in answers.values())


def test_about_two_fifths_of_the_questions_are_yes_or_no(factbook_questions):
    share = sum(q.options == YES_NO for q in factbook_questions) / len(factbook_questions)
    assert 0.37 <= share <= 0.43


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_the_gold_option_stands_at_every_position_equally_often(factbook_questions, split):
    for size in (2, 3, 4):
        rows = [
            q for q in split_of(factbook_questions, split) if q.options != YES_NO and len(q.options) == size
        ]
        counts = Counter(q.answer for q in rows)
        assert max(counts.values()) - min(counts[i] for i in range(size)) <= 3


def test_options_differ_and_none_holds_another(factbook_questions):
    for q in factbook_questions:
        folded = [option.casefold() for option in q.options]
        assert len(set(folded)) == len(folded)
        if q.kind.startswith("choice"):
            assert not any(a != b and a in b for a in folded for b in folded), q.options


def test_a_conclusion_with_the_gold_option_is_read_back_as_the_gold_option(factbook_questions):
    for q in factbook_questions:
        assert parse_answer(conclusion(q.options, q.answer, "text"), q.options, "text") == q.answer


def test_gold_passages_exist_and_hold_the_chosen_option_word_for_word(factbook_questions):
    for q in factbook_questions:
        assert 1 <= len(q.gold_passages) <= 3
        assert len(set(q.gold_passages)) == len(q.gold_passages)
        text = gold_text(q)
        if q.kind.startswith("choice"):
            assert q.answer_text in text, q.question


def test_both_figures_of_a_comparison_stand_in_the_gold_passages_and_bear_out_the_answer(factbook_questions):
    by_name = {country.name: country for country in countries()}
    for q in factbook_questions:
        if not q.kind.startswith("compare"):
            continue
        field = numeric_field(q)
        first, second = (by_name[name].numbers[field.key] for name in q.subjects)
        text = gold_text(q)
        assert first.figure in text
        assert second.figure in text
        assert max(first.value, second.value) >= 1.25 * min(first.value, second.value)
        asks_more = re.search(rf"\b{field.more}\b", q.question) is not None
        assert (q.answer == 0) == ((first.value > second.value) == asks_more), q.question


def test_the_country_with_the_extreme_figure_is_the_answer_where_countries_are_options(factbook_questions):
    by_name = {country.name: country for country in countries()}
    rows = [
        q for q in factbook_questions if q.kind.startswith("two_hop") and set(q.options) == set(q.subjects)
    ]
    assert len(rows) > 300
    for q in rows:
        field = numeric_field(q)
        values = [by_name[name].numbers[field.key].value for name in q.options]
        asked = BRIDGE.sub("", q.question).replace(field.noun, "")
        wants_more = re.search(rf"\b(?:{field.more}|{field.more[:-2]}est)\b", asked)
        best = max if wants_more else min
        assert values[q.answer] == best(values), q.question
        assert all(by_name[name].numbers[field.key].figure in gold_text(q) for name in q.options)


def test_a_distractor_is_never_true_for_the_asked_country(factbook_questions):
    by_name = {country.name: country for country in countries()}
    checked = 0
    for q in factbook_questions:
        if not q.kind.startswith("choice"):
            continue
        country = by_name[q.subjects[0]]
        possible = [a for a in ATTRIBUTES if a.phrase.split("{c}")[0] in f"{q.question} "]
        attribute = max(possible, key=lambda a: len(a.phrase.split("{c}")[0]))
        answers = country.answers[attribute.key]
        assert q.answer_text in answers.values
        for option in q.options:
            if option != q.answer_text:
                checked += 1
                assert is_false(attribute, option, answers), (q.question, option)
    assert checked > 4000


def test_a_named_question_does_not_give_its_answer_away(factbook_questions):
    for q in factbook_questions:
        if q.kind == "choice":
            assert not gives_away(q.subjects[0], q.answer_text), q.question


def test_every_family_has_at_least_four_wordings_and_all_are_used(factbook_questions):
    families = {
        name: value for name, value in vars(wordings).items() if name.isupper() and isinstance(value, tuple)
    }
    assert len(families) == 9
    for name, frames in families.items():
        assert len(frames) >= 4
        for frame in frames:
            text = frame[0] if isinstance(frame, tuple) else frame
            pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(text))
            rows = [q for q in factbook_questions if re.fullmatch(pattern, q.question, re.IGNORECASE)]
            assert rows, (name, frame)


ALL_PATTERNS = [pattern for patterns in PATTERNS.values() for pattern in patterns]


def test_every_question_has_a_pattern_of_its_kind_and_every_pattern_is_asked(factbook_questions):
    for question in factbook_questions:
        assert question.pattern in PATTERNS[question.kind]
    assert {question.pattern for question in factbook_questions} == set(ALL_PATTERNS)


@pytest.mark.parametrize("pattern", ALL_PATTERNS)
def test_examples_are_short_chains_over_real_train_passages(factbook, factbook_questions, pattern):
    texts = {p.text for p in library().passages}
    train = {q.question for q in factbook_questions}
    held_out = {s for q in factbook_questions if q.split != "train" for s in q.subjects}
    examples = factbook.examples(pattern)
    assert len(examples) == 4
    for example in examples:
        assert set(example.passages) <= texts
        assert example.question not in train
        assert 5 <= len(example.rationale.split()) <= 45  # a choice is one copied fact
        assert "answer is" not in example.rationale
        assert not any(re.search(rf"of (?:the )?{re.escape(s)} is", example.rationale) for s in held_out)
        joined = " ".join(example.passages)
        for number in re.findall(r"\d[\d,.]*\d", example.rationale):
            assert number in joined
        ending = pattern.split("/")[2]
        if ending in ("larger", "smaller"):
            assert f"is {ending} than" in example.rationale
        if ending in YES_NO:
            assert example.options[example.answer] == ending


def test_an_unknown_pattern_gets_one_example_of_each_kind(factbook):
    assert len(factbook.examples("unknown")) == len(KINDS)


@pytest.mark.parametrize("kind", ["compare", "compare_bridge"])
def test_the_gold_passages_of_a_comparison_come_in_the_order_in_which_they_are_cited(kind):
    by_name = {country.name: country for country in countries()}
    writer = Writer(countries(), random.Random("order"))
    for draft in (writer.write(kind) for _ in range(100)):
        field = numeric_field(draft)
        pair = [by_name[name] for name in draft.subjects]
        cited = [draft.rationale.index(figure(field, country)) for country in pair]
        assert cited == sorted(cited)
        assert [country.numbers[field.key].passage_id for country in pair] == list(draft.gold_passages[-2:])


def test_every_comparison_in_an_example_is_true(factbook):
    stated = 0
    for pattern in ALL_PATTERNS:
        for example in factbook.examples(pattern):
            for a, word, b in re.findall(
                r"(\d[\d,.]*) is (larger|smaller) than (\d[\d,.]*\d|\d)", example.rationale
            ):
                first, second = (float(text.rstrip(".").replace(",", "")) for text in (a, b))
                assert (first > second) == (word == "larger")
                stated += 1
    assert stated >= 10


def chance(rows):
    return sum(1 / len(q.options) for q in rows) / len(rows)


def accuracy(rows, guess):
    return sum(guess(q) == q.answer for q in rows) / len(rows)


def test_the_most_frequent_training_answer_is_no_better_than_chance(factbook_questions):
    train, test = split_of(factbook_questions, "train"), split_of(factbook_questions, "test")
    answers = Counter(q.answer_text for q in train)
    by_kind = Counter((q.kind, q.answer_text) for q in train)
    place = Counter((q.kind, len(q.options), q.answer) for q in train)
    guesses = {
        "text": lambda q: max(range(len(q.options)), key=lambda i: (answers[q.options[i]], -i)),
        "text within kind": lambda q: max(
            range(len(q.options)), key=lambda i: (by_kind[q.kind, q.options[i]], -i)
        ),
        "position": lambda q: max(range(len(q.options)), key=lambda i: place[q.kind, len(q.options), i]),
    }
    for name, guess in guesses.items():
        assert accuracy(test, guess) == pytest.approx(chance(test), abs=0.03), name


def test_the_longest_option_is_no_better_than_chance(factbook_questions):
    test = split_of(factbook_questions, "test")
    longest = accuracy(test, lambda q: max(range(len(q.options)), key=lambda i: (len(q.options[i]), -i)))
    assert longest == pytest.approx(chance(test), abs=0.03)


def test_too_many_rows_are_refused_in_a_sentence():
    writer = Writer(countries()[:4], random.Random("few"))
    message = "4 countries of one split yield no further question of kind choice"
    with pytest.raises(UserError, match=message):
        list(map(writer.write, ["choice"] * 2000))


def test_the_fingerprint_is_stable():
    assert Factbook(FactbookConfig()).fingerprint() == Factbook(FactbookConfig(seed=3)).fingerprint()
