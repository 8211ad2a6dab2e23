// Unary appends and reads: contents, conditions, commands, limits, starts and ends.

import assert from "node:assert/strict";

import {
  AppendInput,
  AppendRecord,
  FencingTokenMismatchError,
  MAX_APPEND_BYTES,
  RangeNotSatisfiableError,
  SeqNumMismatchError,
  meteredBytes,
  randomToken,
  utf8ByteLength,
} from "@s2-dev/streamstore";

import {
  batch,
  batchBytesMax,
  bodies,
  bytes,
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
  recordOverheadBytes,
  refused,
  rule,
  seqNums,
  text,
} from "./common.mjs";

/** Records with the given timestamps. */
const at = (timestamps) =>
  AppendInput.create(
    timestamps.map((timestamp) => AppendRecord.string({ body: `${timestamp}`, timestamp })),
  );

rule("what was appended as text or bytes is read back exactly", async () => {
  const stream = await newStream();
  const texts = [
    text("text"),
    text(""),
    text("quotes \" \\ \n \u0000 \u001f and 日本 🦀"),
    text("", [["name only", ""]]),
    text("b", [["k", "v"], ["k", "ü"]]),
    AppendRecord.string({ body: "at", timestamp: Date.now() - 1000 }),
  ];
  const ack = await stream.append(AppendInput.create(texts));
  assert.deepEqual([ack.start.seqNum, ack.end.seqNum], [0, 6]);
  assert.deepEqual(ack.tail, ack.end);
  assert.deepEqual((await stream.checkTail()).tail, ack.tail);
  const read = (await stream.read(fromSeqNum(0))).records;
  assert.deepEqual(seqNums(read), [0, 1, 2, 3, 4, 5]);
  assert.equal(contents(read), contents(texts));
  for (let index = 1; index < read.length; index++) {
    assert.ok(read[index - 1].timestamp <= read[index].timestamp);
  }

  const binary = [bytes(noise(1, 5000)), bytes(noise(2, 9), [[noise(3, 2), noise(4, 300)]])];
  await stream.append(AppendInput.create([...binary, text("mixed")]));
  const raw = (await stream.read(fromSeqNum(6), { as: "bytes" })).records;
  assert.equal(contents(raw), contents([...binary, text("mixed")]));
});

rule("the largest record and the largest batches pass whole", async () => {
  const stream = await newStream();
  const share = batchBytesMax / 16 - recordOverheadBytes;
  const ones = Array(1000).fill(0);
  const appended = [];
  // Six bytes of JSON for each byte; the reference server refuses such a body.
  const escaped = isReference ? "a" : "\u0001";
  for (const records of [
    [bytes(noise(1, AppendRecord.maxBodyBytes()))],
    [text(escaped.repeat(batchBytesMax - recordOverheadBytes))],
    Array.from({ length: 16 }, (_, seed) => bytes(noise(seed, share))),
    ones.map((_, number) => text(`${number}`)),
    ones.map(() => text("b", Array(50).fill(["h", "v"]))),
  ]) {
    const input = AppendInput.create(records);
    assert.ok(input.meteredBytes <= MAX_APPEND_BYTES);
    const ack = await stream.append(input);
    assert.equal(ack.end.seqNum - ack.start.seqNum, records.length);
    appended.push(...records);
  }
  for (const as of ["bytes", "string"]) {
    const read = [];
    // As text the random bytes of the first 18 records would not survive.
    const skip = as === "bytes" ? 0 : 18;
    while (skip + read.length < appended.length) {
      const { records } = await stream.read(fromSeqNum(skip + read.length), { as });
      assert.ok(records.length > 0 && records.length <= 1000);
      assert.ok(records.reduce((sum, record) => sum + meteredBytes(record), 0) <= batchBytesMax);
      read.push(...records);
    }
    assert.equal(contents(read), contents(appended.slice(skip)), as);
  }
  assert.equal(utf8ByteLength("🦀"), 4);
});

rule("reads start by number, by time and from the tail", async () => {
  const stream = await newStream();
  await stream.append(at([10, 20, 20, 30]));
  for (const [start, expected] of [
    [{ seqNum: 0 }, [0, 1, 2, 3]],
    [{ seqNum: 3 }, [3]],
    [{ timestamp: 0 }, [0, 1, 2, 3]],
    [{ timestamp: new Date(20) }, [1, 2, 3]],
    [{ timestamp: 30 }, [3]],
    [{ tailOffset: 2 }, [2, 3]],
    [{ tailOffset: 9 }, [0, 1, 2, 3]],
  ]) {
    const read = await stream.read(from(start));
    assert.deepEqual(seqNums(read.records), expected, JSON.stringify(start));
  }
  for (const start of [{ seqNum: 4 }, { seqNum: 99 }, { timestamp: 31 }, { tailOffset: 0 }]) {
    const error = await failure(stream.read(from(start)), RangeNotSatisfiableError);
    assert.equal(error.tail.seqNum, 4, JSON.stringify(start));
    assert.equal(error.status, 416);
  }
  const beyond = { from: { seqNum: 99 }, clamp: true };
  await failure(stream.read({ start: beyond }), RangeNotSatisfiableError);
  const clamped = await stream.read({ start: beyond, stop: { waitSecs: 1 } });
  assert.deepEqual(clamped.records, []);
});

rule("reads end at their bounds", async () => {
  const stream = await newStream();
  await stream.append(at([10, 20, 30]));
  const size = meteredBytes({ body: "10" });
  for (const [stop, expected] of [
    [count(2), [0, 1]],
    [count(0), []],
    [{ limits: { bytes: 2 * size } }, [0, 1]],
    [{ limits: { bytes: 2 * size - 1 } }, [0]],
    [{ untilTimestamp: 30 }, [0, 1]],
    [{ untilTimestamp: new Date(10) }, []],
  ]) {
    const read = await stream.read(fromSeqNum(0, stop));
    assert.deepEqual(seqNums(read.records), expected, JSON.stringify(stop));
  }
  await refused(stream.read(from({ timestamp: 5 }, { untilTimestamp: 5 })), "invalid");
});

rule("a waiting read returns what arrives", async () => {
  const stream = await newStream();
  await stream.append(batch(["old"]));
  const start = performance.now();
  const [read, ack] = await Promise.all([
    stream.read(fromSeqNum(1, { waitSecs: 20 })),
    pause(300).then(() => stream.append(batch(["new", "newer"]))),
  ]);
  assert.deepEqual(bodies(read.records), ["new", "newer"]);
  assert.deepEqual(read.tail, ack.tail);
  assert.ok(performance.now() - start < 10_000, "not only when the wait is over");
  assert.deepEqual((await stream.read(fromSeqNum(3, { waitSecs: 1 }))).records, []);
});

rule("a failed condition names the actual state and changes nothing", async () => {
  const stream = await newStream();
  await stream.append(batch(["a", "b"], { matchSeqNum: 0 }));
  const mismatch = stream.append(batch(["c"], { matchSeqNum: 0 }));
  assert.equal((await failure(mismatch, SeqNumMismatchError)).expectedSeqNum, 2);
  await stream.append(AppendInput.create([AppendRecord.fence("t1")], { fencingToken: "" }));
  for (const fencingToken of ["t0", ""]) {
    for (const matchSeqNum of [undefined, 0]) {
      const fenced = stream.append(batch(["d"], { fencingToken, matchSeqNum }));
      const error = await failure(fenced, FencingTokenMismatchError);
      assert.equal(error.expectedFencingToken, "t1");
    }
  }
  await stream.append(batch(["d"], { fencingToken: "t1", matchSeqNum: 3 }));
  await stream.append(batch(["e"]));
  assert.equal((await stream.checkTail()).tail.seqNum, 5);
  const token = randomToken(20);
  await stream.append(AppendInput.create([AppendRecord.fence(token)]));
  await stream.append(batch(["f"], { fencingToken: token }));
});

rule("a trim takes records away and commands can be ignored", async () => {
  const stream = await newStream();
  await stream.append(batch(["a", "b", "c"]));
  await stream.append(AppendInput.create([AppendRecord.trim(2)]));
  // Trimming is done in the background; the whole case is bounded.
  let read;
  for (;;) {
    read = (await stream.read(fromSeqNum(0), { as: "bytes" })).records;
    if (read[0].seqNum === 2) break;
    await pause(50);
  }
  assert.deepEqual(seqNums(read), [2, 3]);
  assert.deepEqual([...read[1].body], [0, 0, 0, 0, 0, 0, 0, 2]);
  const visible = await stream.read({ ...fromSeqNum(0), ignoreCommandRecords: true });
  assert.deepEqual(seqNums(visible.records), [2]);
});

rule("invalid batches are refused whole", async () => {
  const basin = await newBasin();
  await basin.streams.create({ stream: "s", config: { timestamping: { mode: "client-require" } } });
  const stream = basin.stream("s");
  const half = [AppendRecord.string({ body: "a", timestamp: 1 }), text("b")];
  await refused(stream.append(AppendInput.create(half)), "invalid");
  const unknown = AppendRecord.string({ body: "", headers: [["", "nope"]], timestamp: 1 });
  await refused(stream.append(AppendInput.create([unknown])), "invalid");
  assert.equal((await stream.checkTail()).tail.seqNum, 0);
});

rule("many calls at once keep their answers apart", async () => {
  const stream = await newStream();
  const numbers = Array.from({ length: 150 }, (_, number) => `${number}`);
  const acks = await Promise.all(numbers.map((number) => stream.append(batch([number]))));
  const { records } = await stream.read(fromSeqNum(0));
  acks.forEach((ack, number) => assert.equal(records[ack.start.seqNum].body, `${number}`));
});
