"""What tests of the page do again and again. Without playwright importing this skips the tests."""

from __future__ import annotations

from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
expect.set_options(timeout=15_000)  # milliseconds; a busy machine may need some of them
QUESTION = "Is the area of Norway larger than that of Sweden?"


def ask(page: Any, question: str = QUESTION) -> None:
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_role("button", name="Ask", exact=True).click()


def marks(place: Any) -> list[str]:
    return place.locator("mark").all_inner_texts()
