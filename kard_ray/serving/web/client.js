/** The service's HTTP API as this page uses it: students, answers as a stream of events, feedback, and problems as sentences. */

const TOKEN = "kard-ray-token";

/**
 * A token that was entered on the page. Usually there is none: the browser sends the one that it opened the page with.
 * It lives in this tab's session storage and travels in a header, never in an address.
 */
export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

/** Why there is no (whole) answer, in words for the reader. `seconds`: when to try again; `status`: 0 without a response. */
export class Problem extends Error {
  constructor(sentence, { status = 0, seconds = null } = {}) {
    super(sentence);
    this.status = status;
    this.seconds = seconds;
  }
}

const unreachable = () => new Problem("The service cannot be reached. Is it running, and is this machine online?");
const brokenOff = () => new Problem("The answer broke off before its end.");

function secondsOf(response) {
  const header = response.headers.get("Retry-After");
  if (!header) return null;
  const seconds = /^\d+$/u.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(1, Math.ceil(seconds)) : null;
}

const closed = (text) => (text && !/[.!?]$/u.test(text) ? `${text}.` : text);

/** A sentence for an error: by its code where the page knows better than the API what to say, else by its status. */
function sentenceOf({ code, message = "", request_id: id = null }, status) {
  const said = closed(String(message));
  const known = {
    rate_limited: "This token has asked too often.",
    too_many_at_once: "This token has too many questions open at once.",
    overloaded: "The service has more questions than it can take now.",
    unavailable: "The part of the service that answers is not there now.",
    deadline: "The answer took longer than the service allows.",
  }[code];
  const general = {
    401: token.get() ? "The service does not accept this token." : "The service asks for a token.",
    404: `The service does not know what was asked for. ${said}`,
    413: "The question is too long for this service. Shorten it or its options.",
    422: `The service cannot take the question as it stands. ${said}`,
    429: "This token has asked too often.",
    503: "The service cannot answer now.",
    504: "The answer took longer than the service allows.",
  }[status];
  const failed = `The service failed.${id ? ` The request's id, which its logs know, is ${id}.` : ""}`;
  return (known ?? general ?? (status >= 400 && status < 500 && said ? said : failed)).trim();
}

async function problemOf(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy's page or nothing at all: the status alone has to do.
  }
  const { status } = response;
  const described = { ...error, request_id: error.request_id ?? response.headers.get("X-Request-Id") };
  return new Problem(sentenceOf(described, status), { status, seconds: secondsOf(response) });
}

/** A response with status 2xx; everything else is thrown as a Problem, a cancelled request as its AbortError. */
async function request(path, { body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** Students as [{id, passages}], the default's id, and the limits of a question. */
export async function offered() {
  const body = await (await request("v1/models")).json();
  // A name that stands for any student comes without what a student has.
  const students = body.data.filter(({ kard }) => kard).map(({ id, kard }) => ({ id, passages: kard.passages }));
  return { students, usual: body.kard.default_model, limits: body.kard.limits };
}

/** Keep a verdict on an answer. */
export async function feedback(body) {
  await request("v1/feedback", { body });
}

/** Server-sent events of a response body as {event, data}; data is JSON. Throws what reading throws. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/u);
      rest = blocks.pop();
      for (const block of blocks) {
        let event = "message";
        const data = [];
        for (const line of block.split(/\r?\n/u)) {
          if (line.startsWith("event:")) event = line.slice(6).trim();
          if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /u, ""));
        }
        if (data.length) yield { event, data: data.join("\n") };
      }
    }
  } finally {
    // Whoever stops reading early leaves the connection open otherwise; of a stream that has failed nothing is left to close.
    reader.cancel().catch(() => undefined);
  }
}

/**
 * Answer `question` as it is written: yields {passages}, {text}, {restart: true}, and {answer} at last.
 * Throws a Problem if there is none or it breaks off, an AbortError if `signal` says so.
 */
export async function* answer({ question, options, student, k }, signal) {
  const response = await request("v1/answer", { body: { question, options, model: student, k, stream: true }, signal });
  try {
    for await (const { event, data } of events(response.body)) {
      const said = JSON.parse(data);
      if (event === "passages") yield { passages: said.passages };
      // Of several samples the first is shown while they are written.
      if (event === "token" && said.sample === 0) yield { text: said.text };
      if (event === "restart") yield { restart: true };
      if (event === "error") throw new Problem(sentenceOf(said.error, 0));
      if (event === "answer") {
        yield { answer: said };
        return;
      }
    }
  } catch (error) {
    if (error instanceof Problem || error.name === "AbortError") throw error;
    throw brokenOff();
  }
  throw brokenOff();
}
