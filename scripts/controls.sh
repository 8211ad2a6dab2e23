#!/usr/bin/env bash
# Plants bugs on purpose, one at a time, and holds the tests to finding each of them.
#
# Usage: scripts/controls.sh [--only BUG]
#
#   --only BUG   plant this one alone (see src/planted.rs)
#
# Builds the tests once with the feature `planted-bugs`. First, with no bug planted, every suite
# used below must pass; then each bug must make the suite that the table names for it fail. A suite
# that neither passes nor fails in time has found nothing, and neither has one that only says that
# something it wanted to see did not happen.
#
# Environment:
#   CARGO_TARGET_DIR   where builds go (default: target/)
#
# Output: one line per bug, with the test that found it.
# Exit: 0 every bug was found, 1 one was not, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Bug, binary and filter of the tests that must find it.
table='
ack-before-sync       lib       shard::model::a_shard_is
ack-one-ahead         lib       shard::model::a_shard_is
roll-before-sync      lib       shard::model::a_shard_is
sync-tried-again      log       faults::
directory-not-synced  lib       shard::model::a_shard_is
padding-not-zeroed    log       contract::simulated::frames
buffer-reused         lib       shard::model::a_shard_is
cut-at-damage         lib       shard::model::a_shard_is
torn-tail-kept        lib       shard::model::small::
mend-not-synced       log       crash::no_power_cut_takes_what_a_start
old-frames-believed   lib       shard::model::a_shard_is
released-early        lib       shard::checkpoint::tests::the_checkpoint_before
living-given-up       lib       shard::model::a_shard_is
refusal-early         lib       shard::model::a_shard_is
tail-early            lib       shard::model::a_shard_is
fence-forgotten       lib       shard::model::a_shard_is
fence-passed          lib       shard::model::a_shard_is
session-goes-on       sessions  append_failures::
cut-frame-forgiven    lib       shard::model::network::clients
short-send-believed   lib       shard::model::network::clients
stall-forgiven        lib       shard::model::network::scenes
time-steps-back       lib       shard::model::a_shard_is
checkpoint-ahead      lib       shard::model::a_shard_is
trim-forgotten        lib       shard::model::a_shard_is
hidden-early          lib       shard::retention::tests::hidden
'
# Longest that one suite may take, in seconds.
limit=240

only=
while (($# > 0)); do
  case $1 in
    --only) only=${2:?} && shift 2 ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

work=$(mktemp --directory --tmpdir thalweg-controls.XXXXXX)
trap 'rm --recursive --force -- "$work"' EXIT

# What cargo says it built: "Executable tests/log.rs (PATH)".
cargo test --quiet --no-run --locked --features planted-bugs --lib --test log --test sessions \
  --message-format=json >"$work/built"
binary() {
  local kind=test
  if [[ $1 == lib ]]; then kind=lib; fi
  sed --quiet "s/.*\"target\":{\"kind\":\[\"$kind\"\].*\"executable\":\"\([^\"]*\)\".*/\1/p" \
    "$work/built" | grep --extended-regexp "/($1|thalweg)-[0-9a-f]*\$"
}

# run BUG BINARY FILTER: runs a suite with a bug planted; what it prints goes to standard output.
run() {
  THALWEG_PLANTED=$1 timeout --kill-after=10 "$limit" "$(binary "$2")" "$3" 2>&1 </dev/null
}

# at_once COMMAND: runs it for each line of standard input, as many at a time as there are cores.
at_once() {
  local line
  while read -r line; do
    while (($(jobs -pr | wc --lines) >= $(nproc))); do wait -n || true; done
    # shellcheck disable=SC2086 # a line is several arguments
    "$1" $line &
  done
  wait
}

known=$("$(binary lib)" --nocapture planted:: | sed --quiet 's/^.*planted: //p' | sort)
listed=$(awk 'NF { print $1 }' <<<"$table" | sort)
if [[ $known != "$listed" ]]; then
  echo "controls: the table and src/planted.rs differ:" >&2
  diff <(echo "$known") <(echo "$listed") >&2 || true
  exit 1
fi

if [[ -n $only ]]; then
  table=$(awk -v bug="$only" '$1 == bug' <<<"$table")
  if [[ -z $table ]]; then
    echo "controls: there is no bug $only" >&2
    exit 2
  fi
fi

# passes BINARY FILTER: has a suite pass without a bug, or says that it does not.
passes() {
  local out
  out=$(mktemp --tmpdir="$work" passes.XXXXXX)
  run '' "$1" "$2" >"$out" && return
  tail --lines=30 "$out" >&2
  echo "controls: without a bug, $1 $2 does not pass" >&2
  touch "$work/failing"
}

# saw FILE: whether a test failed for what it saw, not for what it missed.
saw() {
  grep --after-context=1 'panicked at' "$1" |
    grep --invert-match 'panicked at\|^--$\|too tame\|never happened' | grep --quiet .
}

# finds BUG BINARY FILTER: whether a suite fails for a bug; leaves a file found.BUG if so.
finds() {
  local bug=$1 binary=$2 filter=$3 out=$work/$1.out status=0 start=$SECONDS took test
  run "$bug" "$binary" "$filter" >"$out" || status=$?
  took=$((SECONDS - start))
  if ((status == 101)) && saw "$out"; then
    test=$(sed --quiet 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$out" | head --lines=1)
    printf '%-22s found in %3d s by %s %s\n' "$bug" "$took" "$binary" "$test"
    touch "$work/found.$bug"
  else
    printf '%-22s NOT FOUND in %3d s by %s %s (status %d)\n' "$bug" "$took" "$binary" "$filter" \
      "$status"
  fi
  rm --force -- "$out"
}

awk 'NF { print $2, $3 }' <<<"$table" | sort --unique >"$work/suites"
at_once passes <"$work/suites"
[[ ! -e $work/failing ]] || exit 1

awk 'NF' <<<"$table" >"$work/bugs"
at_once finds <"$work/bugs"
planted=$(wc --lines <"$work/bugs")
found=$(find "$work" -name 'found.*' | wc --lines)
printf 'controls: planted=%d found=%d missed=%d\n' "$planted" "$found" "$((planted - found))"
((found == planted))
