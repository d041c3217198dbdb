"""The whole service on a local Ray: real HTTP, real replicas, a random T5; replicas are killed by their ids."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kard_ray.serving.feedback import read_feedback
from kard_ray.serving.plan import ServicePlan
from kard_ray.serving.tokens import add_token
from tests.serving.test_hostile import POSTS, TIMES, check, json_values, near_bodies
from tests.serving.world import QUESTION, service_plan, without_arlen

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


class Running:
    """A deployed service."""

    def __init__(self, plan: ServicePlan, token: str) -> None:
        self.plan = plan
        self.base = f"http://127.0.0.1:{plan.config.port}"
        self.headers = {"authorization": f"Bearer {token}"}

    def deploy(self, plan: ServicePlan) -> None:
        from ray import serve

        from kard_ray.serving.application import NAME, build_application

        serve.run(build_application(plan), name=NAME, route_prefix="/")
        self.plan = plan

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.base, headers=self.headers, timeout=90, **more)


def _pids(deployment: str) -> dict[str, int]:
    """Process ids of the living replicas of a deployment, by their names."""
    import ray

    found = {}
    for row in ray._private.state.actors().values():
        name = row["Name"] or ""
        if name.startswith(f"SERVE_REPLICA::kard-ray#{deployment}#") and row["State"] == "ALIVE":
            found[name] = int(row["Pid"])
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, talking_t5: Path) -> Iterator[Running]:
    import ray
    from ray import serve

    from kard_ray.runtime.session import ClusterConfig, start_ray, stop_ray
    from kard_ray.serving.application import serve_environment

    folder = tmp_path_factory.mktemp("service")
    plan = service_plan(
        folder, talking_t5, port=free_port(), cache_entries=0, requests_per_minute=100_000, body_seconds=3.0
    )
    token = add_token(str(folder / "tokens.json"), "tester", at_once=1000)
    plan = replace(plan, tokens=str(folder / "tokens.json"))
    assert not ray.is_initialized(), "a cluster that is there has not the environment of this one"
    start_ray(ClusterConfig(num_cpus=4, object_store_mb=200), serve_environment(plan.config))
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": plan.config.port})
        service = Running(plan, token)
        service.deploy(plan)
        yield service
    finally:
        serve.shutdown()
        stop_ray()


def test_without_a_token_nothing_answers_but_healthz(running: Running) -> None:
    with httpx.Client(base_url=running.base) as client:
        assert client.get("/healthz").text == "ok\n"
        for path in ("/", "/static/app.js", "/readyz", "/metrics", "/openapi.json", "/v1/models", "/nothing"):
            response = client.get(path)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized"), path
        for path in ("/-/routes", "/-/healthz"):  # Serve's own, which ask for no token
            assert client.get(path).status_code == 404
        assert client.post("/v1/answer", json=QUESTION).status_code == 401
        assert (
            client.get("/", auth=("anyone", running.headers["authorization"].split()[1])).status_code == 200
        )


def test_ray_can_tell_how_each_part_is(running: Running) -> None:
    """What ``serve status`` and Ray's dashboard ask for: it fails for settings that are not a mapping."""
    from ray import serve

    told = serve.status().applications["kard-ray"]
    assert told.status == "RUNNING"
    replicas = {name: sum(part.replica_states.values()) for name, part in told.deployments.items()}
    assert replicas == {"ingress": 2, "retriever": 1, "feedback": 1, "student-kard": 1, "student-other": 1}


def test_answers_and_streams(running: Running) -> None:
    with running.client() as client:
        assert client.get("/readyz").text == "ready\n"
        response = client.post("/v1/answer", json=QUESTION, headers={"x-request-id": "mine"})
        assert response.status_code == 200, response.text
        assert response.headers.get_list("x-request-id") == ["mine"]
        whole = response.json()
        names = []
        text = ""
        with client.stream("POST", "/v1/answer", json=QUESTION | {"stream": True}) as stream:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    names.append(line.removeprefix("event: "))
                elif line.startswith("data: ") and names[-1] == "token":
                    text += json.loads(line.removeprefix("data: "))["text"]
        assert (names[0], names[-1]) == ("passages", "answer")
        assert names.count("token") > 1
        assert text.strip() == whole["rationale"].strip()


def test_a_large_body_and_foreign_headers_are_stopped_at_the_door(running: Running) -> None:
    with running.client() as client:
        json_type = {"content-type": "application/json"}
        assert client.post("/v1/answer", content=b" " * (2 << 20), headers=json_type).status_code == 413
        steered = {"x-request-timeout-seconds": "0.000001", "serve_multiplexed_model_id": "x" * 1000}
        assert client.post("/v1/answer", json=QUESTION, headers=steered).status_code == 200
        odd = client.get("/v1/models", headers=[(b"x-request-id", b"\xff\xfe")])
        assert odd.status_code == 200
        assert len(odd.headers["x-request-id"]) == 32


def test_generated_requests_cost_no_replica(running: Running) -> None:
    """As tests/serving/test_hostile.py asks one process, through sockets, the proxy and all replicas."""
    before = {name: _pids(name) for name in ("ingress", "retriever", "student-kard", "feedback")}
    statuses = set()
    with running.client() as client:

        @given(path=st.sampled_from(POSTS), body=json_values | near_bodies)
        @settings(max_examples=60 * TIMES)
        def ask(path: str, body: Any) -> None:
            text = json.dumps(body)  # NaN and lone surrogates, too
            response = client.post(path, content=text, headers={"content-type": "application/json"})
            check(response)
            statuses.add(response.status_code)

        ask()
        assert client.post("/v1/answer", json=QUESTION).status_code == 200
    assert 422 in statuses
    assert {name: _pids(name) for name in before} == before


def test_a_slow_and_a_huge_body_are_given_up(running: Running) -> None:
    host, port = "127.0.0.1", running.plan.config.port
    head = (
        f"POST /v1/answer HTTP/1.1\r\nhost: {host}\r\nauthorization: {running.headers['authorization']}\r\n"
    )
    with socket.create_connection((host, port), timeout=30) as slow:
        slow.sendall(f"{head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{".encode())
        began = time.monotonic()
        assert slow.recv(12) == b"HTTP/1.1 408"
        assert time.monotonic() - began < running.plan.config.body_seconds + 5
    with socket.create_connection((host, port), timeout=30) as huge:  # refused before ten megabytes are sent
        huge.sendall(f"{head}content-type: application/json\r\ncontent-length: {10 << 20}\r\n\r\n".encode())
        assert huge.recv(12) == b"HTTP/1.1 413"


def load(running: Running, seconds_after: float, act: Callable[[], None], **body: Any) -> list[int]:
    """Statuses of questions that are asked by four clients while ``act`` is done, and some seconds longer."""
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with running.client() as client:
            while not stop.is_set():
                statuses.append(client.post("/v1/answer", json=QUESTION | body).status_code)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        started = time.monotonic()
        while len(statuses) < 4 and time.monotonic() < started + 60:  # else nothing would be under way
            time.sleep(0.01)
        act()
        deadline = time.monotonic() + seconds_after
        count = len(statuses)
        while time.monotonic() < deadline or len(statuses) < count + 20:
            time.sleep(0.05)
    finally:
        stop.set()
        for client in clients:
            client.join()
    return statuses


@pytest.mark.parametrize("deployment", ["ingress", "student-kard", "retriever"])
def test_a_killed_replica_costs_no_answer(running: Running, deployment: str) -> None:
    before = _pids(deployment)

    def kill() -> None:
        os.kill(next(iter(before.values())), signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(set(_pids(deployment)) - set(before)) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    statuses = load(running, 0.0, kill)
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_students_change_without_a_failed_request(running: Running) -> None:
    old = running.plan
    engine = old.engines[0]
    student = replace(engine.students[0], version="train/kard/another")
    card = old.routing.students[0].model_copy(update={"version": student.version})
    routing = old.routing.model_copy(update={"students": (card, *old.routing.students[1:])})
    new = replace(old, engines=(replace(engine, students=(student,)), *old.engines[1:]), routing=routing)
    before = {name: _pids(name) for name in ("ingress", "student-kard", "retriever")}
    statuses = load(running, 0.0, lambda: running.deploy(new))
    assert set(statuses) == {200}
    assert {name: _pids(name) for name in before} == before  # nothing has started anew
    with running.client() as client:
        assert client.post("/v1/answer", json=QUESTION).json()["model_version"] == "train/kard/another"


def test_weights_and_knowledge_change_without_a_failed_request(
    running: Running, talking_t5: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = running.plan
    weights = tmp_path_factory.mktemp("models") / "next"
    shutil.copytree(talking_t5, weights)
    smaller = without_arlen(Path(old.knowledge.folder))
    engine = replace(old.engines[0], model_path=str(weights))
    routing = old.routing.model_copy(update={"knowledge_version": smaller})
    new = replace(
        old, engines=(engine, *old.engines[1:]), routing=routing,
        knowledge=replace(old.knowledge, versions=(smaller,)),
    )  # fmt: skip
    before = {name: _pids(name) for name in ("ingress", "student-kard", "retriever")}
    statuses = load(running, 0.0, lambda: running.deploy(new))
    assert set(statuses) == {200}
    after = {name: _pids(name) for name in before}
    assert not set(after.pop("student-kard")) & set(before.pop("student-kard"))  # new weights, a new replica
    assert after == before
    with running.client() as client:
        answer = client.post("/v1/answer", json=QUESTION).json()
        assert answer["knowledge_version"] == smaller
        assert not any("Arlen" in passage["title"] for passage in answer["passages"])


def test_verdicts_survive_a_killed_writer(running: Running) -> None:
    with running.client() as client:
        body = {"verdict": "right", "answer_id": "a", "question": "Q?", "answer": "yes"}
        for number in range(6):
            if number == 3:
                os.kill(next(iter(_pids("feedback").values())), signal.SIGKILL)
            response = client.post("/v1/feedback", json=body | {"feedback_id": f"f{number}"})
            assert response.status_code == 201
    kept = read_feedback(running.plan.feedback)["feedback_id"].to_pylist()
    assert kept == [f"f{number}" for number in range(6)]


def test_more_than_the_queue_holds_is_refused_at_once(running: Running) -> None:
    async def rush() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(
            base_url=running.base, headers=running.headers, timeout=90, limits=limits
        ) as client:
            body = QUESTION | {"n": 2, "temperature": 1.0}
            return await asyncio.gather(*(client.post("/v1/answer", json=body) for _ in range(200)))

    responses = asyncio.run(rush())
    refused = [response for response in responses if response.status_code == 503]
    assert {response.status_code for response in responses} == {200, 503}
    for response in refused:
        assert response.json()["error"]["code"] == "overloaded"
        assert int(response.headers["retry-after"]) >= 1
    with running.client() as client:
        assert client.post("/v1/answer", json=QUESTION).status_code == 200


def test_metrics_tell_of_all_replicas(running: Running) -> None:
    wanted = ("ray_kard_ray_requests_total", "ray_kard_ray_stage_seconds_bucket")
    deadline = time.monotonic() + 60
    with running.client() as client:
        while True:  # Ray's agent gathers them every ten seconds
            text = client.get("/metrics").text
            missing = [name for name in wanted if name not in text]
            if not missing:
                break
            assert time.monotonic() < deadline, f"{missing} of {len(text)} characters"
            time.sleep(0.5)
    assert not [
        line
        for line in text.splitlines()
        if line and not line.lstrip("# ").startswith(("ray_", "HELP", "TYPE"))
    ]
    assert QUESTION["question"] not in text


def test_what_has_begun_is_finished_before_the_service_ends(running: Running) -> None:
    from kard_ray.serving.application import finish

    begun: list[httpx.Response] = []

    def ask() -> None:
        with running.client() as client:
            items = [QUESTION | {"n": 2, "temperature": 1.0}] * 128
            begun.append(client.post("/v1/answers", json={"items": items}))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.5)
    assert begun == []
    assert finish(running.plan)
    asking.join(5)
    with running.client() as client:
        refused = client.post("/v1/answer", json=QUESTION)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert client.get("/readyz").status_code == 503
    assert begun[0].status_code == 200
    assert all(result["answer"] for result in begun[0].json()["results"])
