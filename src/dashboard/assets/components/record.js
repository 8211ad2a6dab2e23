// One record: what it is, a line of it, and all of it.

import { append, h, put } from "../dom.js";
import { bytes as spelledBytes } from "./format.js";
import { fromBase64, fromBigEndian64, hex, hexDump, textOf, visible } from "./text.js";

const PREVIEW_CHARACTERS = 140;
// What of a body is shown at first.
const SHOWN_CHARACTERS = 4000;
const SHOWN_BYTES = 1024;

// Headers shown at a time: a record may have hundreds of thousands.
const HEADERS_SHOWN = 100;

// A record as the API sends it in base64, with its body decoded; its headers are when they are
// looked at.
export function decodeRecord({ seq_num, timestamp, headers = [], body = "" }) {
  const isCommand = headers.length === 1 && headers[0][0] === "";
  return { seq_num, timestamp, headers, isCommand, body: fromBase64(body) };
}

// What a command does, in words; null for other records.
export function command(record) {
  if (!record.isCommand) return null;
  const name = textOf(fromBase64(record.headers[0][1]));
  if (name === "trim" && record.body.length === 8) {
    return { name, text: `keep from ${fromBigEndian64(record.body)}` };
  }
  if (name === "fence") {
    const token = textOf(record.body) ?? "";
    return { name, text: token === "" ? "no token" : `token “${visible(token)}”` };
  }
  return { name: visible(name ?? "command"), text: "" };
}

// `command`, `empty`, `json`, `text` or `binary`.
export function typeOf(record) {
  if (record.isCommand) return command(record).name;
  if (record.body.length === 0) return "empty";
  const text = textOf(record.body);
  if (text === null || /[\u0000-\u0008\u000e-\u001f]/.test(text)) return "binary";
  return json(text) === undefined ? "text" : "json";
}

// The value of an object or array in JSON; other texts are no more than texts.
function json(text) {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function preview(record, type) {
  if (record.isCommand) return command(record).text;
  if (type === "binary") {
    return hex(record.body.subarray(0, 24)) + (record.body.length > 24 ? " …" : "");
  }
  // A character has at most four bytes.
  const start = new TextDecoder().decode(record.body.subarray(0, PREVIEW_CHARACTERS * 4));
  const cut = start.length > PREVIEW_CHARACTERS;
  return visible(cut ? `${start.slice(0, PREVIEW_CHARACTERS)}…` : start);
}

// Everything of a record.
export function details(record, type) {
  return h("div", { class: "record" },
    headersTable(record),
    record.body.length > 0 && bodyView(record, type));
}

function headersTable({ headers, isCommand }) {
  if (headers.length === 0 || isCommand) return null;
  const cell = (text) => h("td", { class: "mono name" }, shownBytes(fromBase64(text)));
  const body = h("tbody", {});
  const more = h("button", { class: "button small", type: "button", on: { click: add } });
  let shown = 0;
  function add() {
    const part = headers.slice(shown, shown + HEADERS_SHOWN);
    append(body, part.map(([name, value]) => h("tr", {}, cell(name), cell(value))));
    shown += part.length;
    more.hidden = shown === headers.length;
    put(more, `Show more headers (${headers.length - shown})`);
  }
  add();
  return h("div", {}, h("table", { class: "headers" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Header"), h("th", { scope: "col" }, "Value"))),
    body), more);
}

function shownBytes(bytes) {
  const text = textOf(bytes);
  if (text !== null) {
    return visible(text.slice(0, SHOWN_BYTES)) + (text.length > SHOWN_BYTES ? "…" : "");
  }
  return [h("span", { class: "badge" }, "hex"), ` ${hex(bytes.subarray(0, 64))}${bytes.length > 64 ? " …" : ""}`];
}

// The body in one of the forms that it has, shortened until all of it is asked for.
function bodyView(record, type) {
  const text = textOf(record.body);
  const forms = [];
  if (type === "json") forms.push(["JSON", () => pretty(text)]);
  if (text !== null) forms.push(["Text", () => visible(text, { keepLines: true })]);
  forms.push(["Hex", null]);
  const pre = h("pre", { tabindex: "0", "aria-label": `Body of record ${record.seq_num}` });
  const more = h("button", { class: "button small", type: "button" });
  const tabs = forms.map((form) => h("button", {
    class: "button small", type: "button", on: { click: () => choose(form) },
  }, form[0]));
  let current = forms[type === "binary" ? forms.length - 1 : 0];
  more.addEventListener("click", () => draw(true));

  function choose(form) {
    current = form;
    draw(false);
  }

  function draw(isWhole) {
    const [name, spell] = current;
    let shown;
    let isCut;
    if (spell) {
      shown = spell();
      isCut = !isWhole && shown.length > SHOWN_CHARACTERS;
      if (isCut) shown = `${shown.slice(0, SHOWN_CHARACTERS)}…`;
    } else {
      isCut = !isWhole && record.body.length > SHOWN_BYTES;
      shown = hexDump(isCut ? record.body.subarray(0, SHOWN_BYTES) : record.body);
    }
    put(pre, shown);
    pre.className = isWhole ? "body whole" : "body";
    more.hidden = !isCut;
    put(more, `Show all of it (${spelledBytes(record.body.length)})`);
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", String(forms[index][0] === name)));
  }

  draw(false);
  return h("div", {}, h("div", { class: "actions forms", role: "group", "aria-label": "Form of the body" }, tabs), pre, more);
}

// Indented, with every number as it was written: a value is not parsed and spelled again.
export function pretty(text) {
  const out = [];
  let depth = 0;
  const line = () => `\n${"  ".repeat(Math.min(depth, 40))}`;
  const token = /"(?:[^"\\]+|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  const tokens = text.match(token) ?? [];
  tokens.forEach((part, index) => {
    if (part === "{" || part === "[") {
      depth += 1;
      const isEmpty = tokens[index + 1] === "}" || tokens[index + 1] === "]";
      out.push(part, isEmpty ? "" : line());
    } else if (part === "}" || part === "]") {
      depth -= 1;
      const isEmpty = tokens[index - 1] === "{" || tokens[index - 1] === "[";
      out.push(isEmpty ? "" : line(), part);
    } else if (part === ",") out.push(part, line());
    else if (part === ":") out.push(": ");
    else out.push(visible(part));
  });
  return out.join("");
}
