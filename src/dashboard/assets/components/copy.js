// Copies a text; where the browser does not let a page do that, shows it to be copied by hand.

import { h } from "../dom.js";
import { field } from "./fields.js";
import { openDialog } from "./dialog.js";
import { toast } from "./states.js";

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    const area = h("textarea", { readonly: true, rows: "8" });
    area.value = text;
    area.addEventListener("focus", () => area.select());
    await openDialog({
      title: "Copy by hand",
      fields: [field(what, area, "This browser lets pages copy only over HTTPS or on localhost.")],
      action: "Done",
      submit: async () => true,
    });
  }
}

// A command for a shell, in which nothing of the arguments is read by the shell but the two
// variables that stand for secrets.
export function curl(method, path, headers, { body, hasToken = false, hasKey = false } = {}) {
  const parts = ["curl -sS"];
  if (method !== "GET") parts.push(`-X ${method}`);
  parts.push(quote(window.location.origin + path));
  for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  if (hasToken) parts.push('-H "authorization: Bearer $S2_ACCESS_TOKEN"');
  if (hasKey) parts.push('-H "s2-encryption-key: $S2_ENCRYPTION_KEY"');
  if (body !== undefined) parts.push(`--data-binary ${quote(body)}`);
  return parts.join(" \\\n  ");
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
