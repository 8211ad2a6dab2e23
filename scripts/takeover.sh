#!/usr/bin/env bash
# Takes a server's shards over through the bucket, under load, and checks what clients were told.
#
# Usage: scripts/takeover.sh [--runs N] [--seed S] [--only CASE[,CASE]] [--load-ms N] [--keep]
#
#   --runs N      how many of each case (default 5)
#   --seed S      decides when it happens and what else goes wrong (default: from the clock; always
#                 printed); run K is the only one of `--runs 1 --seed (S + K - 1)`
#   --only CASE   some of these (default: all)
#                   takeover   the owner is killed, and a server with an empty directory replaces it;
#                              one time in four that one is killed at its start, and a third comes
#                   paused     the owner is stopped, another takes over, and the owner goes on
#                   cut-off    the owner loses the bucket, another takes over, clients reach both, and
#                              the owner finds the bucket again
#   --load-ms N   length of the load (default 5000)
#   --keep        keep the working directory also when all is well
#
# The bucket is moto's S3 server, behind a proxy of ours that takes 100 ms for each request and, every
# second run, loses, repeats, delays and refuses some. Clients reach the servers through an address
# that stays (the proxy's front): connections stay with the server that they have, new ones go where
# servers are.
#
# Checked in every run:
# * loadgen's journals: every Standard append that was acknowledged is there, once, whole, at its
#   number; so is every Express one that was in the bucket before; of later Express ones nothing is
#   there twice, torn or changed, and what is gone is gone as promised;
# * no number of a Standard stream was acknowledged twice, so no two owners acknowledged;
# * histories: clients that append at once to a Standard stream (plain, match_seq_num, fencing) were
#   told, and at the end read, what one order explains, across the takeover. What they ask in between is
#   no part of it: reads show what is on the owner's disk, which may not be in the bucket yet, and an
#   owner that does not know of the takeover answers them from what it has;
# * the old owner ends by itself, with an error that names the takeover, and one time in four its
#   directory is refused afterwards;
# * the new owner still serves at the end.
#
# Needs Rust, bash, curl, jq, Python 3.11 with venv.
#
# Environment:
#   THALWEG_BIN, LOADGEN_BIN   default: release/ in the target directory
#   CARGO_TARGET_DIR           where builds go (default: target/)
#   TEST_DIR                   where test data goes; it must be on a disk that does direct I/O, which
#                              a tmpfs may not (default: tmp/ in the target directory)
#
# Output: one line for each case, "takeover: case=.. runs=.. takeover_ms_p50=.. ..".
# Exit: 0 all well, 1 a fault (the working directory is kept), 2 wrong usage or a tool is missing.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
# shellcheck source=scripts/moto.sh
source "$root/scripts/moto.sh"
# shellcheck source=scripts/takeover-steps.sh
source "$root/scripts/takeover-steps.sh"

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

runs=5
seed=$(($(date +%s) % 1000000))
only=takeover,paused,cut-off
load_ms=5000
keep=false
while (($# > 0)); do
  case $1 in
    --runs) runs=${2:-} && shift ;;
    --seed) seed=${2:-} && shift ;;
    --only) only=${2:-} && shift ;;
    --load-ms) load_ms=${2:-} && shift ;;
    --keep) keep=true ;;
    *) usage ;;
  esac
  shift || usage
done
[[ $runs =~ ^[1-9][0-9]{0,4}$ && $seed =~ ^[0-9]{1,9}$ && $load_ms =~ ^[1-9][0-9]{2,5}$ ]] || usage
[[ $only =~ ^(takeover|paused|cut-off)(,(takeover|paused|cut-off))*$ ]] || usage
seed=$((10#$seed))

target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
histories=$target/sdk/debug/histories
proxy=$target/bucket-proxy/debug/bucket-proxy
for program in "$thalweg" "$loadgen"; do
  if [[ ! -x $program ]]; then
    echo "takeover: no $program; build it or set THALWEG_BIN, LOADGEN_BIN" >&2
    exit 2
  fi
done
for tool in curl jq python3; do
  command -v "$tool" >/dev/null || { echo "takeover: needs $tool" >&2 && exit 2; }
done
timeout --kill-after=10 900 cargo build --quiet --locked \
  --manifest-path tests/histories/Cargo.toml --target-dir "$target/sdk"
timeout --kill-after=10 300 cargo build --quiet --locked \
  --manifest-path tests/bucket-proxy/Cargo.toml --target-dir "$target/bucket-proxy"
install_moto

mkdir --parents "${TEST_DIR:-$target/tmp}"
home=$(mktemp --directory --tmpdir="${TEST_DIR:-$target/tmp}" thalweg-takeover.XXXXXX)
work=$home
proxy_pid=
old_pid=
load_pids=()

cleanup() {
  local status=$?
  for pid in "${load_pids[@]}" $old_pid $proxy_pid; do
    kill -KILL "$pid" 2>/dev/null || true
  done
  kill_server
  stop_moto
  if ((status == 0)) && ! $keep; then
    rm --recursive --force -- "$home"
  else
    echo "takeover: kept $home" >&2
  fi
}
trap cleanup EXIT

# Small, so that segments are sealed and checkpoints written, too.
export THALWEG_SEGMENT_BYTES=8388608
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_ALLOW_HTTP=true
echo "takeover: seed=$seed runs=$runs only=$only load_ms=$load_ms" >&2
start_moto 60
make_bucket

for case in ${only//,/ }; do
  took=() p50s=() p99s=() acked=0 express_lost=0 operations=0 faults=0
  for ((number = 1; number <= runs; number++)); do
    own=$((seed + number - 1))
    one_run
    $keep || rm --recursive --force -- "$run"
  done
  echo "takeover: case=$case runs=$runs acked=$acked lost=0 doubled=0 torn=0 wrong=0" \
    "linearizable=$runs operations=$operations express_lost=$express_lost faults=$faults" \
    "takeover_ms_p50=$(middle "${took[@]}") takeover_ms_max=$(largest "${took[@]}")" \
    "standard_ack_ms_p50=$(middle "${p50s[@]}") standard_ack_ms_p99_worst=$(largest "${p99s[@]}")" \
    "seed=$seed"
done
