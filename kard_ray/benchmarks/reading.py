"""Read which option a text concludes with.

Read is what a text says its answer is, in the order of SKIntern's released metric_utils.py: behind "the answer is",
else a sentence that calls an option right or concludes, else an answer that stands alone. The option's letter counts
before its text. What only discusses options, denies one, or names several holds no answer: it counts as wrong, it is
not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kard_ray.benchmarks.rendering import LETTERS, AnswerForm

_IS = r"(?:is|must be|should be|would be|will be|has to be)"
_ANSWER = re.compile(
    r"\b(?:answer(?: to (?:the|this|that|your) (?:question|problem|riddle|puzzle))?"
    r"|(?:correct|right|best|final) (?:option|choice|response|letter))"
    rf"(?:\s*[*_`]{{0,3}}\s*:|(?: here| then)?,? {_IS}:?)\s*",
    re.IGNORECASE,
)
_ADVERB = (
    r"(?:therefore|thus|then|hence|so|also|indeed|clearly|definitely|certainly|probably|obviously|actually"
    r"|most likely)"
)
# "is not Lisbon", "isn't (B)", "is definitely not (B)" name no answer.
_NOT = re.compile(
    rf"\W*(?:{_ADVERB}\W+)*(?:not|n['’]t|neither|never|unlikely|hardly|anything but|wrong|incorrect)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"n['’]t\b|\b(?:not|no|never|neither|nor|cannot|unlikely|incorrect|wrong|false|eliminated?|ruled? out"
    r"|unrelated|except)\b",
    re.IGNORECASE,
)
_LEADING = re.compile(
    rf"^\W*(?:{_ADVERB}\W+)*(?:(?:the )?(?:letter|option|choice|answer)\b)?[^\w(]*", re.IGNORECASE
)
# "(B)" anywhere, or "B", "B.", "B) ..." at the start; "A boat" and "I think" start with a word, not with a letter.
_LETTER = re.compile(
    r"\(([A-Z])\)|^\W*([A-Z])(?=\s*$|[^\w\s'’-]|\s+(?:[-–—:]\s|(?:because|since|rather|instead)\b))"
)
_SMALL_LETTER = re.compile(r"\(([a-z])\)|^([a-z])(?=[.):]*\s*$|[.):]\s)")
# "A or B", "(A), (B)": two are named; but not in "(B), A boat"
_SEVERAL = re.compile(
    r"\(?([A-Z])\)?\W*(?:,|/|&|\bto\b|\band\b|\bor\b|\band/or\b)\s*(?:option |choice )?\W*"
    r"([A-Z])(?=[\W]|$)(?!\s+(?!and\b|or\b)[a-z])"
)
_REASON = re.compile(
    r"[,;]?\s+(?:because|since|as|rather than|instead of|whereas|while|which|and not|not)\b|[.;]\s"
)
_CALLED_RIGHT = re.compile(
    rf"(?:\(([A-Z])\)|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer) ([A-Z]))(?: [^.;()\n]{{1,60}}?)?,? {_IS} (?:{_ADVERB} )?"
    r"(?:the |our )?(?:only |most )?(?:correct|right|best|accurate|appropriate|suitable)\b(?! (?:to|that|in that)\b)"
)
_LONE_LETTER = re.compile(r"\W*(?:(?:the )?(?:final )?(?:answer|option|choice))?\W*([A-Z])\W*", re.IGNORECASE)
_CONCLUDES = re.compile(
    r"\W*(?:therefore|thus|hence|so|consequently|in conclusion|in summary|overall)\b", re.IGNORECASE
)
_NEXT_QUESTION = re.compile(r"\n\W*(?:Question|Q)\b\s*\d*\s*:")
_BOXED = re.compile(r"\$?\\boxed\{(?:\\text\{)?((?:[^{}]|\{[^{}]*\})*?)\}+\$?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_SHORT = 12  # words of a text that may be an answer alone
_WORD_PAIRS = frozenset({"yes", "no", "true", "false", "valid", "invalid"})


def reply(text: str) -> str:
    """``text`` up to where it goes on with a question of its own, as base models do."""
    own = _NEXT_QUESTION.split(text, maxsplit=1)[0]
    return own if own.strip() else text


def concluded(text: str) -> tuple[str, bool]:
    r"""What follows the last "answer is", up to the end of its line, and True; without one the first line and False.

    ``\boxed{72}`` says as much as "the answer is 72". A text that is cut right behind "answer is" concludes with what
    it said the time before.
    """
    text = _unboxed(reply(text))
    found = list(_ANSWER.finditer(text))
    if not found:
        return text.strip().split("\n", 1)[0], False
    tail = text[found[-1].end() :].strip()
    if not tail and len(found) > 1:
        before = text[found[-2].end() : found[-1].start()].strip()
        tail = re.sub(r"(?<=[.!?])\s+[^.!?]*$", "", before)  # without the opening of the cut sentence
    return tail.split("\n", 1)[0], True


def answer_span(text: str) -> tuple[int, int] | None:
    """(begin, end) in ``text`` of the line that follows its last "answer is"; None when nothing follows one."""
    own = reply(text)
    for match in reversed(list(_ANSWER.finditer(own))):
        line = own[match.end() :].split("\n", 1)[0].rstrip()
        if line:
            return match.end(), match.end() + len(line)
    return None


def last_sentence(text: str) -> str:
    """The sentence or line that ends ``text``."""
    return _SENTENCE_END.split(reply(text).strip())[-1]


def denied(tail: str) -> bool:
    """Whether ``tail``, which follows "answer is", says what the answer is not."""
    return bool(_NOT.match(tail))


def parse_answer(text: str, options: Sequence[str], form: AnswerForm) -> int | None:
    """The option that ``text`` concludes with, or None when it names none or more than one."""
    tail, marked = concluded(text)
    if marked:
        return _stated(tail, options, form)
    own = reply(text).strip()
    if form == "letter" and (called := _only(_letters(_CALLED_RIGHT.findall(own), options))) is not None:
        return called
    lines = [line for line in own.split("\n") if line.strip()]
    if not lines:
        return None
    if form == "letter" and (alone := _LONE_LETTER.fullmatch(lines[-1])):
        return _only(_letters([alone[1].upper()], options))
    if (leading := _leading_word(tail, options)) is not None:
        return leading
    if (alone_text := _exact(tail, options)) is not None:
        return alone_text
    last = last_sentence(own)
    short = len(lines) == 1 and len(tail.split()) <= _SHORT
    if not short and not _CONCLUDES.match(last):
        return None
    sentence = tail if short else last
    named = _stated(sentence, options, form)
    return None if named is None or _negated(sentence, options[named]) else named


def _stated(tail: str, options: Sequence[str], form: AnswerForm) -> int | None:
    """The option that ``tail``, a statement of the answer, names."""
    not_so = denied(tail)
    if form == "letter" and not not_so and (letter := _letter(tail, options)) is not None:
        return letter
    exact = _exact(tail, options)
    if exact is not None or _repeated(tail, options):
        return exact
    if not not_so and (leading := _leading_word(tail, options)) is not None:
        return leading
    wanted = _normal(tail)
    named = _named(wanted, [_normal(option) for option in options])
    if not_so:  # only an option that itself begins so: "not guilty"
        named = {i for i in named if wanted.startswith(_normal(options[i]))}
    return _only(named)


def _letter(tail: str, options: Sequence[str]) -> int | None:
    """The option whose letter ``tail`` gives: the only one, or the only one before it tells why."""
    start = _LEADING.sub("", tail, count=1)
    for part in (tail, start, _REASON.split(start, maxsplit=1)[0]):
        found = _letters(_LETTER.findall(part), options)
        if several := _SEVERAL.match(part.lstrip(" *_`\"'[")):
            found |= _letters(several.groups(), options)
        if len(found) == 1:
            return found.pop()
    if found or _exact(tail, options) is not None:
        return None
    return _only(_letters((a.upper() or b.upper() for a, b in _SMALL_LETTER.findall(start)), options))


def _letters(found: Iterable[str | tuple[str, ...]], options: Sequence[str]) -> set[int]:
    """Indices of the letters that options have."""
    names = ("".join(letter) for letter in found)
    return {LETTERS.index(name) for name in names if name in LETTERS[: len(options)]}


def _only(found: set[int]) -> int | None:
    return next(iter(found)) if len(found) == 1 else None


def _leading_word(tail: str, options: Sequence[str]) -> int | None:
    """Of two opposite words the one that ``tail`` begins with, set off from the rest: "Yes, there is no doubt"."""
    plain = [_normal(option) for option in options]
    if len(plain) != 2 or not _WORD_PAIRS.issuperset(plain):
        return None
    start = re.match(r"\W*(\w+)(?=\W*$|[*_`\"']*(?:[,.;:!]|\s+[-–—]\s|\s+because\b))", tail.lower())
    return plain.index(start[1]) if start and start[1] in plain else None


def _exact(tail: str, options: Sequence[str]) -> int | None:
    """The option that ``tail`` is word for word; their case counts only where nothing else tells options apart."""
    exact = _same(tail, options)
    if len(exact) > 1:  # "WW or Ww" and "Ww or ww" are genotypes that only their case tells apart
        exact = [i for i in exact if _spaced(options[i]) == _spaced(tail)]
    return exact[0] if len(exact) == 1 else None


def _repeated(tail: str, options: Sequence[str]) -> bool:
    return len(_same(tail, options)) > 1


def _same(tail: str, options: Sequence[str]) -> list[int]:
    wanted = _normal(tail)
    return [i for i, option in enumerate(options) if _normal(option) == wanted]


def _named(text: str, options: Sequence[str]) -> set[int]:
    """Options that ``text`` names: "Equatorial Guinea" does not name "Guinea", nor "-5.5" the number "5"."""
    spans = []
    for i, option in enumerate(options):
        minus = r"(?<!\s-)(?<!^-)" if option[:1].isdigit() else ""
        word = rf"{minus}(?<!\w)(?<!\d[.,]){re.escape(option)}(?!\w)(?![.,]\d)"
        spans += [(i, *match.span()) for match in re.finditer(word, text)]
    return {i for i, a, b in spans if not any(c <= a and b <= d and d - c > b - a for _, c, d in spans)}


def _negated(sentence: str, option: str) -> bool:
    """Whether ``sentence`` denies something, other than in the option's own words."""
    return bool(_NEGATION.search(_normal(sentence).replace(_normal(option), " ")))


def _unboxed(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        line = text[: match.start()].rpartition("\n")[2]
        return match[1] if _ANSWER.search(line) else f"\nThe answer is {match[1]}\n"

    return _BOXED.sub(plain, text)


def _spaced(text: str) -> str:
    return " ".join(text.split()).strip(" .!\"'")


def _normal(text: str) -> str:
    return _spaced(text.lower())
