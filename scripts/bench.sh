#!/usr/bin/env bash
# Compares thalweg with s2-lite (`s2 lite --local-root`) on one machine: same disk, same load
# generator, in rounds that alternate, so that what the machine does meanwhile hits both.
#
# Usage: scripts/bench.sh [--rounds N] [--duration D] [--warmup D] [--connections "N"] [--dir DIR]
#
#   --rounds N          rounds, at least 3 (default 3)
#   --duration D        measured time of each run (default 5s)
#   --warmup D          load before it, left out (default 2s)
#   --connections "N"   connection counts (default "1 64")
#   --dir DIR           where data goes (default: bench/ in the target directory)
#
# Each run: a fresh data directory, a fresh server, 1 KiB records, one per append, one stream,
# closed loop (--rate max). Each round also measures the disk alone (4 KiB, direct). The figures of
# each run, their medians and the ratios within each round are printed; what every run said is kept
# under artifacts/bench/.
#
# Environment:
#   THALWEG_BIN, LOADGEN_BIN   default: release builds of this tree, which are made when missing
#   S2_BIN                     the s2 command line (crate `s2-cli`), default `s2` on PATH; without
#                              it only thalweg is measured
#   BENCH_PORT                 port for both servers (default 14440)
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
    --connections) connections=${2:?} && shift 2 ;;
    --dir) dir=${2:?} && shift 2 ;;
    *) usage ;;
  esac
done
((rounds >= 3)) || usage

if [[ ! -x $thalweg || ! -x $loadgen ]]; then
  timeout 1800 cargo build --release --workspace --bins --locked --manifest-path "$root/Cargo.toml"
fi

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

# run NAME CONNECTIONS ROUND: one run; adds a line to the table of runs.
run() {
  local result=$out/$1-c$2-r$3
  mkdir "$result"
  start "$1" "$result/server.log"
  timeout 600 "$loadgen" append --url "http://127.0.0.1:$port" --connections "$2" --streams 1 \
    --record-bytes 1024 --records-per-batch 1 --rate max --warmup "$warmup" --duration "$duration" \
    --seed "$3" --connect-retry 10s --out "$result" \
    >"$result/summary.txt" 2>"$result/progress.txt" || {
    cat "$result/summary.txt" "$result/progress.txt" >&2
    return 1
  }
  stop
  local json=$result/result.json latency='"latency_us": *{[^}]*'
  printf '%s %s %s %s %s %s\n' "$1" "$2" "$3" "$(value "$json" '"appends_per_s"')" \
    "$(value "$json" "$latency\"p50\"")" "$(value "$json" "$latency\"p99\"")" |
    tee --append "$out/runs.txt"
}

disk() {
  local result=$out/disk-r$1
  mkdir "$result" && rm --recursive --force -- "$work/disk" && mkdir "$work/disk"
  timeout 60 "$loadgen" disk --dir "$work/disk" --duration 3s --out "$result" >"$result/summary.txt"
  # The first size is 4 KiB.
  awk -F '[:,]' -v round="$1" '
    /"p50_us"/ { mid = $2 + 0 }
    /"p99_us"/ { print "disk", 1, round, 0, mid, $2 + 0; exit }
  ' "$result/disk.json" | tee --append "$out/runs.txt"
}

echo "server connections round appends/s p50_us p99_us"
for ((round = 1; round <= rounds; round++)); do
  disk "$round"
  for count in $connections; do
    # Who comes first alternates too.
    order=("${servers[@]}")
    if ((round % 2 == 0 && ${#servers[@]} == 2)); then order=(s2-lite thalweg); fi
    for name in "${order[@]}"; do run "$name" "$count" "$round"; done
  done
done

awk -v connections="$connections" '
  function median(text,    parts, count, i, j, t) {
    count = split(text, parts, " ")
    for (i = 2; i <= count; i++)
      for (j = i; j > 1 && parts[j - 1] + 0 > parts[j] + 0; j--) {
        t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t
      }
    if (count == 0) return 0
    return count % 2 ? parts[(count + 1) / 2] + 0 : (parts[count / 2] + parts[count / 2 + 1]) / 2
  }
  function row(name, count, rate, mid, high) {
    printf "  %-8s %11s %12s %10.1f %10.1f\n", name, count, rate, median(mid), median(high)
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
    rate[$1, $2, $3] = $4; mid[$1, $2, $3] = $5; high[$1, $2, $3] = $6
    if ($3 > rounds) rounds = $3
    seen[$1] = 1
  }
  END {
    n = split(connections, counts, " ")
    split("thalweg s2-lite", names, " ")
    print "\nmedians of " rounds " rounds"
    printf "  %-8s %11s %12s %10s %10s\n", "server", "connections", "appends/s", "p50 us", "p99 us"
    row("disk", "-", "-", mids["disk", 1], highs["disk", 1])
    for (k = 1; k <= n; k++) for (i = 1; i <= 2; i++) {
      c = counts[k]; s = names[i]
      if (s in seen) row(s, c, sprintf("%.1f", median(rates[s, c])), mids[s, c], highs[s, c])
    }
    print "\nratios within each round: median (all)"
    for (k = 1; k <= n; k++) {
      c = counts[k]; raw = rated = tail = ""
      for (r = 1; r <= rounds; r++) {
        raw = ratio(raw, mid["thalweg", c, r], mid["disk", 1, r])
        rated = ratio(rated, rate["thalweg", c, r], rate["s2-lite", c, r])
        tail = ratio(tail, high["thalweg", c, r], high["s2-lite", c, r])
      }
      if (c == 1) show("1 connection: thalweg median ack / median raw write+sync", raw)
      show(c " connection(s): appends/s, thalweg / s2-lite", rated)
      show(c " connection(s): p99, thalweg / s2-lite", tail)
    }
  }
' "$out/runs.txt" | tee "$out/summary.txt"
