"""What the page says when there is no answer, or not yet."""

from __future__ import annotations

import threading

from tests.serving.page.server import (
    BREAK,
    PASSAGES,
    answer_event,
    passages_event,
)
from tests.serving.page.steps import ask, expect


def test_each_error_is_a_sentence_and_the_question_can_be_asked_again(server, visit):
    page = visit()
    failure = page.locator(".failure p")
    cases = [
        (401, "unauthorized", {}, "The service asks for a token."),
        (404, "model_not_found", {}, "The service does not know what was asked for. It is gone."),
        (413, "too_large", {}, "The question is too long for this service. Shorten it or its options."),
        (422, "invalid_field", {}, "The service cannot take the question as it stands. It is gone."),
        (
            429,
            "rate_limited",
            {"Retry-After": "7"},
            "This token has asked too often. The service asks to wait 7 seconds.",
        ),
        (429, "too_many_at_once", {}, "This token has too many questions open at once."),
        (500, "internal", {}, "The service failed. The request's id, which its logs know, is req-7."),
        (504, "deadline", {}, "The answer took longer than the service allows."),
        (
            503,
            "overloaded",
            {"Retry-After": "1"},
            "more questions than it can take now. The service asks to wait 1 second.",
        ),
    ]
    for status, code, headers, sentence in cases:
        server.refusal = (status, {"code": code, "message": "It is gone", "request_id": "req-7"}, headers)
        ask(page)
        expect(failure).to_contain_text(sentence)
        assert page.locator("#spoken").text_content().endswith(failure.inner_text())
        if status == 429 and headers:
            expect(page.get_by_role("button", name="Ask again in 7 s")).to_be_disabled()
    server.refusal = None
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer-text")).to_have_text("no")
    expect(failure).to_have_count(0)


def test_the_page_waits_for_a_service_that_is_not_there_yet(server, visit):
    server.refusal = (503, {"code": "unavailable", "message": ""}, {"Retry-After": "1"})
    page = visit(ready=False)
    expect(page.get_by_role("status")).to_have_text("The part of the service that answers is not there now.")
    server.refusal = None
    expect(page.get_by_role("status")).to_have_text("3 students")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()


def test_an_answer_that_breaks_off_keeps_what_had_arrived(server, visit):
    arrived = threading.Event()
    start = [passages_event(PASSAGES), ("token", {"sample": 0, "text": "Norway is"}), arrived]
    page = visit()
    failure = page.locator(".failure p")
    shown = "What had arrived is shown."
    said = {"code": "deadline", "message": "too late"}
    for end, sentence in (
        ([BREAK], f"The answer broke off before its end. {shown}"),
        ([], f"The answer broke off before its end. {shown}"),
        ([("error", {"error": said})], f"The answer took longer than the service allows. {shown}"),
    ):
        arrived.clear()
        server.script = lambda body, end=end: [*start, *end]
        ask(page)
        expect(page.locator(".rationale-text")).to_have_text("Norway is")
        arrived.set()
        expect(failure).to_have_text(sentence)
        expect(page.locator(".passage")).to_have_count(3)
        expect(page.locator(".rationale-text")).to_have_text("Norway is")
    page.context.set_offline(True)
    ask(page)
    expect(failure).to_have_text("The service cannot be reached. Is it running, and is this machine online?")


def test_no_passage_no_rationale_no_answer_and_no_student_are_said_in_words(server, visit):
    empty = {"answer": None, "option": None, "rationale": "", "confidence": None, "passages": []}
    server.script = lambda body: [passages_event([]), answer_event(body, **empty)]
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
    assert server.asked == []
    ask(page)
    for words in (
        "No passage was found. The student answers from what it has learnt.",
        "The student wrote no rationale.",
        "No answer could be read from what the student wrote.",
    ):
        expect(page.locator("#results").get_by_text(words)).to_be_visible()
    server.students = []
    page = visit(ready=False)
    expect(page.get_by_text("The service offers no student.")).to_be_visible()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_disabled()


def test_a_cancelled_answer_is_given_up_by_the_page_and_by_the_service(server, visit):
    never = threading.Event()
    server.script = lambda body: [passages_event(PASSAGES), never]
    page = visit()
    ask(page)
    expect(page.locator(".passage")).to_have_count(3)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".failure p")).to_have_text("Cancelled. What had arrived is shown.")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_focused()
    assert server.cancelled.wait(10)


def test_a_token_is_asked_for_kept_for_the_tab_and_sent_in_a_header_only(server, visit):
    server.token = "kr_right"
    page = visit(ready=False)
    addresses = []
    page.on("request", lambda request: addresses.append(request.url))
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The service asks for a token.")
    for wrong, said in (
        ("kr_wrong", "The service does not accept this token."),
        ("kr wröng", "without spaces"),
    ):
        dialog.get_by_label("Token").fill(wrong)
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text(said)
    dialog.get_by_label("Token").fill("kr_right")
    page.keyboard.press("Enter")
    ask(page)
    expect(page.locator(".answer-text")).to_have_text("no")
    assert server.tokens[-1] == "Bearer kr_right"
    page.reload()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    assert not any("kr_" in address for address in addresses)
    kept = "[localStorage.length, document.cookie, Object.values(sessionStorage)]"
    assert page.evaluate(kept) == [0, "", ["kr_right"]]
    # It is withdrawn while the page is open.
    server.token = "kr_other"
    ask(page)
    expect(page.locator(".failure p")).to_have_text("The service does not accept this token.")
    page.get_by_role("button", name="Enter a token").click()
    page.get_by_role("button", name="Forget it").click()
    expect(dialog).to_contain_text("The service asks for a token.")
    assert page.evaluate("sessionStorage.length") == 0
