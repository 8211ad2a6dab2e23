// What all cases share: a browser, a page that is watched for what no page may do, bounds in time.
//
// The environment names the browser (BROWSER_BIN), the server (THALWEG_BIN), a directory for data
// (BROWSER_WORK) and one for pictures (BROWSER_OUT). DASHBOARD_ASSETS, where set, is a directory
// that the page's assets are taken from in place of those in the server: for work on them.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";

import { chromium } from "playwright-core";

import { Server } from "./server.mjs";

const caseWithinMs = 400_000;
export const withinMs = Number(process.env.BROWSER_WAIT_MS ?? 60_000);
const pollMs = 50;

/** A desk and a telephone. */
export const windows = [
  { width: 1280, height: 800 },
  { width: 390, height: 844 },
];

/** The fixtures of one file, filled before its first case. */
export const shared = { browser: undefined, server: undefined };

/** Gives the cases of a file a browser and a server with these arguments. */
export function withServer(...args) {
  before(
    async () => {
      shared.browser = await chromium.launch({
        executablePath: process.env.BROWSER_BIN,
        // A sandbox needs rights that root and most containers do not give; all pages are our own.
        chromiumSandbox: false,
        args: ["--disable-dev-shm-usage"],
      });
      shared.server = await Server.start(...args);
    },
    { timeout: caseWithinMs },
  );
  after(
    async () => {
      await shared.browser?.close();
      await shared.server?.remove();
    },
    { timeout: caseWithinMs },
  );
}

/** What a page did that no page may do. */
class Watch {
  #origin;
  #allowed;
  faults = [];

  constructor(page, origin, allowed) {
    this.#origin = origin;
    this.#allowed = allowed;
    page.on("dialog", (dialog) => {
      this.#add(`dialog: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    page.on("pageerror", (error) => this.#add(`uncaught: ${error.stack ?? error}`));
    page.on("console", (message) => this.#console(message));
    page.on("popup", (popup) => this.#add(`window: ${popup.url()}`));
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      const isInside = protocol === "data:" || protocol === "blob:";
      if (!isInside && origin !== this.#origin) this.#add(`request: ${request.url()}`);
    });
  }

  #add(fault) {
    if (!this.#allowed.some((pattern) => pattern.test(fault))) this.faults.push(fault);
  }

  #console(message) {
    if (!["error", "warning"].includes(message.type())) return;
    const { url } = message.location();
    // The browser itself notes each refusal of the API here, whatever the page makes of it.
    const isRefusal = /^Failed to load resource: the server responded with a status of 4\d\d/;
    const { pathname } = new URL(url || this.#origin);
    const isCall = pathname.startsWith("/v1/") || pathname === "/dashboard/config.json";
    if (isRefusal.test(message.text()) && isCall) return;
    this.#add(`console: ${message.text()} (${url})`);
  }
}

const reportViolations = () =>
  document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
  );

async function serveAssets(context, directory) {
  await context.route("**/dashboard/assets/**", (route) => {
    const [, name] = new URL(route.request().url()).pathname.split("/assets/");
    // The page names its assets below their version.
    const names = [name, name.slice(name.indexOf("/") + 1)];
    const path = names.map((one) => join(directory, one)).find((one) => existsSync(one));
    return path ? route.fulfill({ path }) : route.continue();
  });
}

/**
 * Opens a page in a profile of its own. `options.allow` lists patterns of faults that the case is
 * about; the other options are those of a browser context.
 */
export async function open({ allow = [], origin, ...options } = {}) {
  const context = await shared.browser.newContext({
    baseURL: origin,
    viewport: windows[0],
    colorScheme: "light",
    reducedMotion: "reduce",
    locale: "en-GB",
    timezoneId: "Europe/Zurich",
    ...options,
  });
  context.setDefaultTimeout(withinMs);
  await context.addInitScript(reportViolations);
  const assets = process.env.DASHBOARD_ASSETS;
  if (assets) await serveAssets(context, assets);
  const page = await context.newPage();
  return { context, page, watch: new Watch(page, origin, allow) };
}

/**
 * Registers a case with a page of its own, which must not have done what no page may do. With
 * `options.own`, the arguments of a server, the case has a server of its own, too.
 */
export function rule(name, body, { own, ...options } = {}) {
  test(name, { timeout: caseWithinMs }, async () => {
    const server = own ? await Server.start(...own) : shared.server;
    const { context, page, watch } = await open({ ...options, origin: server.url });
    try {
      await body(page, server, context);
      assert.deepEqual(watch.faults, [], "what the page did that no page may do");
    } catch (error) {
      await picture(page, `failed-${name}`).catch(() => {});
      const seen = watch.faults.join("; ") || "nothing amiss";
      const where = `${error.message}\nat ${page.url()}; seen there: ${seen}`;
      throw new Error(where, { cause: error });
    } finally {
      await context.close();
      if (own) await server.remove();
    }
  });
}

/** For `allow`: what the browser itself says of a server that is gone. */
export const unreachable = /net::ERR_(CONNECTION|EMPTY|INCOMPLETE|NETWORK)/;

/** Keeps a picture of the page. */
export async function picture(page, name, options = {}) {
  const file = `${name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, 80)}.png`;
  await page.screenshot({ path: join(process.env.BROWSER_OUT, file), ...options });
}

/** Waits until `probe` gives something true, which it returns; bounded in time. */
export async function eventually(what, probe, limitMs = withinMs) {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < deadline, `not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
