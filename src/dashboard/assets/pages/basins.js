// The start: the basins of the account.

import { url } from "../api.js";
import { h, put } from "../dom.js";
import { configureBasin, createBasin } from "../components/forms.js";
import { listing } from "../components/listing.js";
import { describe, toast } from "../components/states.js";

export function basinPath(basin) {
  return `/dashboard/basins/${encodeURIComponent(basin)}`;
}

export async function show(root, { api, navigate, signal, params }) {
  document.title = "Basins · Thalweg";
  const create = h("button", { class: "button primary", type: "button", on: { click: add } },
    "Create basin");
  const list = listing({
    what: ["basin", "basins"],
    signal,
    prefix: params.query.get("prefix") ?? "",
    onPrefix: (prefix) => history.replaceState(null, "", url(["dashboard", ""], { prefix })),
    hint: h("p", {}, "A basin holds streams. Create one here, or with any client of the API."),
    fetchPage: async ({ signal, ...query }) => {
      // No name begins with anything else: the server would call it a bad query.
      if (!/^([a-z0-9][a-z0-9-]{0,47})?$/.test(query.prefix)) return { items: [], has_more: false };
      const page = await api.get(url(["v1", "basins"], query), { signal });
      return { items: page.basins, has_more: page.has_more };
    },
    columns: [
      {
        title: "Name",
        class: "name",
        cell: ({ name, deleted_at }) => (deleted_at ? h("bdi", {}, name)
          : h("a", { href: basinPath(name) }, h("bdi", {}, name))),
      },
      {
        title: "State",
        cell: ({ deleted_at }) => h("span", { class: deleted_at ? "badge warn" : "badge" },
          deleted_at ? "deleting" : "active"),
      },
    ],
    actions: ({ name, deleted_at }) => !deleted_at && h("button", {
      class: "button small", type: "button", "aria-label": `Configure ${name}`,
      on: { click: () => configure(name) },
    }, "Configure"),
    remove: (name) => api.delete(url(["v1", "basins", name])),
  });

  async function add() {
    const basin = await createBasin(api);
    if (basin && !signal.aborted) navigate(basinPath(basin).slice("/dashboard".length));
  }

  async function configure(basin) {
    try {
      if (await configureBasin(api, basin, signal)) list.reload();
    } catch (error) {
      if (!signal.aborted) toast(describe(error));
    }
  }

  put(root,
    h("div", { class: "page-head" }, h("h1", {}, "Basins"), h("div", { class: "actions" }, create)),
    list.node);
}
