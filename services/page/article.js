// One article: what it is, why it is here, what is like it and what goes with it.

import { $, el, icon, isMissing, note, pairs, svg, unseen } from "/page/elements.js";
import { nameOf } from "/page/garments.js";
import { actions, chip, chips, named, price, tile } from "/page/cards.js";
import { ask, standing } from "/page/service.js";
import { count, featureWords, looks, number, percent, sourceWords } from "/page/words.js";

const LIKE_IT = 12;
let way = []; // articles opened one from another
let underWay = new AbortController();

/** The article that is open, or undefined. */
export const opened = () => ($("article").open ? way.at(-1)?.article : undefined);

export function close() {
  $("article").close();
}

/**
 * Opens an article over the page.
 *
 * @param from where it stood: `request_id`, `position` and `surface`
 */
export function openArticle(article, shopper, from) {
  const dialog = $("article");
  if (!dialog.open) {
    way = [];
    dialog.showModal();
  }
  way.push({ article, shopper, from });
  show();
}

/** Draws what can be done with the open article again. */
export function drawActions() {
  if (!opened() || !$("article-actions")) return;
  const { article, shopper } = way.at(-1);
  const held = document.activeElement?.closest("#article-actions") && document.activeElement.dataset.control;
  const does = actions(article, shopper);
  const buy = el("button", { type: "button", class: "buy", "data-control": "buy",
    onclick: ({ currentTarget }) => shopper.act("purchase", article, currentTarget.closest("[data-article]")) }, "Buy now");
  $("article-actions").replaceChildren(does.cart, buy, does.heart, does.cross);
  if (held) $("article-actions").querySelector(`[data-control="${held}"]`)?.focus();
}

function show() {
  underWay.abort();
  underWay = new AbortController();
  const { article, shopper, from } = way.at(-1);
  const back = way.length > 1 ? el("button", { type: "button", class: "round", "aria-label": "Back", onclick: () => {
    way.pop();
    show();
  } }, icon("back")) : null;
  const why = el("div", { id: "why" });
  const like = el("div", {});
  const goes = el("div", {});
  $("article").replaceChildren(el("div", { class: "sheet", "data-article": article.article_id, ...standing(from ?? {}) },
    el("div", { class: "sheet-head" }, back,
      el("button", { type: "button", class: "round close", "aria-label": "Close", onclick: close }, icon("cross"))),
    el("div", { class: "sheet-article" }, tile(article),
      el("div", {},
        named("h2", nameOf(article), el("span", { id: "article-name", tabindex: "-1" }, nameOf(article))),
        el("p", { class: "quiet" }, looks(article)), price(article),
        article.description ? el("p", { class: "description" }, article.description) : null)),
    shopper.id ? el("div", { id: "article-actions", class: "buttons" }) : null,
    el("p", { id: "article-status", role: "status", class: "quiet" }),
    why, goes, like,
    el("dl", { class: "facts" }, pairs([["Department", article.department], ["Group", article.product_group],
      ["Article", article.article_id]]))));
  drawActions();
  $("article").scrollTop = 0;
  $("article-name").focus();

  const { signal } = underWay;
  const open = (other, node) => shopper.open(other, node);
  fill(why, "Why it is here", shopper.id && ask("/explain", { customer_id: shopper.id, article_id: article.article_id,
    ...(shopper.context && { context: shopper.context }) }, { signal }), explained, signal);
  const row = (surface) => ({ articles }) => (articles.length
    ? chips(articles.map((other) => {
      const one = chip(other, open);
      for (const [name, value] of Object.entries(standing({ position: other.rank, surface }))) if (value) one.setAttribute(name, value);
      return one;
    })) : note("Nothing yet."));
  const asked = { article_id: article.article_id, k: LIKE_IT };
  fill(goes, "Goes well with it", ask("/goes_with", asked, { signal }), row("article/goes_with"), signal);
  fill(like, "Like it", ask("/similar", asked, { signal }), row("article/similar"), signal);
}

async function fill(panel, title, asked, render, signal) {
  if (!asked) return;
  const head = el("h3", {}, title);
  panel.replaceChildren(head, el("p", { class: "quiet waiting" }, "One moment…"));
  const body = await asked.then(render, (error) => (signal.aborted ? null : note(error.message)));
  if (!signal.aborted) panel.replaceChildren(head, body);
}

/** Why the article stands where it stands, down to every number that was looked at. */
function explained({ reason, candidate, shown, rank, candidates, chance, score, named_by, drivers, features }) {
  const place = !candidate ? "No source named this article for this customer."
    : !shown ? "The shop’s rules keep it off the page at the moment."
      : rank ? `Place ${rank} of ${count(candidates, "candidate")}.` : "";
  const widest = Math.max(...drivers.map(({ effect }) => Math.abs(effect)), 1e-9);
  const bar = ({ feature, effect }) => {
    const width = (50 * Math.abs(effect)) / widest;
    return el("li", { class: effect >= 0 ? "up" : "down" }, el("span", {}, featureWords(feature)),
      svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("rect", { x: effect >= 0 ? 50 : 50 - width, width, height: 6 })),
      el("span", { class: "effect" }, unseen(effect >= 0 ? "raises the score by " : "lowers the score by "),
        el("span", { "aria-hidden": "true" }, effect >= 0 ? "+" : "−"), number(Math.abs(effect))));
  };
  const seen = Object.entries(features ?? {}).filter(([, value]) => !isMissing(value));
  return el("div", {},
    el("p", { class: "because" }, reason),
    el("p", {}, place, isMissing(chance) ? "" : ` Chance of a purchase within a week: ${percent(chance)}.`),
    named_by.length ? el("div", {}, el("h4", {}, "Who named it"),
      el("ul", { class: "named-by" }, named_by.map(({ source, rank: at }) =>
        el("li", {}, sourceWords(source), el("b", {}, unseen(", place "), at))))) : null,
    drivers.length ? el("div", {}, el("h4", {}, "What moved its score", isMissing(score) ? "" : ` of ${number(score)}`),
      el("ul", { class: "drivers" }, drivers.map(bar))) : null,
    seen.length ? el("details", {}, el("summary", {}, `All ${count(seen.length, "number")} that were looked at`),
      el("dl", { class: "features" }, pairs(seen.map(([feature, value]) =>
        [featureWords(feature), typeof value === "number" ? number(value) : String(value)])))) : null);
}
