#!/usr/bin/env bash
# Tests the bucket: on a directory, and on an S3 server behind a proxy that delays, loses, repeats and
# refuses requests, and cuts servers off.
#
# Usage: scripts/bucket.sh [FILTER...]
#
#   FILTER   only tests whose names contain it, as for cargo test
#
# Needs Rust, bash, coreutils, Python 3.11 with venv. The S3 server (moto) comes from the package
# registry, in the versions that tests/bucket/requirements.txt pins, and stays under the target
# directory. Bounded in time.
#
# Environment:
#   CARGO_TARGET_DIR   where builds go (default: target/)
#
# Exit: 0 all well, 1 a test failed or took too long, 2 a tool is missing.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/moto.sh
source "$root/scripts/moto.sh"

target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target

if ! python3 -c 'import ensurepip, sys, venv; assert sys.version_info >= (3, 11)' 2>/dev/null; then
  echo "bucket: needs Python 3.11 or later with its venv module (on Debian: python3-venv)" >&2
  exit 2
fi
mkdir --parents "$target"
install_moto
timeout --kill-after=10 600 cargo test --quiet --locked --test bucket --no-run
(cd tests/bucket-proxy && timeout --kill-after=10 300 cargo test --quiet --locked \
  --target-dir "$target/bucket-proxy")
status=0
THALWEG_TEST_MOTO=$moto timeout --kill-after=10 900 cargo test --locked --test bucket -- "$@" || status=$?
((status != 124 && status != 137)) || echo "bucket: not done within 900 s" >&2
exit $((status != 0))
