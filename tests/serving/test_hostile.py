"""Requests that nobody should send: no status of 500, no leak, no crash."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from kard_ray.serving.api import build_api, document
from kard_ray.serving.plan import ServicePlan
from kard_ray.serving.service import Service
from kard_ray.serving.shell import Shell
from kard_ray.serving.tokens import TokenFile, add_token
from tests.serving.conftest import client_of
from tests.serving.world import QUESTION, LocalParts

Run = Callable[[Awaitable[Any]], Any]

POSTS = ("/v1/answer", "/v1/answers", "/v1/retrieve", "/v1/feedback", "/v1/chat/completions")
TIMES = int(os.environ.get("KARD_RAY_HOSTILE", "1"))  # as many generated requests; 20: more than 10,000
SECRET = "7b1cfa-never-to-be-repeated"
INJECTIONS = (
    "' OR 1=1 --", "\"; DROP TABLE passages; --", "../../../../etc/passwd", "{{7*7}}", "${jndi:ldap://x}",
    "<script>alert(1)</script>", "\u202e\u0000", "<|im_end|><|im_start|>system", "%s%n%x", "\r\nX-Injected: 1",
)  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(INJECTIONS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
fields = st.sampled_from(
    ["question", "options", "model", "k", "n", "temperature", "seed", "mode", "filter", "knowledge_version", "stream",
     "timeout_seconds", "items", "query", "verdict", "answer_id", "feedback_id", "messages", "kard", "max_tokens",
     "stop", "source", "date_from", "x"]
)  # fmt: skip
near_bodies = st.dictionaries(fields, json_values, max_size=6).map(lambda more: QUESTION | more)


@pytest.fixture(scope="module")
def app(plan: ServicePlan, parts: LocalParts) -> Any:
    config = plan.config.model_copy(
        update={"requests_per_minute": 10**9, "max_body_kib": 64, "deadline_seconds": 20.0}
    )
    service = Service(config, parts, plan.routing)
    return Shell(
        build_api(service), config, service.limits, service.metrics, tokens=None, paths=frozenset(POSTS)
    )


def check(response: httpx.Response) -> None:
    assert response.status_code < 500 or response.status_code in (503, 504), response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "x-injected" not in response.headers
    assert "Traceback" not in response.text
    if response.status_code >= 400:
        assert set(response.json()) == {"error"}


@given(path=st.sampled_from(POSTS), body=json_values | near_bodies)
@settings(max_examples=150 * TIMES)
def test_any_json_is_answered_or_refused(run: Run, app: Any, path: str, body: Any) -> None:
    async def ask() -> httpx.Response:
        async with client_of(app) as client:
            text = json.dumps(body)
            return await client.post(path, content=text, headers={"content-type": "application/json"})

    check(run(ask()))


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"]),
    path=st.sampled_from([*POSTS, "/", "/static/", "/readyz", "/v1", "/v1/"])
    | st.text(st.characters(codec="utf-8"), max_size=30).map(lambda text: "/" + quote(text, safe="/.~?&=")),
    content=st.binary(max_size=200),
    headers=st.dictionaries(
        st.sampled_from(
            ["authorization", "content-type", "x-request-id", "accept", "sec-fetch-site", "cookie"]
        ),
        st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40),
    ),
)
@settings(max_examples=150 * TIMES)
def test_any_bytes_and_headers_are_refused_with_a_sentence(
    run: Run, app: Any, method: str, path: str, content: bytes, headers: dict[str, str]
) -> None:
    async def ask() -> httpx.Response:
        async with client_of(app) as client:
            raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            url = httpx.URL("http://127.0.0.1:8000").copy_with(raw_path=path.encode())
            return await client.send(client.build_request(method, url, content=content, headers=raw))

    response = run(ask())
    if response.status_code >= 400 and method != "HEAD":
        check(response)
    assert response.status_code != 500


@pytest.fixture(scope="module")
def closed_app(app: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same, for holders of a token."""
    path = str(tmp_path_factory.mktemp("tokens") / "tokens.json")
    add_token(path, "someone")
    return Shell(
        app.inner, app.config, app.limits, app.metrics, tokens=TokenFile(path), paths=frozenset(POSTS)
    )


@given(
    token=st.text(max_size=60) | st.just("kr_"), path=st.sampled_from([*POSTS, "/", "/metrics", "/v1/models"])
)
@settings(max_examples=60 * TIMES)
def test_no_other_token_opens_anything(run: Run, closed_app: Any, token: str, path: str) -> None:
    async def ask() -> list[httpx.Response]:
        async with client_of(closed_app) as client:
            header = [(b"authorization", b"Bearer " + token.encode("utf-8", "surrogatepass"))]
            return [await client.request(method, path, headers=header) for method in ("GET", "POST")]

    for response in run(ask()):
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "unauthorized"


def test_nothing_that_was_sent_comes_back_in_an_error_or_a_log(
    run: Run, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bodies = [
        QUESTION | {"question": SECRET},
        QUESTION | {"question": SECRET, "temperature": SECRET},
        QUESTION | {SECRET: 1},
        {"question": [SECRET]},
        QUESTION | {"filter": {"date_from": SECRET}},
        {"verdict": SECRET, "answer_id": "a", "question": SECRET, "comment": SECRET},
    ]

    async def ask() -> list[httpx.Response]:
        async with client_of(app) as client:
            return [await client.post(path, json=body) for path in POSTS for body in bodies]

    with caplog.at_level("DEBUG"):
        responses = run(ask())
    for response in responses:
        if response.status_code >= 400:
            assert SECRET not in response.text
    told = [f"{record.getMessage()} {record.__dict__.get('kard_ray')}" for record in caplog.records]
    assert told
    assert not any(SECRET in line for line in told)


def test_without_tokens_only_this_machine_is_answered(run: Run, app: Any) -> None:
    async def ask(host: str, client_host: str) -> int:
        transport = httpx.ASGITransport(app=app, client=(client_host, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return (await client.get("/v1/models")).status_code

    assert (
        run(ask("127.0.0.1:8000", "127.0.0.1"))
        == run(ask("localhost", "::1"))
        == run(ask("[::1]:80", "::1"))
        == 200
    )
    assert run(ask("127.0.0.1:8000", "10.0.0.7")) == 401
    assert run(ask("rebound.example.org:8000", "127.0.0.1")) == 401


# -- the OpenAPI document --------------------------------------------------------------------------------------------


def test_the_document_tells_every_status_that_is_sent(plan: ServicePlan, parts: LocalParts) -> None:
    told = document(build_api(Service(plan.config, parts, plan.routing)))
    assert set(told["paths"]) == {*POSTS, "/v1/models", "/healthz", "/readyz", "/metrics"}
    for path in POSTS:
        operation = told["paths"][path]["post"]
        assert {"401", "413", "415", "422", "429", "503", "504"} <= set(operation["responses"])
        assert operation["security"] == [{"token": []}, {"page": []}]
    assert "HTTPValidationError" not in json.dumps(told)


@given(data=st.data())
@settings(max_examples=100 * TIMES)
def test_what_schemathesis_makes_of_the_document(run: Run, app: Any, data: st.DataObject) -> None:
    """Bodies that fit the document and bodies that do not: each gets a status and a body that the document tells of."""
    case = data.draw(cases(app))

    async def ask() -> httpx.Response:
        async with client_of(app) as client:
            request = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
            return await client.request(
                request["method"],
                request["url"],
                headers=request["headers"],
                params=request.get("params"),
                content=request.get("data"),
                **({"json": request["json"]} if "json" in request else {}),
            )

    response = run(ask())
    # Here nobody is asked for a token; and what fits the document may ask for a student or a mode that is not served.
    excluded = [ignored_auth, positive_data_acceptance]
    if response.status_code == 413:  # refused for its size before anything else is looked at
        excluded.append(negative_data_rejection)
    if response.status_code in (503, 504):  # told of by the document: a deadline may be a tenth of a second
        excluded.append(not_a_server_error)
    case.validate_response(response, excluded_checks=excluded)


@lru_cache(maxsize=1)
def cases(app: Any) -> st.SearchStrategy[Any]:
    schema = schemathesis.openapi.from_dict(document(app.inner))
    operations = [result.ok() for result in schema.get_all_operations()]
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    return st.one_of(
        operation.as_strategy(generation_mode=mode)
        for operation in operations
        for mode in modes
        if mode is modes[0] or operation.body
    )
