// How an answer was made, and which experiments it is part of.

import { $, el, note, pairs, svg } from "/page/elements.js";
import { ask, myToken } from "/page/service.js";
import { fallbackWords, momentWords, number, percent, sentence, stageWords, troubleWords } from "/page/words.js";

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
    fallback ? note(fallbackWords(fallback)) : "",
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
  const { experiments, assigned } = answer;
  const one = ({ name, description, share, layer, variants }) => {
    const now = Object.hasOwn(forced, name) ? forced[name] : null;
    const choice = (value, title, ...about) => el("label", { class: "choice" },
      el("input", { type: "radio", name: `experiment-${name}`, "data-control": `${name}:${value ?? ""}`, checked: now === value,
        onchange: () => force(name, value) }), el("span", {}, title, ...about));
    return el("fieldset", {}, el("legend", {}, sentence(name)),
      el("p", { class: "quiet" }, description ? `${description} ` : "", `${percent(share)} of all customers are in it; layer “${layer}”.`),
      choice(null, "As dealt", el("span", { class: "quiet" }, Object.hasOwn(assigned, name)
        ? ` ${sentence(assigned[name])}` : " this customer is not in it")),
      variants.map((variant) => choice(variant.name, sentence(variant.name), el("span", { class: "quiet" },
        variant.changes?.length ? ` ${variant.changes.map(sentence).join(", ")}` : " nothing is changed"))));
  };
  const held = document.activeElement?.closest("#experiments") && document.activeElement.dataset.control;
  panel.replaceChildren(head, experiments.length ? el("div", { class: "fieldsets" }, experiments.map(one))
    : el("p", { class: "quiet" }, "None is declared."));
  if (held) panel.querySelector(`[data-control="${CSS.escape(held)}"]`)?.focus();
}
