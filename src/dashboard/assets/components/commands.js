// Command records: trim, and fencing token.

import { url } from "../api.js";
import { h, put } from "../dom.js";
import { openDialog } from "./dialog.js";
import { check, field } from "./fields.js";
import { describe } from "./states.js";
import { bigEndian64, toBase64, unsigned, utf8, visible } from "./text.js";

const TOKEN_BYTES_MAX = 36;

// Builds the part of the page; `onAck` is told of acknowledgements.
export function commands({ api, basin, stream, key, onAck }) {
  const upTo = h("input", { type: "text", inputmode: "numeric", autocomplete: "off" });
  const next = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const shows = check("Show the present fencing token", false);
  const present = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const presentField = field("Present fencing token", present);
  presentField.hidden = true;
  shows.box.addEventListener("change", () => { presentField.hidden = !shows.box.checked; });
  const status = h("p", { class: "hint", role: "status" });
  const alert = h("div", { class: "alert", role: "alert", hidden: true });

  async function send(name, body) {
    const [header, data] = [utf8(name), body].map(toBase64);
    const batch = {
      records: [{ headers: [["", header]], body: data }],
      ...(shows.box.checked ? { fencing_token: present.value } : {}),
    };
    const headers = {
      "s2-format": "base64", ...(key() ? { "s2-encryption-key": key() } : {}),
    };
    const path = url(["v1", "streams", stream, "records"]);
    const ack = await api.post(path, batch, { basin, headers });
    put(status, `${name} appended as record ${ack.start.seq_num}`);
    onAck(ack);
  }

  // Runs a form's command; what is wrong is said below the forms.
  const form = (label, run, ...nodes) => h("form", {
    class: "fields", "aria-label": label, novalidate: true,
    on: {
      submit: async (event) => {
        event.preventDefault();
        alert.hidden = true;
        put(status);
        try {
          await run();
        } catch (error) {
          put(alert, describe(error));
          alert.hidden = false;
        }
      },
    },
  }, ...nodes);

  async function trim() {
    const last = unsigned(upTo.value, "Sequence number");
    if (last === undefined) throw new Error("Enter a sequence number.");
    const keep = BigInt(last) + 1n;
    if (keep >= 1n << 64n) throw new Error("Sequence number is too large.");
    await openDialog({
      title: "Trim this stream?",
      fields: [
        h("p", {}, "All records up to and including number ", h("strong", {}, String(last)), " of ",
          h("bdi", {}, visible(stream)), " are deleted."),
        h("p", {}, "Numbers beyond the tail delete everything up to it. This cannot be undone."),
      ],
      action: "Trim",
      danger: true,
      submit: () => send("trim", bigEndian64(keep)),
    });
  }

  async function fence() {
    const token = utf8(next.value);
    if (token.length > TOKEN_BYTES_MAX) {
      throw new Error(`A fencing token has at most ${TOKEN_BYTES_MAX} bytes; this one has ${token.length}.`);
    }
    await send("fence", token);
    if (shows.box.checked) present.value = next.value;
  }

  const submit = (text) => h("div", { class: "actions" }, h("button", { class: "button", type: "submit" }, text));
  const node = h("section", { class: "panel", "aria-label": "Commands" },
    h("div", { class: "fields" },
      h("h2", {}, "Commands"),
      form("Trim", trim,
        field("Trim up to and including", upTo, "The last sequence number to delete."), submit("Trim…")),
      form("Fence", fence,
        field("New fencing token", next, "At most 36 bytes; empty takes the token away."),
        submit("Set fencing token")),
      shows.node, presentField, alert, status));
  return { node };
}
