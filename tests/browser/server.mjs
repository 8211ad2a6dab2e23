// The server under test, as a process that a case can end and start again on the same port.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const binary = process.env.THALWEG_BIN;
const startsWithinMs = 60_000;
const endsWithinMs = 60_000;

export class Server {
  #arguments;
  #directory = mkdtempSync(join(process.env.BROWSER_WORK, "server-"));
  #process;
  #listen = "127.0.0.1:0";
  #log = [];

  constructor(args) {
    this.#arguments = args;
  }

  /** A server that serves already, with these arguments beside address and directory. */
  static async start(...args) {
    const server = new Server(args);
    await server.start();
    return server;
  }

  /** Serves; after an end, at the address of before and with the data of before. */
  async start() {
    const args = ["serve", "--listen", this.#listen, "--data-dir", join(this.#directory, "data")];
    const child = spawn(binary, [...args, ...this.#arguments], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    this.url = await new Promise((resolve, reject) => {
      const fail = (why) => reject(new Error(`${why}:\n${this.#log.slice(-20).join("\n")}`));
      const timer = setTimeout(() => fail("the server does not start"), startsWithinMs);
      child.once("exit", (code, signal) => fail(`the server ended with ${code ?? signal}`));
      for (const output of [child.stdout, child.stderr]) {
        createInterface({ input: output }).on("line", (line) => {
          if (this.#log.push(line) > 1000) this.#log.shift();
          const address = /^listening on (https?:\/\/\S+)$/.exec(line)?.[1];
          if (!address) return;
          clearTimeout(timer);
          resolve(address);
        });
      }
    });
    this.#listen = new URL(this.url).host;
  }

  /** Ends the server by a signal and waits for it; after SIGTERM it must end in order. */
  async end(signal) {
    const child = this.#process;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), endsWithinMs);
    await ended;
    clearTimeout(timer);
    if (signal !== "SIGTERM") return;
    assert.equal(child.exitCode, 0, `ends in order:\n${this.#log.slice(-20).join("\n")}`);
  }

  /** For the end of the cases. */
  async remove() {
    await this.end("SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /**
   * A call of the API; the answer with `status` and `json`. A basin goes into its header, an object
   * as `body` is sent as JSON.
   */
  async call(method, path, { basin, body, token, headers = {} } = {}) {
    const sent = { ...headers };
    if (basin) sent["s2-basin"] = basin;
    if (token) sent.authorization = `Bearer ${token}`;
    if (body !== undefined) sent["content-type"] ??= "application/json";
    const answer = await fetch(`${this.url}/v1${path}`, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(60_000),
    });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.startsWith("application/json");
    return { status: answer.status, json: isJson && text ? JSON.parse(text) : undefined, text };
  }

  /** The same for a call that must succeed; what it answers. */
  async ask(method, path, options) {
    const { status, json, text } = await this.call(method, path, options);
    assert.ok(status < 300, `${method} ${path}: ${status} ${text}`);
    return json;
  }

  #names = 0;

  /** A new basin. */
  async basin(config = {}, options = {}) {
    const basin = `basin-${String(this.#names++).padStart(4, "0")}`;
    await this.ask("POST", "/basins", { body: { basin, config }, ...options });
    return basin;
  }

  /** A new stream in a basin. */
  async stream(basin, stream, config = {}, options = {}) {
    await this.ask("POST", "/streams", { basin, body: { stream, config }, ...options });
    return stream;
  }

  /** Appends records, given as their bodies or as objects; the acknowledgement. */
  async append(basin, stream, records, options = {}) {
    return this.ask("POST", `/streams/${encodeURIComponent(stream)}/records`, {
      basin,
      body: { records: records.map((one) => (typeof one === "string" ? { body: one } : one)) },
      ...options,
    });
  }

  /** All records of a stream, oldest first. */
  async records(basin, stream, options = {}) {
    const path = `/streams/${encodeURIComponent(stream)}/records?seq_num=0&count=1000`;
    return (await this.ask("GET", path, { basin, ...options })).records;
  }
}
