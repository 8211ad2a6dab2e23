// Streams encrypted with the client's key.

import assert from "node:assert/strict";

import { AppendInput, AppendRecord } from "@s2-dev/streamstore";

import {
  batch,
  bodies,
  bytes,
  contents,
  count,
  fromSeqNum,
  newBasin,
  noise,
  readBack,
  refused,
  rule,
  text,
} from "./common.mjs";

const key = new Uint8Array(32).fill(7);
const otherKey = new Uint8Array(32).fill(8);

/** Runs a case on an encrypted stream for each cipher, given as a function of its key. */
async function encrypted(check) {
  for (const streamCipher of ["aegis-256", "aes-256-gcm"]) {
    const basin = await newBasin({ streamCipher });
    const created = await basin.streams.create({ stream: "s" });
    assert.equal(created.cipher, streamCipher);
    await check((encryptionKey) => basin.stream("s", { encryptionKey }));
  }
}

rule("what was appended with a key is read with it in every way", async () => {
  await encrypted(async (stream) => {
    const records = [
      bytes(new Uint8Array()),
      bytes(noise(2, 5000), [[new Uint8Array([1, 255]), new Uint8Array([254])]]),
    ];
    await stream(key).append(AppendInput.create(records));
    const session = await stream(key).appendSession();
    const ticket = await session.submit(batch(["more"]));
    await ticket.ack();
    await session.close();
    const read = await readBack(stream(Buffer.from(key).toString("base64")), 3);
    assert.equal(contents(read.slice(0, 2)), contents(records));
    const last = await stream(key).read(fromSeqNum(2, count(1)));
    assert.deepEqual(bodies(last.records), ["more"]);
    assert.equal((await stream().checkTail()).tail.seqNum, 3);
  });
});

rule("other keys and none are refused", async () => {
  await encrypted(async (stream) => {
    await stream(key).append(AppendInput.create([text("a"), text("b")]));
    await refused(stream().append(batch(["c"])), "bad_header");
    await refused(stream().read(fromSeqNum(0)), "bad_header");
    await refused(stream(key.slice(1)).append(batch(["c"])), "bad_header");
    await refused(stream(otherKey).read(fromSeqNum(0)), "decryption_failed");
    await stream(otherKey).append(batch(["c"]));
    const read = [];
    const readAll = async () => {
      for await (const record of await stream(key).readSession(fromSeqNum(0))) {
        read.push(record);
      }
    };
    await refused(readAll(), "decryption_failed");
    assert.deepEqual(bodies(read), ["a", "b"]);
  });
});

rule("commands are obeyed on encrypted streams", async () => {
  await encrypted(async (stream) => {
    await stream(key).append(AppendInput.create([AppendRecord.fence("t")]));
    await assert.rejects(stream(key).append(batch(["a"], { fencingToken: "u" })));
    await stream(key).append(batch(["a"], { fencingToken: "t" }));
  });
});
