/**
 * What a rationale shares with a passage, found by comparing words: nothing here knows what the model attended to.
 *
 * A word is marked if both texts hold it and it is
 *  - a number of two digits or more ("9,460,972" is "9460972"),
 *  - a name: capitalised in both texts, and in one of them not merely because a sentence begins there,
 *  - or part of a run of three or more words that both texts hold, at least one of them no filler word.
 */

const WORD = /[\p{L}\p{N}]+(?:[.,'’\-][\p{L}\p{N}]+)*/gu;
const RUN = 3;
const FILLERS = new Set(
  ("a an and are as at be been but by did do does for from had has have he her his if in into is it its more most no not of on " +
    "or she so such than that the their them then there these they this those to was were what when where which while who " +
    "whose will with would yes you").split(" "),
);

/** Words of `text` with their offsets, a key to compare by, and what kind of word each is. */
function wordsOf(text) {
  const words = [];
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    const [word] = match;
    const between = text.slice(end, match.index);
    end = match.index + word.length;
    const lower = word.normalize("NFKC").toLowerCase().replace(/['’]s$/u, "");
    const digits = lower.replace(/[,.]/gu, "");
    const number = /^\d+$/u.test(digits);
    words.push({
      start: match.index,
      end,
      key: number ? lower.replace(/,(?=\d{3}(?!\d))/gu, "") : lower,
      number: number && digits.length > 1,
      capital: /^\p{Lu}/u.test(word) && lower.length > 1 && !FILLERS.has(lower),
      opens: words.length === 0 || /[.!?:;\n]/u.test(between),
    });
  }
  return words;
}

function runsOf(words) {
  const runs = new Map();
  for (let at = 0; at + RUN <= words.length; at += 1) {
    const run = words.slice(at, at + RUN);
    if (run.every((word) => FILLERS.has(word.key))) continue;
    const key = run.map((word) => word.key).join(" ");
    if (!runs.has(key)) runs.set(key, []);
    runs.get(key).push(at);
  }
  return runs;
}

/** A text made ready to be compared: its words, and the keys of its names, capitalised words and numbers. */
export function read(text) {
  const words = wordsOf(text);
  const keys = (kind) => new Set(words.filter(kind).map((word) => word.key));
  return {
    text,
    words,
    runs: runsOf(words),
    names: keys((word) => word.capital && !word.opens),
    capitals: keys((word) => word.capital),
    numbers: keys((word) => word.number),
  };
}

/** [start, end) offsets of what is marked; neighbours with nothing but space between them are one range. */
function ranges(text, words, marked) {
  const found = [];
  words.forEach((word, at) => {
    if (!marked.has(at)) return;
    const last = found.at(-1);
    if (last && marked.has(at - 1) && /^[\s,]*$/u.test(text.slice(last[1], word.start))) last[1] = word.end;
    else found.push([word.start, word.end]);
  });
  return found;
}

/** Ranges of `one` that it shares with `other`; both are texts that were read. */
export function shared(one, other) {
  const marked = new Set();
  one.words.forEach((word, at) => {
    if (word.number && other.numbers.has(word.key)) marked.add(at);
    const name = one.names.has(word.key) || other.names.has(word.key);
    if (word.capital && name && other.capitals.has(word.key)) marked.add(at);
  });
  for (const [run, places] of one.runs) {
    if (!other.runs.has(run)) continue;
    for (const at of places) for (let step = 0; step < RUN; step += 1) marked.add(at + step);
  }
  return ranges(one.text, one.words, marked);
}

/** Several lists of ranges of one text as one list without overlaps, in order. */
export function union(lists) {
  const merged = [];
  for (const [start, end] of lists.flat().sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    const last = merged.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else merged.push([start, end]);
  }
  return merged;
}
