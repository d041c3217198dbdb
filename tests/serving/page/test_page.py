"""What the page shows of an answer, and that it can be used by anybody."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kard_ray.serving.cache import LruCache
from kard_ray.serving.errors import ServiceError
from kard_ray.serving.parts import Delta, Restart
from tests.serving.page.server import RATIONALE, pieces, student, whole, written
from tests.serving.page.steps import QUESTION, ask, expect, marks


def test_passages_come_first_then_the_rationale_piece_by_piece_then_the_answer(parts, visit):
    found, half, rest = threading.Event(), threading.Event(), threading.Event()
    first, *others = pieces(RATIONALE)
    parts.finding = [found]
    parts.script = lambda ask: [half, first, rest, *others, written(option=1)]
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
    expect(page.locator(".timings")).to_contain_text("415 tokens read, 51 written · knowledge build-1")
    times = page.locator(".times dt").all_inner_texts()
    assert [name for name in times if name != "waiting"] == ["retrieval", "reranking", "writing", "in all"]
    expect(page.locator(".student")).to_have_attribute("aria-busy", "false")
    (asked,) = parts.asked
    assert (asked.question, asked.options, asked.student, len(asked.passages)) == (
        QUESTION,
        ("yes", "no"),
        "kard",
        3,
    )
    # A screen reader hears whole sentences, not words.
    spoken = page.locator("#spoken p").all_text_contents()
    assert spoken[0] == "3 passages found."
    assert " ".join(spoken[1:]) == f"{RATIONALE} Answer: no."


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


def test_text_is_never_read_as_html(parts, visit):
    hostile = '<img src=x onerror="document.title=1"><script>document.title = 2</script>'
    parts.passages = [
        {"passage_id": hostile, "title": hostile, "text": hostile, "score": 1, "source": hostile}
    ] * 3
    parts.script = lambda ask: [Delta(sample=0, text=hostile), written(answer=hostile, rationale=hostile)]
    page = visit()
    page.get_by_text("Options to choose from").click()
    page.get_by_label("One option per line").fill(hostile)
    ask(page, hostile)
    shown = {
        ".asked": 1,
        ".choices li": 1,
        ".passage h4": 3,
        ".text": 3,
        ".rationale-text": 1,
        ".answer-text": 1,
    }
    for place, count in shown.items():
        expect(page.locator(place)).to_have_text([hostile] * count)
    assert page.locator("img, main script").count() == 0
    assert page.title() == "kard_ray"


def test_a_passage_links_to_a_web_page_and_to_nothing_else(parts, visit):
    page = visit()
    ask(page)
    link = page.locator(".passage a")
    expect(link).to_have_text("Norway: area")
    assert link.get_attribute("href") == "https://example.org/norway"
    assert link.get_attribute("rel") == "noopener noreferrer"

    def scripted_link(route):
        response = route.fetch()
        route.fulfill(response=response, body=response.text().replace("https://example.org/", "javascript:"))

    page.route("**/v1/answer", scripted_link)
    ask(page)
    expect(page.locator(".answer-text")).to_be_visible()
    expect(page.locator(".passage")).to_have_count(3)
    expect(link).to_have_count(0)


def test_two_students_answer_side_by_side_each_in_its_own_time(parts, visit):
    slow = threading.Event()

    def script(asked):
        if asked.student == "kard":
            return [slow, *whole(asked)]
        said = "Sweden is larger. So the answer is yes."
        return [written(answer="yes", rationale=said, confidence=None)]

    parts.script = script
    page = visit()
    page.get_by_label("Compare with").select_option("std_cot")
    ask(page)
    kard, std_cot = page.locator(".student").all()
    expect(std_cot.locator(".answer-text")).to_have_text("yes")
    expect(std_cot.locator(".confidence")).to_have_count(0)
    expect(std_cot.get_by_text("The student reads no passages.")).to_be_visible()
    expect(kard.get_by_text("Waiting for the student…")).to_be_visible()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    slow.set()
    expect(kard.locator(".answer-text")).to_have_text("no")
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    assert {asked.student: len(asked.passages) for asked in parts.asked} == {"kard": 3, "std_cot": 0}
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


def test_a_verdict_is_sent_once_with_what_it_is_on_even_if_it_is_refused_at_first(parts, visit):
    page = visit()
    ask(page)
    page.get_by_role("button", name="Right answer").click()
    page.get_by_role("button", name="Wrong answer").click()
    page.get_by_label("Right answer (optional)").fill("yes ")
    page.get_by_label("Comment (optional)").fill(" It compares wrongly. ")
    parts.keeping = ServiceError(503, "unavailable", "the disk is full")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("The verdict was not kept.")).to_be_visible()
    parts.keeping = None
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Thank you, your verdict is kept.")).to_be_visible()
    expect(page.get_by_role("button", name="Wrong answer")).to_be_disabled()
    (kept,) = parts.verdicts
    assert kept.pop("answer_id").startswith("ans_")
    assert kept.pop("feedback_id").startswith("page-")
    assert kept.pop("created") > 0
    assert kept == {
        "verdict": "wrong",
        "question": QUESTION,
        "options": [],
        "answer": "no",
        "option": None,
        "rationale": RATIONALE,
        "model": "kard",
        "model_version": "train/kard/5be0c1",
        "knowledge_version": "build-1",
        "passage_ids": ["norway#1", "sweden#1", "finland#1"],
        "correction": "yes",
        "comment": "It compares wrongly.",
        "given_by": "-",
    }


def test_a_text_that_begins_anew_forgets_its_first_words(parts, visit):
    lost, anew, rest = threading.Event(), threading.Event(), threading.Event()
    early, late = Delta(sample=0, text="Sweden, Sweden"), Delta(sample=0, text="Its")
    parts.script = lambda ask: [early, lost, Restart(), anew, late, rest, written()]
    page = visit()
    ask(page)
    expect(page.locator(".rationale-text")).to_have_text("Sweden, Sweden")
    lost.set()
    expect(page.get_by_text("Starting anew…")).to_be_visible()
    expect(page.locator(".rationale-text")).to_be_hidden()
    anew.set()
    expect(page.locator(".rationale-text")).to_have_text("Its")
    rest.set()
    expect(page.locator(".answer-text")).to_have_text("no")
    expect(page.locator(".rationale-text")).to_have_text(RATIONALE)


def test_an_answer_from_the_cache_is_said_to_be_one(server, parts, visit):
    server.service.cache = LruCache(1)
    page = visit()
    for cached in (False, True):
        ask(page)
        expect(page.locator(".answer-text")).to_have_text("no")
        expect(page.locator(".rationale-text")).to_have_text(RATIONALE)
        expect(page.get_by_text("from the cache")).to_have_count(int(cached))
        expect(page.locator(".bar-of-time")).to_have_count(int(not cached))
    assert len(parts.asked) == 1


def test_a_student_that_was_sure_without_passages_is_said_to_have_read_none(parts, visit):
    parts.script = lambda ask: [written(shown=0)]
    page = visit()
    ask(page)
    expect(page.get_by_text("The student was sure enough without reading them.")).to_be_visible()
    assert parts.asked


def test_everything_is_reached_and_done_with_the_keyboard_alone(parts, visit):
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
    asked = {asked.student: len(asked.passages) for asked in parts.asked}
    assert asked == {"kard": 2, "std_cot": 0}
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
    parts.finding = [threading.Event()]
    page.get_by_label("Question", exact=True).focus()
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    expect(page.locator(".failure p").first).to_have_text("Cancelled.")
    assert focused() == "Question"


def test_a_phone_scrolls_downwards_only_whatever_the_texts(server, parts, visit):
    long = "Donaudampfschifffahrtsgesellschaft" * 8
    row = {"passage_id": long, "title": long, "text": long, "score": 123.456, "source": f"https://a.b/{long}"}
    parts.passages = [row] * 3
    parts.script = lambda ask: [written(answer=long, rationale=long)]
    server.offer(student("kard", 3), student("x" * 64, 3))
    page = visit(viewport={"width": 360, "height": 740})

    def fits() -> bool:
        return page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")

    assert fits()
    page.get_by_text("Options to choose from").click()
    page.get_by_label("One option per line").fill(f"{long}\n{long}1")
    page.get_by_label("Compare with").select_option("x" * 64)
    ask(page, long)
    expect(page.locator(".answer-text")).to_have_count(2)
    page.get_by_role("button", name="Wrong answer").first.click()
    assert fits()
    parts.finding = [ServiceError(404, "not_found", long, None, 30)]
    ask(page, long)
    expect(page.locator(".failure").nth(1)).to_be_visible()
    assert fits()
    # What is pressed with a thumb is large enough for one.
    for button in page.locator("button:visible:not(.more)").all():
        assert button.bounding_box()["height"] >= 36


def test_on_a_phone_the_answer_comes_into_view_and_what_cancels_it_stays_there(parts, visit):
    parts.script = lambda ask: [Delta(sample=0, text="Norway is"), threading.Event()]
    page = visit(viewport={"width": 360, "height": 740})
    page.get_by_text("Options to choose from").click()
    ask(page)
    expect(page.locator(".passage").nth(1)).to_be_in_viewport()
    expect(page.get_by_role("button", name="Cancel")).to_be_in_viewport()


def test_earlier_questions_of_the_session_can_be_looked_at_again(parts, visit):
    page = visit()
    expect(page.locator("#earlier")).to_be_hidden()
    for question, given_answer in (("First?", "one"), ("Second?", "two")):
        parts.script = lambda ask, given_answer=given_answer: [written(answer=given_answer)]
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


def test_the_page_follows_the_system_in_colours_and_in_stillness(parts, visit):
    parts.finding = [threading.Event()]
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
