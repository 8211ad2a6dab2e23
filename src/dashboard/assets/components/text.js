// Bytes as people read them: text, base64, hexadecimal; and names that mean harm.

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const UTF8 = new TextEncoder();

export function utf8(text) {
  return UTF8.encode(text);
}

// The text that bytes are, or null when they are none.
export function textOf(bytes) {
  try {
    return STRICT.decode(bytes);
  } catch {
    return null;
  }
}

export function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

export function toBase64(bytes) {
  const CHUNK = 8192;
  let binary = "";
  for (let i = 0; i < bytes.length; i += CHUNK) {
    binary += String.fromCharCode(...bytes.subarray(i, i + CHUNK));
  }
  return btoa(binary);
}

export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

// A dump: offset, sixteen bytes, and what of them is visible ASCII.
export function hexDump(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = bytes.subarray(at, at + 16);
    const seen = Array.from(part, (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "."));
    lines.push(`${at.toString(16).padStart(8, "0")}  ${hex(part).padEnd(47)}  ${seen.join("")}`);
  }
  return lines.join("\n");
}

// A text in which nothing is hidden: control and format characters, such as those that turn the
// direction of what follows, are spelled out. `keepLines` leaves line ends and tabs.
export function visible(text, { keepLines = false } = {}) {
  const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
  return text.replace(hidden, (character) => {
    if (keepLines && (character === "\n" || character === "\t" || character === "\r")) {
      return character;
    }
    return `\\u{${character.codePointAt(0).toString(16)}}`;
  });
}

// Eight bytes, the highest first.
export function bigEndian64(value) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

export function fromBigEndian64(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0);
}

// An unsigned integer of 64 bits from a field, as a number where one can hold it; undefined when
// the field is empty. Throws in words for the reader.
export function unsigned(text, name) {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  if (!/^\d{1,20}$/.test(trimmed) || BigInt(trimmed) >= 1n << 64n) {
    throw new Error(`${name} must be a whole number of at most 64 bits.`);
  }
  const value = BigInt(trimmed);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
