// Fields of forms: a control with its label and its hint.

import { freshId, h } from "../dom.js";

// A labelled control; `hint` describes it.
export function field(label, control, hint) {
  control.id ||= freshId("field");
  const hintId = hint && freshId("hint");
  if (hintId) control.setAttribute("aria-describedby", hintId);
  return h("div", { class: "field" },
    h("label", { for: control.id }, label),
    control,
    hint && h("p", { class: "hint", id: hintId }, hint));
}

// A box to tick, with its label behind it; `title` says more.
export function check(label, isSet = false, title = null) {
  const box = h("input", { type: "checkbox", checked: isSet });
  return { box, node: h("label", { class: "check", title }, box, h("span", {}, label)) };
}

// A choice of `[value, text]`.
export function choice(options, value) {
  return h("select", {}, options.map(([key, text]) =>
    h("option", { value: key, selected: key === value }, text)));
}
