"""The openai client against the service, over a real connection."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import uvicorn

from tests.serving.conftest import MakeApp
from tests.serving.world import QUESTION, RIVERS

MESSAGES: Any = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": QUESTION["question"]},
]
KARD = {"kard": {"options": list(RIVERS)}}


@pytest.fixture
def client(make_app: MakeApp, loop: asyncio.AbstractEventLoop, tmp_path: Any) -> Iterator[openai.OpenAI]:
    from kard_ray.serving.tokens import add_token

    path = str(tmp_path / "tokens.json")
    token = add_token(path, "tester")
    app, _ = make_app(tokens=path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # or a client that is quicker than the server's start is turned away
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve(sockets=[listener])))
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        try:
            yield openai.OpenAI(base_url=base, api_key=token, max_retries=0)
        finally:
            server.should_exit = True
            thread.join()


def test_models_completions_and_streams(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["kard", "other", "default"]
    whole = client.chat.completions.create(model="kard", messages=MESSAGES, extra_body=KARD)
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole.choices[0].finish_reason == "length"  # this student never stops by itself
    told = (whole.model_extra or {})["kard"]
    assert told["passages"][0]["passage_id"] == "https://example.org/arlen"
    stream = client.chat.completions.create(
        model="kard", messages=MESSAGES, extra_body=KARD, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.strip() == (whole.choices[0].message.content or "").strip()
    assert chunks[-1].usage == whole.usage
    assert (chunks[-2].model_extra or {})["kard"]["answer"] == told["answer"]
    assert chunks[-2].choices[0].finish_reason == "length"


def test_samples_and_limits(client: openai.OpenAI) -> None:
    drawn = client.chat.completions.create(
        model="default", messages=MESSAGES, n=3, temperature=1.2, seed=4, max_tokens=5, extra_body=KARD
    )
    assert [choice.index for choice in drawn.choices] == [0, 1, 2]
    assert drawn.usage is not None
    assert drawn.usage.completion_tokens == 15
    assert drawn.model == "kard"
    streamed = client.chat.completions.create(
        model="kard", messages=MESSAGES, n=2, temperature=1.2, seed=4, stream=True
    )
    assert {chunk.choices[0].index for chunk in streamed} == {0, 1}


def test_what_cannot_be_done_is_refused(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.chat.completions.create(model="kard", messages=MESSAGES, tools=[tool])
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(
            model="kard", messages=MESSAGES, response_format={"type": "json_object"}
        )
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    with pytest.raises(openai.UnprocessableEntityError, match="no message of the user"):
        client.chat.completions.create(model="kard", messages=MESSAGES[:1])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="kr_wrong").models.list()
    assert json.dumps(MESSAGES)
