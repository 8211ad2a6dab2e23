#!/usr/bin/env bash
# Attacks a server in many ways, one after the other, and checks that it serves others meanwhile,
# stays within its memory, and is as before a second after each.
#
# Usage: scripts/abuse.sh [--seconds N] [--only NAME] [--admitted-ms N] [--keep]
#
#   --seconds N   length of each attack (default 10); overload lasts six times as long, and some
#                 seconds more to find out which rate saturates the server: it offers ten times that
#   --admitted-ms N
#                 what 99 of 100 Express appends that are admitted during the overload must stay
#                 below; without it that is only reported
#   --only NAME   one attack; `loadgen abuse --help` names them
#   --keep        keep the working directory also when all is well
#
# Memory: the settings below bound what the server holds for all together; beside that, each
# connection may take what every peer can send without asking (CONNECTION_KIB).
#
# Environment:
#   THALWEG_BIN    server binary (default: release build of this tree)
#   LOADGEN_BIN    load generator (default: release build of this tree)
#
# Output: a table; `loadgen abuse` says what its columns are.
# Exit: 0 all bounds hold, 1 one does not, 2 wrong usage, 3 the machine does not allow it.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-$target/release/loadgen}

seconds=10
only=
admitted=()
keep=false
while (($# > 0)); do
  case $1 in
    --seconds) seconds=${2:?} && shift 2 ;;
    --only) only=${2:?} && shift 2 ;;
    --admitted-ms) admitted=(--admitted-ms "${2:?}") && shift 2 ;;
    --keep) keep=true && shift ;;
    *)
      sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
done

files=12000
if (($(ulimit -n) < files)) && ! ulimit -n "$files" 2>/dev/null; then
  echo "abuse: needs $files open files per process, has $(ulimit -n) (ulimit -n)" >&2
  exit 3
fi

work=$(mktemp --directory --tmpdir thalweg-abuse.XXXXXX)
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"

trap 'clean_up abuse' EXIT

# What the server may hold, in MiB: requests, as much of answers, half as much of HTTP/2 windows and
# of open HTTP/2 requests; appends in flight and the memory they are written from; recent and old log; outstanding bytes of
# read sessions; and itself.
requests=64 inflight=64 window=32 cache=32 sessions=128 itself=128
ceiling=$((requests * 3 + inflight * 2 + window + cache + sessions + itself))
mib() { echo $(($1 * 1024 * 1024)); }
settings=(
  --request-memory-bytes "$(mib $requests)" --append-inflight-bytes "$(mib $inflight)"
  --read-window-bytes "$(mib $window)" --read-cache-bytes "$(mib $cache)"
  --connections-max 11000
)

# Who is not root watches the memory of its own processes only while they let it.
export THALWEG_ALLOW_CORE_DUMPS=true

attacks=(idle slow-heads slow-bodies whole-bodies session-bodies http2-bodies slow-readers
  slow-sessions http2-resets http2-floods declared bombs heads overload)
if [[ -n $only ]]; then attacks=("$only"); fi

mkdir "$work/data"
bad=0
head=--head
for attack in "${attacks[@]}"; do
  # A server each: what one attack left in its memory must not count for the next.
  start_server 60 "$work/data" "${settings[@]}"
  length=$seconds
  if [[ $attack == overload ]]; then length=$((seconds * 6)); fi
  status=0
  timeout $((length + 120)) "$loadgen" abuse --url "$url" --pid "$server_pid" --attack "$attack" \
    --duration "${length}s" --ceiling-mib "$ceiling" "${admitted[@]}" $head || status=$?
  head=
  if ! kill -0 "$server_pid" 2>/dev/null; then
    echo "  FAULT the server ended:"
    tail --lines=20 "$work/server.log"
    status=1
    server_pid=
  else
    stop_server 30 || status=1
  fi
  if ((status != 0)); then bad=$((bad + 1)); fi
done
if ((bad > 0)); then
  echo "abuse: FAILED: $bad of ${#attacks[@]} attacks got the better of the server"
  exit 1
fi
echo "abuse: all of ${#attacks[@]} attacks held"
