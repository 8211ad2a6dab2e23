// The line at the top: where one is, what server this is, theme and token.

import { h, put, svg } from "../dom.js";
import { current, toggle } from "./theme.js";

// The cross-section of a river: banks, water, and the thalweg, its deepest point.
export function mark() {
  return svg("svg", { class: "mark", viewBox: "0 0 72 24", "aria-hidden": "true" },
    svg("path", { class: "mark-water", d: "M13 8h47c-7 1-11 5-14 9s-5 5-8 5-5-3-8-7-8-6-17-7z" }),
    svg("path", { class: "mark-bed", d: "M1 4c10 0 17 3 23 8s8 10 14 10 7-4 11-9 11-9 22-9" }),
    svg("circle", { class: "mark-point", cx: "38", cy: "21.6", r: "2.2" }));
}

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
    put(theme, other === "dark" ? "Dark" : "Light");
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
