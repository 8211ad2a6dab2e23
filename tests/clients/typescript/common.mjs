// What all cases share: a client of the server under test, names of their own, bounds in time.
//
// The environment names the server (THALWEG_URL) and says whether it is the reference server,
// which lacks some calls (THALWEG_PEER=reference). THALWEG_TOKEN is the root token of a server that
// asks who its clients are.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";

import { AppendInput, AppendRecord, S2, S2Error } from "@s2-dev/streamstore";

export const url = process.env.THALWEG_URL;
export const isReference = process.env.THALWEG_PEER === "reference";
export const isEnforced = Boolean(process.env.THALWEG_TOKEN);
export const token = process.env.THALWEG_TOKEN || "any-token";
export const batchBytesMax = 1024 * 1024;
export const recordOverheadBytes = 8;
const caseWithinMs = 40_000;

/** Registers a case that is bounded in time. */
export function rule(name, body) {
  test(name, { timeout: caseWithinMs }, body);
}

export function client(options = {}, at = url) {
  return new S2({ accessToken: token, endpoints: { account: at, basin: at }, ...options });
}

export const s2 = client();

let names = 0;
/** A basin name that no other run has used. */
export function basinName() {
  return `ts-${Date.now().toString(36)}-${process.pid}-${names++}`;
}

/** A new basin. */
export async function newBasin(config = {}) {
  const basin = basinName();
  await s2.basins.create({ basin, config });
  return s2.basin(basin);
}

/** A new stream, `s`, in a new basin. */
export async function newStream(options) {
  const basin = await newBasin();
  await basin.streams.create({ stream: "s" });
  return basin.stream("s", options);
}

/** Bytes that look random and depend on `seed` alone. */
export function noise(seed, length) {
  const bytes = new Uint8Array(length);
  let state = (seed + 1) >>> 0;
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 374761393) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

const encoder = new TextEncoder();

export function text(body, headers) {
  return AppendRecord.string({ body, headers });
}

export function bytes(body, headers) {
  return AppendRecord.bytes({ body, headers });
}

/** An append of one text record for each body. */
export function batch(bodies, conditions) {
  return AppendInput.create(
    bodies.map((body) => text(body)),
    conditions,
  );
}

/** A hash over bodies and headers in order, of records appended or read. */
export function contents(records) {
  const hash = createHash("sha256");
  const add = (part) => {
    const data = typeof part === "string" ? encoder.encode(part) : part;
    hash.update(`${data.length}:`).update(data);
  };
  for (const record of records) {
    for (const header of record.headers ?? []) {
      header.forEach(add);
    }
    add(record.body);
  }
  return hash.digest("hex");
}

export const seqNums = (records) => records.map((record) => record.seqNum);
export const bodies = (records) => records.map((record) => record.body);
export const from = (start, stop) => ({ start: { from: start }, stop });
export const fromSeqNum = (seqNum, stop) => from({ seqNum }, stop);
export const count = (number) => ({ limits: { count: number } });
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** All records of a session that ends. */
export async function all(stream, input, as = "bytes") {
  const records = [];
  for await (const record of await stream.readSession(input, { as })) {
    records.push(record);
  }
  return records;
}

/** The next `number` records of a session that does not end; `session` stays open. */
export async function take(reader, number) {
  const records = [];
  while (records.length < number) {
    const { value, done } = await reader.read();
    assert.ok(!done, "the session goes on");
    records.push(value);
  }
  return records;
}

/** Reads `number` records from the start with a bounded session. */
export async function readBack(stream, number) {
  const records = await all(stream, fromSeqNum(0, count(number)));
  assert.equal(records.length, number);
  return records;
}

/** The call is refused by the server with one of the codes. */
export async function refused(call, ...codes) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof S2Error, String(error));
    assert.ok(codes.includes(error.code), `${error.code}: ${error.message}`);
    return true;
  });
}

/** The call fails with an error of the type; that error. */
export async function failure(call, type) {
  let caught;
  await assert.rejects(call, (error) => {
    caught = error;
    assert.ok(error instanceof type, `${error?.constructor?.name}: ${error?.message}`);
    return true;
  });
  return caught;
}

/** The answer, or nothing when the reference server says that it has no such call. */
export async function unlessMissing(call) {
  try {
    return await call;
  } catch (error) {
    if (isReference && error.code === "not_implemented") return undefined;
    throw error;
  }
}
