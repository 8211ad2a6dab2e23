// Deletes one after the other, and says what came of it; without a page.

import { describe } from "./states.js";
import { visible } from "./text.js";

// Deletes each of `names` and takes it off the list, until the signal says that nobody waits for
// more. Gives how many are gone, of which one that was not there any more is one, and which failed.
export async function deleteEach(names, remove, signal) {
  const failed = [];
  let gone = 0;
  while (names.length > 0 && !signal.aborted) {
    try {
      await remove(names[0]);
      gone += 1;
    } catch (error) {
      if (error.status === 404) gone += 1;
      else failed.push([names[0], error]);
    }
    names.shift();
  }
  return { gone, failed };
}

// How many failed, and the first of them; empty when none did.
export function failures(failed) {
  if (failed.length === 0) return "";
  const [name, error] = failed[0];
  return `${failed.length} not deleted; “${visible(name)}”: ${describe(error)}`;
}

// What is said when the dialog was left before all were deleted.
export function cancelled(gone, total, many, failed) {
  const said = `Cancelled: ${gone} of ${total} ${many} are being deleted`;
  return failed.length === 0 ? said : `${said}; ${failures(failed)}`;
}
