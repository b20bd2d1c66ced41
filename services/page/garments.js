// Drawn garments, for articles without a picture: shape by product type, fill by colour name.

import { svg } from "/page/elements.js";

export const nameOf = (article) => article.name ?? `Article ${article.article_id}`;

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

/** The garment's own colour, for the field behind it; null where none is known. */
export const tintOf = (article) => paintOf(article.colour ?? article.name).fill ?? null;

/** A drawing of the article; a tag with its initials where nothing says what it looks like. */
export function garment(article) {
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
