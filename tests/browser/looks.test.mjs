// What every page must be, whatever it shows: accessible in both themes, usable with the keyboard
// alone, no wider than its window. Keeps a picture of each.

import assert from "node:assert/strict";

import { fitsWindow, isAccessible, isReachable } from "./checks.mjs";
import { picture, rule, windows, withServer } from "./common.mjs";

withServer();

const basin = "looks-of-basin";
const streams = ["orders/2026", "a name with blanks", `long/${"0123456789".repeat(40)}`, "日本語"];

/** Things to see, once. */
async function furnish(server) {
  const { status } = await server.call("GET", `/basins/${basin}`);
  if (status === 200) return;
  await server.ask("POST", "/basins", { body: { basin, config: {} } });
  await server.ask("POST", "/basins", { body: { basin: "empty-basin-x" } });
  for (const stream of streams) await server.stream(basin, stream);
  await server.stream(basin, "empty");
  const records = Array.from({ length: 30 }, (_, index) => ({
    body:
      index % 3 === 0
        ? `{"order":${index},"items":[1,2,3]}`
        : `line ${index} ${"word ".repeat(index)}`,
    headers: index % 4 === 0 ? [["content-type", "application/json"]] : [],
  }));
  await server.append(basin, streams[0], records);
  await server.append(basin, streams[0], [{ headers: [["", "fence"]], body: "holder-7" }]);
}

const heading = (page) => page.getByRole("heading", { level: 1 }).waitFor();
const studio = `/dashboard/basins/${basin}/studio?stream=`;
const press = (page, name) => page.getByRole("button", { name, exact: true }).first().click();
const dialog = (page) => page.getByRole("dialog").waitFor();

/** Each thing to look at: a name, an address, and what leads to it from there. */
const sights = [
  ["basins", "/dashboard/", (page) => page.getByRole("table").waitFor()],
  ["streams", `/dashboard/basins/${basin}`, (page) => page.getByRole("table").waitFor()],
  [
    "streams, none",
    "/dashboard/basins/empty-basin-x",
    (page) => page.getByText("There are no streams yet").waitFor(),
  ],
  [
    "basin, none",
    "/dashboard/basins/not-there-at-all",
    (page) => page.getByText("no such basin").waitFor(),
  ],
  [
    "stream",
    `${studio}${encodeURIComponent(streams[0])}`,
    (page) => page.getByRole("button", { name: "Show record 30" }).waitFor(),
  ],
  ["stream, a long name", `${studio}${encodeURIComponent(streams[2])}`, heading],
  [
    "stream, a record open",
    `${studio}${encodeURIComponent(streams[0])}`,
    (page) => press(page, "Show record 24"),
  ],
  [
    "stream, empty",
    `${studio}empty`,
    (page) => page.getByText(/Nothing there|no records/).waitFor(),
  ],
  ["stream, none", `${studio}none`, (page) => page.getByText("no such stream").waitFor()],
  ["server", "/dashboard/server", (page) => page.getByText("Version").first().waitFor()],
  [
    "dialog, create basin",
    "/dashboard/",
    async (page) => {
      await press(page, "Create basin");
      await dialog(page);
    },
  ],
  [
    "dialog, configure stream",
    `${studio}empty`,
    async (page) => {
      await press(page, "Configure");
      await dialog(page);
    },
  ],
  [
    "dialog, delete",
    `/dashboard/basins/${basin}`,
    async (page) => {
      await page.getByLabel("Select empty").check();
      await press(page, "Delete selected (1)");
      await dialog(page);
    },
  ],
];

for (const colorScheme of ["light", "dark"]) {
  rule(
    `every page can be seen and used, ${colorScheme}`,
    async (page, server) => {
      await furnish(server);
      const faults = [];
      for (const [name, address, lead] of sights) {
        await page.setViewportSize(windows[0]);
        await page.goto(address);
        await heading(page);
        await lead(page);
        for (const size of windows) {
          await page.setViewportSize(size);
          const what = `${name}, ${colorScheme}, ${size.width} px`;
          await picture(page, what, { fullPage: !name.startsWith("dialog") });
          for (const check of [isAccessible, fitsWindow]) {
            await check(page, what).catch((error) => faults.push(error.message));
          }
        }
      }
      assert.equal(faults.join("\n"), "", "faults");
    },
    { colorScheme },
  );
}

rule("the keyboard alone reaches everything", async (page, server) => {
  await furnish(server);
  const faults = [];
  for (const [name, address, lead] of sights) {
    await page.goto(address);
    await heading(page);
    await lead(page);
    await isReachable(page, name).catch((error) => faults.push(error.message));
  }
  assert.equal(faults.join("\n"), "", "faults");
});

rule(
  "a dialog keeps the focus, closes by Escape and gives the focus back",
  async (page, server) => {
    await furnish(server);
    const isInside = () => page.evaluate(() => document.activeElement.closest("dialog") !== null);
    for (const [address, opener] of [
      ["/dashboard/", "Create basin"],
      ["/dashboard/", `Configure ${basin}`],
      [`${studio}empty`, "Delete"],
    ]) {
      await page.goto(address);
      const button = page.getByRole("button", { name: opener, exact: true });
      await button.focus();
      await page.keyboard.press("Enter");
      await dialog(page);
      assert.ok(await isInside(), `${opener}: the focus moves in`);
      for (let step = 0; step < 40; step++) {
        await page.keyboard.press("Tab");
        const isOut = await page.evaluate(
          () =>
            document.activeElement !== document.body && !document.activeElement.closest("dialog"),
        );
        assert.ok(!isOut, `${opener}: the focus stays in`);
      }
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      assert.ok(
        await button.evaluate((one) => one === document.activeElement),
        `${opener}: goes back`,
      );
    }
  },
);

rule("the main path goes by keys alone", async (page, server) => {
  const { keyboard } = page;
  await page.goto("/dashboard/");
  await heading(page);
  await keyboard.press("Tab");
  await keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main", "the skip link skips");
  await page.getByRole("button", { name: "Create basin" }).focus();
  await keyboard.press("Enter");
  await dialog(page);
  await keyboard.type("by-keys-alone");
  await keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "by-keys-alone" }).waitFor();
  await page.getByRole("button", { name: "Create stream" }).focus();
  await keyboard.press("Enter");
  await dialog(page);
  await keyboard.type("keys");
  await keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "keys" }).waitFor();
  await page.getByLabel("Records to append").focus();
  await keyboard.type("typed");
  await page.getByRole("button", { name: "Append", exact: true }).focus();
  await keyboard.press("Enter");
  await page.getByText("end 1, tail 1").waitFor();
  assert.equal((await server.records("by-keys-alone", "keys"))[0].body, "typed");
});
