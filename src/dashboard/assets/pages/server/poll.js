// Asks for /debug/stats. It has a token of its own, which has nothing to do with access tokens: who
// may scrape metrics may see it.

const TOKEN = "thalweg-metrics-token";
const WAIT_MS = 8000;

// Why there are no numbers: `kind` is unreachable, token, elsewhere or failed.
export class Refused extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

export async function fetchStats(signal) {
  const headers = new Headers();
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.set("authorization", `Bearer ${token}`);
  const limit = AbortSignal.timeout(WAIT_MS);
  const init = {
    headers, cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    signal: signal ? anyOf(signal, limit) : limit,
  };
  let response;
  try {
    response = await fetch("/debug/stats", init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused("unreachable", "The server cannot be reached.");
  }
  if (response.ok) return response.json();
  if (response.status === 401) {
    throw new Refused("token", token ? "The server did not take this token." : "The server asks for its metrics token.");
  }
  if (response.status === 404) {
    throw new Refused("elsewhere", "The numbers are not at this address.");
  }
  throw new Refused("failed", `The server answered with status ${response.status}.`);
}

function anyOf(one, other) {
  if (AbortSignal.any) return AbortSignal.any([one, other]);
  const both = new AbortController();
  for (const signal of [one, other]) signal.addEventListener("abort", () => both.abort(), { once: true });
  return both.signal;
}
