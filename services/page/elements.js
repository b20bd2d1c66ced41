// Elements made through the DOM, never from a string: every name is untrusted text.

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const el = (tag, attributes, ...children) => dress(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

export const $ = (id) => document.getElementById(id);
export const note = (...text) => el("p", { class: "note" }, ...text);
export const unseen = (text) => el("span", { class: "unseen" }, text);

// Strokes on a field of 24 x 24.
const ICONS = {
  heart: "M12 20.5 4.2 12.6a5 5 0 0 1 7.1-7.1l.7.8.7-.8a5 5 0 0 1 7.1 7.1Z",
  cross: "M6 6l12 12M18 6 6 18",
  bag: "M5 8h14l1 13H4ZM8.5 8a3.5 3.5 0 0 1 7 0",
  back: "M15 5l-7 7 7 7", on: "M9 5l7 7-7 7",
  camera: "M4 8h4l1.5-2.5h5L16 8h4v11H4ZM12 10a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6Z",
};
export const icon = (name) =>
  svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));

/** A term and what is said of it, for each row that says something. */
export const pairs = (rows) => rows.filter(([, value]) => !isMissing(value))
  .map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)));
export const isMissing = (value) => value === null || value === undefined || value === "";

/** Says something to those who listen; said twice, it is heard twice. */
export function tell(text) {
  // What lies behind an open dialog is not heard.
  const status = ($("article").open && $("article-status")) || $("status");
  status.textContent = status.textContent === text ? `${text}\u00a0` : text;
}
