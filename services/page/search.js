// Search by words and by picture.

import { $ } from "/page/elements.js";
import { ask } from "/page/service.js";

const K = 24;
const SIDE = 512; // pixels: the service looks at no more of a picture

/** What the shop has for some words. */
export const byWords = (query, customer_id, signal) =>
  ask("/search", { query, k: K, ...(customer_id && { customer_id }) }, { signal });

/** What the shop has that looks like a picture. */
export function byPicture(picture, customer_id, signal) {
  const form = new FormData();
  form.append("picture", picture, "picture.jpg");
  form.append("k", String(K));
  if (customer_id) form.append("customer_id", customer_id);
  return ask("/search_by_picture", form, { signal });
}

/**
 * A picture made small enough to be sent quickly.
 *
 * @returns the canvas that shows it, and the JPEG
 * @throws Error if it is no picture that this browser can read
 */
async function smaller(file) {
  const whole = await createImageBitmap(file).catch(() => {
    throw new Error(`“${file.name}” is no picture that this browser can read. Try a JPEG or a PNG.`);
  });
  const scale = Math.min(1, SIDE / Math.max(whole.width, whole.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(whole.width * scale));
  canvas.height = Math.max(1, Math.round(whole.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#fff"; // behind what is see-through, which a JPEG cannot be
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(whole, 0, 0, canvas.width, canvas.height);
  whole.close();
  const jpeg = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.88));
  if (!jpeg) throw new Error(`“${file.name}” could not be made smaller.`);
  return { canvas, jpeg };
}

/**
 * Brings the search box to life.
 *
 * @param words (text) => searches by words
 * @param look ({canvas, jpeg}) => searches by picture
 * @param sorry (message) => says what went wrong
 */
export function startSearch(words, look, sorry) {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("words").value.trim();
    if (text) words(text);
    else $("words").focus();
  });
  const take = async (file) => {
    if (!file) return;
    try {
      look(await smaller(file));
    } catch (error) {
      sorry(error.message);
    }
  };
  $("by-picture").addEventListener("click", () => $("picture").click());
  $("picture").addEventListener("change", ({ target }) => {
    take(target.files[0]);
    target.value = ""; // the same picture may be chosen again
  });
  $("search").addEventListener("dragover", (event) => event.preventDefault());
  $("search").addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}
