#!/usr/bin/env bash
# Everything that CI checks: format, lints, tests, documentation, the official clients, a latency
# histogram of durable appends beside a raw measurement of the same disk, and kills under load.
#
# Usage: scripts/test.sh [--fast]
#
#   --fast   stop after the documentation: no release build, no clients, no measurement, and none of
#            the proofs (kills, histories, power cuts, planted bugs, attacks)
#
# Needs Rust (with rustfmt and clippy), a C compiler, bash and coreutils, and for the official
# clients also Python 3.11 with venv, Node 20.14 with npm, openssl and curl; works from a fresh clone.
# Power cuts need FUSE, attacks 12,000 open files, and the dashboard a Chromium, which is installed on Debian
# where that is allowed: where a machine does not allow them, that is said.
# Every step is bounded in time. Measurements are kept under artifacts/, and test data when a step
# fails; nothing else is left behind.
#
# Environment:
#   CARGO_TARGET_DIR   where builds go (default: target/)
#   TEST_DIR           where test data goes; it must be on a disk that does direct I/O, which a
#                      tmpfs may not (default: tmp/ in the target directory)
#
# Exit: 0 all well, 1 a step failed or took too long, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"

fast=false
while (($# > 0)); do
  case $1 in
    --fast) fast=true && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

target=${CARGO_TARGET_DIR:-$root/target}
mkdir --parents "${TEST_DIR:-$target/tmp}"
work=$(mktemp --directory --tmpdir="${TEST_DIR:-$target/tmp}" thalweg-test.XXXXXX)
# Some tests run a server as another user, who must find it there.
chmod 711 "$work"
export TMPDIR=$work
thalweg=$target/release/thalweg
loadgen=$target/release/loadgen
artifacts=$root/artifacts
title=
step_start=0

cleanup() {
  local status=$?
  kill_server
  if ((status != 0)); then
    echo "test: FAILED${title:+ at \"$title\"} (status $status); kept $work" >&2
    exit 1
  fi
  rm --recursive --force -- "$work"
}
trap cleanup EXIT

# begin TITLE: opens a step.
begin() {
  title=$1
  step_start=$SECONDS
  printf '\n== %s\n' "$title"
}

end() {
  printf -- '-- %s: %d s\n' "$title" $((SECONDS - step_start))
  title=
}

# step LIMIT TITLE COMMAND...: runs a command as a step, at most LIMIT seconds.
step() {
  local limit=$1
  begin "$2"
  shift 2
  timeout --kill-after=10 "$limit" "$@"
  end
}

# step_where_possible LIMIT TITLE COMMAND...: the same for a command that says with status 3 that this
# machine does not allow it.
step_where_possible() {
  local limit=$1 status=0
  begin "$2"
  shift 2
  timeout --kill-after=10 "$limit" "$@" || status=$?
  case $status in
    0) ;;
    3) echo "not tried: this machine does not allow it" ;;
    *) return "$status" ;;
  esac
  end
}

# measure NAME ARGUMENT...: runs the load generator and keeps what it says under artifacts/NAME.
# A generator that was too slow for its own latency figures (status 3) says so and fails nothing:
# that is about this machine's load, not about the server.
measure() {
  local out=$artifacts/$1 status=0
  shift
  mkdir --parents "$out"
  timeout 120 "$loadgen" "$@" --out "$out" >"$out/summary.txt" 2>"$out/progress.txt" || status=$?
  cat "$out/summary.txt"
  if ((status != 0 && status != 3)); then
    tail --lines=20 "$out/progress.txt" >&2
    return 1
  fi
}

# The median of the disk alone (the first size is 4 KiB), and of appends over one connection, in
# microseconds; empty when it was withheld.
disk_p50() { awk -F '[:,]' '/"p50_us"/ { print $2 + 0; exit }' "$artifacts/disk/disk.json"; }
append_p50() {
  sed --quiet 's/.*"latency_us": *{[^}]*"p50": *\([0-9.]*\).*/\1/p' \
    "$artifacts/append-1/result.json"
}

# lint CRATE TARGET: clippy for a crate with a workspace of its own.
lint() {
  step 600 "clippy of $1" cargo clippy --all-targets --locked \
    --manifest-path "$1/Cargo.toml" --target-dir "$target/$2" -- -D warnings
}

# check CRATE TARGET ARGUMENT...: its tests.
check() {
  step 600 "tests of $1" cargo test --locked \
    --manifest-path "$1/Cargo.toml" --target-dir "$target/$2" "${@:3}"
}

latency() {
  rm --recursive --force -- "$artifacts"/{disk,append-1,append-64,append-64-open,tail,ratio.txt}
  mkdir --parents "$artifacts" "$work/disk"
  local load=(append --record-bytes 1024 --streams 1)

  echo "the disk alone"
  measure disk disk --dir "$work/disk" --duration 3s
  start_server 60 "$work/data"
  echo
  # The warm-up outlasts the zeros that a fresh directory is filled with.
  echo "durable appends, 1 connection"
  measure append-1 "${load[@]}" --url "$url" --seed 1 --connections 1 --rate max \
    --warmup 4s --duration 3s
  echo
  echo "durable appends, 64 connections, as fast as answers come"
  measure append-64 "${load[@]}" --url "$url" --seed 2 --connections 64 --rate max \
    --warmup 500ms --duration 3s --verify
  echo
  echo "durable appends, 64 connections, on a schedule"
  measure append-64-open "${load[@]}" --url "$url" --seed 3 --connections 64 --rate 500 \
    --warmup 500ms --duration 5s --verify
  echo
  echo "durable appends in sessions over HTTP/2, and what readers that follow them see"
  measure tail tail --url "$url" --seed 4 --writers 4 --readers 4 --streams 2 --rate 200 \
    --protocol s2s --http 2 --record-bytes 1024 --warmup 500ms --duration 3s
  stop_server 30
  echo
  awk -v raw="$(disk_p50)" -v one="$(append_p50)" 'BEGIN {
    if (raw + 0 == 0 || one + 0 == 0) { print "ratio: not measured (figures were withheld)"; exit }
    printf "ratio: median ack %.1f us / median raw 4 KiB write+sync %.1f us = %.2f\n",
      one, raw, one / raw
  }' | tee "$artifacts/ratio.txt"
}

step 60 "format" cargo fmt --all --check
for crate in tests/clients/rust tests/histories tests/power tests/bucket-proxy fuzz; do
  step 60 "format of $crate" cargo fmt --check --manifest-path "$crate/Cargo.toml"
done
step 900 "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
step 1200 "tests" cargo test --workspace --locked
RUSTDOCFLAGS="-D warnings" step 300 "documentation" cargo doc --workspace --no-deps --locked

if ! $fast; then
  step 1200 "release build" cargo build --release --workspace --bins --locked
  lint tests/clients/rust sdk
  lint tests/histories sdk
  lint tests/power power
  lint tests/bucket-proxy bucket-proxy
  lint fuzz .
  step 1500 "official clients" env THALWEG_BIN="$thalweg" "$root/scripts/clients.sh"
  step 60 "what the server's page computes" node --experimental-detect-module --test \
    tests/dashboard/history.test.js tests/dashboard/deletion.test.js
  step 600 "official clients with tokens, under TLS" env THALWEG_BIN="$thalweg" \
    "$root/scripts/clients.sh" --root-token --tls
  # Not joined by &&: that would let a failure inside pass.
  begin "latency"
  latency
  end
  export THALWEG_BIN=$thalweg LOADGEN_BIN=$loadgen
  step 300 "the guide, as a reader follows it" "$root/scripts/guide.sh"
  step_where_possible 700 "the dashboard in a browser" env BROWSER_SECONDS=300 \
    "$root/scripts/browser.sh" --install
  step 180 "latency by phase, and against the last kept" "$root/scripts/latency.sh"
  step 180 "cost curves can be measured" "$root/scripts/curves.sh" --quick
  step 300 "kills under load" "$root/scripts/crash.sh" --rounds 5
  check tests/histories sdk
  step 300 "histories under kills" "$root/scripts/histories.sh" --histories 9
  check fuzz . --test replay
  step 600 "the bucket, on an S3 server with faults" "$root/scripts/bucket.sh" on_s3
  step 300 "a takeover under load" "$root/scripts/takeover.sh" --runs 1 --seed 1 --only paused
  check tests/power power
  step_where_possible 300 "power cuts" "$root/scripts/power.sh" --cuts 12
  step_where_possible 120 "a disk that lies is found out" "$root/scripts/power.sh" --cuts 40 \
    --lying-sync --expect-loss
  step_where_possible 300 "what a slow recovery tells" "$root/scripts/recovering.sh"
  step_where_possible 300 "attacks" "$root/scripts/abuse.sh" --seconds 2
  step 900 "planted bugs" "$root/scripts/controls.sh"
fi

printf '\ntest: all well in %d s\n' "$SECONDS"
