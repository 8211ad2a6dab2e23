// Dialogs: a form in a <dialog>, closed by Escape, by Cancel, or when what it asks for is done.

import { freshId, h, put } from "../dom.js";
import { describe } from "./states.js";

// Opens a dialog and resolves when it is closed: to what `submit` gave, or null when it was left.
//
// * `fields`: nodes of the form.
// * `submit`: called with nothing; while it runs the button waits, and what it throws is shown.
// * `danger`: the button deletes something.
export function openDialog({ title, fields, action, submit, danger = false, wide = false }) {
  const titleId = freshId("title");
  const alert = h("div", { class: "alert", role: "alert", hidden: true });
  const button = h("button", { class: danger ? "button danger" : "button primary", type: "submit" },
    action);
  const cancel = h("button", { class: "button", type: "button", on: { click: () => dialog.close() } },
    "Cancel");
  const form = h("form", { novalidate: true, on: { submit: run } },
    h("h2", { id: titleId }, title),
    h("div", { class: "fields" }, fields),
    alert,
    h("div", { class: "actions" }, cancel, button));
  const dialog = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": titleId }, form);
  let result = null;

  async function run(event) {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    alert.hidden = true;
    try {
      result = await submit();
      if (result === undefined) result = true;
      dialog.close();
    } catch (error) {
      put(alert, describe(error));
      alert.hidden = false;
    } finally {
      button.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
  });
}
