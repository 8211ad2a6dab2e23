#!/usr/bin/env bash
# What cleaning costs appends: pairs of runs of paced appends, while the cleaner has nothing to do and
# while it has, one after the other on one server. Who comes first alternates.
#
# Usage: scripts/cleaning.sh [--pairs N] [--seconds N] [--rate N] [--segment-bytes N] [--fill-mib N]
#
#   --pairs N           pairs, at least 3 (default 5)
#   --seconds N         measured time of each run, after one second that is left out (default 6)
#   --rate N            appends a second, by 16 connections, of one record of 1 KiB each (default 2000)
#   --segment-bytes N   length of the log's segments (default 16 MiB)
#   --fill-mib N        records written before each run (default 768)
#
# Before each run a quarter of the fill goes to streams that stay and the rest, mixed with it, to
# streams of another basin. That basin is deleted when a run with cleaning begins: from then on each
# segment is three quarters dead, and the rest of it has to be copied. In the other runs nothing is
# deleted before they are over. After each run everything of the fill is deleted.
#
# Environment: THALWEG_BIN, LOADGEN_BIN (default: release builds of this tree); TMPDIR on a disk that
# does direct I/O.
# Output: latencies of each run, with how much was copied during it and for how many of its seconds;
# then medians of the ratios within the pairs. What was measured is kept under artifacts/cleaning/.
# Exit: 0 measured, 1 a run failed or the cleaner did not do what it was to, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
pairs=5
seconds=6
rate=2000
segment_bytes=$((16 << 20))
fill_mib=768

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --pairs) pairs=${2:?} && shift 2 ;;
    --seconds) seconds=${2:?} && shift 2 ;;
    --rate) rate=${2:?} && shift 2 ;;
    --segment-bytes) segment_bytes=${2:?} && shift 2 ;;
    --fill-mib) fill_mib=${2:?} && shift 2 ;;
    *) usage ;;
  esac
done
((pairs >= 3 && seconds >= 2 && fill_mib >= 64)) || usage

work=$(mktemp --directory --tmpdir thalweg-cleaning.XXXXXX)
out=$root/artifacts/cleaning
keep=false
rm --recursive --force -- "$out"
mkdir --parents "$out"
trap 'clean_up cleaning' EXIT

fail() {
  echo "cleaning: $*" >&2
  exit 1
}

delete_basin() {
  curl --silent --show-error --fail --max-time 30 --request DELETE "$url/v1/basins/$1" >/dev/null
}

# load NAME ARGUMENT...: appends; what the load generator says goes under artifacts/cleaning/NAME.
load() {
  local name=$1
  shift
  run_load 300 "$out/$name" append "$@"
}

# latency NAME QUANTILE: in microseconds; 0 when it was withheld.
latency() {
  local number
  number=$(tr --delete '\n' <"$out/$1/result.json" |
    sed --quiet "s/.*\"latency_us\": *{[^}]*\"$2\": *\([0-9.][0-9.]*\).*/\1/p")
  echo "${number:-0}"
}

# wait_until_still METRIC: until a metric has not changed for two seconds, at most two minutes.
wait_until_still() {
  local now before=-1 still=0 deadline=$((SECONDS + 120))
  while ((still < 8)); do
    ((SECONDS < deadline)) || fail "$1 does not come to rest"
    sleep 0.25
    now=$(metric "$1")
    if [[ $now == "$before" ]]; then still=$((still + 1)); else still=0; fi
    before=$now
  done
}

# fill RUN: a quarter of it stays. Both go on for the same time, so that they are mixed in the log.
fill() {
  local batches=$((fill_mib * 4)) wrote=()
  load "fill-kept-$1" --basin "kept-basin-$1" --seed 1 --streams 8 --connections 8 --protocol s2s \
    --records-per-batch 256 --record-bytes 1024 --rate $((batches / 4 / 6)) --duration 6s &
  wrote+=($!)
  load "fill-churned-$1" --basin "churned-basin-$1" --seed 2 --streams 8 --connections 8 \
    --protocol s2s --records-per-batch 256 --record-bytes 1024 --rate $((batches * 3 / 4 / 6)) \
    --duration 6s &
  wrote+=($!)
  wait "${wrote[@]}"
}

# watch_copies FILE: notes each quarter of a second how much was copied so far.
watch_copies() {
  while metric thalweg_moved_bytes_total >>"$1" 2>/dev/null; do sleep 0.25; done
}

# run PAIR KIND: one run, `alone` or beside `cleaning`; adds a line to the table.
run() {
  local name=$2-$1 watcher copied busy
  fill "$name"
  wait_until_still thalweg_moved_bytes_total
  if [[ $2 == cleaning ]]; then delete_basin "churned-basin-$name"; fi
  : >"$out/$name.copied"
  watch_copies "$out/$name.copied" &
  watcher=$!
  load "$name" --basin paced-basin --seed 3 --streams 16 --connections 16 --record-bytes 1024 \
    --rate "$rate" --warmup 1s --duration "${seconds}s"
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  read -r copied busy < <(awk 'NR == 1 { first = $1 } NR > 1 && $1 > last { busy += 0.25 } { last = $1 }
    END { printf "%.1f %.1f\n", (last - first) / 1048576, busy }' "$out/$name.copied")
  printf '%s %s %s %s %s %s %s\n' "$1" "$2" "$(latency "$name" p50)" "$(latency "$name" p99)" \
    "$(latency "$name" p99_9)" "$copied" "$busy" | tee --append "$out/runs.txt"
  if [[ $2 == alone ]]; then
    delete_basin "churned-basin-$name"
  fi
  delete_basin "kept-basin-$name"
  wait_until_still thalweg_moved_bytes_total
}

start_server 60 "$work/data" --segment-bytes "$segment_bytes" --checkpoint-bytes "$segment_bytes"
echo "pair kind p50_us p99_us p99.9_us copied_MiB copied_for_s"
for ((pair = 1; pair <= pairs; pair++)); do
  order=(alone cleaning)
  if ((pair % 2 == 0)); then order=(cleaning alone); fi
  for kind in "${order[@]}"; do run "$pair" "$kind"; done
done

awk "$(cat "$root/scripts/median.awk")"'
  { for (i = 3; i <= 7; i++) figure[$2, $1, i] = $i; if ($1 > pairs) pairs = $1 }
  END {
    split("- - p50 p99 p99.9", names, " ")
    print "\nwhile the cleaner copies / while it does not, within each pair: median (all)"
    for (i = 3; i <= 5; i++) {
      list = ""
      for (p = 1; p <= pairs; p++)
        if (figure["cleaning", p, i] > 0 && figure["alone", p, i] > 0)
          list = list sprintf(" %.2f", figure["cleaning", p, i] / figure["alone", p, i])
      printf "  %s: %.2f (%s )\n", names[i], median(list), list
    }
    for (p = 1; p <= pairs; p++) {
      copied = copied " " figure["cleaning", p, 6]
      if (figure["cleaning", p, 6] == 0) { print "nothing was copied in pair " p; failed = 1 }
    }
    printf "  copied meanwhile: %.0f MiB (%s )\n", median(copied), copied
    exit failed
  }
' "$out/runs.txt" | tee "$out/summary.txt"
stop_server 60
