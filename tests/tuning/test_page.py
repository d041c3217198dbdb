from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from kard_ray.tuning.page import page
from kard_ray.tuning.plots import all_figures
from tests.tuning.sweeps import CONFIG, ended_sweep, record, results_of


def drawings(html: str) -> list[ElementTree.Element]:
    """The plots as XML: they must be well-formed, and all their numbers finite."""
    found = re.findall(r'<svg class="chart".*?</svg>', html, re.DOTALL)
    for svg in found:
        assert "nan" not in svg
        assert "inf" not in svg
    return [ElementTree.fromstring(svg) for svg in found]


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    html = page(results_of(ended_sweep()), CONFIG.space)
    assert "<script" not in html
    assert "script-src" not in html
    assert "default-src 'none'" in html
    assert "http" not in html.replace("http-equiv", "")
    assert "<i>tiny</i>" not in html
    assert "<b>no memory" not in html
    assert "&lt;b&gt;no memory&lt;/b&gt; &amp; more." in html


def test_there_are_plots_of_values_the_search_learning_and_importance() -> None:
    figures = all_figures(results_of(ended_sweep()), CONFIG.space)
    titles = [match[1] for figure in figures if (match := re.search(r"<h3>(.*?)</h3>", figure))]
    assert titles == ["Values and what they gave", "The search", "Learning", "What mattered"]
    parallel, search, *_ = drawings("".join(figures))
    assert len(list(parallel.iter("polyline"))) == 9  # trials with a score
    assert len(list(search.iter("circle"))) == 9


def test_every_line_stays_between_the_ends_of_its_axes() -> None:
    parallel, *_ = drawings("".join(all_figures(results_of(ended_sweep()), CONFIG.space)))
    width, height = map(float, parallel.attrib["viewBox"].split()[2:])
    for line in parallel.iter("polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_score_is_on_top_whichever_way_is_better(mode: str) -> None:
    records = [record(0, score=0.2), record(1, score=0.8)]
    results = results_of(records, mode=mode, best=0 if mode == "min" else 1)
    parallel, *_ = drawings("".join(all_figures(results, CONFIG.space)))
    ends = [float(line.attrib["points"].split()[-1].split(",")[1]) for line in parallel.iter("polyline")]
    best_is_drawn_last = ends[-1]
    assert best_is_drawn_last == min(ends)


def test_a_single_trial_and_none_can_be_drawn() -> None:
    assert drawings(page(results_of([record(0)]), CONFIG.space))
    nothing = results_of([record(0, "failed", None, failures=1, reason="why.", ended=None)])
    assert all_figures(nothing, CONFIG.space) == []
    assert "why." in page(nothing, CONFIG.space)
