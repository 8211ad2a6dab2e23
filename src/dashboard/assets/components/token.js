// The access token: kept in this tab only, and forgotten with it.

import { h } from "../dom.js";
import { field } from "./fields.js";
import { openDialog } from "./dialog.js";

let isOpen = false;

// Asks for a token; `done` is called when there is another.
export async function askForToken(api, done) {
  if (isOpen) return;
  isOpen = true;
  const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false" });
  const submit = async () => {
    const before = input.value.trim();
    if (!/^[\x21-\x7e]*$/.test(before)) throw new Error("A token holds no blanks and only ASCII.");
    api.setToken(before);
  };
  try {
    const entered = await openDialog({
      title: "Access token",
      fields: [
        h("p", { class: "hint" }, api.hasToken()
          ? "The server did not take the token that was entered, or another one is wanted."
          : "This server asks who you are. The token stays in this tab and is forgotten with it."),
        field("Access token", input, "Leave it empty to use none."),
      ],
      action: "Use this token",
      submit,
    });
    if (entered) done();
  } finally {
    isOpen = false;
  }
}
