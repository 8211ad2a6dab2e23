#!/usr/bin/env bash
# The latency of durable appends under a fixed small load, kept as histograms that can be compared: a
# new server gets appends on a schedule for both storage classes, and what client and server measured is
# printed beside an earlier run's.
#
# Usage: scripts/latency.sh [--keep] [--seconds N]
#
#   --keep        makes this run the one that later ones are compared with: its logs go to
#                 benches/latency/, to be committed. For a quiet machine and a release build.
#   --seconds N   measured time of each class (default 5)
#
# Load: 16 connections, records of 1 KiB, one for each append; express 500 appends a second, then
# standard 100.
#
# Environment: THALWEG_BIN, LOADGEN_BIN (default: release builds of this tree); TMPDIR on a disk that
# does direct I/O.
# Output: percentiles, with ratios where there is an earlier run. Under artifacts/latency/:
# express.hlog and standard.hlog (client; from the intended send, and from the actual one under the tag
# `service`), server.hlog (from arrival to ack by class and phase, warm-up included), server.txt (the
# same as a table). Another machine, or another load on this one, moves the ratios as much as another
# server does: they fail nothing.
# Exit: 0 measured, 1 a run failed, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
kept=$root/benches/latency
out=$root/artifacts/latency
is_keeping=
seconds=5

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --keep) is_keeping=1 && shift ;;
    --seconds) seconds=${2:?} && shift 2 ;;
    *) usage ;;
  esac
done
[[ $seconds =~ ^[1-9][0-9]*$ ]] || usage

work=$(mktemp --directory --tmpdir thalweg-latency.XXXXXX)
rm --recursive --force -- "$out"
mkdir --parents "$out"

# What says why it failed stays; see clean_up.
keep=false
trap 'clean_up latency' EXIT

# fetch PATH: the body of an answer of the server.
fetch() {
  local host=${url#http://}
  exec 3<>"/dev/tcp/${host%:*}/${host##*:}"
  printf 'GET %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n' "$1" "$host" >&3
  timeout 30 sed '1,/^\r$/d' <&3
  exec 3>&-
}

# load CLASS RATE WARM_UP: appends on a schedule. Status 3 says that the generator was too slow for its
# own figures, which it then withholds.
load() {
  local status=0
  timeout $((seconds + 120)) "$loadgen" append --url "$url" --storage-class "$1" --rate "$2" \
    --warmup "$3" --duration "${seconds}s" --connections 16 --record-bytes 1024 \
    --basin "latency-$1" --out "$work/$1" >"$out/$1.txt" 2>"$work/progress.txt" || status=$?
  if ((status != 0 && status != 3)); then
    cat "$out/$1.txt" "$work/progress.txt" >&2
    return 1
  fi
  if [[ -f $work/$1/latency.hlog ]]; then cp -- "$work/$1/latency.hlog" "$out/$1.hlog"; fi
}

start_server 60 "$work/data"
# The first warm-up outlasts the zeros that a fresh directory is filled with.
load express 500 4s
load standard 100 1s
fetch '/debug/latency' >"$out/server.txt"
fetch '/debug/latency?format=hdr' >"$out/server.hlog"
stop_server 30

for name in express standard server; do
  printf '\n%s, milliseconds' "$name"
  if [[ ! -f $out/$name.hlog ]]; then
    echo ': withheld, the load generator was too slow'
    continue
  fi
  base=()
  if [[ -f $kept/$name.hlog ]]; then base=(--base "$kept/$name.hlog"); fi
  ((${#base[@]} > 0)) && echo ' and ratio to the run that was kept' || echo ' (no run was kept yet)'
  "$loadgen" hlog "$out/$name.hlog" "${base[@]}"
done | tee "$out/latency.txt"

if [[ -n $is_keeping ]]; then
  for name in express standard server; do
    [[ -f $out/$name.hlog ]] || { echo "latency: $name was withheld; nothing is kept" >&2 && exit 1; }
  done
  mkdir --parents "$kept"
  cp -- "$out"/{express,standard,server}.hlog "$kept/"
  printf '\nkept as benches/latency/{express,standard,server}.hlog\n'
fi
