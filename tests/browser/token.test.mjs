// A server that asks who its clients are: the page asks for a token and keeps it in its tab alone.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { rule, shared, withServer } from "./common.mjs";

const token = "root-token-of-the-browser-tests-0123456789";
const file = join(process.env.BROWSER_WORK, `root-token-${process.pid}`);
writeFileSync(file, `${token}\n`, { mode: 0o600 });
withServer("--root-token-file", file);

const dialog = (page) => page.getByRole("dialog", { name: "Access token" });

async function enter(page, text) {
  await dialog(page).getByLabel("Access token").fill(text);
  await dialog(page).getByRole("button", { name: "Use this token" }).click();
}

rule(
  "asks for a token, refuses a wrong one, and shows its pages with a right one",
  async (page, server) => {
    const basin = await server.basin({}, { token });
    await page.goto("/dashboard/");
    await dialog(page).waitFor();
    assert.equal(await page.getByText(basin).count(), 0);
    await enter(page, "wrong");
    await dialog(page).waitFor();
    await enter(page, token);
    await page.getByText(basin).first().waitFor();
    assert.equal(await dialog(page).count(), 0);
    await page.getByRole("link", { name: "Server" }).click();
    await page.getByText("Version").first().waitFor();
  },
);

rule("keeps the token in its tab and nowhere else", async (page) => {
  const seen = [];
  page.on("request", (request) => seen.push([request.url(), request.headers()]));
  await page.goto("/dashboard/");
  await enter(page, token);
  await page.getByRole("heading", { level: 1, name: "Basins" }).waitFor();
  await page.getByRole("table").first().waitFor();
  const kept = await page.evaluate(() =>
    [
      JSON.stringify(localStorage),
      document.cookie,
      location.href,
      document.documentElement.outerHTML,
      JSON.stringify(history.state),
    ].join("\n"),
  );
  assert.ok(!kept.includes(token), "the token is nowhere that outlives the tab");
  assert.ok(seen.every(([url]) => !url.includes(token)));
  assert.ok(seen.some(([, headers]) => headers.authorization === `Bearer ${token}`));
  assert.deepEqual(await page.context().cookies(), []);
  await page.reload();
  await page.getByRole("table").first().waitFor();
  assert.equal(await dialog(page).count(), 0, "the tab still has it");
  const other = await page.context().newPage();
  await other.goto("/dashboard/");
  await dialog(other).waitFor();
});

rule("tells nothing to who has no token", async (page) => {
  for (const path of ["/dashboard/config.json", "/v1/basins"]) {
    const answer = await page.request.get(path);
    assert.ok([401, 403].includes(answer.status()), `${path}: ${answer.status()}`);
  }
  await page.goto("/dashboard/server");
  await dialog(page).waitFor();
  assert.ok(!(await page.content()).includes(shared.server.directory ?? "no path"));
});
