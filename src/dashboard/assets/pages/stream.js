// A stream: its records, and what can be done to it.

import { url } from "../api.js";
import { h, put } from "../dom.js";
import { appender } from "../components/appender.js";
import { commands } from "../components/commands.js";
import { confirmDeletion } from "../components/confirm.js";
import { copy } from "../components/copy.js";
import { configureStream } from "../components/forms.js";
import { time } from "../components/format.js";
import { askForKey, keyOf } from "../components/key.js";
import { reader } from "../components/reader.js";
import { describe, empty, toast } from "../components/states.js";
import { visible } from "../components/text.js";
import { basinPath } from "./basins.js";

export async function show(root, { api, navigate, signal, params }) {
  const { basin, stream } = params;
  document.title = `${visible(stream)} · Thalweg`;
  if (stream === "") return gone(root, basin, stream, null);
  const tail = h("span", { class: "tail" });
  let tailError = null;
  try {
    onTail((await checkTail()).tail);
  } catch (error) {
    if ([400, 404, 409].includes(error.status)) return gone(root, basin, stream, error);
    if (error.status !== 403) throw error;
    tailError = error;
  }
  const info = await fetchInfo(api, basin, stream, signal);
  const button = (text, click, kind = "") =>
    h("button", { class: `button ${kind}`, type: "button", on: { click } }, text);
  const keyButton = button("Encryption key", changeKey);
  const key = () => keyOf(basin, stream);
  const shared = { api, basin, stream, key, onTail, checkTail, signal, onAck };
  const read = reader(shared);

  function onAck(ack) {
    onTail(ack.tail);
    read.show(ack);
  }

  function checkTail() {
    return api.get(url(["v1", "streams", stream, "records", "tail"]), { basin, signal });
  }

  function onTail({ seq_num, timestamp }) {
    put(tail, "Tail ", h("strong", {}, String(seq_num)),
      BigInt(seq_num) > 0n && `, last record ${time(timestamp)}`);
  }

  async function refresh() {
    await guarded(async () => onTail((await checkTail()).tail));
  }

  async function guarded(run) {
    try {
      return await run();
    } catch (error) {
      if (!signal.aborted) toast(describe(error));
      return null;
    }
  }

  function nameKey() {
    put(keyButton, key() ? "Encryption key: set" : "Encryption key");
  }

  async function changeKey() {
    if (await askForKey(basin, stream)) {
      nameKey();
      read.readTail();
    }
  }

  async function remove() {
    const done = await confirmDeletion({
      names: [stream],
      what: ["stream", "streams"],
      remove: (name) => api.delete(url(["v1", "streams", name]), { basin }),
    });
    if (done && !signal.aborted) navigate(basinPath(basin).slice("/dashboard".length));
  }

  nameKey();
  if (tailError) put(tail, describe(tailError));
  put(root,
    crumbs(basin, stream),
    h("div", { class: "page-head" },
      h("h1", {}, h("bdi", {}, visible(stream))),
      info?.cipher && h("span", { class: "badge" }, info.cipher),
      h("div", { class: "actions" },
        button("Copy address", () => copy(`s2:/` + `/${basin}/${stream}`, "Address")),
        (info === null || info.cipher || key()) && keyButton,
        button("Configure", () => guarded(() => configureStream(api, basin, stream, signal))),
        button("Delete", remove, "delete"))),
    h("div", { class: "tail-line" }, tail,
      h("button", { class: "button small", type: "button", on: { click: refresh } }, "Refresh tail"),
      info && h("span", { class: "hint" }, `created ${time(info.created_at)}`)),
    info?.cipher && !key() && h("p", { class: "notice" },
      "This stream is encrypted: its records need the key that they were written with."),
    h("div", { class: "studio" }, read.node,
      h("div", { class: "side" }, appender(shared).node, commands(shared).node)));
  if (!info?.cipher || key()) read.readTail();
  return undefined;
}

// What the listing says of the stream; null when the listing may not be asked.
async function fetchInfo(api, basin, stream, signal) {
  try {
    const path = url(["v1", "streams"], { prefix: stream, limit: 1 });
    const { streams } = await api.get(path, { basin, signal });
    return streams[0]?.name === stream ? streams[0] : null;
  } catch (error) {
    if (signal.aborted || error.status === 401) throw error;
    return null;
  }
}

function crumbs(basin, stream) {
  return h("nav", { class: "crumbs", "aria-label": "Where this is" },
    h("a", { href: "/dashboard/" }, "Basins"), "/",
    h("a", { href: basinPath(basin) }, h("bdi", {}, visible(basin))), "/",
    h("bdi", {}, visible(stream)));
}

function gone(root, basin, stream, error) {
  const text = error === null ? "The address names no stream."
    : error.status === 409 ? "It is being deleted." : "There is no such stream.";
  put(root,
    h("h1", {}, h("bdi", {}, visible(stream) || "No stream chosen")),
    empty(text,
      error && h("p", {}, describe(error)),
      h("p", {}, h("a", { href: basinPath(basin) }, "Back to the streams of this basin"))));
}
