// Small charts in SVG: a frame with a table for who does not see it, scales, and five kinds.
//
// A chart is drawn anew from plain numbers; nothing is kept but the frame. Colours are classes
// (charts.css), so that light and dark are the sheet's affair.

import { freshId, h, put, svg } from "./dom.js";

const LEFT = 54;
const RIGHT = 12;
const TOP = 18;
const BOTTOM = 22;

// A frame. `paint(width)` gives what to show: `{ label, height, shapes, head, rows, note }`, where
// `label` says in a sentence what is to be seen, and `head` and `rows` say it as a table.
export function chart(title, hint) {
  const id = freshId("chart");
  const plot = h("div", { class: "plot" });
  const note = h("p", { class: "hint" });
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${title}` });
  const details = h("details", { class: "chart-table", on: { toggle: () => draw() } },
    h("summary", {}, "Table", h("span", { class: "sr" }, `: ${title}`)), table);
  const node = h("figure", { class: "chart", "aria-labelledby": id },
    h("figcaption", {}, h("span", { class: "chart-title", id }, title), hint && h("span", { class: "hint" }, ` ${hint}`)),
    plot, note, details);
  let paint = null;
  let width = 0;

  function draw() {
    if (!paint || width === 0) return;
    const { label, height, shapes, head, rows, note: said } = paint(width);
    put(plot, svg("svg", {
      width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label,
    }, shapes));
    put(note, said ?? "");
    note.hidden = !said;
    if (details.open) put(table, tableOf(head, rows));
  }

  const watcher = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    draw();
  });
  watcher.observe(plot);
  return {
    node,
    update(next) {
      paint = next;
      draw();
    },
    stop: () => watcher.disconnect(),
  };
}

function tableOf(head, rows) {
  const cell = (value, index) => (index === 0
    ? h("th", { scope: "row" }, value) : h("td", { class: "number" }, value));
  return h("table", {},
    h("thead", {}, h("tr", {}, head.map((name, index) =>
      h("th", { scope: "col", class: index > 0 && "number" }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell)))));
}

// Maps values to places: `log` for microseconds, whose ticks are powers of ten.
export function linear(from, to, low, high) {
  const span = to - from || 1;
  return (value) => low + ((value - from) / span) * (high - low);
}

export function log(from, to, low, high) {
  const place = linear(Math.log10(from), Math.log10(to), low, high);
  return (value) => place(Math.log10(Math.min(to, Math.max(from, value))));
}

export function powersOfTen(from, to) {
  const ticks = [];
  for (let tick = 10 ** Math.ceil(Math.log10(from) - 1e-9); tick <= to * 1.0001; tick *= 10) ticks.push(tick);
  return ticks;
}

// Three or four round values from 0 to beyond `most`; of bytes, which `base` 1024 says, those that
// are round in KiB, MiB and so on.
export function roundTicks(most, base = 10) {
  if (!(most > 0)) return [0, 1];
  const raw = most / 3;
  const unit = base === 1024 ? 1024 ** Math.floor(Math.log2(Math.max(1, raw)) / 10) : 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1024].map((factor) => factor * unit).find((one) => one >= raw);
  const ticks = [0];
  while (ticks[ticks.length - 1] < most) ticks.push(ticks.length * step);
  return ticks;
}

function text(x, y, words, attributes = {}) {
  return svg("text", { x, y, class: "tick", ...attributes }, words);
}

function rect(kind, x, y, width, height, said, more = {}) {
  return svg("rect", { class: kind, x, y, width: Math.max(0, width), height: Math.max(0, height), ...more },
    said && svg("title", {}, said));
}

function line(kind, x1, y1, x2, y2) {
  return svg("line", { class: kind, x1, y1, x2, y2 });
}

// Small squares with names, in HTML, so that they wrap.
export function legend(entries) {
  return h("ul", { class: "legend" }, entries.map(([kind, name]) => h("li", {},
    svg("svg", { width: 12, height: 12, "aria-hidden": "true" }, rect(kind, 0, 0, 12, 12)), name)));
}

// Bars of parts on a common scale. `rows`: `{ name, parts: [{ kind, name, value }], mark, end }`.
export function stackedBars(width, rows, format, base = 10) {
  const bar = 26;
  const gap = 26;
  const longest = Math.max(1, ...rows.map((row) =>
    Math.max(row.mark ?? 0, row.parts.reduce((sum, part) => sum + part.value, 0))));
  const ticks = roundTicks(longest, base);
  const x = linear(0, ticks[ticks.length - 1], 4, width - RIGHT);
  const height = rows.length * (bar + gap) + BOTTOM;
  const shapes = ticks.map((tick, index) => [
    line("grid", x(tick), 0, x(tick), height - BOTTOM),
    text(x(tick), height - 6, format(tick), { "text-anchor": index === 0 ? "start" : index === ticks.length - 1 ? "end" : "middle" }),
  ]);
  for (const [index, row] of rows.entries()) {
    const top = index * (bar + gap) + gap - 6;
    shapes.push(text(4, top - 5, row.name, { class: "tick strong" }),
      text(width - RIGHT, top - 5, row.end, { "text-anchor": "end", class: "tick strong" }));
    let from = 0;
    for (const part of row.parts) {
      const wide = x(from + part.value) - x(from);
      shapes.push(rect(part.kind, x(from), top, wide, bar, `${part.name}: ${format(part.value)}`));
      const words = `${part.name} ${format(part.value)}`;
      const fits = [words, format(part.value)].find((one) => one.length * 6.6 + 8 < wide);
      if (fits) shapes.push(text(x(from) + 5, top + bar / 2 + 4, fits, { class: `on ${part.kind}-on` }));
      from += part.value;
    }
    if (row.mark !== undefined && row.mark !== null) shapes.push(line("mark-line", x(row.mark), top - 4, x(row.mark), top + bar + 4));
  }
  return { height, shapes };
}

// How often a value came: `buckets` as `[least, largest, count]` over a logarithmic axis; `marks`
// as `[value, name, kind]`.
export function histogram(width, height, { buckets, marks, from, to, kind, format }) {
  const x = log(from, to, 6, width - RIGHT);
  const most = Math.max(1, ...buckets.map(([, , count]) => count));
  const rows = marks.length;
  const top = 6 + rows * 13;
  const y = linear(0, most, height - BOTTOM, top);
  const decades = Math.max(1, Math.ceil((46 * Math.log10(to / from)) / (width - RIGHT - 6)));
  const isNamed = (tick) => Math.round(Math.log10(tick / from)) % decades === 0;
  const shapes = powersOfTen(from, to).filter(isNamed).map((tick) => [
    line("grid", x(tick), top, x(tick), height - BOTTOM),
    text(Math.min(x(tick), width - RIGHT), height - 6, format(tick), { "text-anchor": x(tick) < 30 ? "start" : x(tick) > width - 40 ? "end" : "middle" }),
  ]);
  shapes.push(line("axis", 6, height - BOTTOM, width - RIGHT, height - BOTTOM));
  for (const [least, largest, count] of buckets) {
    const left = x(least);
    const said = `${format(least)} to ${format(largest)}: ${count}`;
    shapes.push(rect(kind, left, y(count), Math.max(1, x(largest + 1) - left - 0.5), y(0) - y(count), said));
  }
  marks.forEach(([value, name, of], index) => {
    const words = 12 + index * 13;
    const isRight = x(value) > width * 0.6;
    shapes.push(line(`mark-line ${of}`, x(value), words - 8, x(value), height - BOTTOM),
      text(x(value) + (isRight ? -4 : 4), words, `${name} ${format(value)}`, { "text-anchor": isRight ? "end" : "start", class: `tick ${of}` }));
  });
  return { height, shapes };
}

// Lines over time. `series`: `{ kind, name, points: [[seconds ago, value or null]] }`; null is a gap.
export function lines(width, height, { series, span, format, base = 10 }) {
  const highest = Math.max(0, ...series.flatMap((one) => one.points.map(([, value]) => value ?? 0)));
  const ticks = roundTicks(highest, base);
  const x = linear(-span, 0, LEFT, width - RIGHT);
  const y = linear(0, ticks[ticks.length - 1], height - BOTTOM, TOP);
  const shapes = ticks.map((tick) => [
    line("grid", LEFT, y(tick), width - RIGHT, y(tick)),
    text(LEFT - 6, y(tick) + 4, format(tick), { "text-anchor": "end" }),
  ]);
  shapes.push(timeTicks(x, span, width, height));
  for (const one of series) {
    shapes.push(svg("path", { class: `line ${one.kind}`, d: pathOf(one.points, (ago) => x(-ago), y) }));
  }
  return { height, shapes };
}

function pathOf(points, x, y) {
  let isDrawing = false;
  return points.map(([ago, value]) => {
    if (value === null) {
      isDrawing = false;
      return "";
    }
    const step = `${isDrawing ? "L" : "M"}${x(ago).toFixed(1)} ${y(value).toFixed(1)}${isDrawing ? "" : "h0.01"}`;
    isDrawing = true;
    return step;
  }).join("");
}

function timeTicks(x, span, width, height) {
  const step = span > 120 ? 60 : span > 30 ? 15 : 5;
  const ticks = [];
  for (let ago = 0; ago <= span; ago += step) ticks.push(ago);
  return ticks.map((ago) => text(x(-ago), height - 6, ago === 0 ? "now" : ago % 60 === 0 ? `−${ago / 60} min` : `−${ago} s`,
    { "text-anchor": ago === 0 ? "end" : "middle" }));
}

// How often values came over time: columns `[seconds ago, seconds wide, buckets]`, with lines on top.
export function heat(width, height, { columns, series, span, from, to, target, format }) {
  const x = linear(-span, 0, LEFT, width - RIGHT);
  const y = log(from, to, height - BOTTOM, TOP);
  const shapes = powersOfTen(from, to).map((tick) => [
    line("grid", LEFT, y(tick), width - RIGHT, y(tick)),
    text(LEFT - 6, y(tick) + 4, format(tick), { "text-anchor": "end" }),
  ]);
  for (const [ago, wide, buckets] of columns) {
    const all = buckets.reduce((sum, [, , count]) => sum + count, 0);
    const left = Math.max(LEFT, x(-ago - wide));
    for (const [least, largest, count] of buckets) {
      const top = y(largest + 1);
      const depth = 0.12 + 0.68 * Math.sqrt(count / all);
      shapes.push(rect("heat", left, top, Math.max(1, x(-ago) - left), Math.max(1, y(Math.max(1, least)) - top), null,
        { "fill-opacity": depth.toFixed(2) }));
    }
  }
  shapes.push(timeTicks(x, span, width, height));
  for (const one of series) {
    shapes.push(svg("path", { class: `line ${one.kind}`, d: pathOf(one.points, (ago) => x(-ago), y) }));
  }
  if (target >= from && target <= to) {
    shapes.push(line("mark-line target", LEFT, y(target), width - RIGHT, y(target)),
      text(LEFT + 4, y(target) - 4, `target ${format(target)}`, { class: "tick target" }));
  }
  return { height, shapes };
}
