// The frame around the pages: header, routes below /dashboard, theme, access token.

import { ApiError, createApi } from "./api.js";
import { h, put } from "./dom.js";
import { header } from "./components/header.js";
import { askForToken } from "./components/token.js";
import { alertBox, loading } from "./components/states.js";
import * as basins from "./pages/basins.js";
import * as streams from "./pages/streams.js";
import { fetchFacts } from "./pages/facts.js";
import * as stream from "./pages/stream.js";
import * as server from "./pages/server.js";

const BASE = "/dashboard";
const api = createApi();
const main = document.getElementById("main");
let leave = new AbortController();

// The page of an address, with what it says. An unknown address leads to the start.
function find(location) {
  const rest = location.pathname.slice(BASE.length);
  const parts = rest.split("/").filter((part) => part !== "").map(decode);
  const query = new URLSearchParams(location.search);
  if (parts.includes(null)) return { page: basins, name: "basins", params: { query } };
  if (parts.length === 1 && parts[0] === "server") {
    return { page: server, name: "server", params: { query } };
  }
  if (parts[0] === "basins" && parts.length === 2) {
    return { page: streams, name: "basins", params: { basin: parts[1], query } };
  }
  if (parts[0] === "basins" && parts.length === 3 && parts[2] === "studio") {
    const params = { basin: parts[1], stream: query.get("stream") ?? "", query };
    return { page: stream, name: "basins", params };
  }
  return { page: basins, name: "basins", params: { query } };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

// Shows the page of the address; `isMoved`: the reader came here from another page of ours, and
// takes the focus along.
async function show({ isMoved = false } = {}) {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const { page, name, params } = find(window.location);
  top.mark(name);
  const root = put(h("div", { class: "page" }), loading("Loading the page"));
  put(main, root);
  if (isMoved) {
    document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
    main.focus({ preventScroll: true });
  }
  const context = { api, navigate, signal, params, reload: () => show() };
  try {
    await page.show(root, context);
  } catch (error) {
    if (signal.aborted) return;
    put(root, h("h1", {}, "This page cannot be shown"), alertBox(error, () => show()));
    if (!(error instanceof ApiError)) throw error;
  }
}

// Goes to an address below the dashboard, like `/basins/x`; `replace` without a step back to here.
function navigate(path, { replace = false } = {}) {
  const target = BASE + path;
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  window.scrollTo(0, 0);
  return show({ isMoved: true });
}

document.addEventListener("click", (event) => {
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey
    && !event.altKey && !event.defaultPrevented;
  const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!plain || !link || link.target || link.hasAttribute("download")) return;
  const there = new URL(link.href);
  const isOurs = there.origin === window.location.origin
    && (there.pathname === BASE || there.pathname.startsWith(`${BASE}/`));
  if (!isOurs || there.hash) return;
  event.preventDefault();
  navigate(there.pathname.slice(BASE.length) + there.search);
});
window.addEventListener("popstate", () => show({ isMoved: true }));

// Shows what the header says of the server; without a token that it takes, it says nothing.
async function tellFacts() {
  try {
    top.facts(await fetchFacts(api));
  } catch {
    // The page says what is wrong; the header is only more to look at.
  }
}

function again() {
  tellFacts();
  return show();
}

const top = header(document.getElementById("top"), api, () => askForToken(api, again));
api.onUnauthenticated(() => askForToken(api, again));
again();
