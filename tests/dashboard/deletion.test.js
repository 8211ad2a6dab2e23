// What a deletion of several says, without a browser:
// node --experimental-detect-module --test tests/dashboard/deletion.test.js

import assert from "node:assert/strict";
import { test } from "node:test";

import { cancelled, deleteEach, failures } from "../../src/dashboard/assets/components/deletion.js";

// A deletion that fails with the status given for a name, and stops all after `last`.
function remover(statuses, stop = null, last = null) {
  return async (name) => {
    if (name === last) stop.abort();
    if (statuses[name]) throw Object.assign(new Error(`no ${name}`), { status: statuses[name] });
  };
}

test("what is not there any more counts as deleted", async () => {
  const names = ["a", "b", "c"];
  const { gone, failed } = await deleteEach(names, remover({ c: 404 }), new AbortController().signal);
  assert.deepEqual([gone, failed, names], [3, [], []]);
});

test("a cancel during the last one counts it, whether it was there or not", async () => {
  for (const statuses of [{}, { c: 404 }]) {
    const stop = new AbortController();
    const { gone } = await deleteEach(["a", "b", "c"], remover(statuses, stop, "c"), stop.signal);
    assert.equal(gone, 3);
  }
});

test("a cancel leaves the rest and names what failed before it", async () => {
  const stop = new AbortController();
  const names = ["a", "b", "c", "d"];
  const { gone, failed } = await deleteEach(names, remover({ a: 500 }, stop, "b"), stop.signal);
  assert.deepEqual([gone, names], [1, ["c", "d"]]);
  assert.equal(cancelled(gone, 4, "streams", failed),
    "Cancelled: 1 of 4 streams are being deleted; 1 not deleted; “a”: no a");
  assert.equal(cancelled(gone, 4, "streams", []), "Cancelled: 1 of 4 streams are being deleted");
  assert.equal(failures([]), "");
});
