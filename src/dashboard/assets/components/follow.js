// Follows a stream's tail, and goes on after the connection or the server was away.

import { ApiError, parse, url } from "../api.js";
import { events } from "./sse.js";

const PAUSE_MS_MIN = 500;
const PAUSE_MS_MAX = 15_000;
// The server says something at least every 15 seconds.
const SILENCE_MS_MAX = 45_000;

// Follows from `start` (query parameters) until `signal` is aborted or the server says that there
// is nothing more to follow, which is thrown.
//
// * `onBatch(records)`: records in order, none twice.
// * `onState({ state, tail, next, error, seconds })`: `connecting`, `live`, `waiting` before the
//   next attempt, or `done`.
export async function follow({ api, basin, stream, start, headers, signal, onBatch, onState }) {
  let next = null; // the first sequence number that was not delivered, once it is known
  let pause = PAUSE_MS_MIN;
  while (!signal.aborted) {
    const once = new AbortController();
    const stop = () => once.abort();
    signal.addEventListener("abort", stop);
    let silence = 0;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(stop, SILENCE_MS_MAX);
    };
    let problem = null;
    try {
      onState({ state: "connecting", next });
      heard();
      const query = next === null ? start : { seq_num: next };
      const path = url(["v1", "streams", stream, "records"], query);
      const response = await api.send("GET", path, {
        basin, headers, accept: "text/event-stream", signal: once.signal,
      });
      onState({ state: "live", next });
      for await (const { event, data } of events(response.body, heard)) {
        if (event !== "error") pause = PAUSE_MS_MIN;
        if (data === "[DONE]") {
          onState({ state: "done", next });
          return;
        }
        const message = parse(data);
        if (event === "error") throw broken(message);
        if (event === "batch") {
          next = BigInt(message.records.at(-1).seq_num) + 1n;
          await onBatch(message.records);
        } else if (event === "ping" && message.tail) next ??= BigInt(message.tail.seq_num);
        if (message.tail) onState({ state: "live", tail: message.tail, next });
      }
      problem = new ApiError(0, "ended", "the connection ended");
    } catch (error) {
      if (signal.aborted) return;
      if (isFinal(error)) throw error;
      problem = error;
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
      once.abort();
    }
    if (signal.aborted) return;
    onState({ state: "waiting", next, error: problem, seconds: pause / 1000 });
    await sleep(pause * (0.75 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, PAUSE_MS_MAX);
  }
}

// What is for good when a read ends with it; after anything else the next attempt tells.
const FINAL = [
  "authn", "basin_deletion_pending", "decryption_failed", "permission_denied",
  "stream_deletion_pending", "stream_not_found",
];

// The error of an `error` event, whose status is not sent.
function broken({ code, message }) {
  return new ApiError(FINAL.includes(code) ? 400 : 503, code ?? "", message ?? "the read failed");
}

// Whether asking again would be answered alike.
function isFinal(error) {
  if (!(error instanceof ApiError)) return false;
  return error.status >= 400 && error.status < 500 && ![408, 425, 429].includes(error.status);
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
