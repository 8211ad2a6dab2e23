// Basins, streams, locations, metrics.

import assert from "node:assert/strict";

import { RangeNotSatisfiableError, S2, S2Environment, paginate } from "@s2-dev/streamstore";

import {
  all,
  basinName,
  batch,
  bodies,
  count,
  fromSeqNum,
  isReference,
  newBasin,
  pause,
  refused,
  rule,
  s2,
  token,
  unlessMissing,
  url,
} from "./common.mjs";

async function collect(items) {
  const list = [];
  for await (const item of items) list.push(item);
  return list;
}

rule("a created basin is listed and cannot be created again", async () => {
  const basin = basinName();
  const created = await s2.basins.create({ basin });
  assert.equal(created.name, basin);
  assert.equal(created.deletedAt ?? null, null);
  const page = await s2.basins.list({ prefix: basin });
  assert.deepEqual(
    page.basins.map((info) => [info.name, info.createdAt.getTime()]),
    [[basin, created.createdAt.getTime()]],
  );
  assert.equal(page.hasMore, false);
  await refused(s2.basins.create({ basin }), "resource_already_exists");
});

rule("ensuring a basin tells created, updated and unchanged apart", async () => {
  const basin = basinName();
  const seen = [];
  for (const createStreamOnAppend of [true, true, false]) {
    seen.push((await s2.basins.ensure({ basin, config: { createStreamOnAppend } })).result);
  }
  seen.push((await s2.basins.ensure({ basin })).result);
  assert.deepEqual(seen, ["created", "noop", "updated", "noop"]);
});

rule("listing basins pages in order and honours prefix and start", async () => {
  const base = basinName();
  const names = [0, 1, 2, 3, 4].map((number) => `${base}-${number}`);
  for (const basin of names.toReversed()) await s2.basins.create({ basin });
  const prefix = `${base}-`;
  const first = await s2.basins.list({ prefix, limit: 2 });
  const firstNames = first.basins.map((info) => info.name);
  assert.deepEqual([firstNames, first.hasMore], [names.slice(0, 2), true]);
  const rest = await s2.basins.list({ prefix, startAfter: names[1] });
  assert.deepEqual([rest.basins.map((info) => info.name), rest.hasMore], [names.slice(2), false]);
  const every = await collect(s2.basins.listAll({ prefix, limit: 2 }));
  assert.deepEqual(every.map((info) => info.name), names);
  const pages = paginate(
    async (args) => {
      const page = await s2.basins.list({ prefix, limit: 2, ...args });
      return { items: page.basins, hasMore: page.hasMore };
    },
    {},
    (info) => info.name,
  );
  assert.equal((await collect(pages)).length, 5);
});

rule("reconfiguring a basin sets, clears and leaves alone", async () => {
  const defaults = {
    storageClass: "standard",
    retentionPolicy: { ageSecs: 3600 },
    timestamping: { mode: "arrival", uncapped: true },
    deleteOnEmpty: { minAgeSecs: 90 },
  };
  const { name: basin } = await newBasin({
    defaultStreamConfig: defaults,
    createStreamOnAppend: true,
  });
  const got = await s2.basins.getConfig({ basin });
  assert.deepEqual(got.defaultStreamConfig, defaults);
  assert.deepEqual([got.createStreamOnAppend, got.createStreamOnRead], [true, false]);
  assert.equal(got.streamCipher ?? null, null);

  const set = await s2.basins.reconfigure({
    basin,
    createStreamOnRead: true,
    defaultStreamConfig: { retentionPolicy: { infinite: {} }, storageClass: null },
  });
  assert.deepEqual([set.createStreamOnAppend, set.createStreamOnRead], [true, true]);
  assert.deepEqual(set.defaultStreamConfig.retentionPolicy, { infinite: {} });
  assert.equal(set.defaultStreamConfig.storageClass ?? null, null);
  assert.deepEqual(set.defaultStreamConfig.timestamping, defaults.timestamping);
  const cleared = await s2.basins.reconfigure({ basin, defaultStreamConfig: null });
  assert.equal(cleared.defaultStreamConfig ?? null, null);
  const zero = { defaultStreamConfig: { retentionPolicy: { ageSecs: 0 } } };
  await refused(s2.basins.reconfigure({ basin, ...zero }), "invalid");
});

rule("a deleted basin is pending or gone", async () => {
  const { name: basin } = await newBasin();
  await s2.basins.delete({ basin });
  assert.deepEqual(await collect(s2.basins.listAll({ prefix: basin })), []);
  for (const info of await collect(s2.basins.listAll({ prefix: basin, includeDeleted: true }))) {
    assert.ok(info.deletedAt);
  }
  const never = basinName();
  await refused(s2.basins.delete({ basin: never }), "basin_not_found");
  await refused(s2.basins.getConfig({ basin: never }), "basin_not_found");
  await refused(s2.basin(never).streams.list(), "basin_not_found");
});

// Names with slashes, blanks, percent signs, dots, and more bytes than characters.
const odd = ["日本/x y", "a//b", "50%2F", "Grüße / %zz + ?x=1&y#z", " ", "...", "tab\there", "🦀"];

rule("any stream name works in every call", async () => {
  const basin = await newBasin();
  const streams = [...odd, "ü".repeat(256)];
  for (const stream of streams) {
    const created = await basin.streams.create({ stream });
    assert.equal(created.name, stream);
    const handle = basin.stream(stream);
    await handle.append(batch(["one"]));
    const session = await handle.appendSession();
    await (await session.submit(batch(["two"]))).ack();
    await session.close();
    assert.deepEqual(bodies((await handle.read(fromSeqNum(0))).records), ["one", "two"]);
    assert.deepEqual(bodies(await all(handle, fromSeqNum(0, count(2)), "string")), ["one", "two"]);
    assert.equal((await handle.checkTail()).tail.seqNum, 2);
    await basin.streams.getConfig({ stream });
    const page = await basin.streams.list({ prefix: stream });
    assert.ok(page.streams.some((info) => info.name === stream));
    await handle.close();
  }
  const listed = (await collect(basin.streams.listAll())).map((info) => info.name);
  const inOrder = streams.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  assert.deepEqual(listed, inOrder, "in the order of their bytes");
  for (const stream of streams) await basin.streams.delete({ stream });
  assert.deepEqual(await collect(basin.streams.listAll()), []);
});

rule("listing streams pages in order and honours prefix and start", async () => {
  const basin = await newBasin();
  for (const stream of ["q/1", "p/3", "p/1", "p/2", "o"]) await basin.streams.create({ stream });
  for (const [startAfter, limit, expected, more] of [
    [undefined, 2, ["p/1", "p/2"], true],
    ["p/2", 2, ["p/3"], false],
    [undefined, 3, ["p/1", "p/2", "p/3"], false],
    ["p/3", 2, [], false],
  ]) {
    const page = await basin.streams.list({ prefix: "p/", startAfter, limit });
    assert.deepEqual([page.streams.map((info) => info.name), page.hasMore], [expected, more]);
  }
});

rule("ensuring a stream tells created, updated and unchanged apart", async () => {
  const basin = await newBasin();
  const seen = [];
  for (const ageSecs of [60, 60, 61]) {
    const config = { retentionPolicy: { ageSecs } };
    seen.push((await basin.streams.ensure({ stream: "s", config })).result);
  }
  seen.push((await basin.streams.ensure({ stream: "s" })).result);
  assert.deepEqual(seen, ["created", "noop", "updated", "updated"]);
  await refused(basin.streams.create({ stream: "s" }), "resource_already_exists");
});

rule("a stream's configuration is resolved, and reconfiguring sets and clears", async () => {
  const basin = await newBasin();
  await basin.streams.create({ stream: "plain" });
  assert.deepEqual(await basin.streams.getConfig({ stream: "plain" }), {
    storageClass: "express",
    retentionPolicy: { ageSecs: 604_800 },
    timestamping: { mode: "client-prefer", uncapped: false },
    deleteOnEmpty: { minAgeSecs: 0 },
  });
  const config = {
    storageClass: "standard",
    retentionPolicy: { infinite: {} },
    timestamping: { mode: "client-require", uncapped: false },
    deleteOnEmpty: { minAgeSecs: 70 },
  };
  await basin.streams.create({ stream: "s", config });
  assert.deepEqual(await basin.streams.getConfig({ stream: "s" }), config);
  const changed = await basin.streams.reconfigure({
    stream: "s",
    retentionPolicy: { ageSecs: 120 },
    storageClass: null,
    timestamping: { uncapped: true },
  });
  assert.deepEqual(changed, {
    storageClass: "express",
    retentionPolicy: { ageSecs: 120 },
    timestamping: { mode: "client-require", uncapped: true },
    deleteOnEmpty: { minAgeSecs: 70 },
  });
  const zero = { retentionPolicy: { ageSecs: 0 } };
  await refused(basin.streams.reconfigure({ stream: "s", ...zero }), "invalid");
  await refused(basin.streams.reconfigure({ stream: "other" }), "stream_not_found");
});

rule("a deleted stream starts anew", async () => {
  const basin = await newBasin();
  await basin.streams.create({ stream: "s" });
  const stream = basin.stream("s");
  await stream.append(batch(["old"]));
  await basin.streams.delete({ stream: "s" });
  await refused(stream.checkTail(), "stream_deletion_pending", "stream_not_found");
  // The purge happens in the background; the whole case is bounded.
  for (;;) {
    try {
      await basin.streams.create({ stream: "s" });
      break;
    } catch (error) {
      assert.equal(error.code, "stream_deletion_pending");
    }
    await pause(100);
  }
  assert.equal((await stream.checkTail()).tail.seqNum, 0);
  await refused(basin.streams.delete({ stream: "never" }), "stream_not_found");
});

rule("first appends and reads create streams with the given configuration", async () => {
  const streamConfig = { retentionPolicy: { ageSecs: 3600 }, deleteOnEmpty: { minAgeSecs: 300 } };
  const basin = await newBasin({ createStreamOnAppend: true, createStreamOnRead: true });
  await basin.stream("append").append(batch(["a"], { streamConfig }));
  for (const forceTransport of ["s2s", "fetch"]) {
    const written = basin.stream(`append session ${forceTransport}`, { forceTransport });
    const session = await written.appendSession({ streamConfig });
    await session.submit(batch(["a"]));
    await session.close();
    const read = basin.stream(`read session ${forceTransport}`, { forceTransport });
    const stop = { waitSecs: 0 };
    assert.deepEqual(await all(read, { ...fromSeqNum(0, stop), streamConfig }), []);
    await written.close();
    await read.close();
  }
  const unary = basin.stream("read").read({ ...fromSeqNum(0), streamConfig });
  await assert.rejects(unary, RangeNotSatisfiableError);
  const streams = (await basin.streams.list()).streams;
  assert.equal(streams.length, 6);
  for (const { name: stream } of streams) {
    const config = await basin.streams.getConfig({ stream });
    assert.deepEqual(config.retentionPolicy, { ageSecs: 3600 }, stream);
    assert.deepEqual(config.deleteOnEmpty, { minAgeSecs: 300 }, stream);
    assert.equal(config.storageClass, "express", stream);
  }
  const closed = (await newBasin()).stream("missing");
  await refused(closed.append(batch(["a"])), "stream_not_found");
  await refused(closed.read(fromSeqNum(0)), "stream_not_found");
});

rule("locations are listed and one is the default", async (t) => {
  const every = await unlessMissing(s2.locations.list());
  if (!every) return t.skip("the reference server has no such call");
  const fallback = await s2.locations.getDefault();
  assert.ok(every.some((location) => location.name === fallback.name));
  assert.deepEqual(await s2.locations.setDefault({ location: fallback.name }), fallback);
  await refused(s2.locations.setDefault({ location: "nowhere:1" }), "invalid");
  const basin = basinName();
  const created = await s2.basins.create({ basin, location: fallback.name });
  assert.equal(created.location, fallback.name);
  await refused(s2.basins.ensure({ basin, location: "nowhere:1" }), "invalid");
});

/** The unit and kind of every metric in an answer are what the set promises. */
function check(answer, unit) {
  for (const metric of answer.values) {
    const series = metric.accumulation ?? metric.gauge;
    assert.ok(series, JSON.stringify(metric));
    assert.equal(series.unit, unit);
  }
}

rule("every metric set is answered", async (t) => {
  const basin = await newBasin();
  await basin.streams.create({ stream: "s" });
  await basin.stream("s").append(batch(["a", "b"]));
  const end = new Date();
  const range = { start: new Date(end.getTime() - 3_600_000), end };
  const active = await unlessMissing(s2.metrics.account({ set: "active-basins", ...range }));
  if (!active) return t.skip("the reference server has no such call");
  assert.ok(active.values.every((metric) => metric.label));
  check(await s2.metrics.account({ set: "account-ops", ...range }), "operations");
  for (const [set, unit] of [
    ["storage", "bytes"],
    ["append-ops", "operations"],
    ["read-ops", "operations"],
    ["read-throughput", "bytes"],
    ["append-throughput", "bytes"],
    ["basin-ops", "operations"],
  ]) {
    check(await s2.metrics.basin({ basin: basin.name, set, ...range }), unit);
  }
  const storage = { basin: basin.name, stream: "s", set: "storage" };
  check(await s2.metrics.stream({ ...storage, ...range }), "bytes");
});

rule("impossible metric ranges are refused", async (t) => {
  if (isReference) return t.skip("the reference server has no such call");
  const now = Date.now();
  const day = 24 * 3_600_000;
  for (const [start, end] of [
    [now, now - 60_000],
    [now, now + 600_000],
    [now - 91 * day, now],
    [undefined, undefined],
  ]) {
    await refused(s2.metrics.account({ set: "active-basins", start, end }), "invalid");
  }
});

rule("the environment names the endpoints", async () => {
  process.env.S2_ACCOUNT_ENDPOINT = url;
  process.env.S2_BASIN_ENDPOINT = url;
  process.env.S2_ACCESS_TOKEN = token;
  const fromEnvironment = new S2(S2Environment.parse());
  await fromEnvironment.basins.list({ limit: 1 });
  const controller = new AbortController();
  controller.abort();
  await assert.rejects(fromEnvironment.basins.list({}, { signal: controller.signal }));
});
