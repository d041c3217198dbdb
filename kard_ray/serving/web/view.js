/** What one student answers to one question: passages, rationale, answer, timings, and the reader's verdict. */

import { Problem } from "./client.js";
import { read, shared, union } from "./highlight.js";

/** An element with properties and children; strings become text nodes, so nothing in them is read as HTML. */
export function element(tag, properties = {}, ...children) {
  const { data = {}, attributes = {}, ...rest } = properties;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A drawn sign; `path` is one of those below, never text from outside. */
function icon(path) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  drawing.append(line);
  return drawing;
}

const THUMB_UP = "M7 10v10H4V10zm0 0 4-7c1.5 0 2.5 1 2.5 2.5V9h5a2 2 0 0 1 2 2.4l-1.4 7A2 2 0 0 1 17.2 20H7";
const THUMB_DOWN = "M7 14V4H4v10zm0 0 4 7c1.5 0 2.5-1 2.5-2.5V15h5a2 2 0 0 0 2-2.4l-1.4-7A2 2 0 0 0 17.2 4H7";
const PARTS = { queue: "waiting", retrieve: "retrieval", rerank: "reranking", generate: "writing" };

const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export function duration(milliseconds) {
  if (milliseconds >= 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(2)} s`;
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
}

/** `link` if a click on it can only open a web page. */
function webAddress(link) {
  try {
    return ["http:", "https:"].includes(new URL(link).protocol) ? link : null;
  } catch {
    return null;
  }
}

/** Replace what `target` holds by `text` with `marks` marked, unless it shows exactly that already. */
function show(target, text, marks) {
  const state = JSON.stringify([text, marks]);
  if (target.shown === state) return;
  target.shown = state;
  const parts = [];
  let end = 0;
  for (const [from, to] of marks) {
    parts.push(text.slice(end, from), element("mark", { textContent: text.slice(from, to) }));
    end = to;
  }
  target.replaceChildren(...parts, text.slice(end));
}

const fits = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const card = target.closest(".passage");
    const open = card.classList.contains("open");
    if (!open) card.classList.toggle("cut", target.scrollHeight > target.clientHeight + 4);
  }
});

function passageCard(passage, rank) {
  const title = passage.title || "Untitled passage";
  const content = { title, text: passage.text };
  const address = webAddress(passage.link);
  const text = element("p", { className: "text" });
  const shares = element("span", { className: "shares" });
  const more = element("button", { type: "button", className: "more", textContent: "Show all" });
  more.setAttribute("aria-expanded", "false");
  more.setAttribute("aria-label", `Show all of passage ${rank}`);
  const name = address ? element("a", { href: address, target: "_blank", rel: "noopener noreferrer" }) : element("span");
  const card = element(
    "li",
    { className: "passage" },
    element(
      "div",
      { className: "passage-head" },
      element("span", { className: "rank", textContent: rank, attributes: { "aria-hidden": "true" } }),
      element("h4", {}, name),
      typeof passage.score !== "number" ? null : element("span", { className: "score", textContent: `score ${passage.score.toFixed(2)}` }),
    ),
    text,
    element("div", { className: "passage-foot" }, shares, more),
  );
  more.addEventListener("click", () => {
    const open = card.classList.toggle("open");
    more.setAttribute("aria-expanded", String(open));
    more.setAttribute("aria-label", `${open ? "Show less" : "Show all"} of passage ${rank}`);
    more.textContent = open ? "Show less" : "Show all";
    text.scrollTop = 0;
    card.classList.remove("scrolled", "at-end");
  });
  const made = { card, name, text, shares, content, words: read(`${content.title}\n${content.text}`) };
  showMarks(made, []);
  fits.observe(text);
  return made;
}

/** Mark ranges of a passage's words, which begin with a line for its title, in its title and text. */
function showMarks({ name, text, content }, marks) {
  const start = content.title.length + 1;
  show(name, content.title, marks.filter(([from]) => from < start).map(([from, to]) => [from, Math.min(to, start - 1)]));
  show(text, content.text, marks.filter(([, to]) => to > start).map(([from, to]) => [Math.max(from, start) - start, to - start]));
}

/** Bring the first marked word of a cut passage into its few visible lines. */
function showFirstMark({ card, text }) {
  const mark = text.querySelector("mark");
  if (!mark || card.classList.contains("open")) return;
  text.scrollTop = mark.offsetTop + 1.5 * mark.offsetHeight > text.clientHeight ? mark.offsetTop - mark.offsetHeight : 0;
  card.classList.toggle("scrolled", text.scrollTop > 0);
  card.classList.toggle("at-end", text.scrollTop + text.clientHeight > text.scrollHeight - 4);
}

export class AnswerView {
  /** `k`: passages it is to be shown; `named`: it is one of several; `say` speaks a sentence to a screen reader; `judge(answer, {feedback_id, verdict, comment, correction})` keeps a verdict or throws a Problem. */
  constructor(student, { k, named, say, judge }) {
    this.student = student;
    this.k = k;
    this.say = (sentence) => say(named ? `${student}: ${sentence}` : sentence);
    this.judge = judge;
    this.element = element("div", { className: "student", data: { student } });
    this.named = named;
    this.clear();
  }

  /** A replica was lost: the student writes its text anew. */
  restart() {
    this.text = "";
    this.spokenUpTo = 0;
    this.draw();
    this.rationaleSlot.hidden = true;
    this.stage("Starting anew…");
  }

  /** As before the first event. */
  clear() {
    this.cards = [];
    this.text = "";
    this.spokenUpTo = 0;
    this.done = false;
    this.status = element("p", { className: "stage" });
    this.passageSlot = element("div", { className: "found" });
    this.rationale = element("p", { className: "rationale-text" });
    this.rationaleSlot = element("section", { className: "rationale", hidden: true }, element("h3", {}, "Rationale"), this.rationale);
    this.answerSlot = element("div", { className: "end" });
    const heading = element("h2", { className: "student-name", textContent: this.student, hidden: !this.named });
    this.element.replaceChildren(heading, this.passageSlot, this.rationaleSlot, this.answerSlot, this.status);
    this.stage(this.k ? "Looking for passages…" : "Waiting for the student…");
    this.element.setAttribute("aria-busy", "true");
  }

  stage(words) {
    this.status.textContent = words;
    this.status.hidden = !words;
  }

  /** `passages`: [{title, text, score, link}], best first. */
  passages(passages) {
    const heading = element("h3", {}, "Passages ", element("span", { className: "number", textContent: passages.length }));
    this.cards = passages.map((passage, at) => passageCard(passage, at + 1));
    const none = this.k ? "No passage was found. The student answers from what it has learnt." : "The student reads no passages.";
    const list = passages.length
      ? element("ol", { className: "passages" }, ...this.cards.map(({ card }) => card))
      : element("p", { className: "nothing", textContent: none });
    this.unread = element("p", { className: "nothing", hidden: true, textContent: "The student was sure enough without reading them." });
    this.passageSlot.replaceChildren(element("section", {}, heading, this.unread, list));
    this.status.classList.add("writing-next");
    this.stage("Waiting for the student…");
    this.say(passages.length ? `${count(passages.length, "passage")} found.` : none);
  }

  /** More of the rationale, as it is written. */
  write(piece) {
    this.text += piece;
    this.rationaleSlot.hidden = false;
    this.rationaleSlot.classList.add("writing");
    this.stage("");
    // One redrawing for all pieces that arrive before the next picture.
    this.redraw ??= requestAnimationFrame(() => {
      this.redraw = null;
      this.draw();
    });
  }

  draw() {
    // A word that is still being written may yet become another one.
    const whole = this.done ? this.text : this.text.replace(/\S+$/u, "");
    const written = read(whole);
    show(this.rationale, this.text, union(this.cards.map(({ words }) => shared(written, words))));
    for (const passage of this.cards) {
      const { card, shares, words } = passage;
      const marks = shared(words, written);
      showMarks(passage, marks);
      const number = marks.reduce((sum, [from, to]) => sum + words.text.slice(from, to).split(/\s+/u).length, 0);
      shares.textContent = number ? `shares ${count(number, "word")}` : this.done ? "shares nothing with the rationale" : "";
      card.classList.toggle("unused", this.done && !number);
    }
    const sentences = this.text.slice(this.spokenUpTo).match(/^[\s\S]*[.!?](?=\s)/u);
    if (sentences && !this.done) {
      this.spokenUpTo += sentences[0].length;
      this.say(sentences[0].trim());
    }
  }

  /** `answer`: what the API calls an answer. */
  finish(answer) {
    this.end();
    this.text = answer.rationale;
    this.draw();
    this.rationaleSlot.hidden = false;
    if (!this.text.trim()) this.rationale.replaceChildren(element("span", { className: "nothing", textContent: "The student wrote no rationale." }));
    for (const card of this.cards) showFirstMark(card);
    // One that asks when unsure may have been sure at once.
    if (this.cards.length && !answer.passages.length) this.unread.hidden = false;
    const given = answer.answer
      ? element("p", { className: "answer-text", textContent: answer.answer })
      : element("p", { className: "answer-text nothing", textContent: "No answer could be read from what the student wrote." });
    this.answerSlot.replaceChildren(
      element(
        "section",
        { className: "answer" },
        element("div", { className: "answer-head" }, element("h3", {}, "Answer"), answer.answer ? this.confidence(answer.confidence) : null),
        given,
      ),
      this.timings(answer),
      this.verdict(answer),
    );
    this.say(`${this.text.slice(this.spokenUpTo).trim()} Answer: ${answer.answer || "none"}.`);
  }

  /** Nothing more comes. */
  end() {
    this.done = true;
    if (this.redraw) cancelAnimationFrame(this.redraw);
    this.redraw = null;
    this.rationaleSlot.classList.remove("writing");
    this.element.setAttribute("aria-busy", "false");
    this.stage("");
  }

  /** Say what went wrong beneath what has arrived; `actions`: buttons. */
  fail(problem, actions) {
    this.end();
    if (this.text) this.draw();
    const parts = [problem.message];
    if (this.text || this.cards.length) parts.push("What had arrived is shown.");
    if (problem.seconds) parts.push(`The service asks to wait ${count(problem.seconds, "second")}.`);
    const sentence = parts.join(" ");
    const box = element("div", { className: "failure" }, element("p", { textContent: sentence }), element("div", { className: "actions" }, ...actions));
    this.answerSlot.replaceChildren(box);
    this.say(sentence);
  }

  /** The reader cancelled. */
  cancelled(actions) {
    this.end();
    if (this.text) this.draw();
    const words = this.text || this.cards.length ? "Cancelled. What had arrived is shown." : "Cancelled.";
    this.answerSlot.replaceChildren(
      element("div", { className: "failure calm" }, element("p", { textContent: words }), element("div", { className: "actions" }, ...actions)),
    );
    this.say(words);
  }

  confidence(share) {
    if (share === null) return null;
    const bar = element("meter", { min: 0, max: 1, value: share, attributes: { "aria-hidden": "true" } });
    return element("p", { className: "confidence" }, bar, `${Math.round(share * 100)} % confident`);
  }

  timings({ milliseconds, tokens, cached, knowledge_version: version }) {
    const parts = Object.entries(milliseconds).filter(([name, took]) => name !== "total" && took > 0);
    const { total } = milliseconds;
    const bar = element("div", { className: "bar-of-time", attributes: { "aria-hidden": "true" } });
    const list = element("dl", { className: "times" });
    for (const [name, took] of parts) {
      const piece = element("span", { data: { part: name } });
      piece.style.flexGrow = String(Math.max((1000 * took) / total, 5));
      bar.append(piece);
      const key = element("span", { className: "key", data: { part: name }, attributes: { "aria-hidden": "true" } });
      list.append(element("div", {}, element("dt", {}, key, PARTS[name] ?? name), element("dd", { textContent: duration(took) })));
    }
    list.append(element("div", { className: "total" }, element("dt", { textContent: "in all" }), element("dd", { textContent: duration(total) })));
    const facts = [`${count(tokens.prompt, "token")} read, ${tokens.generated.toLocaleString("en")} written`, `knowledge ${version}`];
    if (cached) facts.push("from the cache");
    return element("section", { className: "timings" }, element("h3", { textContent: "Time" }), parts.length ? bar : null, list, element("p", { className: "hint", textContent: facts.join(" · ") }));
  }

  verdict(answer) {
    const id = `verdict-${answer.id}-${this.student}`;
    const correction = element("input", { type: "text", maxLength: 500, id: `${id}-correction` });
    const corrected = element("div", { className: "field", hidden: true }, element("label", { htmlFor: correction.id, textContent: "Right answer (optional)" }), correction);
    const comment = element("textarea", { rows: 2, maxLength: 2000, id: `${id}-comment` });
    const note = element("p", { className: "hint", attributes: { role: "status" } });
    const send = element("button", { type: "submit", className: "primary", textContent: "Send" });
    const form = element(
      "form",
      { className: "comment", hidden: true },
      corrected,
      element("div", { className: "field" }, element("label", { htmlFor: comment.id, textContent: "Comment (optional)" }), comment),
      element("div", { className: "actions" }, send),
    );
    // Sent again after a failure it is the same verdict: the service keeps it once.
    const feedbackId = `page-${[...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("-")}`;
    let chosen = null;
    const thumbs = [
      ["right", "Right answer", THUMB_UP],
      ["wrong", "Wrong answer", THUMB_DOWN],
    ].map(([verdict, label, path]) => {
      const attributes = { "aria-label": label, "aria-pressed": "false" };
      const button = element("button", { type: "button", className: "thumb", title: label, attributes }, icon(path));
      button.addEventListener("click", () => {
        chosen = verdict;
        for (const thumb of thumbs) thumb.setAttribute("aria-pressed", String(thumb === button));
        corrected.hidden = verdict === "right";
        form.hidden = false;
        note.textContent = "";
        (corrected.hidden ? comment : correction).focus();
      });
      return button;
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      send.disabled = true;
      const said = { feedback_id: feedbackId, verdict: chosen, comment: comment.value.trim() || null, correction: (!corrected.hidden && correction.value.trim()) || null };
      try {
        await this.judge(answer, said);
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        send.disabled = false;
        note.textContent = `The verdict was not kept. ${problem.message}`;
        return;
      }
      form.remove();
      for (const thumb of thumbs) thumb.disabled = true;
      note.textContent = "Thank you, your verdict is kept.";
    });
    return element(
      "section",
      { className: "verdict" },
      element("div", { className: "verdict-row" }, element("h3", { textContent: "Is it right?" }), ...thumbs, note),
      form,
    );
  }
}
