// Where the time of acks goes: parts, histograms, and both over time.

import { h, put } from "../../dom.js";
import { chart, heat, histogram, legend, stackedBars } from "../../charts.js";
import { countOf, leastOf, mean, quantile, sum } from "./buckets.js";
import { CLASSES, PHASES, chosen, latencyOf, latencySinceStart } from "./history.js";
import { ago, duration, percent, rate } from "./units.js";

const NAMES = { express: "Express", standard: "Standard" };
const QUANTILES = [[0.5, "p50", "p50"], [0.99, "p99", "p99"], [0.999, "p99.9", "p999"]];
const COLUMNS_MAX = 60;

// The headline: what an ack waited for, at its mean, its median and its tail.
export function partsPanel() {
  const body = h("div", { class: "split" });
  const charts = new Map(CLASSES.map((name) => [name, chart(`${NAMES[name]} acks`)]));
  const quiet = h("p", { class: "hint" });
  put(body, [...charts.values()].map((one) => one.node), quiet);
  const node = h("section", { class: "panel", "aria-labelledby": "ack-parts" },
    h("h2", { id: "ack-parts" }, "Where the microseconds of an ack go"),
    legend(PHASES.map((phase) => [phase, phase])),
    body,
    h("p", { class: "hint" }, "Queue: from arrival until the batch's group is written. Write and sync: of the whole group; ",
      "where the device does both in one, it is sync. Respond: until who waited is told. Each part is its own ",
      "quantile, so only the means add up; the upright line is the whole ack."));
  return {
    node,
    update(view) {
      const idle = [];
      for (const name of CLASSES) {
        const whole = view.latency(name, "whole");
        const one = charts.get(name);
        one.node.hidden = countOf(whole) === 0;
        if (one.node.hidden) idle.push(NAMES[name]);
        else one.update((width) => partsOf(width, name, view, whole));
      }
      put(quiet, idle.length > 0 ? `No ${idle.join(" and no ")} acks ${view.words}.` : "");
      quiet.hidden = idle.length === 0;
    },
    stop: () => charts.forEach((one) => one.stop()),
  };
}

function partsOf(width, name, view, whole) {
  const parts = new Map(PHASES.map((phase) => [phase, view.latency(name, phase)]));
  const kinds = [["mean", mean], ["p50", (of) => quantile(of, 0.5)], ["p99", (of) => quantile(of, 0.99)]];
  const rows = kinds.map(([kind, of]) => ({
    name: kind,
    end: duration(of(whole)),
    mark: of(whole),
    parts: PHASES.map((phase) => ({ kind: phase, name: phase, value: of(parts.get(phase)) ?? 0 })),
  }));
  const label = `${NAMES[name]}: ${rows.map((row) => `${row.name} ${row.end}, of it ${
    row.parts.map((part) => `${part.name} ${duration(part.value)}`).join(", ")}`).join("; ")}.`;
  return {
    ...stackedBars(width, rows, duration),
    label,
    head: ["", ...PHASES, "whole ack"],
    rows: rows.map((row) => [row.name, ...row.parts.map((part) => duration(part.value)), row.end]),
    note: `${rate(countOf(whole))} acks ${view.words}.`,
  };
}

// A histogram of each phase of one class.
export function histogramPanel(name) {
  const all = ["whole", ...PHASES];
  const charts = new Map(all.map((phase) => [phase, chart(phase === "whole" ? "Whole ack" : phase)]));
  const quiet = h("p", { class: "hint" }, "No acks of this class yet.");
  const small = h("div", { class: "chart-grid small" }, PHASES.map((phase) => charts.get(phase).node));
  const node = h("section", { class: "panel", "aria-label": `Latency of ${NAMES[name]}` },
    h("h2", {}, `${NAMES[name]}: how long acks take`), quiet, charts.get("whole").node, small);
  return {
    node,
    update(view) {
      const isEmpty = countOf(view.latency(name, "whole")) === 0;
      put(quiet, `No ${NAMES[name]} acks ${view.words}.`);
      quiet.hidden = !isEmpty;
      small.hidden = isEmpty;
      charts.get("whole").node.hidden = isEmpty;
      if (isEmpty) return;
      const target = view.newest.targets_us[name];
      for (const phase of all) {
        charts.get(phase).update((width) => histogramOf(width, view.latency(name, phase), phase, target));
      }
    },
    stop: () => charts.forEach((one) => one.stop()),
  };
}

function histogramOf(width, counted, phase, target) {
  const total = countOf(counted);
  const marks = QUANTILES.map(([q, name, kind]) => [quantile(counted, q), name, kind]);
  const isWhole = phase === "whole";
  if (isWhole) marks.push([target, "target", "target"]);
  const { from, to } = rangeOf(counted, isWhole ? target : 0);
  const buckets = counted.map(([bound, count]) => [leastOf(bound), bound, count]);
  const said = marks.map(([value, name]) => `${name} ${duration(value)}`).join(", ");
  return {
    ...histogram(width, isWhole ? 210 : 170, { buckets, marks, from, to, kind: phase, format: duration }),
    label: `${isWhole ? "Whole ack" : phase}: ${total} acks, ${said}.`,
    head: ["at most", "acks", "part"],
    rows: counted.map(([bound, count]) => [duration(bound), String(count), percent(count / total)]),
  };
}

// From and to powers of ten around what is there.
function rangeOf(counted, least) {
  const bounds = counted.map(([bound]) => bound);
  const low = counted.length > 0 ? Math.max(1, leastOf(bounds[0])) : 1;
  const high = Math.max(10, least, ...bounds);
  return { from: 10 ** Math.floor(Math.log10(low)), to: 10 ** Math.ceil(Math.log10(high + 1)) };
}

// The whole ack over time: how often which latency came, its median and its tail.
export function overTimePanel(name) {
  const one = chart(`${NAMES[name]}: latency over time`, "darker: more acks; lines: p50 and p99");
  return {
    node: one.node,
    update(view) {
      one.node.hidden = countOf(view.inWindow(name, "whole")) === 0;
      if (!one.node.hidden) one.update((width) => overTime(width, name, view));
    },
    stop: one.stop,
  };
}

function overTime(width, name, view) {
  const columns = columnsOf(view.allSteps, name, view.which, view.ms);
  const counted = columns.map((column) => column.buckets).filter((buckets) => buckets !== null);
  const target = view.newest.targets_us[name];
  const all = sum(counted);
  const series = [[0.5, "p50"], [0.99, "p99"]].map(([q, kind]) => ({
    kind,
    points: columns.map((column) => [column.ago + column.wide / 2, column.buckets && quantile(column.buckets, q)]),
  }));
  const heatColumns = columns.filter((column) => column.buckets).map((column) =>
    [column.ago, column.wide, column.buckets.map(([bound, count]) => [leastOf(bound), bound, count])]);
  const rows = columns.filter((column) => column.buckets && column.buckets.length > 0).map((column) =>
    [ago(column.ago), String(countOf(column.buckets)), duration(quantile(column.buckets, 0.5)), duration(quantile(column.buckets, 0.99))]);
  return {
    ...heat(width, 220, { columns: heatColumns, series, span: view.span, ...rangeOf(all, target), target, format: duration }),
    label: `${NAMES[name]} acks of the last ${duration(view.span * 1e6)}: median ${duration(quantile(all, 0.5))}, p99 ${duration(quantile(all, 0.99))}, target ${duration(target)}.`,
    head: ["when", "acks", "p50", "p99"],
    rows: rows.reverse(),
  };
}

// Steps put together so that there are no more columns than can be told apart; null is a gap.
function columnsOf(steps, name, which, ms) {
  const size = Math.max(1, Math.ceil(steps.length / COLUMNS_MAX));
  const columns = [];
  let open = [];
  const close = () => {
    if (open.length === 0) return;
    const buckets = sum(open.flatMap((step) => chosen(step.shards, which).map((shard) => shard.latency[name].whole)));
    const wide = open.reduce((total, step) => total + step.seconds, 0);
    columns.push({ ago: (ms - open[open.length - 1].ms) / 1000, wide, buckets });
    open = [];
  };
  for (const step of steps) {
    if (step.gap !== undefined) {
      close();
      columns.push({ ago: (ms - step.ms) / 1000, wide: 0, buckets: null });
      continue;
    }
    open.push(step);
    if (open.length === size) close();
  }
  close();
  return columns;
}

// What a view gives of latencies: of the steps that are looked at, or since the start.
export function latencyView(steps, newest, which, isSinceStart) {
  const known = new Map();
  return (name, phase) => {
    const key = `${name}/${phase}`;
    if (!known.has(key)) {
      known.set(key, isSinceStart ? latencySinceStart(newest, name, phase, which) : latencyOf(steps, name, phase, which));
    }
    return known.get(key);
  };
}
