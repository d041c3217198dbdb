from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kard_ray.runtime.engine import SamplingConfig
from kard_ray.runtime.errors import UserError
from kard_ray.teacher.backends.base import Reply
from kard_ray.teacher.backends.endpoint import EndpointClient
from kard_ray.teacher.backends.limits import Backoff, BudgetReachedError
from kard_ray.teacher.prompt import plain_prompt
from tests.teacher.backends.asking import QUICK, SAMPLING, ask, only, question, settings
from tests.teacher.backends.endpoint_server import MODEL, Behaviour, read_log, serving, text_for, tokens

SERVER_FILE = Path(__file__).with_name("endpoint_server.py")


# What is sent, and what comes back


def test_a_good_reply_has_its_text_its_reason_and_the_tokens_that_the_endpoint_reports(serve):
    reply = only(ask(settings(serve()), question("Why is the sky blue?", 3)))
    assert reply.text == text_for("Why is the sky blue?", 43, 0)
    assert (reply.question_id, reply.sample, reply.finish_reason, reply.error) == ("q", 3, "stop", "")
    assert (reply.prompt_tokens, reply.generated_tokens) == (5, tokens(reply.text))


def test_the_seed_of_a_sample_decides_its_text_whatever_is_asked_with_it(serve):
    config = settings(serve())
    (four,) = ask(config, question("Why?", 0, 1, 2, 3))
    (two,) = ask(config, question("Why?", 3, 1))
    assert [reply.sample for reply in four] == [0, 1, 2, 3]
    assert two == [four[1], four[3]]
    assert len({reply.text for reply in four}) == 4


def test_a_plain_prompt_goes_to_completions_as_one_text(serve):
    server = serve()
    request = question("Question: Why?\nAnswer: Because")
    reply = only(ask(settings(server), request, template="plain"))
    assert reply.text == text_for(plain_prompt(list(request.messages)), 40, 0)
    assert [line.path for line in server.received()] == ["/v1/completions"]


def test_only_what_is_set_is_sent(serve):
    server = serve()
    always = {"model", "messages", "temperature", "top_p", "max_tokens"}
    full = SamplingConfig(temperature=0.7, top_k=5, stop=("\n\n",))
    ask(settings(server, seed_requests=False), question("Why?"))
    ask(settings(server), question("Why?"), sampling=full)
    ask(settings(server, samples_per_request=2), question("Why?", 0, 1))
    sent = [set(line.fields) - always for line in server.received()]
    assert sent == [set(), {"seed", "stop", "top_k"}, {"n"}]


def test_stop_strings_and_the_token_limit_are_the_servers_work_and_length_is_a_good_reason(serve):
    config = settings(serve())
    cut = only(ask(config, question("Why?"), sampling=SamplingConfig(max_tokens=2)))
    assert (len(cut.text.split()), cut.finish_reason, cut.error) == (2, "length", "")
    assert "." not in only(ask(config, question("Why?"), sampling=SamplingConfig(stop=(".",)))).text


def test_samples_asked_for_together_share_one_prompt_and_one_call(serve):
    server = serve()
    (replies,) = ask(settings(server, samples_per_request=3), question("Why is it so?", *range(7)))
    assert sorted(line.n for line in server.received()) == [1, 3, 3]
    assert [reply.prompt_tokens for reply in replies] == [4, 0, 0, 4, 0, 0, 4]
    assert [reply.sample for reply in replies] == list(range(7))
    assert all(reply.text and reply.generated_tokens > 0 for reply in replies)


def test_a_server_that_ignores_n_is_asked_for_the_rest_even_with_few_retries(serve):
    server = serve()
    (replies,) = ask(
        settings(server, samples_per_request=5, retries=0), question("Why? [ignores_n]", *range(5))
    )
    assert [line.n for line in server.received()] == [5, 4, 3, 2, 1]
    assert all(reply.text and not reply.error for reply in replies)


def test_choices_that_were_not_asked_for_are_left_and_a_broken_one_is_asked_for_again(serve):
    config = settings(serve(), samples_per_request=3)
    (more,) = ask(config, question("Why? [more]", 0, 1, 2))
    (mended,) = ask(config, question("Why? [one_null x1]", 0, 1, 2))
    for replies in (more, mended):
        assert [reply.sample for reply in replies] == [0, 1, 2]
        assert all(reply.text and not reply.error for reply in replies)


# Waiting and trying again


def test_a_request_that_hangs_is_given_up_and_the_next_one_answered(serve):
    started = time.monotonic()
    reply = only(ask(settings(serve(), timeout_seconds=0.3), question("Why? [hang x1]")))
    assert reply.error == ""
    assert 0.3 < time.monotonic() - started < 30


def test_an_address_where_nothing_answers_is_named_and_ends_all(serve):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=r"Nothing answers at teacher.backend.url http://127") as found:
            ask(settings(url), question("Why?"))
    assert "could not be made" in str(found.value)


def test_waits_between_attempts_grow(serve):
    server = serve()
    backoff = Backoff(base=0.1, most=10.0)
    ask(
        settings(server, retries=5),
        *(question(f"Why {at}? [500 x3]", name=str(at)) for at in range(12)),
        backoff=backoff,
    )
    by_prompt: dict[str, list[float]] = {}
    for line in server.received():
        by_prompt.setdefault(line.prompt, []).append(line.at)
    waits = [[b - a for a, b in pairwise(at)] for at in by_prompt.values()]
    mean = [sum(column) / len(column) for column in zip(*waits, strict=True)]
    assert mean[0] < mean[2]
    assert all(wait < 0.1 * 2**at + 5 for column in waits for at, wait in enumerate(column))


# One for all: quiet, rates, concurrency, fatal mistakes


def test_a_wish_for_quiet_holds_for_every_request_of_the_client(serve):
    server = serve(retry_after="0.4", latency=(0.02, 0.03))
    requests = [question("First? [429 x1]", name="0"), *(question(f"Why {at}?") for at in range(8))]
    found = ask(settings(server, concurrency=1), *requests)
    assert all(reply.error == "" for (reply,) in found)
    refused, *others = server.received()
    assert refused.status == 429
    assert all(line.at - refused.at >= 0.4 for line in others)


def test_a_wait_that_is_too_long_is_cut(serve):
    started = time.monotonic()
    server = serve(retry_after="Fri, 31 Dec 2199 23:59:59 GMT")
    assert only(ask(settings(server), question("Why? [503 x1]"))).error == ""
    assert QUICK.longest_wait <= time.monotonic() - started < 30


def test_no_more_requests_are_in_flight_than_the_cap(serve):
    server = serve(latency=(0.01, 0.03))
    ask(settings(server, concurrency=3), *(question(f"Why {at}?", 0, 1) for at in range(12)))
    assert 1 < max(line.in_flight for line in server.received()) <= 3


@pytest.mark.parametrize("together", [1, 2])
def test_a_kill_could_cost_no_more_requests_than_the_cap(serve, together):
    config = settings(serve(), concurrency=3, samples_per_request=together)
    requests = [question(f"Why {at}?", 0, 1, 2, 3, name=str(at)) for at in range(12)]
    kept: list[tuple[str, int]] = []
    unkept: list[int] = []  # requests whose replies are not kept, each time before some are

    async def run() -> list[list[Reply]]:
        client = EndpointClient(config, MODEL, SAMPLING, "chat", 40, 0)

        def keep(replies: Sequence[Reply]) -> None:
            unkept.append(client.counts.requests - len(kept) // together)
            kept.extend((reply.question_id, reply.sample) for reply in replies)

        try:
            return await asyncio.gather(*(client.ask(request, keep) for request in requests))
        finally:
            await client.aclose()

    found = asyncio.run(run())
    assert max(unkept) == 3
    assert sorted(kept) == sorted((reply.question_id, reply.sample) for part in found for reply in part)
    assert len(set(kept)) == 48


def test_requests_and_tokens_keep_their_rates(serve):
    server = serve()
    sampling = SamplingConfig(max_tokens=10)
    requests = [question(f"Why {at}?") for at in range(20)]

    def seconds(**limits: int) -> float:
        started = time.monotonic()
        ask(settings(server, **limits), *requests, sampling=sampling)
        return time.monotonic() - started

    assert seconds(requests_per_minute=900) > 0.3  # 15 at once, the other 5 at 15 in a second
    # 17 tokens are set aside for each of 20 requests, 120 may pass at once and in each second; unused ones return.
    assert 0.3 < seconds(tokens_per_minute=7200) < 20


@pytest.mark.parametrize(
    ("behaviour", "prompt", "changes", "model", "clauses"),
    [
        (
            {"key": "sk-needed"},
            "Why?",
            {},
            MODEL,
            ["HTTP 401", "without a key", "teacher.backend.key_file or key_env"],
        ),
        ({}, "Why? [403]", {}, MODEL, ["HTTP 403", "teacher.backend.key_file", MODEL]),
        ({}, "Why? [402]", {}, MODEL, ["HTTP 402", "no credit"]),
        ({}, "Why? [quota]", {}, MODEL, ["HTTP 429", "no credit"]),
        ({}, "Why?", {}, "teacher-9", ["HTTP 404", "teacher.model 'teacher-9'"]),
        (
            {},
            "Why?",
            {"path": "/v2"},
            MODEL,
            ["HTTP 404", "teacher.backend.url http://127", "usually ends in /v1"],
        ),
        ({"redirect": "http://127.0.0.1:9/v1"}, "Why?", {}, MODEL, ["HTTP 302", "final address"]),
    ],
)
def test_a_mistake_that_every_request_shares_ends_all_after_one_request_each(
    serve, behaviour, prompt, changes, model, clauses
):
    server = serve(**behaviour, latency=(0.02, 0.02))
    url = server.url.replace("/v1", changes.get("path", "/v1"))
    with pytest.raises(UserError) as found:
        ask(settings(url, concurrency=2), *(question(f"{prompt} {at}") for at in range(20)), model=model)
    for clause in clauses:
        assert clause in str(found.value)
    assert len(server.received()) <= 2


def test_after_a_fatal_mistake_nothing_more_is_sent(serve):
    server = serve()

    async def run() -> None:
        client = EndpointClient(settings(server), "teacher-9", SAMPLING, "chat", 0, 0)
        for _ in range(3):
            with pytest.raises(UserError, match="teacher-9"):
                await client.ask(question("Why?", 0))
        await client.aclose()

    asyncio.run(run())
    assert len(server.received()) == 1


# The budget


def test_the_budget_is_never_passed_and_what_was_paid_is_kept(serve):
    server = serve(latency=(0.0, 0.01))
    sampling = SamplingConfig(max_tokens=12)
    requests = [question(f"Why is number {at} so? One two three four five six.") for at in range(40)]
    spent_in_all = []
    found = ask(
        settings(server, budget_tokens=400, concurrency=8),
        *requests,
        sampling=sampling,
        spent=100,
        look=lambda client: spent_in_all.append(client.spent),
    )
    stopped = [part for part in found if isinstance(part, BudgetReachedError)]
    assert stopped
    assert "raise teacher.backend.budget_tokens" in str(stopped[0])
    assert 400 - 40 < spent_in_all[0] <= 400
    assert len(found) - len(stopped) == len(server.received())


def test_a_budget_that_is_gone_sends_nothing(serve):
    server = serve()
    (reached,) = ask(settings(server, budget_tokens=1000), question("Why?"), spent=990)
    assert isinstance(reached, BudgetReachedError)
    assert server.received() == []


def test_samples_paid_for_before_the_budget_ended_come_with_the_error(serve):
    (reached,) = ask(
        settings(serve(), budget_tokens=50, concurrency=1),
        question("Why?", *range(6)),
        sampling=SamplingConfig(max_tokens=20),
    )
    assert isinstance(reached, BudgetReachedError)
    assert 0 < len(reached.replies) < 6
    assert all(reply.text for reply in reached.replies)


def test_attempts_that_failed_count_as_spent_when_they_were_billed(serve):
    def spent(prompt: str) -> tuple[int, int]:
        found: list[int] = []
        reply = only(ask(settings(serve()), question(prompt), look=lambda client: found.append(client.spent)))
        assert found == [reply.prompt_tokens + reply.generated_tokens]
        return reply.prompt_tokens, tokens(reply.text)

    assert spent("Why? [500 x2]")[0] == 3  # an error costs nothing
    assert spent("Why? [empty x2]")[0] == 9  # three attempts, 3 tokens each


def test_a_billed_attempt_without_budget_for_another_is_an_error_that_carries_its_cost(serve):
    server = serve()
    reply = only(
        ask(
            settings(server, budget_tokens=30),
            question("Why? [empty]"),
            sampling=SamplingConfig(max_tokens=20),
        )
    )
    assert "no budget for another attempt" in reply.error
    assert 0 < reply.prompt_tokens <= 30
    assert len(server.received()) < 4


# The configuration


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://host/v1",
        "https://",
        "https://me:secret@host/v1",
        "https://host/v1?key=secret",
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(url):
    with pytest.raises(ValidationError, match="expected an address"):
        settings(url)


@given(st.data())
def test_only_what_decides_the_texts_is_in_the_artifacts_key(data):
    one = settings("https://a.example.org/v1")
    other = settings(
        "http://b.example.org:8000/v1",
        key_env=data.draw(st.sampled_from(["A_KEY", None])),
        key_file=data.draw(st.sampled_from(["/run/key", None])),
        requests_per_minute=data.draw(st.none() | st.integers(1, 100)),
        tokens_per_minute=data.draw(st.none() | st.integers(1, 100)),
        concurrency=data.draw(st.integers(1, 100)),
        timeout_seconds=data.draw(st.floats(1, 100)),
        retries=data.draw(st.integers(0, 10)),
        samples_per_request=data.draw(st.integers(1, 8)),
        budget_tokens=data.draw(st.none() | st.integers(1, 100)),
        prompt_price=data.draw(st.none() | st.floats(0, 9)),
        generated_price=data.draw(st.none() | st.floats(0, 9)),
    )
    assert one.content() == other.content() == {"kind": "endpoint", "seed_requests": True}
    assert settings("https://a.example.org/v1", seed_requests=False).content() != one.content()


# The server as a process, and a client that is killed


CLIENT = """
import asyncio, sys
from kard_ray.runtime.engine import SamplingConfig
from kard_ray.teacher.backends.base import Request
from kard_ray.teacher.backends.endpoint import EndpointClient, EndpointConfig

async def main():
    config = EndpointConfig(kind="endpoint", url=sys.argv[1], key_env=None, concurrency=4)
    client = EndpointClient(config, "teacher-1", SamplingConfig(), "chat", 0, 0)
    async def one(at):
        message = {"role": "user", "content": f"Why {at}?"}
        await client.ask(Request(question_id=str(at), samples=(0,), messages=(message,)))
    await asyncio.gather(*map(one, range(1000)))

asyncio.run(main())
"""


def test_requests_of_a_killed_client_are_in_the_log_of_a_server_in_its_own_process(tmp_path):
    log = tmp_path / "requests.jsonl"
    command = [sys.executable, SERVER_FILE, "--port", "0", "--log", log, "--latency", "0.02", "0.05"]
    server = subprocess.Popen(
        [*command, "--fail", "500:0.2", "--times", "1"], stdout=subprocess.PIPE, text=True
    )
    client = None
    try:
        url = server.stdout.readline().strip()
        client = subprocess.Popen([sys.executable, "-c", CLIENT, url])
        ends = time.monotonic() + 60
        while len(read_log(log)) < 20 and time.monotonic() < ends:
            assert client.poll() is None
            time.sleep(0.05)
        os.kill(client.pid, signal.SIGKILL)
        client.wait(timeout=20)
        time.sleep(0.2)
        received = read_log(log)
        assert len(received) >= 20
        assert max(line.in_flight for line in received) <= 4
        failed = {line.prompt for line in received if line.status == 500}
        assert failed
        assert all(line.status == 200 for line in received if line.prompt not in failed)
    finally:
        for process in filter(None, (client, server)):
            process.kill()
            process.wait(timeout=20)


def test_two_servers_of_the_same_behaviour_fail_on_the_same_prompts_and_write_the_same(tmp_path):
    behaviour = Behaviour(shares={"400": 0.2, "null": 0.2}, latency=(0.0, 0.005))
    requests = [question(f"Why {at}?", 0, 1, name=str(at)) for at in range(30)]
    tables = []
    for name in ("a", "b"):
        with serving(tmp_path / name, behaviour) as server:
            found = ask(settings(server, retries=1), *requests)
        tables.append([(r.question_id, r.sample, r.text, r.error) for part in found for r in part])
    assert tables[0] == tables[1]
    assert 0 < sum(bool(error) for *_, error in tables[0]) < 60
