#!/usr/bin/env bash
# Cuts the power of a server's disk, again and again, and checks that nothing acknowledged was lost.
#
# Usage: scripts/power.sh [--cuts N] [--seed N] [--round-ms N] [--keep]
#          [--expect-loss] [--lying-sync] [--lying-names]
#
#   --cuts N        cuts (default 200)
#   --seed N        decides times, loads, faults, and what each cut takes (default: from the clock;
#                   always printed). Timing still differs from run to run
#   --round-ms N    length of each round's load in milliseconds (default 1500)
#   --lying-sync    a disk that calls files synced and does nothing: the check must fail
#   --lying-names   the same for directories
#   --expect-loss   turns the result round: 0 when a fault was found, else 1. With a lying disk, or
#                   with a server in THALWEG_BIN that is known to be bad, this tests the check
#   --keep          keep the working directory also when all is well
#
# The shipped server runs on a file system of ours (tests/power, through FUSE), which keeps what was
# not synced aside. A round: load with a journal (in turn JSON over HTTP/1.1, S2S sessions over
# HTTP/2, protobuf over HTTP/2); at a random time the power goes, and the file system decides by
# seed which un-synced writes are kept, lost or torn, in which order, and which names and lengths.
# From that moment on the server gets no answer from its disk; a little later it is killed. (In one
# of three cuts it is killed first, and then the power goes.) Start again; in one of four rounds
# the power goes once more during recovery; the load goes on; then read back what this round and
# those before on the same streams were told. Every few rounds these streams are deleted and new
# ones made, so that segments become free and are used again: what was deleted stays deleted. The
# tails that the server told just before a cut do not step back: readers may have seen what is below
# them. Some rounds have a fault before the cut:
#
#   * syncs fail, or writes do (EIO): no append may be acknowledged any more until a restart, all
#     that were are there later and are read meanwhile;
#   * reads fail (EIO): old records are refused with 500 `storage`, appends go on, and afterwards
#     the same records are read;
#   * the disk is full (ENOSPC) for a while: appends go on afterwards, without a restart;
#   * writes and syncs take up to 20 and 60 ms;
#   * the server is killed and started without a cut: it then reads what no sync has covered, and
#     the cut comes when it has gone on from there.
#
# Twenty cuts or so hit one data directory; then all of it is read back, `thalweg verify` looks at
# it, and the next disk is a new one, whose power goes first while the directory is being made.
#
# Needs /dev/fuse and the right to mount (root, or fusermount3), and curl. Listens on loopback.
#
# Environment:
#   THALWEG_BIN      server binary (default: release build of this tree)
#   LOADGEN_BIN      load generator (default: release build of this tree)
#   POWER_DISK_BIN   the file system (default: built from tests/power)
#   TEST_DIR         where the working directory goes (default: tmp/ in the target directory)
#
# Output: one line, "power: cuts=.. acked=.. lost=.. duplicated=.. torn=.. wrong=.. ..", with what
# the cuts met: un-synced writes kept, dropped, torn, and those that are there without an earlier
# one of the same file (reordered); un-synced lengths and names, and how many of them were kept.
# Exit: 0 all well, 1 a fault (the working directory is kept), 2 wrong usage, 3 not possible here, 4 the
# check itself did not work.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
power_disk=${POWER_DISK_BIN:-}
test_dir=${TEST_DIR:-$target/tmp}

cuts_wanted=200
seed=$(($(date +%s) % 1000000))
round_ms=1500
keep=false
lies=()
lies_on=false
expect_loss=false
again=()
while (($# > 0)); do
  case $1 in
    --cuts) cuts_wanted=${2:?} && shift 2 ;;
    --seed) seed=${2:?} && shift 2 ;;
    --round-ms) round_ms=${2:?} && shift 2 ;;
    --keep) keep=true && shift ;;
    --lying-sync) lies+=(lie) && again+=("$1") && shift ;;
    --lying-names) lies+=(lie-names) && again+=("$1") && shift ;;
    --expect-loss) expect_loss=true && again+=("$1") && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done
RANDOM=$((seed % 32768))
readonly cuts_per_disk=20
readonly rounds_per_streams=4

if [[ ! -c /dev/fuse ]] || ! (: <>/dev/fuse) 2>/dev/null; then
  echo "power: /dev/fuse is missing or may not be opened" >&2
  exit 3
fi
for needed in "$thalweg" "$loadgen" curl; do
  if ! command -v "$needed" >/dev/null; then
    echo "power: cannot check: $needed is missing" >&2
    exit 4
  fi
done
if [[ -z $power_disk ]]; then
  timeout 600 cargo build --quiet --locked --manifest-path "$root/tests/power/Cargo.toml" \
    --target-dir "$target/power" || exit 4
  power_disk=$target/power/debug/power-disk
fi

mkdir --parents "$test_dir"
work=$(mktemp --directory --tmpdir="$test_dir" power.XXXXXX)
mkdir "$work/mnt"
data=$work/mnt/data
port=0
server_pid=
load_pid=
disk_pid=
starts=0
disks=0
cuts=0
round=0
acked=0
acked_here=0
declare -A total=()

# shellcheck source=scripts/disk.sh
source "$root/scripts/disk.sh"
# shellcheck source=scripts/power-checks.sh
source "$root/scripts/power-checks.sh"
# shellcheck source=scripts/power-faults.sh
source "$root/scripts/power-faults.sh"

cleanup() {
  local status=$?
  trap - EXIT
  # The load runs under `timeout`, which hands it this signal and no other.
  [[ -z $load_pid ]] || kill -TERM "$load_pid" 2>/dev/null || true
  [[ -z $server_pid ]] || kill -KILL "$server_pid" 2>/dev/null || true
  # Who waits for the disk ends only when it has an answer.
  [[ -z ${disk[1]:-} ]] || echo off 2>/dev/null >&"${disk[1]}" || true
  for pid in $load_pid $server_pid; do
    wait "$pid" 2>/dev/null || true
  done
  [[ -z $disk_pid ]] || kill_disk
  unmount_disk
  if ((status == 0)) && ! $keep; then
    rm --recursive --force --one-file-system -- "$work"
  else
    echo "power: kept $work" >&2
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 4' INT TERM

sleep_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

# The check itself did not work: nothing is said of the server.
trouble() {
  echo "power: cannot check: $* (disk $disks, round $round)" >&2
  tail --lines=20 "$work/server.$starts.log" >&2 || true
  exit 4
}

# The server has lost something, or does not do what it must.
fault() {
  local repeat="--seed $seed --cuts $cuts_wanted --round-ms $round_ms ${again[*]}"
  echo "power: FAULT on disk $disks in round $round after $cuts cuts: $*" >&2
  echo "power: repeat with scripts/power.sh $repeat" >&2
  tail --lines=20 "$work/server.$starts.log" >&2 || true
  # Before its disk lies, nothing is to be expected.
  if $expect_loss && ((${#lies[@]} == 0)) || $expect_loss && $lies_on; then
    echo "power: cuts=$cuts a fault was found, as expected: $*"
    exit 0
  fi
  if [[ -n $server_pid ]]; then
    kill -KILL "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
  fi
  timeout 60 cp --recursive --sparse=always "$data" "$work/data-after" || true
  exit 1
}

# tell COMMAND: gives the disk a command; leaves its answer in $answer.
tell() {
  echo "$*" >&"${disk[1]}"
  read -r -t 30 answer <&"${disk[0]}" || trouble "the disk does not answer: $*"
  [[ $answer != unknown* ]] || trouble "$answer"
}

start_disk() {
  disks=$((disks + 1))
  lies_on=false
  cuts_here=0
  journals=()
  probe_journals=()
  deleted=()
  coproc disk { exec "$power_disk" --seed "$((seed + disks))" "$work/mnt"; }
  disk_pid=$!
  local answer=
  read -r -t 30 answer <&"${disk[0]}" || true
  if [[ $answer != mounted ]] && ((disks == 1)); then
    echo "power: a file system cannot be mounted here: ${answer:-no answer}" >&2
    exit 3
  fi
  [[ $answer == mounted ]] || trouble "the disk does not start: $answer"
  pace
}

# Writes and syncs take a little time, as on a disk: there is more to lose. Sometimes they are
# quick: then the server may write and sync with plain system calls.
pace() {
  if ((RANDOM % 4)); then
    tell fault delay "$((RANDOM % 500))" "$((100 + RANDOM % 4000))"
  else
    tell fault delay 20 100
  fi
}

start_server() {
  starts=$((starts + 1))
  local log=$work/server.$starts.log
  : >"$log"
  "$thalweg" serve --listen "127.0.0.1:$port" --data-dir "$data" "${settings[@]}" >"$log" 2>&1 &
  server_pid=$!
}

# Waits at most 60 seconds until the server serves; learns its port at the first start.
wait_ready() {
  local log=$work/server.$starts.log deadline=$((SECONDS + 60))
  until grep --quiet '^listening on ' "$log"; do
    kill -0 "$server_pid" 2>/dev/null || fault "the server does not start: $(tail --lines=1 "$log")"
    ((SECONDS < deadline)) || fault "the server does not serve within 60 s"
    sleep 0.01
  done
  port=$(sed --quiet 's|^listening on http://.*:\([0-9][0-9]*\)$|\1|p' "$log")
}

# Cuts the power under the server, ends it, and gives power again.
cut_power() {
  cuts=$((cuts + 1))
  cuts_here=$((cuts_here + 1))
  if ((RANDOM % 3)); then
    tell cut "$((seed * 1000003 + cuts))"
    sleep_ms $((RANDOM % 20))
    kill -KILL "$server_pid" 2>/dev/null || true
  else
    kill -KILL "$server_pid" 2>/dev/null || true
    tell cut "$((seed * 1000003 + cuts))"
  fi
  # A process that waits for its disk ends only when it has an answer.
  tell off
  wait "$server_pid" 2>/dev/null || true
  server_pid=
  tell on
}

# A short load on streams of its own, while the other one goes on. $probed is how many of its
# appends were acknowledged.
probe() {
  local number=$((10000 + ++probes)) status=0
  local journal=$work/probe.$number.journal
  timeout 30 "$loadgen" append --url "http://127.0.0.1:$port" --journal "$journal" --run "$number" \
    --seed 7 --streams 4 --connections 4 --rate max --duration 400ms --connect-retry 2s \
    --request-timeout 2s >"$work/probe.$number.log" 2>&1 || status=$?
  ((status == 0 || status == 4)) || trouble "the small load ended with status $status"
  probed=0
  if [[ -s $journal ]]; then
    probed=$(grep --count '^A ' "$journal" || true)
    probe_journals+=("$journal")
  fi
}

start_load() {
  local class=standard bytes_max=1500 connections=$((1 + RANDOM % 32))
  local -a way
  ((streams % 2)) || class=express
  case $((round % 3)) in
    0) way=(--protocol json) ;;
    1) way=(--protocol s2s --http 2 --depth 8) ;;
    2) way=(--protocol proto --http 2 --depth 4) ;;
  esac
  ((RANDOM % 4)) || bytes_max=30000
  # One append at a time.
  ((RANDOM % 4)) || { connections=1 && way=(--protocol json); }
  journal=$work/round.$round.journal
  load_log=$work/load.$round.log
  timeout 120 "$loadgen" append --url "http://127.0.0.1:$port" --journal "$journal" --run "$round" \
    --seed "$streams" --storage-class "$class" --rate max --duration "${round_ms}ms" \
    "${way[@]}" \
    --connections "$connections" --streams "$((1 + RANDOM % 8))" \
    --record-bytes "$((23 + RANDOM % bytes_max))" --records-per-batch "$((1 + RANDOM % 20))" \
    --connect-retry 60s --request-timeout 10s >"$load_log" 2>&1 &
  load_pid=$!
  # The journal begins when the streams exist: from then on it is the load that is hit.
  local deadline=$((SECONDS + 60))
  until [[ -s $journal ]]; do
    ((SECONDS < deadline)) || trouble "the load does not begin"
    kill -0 "$load_pid" 2>/dev/null || break
    sleep 0.01
  done
}

end_load() {
  local status=0
  wait "$load_pid" || status=$?
  load_pid=
  if ((status != 0)); then
    tail --lines=3 "$load_log" >&2
    kill -0 "$server_pid" 2>/dev/null || fault "the server ended by itself"
    # The power may go before the load has opened all its connections: then there was no load.
    local -r reasons='opening an append session|connecting|no append was'
    if grep --quiet --extended-regexp "^loadgen: ($reasons)" "$load_log"; then
      not_begun=$((not_begun + 1))
    else
      trouble "the load ended with status $status"
    fi
  fi
}

# The first start of a server, with the power going once or twice meanwhile.
first_start() {
  settings=(--shards "$((1 + RANDOM % 3))" --segment-bytes 8388608 --checkpoint-bytes 1048576)
  local interruptions=$((RANDOM % 3))
  for ((; interruptions > 0; interruptions--)); do
    start_server
    sleep_ms $((RANDOM % 80))
    cut_power
  done
  start_server
  wait_ready
  probe
  ((probed > 0)) || fault "a new server acknowledges nothing"
}

run_round() {
  local kind=$((RANDOM % 12))
  round=$((round + 1))
  start_load
  sleep_ms $((100 + RANDOM % (round_ms / 2)))
  case $kind in
    0) failing_syncs ;;
    1) full_disk ;;
    2)
      tell fault delay 20000 60000
      sleep_ms 200
      delay_rounds=$((delay_rounds + 1))
      ;;
    3)
      kill -KILL "$server_pid" 2>/dev/null || true
      wait "$server_pid" 2>/dev/null || true
      start_server
      wait_ready
      ((RANDOM % 2)) || sleep_ms $((RANDOM % 200))
      kill_rounds=$((kill_rounds + 1))
      ;;
    4) failing_writes ;;
    5) failing_reads ;;
  esac
  note_tails
  cut_power
  tell fault eio off
  pace
  start_server
  if ((RANDOM % 4 == 0)); then
    sleep_ms $((RANDOM % 200))
    cut_power
    start_server
  fi
  wait_ready
  check_tails
  end_load
  journals+=("$journal")
  verify "${journals[@]}"
  echo "power: disk $disks round $round kind $kind: ${verdict#verify: }" >&2
}

# Deletes the streams of the last rounds, which have just been read back; the next are new ones.
delete_streams() {
  local name names
  acked=$((acked + acked_here))
  # The most that any of the rounds has made: all names are in the headers.
  names=$(head --quiet --lines=1 "${journals[@]}" | grep --only-matching 'loadgen-[0-9]*-[0-9]*')
  for name in $(sort --unique <<<"$names"); do
    ask DELETE "$name"
    [[ $status == 20[0-9] ]] || fault "DELETE of stream $name was answered $status"
    deleted+=("$name")
  done
  journals=()
  streams=$((streams + 1))
}

# Reads everything back that this disk was told, and has the server's own check look at it.
end_disk() {
  acked=$((acked + acked_here))
  verify "${probe_journals[@]}"
  acked=$((acked + acked_here))
  check_deleted
  kill -TERM "$server_pid"
  local deadline=$((SECONDS + 30)) word
  while kill -0 "$server_pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.02; done
  kill -KILL "$server_pid" 2>/dev/null && fault "the server does not end within 30 s"
  wait "$server_pid" || fault "the server ended with status $? when it was asked to end"
  server_pid=
  timeout 120 "$thalweg" verify "$data" >"$work/thalweg-verify.log" 2>&1 ||
    fault "thalweg verify: $(tail --lines=1 "$work/thalweg-verify.log")"
  tell stats
  for word in $answer; do
    total[${word%%=*}]=$((${total[${word%%=*}]:-0} + ${word#*=}))
  done
  kill_disk
  rm --force -- "$work"/{round,probe}.*.journal "$work"/{load,probe}.*.log "$work"/server.*.log
}

probes=0
streams=100
tails_told=()
tails_checked=0
not_begun=0
eio_rounds=0
write_rounds=0
read_rounds=0
reads_refused=0
full_rounds=0
delay_rounds=0
kill_rounds=0
echo "power: seed=$seed cuts=$cuts_wanted round_ms=$round_ms ${again[*]}" >&2
while ((cuts < cuts_wanted)); do
  start_disk
  first_start
  for lie in "${lies[@]}"; do tell fault "$lie" on && lies_on=true; done
  while ((cuts < cuts_wanted && cuts_here < cuts_per_disk)); do
    ((${#journals[@]} < rounds_per_streams)) || delete_streams
    run_round
  done
  end_disk
done

echo "power: cuts=$cuts acked=$acked lost=0 duplicated=0 torn=0 wrong=0 disks=$disks" \
  "rounds=$round not_begun=$not_begun tails=$tails_checked" \
  "eio=$eio_rounds eio_writes=$write_rounds eio_reads=$read_rounds" \
  "reads_refused=$reads_refused enospc=$full_rounds delay=$delay_rounds kill=$kill_rounds" \
  "writes=${total[writes]} syncs=${total[syncs]} refused_full=${total[refused_full]}" \
  "unsynced_kept=${total[kept]} unsynced_dropped=${total[dropped]}" \
  "unsynced_torn=${total[torn]} reordered=${total[reordered]}" \
  "lengths=${total[lengths]} lengths_kept=${total[lengths_kept]}" \
  "names=${total[names]} names_kept=${total[names_kept]}" \
  "ms_per_cut=$((SECONDS * 1000 / cuts))"
if $expect_loss; then
  echo "power: no fault was found, though one was expected" >&2
  exit 1
fi
