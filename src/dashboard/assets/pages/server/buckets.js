// Latencies in buckets, as /debug/stats tells them: `[largest value in microseconds, count]`,
// rising, empty ones left out. Values up to 7 have their own bucket; above, each octave has four.

// The least value of the bucket whose largest is `bound`.
export function leastOf(bound) {
  if (bound < 8) return bound;
  return bound + 1 - 2 ** (29 - Math.clz32(bound));
}

// Counts of `after` that are not in `before`; null when one went back: then the server is another.
export function difference(before, after) {
  const known = new Map(before);
  const grown = [];
  for (const [bound, count] of after) {
    const more = count - (known.get(bound) ?? 0);
    known.delete(bound);
    if (more < 0) return null;
    if (more > 0) grown.push([bound, more]);
  }
  return known.size > 0 ? null : grown;
}

// All of several lists as one.
export function sum(lists) {
  const total = new Map();
  for (const list of lists) {
    for (const [bound, count] of list) total.set(bound, (total.get(bound) ?? 0) + count);
  }
  return [...total].sort((a, b) => a[0] - b[0]);
}

export function countOf(buckets) {
  return buckets.reduce((total, [, count]) => total + count, 0);
}

// The value below which the part `q` of all lies, taken evenly within its bucket; null of none.
export function quantile(buckets, q) {
  const total = countOf(buckets);
  if (total === 0) return null;
  let left = Math.max(1, Math.ceil(q * total));
  for (const [bound, count] of buckets) {
    if (left <= count) {
      const least = leastOf(bound);
      return least + ((bound - least) * left) / count;
    }
    left -= count;
  }
  return buckets[buckets.length - 1][0];
}

// Each value taken for the middle of its bucket; null of none.
export function mean(buckets) {
  const total = countOf(buckets);
  if (total === 0) return null;
  const all = buckets.reduce((sum, [bound, count]) => sum + ((leastOf(bound) + bound) / 2) * count, 0);
  return all / total;
}
