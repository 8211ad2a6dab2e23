// The server, live: what it does, asked each second, and what it says of itself.

import { h, put } from "../dom.js";
import { choice, field } from "../components/fields.js";
import { describe, loading } from "../components/states.js";
import { factsPanel, fetchFacts } from "./facts.js";
import { histogramPanel, latencyView, overTimePanel, partsPanel } from "./server/acks.js";
import { CLASSES, WINDOW_S, createHistory, grown } from "./server/history.js";
import { fetchStats } from "./server/poll.js";
import { noAppends, refused } from "./server/states.js";
import { executorsPanel, storagePanel, throughputPanel, tilesPanel } from "./server/throughput.js";

const EACH_MS = 1000;
// After a failure it is asked less often, until it answers.
const AFTER_FAILURE_MS = 3000;
const SPANS = [["10", "last 10 s"], ["60", "last minute"], ["300", "last 5 minutes"], ["start", "since the start"]];

export async function show(root, context) {
  document.title = "Server · Thalweg";
  const facts = h("div", {}, loading("Loading facts"));
  const live = livePart(context.signal, tellFacts);
  put(root, live.head, live.body, h("h2", {}, "Facts"), facts);
  live.begin();
  await tellFacts();

  async function tellFacts() {
    try {
      const config = await fetchFacts(context.api, context.signal);
      put(facts, factsPanel(config));
      live.know(config);
    } catch (error) {
      if (context.signal.aborted) return;
      put(facts, h("p", { class: "notice warn" }, `The facts are not to be had: ${describe(error)}`));
    }
  }
}

// `onBack` is told when the server answers again: it may be another one, of another version.
function livePart(signal, onBack) {
  const history = createHistory();
  const state = { which: "all", span: "60", isPaused: false, isUp: true, error: null, asksForTokens: false };
  const panels = [
    tilesPanel(), partsPanel(), ...CLASSES.map(overTimeIn), throughputPanel(),
    ...CLASSES.map(histogramPanel), storagePanel(), executorsPanel()];
  const charts = h("div", { class: "page" }, panels.map((panel) => panel.node));
  const body = h("div", { class: "page" }, loading("Asking the server"));
  const status = h("span", { class: "badge", role: "status" }, "asking");
  const controls = controlsOf(state, draw, pause);
  const head = h("div", { class: "page-head" },
    h("h1", {}, "Server"), status, h("div", { class: "actions controls" }, controls.nodes));
  let timer = null;
  let shown = null;
  let pausedMs = 0;
  let round = 0;

  function show(key, make) {
    if (shown === key) return;
    shown = key;
    put(body, make());
  }

  function pause(isPaused) {
    state.isPaused = isPaused;
    clearTimeout(timer);
    pausedMs = performance.now();
    if (!isPaused) ask();
    say();
  }

  // Whether asking again changes nothing, before somebody did something about it.
  function isRefused() {
    return state.error?.kind === "token" || state.error?.kind === "elsewhere";
  }

  function say() {
    const [text, kind] = isRefused() ? ["no numbers", "badge bad"]
      : state.isPaused ? ["paused", "badge warn"]
        : state.isUp ? ["live", "badge"] : ["not reached: trying again", "badge bad"];
    if (status.textContent !== text) put(status, text);
    status.className = kind;
  }

  // Asks, and again after a while. Of two that are under way the later one goes on.
  async function ask() {
    round += 1;
    const mine = round;
    let wait = EACH_MS;
    try {
      const stats = await fetchStats(signal);
      if (mine !== round) return;
      const isBack = !state.isUp;
      state.isUp = true;
      state.error = null;
      if (isBack) onBack();
      history.add(stats, performance.now());
      controls.know(stats.shards.length);
    } catch (error) {
      if (signal.aborted || mine !== round) return;
      wait = AFTER_FAILURE_MS;
      state.isUp = false;
      state.error = error;
      history.gap(performance.now(), "not reached");
    }
    if (signal.aborted) return;
    say();
    // Who does not look needs no picture; what is asked is kept all the same.
    if (!state.isPaused && !isRefused()) timer = setTimeout(ask, wait);
    if (!document.hidden) draw();
  }

  function draw() {
    const { error } = state;
    const newest = history.newest();
    // Of a server that is away for a moment, what was drawn stays.
    if (error && (isRefused() || history.size() === 0)) {
      show(`refused ${error.message}`, () => refused(error, retry));
      return;
    }
    if (!newest) return;
    // What a server did before it was restarted is still to be seen.
    const appended = newest.shards.some((shard) => CLASSES.some((name) => shard.acks[name].appends > 0));
    if (!appended && !history.steps(WINDOW_S, performance.now()).some(hasAppends)) {
      show(`empty ${state.asksForTokens}`, () => noAppends(state.asksForTokens));
      return;
    }
    show("charts", () => charts);
    const view = viewOf(history, state, state.isPaused ? pausedMs : performance.now());
    panels.forEach((panel) => panel.update(view));
  }

  function retry() {
    clearTimeout(timer);
    shown = null;
    put(body, loading("Asking the server"));
    ask();
  }

  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    panels.forEach((panel) => panel.stop());
  }, { once: true });
  return {
    head,
    body,
    begin: ask,
    know(config) {
      state.asksForTokens = config.access_tokens;
      draw();
    },
  };
}

function hasAppends(step) {
  return step.gap === undefined && CLASSES.some((name) => grown(step, `acks.${name}.appends`, "all") > 0);
}

function overTimeIn(name) {
  const one = overTimePanel(name);
  const node = h("section", { class: "panel" }, one.node);
  const update = (view) => {
    one.update(view);
    node.hidden = one.node.hidden;
  };
  return { node, update, stop: one.stop };
}

// What the panels draw from.
function viewOf(history, state, ms) {
  const isSinceStart = state.span === "start";
  const steps = history.steps(isSinceStart ? WINDOW_S : Number(state.span), ms);
  const allSteps = history.steps(WINDOW_S, ms);
  const newest = history.newest();
  const oldest = allSteps.length > 0 ? (ms - allSteps[0].ms) / 1000 : 0;
  return {
    ms,
    newest,
    which: state.which,
    // As long as there is something to see.
    span: [30, 60, 120].find((span) => oldest <= span - 5) ?? WINDOW_S,
    allSteps,
    latency: latencyView(steps, newest, state.which, isSinceStart),
    inWindow: latencyView(allSteps, newest, state.which, false),
    words: isSinceStart ? "since the start" : `in the ${SPANS.find(([key]) => key === state.span)[1]}`,
  };
}

function controlsOf(state, draw, pause) {
  const span = choice(SPANS, state.span);
  span.addEventListener("change", () => {
    state.span = span.value;
    draw();
  });
  const shard = choice([["all", "all shards"]], "all");
  shard.addEventListener("change", () => {
    state.which = shard.value === "all" ? "all" : Number(shard.value);
    draw();
  });
  const button = h("button", { class: "button", type: "button" }, "Pause");
  button.addEventListener("click", () => {
    const isPaused = !state.isPaused;
    put(button, isPaused ? "Resume" : "Pause");
    pause(isPaused);
  });
  let known = 0;
  return {
    nodes: [field("Shard", shard), field("Latencies of the", span), button],
    // Offers each of so many shards.
    know(count) {
      if (count === known) return;
      known = count;
      const numbers = Array.from({ length: count }, (_, index) => h("option", { value: index }, `shard ${index}`));
      put(shard, h("option", { value: "all" }, "all shards"), numbers);
      if (state.which !== "all" && state.which >= count) state.which = "all";
      shard.value = String(state.which);
    },
  };
}
