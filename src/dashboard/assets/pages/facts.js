// What the server says of itself: `config.json` as a list.

import { h } from "../dom.js";
import { bytes, time } from "../components/format.js";

const TLS = {
  none: "none: what passes is not encrypted",
  self_signed: "with a certificate that the server made",
  certificate: "with the operator's certificate",
};

// Fetches the facts.
export function fetchFacts(api, signal) {
  return api.get("/dashboard/config.json", { signal });
}

// Shows them.
export function factsPanel(config) {
  const rows = [
    ["Version", config.version],
    ["Started", time(config.started_at)],
    ["Store", store(config.store)],
    config.wal && ["Log", store(config.wal)],
    config.path && ["Path", config.path],
    config.flush_interval_ms !== null && ["Flush interval", `${config.flush_interval_ms} ms`],
    ["Shards", config.shards],
    ["Port", config.port],
    ["TLS", TLS[config.tls] ?? config.tls],
    ["Access tokens", config.access_tokens ? "required" : "not asked for: everybody may do everything"],
    ["Cross-origin requests", config.cors ? "allowed" : "not allowed"],
    ["Init file", config.init_file ?? "none"],
    ["Appends in flight", `at most ${bytes(config.append_inflight_bytes)}`],
  ];
  const shown = rows.filter(Boolean).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
  return h("section", { class: "panel", "aria-label": "Facts about the server" },
    config.store.kind === "memory" && h("p", { class: "notice warn" },
      "Records are kept in memory and are lost when the server ends."),
    h("dl", { class: "facts" }, shown));
}

function store(store) {
  const place = store.root ?? store.bucket;
  return place ? `${store.kind}: ${place}` : store.kind;
}
