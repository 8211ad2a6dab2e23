// The line at the top: where one is, what server this is, theme and token.

import { h, put } from "../dom.js";
import { mark } from "./states.js";
import { current, toggle } from "./theme.js";

export function header(place, api, askForToken) {
  const link = (name, href, text) => h("a", { href, "data-name": name }, text);
  const links = [link("basins", "/dashboard/", "Basins"), link("server", "/dashboard/server", "Server")];
  const theme = h("button", { class: "button quiet", type: "button", on: { click: flip } });
  const token = h("button", { class: "button quiet", type: "button", on: { click: askForToken } },
    "Access token");
  const store = h("span", { class: "badge", hidden: true });
  put(place,
    h("a", { class: "brand", href: "/dashboard/", "aria-label": "Thalweg, start page" },
      mark(), h("span", { class: "brand-name" }, "Thalweg")),
    h("nav", { class: "nav", "aria-label": "Pages" }, links),
    h("div", { class: "top-end" }, store, token, theme));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();

  function flip() {
    toggle();
    name();
  }

  function name() {
    const other = current() === "dark" ? "light" : "dark";
    put(theme, other === "dark" ? "Dark theme" : "Light theme");
    theme.setAttribute("aria-label", `Change to the ${other} theme`);
  }

  return {
    mark(shown) {
      for (const link of links) {
        if (link.dataset.name === shown) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
    },
    // Says what is known of the server.
    facts(config) {
      put(store, config.store.kind);
      store.hidden = false;
      const isLost = config.store.kind === "memory";
      store.className = isLost ? "badge warn" : "badge";
      store.title = isLost ? "Kept in memory: everything is lost when the server ends" : "Kept on disk";
      token.hidden = !config.access_tokens && !api.hasToken();
    },
  };
}
