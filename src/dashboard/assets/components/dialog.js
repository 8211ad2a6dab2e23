// Dialogs: a form in a <dialog>, closed by Escape, by Cancel, or when what it asks for is done.

import { freshId, h, put } from "../dom.js";
import { describe } from "./states.js";

// Opens a dialog and resolves when it is closed and nothing is under way: to what `submit` gave, or
// null when it was left.
//
// * `fields`: nodes of the form.
// * `submit`: called with a signal, which says that the dialog was left; while it runs the button
//   waits, and what it throws is shown.
// * `danger`: the button deletes something.
export function openDialog({ title, fields, action, submit, danger = false, wide = false }) {
  const titleId = freshId("title");
  const alert = h("div", { class: "alert", role: "alert", hidden: true });
  const button = h("button", { class: danger ? "button danger" : "button primary", type: "submit" },
    action);
  const cancel = h("button", { class: "button", type: "button", on: { click: () => dialog.close() } },
    "Cancel");
  const form = h("form", { novalidate: true, on: { submit: begin } },
    h("h2", { id: titleId }, title),
    h("div", { class: "fields" }, fields),
    alert,
    h("div", { class: "actions" }, cancel, button));
  const dialog = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": titleId }, form);
  const left = new AbortController();
  let result = null;
  let running = null;

  function begin(event) {
    event.preventDefault();
    if (!button.disabled) running = run();
  }

  async function run() {
    button.disabled = true;
    alert.hidden = true;
    try {
      result = await submit(left.signal);
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
    dialog.addEventListener("close", async () => {
      left.abort();
      dialog.remove();
      await running;
      resolve(result);
    });
  });
}
