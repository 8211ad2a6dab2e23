// How much passes, what is written for it, and what the log takes on the disk.

import { h, put } from "../../dom.js";
import { bytes, count } from "../../components/format.js";
import { chart, legend, lines, stackedBars } from "../../charts.js";
import { CLASSES, chosen, grown } from "./history.js";
import { ago, percent, rate, short } from "./units.js";

const bytesOf = (value) => bytes(Math.round(value));
const sumOf = (step, names, which) => names.reduce((total, name) => total + grown(step, name, which), 0);
const APPENDS = CLASSES.map((name) => `acks.${name}.appends`);
const RECORD_BYTES = CLASSES.map((name) => `acks.${name}.record_bytes`);

// Each chart: its title, its lines `[class, name, value of a step]`, and how values are written.
const CHARTS = [
  ["Appends per second", rate, [
    ["first", "Express", (step, which) => grown(step, APPENDS[0], which) / step.seconds],
    ["second", "Standard", (step, which) => grown(step, APPENDS[1], which) / step.seconds]]],
  ["Bytes per second", bytesOf, [
    ["first", "records acknowledged", (step, which) => sumOf(step, RECORD_BYTES, which) / step.seconds],
    ["second", "written by groups", (step, which) => grown(step, "groups.written_bytes", which) / step.seconds]]],
  ["Batches per group", short, [
    ["first", "mean", (step, which) => ratio(step, "groups.batches", "groups.groups", which)]]],
  ["Syncs per second", rate, [
    ["first", "syncs of groups", (step, which) => grown(step, "groups.syncs", which) / step.seconds]]],
  ["Write amplification", short, [
    ["first", "bytes written for each byte of records", (step, which) => ratio(step, "groups.written_bytes", "groups.record_bytes", which)]]],
  ["Accepted, not durable yet", bytesOf, [
    ["first", "bytes", (step, which) => chosen(step.shards, which).reduce((sum, shard) => sum + shard.inflight, 0)]]],
  ["Records read per second", rate, [
    ["first", "records", (step, which) => grown(step, "reads.records", which) / step.seconds]]],
  ["Busiest executor", percent, [
    ["first", "part of its time", (step) => Math.max(0, ...step.executors.map((one) => one.busy))]]],
];

function ratio(step, over, under, which) {
  const below = grown(step, under, which);
  return below > 0 ? grown(step, over, which) / below : null;
}

// Lines over time of what passes.
export function throughputPanel() {
  const charts = CHARTS.map(([title]) => chart(title));
  const node = h("section", { class: "panel", "aria-labelledby": "throughput" },
    h("h2", { id: "throughput" }, "What passes"),
    h("div", { class: "chart-grid" }, charts.map((one) => one.node)));
  return {
    node,
    update(view) {
      charts.forEach((one, index) => one.update((width) => overTime(width, CHARTS[index], view)));
    },
    stop: () => charts.forEach((one) => one.stop()),
  };
}

function overTime(width, [title, format, of], view) {
  const series = of.map(([kind, name, value]) => ({
    kind,
    name,
    points: view.allSteps.map((step) => [(view.ms - step.ms) / 1000, step.gap === undefined ? value(step, view.which) : null]),
  }));
  const last = series.map((one) => one.points.findLast(([, value]) => value !== null)?.[1] ?? null);
  const said = series.map((one, index) => `${one.name} ${last[index] === null ? "none" : format(last[index])}`);
  const rows = view.allSteps.map((step, index) =>
    [ago((view.ms - step.ms) / 1000), ...series.map((one) => {
      const value = one.points[index][1];
      return value === null ? (step.gap ?? "–") : format(value);
    })]);
  return {
    ...lines(width, 170, { series, span: view.span, format, base: format === bytesOf ? 1024 : 10 }),
    label: `${title} over the last ${short(view.span / 60)} minutes; now ${said.join(", ")}.`,
    head: ["when", ...series.map((one) => one.name)],
    rows: rows.reverse().slice(0, 120),
    note: legend(series.map((one, index) => [one.kind, said[index]])),
  };
}

// What lives in the log and what is dead in it, and files kept for later.
export function storagePanel() {
  const one = chart("Segments: live against dead");
  const facts = h("dl", { class: "facts" });
  const node = h("section", { class: "panel", "aria-labelledby": "storage" },
    h("h2", { id: "storage" }, "On the disk"),
    legend([["live", "live (estimated)"], ["dead", "dead, or padding of small groups"], ["free", "files ready or kept for later"]]),
    one.node,
    facts);
  return {
    node,
    update(view) {
      const shards = chosen(view.newest.shards, view.which);
      one.update((width) => segments(width, shards));
      const total = (of) => shards.reduce((sum, shard) => sum + of(shard), 0);
      const rows = [
        ["Segments", `${count(total((s) => s.log.segments_in_use))} in use, ${count(total((s) => s.log.segments_spare))} ready, ${count(total((s) => s.log.segments_free))} free`],
        ["Files", bytes(total((s) => s.log.file_bytes))],
        ["Streams", count(total((s) => s.streams))],
        ["Records stored", bytes(total((s) => s.stored_bytes))],
        ["Cleaner", `${count(total((s) => s.upkeep.segments_cleaned))} segments emptied, ${bytes(total((s) => s.upkeep.moved_bytes))} moved`],
        ["Checkpoints", checkpoints(total)],
        ["Log since the last checkpoint", bytes(total((s) => s.log.unsaved_bytes))],
        ["Write amplification since the start", amplification(total)],
        ["Damaged frames", count(total((s) => s.upkeep.damaged_frames))],
      ];
      put(facts, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    },
    stop: one.stop,
  };
}

function checkpoints(total) {
  const written = total((shard) => shard.upkeep.checkpoints);
  const failed = total((shard) => shard.upkeep.checkpoint_failures);
  const mean = written > 0 ? `, ${short(total((s) => s.upkeep.checkpoint_us) / written / 1000)} ms each` : "";
  return `${count(written)} written${mean}${failed > 0 ? `, ${count(failed)} failed` : ""}`;
}

function amplification(total) {
  const records = total((shard) => shard.groups.record_bytes);
  return records > 0 ? short(total((shard) => shard.groups.written_bytes) / records) : "–";
}

function segments(width, shards) {
  const rows = shards.map(({ shard, log }) => ({
    name: `Shard ${shard}`,
    end: bytes(log.file_bytes),
    parts: [
      { kind: "live", name: "live", value: log.live_bytes },
      { kind: "dead", name: "dead", value: log.log_bytes - log.live_bytes },
      { kind: "free", name: "free", value: Math.max(0, log.file_bytes - log.log_bytes) },
    ],
  }));
  const said = rows.map((row) => `${row.name}: ${row.parts.map((part) => `${part.name} ${bytes(part.value)}`).join(", ")}`);
  return {
    ...stackedBars(width, rows, bytesOf, 1024),
    label: `${said.join("; ")}.`,
    head: ["", "live", "dead", "free", "files"],
    rows: rows.map((row) => [row.name, ...row.parts.map((part) => bytes(part.value)), row.end]),
  };
}

// The figures at the top.
export function tilesPanel() {
  const list = h("dl", { class: "tiles" });
  const node = h("section", { class: "panel", "aria-label": "Now" }, list);
  return {
    node,
    update(view) {
      const steps = view.allSteps.filter((step) => step.gap === undefined).slice(-5);
      const seconds = steps.reduce((total, step) => total + step.seconds, 0);
      const each = (names) => (seconds > 0
        ? steps.reduce((total, step) => total + sumOf(step, names, view.which), 0) / seconds : null);
      const executors = view.newest.executors;
      const late = each(CLASSES.map((name) => `acks.${name}.late`));
      const failed = chosen(view.newest.shards, view.which).filter((shard) => shard.log.failed > 0);
      const rows = [
        ["Appends per second", told(each(APPENDS), rate)],
        ["Bytes per second", told(each(RECORD_BYTES), bytesOf)],
        ["Syncs per second", told(each(["groups.syncs"]), rate)],
        ["Late acks per second", told(late, rate), late > 0],
        ["Connections", count(executors.reduce((total, one) => total + one.connections, 0))],
        ["Refusals since the start", count(refusals(executors).reduce((total, [, times]) => total + times, 0))],
        failed.length > 0 && ["Shards that take no appends", failed.map((shard) => shard.shard).join(", "), true],
      ];
      put(list, rows.filter(Boolean).map(([name, value, isBad]) =>
        h("div", {}, h("dt", {}, name), h("dd", { class: isBad && "bad" }, value))));
    },
    stop: () => {},
  };
}

function told(value, format) {
  return value === null ? "–" : format(value);
}

function refusals(executors) {
  const total = new Map();
  for (const one of executors) {
    for (const [code, times] of Object.entries(one.refusals)) total.set(code, (total.get(code) ?? 0) + times);
  }
  return [...total].sort((a, b) => b[1] - a[1]);
}

// Cores and refusals, as tables.
export function executorsPanel() {
  const cores = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Executors" });
  const codes = h("div");
  const node = h("section", { class: "panel", "aria-labelledby": "executors" },
    h("h2", { id: "executors" }, "Executors and refusals"),
    h("div", { class: "split" }, cores, codes));
  return {
    node,
    update(view) {
      const last = view.allSteps.findLast((step) => step.gap === undefined);
      const head = ["Executor", "busy", "requests/s", "connections", "accepted", "moved in", "crossed over"];
      const rows = view.newest.executors.map((one, index) => {
        const was = last?.executors[index]; // a server that was started again may have more of them
        return [
          one.executor, was ? percent(was.busy) : "–", was ? rate(was.requests / last.seconds) : "–",
          count(one.connections), count(one.connections_accepted), count(one.connections_moved),
          count(one.forwarded)];
      });
      put(cores, table(head, rows));
      const refused = refusals(view.newest.executors).map(([code, times]) => [code, count(times)]);
      put(codes, refused.length > 0 ? table(["Refusal", "times"], refused) : h("p", { class: "hint" }, "Nothing was refused."));
    },
    stop: () => {},
  };
}

function table(head, rows) {
  return h("table", {},
    h("thead", {}, h("tr", {}, head.map((name, index) => h("th", { scope: "col", class: index > 0 && "number" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value, index) =>
      (index === 0 ? h("th", { scope: "row" }, value) : h("td", { class: "number" }, value)))))));
}
