// Numbers of the charts in words.

export function duration(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return `${short(us)} µs`;
  if (us < 1e6) return `${short(us / 1000)} ms`;
  return `${short(us / 1e6)} s`;
}

export function rate(value) {
  if (value >= 1e6) return `${short(value / 1e6)} M`;
  if (value >= 1e4) return `${short(value / 1e3)} k`;
  return short(value);
}

export function short(value) {
  if (value === 0) return "0";
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1).replace(/\.0$/, "");
  return value.toFixed(2).replace(/\.?0+$/, "");
}

export function percent(part) {
  return `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
}

export function ago(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  return `${short(seconds / 60)} min ago`;
}
