// A server that ends and comes back under an open page.

import assert from "node:assert/strict";

import { eventually, rule, unreachable, withServer } from "./common.mjs";

withServer();

for (const signal of ["SIGKILL", "SIGTERM"]) {
  rule(
    `following goes on over a restart by ${signal}, without a gap and without a record twice`,
    async (page, server) => {
      const basin = await server.basin();
      await server.stream(basin, "s");
      let sent = 0;
      const append = async (batches) => {
        for (let batch = 0; batch < batches; batch++) {
          await server.append(basin, "s", [`n ${sent}`, `n ${sent + 1}`]);
          sent += 2;
        }
      };
      await append(5);
      await page.goto(`/dashboard/basins/${basin}/studio?stream=s`);
      await page.getByLabel("Start", { exact: true }).selectOption("seq_num");
      await page.getByLabel("From sequence number").fill("0");
      await page.getByRole("button", { name: "Follow live" }).click();
      const shown = () => page.locator("table.records td.preview").allTextContents();
      const caughtUp = () =>
        eventually(`${sent} records`, async () => (await shown()).length >= sent);
      await caughtUp();
      for (let restart = 0; restart < 2; restart++) {
        await append(3);
        await server.end(signal);
        const said = page.getByRole("region", { name: "Read" }).getByRole("status");
        await said.filter({ hasText: /lost|reconnect|connecting/i }).waitFor();
        await server.start();
        // What was appended while the page was away is what it must not miss.
        await append(3);
        await caughtUp();
      }
      const wanted = Array.from({ length: sent }, (_, index) => `n ${index}`);
      assert.deepEqual(await shown(), wanted);
    },
    { own: [], allow: [unreachable, /status of 503/] },
  );
}
