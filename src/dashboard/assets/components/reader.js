// Reading a stream: from where, how much, once or following its tail.

import { url } from "../api.js";
import { h, put } from "../dom.js";
import { copy, curl } from "./copy.js";
import { check, choice, field } from "./fields.js";
import { follow } from "./follow.js";
import { count as spelledCount } from "./format.js";
import { ROWS_MAX, recordsTable } from "./records.js";
import { describe, empty } from "./states.js";
import { unsigned } from "./text.js";

// Records of one answer.
const COUNT_MAX = 1000;
// How often the count of records is said while they come.
const COUNT_MS = 2000;
// Pages that are asked for at once.
// Beyond every number.
const END = 1n << 64n;
const TURNS_MAX = 5;
const FORMAT = { "s2-format": "base64" };

// Builds the part of the page; `key` gives the encryption key, `onTail` is told of tails and
// `checkTail` asks for it.
export function reader({ api, basin, stream, key, onTail, checkTail, signal }) {
  const from = choice([
    ["tail_offset", "Before the tail"], ["seq_num", "Sequence number"], ["timestamp", "Time (UTC)"],
  ], "tail_offset");
  const number = h("input", { type: "text", inputmode: "numeric", value: "10", autocomplete: "off" });
  const moment = h("input", { type: "datetime-local", step: "0.001" });
  const limit = h("input", { type: "text", inputmode: "numeric", value: "100", autocomplete: "off" });
  const wait = h("input", { type: "text", inputmode: "numeric", value: "0", autocomplete: "off" });
  const clamp = check("Clamp to the tail", true, "Start at the tail when the start is beyond it");
  const hide = check("Hide command records", false, "Trim and fence records");
  const button = (text, click, kind = "") =>
    h("button", { class: `button ${kind}`, type: "button", on: { click } }, text);
  const once = h("button", { class: "button", type: "submit" }, "Read once");
  const live = button("Follow live", toggleLive, "primary");
  const older = button("Older", () => turn(-1));
  const newer = button("Newer", () => turn(1));
  const status = h("p", { class: "hint", role: "status" });
  const alert = h("div", { class: "alert", role: "alert", hidden: true });
  const records = recordsTable();
  const none = h("div", { hidden: true });
  const light = h("span", { class: "light", "aria-hidden": "true" });
  const numberField = field("Records before the tail", number);
  const momentField = field("Time (UTC)", moment);
  let following = null; // what stops it
  let reading = null;
  let said = ""; // the state that was told last
  let saying = 0;
  let shown = { first: null, last: null, gone: 0, total: 0 };

  from.addEventListener("change", () => {
    const kind = from.value;
    momentField.hidden = kind !== "timestamp";
    numberField.hidden = kind === "timestamp";
    put(numberField.firstChild, kind === "seq_num" ? "From sequence number" : "Records before the tail");
    if (kind === "seq_num" && number.value === "10") number.value = "0";
    if (kind === "tail_offset" && number.value === "0") number.value = "10";
  });
  momentField.hidden = true;
  hide.box.addEventListener("change", () => records.hideCommands(hide.box.checked));
  signal.addEventListener("abort", stop);

  function start() {
    if (from.value !== "timestamp") {
      const name = numberField.firstChild.textContent;
      return { [from.value]: unsigned(number.value, name) ?? 0 };
    }
    const ms = Date.parse(`${moment.value}Z`);
    if (Number.isNaN(ms) || ms < 0) throw new Error("Enter a time from 1970 on.");
    return { timestamp: ms };
  }

  // How many records are wanted; the server gives no more at once.
  function wantedCount() {
    const wanted = unsigned(limit.value, "Limit") ?? COUNT_MAX;
    return wanted > COUNT_MAX ? COUNT_MAX : wanted;
  }

  function query() {
    const secs = unsigned(wait.value, "Wait");
    if (secs > 60) throw new Error("Wait is at most 60 seconds.");
    const clamped = clamp.box.checked ? { clamp: true } : {};
    return { ...start(), ...clamped, count: wantedCount(), ...(secs ? { wait: secs } : {}) };
  }

  const headers = () => ({ ...FORMAT, ...(key() ? { "s2-encryption-key": key() } : {}) });

  function fresh() {
    stop();
    records.clear();
    shown = { first: null, last: null, gone: 0, total: 0 };
    alert.hidden = none.hidden = true;
    put(status);
  }

  function take(batch) {
    if (batch.length === 0) return;
    shown.first ??= BigInt(batch[0].seq_num);
    shown.last = BigInt(batch.at(-1).seq_num);
    shown.total += batch.length;
    shown.gone += records.add(batch);
    none.hidden = true;
  }

  function fail(error) {
    put(alert, describe(error));
    alert.hidden = false;
    put(status);
  }

  // Reads one batch, only what comes before the number `before` if there is one: what was trimmed
  // is passed over, and would lead beyond it. 416 says that there is nothing beyond the tail.
  async function readOnce(asked, before = END) {
    fresh();
    reading = new AbortController();
    const { signal: mine } = reading;
    put(status, "Reading…");
    const path = url(["v1", "streams", stream, "records"], asked);
    try {
      const batch = await api.get(path, { basin, headers: headers(), signal: mine });
      if (batch.tail) onTail(batch.tail);
      let wanted = batch.records.filter(({ seq_num }) => BigInt(seq_num) < before);
      take(wanted);
      // An answer ends at 1 MiB; what comes before a number comes right up to it.
      while (before < END && wanted.length > 0 && shown.last + 1n < before) {
        const rest = { seq_num: shown.last + 1n, count: before - shown.last - 1n };
        const more = await api.get(url(["v1", "streams", stream, "records"], rest), { basin, headers: headers(), signal: mine });
        wanted = more.records.filter(({ seq_num }) => BigInt(seq_num) < before);
        take(wanted);
      }
      if (shown.total === 0) nothing("There are no records there.");
      else put(status, range());
    } catch (error) {
      if (mine.aborted) return;
      if (error.status !== 416) fail(error);
      else {
        onTail(error.body.tail);
        beyond(error.body.tail);
      }
    } finally {
      if (reading?.signal === mine) reading = null;
    }
  }

  function beyond({ seq_num }) {
    nothing(`Nothing there yet: the next record gets number ${seq_num}.`);
  }

  function nothing(text) {
    put(none, empty(text));
    none.hidden = false;
    put(status);
  }

  function range() {
    const { first, last, total, gone } = shown;
    if (last === null) return "no records yet";
    const dropped = gone > 0 ? `; the newest ${records.count()} are shown` : "";
    return `${spelledCount(total)} ${total === 1 ? "record" : "records"}, ${first} to ${last}${dropped}`;
  }

  // Pages are turned one after the other: where the next one is, the one before says.
  let turns = 0;
  let turned = Promise.resolve();
  function turn(direction) {
    if (turns === TURNS_MAX) return;
    turns += 1;
    turned = turned.then(() => page(direction)).finally(() => { turns -= 1; });
  }

  async function page(direction) {
    try {
      const wanted = wantedCount() || 1;
      const step = BigInt(wanted);
      const { last } = shown;
      const first = records.oldest();
      if (direction > 0) return await readFrom(last === null ? 0n : last + 1n, wanted);
      if (first === null || first === 0n) return await readFrom(0n, wanted);
      const to = first > step ? first - step : 0n;
      return await readOnce({ seq_num: to, count: first - to }, first);
    } catch (error) {
      return fail(error);
    }
  }

  // Reads from a number on; at the tail there is nothing to ask for.
  async function readFrom(seq_num, count) {
    const { tail } = await checkTail();
    onTail(tail);
    if (seq_num < BigInt(tail.seq_num)) return readOnce({ seq_num, count });
    stop();
    put(status, `Nothing newer: the next record gets number ${tail.seq_num}.`);
    return undefined;
  }

  // Shows what was just appended where it comes next in the table; otherwise only says so.
  async function show({ start, end }) {
    const begin = BigInt(start.seq_num);
    if (following || reading) return;
    const isNext = shown.last === null ? !none.hidden : shown.last + 1n === begin;
    if (!isNext) {
      put(status, `${range()}; record ${begin} was appended`);
      return;
    }
    reading = new AbortController();
    const { signal: mine } = reading;
    try {
      const asked = { seq_num: begin, count: BigInt(end.seq_num) - begin };
      const path = url(["v1", "streams", stream, "records"], asked);
      take((await api.get(path, { basin, headers: headers(), signal: mine })).records);
      put(status, range());
    } catch (error) {
      if (!mine.aborted) fail(error);
    }
    if (reading?.signal === mine) reading = null;
  }

  // The newest records, when the page opens; of an empty stream nothing is asked.
  async function readTail() {
    try {
      const { tail } = await checkTail();
      onTail(tail);
      if (BigInt(tail.seq_num) === 0n) return beyond(tail);
      return await readOnce({ tail_offset: 10, count: 100 });
    } catch (error) {
      return signal.aborted ? undefined : fail(error);
    }
  }

  function stop() {
    reading?.abort();
    following?.abort();
    reading = following = null;
    said = "";
    clearTimeout(saying);
    saying = 0;
    put(live, "Follow live");
    light.className = "light";
  }

  async function toggleLive() {
    if (following) {
      stop();
      put(status, `Stopped: ${range()}`);
      return;
    }
    let asked;
    try {
      asked = { ...start(), ...(clamp.box.checked ? { clamp: true } : {}) };
    } catch (error) {
      fail(error);
      return;
    }
    fresh();
    following = new AbortController();
    const { signal: mine } = following;
    put(live, "Stop following");
    try {
      await follow({
        api, basin, stream, start: asked, headers: headers(), signal: mine,
        onBatch: (batch) => !mine.aborted && take(batch),
        onState: (state) => !mine.aborted && tell(state),
      });
    } catch (error) {
      if (!mine.aborted) fail(error);
    }
    if (following?.signal === mine) stop();
  }

  // Says at once when the state changes, and the count of records every now and then: whoever
  // listens to the page would hear nothing else.
  function tell({ state, tail, next, error, seconds }) {
    if (state === said && state === "live") {
      saying ||= setTimeout(() => {
        saying = 0;
        if (following && said === "live") put(status, `Live: ${range()}`);
      }, COUNT_MS);
      if (tail) onTail(tail);
      return;
    }
    said = state;
    light.className = `light ${state}`;
    if (tail) onTail(tail);
    const place = next === null ? "" : ` from ${next}`;
    const words = {
      connecting: `Connecting${place}…`,
      live: `Live: ${range()}`,
      waiting: `Connection lost (${describe(error)}); reconnecting${place} in ${seconds} s`,
      done: `Ended: ${range()}`,
    };
    put(status, words[state]);
  }

  function copyCurl() {
    try {
      const path = url(["v1", "streams", stream, "records"], query());
      const sent = { "s2-basin": basin, ...FORMAT };
      copy(curl("GET", path, sent, { hasToken: api.hasToken(), hasKey: Boolean(key()) }), "curl command");
    } catch (error) {
      fail(error);
    }
  }

  const form = h("form", {
    class: "reader", novalidate: true,
    on: {
      submit: (event) => {
        event.preventDefault();
        try {
          readOnce(query());
        } catch (error) {
          fail(error);
        }
      },
    },
  },
    h("div", { class: "row" }, field("Start", from), numberField, momentField,
      narrow(field("Limit", limit)), narrow(field("Wait (s)", wait))),
    h("div", { class: "row checks" }, clamp.node, hide.node),
    h("div", { class: "actions" }, live, once, older, newer, button("Copy curl", copyCurl)));
  const node = h("section", { class: "panel flush", "aria-label": "Read" },
    h("div", { class: "padded" }, h("h2", {}, "Read"), form, alert,
      h("div", { class: "live-line" }, light, status)),
    none, records.node,
    h("p", { class: "hint padded" }, `At most ${spelledCount(ROWS_MAX)} records are kept here.`));
  return { node, readTail, show };
}

function narrow(node) {
  node.classList.add("narrow");
  return node;
}
