#!/usr/bin/env bash
# Uses the dashboard of a server in a real browser, as people do: every page, restarts under an open
# page, tokens, hostile names and contents, the keyboard alone, narrow windows, both themes.
#
# Usage: scripts/browser.sh [--server BINARY] [--out DIR] [--only FILE[,FILE]] [--case PATTERN]
#                           [--install]
#
#   --server   the server (default: THALWEG_BIN, or release/thalweg in the target directory)
#   --out      where pictures and what the cases print go (default: artifacts/browser)
#   --only     some of the files of tests/browser, by the name before `.test.mjs` (default: all)
#   --case     the cases whose names match a regular expression (default: all)
#   --install  where there is no Chromium, install Debian's, if this machine allows that
#
# Needs Chromium (BROWSER_BIN, or one in PATH), Node 20.14 with npm, bash and coreutils. The two npm
# packages that it uses are pinned in tests/browser and stay under the target directory; no browser
# is downloaded. Every step is bounded in time.
#
# Environment:
#   BROWSER_BIN        the browser, a Chromium
#   CARGO_TARGET_DIR   where packages go (default: target/)
#   DASHBOARD_ASSETS   a directory that the page's assets are taken from in place of the server's
#   BROWSER_SECONDS    the longest that all cases may take (default: 500)
#   TEST_DIR           where test data goes; it must be on a disk that does direct I/O, which a
#                      tmpfs may not (default: tmp/ in the target directory)
#
# Exit: 0 all well, 1 a step failed or took too long, 2 wrong usage or a tool is missing, 3 there is
# no Chromium.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
thalweg=${THALWEG_BIN:-$target/release/thalweg}
artifacts=$root/artifacts/browser
only=
case=
install=false
while (($# > 0)); do
  if [[ $1 == --install ]]; then
    install=true
    shift
    continue
  fi
  (($# > 1)) || usage
  case $1 in
    --server) thalweg=$2 ;;
    --out) artifacts=$2 ;;
    --only) only=$2 ;;
    --case) case=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[[ $only =~ ^[a-z,-]*$ ]] || usage

home=$target/browser
work=

cleanup() {
  local status=$?
  [[ -z $work ]] || rm --recursive --force -- "$work"
  exit "$status"
}
trap cleanup EXIT

fail() {
  echo "browser: $2" >&2
  exit "$1"
}

find_browser() {
  local name
  for name in ${BROWSER_BIN:-chromium chromium-browser google-chrome}; do
    command -v "$name" && return
  done
  return 1
}

install_browser() {
  $install && ((EUID == 0)) && command -v apt-get >/dev/null || return 1
  local packages=(chromium fonts-dejavu-core)
  {
    timeout --kill-after=10 120 apt-get update -qq &&
      DEBIAN_FRONTEND=noninteractive timeout --kill-after=10 400 \
        apt-get install -qq -y --no-install-recommends "${packages[@]}"
  } >"$artifacts/install.log" 2>&1
}

# The cases are copied beside the packages, because that is where Node looks for them.
install_packages() {
  local wanted=$root/tests/browser
  mkdir --parents "$home"
  rm --force -- "$home"/*.mjs
  cp "$wanted"/*.mjs "$home"
  cmp --silent "$wanted/package-lock.json" "$home/installed.json" && return
  cp "$wanted"/package*.json "$home"
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 timeout --kill-after=10 300 \
    npm --prefix "$home" ci --no-audit --no-fund >"$artifacts/npm.log" 2>&1 ||
    fail 1 "npm: $(tail --lines=20 "$artifacts/npm.log")"
  cp "$wanted/package-lock.json" "$home/installed.json"
}

[[ -x $thalweg ]] || fail 2 "no server at $thalweg; cargo build --release makes one"
thalweg=$(realpath -- "$thalweg")
[[ $(node --print 'const [a, b] = process.versions.node.split("."); a * 1000 + +b >= 20014' \
  2>/dev/null) == true ]] && command -v npm >/dev/null || fail 2 "needs Node 20.14 with npm"
mkdir --parents "$artifacts" "${TEST_DIR:-$target/tmp}"
artifacts=$(realpath -- "$artifacts")
rm --force -- "$artifacts"/*.png "$artifacts"/*.log
browser=$(find_browser) || { install_browser && browser=$(find_browser); } ||
  fail 3 "there is no Chromium here (BROWSER_BIN, or chromium in PATH)"
install_packages
work=$(mktemp --directory --tmpdir="${TEST_DIR:-$target/tmp}" thalweg-browser.XXXXXX)

files=("$home"/*.test.mjs)
if [[ -n $only ]]; then
  IFS=, read -ra files <<<"$only"
  files=("${files[@]/#/$home/}")
  files=("${files[@]/%/.test.mjs}")
fi
export THALWEG_BIN=$thalweg BROWSER_BIN=$browser BROWSER_WORK=$work BROWSER_OUT=$artifacts
if [[ -n ${DASHBOARD_ASSETS:-} ]]; then
  DASHBOARD_ASSETS=$(realpath -- "$DASHBOARD_ASSETS")
  export DASHBOARD_ASSETS
fi
status=0
arguments=(--test --test-force-exit --test-concurrency=2 --test-reporter=spec)
[[ -z $case ]] || arguments+=(--test-name-pattern="$case")
timeout --kill-after=10 "${BROWSER_SECONDS:-500}" node "${arguments[@]}" "${files[@]}" \
  >"$artifacts/cases.log" 2>&1 || status=$?
if ((status != 0)); then
  sed --quiet '/failing tests/,$p' "$artifacts/cases.log" | head --lines=200 >&2
  fail 1 "failed (status $status); again: scripts/browser.sh --only FILE; pictures: $artifacts"
fi
grep -E "^ℹ (pass|fail|duration_ms)" "$artifacts/cases.log"
