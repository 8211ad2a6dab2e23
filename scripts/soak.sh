#!/usr/bin/env bash
# Hours of use in minutes: streams that stay between streams that are deleted or expire, with kills in
# between, on a small segment size. Asserts that space comes back, that memory is bounded, and at the
# end that every record that must be there is there and that the directory is whole.
#
# Usage: scripts/soak.sh [--seconds N] [--keep]
#
#   --seconds N   how long (default 900)
#   --keep        keep the working directory also when all is well
#
# Each round of about 20 s appends to 50 streams that stay (journalled), to 200 streams of a basin that
# is deleted a round later, and to 50 streams whose records expire after 15 s. In every third round the
# server is killed in the middle.
#
# Bounds, over all shards:
#   space    after each round, within 20 s: segment files * their length <= 2 * stored record bytes * 1.1
#            + a fixed reserve of 12 segments for each shard (two that are left alone, two that wait
#            for checkpoints and what two checkpoints are apart, the one in use, the next, two to be used
#            again, and some in between)
#   memory   resident memory never above 512 MiB; the second half's highest at most a quarter and
#            32 MiB above the first half's
#
# Environment: THALWEG_BIN, LOADGEN_BIN (default: release builds of this tree); TMPDIR on a disk that
# does direct I/O.
# Output: a line for each round, a summary. Exit: 0 all well, 1 a bound or a check failed, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}

seconds=900
keep=false
while (($# > 0)); do
  case $1 in
    --seconds) seconds=${2:?} && shift 2 ;;
    --keep) keep=true && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

readonly MIB=1048576 SHARDS=2 ROUND=20
readonly SEGMENT=$((16 * MIB)) MEMORY_MAX=$((512 * MIB))
readonly RESERVE=$((12 * SHARDS * SEGMENT))

work=$(mktemp --directory --tmpdir thalweg-soak.XXXXXX)
data=$work/data

trap 'clean_up soak' EXIT

fail() {
  echo "soak: $*" >&2
  exit 1
}

serve() {
  start_server 60 "$data" --shards "$SHARDS" --segment-bytes "$SEGMENT" \
    --checkpoint-bytes "$SEGMENT" --scrub-interval-secs 60
}

# metric NAME: its sum over all labels.
metric() {
  curl --silent --fail --max-time 10 "$url/metrics" |
    awk -v name="$1" 'index($1, name) == 1 { n = substr($1, length(name) + 1, 1)
      if (n == "" || n == "{") sum += $2 } END { printf "%.0f\n", sum }'
}

memory_bytes() { awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$server_pid/status"; }

segment_bytes() { echo $(($(find "$data" -name 'segment-*.log' | wc --lines) * SEGMENT)); }

# The bound on space: kept within 20 s, or never.
wait_for_space() {
  local deadline=$((SECONDS + 20)) used stored
  while :; do
    used=$(segment_bytes) stored=$(metric thalweg_stored_bytes)
    ((used <= stored * 22 / 10 + RESERVE)) && break
    ((SECONDS < deadline)) ||
      fail "$((used / MIB)) MiB of segments for $((stored / MIB)) MiB of records"
    sleep 0.5
  done
  space="$((used / MIB)) MiB of segments, $((stored / MIB)) MiB stored"
}

peaks=(0 0) # of the first half, of the second

watch_memory() {
  local bytes half=$((SECONDS > seconds / 2))
  bytes=$(memory_bytes 2>/dev/null) || return 0
  [[ -n $bytes ]] || return 0
  if ((bytes > peaks[half])); then peaks[half]=$bytes; fi
  ((bytes <= MEMORY_MAX)) || fail "$((bytes / MIB)) MiB of resident memory"
}

# load LOG ARGUMENT...: a load for one round, in the background.
load() {
  local log=$1
  shift
  # What it says of its own lateness (status 3), or of requests that a kill cut (status 1), is not what
  # this is about: journals say what must be there.
  timeout 90 "$loadgen" append --url "$url" --duration "${ROUND}s" --request-timeout 5s "$@" \
    >"$work/$log.log" 2>&1 || (($? == 1 || $? == 3)) || echo "$log" >>"$work/broken"
}

api() {
  local method=$1 path=$2
  shift 2
  curl --silent --show-error --fail --max-time 30 --request "$method" \
    --header 'content-type: application/json' "$@" "$url/v1/$path" >/dev/null
}

SECONDS=0
serve
api PUT basins/aged-basin --data \
  '{"config":{"default_stream_config":{"retention_policy":{"age":15}}}}'
journals=()
round=0 kills=0
while ((SECONDS < seconds)); do
  round=$((round + 1))
  journals+=(--journal "$work/kept-$round.journal")
  load kept --basin kept-basin --seed 1 --run "$round" --streams 50 --rate 100 --record-bytes 1024 \
    --connections 8 --journal "$work/kept-$round.journal" &
  loads=($!)
  load churned --basin "churned-basin-$round" --seed 2 --streams 200 --rate 1500 --record-bytes 4096 \
    --connections 32 &
  loads+=($!)
  load aged --basin aged-basin --seed 3 --run "$round" --streams 50 --rate 500 --record-bytes 4096 \
    --connections 16 &
  loads+=($!)
  ends=$((SECONDS + ROUND)) kill_at=0
  if ((round % 3 == 0)); then kill_at=$((SECONDS + 5 + RANDOM % 10)); fi
  while ((SECONDS < ends)); do
    if ((kill_at > 0 && SECONDS >= kill_at)); then
      kill_server
      kills=$((kills + 1)) kill_at=0
      break
    fi
    watch_memory
    sleep 0.5
  done
  wait "${loads[@]}"
  [[ ! -e $work/broken ]] || fail "a load ended otherwise than it should: $(<"$work/broken")"
  [[ -n $server_pid ]] || serve
  if ((round > 1)); then api DELETE "basins/churned-basin-$((round - 1))"; fi
  wait_for_space
  watch_memory
  printf 'round %2d, %4d s: %s, %d MiB resident, %d MiB moved, %d damaged\n' "$round" "$SECONDS" \
    "$space" $(($(memory_bytes) / MIB)) $(($(metric thalweg_moved_bytes_total) / MIB)) \
    "$(metric thalweg_scrub_damaged_frames)"
  (($(metric thalweg_scrub_damaged_frames) == 0)) || fail "the scrub found damage"
done

echo "soak: $round rounds, $kills kills; memory at most $((peaks[0] / MIB)) MiB in the first half," \
  "$((peaks[1] / MIB)) MiB in the second"
((peaks[1] <= peaks[0] * 5 / 4 + 32 * MIB)) || fail "memory grows"
timeout 300 "$loadgen" verify --url "$url" "${journals[@]}" >"$work/verify.log" 2>&1 ||
  fail "records are not what was acknowledged: $(tail --lines=5 "$work/verify.log")"
tail --lines=3 "$work/verify.log"
stop_server 60 || fail "the server did not end in order"
timeout 300 "$thalweg" verify "$data" || fail "the directory is not whole"
timeout 300 "$thalweg" inspect "$data" | grep --extended-regexp 'total|amplification'
echo "soak: all well in $SECONDS s"
