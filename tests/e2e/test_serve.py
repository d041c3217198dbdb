"""``kard-ray serve`` on a finished run: a vLLM engine answers, is killed with its replica, and answers again."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.e2e.conftest import Finished
from tests.e2e.world import RIVERS, TOWNS, copy_run, kard_ray, running, wait_until, workers

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.engine, pytest.mark.timeout(600)]

QUESTION = {"question": f"On which river does {TOWNS[0]} lie?", "options": list(RIVERS)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def engines(replica: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(replica).children(recursive=True) if child.is_running()]


def test_a_run_is_served_through_the_loss_of_its_engine(retrained: Finished, tmp_path: Path) -> None:
    run = copy_run(retrained.folder, tmp_path / "run")
    refused = kard_ray("serve", run)
    assert (refused.code, refused.ray_started) == (2, False)
    assert "there are no tokens; make one with kard-ray tokens add" in refused.err
    token = kard_ray("tokens", "add", run, "tester").out.strip()
    port, log = free_port(), tmp_path / "serve.log"
    headers = {"authorization": f"Bearer {token}"}
    with (
        running("serve", run, "--port", str(port), "--set", "serving.cache_entries=0", log=log) as (
            process,
            ray_folder,
        ),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120) as client,
    ):
        wait_until(
            lambda: ready(client) or process.poll() is not None, seconds=240, what="the service is ready"
        )
        assert process.poll() is None, log.read_text()[-4000:]
        answer = client.post("/v1/answer", json=QUESTION).json()
        assert answer["model"] == "kard"
        assert answer["model_version"].startswith("train/kard/")
        assert answer["passages"][0]["title"] == TOWNS[0]
        chat = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=token)
        messages: Any = [{"role": "user", "content": QUESTION["question"]}]
        kard = {"kard": {"options": QUESTION["options"]}}
        stream = chat.chat.completions.create(model="kard", messages=messages, stream=True, extra_body=kard)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text.strip() == answer["rationale"].strip()
        (replica,) = workers(ray_folder, (b"ray::ServeReplica:kard-ray:student-kard",))
        before = engines(replica)
        assert before
        os.kill(replica, signal.SIGKILL)
        # Waits for the next engine
        again = client.post("/v1/answer", json=QUESTION | {"timeout_seconds": 100})
        assert again.status_code == 200, again.text
        assert again.json()["rationale"] == answer["rationale"]
        wait_until(
            lambda: not any(p.is_running() for p in before),
            seconds=20,
            what="the lost replica's engine is gone",
        )
        verdict = {"verdict": "right", "answer_id": answer["id"], "answer": RIVERS[0], **QUESTION}
        assert client.post("/v1/feedback", json=verdict).status_code == 201
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, log.read_text()[-4000:]
    out = tmp_path / "verdicts.jsonl"
    assert kard_ray("feedback", run, "--out", out).code == 0
    assert [json.loads(line)["answer"] for line in out.read_text().splitlines()] == [0]
