// The way to the server: JSON or bytes in, and every failure as a sentence that says what to do.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { count, has, megabytes, t } from "./language.js";

// Relative to this module: the page may be mounted at a path of another application.
export const BASE = new URL("api/v1", import.meta.url).pathname;
const LONGEST_WAIT = 10; // seconds that we wait for a busy server without asking the person

/** What went wrong, for people: `title` and `detail`; `status` 0 says that nobody answered. */
export class Problem extends Error {
  constructor(status, title, detail = "", retry = 0) {
    super(detail || title);
    Object.assign(this, { status, title, detail, retry });
  }
}

async function problemOf(response) {
  const retry = Number(response.headers.get("Retry-After")) || 0;
  let told = {};
  try {
    told = await response.json();
  } catch {
    // a proxy in between answers in HTML
  }
  // What people meet has a title of its own, in their language; the server's detail has the particulars.
  const name = told.type?.split(":").at(-1);
  const known = { 401: "token", 403: "token", 413: "large", 429: "busy", 503: "busy", 504: "busy" }[response.status];
  const key = [name, known].find((one) => has(`problem.${one}`)) ?? "refused";
  const problem = new Problem(response.status, t(`problem.${key}`), told.detail || told.title || `HTTP ${response.status}`, retry);
  return Object.assign(problem, { share: told.share ?? null });
}

export const pause = (seconds) => new Promise((go) => setTimeout(go, 1000 * seconds));

// The token is typed once and gone with the tab: it is never put where other pages could read it.
export const token = {
  get: () => sessionStorage.getItem("token") ?? "",
  set: (value) => (value ? sessionStorage.setItem("token", value) : sessionStorage.removeItem("token")),
};

// What the server takes, once its card is known. A file that is too large is not sent: the answer to that is
// a connection that breaks in the middle, which looks like a server that is away.
export const limits = { image_bytes: Infinity };

function refuseLarge(body) {
  const large = body instanceof FormData && [...body.values()].find((one) => one.size > limits.image_bytes);
  if (large) throw new Problem(413, t("problem.large"), t("problem.large.do", { size: megabytes(large.size), most: megabytes(limits.image_bytes) }));
}

/**
 * Ask the server. A busy one is asked again twice, as soon as it said; each wait is told to `onWait`.
 * @param {string} path below /api/v1
 * @param {{method?: string, body?: FormData | object, signal?: AbortSignal, write?: boolean,
 *          as?: "json" | "text" | "bytes", onWait?: (seconds: number) => void}} options
 */
export async function call(path, options = {}) {
  const { body, signal, write, as = "json", onWait } = options;
  refuseLarge(body);
  const headers = { "Accept-Language": document.documentElement.lang };
  if (write && token.get()) headers.Authorization = `Bearer ${token.get()}`;
  const plain = body !== undefined && !(body instanceof FormData);
  if (plain) headers["Content-Type"] = "application/json";
  const request = {
    method: options.method ?? (body === undefined ? "GET" : "POST"),
    body: plain ? JSON.stringify(body) : body,
    headers,
    signal,
    credentials: "omit",
  };
  for (let left = 2; ; left--) {
    let response;
    try {
      response = await fetch(BASE + path, request);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, t("problem.away"), t("problem.away.do"));
    }
    // 202: what takes long is being computed, which its view tells and waits for
    if (response.ok && response.status !== 202) {
      if (response.status === 204) return null;
      if (as === "bytes") return response.arrayBuffer();
      return as === "text" ? response.text() : response.json();
    }
    const problem = await problemOf(response);
    const wait = Math.max(1, problem.retry);
    if (![429, 503].includes(problem.status) || !left || wait > LONGEST_WAIT) {
      if (problem.status === 401) token.set("");
      throw problem;
    }
    onWait?.(wait);
    await pause(wait);
    signal?.throwIfAborted();
  }
}

/** A form of what is given; lists become several fields, and what is undefined is left out. */
export function form(values) {
  const made = new FormData();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") made.append(name, one);
    }
  }
  return made;
}

/** The part of an address after "?"; lists become several values. */
export function asked(values) {
  const made = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") made.append(name, one);
    }
  }
  const text = made.toString();
  return text ? `?${text}` : "";
}

const inPath = (id) => id.split("/").map(encodeURIComponent).join("/");
export const thumbnail = (id, size = 320) => `${BASE}/thumbnails/${inPath(id)}?size=${size}`;
export const image = (id) => `${BASE}/images/${inPath(id)}`;
export const item = (id) => `/items/${inPath(id)}`;

/**
 * What an address says, asked anew when `ask` changes: a function of an abort signal and of `onWait`,
 * or null for nothing to ask. Gives `{value, problem, busy, stale, waiting, again}`: stale is a
 * value that answers an earlier question.
 */
export function useAnswer(ask, inputs) {
  const [state, set] = useState({ busy: Boolean(ask) });
  const [turn, setTurn] = useState(0);
  const last = useRef(0);
  useEffect(() => {
    if (!ask) return set({ busy: false });
    const stop = new AbortController();
    // what was there stays in sight until the new answer comes
    set((old) => ({ value: old.value, busy: true, stale: turn === last.current }));
    last.current = turn;
    ask(stop.signal, (seconds) => set((old) => ({ ...old, waiting: t("busy.waiting", { n: count(seconds) }) }))).then(
      (value) => stop.signal.aborted || set({ value, busy: false }),
      (problem) => stop.signal.aborted || problem.name === "AbortError" || set({ problem, busy: false }),
    );
    return () => stop.abort();
  }, [...inputs, turn]);
  return { ...state, again: () => setTurn(turn + 1) };
}

/** What GET of a path says. */
export const useGet = (path) => useAnswer(path && ((signal, onWait) => call(path, { signal, onWait })), [path]);
