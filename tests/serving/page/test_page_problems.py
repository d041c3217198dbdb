"""What the page says when there is no answer, or not yet."""

from __future__ import annotations

import threading

from kard_ray.serving.errors import ServiceError
from kard_ray.serving.parts import Delta
from kard_ray.serving.tokens import add_token
from tests.serving.page.server import written
from tests.serving.page.steps import ask, expect


def test_each_error_is_a_sentence_and_the_question_can_be_asked_again(parts, visit):
    page = visit()
    failure = page.locator(".failure p")
    cases = [
        (
            ServiceError(404, "model_not_found", "it is gone."),
            "does not know what was asked for. it is gone.",
        ),
        (
            ServiceError(429, "rate_limited", "", None, 7),
            "This token has asked too often. The service asks to wait 7 seconds.",
        ),
        (ServiceError(429, "too_many_at_once", ""), "This token has too many questions open at once."),
        (RuntimeError("a secret"), "The service failed. The request's id, which its logs know, is "),
        (ServiceError(504, "deadline", ""), "The answer took longer than the service allows."),
        (
            ServiceError(503, "overloaded", "", None, 1),
            "The service has more questions than it can take now. The service asks to wait 1 second.",
        ),
    ]
    for error, sentence in cases:
        parts.finding = [error]
        ask(page)
        expect(failure).to_contain_text(sentence)
        assert "secret" not in failure.inner_text()
        assert page.locator("#spoken").text_content().endswith(failure.inner_text())
        if "7 seconds" in sentence:
            expect(page.get_by_role("button", name="Ask again in 7 s")).to_be_disabled()
    parts.finding = []
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer-text")).to_have_text("no")
    expect(failure).to_have_count(0)


def test_a_question_that_the_service_refuses_is_refused_in_words(visit):
    page = visit()
    failure = page.locator(".failure p")
    ask(page, "語" * 4000)
    expect(failure).to_have_text("The question is too long for this service. Shorten it or its options.")
    page.get_by_text("Options to choose from").click()
    page.get_by_label("One option per line").fill("yes\nyes")
    ask(page)
    expect(failure).to_contain_text("The service cannot take the question as it stands.")
    expect(failure).to_contain_text("options: two of them are the same.")


def test_the_page_waits_for_a_service_that_is_not_there_yet(server, visit):
    server.refusing = ServiceError(503, "unavailable", "", None, 1)
    page = visit(ready=False)
    expect(page.get_by_role("status")).to_have_text("The part of the service that answers is not there now.")
    server.refusing = None
    expect(page.get_by_role("status")).to_have_text("3 students")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def test_an_answer_that_breaks_off_keeps_what_had_arrived(server, parts, visit):
    page = visit()
    failure = page.locator(".failure p")
    for error, sentence in (
        (None, "The answer broke off before its end."),
        (ServiceError(504, "deadline", ""), "The answer took longer than the service allows."),
        (RuntimeError(), "The service failed. The request's id, which its logs know, is"),
    ):
        arrived = threading.Event()
        end = [threading.Event()] if error is None else [error]
        parts.script = lambda ask, arrived=arrived, end=end: [
            Delta(sample=0, text="Norway is"),
            arrived,
            *end,
        ]
        ask(page)
        expect(page.locator(".rationale-text")).to_have_text("Norway is")
        arrived.set()
        if error is None:
            server.cut()
        expect(failure).to_contain_text(sentence)
        expect(failure).to_contain_text("What had arrived is shown.")
        expect(page.locator(".passage")).to_have_count(3)
        expect(page.locator(".rationale-text")).to_have_text("Norway is")
    page.context.set_offline(True)
    ask(page)
    expect(failure).to_have_text("The service cannot be reached. Is it running, and is this machine online?")


def test_no_question_no_passage_no_rationale_and_no_answer_are_said_in_words(parts, visit):
    parts.passages = []
    parts.script = lambda ask: [written(answer=None, rationale="", confidence=0.0)]
    page = visit()
    expect(page.get_by_role("heading", name="No question yet")).to_be_visible()
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("Write a question first.")).to_be_visible()
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    page.get_by_label("Question", exact=True).fill("x" * 4001)
    page.keyboard.press("Control+Enter")
    expect(
        page.get_by_text("The question has 4,001 characters; the service takes up to 4,000.")
    ).to_be_visible()
    assert parts.asked == []
    ask(page)
    for words in (
        "No passage was found. The student answers from what it has learnt.",
        "The student wrote no rationale.",
        "No answer could be read from what the student wrote.",
    ):
        expect(page.locator("#results").get_by_text(words)).to_be_visible()
    expect(page.locator(".confidence")).to_have_count(0)


def test_a_cancelled_answer_is_given_up_by_the_page_and_by_the_service(parts, visit):
    parts.script = lambda ask: [threading.Event()]
    page = visit()
    ask(page)
    expect(page.locator(".passage")).to_have_count(3)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".failure p")).to_have_text("Cancelled. What had arrived is shown.")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_focused()
    assert parts.cancelled.wait(15)


def test_the_token_that_opened_the_page_is_used_until_another_is_entered(server, visit, tmp_path):
    first = add_token(str(tmp_path / "first.json"), "ada")
    second = add_token(str(tmp_path / "second.json"), "ada")
    server.demand(str(tmp_path / "first.json"))
    page = visit(http_credentials={"username": "ada", "password": first})
    addresses = []
    page.on("request", lambda request: addresses.append(request.url))
    ask(page)
    expect(page.locator(".answer-text")).to_have_text("no")
    assert server.headers[-1]["authorization"].startswith("Basic ")
    # It is withdrawn while the page is open.
    server.demand(str(tmp_path / "second.json"))
    ask(page)
    expect(page.locator(".failure p")).to_have_text("The service asks for a token.")
    page.get_by_role("button", name="Enter a token").click()
    dialog = page.get_by_role("dialog")
    for wrong, said in ((first, "The service does not accept this token."), ("kr wröng", "without spaces")):
        dialog.get_by_label("Token").fill(wrong)
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text(said)
    dialog.get_by_label("Token").fill(second)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer-text")).to_have_text("no")
    assert server.headers[-1]["authorization"] == f"Bearer {second}"
    # It is in this tab and in no address.
    assert not any("kr_" in address for address in addresses)
    kept = "[localStorage.length, document.cookie, Object.values(sessionStorage)]"
    assert page.evaluate(kept) == [0, "", [second]]
    page.get_by_role("button", name="Token").click()
    page.get_by_role("button", name="Forget it").click()
    expect(dialog).to_contain_text("The service asks for a token.")
    assert page.evaluate("sessionStorage.length") == 0
