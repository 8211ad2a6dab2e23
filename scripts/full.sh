#!/usr/bin/env bash
# Fills a small file system under the server, and checks that this costs nothing but appends.
#
# Usage: scripts/full.sh [--fs ext4|xfs] [--mib N]
#
#   --fs NAME   file system to make (default: ext4 and xfs, one after the other)
#   --mib N     its size in MiB (default 320; xfs takes no less than 300)
#
# On a loop device: appends until they are refused, which must be with a retryable code and before
# any effect; then reads, a trim and a deletion must work; then appends must work again by
# themselves, without a restart; at the end, after a kill, everything acknowledged must be there.
# Needs root (loop devices, mount), mkfs of the file system, curl.
#
# Environment: THALWEG_BIN (default: release build of this tree).
# Output: a line per file system. Exit: 0 all well, 1 a fault, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}

systems=(ext4 xfs)
mib=320
while (($# > 0)); do
  case $1 in
    --fs) systems=("${2:?}") && shift 2 ;;
    --mib) mib=${2:?} && shift 2 ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

work=$(mktemp --directory --tmpdir thalweg-full.XXXXXX)
mounted=false

cleanup() {
  local status=$?
  kill_server
  if $mounted; then umount "$work/mnt"; fi
  if ((status == 0)); then
    rm --recursive --force -- "$work"
  else
    echo "full: FAILED; kept $work" >&2
  fi
}
trap cleanup EXIT

fail() {
  echo "full: $*" >&2
  tail --lines=20 "$work/server.log" >&2 || true
  exit 1
}

start_small() {
  start_server 60 "$work/mnt/data" --shards 1 --segment-bytes 8388608 --checkpoint-bytes 8388608
}

# call METHOD PATH [BODY]: leaves the status in $status and the answer in $work/answer.
call() {
  local -a body=()
  if (($# > 2)); then body=(--header "content-type: application/json" --data-binary "$3"); fi
  status=$(curl --silent --max-time 30 --request "$1" --header "s2-basin: full-basin" \
    --output "$work/answer" --write-out '%{http_code}' "${body[@]}" "$url/v1/$2") || status=000
}

expect() {
  local wanted=$1
  shift
  call "$@"
  [[ $status == "$wanted" ]] || fail "$1 $2: $status instead of $wanted: $(head --bytes=300 "$work/answer")"
}

# The end of a stream.
tail_of() {
  expect 200 GET "streams/$1/records/tail"
  sed --quiet 's/.*"seq_num":\([0-9]*\).*/\1/p' "$work/answer"
}

# Appends to stream $1 until an append is refused; leaves how many were taken in $taken.
fill() {
  local deadline=$((SECONDS + 120))
  taken=0
  while ((SECONDS < deadline)); do
    call POST "streams/$1/records" "@$work/batch"
    if [[ $status != 200 ]]; then return; fi
    taken=$((taken + 1))
  done
  fail "the disk does not get full"
}

one() {
  local fs=$1 deadline tail
  rm --force -- "$work/disk"
  truncate --size="${mib}M" "$work/disk"
  "mkfs.$fs" -q "$work/disk" 2>"$work/mkfs.log" || fail "mkfs.$fs: $(cat "$work/mkfs.log")"
  mkdir --parents "$work/mnt"
  mount -o loop "$work/disk" "$work/mnt"
  mounted=true
  start_small
  expect 201 POST basins '{"basin":"full-basin"}'
  for stream in keep trim gone; do expect 201 POST streams "{\"stream\":\"$stream\"}"; done
  # 960 KiB in one batch.
  awk 'BEGIN { printf "{\"records\":["; for (i = 0; i < 15; i++) { printf "%s{\"body\":\"", i ? "," : ""; for (j = 0; j < 65536; j++) printf "x"; printf "\"}" } print "]}" }' >"$work/batch"

  # The oldest part is deleted later, so that whole segments come free.
  for ((i = 0; i < 60; i++)); do expect 200 POST streams/gone/records "@$work/batch"; done
  fill trim
  local first=$taken code
  code=$(sed --quiet 's/.*"code":"\([a-z_]*\)".*/\1/p' "$work/answer")
  [[ $status == 503 || $status == 502 || $status == 429 ]] || fail "refused with $status, not retryable"
  tail=$(tail_of trim)
  ((tail == taken * 15)) || fail "a refused append had an effect: tail $tail after $taken batches"
  expect 200 GET "streams/trim/records?seq_num=0&count=1"
  expect 200 GET "streams/gone/records?seq_num=0&count=1"

  # A trim command is taken on a full disk; its body is a big-endian u64, in base64.
  local keep_from trim
  keep_from=$((tail / 2))
  trim=$(printf "$(printf '\\x%02x' 0 0 0 0 0 0 $((keep_from / 256)) $((keep_from % 256)))" | base64)
  status=$(curl --silent --max-time 30 --header "s2-basin: full-basin" --header "s2-format: base64" \
    --header "content-type: application/json" --output "$work/answer" --write-out '%{http_code}' \
    --data-binary "{\"records\":[{\"headers\":[[\"\",\"dHJpbQ==\"]],\"body\":\"$trim\"}]}" \
    "$url/v1/streams/trim/records")
  [[ $status == 200 ]] || fail "a trim on a full disk: $status $(cat "$work/answer")"
  expect 202 DELETE streams/gone

  deadline=$((SECONDS + 60))
  until call POST streams/keep/records "@$work/batch" && [[ $status == 200 ]]; do
    ((SECONDS < deadline)) || fail "appends do not work again within 60 s: $status"
    sleep 0.2
  done
  fill keep
  tail=$(tail_of keep)
  kill_server
  start_small
  (($(tail_of keep) == tail)) || fail "the end of a stream changed"
  (($(tail_of trim) == first * 15 + 1)) || fail "the end of the trimmed stream changed"
  expect 404 GET streams/gone/records/tail
  expect 200 GET "streams/trim/records?seq_num=$keep_from&count=1"
  kill_server
  timeout 120 "$thalweg" verify "$work/mnt/data" >"$work/verify.log" || fail "verify: $(cat "$work/verify.log")"
  umount "$work/mnt"
  mounted=false
  echo "full: $fs of $mib MiB: refused ($code) after $((60 + first)) batches; $((tail / 15)) more after a trim and a deletion; nothing lost"
}

for fs in "${systems[@]}"; do one "$fs"; done
