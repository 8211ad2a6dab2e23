// A stream's page: appending, reading, following, commands.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { eventually, rule, withServer, withinMs } from "./common.mjs";

withServer();

const studio = (basin, stream) =>
  `/dashboard/basins/${basin}/studio?stream=${encodeURIComponent(stream)}`;
const button = (page, name) => page.getByRole("button", { name, exact: true });
const field = (page, label) => page.getByLabel(label, { exact: true });
const part = (page, name) => page.getByRole("region", { name, exact: true });
const status = (page, name) => part(page, name).getByRole("status");

/** The numbers of the records that are shown, oldest first. */
const numbers = (page) =>
  page.locator("table.records tbody tr td.number:first-child").allTextContents();

const shows = (page, wanted) =>
  eventually(`the records ${wanted}`, async () => (await numbers(page)).join() === wanted.join());

/** A new stream with records whose bodies are `0`, `1` and so on, and its page. */
async function opened(page, server, records = 0) {
  const basin = await server.basin();
  await server.stream(basin, "s");
  const bodies = Array.from({ length: records }, (_, index) => `body ${index}`);
  if (records > 0) await server.append(basin, "s", bodies);
  await page.goto(studio(basin, "s"));
  await part(page, "Append").waitFor();
  return basin;
}

async function load(page, name, text) {
  const file = { name, mimeType: "text/plain", buffer: Buffer.from(text) };
  await field(page, "Load a file").setInputFiles(file);
}

async function append(page) {
  await button(page, "Append").click();
}

rule("appends one record, lines, and an array in JSON", async (page, server) => {
  const basin = await opened(page, server);
  await page.getByText(/There are no records|Nothing there yet/).waitFor();
  await field(page, "Records to append").fill("one body ü\nin two lines");
  await field(page, "Headers, one on each line").fill("kind: test\nempty:");
  await append(page);
  await status(page, "Append").filter({ hasText: "start 0, end 1, tail 1" }).waitFor();
  await field(page, "What is typed").selectOption("lines");
  await field(page, "Records to append").fill("a\n\nc\n");
  await part(page, "Append").getByText("3 of 1000 records").waitFor();
  await append(page);
  await status(page, "Append").filter({ hasText: "tail 4" }).waitFor();
  await field(page, "What is typed").selectOption("json");
  await field(page, "Records to append").fill('[{"body": 1}]');
  await append(page);
  await part(page, "Append").getByRole("alert").waitFor();
  await field(page, "Records to append").fill(
    '[{"body": "j", "headers": [["k", "v"]], "timestamp": 1700000000000}, {}]',
  );
  await append(page);
  await status(page, "Append").filter({ hasText: "tail 6" }).waitFor();
  const records = await server.records(basin, "s");
  assert.deepEqual(
    records.map(({ body }) => body ?? ""),
    ["one body ü\nin two lines", "a", "", "c", "j", ""],
  );
  assert.deepEqual(records[0].headers, [
    ["kind", "test"],
    ["empty", ""],
  ]);
  assert.deepEqual(records[4].headers, [["k", "v"]]);
});

rule("refuses what a batch cannot be, and conditions that do not hold", async (page, server) => {
  const basin = await opened(page, server, 2);
  await page.getByText("File and conditions").click();
  await load(page, "x.txt", "x\n".repeat(1001));
  await part(page, "Append").getByText("1001 of 1000 records").waitFor();
  await append(page);
  await part(page, "Append").getByRole("alert").filter({ hasText: "1000" }).waitFor();
  await field(page, "Records to append").fill("x");
  await field(page, "Expected sequence number").fill("1");
  await append(page);
  await part(page, "Append").getByRole("alert").filter({ hasText: "2" }).waitFor();
  await field(page, "Expected sequence number").fill("2");
  await append(page);
  await status(page, "Append").filter({ hasText: "tail 3" }).waitFor();
  assert.equal((await server.records(basin, "s")).length, 3);
});

rule("loads a file of lines in JSON", async (page, server) => {
  const basin = await opened(page, server);
  await page.getByText("File and conditions").click();
  await load(page, "x.jsonl", '{"body":"1"}\n{"body":"2","headers":[["a","b"]]}\n');
  await part(page, "Append").getByText("2 of 1000 records").waitFor();
  await append(page);
  await status(page, "Append").filter({ hasText: "tail 2" }).waitFor();
  assert.deepEqual(
    (await server.records(basin, "s")).map(({ body }) => body),
    ["1", "2"],
  );
});

rule("reads from the tail, a number and a time, page by page", async (page, server) => {
  const basin = await server.basin();
  await server.stream(basin, "s");
  const at = Date.UTC(2024, 0, 2, 3, 4, 5);
  const body = (index) => ({ body: `body ${index}`, timestamp: at + index * 1000 });
  await server.append(
    basin,
    "s",
    Array.from({ length: 300 }, (_, index) => body(index)),
  );
  await page.goto(studio(basin, "s"));
  await shows(
    page,
    Array.from({ length: 10 }, (_, index) => String(290 + index)),
  );
  await field(page, "Records before the tail").fill("3");
  await button(page, "Read once").click();
  await shows(page, ["297", "298", "299"]);
  await field(page, "Start").selectOption("seq_num");
  await field(page, "From sequence number").fill("100");
  await field(page, "Limit").fill("2");
  await button(page, "Read once").click();
  await shows(page, ["100", "101"]);
  await button(page, "Newer").click();
  await shows(page, ["102", "103"]);
  await button(page, "Older").click();
  await button(page, "Older").click();
  await shows(page, ["98", "99"]);
  await field(page, "Start").selectOption("timestamp");
  await field(page, "Time (UTC)").fill("2024-01-02T03:05:05");
  await button(page, "Read once").click();
  await shows(page, ["60", "61"]);
  await page.getByRole("row").filter({ hasText: "body 60" }).getByText("2024-01-02").waitFor();
  await field(page, "Start").selectOption("seq_num");
  await field(page, "From sequence number").fill("300");
  await button(page, "Read once").click();
  await page.getByText(/Nothing there yet|no records there/).waitFor();
  await field(page, "From sequence number").fill("-1");
  await button(page, "Read once").click();
  await part(page, "Read").getByRole("alert").waitFor();
});

rule("follows the tail while others append", async (page, server) => {
  const basin = await opened(page, server, 3);
  await button(page, "Follow live").click();
  await status(page, "Read").filter({ hasText: "Live" }).waitFor();
  await shows(page, ["0", "1", "2"]);
  for (let batch = 0; batch < 20; batch++) {
    await server.append(basin, "s", [`${batch} a`, `${batch} b`]);
  }
  await shows(
    page,
    Array.from({ length: 43 }, (_, index) => String(index)),
  );
  await button(page, "Stop following").click();
  await server.append(basin, "s", ["late"]);
  await status(page, "Read").filter({ hasText: "Stopped" }).waitFor();
  assert.equal((await numbers(page)).length, 43);
  await button(page, "Refresh tail").click();
  await page.getByText(/Tail 44/).waitFor();
});

rule("following stays small and swift, whatever comes", async (page, server) => {
  const basin = await opened(page, server);
  await button(page, "Follow live").click();
  await status(page, "Read").filter({ hasText: "Live" }).waitFor();
  const bodies = Array.from({ length: 1000 }, (_, index) => `${index} ${"x".repeat(500)}`);
  for (let batch = 0; batch < 5; batch++) await server.append(basin, "s", bodies);
  await eventually(
    "the last record is shown",
    async () => (await numbers(page)).at(-1) === "4999",
  );
  assert.ok((await numbers(page)).length <= 1000, "old rows go");
  await status(page, "Read").filter({ hasText: "5,000 records" }).waitFor();
});

rule("trims with confirmation, and sets a fencing token", async (page, server) => {
  const basin = await opened(page, server, 5);
  await field(page, "Trim up to and including").fill("2");
  await button(page, "Trim…").click();
  const sure = page.getByRole("dialog", { name: "Trim this stream?" });
  await page.keyboard.press("Escape");
  await sure.waitFor({ state: "detached" });
  assert.equal((await server.records(basin, "s"))[0].seq_num, 0, "nothing is trimmed yet");
  await button(page, "Trim…").click();
  await sure.getByRole("button", { name: "Trim", exact: true }).click();
  await sure.waitFor({ state: "detached" });
  await eventually(
    "the first record is number 3",
    async () => (await server.records(basin, "s"))[0].seq_num === 3,
  );
  await field(page, "New fencing token").fill("x".repeat(37));
  await button(page, "Set fencing token").click();
  await part(page, "Commands").getByRole("alert").filter({ hasText: "36" }).waitFor();
  await field(page, "New fencing token").fill("holder-1");
  await button(page, "Set fencing token").click();
  await status(page, "Commands").filter({ hasText: "6" }).waitFor();
  const body = { records: [{ body: "x" }], fencing_token: "other" };
  const refused = await server.call("POST", "/streams/s/records", { basin, body });
  assert.equal(refused.status, 412);
  await page.getByText("File and conditions").click();
  await field(page, "Show a fencing token").check();
  await field(page, "Fencing token").fill("other");
  await field(page, "Records to append").fill("y");
  await append(page);
  await part(page, "Append").getByRole("alert").filter({ hasText: "holder-1" }).waitFor();
  await field(page, "Fencing token").fill("holder-1");
  await append(page);
  await status(page, "Append").filter({ hasText: "tail 8" }).waitFor();
  // Commands are shown with what they say, and can be left out.
  await field(page, "Start").selectOption("seq_num");
  await field(page, "From sequence number").fill("0");
  await button(page, "Read once").click();
  await page.getByRole("row").filter({ hasText: "trim" }).filter({ hasText: "3" }).waitFor();
  await page.getByRole("row").filter({ hasText: "fence" }).getByText("holder-1").waitFor();
  const edges = await page
    .locator("table.records td.number:first-child")
    .evaluateAll((cells) => cells.map((one) => one.getBoundingClientRect().right));
  assert.equal(new Set(edges).size, 1, `commands stand in the columns of the others: ${edges}`);
  await field(page, "Hide command records").check();
  await page.getByRole("row").filter({ hasText: "holder-1" }).waitFor({ state: "hidden" });
});

rule("shows a whole record in each of its forms", async (page, server) => {
  const basin = await server.basin();
  await server.stream(basin, "s");
  const big = "9007199254740993";
  await server.append(basin, "s", [{ body: `{"n":${big},"a":[1.50,{}]}`, headers: [["h", "v"]] }]);
  await page.goto(studio(basin, "s"));
  await button(page, "Show record 0").click();
  const body = page.getByLabel("Body of record 0");
  await body.filter({ hasText: `"n": ${big}` }).waitFor();
  assert.match(await body.textContent(), /1\.50/);
  await page.getByRole("cell", { name: "h", exact: true }).waitFor();
  await button(page, "Hex").click();
  await body.filter({ hasText: "7b 22 6e" }).waitFor();
  await button(page, "Text").click();
  await body.filter({ hasText: `{"n":${big}` }).waitFor();
  await button(page, "Hide record 0").click();
  await body.waitFor({ state: "detached" });
});

rule(
  "an encrypted stream is read with its key alone, which stays in the tab",
  async (page, server) => {
    const basin = await server.basin({ stream_cipher: "aes-256-gcm" });
    await server.stream(basin, "s");
    const key = Buffer.alloc(32, 7).toString("base64");
    await server.append(basin, "s", ["secret words"], { headers: { "s2-encryption-key": key } });
    await page.goto(studio(basin, "s"));
    await page.getByText("This stream is encrypted").waitFor();
    const enter = async (text) => {
      await page.getByRole("button", { name: /^Encryption key/ }).click();
      const dialog = page.getByRole("dialog", { name: "Encryption key" });
      await dialog.getByLabel("Key, 32 bytes in base64").fill(text);
      await dialog.getByRole("button", { name: "Use this key" }).click();
      return dialog;
    };
    await (await enter("short")).getByRole("alert").waitFor();
    await page.keyboard.press("Escape");
    await enter(Buffer.alloc(32, 8).toString("base64"));
    await part(page, "Read").getByRole("alert").filter({ hasText: "decryption_failed" }).waitFor();
    await enter(key);
    await page.getByRole("row").filter({ hasText: "secret words" }).waitFor();
    const kept = await page.evaluate(
      () => JSON.stringify(localStorage) + document.cookie + location.href,
    );
    assert.ok(!kept.includes(key));
  },
);

rule("copies commands that a shell runs", async (page, server, context) => {
  const basin = await opened(page, server, 1);
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await part(page, "Read").getByRole("button", { name: "Copy curl" }).click();
  const command = await eventually("a copied text", () =>
    page.evaluate(() => navigator.clipboard.readText()),
  );
  const { stdout } = await promisify(execFile)("bash", ["-c", command], { timeout: withinMs });
  assert.equal(JSON.parse(stdout).records[0].body, Buffer.from("body 0").toString("base64"));
  await field(page, "Records to append").fill('it\'s $HOME `x` \\ "q"');
  await part(page, "Append").getByRole("button", { name: "Copy curl" }).click();
  const other = await eventually("another copied text", async () => {
    const text = await page.evaluate(() => navigator.clipboard.readText());
    return text !== command && text;
  });
  await promisify(execFile)("bash", ["-c", other], { timeout: withinMs });
  const records = await server.records(basin, "s");
  assert.equal(records[1].body, 'it\'s $HOME `x` \\ "q"');
});
