// The streams of a basin.

import { url } from "../api.js";
import { h, put } from "../dom.js";
import { confirmDeletion } from "../components/confirm.js";
import { configureBasin, configureStream, createStream } from "../components/forms.js";
import { time } from "../components/format.js";
import { listing } from "../components/listing.js";
import { describe, empty, toast } from "../components/states.js";
import { utf8, visible } from "../components/text.js";
import { basinPath } from "./basins.js";

export function streamPath(basin, stream) {
  return `${basinPath(basin)}/studio?${new URLSearchParams({ stream })}`;
}

export async function show(root, { api, navigate, signal, params }) {
  const { basin, query } = params;
  document.title = `${visible(basin)} · Thalweg`;
  // What is wrong with the basin is said instead of a table, by whoever finds out first.
  try {
    await api.get(url(["v1", "basins", basin]), { signal });
  } catch (error) {
    // A token may permit the streams without the basin's configuration.
    if (error.status !== 403) return gone(root, basin, error);
  }
  const button = (text, click, kind = "") =>
    h("button", { class: `button ${kind}`, type: "button", on: { click } }, text);
  const list = listing({
    what: ["stream", "streams"],
    signal,
    prefix: query.get("prefix") ?? "",
    onPrefix: (prefix) =>
      history.replaceState(null, "", url(["dashboard", "basins", basin], { prefix })),
    hint: h("p", {}, "A stream is a log of records. Create one here, or with any client of the API."),
    fetchPage: async ({ signal, ...query }) => {
      if (utf8(query.prefix).length > 512) return { items: [], has_more: false };
      const page = await api.get(url(["v1", "streams"], query), { basin, signal });
      return { items: page.streams, has_more: page.has_more };
    },
    columns: [
      {
        title: "Name",
        class: "name",
        cell: ({ name, deleted_at }) => (deleted_at ? h("bdi", {}, visible(name))
          : h("a", { href: streamPath(basin, name) }, h("bdi", {}, visible(name)))),
      },
      { title: "Created", class: "nowrap", cell: ({ created_at }) => time(created_at) },
      {
        title: "State",
        cell: ({ deleted_at, cipher }) => [
          h("span", { class: deleted_at ? "badge warn" : "badge" }, deleted_at ? "deleting" : "active"),
          cipher && h("span", { class: "badge" }, cipher),
        ],
      },
    ],
    actions: ({ name, deleted_at }) => !deleted_at && h("button", {
      class: "button small", type: "button", "aria-label": `Configure ${visible(name)}`,
      on: { click: () => guarded(() => configureStream(api, basin, name, signal)) },
    }, "Configure"),
    remove: (name) => api.delete(url(["v1", "streams", name]), { basin }),
  });

  // Runs what opens a dialog; `then` gets what it gave.
  async function guarded(open, then = () => {}) {
    try {
      const result = await open();
      if (result && !signal.aborted) then(result);
    } catch (error) {
      if (!signal.aborted) toast(describe(error));
    }
  }

  const go = (path) => navigate(path.slice("/dashboard".length));
  const add = () => guarded(() => createStream(api, basin, signal),
    (stream) => go(streamPath(basin, stream)));
  const remove = () => guarded(() => confirmDeletion({
    names: [basin],
    what: ["basin", "basins"],
    warning: "All of its streams and their records are deleted with it. This cannot be undone.",
    remove: (name) => api.delete(url(["v1", "basins", name])),
  }), () => go("/dashboard/"));

  put(root,
    h("nav", { class: "crumbs", "aria-label": "Where this is" },
      h("a", { href: "/dashboard/" }, "Basins"), "/", h("bdi", {}, visible(basin))),
    h("div", { class: "page-head" },
      h("h1", {}, h("bdi", {}, visible(basin))),
      h("div", { class: "actions" },
        button("Create stream", add, "primary"),
        button("Configure basin", () => guarded(() => configureBasin(api, basin, signal))),
        button("Delete basin", remove, "delete"))),
    list.node);
}

function gone(root, basin, error) {
  if (![400, 404, 409].includes(error.status)) throw error;
  put(root,
    h("h1", {}, h("bdi", {}, visible(basin))),
    empty(error.status === 409 ? "This basin is being deleted." : "There is no such basin.",
      h("p", {}, h("a", { href: "/dashboard/" }, "Back to the basins"))));
}
