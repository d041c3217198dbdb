from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import get_args

import lancedb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lancedb.query import MatchQuery
from pydantic import ValidationError

from kard_ray.knowledge.analysis import (
    _BEYOND,
    ENGLISH,
    AnalyzerConfig,
    Language,
    TermIds,
    analyzer,
    full_text_index,
    stop_list,
)
from kard_ray.runtime.errors import UserError

TEXT = "The Running of Caesar's naïve CAFÉS — 12.5 km, x² ﬁres; she hadn't won"


class Terms(TermIds):
    """Numbers terms as they come."""

    def __init__(self, config: AnalyzerConfig) -> None:
        super().__init__(analyzer(config))
        self.terms: list[str] = []

    def id_of(self, term: str) -> int:
        self.terms.append(term)
        return len(self.terms) - 1

    def tokens(self, text: str) -> list[str]:
        return [self.terms[number] for number in self.ids(text) if number >= 0]


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({}, "run caesar naiv cafe 12 5 km x2 fires hadn t won"),
        ({"stem": False}, "running caesar naive cafes 12 5 km x2 fires hadn t won"),
        ({"stop_words": "none"}, "the run of caesar s naiv cafe 12 5 km x2 fires she hadn t won"),
        ({"stop_words": ()}, "the run of caesar s naiv cafe 12 5 km x2 fires she hadn t won"),
        ({"stop_words": ("Running", "won")}, "the of caesar s naiv cafe 12 5 km x2 fires she hadn t"),
        ({"stem": False, "max_token_length": 4}, "12 5 km x2 t won"),  # the limit is in bytes, before folding
    ],
)
def test_texts_are_cut_stemmed_and_folded(config, tokens):
    config = AnalyzerConfig(**config)
    assert analyzer(config).tokens(TEXT) == tokens.split()
    assert Terms(config).tokens(TEXT) == analyzer(config).tokens(TEXT)


def test_every_stop_word_is_dropped_in_whatever_form_the_stemmer_gives_it():
    for stem in (True, False):
        assert analyzer(AnalyzerConfig(stem=stem)).tokens(" ".join(ENGLISH)) == []


def test_an_analyzer_may_be_pickled():
    made = analyzer(AnalyzerConfig(stop_words=("km",)))
    assert pickle.loads(pickle.dumps(made)).tokens(TEXT) == made.tokens(TEXT)


WITHOUT_STOP_LIST = {"Arabic", "Greek", "Romanian", "Tamil", "Turkish"}


@pytest.mark.parametrize("language", get_args(Language))
def test_every_language_works(language):
    for stop_words in ("none", ("y1",), *(() if language in WITHOUT_STOP_LIST else ("language",))):
        config = AnalyzerConfig(language=language, stop_words=stop_words)
        assert analyzer(config).tokens("x1 y1") == (["x1"] if stop_words == ("y1",) else ["x1", "y1"])


@pytest.mark.parametrize("language", sorted(WITHOUT_STOP_LIST))
def test_a_language_without_a_stop_list_says_so(language):
    with pytest.raises(UserError, match=f"no stop list for {language}: set stop_words"):
        analyzer(AnalyzerConfig(language=language))


@pytest.mark.parametrize("wrong", [{"language": "Klingon"}, {"max_token_length": 1}, {"stop_words": "some"}])
def test_a_wrong_setting_is_refused(wrong):
    with pytest.raises(ValidationError):
        AnalyzerConfig(**wrong)


def test_the_config_survives_json():
    config = AnalyzerConfig(stop_words=("a", "b"), stem=False)
    assert AnalyzerConfig.model_validate_json(config.model_dump_json()) == config


def test_word_by_word_and_as_a_whole_give_the_same_for_every_character():
    plain, known = analyzer(AnalyzerConfig(stop_words="none", stem=False)), Terms(AnalyzerConfig())
    known.analyzer = plain
    simple = [chr(c) for c in range(sys.maxunicode + 1) if not _BEYOND.search(chr(c))]
    assert len(simple) > 2500
    for character in simple:
        for text in (f"a{character}b", f" {character} "):
            assert known.tokens(text) == plain.tokens(text), hex(ord(character))


@given(st.text(max_size=60))
def test_word_by_word_and_as_a_whole_give_the_same_for_any_text(text):
    config = AnalyzerConfig(stop_words=("one",))
    assert Terms(config).tokens(text) == analyzer(config).tokens(text)


def test_half_a_surrogate_pair_is_no_letter():
    assert analyzer(AnalyzerConfig()).tokens("cat\ud800dog") == ["cat", "dog"]


WORDS = [
    "Café",
    "running",
    "hadn",
    "because",
    "naïve",
    "x" * 39,
    "x" * 40,
    "ﬁre",
    "won",
    "İstanbul",
    "日本",
    "doing",
]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"stem": False},
        {"stop_words": "none"},
        {"stop_words": ("won", "Running")},
        {"language": "German"},
        {"language": "Russian", "stop_words": "none"},
    ],
)
def test_lance_finds_a_word_if_and_only_if_it_gives_a_term(tmp_path: Path, config):
    config = AnalyzerConfig(**config)
    words = [*WORDS, "und", "Häuser", "книги", *(ENGLISH if config.language == "English" else ())]
    table = lancedb.connect(str(tmp_path)).create_table("words", pa.table({"content": words}))
    table.create_index("content", config=full_text_index(config))
    cut = analyzer(config)
    terms = {word: cut.tokens(word) for word in words}
    for word in words:
        hits = (
            table.search(MatchQuery(word, "content"), query_type="fts")  # type: ignore[call-arg]
            .limit(len(words))
            .to_list()
        )
        alike = [other for other in words if terms[word] and terms[other] == terms[word]]
        assert sorted(hit["content"] for hit in hits) == sorted(alike), word


def test_stop_lists_of_other_languages_are_the_libraries_own():
    assert stop_list(AnalyzerConfig(language="German")) is None
    assert full_text_index(AnalyzerConfig(language="German")).custom_stop_words is None
