// The settings of streams, as a part of forms: those of a stream, and those that a basin gives to
// its new streams, which may be left to the server.

import { check, choice, field } from "./fields.js";
import { h } from "../dom.js";

const UNITS = [["1", "seconds"], ["60", "minutes"], ["3600", "hours"], ["86400", "days"]];

// An age in the largest unit that divides it.
function spelled(secs) {
  const unit = [86400, 3600, 60, 1].find((size) => secs % size === 0) ?? 1;
  return { number: String(secs / unit), unit: String(unit) };
}

// A number with a unit; `secs()` throws in words for the reader.
function age(label, secs, least) {
  const { number, unit } = spelled(secs);
  const input = h("input", { type: "text", inputmode: "numeric", value: number, size: "8" });
  const units = choice(UNITS, unit);
  const node = h("div", { class: "row" },
    field(label, input), field(`Unit of ${label.toLowerCase()}`, units));
  return {
    node,
    secs() {
      const text = input.value.trim();
      const value = Number(text) * Number(units.value);
      if (!/^\d+$/.test(text) || value < least || !Number.isSafeInteger(value)) {
        throw new Error(`${label} must be a whole number of at least ${least}.`);
      }
      return value;
    },
  };
}

// Fields for a stream's configuration. `config` is what there is, or null. With `inherits`, each
// setting may be left to the server (`null`).
export function streamConfigFields(config, { inherits }) {
  // What the server does when nothing is said.
  const left = (text) => (inherits ? [["", `Default (${text})`]] : []);
  const retention = config?.retention_policy ?? null;
  const timestamping = config?.timestamping ?? {};
  const minAge = config?.delete_on_empty?.min_age_secs ?? null;

  const kind = choice([...left("7 days"), ["age", "For a time"], ["infinite", "For ever"]],
    retention === null ? (inherits ? "" : "age") : "age" in retention ? "age" : "infinite");
  const kept = age("Retention age", retention?.age ?? 604800, 1);
  const mode = choice([...left("client's, else arrival"),
    ["client-prefer", "Client's, else arrival"],
    ["client-require", "Client's, required"],
    ["arrival", "Arrival"],
  ], timestamping.mode ?? (inherits ? "" : "client-prefer"));
  const uncapped = choice([...left("no"), ["false", "No"], ["true", "Yes"]],
    timestamping.uncapped === undefined || timestamping.uncapped === null
      ? (inherits ? "" : "false") : String(timestamping.uncapped));
  const empties = choice([...left("never"), ["never", "Never"], ["age", "After a time"]],
    minAge === null ? (inherits ? "" : "never") : minAge === 0 ? "never" : "age");
  const emptyFor = age("Empty for at least", minAge || 86400, 1);
  const follow = () => {
    kept.node.hidden = kind.value !== "age";
    emptyFor.node.hidden = empties.value !== "age";
  };
  kind.addEventListener("change", follow);
  empties.addEventListener("change", follow);
  follow();

  const orNull = (text, value) => (text === "" ? null : value);
  return {
    nodes: [
      field("Keep records", kind), kept.node,
      h("div", { class: "row" },
        field("Timestamps", mode),
        field("Timestamps may be in the future", uncapped)),
      field("Delete the stream when it is empty", empties), emptyFor.node,
    ],
    value() {
      const keep = kind.value === "age" ? { age: kept.secs() } : { infinite: {} };
      const empty = empties.value === "age" ? emptyFor.secs() : 0;
      return {
        retention_policy: orNull(kind.value, keep),
        timestamping: {
          mode: orNull(mode.value, mode.value),
          uncapped: orNull(uncapped.value, uncapped.value === "true"),
        },
        delete_on_empty: orNull(empties.value, { min_age_secs: empty }),
      };
    },
  };
}

// Fields for what a basin says beside its streams' settings.
export function basinConfigFields(config) {
  const onAppend = check("Create streams on append", config?.create_stream_on_append ?? false);
  const onRead = check("Create streams on read", config?.create_stream_on_read ?? false);
  const cipher = choice([
    ["", "None"], ["aegis-256", "AEGIS-256"], ["aes-256-gcm", "AES-256-GCM"],
  ], config?.stream_cipher ?? "");
  const streams = streamConfigFields(config?.default_stream_config, { inherits: true });
  return {
    nodes: [
      h("div", {}, onAppend.node, onRead.node),
      field("Cipher of new streams", cipher,
        "Streams that exist keep theirs. Keys come from clients and are not stored."),
      h("fieldset", {}, h("legend", {}, "Default settings of new streams"), streams.nodes),
    ],
    value: () => ({
      create_stream_on_append: onAppend.box.checked,
      create_stream_on_read: onRead.box.checked,
      stream_cipher: cipher.value === "" ? null : cipher.value,
      default_stream_config: streams.value(),
    }),
  };
}

// The same object without what is null, as creation wants it.
export function without(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const kept = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(kept.map(([name, member]) => [name, without(member)]));
}
