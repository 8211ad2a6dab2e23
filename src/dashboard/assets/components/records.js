// The table of records: bounded in rows and in bytes, whatever comes.

import { h, put } from "../dom.js";
import { bytes as spelledBytes, timeOfRow } from "./format.js";
import { command, decodeRecord, details, preview, typeOf } from "./record.js";

export const ROWS_MAX = 1000;
// Of the records in the table; the oldest go first.
const BYTES_MAX = 48 * 1024 * 1024;
const COLUMNS = 7;

// A table of records; `add(records)` puts records as the API sends them at its end.
export function recordsTable() {
  const body = h("tbody", {});
  const heads = [
    ["Number", "number"], ["Time (UTC)", ""], ["Type", ""], ["Size", "number"], ["Headers", "number"],
    ["Preview", ""],
  ];
  const table = h("table", { class: "records" },
    h("thead", {}, h("tr", {},
      heads.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)),
      h("th", { scope: "col" }, h("span", { class: "sr" }, "Actions")))),
    body);
  let kept = []; // { row, bytes, open, number } in the order of the table
  let total = 0;

  function row(raw) {
    const record = decodeRecord(raw);
    const type = typeOf(record);
    const name = `record ${record.seq_num}`;
    const button = h("button", {
      class: "button small", type: "button", "aria-expanded": "false", "aria-label": `Show ${name}`,
    }, "Show");
    const badge = record.isCommand ? "badge warn" : "badge";
    const line = h("tr", { class: record.isCommand ? "command" : null },
      h("td", { class: "number" }, String(record.seq_num)),
      h("td", { class: "nowrap" }, timeOfRow(record.timestamp)),
      h("td", {}, h("span", { class: badge }, type)),
      h("td", { class: "number" }, spelledBytes(record.body.length)),
      h("td", { class: "number" }, record.isCommand ? "–" : record.headers.length),
      h("td", { class: "preview" }, h("bdi", {}, record.isCommand ? command(record).text : preview(record, type))),
      h("td", {}, button));
    const headersBytes = record.headers.reduce((sum, [n, v]) => sum + n.length + v.length + 64, 0);
    const entry = {
      row: line, open: null, bytes: record.body.length + headersBytes, number: BigInt(record.seq_num),
    };
    button.addEventListener("click", () => {
      const isOpen = entry.open !== null;
      if (isOpen) {
        entry.open.remove();
        entry.open = null;
      } else {
        entry.open = h("tr", { class: "open" }, h("td", { colspan: String(COLUMNS) },
          record.body.length === 0 && record.headers.length === 0
            ? h("p", { class: "hint" }, "Neither headers nor a body.") : details(record, type)));
        line.after(entry.open);
      }
      button.setAttribute("aria-expanded", String(!isOpen));
      button.setAttribute("aria-label", `${isOpen ? "Show" : "Hide"} ${name}`);
      put(button, isOpen ? "Show" : "Hide");
    });
    return entry;
  }

  function drop() {
    let gone = 0;
    while (kept.length - gone > ROWS_MAX || (total > BYTES_MAX && kept.length - gone > 1)) {
      const entry = kept[gone];
      total -= entry.bytes;
      entry.open?.remove();
      entry.row.remove();
      gone += 1;
    }
    if (gone > 0) kept = kept.slice(gone);
    return gone;
  }

  return {
    node: h("div", { class: "scroll" }, table),
    clear() {
      put(body);
      kept = [];
      total = 0;
    },
    count: () => kept.length,
    // The number of the oldest record that is still there; null when none is.
    oldest: () => kept[0]?.number ?? null,
    hideCommands: (isHidden) => table.classList.toggle("no-commands", isHidden),
    // Gives how many older records went to make room.
    add(records) {
      const entries = records.slice(-ROWS_MAX).map(row);
      const part = document.createDocumentFragment();
      entries.forEach((entry) => {
        total += entry.bytes;
        part.append(entry.row);
      });
      body.append(part);
      kept.push(...entries);
      return drop() + Math.max(0, records.length - ROWS_MAX);
    },
  };
}
