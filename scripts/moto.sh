# shellcheck shell=bash
# The S3 server of tests: moto, from the package registry, in the versions that
# tests/bucket/requirements.txt pins. For the scripts beside this one, which source it.
#
# They set $root, $target and, for start_moto, $work (a directory for its log).

moto_pid=
moto_address=

# install_moto: leaves the program at $moto. A new environment only when the list has changed.
install_moto() {
  local home=$target/moto wanted=$root/tests/bucket/requirements.txt
  moto=$home/bin/moto_server
  cmp --silent "$wanted" "$home/requirements.txt" && return
  rm --recursive --force -- "$home"
  python3 -m venv "$home"
  timeout --kill-after=10 300 "$home/bin/python" -m pip install --quiet --require-hashes \
    --requirement "$wanted"
  cp "$wanted" "$home/requirements.txt"
}

# start_moto LIMIT: starts it on a free port and waits until it listens, at most LIMIT seconds; leaves
# address:port in $moto_address.
start_moto() {
  local log=$work/moto.log deadline=$((SECONDS + $1))
  : >"$log"
  "$moto" -H 127.0.0.1 -p 0 >"$log" 2>&1 &
  moto_pid=$!
  moto_address=
  while [[ -z $moto_address ]]; do
    moto_address=$(sed --quiet 's|^.*Running on http://\([0-9.:]*\).*$|\1|p' "$log")
    if ! kill -0 "$moto_pid" 2>/dev/null || ((SECONDS >= deadline)); then
      cat "$log" >&2
      return 1
    fi
    sleep 0.05
  done
}

# Ends it, if it runs.
stop_moto() {
  [[ -n $moto_pid ]] || return 0
  kill -KILL "$moto_pid" 2>/dev/null || true
  wait "$moto_pid" 2>/dev/null || true
  moto_pid=
}
