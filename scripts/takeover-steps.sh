# shellcheck shell=bash
# shellcheck disable=SC2154,SC2207 # what takeover.sh sets; numbers as words
# The steps of one run of scripts/takeover.sh, which sources this.

sleep_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }

now_ms() { date +%s%3N; }

# A number from A to B, by the seed.
between() { echo $(($1 + RANDOM % ($2 - $1 + 1))); }

# middle NUMBER...: the median.
middle() { (($# == 0)) || printf '%s\n' "$@" | sort --numeric-sort | sed --quiet "$((($# + 1) / 2))p"; }

# largest NUMBER...
largest() { (($# == 0)) || printf '%s\n' "$@" | sort --numeric-sort | tail --lines=1; }

# fault WORDS: ends everything, and says how to repeat it.
fault() {
  echo "takeover: FAILED in run $number of $case: $*" >&2
  echo "takeover: repeat with scripts/takeover.sh --only $case --runs 1 --seed $own" \
    "--load-ms $load_ms" >&2
  tail --lines=12 "$run"/?/server.log >&2 || true
  exit 1
}

make_bucket() {
  local signature='AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request'
  curl --silent --show-error --fail --max-time 30 --request PUT --output /dev/null \
    --header "authorization: $signature, SignedHeaders=host, Signature=0" \
    "http://$moto_address/takeover"
}

# Empties moto and starts a proxy of this run's own; leaves its addresses in face[], front, control.
start_proxy() {
  local deadline=$((SECONDS + 30)) log=$run/proxy.log
  curl --silent --fail --max-time 30 --request POST --output /dev/null \
    "http://$moto_address/moto-api/reset"
  make_bucket
  : >"$log"
  # It ends with its standard input, whatever becomes of this script.
  "$proxy" --to "$moto_address" --faces 3 --seed "$own" >"$log" 2>&1 < <(exec sleep 600) &
  proxy_pid=$!
  until grep --quiet ^control "$log"; do
    kill -0 "$proxy_pid" 2>/dev/null && ((SECONDS < deadline)) || fault "the proxy does not listen"
    sleep 0.01
  done
  for place in 0 1 2; do face[place]=$(sed --quiet "s/^face $place //p" "$log"); done
  front=$(sed --quiet 's/^front //p' "$log")
  control=$(sed --quiet 's/^control //p' "$log")
}

# tell WORDS: has the proxy do something; prints its answer.
tell() {
  local answer
  exec 3<>"/dev/tcp/${control%:*}/${control##*:}"
  echo "$*" >&3
  read -r -t 30 answer <&3 || fault "the proxy does not answer"
  exec 3>&-
  [[ $answer != error* ]] || fault "the proxy: $answer"
  echo "$answer"
}

# begin_server NAME FACE: begins to start a server with an empty directory on the bucket, by that way;
# leaves $server_pid, and in $work where its log is.
begin_server() {
  work=$run/$1
  mkdir "$work"
  : >"$work/server.log"
  AWS_ENDPOINT_URL=http://${face[$2]} "$thalweg" serve --listen 127.0.0.1:0 \
    --data-dir "$work/data" --shards 2 --bucket "s3://takeover/$case-$own" \
    >"$work/server.log" 2>&1 &
  server_pid=$!
}

# Waits until it serves; leaves its address in $url.
wait_for_server() {
  local deadline=$((SECONDS + 60))
  url=
  while [[ -z $url ]]; do
    url=$(sed --quiet 's|^listening on \(http://[^ ]*\)$|\1|p' "$work/server.log")
    kill -0 "$server_pid" 2>/dev/null && ((SECONDS < deadline)) || fault "no server serves"
    sleep 0.01
  done
}

# Waits until the server at URL has shipped all.
wait_until_shipped() {
  local deadline=$((SECONDS + 60)) lag=
  until [[ $lag == 0 ]]; do
    ((SECONDS < deadline)) || fault "not shipped within 60 s: ${lag:-no thalweg_bucket_lag_bytes}"
    lag=$(curl --silent --max-time 10 "$1/metrics" |
      awk '/^thalweg_bucket_lag_bytes/ { sum += $NF; found = 1 } END { if (found) printf "%d", sum }')
    sleep 0.05
  done
}

# append NAME CLASS RUN STREAMS PATIENCE ARGUMENT...: becomes a load through the front, with a journal of
# that name, on the streams called STREAMS. Not under timeout, which would outlive a kill: it bounds
# itself.
append() {
  local name=$1 class=$2 id=$3 streams=$4 patience=$5
  shift 5
  exec "$loadgen" append --url "http://$front" --storage-class "$class" --run "$id" \
    --seed "$streams" --journal "$run/$name.journal" --request-timeout "$patience" \
    --connect-retry 60s "$@"
}

# went_well STATUS NAME: 3 says only that this machine was too slow to measure.
went_well() {
  (($1 == 0 || $1 == 3)) || fault "the load $2 failed: $(tail --lines=3 "$run/$2.log")"
}

# What is there before anything happens: Express appends that are known to be shipped, and how long
# Standard ones take.
quiet_phase() {
  (append early express 1 1 10s --streams 2 --connections 2 --rate 100 --duration 300ms) \
    >"$run/early.log" 2>&1 || went_well $? early
  (append quiet standard 2 2 10s --streams 4 --connections 16 --rate 40 --duration 1500ms \
    --out "$run/quiet") >"$run/quiet.log" 2>&1 || went_well $? quiet
  wait_until_shipped "$url"
}

# Starts all that goes on while it happens. On the same Standard streams there are patient writers, who
# stay with a server that does not answer, and impatient ones, who soon go to another.
start_load() {
  local workloads=(regular match-seq-num fencing) forms=(unary session mixed)
  local deadline=$((SECONDS + 60)) shape=() name
  shape=(--rate max --streams 4 --duration "${load_ms}ms" --record-bytes "$(between 32 600)"
    --records-per-batch "$(between 1 8)")
  (append patient standard 3 3 10s "${shape[@]}" --connections "$(between 4 8)") \
    >"$run/patient.log" 2>&1 &
  load_pids=($!)
  (append impatient standard 4 3 2s "${shape[@]}" --connections "$(between 4 8)") \
    >"$run/impatient.log" 2>&1 &
  load_pids+=($!)
  (append express express 5 5 3s --rate 200 --streams 4 --duration "${load_ms}ms" --connections 4) \
    >"$run/express.log" 2>&1 &
  load_pids+=($!)
  "$histories" collect --url "http://$front" --stream history --seed "$own" \
    --workload "${workloads[own % 3]}" --form "${forms[own / 3 % 3]}" \
    --storage-class standard --appends-only --out "$run/history.jsonl" >"$run/collect.log" 2>&1 &
  load_pids+=($!)
  for name in patient impatient express; do
    # From the first acknowledgement on it is the load that is hit.
    until grep --quiet --no-messages '^A' "$run/$name.journal"; do
      ((SECONDS < deadline)) || fault "the load $name does not begin"
      sleep 0.01
    done
  done
  until grep --quiet "at work" "$run/collect.log"; do
    kill -0 "${load_pids[3]}" 2>/dev/null && ((SECONDS < deadline)) || fault "clients do not begin"
    sleep 0.01
  done
}

# must_end WHY: the old owner must end within 60 s, with an error that says why.
must_end() {
  local deadline=$((SECONDS + 60)) status=0
  while kill -0 "$old_pid" 2>/dev/null; do
    ((SECONDS < deadline)) || fault "the old owner goes on $1"
    sleep 0.02
  done
  wait "$old_pid" || status=$?
  old_pid=
  ((status != 0)) || fault "the old owner ended as if all were well $1"
  grep --quiet "taken over" "$run/a/server.log" || fault "the old owner does not say why it ended"
}

# replace NAME FACE: a new owner; how long until it serves goes to $took.
replace() {
  local began
  began=$(now_ms)
  begin_server "$1" "$2"
  wait_for_server
  took+=($(($(now_ms) - began)))
}

change_owner() {
  sleep_ms "$(between 100 1500)"
  local first=${url#http://}
  case $case in
    takeover)
      kill -KILL "$old_pid"
      wait "$old_pid" 2>/dev/null || true
      old_pid=
      if ((RANDOM % 4 == 0)); then
        begin_server b 1
        sleep_ms "$(between 0 1200)"
        kill_server
        replace c 2
      else
        replace b 1
      fi
      tell front "${url#http://}" >/dev/null
      ;;
    paused)
      kill -STOP "$old_pid"
      replace b 1
      tell front "${url#http://}" >/dev/null
      sleep_ms "$(between 0 800)"
      kill -CONT "$old_pid"
      must_end "after its pause"
      ;;
    cut-off)
      local ways=(closed silent)
      tell face 0 "cut=${ways[RANDOM % 2]}" >/dev/null
      sleep_ms "$(between 0 800)"
      replace b 1
      tell front "$first" "${url#http://}" >/dev/null
      sleep_ms "$(between 0 1200)"
      tell face 0 cut=no >/dev/null
      must_end "after the cut"
      tell front "${url#http://}" >/dev/null
      ;;
  esac
}

# verify FAULTS JOURNAL...: reads back; of FAULTS (`lost`, or nothing) there may be some. The line of
# the verdict stays in $verdict.
verify() {
  local may=$1 journals=() name pattern
  shift
  for name in "$@"; do journals+=(--journal "$run/$name.journal"); done
  verdict=$(timeout --kill-after=10 120 "$loadgen" verify --url "$url" --connect-retry 10s \
    "${journals[@]}" 2>"$run/verify.log") || true
  pattern='([0-9]+) batches.* ([0-9]+) lost, ([0-9]+) duplicated, ([0-9]+) torn, ([0-9]+) wrong'
  [[ $verdict =~ $pattern ]] || fault "no verdict: $(tail --lines=3 "$run/verify.log")"
  lost=${BASH_REMATCH[2]}
  ((BASH_REMATCH[3] + BASH_REMATCH[4] + BASH_REMATCH[5] == 0)) &&
    [[ $may == lost || $lost == 0 ]] ||
    fault "$verdict ($*) $(cat "$run/verify.log")"
}

# check_owners JOURNAL...: no number of a stream may be acknowledged twice: two owners would have.
check_owners() {
  local twice
  twice=$(cd "$run" && awk '$1 == "A" { for (i = 0; i < $6; i++) if (seen[$2, $5 + i]++) twice++ }
    END { print twice + 0 }' "$@")
  ((twice == 0)) || fault "$twice numbers of Standard streams were acknowledged twice"
}

check_history() {
  local status=0
  timeout --kill-after=10 180 "$histories" check --time-s 5 "$run/history.jsonl" \
    >"$run/check.log" 2>&1 || status=$?
  if ((status == 3)); then
    # Too many appends of unknown outcome: with those known that the last read found, it is plain.
    status=0
    timeout --kill-after=10 180 "$histories" check --time-s 60 "$run/history.found.jsonl" \
      >"$run/check.log" 2>&1 || status=$?
  fi
  ((status == 0)) || fault "the history is not linearizable (status $status): $(cat "$run/check.log")"
}

check_all() {
  wait "${load_pids[0]}" || went_well $? patient
  wait "${load_pids[1]}" || went_well $? impatient
  wait "${load_pids[2]}" || went_well $? express
  kill -TERM "${load_pids[3]}" 2>/dev/null || true
  wait "${load_pids[3]}" || fault "no history was collected: $(tail --lines=3 "$run/collect.log")"
  load_pids=()
  # The new owner goes on where the old one ended, however long it took to come.
  (append after standard 6 3 10s --rate max --streams 4 --connections 4 --duration 500ms) \
    >"$run/after.log" 2>&1 || went_well $? after
  kill -0 "$server_pid" 2>/dev/null || fault "the new owner is gone"
  check_owners patient.journal impatient.journal after.journal
  verify none early quiet patient impatient after
  acked=$((acked + BASH_REMATCH[1]))
  verify lost express
  express_lost=$((express_lost + lost))
  check_history
  operations=$((operations +
    $(sed --quiet 's/^collect: operations=\([0-9]*\).*/\1/p' "$run/collect.log")))
  if [[ $case != takeover ]] || ((own % 4 == 0)); then refuse_old; fi
}

# The old owner's directory may not come back.
refuse_old() {
  local status=0
  AWS_ENDPOINT_URL=http://${face[0]} timeout --kill-after=5 60 "$thalweg" serve \
    --listen 127.0.0.1:0 --data-dir "$run/a/data" --shards 2 --bucket "s3://takeover/$case-$own" \
    >"$run/refused.log" 2>&1 || status=$?
  ((status != 0 && status != 124 && status != 137)) && grep --quiet "taken over" "$run/refused.log" ||
    fault "the old directory came back (status $status): $(tail --lines=3 "$run/refused.log")"
}

# One run of $case with the seed $own.
one_run() {
  local began=$SECONDS place worse='lose_answer=3 lose_request=3 late=2 twice=3 late_ms=400 slow_down=3'
  RANDOM=$((own % 32768))
  run=$home/$case-$own
  face=()
  mkdir "$run"
  start_proxy
  for place in 0 1 2; do tell face "$place" latency_ms=100 >/dev/null; done
  begin_server a 0
  wait_for_server
  old_pid=$server_pid
  server_pid=
  tell front "${url#http://}" >/dev/null
  quiet_phase
  if ((own % 2)); then
    for place in 0 1 2; do tell face "$place" "$worse stale_ms=1000" >/dev/null; done
  fi
  start_load
  change_owner
  check_all
  for place in 0 1 2; do
    tell counts "$place" >>"$run/counts"
  done
  faults=$((faults + $(awk '{
      for (i = 1; i <= NF; i++)
        if (split($i, pair, "=") == 2 && pair[1] ~ /^(lost_answers|lost_requests|late|twice|slowed)$/)
          sum += pair[2]
    } END { print sum + 0 }' "$run/counts")))
  p50s+=($(quantile p50))
  p99s+=($(quantile p99))
  kill_server
  kill -KILL "$proxy_pid" 2>/dev/null || true
  wait "$proxy_pid" 2>/dev/null || true
  proxy_pid=
  echo "takeover: $case seed $own: served after ${took[-1]} ms; ${verdict#verify: } (Express);" \
    "$(head --lines=1 "$run/check.log"); $((SECONDS - began)) s" >&2
}

# quantile NAME: of Standard appends before anything happened, in ms; nothing if loadgen withheld it.
quantile() {
  jq --raw-output ".latency_us.$1 // empty | . / 1000 | round" "$run/quiet/result.json"
}
