/** The page: the form, its students, what is asked side by side, the token, and the questions of this session. */

import { Problem, answer, feedback, offered, token } from "./client.js";
import { AnswerView, element } from "./view.js";

const byId = (id) => document.getElementById(id);
const form = byId("ask");
const question = byId("question");
const options = byId("options");
const student = byId("student");
const other = byId("other");
const k = byId("k");
const send = byId("send");
const cancel = byId("cancel");
const results = byId("results");
const dialog = byId("token-dialog");

const KEPT = 50; // questions of this session
const LOOK_AGAIN = 5000; // milliseconds, while the service is not there

let service = { students: [], usual: null, limits: {} };
let running = 0; // answers under way
let aborter = null;
const session = [];

/** Have a screen reader say `sentence` after those before it. */
function say(sentence) {
  const spoken = byId("spoken");
  spoken.append(element("p", { textContent: sentence }));
  while (spoken.childElementCount > 20) spoken.firstElementChild.remove();
}

/* The service and the token */

function tell(words, state) {
  byId("service").textContent = words;
  byId("service").dataset.state = state;
}

const reads = (id) => service.students.find((one) => one.id === id)?.passages ?? 0;

function fill(select, ids, kept) {
  select.replaceChildren(...ids.map(([value, name]) => element("option", { value, textContent: name })));
  if (ids.some(([value]) => value === kept)) select.value = kept;
  select.disabled = ids.length < 2;
}

/** The second student is another one than the first; k is what the students read, unless the reader has set it. */
function arrange() {
  const others = service.students.filter(({ id }) => id !== student.value);
  fill(other, [["", others.length ? "none" : "there is no other"], ...others.map(({ id }) => [id, id])], other.value);
  const most = Math.max(reads(student.value), reads(other.value));
  k.max = String(most);
  k.disabled = most === 0;
  if (!k.dataset.chosen || Number(k.value) > most) k.value = String(most);
  byId("k-hint").textContent = most === 0 ? "reads none" : `0 to ${most}`;
}

async function look() {
  try {
    service = await offered();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    tell(problem.message, "bad");
    if (problem.status === 401) {
      askForToken(problem.message);
      return;
    }
    setTimeout(look, problem.seconds ? problem.seconds * 1000 : LOOK_AGAIN);
    return;
  }
  fill(student, service.students.map(({ id }) => [id, id]), student.value || service.usual);
  arrange();
  const { length } = service.students;
  send.disabled = false;
  tell(length === 1 ? "1 student" : `${length} students`, "good");
  byId("open-token").hidden = !token.get();
}

function askForToken(why) {
  byId("token-why").textContent = `${why} Whoever runs the service gives tokens out.`;
  byId("open-token").hidden = false;
  byId("forget-token").hidden = !token.get();
  byId("token").value = "";
  if (!dialog.open) dialog.showModal();
}

byId("open-token").addEventListener("click", () =>
  askForToken(token.get() ? "A token is in use." : "The service asks for a token."),
);
byId("close-token").addEventListener("click", () => dialog.close());
byId("forget-token").addEventListener("click", () => {
  token.set("");
  dialog.close();
  look();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const entered = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/u.test(entered)) {
    byId("token-why").textContent = "A token is letters, digits and signs without spaces.";
    byId("token").focus();
    return;
  }
  token.set(entered);
  byId("token").value = "";
  dialog.close();
  look();
});

/* Asking */

function refuse(words) {
  byId("question-problem").textContent = words;
  byId("question-problem").hidden = false;
  question.setAttribute("aria-invalid", "true");
  question.focus();
}

function accept() {
  byId("question-problem").hidden = true;
  question.removeAttribute("aria-invalid");
}

/** What the form asks, or null if it asks nothing that can be sent. */
function written() {
  const text = question.value.trim();
  const most = service.limits.question_characters ?? Infinity;
  if (!text) {
    refuse("Write a question first.");
    return null;
  }
  if (text.length > most) {
    const [has, takes] = [text.length, most].map((number) => number.toLocaleString("en"));
    refuse(`The question has ${has} characters; the service takes up to ${takes}.`);
    return null;
  }
  const lines = options.value.split("\n").map((line) => line.trim());
  return { question: text, options: lines.filter(Boolean), students: [student.value, other.value].filter(Boolean) };
}

function busy(by) {
  running += by;
  const held = document.activeElement;
  send.hidden = running > 0;
  cancel.hidden = running === 0;
  // The button that had the focus is gone: the one in its place takes it.
  if (held === send && send.hidden) cancel.focus({ preventScroll: true });
  if (held === cancel && cancel.hidden) send.focus({ preventScroll: true });
}

/** A button that asks `run`'s question of `view`'s student again, from `seconds` on. */
function againButton(run, view, seconds) {
  const button = element("button", { type: "button", textContent: "Ask again" });
  button.addEventListener("click", () => {
    if (!running || aborter.signal.aborted) aborter = new AbortController();
    column(run, view);
    cancel.focus({ preventScroll: true }); // this button is gone
  });
  const count = (left) => {
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Ask again in ${left} s` : "Ask again";
    if (left > 0) setTimeout(count, 1000, left - 1);
  };
  count(seconds ?? 0);
  return button;
}

/** One student's answer, from first event to last, whatever happens. */
async function column(run, view) {
  view.clear();
  busy(1);
  try {
    const asked = { question: run.question, options: run.options, student: view.student, k: view.k };
    for await (const event of answer(asked, aborter.signal)) {
      if (event.passages) view.passages(event.passages);
      else if (event.text !== undefined) view.write(event.text);
      else if (event.restart) view.restart();
      else {
        view.finish(event.answer);
        run.answers.set(view.student, event.answer.answer ?? "no answer");
      }
    }
  } catch (problem) {
    if (problem.name === "AbortError") view.cancelled([againButton(run, view)]);
    else if (!(problem instanceof Problem)) throw problem;
    else {
      const actions = [againButton(run, view, problem.seconds)];
      if (problem.status === 401) {
        const enter = element("button", { type: "button", className: "primary", textContent: "Enter a token" });
        enter.addEventListener("click", () => askForToken(problem.message));
        actions.unshift(enter);
      }
      view.fail(problem, actions);
    }
    run.answers.set(view.student, problem.name === "AbortError" ? "cancelled" : "no answer");
  } finally {
    busy(-1);
    run.given.textContent = run.students.map((id) => run.answers.get(id) ?? "…").join(" / ");
  }
}

/** Keep what the reader says of an answer to `run`'s question. */
async function judge(run, given, said) {
  await feedback({
    ...said,
    answer_id: given.id,
    question: run.question,
    options: run.options,
    answer: given.answer,
    option: given.option,
    rationale: given.rationale,
    model: given.model,
    model_version: given.model_version,
    knowledge_version: given.knowledge_version,
    passage_ids: given.passages.map((passage) => passage.passage_id),
  });
}

function ask() {
  if (running || send.disabled) return;
  const asked = written();
  if (!asked) return;
  accept();
  const run = { ...asked, k: Number(k.value), answers: new Map() };
  const named = run.students.length > 1;
  const views = run.students.map((id) => new AnswerView(id, { k: Math.min(run.k, reads(id)), named, say, judge: judge.bind(null, run) }));
  const columns = element("div", { className: named ? "columns two" : "columns" }, ...views.map((view) => view.element));
  const choices = run.options.map((option) => element("li", { textContent: option }));
  run.element = element(
    "article",
    { className: "run" },
    element("h2", { className: "asked", textContent: run.question }),
    choices.length ? element("ul", { className: "choices", attributes: { "aria-label": "Options" } }, ...choices) : null,
    columns,
  );
  byId("spoken").replaceChildren();
  remember(run);
  showRun(run);
  aborter = new AbortController();
  for (const view of views) column(run, view);
  // On a small screen the form fills the view: leave of it what cancels, and show the answer beneath.
  if (results.getBoundingClientRect().top > window.innerHeight / 2) cancel.scrollIntoView({ block: "start" });
}

/* Questions of this session */

function remember(run) {
  const button = element(
    "button",
    { type: "button" },
    element("span", { className: "earlier-question", textContent: run.question }),
    (run.given = element("span", { className: "earlier-answer", textContent: "…" })),
  );
  button.addEventListener("click", () => {
    showRun(run);
    results.focus();
  });
  run.item = element("li", {}, button);
  session.unshift(run);
  byId("earlier-list").prepend(run.item);
  for (const old of session.splice(KEPT)) old.item.remove();
  byId("earlier").hidden = session.length < 2;
}

function showRun(run) {
  results.replaceChildren(run.element);
  for (const { item } of session) item.firstElementChild.removeAttribute("aria-current");
  run.item.firstElementChild.setAttribute("aria-current", "true");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    ask();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running && !dialog.open) aborter.abort();
});
cancel.addEventListener("click", () => aborter.abort());
question.addEventListener("input", accept);
student.addEventListener("change", arrange);
other.addEventListener("change", arrange);
k.addEventListener("change", () => {
  k.dataset.chosen = "yes";
  k.value = String(Math.min(Math.max(Math.round(Number(k.value)), 0), Number(k.max)));
});

look();
