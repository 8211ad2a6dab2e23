// What the server's page computes from /debug/stats, without a browser:
// node --experimental-detect-module --test tests/dashboard/history.test.js

import assert from "node:assert/strict";
import { test } from "node:test";

import { countOf, difference, leastOf, mean, quantile, sum } from "../../src/dashboard/assets/pages/server/buckets.js";
import { CLASSES, PHASES, WINDOW_S, createHistory, grown, latencyOf } from "../../src/dashboard/assets/pages/server/history.js";

// An answer whose one shard has counted so many appends of `us` microseconds.
function answer(uptimeS, appends, us = 150) {
  const latency = Object.fromEntries([...PHASES, "whole"].map((phase) => [phase, appends > 0 ? [[us, appends]] : []]));
  const acks = { appends, records: appends, record_bytes: appends * 10, late: 0, latency_us: latency };
  const none = { appends: 0, records: 0, record_bytes: 0, late: 0,
    latency_us: Object.fromEntries([...PHASES, "whole"].map((phase) => [phase, []])) };
  return {
    uptime_us: uptimeS * 1e6,
    shards: [{
      shard: 0, acks: { express: acks, standard: none }, offered: appends, inflight_bytes: 0, log: {},
      groups: { groups: appends, batches: appends, syncs: appends, written_bytes: 4096 * appends, record_bytes: 10 * appends },
      reads: { reads: 0, records: 0, record_bytes: 0, disk_bytes: 0 },
      upkeep: { segments_cleaned: 0, moved_bytes: 0, checkpoints: 0, checkpoint_failures: 0 },
    }],
    executors: [{ executor: 0, busy_us: uptimeS * 1e5, requests: appends, connections: 1 }],
  };
}

test("buckets begin where the one before ends", () => {
  const bounds = [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15, 19, 23, 27, 31, 39, 57343, 65535, 67108863];
  assert.deepEqual(bounds.slice(0, 17).map(leastOf), [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]);
  assert.equal(leastOf(57343), 49152);
  assert.equal(leastOf(65535), 57344);
  assert.equal(leastOf(67108863), 58720256);
});

test("quantiles lie in the bucket that holds them", () => {
  const buckets = [[9, 50], [111, 49], [1023, 1]];
  assert.equal(countOf(buckets), 100);
  assert.ok(quantile(buckets, 0.5) <= 9 && quantile(buckets, 0.5) >= 8);
  assert.ok(quantile(buckets, 0.99) <= 111 && quantile(buckets, 0.99) > 96);
  assert.ok(quantile(buckets, 0.999) > 896);
  assert.equal(quantile([], 0.5), null);
  assert.equal(mean([[7, 3]]), 7);
  assert.equal(mean([]), null);
});

test("a difference is what was added, and none where counts went back", () => {
  assert.deepEqual(difference([[9, 5]], [[9, 7], [11, 1]]), [[9, 2], [11, 1]]);
  assert.deepEqual(difference([], []), []);
  assert.equal(difference([[9, 5]], [[9, 4]]), null);
  assert.equal(difference([[9, 5]], []), null);
  assert.deepEqual(sum([[[9, 1]], [[11, 2], [9, 3]].sort((a, b) => a[0] - b[0])]), [[9, 4], [11, 2]]);
});

test("a step holds what was counted between two answers", () => {
  const history = createHistory();
  history.add(answer(10, 100), 1000);
  assert.equal(history.size(), 0);
  history.add(answer(11, 160), 2000);
  const steps = history.steps(WINDOW_S, 2000);
  assert.equal(steps.length, 1);
  assert.equal(grown(steps[0], "acks.express.appends", "all"), 60);
  assert.equal(grown(steps[0], "groups.syncs", 0), 60);
  assert.equal(grown(steps[0], "groups.syncs", 1), 0);
  assert.deepEqual(latencyOf(steps, CLASSES[0], "sync", "all"), [[150, 60]]);
  assert.ok(Math.abs(steps[0].executors[0].busy - 0.1) < 1e-9);
});

test("a new life is a gap, and counting goes on from it", () => {
  const history = createHistory();
  history.add(answer(100, 500), 0);
  history.add(answer(101, 510), 1000);
  history.add(answer(1, 3), 2000);
  history.add(answer(2, 5), 3000);
  const steps = history.steps(WINDOW_S, 3000);
  assert.deepEqual(steps.map((step) => step.gap ?? grown(step, "offered", "all")), [10, "the server started anew", 2]);
});

test("a server whose counts went back although it says that it lived on is another one", () => {
  const history = createHistory();
  history.add(answer(100, 500), 0);
  history.add(answer(101, 501), 1000);
  history.add(answer(200, 7), 2000);
  assert.equal(history.steps(WINDOW_S, 2000).at(-1).gap, "the server started anew");
});

test("failures in a row are one gap", () => {
  const history = createHistory();
  history.add(answer(1, 1), 0);
  history.add(answer(2, 2), 1000);
  for (let ms = 2000; ms < 9000; ms += 1000) history.gap(ms, "not reached");
  history.add(answer(10, 3), 9000);
  history.add(answer(11, 4), 10000);
  assert.deepEqual(history.steps(WINDOW_S, 10000).map((step) => step.gap ?? "step"), ["step", "not reached", "step"]);
});

test("no more is kept than is shown, however long it goes on", () => {
  const history = createHistory();
  for (let second = 0; second < 2000; second += 1) history.add(answer(second, second), second * 1000);
  assert.ok(history.size() <= WINDOW_S + 1, String(history.size()));
  for (let step = 0; step < 5000; step += 1) history.add(answer(3000 + step, 3000 + step), 3e6 + step * 10);
  assert.ok(history.size() <= 310, String(history.size()));
});
