from __future__ import annotations

import pickle
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer

from kard_ray.knowledge.chunking import Chunker, ChunkingConfig, Span, _sentences, cut, passage_id
from kard_ray.runtime.errors import UserError


def offsets(text):
    """Pieces of words of at most four letters, and single other characters, as a WordPiece tokenizer has."""
    return [m.span() for m in re.finditer(r"\w{1,4}|[^\w\s]", text)]


def chunks(text, **config):
    return [text[start:end] for start, end in cut(text, offsets(text), ChunkingConfig(**config))]


def sentences(text):
    return [text[unit.start : unit.end] for unit in _sentences(text)]


@pytest.mark.parametrize(
    "parts",
    [
        ["It rained.", "We left."],
        ["Dr. Smith met Mr. J. R. Jones.", "They spoke."],
        ["Use fruit, e.g. Apples or pears.", "Eat it."],
        ["It grew by 3.14 % in Jan. 2020.", "Then it fell."],
        ["He lives in the U.S.", "The house is red."],
        ["The U.S. Army came at 5 p.m. Tuesday.", "All were glad."],
        ["See Fig. 3 and vol. 2.", "No. 5 is best."],
        ["“Really?” he said.", "“Yes!”", "She left."],
        ["Is it so?!", "Perhaps...", "No."],
        ["Apple Inc. Cupertino sells phones.", "It made them at Apple Inc.", "This is known."],
        ["Lack of vitamin C.", "This is bad."],
        ["今天下雨。", "「真的？」", "我们走了！"],
        ["यह सच है।", "वह गया।"],
        ["A title", "A paragraph without a stop", "Another one."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(parts):
    cjk = any(ord(c) > 0x3000 for c in parts[0])
    joint = "\n\n" if parts[0] == "A title" else "" if cjk else " "
    assert sentences(joint.join(parts)) == parts


def test_markdown_blocks_bound_sentences():
    text = (
        "# What? A title. Yes\ntext that\nruns on\n- one item\n- another. Longer\n"
        "| a | b |\n| c | d |\n## Next\n1. One\n2. Two"
    )
    assert sentences(text) == [
        "# What? A title. Yes",
        "text that\nruns on",
        "- one item",
        "- another.",
        "Longer",
        "| a | b |",
        "| c | d |",
        "## Next",
        "1. One",
        "2. Two",
    ]


def test_a_heading_stays_with_what_follows():
    text = "One two three four five six seven eight nine.\n\n# Head\n## Sub\n\nA b c d e f g h i j. K l m n."
    found = chunks(text, tokens=16, overlap_tokens=0)
    assert found[0] == "One two three four five six seven eight nine."
    assert found[1].startswith("# Head\n## Sub\n\nA b c")


def test_the_next_passage_opens_with_the_last_sentences_that_fit():
    text = " ".join(f"Se{n} b c." for n in range(10))  # 4 tokens each
    assert chunks(text, tokens=16, overlap_tokens=7)[:2] == [
        "Se0 b c. Se1 b c. Se2 b c. Se3 b c.",
        "Se3 b c. Se4 b c. Se5 b c. Se6 b c.",
    ]
    assert chunks(text, tokens=16, overlap_tokens=3)[1].startswith("Se4 b c.")


def test_a_sentence_too_long_is_cut_between_words_and_a_word_too_long_between_tokens():
    words = " ".join("word" for _ in range(40))
    assert [len(c.split()) for c in chunks(words, tokens=16, overlap_tokens=0)] == [16, 16, 8]
    assert [len(c) for c in chunks("x" * 100, tokens=16, overlap_tokens=0)] == [64, 36]
    assert [len(c) for c in chunks("x" * 100, tokens=16, overlap_tokens=4)] == [64, 52]


def test_an_empty_document_has_no_passage_and_a_short_one_is_one_passage():
    assert chunks("", tokens=16, overlap_tokens=0) == []
    assert chunks(" \n\t ", tokens=16, overlap_tokens=0) == []
    assert cut(" A b.\n\nC d. ", offsets(" A b.\n\nC d. "), ChunkingConfig()) == [Span(1, 11)]


TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["# ", "\n", "\n\n", "- ", "| ", ". ", "! ", "。", "... ", "Dr. ", " ", "\r\n", "\x0c", "The "]
        ),
        st.text(max_size=12),
        st.text("abcXYZ é", max_size=90),
    ),
    max_size=60,
).map("".join)


@given(
    TEXTS,
    st.integers(16, 40),
    st.floats(0, 0.49),
    st.sampled_from([r"\w{1,4}|[^\w\s]", r"\s?\w{1,3}|\W", r"(?s).{1,5}"]),
)
def test_passages_hold_the_whole_document_and_are_never_too_long(text, tokens, share, pattern):
    config = ChunkingConfig(tokens=tokens, overlap_tokens=int(tokens * share))
    found_tokens = [m.span() for m in re.finditer(pattern, text)]
    spans = cut(text, found_tokens, config)
    assert spans == cut(text, found_tokens, config)
    seen = {at for start, end in spans for at in range(start, end)}
    assert all(at in seen for at, character in enumerate(text) if not character.isspace())
    for start, end in spans:
        assert text[start:end].strip() == text[start:end] != ""
        assert sum(a < end and b > start for a, b in found_tokens) <= tokens
    for one, two in pairwise(spans):
        assert one.start < two.start
        assert one.end < two.end
        shared = sum(a < one.end and b > two.start for a, b in found_tokens)
        assert shared <= config.overlap_tokens or one.end <= two.start
    if len(found_tokens) <= tokens and text.strip():
        assert len(spans) == 1


@given(TEXTS)
def test_tokens_that_share_or_lack_characters_do_no_harm(text):
    """Byte-level tokenizers give one character several tokens; normalisers leave characters out."""
    found_tokens = [(at, at + 1) for at in range(0, len(text), 2) for _ in range(3)]
    config = ChunkingConfig(tokens=16, overlap_tokens=5)
    spans = cut(text, found_tokens, config)
    seen = {at for start, end in spans for at in range(start, end)}
    assert all(at in seen for at, character in enumerate(text) if not character.isspace())
    for start, end in spans:
        assert sum(a < end and b > start for a, b in found_tokens) <= 16


@pytest.mark.parametrize(
    "unit",
    ["A short sentence. ", "word ", "x", ".", ". ", "\n", "# ", "# a\n", "- a\n", "。", " ", '"', "!a"],
)
def test_a_long_text_of_any_shape_is_cut(unit):
    # 400,000 characters: a pass that is quadratic for one of these shapes would run into the test's time limit.
    text = (unit * (400_000 // len(unit) + 1))[:400_000]
    found_tokens = [(at, at + 4) for at in range(0, len(text), 4)]
    spans = cut(text, found_tokens, ChunkingConfig())
    assert bool(spans) == bool(text.strip())
    assert all(span.end - span.start <= 4 * 200 for span in spans)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = ["[UNK]", "the", "rain", "fell", "un", "##known", ".", "é"]
    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_of_its_own_counts_all_of_a_text(tokenizer_folder):
    chunker = Chunker(tokenizer_folder, ChunkingConfig(tokens=16, overlap_tokens=4))
    text = "é the rain unknown. " * 9  # 6 tokens each
    spans = chunker.spans(text)
    assert [text[a:b].count(".") for a, b in spans] == [2, 2, 2, 2, 1]
    assert chunker.spans_of([text, "", "the rain"]) == [spans, [], [Span(0, 8)]]
    assert pickle.loads(pickle.dumps(chunker)).spans(text) == spans


def test_a_tokenizer_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json is not there"):
        Chunker(tmp_path, ChunkingConfig()).spans("a")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="not a fast tokenizer"):
        Chunker(tmp_path, ChunkingConfig()).spans("a")


def test_the_overlap_is_less_than_half():
    with pytest.raises(ValidationError, match=r"field overlap_tokens: got 20, expected less than half"):
        ChunkingConfig(tokens=40, overlap_tokens=20)


KEYS = st.tuples(st.text(alphabet='a0123,"[]\\\x00', max_size=6), st.integers(0, 200), st.integers(0, 200))


@given(KEYS, KEYS)
def test_passage_ids_are_equal_only_for_equal_spans(one, two):
    assert (passage_id(*one) == passage_id(*two)) == (one == two)
    assert re.fullmatch("[0-9a-f]{32}", passage_id(*one))


def test_passage_ids_never_change():
    assert passage_id("doc", 0, 10) == "9838bce4063b5cc58e0e24bc22a4d652"
