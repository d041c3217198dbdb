"""What the page shows of an answer, and that it can be used by anybody."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.page.server import (
    PASSAGES,
    RATIONALE,
    answer_event,
    passages_event,
    pieces,
    student,
    whole,
)
from tests.serving.page.steps import QUESTION, ask, expect, marks


def test_passages_come_first_then_the_rationale_piece_by_piece_then_the_answer(server, visit):
    found, half, rest = threading.Event(), threading.Event(), threading.Event()
    first, *others = [("token", {"sample": 0, "text": piece}) for piece in pieces(RATIONALE)]

    def script(body):
        return [found, passages_event(PASSAGES), half, first, rest, *others, answer_event(body)]

    server.script = script
    page = visit()
    page.get_by_text("Options to choose from").click()
    page.get_by_label("One option per line").fill("yes\n\n no \n")
    ask(page)
    expect(page.get_by_text("Looking for passages…")).to_be_visible()
    found.set()
    expect(page.locator(".passage")).to_have_count(3)
    expect(page.get_by_text("Waiting for the student…")).to_be_visible()
    expect(page.get_by_role("heading", name="Rationale")).to_be_hidden()
    half.set()
    expect(page.locator(".rationale-text")).to_have_text("Its")
    expect(page.get_by_role("heading", name="Answer")).to_have_count(0)
    expect(page.locator(".student")).to_have_attribute("aria-busy", "true")
    rest.set()
    expect(page.locator(".answer-text")).to_have_text("no")
    expect(page.locator(".rationale-text")).to_have_text(RATIONALE)
    expect(page.locator(".confidence")).to_have_text("93 % confident")
    assert page.locator(".times").inner_text().split("\n")[-2:] == ["in all", "420 ms"]
    assert page.locator(".times dt").all_inner_texts() == [
        "waiting",
        "retrieval",
        "reranking",
        "writing",
        "in all",
    ]
    expect(page.locator(".student")).to_have_attribute("aria-busy", "false")
    assert server.asked == [
        {"question": QUESTION, "options": ["yes", "no"], "model": "kard", "k": 3, "stream": True}
    ]
    # A screen reader hears whole sentences, not words.
    spoken = page.locator("#spoken p").all_text_contents()
    assert spoken[0] == "3 passages found."
    assert "Answer: no." in spoken[-1]
    assert " ".join(spoken[1:]).removesuffix(" Answer: no.") == RATIONALE


def test_what_the_rationale_shares_with_a_passage_is_marked_in_both(visit):
    page = visit()
    ask(page)
    expect(page.locator(".answer-text")).to_be_visible()
    norway, sweden, finland = page.locator(".passage").all()
    assert marks(norway) == ["Norway", "Norway", "Its total area is 323,802 sq km"]
    assert marks(sweden) == ["Sweden", "Its total area is 450,295 sq km"]
    assert marks(finland) == []
    expect(finland).to_contain_text("shares nothing with the rationale")
    assert marks(page.locator(".rationale-text")) == [
        "Its total area is 323,802 sq km",
        "Norway",
        "Sweden",
        "total area is 450,295 sq km",
        "450,295",
        "323,802",
    ]
    # A shared word far down in a passage is scrolled into the lines that are shown of it.
    box, mark = (sweden.locator(where).bounding_box() for where in (".text", ".text mark"))
    assert box["y"] <= mark["y"] < box["y"] + box["height"]
    button = sweden.get_by_role("button", name="Show all of passage 2")
    button.click()
    assert sweden.locator(".text").evaluate("text => text.scrollHeight - text.clientHeight") == 0


def test_text_is_never_read_as_html_and_a_link_opens_web_pages_only(server, visit):
    hostile = '<img src=x onerror="document.title=1"><script>document.title = 2</script>'
    row = {
        "passage_id": hostile,
        "title": hostile,
        "text": hostile,
        "score": None,
        "source": None,
        "link": None,
    }
    rows = [row, row | {"link": "javascript:document.title=3"}, row | {"link": "https://example.org/a"}]

    def script(body):
        token = ("token", {"sample": 0, "text": hostile})
        return [
            passages_event(rows),
            token,
            answer_event(body, answer=hostile, rationale=hostile, passages=rows),
        ]

    server.script = script
    server.students = [student("kard", 3), student(hostile, 3)]
    page = visit()
    page.get_by_text("Options to choose from").click()
    page.get_by_label("One option per line").fill(hostile)
    page.get_by_label("Compare with").select_option(hostile)
    ask(page, hostile)
    expect(page.locator(".answer-text")).to_have_count(2)
    for answer in page.locator(".answer-text").all():
        expect(answer).to_have_text(hostile)
    expect(page.locator(".text").first).to_have_text(hostile)
    assert page.locator("img, main script").count() == 0
    assert page.title() == "kard_ray"
    links = page.locator(".passage a")
    assert [link.get_attribute("href") for link in links.all()] == ["https://example.org/a"] * 2
    assert links.first.get_attribute("rel") == "noopener noreferrer"


def test_two_students_answer_side_by_side_each_in_its_own_time(server, visit):
    slow = threading.Event()

    def script(body):
        if body["model"] == "kard":
            return [slow, *whole(body)]
        said = "Sweden is larger. So the answer is yes."
        return [
            passages_event([]),
            answer_event(body, answer="yes", rationale=said, passages=[], confidence=None),
        ]

    server.script = script
    page = visit()
    page.get_by_label("Compare with").select_option("std_cot")
    ask(page)
    kard, std_cot = page.locator(".student").all()
    expect(std_cot.locator(".answer-text")).to_have_text("yes")
    expect(std_cot.locator(".confidence")).to_have_count(0)
    expect(std_cot.get_by_text("The student reads no passages.")).to_be_visible()
    expect(kard.get_by_text("Looking for passages…")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    slow.set()
    expect(kard.locator(".answer-text")).to_have_text("no")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    asked = {body["model"]: body["k"] for body in server.asked}
    assert asked == {"kard": 3, "std_cot": 0}
    tops = [place.locator(".answer").bounding_box()["y"] for place in (kard, std_cot)]
    assert tops[0] == pytest.approx(tops[1], abs=1)
    # On a phone the one is beneath the other.
    page.set_viewport_size({"width": 360, "height": 800})
    left, right = (place.bounding_box() for place in (kard, std_cot))
    assert right["y"] >= left["y"] + left["height"]
    # A student is not compared with itself.
    page.get_by_label("Student", exact=True).select_option("std_cot")
    assert page.get_by_label("Compare with").locator("option").all_inner_texts() == [
        "none",
        "kard",
        "skintern",
    ]


def test_a_verdict_is_sent_once_with_what_it_is_on_even_if_it_is_refused_at_first(server, visit):
    page = visit()
    ask(page)
    page.get_by_role("button", name="Right answer").click()
    page.get_by_role("button", name="Wrong answer").click()
    page.get_by_label("Right answer (optional)").fill("yes ")
    page.get_by_label("Comment (optional)").fill(" It compares wrongly. ")
    server.refusal = (503, {"code": "unavailable", "message": "no"}, {})
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("The verdict was not kept.")).to_be_visible()
    server.refusal = None
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Thank you, your verdict is kept.")).to_be_visible()
    expect(page.get_by_role("button", name="Wrong answer")).to_be_disabled()
    (kept,) = server.verdicts
    assert 1 <= len(kept.pop("feedback_id")) <= 64
    assert kept == {
        "verdict": "wrong",
        "answer_id": "ans_1",
        "question": QUESTION,
        "options": [],
        "answer": "no",
        "option": 1,
        "rationale": RATIONALE,
        "model": "kard",
        "model_version": "train/kard/5be0c1",
        "knowledge_version": "build-1",
        "passage_ids": ["norway#1", "sweden#1", "finland#1"],
        "correction": "yes",
        "comment": "It compares wrongly.",
    }


def test_a_text_that_begins_anew_forgets_its_first_words(server, visit):
    lost = threading.Event()

    def script(body):
        early = [passages_event(PASSAGES), ("token", {"sample": 0, "text": "Sweden, Sweden"}), lost]
        return [*early, ("restart", {}), *whole(body)[1:]]

    server.script = script
    page = visit()
    ask(page)
    expect(page.locator(".rationale-text")).to_have_text("Sweden, Sweden")
    lost.set()
    expect(page.locator(".answer-text")).to_have_text("no")
    expect(page.locator(".rationale-text")).to_have_text(RATIONALE)


def test_everything_is_reached_and_done_with_the_keyboard_alone(server, visit):
    page = visit(viewport={"width": 1280, "height": 900})

    def focused() -> str:
        return page.evaluate(
            "() => { const at = document.activeElement; const label = at.labels?.[0]?.firstChild.data.trim();"
            " return label || at.getAttribute('aria-label') || at.innerText.split('\\n')[0]; }"
        )

    def tab_to(name: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            if focused().startswith(name):
                ring = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
                assert ring == "solid", f"the focus on {name} is not to be seen"
                return
        raise AssertionError(f"{name} is not reached with the tab key")

    tab_to("Skip to the answer")
    tab_to("Question")
    page.keyboard.type(QUESTION)
    tab_to("Options to choose from")
    page.keyboard.press("Enter")
    tab_to("One option per line")
    page.keyboard.type("yes\nno")
    tab_to("Student")
    tab_to("Compare with")
    page.keyboard.type("std")
    tab_to("Passages")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answer-text")).to_have_count(2)
    assert sorted((body["model"], body["k"]) for body in server.asked) == [("kard", 2), ("std_cot", 0)]
    tab_to("Ask")
    tab_to("Norway: area")
    tab_to("Show all of passage 1")
    page.keyboard.press("Enter")
    expect(page.locator(".passage").first.locator(".more")).to_have_attribute("aria-expanded", "true")
    tab_to("Wrong answer")
    page.keyboard.press("Space")
    assert focused() == "Right answer (optional)"
    page.keyboard.type("yes")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Thank you, your verdict is kept.")).to_be_visible()
    # Escape cancels, and the focus stays where it was.
    server.script = lambda body: [threading.Event()]
    page.get_by_label("Question", exact=True).focus()
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".failure p").first).to_have_text("Cancelled.")
    assert focused() == "Question"


def test_a_phone_scrolls_downwards_only_whatever_the_texts(server, visit):
    long = "Donaudampfschifffahrtsgesellschaft" * 8
    row = {
        "passage_id": long,
        "title": long,
        "text": long,
        "score": 123.456,
        "source": long,
        "link": f"https://a.b/{long}",
    }

    def script(body):
        return [
            passages_event([row] * 3),
            answer_event(body, answer=long, rationale=long, knowledge_version=long),
        ]

    server.script = script
    server.students = [student("kard", 3), student(long, 3)]
    page = visit(viewport={"width": 360, "height": 740})

    def fits() -> bool:
        return page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")

    assert fits()
    page.get_by_text("Options to choose from").click()
    page.get_by_label("One option per line").fill(f"{long}\n{long}1")
    page.get_by_label("Compare with").select_option(long)
    ask(page, long)
    expect(page.locator(".answer-text")).to_have_count(2)
    page.get_by_role("button", name="Wrong answer").first.click()
    assert fits()
    for refused in (429, 503):
        server.refusal = (refused, {"code": "", "message": long}, {"Retry-After": "30"})
        ask(page, long)
        expect(page.locator(".failure").nth(1)).to_be_visible()
        assert fits()
    # What is pressed with a thumb is large enough for one.
    for button in page.locator("button:visible:not(.more)").all():
        assert button.bounding_box()["height"] >= 36


def test_earlier_questions_of_the_session_can_be_looked_at_again(server, visit):
    page = visit()
    expect(page.locator("#earlier")).to_be_hidden()
    for question, given_answer in (("First?", "one"), ("Second?", "two")):
        server.script = lambda body, given_answer=given_answer: [
            passages_event([]),
            answer_event(body, answer=given_answer),
        ]
        ask(page, question)
        expect(page.locator(".answer-text")).to_have_text(given_answer)
    rows = page.locator("#earlier button")
    assert [row.inner_text().split("\n") for row in rows.all()] == [["Second?", "two"], ["First?", "one"]]
    rows.nth(1).click()
    expect(page.locator(".asked")).to_have_text("First?")
    expect(page.locator(".answer-text")).to_have_text("one")
    expect(rows.nth(1)).to_have_attribute("aria-current", "true")
    page.reload()
    expect(page.locator("#earlier")).to_be_hidden()


def test_the_page_follows_the_system_in_colours_and_in_stillness(server, visit):
    server.script = lambda body: [threading.Event()]
    grounds = set()
    for scheme, motion, animation in (("light", "no-preference", "turn"), ("dark", "reduce", "none")):
        page = visit(color_scheme=scheme, reduced_motion=motion)
        ask(page)
        grounds.add(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        expect(page.locator(".stage")).to_be_visible()
        assert (
            page.evaluate(
                "() => getComputedStyle(document.querySelector('.stage'), '::before').animationName"
            )
            == animation
        )
    assert len(grounds) == 2


def test_marked_ranges_lie_in_the_text_in_order_and_hold_the_same_words_on_both_sides(visit):
    page = visit()
    words = st.sampled_from(
        ["Norway", "norway", "the", "area", "is", "323,802", "323802", "7", "Sweden's", "İ", "é", "𝟗𝟖"]
    )
    texts = st.lists(st.tuples(words, st.sampled_from([" ", ", ", ". ", "\n"])), max_size=20)
    pairs = st.lists(st.tuples(texts, texts), min_size=1, max_size=40)
    program = """async (pairs) => {
        const { read, shared } = await import("/static/highlight.js");
        return pairs.map((pair) => {
            const [one, other] = pair.map(read);
            return [[one, other], [other, one]].map(([here, there]) =>
                shared(here, there).map(([from, to]) => [from, to, here.text.length, here.text.slice(from, to)]));
        });
    }"""

    @settings(max_examples=15)
    @given(pairs)
    def holds(pairs):
        rendered = [["".join(word + gap for word, gap in text) for text in pair] for pair in pairs]
        for sides in page.evaluate(program, rendered):
            for ranges in sides:
                ends = [edge for start, end, _, _ in ranges for edge in (start, end)]
                assert ends == sorted(ends)
                assert all(0 <= start < end <= length for start, end, length, _ in ranges)
                assert all(text == text.strip() and text for *_, text in ranges)
            keys = [
                {
                    word.lower().replace(",", "").removesuffix("'s")
                    for *_, text in side
                    for word in text.split()
                }
                for side in sides
            ]
            assert {key.rstrip(".") for key in keys[0]} == {key.rstrip(".") for key in keys[1]}

    holds()
