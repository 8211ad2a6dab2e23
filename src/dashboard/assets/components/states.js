// What a page shows while there is nothing else to show: loading, empty, error.

import { ApiError } from "../api.js";
import { h } from "../dom.js";

export function loading(text = "Loading") {
  return h("p", { class: "state loading", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), text, "…");
}

export function empty(title, ...more) {
  return h("div", { class: "state empty" }, h("p", { class: "state-title" }, title), ...more);
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
