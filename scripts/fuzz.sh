#!/usr/bin/env bash
# Fuzzes the parsers and whatever else reads bytes that it did not write: `fuzz/` says what is
# fuzzed and what must hold.
#
# Usage: scripts/fuzz.sh [--seconds N] [--target NAME]... [--jobs N] [--keep]
#        scripts/fuzz.sh --target NAME --repeat FILE
#
#   --seconds N     how long each target runs (default: 60)
#   --target NAME   only this target; may be given several times
#   --jobs N        how many targets run at a time (default: 1)
#   --keep          afterwards, put a sample of what reaches most with least into fuzz/corpus
#   --repeat FILE   run one input once, with a backtrace
#
# Needs stable Rust and a C++ compiler: libFuzzer is built from the sources in its crate, and the
# compiler counts what is reached. Prints one line for each target: inputs executed, edges reached
# (cov), corpus, findings. What a target found so far is kept below the target directory and is
# where the next run begins. Bounded in time and memory.
#
# Environment:
#   CARGO_TARGET_DIR   where builds and the growing corpora go (default: target/)
#
# Exit: 0 nothing found, 1 a finding (its file and the command that repeats it are printed) or a
# failure, 2 wrong usage.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# Longest input of each target, in bytes: beyond it an input only gets slower.
declare -A longest=(
  [checkpoint]=4096 [chunked]=512 [directory]=1024 [http1_conn]=2048 [http1_head]=512
  [json_append]=4096 [log_entries]=4096 [log_frame]=4096 [path_query]=2048 [proto_append]=2048
  [s2s_frames]=8192 [shard_open]=4096 [usage_saved]=2048
)
# Words that a target's inputs are made of.
declare -A words=(
  [chunked]=http [http1_conn]=http [http1_head]=http [path_query]=http [directory]=json
  [json_append]=json [usage_saved]=json [shard_open]=json
)

seconds=60 jobs=1 keep=false repeat=
targets=()
while (($# > 0)); do
  case $1 in
    --seconds) (($# > 1)) && seconds=$2 && shift 2 || usage ;;
    --jobs) (($# > 1)) && jobs=$2 && shift 2 || usage ;;
    --target) (($# > 1)) && targets+=("$2") && shift 2 || usage ;;
    --repeat) (($# > 1)) && repeat=$(realpath -- "$2") && shift 2 || usage ;;
    --keep) keep=true && shift ;;
    *) usage ;;
  esac
done
[[ $seconds =~ ^[1-9][0-9]*$ && $jobs =~ ^[1-9][0-9]*$ ]] || usage
for target in "${targets[@]}"; do
  [[ -n ${longest[$target]:-} ]] || usage
done
if ((${#targets[@]} == 0)); then
  mapfile -t targets < <(printf '%s\n' "${!longest[@]}" | sort)
fi
[[ -z $repeat || ${#targets[@]} == 1 ]] || usage

place=${CARGO_TARGET_DIR:-$root/target}/fuzz
host=$(rustc -vV | sed --quiet 's/^host: //p')
binaries=$place/$host/release

# The compiler's own passes count edges and remember comparisons; no sanitizer, which would need
# another compiler. Flags of the target leave build scripts and macros alone.
build() {
  local flags="--cfg fuzzing -Cpasses=sancov-module"
  flags+=" -Cllvm-args=-sanitizer-coverage-level=4"
  flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
  flags+=" -Cllvm-args=-sanitizer-coverage-pc-table"
  flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions"
  local bins=()
  for target in "${targets[@]}"; do
    bins+=(--bin "$target")
  done
  RUSTFLAGS=$flags cargo build --manifest-path fuzz/Cargo.toml --target-dir "$place" \
    --target "$host" --release --locked --features libfuzzer --quiet "${bins[@]}"
}

# options TARGET: the bounds of every run.
options() {
  printf '%s\n' -rss_limit_mb=1024 -timeout=10 "-max_len=${longest[$1]}"
  if [[ -n ${words[$1]:-} ]]; then
    printf '%s\n' "-dict=$root/fuzz/dictionaries/${words[$1]}.dict"
  fi
}

# fuzz TARGET: runs it and prints its line; 1 when it found something.
fuzz() {
  local target=$1 corpus=$place/corpus/$1 findings=$place/findings/$1 log=$place/$1.log
  mkdir --parents "$corpus" "$findings" "$place/tmp" "fuzz/regressions/$target"
  local known=(fuzz/corpus/"$target" fuzz/regressions/"$target")
  local bounds
  mapfile -t bounds < <(options "$target")
  local status=0
  TMPDIR=$place/tmp timeout --kill-after=10 $((seconds + 120)) "$binaries/$target" "${bounds[@]}" \
    "-max_total_time=$seconds" "-artifact_prefix=$findings/" -print_final_stats=1 -reload=0 \
    "$corpus" "${known[@]}" >"$log" 2>&1 || status=$?
  local executed reached
  executed=$(sed --quiet 's/^stat::number_of_executed_units: *//p' "$log")
  reached=$(grep --only-matching 'cov: .* corp: [^ ]*' "$log" | tail --lines=1 || true)
  local verdict=FAILED
  ((status != 0)) || verdict="found nothing"
  printf '%-13s executed %-10s %-36s %s\n' "$target" "${executed:-?}" \
    "${reached:-nothing reached}" "$verdict"
  if ((status == 0)); then
    return 0
  fi
  local file
  file=$(sed --quiet 's/.*Test unit written to //p' "$log" | tail --lines=1)
  if [[ -n $file ]]; then
    echo "  finding: $file"
    echo "  repeat:  scripts/fuzz.sh --target $target --repeat $file"
  else
    echo "  status $status; see $log"
  fi
  return 1
}

# minimise TARGET: of what is known and what was found, what reaches most with least; a sample of
# that goes into the tree, beside the seeds. All of it would be thousands of files.
minimise() {
  local target=$1 merged=$place/merged/$1 bounds
  rm --recursive --force -- "$merged"
  mkdir --parents "$merged" "$place/corpus/$target"
  mapfile -t bounds < <(options "$target")
  TMPDIR=$place/tmp timeout --kill-after=10 300 "$binaries/$target" "${bounds[@]}" \
    -set_cover_merge=1 "$merged" fuzz/corpus/"$target" "$place/corpus/$target" \
    >"$place/$target.merge.log" 2>&1
  find "fuzz/corpus/$target" -type f ! -name 'seed-*' -delete
  local small step
  mapfile -t small < <(find "$merged" -type f -size -512c -printf '%s %f\n' |
    sort --numeric-sort | cut --delimiter=' ' --fields=2)
  step=$((${#small[@]} / 50 + 1))
  local index
  for ((index = step - 1; index < ${#small[@]}; index += step)); do
    cp -- "$merged/${small[index]}" "fuzz/corpus/$target/"
  done
}

build
if [[ -n $repeat ]]; then
  exec env RUST_BACKTRACE=1 "$binaries/${targets[0]}" -timeout=10 -rss_limit_mb=1024 "$repeat"
fi

failures=0
running=0
for target in "${targets[@]}"; do
  if ((running == jobs)); then
    wait -n || failures=$((failures + 1))
    running=$((running - 1))
  fi
  fuzz "$target" &
  running=$((running + 1))
done
while ((running > 0)); do
  wait -n || failures=$((failures + 1))
  running=$((running - 1))
done
if $keep; then
  for target in "${targets[@]}"; do
    minimise "$target"
  done
fi
((failures == 0))
