// Lookbook's page: a shop as one of its customers sees it, and why it looks so.
// Names, reasons and ids are untrusted text: they reach the page through textContent only.

import { $, el, icon, note, tell } from "/page/elements.js";
import { garment, nameOf } from "/page/garments.js";
import { close as closeArticle, drawActions, openArticle, opened } from "/page/article.js";
import { chip, chips, focusOn, grid, havePictures, row } from "/page/cards.js";
import { showExperiments, showMaking, totalOf } from "/page/making.js";
import { startPicker } from "/page/picker.js";
import { byPicture, byWords, startSearch } from "/page/search.js";
import { ask, happened, myToken, remember, takeToken, unwatch } from "/page/service.js";
import { count, dayWords, fallbackWords, number, sentence, short } from "/page/words.js";

const EACH = 8; // articles of a carousel
const PICKS = 100;
const PAGE = 24;
const VISITOR = "visitor-";
const QUICK_MS = 150; // what comes sooner needs no placeholder
const PATIENT_MS = 500;
const later = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- Where we are: all of it stands in the fragment, so that it can be shared ---------------------

const KEYS = ["customer", "age", "area", "view", "search", "type", "colour", "from", "to"];
let route = { customer: "" };

function readRoute() {
  const hash = new URLSearchParams(location.hash.slice(1));
  return { release: hash.has("release"), ...Object.fromEntries(KEYS.map((key) => [key, hash.get(key)?.trim() ?? ""])) };
}

const addressOf = (where) =>
  `#${new URLSearchParams(KEYS.filter((key) => where[key]).map((key) => [key, where[key]]))}`;

function go(where) {
  const hash = addressOf(where);
  if (location.hash === hash) show();
  else location.hash = hash; // and hashchange shows
}

const whoIs = ({ customer, age, area }) => ({ customer, age, area });
const choose = (customer) => go({ customer });

// ---- Who we are ----------------------------------------------------------------------------------

const memory = (name) => {
  let value = {};
  try {
    value = JSON.parse(sessionStorage.getItem(name)) ?? {};
  } catch { /* nothing, or nothing of ours */ }
  return { value, keep: () => {
    try {
      sessionStorage.setItem(name, JSON.stringify(value));
    } catch { /* then it is gone with this page */ }
  } };
};
const likes = memory("lookbook-likes"); // {customer: [article ids]}
const forced = memory("lookbook-variants"); // {experiment: variant}

let shopper = { id: "", liked: new Set(), inCart: new Set(), dismissed: new Set() };

function become({ customer: id, age, area }) {
  const context = { ...(age && { age: Number(age) }), ...(area && { postal_code: area }) };
  const same = shopper.id === id;
  shopper = { id, inCart: same ? shopper.inCart : new Set(), dismissed: same ? shopper.dismissed : new Set(),
    liked: new Set(Object.hasOwn(likes.value, id) ? likes.value[id] : []), act, open,
    context: Object.keys(context).length ? context : null };
}

const asked = (more) => ({ customer_id: shopper.id, ...more, ...(shopper.context && { context: shopper.context }),
  ...(choosesVariants() && { variants: forced.value }) });
// Variants are chosen by those who have the token; for others the shop is as it is.
const choosesVariants = () => Boolean(myToken()) && Object.keys(forced.value).length > 0;
const how = (signal) => ({ signal, token: choosesVariants() });

// ---- What there is to see ------------------------------------------------------------------------

const origins = new Map(); // customer and article -> the card of an answer with which the customer last did something
let answer = null; // {articles, draw}: what stands on the page
let toast = null; // {text, row, undo}: what just happened, beside the row in which it did
let facets = null; // {of, articles}: what the filters offer
let looked = null; // {canvas, jpeg}: the picture that is searched by
let underWay = new AbortController();

// Pictures are asked for only where the shop says that it has some; drawings do not wait long for its word.
const pictured = Promise.race([ask("/release", {}).then(({ pictures }) => {
  havePictures(pictures);
  document.documentElement.classList.toggle("pictured", pictures === true);
  if (pictures && answer) draw();
}, () => { /* what else asks will say it */ }), later(PATIENT_MS)]);

// What stands above the rows comes first, so that nothing jumps; but nobody waits long for it.
let arrived = Promise.resolve();

/** Asks for what the address says; `calmly` leaves the old page in place until the new one is there. */
async function load(signal, calmly) {
  const panel = $("results");
  panel.setAttribute("aria-busy", "true");
  try {
    const [next] = await Promise.all([VIEWS[viewOf(route)](signal), pictured, arrived]);
    if (signal.aborted) return null;
    const before = calmly ? answer?.articles : null;
    const fresh = before ? new Set([...next.articles].filter((id) => !before.has(id))) : new Set();
    answer = { ...next, fresh };
    draw();
    return answer;
  } catch (error) {
    if (signal.aborted) return null;
    if (!calmly) {
      answer = null;
      panel.replaceChildren(trouble(error.message));
    }
    throw error;
  } finally {
    if (!signal.aborted) panel.removeAttribute("aria-busy");
  }
}

const viewOf = ({ customer, view, search }) => (view === "picture" ? "picture" : search ? "search"
  : !customer ? "welcome" : view === "picks" ? "picks" : "home");

const idsOf = (articles) => new Set(articles.map(({ article_id }) => article_id));

const VIEWS = {
  async home(signal) {
    const home = await ask("/home", asked({ k: EACH }), how(signal));
    const { carousels, request_id } = home;
    return { made: home, articles: idsOf(carousels.flatMap(({ articles }) => articles)), said: count(carousels.length, "carousel"),
      draw: () => (carousels.length ? carousels.map((one, number) => row(number, one, { request_id, surface: `home/${one.name}` },
        shopper, toast?.row === one.name ? toastNode() : null))
        : [note("Nothing to recommend yet: the shop has no sales to learn from.")]) };
  },

  async picks(signal) {
    const { type, colour, from, to } = route;
    const filters = { ...(type && { product_type: [type] }), ...(colour && { colour: [colour] }),
      ...(from && { price_min: Number(from) }), ...(to && { price_max: Number(to) }) };
    const filtered = Object.keys(filters).length > 0;
    const all = filtered && facets?.of !== shopper.id ? ask("/recommend", asked({ k: PICKS }), how(signal)) : null;
    const found = await ask("/recommend", asked({ k: PICKS, ...(filtered && { filters }) }), how(signal));
    if (!filtered) facets = { of: shopper.id, articles: found.recommendations };
    else if (all) facets = { of: shopper.id, articles: (await all).recommendations };
    offerFilters();
    const { recommendations, request_id } = found;
    return { made: found, articles: idsOf(recommendations), said: count(recommendations.length, "recommendation"),
      draw: () => (recommendations.length ? inParts(recommendations, { request_id, surface: "recommend", ranked: true })
        : [note(filtered ? "Nothing fits these filters. Clear one of them." : "Nothing to recommend yet: the shop has no sales to learn from.")]) };
  },

  search: (signal) => found(byWords(route.search, shopper.id, signal), `“${route.search}”`),

  async picture(signal) {
    if (!looked) return { articles: new Set(), said: "No picture.", draw: () => [note("The picture is gone with the page that it was chosen on. Choose it again, beside the search words.")] };
    return found(byPicture(looked.jpeg, shopper.id, signal), "your picture", looked.canvas);
  },

  welcome: async () => ({ articles: new Set(), said: "", draw: () => [] }),
};

async function found(asking, what, canvas) {
  const { articles, request_id } = await asking;
  return { articles: idsOf(articles), said: `${count(articles.length, "article")} found.`, draw: () => {
    const rest = articles.filter(({ article_id }) => !shopper.dismissed.has(article_id));
    const gone = articles.length - rest.length;
    return [el("div", { class: "found-head" }, canvas ?? null,
      el("h2", {}, articles.length ? `What looks like ${what}` : `Nothing for ${what}`),
      gone ? el("p", { class: "quiet" }, `${gone} left out that you waved away.`) : null,
      el("a", { href: addressOf(whoIs(route)) }, shopper.id ? "Back to the shop" : "Back")),
    ...(rest.length ? [grid(rest, { request_id, surface: "search" }, shopper)] : articles.length ? [] : [note("Try fewer or other words: a kind of garment, a colour, a pattern.")])];
  } };
}

/** A long list, a part at a time. */
function inParts(articles, at) {
  const holder = el("div", { class: "parts" }, grid(articles.slice(0, answer?.shown ?? PAGE), at, shopper));
  const more = () => {
    const now = holder.querySelector(".grid").children.length;
    if (now >= articles.length) return null;
    return el("button", { type: "button", class: "more", onclick: () => {
      answer.shown = now + PAGE;
      holder.replaceChildren(grid(articles.slice(0, now + PAGE), at, shopper), more() ?? "");
      focusOn(holder.querySelectorAll(".card")[now], "open");
    } }, `Show more of ${articles.length}`);
  };
  holder.append(more() ?? "");
  return [holder];
}

const trouble = (message) => el("div", { class: "note trouble" }, el("p", {}, message), el("div", { class: "buttons" },
  el("button", { type: "button", onclick: show }, "Try again"),
  // An experiment that was switched by hand may have ended since.
  Object.keys(forced.value).length ? el("button", { type: "button", onclick: () => force(null) }, "As dealt, without my switches") : null));

/** Puts the answer on the page, and hands the focus and the scrolled rows to their successors. */
function draw() {
  const anchor = placeNow();
  const scrolled = new Map([...document.querySelectorAll("[data-row]")].map((one) =>
    [one.dataset.row, one.querySelector(".track").scrollLeft]));
  const rowTop = (name) => name && document.querySelector(`[data-row="${CSS.escape(name)}"]`)?.getBoundingClientRect().top;
  const name = anchor?.row ?? toast?.row;
  const before = rowTop(name);
  unwatch();
  $("results").replaceChildren(...answer.draw());
  for (const one of document.querySelectorAll("[data-row]")) {
    one.querySelector(".track").scrollLeft = scrolled.get(one.dataset.row) ?? 0;
  }
  for (const one of document.querySelectorAll("#results .card")) {
    if (answer.fresh?.has(one.dataset.article)) one.classList.add("fresh");
  }
  if (toast && !document.querySelector(".toast")) $("results").append(toastNode());
  const after = rowTop(name);
  if (before && after) scrollBy(0, after - before);
  if (anchor) goBackTo(anchor);
  showNotes();
}

function showNotes() {
  const made = answer?.made;
  const switched = Object.entries(forced.value);
  $("notes").replaceChildren(
    made?.fallback ? note(fallbackWords(made.fallback)) : "",
    made?.trouble?.length ? el("p", { class: "note" }, "Not all parts of the shop did their work. ",
      el("a", { href: "#making", onclick: toMaking }, "What was missing")) : "",
    made && switched.length ? el("p", { class: "note" }, "You look at the page by hand as: ",
      switched.map(([experiment, variant]) => `${sentence(experiment)}: ${sentence(variant)}`).join("; "), ". ",
      el("button", { type: "button", class: "link", onclick: () => force(null) }, "As dealt again")) : "");
  $("making").hidden = !made;
  $("made").hidden = !made;
  if (!made) return;
  showMaking(made);
  $("made").textContent = `Made in ${number(totalOf(made))} ms: how?`;
}

// ---- The focus, across redrawing -----------------------------------------------------------------

/** Where the focus is, in words that hold when the page is drawn anew. */
function placeNow(node = document.activeElement) {
  const one = node?.closest?.("[data-article]");
  if (!one || one.closest("dialog")) return null;
  const list = one.parentElement;
  return { article: one.dataset.article, control: node.dataset.control, index: [...list.children].indexOf(one),
    row: list.closest("[data-row]")?.dataset.row, part: list.closest("#session, #wardrobe, #results")?.id };
}

function goBackTo({ article, control, index, row: name, part }) {
  if (document.activeElement !== document.body || $("article").open) return;
  const list = name ? document.querySelector(`[data-row="${CSS.escape(name)}"] .track`) : $(part ?? "results")?.querySelector("ul, ol");
  const all = [...(list?.children ?? [])];
  const next = all.find((one) => one.dataset.article === article) ?? all[Math.min(index, all.length - 1)];
  if (!focusOn(next, control, { preventScroll: true })) $("who-title").focus({ preventScroll: true });
}

// ---- What the customer does ----------------------------------------------------------------------

const KINDS = { __proto__: null, like: "view", put_back: "view", undo: "view", open: "view", cart: "cart", purchase: "purchase", dismiss: "dismiss" };
const SAID = {
  __proto__: null, like: "You like {}.", unlike: "You took back your like of {}; that you looked at it stays known.",
  put_back: "You put {} back.", undo: "{} is back.", open: "You looked at {}.", cart: "{} is in your cart.",
  purchase: "You bought {}.", dismiss: "{} will not be shown again.",
};
const UNDO = { __proto__: null, dismiss: "undo", cart: "put_back" };

const underWayWith = new Set(); // articles: a second press is a slip of the finger

/** Tells the shop, and fetches the next answer at once. */
async function act(what, article, from) {
  const { article_id: id } = article;
  if (underWayWith.has(id)) return;
  underWayWith.add(id);
  try {
    await doIt(what, article, from);
  } finally {
    underWayWith.delete(id);
  }
}

async function doIt(what, article, from) {
  const { article_id: id } = article;
  const place = placeNow(from?.querySelector("[data-control]:focus") ?? from?.querySelector("[data-control]"));
  if (what === "unlike") {
    like(id, false);
    if (answer) draw();
    drawActions();
    tell(SAID.unlike.replace("{}", nameOf(article)));
    return;
  }
  if (!myToken() && !(await wantToken())) return;
  const leaving = ["dismiss", "purchase"].includes(what) && from?.classList.contains("card");
  if (leaving) from.classList.add("leaving");
  const who = shopper.id;
  try {
    // What is bought out of the cart, or taken back, is of the answer that it came from.
    if (from?.dataset.request) origins.set(`${who} ${id}`, from);
    await happened(who, id, KINDS[what], origins.get(`${who} ${id}`) ?? from);
  } catch (error) {
    from?.classList.remove("leaving");
    if (error.status === 401 && await wantToken("The shop does not know this token.")) return doIt(what, article, from);
    toast = { text: error.status === 401 ? "Nothing was told to the shop: it wants its token." : error.message, row: place?.row };
    showToast();
    return;
  }
  if (shopper.id !== who) return; // somebody else has come in since
  shopper.inCart[what === "cart" ? "add" : "delete"](id);
  shopper.dismissed[what === "dismiss" ? "add" : "delete"](id);
  if (what === "like" || what === "dismiss") like(id, what === "like");
  if (what === "dismiss" && opened()) closeArticle();
  drawActions();
  const text = SAID[what].replace("{}", nameOf(article));
  toast = { text, row: place?.row ?? toast?.row, undo: UNDO[what] && { what: UNDO[what], article } };
  const byToast = document.activeElement?.closest(".toast") !== null;
  await again(text);
  // Who undid something goes on where it stands now.
  if (byToast && document.activeElement === document.body) {
    const back = [...document.querySelectorAll("#results [data-article]")].find((one) => one.dataset.article === id);
    if (!focusOn(back, "open")) $("who-title").focus();
  }
}

function like(id, whether) {
  shopper.liked[whether ? "add" : "delete"](id);
  likes.value[shopper.id] = [...shopper.liked];
  likes.keep();
}

/** The next answer, in place of the one before. */
async function again(text) {
  underWay.abort();
  underWay = new AbortController();
  const { signal } = underWay;
  const [, next] = await Promise.allSettled([loadCustomer(signal), load(signal, true)]);
  if (signal.aborted) return;
  if (next.status === "rejected") {
    toast = { ...toast, text: `${text} ${next.reason.message}` };
    return showToast();
  }
  const news = next.value.fresh.size;
  toast = { ...toast, text: `${text} ${news ? `${count(news, "article")} on the page ${news === 1 ? "is" : "are"} new.` : ""}`.trim() };
  showToast();
}

function open(article, from) {
  const { position, request, surface } = from?.dataset ?? {};
  opener = placeNow(from?.querySelector("[data-control=open]")) ?? opener;
  openArticle(article, shopper, { position, request_id: request, surface });
  // What is in the cart stays there: looking at it again says less.
  if (!shopper.id || !myToken() || shopper.inCart.has(article.article_id)) return;
  const who = shopper.id;
  happened(who, article.article_id, "view", from).then(() => {
    shopper.dismissed.delete(article.article_id);
    toast = { text: SAID.open.replace("{}", nameOf(article)), row: opener?.row };
    return shopper.id === who ? again(toast.text) : null;
  }).catch(() => { /* looking goes on without */ });
}

let opener = null;
$("article").addEventListener("close", () => {
  if (document.activeElement?.closest("#article")) document.activeElement.blur();
  if (opener) goBackTo(opener);
});
$("article").addEventListener("click", ({ target, currentTarget }) => target === currentTarget && closeArticle());

/** Beside its row in the order of the keys, at the foot of the window to the eye. */
function toastNode() {
  const { text, undo } = toast;
  const shut = (focus) => {
    toast = null;
    const node = document.querySelector(".toast");
    const list = node?.parentElement.querySelector(".track, .grid");
    node?.remove();
    if (focus) focusOn([...(list?.children ?? [])].find((one) => one.querySelector("[tabindex='0']")), "open");
  };
  return el("div", { class: "toast", role: "group", "aria-label": "What just happened",
    onkeydown: ({ key }) => key === "Escape" && shut(true) },
  el("p", {}, text),
  undo ? el("button", { type: "button", class: "link", "data-control": "undo",
    onclick: ({ currentTarget }) => act(undo.what, undo.article, currentTarget.closest(".row")) }, "Undo") : null,
  el("button", { type: "button", class: "round", "aria-label": "Close", onclick: () => shut(true) }, icon("cross")));
}

function showToast() {
  const held = document.activeElement?.closest(".toast");
  document.querySelector(".toast")?.remove();
  const node = toastNode();
  const beside = toast.row && document.querySelector(`[data-row="${CSS.escape(toast.row)}"]`);
  (beside || $("results")).append(node);
  if (held) node.querySelector("button").focus();
  tell(toast.text);
}

// ---- The token -----------------------------------------------------------------------------------

/** Asks for the token in a dialog; true if one was given. */
function wantToken(why = "") {
  const dialog = $("token");
  $("token-trouble").textContent = why;
  $("token-trouble").hidden = !why;
  $("token-field").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    const token = dialog.returnValue === "use" ? $("token-field").value.trim() : "";
    if (token) remember(token);
    showTokenButton();
    done(Boolean(token));
  }, { once: true }));
}

function showTokenButton() {
  $("give-token").hidden = Boolean(myToken());
  $("give-token").textContent = "Give the shop’s token";
}
$("give-token").addEventListener("click", async () => { if (await wantToken()) show(); });

// ---- Who the customer is, and what they did ------------------------------------------------------

async function loadCustomer(signal) {
  const customer = await ask("/customer", { customer_id: shopper.id }, { signal }).catch((error) => {
    if (!signal.aborted) $("bought").replaceChildren(note(error.message));
    throw error;
  });
  await pictured;
  if (signal.aborted) return null;
  const newest = new Map();
  for (const one of customer.session ?? []) if (!newest.has(one.article_id)) newest.set(one.article_id, one);
  const those = (kind) => [...newest.values()].filter((one) => one.kind === kind);
  const [cart, gone] = [those("cart"), those("dismiss")];
  const states = [...idsOf(cart)].sort().join() !== [...shopper.inCart].sort().join();
  shopper.inCart = idsOf(cart);
  shopper.dismissed = idsOf(gone);
  showFacts(customer);
  showSession(cart, gone);
  showBought(customer.purchases);
  if (states && answer) draw();
  return customer;
}

function showFacts({ known, age, age_bucket, postal_code, club_member_status, purchases }) {
  const [told, area] = [shopper.context?.age, shopper.context?.postal_code];
  const facts = [
    known ? null : "New here: we know nothing about this customer yet",
    (age ?? age_bucket ?? told) && `Age ${age ?? age_bucket ?? told}`,
    club_member_status && `Club: ${club_member_status.toLowerCase()}`,
    (postal_code ?? area) && `Area: ${short(postal_code ?? area)}`,
    purchases.length && `${count(purchases.length, "article")} bought`,
  ];
  $("facts").replaceChildren(...facts.filter(Boolean).map((fact) => el("li", {}, fact)));
  $("tell-us").hidden = known;
  $("wardrobe").hidden = !known && !purchases.length;
  if (postal_code) offerArea(postal_code);
}

/** Areas that were come across are offered to somebody new. */
function offerArea(area) {
  const list = $("areas");
  if (list.children.length < 20 && ![...list.children].some(({ value }) => value === area)) list.append(el("option", { value: area }));
}

function showSession(cart, gone) {
  const held = placeNow();
  const small = (label, what, article) => el("button", { type: "button", class: "small", "data-control": what,
    "aria-label": `${label}: ${nameOf(article)}`, onclick: ({ currentTarget }) => act(what, article, currentTarget.closest("li")) }, label);
  const part = (id, title, articles, ...does) => (articles.length ? el("section", { "aria-labelledby": id },
    el("h2", { id }, title, el("span", { class: "count" }, ` ${articles.length}`)),
    chips(articles.map((article) => chip(article, open, el("span", { class: "buttons" },
      does.map(([label, what]) => small(label, what, article))))))) : null);
  $("session").replaceChildren(...[part("cart-title", "In your cart", cart, ["Buy", "purchase"], ["Put back", "put_back"]),
    part("gone-title", "Not for you", gone, ["Undo", "undo"])].filter(Boolean));
  if (held?.part === "session") goBackTo(held);
}

function showBought(purchases) {
  if (!purchases.length) return void $("bought").replaceChildren(el("p", { class: "quiet" }, "No purchases yet."));
  const held = placeNow();
  const list = $("bought").querySelector("ul");
  const left = list?.scrollLeft ?? 0;
  const next = chips(purchases.map((article) => chip({ ...article,
    why: dayWords(article.last_bought) + (article.times > 1 ? ` · ${article.times} times` : "") }, open)));
  $("bought").replaceChildren(next);
  next.scrollLeft = left;
  if (held?.part === "wardrobe") goBackTo(held);
}

/** Marks the purchases that the card under the pointer or the focus speaks of. */
function markPurchases({ target }) {
  const { article, because } = target.closest?.(".card")?.dataset ?? {};
  for (const item of document.querySelectorAll("#bought li")) {
    item.classList.toggle("linked", [article, because].includes(item.dataset.article));
  }
}

// ---- Filters -------------------------------------------------------------------------------------

function offerFilters() {
  const form = $("filters");
  const options = (field, any, now) => {
    const values = [...new Set([...facets.articles.map((one) => one[field]), now].filter(Boolean))].sort();
    return [el("option", { value: "" }, any), ...values.map((value) => el("option", { value, selected: value === now }, value))];
  };
  form.elements.type.replaceChildren(...options("product_type", "Every kind", route.type));
  form.elements.colour.replaceChildren(...options("colour", "Every colour", route.colour));
}
$("filters").addEventListener("change", ({ currentTarget }) => {
  if (!currentTarget.reportValidity()) return;
  const { type, colour, from, to } = currentTarget.elements;
  go({ ...whoIs(route), view: "picks", type: type.value, colour: colour.value, from: from.value, to: to.value });
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("reset", (event) => {
  event.preventDefault();
  go({ ...whoIs(route), view: "picks" });
});

// ---- The whole page ------------------------------------------------------------------------------

const skeletons = () => el("div", { class: "skeletons", "aria-hidden": "true" },
  ...Array.from({ length: 12 }, () => el("i", {})));

async function show() {
  takeToken();
  showTokenButton();
  const was = route;
  route = readRoute();
  underWay.abort();
  underWay = new AbortController();
  const { signal } = underWay;
  if ($("article").open) closeArticle();
  become(route);
  [answer, toast, opener] = [null, null, null];
  const view = viewOf(route);
  const { release, customer: id } = route;
  $("welcome").hidden = release || view !== "welcome";
  $("shop").hidden = release || !id;
  $("filters").hidden = release || view !== "picks";
  $("making").hidden = $("made").hidden = true;
  $("notes").replaceChildren();
  $("customer").value = id.startsWith(VISITOR) ? "" : id;
  $("words").value = route.search;
  $("logo").setAttribute("href", id ? addressOf(whoIs(route)) : "#");
  document.title = release ? "The release · Lookbook" : id ? `${titleOf(id)} · Lookbook` : "Lookbook";
  for (const name of ["from", "to"]) {
    const input = $("filters").elements[name];
    if (input !== document.activeElement) input.value = route[name];
  }
  for (const link of $("views").children) {
    link.href = addressOf({ ...whoIs(route), view: link.dataset.view === "home" ? "" : link.dataset.view });
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (release) return showReleasePage(signal, was.release === false);
  if (view === "welcome") {
    $("results").replaceChildren();
    return;
  }

  $("results").replaceChildren();
  setTimeout(() => {
    if (!signal.aborted && !answer && !$("results").hasChildNodes()) $("results").replaceChildren(skeletons());
  }, QUICK_MS);
  if (was.customer !== id || viewOf(was) !== view) scrollTo(0, 0);
  tell("Loading");
  let customerComes = null;
  arrived = Promise.resolve();
  if (id) {
    if (was.customer !== id) {
      $("shop").classList.add("arriving");
      $("who-title").replaceChildren(...(id.startsWith(VISITOR) ? ["Somebody new"] : ["Customer ", el("code", { title: id }, short(id))]));
      for (const part of ["facts", "session", "bought", "experiments"]) $(part).replaceChildren();
      $("bought").append(el("div", { class: "chips-to-be" }));
      $("tell-us").hidden = true;
      $("wardrobe").hidden = id.startsWith(VISITOR);
    }
    $("tell-us").elements.age.value = route.age;
    $("tell-us").elements.area.value = route.area;
    customerComes = loadCustomer(signal);
    arrived = Promise.race([customerComes.catch(() => null), later(PATIENT_MS)])
      .then(() => signal.aborted || $("shop").classList.remove("arriving"));
    showExperiments(id, forced.value, force, signal);
  }
  const [seen, customer] = await Promise.allSettled([load(signal, false), customerComes]);
  if (signal.aborted) return;
  const said = [
    id && (customer.value ? `${count(customer.value.purchases.length, "article")} bought.` : customer.reason.message),
    seen.value ? `${seen.value.said.replace(/\.?$/, ".")}` : seen.reason.message,
  ];
  tell(`${id ? `${titleOf(id)}: ` : ""}${[...new Set(said.filter(Boolean))].join(" ")}`);
}

const titleOf = (id) => (id.startsWith(VISITOR) ? "Somebody new" : `Customer ${short(id)}`);

async function showReleasePage(signal, focus) {
  const panel = $("results");
  panel.replaceChildren(skeletons());
  scrollTo(0, 0);
  try {
    const { showRelease } = await import("/page/release.js"); // few come here
    await showRelease(panel, signal);
    if (focus && !signal.aborted) $("release-title").focus();
  } catch (error) {
    if (!signal.aborted) panel.replaceChildren(trouble(error.message));
  }
}

/** Makes the page by a variant chosen by hand; as dealt where it is null, all of them where no experiment is named. */
function force(experiment, variant) {
  if (experiment === null) for (const name of Object.keys(forced.value)) delete forced.value[name];
  else if (variant === null) delete forced.value[experiment];
  else forced.value[experiment] = variant;
  forced.keep();
  const text = variant ? `${sentence(experiment)}: ${sentence(variant)}.` : "The page is as dealt again.";
  toast = { text };
  again(text).then(() => showExperiments(shopper.id, forced.value, force, underWay.signal));
}

function toMaking(event) {
  event.preventDefault(); // the hash holds the customer
  $("making").scrollIntoView();
  $("making").focus({ preventScroll: true });
}

for (const form of [$("newcomer"), $("tell-us")]) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { age, area } = form.elements;
    const customer = form.id === "newcomer" ? VISITOR + Math.random().toString(16).slice(2, 10) : route.customer;
    go({ customer, age: age.value, area: area.value.trim() });
  });
}
for (const event of ["pointerover", "focusin"]) document.addEventListener(event, markPurchases);
$("made").addEventListener("click", toMaking);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
addEventListener("hashchange", show);

// A rail of clothes to walk in under.
$("rail").replaceChildren(...[["Dress", "Dark Red"], ["Shirt", "Light Blue"], ["Trousers", "Dark Blue"], ["Coat", "Yellowish Brown"],
  ["Skirt", "Lilac"], ["T-shirt", "White"],
  ["Sweater", "Green"], ["Jumpsuit", "Turquoise"], ["Bag", "Dark Brown"], ["Shorts", "Beige"], ["Dress", "Yellow"]].map(([product_type, colour]) =>
  el("span", {}, garment({ article_id: "", product_type, colour }))));

startPicker(() => route.customer ?? "", choose);
startSearch(
  (search) => go({ ...whoIs(route), search }),
  (picture) => { looked = picture; go({ ...whoIs(route), view: "picture" }); },
  (message) => { $("notes").replaceChildren(note(message)); tell(message); });
show();
