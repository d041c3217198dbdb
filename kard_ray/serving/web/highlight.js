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
      key: number ? lower.replace(/,/gu, "") : lower,
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

const inside = (words) => new Set(words.filter((word) => word.capital && !word.opens).map((word) => word.key));
const keysOf = (words, kind) => new Set(words.filter((word) => word[kind]).map((word) => word.key));

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

/** Ranges of `rationale` and of `passage` that the two share. */
export function shared(rationale, passage) {
  const texts = [rationale, passage];
  const words = texts.map(wordsOf);
  const names = new Set([...inside(words[0]), ...inside(words[1])]);
  const capitals = words.map((list) => keysOf(list, "capital"));
  const numbers = words.map((list) => keysOf(list, "number"));
  const runs = words.map(runsOf);
  return texts.map((text, side) => {
    const other = 1 - side;
    const marked = new Set();
    words[side].forEach((word, at) => {
      if (word.number && numbers[other].has(word.key)) marked.add(at);
      if (word.capital && names.has(word.key) && capitals[other].has(word.key)) marked.add(at);
    });
    for (const [key, places] of runs[side]) {
      if (!runs[other].has(key)) continue;
      for (const at of places) for (let step = 0; step < RUN; step += 1) marked.add(at + step);
    }
    return ranges(text, words[side], marked);
  });
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
