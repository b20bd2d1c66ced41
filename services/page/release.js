// The page on the release in production: its parts, how good it was, and the one in its shadow.

import { el, isMissing, note, pairs, svg, unseen } from "/page/elements.js";
import { ask, myToken } from "/page/service.js";
import { dayWords, momentWords, number, percent, sentence } from "/page/words.js";

/** A number with its interval on a line from 0 to 1, or on its own where it does not lie there. */
function whisker({ mean, low, high }) {
  const [from, to] = [Math.min(low ?? mean, mean), Math.max(high ?? mean, mean)];
  const unit = from >= 0 && to <= 1;
  const [least, most] = unit ? [0, 1] : [from - (to - from || 1), to + (to - from || 1)];
  const x = (value) => 1 + (98 * (value - least)) / (most - least);
  return svg("svg", { class: "whisker", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: "M1 5H99", class: "ground" }), svg("path", { d: `M${x(from)} 5H${x(to)}` }),
    svg("path", { d: `M${x(mean)} 1V9`, class: "mean" }));
}

const table = (caption, heads, rows, about) => el("section", { class: "sheet-part" }, el("h3", {}, caption),
  about ? el("p", { class: "quiet" }, about) : null,
  el("div", { class: "sideways", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map(([first, ...others]) => el("tr", {}, el("th", { scope: "row" }, first),
        others.map((cell) => el("td", {}, cell))))))));

const gateRows = (gates) => gates.map(({ gate, passed, figure, needed }) =>
  [sentence(gate), passed ? "passed" : "failed", figure, needed]);

function shadowed(shadow) {
  if (!shadow.release) return note("Nothing stands under the alias “shadow”: no other release is being tried in silence.");
  const rows = [["Requests copied", number(shadow.requests)], ["Failed", number(shadow.failed)], ["Dropped, for too many were waiting", number(shadow.skipped)],
    ["Same first article", isMissing(shadow.same_first) ? null : percent(shadow.same_first)],
    ["Articles that both show", isMissing(shadow.overlap) ? null : percent(shadow.overlap)],
    ["Rank-biased overlap", isMissing(shadow.rank_overlap) ? null : number(shadow.rank_overlap)],
    ...Object.entries(shadow.milliseconds ?? {}).map(([name, ms]) => [`${sentence(name)}, milliseconds`, number(ms)])];
  return el("div", {}, el("p", {}, el("code", {}, shadow.release), " answers a copy of the traffic in silence, beside ",
    el("code", {}, shadow.production), "."), el("dl", { class: "roomy" }, pairs(rows)));
}

/** The page on the release in production. */
export async function showRelease(panel, signal) {
  const release = await ask("/release", {}, { signal });
  const metrics = Object.entries(release.metrics ?? {});
  const measured = metrics.filter(([, metric]) => Number.isFinite(metric?.mean));
  const weeks = release.metrics?.weeks;
  const gates = release.gates ?? [];
  const shadow = el("div", {}, el("p", { class: "quiet waiting" }, "One moment…"));
  panel.replaceChildren(el("section", { id: "about-release", "aria-labelledby": "release-title" },
    el("h2", { id: "release-title", tabindex: "-1" }, "The release in production"),
    el("dl", { class: "roomy" }, pairs([["Release", el("code", {}, release.release)], ["Alias", release.alias],
      ["Created", release.created && momentWords(release.created)],
      ["Learnt from data until", release.data_cutoff && dayWords(release.data_cutoff)],
      ["The shop’s present", release.moment && momentWords(release.moment)]])),
    measured.length ? table("How good it was on weeks it had not seen", ["Metric", "Mean", "95 % interval", unseen("As a picture")],
      measured.map(([name, metric]) => [name, number(metric.mean),
        isMissing(metric.low) || isMissing(metric.high) ? "" : `${number(metric.low)} to ${number(metric.high)}`, whisker(metric)]),
      Array.isArray(weeks) ? `Weeks from ${weeks.map(dayWords).join(" and ")}. Metrics between 0 and 1 are drawn on that scale.` : null) : null,
    gates.length ? table("Gates it was asked before it was let in", ["Gate", "Outcome", "What was seen", "What was needed"], gateRows(gates)) : null,
    table("Its parts", ["Part", "Version"], Object.entries(release.parts ?? {}).map(([name, version]) =>
      [sentence(name), el("code", {}, version)])),
    el("section", { class: "sheet-part" }, el("h3", {}, "In the shadow"), shadow)));
  if (!myToken()) {
    shadow.replaceChildren(el("p", { class: "quiet" }, "The report on the shadow is behind the token; give it below to see it."));
    return;
  }
  const report = await ask("/shadow", {}, { signal, token: true }).then(shadowed, (error) => note(error.message));
  if (!signal.aborted) shadow.replaceChildren(report);
}
