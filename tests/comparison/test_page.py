from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from kard_ray.comparison.examples import make_examples
from kard_ray.comparison.page import data_block, page
from kard_ray.comparison.results import make_results, published
from kard_ray.comparison.tables import markdown
from tests.comparison.fake import HARM, fake_answers, fake_questions, fake_texts

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
METHODS = ("finetune", "std_cot", "kard", "kard_intern", "zero_shot")


def everything(*, harm: bool, count: int = 24) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    questions = fake_questions(count, harm=harm)
    student = HARM if harm else "tiny"
    answers = fake_answers(questions, methods=METHODS, seeds=(1, 2), harm=harm, student=student)
    results = make_results(
        answers,
        questions,
        asking=("kard_intern",),
        claims=("kard",),
        groups={"places": ("border", "capital")},
    )
    results |= {
        "recipe": "fake", "benchmark": "factbook", "split": "test", "n": count, "chance": 0.25,
        "machine": {"CPUs": 2, "memory": HARM if harm else "16 GiB"}, "package_version": "0", "run_directory": "runs/x",
        "command": f"kard-ray compare {HARM if harm else 'x.yaml'}", "published": published("factbook"),
        "missing": [{"cell": "few_shot, tiny, seed 1", "reason": HARM if harm else "it failed."}],
    }  # fmt: skip
    silver = {name: [question.gold_passages[0]] for name, question in questions.items()}
    examples = make_examples(
        answers, questions, silver, lambda ids: fake_texts(ids, harm=harm), count=count // 2
    )
    return results, examples


@pytest.fixture(scope="module")
def harmful() -> str:
    return page(*everything(harm=True))


@pytest.fixture(scope="module")
def plain() -> str:
    return page(*everything(harm=False))


class Elements(HTMLParser):
    """The elements of a page as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.found)


def test_no_text_becomes_markup(harmful: str, plain: str) -> None:
    found, expected = Elements(harmful), Elements(plain)
    assert found.count("script") == expected.count("script") == 2  # the data, and the page's own
    assert found.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in found.found for name in attributes)


@pytest.mark.parametrize(
    "text", ["</script>", "<!--<script>", "<script>", "]]>", "\u2028\u2029", "&lt;", "\\u003c"]
)
def test_a_data_block_holds_any_text_and_gives_it_back(text: str) -> None:
    block = data_block("name", {"text": text, text: [text]})
    inside = block.removeprefix('<script type="application/json" id="name">').removesuffix("</script>")
    assert not set("<>&\u2028\u2029") & set(inside)
    assert json.loads(inside) == {"text": text, text: [text]}


def test_the_page_loads_nothing(plain: str) -> None:
    assert not re.search(r"""(src|href|action|data)\s*=\s*["']?(https?:)?//""", plain)
    assert "@import" not in plain
    assert "url(" not in plain
    (policy,) = [a["content"] for tag, a in Elements(plain).found if tag == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_the_page_has_every_plot_and_table(plain: str) -> None:
    titles = re.findall(r"<h[23]>(.*?)</h[23]>", plain)
    assert titles == [
        "Results", "Cost", "Plots", "Accuracy", "Accuracy against cost", "Where the FLOPs go", "Retrieval",
        "Retrieval or reading", "KARD-Intern (BM25): asking only when unsure", "Learning",
        "Accuracy by kind of question", "Differences", "places: 12 questions of border, capital",
        "Published numbers", "Examples",
    ]  # fmt: skip
    assert "Not everything is here" in plain
    for name in ("Fine-tuning", "KARD (silver)", "KARD-Intern (when unsure, BM25)", "Zero-shot"):
        assert name in plain


@pytest.mark.parametrize(("curve", "drawn"), [(None, False), ([[1, 9.0], [2, 8.0]], True)])
def test_a_student_that_is_asked_in_several_ways_has_one_learning_curve(
    curve: list[list[float]] | None, drawn: bool
) -> None:
    results, _ = everything(harm=False)
    for cell in list(results["cells"]):
        if cell["method"] == "kard":
            results["cells"].append(cell | {"student": "other", "curve": curve or cell["curve"]})
    figure = page(results, []).partition("<h3>Learning</h3>")[2].partition("</figure>")[0]
    assert "KARD" in figure
    assert ("KARD, other" in figure) == drawn


def test_a_comparison_without_passages_flops_or_kinds_is_a_page_too() -> None:
    results, _ = everything(harm=False)
    for row in results["rows"] + results["cells"]:
        row |= {
            "flops_per_question": None,
            "hits_at": None,
            "seconds_p50": None,
            "seconds_p95": None,
            "curve": [],
        }
        row |= {
            "flops_relative": None,
            "prefill_relative": None,
            "parameters": None,
            "flops_relative_to": None,
        }
        row["by_kind"] = {"all": row["by_kind"]["area"]}
    results |= {
        "pairs": [],
        "groups": [],
        "gating": [],
        "errors": [],
        "published": [],
        "missing": [],
        "chance": None,
    }
    text = page(results, [])
    assert re.findall(r"<h[23]>(.*?)</h[23]>", text) == ["Results", "Cost", "Plots", "Accuracy"]
    assert Elements(text).count("script") == 0
    assert "| Fine-tuning |" in markdown(results)


def test_the_markdown_has_the_papers_form() -> None:
    results, _ = everything(harm=False)
    text = markdown(results)
    (head,) = [line for line in text.splitlines() if line.startswith("| method | area")]
    assert "| area | border | capital | population | all | 95 % interval |" in head
    for block in text.split("\n\n"):
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1
    assert "| SKIntern | LLaMA2-7B | mean of its seven | 47.6 | 6.4 | SKIntern (S Table 1) |" in text
    group = text.partition("## places: 12 questions of border, capital\n")[2]
    assert group.startswith("\n| method | accuracy | 95 % interval |\n")
    assert group.partition("\n## ")[0].count("| a | b | a − b |") == 1
    assert "- Missing: few_shot, tiny, seed 1: it failed." in text


def test_the_size_of_the_page_is_bounded_by_its_questions() -> None:
    results, examples = everything(harm=False)
    for example in examples:
        for answer in example["answers"]:
            assert len(answer["text"]) <= 1500
        for passage in example["passages"].values():
            assert len(passage["text"]) <= 700
    assert len(page(results, examples)) < 600_000


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The page after its script ran, as the browser would write it."""
    if BROWSER is None:
        pytest.skip("there is no chromium or google-chrome on this machine")

    def dump(text: str) -> str:
        folder: Path = tmp_path_factory.mktemp("page")
        (folder / "report.html").write_text(text)
        done = subprocess.run(
            [
                str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
                "--virtual-time-budget=2000", "--dump-dom", (folder / "report.html").as_uri(),
            ],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return dump


@pytest.mark.timeout(180)
def test_the_browser_of_examples_works(plain: str, in_browser: Callable[[str], str]) -> None:
    shown = in_browser(plain)
    assert "12 of 12 questions" in shown
    assert shown.count('<details class="example"') == 12
    assert 'class="answer ok"' in shown
    assert shown.count("<option") > 8


@pytest.mark.timeout(180)
def test_harmful_texts_are_shown_and_do_nothing(harmful: str, in_browser: Callable[[str], str]) -> None:
    shown = in_browser(harmful)
    assert "<title>fake: students compared</title>" in shown
    assert "document.title='broken'" in shown  # as text, escaped
    assert Elements(shown).count("img") == 0
    assert Elements(shown).count("script") == 2
