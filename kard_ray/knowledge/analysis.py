"""Text to terms, the same for every index of a knowledge base.

LanceDB's full-text index and this project's own BM25 index must cut, stem and drop words alike, or the same query would
find other passages after a change of engine. Lance's tokenizer is a copy of tantivy's; both get one explicit stop list.
Order of the steps, as in Lance: split at what is neither letter nor digit, drop long tokens, lower case, stem, drop
stop words, fold to ASCII.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.errors import UserError

if TYPE_CHECKING:
    from lancedb.index import FTS

# The languages that both tantivy and Lance can stem.
Language = Literal[
    "Arabic", "Danish", "Dutch", "English", "Finnish", "French", "German", "Greek", "Hungarian", "Italian",
    "Norwegian", "Portuguese", "Romanian", "Russian", "Spanish", "Swedish", "Tamil", "Turkish",
]  # fmt: skip

# Snowball's English list, with the "s" that is left of "Caesar's". nDCG@10 on SciFact's train queries and postings
# read per query: no list 0.6964 and 17,863; Lucene's 33 words 0.6941 and 4,492; Lance's own 147 0.6950 and 3,905;
# this one 0.6970 and 3,919. Lance's also drops "won", "will", "can", "t" and "d", which mean something in
# "who won", "T cells" and "vitamin D".
ENGLISH = tuple(
    """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
    it its itself they them their theirs themselves what which who whom this that these those am is are was were be
    been being have has had having do does did doing would should could ought a an the and but if or because as until
    while of at by for with about against between into through during before after above below to from up down in out
    on off over under again further then once here there when where why how all any both each few more most other some
    such no nor not only own same so than too very s
    """.split()  # noqa: SIM905 - a hundred words are easier to read as words
)


class AnalyzerConfig(Frozen):
    """How texts and queries are cut into terms."""

    language: Language = "English"  # of the stemmer and the stop list
    stem: bool = True
    stop_words: Literal["language", "none"] | tuple[str, ...] = (
        "language"  # the language's list, none, or your own
    )
    max_token_length: int = Field(40, ge=2, le=1000)  # UTF-8 bytes; a token this long or longer is dropped


def stop_list(config: AnalyzerConfig) -> list[str] | None:
    """The words dropped, in the form in which they are compared; None: the library's own list for the language.

    Stop words are dropped after stemming, so the list is stemmed too ("very" stands in a text as "veri").
    """
    if config.stop_words == "none":
        return []
    if config.stop_words == "language":
        if config.language != "English":
            return None
        words: tuple[str, ...] = ENGLISH
    else:
        words = config.stop_words
    plain = _build(config, stop_words=[], fold=False)
    return sorted({token for word in words for token in plain.analyze(word)})


def full_text_index(config: AnalyzerConfig) -> FTS:
    """LanceDB's full-text index with the same analysis."""
    from lancedb.index import FTS

    return FTS(
        with_position=False,
        base_tokenizer="simple",
        language=config.language,
        max_token_length=config.max_token_length,
        lower_case=True,
        stem=config.stem,
        remove_stop_words=config.stop_words != "none",
        custom_stop_words=stop_list(config),
        ascii_folding=True,
    )


class Analyzer:
    """Cuts texts into terms. May be pickled; shared between threads, they take turns (tantivy holds the GIL)."""

    def __init__(self, config: AnalyzerConfig) -> None:
        self.config = config
        self._analyzer: Any = None  # tantivy's object cannot be pickled, so it is made on first use

    def tokens(self, text: str) -> list[str]:
        """The terms of ``text`` in their order, repeated as often as they stand there."""
        if self._analyzer is None:
            self._analyzer = _build(self.config, stop_words=stop_list(self.config), fold=True)
        try:
            return self._analyzer.analyze(text)
        except UnicodeEncodeError:  # half of a surrogate pair, as broken JSON gives it: not a letter
            return self._analyzer.analyze(text.encode(errors="replace").decode())

    def __getstate__(self) -> AnalyzerConfig:
        return self.config

    def __setstate__(self, config: AnalyzerConfig) -> None:
        self.__init__(config)  # type: ignore[misc]


def analyzer(config: AnalyzerConfig) -> Analyzer:
    """The analyzer that ``config`` describes. Raises UserError for a stop list that tantivy does not have."""
    made = Analyzer(config)
    made.tokens("")
    return made


def _build(config: AnalyzerConfig, *, stop_words: list[str] | None, fold: bool) -> Any:
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    language = config.language.lower()
    builder = TextAnalyzerBuilder(Tokenizer.simple())
    builder = builder.filter(Filter.remove_long(config.max_token_length)).filter(Filter.lowercase())
    if config.stem:
        builder = builder.filter(Filter.stemmer(language))
    if stop_words is None:
        try:
            builder = builder.filter(Filter.stopword(language))
        except ValueError as error:
            raise UserError(
                f"the analyzer has no stop list for {config.language}: set stop_words to none, or to your own list."
            ) from error
    elif stop_words:
        builder = builder.filter(Filter.custom_stopword(stop_words))
    return (builder.filter(Filter.ascii_fold()) if fold else builder).build()


# Within these characters a Python regular expression finds the words that tantivy's tokenizer finds (all of them are
# compared in the tests); beyond them the two know letters differently, so such a text goes to tantivy as a whole.
_BEYOND = re.compile(r"[^\u0000-\u0344\u0370-\u05af\u1e00-\u206f\u20a0-\u20cf\u2100-\u218f\u2190-\u23ff]")
_WORDS = re.compile(r"[^\W_]+")
_MOST_WORDS = 500_000  # kept in a cache of words; about 70 MB


class TermIds(dict[str, int]):
    """Texts to term ids, each distinct word analysed once. Threads may share it.

    One core reads 5 million words per second this way, 1.8 million when tantivy sees every word.
    Subclasses say what id a term has; a word that gives no term, or an unknown one, has id -1.
    """

    def __init__(self, analyzer: Analyzer) -> None:
        super().__init__()
        self.analyzer = analyzer

    def id_of(self, term: str) -> int:
        """The id of ``term``, -1 if it has none."""
        raise NotImplementedError

    def ids(self, text: str) -> list[int]:
        """The ids of the terms of ``text`` in their order; -1 may stand among them."""
        if _BEYOND.search(text):
            return [self.id_of(term) for term in self.analyzer.tokens(text)]
        return list(map(self.__getitem__, _WORDS.findall(text)))

    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_WORDS:
            self.clear()
        found = self.analyzer.tokens(word)
        number = self[word] = self.id_of(found[0]) if found else -1
        return number
