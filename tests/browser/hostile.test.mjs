// Names, bodies and headers that mean harm: shown, and nothing more.

import assert from "node:assert/strict";

import { eventually, picture, rule, withServer } from "./common.mjs";

withServer();

const script = "window.wasRun = 1";
const names = [
  `<img src=x onerror="${script}">`,
  `<script>${script}</script>`,
  `"'\`><svg onload=${script}>`,
  `javascript:${script}`,
  "../../../v1/basins",
  "%2F..%2F%00",
  "a?b=c&d#e",
  "日本語/ü 🦀 é",
  "\u202egnp.exe\u202c",
  "שלום/مرحبا",
  "tab\tand\u0001control\u007f",
  "a\u200bb",
  "{{constructor.constructor('alert(1)')()}}",
  "${alert(1)}",
  "constructor",
  "__proto__",
  " leading and trailing ",
  "//evil.example/x",
  "\\\\evil.example\\x",
  "x".repeat(512),
  "🦀".repeat(128),
];

const wasRun = (page) => page.evaluate(() => globalThis.wasRun ?? 0);

rule("streams with any name are listed, opened and used", async (page, server) => {
  const basin = await server.basin();
  for (const name of names) await server.stream(basin, name);
  await page.goto(`/dashboard/basins/${basin}`);
  await page.getByRole("row").nth(names.length).waitFor();
  await picture(page, "hostile-names", { fullPage: true });
  const links = page.locator("td.name a");
  const addresses = await links.evaluateAll((all) => all.map((one) => one.href));
  assert.equal(addresses.length, names.length);
  for (const address of addresses) {
    assert.ok(address.startsWith(`${server.url}/dashboard/`), address);
    await page.goto(address);
    const stream = new URL(page.url()).searchParams.get("stream");
    assert.ok(names.includes(stream), `the address of a page of ours: ${address}`);
    await page.getByRole("button", { name: "Follow live" }).waitFor();
    await page.getByLabel("Records to append").fill("here");
    await page.getByRole("button", { name: "Append", exact: true }).click();
    await page.getByText("end 1, tail 1").waitFor();
    assert.equal((await server.records(basin, stream)).length, 1, stream);
  }
  assert.equal(await wasRun(page), 0);
});

rule("names that mean harm are harmless in dialogs, too", async (page, server) => {
  const basin = await server.basin();
  const [name] = names;
  await page.goto(`/dashboard/basins/${basin}`);
  await page.getByRole("button", { name: "Create stream" }).first().click();
  const form = page.getByRole("dialog");
  await form.getByLabel("Name", { exact: true }).fill(name);
  await form.getByRole("button", { name: "Create stream" }).click();
  await page.getByRole("heading", { level: 1, name }).waitFor();
  await page.getByRole("button", { name: "Configure", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await page.getByText(/ configured$/).waitFor();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.getByRole("dialog").getByText(name).first().waitFor();
  await page.getByRole("dialog").getByRole("button", { name: "Delete stream" }).click();
  await page.getByRole("heading", { level: 1, name: basin }).waitFor();
  await page.goto(`/dashboard/basins/${encodeURIComponent(name)}`);
  await page
    .getByText(/no such basin|basins/i)
    .first()
    .waitFor();
  await page.goto(`/dashboard/?prefix=${encodeURIComponent(name)}`);
  await page.getByText("No basin starts with").waitFor();
  assert.equal(await wasRun(page), 0);
});

const base64 = (bytes) => Buffer.from(bytes).toString("base64");

/** Records in base64: bodies and headers, as bytes. */
const records = [
  { body: base64(`<script>${script}</script><img src=x onerror="${script}">`) },
  { body: base64(Uint8Array.from({ length: 256 }, (_, index) => index)) },
  { body: base64([0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80]) },
  { body: base64("\u202eturned\u202c\u0000\u001b[31m") },
  {
    body: base64("x"),
    headers: [
      [base64(`<b onclick="${script}">`), base64([0xff, 0x00])],
      [base64("n"), base64("")],
    ],
  },
  { body: base64(`{"a":${"[".repeat(20000)}${"]".repeat(20000)}}`) },
  { body: base64('{"__proto__":{"x":1},"constructor":"</pre><script>"}') },
  { body: "" },
  { headers: [["", base64("fence")]], body: base64("<i>token</i>") },
];

rule("records of any content are shown, each in full", async (page, server) => {
  const basin = await server.basin();
  await server.stream(basin, "s");
  const headers = { "s2-format": "base64" };
  await server.append(basin, "s", records, { headers });
  await server.append(basin, "s", [{ body: base64(Buffer.alloc(1024 * 1024 - 8, "y ")) }], {
    headers,
  });
  await server.append(basin, "s", [{ body: base64(Buffer.alloc(1024 * 1024 - 8, 0xfe)) }], {
    headers,
  });
  await page.goto(`/dashboard/basins/${basin}/studio?stream=s`);
  await page.getByLabel("Records before the tail").fill("11");
  await page.getByRole("button", { name: "Follow live" }).click();
  await page.getByRole("button", { name: "Show record 10", exact: true }).waitFor();
  for (let number = 0; number <= 10; number++) {
    await page.getByRole("button", { name: `Show record ${number}`, exact: true }).click();
    await page.getByRole("button", { name: `Hide record ${number}`, exact: true }).waitFor();
  }
  await picture(page, "hostile-records", { fullPage: true });
  // All of a mebibyte, as text.
  const body = page.getByLabel("Body of record 9");
  await body
    .locator("xpath=..")
    .getByRole("button", { name: /^Show all/ })
    .click();
  await eventually("all of it", async () => (await body.textContent()).length >= 1024 * 1024 - 8);
  assert.equal(await wasRun(page), 0);
});

rule("an address that means harm leads to a page of ours", async (page) => {
  const targets = [
    "/dashboard//evil.example/",
    "/dashboard/basins/%3Cscript%3E/studio?stream=%3Cimg%20src%3Dx%3E",
    "/dashboard/basins/..%2F..%2Fv1/studio?stream=..%2F..",
    "/dashboard/basins/%E0%A4%A/studio?stream=%FF",
    `/dashboard/?prefix=${"x".repeat(3000)}`,
    "/dashboard/#javascript:alert(1)",
  ];
  for (const target of targets) {
    await page.goto(target);
    await page.getByRole("heading", { level: 1 }).waitFor();
    assert.equal(await wasRun(page), 0, target);
  }
});
