#!/usr/bin/env bash
# Lets clients work on a server that is killed again and again, and checks that what all of them were
# told is linearizable: one order of their operations explains every answer.
#
# Usage: scripts/histories.sh [--histories N] [--seed N] [--keep]
#
#   --histories N   how many (default 60); each is another stream of one server
#   --seed N        decides what clients do and when the server is killed (default: from the clock;
#                   always printed); history K is the only one of `--histories 1 --seed (seed + K - 1)`
#   --keep          keep the histories also when all is well
#
# In turn, histories are of clients without conditions, with positions (match_seq_num) and with
# fencing tokens, each with unary requests, with sessions, and with both at once: nine kinds. One to
# three times in each the server is killed with SIGKILL under this load, and started again on the same
# port and directory; one kill in three hits again soon after. At last the stream is read back. An
# append whose answer was lost may take effect at any later time or never; where these are too many to
# try every order, those that the last read found count as done (by_content).
#
# A killed process keeps what the kernel has taken: this cannot check that a sync reaches the disk.
#
# Histories are in the format of https://github.com/s2-streamstore/s2-verification and can be checked
# with its s2-porcupine too.
#
# Environment:
#   THALWEG_BIN        the server (default: release/thalweg in the target directory)
#   CARGO_TARGET_DIR   where builds go (default: target/)
#   TEST_DIR           where test data goes; it must be on a disk that does direct I/O, which a
#                      tmpfs may not (default: tmp/ in the target directory)
#
# Output: one line, "histories: linearizable=.. refused=.. undecided=.. by_content=.. with_kills=.. ..".
# Failing histories are kept under artifacts/histories/.
# Exit: 0 all are linearizable, 1 one is not, or a step failed or took too long; 2 wrong usage;
# 3 none was refused, but of some it is not decided.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

histories=60
seed=$(($(date +%s) % 1000000))
keep=false
while (($# > 0)); do
  case $1 in
    --histories) histories=${2:-} && shift ;;
    --seed) seed=${2:-} && shift ;;
    --keep) keep=true ;;
    *) usage ;;
  esac
  shift || usage
done
[[ $histories =~ ^[1-9][0-9]{0,4}$ && $seed =~ ^[0-9]{1,9}$ ]] || usage
seed=$((10#$seed))

target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
thalweg=${THALWEG_BIN:-$target/release/thalweg}
tool=$target/sdk/debug/histories
artifacts=$root/artifacts/histories
collect_pid=
work=

cleanup() {
  local status=$?
  if [[ -n $collect_pid ]]; then
    kill -KILL "$collect_pid" 2>/dev/null || true
  fi
  kill_server
  [[ -z $work ]] || rm --recursive --force -- "$work"
  exit "$status"
}
trap cleanup EXIT

if [[ ! -x $thalweg ]]; then
  echo "histories: no server at $thalweg; build it or set THALWEG_BIN" >&2
  exit 2
fi
timeout --kill-after=10 900 cargo build --quiet --locked \
  --manifest-path tests/histories/Cargo.toml --target-dir "$target/sdk"

sleep_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

# fault WORDS: something that is no verdict.
fault() {
  echo "histories: FAILED in history $number: $*" >&2
  echo "histories: repeat with scripts/histories.sh --histories 1 --seed $own" >&2
  tail --lines=20 "$work/server.log" "$work/collect.log" >&2 || true
  exit 1
}

restart() {
  kill_server
  kills=$((kills + 1))
  start_server 60 "$work/data" || fault "the server does not start again"
}

# field NAME FILE: a number of a tool's line.
field() { sed --quiet "s/^.*[: ]$1=\([0-9]*\).*/\1/p;T;q" "$2"; }

# collect FILE: a history, with kills.
collect() {
  local left=$((1 + RANDOM % 3)) deadline=$((SECONDS + 60))
  : >"$work/collect.log"
  # Not under timeout, which would outlive a kill: it bounds itself to two minutes.
  "$tool" collect --url "$url" --stream "history-$number" --seed "$own" \
    --workload "${workloads[own % 3]}" --form "${forms[own / 3 % 3]}" --out "$1" \
    >"$work/collect.log" 2>&1 &
  collect_pid=$!
  # From when the stream exists it is the clients that are hit, not what made it.
  until grep --quiet "at work" "$work/collect.log"; do
    kill -0 "$collect_pid" 2>/dev/null && ((SECONDS < deadline)) || fault "clients do not begin"
    sleep 0.01
  done
  while ((left > 0)); do
    sleep_ms $((20 + RANDOM % 300))
    kill -0 "$collect_pid" 2>/dev/null || break
    restart
    if ((RANDOM % 3 == 0)); then
      sleep_ms $((RANDOM % 40))
      restart
    fi
    left=$((left - 1))
  done
  sleep_ms $((100 + RANDOM % 200))
  kill -TERM "$collect_pid" 2>/dev/null || true
  wait "$collect_pid" || fault "no history was collected"
  collect_pid=
}

# judge FILE SECONDS: what the checker says within that time, as a word.
judge() {
  local status=0
  timeout --kill-after=10 180 "$tool" check --time-s "$2" "$1" >"$work/check.log" 2>&1 || status=$?
  case $status in
    0) verdict=linearizable ;;
    1) verdict=refused ;;
    3) verdict=undecided ;;
    *) cat "$work/check.log" >&2 && fault "the checker failed with status $status" ;;
  esac
}

# Keeps a history that is not shown to be right.
keep_failed() {
  local kept=$artifacts/$own.jsonl
  cp "$1" "$kept"
  cp "${1%.jsonl}.found.jsonl" "$artifacts/"
  cp "$work/check.log" "$artifacts/$own.txt"
  cat "$work/check.log" >&2
  echo "histories: history $number ($kind) is $verdict; kept as $kept" >&2
  echo "histories: check it with $tool check $kept" >&2
  echo "histories: repeat with scripts/histories.sh --histories 1 --seed $own" >&2
}

workloads=(regular match-seq-num fencing)
forms=(unary session mixed)
declare -A verdicts=([linearizable]=0 [refused]=0 [undecided]=0)
kills=0
killed=0
by_content=0
operations=0
appended=0
unknown=0
check_us=0
check_us_max=0

rm --recursive --force -- "$artifacts"
mkdir --parents "$artifacts" "${TEST_DIR:-$target/tmp}"
work=$(mktemp --directory --tmpdir="${TEST_DIR:-$target/tmp}" thalweg-histories.XXXXXX)
echo "histories: seed=$seed histories=$histories" >&2
start_server 60 "$work/data"
# From now on always there, as clients know it.
listen=${url#http://}

for ((number = 1; number <= histories; number++)); do
  own=$((seed + number - 1))
  RANDOM=$((own % 32768))
  kind="${workloads[own % 3]}, ${forms[own / 3 % 3]}"
  file=$work/$own.jsonl
  before=$kills
  collect "$file"
  judge "$file" 5
  if [[ $verdict == undecided ]]; then
    # Too many appends of unknown outcome: with those known that the last read found, it is plain.
    judge "${file%.jsonl}.found.jsonl" 60
    by_content=$((by_content + 1))
  fi
  verdicts[$verdict]=$((verdicts[$verdict] + 1))
  ((kills == before)) || killed=$((killed + 1))
  us=$(field us "$work/check.log")
  operations=$((operations + $(field operations "$work/collect.log")))
  appended=$((appended + $(field appended "$work/collect.log")))
  unknown=$((unknown + $(field unknown "$work/collect.log")))
  check_us=$((check_us + us))
  check_us_max=$((us > check_us_max ? us : check_us_max))
  echo "histories: $number ($kind; $((kills - before)) kills): $(head -n 1 "$work/check.log")" >&2
  [[ $verdict == linearizable ]] || keep_failed "$file"
  ! $keep || cp "$file" "$artifacts/"
  rm --force -- "$file" "${file%.jsonl}.found.jsonl"
done

echo "histories: linearizable=${verdicts[linearizable]} refused=${verdicts[refused]}" \
  "undecided=${verdicts[undecided]} by_content=$by_content with_kills=$killed kills=$kills operations=$operations appended=$appended" \
  "unknown=$unknown check_ms=$((check_us / 1000)) check_ms_max=$((check_us_max / 1000)) seed=$seed"
((verdicts[refused] == 0)) || exit 1
((verdicts[undecided] == 0)) || exit 3
