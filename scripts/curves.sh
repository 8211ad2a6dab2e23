#!/usr/bin/env bash
# Cost curves: throughput and the server's processor time for each append, against the size of records,
# the number of connections, of streams, and of shards. Each run has a new server on a new directory.
#
# Usage: scripts/curves.sh [--only AXIS] [--rounds N] [--seconds N] [--quick] [--keep]
#
#   --only AXIS   record-bytes, connections, streams or shards; may be given several times
#   --rounds N    rounds; every second one goes through the values backwards (default 3)
#   --seconds N   measured time of each run, after four seconds that are left out (default 4)
#   --quick       two values of each axis, one round of a second: a check that it runs
#   --keep        writes the figures into docs/PERFORMANCE.md and the plots beside it, to be committed.
#                 For a quiet machine and a release build; needs 3 rounds and all axes
#
# Base: 64 connections, 64 streams of the class express, one record of 1 KiB for each append, JSON over
# HTTP/1.1, closed loop, as many shards as cores. All of it takes about 13 minutes.
#
# Environment: THALWEG_BIN, LOADGEN_BIN (default: release builds of this tree); TMPDIR on a disk that
# does direct I/O.
# Output: a line for each run, then a table for each axis; under artifacts/curves/ what every run said,
# costs.md and two plots for each axis. Exit: 0 measured, 1 a run failed, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
out=$root/artifacts/curves
document=$root/docs/PERFORMANCE.md
declare -A values=(
  [record-bytes]='64 256 1024 4096 16384 65536 262144'
  [connections]='1 4 16 64 256'
  [streams]='1 16 64 256 4096'
  [shards]='1 2 4 8'
)
axes=()
rounds=3
seconds=4
# Outlasts the zeros that a fresh directory is filled with.
warmup=4s
is_keeping=

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --only) [[ -n ${values[${2:?}]:-} ]] || usage && axes+=("$2") && shift 2 ;;
    --rounds) rounds=${2:?} && shift 2 ;;
    --seconds) seconds=${2:?} && shift 2 ;;
    --quick)
      values=([record-bytes]='64 65536' [connections]='1 64' [streams]='1 64' [shards]='1 2')
      rounds=1 seconds=1 warmup=500ms
      shift
      ;;
    --keep) is_keeping=1 && shift ;;
    *) usage ;;
  esac
done
[[ $rounds =~ ^[1-9][0-9]*$ && $seconds =~ ^[1-9][0-9]*$ ]] || usage
if [[ -n $is_keeping ]] && ((rounds < 3 || ${#axes[@]} > 0)); then usage; fi
((${#axes[@]} > 0)) || axes=(record-bytes connections streams shards)

work=$(mktemp --directory --tmpdir thalweg-curves.XXXXXX)
rm --recursive --force -- "$out"
mkdir --parents "$out/runs"

# What says why it failed stays; see clean_up.
keep=false
trap 'clean_up curves' EXIT

# run AXIS VALUE ROUND: one run. Status 3, too slow for its own figures, does not happen in a closed loop.
run() {
  local result=$out/runs/$1-$2-r$3 server=() load=(--connections 64 --streams 64 --record-bytes 1024)
  case $1 in
    shards) server=(--shards "$2") ;;
    record-bytes) load=(--connections 64 --streams 64 --record-bytes "$2") ;;
    connections) load=(--connections "$2" --streams 64 --record-bytes 1024) ;;
    streams) load=(--connections 64 --streams "$2" --record-bytes 1024) ;;
  esac
  mkdir "$result"
  start_server 60 "$work/data" "${server[@]}"
  if ! timeout $((seconds + 180)) "$loadgen" append --url "$url" --rate max --warmup "$warmup" \
    --duration "${seconds}s" "${load[@]}" --server-pid "$server_pid" --out "$result" \
    >"$result/summary.txt" 2>"$result/progress.txt"; then
    cat "$result/summary.txt" "$result/progress.txt" >&2
    return 1
  fi
  stop_server 60
  rm --recursive --force -- "$work/data"
  sync --file-system "$work"
  printf 'round %s  %-13s %-7s %s\n' "$3" "$1" "$2" \
    "$(sed --quiet 's/^\(throughput\|server cpu\) *//p' "$result/summary.txt" | paste --serial --delimiters=';')"
}

# A run with more shards than cores measures the switching between them too, and says so by its value.
for ((round = 1; round <= rounds; round++)); do
  for axis in "${axes[@]}"; do
    ordered=${values[$axis]}
    if ((round % 2 == 0)); then ordered=$(tr ' ' '\n' <<<"$ordered" | tac | tr '\n' ' '); fi
    for value in $ordered; do run "$axis" "$value" "$round"; done
  done
done

commit=$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)
"$loadgen" costs "$out/runs" --out "$out" --command 'scripts/curves.sh --only AXIS' \
  --label "commit $commit, $(date --utc --iso-8601=date), $rounds rounds of $seconds s"

if [[ -n $is_keeping ]]; then
  mkdir --parents "$root/docs/performance"
  cp -- "$out"/*.svg "$root/docs/performance/"
  sed 's|](\([a-z-]*\.svg\))|](performance/\1)|' "$out/costs.md" >"$work/costs.md"
  awk -v costs="$work/costs.md" '
    /^<!-- costs -->$/ { print; print ""; while ((getline line < costs) > 0) print line; print ""; skip = 1; next }
    /^<!-- end of costs -->$/ { skip = 0 }
    !skip
  ' "$document" >"$work/document.md"
  cp -- "$work/document.md" "$document"
  echo "kept in docs/PERFORMANCE.md and docs/performance/"
fi
