// What is shown instead of charts: nothing was appended yet, or there are no numbers to be had.

import { h } from "../../dom.js";
import { copy } from "../../components/copy.js";
import { field } from "../../components/fields.js";
import { setToken } from "./poll.js";

const BASIN = "dashboard-load";

// Commands that make load, to be copied.
export function noAppends(asksForTokens) {
  const origin = window.location.origin;
  const key = asksForTokens ? ' -H "authorization: Bearer $S2_ACCESS_TOKEN"' : "";
  const json = "-H 'content-type: application/json'";
  const loop = [
    `curl -sS -X PUT${key} ${origin}/v1/basins/${BASIN}`,
    `curl -sS -X PUT${key} -H 's2-basin: ${BASIN}' ${origin}/v1/streams/load`,
    "while sleep 0.05; do",
    `  curl -sS -o /dev/null${key} -H 's2-basin: ${BASIN}' ${json} \\`,
    `    -d '{"records":[{"body":"hello"}]}' ${origin}/v1/streams/load/records`,
    "done",
  ].join("\n");
  const token = asksForTokens ? ' --token "$S2_ACCESS_TOKEN"' : "";
  const loadgen = `loadgen append --url ${origin}${token} --basin ${BASIN} --rate 2k --duration 60s`;
  return h("section", { class: "panel", "aria-labelledby": "no-appends" },
    h("h2", { id: "no-appends" }, "No appends yet"),
    h("p", {}, "This page draws what the server does while records are appended. To see something now, run one of these:"),
    command("A few appends with curl", loop),
    // The load generator speaks no TLS.
    window.location.protocol === "http:" && command("More of them with the load generator", loadgen));
}

function command(name, text) {
  return h("div", {},
    h("h3", {}, name),
    h("div", { class: "shell" },
      h("pre", { tabindex: "0", "aria-label": name }, h("code", {}, text)),
      h("button", { class: "button", type: "button", "aria-label": `Copy: ${name}`, on: { click: () => copy(text, "Command") } }, "Copy")));
}

// Why there are no numbers, and what can be done about it. `again` asks anew.
export function refused(error, again) {
  const box = (...children) => h("section", { class: "panel", role: "alert", "aria-label": "No numbers" },
    h("h2", {}, error.message), ...children);
  const retry = h("button", { class: "button", type: "button", on: { click: again } }, "Try again");
  if (error.kind === "token") return box(tokenForm(again));
  if (error.kind === "elsewhere") {
    return box(
      h("p", {}, "Metrics have an address of their own (", h("code", {}, "--metrics-listen"),
        "), or this server is older than this page. A browser page may only ask the address that it came from, ",
        "so nothing can be drawn here. What is asked there instead:"),
      h("ul", {},
        h("li", {}, h("code", {}, "/metrics"), " for Prometheus, with the Grafana dashboard in docs/deploy"),
        h("li", {}, h("code", {}, "/debug/latency"), " for a table of the latencies")),
      retry);
  }
  return box(retry);
}

function tokenForm(again) {
  const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false" });
  const use = (event) => {
    event.preventDefault();
    const token = input.value.trim();
    if (!/^[\x21-\x7e]*$/.test(token)) {
      input.setAttribute("aria-invalid", "true");
      return;
    }
    setToken(token);
    again();
  };
  return h("form", { class: "row", on: { submit: use } },
    field("Metrics token", input, "What --metrics-token-file holds; it is not an access token. It stays in this tab."),
    h("button", { class: "button primary", type: "submit" }, "Use this token"));
}
