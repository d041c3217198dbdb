from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

import pytest
from pydantic import SecretStr

from kard_ray.runtime.errors import UserError
from kard_ray.teacher.backends.endpoint import EndpointClient
from tests.teacher.backends.asking import SAMPLING, ask, only, question, settings
from tests.teacher.backends.endpoint_server import MODEL

KEY = "sk-test/0123456789+abcdefghijk"


@pytest.fixture
def no_key_anywhere(serve, monkeypatch, tmp_path):
    """Runs a call against a server that quotes the key wherever it can, and searches all traces for the key."""

    def check(prompt: str, caplog: pytest.LogCaptureFixture, **changes: Any) -> Any:
        monkeypatch.setenv("TEACHER_KEY", KEY)
        config = settings(serve(key=changes.pop("key", KEY)), key_env="TEACHER_KEY", **changes)
        traces = [repr(config), config.model_dump_json(), str(config.content())]
        found: Any = None
        with caplog.at_level(logging.DEBUG):
            try:
                found = ask(
                    config, question(prompt), look=lambda client: traces.append(f"{client!r} {vars(client)}")
                )
            except UserError as error:
                found = error
                told = traceback.TracebackException.from_exception(error, capture_locals=True)
                traces.append("".join(told.format()))
                chain: BaseException | None = error
                while chain is not None:
                    traces.append(f"{chain!r} {vars(chain)} {chain.args}")
                    assert chain.__cause__ is None
                    chain = chain.__context__
        traces += [str(found), caplog.text, (tmp_path / "requests.jsonl").read_text()]
        for trace in traces:
            assert KEY not in trace
            assert KEY[8:20] not in trace
        return found

    return check


def test_the_key_of_the_environment_opens_the_endpoint(serve, monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", f"  {KEY}\n")
    server = serve(key=KEY)
    assert only(ask(settings(server, key_env="TEACHER_KEY"), question("Why?"))).error == ""


def test_a_key_that_was_read_elsewhere_spares_reading_it_here(serve, monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    config = settings(serve(key=KEY), key_env="TEACHER_KEY")

    async def run() -> str:
        client = EndpointClient(config, MODEL, SAMPLING, "chat", 0, 0, key=SecretStr(KEY))
        (reply,) = await client.ask(question("Why?"))
        await client.aclose()
        return reply.error

    assert asyncio.run(run()) == ""


def test_a_key_file_goes_before_the_environment(serve, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("TEACHER_KEY", "wrong")
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o644)
    config = settings(serve(key=KEY), key_env="TEACHER_KEY", key_file=str(path))
    assert only(ask(config, question("Why?"))).error == ""
    assert f"chmod 600 {path}" in caplog.text
    caplog.clear()
    path.chmod(0o600)
    ask(config, question("Why?"))
    assert "chmod" not in caplog.text


def test_no_log_repr_manifest_or_reply_holds_the_key(no_key_anywhere, caplog):
    assert only(no_key_anywhere("Why?", caplog)).error == ""


def test_a_server_that_quotes_the_key_in_an_error_does_not_spread_it(no_key_anywhere, caplog):
    reply = only(no_key_anywhere("Why? [500]", caplog))
    assert "Internal error while handling Bearer [key]" in reply.error


def test_a_refused_key_that_the_server_quotes_is_not_in_the_error_nor_its_chain(no_key_anywhere, caplog):
    error = no_key_anywhere("Why?", caplog, key="another key")
    assert isinstance(error, UserError)
    assert "Incorrect API key provided: Bearer [key]" in str(error)
    assert "key_env, TEACHER_KEY" in str(error)


def test_a_text_that_quotes_the_key_is_not_served(no_key_anywhere, caplog):
    assert "holds the API key" in only(no_key_anywhere("Why? [echo_key]", caplog)).error


@pytest.mark.parametrize(
    ("content", "clause"),
    [(None, "does not exist"), (b" \n", "is empty"), (b"two words", "one word"), (b"\xff\xfe", "one word")],
)
def test_a_key_file_that_is_none_is_named_without_its_content(serve, tmp_path, content, clause):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=clause) as found:
        ask(settings(serve(), key_file=str(path)), question("Why?"))
    assert str(path) in str(found.value)
    assert "two words" not in str(found.value)


def test_a_key_is_only_needed_where_the_endpoint_is_not_this_machine(monkeypatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)

    async def start(url: str) -> None:
        await EndpointClient(settings(url, key_env="TEACHER_KEY"), MODEL, SAMPLING, "chat", 0, 0).aclose()

    for url in ("http://127.0.0.1:9/v1", "http://localhost:9/v1", "http://[::1]:9/v1"):
        asyncio.run(start(url))
    with pytest.raises(
        UserError, match=r"TEACHER_KEY is not set, and https://api.example.org/v1 needs a key"
    ):
        asyncio.run(start("https://api.example.org/v1"))


def test_no_key_comes_from_the_packages_own_variables(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {KEY}")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match="without a key"):
        ask(settings(serve(key=KEY)), question("Why?"))
