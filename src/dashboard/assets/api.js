// The server's API as the pages use it: on the page's own origin, with the token that was entered.
//
// Sequence numbers have 64 bits and JavaScript's integers 53: what is above becomes BigInt (see
// `parse`).

const TOKEN = "thalweg-token";

// What the server refused, or that it could not be reached (`status` 0).
export class ApiError extends Error {
  constructor(status, code, message, body = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

// Reads JSON; integers that a number cannot hold become BigInt, where browsers say what
// was written.
export function parse(text) {
  return JSON.parse(text, (_key, value, context) => {
    const isLong = typeof value === "number" && Number.isInteger(value)
      && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "");
    return isLong ? BigInt(context.source) : value;
  });
}

// Writes JSON; the reverse of `parse`.
export function stringify(value) {
  return JSON.stringify(value, (_key, part) => {
    if (typeof part !== "bigint") return part;
    return typeof JSON.rawJSON === "function" ? JSON.rawJSON(String(part)) : Number(part);
  });
}

function failure(response, text) {
  let body = null;
  try {
    body = parse(text);
  } catch {
    // Not of the API: a proxy's page, most likely. Its status has to do.
  }
  const code = body?.code ?? "";
  return new ApiError(response.status, code, body?.message ?? explain(response.status, body), body);
}

function explain(status, body) {
  if (body?.seq_num_mismatch !== undefined) {
    return `the next sequence number is ${body.seq_num_mismatch}, not the one expected`;
  }
  if (body?.fencing_token_mismatch !== undefined) {
    return `the stream's fencing token is "${body.fencing_token_mismatch}"`;
  }
  if (body?.tail !== undefined) return `the tail is at ${body.tail.seq_num}`;
  return `the server answered with status ${status}`;
}

export function createApi() {
  const listeners = new Set();

  async function send(method, path, options = {}) {
    const { basin, body, headers = {}, signal, accept } = options;
    const sent = new Headers(headers);
    const token = sessionStorage.getItem(TOKEN);
    if (token) sent.set("authorization", `Bearer ${token}`);
    if (basin) {
      // Of an address that somebody wrote; as a header it could not even be sent.
      if (/[^\x21-\x7e]/.test(basin)) throw new ApiError(400, "bad_header", "no basin has this name");
      sent.set("s2-basin", basin);
    }
    if (accept) sent.set("accept", accept);
    const isJson = body !== undefined && !(body instanceof Uint8Array);
    if (isJson) sent.set("content-type", "application/json");
    const init = {
      method, headers: sent, signal, cache: "no-store", credentials: "same-origin", redirect: "error",
      referrerPolicy: "no-referrer", body: isJson ? stringify(body) : body,
    };
    let response;
    try {
      response = await fetch(path, init);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "unreachable", "the server cannot be reached");
    }
    if (response.ok) return response;
    const error = failure(response, await response.text());
    if (error.status === 401) listeners.forEach((listener) => listener(error));
    throw error;
  }

  // The answer's JSON; null when it has no body.
  async function json(method, path, options) {
    const response = await send(method, path, options);
    let text;
    try {
      text = await response.text();
    } catch (error) {
      if (options?.signal?.aborted) throw error;
      throw new ApiError(0, "unreachable", "the connection ended within the answer");
    }
    return text === "" ? null : parse(text);
  }

  return {
    send,
    json,
    get: (path, options) => json("GET", path, options),
    post: (path, body, options) => json("POST", path, { ...options, body }),
    put: (path, body, options) => json("PUT", path, { ...options, body }),
    patch: (path, body, options) => json("PATCH", path, { ...options, body }),
    delete: (path, options) => json("DELETE", path, options),
    hasToken: () => Boolean(sessionStorage.getItem(TOKEN)),
    setToken: (token) => {
      if (token) sessionStorage.setItem(TOKEN, token);
      else sessionStorage.removeItem(TOKEN);
    },
    // Calls `listener` with each refusal for want of a valid token.
    onUnauthenticated: (listener) => listeners.add(listener),
  };
}

// Path and query, with everything in them encoded.
export function url(segments, query = {}) {
  const path = segments.map((segment) => encodeURIComponent(segment)).join("/");
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return `/${path}${text ? `?${text}` : ""}`;
}
