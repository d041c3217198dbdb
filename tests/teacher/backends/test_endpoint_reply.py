from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.teacher.backends.endpoint import EndpointClient
from kard_ray.teacher.backends.endpoint_reply import Usage, excerpt, read_answer, shares
from tests.teacher.backends.asking import ask, only, question, settings
from tests.teacher.backends.endpoint_server import text_for

BROKEN = {
    "500": "HTTP 500",
    "503": "HTTP 503",
    "408": "HTTP 408",
    "409": "HTTP 409",
    "429": "HTTP 429",
    "reset": "connection broke",
    "cut": "connection broke",
    "html": 'not JSON, or cut off: "<html>',
    "half_json": "not JSON, or cut off",
    "not_utf8": "not UTF-8",
    "list": "a JSON list",
    "error_in_200": "Upstream is overloaded",
    "no_choices": "no choices",
    "empty_choices": "no choices",
    "no_message": "no message",
    "null": "text is null",
    "empty": "text is empty",
    "number": "a JSON int",
    "surrogate": "not valid Unicode",
    "negative_usage": "usage cannot be true",
    "absurd_usage": "usage cannot be true",
    "text_usage": "usage cannot be true",
}


@pytest.mark.parametrize("template", ["chat", "plain"])
def test_every_broken_or_lying_reply_is_asked_for_again_and_the_good_one_is_served(serve, template):
    server = serve()
    kinds = [kind for kind in BROKEN if template == "chat" or kind != "no_message"]
    found = ask(
        settings(server),
        *(question(f"Why? [{kind} x2]", name=kind) for kind in kinds),
        template=template,
    )
    for kind, (reply,) in zip(kinds, found, strict=True):
        assert reply.error == "", kind
        assert reply.text, kind
    assert Counter(line.kind for line in server.received() if line.kind != "ok") == dict.fromkeys(kinds, 2)


def test_what_stays_broken_ends_as_an_error_that_says_what_was_wrong(serve):
    server = serve()
    found = ask(settings(server), *(question(f"Why? [{kind}]", name=kind) for kind in BROKEN))
    for (kind, clause), (reply,) in zip(BROKEN.items(), found, strict=True):
        assert reply.text == "", kind
        assert clause in reply.error, kind
        assert reply.error.endswith("(after 4 attempts)."), reply.error
    assert set(Counter(line.kind for line in server.received()).values()) == {4}


@pytest.mark.parametrize(
    ("kind", "clause"),
    [
        ("400", "HTTP 400: This model's maximum context length is 99 tokens"),
        ("413", "HTTP 413"),
        ("422", "HTTP 422"),
        ("filter", "content filter"),
        ("refusal", "refused: I will not."),
        ("used_up", "teacher.sampling.max_tokens"),
    ],
)
def test_what_no_second_attempt_can_mend_is_asked_once_and_is_only_that_rows_error(serve, kind, clause):
    server = serve()
    (bad,), (good,) = ask(settings(server), question(f"Why? [{kind}]"), question("Why?"))
    assert bad.text == ""
    assert clause in bad.error
    assert good.error == ""
    assert len(server.received()) == 2


def test_a_prompt_that_is_no_unicode_is_an_error_and_never_sent(serve):
    server = serve()
    (replies,) = ask(settings(server), question("half \ud800 a pair", 0, 1))
    assert [reply.text for reply in replies] == ["", ""]
    assert all("not valid Unicode" in reply.error for reply in replies)
    assert server.received() == []


@pytest.mark.parametrize("text", ["", "\x00\x01\x1b[31m", "é" * 50_000, "\u202eabc \U0001f600 \ufffe"])
def test_odd_prompts_arrive_as_they_are(serve, text):
    assert only(ask(settings(serve()), question(text))).text == text_for(text, 40, 0)


def test_a_missing_usage_is_estimated_from_the_texts_and_counted_as_such(serve):
    def look(client: EndpointClient) -> None:
        assert (client.counts.requests, client.counts.estimated) == (1, 1)

    reply = only(ask(settings(serve()), question("Why is it so? [no_usage]"), look=look))
    assert reply.error == ""
    assert reply.generated_tokens == -(-len(reply.text) // 4)
    assert reply.prompt_tokens == 10  # 24 characters, and 4 for a message


def test_another_name_of_the_model_in_a_reply_is_no_fault(serve):
    assert only(ask(settings(serve()), question("Why? [other_model]"))).error == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "usage",
                    "message",
                    "content",
                    "text",
                    "finish_reason",
                    "prompt_tokens",
                    "error",
                    "refusal",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=60), st.booleans())
def test_no_body_breaks_the_reader_and_every_choice_is_a_text_or_a_problem(body, chat):
    answer = read_answer(body, chat=chat, limit=Usage(prompt=10, generated=10))
    assert bool(answer.problem) or bool(answer.choices) or answer.usage is not None
    for choice in answer.choices:
        assert bool(choice.text.strip()) != bool(choice.problem)
    excerpt(answer.problem).encode("utf-8")


def test_a_body_nested_without_end_is_no_json():
    assert "not JSON" in read_answer(b"[" * 200_000, chat=True, limit=Usage()).problem


@given(st.integers(0, 10**9), st.lists(st.integers(1, 10**6), min_size=1, max_size=20))
def test_shares_are_whole_add_up_and_lie_within_one_of_the_proportion(total, weights):
    parts = shares(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert part >= 0
        assert abs(part - total * weight / sum(weights)) <= 1.001


@given(st.text(max_size=1000))
def test_an_excerpt_is_one_short_line_that_any_file_can_hold(text):
    line = excerpt(text)
    assert len(line) <= 300
    assert "\n" not in line
    line.encode("utf-8")
