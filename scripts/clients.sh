#!/usr/bin/env bash
# Drives a server with the three official clients: what users of the API run, unmodified.
#
# Usage: scripts/clients.sh [--only SUITE[,SUITE]] [--seed S]
#                           [--tls] [--root-token] | [--url URL [--peer reference]]
#
#   --only   some of rust, python, typescript (default: all three)
#   --seed   where connections are cut in the fault cases (default: 1)
#   --root-token   start the server with a root token, which every case presents, and run the cases
#            about what access tokens permit, too (at --url: THALWEG_TOKEN is the root token there)
#   --tls    have the server speak TLS, with a certificate made for the run that the clients are told
#            to trust by SSL_CERT_FILE and NODE_EXTRA_CA_CERTS (needs openssl)
#   --url    a server that runs already, as http://host:port (default: starts THALWEG_BIN)
#   --peer   `reference` when the server at --url is the API's own reference server: leaves out
#            the calls that it does not have
#
# Needs Rust, a C compiler, bash, coreutils, Python 3.11 with venv, and Node 20.14 with npm. The
# clients come from the package registries, in the versions that tests/clients pins; they and what
# is built from them stay under the target directory. Every step is bounded in time. What the
# suites print is kept under artifacts/clients/.
#
# Environment:
#   THALWEG_BIN        the server (default: release/thalweg in the target directory)
#   CARGO_TARGET_DIR   where builds go (default: target/)
#   THALWEG_TOKEN      the root token of the server at --url, if it has one
#   TEST_DIR           where test data goes; it must be on a disk that does direct I/O, which a
#                      tmpfs may not (default: tmp/ in the target directory)
#
# Exit: 0 all well, 1 a step failed or took too long, 2 wrong usage or a tool is missing.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/server.sh
source "$root/scripts/server.sh"

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

only=rust,python,typescript
seed=1
peer=
tls=false
with_root_token=false
while (($# > 0)); do
  if [[ $1 == --tls ]]; then
    tls=true
    shift
    continue
  fi
  if [[ $1 == --root-token ]]; then
    with_root_token=true
    shift
    continue
  fi
  (($# > 1)) || usage
  case $1 in
    --only) only=$2 ;;
    --seed) seed=$2 ;;
    --url) url=${2%/} ;;
    --peer) peer=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[[ $only =~ ^(rust|python|typescript)(,(rust|python|typescript))*$ && $seed =~ ^[0-9]+$ ]] || usage
[[ $peer =~ ^(reference)?$ ]] || usage
! $tls || [[ -z $url ]] || usage
! $with_root_token || [[ -z $url ]] || usage

target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
thalweg=${THALWEG_BIN:-$target/release/thalweg}
clients=$target/clients
artifacts=$root/artifacts/clients
work=

cleanup() {
  local status=$?
  kill_server
  if [[ -n $work ]]; then
    cp --force "$work/server.log" "$artifacts/" 2>/dev/null || true
    rm --recursive --force -- "$work"
  fi
  exit "$status"
}
trap cleanup EXIT

wants() { [[ ,$only, == *,$1,* ]]; }

# need COMMAND TEST MESSAGE: insists on a tool. CI has them all; nothing is left out in silence.
need() {
  if ! command -v "$1" >/dev/null || ! bash -c "$2" >/dev/null 2>&1; then
    echo "clients: $3" >&2
    echo "clients: to leave a suite out, name the others with --only" >&2
    exit 2
  fi
}

# bounded LIMIT LOG COMMAND...: at most LIMIT seconds; shows what was printed only on failure.
bounded() {
  local limit=$1 log=$artifacts/$2 status=0
  shift 2
  timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 || status=$?
  ((status == 0)) && return
  tail --lines=60 "$log" >&2
  ((status != 124 && status != 137)) || echo "clients: not done within $limit s: $*" >&2
  return 1
}

# A new environment only when the list of packages has changed.
install_python() {
  local home=$clients/python wanted=$root/tests/clients/python/requirements.txt
  cmp --silent "$wanted" "$home/requirements.txt" && return
  rm --recursive --force -- "$home"
  python3 -m venv "$home"
  "$home/bin/python" -m pip install --quiet --require-hashes --requirement "$wanted"
  cp "$wanted" "$home/requirements.txt"
}

# The suite is copied beside the packages, because that is where Node looks for them.
install_typescript() {
  local home=$clients/typescript wanted=$root/tests/clients/typescript
  mkdir --parents "$home"
  rm --force -- "$home"/*.mjs
  cp "$wanted"/*.mjs "$home"
  cmp --silent "$wanted/package-lock.json" "$home/installed.json" && return
  cp "$wanted"/package*.json "$home"
  npm --prefix "$home" ci --no-audit --no-fund
  cp "$wanted/package-lock.json" "$home/installed.json"
}

build_rust() {
  cargo test --locked --no-run --manifest-path tests/clients/rust/Cargo.toml \
    --target-dir "$target/sdk"
}

run_rust() {
  cargo test --locked --manifest-path tests/clients/rust/Cargo.toml --target-dir "$target/sdk"
}

run_python() {
  cd tests/clients/python
  "$clients/python/bin/python" -B -m unittest --verbose --buffer
}

run_typescript() {
  cd "$clients/typescript"
  node --test --test-force-exit --test-concurrency=4 --test-reporter=spec
}

# A certificate that is good for the run, and the clients' trust in it. Not before everything is
# installed: from here on, it is the only one that they trust.
make_certificate() {
  bounded 60 certificate.log openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
    -noenc -days 2 -subj /CN=localhost -keyout "$work/key.pem" -out "$work/cert.pem" \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE
  export SSL_CERT_FILE=$work/cert.pem NODE_EXTRA_CA_CERTS=$work/cert.pem
}

# What a suite printed, as "passed failed skipped".
counts() {
  case $1 in
    rust)
      awk '/^test result:/ { pass += $4; fail += $6; skip += $8 }
        END { print pass + 0, fail + 0, skip + 0 }' "$2"
      ;;
    python)
      awk '/^Ran / { ran = $2 }
        match($0, /skipped=[0-9]+/) { skip = substr($0, RSTART + 8, RLENGTH - 8) }
        match($0, /failures=[0-9]+/) { fail += substr($0, RSTART + 9, RLENGTH - 9) }
        match($0, /errors=[0-9]+/) { fail += substr($0, RSTART + 7, RLENGTH - 7) }
        END { print ran - fail - skip, fail + 0, skip + 0 }' "$2"
      ;;
    typescript)
      awk '/ pass [0-9]+$/ { pass = $NF } / (fail|cancelled) [0-9]+$/ { fail += $NF }
        / skipped [0-9]+$/ { skip = $NF } END { print pass + 0, fail + 0, skip + 0 }' "$2"
      ;;
  esac
}

version() {
  case $1 in
    rust) sed --quiet 's/^s2-sdk = .*"=\([0-9.]*\)".*/\1/p' tests/clients/rust/Cargo.toml ;;
    python) sed --quiet 's/^s2-sdk==\([0-9.]*\).*/\1/p' tests/clients/python/requirements.in ;;
    typescript)
      sed --quiet 's/.*"@s2-dev\/streamstore": "\([0-9.]*\)".*/\1/p' \
        tests/clients/typescript/package.json
      ;;
  esac
}

# The proxy that cuts connections is part of the Rust package, whichever suite runs.
need cargo "cargo --version" "needs Rust"
if wants python; then
  need python3 "python3 -c 'import ensurepip, sys, venv; assert sys.version_info >= (3, 11)'" \
    "needs Python 3.11 or later with its venv module (on Debian: python3-venv)"
fi
if wants typescript; then
  need node "node --test-force-exit --version && npm --version" \
    "needs Node 20.14 or later with npm"
fi
if $tls; then
  need openssl "openssl version" "needs openssl"
fi
if [[ -z $url && ! -x $thalweg ]]; then
  echo "clients: no server at $thalweg; build it or set THALWEG_BIN" >&2
  exit 2
fi

mkdir --parents "$artifacts" "$clients"
rm --force -- "$artifacts"/*
export -f install_python install_typescript build_rust run_rust run_python run_typescript
export root target clients

install_start=$SECONDS
bounded 900 build-rust.log bash -euc build_rust
for suite in python typescript; do
  ! wants "$suite" || bounded 300 "install-$suite.log" bash -euc "install_$suite"
done
echo "clients: installed in $((SECONDS - install_start)) s"

if [[ -z $url ]]; then
  mkdir --parents "${TEST_DIR:-$target/tmp}"
  work=$(mktemp --directory --tmpdir="${TEST_DIR:-$target/tmp}" thalweg-clients.XXXXXX)
  arguments=()
  if $tls; then
    make_certificate
    arguments=(--tls-cert "$work/cert.pem" --tls-key "$work/key.pem")
  fi
  THALWEG_TOKEN=
  if $with_root_token; then
    (umask 077 && "$thalweg" token generate >"$work/root-token")
    THALWEG_TOKEN=$(<"$work/root-token")
    arguments+=(--root-token-file "$work/root-token")
  fi
  start_server 60 "$work/data" "${arguments[@]}"
fi
export THALWEG_URL=$url THALWEG_PEER=$peer FAULT_SEED=$seed THALWEG_TOKEN=${THALWEG_TOKEN:-}
export FAULT_PROXY=$target/sdk/debug/fault-proxy

failed=0
table=()
for suite in rust python typescript; do
  wants "$suite" || continue
  suite_start=$SECONDS
  outcome=ok
  if ! bounded 120 "$suite.log" bash -euc "run_$suite"; then
    outcome=FAILED
    failed=1
    echo "clients: $suite failed; repeat with scripts/clients.sh --only $suite --seed $seed" >&2
  fi
  read -r passed broken skipped <<<"$(counts "$suite" "$artifacts/$suite.log")"
  table+=("$(printf '%-10s %-8s %6d %6d %7d %4d s  %s' "$suite" "$(version "$suite")" \
    "$passed" "$broken" "$skipped" $((SECONDS - suite_start)) "$outcome")")
  # A suite that ran nothing has proved nothing.
  ((passed > 0)) || failed=1
  if [[ -n $server_pid ]] && ! kill -0 "$server_pid" 2>/dev/null; then
    echo "clients: the server died" >&2
    tail --lines=20 "$work/server.log" >&2
    failed=1
    break
  fi
done

printf '\n%-10s %-8s %6s %6s %7s %6s\n' client version passed failed skipped time
printf '%s\n' "${table[@]}"
exit "$failed"
