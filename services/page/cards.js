// Articles as cards, and rows and grids of them.

import { el, icon, isMissing, unseen } from "/page/elements.js";
import { garment, nameOf, tintOf } from "/page/garments.js";
import { standing, watch } from "/page/service.js";
import { looks, priceWords } from "/page/words.js";

let pictures = false;
/** Whether the shop has pictures: where it has none, none is asked for. */
export const havePictures = (they) => { pictures = they === true; };

/** The article's picture, or the drawing where there is none. */
export function picture(article) {
  const drawn = garment(article);
  if (!pictures) return drawn;
  return el("img", { src: `/pictures/${encodeURIComponent(article.article_id)}.jpg`, alt: "", loading: "lazy",
    decoding: "async", width: 300, height: 400, class: "photo", onerror: ({ target }) => target.replaceWith(drawn) });
}

/** A name; ones that shout in capitals are calmed by the style sheet, their text kept. */
export function named(tag, name, ...children) {
  const shouts = name === name.toUpperCase() && name !== name.toLowerCase();
  return el(tag, { class: shouts ? "name calm" : "name" }, children.length ? children : name);
}

/** A field in the article's own colour with its picture on it. */
export function tile(article) {
  const field = el("div", { class: "tile" }, picture(article));
  const tint = tintOf(article);
  if (tint) field.style.setProperty("--tint", tint);
  return field;
}

export const price = (article) => (isMissing(article.price) ? null
  : el("span", { class: "price" }, unseen("Price "), priceWords(article.price)));

/**
 * What a customer can do with an article, as buttons.
 *
 * @param shopper `act(kind, article, card)`, and the sets `liked` and `inCart` of article ids
 */
export function actions(article, shopper) {
  const name = nameOf(article);
  const [liked, inCart] = [shopper.liked.has(article.article_id), shopper.inCart.has(article.article_id)];
  const button = (look, kind, pressed, label, ...children) => el("button", {
    type: "button", class: look, "data-control": look.split(" ")[0], "aria-pressed": pressed, "aria-label": `${label}: ${name}`,
    title: children.length > 1 ? null : label,
    onclick: ({ currentTarget }) => shopper.act(kind, article, currentTarget.closest("[data-article]")),
  }, ...children);
  return {
    cart: button(inCart ? "cart full" : "cart", inCart ? "put_back" : "cart", null, inCart ? "In your cart" : "Add to cart",
      icon("bag"), el("span", {}, inCart ? "In your cart" : "Add to cart")),
    heart: button("heart", liked ? "unlike" : "like", String(liked), "Like", icon("heart")),
    cross: button("cross", "dismiss", null, "Not for me", icon("cross")),
  };
}

/**
 * A card.
 *
 * @param at `request_id` and `surface` of the answer it stands in; `ranked` to show its place
 */
export function card(article, at, shopper) {
  const { article_id, because, reason, source } = article;
  const does = shopper.id ? actions(article, shopper) : null;
  const sponsored = source === "sponsored";
  return el("li", { class: "card", "data-article": article_id, "data-because": because, "data-customer": shopper.id || null,
    ...standing({ ...at, position: article.rank }) },
  tile(article),
  sponsored ? el("span", { class: "badge" }, "Sponsored") : at.ranked ? el("span", { class: "badge rank" }, unseen("Rank "), article.rank) : null,
  el("div", { class: "words" },
    named("h3", nameOf(article), el("button", { type: "button", class: "open", "data-control": "open",
      "aria-haspopup": "dialog", onclick: ({ currentTarget }) => shopper.open(article, currentTarget.closest(".card")) },
    nameOf(article))),
    el("p", { class: "quiet" }, looks(article)),
    el("p", { class: "reason" }, reason),
    el("div", { class: "foot" }, price(article), does?.cart)),
  does?.heart, does?.cross);
}

/** Only one article of a list is on the way of the Tab key; the arrows go from article to article. */
export function roving(list) {
  const all = [...list.children];
  const holding = (node) => all.find((one) => one.contains(node));
  const hold = (current) => {
    for (const one of all) {
      for (const control of one.querySelectorAll("button")) control.tabIndex = one === current ? 0 : -1;
    }
  };
  hold(all[0]);
  list.setAttribute("aria-describedby", "arrows");
  list.addEventListener("focusin", ({ target }) => hold(holding(target)));
  list.addEventListener("keydown", (event) => {
    const now = all.indexOf(holding(event.target));
    const next = { __proto__: null, ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: all.length - 1 }[event.key];
    if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    focusOn(all[next], event.target.dataset.control);
  });
  return list;
}

/** Focuses a control of a card, if there is such a card. */
export function focusOn(one, control, how) {
  const target = one?.querySelector(`[data-control="${CSS.escape(control)}"]`) ?? one?.querySelector("[data-control]");
  target?.focus(how);
  return Boolean(target);
}

const calmly = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");

/** A row that is swiped, scrolled or stepped through. */
export function row(number, { name, title, articles }, at, shopper, after) {
  const track = roving(el("ul", { class: "track" }, articles.map((article) => card(article, at, shopper))));
  const step = (label, sign, way) => el("button", { type: "button", class: "step", "aria-label": `${label}: ${title}`,
    onclick: () => track.scrollBy({ left: way * 0.85 * track.clientWidth, behavior: calmly() }) }, icon(sign));
  const steps = [step("Back", "back", -1), step("On", "on", 1)];
  const ends = () => {
    const over = track.scrollWidth - track.clientWidth;
    steps[0].setAttribute("aria-disabled", track.scrollLeft <= 2);
    steps[1].setAttribute("aria-disabled", track.scrollLeft >= over - 2);
    steps[0].parentElement.hidden = over <= 2;
  };
  track.addEventListener("scroll", ends, { passive: true });
  const section = el("section", { class: "row", "data-row": name, "aria-labelledby": `row-${number}` },
    el("div", { class: "row-head" }, el("h2", { id: `row-${number}` }, title), el("div", { class: "steps" }, steps)),
    track, after);
  new ResizeObserver(ends).observe(track);
  watch(track.children);
  return section;
}

export function grid(articles, at, shopper) {
  const list = roving(el("ul", { class: "grid" }, articles.map((article) => card(article, at, shopper))));
  watch(list.children);
  return list;
}

export const chips = (all) => roving(el("ul", { class: "chips" }, all));

/** Something small to open: a picture and a name. */
export function chip(article, open, ...more) {
  return el("li", { class: "chip", "data-article": article.article_id },
    el("button", { type: "button", class: "chip-open", "data-control": "open", "aria-haspopup": "dialog",
      onclick: ({ currentTarget }) => open(article, currentTarget.closest("li")) },
    tile(article), el("span", {}, named("span", nameOf(article)), el("span", { class: "quiet" }, looks(article)),
      article.why ? el("span", { class: "quiet" }, article.why) : null)),
    ...more);
}
