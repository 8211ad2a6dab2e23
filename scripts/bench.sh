#!/usr/bin/env bash
# Compares thalweg with s2-lite (`s2 lite --local-root`) on one machine: same disk, same load
# generator, in rounds that alternate, so that what the machine does meanwhile hits both.
#
# Usage: scripts/bench.sh [--rounds N] [--duration D] [--warmup D] [--dir DIR]
#                         [--connections "N"] [--http2 "N"] [--depths "N"]
#
#   --rounds N          rounds, at least 3 (default 3)
#   --duration D        measured time of each run (default 5s)
#   --warmup D          load before it, left out (default 2s)
#   --dir DIR           where data goes (default: bench/ in the target directory)
#   --connections "N"   unary appends over HTTP/1.1: connection counts (default "1 64")
#   --http2 "N"         unary appends over one HTTP/2 connection: how many in flight (default "64")
#   --depths "N"        one S2S session, over HTTP/1.1 and HTTP/2: batches in flight
#                       (default "16 64")
#
# An empty list leaves that load out. Each run: a fresh data directory, a fresh server, one stream,
# one record per append, closed loop (--rate max); records have 1 KiB, in sessions 64 KiB. Each round
# also measures the disk alone (4 KiB, direct). The figures of each run, their medians and the ratios
# within each round are printed; what every run said is kept under artifacts/bench/.
#
# Environment:
#   THALWEG_BIN, LOADGEN_BIN   default: release builds of this tree, which are made when missing
#   S2_BIN                     the s2 command line (crate `s2-cli`), default `s2` on PATH; without
#                              it only thalweg is measured
#   BENCH_PORT                 first port; each run takes the next one, since some servers cannot
#                              take a port whose last connections still linger (default 14440)
#
# Exit: 0 measured, 1 a run failed, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
s2=${S2_BIN:-s2}
port=${BENCH_PORT:-14440}
rounds=3
duration=5s
warmup=2s
connections="1 64"
http2="64"
depths="16 64"
dir=$target/bench

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --rounds) rounds=${2:?} && shift 2 ;;
    --duration) duration=${2:?} && shift 2 ;;
    --warmup) warmup=${2:?} && shift 2 ;;
    --connections) connections=${2?} && shift 2 ;;
    --http2) http2=${2?} && shift 2 ;;
    --depths) depths=${2?} && shift 2 ;;
    --dir) dir=${2:?} && shift 2 ;;
    *) usage ;;
  esac
done
((rounds >= 3)) || usage

if [[ ! -x $thalweg || ! -x $loadgen ]]; then
  timeout 1800 cargo build --release --workspace --bins --locked --manifest-path "$root/Cargo.toml"
fi

# Loads by name: unary/VERSION/IN-FLIGHT, s2s/VERSION/IN-FLIGHT.
loads=()
for count in $connections; do loads+=("unary/1/$count"); done
for count in $http2; do loads+=("unary/2/$count"); done
for count in $depths; do loads+=("s2s/1/$count" "s2s/2/$count"); done

servers=(thalweg)
if command -v "$s2" >/dev/null; then
  servers+=(s2-lite)
else
  echo "bench: SKIPPED s2-lite: no \`$s2\` (install crate s2-cli, or set S2_BIN)" >&2
fi

mkdir --parents "$dir"
work=$(mktemp --directory --tmpdir="$dir" run.XXXXXX)
out=$root/artifacts/bench
rm --recursive --force -- "$out"
mkdir --parents "$out"
server_pid=

cleanup() {
  local status=$?
  if [[ -n $server_pid ]]; then
    kill -KILL "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  rm --recursive --force -- "$work"
  ((status == 0)) || echo "bench: FAILED (status $status)" >&2
}
trap cleanup EXIT

accepts() { (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

# start NAME LOG: starts a server on an empty data directory and waits until it accepts.
start() {
  local deadline=$((SECONDS + 60))
  port=$((port + 1))
  if accepts; then
    echo "bench: port $port is taken; set BENCH_PORT" >&2
    return 1
  fi
  rm --recursive --force -- "$work/data"
  mkdir "$work/data"
  case $1 in
    thalweg) "$thalweg" serve --listen "127.0.0.1:$port" --data-dir "$work/data" >"$2" 2>&1 & ;;
    s2-lite) "$s2" lite --local-root "$work/data" --port "$port" --no-dashboard >"$2" 2>&1 & ;;
  esac
  server_pid=$!
  until accepts; do
    if ! kill -0 "$server_pid" 2>/dev/null || ((SECONDS >= deadline)); then
      cat "$2" >&2
      return 1
    fi
    sleep 0.05
  done
}

stop() {
  kill -TERM "$server_pid" 2>/dev/null || true
  for ((tries = 0; tries < 150; tries++)); do
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}

# value FILE PATTERN: a number of a result.json; 0 when it was withheld.
value() {
  local number
  number=$(sed --quiet "s/.*$2: *\([0-9.][0-9.]*\).*/\1/p" "$1")
  echo "${number:-0}"
}

# load_options LOAD: sets `options` to what the load generator is told.
load_options() {
  local kind version count
  IFS=/ read -r kind version count <<<"$1"
  options=(--http "$version")
  case $kind/$version in
    unary/1) options+=(--connections "$count" --record-bytes 1024) ;;
    unary/2) options+=(--connections 1 --depth "$count" --record-bytes 1024) ;;
    s2s/*) options+=(--protocol s2s --connections 1 --depth "$count" --record-bytes 64KiB) ;;
  esac
}

# run NAME LOAD ROUND: one run; adds a line to the table of runs.
run() {
  local result=$out/$1-${2//\//-}-r$3 options
  load_options "$2"
  mkdir "$result"
  start "$1" "$result/server.log"
  timeout 600 "$loadgen" append --url "http://127.0.0.1:$port" --streams 1 "${options[@]}" \
    --records-per-batch 1 --rate max --warmup "$warmup" --duration "$duration" \
    --seed "$3" --connect-retry 10s --out "$result" \
    >"$result/summary.txt" 2>"$result/progress.txt" || {
    cat "$result/summary.txt" "$result/progress.txt" >&2
    return 1
  }
  stop
  local json=$result/result.json latency='"latency_us": *{[^}]*'
  printf '%s %s %s %.1f %.1f %.1f %.2f\n' "$1" "$2" "$3" "$(value "$json" '"appends_per_s"')" \
    "$(value "$json" "$latency\"p50\"")" "$(value "$json" "$latency\"p99\"")" \
    "$(value "$json" '"mib_per_s"')" |
    tee --append "$out/runs.txt"
}

disk() {
  local result=$out/disk-r$1
  mkdir "$result" && rm --recursive --force -- "$work/disk" && mkdir "$work/disk"
  timeout 60 "$loadgen" disk --dir "$work/disk" --duration 3s --out "$result" >"$result/summary.txt"
  # The first size is 4 KiB.
  awk -F '[:,]' -v round="$1" '
    /"p50_us"/ { mid = $2 + 0 }
    /"p99_us"/ { print "disk", "-", round, 0, mid, $2 + 0, 0; exit }
  ' "$result/disk.json" | tee --append "$out/runs.txt"
}

echo "server load round appends/s p50_us p99_us MiB/s"
for ((round = 1; round <= rounds; round++)); do
  disk "$round"
  for load in "${loads[@]}"; do
    # Who comes first alternates too.
    order=("${servers[@]}")
    if ((round % 2 == 0 && ${#servers[@]} == 2)); then order=(s2-lite thalweg); fi
    for name in "${order[@]}"; do run "$name" "$load" "$round"; done
  done
done

awk -v loads="${loads[*]}" "$(cat "$root/scripts/median.awk")"'
  function title(load,    parts, version) {
    split(load, parts, "/")
    version = parts[2] == 1 ? "HTTP/1.1" : "HTTP/2"
    if (parts[1] == "s2s") return "S2S session, " version ", " parts[3] " x 64 KiB in flight"
    if (parts[2] == 2) return "unary, HTTP/2, " parts[3] " in flight on one connection"
    return "unary, HTTP/1.1, " parts[3] (parts[3] == 1 ? " connection" : " connections")
  }
  function row(name, load, rate, mid, high, mib) {
    printf "  %-8s %-46s %10s %10.1f %10.1f %8s\n", name, load, rate, median(mid), median(high), mib
  }
  # Adds the ratio of two figures of one round to a list, unless one of them was withheld.
  function ratio(list, upper, lower) {
    return upper > 0 && lower > 0 ? list sprintf(" %.2f", upper / lower) : list
  }
  function show(what, list) {
    if (list != "") printf "  %s: %.2f (%s )\n", what, median(list), list
  }
  {
    rates[$1, $2] = rates[$1, $2] " " $4
    mids[$1, $2] = mids[$1, $2] " " $5
    highs[$1, $2] = highs[$1, $2] " " $6
    mibs[$1, $2] = mibs[$1, $2] " " $7
    rate[$1, $2, $3] = $4; mid[$1, $2, $3] = $5; high[$1, $2, $3] = $6
    if ($3 > rounds) rounds = $3
    seen[$1] = 1
  }
  END {
    n = split(loads, names, " ")
    split("thalweg s2-lite", servers, " ")
    print "\nmedians of " rounds " rounds"
    printf "  %-8s %-46s %10s %10s %10s %8s\n", "server", "load", "appends/s", "p50 us", "p99 us", "MiB/s"
    row("disk", "-", "-", mids["disk", "-"], highs["disk", "-"], "-")
    for (k = 1; k <= n; k++) for (i = 1; i <= 2; i++) {
      l = names[k]; s = servers[i]
      if (s in seen) row(s, title(l), sprintf("%.1f", median(rates[s, l])), mids[s, l], highs[s, l],
        sprintf("%.1f", median(mibs[s, l])))
    }
    print "\nratios within each round: median (all)"
    for (k = 1; k <= n; k++) {
      l = names[k]; raw = rated = tail = ""
      for (r = 1; r <= rounds; r++) {
        raw = ratio(raw, mid["thalweg", l, r], mid["disk", "-", r])
        rated = ratio(rated, rate["thalweg", l, r], rate["s2-lite", l, r])
        tail = ratio(tail, high["thalweg", l, r], high["s2-lite", l, r])
      }
      if (l == "unary/1/1") show(title(l) ": thalweg median ack / median raw write+sync", raw)
      show(title(l) ": appends/s, thalweg / s2-lite", rated)
      show(title(l) ": p99, thalweg / s2-lite", tail)
    }
  }
' "$out/runs.txt" | tee "$out/summary.txt"
