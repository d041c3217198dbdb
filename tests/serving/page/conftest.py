"""A browser (Debian's chromium) that looks at the page, and the server that it asks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.serving.page.server import PageServer, ScriptedParts

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[PageServer, str]]:
    server = PageServer()
    with server.running() as address:
        yield server, address


@pytest.fixture
def server(running: tuple[PageServer, str]) -> PageServer:
    running[0].reset()
    return running[0]


@pytest.fixture
def parts(server: PageServer) -> ScriptedParts:
    return server.parts


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture
def visit(server: PageServer, running: tuple[PageServer, str], browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page; afterwards: no error in a script, no policy broken, no request to anywhere else."""
    address, contexts, requests, wrong = running[1], [], [], []

    def complain(message: Any) -> None:
        if "Content Security Policy" in message.text:
            wrong.append(message.text)

    def open_page(*, ready: bool = True, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("console", complain)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        if ready:
            page.wait_for_selector("#send:enabled")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
    assert {urlsplit(url).netloc for url in requests} == {urlsplit(address).netloc}
