#!/usr/bin/env bash
# Runs whole shards, with the connections and sessions of their clients, on a simulated disk, clock,
# scheduler and network with every fault that the simulation knows.
#
# Usage: scripts/sim.sh [--cases N] [--seed N] [--subsets N] [--debug]
#
#   --cases N     seeds to try (default 200); each is several lives, most of which end in a crash
#   --seed N      repeat this one seed, and nothing else
#   --subsets N   in the small history, try all subsets of up to so many open sectors (default 10)
#   --debug       use the debug build; otherwise the `sim` profile is built: optimised, with
#                 debug assertions
#
# First one seed is run twice and must give the same trace; then the seeds; then the same over
# connections; then single scenes of clients that stall, and every power cut of a small history.
# Fails when a checker does, and when a kind of fault never happened.
#
# Output: seeds, lives, operations and faults by kind, what was reached, seeds per second.
# Exit: 0 all well, 1 a fault, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

cases=200
seed=
subsets=10
profile=(--profile sim)
while (($# > 0)); do
  case $1 in
    --cases) cases=${2:?} && shift 2 ;;
    --seed) seed=${2:?} && shift 2 ;;
    --subsets) subsets=${2:?} && shift 2 ;;
    --debug) profile=() && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

# run TEST: runs one test, which tells what it did.
run() {
  local out
  # A seed takes well under a second, even in a debug build.
  out=$(timeout "$((600 + cases * 3))" cargo test --quiet --locked --lib \
    ${profile[@]+"${profile[@]}"} -- --exact --nocapture "shard::model::$1" 2>&1) ||
    { echo "$out" >&2 && return 1; }
  grep --quiet '^test result: ok. 1 passed' <<<"$out" || { echo "sim: no test $1" >&2 && return 1; }
  grep --invert-match '^$\|^running\|^\.\|^test result' <<<"$out" || true
}

cargo test --quiet --locked --lib --no-run ${profile[@]+"${profile[@]}"}
over_connections=network::clients_get_what_they_were_told_whatever_happens_to_their_connections
export THALWEG_CASES=$cases THALWEG_SUBSETS=$subsets
if [[ -n $seed ]]; then
  export THALWEG_SEED=$seed
  run a_shard_is_what_its_model_says
  run "$over_connections"
  echo "sim: seed $seed is well"
  exit 0
fi
run a_seed_decides_everything
start=$SECONDS
run a_shard_is_what_its_model_says
took=$((SECONDS - start))
echo "sim: $cases seeds in $took s"
run network::a_seed_decides_everything_on_the_network_too
start=$SECONDS
run "$over_connections"
took=$((SECONDS - start))
echo "sim: $cases seeds over connections in $took s"
run network::scenes::a_client_that_stalls_for_good_is_let_go
run small::every_crash_of_a_small_history_is_lived_on
echo "sim: all well in $SECONDS s"
