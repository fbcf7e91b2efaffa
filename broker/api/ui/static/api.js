// Requests to the order API of this host: the key, deadlines, retries under one idempotency key, and the event stream.
const KEPT = "broker-api-key";
const DEADLINE_MS = 35000;
const SILENCE_MS = 25000; // the broker sends a comment each 10 s
const PAUSES_MS = [500, 2000];
const KINDS = "order,price,account,state"; // not `transaction`: the page shows none
const OPEN_RESULT = new Set([0, 502, 503, 504]);

let key = sessionStorage.getItem(KEPT);
let account = null;

export const hasKey = () => key !== null;
export const useAccount = (id) => { account = id; };

// This tab's storage and nowhere else: a reload keeps the key, the end of the tab forgets it.
export function keepKey(text) {
  key = text;
  if (text === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, text);
}

// An answer that is an error; `status` 0 is no answer.
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? (status ? `The broker answered ${status}.` : "The broker does not answer."));
    this.status = status;
    this.problem = problem;
  }
}

// Relative to the page, so that it works below a path of an ingress.
function address(path, query = {}) {
  const given = Object.entries({ ...query, account }).filter(([, value]) => value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return new URL(`v1/${path}${text ? `?${text}` : ""}`, document.baseURI);
}

async function send(method, path, { query, body, headers, signal }) {
  let answer;
  try {
    answer = await fetch(address(path, query), {
      method, signal, cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
      headers: { "X-API-Key": key ?? "", ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
      body: body ? JSON.stringify(body) : undefined,
    });
  } catch (error) {
    throw new Refusal(0, null, error);
  }
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => null));
  return answer;
}

export async function read(path, query = {}) {
  const answer = await send("GET", path, { query, signal: AbortSignal.timeout(DEADLINE_MS) });
  return answer.json();
}

function newKey() {
  // Not randomUUID: a browser has it on https only, and a port-forward is plain.
  return `ui-${Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// A write. While its result is open it is sent again with the same key: the same key is never a second order.
export async function write(method, path, body) {
  const headers = { "Idempotency-Key": newKey() };
  for (let attempt = 0; ; attempt += 1) {
    try {
      const answer = await send(method, path, { body, headers, signal: AbortSignal.timeout(DEADLINE_MS) });
      return await answer.json();
    } catch (error) {
      if (!OPEN_RESULT.has(error.status ?? 0) || attempt >= PAUSES_MS.length) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[attempt]));
    }
  }
}

// Calls `take(kind, data)` for each event of one connection; ends or throws when the connection does.
export async function follow(signal, opened, take) {
  const mine = new AbortController();
  const stop = () => mine.abort();
  signal.addEventListener("abort", stop);
  let watchdog = setTimeout(stop, SILENCE_MS);
  try {
    const answer = await send("GET", "events", { query: { types: KINDS }, signal: mine.signal, headers: { Accept: "text/event-stream" } });
    opened();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(stop, SILENCE_MS);
      const blocks = (text + value).split(/\r?\n\r?\n/);
      text = blocks.pop();
      blocks.forEach((block) => dispatch(block, take));
    }
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener("abort", stop);
    mine.abort();
  }
}

function dispatch(block, take) {
  const fields = { event: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") fields.data += fields.data ? `\n${value}` : value;
    else if (name === "event") fields.event = value;
  }
  if (fields.data) take(fields.event, JSON.parse(fields.data));
}
