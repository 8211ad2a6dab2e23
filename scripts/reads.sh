#!/usr/bin/env bash
# What readers cost appends: pairs of runs, without readers and with them, one after the other on one
# server, so that what the machine does meanwhile hits both. Who comes first alternates.
#
# Usage: scripts/reads.sh [--pairs N] [--seconds N] [--readers N] [--mib-per-s N] [--followers N]
#
#   --pairs N       pairs, at least 3 (default 5)
#   --seconds N     measured time of each run, after one second that is left out (default 4)
#   --readers N     readers of old data, each through a whole stream again and again (default 8)
#   --mib-per-s N   most that all readers together take, in MiB/s (default: as much as they get)
#   --followers N   followers of one stream, measured once at the end; 0 leaves that out (default 1000)
#
# Appends: 64 connections, one record of 1 KiB each, closed loop. Old data: four streams of records of
# 1 KiB. The server is started anew once they are written, with 16 MiB of window and 16 MiB of cache,
# so that old data comes from the disk.
#
# Environment: THALWEG_BIN, LOADGEN_BIN (default: release builds of this tree); TMPDIR on a disk that
# does direct I/O.
# Output: the figures of each run, with the cores that server, appenders and readers kept busy: on a
# machine of few cores the clients take theirs from the server. Then medians of the ratios within the pairs; what was measured is
# kept under artifacts/reads/. Exit: 0 measured, 1 a run failed, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
pairs=5
seconds=4
readers=8
limit=()
followers=1000

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --pairs) pairs=${2:?} && shift 2 ;;
    --seconds) seconds=${2:?} && shift 2 ;;
    --readers) readers=${2:?} && shift 2 ;;
    --mib-per-s) limit=(--mib-per-s "${2:?}") && shift 2 ;;
    --followers) followers=${2:?} && shift 2 ;;
    *) usage ;;
  esac
done
((pairs >= 3)) || usage

work=$(mktemp --directory --tmpdir thalweg-reads.XXXXXX)
out=$root/artifacts/reads
rm --recursive --force -- "$out"
mkdir --parents "$out"
scan_pid=

cleanup() {
  local status=$?
  # A part of this script, of which the scan is a child.
  [[ -z $scan_pid ]] || pkill -TERM --parent "$scan_pid" || true
  kill_server
  rm --recursive --force -- "$work"
  ((status == 0)) || echo "reads: FAILED (status $status)" >&2
}
trap cleanup EXIT

# load NAME ARGUMENT...: runs the load generator; what it says, and its times, go under
# artifacts/reads/NAME.
load() {
  local name=$1
  shift
  mkdir "$out/$name"
  TIMEFORMAT='%U %S'
  { time run_load 300 "$out/$name" "$@" 2>&4; } 4>&2 2>"$out/$name/cpu.txt"
}

# value FILE PATTERN: a number of a result; 0 when it was withheld.
value() {
  local number
  number=$(sed --quiet "s/.*$2: *\([0-9.][0-9.]*\).*/\1/p" "$1")
  echo "${number:-0}"
}

# server_cpu: how long the server has kept cores busy, in hundredths of a second.
server_cpu() {
  local stat
  stat=$(<"/proc/$server_pid/stat")
  awk -v hz="$(getconf CLK_TCK)" '{ printf "%d\n", ($12 + $13) * 100 / hz }' <<<"${stat##*) }"
}

# cores SECONDS FILE: the cores that the load with these times kept busy.
cores() {
  local seconds=$1
  shift
  awk -v seconds="$seconds" '{ sum += $1 + $2 } END { printf "%.2f\n", sum / seconds }' "$@"
}

# run PAIR KIND: one run, `alone` or beside `readers`; adds a line to the table.
run() {
  local name=$2-$1 before served scanned=0 scanners=0 latency='"latency_us": *{[^}]*'
  if [[ $2 == readers ]]; then
    load "scan-$1" scan --seed 90 --streams 4 --readers "$readers" "${limit[@]}" \
      --duration "$((seconds + 2))s" &
    scan_pid=$!
  fi
  before=$(server_cpu)
  load "$name" append --seed 91 --connections 64 --record-bytes 1024 --rate max \
    --warmup 1s --duration "${seconds}s"
  served=$((($(server_cpu) - before) / (seconds + 1)))
  if [[ -n $scan_pid ]]; then
    wait "$scan_pid"
    scan_pid=
    scanners=$(cores "$((seconds + 2))" "$out/scan-$1/cpu.txt")
    scanned=$(value "$out/scan-$1/scan.json" '"mib_per_s"')
  fi
  local json=$out/$name/result.json
  printf '%s %s %.1f %.1f %.1f %.1f %.2f %.2f %.2f\n' "$1" "$2" \
    "$(value "$json" '"appends_per_s"')" "$(value "$json" "$latency\"p50\"")" \
    "$(value "$json" "$latency\"p99\"")" "$scanned" "$(awk "BEGIN { print $served / 100 }")" \
    "$(cores "$((seconds + 1))" "$out/$name/cpu.txt")" "$scanners" |
    tee --append "$out/runs.txt"
}

start_server 60 "$work/data"
# Written for four seconds, as fast as it goes.
load fill append --seed 90 --streams 4 --connections 4 --protocol s2s --depth 8 \
  --records-per-batch 500 --record-bytes 1024 --rate max --duration 4s
stop_server 30
start_server 60 "$work/data" --read-window-bytes 16777216 --read-cache-bytes 16777216

echo "pair kind appends/s p50_us p99_us readers_MiB/s server_cores appenders_cores readers_cores"
for ((pair = 1; pair <= pairs; pair++)); do
  order=(alone readers)
  if ((pair % 2 == 0)); then order=(readers alone); fi
  for kind in "${order[@]}"; do run "$pair" "$kind"; done
done

awk -v readers="$readers" "$(cat "$root/scripts/median.awk")"'
  { for (i = 3; i <= 6; i++) figure[$2, $1, i] = $i; if ($1 > pairs) pairs = $1 }
  END {
    split("- - appends/s p50 p99", names, " ")
    print "\nwith " readers " readers of old data / without, within each pair: median (all)"
    for (i = 3; i <= 5; i++) {
      list = ""
      for (p = 1; p <= pairs; p++)
        if (figure["readers", p, i] > 0 && figure["alone", p, i] > 0)
          list = list sprintf(" %.2f", figure["readers", p, i] / figure["alone", p, i])
      printf "  %s: %.2f (%s )\n", names[i], median(list), list
    }
    for (p = 1; p <= pairs; p++) rates = rates " " figure["readers", p, 6]
    printf "  the readers: %.0f MiB/s (%s )\n", median(rates), rates
  }
' "$out/runs.txt" | tee "$out/summary.txt"

if ((followers > 0)); then
  echo
  echo "$followers followers of one stream, beside 50 appends of 1 KiB a second"
  before=$(metric thalweg_log_reads_total)
  load followers tail --seed 92 --readers "$followers" --connections 4 --rate 50 --record-bytes 1024 \
    --warmup 1s --duration "${seconds}s"
  sed --quiet '/^deliver/,$p' "$out/followers/summary.txt" | tee --append "$out/summary.txt"
  echo "reads of the disk for them: $(($(metric thalweg_log_reads_total) - before))" |
    tee --append "$out/summary.txt"
fi
stop_server 30
