// Sessions at the tail of a stream that nobody writes to; both transports side by side.

import assert from "node:assert/strict";
import { describe } from "node:test";

import { batch, bodies, client, fromSeqNum, newBasin, pause, rule, take } from "./common.mjs";

describe("an idle session is kept alive", { concurrency: true }, () => {
  // The SDK gives up after that much silence; without retries that would show.
  for (const [forceTransport, silenceMs] of [
    ["s2s", 20_000],
    ["fetch", 25_000],
  ]) {
    rule(`over ${forceTransport}`, async () => {
      const { name } = await newBasin();
      const once = client({ retry: { maxAttempts: 1 } });
      await once.basin(name).streams.create({ stream: "s" });
      const stream = once.basin(name).stream("s", { forceTransport });
      const session = await stream.readSession(fromSeqNum(0));
      const reader = session.getReader();
      const next = take(reader, 1);
      await Promise.race([next, pause(silenceMs + 1000)]);
      await stream.append(batch(["at last"]));
      assert.deepEqual(bodies(await next), ["at last"]);
      await reader.cancel();
      await stream.close();
    });
  }
});
