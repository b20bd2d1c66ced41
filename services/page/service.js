// What the page asks of the service, and what it tells it: answers, events, the token for them.

const PATIENCE_MS = 20_000;
const TOKEN = "lookbook-token";

/** An answer that is an error; its message is for people to read. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * Asks the service.
 *
 * @param body an object, sent as JSON, or a FormData
 * @param how `signal` to give up early, `token` to show it, `keepalive` to outlive the page
 */
export async function ask(path, body, { signal, token = false, keepalive = false } = {}) {
  const form = body instanceof FormData;
  const headers = form ? {} : { "Content-Type": "application/json" };
  if (token && myToken()) headers.Authorization = `Bearer ${myToken()}`;
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(path, {
    method: "POST", headers, keepalive, body: form ? body : JSON.stringify(body),
    signal: signal ? AbortSignal.any([signal, patience]) : patience,
  }).catch(() => {
    throw new Refused(patience.aborted ? "The shop took too long to answer."
      : "The shop cannot be reached. Is the service running?", 0);
  });
  const data = await answer.json().catch(() => null);
  if (answer.ok && data !== null) return data;
  if (answer.status === 401) forget();
  throw new Refused(problem(answer.status, data), answer.status);
}

/** One sentence from an answer that is an error: BentoML's form, pydantic's, or neither. */
function problem(status, data) {
  let said = data?.error ?? data?.detail;
  if (Array.isArray(said)) said = said.map(({ loc, msg }) => `${loc?.at(-1) ?? "request"}: ${msg}`).join("; ");
  if (status === 429) return "The shop is very busy. Try again in a moment.";
  if (status >= 500 || typeof said !== "string" || !said.trim()) return `The shop could not answer (error ${status}).`;
  const line = said.replace(/\s+/g, " ").trim();
  return line.length > 200 ? `${line.slice(0, 199)}…` : line;
}

// ---- The token: as a notebook's, it comes in the fragment, which no server ever sees --------------

let keep = null; // where there is no storage

export function myToken() {
  try {
    return sessionStorage.getItem(TOKEN) ?? keep;
  } catch {
    return keep;
  }
}

export function remember(token) {
  keep = token.trim();
  try {
    sessionStorage.setItem(TOKEN, keep);
  } catch { /* then it is gone with this page */ }
}

function forget() {
  keep = null;
  try {
    sessionStorage.removeItem(TOKEN);
  } catch { /* it never was there */ }
}

/** Takes the token out of the address bar, so that nobody copies it with the address. */
export function takeToken() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const token = hash.get("token");
  if (token === null) return;
  hash.delete("token");
  if (token.trim()) remember(token);
  history.replaceState(null, "", `#${hash}`);
}

// ---- Impressions: what stood half in sight for a second ------------------------------------------

const SEEN_MS = 1000;
const EVERY_MS = 2500;
const AT_MOST = 100;
const waiting = [];
const told = new Set();
const timers = new WeakMap();

/** Where an article stands: attributes of its card. */
export const standing = ({ request_id, position, surface }) =>
  ({ "data-request": request_id, "data-position": position, "data-surface": surface });

const placeOf = ({ dataset }) => ({
  ...(dataset.request && { request_id: dataset.request }),
  ...(dataset.position && { position: Number(dataset.position) }),
  ...(dataset.surface && { surface: dataset.surface }),
});

const eyes = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(timers.get(target));
    if (isIntersecting) timers.set(target, setTimeout(() => seen(target), SEEN_MS));
  }
}, { threshold: 0.5 });

function seen(card) {
  eyes.unobserve(card);
  const { customer: customer_id, article: article_id, request, surface } = card.dataset;
  const once = `${request ?? surface} ${article_id}`;
  if (!card.isConnected || !customer_id || told.has(once)) return;
  told.add(once);
  waiting.push({ customer_id, article_id, kind: "impression", ...placeOf(card) });
}

/** Watches cards until they have been seen, and nothing else any more. */
export function watch(cards) {
  for (const card of cards) eyes.observe(card);
}

function tellWhatWasSeen(keepalive = false) {
  if (!myToken()) waiting.splice(0, waiting.length - AT_MOST);
  if (!waiting.length || !myToken()) return;
  const events = waiting.splice(0, AT_MOST);
  ask("/events", { events }, { token: true, keepalive }).catch(() => { /* impressions may be lost, customers not disturbed */ });
}
setInterval(tellWhatWasSeen, EVERY_MS);
addEventListener("visibilitychange", () => document.visibilityState === "hidden" && tellWhatWasSeen(true));

/** Watches none of those any more that were not seen yet. */
export function unwatch() {
  eyes.disconnect();
}

/** Tells the shop what the customer did with an article; `from` is its card, if it stood on one. */
export function happened(customer_id, article_id, kind, from) {
  const event = { customer_id, article_id, kind, ...(from ? placeOf(from) : {}) };
  return ask("/events", { events: [event] }, { token: true });
}
