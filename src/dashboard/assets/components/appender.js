// Appending: one record, lines, or an array in JSON.

import { stringify, url } from "../api.js";
import { h, put } from "../dom.js";
import { BYTES_MAX, RECORDS_MAX, jsonArray, lines, metered, single } from "./batch.js";
import { copy, curl } from "./copy.js";
import { check, choice, field } from "./fields.js";
import { bytes as spelledBytes } from "./format.js";
import { describe } from "./states.js";
import { unsigned } from "./text.js";

const HINTS = {
  single: "The body of one record.",
  lines: "Each line is the body of a record.",
  json: '[{"body": "…", "headers": [["name", "value"]], "timestamp": 0}, …], or an object on each line.',
};

// Builds the part of the page; `onAck` is told of acknowledgements.
export function appender({ api, basin, stream, key, onAck }) {
  const mode = choice([["single", "One record"], ["lines", "Lines"], ["json", "JSON array"]], "single");
  const body = h("textarea", { spellcheck: "false" });
  const headers = h("textarea", { class: "short", spellcheck: "false", placeholder: "name: value" });
  const timestamp = h("input", { type: "text", inputmode: "numeric", autocomplete: "off" });
  const base64 = check("The body is base64", false);
  const match = h("input", { type: "text", inputmode: "numeric", autocomplete: "off" });
  const fence = h("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const showsFence = check("Show a fencing token", false);
  const file = h("input", { type: "file", accept: ".json,.jsonl,.ndjson,.txt" });
  const counter = h("p", { class: "hint" });
  const status = h("p", { class: "hint", role: "status" });
  const alert = h("div", { class: "alert", role: "alert", hidden: true });
  const submit = h("button", { class: "button primary", type: "submit" }, "Append");
  const isBase64 = () => mode.value === "single" && base64.box.checked;
  const bodyField = field("Records to append", body, HINTS.single);
  const ofOne = h("div", { class: "fields" },
    base64.node, field("Headers, one on each line", headers),
    field("Timestamp (ms since 1970, optional)", timestamp));
  const fenceField = field("Fencing token", fence, "Empty for a stream without a token.");
  fenceField.hidden = true;

  showsFence.box.addEventListener("change", () => { fenceField.hidden = !showsFence.box.checked; });
  mode.addEventListener("change", follow);
  for (const input of [body, headers, base64.box]) input.addEventListener("input", measure);
  file.addEventListener("change", load);
  follow();

  function follow() {
    ofOne.hidden = mode.value !== "single";
    put(bodyField.lastChild, HINTS[mode.value]);
    measure();
  }

  function records() {
    if (mode.value === "lines") return lines(body.value);
    if (mode.value === "json") return jsonArray(body.value);
    const typed = { body: body.value, headers: headers.value, timestamp: timestamp.value };
    return single({ ...typed, isBase64: isBase64() });
  }

  function measure() {
    try {
      const batch = body.value === "" && mode.value !== "single" ? [] : records();
      const size = metered(batch, isBase64());
      const isTooMuch = batch.length > RECORDS_MAX || size > BYTES_MAX;
      counter.className = isTooMuch ? "hint bad" : "hint";
      put(counter, `${batch.length} of ${RECORDS_MAX} records, ${spelledBytes(size)} of 1 MiB`);
    } catch (error) {
      counter.className = "hint bad";
      put(counter, describe(error));
    }
  }

  async function load() {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > 8 * BYTES_MAX) {
      fail(new Error("This file is larger than a batch can be."));
      return;
    }
    try {
      body.value = new TextDecoder("utf-8", { fatal: true }).decode(await chosen.arrayBuffer());
    } catch {
      fail(new Error("This file is no text in UTF-8."));
      return;
    }
    mode.value = /\.(json|jsonl|ndjson)$/i.test(chosen.name) ? "json" : "lines";
    file.value = "";
    follow();
  }

  function input() {
    const batch = records();
    if (batch.length === 0) {
      throw new Error(mode.value === "single" ? "Type a body, or headers." : "There is no record to append.");
    }
    if (batch.length > RECORDS_MAX) throw new Error(`At most ${RECORDS_MAX} records at once.`);
    if (metered(batch, isBase64()) > BYTES_MAX) throw new Error("At most 1 MiB at once.");
    const expected = unsigned(match.value, "Expected sequence number");
    return {
      records: batch,
      ...(expected === undefined ? {} : { match_seq_num: expected }),
      ...(showsFence.box.checked ? { fencing_token: fence.value } : {}),
    };
  }

  function fail(error) {
    put(alert, describe(error));
    alert.hidden = false;
    put(status);
  }

  const format = () => (isBase64() ? { "s2-format": "base64" } : {});

  async function run(event) {
    event.preventDefault();
    if (submit.disabled) return;
    alert.hidden = true;
    submit.disabled = true;
    put(status, "Appending…");
    try {
      const path = url(["v1", "streams", stream, "records"]);
      const sent = { ...format(), ...(key() ? { "s2-encryption-key": key() } : {}) };
      const ack = await api.post(path, input(), { basin, headers: sent });
      const { start, end, tail } = ack;
      put(status, `Appended: start ${start.seq_num}, end ${end.seq_num}, tail ${tail.seq_num}`);
      onAck(ack);
    } catch (error) {
      fail(error);
    } finally {
      submit.disabled = false;
    }
  }

  function copyCurl() {
    try {
      const path = url(["v1", "streams", stream, "records"]);
      const sent = { "s2-basin": basin, "content-type": "application/json", ...format() };
      const options = { body: stringify(input()), hasToken: api.hasToken(), hasKey: Boolean(key()) };
      copy(curl("POST", path, sent, options), "curl command");
    } catch (error) {
      fail(error);
    }
  }

  const node = h("section", { class: "panel", "aria-label": "Append" },
    h("form", { class: "fields", novalidate: true, on: { submit: run } },
      h("h2", {}, "Append"),
      field("What is typed", mode), bodyField, counter, ofOne,
      h("details", {}, h("summary", {}, "File and conditions"),
        h("div", { class: "fields" },
          field("Load a file", file),
          field("Expected sequence number", match, "Refused unless the first record gets it."),
          showsFence.node, fenceField)),
      alert, status,
      h("div", { class: "actions" }, submit,
        h("button", { class: "button", type: "button", on: { click: copyCurl } }, "Copy curl"))));
  return { node };
}
