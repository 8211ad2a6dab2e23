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
