from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.comparison import charts

HARM = "<script>alert(1)</script>\"'&"
SHARE = st.floats(0, 1)


def parsed(svg: str) -> ElementTree.Element:
    """The drawing as XML: it must be well-formed, and all its numbers finite."""
    assert "nan" not in svg
    assert "inf" not in svg.replace("inside", "")
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in parsed(svg).iter("text")]


@given(st.lists(st.tuples(SHARE, SHARE, SHARE), min_size=1, max_size=5), st.none() | SHARE)
def test_bars_stay_inside_the_drawing(values: list[tuple[float, float, float]], mark: float | None) -> None:
    rows = []
    for at, three in enumerate(values):
        low, value, high = sorted(three)
        rows.append(charts.Bar(f"row {at}", value, low, high, at))
    svg = charts.bars(rows, title="t", mark=mark)
    for node in parsed(svg).iter("rect"):
        assert float(node.attrib["x"]) + float(node.attrib["width"]) <= charts.WIDTH
    assert [text for text in texts(svg) if text.startswith("row")] == [row.label for row in rows]


@given(st.lists(st.tuples(st.floats(1e-3, 1e18), SHARE), min_size=1, max_size=12))
def test_points_stay_inside_the_drawing(values: list[tuple[float, float]]) -> None:
    points = [charts.Point("p", x, y, max(0, y - 0.1), min(1, y + 0.1)) for x, y in values]
    svg = charts.scatter(points, title="t", x_name="x", y_name="y", x_text=charts.flops_text)
    circles = list(parsed(svg).iter("circle"))
    assert len(circles) == len(points)
    for node in circles:
        assert 0 <= float(node.attrib["cx"]) <= charts.WIDTH
        assert 0 <= float(node.attrib["cy"]) <= 360


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(-5, 5)), min_size=1, max_size=20))
def test_lines_of_any_points_can_be_drawn(points: list[tuple[int, float]]) -> None:
    line = charts.Line("a", sorted(points), 14, marks=True)
    svg = charts.lines([line], title="t", x_name="x", y_name="y", y_text=lambda value: f"{value:g}")
    assert len(list(parsed(svg).iter("circle"))) == len(points)


@pytest.mark.parametrize("shares", [True, False])
def test_divided_bars_are_as_long_as_their_shares_or_their_sums(shares: bool) -> None:
    rows = [charts.Divided("a", [1, 3]), charts.Divided("b", [2, 6]), charts.Divided("none", [0, 0])]
    svg = charts.divided(rows, ["x", "y"], title="t", shares=shares)
    widths = [float(node.attrib["width"]) for node in parsed(svg).iter("rect")]
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)
    assert widths[2] == pytest.approx(widths[0] * (1 if shares else 2), rel=0.01)
    assert widths[4:] == [0, 0]


def test_names_are_text_and_never_markup() -> None:
    drawings = [
        charts.bars([charts.Bar(HARM, 0.5, 0.4, 0.6)], title=HARM),
        charts.scatter(
            [charts.Point(HARM, 1, 0.5, 0.4, 0.6)], title=HARM, x_name=HARM, y_name=HARM, x_text=str
        ),
        charts.lines([charts.Line(HARM, [(1, 2)])], title=HARM, x_name=HARM, y_name=HARM, y_text=str),
        charts.divided([charts.Divided(HARM, [1])], [HARM], title=HARM),
        charts.legend([(HARM, 0)]),
    ]
    for drawing in drawings:
        assert "<script" not in drawing
        assert HARM in "".join(parsed(drawing).itertext())


# FLOPs and accuracies of a comparison on the World Factbook, five of whose points lie close together.
CLOSE = [
    ("Fine-tuning", 9.51, 40.8), ("Std-CoT", 35.4, 42.8), ("KAFT (BM25)", 77.9, 54.2), ("KARD (BM25)", 173, 55.2),
    ("KARD (BM25, two rounds)", 261, 57.5), ("KARD (reranker)", 177, 53.2), ("KARD (reranker, two rounds)", 268, 56.0),
    ("KARD (silver)", 180, 62.5), ("SKIntern", 36.2, 43.0),
]  # fmt: skip


@pytest.mark.parametrize(
    "points",
    [
        [charts.Point(f"method {at}", 1e9 * (1 + at / 50), 0.5 + at / 300, 0.4, 0.6, at) for at in range(6)],
        [charts.Point(name, x * 1e9, y / 100, y / 100 - 0.05, y / 100 + 0.05) for name, x, y in CLOSE],
    ],
    ids=["six", "nine"],
)
def test_labels_of_points_do_not_cover_each_other(points: list[charts.Point]) -> None:
    svg = charts.scatter(points, title="t", x_name="x", y_name="y", x_text=charts.flops_text)
    names = {point.label for point in points}
    boxes = []
    for node in parsed(svg).iter("text"):
        if (node.text or "") in names:
            width = 6.0 * len(node.text or "")
            x = float(node.attrib["x"]) - (width if "end" in node.attrib["class"] else 0)
            boxes.append((x, float(node.attrib["y"]), x + width))
    assert len(boxes) == len(points)
    for at, a in enumerate(boxes):
        for b in boxes[at + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or abs(a[1] - b[1]) >= 10


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    ticks = charts.nice_ticks(low, low + span)
    assert len(ticks) <= 7
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in ticks)


@given(st.floats(1e-3, 1e15), st.floats(1.5, 1e9))
def test_logarithmic_ticks_are_inside(low: float, factor: float) -> None:
    ticks = charts.log_ticks(low, low * factor)
    assert ticks
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)
    assert all(math.isfinite(tick) for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"), [(1.52e10, "15.2 G"), (1e12, "1 T"), (950, "950"), (0, "0"), (2.5e3, "2.5 k")]
)
def test_flops_have_a_prefix(value: float, text: str) -> None:
    assert charts.flops_text(value) == text
