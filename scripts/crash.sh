#!/usr/bin/env bash
# Kills the server under load, again and again, and checks that nothing acknowledged was lost.
#
# Usage: scripts/crash.sh [--rounds N] [--seed N] [--round-ms N] [--keep]
#
#   --rounds N     kills (default 50)
#   --seed N       decides kill times and load shapes (default: from the clock; always printed)
#   --round-ms N   length of each round's load in milliseconds (default 2000)
#   --keep         keep the working directory also when all is well
#
# Each round: load in the background with a journal (in turn JSON over HTTP/1.1, S2S sessions over
# HTTP/2, and protobuf over HTTP/2); SIGKILL at a random time; in one of four
# rounds a second SIGKILL during recovery; restart on the same port and data; the load goes on;
# then read back what this round (and the one before on the same streams) was told. At the end
# everything is read back once more. Even rounds use Express streams, odd ones Standard streams.
#
# A killed process keeps what the kernel has taken: this checks recovery and the order of ack and
# write. It cannot check that a sync reaches the disk: scripts/power.sh does.
#
# Environment:
#   THALWEG_BIN    server binary (default: release build of this tree)
#   LOADGEN_BIN    load generator (default: release build of this tree)
#   SERVER_CMD     whole server command; {port} and {data} are replaced
#                  (default: "$THALWEG_BIN serve --listen 127.0.0.1:{port} --data-dir {data}")
#   SERVER_PORT    fixed port for servers that do not print theirs (default 0: read it from the
#                  line "listening on http://ADDR:PORT")
#
# Output: one line, "crash: rounds=.. acked=.. lost=.. duplicated=.. torn=.. wrong=..".
# Exit: 0 all well, 1 a fault (the working directory is kept), 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}
default_cmd="$thalweg serve --listen 127.0.0.1:{port} --data-dir {data}"
server_cmd=${SERVER_CMD:-$default_cmd}

rounds=50
seed=$(($(date +%s) % 1000000))
round_ms=2000
keep=false
while (($# > 0)); do
  case $1 in
    --rounds) rounds=${2:?} && shift 2 ;;
    --seed) seed=${2:?} && shift 2 ;;
    --round-ms) round_ms=${2:?} && shift 2 ;;
    --keep) keep=true && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done
RANDOM=$((seed % 32768))

work=$(mktemp --directory --tmpdir thalweg-crash.XXXXXX)
port=${SERVER_PORT:-0}
server_pid=
load_pid=
starts=0

cleanup() {
  local status=$?
  for pid in $load_pid $server_pid; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if ((status == 0)) && ! $keep; then
    rm --recursive --force -- "$work"
  else
    echo "crash: kept $work" >&2
  fi
}
trap cleanup EXIT

fail() {
  echo "crash: FAILED in round ${round:-0}: $* (repeat with --seed $seed --rounds $rounds --round-ms $round_ms)" >&2
  tail --lines=20 "$work/server.$starts.log" >&2 || true
  exit 1
}

sleep_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

start_server() {
  starts=$((starts + 1))
  local log=$work/server.$starts.log command=${server_cmd//\{port\}/$port}
  command=${command//\{data\}/$work/data}
  local -a words
  read -r -a words <<<"$command"
  # It is read before the server's process may have opened it.
  : >"$log"
  "${words[@]}" >"$log" 2>&1 &
  server_pid=$!
}

# Waits at most 60 seconds until the server accepts; learns its port at the first start.
wait_ready() {
  local log=$work/server.$starts.log deadline=$((SECONDS + 60))
  while ((SECONDS < deadline)); do
    kill -0 "$server_pid" 2>/dev/null || fail "the server ended by itself"
    # A port that answers is not enough: while the log is recovered, everything is answered 503.
    if ((${SERVER_PORT:-0} == 0)); then
      port=$(sed --quiet 's|.*listening on http://.*:\([0-9][0-9]*\).*|\1|p' "$log" | head --lines=1)
      port=${port:-0}
    fi
    if ((port != 0)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      return
    fi
    sleep_ms 20
  done
  fail "the server does not accept within 60 s"
}

kill_server() {
  kill -KILL "$server_pid"
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}

# Reads journals back; leaves the verdict's line in $verdict.
verify() {
  local -a journals=()
  for journal in "$@"; do
    journals+=(--journal "$journal")
  done
  verdict=$(timeout 600 "$loadgen" verify --url "http://127.0.0.1:$port" --connect-retry 10s \
    "${journals[@]}" 2>"$work/verify.log") || {
    cat "$work/verify.log" >&2
    fail "${verdict:-verification did not finish}"
  }
}

mkdir "$work/data"
echo "crash: seed=$seed rounds=$rounds round_ms=$round_ms" >&2
start_server
wait_ready

journals=()
for ((round = 1; round <= rounds; round++)); do
  journal=$work/round.$round.journal
  class=standard
  ((round % 2)) || class=express
  case $((round % 3)) in
    0) way=(--protocol json) ;;
    1) way=(--protocol s2s --http 2 --depth 8) ;;
    2) way=(--protocol proto --http 2 --depth 4) ;;
  esac
  timeout 120 "$loadgen" append --url "http://127.0.0.1:$port" --journal "$journal" --run "$round" \
    --seed "$((round % 2))" --storage-class "$class" --rate max --duration "${round_ms}ms" \
    "${way[@]}" \
    --connections "$((1 + RANDOM % 32))" --streams "$((1 + RANDOM % 8))" \
    --record-bytes "$((23 + RANDOM % 1000))" --records-per-batch "$((1 + RANDOM % 20))" \
    --connect-retry 60s --request-timeout 10s >"$work/load.$round.log" 2>&1 &
  load_pid=$!

  # The journal begins when the streams exist: from then on it is the load that is hit.
  deadline=$((SECONDS + 60))
  until [[ -s $journal ]]; do
    ((SECONDS < deadline)) || fail "the load does not begin"
    kill -0 "$load_pid" 2>/dev/null || break
    sleep_ms 20
  done
  sleep_ms $((50 + RANDOM % (round_ms * 3 / 4)))
  kill_server
  start_server
  if ((RANDOM % 4 == 0)); then
    sleep_ms $((RANDOM % 60))
    kill_server
    start_server
  fi
  wait_ready

  load_status=0
  wait "$load_pid" || load_status=$?
  load_pid=
  if ((load_status != 0)); then
    cat "$work/load.$round.log" >&2
    fail "the load ended with status $load_status"
  fi
  journals+=("$journal")
  before=$work/round.$((round - 2)).journal
  if [[ -s $before ]]; then verify "$before" "$journal"; else verify "$journal"; fi
  echo "crash: round $round: ${verdict#verify: }" >&2
done

verify "${journals[@]}"
pattern='([0-9]+) batches.* ([0-9]+) lost, ([0-9]+) duplicated, ([0-9]+) torn, ([0-9]+) wrong'
[[ $verdict =~ $pattern ]] || fail "unreadable verdict: $verdict"
echo "crash: rounds=$rounds acked=${BASH_REMATCH[1]} lost=${BASH_REMATCH[2]}" \
  "duplicated=${BASH_REMATCH[3]} torn=${BASH_REMATCH[4]} wrong=${BASH_REMATCH[5]}"
