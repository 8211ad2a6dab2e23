// What is typed as records of a batch, and how much of one it is.

import { parse } from "../api.js";
import { fromBase64, toBase64, unsigned, utf8 } from "./text.js";

export const RECORDS_MAX = 1000;
export const BYTES_MAX = 1024 * 1024;

// One record of the fields; none while nothing is typed: an empty record is hardly meant.
export function single({ body, headers, timestamp, isBase64 }) {
  const record = { body };
  if (isBase64) check64(body);
  const pairs = headerLines(headers);
  if (pairs.length > 0) {
    record.headers = isBase64 ? pairs.map((pair) => pair.map(encoded)) : pairs;
  }
  if (body === "" && pairs.length === 0) return [];
  const ms = unsigned(timestamp, "Timestamp");
  if (ms !== undefined) record.timestamp = ms;
  return [record];
}

function encoded(text) {
  return toBase64(utf8(text));
}

function check64(text) {
  try {
    fromBase64(text);
  } catch {
    throw new Error("The body is not base64.");
  }
}

// One header on each line, `name: value`.
function headerLines(text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  return lines.map((line) => {
    const at = line.indexOf(":");
    if (at < 1) throw new Error(`Not a header like “name: value”: ${line}`);
    return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  });
}

// One record for each line; a last line end begins no record.
export function lines(text) {
  const all = text.split(/\r?\n/);
  if (all.at(-1) === "") all.pop();
  return all.map((body) => ({ body }));
}

// An array of records in JSON, or one object on each line.
export function jsonArray(text) {
  const items = readItems(text.trim());
  return items.map((item, index) => {
    if (item === null || typeof item !== "object" || Array.isArray(item)) {
      throw new Error(`Record ${index} is no object.`);
    }
    const record = {};
    if (item.body !== undefined) record.body = asText(item.body, index);
    if (item.timestamp !== undefined && item.timestamp !== null) record.timestamp = item.timestamp;
    if (item.headers !== undefined) record.headers = asHeaders(item.headers, index);
    return record;
  });
}

function readItems(text) {
  try {
    if (text.startsWith("[")) return parse(text);
    return text.split(/\r?\n/).filter((line) => line.trim() !== "").map((line) => parse(line));
  } catch (error) {
    throw new Error(`Not JSON: ${error.message}`);
  }
}

function asText(body, index) {
  if (typeof body !== "string") throw new Error(`Record ${index}: the body must be a text.`);
  return body;
}

function asHeaders(headers, index) {
  const pairs = Array.isArray(headers) ? headers : Object.entries(headers ?? {});
  const isPair = (pair) => Array.isArray(pair) && pair.length === 2
    && pair.every((part) => typeof part === "string");
  if (!pairs.every(isPair)) {
    throw new Error(`Record ${index}: headers must be pairs of texts.`);
  }
  return pairs;
}

// The size of records as the server counts it.
export function metered(records, isBase64 = false) {
  const length = (text) => (isBase64 ? Math.floor(text.replace(/=+$/, "").length * 3 / 4) : utf8(text).length);
  return records.reduce((sum, { body = "", headers = [] }) => {
    const inHeaders = headers.reduce((all, [name, value]) => all + 2 + length(name) + length(value), 0);
    return sum + 8 + length(body) + inHeaders;
  }, 0);
}
