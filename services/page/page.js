// Lookbook's page: pick a customer, see what they bought beside what we recommend and why.
// Names, reasons and ids are untrusted text: they reach the page through textContent only.

const K = 12;
const PATIENCE_MS = 20_000;
const $ = (id) => document.getElementById(id);

// ---- Elements ------------------------------------------------------------------------------

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const el = (tag, attributes, ...children) => dress(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
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
const nameOf = (article) => article.name ?? `Article ${article.article_id}`;
const short = (id) => (id.length > 16 ? `${id.slice(0, 8)}…` : id);

/** A name; ones that shout in capitals are calmed by the style sheet, their text kept. */
function named(tag, name) {
  const shouts = name === name.toUpperCase() && name !== name.toLowerCase();
  return el(tag, { class: shouts ? "name calm" : "name" }, name);
}

// ---- Garment drawings ----------------------------------------------------------------------

// Outline and seams, on a field of 100 x 100.
const SHAPES = {
  tee: ["M36 18 13 31l8 17 9-5v43h40V43l9 5 8-17-23-13q-14 12-28 0Z", "M30 43l1-17m39 17-1-17M30 81h40M19 43l8-5m54 5-8-5"],
  vest: ["M37 14q1 24-9 32v42h44V46q-10-8-9-32h-6q0 24-7 24t-7-24Z", "M28 83h44"],
  sweater: ["M36 16 18 26l-9 54 12 3 8-37v41h42V46l8 37 12-3-9-54-18-10q-14 9-28 0Z", "M29 81h42M11 73l12 3m66-3-12 3M34 21q16 10 32 0"],
  shirt: ["M36 15 18 25l-9 55 12 3 8-37v42h42V46l8 37 12-3-9-55-18-10-14 12Z", "M50 27v61M36 15l2 15 12-3 12 3 2-15M11 73l12 3m66-3-12 3"],
  trousers: ["M33 11h34l9 79H57l-7-46-7 46H24Z", "M32 18h36M50 18v26M25 85h18m14 0h18"],
  shorts: ["M30 24h40l9 48H54l-4-20-4 20H21Z", "M29 31h42M50 31v21M22 66h25m6 0h25"],
  skirt: ["M36 20h28l17 62q-31 8-62 0Z", "M34 27h32M44 27l-8 57m20-57 8 57"],
  dress: ["M37 9q0 21-6 26 6 8 6 16L20 89q30 7 60 0L63 51q0-8 6-16-6-5-6-26h-5q0 18-8 18T42 9Z", "M37 51h26M22 84q28 6 56 0"],
  jumpsuit: ["M37 9q0 21-6 26l4 14-8 42h18l5-33 5 33h18l-8-42 4-14q-6-5-6-26h-5q0 18-8 18T42 9Z", "M35 49h30M28 86h17m10 0h17"],
  swimsuit: ["M37 12q1 22-7 30 6 11 0 23 14 5 16 21h8q2-16 16-21-6-12 0-23-8-8-7-30h-5q0 24-8 24t-8-24Z", "M33 53q17 8 34 0"],
  bra: ["M21 28l4 18q-1 21 14 21 9 0 11-10 2 10 11 10 15 0 14-21l4-18-4-1-8 17q-13 2-17 10-4-8-17-10l-8-17Z", "M29 56q10 8 18-2m24 2q-10 8-18-2"],
  brief: ["M22 34h56l-2 14q-16 6-20 24H44q-4-18-20-24Z", "M23 41h54"],
  sock: ["M42 11h22v42q0 7-6 12L41 82q-9 8-17 0-6-7 1-13l17-14Z", "M42 20h22M29 66q7 3 7 12"],
  shoe: ["M13 43q0-6 7-5 10 6 20-1l22 17q23 2 25 14v7H13Z", "M13 67h74M45 43l-7 6m13-1-7 6m13-1-7 5"],
  boot: ["M36 13h25v41q23 4 23 18v11H36Z", "M36 76h48M36 22h25"],
  bag: ["M21 40h15q0-27 14-27t14 27h15l6 47H15ZM41 40h18q0-21-9-21t-9 21Z", "M20 48h60M18 81h64"],
  hat: ["M19 64q0-37 27-40a6 6 0 1 1 8 0q27 3 27 40v15H19Z", "M19 64h62"],
  glasses: ["M12 40h76v8q-2 19-18 19-13 0-17-17h-6q-4 17-17 17-16 0-18-19Z", "M17 45h26m14 0h26"],
  scarf: ["M33 15q17 9 34 0l7 10q-5 9-12 12l4 51H46l3-50q-15-3-23-13Z", "M46 80h20M49 38q8 1 13-1"],
  tag: ["M50 9l25 20v60H25V29ZM50 21a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Z", "M30 36v48h40V36"],
};

const SHAPE_OF = [
  ["bra", /\bbra\b|bikini top|bikini/], ["brief", /bottom|brief|boxer|thong|^underwear$/],
  ["swimsuit", /swim|body(suit)?\b(?<!(upper|lower|full) body)/], ["jumpsuit", /jumpsuit|playsuit|dungaree|overall/],
  ["dress", /dress|gown|robe|full body/], ["skirt", /skirt/], ["shorts", /shorts/],
  ["trousers", /trouser|legging|tights$|jean|pyjama|night|lower body/], ["sock", /sock|stocking/],
  ["vest", /\bvest|tank|camisole/], ["sweater", /sweat|hoodie|jumper|knit/],
  ["tee", /t-?shirt|\btop\b|polo|upper body/], ["shirt", /shirt|blouse|jacket|coat|blazer|cardigan/],
  ["boot", /boot/], ["shoe", /shoe|sneaker|sandal|heel|pump|slipper|ballerina|loafer/],
  ["bag", /\bbags?\b|backpack|wallet/], ["glasses", /glasses/], ["scarf", /scarf/], ["hat", /\bhat|cap\b|beanie/],
];

const COLOURS = {
  __proto__: null,
  black: "#24262b", white: "#f7f7f5", beige: "#d9c6a5", grey: "#8e9299", blue: "#3d68b0", pink: "#e58fb0",
  red: "#c23237", green: "#3f8455", khaki: "#86835a", yellow: "#e9c544", orange: "#e3823a", brown: "#80573a",
  mole: "#8b7b6c", lilac: "#a88bc6", purple: "#7d55a0", turquoise: "#3aa5a4", gold: "#c9a54b", silver: "#bcc1c8",
  metal: "#b6bac0", bronze: "#9c6b3f", copper: "#b5693f", cream: "#f0e7d1", ivory: "#f1ebdc", navy: "#25355e",
};

const DARK = ["black", "blue", "navy", "red", "green", "brown", "purple", "bronze"];
const mix = (colour, other, percent) => `color-mix(in srgb, ${colour}, ${other} ${percent}%)`;

/** Fill and line for a name such as "Light Blue"; the style sheet's own where it names no colour. */
function paintOf(name) {
  const words = (name ?? "").toLowerCase().match(/[a-z]+/g) ?? [];
  const base = words.findLast((word) => word in COLOURS);
  if (!base) return { class: "blank" };
  const [light, dark] = [words.includes("light"), words.includes("dark")];
  const fill = dark ? mix(COLOURS[base], "black", 42) : mix(COLOURS[base], "white", light ? 50 : 0);
  const deep = dark || (DARK.includes(base) && !light);
  return { class: deep ? "deep" : "pale", fill, stroke: deep ? mix(fill, "white", 50) : mix(fill, "black", 45) };
}

function shapeOf({ name, product_type: type, product_group: group }) {
  for (const words of [type, group]) {
    const found = words && SHAPE_OF.find(([, pattern]) => pattern.test(words.toLowerCase()));
    if (found) return found[0];
  }
  return !type && /\bbags?\b/i.test(name) ? "bag" : "tag"; // other words of a name mislead: "coat hanger"
}

/** A drawing of the article; a tag with its initials where nothing says what it looks like. */
function garment(article) {
  const shape = shapeOf(article);
  const drawing = svg("g", paintOf(article.colour ?? article.name),
    svg("path", { d: SHAPES[shape][0], "fill-rule": "evenodd" }),
    svg("path", { d: SHAPES[shape][1], class: "seam" }));
  if (shape === "tag") {
    const initials = (nameOf(article).match(/[\p{L}\p{N}]+/gu) ?? []).slice(0, 2).map((word) => word[0]);
    drawing.append(svg("text", { x: 50, y: 67 }, initials.join("").toUpperCase()));
  }
  return svg("svg", { viewBox: "0 0 100 100", class: "garment", "aria-hidden": "true" }, drawing);
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
