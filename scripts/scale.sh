#!/usr/bin/env bash
# Many streams: what each costs in memory, how fast they are made, listed, appended to, and how long
# a restart with all of them takes.
#
# Usage: scripts/scale.sh [--streams N] [--active N] [--rounds N] [--fill-gib N] [--keep]
#
#   --streams N   streams to make (default 1000000)
#   --active N    streams over which the load is spread in the comparison with one (default 100000)
#   --rounds N    pairs of that comparison (default 3)
#   --fill-gib N  records to append before the restarts until the directory holds so much (default 0)
#   --keep        keep the working directory also when all is well
#
# Memory is the server's resident memory (VmRSS) with the streams less that of the same server with
# one, after the same load; listings are timed by curl, the median of 21; a restart is timed from
# starting the process to the line "listening on".
#
# Environment: THALWEG_BIN, LOADGEN_BIN (default: release builds of this tree).
# Output: one figure a line, with its unit. Exit: 0 all well, 1 a fault, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}

streams=1000000
active=100000
rounds=3
fill_gib=0
keep=false
while (($# > 0)); do
  case $1 in
    --streams) streams=${2:?} && shift 2 ;;
    --active) active=${2:?} && shift 2 ;;
    --rounds) rounds=${2:?} && shift 2 ;;
    --fill-gib) fill_gib=${2:?} && shift 2 ;;
    --keep) keep=true && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

work=$(mktemp --directory --tmpdir thalweg-scale.XXXXXX)

trap 'clean_up scale' EXIT

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Starts the server on what is there; leaves the time it took in $took_ms.
start_timed() {
  local begin_ms
  begin_ms=$(now_ms)
  start_server 300 "$work/data"
  took_ms=$(($(now_ms) - begin_ms))
}

# Ends the server with signal $1 and waits for it, at most five minutes.
end_server() {
  local deadline=$((SECONDS + 300))
  kill "-$1" "$server_pid"
  while kill -0 "$server_pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.05; done
  kill_server
}

rss_bytes() { awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/$server_pid/status"; }

# load SEED STREAMS DURATION ARGUMENT...: appends over that many streams; prints appends per second.
load() {
  local seed=$1 count=$2 duration=$3
  shift 3
  run_load 1800 "$work/load" append --seed "$seed" --streams "$count" --rate max \
    --connections 64 --duration "$duration" "$@"
  sed --quiet 's/.*"appends_per_s": *\([0-9.]*\).*/\1/p' "$work/load/result.json" | head --lines=1
}

# Median time of a page of a listing, in milliseconds.
list_ms() {
  for _ in {1..21}; do
    curl --silent --fail --output /dev/null --write-out '%{time_total}\n' \
      --header "s2-basin: loadgen-basin" "$url/v1/streams?$1"
  done | sort --numeric-sort | awk '{ t[NR] = $1 } END { printf "%.2f", t[int((NR + 1) / 2)] * 1000 }'
}

mkdir "$work/data"
start_timed
load 1 1000 5s >/dev/null
before=$(rss_bytes)
small_ms=$(list_ms "prefix=loadgen-1-5&limit=100")

begin_ms=$(now_ms)
# The load is short: it is the streams that count, and each is appended to at least once below.
load 2 "$streams" 1s >/dev/null
made_ms=$(($(now_ms) - begin_ms - 1000))
awk -v n="$streams" -v ms="$made_ms" 'BEGIN { printf "streams made: %d in %.1f s, %.0f a second\n", n, ms / 1000, n * 1000 / ms }'
awk -v n="$streams" -v a="$(rss_bytes)" -v b="$before" \
  'BEGIN { printf "memory per stream, not written to: %.0f bytes\n", (a - b) / n }'
large_ms=$(list_ms "prefix=loadgen-2-5&limit=100")
echo "listing 100 by prefix: $large_ms ms with $((streams + 1000)) streams, $small_ms ms with 1000"

for ((round = 1; round <= rounds; round++)); do
  one=$(load 3 1 5s)
  many=$(load 2 "$active" 5s)
  awk -v one="$one" -v many="$many" -v n="$active" \
    'BEGIN { printf "appends a second: %.0f over %d streams, %.0f over one: %.2f\n", many, n, one, many / one }'
done
awk -v n="$streams" -v a="$(rss_bytes)" -v b="$before" \
  'BEGIN { printf "memory per stream after the load, read window included: %.0f bytes\n", (a - b) / n }'

fill_bytes=$((fill_gib * 1024 * 1024 * 1024))
deadline=$((SECONDS + 1200))
for ((seed = 4; ; seed++)); do
  (($(du --summarize --bytes "$work/data" | cut --fields=1) < fill_bytes)) || break
  ((SECONDS < deadline)) || { echo "scale: filling takes too long" >&2 && exit 1; }
  load "$seed" 16 10s --protocol s2s --http 2 --depth 4 --record-bytes 65536 >/dev/null
done

begin_ms=$(now_ms)
end_server TERM
echo "stop in order: $(($(now_ms) - begin_ms)) ms"
start_timed
echo "start after a stop in order: $took_ms ms"
awk -v n="$streams" -v a="$(rss_bytes)" 'BEGIN { printf "memory per stream after a restart, all of the server: %.0f bytes\n", a / n }'
# So that there is log after the newest checkpoint.
load 2 "$active" 3s >/dev/null
end_server KILL
start_timed
echo "start after a kill: $took_ms ms"
du --summarize --bytes "$work/data" | awk '{ printf "data directory: %.0f MiB\n", $1 / 1048576 }'
