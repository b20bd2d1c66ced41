// How an answer was made, which experiments it is part of, and the release that made it.

import { $, el, isMissing, note, pairs, svg, unseen } from "/page/elements.js";
import { ask, myToken } from "/page/service.js";
import { dayWords, fallbackWords, momentWords, number, percent, sentence, stageWords, troubleWords } from "/page/words.js";

const variantsWords = (variants) => Object.entries(variants ?? {})
  .map(([experiment, variant]) => `${sentence(experiment)}: ${sentence(variant)}`).join("; ");

export const totalOf = ({ stages_ms: stages }) => Object.values(stages ?? {}).reduce((sum, ms) => sum + ms, 0);

/** Stages with their milliseconds, and in plain words what was not as usual. */
export function showMaking(answer) {
  const { release, moment, stages_ms: stages, fallback, trouble, variants, request_id } = answer;
  const times = Object.entries(stages ?? {});
  const total = totalOf(answer);
  let start = 0;
  const bar = times.map(([, ms]) => {
    const width = total ? (100 * ms) / total : 0;
    return svg("rect", { x: (start += width) - width, width, height: 4 });
  });
  $("answer").replaceChildren(
    el("p", { class: "made-in" }, el("b", {}, total ? `${number(total)} ms` : "At once"), " from the question to the answer."),
    svg("svg", { class: "bar", viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" }, ...bar),
    el("ul", { class: "stages" }, times.map(([stage, ms]) => el("li", {}, stageWords(stage), " ", el("b", {}, `${number(ms)} ms`)))),
    fallback ? note(fallbackWords(fallback)) : null ?? "",
    trouble?.length ? el("ul", { class: "note trouble" }, trouble.map((one) => el("li", {}, troubleWords(one)))) : "",
    el("dl", {}, pairs([["Release", release ? el("code", {}, release) : null],
      ["The shop’s present", moment && momentWords(moment)],
      ["Experiments", variantsWords(variants) || "none touched this answer"],
      ["Request", request_id && el("code", {}, request_id)]])));
}

/**
 * The switch: which variant of each experiment this page is made by.
 *
 * @param forced {experiment: variant} chosen by hand
 * @param force (experiment, variant or null) => asks again
 */
export async function showExperiments(customer_id, forced, force, signal) {
  const panel = $("experiments");
  const head = el("h3", {}, "Experiments");
  if (!myToken()) {
    panel.replaceChildren(head, el("p", { class: "quiet" }, "Who tries what is behind the token; give it below to see and to switch."));
    return;
  }
  let answer;
  try {
    answer = await ask("/experiments", { customer_id }, { signal, token: true });
  } catch (error) {
    if (!signal.aborted) panel.replaceChildren(head, el("p", { class: "quiet" }, error.message));
    return;
  }
  if (signal.aborted) return;
  const experiments = Array.isArray(answer) ? answer : answer.experiments ?? [];
  const dealt = answer.assigned ?? answer.variants ?? {};
  const one = ({ name, description, share, layer, variants }) => {
    const now = Object.hasOwn(forced, name) ? forced[name] : null;
    const choice = (value, title, ...about) => el("label", { class: "choice" },
      el("input", { type: "radio", name: `experiment-${name}`, "data-control": `${name}:${value ?? ""}`, checked: now === value,
        onchange: () => force(name, value) }), el("span", {}, title, ...about));
    return el("fieldset", { "data-article": null }, el("legend", {}, sentence(name)),
      el("p", { class: "quiet" }, description, ` ${percent(share)} of customers, layer “${layer}”.`),
      choice(null, "As dealt", el("span", { class: "quiet" }, Object.hasOwn(dealt, name)
        ? ` ${sentence(dealt[name])}` : " this customer is not in it")),
      variants.map((variant) => choice(variant.name, sentence(variant.name), el("span", { class: "quiet" },
        variant.changes?.length ? ` ${variant.changes.map(sentence).join(", ")}` : " nothing is changed"))));
  };
  const held = document.activeElement?.closest("#experiments") && document.activeElement.dataset.control;
  panel.replaceChildren(head, experiments.length ? el("div", { class: "fieldsets" }, experiments.map(one))
    : el("p", { class: "quiet" }, "None is declared."));
  if (held) panel.querySelector(`[data-control="${CSS.escape(held)}"]`)?.focus();
}

// ---- The release ---------------------------------------------------------------------------------

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

function gateRows(gates) {
  const all = Array.isArray(gates) ? gates : Object.entries(gates).map(([name, gate]) => ({ name, ...Object(gate) }));
  return all.map(({ name, gate, passed, ok, detail, says, reason }) =>
    [sentence(name ?? gate ?? "gate"), passed ?? ok ? "passed" : "failed", detail ?? says ?? reason ?? ""]);
}

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
  const gates = release.gates ?? release.metrics?.gates;
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
    gates ? table("Gates it passed before it was let in", ["Gate", "Outcome", "What was seen"], gateRows(gates)) : null,
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
