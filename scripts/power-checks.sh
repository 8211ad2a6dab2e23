# shellcheck shell=bash
# What a server that has its disk again must know; for power.sh, which sources this: it has `fault`
# and `trouble`, $port, and in $streams which streams are in use.

# The tails of the streams in use, a line each: a number, nothing where another answer came, or `none`
# where none did within 10 seconds.
tails() {
  local -a urls=()
  local number
  for number in {0..7}; do
    urls+=("http://127.0.0.1:$port/v1/streams/loadgen-$streams-$number/records/tail")
  done
  curl --silent --max-time 10 --write-out ' %{http_code}\n' --header 's2-basin: loadgen-basin' \
    "${urls[@]}" | sed 's/^{"tail":{"seq_num":\([0-9]*\).* 200$/\1/; t; s/.* 000$/none/; t; s/.*//'
}

# Leaves in $tails_told what the server tells of its tails now.
note_tails() { mapfile -t tails_told < <(tails | sed 's/^none$//'); }

# No tail is lower than it was told last. A machine that stood still for a while gives no answer in
# time, which says nothing of tails: then they are asked for again, three times in all.
check_tails() {
  local -a now
  local number tries
  for tries in 1 2 3; do
    mapfile -t now < <(tails)
    [[ " ${now[*]} " == *" none "* ]] || break
    echo "power: not all tails were told in time (try $tries)" >&2
  done
  for number in "${!tails_told[@]}"; do
    [[ -n ${tails_told[number]} ]] || continue
    tails_checked=$((tails_checked + 1))
    [[ ${now[number]:-} != none ]] || fault "the tail of stream $number is not told"
    if [[ -z ${now[number]:-} ]] || ((now[number] < tails_told[number])); then
      fault "the tail of stream $number was ${tails_told[number]}, now it is ${now[number]:-gone}"
    fi
  done
  tails_told=()
}

# Reads journals back; leaves the verdict's line in $verdict.
verify() {
  # Both are names of the caller, too: a round goes on with its own.
  local -a journals=()
  local journal
  local status=0
  for journal in "$@"; do
    journals+=(--journal "$journal")
  done
  verdict=$(timeout 300 "$loadgen" verify --url "http://127.0.0.1:$port" --connect-retry 10s \
    "${journals[@]}" 2>"$work/verify.log") || status=$?
  if [[ ! $verdict =~ ^verify:\ ([0-9]+)\ batches ]]; then
    cat "$work/verify.log" >&2
    kill -0 "$server_pid" 2>/dev/null || fault "the server ended by itself"
    # A stream that was created, and is not there, is a loss as well.
    ! grep --quiet '_not_found"' "$work/verify.log" || fault "a stream is gone"
    trouble "reading back ended with status $status: $verdict"
  fi
  acked_here=${BASH_REMATCH[1]}
  ((status == 0)) || fault "$verdict"
}

# ask METHOD STREAM: leaves the answer's status in $status.
ask() {
  status=$(curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' \
    --header 's2-basin: loadgen-basin' --request "$1" "http://127.0.0.1:$port/v1/streams/$2") ||
    status=none
}

# What was deleted, by an answer, must not come back.
check_deleted() {
  local name
  for name in "${deleted[@]}"; do
    ask GET "$name"
    [[ $status == 404 || $status == 409 ]] || fault "stream $name was deleted; GET answers $status"
  done
}
