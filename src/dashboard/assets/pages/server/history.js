// What happened between one answer of /debug/stats and the next, for as long as is shown.
//
// * A step is the difference of two answers, by shard. A gap is where there is none: the server
//   could not be asked, was paused, or is another one whose counts began anew.
// * Bounded: STEPS_MAX steps, and the newest answer.

import { difference, sum } from "./buckets.js";

export const CLASSES = ["express", "standard"];
export const PHASES = ["queue", "write", "sync", "respond"];
export const WINDOW_S = 300;
const STEPS_MAX = 310;
// From one answer to the next; after longer it is not known how what happened was spread.
const STEP_S_MAX = 15;

const COUNTERS = [
  ...CLASSES.flatMap((name) => ["appends", "records", "record_bytes", "late"].map((what) => `acks.${name}.${what}`)),
  "offered", "groups.groups", "groups.batches", "groups.syncs", "groups.written_bytes",
  "groups.record_bytes", "reads.reads", "reads.records", "reads.record_bytes", "reads.disk_bytes",
  "upkeep.segments_cleaned", "upkeep.moved_bytes", "upkeep.checkpoints", "upkeep.checkpoint_failures",
];

// What a dotted name names.
export function at(object, name) {
  return name.split(".").reduce((inner, part) => inner?.[part], object);
}

export function createHistory() {
  let steps = [];
  let newest = null;
  let newestMs = 0;

  function push(step) {
    steps.push(step);
    const oldest = step.ms - WINDOW_S * 1000;
    steps = steps.filter((one) => one.ms >= oldest).slice(-STEPS_MAX);
  }

  // There is no answer at `ms`, or none that can be compared with the one before.
  function gap(ms, why) {
    newest = null;
    if (steps.length > 0 && steps[steps.length - 1].gap === undefined) push({ ms, gap: why });
  }

  // Takes an answer that came at `ms` on the browser's clock that never goes back.
  function add(stats, ms) {
    const before = newest;
    const seconds = (ms - newestMs) / 1000;
    if (before && seconds <= STEP_S_MAX) {
      const step = stepOf(before, stats, seconds, ms);
      if (step) push(step);
      else gap(ms, "the server started anew");
    } else if (before) {
      gap(ms, "not asked");
    }
    newest = stats;
    newestMs = ms;
  }

  return {
    add,
    gap,
    newest: () => newest,
    // Steps of the last `seconds`, gaps included, oldest first.
    steps: (seconds, ms) => steps.filter((one) => one.ms > ms - seconds * 1000),
    size: () => steps.length,
  };
}

function stepOf(before, after, seconds, ms) {
  const isSame = after.uptime_us >= before.uptime_us && after.shards.length === before.shards.length;
  if (!isSame || seconds <= 0) return null;
  const shards = [];
  for (const [index, now] of after.shards.entries()) {
    const shard = shardStep(before.shards[index], now);
    if (!shard) return null;
    shards.push(shard);
  }
  const executors = after.executors.map((now, index) => ({
    busy: Math.min(1, Math.max(0, now.busy_us - (before.executors[index]?.busy_us ?? 0)) / 1e6 / seconds),
    requests: now.requests - (before.executors[index]?.requests ?? 0),
    connections: now.connections,
  }));
  return { ms, seconds, shards, executors };
}

function shardStep(before, now) {
  const counts = {};
  for (const name of COUNTERS) {
    const grown = at(now, name) - at(before, name);
    if (!(grown >= 0)) return null;
    counts[name] = grown;
  }
  const latency = {};
  for (const name of CLASSES) {
    latency[name] = {};
    for (const phase of [...PHASES, "whole"]) {
      const was = before.acks[name].latency_us[phase];
      const grown = difference(was, now.acks[name].latency_us[phase]);
      if (!grown) return null;
      latency[name][phase] = grown;
    }
  }
  return { shard: now.shard, counts, latency, log: now.log, inflight: now.inflight_bytes };
}

// The shards of a step or an answer that are looked at; `which` is "all" or a number.
export function chosen(shards, which) {
  return which === "all" ? shards : shards.filter((one) => one.shard === which);
}

// How much a counter grew in a step.
export function grown(step, name, which) {
  return chosen(step.shards, which).reduce((total, shard) => total + shard.counts[name], 0);
}

// Buckets of a class and phase over steps.
export function latencyOf(steps, name, phase, which) {
  const lists = steps.filter((step) => step.gap === undefined)
    .flatMap((step) => chosen(step.shards, which).map((shard) => shard.latency[name][phase]));
  return sum(lists);
}

// The same since the server started.
export function latencySinceStart(stats, name, phase, which) {
  return sum(chosen(stats.shards, which).map((shard) => shard.acks[name].latency_us[phase]));
}
