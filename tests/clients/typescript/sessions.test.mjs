// Append sessions, producers and read sessions, over HTTP/2 and over `fetch`; compression.

import assert from "node:assert/strict";
import zlib from "node:zlib";

import {
  AppendInput,
  AppendRecord,
  BatchTransform,
  FencingTokenMismatchError,
  Producer,
  RangeNotSatisfiableError,
  S2Error,
  SeqNumMismatchError,
  meteredBytes,
} from "@s2-dev/streamstore";

import {
  all,
  batch,
  batchBytesMax,
  bodies,
  bytes,
  client,
  contents,
  count,
  failure,
  from,
  fromSeqNum,
  isReference,
  newBasin,
  newStream,
  noise,
  pause,
  readBack,
  recordOverheadBytes,
  refused,
  rule,
  s2,
  seqNums,
  take,
  text,
} from "./common.mjs";

const transports = ["s2s", "fetch"];

for (const forceTransport of transports) {
  const over = `over ${forceTransport}: `;

  rule(`${over}pipelined batches are acknowledged in order`, async () => {
    const stream = await newStream({ forceTransport });
    const session = await stream.appendSession();
    const appended = [];
    const tickets = [];
    for (let number = 0; number < (forceTransport === "s2s" ? 2000 : 300); number++) {
      const records = Array.from({ length: 1 + (number % 3) }, (_, part) =>
        bytes(noise(number * 3 + part, 40 + (number % 50))),
      );
      const input = AppendInput.create(records, { matchSeqNum: appended.length });
      tickets.push([appended.length, await session.submit(input)]);
      appended.push(...records);
    }
    let position = 0;
    for (const [first, ticket] of tickets) {
      const ack = await ticket.ack();
      assert.deepEqual([ack.start.seqNum, position], [first, first]);
      position = ack.end.seqNum;
    }
    assert.equal(session.lastAckedPosition().end.seqNum, appended.length);
    await session.close();
    assert.equal(session.failureCause(), undefined);
    assert.equal(contents(await readBack(stream, appended.length)), contents(appended));
    await stream.close();
  });

  rule(`${over}a failure in the middle acknowledges what came before`, async () => {
    const stream = await newStream({ forceTransport });
    const session = await stream.appendSession();
    const failing = 60;
    const tickets = [];
    for (let number = 0; number < 100; number++) {
      const matchSeqNum = number === failing ? 7 : number;
      try {
        tickets.push((await session.submit(batch(["x"], { matchSeqNum }))).ack());
        tickets.at(-1).catch(() => {});
      } catch {
        assert.ok(number > failing, `batch ${number} was not even taken`);
      }
    }
    const outcomes = await Promise.allSettled(tickets);
    outcomes.forEach((outcome, number) => {
      assert.equal(outcome.status, number < failing ? "fulfilled" : "rejected", `${number}`);
    });
    assert.ok(outcomes[failing].reason instanceof SeqNumMismatchError);
    assert.equal(outcomes[failing].reason.expectedSeqNum, failing);
    assert.ok(session.failureCause() instanceof SeqNumMismatchError);
    await assert.rejects(session.submit(batch(["late"])).then((ticket) => ticket.ack()));
    await assert.rejects(session.close());
    assert.equal((await stream.checkTail()).tail.seqNum, failing);
    await stream.close();
  });

  rule(`${over}refusals reach the session with their type`, async () => {
    const basin = await newBasin();
    await basin.streams.create({ stream: "s" });
    const stream = basin.stream("s", { forceTransport });
    const session = await stream.appendSession();
    await (await session.submit(batch(["ours"], { fencingToken: "" }))).ack();
    await stream.append(AppendInput.create([AppendRecord.fence("theirs")]));
    const late = session.submit(batch(["late"], { fencingToken: "" }));
    const error = await failure(late.then((ticket) => ticket.ack()), FencingTokenMismatchError);
    assert.equal(error.expectedFencingToken, "theirs");
    await assert.rejects(session.close());
    const missing = basin.stream("missing", { forceTransport });
    const lost = async () => {
      const opened = await missing.appendSession();
      await (await opened.submit(batch(["a"]))).ack();
    };
    await refused(lost(), "stream_not_found");
    await missing.close();
    await stream.close();
  });

  rule(`${over}a session follows live appends`, async () => {
    const stream = await newStream({ forceTransport });
    const records = Array.from({ length: 1500 }, (_, number) => bytes(noise(number, number % 300)));
    for (let start = 0; start < 900; start += 300) {
      await stream.append(AppendInput.create(records.slice(start, start + 300)));
    }
    const session = await stream.readSession(fromSeqNum(0), { as: "bytes" });
    const reader = session.getReader();
    const write = async () => {
      const appends = await stream.appendSession();
      for (let start = 900; start < records.length; start += 7) {
        await appends.submit(AppendInput.create(records.slice(start, start + 7)));
      }
      await appends.close();
    };
    const [read] = await Promise.all([take(reader, records.length), write()]);
    assert.deepEqual(seqNums(read), [...records.keys()]);
    assert.equal(contents(read), contents(records));
    await reader.cancel();
    await stream.close();
  });

  rule(`${over}sessions start anywhere and end at their bounds`, async () => {
    const stream = await newStream({ forceTransport });
    const at = [10, 20, 20, 30].map((timestamp) =>
      AppendRecord.string({ body: `${timestamp}`, timestamp }),
    );
    await stream.append(AppendInput.create(at));
    const size = meteredBytes({ body: "10" });
    const now = { waitSecs: 0 };
    for (const [start, stop, expected] of [
      [{ seqNum: 0 }, now, [0, 1, 2, 3]],
      [{ seqNum: 4 }, now, []],
      [{ timestamp: 20 }, now, [1, 2, 3]],
      [{ tailOffset: 1 }, now, [3]],
      [{ tailOffset: 0 }, { waitSecs: 1 }, []],
      [{ seqNum: 0 }, count(3), [0, 1, 2]],
      [{ seqNum: 0 }, count(9), [0, 1, 2, 3]],
      [{ seqNum: 0 }, { limits: { bytes: 2 * size } }, [0, 1]],
      [{ seqNum: 0 }, { limits: { bytes: 2 * size - 1 } }, [0]],
      [{ seqNum: 0 }, { untilTimestamp: 30 }, [0, 1, 2]],
      [{ timestamp: 20 }, { untilTimestamp: 21, waitSecs: 1 }, [1, 2]],
    ]) {
      const read = await all(stream, from(start, stop));
      assert.deepEqual(seqNums(read), expected, JSON.stringify([start, stop]));
    }
    const clamped = { start: { from: { seqNum: 99 }, clamp: true }, stop: { waitSecs: 1 } };
    assert.deepEqual(await all(stream, clamped), []);
    const error = await failure(all(stream, fromSeqNum(9)), RangeNotSatisfiableError);
    assert.equal(error.tail.seqNum, 4);
    const asText = await all(stream, fromSeqNum(0, count(4)), "string");
    assert.deepEqual(bodies(asText), ["10", "20", "20", "30"]);
    await stream.close();
  });

  rule(`${over}being caught up is noticed, and hidden commands count`, async () => {
    const stream = await newStream({ forceTransport });
    const input = { ...fromSeqNum(0), ignoreCommandRecords: true };
    const session = await stream.readSession(input);
    const reader = session.getReader();
    const first = reader.read();
    assert.equal((await session.caughtUp()).seqNum, 0);
    assert.ok(session.isCaughtUp());
    await stream.append(
      AppendInput.create([text("a"), AppendRecord.fence("t"), text("b"), AppendRecord.trim(0)]),
    );
    assert.equal((await first).value.seqNum, 0);
    assert.equal((await reader.read()).value.seqNum, 2);
    const last = reader.read();
    assert.equal((await session.caughtUp()).seqNum, 4);
    assert.equal(session.lastObservedTail().seqNum, 4);
    assert.equal(session.nextReadPosition().seqNum, 4);
    await reader.cancel();
    assert.ok((await last).done);
    await stream.close();
  });

  rule(`${over}the largest batches pass whole`, async () => {
    const stream = await newStream({ forceTransport });
    const session = await stream.appendSession({
      maxInflightBytes: 2 * 1024 * 1024,
      maxInflightBatches: 3,
    });
    const appended = [];
    for (let seed = 0; seed < 4; seed++) {
      const records =
        seed % 2 === 0
          ? [bytes(noise(seed, batchBytesMax - recordOverheadBytes))]
          : Array.from({ length: 1000 }, (_, number) => bytes(noise(seed + number, 1040)));
      await session.submit(AppendInput.create(records));
      appended.push(...records);
    }
    await session.close();
    assert.equal(contents(await readBack(stream, appended.length)), contents(appended));
    await stream.close();
  });

  rule(`${over}deletion ends a session that follows`, async () => {
    const basin = await newBasin();
    await basin.streams.create({ stream: "s" });
    const stream = basin.stream("s", { forceTransport });
    await stream.append(batch(["a"]));
    const session = await stream.readSession(fromSeqNum(0));
    const reader = session.getReader();
    await take(reader, 1);
    await basin.streams.delete({ stream: "s" });
    const ended = async () => {
      for (;;) {
        const { value, done } = await reader.read();
        assert.ok(!done, "an error comes before the end");
        assert.ok(isReference, `a record after the deletion: ${JSON.stringify(value)}`);
      }
    };
    await refused(ended(), "stream_deletion_pending", "stream_not_found");
    await stream.close();
  });
}

rule("a session's streams carry inputs and acknowledgements", async () => {
  const stream = await newStream();
  const session = await stream.appendSession();
  const writer = session.writable.getWriter();
  const seen = [];
  const acks = (async () => {
    for await (const ack of session.acks()) seen.push(ack.end.seqNum);
  })();
  for (let number = 0; number < 20; number++) await writer.write(batch([`${number}`]));
  await writer.close();
  await acks;
  assert.deepEqual(seen, Array.from({ length: 20 }, (_, number) => number + 1));
  await stream.close();
});

rule("a producer batches records and knows the place of each", async () => {
  const stream = await newStream();
  const records = Array.from({ length: 500 }, (_, number) => bytes(noise(number, number % 700)));
  const transform = new BatchTransform({
    lingerDurationMillis: 20,
    maxBatchRecords: 10,
    maxBatchBytes: 4096,
    matchSeqNum: 0,
    fencingToken: "",
  });
  const producer = new Producer(transform, await stream.appendSession());
  const tickets = [];
  for (const record of records) tickets.push(await producer.submit(record));
  await producer.flush();
  assert.equal((await stream.checkTail()).tail.seqNum, 500);
  const starts = new Set();
  for (const [number, ticket] of tickets.entries()) {
    const ack = await ticket.ack();
    assert.equal(ack.seqNum(), number);
    const { start, end } = ack.batchAppendAck();
    assert.ok(end.seqNum - start.seqNum <= 10);
    starts.add(start.seqNum);
  }
  assert.ok(starts.size >= 50 && starts.size < 500, `${starts.size}`);
  const last = await producer.submit(text("last"));
  await producer.close();
  assert.equal((await last.ack()).seqNum(), 500);
  assert.equal(contents((await readBack(stream, 501)).slice(0, 500)), contents(records));
  await stream.close();
});

rule("a producer stops at a failed condition", async () => {
  const stream = await newStream();
  const transform = new BatchTransform({ matchSeqNum: 0 });
  const producer = new Producer(transform, await stream.appendSession());
  await (await producer.submit(text("a"))).ack();
  await stream.append(batch(["between"]));
  const late = producer.submit(text("b")).then((ticket) => ticket.ack());
  await failure(late, SeqNumMismatchError);
  await assert.rejects(producer.close());
  await stream.close();
});

rule("many followers get the same records", async () => {
  const stream = await newStream();
  const followers = Array.from({ length: 110 }, async () => {
    const session = await stream.readSession(fromSeqNum(0), { as: "bytes" });
    const reader = session.getReader();
    const read = await take(reader, 10);
    await reader.cancel();
    return contents(read);
  });
  const records = Array.from({ length: 10 }, (_, number) => bytes(noise(number, 500)));
  for (const record of records) await stream.append(AppendInput.create([record]));
  assert.deepEqual(new Set(await Promise.all(followers)), new Set([contents(records)]));
  await stream.close();
});

rule("a reader that sleeps misses nothing", async () => {
  const basin = await newBasin();
  await basin.streams.create({ stream: "s" });
  // On a connection of its own: unread records fill the window of the whole connection.
  const windows = { initialStreamWindowSize: 65_535, connectionWindowSize: 65_536 };
  const reader = client({ http2: windows }).basin(basin.name).stream("s");
  const session = (await reader.readSession(fromSeqNum(0), { as: "bytes" })).getReader();
  const stream = basin.stream("s");
  await stream.append(batch(["first"]));
  await take(session, 1);
  const records = Array.from({ length: 16 }, (_, number) => bytes(noise(number, 1_000_000)));
  const appends = await stream.appendSession();
  for (const record of records) await appends.submit(AppendInput.create([record]));
  await appends.close();
  assert.equal(contents(await take(session, records.length)), contents(records));
  await session.cancel();
  await reader.close();
  await stream.close();
});

for (const compression of ["gzip", "zstd"]) {
  rule(`everything works with ${compression}`, async (t) => {
    if (compression === "zstd" && !zlib.zstdCompressSync) {
      return t.skip(`Node ${process.version} has no zstd`);
    }
    const basin = await newBasin();
    await basin.streams.create({ stream: "s" });
    const prose = "all work and no play ".repeat(40_000);
    const batches = [
      [text("tiny")],
      [text(prose.slice(0, 2000))],
      [text(prose)],
      [bytes(noise(1, 900_000))],
      Array.from({ length: 1000 }, (_, number) => text(`${number}`, [["h", "v"]])),
    ];
    const stream = client({ compression }).basin(basin.name).stream("s");
    for (const records of batches) await stream.append(AppendInput.create(records));
    const session = await stream.appendSession();
    for (const records of batches) await session.submit(AppendInput.create(records));
    await session.close();
    const appended = [...batches, ...batches].flat();
    for (const reader of [stream, s2.basin(basin.name).stream("s")]) {
      assert.equal(contents(await readBack(reader, appended.length)), contents(appended));
      const read = [];
      while (read.length < appended.length) {
        read.push(...(await reader.read(fromSeqNum(read.length), { as: "bytes" })).records);
      }
      assert.equal(contents(read), contents(appended));
      await reader.close();
    }
    const late = stream.append(batch(["late"], { matchSeqNum: 0 }));
    await assert.rejects(late, S2Error);
  });
}
