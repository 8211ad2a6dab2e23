#!/usr/bin/env bash
# Compares Thalweg with other servers on one machine, and with the bare disk: builds it and the load
# generator, finds or installs the others, and lets `loadgen compare` run the same loads on each.
#
# Usage: scripts/bench.sh [--install] [OPTION...]
#
#   --install           first installs what is missing: crates below the target directory, Redis by
#                       apt-get (about 30 minutes of two cores, most of it for s2-cli)
#   --list              prints what would be run on which server
#   --quick             few loads, one round, a second each: a check that it runs
#   --only LOAD         only this load, or with * at its end all that begin so; may be given
#                       several times
#   --rounds N          rounds; a measurement needs 3 (the default) or more
#   --duration D        measured time of each run (default 4s)
#   --warmup D          load before it, left out (default 1s); catch-up has none
#   --peers A,B         thalweg,s2-lite,durable-streams,redis (the default); the first is compared
#                       with the others
#   --no-counts         leaves out instructions, system calls, syncs and bytes
#   --dir DIR           where data goes (default: bench/ in the target directory)
#   --out DIR           where the report goes (default: artifacts/bench/)
#
# All of it takes about 45 minutes with the defaults and four servers: for each load and round 28 s,
# with 1,000 streams 34 s, catch-up 40 s, and 25 s to 40 s once for the counts of a load. What fits
# into 15 minutes:
#
#   scripts/bench.sh --only unary-1k-c1 --only unary-1k-c64 --only unary-1k-c64-s1000 \
#     --only batch-100x1k-c16 --only session-64k-w8 --only session-1m-w8 --only catch-up-r8 \
#     --only follow-100
#
# Each run: a new data directory, a new server; after it the data is deleted and the disk synced. In
# each round every server runs every load, in an order that changes with round and load. A server
# that is not installed is skipped, and the report says so and how to install it.
#
# Environment:
#   THALWEG_BIN, LOADGEN_BIN   default: release builds of this tree, which are made when missing
#   S2_BIN                     the s2 command line, default `s2` on PATH
#   PEERS_DIR                  where --install puts crates, and where they are looked for besides
#                              PATH (default: peers/ in the target directory)
#
# Output: a line for each run; compare.md, compare.json, rates.svg and p99.svg, and below them what
# every run and every server said. Exit: 0 measured, 4 nothing could be, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
peers=${PEERS_DIR:-$target/peers}
# The versions that are compared; they travel with the report.
s2_cli=0.43.4
durable_streams=0.1.5
dir=$target/bench
out=$root/artifacts/bench
is_installing=
options=()

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --install) is_installing=1 && shift ;;
    --dir) dir=${2:?} && shift 2 ;;
    --out) out=${2:?} && shift 2 ;;
    --list | --quick | --no-counts) options+=("$1") && shift ;;
    --only | --rounds | --duration | --warmup | --peers) options+=("$1" "${2:?}") && shift 2 ;;
    *) usage ;;
  esac
done

export PATH=$peers/bin:$PATH

# install PROGRAM CRATE VERSION
install() {
  if command -v "$1" >/dev/null; then return; fi
  timeout 5400 cargo install "$2" --version "$3" --locked --root "$peers" --target-dir "$peers/target"
}

if [[ -n $is_installing ]]; then
  install durable-streams-server durable-streams "$durable_streams"
  install s2 s2-cli "$s2_cli"
  if ! command -v redis-server >/dev/null; then
    # The level at which no service is started.
    RUNLEVEL=1 timeout 600 apt-get install --yes --no-install-recommends redis-server
  fi
fi

if [[ ! -x $thalweg || ! -x $loadgen ]]; then
  timeout 1800 cargo build --release --workspace --bins --locked --manifest-path "$root/Cargo.toml"
fi

mkdir --parents "$dir" "$out"
work=$(mktemp --directory --tmpdir="$dir" run.XXXXXX)
commit=$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)

# In a group of its own, which ends as a whole when this script is stopped.
setsid "$loadgen" compare --thalweg "$thalweg" --s2 "${S2_BIN:-s2}" --dir "$work" --out "$out" \
  --label "commit $commit, $(date --utc --iso-8601=minutes)" "${options[@]}" &
compare_pid=$!

cleanup() {
  local status=$?
  kill -KILL -- "-$compare_pid" 2>/dev/null || true
  rm --recursive --force -- "$work"
  ((status == 0)) || echo "bench: FAILED (status $status)" >&2
}
trap cleanup EXIT
trap 'exit 130' INT TERM
wait "$compare_pid"
