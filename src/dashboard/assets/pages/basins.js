// Shows basins.

import { h, put } from "../dom.js";

export async function show(root, context) {
  put(root, h("div", { class: "page-head" }, h("h1", {}, "basins")));
}
