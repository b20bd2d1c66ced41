// The picker: a combobox over the sample, in which any other id can be typed.

import { $, el } from "/page/elements.js";
import { ask } from "/page/service.js";
import { short } from "/page/words.js";

let sample = [];

/**
 * Brings the picker and the welcome to life.
 *
 * @param chosen () => the customer that is shown
 * @param choose (id) => shows another
 */
export function startPicker(chosen, choose) {
  const [list, input] = [$("customers"), $("customer")];

  function offer(open) {
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
    if (list.hidden) offer(true);
    const options = [...list.children];
    const now = options.findIndex((option) => option.ariaSelected === "true");
    options[now]?.setAttribute("aria-selected", "false");
    const next = options.at(now < 0 && step < 0 ? -1 : (now + step) % options.length);
    if (!next) return;
    next.setAttribute("aria-selected", "true");
    next.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", next.id);
  }

  $("picker").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = list.querySelector("[aria-selected=true]")?.dataset.id ?? input.value.trim();
    offer(false);
    if (id) choose(id);
  });
  input.addEventListener("input", () => offer(true));
  input.addEventListener("click", () => offer(true));
  input.addEventListener("focus", () => input.select());
  input.addEventListener("blur", () => offer(false));
  input.addEventListener("keydown", (event) => {
    const act = { __proto__: null, ArrowDown: () => move(1), ArrowUp: () => move(-1), Escape: () => offer(false) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  list.addEventListener("mousedown", (event) => event.preventDefault()); // keeps the focus
  $("surprise").addEventListener("click", () => {
    const others = sample.filter((one) => one.customer_id !== chosen());
    choose((others[Math.floor(Math.random() * others.length)] ?? sample[0]).customer_id);
  });
  offerSample(choose);
}

async function offerSample(choose) {
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
