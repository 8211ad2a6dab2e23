#!/usr/bin/env bash
# Starts a server whose disk reads slowly, and checks what it tells while it recovers its log.
#
# Usage: scripts/recovering.sh [--mib N] [--read-us N] [--keep]
#
#   --mib N       log to recover in MiB (default 32)
#   --read-us N   longest time of each read, in microseconds (default 40000)
#   --keep        keep the working directory also when all is well
#
# The shipped server runs on a file system of ours (tests/power, through FUSE). It is filled, killed,
# and started again on the same port while reads take their time. From its first answer on, /health
# must be 503 "recovering" with bytes read that grow and never step back, and everything else 503
# "unavailable" with a time to try again; then, without a moment of silence in between, 200, and
# everything acknowledged is there.
#
# Needs /dev/fuse and the right to mount (root, or fusermount3), and curl. Listens on loopback.
#
# Environment:
#   THALWEG_BIN      server binary (default: release build of this tree)
#   POWER_DISK_BIN   the file system (default: built from tests/power)
#   TEST_DIR         where the working directory goes (default: tmp/ in the target directory)
#
# Output: one line, how often /health answered and in how many steps the bytes grew.
# Exit: 0 all well, 1 a fault (the working directory is kept), 2 wrong usage, 3 not possible here, 4 the
# check itself did not work.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
# shellcheck source=scripts/disk.sh
source "$root/scripts/disk.sh"
target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
thalweg=${THALWEG_BIN:-$target/release/thalweg}
power_disk=${POWER_DISK_BIN:-}
test_dir=${TEST_DIR:-$target/tmp}

mib=32
read_us=40000
keep=false
while (($# > 0)); do
  case $1 in
    --mib) mib=${2:?} && shift 2 ;;
    --read-us) read_us=${2:?} && shift 2 ;;
    --keep) keep=true && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

if [[ ! -c /dev/fuse ]] || ! (: <>/dev/fuse) 2>/dev/null; then
  echo "recovering: /dev/fuse is missing or may not be opened" >&2
  exit 3
fi
for needed in "$thalweg" curl; do
  if ! command -v "$needed" >/dev/null; then
    echo "recovering: cannot check: $needed is missing" >&2
    exit 4
  fi
done
if [[ -z $power_disk ]]; then
  timeout 600 cargo build --quiet --locked --manifest-path "$root/tests/power/Cargo.toml" \
    --target-dir "$target/power" || exit 4
  power_disk=$target/power/debug/power-disk
fi

mkdir --parents "$test_dir"
work=$(mktemp --directory --tmpdir="$test_dir" recovering.XXXXXX)
mkdir "$work/mnt"
disk_pid=

cleanup() {
  local status=$?
  trap - EXIT
  [[ -z $server_pid ]] || kill -KILL "$server_pid" 2>/dev/null || true
  # Who waits for the disk ends only when it has an answer.
  [[ -z ${disk[1]:-} ]] || echo off 2>/dev/null >&"${disk[1]}" || true
  [[ -z $disk_pid ]] || kill_disk
  [[ -z $server_pid ]] || wait "$server_pid" 2>/dev/null || true
  unmount_disk
  if ((status == 0)) && ! $keep; then
    rm --recursive --force --one-file-system -- "$work"
  else
    echo "recovering: kept $work" >&2
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 4' INT TERM

# The check itself did not work: nothing is said of the server.
trouble() {
  echo "recovering: cannot check: $*" >&2
  tail --lines=20 "$work/server.log" >&2 || true
  exit 4
}

fault() {
  echo "recovering: FAULT: $*" >&2
  echo "recovering: repeat with scripts/recovering.sh --mib $mib --read-us $read_us" >&2
  tail --lines=20 "$work/server.log" >&2 || true
  exit 1
}

# tell COMMAND: gives the disk a command.
tell() {
  local answer=
  echo "$*" >&"${disk[1]}"
  read -r -t 30 answer <&"${disk[0]}" || trouble "the disk does not answer: $*"
  [[ $answer == ok ]] || trouble "$answer"
}

# call METHOD PATH [ARGUMENT...]: leaves the status in $status, the head in $work/head, the body in
# $work/answer; the status is 000 when there is no answer.
call() {
  local method=$1 path=$2
  shift 2
  status=$(curl --silent --max-time 30 --request "$method" --header "s2-basin: recovering-basin" \
    --header "content-type: application/json" --dump-header "$work/head" --output "$work/answer" \
    --write-out '%{http_code}' "$@" "$url$path") || status=000
}

expect() {
  local wanted=$1
  shift
  call "$@"
  [[ $status == "$wanted" ]] || fault "$1 $2: $status instead of $wanted: $(head --bytes=300 "$work/answer")"
}

# number NAME: the number of this name in the answer.
number() { sed --quiet "s/.*\"$1\":\\([0-9][0-9]*\\).*/\\1/p" "$work/answer"; }

coproc disk { exec "$power_disk" "$work/mnt"; }
disk_pid=$!
answer=
read -r -t 30 answer <&"${disk[0]}" || true
if [[ $answer != mounted ]]; then
  echo "recovering: a file system cannot be mounted here: ${answer:-no answer}" >&2
  exit 3
fi

# No checkpoint before the end: all of the log is read again.
settings=(--shards 1 --segment-bytes 67108864 --checkpoint-bytes 1073741824)
start_server 60 "$work/mnt/data" "${settings[@]}" || trouble "the server does not start"
expect 201 POST /v1/basins --data-binary '{"basin":"recovering-basin"}'
expect 201 POST /v1/streams --data-binary '{"stream":"s"}'
# 960 KiB in one batch.
awk 'BEGIN { printf "{\"records\":["; for (i = 0; i < 15; i++) { printf "%s{\"body\":\"", i ? "," : ""; for (j = 0; j < 65536; j++) printf "x"; printf "\"}" } print "]}" }' >"$work/batch"
for ((i = 0; i < mib; i++)); do expect 200 POST /v1/streams/s/records --data-binary "@$work/batch"; done
kill_server

tell fault delay-reads "$read_us"
listen=${url#http://}
"$thalweg" serve --listen "$listen" --data-dir "$work/mnt/data" "${settings[@]}" >"$work/server.log" 2>&1 &
server_pid=$!
answers=0
steps=0
last=-1
deadline=$((SECONDS + 120))
while true; do
  ((SECONDS < deadline)) || fault "the server does not serve within 120 s"
  kill -0 "$server_pid" 2>/dev/null || fault "the server ended"
  call GET /health
  if [[ $status == 000 ]] && ((answers == 0)); then
    sleep 0.01
    continue
  fi
  [[ $status != 200 ]] || break
  [[ $status == 503 ]] || fault "/health while recovering: $status after $answers answers"
  grep --quiet '"status":"recovering"' "$work/answer" || fault "/health: $(cat "$work/answer")"
  grep --quiet --ignore-case '^retry-after: 1' "$work/head" || fault "/health without retry-after"
  answers=$((answers + 1))
  read_bytes=$(number read_bytes)
  total_bytes=$(number total_bytes)
  [[ -n $read_bytes && -n $total_bytes ]] || fault "/health without progress: $(cat "$work/answer")"
  ((read_bytes >= last)) || fault "it had read $last bytes, now $read_bytes"
  ((read_bytes <= total_bytes)) || fault "$read_bytes bytes read of $total_bytes"
  if ((read_bytes > last && read_bytes > 0)); then steps=$((steps + 1)); fi
  last=$read_bytes
  if ((answers == 1)); then
    call GET /v1/streams/s/records/tail
    # Should the recovery have ended in between, it was too quick to be watched.
    [[ $status == 503 ]] || trouble "recovered too quickly: $status"
    grep --quiet '"code":"unavailable"' "$work/answer" || fault "a request: $(cat "$work/answer")"
    call POST /v1/streams/s/records --data-binary '{"records":[{"body":"early"}]}'
    [[ $status == 503 ]] || trouble "recovered too quickly: $status"
  fi
  sleep 0.05
done
((answers >= 5)) || trouble "recovered too quickly: $answers answers; try --read-us $((read_us * 4))"
((steps >= 3)) || fault "the bytes read grew in $steps steps only, in $answers answers"
((2 * last > mib * 1048576)) || fault "it had read $last bytes at the last look, of $mib MiB"

tell fault delay-reads 0
expect 200 GET /v1/streams/s/records/tail
tail=$(number seq_num)
((tail == mib * 15)) || fault "the tail is $tail instead of $((mib * 15)): what was refused counts, or something is lost"
expect 200 GET "/v1/streams/s/records?seq_num=$((tail - 1))&count=1"
expect 200 POST /v1/streams/s/records --data-binary '{"records":[{"body":"late"}]}'
stop_server 30 || fault "the server does not end in order"
echo "recovering: /health answered 503 $answers times and grew in $steps steps to $last bytes of $total_bytes; then 200, all $tail records there"
