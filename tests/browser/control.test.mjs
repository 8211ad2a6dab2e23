// Basins and streams: making, configuring, finding and deleting them.

import assert from "node:assert/strict";

import { eventually, rule, withServer } from "./common.mjs";

withServer();

const button = (page, name) => page.getByRole("button", { name, exact: true });
const dialog = (page, name) => page.getByRole("dialog", { name });
const row = (page, name) => page.getByRole("row").filter({ hasText: name });
const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();

rule(
  "a basin is made with its configuration, and says at once what is wrong with a name",
  async (page, server) => {
    await page.goto("/dashboard/");
    await button(page, "Create basin").click();
    const form = dialog(page, "Create a basin");
    await form.getByLabel("Name", { exact: true }).fill("Bad");
    await form.getByText("A name has 8 to 48 characters.").waitFor();
    await form.getByRole("button", { name: "Create basin" }).click();
    await form.getByRole("alert").waitFor();
    await form.getByLabel("Name", { exact: true }).fill("made-by-hand");
    await form.getByLabel("Create streams on append").check();
    await form.getByLabel("Cipher of new streams").selectOption("aes-256-gcm");
    await form.getByLabel("Keep records").selectOption("age");
    await form.getByLabel("Retention age", { exact: true }).fill("2");
    await form.getByLabel("Unit of retention age").selectOption("hours");
    await form.getByLabel("Timestamps", { exact: true }).selectOption("arrival");
    await form.getByLabel("Delete the stream when it is empty").selectOption("age");
    await form.getByLabel("Empty for at least", { exact: true }).fill("90");
    await form.getByLabel("Unit of empty for at least").selectOption("seconds");
    await form.getByRole("button", { name: "Create basin" }).click();
    await heading(page, "made-by-hand");
    const config = await server.ask("GET", "/basins/made-by-hand");
    assert.equal(config.create_stream_on_append, true);
    assert.equal(config.create_stream_on_read, false);
    assert.equal(config.stream_cipher, "aes-256-gcm");
    assert.deepEqual(config.default_stream_config.retention_policy, { age: 7200 });
    assert.equal(config.default_stream_config.timestamping.mode, "arrival");
    assert.equal(config.default_stream_config.delete_on_empty.min_age_secs, 90);
    // A name that is taken is refused by the server, whose words are shown.
    await page.goto("/dashboard/");
    await button(page, "Create basin").click();
    await form.getByLabel("Name", { exact: true }).fill("made-by-hand");
    await form.getByRole("button", { name: "Create basin" }).click();
    await form.getByRole("alert").filter({ hasText: "resource_already_exists" }).waitFor();
    await page.keyboard.press("Escape");
    await form.waitFor({ state: "detached" });
  },
);

rule(
  "a basin's configuration is shown as it is, and what was left alone stays",
  async (page, server) => {
    const basin = await server.basin({
      create_stream_on_read: true,
      stream_cipher: "aegis-256",
      default_stream_config: { storage_class: "standard", retention_policy: { age: 259200 } },
    });
    await page.goto("/dashboard/");
    await button(page, `Configure ${basin}`).click();
    const form = dialog(page, `Configure ${basin}`);
    assert.equal(await form.getByLabel("Create streams on read").isChecked(), true);
    assert.equal(await form.getByLabel("Create streams on append").isChecked(), false);
    assert.equal(await form.getByLabel("Cipher of new streams").inputValue(), "aegis-256");
    assert.equal(await form.getByLabel("Retention age", { exact: true }).inputValue(), "3");
    await form.getByLabel("Create streams on read").uncheck();
    await form.getByLabel("Keep records").selectOption("infinite");
    await form.getByRole("button", { name: "Save" }).click();
    await form.waitFor({ state: "detached" });
    const config = await server.ask("GET", `/basins/${basin}`);
    assert.equal(config.create_stream_on_read, false);
    assert.equal(config.stream_cipher, "aegis-256");
    assert.deepEqual(config.default_stream_config.retention_policy, { infinite: {} });
    assert.equal(config.default_stream_config.storage_class, "standard");
  },
);

rule("a stream is made, configured and deleted", async (page, server) => {
  const basin = await server.basin();
  await page.goto(`/dashboard/basins/${basin}`);
  await page.getByText("There are no streams yet.").waitFor();
  await button(page, "Create stream").click();
  const form = dialog(page, `Create a stream in ${basin}`);
  await form.getByLabel("Name", { exact: true }).fill("orders/2026");
  await form.getByLabel("Keep records").selectOption("infinite");
  await form.getByRole("button", { name: "Create stream" }).click();
  await heading(page, "orders/2026");
  const path = `/streams/${encodeURIComponent("orders/2026")}`;
  assert.deepEqual((await server.ask("GET", path, { basin })).retention_policy, { infinite: {} });
  await page.goto(`/dashboard/basins/${basin}`);
  await button(page, "Configure orders/2026").click();
  const settings = dialog(page, "Configure orders/2026");
  await settings.getByLabel("Keep records").selectOption("age");
  await settings.getByLabel("Retention age", { exact: true }).fill("0");
  await settings.getByRole("button", { name: "Save" }).click();
  await settings.getByRole("alert").waitFor();
  await settings.getByLabel("Retention age", { exact: true }).fill("5");
  await settings.getByLabel("Timestamps", { exact: true }).selectOption("client-require");
  await settings.getByRole("button", { name: "Save" }).click();
  await settings.waitFor({ state: "detached" });
  const config = await server.ask("GET", path, { basin });
  assert.equal(config.timestamping.mode, "client-require");
  assert.equal(config.retention_policy.age % 5, 0);
  await page.getByLabel("Select orders/2026").check();
  await button(page, "Delete selected (1)").click();
  const sure = dialog(page, "Delete this stream?");
  await sure.getByRole("button", { name: "Cancel" }).click();
  await sure.waitFor({ state: "detached" });
  assert.equal((await server.call("GET", path, { basin })).status, 200, "nothing was deleted");
  await button(page, "Delete selected (1)").click();
  await sure.getByRole("button", { name: "Delete stream" }).click();
  await sure.waitFor({ state: "detached" });
  await eventually("the stream is gone", async () =>
    [404, 409].includes((await server.call("GET", path, { basin })).status),
  );
});

rule("a basin is deleted with confirmation, and its page leads back", async (page, server) => {
  const basin = await server.basin();
  await server.stream(basin, "s");
  await page.goto(`/dashboard/basins/${basin}`);
  await button(page, "Delete basin").click();
  await dialog(page, "Delete this basin?").getByText(basin).waitFor();
  await dialog(page, "Delete this basin?").getByRole("button", { name: "Delete basin" }).click();
  await heading(page, "Basins");
  await page.goto(`/dashboard/basins/${basin}`);
  await page.getByText(/being deleted|no such basin/).waitFor();
  await page.getByRole("link", { name: "Back to the basins" }).click();
  await heading(page, "Basins");
  await page.goto("/dashboard/basins/never-was-here/studio?stream=s");
  await page
    .getByText(/no such basin|does not exist|not found|basin_not_found/i)
    .first()
    .waitFor();
});

const streams = 10_000;
const writers = 16;

rule("ten thousand streams are filtered and paged through", async (page, server) => {
  const basin = await server.basin({ create_stream_on_append: true });
  let next = 0;
  const one = async () => {
    while (next < streams) await server.stream(basin, `s/${String(next++).padStart(5, "0")}`);
  };
  await Promise.all(Array.from({ length: writers }, one));
  await server.stream(basin, "zz/last one");
  await page.goto(`/dashboard/basins/${basin}`);
  await row(page, "s/00024").waitFor();
  assert.equal(await page.getByRole("row").count(), 26);
  await button(page, "Next").click();
  await row(page, "s/00025").waitFor();
  await button(page, "Next").click();
  await row(page, "s/00074").waitFor();
  assert.equal(await row(page, "s/00025").count(), 0);
  await button(page, "Previous").click();
  await row(page, "s/00025").waitFor();
  const filter = page.getByLabel("Filter streams by prefix");
  await filter.fill("s/0999");
  await row(page, "s/09999").waitFor();
  await eventually("only what begins so", async () => (await page.getByRole("row").count()) === 11);
  await page.getByLabel("Select all streams of this page").check();
  await button(page, "Delete selected (10)").click();
  const sure = dialog(page, "Delete 10 streams?");
  await sure.getByRole("button", { name: "Delete 10 streams" }).click();
  await sure.waitFor({ state: "detached" });
  await filter.fill("zz/");
  await page.getByRole("link", { name: "zz/last one" }).waitFor();
  await page.reload();
  await page.getByRole("link", { name: "zz/last one" }).waitFor();
  assert.equal(await filter.inputValue(), "zz/", "the address keeps the filter");
  await filter.fill("nothing like it");
  await page.getByText("No stream starts with").waitFor();
  const { streams: left } = await server.ask("GET", "/streams?prefix=s/0999&limit=20", { basin });
  assert.ok(
    left.every(({ deleted_at }) => deleted_at),
    "all ten are deleted or are being deleted",
  );
});

rule("leaving the dialog ends a deletion of several", async (page, server) => {
  const basin = await server.basin();
  for (const name of ["s/1", "s/2", "s/3", "s/4", "s/5"]) await server.stream(basin, name);
  let seen = 0;
  let release = null;
  const left = new Promise((resolve) => (release = resolve));
  await page.route("**/v1/streams/*", async (route) => {
    if (route.request().method() === "DELETE" && ++seen === 2) await left;
    await route.continue();
  });
  await page.goto(`/dashboard/basins/${basin}`);
  await row(page, "s/5").waitFor();
  await page.getByLabel("Select all streams of this page").check();
  await button(page, "Delete selected (5)").click();
  const sure = dialog(page, "Delete 5 streams?");
  await sure.getByRole("button", { name: "Delete 5 streams" }).click();
  await eventually("the second is under way", async () => seen === 2);
  await sure.getByRole("button", { name: "Cancel" }).click();
  release();
  await page.getByText("Cancelled: 2 of 5 streams are being deleted").waitFor();
  assert.equal(seen, 2);
  const { streams: found } = await server.ask("GET", "/streams?limit=10", { basin });
  const active = found.filter(({ deleted_at }) => !deleted_at).map(({ name }) => name);
  assert.deepEqual(active, ["s/3", "s/4", "s/5"]);
});
