#!/usr/bin/env bash
# Drives a running server with the official command line tool and checks what it prints. By hand;
# not part of scripts/test.sh.
#
# Usage: S2_BIN=PATH scripts/cli.sh URL [--reference] [--bench-mibps N]
#
#   URL             the server, as http://host:port
#   --reference     the server is the API's own reference server: passes over locations and metrics
#   --bench-mibps   the rate that `s2 bench` is asked to hold for 5 s (default: 2)
#
# Environment:
#   S2_BIN   the `s2` executable, 0.43.4 or later (default: s2 on the path)
#
# Exit: 0 all well, 1 a check failed, 2 wrong usage.

set -euo pipefail

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

url=
reference=false
mibps=2
while (($# > 0)); do
  case $1 in
    --reference) reference=true && shift ;;
    --bench-mibps) (($# > 1)) || usage && mibps=$2 && shift 2 ;;
    http://*) url=${1%/} && shift ;;
    *) usage ;;
  esac
done
s2=${S2_BIN:-s2}
[[ -n $url ]] && command -v "$s2" >/dev/null || usage

export S2_ACCOUNT_ENDPOINT=$url S2_BASIN_ENDPOINT=$url S2_ACCESS_TOKEN=any NO_COLOR=1
work=$(mktemp --directory)
# The tool keeps its configuration in the home directory; this run leaves the user's alone.
export HOME=$work XDG_CONFIG_HOME=$work
trap 'rm --recursive --force -- "$work"' EXIT
basin=cli-check-$(date +%s)-$$
stream=s2://$basin/events
failed=0
checks=0

# report STATUS WANTED TITLE PATTERN...: judges what the tool printed into $work/out.
report() {
  local status=$1 wanted=$2 title=$3 pattern
  shift 3
  checks=$((checks + 1))
  if [[ $wanted == success ]] && ((status != 0)); then
    echo "FAILED  $title: status $status"
  elif [[ $wanted == refusal ]] && ((status == 0 || status >= 124)); then
    echo "FAILED  $title: status $status, not a refusal"
  else
    for pattern in "$@"; do
      if ! grep --quiet --extended-regexp -- "$pattern" "$work/out"; then
        echo "FAILED  $title: no line matches $pattern"
        status=matchless
        break
      fi
    done
    if [[ $status != matchless ]]; then
      echo "ok      $title"
      return
    fi
  fi
  sed 's/^/        /' "$work/out"
  failed=$((failed + 1))
}

# check TITLE PATTERN... -- ARGUMENT...: the tool succeeds and prints lines that match.
# refuse: it fails and says why. Standard input is passed on.
check() { judge success "$@"; }
refuse() { judge refusal "$@"; }
judge() {
  local wanted=$1 title=$2 patterns=() status=0
  shift 2
  while [[ $1 != -- ]]; do
    patterns+=("$1")
    shift
  done
  shift
  timeout --kill-after=5 60 "$s2" "$@" >"$work/out" 2>&1 || status=$?
  report "$status" "$wanted" "$title" "${patterns[@]}"
}

check "create-basin" "Basin created" -- create-basin "$basin" --retention-policy 2h \
  --create-stream-on-append
refuse "create-basin again" "resource_already_exists" -- create-basin "$basin"
check "list-basins" "^$basin" -- list-basins --prefix "$basin"
check "ls" "$basin" -- ls --prefix "$basin"
check "get-basin-config" "2h" "create_stream_on_append.*true" -- get-basin-config "$basin"
check "reconfigure-basin" "Basin reconfigured" "3h" -- reconfigure-basin "$basin" \
  --retention-policy 3h --create-stream-on-read true
check "reconfigure-basin back" "create_stream_on_read.*false" -- reconfigure-basin "$basin" \
  --create-stream-on-read false

check "create-stream" "Stream created" -- create-stream "$stream" --timestamping-mode arrival
check "create-stream with an odd name" "Stream created" -- create-stream "s2://$basin/日本/x y"
check "list-streams" "$basin/events" "$basin/日本/x y" -- list-streams "s2://$basin"
check "list-streams with a prefix" "$basin/日本/x y" -- list-streams "s2://$basin/日"
check "get-stream-config" "3h" "arrival" "express" -- get-stream-config "$stream"
check "reconfigure-stream" "Stream reconfigured" "Infinite" -- reconfigure-stream "$stream" \
  --retention-policy infinite
refuse "get-stream-config of nothing" "stream_not_found" -- get-stream-config "s2://$basin/none"

seq 1 5000 >"$work/lines"
check "append from a pipe" "tail: 5000 @" -- append "$stream" <"$work/lines"
check "read to a file" "in range 4000\.\.=4999" -- read "$stream" --seq-num 0 --count 5000 \
  --output "$work/read"
if cmp --silent "$work/lines" "$work/read"; then
  echo "ok      what was appended is read back"
else
  echo "FAILED  what was appended is not what was read" && failed=$((failed + 1))
fi
check "append to a stream that it creates" "tail: 1 @" -- append "s2://$basin/created" \
  --delete-on-empty-min-age 1d <<<"hello"
check "the created stream" "1d" -- get-stream-config "s2://$basin/created"
check "append at a position" "tail: 5001 @" -- append "$stream" --match-seq-num 5000 <<<"here"
refuse "append at a wrong position" "5001" -- append "$stream" --match-seq-num 7 <<<"there"
check "append of JSON" "tail: 5002 @" -- append "$stream" --format json \
  <<<'{"headers":[["kind","test"]],"body":"json"}'
check "read as JSON" '"body":"json"' '\["kind","test"\]' -- read "$stream" --tail-offset 1 \
  --count 1 --format json
check "read by age" "^here" -- read "$stream" --ago 1h --count 5002
check "tail" "^json" -- tail "$stream" --lines 1
check "check-tail" "^5002 @" -- check-tail "$stream"
refuse "read of what is not there" "5002" -- read "$stream" --seq-num 9999 --count 1

# A tail that follows sees what is appended later.
: >"$work/followed"
timeout --kill-after=5 30 "$s2" tail "$stream" --follow --lines 1 >"$work/followed" 2>&1 &
follower=$!
for ((tries = 0; tries < 100; tries++)); do
  grep --quiet '^json' "$work/followed" && break
  sleep 0.1
done
check "append beside a follower" "tail: 5003 @" -- append "$stream" <<<"followed"
for ((tries = 0; tries < 100; tries++)); do
  grep --quiet '^followed' "$work/followed" && break
  sleep 0.1
done
kill "$follower" 2>/dev/null || true
wait "$follower" 2>/dev/null || true
cp "$work/followed" "$work/out"
report 0 success "tail --follow" "^json" "^followed"

check "fence" "new fencing token .*tok" "tail: 5004 @" -- fence "$stream" tok
refuse "append with a wrong token" "tok" -- append "$stream" --fencing-token other <<<"no"
check "append with the token" "tail: 5005 @" -- append "$stream" --fencing-token tok <<<"yes"
check "trim" "trim to 4000" "tail: 5006 @" -- trim "$stream" 4000 --fencing-token tok
for ((tries = 0; tries < 100; tries++)); do
  first=$("$s2" read "$stream" --seq-num 0 --count 1 2>/dev/null || true)
  [[ $first == 4001 ]] && break
  sleep 0.1
done
check "read after the trim" "^4001" -- read "$stream" --seq-num 0 --count 1

cat >"$work/spec.json" <<JSON
{"basins": [{"name": "$basin-b",
  "config": {"default_stream_config": {"retention_policy": "7days",
    "delete_on_empty": {"min_age": "1day"}}},
  "streams": [{"name": "applied", "config": {"storage_class": "standard",
    "retention_policy": "infinite"}}]}]}
JSON
check "apply --dry-run" "$basin-b" "applied" -- apply --file "$work/spec.json" --dry-run
refuse "the dry run created nothing" "basin_not_found" -- get-basin-config "$basin-b"
check "apply" "$basin-b" "applied" -- apply --file "$work/spec.json"
check "what was applied" "standard" "Infinite" "1d" -- get-stream-config "s2://$basin-b/applied"
check "apply again" "unchanged|noop|no changes" -- apply --file "$work/spec.json"
check "apply --dry-run without changes" "= +stream .*applied" -- apply \
  --file "$work/spec.json" --dry-run
check "diff" "." -- diff "$stream" "s2://$basin-b/applied"

if ! $reference; then
  check "list-locations" "." -- list-locations
  check "get-default-location" "express" -- get-default-location
  location=$("$s2" get-default-location 2>/dev/null | grep --only-matching --extended-regexp \
    --max-count=1 '[A-Za-z0-9.-]+(:[A-Za-z0-9.-]+)+|^[A-Za-z0-9.:-]+' | head --lines=1 || true)
  check "set-default-location" "." -- set-default-location "$location"
  refuse "set-default-location to nowhere" "invalid" -- set-default-location nowhere:1
  range=(--start-ago 1h --end-ago 0s)
  check "get-account-metrics active-basins" -- get-account-metrics active-basins "${range[@]}"
  check "get-account-metrics account-ops" -- get-account-metrics account-ops "${range[@]}"
  for metric in storage append-ops read-ops read-throughput append-throughput basin-ops; do
    check "get-basin-metrics $metric" -- get-basin-metrics "$basin" "$metric" "${range[@]}"
  done
  check "get-stream-metrics storage" -- get-stream-metrics "$stream" storage "${range[@]}"
fi

check "bench" "Write|write" -- bench "$basin" --target-mibps "$mibps" --duration 5s \
  --catchup-delay 1s

check "delete-stream" "deletion requested" -- delete-stream "$stream"
refuse "a deleted stream" "stream_deletion_pending|stream_not_found" -- check-tail "$stream"
refuse "delete-stream of nothing" "stream_not_found" -- delete-stream "s2://$basin/none"
check "delete-basin" "deletion requested" -- delete-basin "$basin"
check "delete-basin of what was applied" "deletion requested" -- delete-basin "$basin-b"
refuse "delete-basin of nothing" "basin_not_found" -- delete-basin "$basin-none"

printf '\n%d checks, %d failed\n' "$checks" "$failed"
((failed == 0))
