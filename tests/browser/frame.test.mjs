// The frame around the pages: addresses, themes, errors, a server without a dashboard.

import assert from "node:assert/strict";

import { eventually, rule, unreachable, withServer } from "./common.mjs";

withServer();

const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();

rule("each address leads to its page, at once and by going back", async (page, server) => {
  const basin = await server.basin();
  await server.stream(basin, "a/b c");
  for (const start of ["/dashboard", "/dashboard/", "/dashboard/nothing/there", "/dashboard/%"]) {
    const answer = await page.goto(start);
    assert.equal(answer.status(), 200, start);
    await heading(page, "Basins");
  }
  await page.goto(`/dashboard/basins/${basin}/studio?stream=a%2Fb%20c`);
  await heading(page, "a/b c");
  await page.goto(`/dashboard/basins/${basin}`);
  await heading(page, basin);
  await page.getByRole("link", { name: "a/b c" }).first().click();
  await heading(page, "a/b c");
  assert.match(await page.title(), /a\/b c/);
  await page.getByRole("link", { name: "Server" }).click();
  await heading(page, "Server");
  await page.goBack();
  await heading(page, "a/b c");
  await page.goBack();
  await heading(page, basin);
  await page.goForward();
  await heading(page, "a/b c");
});

rule("the page comes with a policy, and unknown files do not come", async (page) => {
  const answer = await page.request.get("/dashboard/basins/x/studio");
  const headers = answer.headers();
  assert.match(headers["content-security-policy"], /default-src 'none'/);
  assert.doesNotMatch(headers["content-security-policy"], /unsafe|\*/);
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal((await page.request.get("/dashboard/assets/none.js")).status(), 404);
  assert.equal((await page.request.get("/dashboard/assets/..%2findex.html")).status(), 404);
  const facts = await (await page.request.get("/dashboard/config.json")).json();
  assert.equal(facts.store.kind, "local");
});

rule("a theme that was chosen is kept, and the system's holds until then", async (page) => {
  const ground = () =>
    page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.goto("/dashboard/");
  await heading(page, "Basins");
  const light = await ground();
  await page.emulateMedia({ colorScheme: "dark" });
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.getByRole("button", { name: /light theme/ }).click();
  assert.equal(await ground(), light);
  await page.reload();
  await heading(page, "Basins");
  assert.equal(await ground(), light);
});

rule(
  "a server that is gone is named so, and trying again works once it is back",
  async (page, server) => {
    await page.goto("/dashboard/");
    await heading(page, "Basins");
    await server.end("SIGKILL");
    await page.getByRole("link", { name: "Server" }).click();
    await page
      .getByRole("alert")
      .filter({ hasText: /cannot be reached/ })
      .waitFor();
    await server.start();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("Version").first().waitFor();
  },
  { own: [], allow: [unreachable] },
);

rule(
  "a server without a dashboard has no page",
  async (page) => {
    for (const path of ["", "/", "/basins/x", "/config.json", "/assets/app.js"]) {
      const answer = await page.request.get(`/dashboard${path}`);
      assert.equal(answer.status(), 404, path);
    }
  },
  { own: ["--no-dashboard"] },
);

rule("where one is can be heard and found after going to another page", async (page) => {
  await page.goto("/dashboard/");
  await heading(page, "Basins");
  await page.getByRole("link", { name: "Server" }).focus();
  await page.keyboard.press("Enter");
  await heading(page, "Server");
  await eventually("the focus is in the new page", () =>
    page.evaluate(() => document.activeElement.closest("main") !== null),
  );
  const current = page.getByRole("navigation").locator("[aria-current=page]");
  assert.equal(await current.textContent(), "Server");
});
