// Numbers, times and bytes for people.

// A time in UTC, to the millisecond, from RFC 3339 or milliseconds since the epoch.
export function time(value) {
  const text = timeOfRow(value);
  return text === String(value) ? text : `${text.replace(/\.000$/, "")} UTC`;
}

// The same below a head that says UTC, always as long.
export function timeOfRow(value) {
  const date = new Date(typeof value === "bigint" ? Number(value) : value);
  return Number.isNaN(date.getTime()) ? String(value) : date.toISOString().replace("T", " ").replace("Z", "");
}

export function count(value) {
  return typeof value === "bigint" ? String(value) : value.toLocaleString("en-GB");
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  // What would be rounded to 1024 is one of the next unit.
  while (value >= (unit === 0 ? 1024 : 1023.5) && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}
