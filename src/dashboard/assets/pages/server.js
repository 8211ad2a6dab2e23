// The server: what it says of itself.

import { h, put } from "../dom.js";
import { factsPanel, fetchFacts } from "./facts.js";

export async function show(root, context) {
  document.title = "Server · Thalweg";
  const config = await fetchFacts(context.api, context.signal);
  put(root, h("div", { class: "page-head" }, h("h1", {}, "Server")), factsPanel(config));
}
