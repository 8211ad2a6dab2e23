// The encryption key of a stream: kept in this tab only, sent with its reads and appends.

import { h } from "../dom.js";
import { openDialog } from "./dialog.js";
import { field } from "./fields.js";
import { fromBase64 } from "./text.js";

const place = (basin, stream) => `thalweg-key ${basin} ${stream}`;

export function keyOf(basin, stream) {
  return sessionStorage.getItem(place(basin, stream)) ?? "";
}

// Asks for the key; true when there is another one, or none any more.
export function askForKey(basin, stream) {
  const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false" });
  return openDialog({
    title: "Encryption key",
    fields: [
      h("p", { class: "hint" }, "The key stays in this tab, is sent with reads and appends of this"
        + " stream, and is forgotten with the tab."),
      field("Key, 32 bytes in base64", input, "Leave it empty to use none."),
    ],
    action: "Use this key",
    submit: async () => {
      const key = input.value.trim();
      if (key === "") sessionStorage.removeItem(place(basin, stream));
      else {
        check(key);
        sessionStorage.setItem(place(basin, stream), key);
      }
    },
  });
}

function check(key) {
  let bytes = null;
  try {
    bytes = fromBase64(key);
  } catch {
    // Said below.
  }
  if (bytes?.length !== 32) throw new Error("A key is 32 bytes in base64: 44 characters.");
}
