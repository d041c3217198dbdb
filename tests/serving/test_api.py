"""The interface from the outside, with all parts but Ray."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kard_ray.serving.deadline import Deadline
from kard_ray.serving.feedback import as_questions, read_feedback
from kard_ray.serving.parts import Ask, Written
from kard_ray.serving.plan import ServicePlan
from kard_ray.serving.schemas import Answer
from tests.serving.conftest import MakeApp, client_of
from tests.serving.world import QUESTION, RIVERS, LocalParts

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture
def post(run: Run, make_app: MakeApp) -> Callable[..., httpx.Response]:
    """Post one body to a fresh application."""

    def ask(path: str, body: Any, headers: dict[str, str] | None = None, **config: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with client_of(make_app(**config)[0]) as client:
                if isinstance(body, (bytes, str)):
                    given = {"content-type": "application/json"} | (headers or {})
                    return await client.post(path, content=body, headers=given)
                return await client.post(path, json=body, headers=headers)

        response: httpx.Response = run(once())
        return response

    return ask


@pytest.fixture
def get(run: Run, make_app: MakeApp) -> Callable[..., httpx.Response]:
    def ask(path: str, **config: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with client_of(make_app(**config)[0]) as client:
                return await client.get(path)

        response: httpx.Response = run(once())
        return response

    return ask


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_an_answer_has_its_passages_and_all_versions(post: Callable[..., httpx.Response]) -> None:
    response = post("/v1/answer", QUESTION)
    assert response.status_code == 200, response.text
    answer = Answer.model_validate_json(response.content)
    assert answer.passages[0].passage_id == answer.passages[0].link == "https://example.org/arlen"
    assert [answer.model, answer.model_version] == ["kard", "train/kard/0123456789abcdef"]
    assert answer.knowledge_version == "build-1"
    assert answer.option is None or RIVERS[answer.option] == answer.answer
    assert answer.tokens.prompt > 20
    assert 0 < answer.tokens.generated <= 12
    times = answer.milliseconds
    assert times.total >= times.retrieve + times.generate > 0
    assert answer.samples == []


def test_a_stream_tells_passages_first_and_adds_up_to_the_answer(post: Callable[..., httpx.Response]) -> None:
    told = events(post("/v1/answer", QUESTION | {"stream": True}).text)
    names = [name for name, _ in told]
    assert names[0] == "passages"
    assert names[-1] == "answer"
    assert set(names[1:-1]) == {"token"}
    assert len(names) > 4
    text = "".join(data["text"] for name, data in told if name == "token")
    assert text.strip() == told[-1][1]["rationale"].strip()
    assert told[0][1]["passages"] == told[-1][1]["passages"]
    assert told[0][1]["id"] == told[-1][1]["id"]


def test_the_same_question_comes_from_the_cache_and_streams_as_before(run: Run, make_app: MakeApp) -> None:
    async def ask() -> list[Any]:
        async with client_of(make_app()[0]) as client:
            first = (await client.post("/v1/answer", json=QUESTION)).json()
            second = (await client.post("/v1/answer", json=QUESTION)).json()
            streamed = events((await client.post("/v1/answer", json=QUESTION | {"stream": True})).text)
            other = (await client.post("/v1/answer", json=QUESTION | {"k": 1})).json()
            return [first, second, streamed, other]

    first, second, streamed, other = run(ask())
    assert (first["cached"], second["cached"], other["cached"]) == (False, True, False)
    assert first["id"] != second["id"]
    same = ("answer", "option", "rationale", "passages", "confidence", "tokens")
    assert all(first[name] == second[name] for name in same)
    assert [name for name, _ in streamed] == ["passages", "token", "answer"]
    assert len(other["passages"]) == 1


def test_samples_vote_and_are_not_kept_without_a_seed(run: Run, make_app: MakeApp) -> None:
    async def ask() -> list[Any]:
        async with client_of(make_app()[0]) as client:
            body = QUESTION | {"n": 3, "temperature": 1.5}
            drawn = [(await client.post("/v1/answer", json=body)).json() for _ in range(2)]
            seeded = [(await client.post("/v1/answer", json=body | {"seed": 5})).json() for _ in range(2)]
            return [*drawn, *seeded]

    first, second, third, fourth = run(ask())
    assert [len(a["samples"]) for a in (first, second, third)] == [3, 3, 3]
    assert first["samples"] != second["samples"]
    assert (second["cached"], fourth["cached"]) == (False, True)
    assert len({sample["text"] for sample in first["samples"]}) > 1


def test_a_batch_answers_each_item_or_says_why_not(post: Callable[..., httpx.Response]) -> None:
    items = [QUESTION, QUESTION | {"model": "nobody"}, QUESTION | {"model": "other"}, QUESTION | {"k": 3}]
    results = post("/v1/answers", {"items": items * 3}, batch_at_once=2).json()["results"]
    assert len(results) == 12
    for one in (results[:4], results[8:]):
        assert one[0]["answer"]["passages"]
        assert one[1]["error"]["code"] == "model_not_found"
        assert one[2]["answer"]["passages"] == []
        assert one[3]["error"]["param"] == "k"


def test_retrieval_alone(post: Callable[..., httpx.Response]) -> None:
    body = post("/v1/retrieve", {"query": "river of Brock", "k": 3}).json()
    assert body["passages"][0]["passage_id"] == "Brock/river"
    assert len(body["passages"]) == 3
    assert body["knowledge_version"] == "build-1"
    filtered = post("/v1/retrieve", {"query": "Brock", "filter": {"source": ["x' OR 1=1 --"]}}).json()
    assert filtered["passages"] == []


def test_a_verdict_is_kept_once_and_becomes_a_question(
    run: Run, make_app: MakeApp, plan: ServicePlan
) -> None:
    async def tell() -> list[httpx.Response]:
        async with client_of(make_app()[0]) as client:
            body = {
                "verdict": "wrong",
                "answer_id": "ans_1",
                "correction": "Esk",
                "feedback_id": "mine",
                **QUESTION,
            }
            given = [await client.post("/v1/feedback", json=body) for _ in range(2)]
            retried = {"x-request-id": "same"}
            body = {"verdict": "right", "answer_id": "ans_2", "answer": "4", "question": "How many?"}
            return [
                *given,
                *[await client.post("/v1/feedback", json=body, headers=retried) for _ in range(2)],
            ]

    responses = run(tell())
    assert [r.status_code for r in responses] == [201] * 4
    assert responses[2].json() == responses[3].json()
    kept = read_feedback(plan.feedback)  # other tests send verdicts too
    kept = kept.filter(pc.is_in(kept["answer_id"], pa.array(["ans_1", "ans_2"])))
    assert kept.num_rows == 2
    wrong, right = as_questions(kept)
    assert (wrong["answer"], wrong["options"]) == (1, list(RIVERS))
    assert (right["answer"], right["options"]) == ("4", [])


def test_the_lists_tell_what_can_be_asked(get: Callable[..., httpx.Response]) -> None:
    told = get("/v1/models").json()
    assert [model["id"] for model in told["data"]] == ["kard", "other", "default"]
    assert [model["kard"]["default"] for model in told["data"][:2]] == [True, False]
    assert told["kard"]["limits"]["passages"] == 2
    assert told["kard"]["modes"] == ["bm25"]


def test_every_response_carries_a_request_id_and_a_policy(get: Callable[..., httpx.Response]) -> None:
    for path in ("/healthz", "/readyz", "/v1/models", "/", "/nothing", "/static/../config.py"):
        response = get(path)
        assert len(response.headers["x-request-id"]) == 32
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in response.headers
    assert get("/nothing").status_code == get("/static/..%2fconfig.py").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/answer", b"{", 400, "invalid_json"),
        ("/v1/answer", b"[" * 100_000, 400, "invalid_json"),
        ("/v1/answer", b'{"question": "\xff"}', 400, "invalid_json"),
        ("/v1/answer", b'{"question": "\\ud800"}', 422, "invalid_field"),
        ("/v1/answer", b'{"question": "a", "temperature": NaN}', 422, "invalid_field"),
        ("/v1/answer", b'{"question": "a", "temperature": 1e999}', 422, "invalid_field"),
        ("/v1/answer", {"question": "a\x00b"}, 422, "invalid_field"),
        ("/v1/answer", {"question": "  \n"}, 422, "invalid_field"),
        ("/v1/answer", {"question": "x" * 4001}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "options": ["b", "b"]}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "options": ["b"] * 27}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "surprise": 1}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "k": 3}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "k": True}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "seed": "3"}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "temperature": True}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "stream": "yes"}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "filter": {"date_from": 0}}, 422, "invalid_field"),
        ("/v1/answers", {"items": [{"question": "a", "n": True}]}, 422, "invalid_field"),
        ("/v1/chat/completions", {"model": "kard", "messages": [], "n": True}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "mode": "vector"}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "knowledge_version": "build-9"}, 404, "version_not_found"),
        ("/v1/answer", {"question": "a", "model": "../../etc"}, 422, "invalid_field"),
        ("/v1/answer", {"question": "a", "model": "nobody"}, 404, "model_not_found"),
        ("/v1/answer", {"question": "x " * 1000}, 422, "invalid_field"),  # more tokens than the student takes
        ("/v1/answers", {"items": []}, 422, "invalid_field"),
        ("/v1/chat/completions", {"model": "kard", "messages": []}, 422, "invalid_field"),
        ("/v1/chat/completions", {"model": "kard", "messages": [{"role": "user", "content": "a\x85b"}]}, 422,
         "invalid_field"),
        ("/v1/chat/completions", {"model": "kard", "messages": [{"role": "user", "content": "a"}],
                                  "kard": {"options": ["b", "b"]}}, 422, "invalid_field"),
        ("/v1/nothing", {}, 404, "not_found"),
        ("/v1/models", {}, 405, "method_not_allowed"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_its_reason(
    post: Callable[..., httpx.Response], path: str, body: Any, status: int, code: str
) -> None:
    response = post(path, body)
    told = response.json()["error"]
    assert (response.status_code, told["code"]) == (status, code), response.text
    assert told["request_id"] == response.headers["x-request-id"]
    if code == "invalid_field":
        assert told["param"]


def test_bodies_are_limited_by_size_and_kind(post: Callable[..., httpx.Response]) -> None:
    assert post("/v1/answer", b" " * 5000, max_body_kib=4).status_code == 413
    chunked = post("/v1/answer", QUESTION, {"content-type": "text/plain"})
    assert (chunked.status_code, chunked.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_body_without_a_length_is_counted_as_it_comes(run: Run, make_app: MakeApp) -> None:
    async def ask() -> httpx.Response:
        async def chunks() -> Any:
            for _ in range(10):
                yield b" " * 1000

        async with client_of(make_app(max_body_kib=4)[0]) as client:
            return await client.post(
                "/v1/answer", content=chunks(), headers={"content-type": "application/json"}
            )

    assert run(ask()).status_code == 413


def test_a_deadline_that_passes_is_told(post: Callable[..., httpx.Response]) -> None:
    body = {**QUESTION, "n": 16, "temperature": 1.0, "timeout_seconds": 0.1}
    many = {"items": [{k: v for k, v in body.items() if k != "timeout_seconds"}] * 64, "timeout_seconds": 0.1}
    results = post("/v1/answers", many).json()["results"]
    assert "deadline" in {result["error"]["code"] for result in results if result["error"]}


def test_a_canary_gets_its_share_and_nobody_sees_a_shadow(
    run: Run, make_app: MakeApp, plan: ServicePlan, parts: LocalParts
) -> None:
    shares = {"traffic": {"kard": 1.0, "other": 1.0}, "shadow": "other", "shadow_share": 1.0}

    class Counting(LocalParts):
        asked: ClassVar[list[str]] = []

        async def answer(self, engine: str, ask: Ask, deadline: Deadline) -> Written:
            self.asked.append(engine)
            return await super().answer(engine, ask, deadline)

    async def ask() -> list[Any]:
        counting = Counting(parts.searches, parts.students, parts.table)
        app, service = make_app(routing=plan.routing.model_copy(update=shares), among=counting)
        async with client_of(app) as client:
            bodies = [QUESTION | {"question": f"On which river does {number} lie?"} for number in range(16)]
            answers = [(await client.post("/v1/answer", json=body)).json() for body in bodies]
        await asyncio.gather(*service._shadows.running)
        return answers

    models = [answer["model"] for answer in run(ask())]
    assert set(models) == {"kard", "other"}
    assert Counting.asked.count("student-kard") == models.count("kard")
    # Its own questions, and those of the other one beside it.
    assert Counting.asked.count("student-other") == 16


def test_the_least_temperature_is_drawn_with_too(post: Callable[..., httpx.Response]) -> None:
    response = post("/v1/answer", QUESTION | {"temperature": 5e-324, "n": 2})
    assert response.status_code == 200, response.text
    assert len(response.json()["samples"]) == 2


def test_a_student_that_is_taken_away_finishes_what_it_has_begun(
    run: Run, make_app: MakeApp, plan: ServicePlan, parts: LocalParts
) -> None:
    app, service = make_app()

    class Leaving(LocalParts):
        async def answer(self, engine: str, ask: Ask, deadline: Deadline) -> Written:
            service.routing = plan.routing.model_copy(update={"students": plan.routing.students[1:]})
            return await super().answer(engine, ask, deadline)

    async def ask() -> httpx.Response:
        service.parts = Leaving(parts.searches, parts.students, parts.table)
        async with client_of(app) as client:
            return await client.post("/v1/answer", json=QUESTION | {"model": "kard"})

    response = run(ask())
    assert response.status_code == 200, response.text
    assert response.json()["model"] == "kard"


def test_questions_at_work_are_counted_whoever_asks(
    run: Run, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gauge of one replica follows its gate, also when passages alone are asked for."""
    app, service = make_app(max_running=1, max_queued=1)
    told: list[tuple[str, float]] = []
    monkeypatch.setattr(service.metrics.running, "set", lambda value: told.append(("running", value)))
    monkeypatch.setattr(service.metrics.waiting, "set", lambda value: told.append(("waiting", value)))

    async def ask() -> None:
        async with client_of(app) as client:
            await asyncio.gather(*(client.post("/v1/retrieve", json={"query": "Arlen"}) for _ in range(2)))

    run(ask())
    assert ("running", 1) in told
    assert ("waiting", 1) in told
    assert dict(told) == {"running": 0, "waiting": 0}
