// A listing: filter by prefix, pages of 25, selection, deletion. Nothing is kept but one page.

import { h, put } from "../dom.js";
import { confirmDeletion } from "./confirm.js";
import { alertBox, empty, loading } from "./states.js";
import { visible } from "./text.js";

export const PAGE_ITEMS = 25;
const PAUSE_MS = 250;

// Builds a listing and loads its first page.
//
// * `what`: singular and plural of what is listed.
// * `fetchPage({ prefix, start_after, limit, signal })` gives `{ items, has_more }`.
// * `columns`: `{ title, class, cell(item) }`.
// * `actions(item)`: nodes at the end of a row.
// * `remove(name)`: deletes one.
// * `prefix`: what the filter holds at first; `onPrefix(prefix)` is told of changes.
// * `hint`: shown when there is none at all.
export function listing(options) {
  const { what: [one, many], fetchPage, columns, actions, remove, signal, hint } = options;
  const filter = h("input", {
    type: "search", value: options.prefix ?? "", placeholder: "Prefix", "aria-label": `Filter ${many} by prefix`,
    autocomplete: "off", spellcheck: "false",
  });
  const place = h("div", { class: "panel flush" });
  const status = h("p", { class: "hint", role: "status" });
  const deleteButton = h("button", {
    class: "button", type: "button", disabled: true, on: { click: deleteSelected },
  }, "Delete selected");
  const button = (text, click) => h("button", { class: "button", type: "button", on: { click } }, text);
  const previous = button("Previous", () => load(starts.slice(0, -1)));
  const next = button("Next", () => load([...starts, last]));
  const turning = h("div", { class: "actions", hidden: true }, previous, next);
  const node = h("div", { class: "listing" },
    h("div", { class: "toolbar" }, filter, button("Refresh", () => load(starts)), deleteButton),
    place,
    h("div", { class: "pager" }, status, turning));

  let starts = [""]; // `start_after` of this page and of those before it
  let last = "";
  let selected = new Set();
  let asked = new AbortController();
  let pause = 0;

  filter.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      options.onPrefix?.(filter.value);
      load([""]);
    }, PAUSE_MS);
  });
  signal.addEventListener("abort", () => {
    clearTimeout(pause);
    asked.abort();
  });

  async function load(target) {
    asked.abort();
    asked = new AbortController();
    const { signal: mine } = asked;
    const isFirst = place.childElementCount === 0;
    if (isFirst) put(place, loading(`Loading ${many}`));
    place.setAttribute("aria-busy", "true");
    try {
      const start_after = target.at(-1);
      const page = await fetchPage({
        prefix: filter.value, start_after, limit: PAGE_ITEMS, signal: mine,
      });
      // The last one of a page was deleted: the page before it is the last one now.
      if (page.items.length === 0 && target.length > 1) return load(target.slice(0, -1));
      starts = target;
      last = page.items.at(-1)?.name ?? "";
      draw(page);
    } catch (error) {
      if (mine.aborted) return undefined;
      put(place, alertBox(error, () => load(target)));
      put(status);
      previous.disabled = next.disabled = true;
    } finally {
      if (!mine.aborted) place.removeAttribute("aria-busy");
    }
    return undefined;
  }

  function draw({ items, has_more }) {
    selected = new Set();
    const boxes = [];
    const all = h("input", { type: "checkbox", "aria-label": `Select all ${many} of this page` });
    all.addEventListener("change", () => {
      const isSet = all.checked; // Each tick counts anew, and sets this box.
      boxes.forEach((box) => box.tick(isSet));
    });
    const changed = () => {
      deleteButton.disabled = selected.size === 0;
      put(deleteButton, selected.size === 0 ? "Delete selected" : `Delete selected (${selected.size})`);
      all.checked = selected.size > 0 && selected.size === items.length;
      all.indeterminate = selected.size > 0 && !all.checked;
    };
    const rows = items.map((item) => {
      const box = h("input", { type: "checkbox", "aria-label": `Select ${visible(item.name)}` });
      const mark = () => {
        if (box.checked) selected.add(item.name);
        else selected.delete(item.name);
        changed();
      };
      box.addEventListener("change", mark);
      boxes.push({ tick: (isSet) => { box.checked = isSet; mark(); } });
      return h("tr", {},
        h("td", { class: "tick" }, box),
        columns.map((column) => h("td", { class: column.class }, column.cell(item))),
        h("td", { class: "row-actions" }, h("div", { class: "actions" }, actions(item))));
    });
    changed();
    if (items.length === 0) put(place, none());
    else {
      const heads = columns.map((column) => h("th", { scope: "col", class: column.class }, column.title));
      put(place, h("div", { class: "scroll" }, h("table", { class: "items" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "tick" }, all), heads,
          h("th", { scope: "col" }, h("span", { class: "sr" }, "Actions")))),
        h("tbody", {}, rows))));
    }
    const from = (starts.length - 1) * PAGE_ITEMS;
    put(status, items.length === 0 ? "" : `${many} ${from + 1} to ${from + items.length}${has_more ? ", and more" : ""}`);
    previous.disabled = starts.length === 1;
    next.disabled = !has_more;
    turning.hidden = previous.disabled && next.disabled;
  }

  function none() {
    if (filter.value === "") return empty(`There are no ${many} yet.`, hint);
    return empty(`No ${one} starts with “${visible(filter.value)}”.`);
  }

  async function deleteSelected() {
    const done = await confirmDeletion({ names: [...selected], what: [one, many], remove });
    if (done && !signal.aborted) load(starts);
  }

  load(starts);
  return { node, reload: () => load(starts) };
}
