// What a page shows while there is nothing else to show: loading, empty, error.

import { ApiError } from "../api.js";
import { h, svg } from "../dom.js";

// The cross-section of a river: banks, water, and the thalweg, its deepest point.
export function mark() {
  return svg("svg", { class: "mark", viewBox: "0 0 72 24", "aria-hidden": "true" },
    svg("path", { class: "mark-water", d: "M13 8h47c-7 1-11 5-14 9s-5 5-8 5-5-3-8-7-8-6-17-7z" }),
    svg("path", { class: "mark-bed", d: "M1 4c10 0 17 3 23 8s8 10 14 10 7-4 11-9 11-9 22-9" }),
    svg("circle", { class: "mark-point", cx: "38", cy: "21.6", r: "2.2" }));
}

export function loading(text = "Loading") {
  return h("p", { class: "state loading", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), text, "…");
}

export function empty(title, ...more) {
  return h("div", { class: "state empty" }, mark(), h("p", { class: "state-title" }, title), ...more);
}

// An error in words, with the server's code.
export function describe(error) {
  if (!(error instanceof ApiError)) return error?.message || String(error);
  const code = error.code || (error.status ? `status ${error.status}` : "");
  return code ? `${error.message} (${code})` : error.message;
}

export function alertBox(error, retry) {
  return h("div", { class: "alert", role: "alert" },
    h("p", {}, describe(error)),
    retry && h("button", { class: "button", type: "button", on: { click: retry } }, "Try again"));
}

// Says something for a moment; also to who listens instead of looking.
export function toast(text) {
  const place = document.getElementById("toasts");
  const note = h("p", { class: "toast" }, text);
  place.append(note);
  while (place.children.length > 4) place.firstChild.remove();
  setTimeout(() => note.remove(), 5000);
}
