// Lookbook's page: pick a customer, see what they bought beside what we recommend and why.
// Names, reasons and ids are untrusted text: they reach the page through textContent only.

import { el, svg } from "/page/elements.js";
import { garment, nameOf } from "/page/garments.js";

const K = 12;
const PATIENCE_MS = 20_000;
const $ = (id) => document.getElementById(id);

const note = (text) => el("p", { class: "note" }, text);
const unseen = (text) => el("span", { class: "unseen" }, text);

// ---- Words ---------------------------------------------------------------------------------

// Keys come from the service, so no table may answer for "constructor": none has a prototype.
const SOURCES = { __proto__: null, repurchase: "Buy it again", co_purchase: "Goes with", popular: "Popular" };

const FALLBACKS = {
  __proto__: null,
  unknown_customer: "This customer is new to us: these are popular with everyone.",
  no_ranker: "The ranker is not available: this is the order of the sources, not a personal ranking.",
  popular: "Only the popular articles are available at the moment.",
};

const ABOUT = {
  __proto__: null, customer_activity: "customer", customer_profile: "customer", article_activity: "article",
  article_profile: "article", customer_article: "customer and article", recency: "timing",
  customer_article_now: "customer and article", postal_code_activity: "area", calendar: "season",
};

// Only names that do not read as words by themselves.
const FEATURES = {
  __proto__: null, purchase_weight_now: "Bought often and recently", purchase_weight: "How often it was bought",
  gap_ratio: "Due again, by their usual gap", overdue: "Due for a purchase", price_ratio: "Price, against what they pay",
  share_of_days: "Share of their shopping days with it", age_difference: "Age, against its buyers’",
  t_purchases: "Sales", u_customers: "Different buyers", t_price: "Spend", t_transactions: "Purchases",
  u_articles: "Different articles bought", u_active_days: "Days with a purchase", n_sales_channel: "Channels used",
  median_gap_days: "Usual days between purchases", FN: "Gets the fashion news", Active: "May be written to",
};

const sentence = (name) => {
  const words = name.replaceAll("_", " ").replace(/ name$/, "").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
};

const sourceWords = (source) => SOURCES[source] ?? sentence(source);

/** `article_activity__t_purchases_7d` as "Sales in 7 days (article)". */
function featureWords(feature) {
  const [view, field = ""] = feature.split("__");
  if (field === "rank" || field === "score") {
    const source = view === "best" ? "any source" : `“${sourceWords(view)}”`;
    return `${field === "rank" ? "Place" : "Strength"} in ${source}`;
  }
  const [, base, days] = field.match(/^(.*?)(?:_(\d+d|lifetime))?$/);
  const span = !days ? "" : days === "lifetime" ? " ever" : ` in ${parseInt(days)} days`;
  return (FEATURES[base] ?? sentence(base || view)) + span + (ABOUT[view] ? ` (${ABOUT[view]})` : "");
}

const number = (n) => n.toLocaleString("en", { maximumSignificantDigits: 3 });
/** Prices are in the shop's own unit, from hundredths to thousands. */
const priceWords = (price) => (Math.abs(price) < 1 ? number(price)
  : price.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 }));
const dayWords = (day) => new Date(day).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });
const count = (n, thing) => `${n} ${thing}${n === 1 ? "" : "s"}`;
const looks = ({ product_type: type, colour }) => [type, colour].filter(Boolean).join(", ");
const short = (id) => (id.length > 16 ? `${id.slice(0, 8)}…` : id);

/** A name; ones that shout in capitals are calmed by the style sheet, their text kept. */
function named(tag, name) {
  const shouts = name === name.toUpperCase() && name !== name.toLowerCase();
  return el(tag, { class: shouts ? "name calm" : "name" }, name);
}

// ---- The service ---------------------------------------------------------------------------

async function ask(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const either = signal ? AbortSignal.any([signal, patience]) : patience;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal: either })
    .catch(() => {
      throw new Error(patience.aborted ? "The shop took too long to answer."
        : "The shop cannot be reached. Is the service running?");
    });
  const data = await answer.json().catch(() => null);
  if (answer.ok && data !== null) return data;
  throw new Error(problem(answer.status, data));
}

/** One sentence from an answer that is an error: BentoML's form, pydantic's, or neither. */
function problem(status, data) {
  let said = data?.error ?? data?.detail;
  if (Array.isArray(said)) said = said.map(({ loc, msg }) => `${loc?.at(-1) ?? "request"}: ${msg}`).join("; ");
  if (status >= 500 || typeof said !== "string" || !said.trim()) return `The shop could not answer (error ${status}).`;
  const line = said.replace(/\s+/g, " ").trim();
  return line.length > 200 ? `${line.slice(0, 199)}…` : line;
}

// ---- What they bought ----------------------------------------------------------------------

function showCustomer({ known, age, age_bucket, postal_code, club_member_status, purchases }) {
  const facts = [
    known ? null : "New here: we know nothing about this customer yet",
    (age ?? age_bucket) && `Age ${age ?? age_bucket}`,
    club_member_status && `Club: ${club_member_status.toLowerCase()}`,
    postal_code && `Area: ${short(postal_code)}`,
    purchases.length && `${count(purchases.length, "article")} bought`,
  ];
  $("facts").replaceChildren(...facts.filter(Boolean).map((fact) => el("li", {}, fact)));
  if (!purchases.length) return void $("bought").replaceChildren(note("No purchases yet."));
  const list = el("ol", { class: "history" }, ...purchases.map((article) =>
    el("li", { "data-article": article.article_id },
      garment(article),
      el("div", {},
        named("p", nameOf(article)),
        el("p", { class: "quiet" }, looks(article)),
        el("p", { class: "quiet" }, dayWords(article.last_bought),
          article.times > 1 ? ` · ${article.times} times` : "")))));
  const more = el("button", { type: "button", class: "more", onclick: () => {
    const next = [...list.children].find((item) => !item.checkVisibility());
    list.classList.add("whole");
    next?.setAttribute("tabindex", "-1");
    next?.focus();
  } }, `Show all ${purchases.length}`);
  $("bought").replaceChildren(list, more);
}

// ---- What we recommend ---------------------------------------------------------------------

function driver({ feature, effect }) {
  const up = effect >= 0;
  return el("li", { class: up ? "up" : "down" }, featureWords(feature), " ",
    el("span", { class: "effect" }, unseen(up ? "raises the score by " : "lowers the score by "),
      el("span", { "aria-hidden": "true" }, up ? "+" : "−"), number(Math.abs(effect))));
}

function card(article) {
  const { article_id, because, reason, source, price, description, drivers } = article;
  return el("li", { class: "card", "data-article": article_id, "data-because": because },
    el("div", { class: "tile" }, garment(article),
      el("span", { class: "rank" }, unseen("Rank "), article.rank)),
    el("div", { class: "words" },
      named("h3", nameOf(article)),
      el("p", { class: "quiet" }, looks(article)),
      el("p", { class: "reason" }, reason),
      el("p", { class: "foot" },
        el("span", { class: "badge", "data-source": source }, sourceWords(source)),
        isMissing(price) ? null : el("span", { class: "price" }, unseen("Price "), priceWords(price))),
      el("details", {},
        el("summary", {}, "Details", unseen(` of ${nameOf(article)}`)),
        description ? el("p", {}, description) : null,
        drivers?.length ? el("p", { class: "small-title" }, "What moved its score") : null,
        drivers?.length ? el("ul", { class: "drivers" }, ...drivers.map(driver)) : null,
        el("dl", {}, ...pairs([["Group", article.product_group], ["Department", article.department],
          ["Because of", article.because_name ?? because], ["Article", article_id],
          ["Score", number(article.score)]])))));
}

const isMissing = (value) => value === null || value === undefined || value === "";
const pairs = (rows) => rows.filter(([, value]) => !isMissing(value))
  .map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)));

function showRecommendations(answer) {
  const { recommendations, fallback, release, moment, stages_ms: stages } = answer;
  $("recommended").replaceChildren(
    fallback ? note(FALLBACKS[fallback] ?? `A simpler answer than usual: ${sentence(fallback)}.`) : "",
    recommendations.length ? el("ol", { class: "cards" }, ...recommendations.map(card))
      : note("Nothing to recommend yet: the shop has no sales to learn from."));
  const times = Object.entries(stages ?? {});
  const total = times.reduce((sum, [, ms]) => sum + ms, 0);
  let start = 0;
  const bar = times.map(([, ms]) => {
    const width = total ? (100 * ms) / total : 0;
    return svg("rect", { x: (start += width) - width, width, height: 4 });
  });
  $("answer").replaceChildren(
    el("p", {}, "Answered by ", el("code", {}, release ?? "no release"), moment ? ` as of ${dayWords(moment)}` : "",
      total ? `, in ${number(total)} ms` : ""),
    svg("svg", { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" }, ...bar),
    el("ul", { class: "stages" }, ...times.map(([stage, ms]) => el("li", {}, `${sentence(stage)} ${number(ms)} ms`))));
}

/** Marks the purchases that the card under the pointer or the focus speaks of. */
function markPurchases({ target }) {
  const { article, because } = target.closest?.(".card")?.dataset ?? {};
  for (const item of document.querySelectorAll(".history > li")) {
    item.classList.toggle("linked", [article, because].includes(item.dataset.article));
  }
}

async function showRelease() {
  const release = await ask("/release", {}).catch(() => null);
  if (!release) return;
  const metrics = Object.entries(release.metrics ?? {}).filter(([, metric]) => Number.isFinite(metric?.mean))
    .map(([name, { mean, low, high }]) =>
      [name, number(mean) + (isMissing(low) || isMissing(high) ? "" : ` (${number(low)} to ${number(high)})`)]);
  const parts = Object.entries(release.parts ?? {}).map(([name, version]) => [sentence(name), version]);
  $("release").querySelector("dl").replaceChildren(...pairs([
    ["Release", release.release], ["Alias", release.alias],
    ["Created", release.created && dayWords(release.created)],
    ["Data until", release.data_cutoff && dayWords(release.data_cutoff)], ...parts, ...metrics]));
  $("release").hidden = false;
}

// ---- One customer --------------------------------------------------------------------------

let underWay = new AbortController();

const chosen = () => new URLSearchParams(location.hash.slice(1)).get("customer") ?? "";

function choose(id) {
  const hash = `#${new URLSearchParams({ customer: id })}`;
  if (location.hash === hash) show();
  else location.hash = hash; // and hashchange shows
}

const skeletons = (n, kind) => el("div", { class: `skeletons ${kind}`, "aria-hidden": "true" },
  ...Array.from({ length: n }, () => el("i", {})));

async function fill(panel, path, body, render, signal) {
  panel.setAttribute("aria-busy", "true");
  try {
    const answer = await ask(path, body, signal);
    if (!signal.aborted) render(answer);
    return answer;
  } catch (error) {
    if (!signal.aborted) panel.replaceChildren(el("div", { class: "note trouble" }, el("p", {}, error.message),
      el("button", { type: "button", onclick: show }, "Try again")));
    throw error;
  } finally {
    if (!signal.aborted) panel.removeAttribute("aria-busy");
  }
}

async function show() {
  const id = chosen();
  underWay.abort();
  underWay = new AbortController();
  const { signal } = underWay;
  $("welcome").hidden = id !== "";
  $("shopper").hidden = id === "";
  $("customer").value = id;
  $("answer").replaceChildren();
  document.title = id ? `Customer ${short(id)} · Lookbook` : "Lookbook";
  if (!id) return;

  $("who-title").replaceChildren("Customer ", el("code", { title: id }, short(id)));
  $("facts").replaceChildren();
  $("bought").replaceChildren(skeletons(6, "lines"));
  $("recommended").replaceChildren(skeletons(K, "cards"));
  $("status").textContent = "Loading";
  const [customer, answer] = await Promise.allSettled([
    fill($("bought"), "/customer", { customer_id: id }, showCustomer, signal),
    fill($("recommended"), "/recommend", { customer_id: id, k: K }, showRecommendations, signal),
  ]);
  if (signal.aborted) return;
  const said = [
    customer.value ? `${count(customer.value.purchases.length, "article")} bought.` : customer.reason.message,
    answer.value ? `${count(answer.value.recommendations.length, "recommendation")}.` : answer.reason.message,
  ];
  $("status").textContent = `Customer ${short(id)}: ${[...new Set(said)].join(" ")}`;
}

// ---- The picker: a combobox over the sample, in which any other id can be typed -----------------

let sample = [];

function offer(open) {
  const [list, input] = [$("customers"), $("customer")];
  const typed = input.value === chosen() ? "" : input.value.trim().toLowerCase();
  const matches = open ? sample.filter((one) => `${one.customer_id} ${one.label}`.toLowerCase().includes(typed)) : [];
  list.replaceChildren(...matches.map((one, i) => el("li", {
    role: "option", id: `option-${i}`, "aria-selected": "false", "data-id": one.customer_id,
    onclick: () => { offer(false); choose(one.customer_id); },
  }, el("span", {}, one.label), el("code", {}, short(one.customer_id)))));
  list.hidden = matches.length === 0;
  input.setAttribute("aria-expanded", String(!list.hidden));
  input.removeAttribute("aria-activedescendant");
}

function move(step) {
  if ($("customers").hidden) offer(true);
  const options = [...$("customers").children];
  const now = options.findIndex((option) => option.ariaSelected === "true");
  options[now]?.setAttribute("aria-selected", "false");
  const next = options.at(now < 0 && step < 0 ? -1 : (now + step) % options.length);
  if (!next) return;
  next.setAttribute("aria-selected", "true");
  next.scrollIntoView({ block: "nearest" });
  $("customer").setAttribute("aria-activedescendant", next.id);
}

async function showSample() {
  try {
    sample = await ask("/sample_customers", {});
  } catch (error) {
    $("welcome-text").textContent = `${error.message} You can still type a customer id.`;
    return;
  }
  $("surprise").disabled = sample.length === 0;
  if (!sample.length) {
    $("welcome-title").textContent = "This shop is still empty";
    $("welcome-text").textContent = "It has no customers yet: load a shop with “lookbook data load”, then reload this page.";
  }
  const few = sample.length > 8 ? [...sample.slice(0, 6), ...sample.slice(-2)] : sample;
  $("suggestions").replaceChildren(...few.map((one) => el("li", {}, el("button",
    { type: "button", onclick: () => choose(one.customer_id) },
    el("span", {}, one.label), el("code", {}, short(one.customer_id))))));
}

$("picker").addEventListener("submit", (event) => {
  event.preventDefault();
  const picked = document.querySelector("#customers [aria-selected=true]");
  const id = picked?.dataset.id ?? $("customer").value.trim();
  offer(false);
  if (id) choose(id);
});
$("customer").addEventListener("input", () => offer(true));
$("customer").addEventListener("click", () => offer(true));
$("customer").addEventListener("focus", (event) => event.target.select());
$("customer").addEventListener("blur", () => offer(false));
$("customer").addEventListener("keydown", (event) => {
  const act = { ArrowDown: () => move(1), ArrowUp: () => move(-1), Escape: () => offer(false) }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
$("customers").addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus
$("surprise").addEventListener("click", () => {
  const others = sample.filter((one) => one.customer_id !== chosen());
  choose((others[Math.floor(Math.random() * others.length)] ?? sample[0]).customer_id);
});
for (const event of ["pointerover", "focusin"]) document.addEventListener(event, markPurchases);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash holds the customer
  $("main").focus();
});
addEventListener("hashchange", show);

show();
showSample();
showRelease();
