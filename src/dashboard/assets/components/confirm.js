// Asks before something is deleted.

import { h } from "../dom.js";
import { cancelled, deleteEach, failures } from "./deletion.js";
import { openDialog } from "./dialog.js";
import { toast } from "./states.js";
import { visible } from "./text.js";

const NAMES_SHOWN = 10;

function lost(count, one) {
  const what = one === "basin" ? "streams and records" : "records";
  const whose = count === 1 ? `Its ${what} are deleted with it.` : `Their ${what} are deleted with them.`;
  return `${whose} This cannot be undone.`;
}

// Asks, then deletes each, until the dialog is left; true when at least one is gone. What was not
// deleted is said, also when the dialog was left.
export async function confirmDeletion({ names, what: [one, many], remove, warning }) {
  if (names.length === 0) return false;
  const shown = names.slice(0, NAMES_SHOWN).map((name) => h("li", {}, h("bdi", {}, visible(name))));
  const rest = names.length - shown.length;
  const total = names.length;
  let deleted = 0;
  const title = names.length === 1 ? `Delete this ${one}?` : `Delete ${names.length} ${many}?`;
  await openDialog({
    title,
    fields: [
      h("ul", { class: "names" }, shown, rest > 0 && h("li", {}, `and ${rest} more`)),
      h("p", {}, warning ?? lost(names.length, one)),
    ],
    action: names.length === 1 ? `Delete ${one}` : `Delete ${names.length} ${many}`,
    danger: true,
    submit: async (signal) => {
      const { gone, failed } = await deleteEach(names, remove, signal);
      deleted += gone;
      if (signal.aborted && deleted < total) {
        toast(cancelled(deleted, total, many, failed));
        return;
      }
      if (failed.length > 0) {
        names.push(...failed.map(([name]) => name));
        throw new Error(failures(failed));
      }
      toast(deleted === 1 ? `The ${one} is being deleted` : `${deleted} ${many} are being deleted`);
    },
  });
  return deleted > 0;
}
