// The server's page: plots that move while the server works, stand still when asked to, and go on
// after the server was away.

import assert from "node:assert/strict";

import { fitsWindow, isAccessible, isReachable } from "./checks.mjs";
import { eventually, picture, rule, unreachable, windows, withinMs, withServer } from "./common.mjs";

withServer();

/** Appends until `end`; the server may be away in between. */
function load(server, basin) {
  let isOver = false;
  let appended = 0;
  const run = async () => {
    while (!isOver) {
      await server.append(basin, "s", ["x".repeat(200)]).then(
        () => appended++,
        () => {},
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const done = run();
  return {
    count: () => appended,
    async end() {
      isOver = true;
      await done;
    },
  };
}

const state = (page, text) => page.getByRole("status").filter({ hasText: text }).first().waitFor();

/** The shapes of all plots. */
const drawn = (page) =>
  page.locator("figure svg").evaluateAll((all) => all.map((one) => one.innerHTML).join("\n"));

async function moves(page) {
  const before = await drawn(page);
  await eventually("the plots move", async () => (await drawn(page)) !== before);
}

rule(
  "says what to do while nothing is appended",
  async (page) => {
    await page.goto("/dashboard/server");
    await page.getByRole("heading", { name: "No appends yet" }).waitFor();
    await page.getByText("Version").first().waitFor();
    await picture(page, "server-idle", { fullPage: true });
    await isAccessible(page, "the server's page, idle");
  },
  { own: [] },
);

rule(
  "plots move under load, stand still when paused, and live on over a restart",
  async (page, server) => {
    const basin = await server.basin();
    await server.stream(basin, "s");
    await page.goto("/dashboard/server");
    const appends = load(server, basin);
    try {
      await page.locator("figure svg").first().waitFor();
      await state(page, "live");
      await moves(page);
      await page.getByRole("button", { name: "Pause" }).click();
      await state(page, "paused");
      const still = await drawn(page);
      const before = appends.count();
      await eventually("more appends", () => appends.count() > before + 50);
      assert.equal(await drawn(page), still, "nothing moves while it is paused");
      await page.getByRole("button", { name: "Resume" }).click();
      await state(page, "live");
      await moves(page);
      await server.end("SIGKILL");
      await state(page, "not reached");
      await server.start();
      await state(page, "live");
      await moves(page);
      await page.getByLabel("Latencies of the").selectOption("start");
      await moves(page);
    } finally {
      await appends.end();
    }
  },
  { own: ["--shards", "1"], allow: [unreachable] },
);

for (const colorScheme of ["light", "dark"]) {
  rule(
    `can be seen and used under load, ${colorScheme}`,
    async (page, server) => {
      const basin = await server.basin();
      await server.stream(basin, "s");
      const appends = load(server, basin);
      try {
        await page.goto("/dashboard/server");
        await page.locator("figure svg").first().waitFor();
        await eventually("something to see", () => appends.count() > 100, 2 * withinMs);
        await moves(page);
        await page.getByRole("button", { name: "Pause" }).click();
        for (const size of windows) {
          await page.setViewportSize(size);
          const what = `server under load, ${colorScheme}, ${size.width} px`;
          await picture(page, what, { fullPage: true });
          await isAccessible(page, what);
          await fitsWindow(page, what);
        }
        await isReachable(page, "the server's page");
      } finally {
        await appends.end();
      }
    },
    { colorScheme },
  );
}
