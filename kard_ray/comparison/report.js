// The browser of examples. All texts are data: they become text nodes, never markup.
(() => {
  "use strict";
  const { examples, names } = JSON.parse(document.getElementById("examples-data").textContent);
  const PAGE = 25;
  let shown = PAGE;
  const get = (id) => document.getElementById(id);
  const list = get("examples-list"), count = get("examples-count"), more = get("more");
  const controls = { row: get("row"), outcome: get("outcome"), kind: get("kind"), words: get("words") };

  const make = (tag, kind, text) => {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const option = (select, value, text) => {
    const node = make("option", "", text);
    node.value = value;
    select.append(node);
  };
  for (const [row, name] of Object.entries(names)) option(controls.row, row, name);
  for (const kind of [...new Set(examples.map((example) => example.kind))].sort())
    option(controls.kind, "=" + kind, kind || "without a kind");

  const texts = (example) => [
    example.id, example.question, example.gold, ...example.options,
    ...example.answers.flatMap((answer) => [answer.text, answer.answer || ""]),
  ].join("\n").toLowerCase();
  const searchable = examples.map(texts);

  const fits = (example, at) => {
    const mine = example.answers.filter((answer) => !controls.row.value || answer.row === controls.row.value);
    const right = mine.filter((answer) => answer.correct).length;
    const outcome = {
      "": true, right: right > 0, wrong: right < mine.length, divided: right > 0 && right < mine.length,
    }[controls.outcome.value];
    const words = controls.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    return outcome && (controls.kind.value === "" || example.kind === controls.kind.value.slice(1))
      && words.every((word) => searchable[at].includes(word));
  };

  const marks = (example, id) => {
    const found = [];
    if (example.gold_passages.includes(id)) found.push(make("span", "tag gold", "gold"));
    if (example.silver_passages.includes(id)) found.push(make("span", "tag silver", "silver"));
    return found;
  };
  const passageOf = (example, id) => {
    const passage = example.passages[id];
    const node = make("div", "passage" + (example.gold_passages.includes(id) ? " gold" : ""));
    node.append(...marks(example, id), make("strong", "", passage && passage.title ? passage.title + " " : ""));
    node.append(make("span", "", passage ? passage.text : "its text is not in the knowledge base"));
    node.append(make("div", "chips", id));
    return node;
  };
  const answerOf = (example, answer) => {
    const node = make("section", "answer" + (answer.correct ? " ok" : ""));
    node.append(make("h4", "", names[answer.row]));
    const line = make("div", "answer-line small");
    line.append(make("span", answer.correct ? "right" : "wrong", answer.correct ? "right: " : "wrong: "));
    line.append(make("span", "", answer.error ? "error: " + answer.error : answer.answer ?? "no answer could be read"));
    node.append(line, make("div", "written", answer.text));
    if (answer.passages.length) {
      const found = make("details");
      const gold = answer.passages.filter((id) => example.gold_passages.includes(id)).length;
      const of = example.gold_passages.length ? `, ${gold} of ${example.gold_passages.length} gold` : "";
      found.append(make("summary", "", `${answer.passages.length} passages${of}`));
      found.addEventListener("toggle", () => {
        if (found.open && found.childElementCount === 1)
          found.append(...answer.passages.map((id) => passageOf(example, id)));
      });
      node.append(found);
    }
    return node;
  };
  const fill = (body, example) => {
    const options = make("ul", "options");
    example.options.forEach((text, at) => {
      const letter = String.fromCharCode(65 + at);
      options.append(make("li", text === example.gold ? "gold" : "", `(${letter}) ${text}`));
    });
    if (!example.options.length) options.append(make("li", "gold", `gold answer: ${example.gold}`));
    body.append(options);
    const answers = make("div", "answers");
    answers.append(...example.answers
      .filter((answer) => !controls.row.value || answer.row === controls.row.value)
      .map((answer) => answerOf(example, answer)));
    body.append(answers);
    if (example.gold_passages.length) {
      const gold = make("details", "passages");
      gold.append(make("summary", "", `${example.gold_passages.length} gold passages`));
      gold.append(...example.gold_passages.map((id) => passageOf(example, id)));
      body.append(gold);
    }
    body.append(make("div", "chips", `${example.id}${example.kind ? ", " + example.kind : ""}`));
  };
  const cardOf = (example, open) => {
    const card = make("details", "example");
    const summary = make("summary");
    const right = example.answers.filter((answer) => answer.correct).length;
    summary.append(make("span", "", example.question));
    summary.append(make("span", "tally", `${right} of ${example.answers.length} right`));
    const body = make("div", "body");
    card.append(summary, body);
    const filled = () => { if (card.open && !body.childElementCount) fill(body, example); };
    card.addEventListener("toggle", filled);
    if (open) { card.open = true; filled(); }
    return card;
  };

  const show = () => {
    const found = examples.filter(fits);
    list.replaceChildren(...found.slice(0, shown).map((example, at) => cardOf(example, at === 0)));
    count.textContent = `${found.length} of ${examples.length} questions`;
    more.hidden = found.length <= shown;
  };
  for (const control of Object.values(controls))
    control.addEventListener("input", () => { shown = PAGE; show(); });
  more.addEventListener("click", () => { shown += PAGE; show(); });
  show();
})();
