"""Write questions about a set of countries: comparisons, choices, and questions of two hops.

Every family is built so that its answer cannot be guessed from the options: a question starts from facts
that are equally fit to be the answer (four countries with one value each, two directions of a comparison),
and only then the writer draws which of them is asked for.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kard_ray.benchmarks import factbook_wordings as wordings
from kard_ray.benchmarks.factbook_facts import (
    ATTRIBUTES,
    NUMERIC_FIELDS,
    Attribute,
    Country,
    gives_away,
    is_false,
)
from kard_ray.benchmarks.factbook_mentions import (
    MIN_RATIO,
    Mention,
    bridge,
    comparison,
    far_apart,
    figure,
    figure_passages,
    high_low,
    named,
    statements,
    told,
    upper_first,
)
from kard_ray.benchmarks.factbook_patterns import YES_NO, direction, is_bridged
from kard_ray.runtime.errors import UserError

_SUPERLATIVE = {"larger": "largest", "smaller": "smallest", "higher": "highest", "lower": "lowest"}
_TRIES_PER_TURN = 150  # then the next field or attribute has its turn
_TURNS = 12
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A question before it gets its id and split; ``rationale`` is the chain of facts that answers it."""

    kind: str
    pattern: str
    question: str
    options: tuple[str, ...]
    answer: int
    gold_passages: tuple[str, ...]
    subjects: tuple[str, ...]
    rationale: str


class Writer:
    """Writes questions about ``countries`` only; never the same question text twice."""

    def __init__(self, countries: Sequence[Country], rng: random.Random) -> None:
        self._countries = list(countries)
        self._rng = rng
        self._seen: set[str] = set()
        self._turn: Counter[str] = Counter()
        self._positions: dict[tuple[str, int], list[int]] = {}
        self._fields = rng.sample(NUMERIC_FIELDS, len(NUMERIC_FIELDS))
        self._attributes = rng.sample(ATTRIBUTES, len(ATTRIBUTES))
        compare, choice, yes_no = self._compare, self._choice, self._same_or_both
        self._families: dict[str, tuple[Callable[[str, int], Draft | None], ...]] = {
            "compare": (compare,),
            "compare_bridge": (compare,),
            "choice": (choice,),
            "choice_bridge": (choice,),
            "two_hop": (self._winner, yes_no, self._winner, self._largest_of_three) * 2
            + (yes_no, self._winner),
            "two_hop_bridge": (self._larger_of_two, self._inner, yes_no) * 3 + (self._inner,),
        }

    def write(self, kind: str) -> Draft:
        """One more question of ``kind``. Raises UserError when the countries yield no further one."""
        families = self._families[kind]
        family = families[self._next(kind) % len(families)]
        key = f"{kind} {family.__name__}"
        for _ in range(_TURNS):
            turn = self._next(key)
            for _ in range(_TRIES_PER_TURN):
                draft = family(kind, turn)
                if draft is not None and draft.question not in self._seen:
                    self._seen.add(draft.question)
                    return draft
        raise UserError(
            f"benchmark factbook: the {len(self._countries)} countries of one split yield no further question "
            f"of kind {kind}; expected fewer rows in train, dev or test: ask for fewer."
        )

    # -- families ---------------------------------------------------------------------------------------

    def _compare(self, kind: str, turn: int) -> Draft | None:
        field, yes = _alternate(self._fields, turn)
        pair = self._pick(2, lambda country: field.key in country.numbers)
        if pair is None or not far_apart(field, pair):
            return None
        word, high_first = self._rng.choice(((field.more, True), (field.less, False)))
        high, low = high_low(field, pair)
        first, second = (high, low) if yes == high_first else (low, high)
        mentions = self._mention([first, second], kind, field.key)
        if mentions is None:
            return None
        a, b = mentions
        question = self._rng.choice(wordings.COMPARE).format(
            noun=field.noun, cmp=word, a=a.phrase, b=b.phrase
        )
        steps = [
            *statements(mentions),
            *(figure(field, c) for c in (first, second)),
            comparison(field, first, second),
        ]
        pattern = f"figures/{direction(first is high)}"
        passages = figure_passages(field, (first, second))
        return self._draft(kind, question, YES_NO, 0 if yes else 1, mentions, passages, steps, pattern)

    def _choice(self, kind: str, turn: int) -> Draft | None:
        attribute = self._attributes[turn % len(self._attributes)]
        four = self._four_values(attribute, is_bridged(kind))
        if four is None:
            return None
        frame = self._rng.choice(wordings.CHOICE)
        texts = [frame.format(p=attribute.phrase.format(c=mention.phrase)) for mention, _ in four]
        # All four must still be free: were only the drawn one looked at, rare answers would become more likely.
        if not self._seen.isdisjoint(texts):
            return None
        mention, value = drawn = self._rng.choice(four)
        by = four.index(drawn) - (gold := self._position(kind, 4))
        four, texts = _turned(four, by), _turned(texts, by)
        options = tuple(option for _, option in four)
        fact = told(attribute, mention.country, value)
        steps = [
            *statements([mention]),
            fact,
        ]
        passages = (mention.country.answers[attribute.key].passage_of(value),)
        return self._draft(kind, texts[gold], options, gold, [mention], passages, steps, "fact/one")

    def _winner(self, kind: str, _: int) -> Draft | None:
        """Which attribute has the country with the larger figure: a comparison, then one more fact."""
        attribute = self._rng.choice(self._attributes)
        four = self._four_values(attribute, False)
        fields = [f for f in self._fields if four and far_apart(f, [mention.country for mention, _ in four])]
        if four is None or not fields:
            return None
        field = self._rng.choice(fields)
        word, wants_high = self._rng.choice(((field.more, True), (field.less, False)))
        rivals = self._rng.sample(four, 2)
        mentions = [mention for mention, _ in rivals]
        pair = [mention.country for mention in mentions]
        winner = high_low(field, pair)[0 if wants_high else 1]
        four = _turned(four, four.index(rivals[pair.index(winner)]) - (gold := self._position(kind, 4)))
        frame, who = self._rng.choice(wordings.ATTRIBUTE_OF_WINNER)
        names = {"noun": field.noun, "cmp": word, "a": mentions[0].phrase, "b": mentions[1].phrase}
        question = frame.format(p=attribute.phrase.format(c=who.format(**names)), **names)
        options = tuple(option for _, option in four)
        loser = pair[1] if winner is pair[0] else pair[0]
        steps = [
            *(figure(field, country) for country in pair),
            comparison(field, winner, loser),
            told(attribute, winner, options[gold]),
        ]
        passages = (*figure_passages(field, pair), winner.answers[attribute.key].passage_of(options[gold]))
        pattern = f"winner/{direction(wants_high)}"
        return self._draft(kind, question, options, gold, mentions, passages, steps, pattern)

    def _largest_of_three(self, kind: str, _: int) -> Draft | None:
        field = self._rng.choice(self._fields)
        three = self._pick(3, lambda country: field.key in country.numbers)
        if three is None or not far_apart(field, three):
            return None
        word, wants_high = self._rng.choice(((field.more, True), (field.less, False)))
        ranked = sorted(three, key=lambda country: country.numbers[field.key].value, reverse=wants_high)
        gold = self._position(kind, 3)
        three = _turned(three, three.index(ranked[0]) - gold)
        question = self._rng.choice(wordings.LARGEST_OF_THREE).format(
            noun=field.noun, sup=_SUPERLATIVE[word], a=three[0].phrase, b=three[1].phrase, c=three[2].phrase
        )
        plain = [country.numbers[field.key].plain for country in ranked]
        verb = "larger" if wants_high else "smaller"
        steps = [
            *(figure(field, country) for country in three),
            f"{plain[0]} is {verb} than {plain[1]} and {plain[2]}.",
        ]
        options = tuple(country.name for country in three)
        mentions = [named(country) for country in three]
        pattern = f"three/{direction(wants_high)}"
        return self._draft(
            kind, question, options, gold, mentions, figure_passages(field, three), steps, pattern
        )

    def _larger_of_two(self, kind: str, _: int) -> Draft | None:
        field = self._rng.choice(self._fields)
        pair = self._pick(2, lambda country: field.key in country.numbers)
        if pair is None or not far_apart(field, pair):
            return None
        mentions = self._mention(pair, kind, field.key)
        if mentions is None:
            return None
        gold = self._position(kind, 2)
        winner, loser = pair[gold], pair[1 - gold]
        word = field.more if winner is high_low(field, pair)[0] else field.less
        question = self._rng.choice(wordings.LARGER_OF_TWO).format(
            noun=field.noun, cmp=word, a=mentions[0].phrase, b=mentions[1].phrase
        )
        options = tuple(country.name for country in pair)
        steps = [
            *statements(mentions),
            *(figure(field, country) for country in pair),
            comparison(field, winner, loser),
        ]
        pattern = f"two/{direction(winner is high_low(field, pair)[0])}"
        return self._draft(
            kind, question, options, gold, mentions, figure_passages(field, pair), steps, pattern
        )

    def _inner(self, kind: str, _: int) -> Draft | None:
        """Two figures inside one passage: the land borders, export shares or import shares of one country."""
        table = self._rng.choice(("borders", "exports", "imports"))
        chosen = self._pick(1, lambda country: len(country.tables[table]) >= 2)
        mentions = self._mention(chosen, kind, table) if chosen else None
        if chosen is None or mentions is None:
            return None
        country = chosen[0]
        rows = [row for row in country.tables[table] if country.name not in row[0]]  # Samoa, American Samoa
        if len(rows) < 2:
            return None
        (name_a, a), (name_b, b) = self._rng.sample(rows, 2)
        if max(a.value, b.value) < MIN_RATIO * min(a.value, b.value) or name_a in name_b or name_b in name_a:
            return None
        is_first = (gold := self._position(kind, 2)) == 0
        wants_high = (a.value > b.value) == is_first
        if table == "borders":
            frame, word = self._rng.choice(wordings.LONGER_BORDER), "longer" if wants_high else "shorter"
            sentence = "The land border of {c} with {n} is {v}."
        else:
            frame, word = self._rng.choice(wordings.LARGER_SHARE), "larger" if wants_high else "smaller"
            sentence = "The main " + table.removesuffix("s") + " partners of {c} include {n} {v}."
        question = frame.format(
            c=mentions[0].phrase, a=name_a, b=name_b, cmp=word, trade=table.removesuffix("s")
        )
        winner, loser = (a, b) if is_first else (b, a)
        steps = [
            *statements(mentions),
            sentence.format(c=country.phrase, n=name_a, v=a.figure),
            sentence.format(c=country.phrase, n=name_b, v=b.figure),
            f"{winner.plain} is {'larger' if wants_high else 'smaller'} than {loser.plain}.",
        ]
        options = (name_a, name_b)
        pattern = f"{table}/{direction(wants_high)}"
        passages = (a.passage_id, b.passage_id)
        return self._draft(kind, question, options, gold, mentions, passages, steps, pattern)

    def _same_or_both(self, kind: str, turn: int) -> Draft | None:
        usable = [attribute for attribute in self._attributes if attribute.label or attribute.roles]
        attribute, yes = _alternate(usable, turn)
        return (self._same if attribute.label else self._both)(kind, attribute, yes)

    def _same(self, kind: str, attribute: Attribute, yes: bool) -> Draft | None:
        groups: dict[str, list[Country]] = {}
        for country in self._countries:
            if attribute.key in country.answers:
                groups.setdefault(country.answers[attribute.key].values[0], []).append(country)
        shared = sorted(value for value, group in groups.items() if len(group) > 1)
        if len(shared) < 2:
            return None
        value = self._rng.choice(shared)
        other = value if yes else self._rng.choice([option for option in shared if option != value])
        pair = [self._rng.choice(groups[value]), self._rng.choice(groups[other])]
        if pair[0] is pair[1] or (not yes and (value in other or other in value)):
            return None
        self._rng.shuffle(pair)
        mentions = self._mention(pair, kind, attribute.key)
        if mentions is None:
            return None
        question = self._rng.choice(wordings.SAME).format(
            label=attribute.label, a=mentions[0].phrase, b=mentions[1].phrase
        )
        values = [country.answers[attribute.key].values[0] for country in pair]
        steps = [
            *statements(mentions),
            *(told(attribute, country, value) for country, value in zip(pair, values, strict=True)),
            "These two are the same." if yes else "These two are different.",
        ]
        passages = tuple(c.answers[attribute.key].passage_of(v) for c, v in zip(pair, values, strict=True))
        return self._draft(
            kind, question, YES_NO, 0 if yes else 1, mentions, passages, steps, f"same/{YES_NO[not yes]}"
        )

    def _both(self, kind: str, attribute: Attribute, yes: bool) -> Draft | None:
        first = self._pick(1, lambda country: attribute.key in country.answers)
        if first is None:
            return None
        value = self._rng.choice(first[0].answers[attribute.key].values)
        others = [c for c in self._countries if c is not first[0] and attribute.key in c.answers]
        holding = [c for c in others if value in c.answers[attribute.key].values]
        lacking = [c for c in others if is_false(attribute, value, c.answers[attribute.key])]
        if not holding or not lacking:
            return None
        second = self._rng.choice(holding if yes else lacking)
        pair = [first[0], second]
        self._rng.shuffle(pair)
        mentions = self._mention(pair, kind, attribute.key)
        if mentions is None:
            return None
        question = self._rng.choice(wordings.BOTH).format(
            v=value, roles=attribute.roles, a=mentions[0].phrase, b=mentions[1].phrase
        )
        steps = statements(mentions)
        for country in pair:
            true = value in country.answers[attribute.key].values
            verb = "include" if true else "do not include"
            steps.append(f"The {attribute.roles} of {country.phrase} {verb} {value}.")
        steps.append("It holds for both." if yes else "It does not hold for both.")
        passages = tuple(country.answers[attribute.key].passage_of(value) for country in pair)
        return self._draft(
            kind, question, YES_NO, 0 if yes else 1, mentions, passages, steps, f"both/{YES_NO[not yes]}"
        )

    # -- parts ------------------------------------------------------------------------------------------

    def _next(self, key: str) -> int:
        self._turn[key] += 1
        return self._turn[key] - 1

    def _position(self, kind: str, count: int) -> int:
        """Where the gold option shall stand: every position equally often, in random order."""
        bag = self._positions.setdefault((kind, count), [])
        if not bag:
            bag += self._rng.sample(range(count), count)
        return bag.pop()

    def _pick(self, count: int, fit: Callable[[Country], bool]) -> list[Country] | None:
        """``count`` different countries that are ``fit``, in random order."""
        usable = [country for country in self._countries if fit(country)]
        return self._rng.sample(usable, count) if len(usable) >= count else None

    def _mention(self, countries: Sequence[Country], kind: str, about: str) -> list[Mention] | None:
        """Name the countries; for a bridge kind, one of them by a bridge that is not ``about`` itself."""
        mentions = [named(country) for country in countries]
        if is_bridged(kind):
            index = self._rng.randrange(len(mentions))
            bridged = bridge(countries[index], self._rng, avoid=about)
            if bridged is None:
                return None
            mentions[index] = bridged
        return mentions

    def _four_values(self, attribute: Attribute, bridged: bool) -> list[tuple[Mention, str]] | None:
        """Four countries with a value each that is false for the other three, and not given away by a name."""
        countries = self._pick(4, lambda country: attribute.key in country.answers)
        found: list[tuple[Mention, str]] = []
        for country in countries or ():
            mention = bridge(country, self._rng, attribute.key) if bridged else named(country)
            value = self._rng.choice(country.answers[attribute.key].values)
            if mention is None or gives_away(mention.phrase, value):
                return None
            found.append((mention, value))
        clean = all(
            value.casefold() not in other.casefold()
            and is_false(attribute, value, mention.country.answers[attribute.key])
            for index, (_, value) in enumerate(found)
            for place, (mention, other) in enumerate(found)
            if place != index
        )
        return found if clean and found else None

    def _draft(
        self,
        kind: str,
        question: str,
        options: tuple[str, ...],
        answer: int,
        mentions: Sequence[Mention],
        passages: Sequence[str],
        steps: Sequence[str],
        pattern: str,
    ) -> Draft:
        bridges = [mention for mention in mentions if mention.bridge]
        return Draft(
            kind=kind,
            pattern="/".join([kind, pattern, *(mention.bridge for mention in bridges)]),
            question=upper_first(question),
            options=options,
            answer=answer,
            gold_passages=tuple(dict.fromkeys([*(mention.passage_id for mention in bridges), *passages])),
            subjects=tuple(mention.country.name for mention in mentions),
            rationale=" ".join(steps),
        )


def _alternate(items: Sequence[_T], turn: int) -> tuple[_T, bool]:
    """The item whose turn it is, and whether the answer shall be yes: alternating by item and by round."""
    return items[turn % len(items)], (turn // len(items) + turn % len(items)) % 2 == 0


def _turned(items: Sequence[_T], by: int) -> list[_T]:
    """``items`` rotated to the left by ``by`` places."""
    return [*items[by % len(items) :], *items[: by % len(items)]]
