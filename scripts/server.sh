# shellcheck shell=bash
# Starts and ends a server; for the scripts beside this one, which source it.
#
# They set $thalweg (the binary), $work (a directory for its log) and, for clean_up, $keep.
# $server_pid is empty while no server of theirs runs, $url is where the last one that was started
# serves, $listen where the next one is to serve.

server_pid=
url=
listen=127.0.0.1:0

# start_server LIMIT DATA [ARGUMENT...]: starts a server on the data directory DATA at $listen (a free
# port, unless it was changed), and waits until it serves, at most LIMIT seconds.
start_server() {
  local log=$work/server.log deadline=$((SECONDS + $1)) data=$2
  shift 2
  # The server's shell may come to open it only after the first look.
  : >"$log"
  "$thalweg" serve --listen "$listen" --data-dir "$data" "$@" >"$log" 2>&1 &
  server_pid=$!
  url=
  while [[ -z $url ]]; do
    url=$(sed --quiet 's|^listening on \(https\{0,1\}://[^ ]*\)$|\1|p' "$log")
    if ! kill -0 "$server_pid" 2>/dev/null || ((SECONDS >= deadline)); then
      cat "$log" >&2
      return 1
    fi
    sleep 0.02
  done
}

# Ends the server at once, if there is one.
kill_server() {
  [[ -n $server_pid ]] || return 0
  kill -KILL "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}

# stop_server LIMIT: asks the server to end, and insists that it does so in order within LIMIT seconds.
stop_server() {
  local pid=$server_pid deadline=$((SECONDS + $1)) status=0
  kill -TERM "$pid"
  while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" || status=$?
  server_pid=
  if ((status != 0)); then
    echo "the server ended with status $status after SIGTERM" >&2
    cat "$work/server.log" >&2
    return 1
  fi
}

# metric NAME: the sum of a metric over all shards.
metric() {
  curl --silent --fail --max-time 10 "$url/metrics" |
    awk -v name="$1" 'index($1, name) == 1 { n = substr($1, length(name) + 1, 1)
      if (n == "" || n == "{") sum += $2 } END { printf "%.0f\n", sum }'
}

# run_load LIMIT RESULT ARGUMENT...: runs the load generator ($loadgen), at most LIMIT seconds; what it
# says goes into the directory RESULT. Status 3 says that it was too slow for its own latency figures,
# which it then withholds.
run_load() {
  local limit=$1 result=$2 status=0
  shift 2
  mkdir --parents "$result"
  timeout "$limit" "$loadgen" "$@" --url "$url" --out "$result" \
    >"$result/summary.txt" 2>"$result/progress.txt" || status=$?
  if ((status != 0 && status != 3)); then
    cat "$result/summary.txt" "$result/progress.txt" >&2
    return 1
  fi
}

# clean_up NAME: for the end of the script NAME: ends the server, and removes $work unless the script
# failed or $keep is true.
clean_up() {
  local status=$?
  kill_server
  if ((status == 0)) && ! $keep; then
    rm --recursive --force -- "$work"
  else
    echo "$1: kept $work" >&2
  fi
}
