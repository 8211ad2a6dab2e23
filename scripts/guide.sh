#!/usr/bin/env bash
# Runs the pages of docs/guide as a reader would: the commands in them, in order, against a server of
# the given binary, and compares what they print with what the page shows. What a page marks as `shown`
# is not run; at the end all of that is listed.
#
# Usage: scripts/guide.sh [--server-bin FILE] [--loadgen-bin FILE] [--port N] [PAGE...]
#
#   --server-bin    the server (default: THALWEG_BIN, or release/thalweg in the target directory)
#   --loadgen-bin   the load generator (default: LOADGEN_BIN, or loadgen beside the server)
#   --port          what to take for the pages' port 4440; 4441 is the one after it, and so on up to
#                   4449 (default: ten free ones)
#   PAGE            pages to run (default: README.md if its blocks are marked, and docs/guide/*.md)
#
# A page is run in a new directory that looks like a clone in which everything is built: it has
# target/release. What it exports holds until its end; servers that it starts run until then. The word
# behind a fence's language says what is done with a block, and a block that says nothing is a fault:
#
#   sh run            its commands succeed           sh run needs=X   likewise, if X is installed
#   sh fails          one of its commands fails      sh run or=N      likewise, or it ends with status N
#   sh server         starts a server, in the background
#   sh beside         goes on beside what follows, and is ended with the page; it must not fail by itself
#   sh follow         runs until it printed what the page shows, then it is interrupted
#   sh shown: WHY     is not run, for that reason
#   python file=NAME  is written to that file; also for typescript, toml and json
#   rust run=NAME     is tests/clients/rust/examples/NAME.rs to the letter, which is run
#   text              what the block before it prints; … stands for anything in a line, a line
#                     that is only … for any lines
#   text source       lines that the server's source has, with … for what varies
#
# `cargo run --release` in a page means the binary that it would build, and `pgrep -x thalweg` the
# server that it started last. The Python and npm packages and the built Rust programs are those that
# scripts/clients.sh installed. Every block is bounded in time.
#
# Environment: THALWEG_BIN, LOADGEN_BIN, CARGO_TARGET_DIR, TEST_DIR, as for the other scripts.
#
# Exit: 0 all well, 1 a block failed (page and line are printed), 2 wrong usage or a tool is missing.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=scripts/guide-blocks.sh
source "$root/scripts/guide-blocks.sh"

usage() {
  sed --quiet '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$root/$target
clients=$target/clients
thalweg=${THALWEG_BIN:-$target/release/thalweg}
loadgen=${LOADGEN_BIN:-}
port=
pages=()
while (($# > 0)); do
  case $1 in
    --server-bin) thalweg=$(realpath -- "${2:?}") && shift 2 ;;
    --loadgen-bin) loadgen=$(realpath -- "${2:?}") && shift 2 ;;
    --port) port=${2:?} && shift 2 ;;
    -*) usage ;;
    *) pages+=("$1") && shift ;;
  esac
done
loadgen=${loadgen:-$(dirname -- "$thalweg")/loadgen}
if ((${#pages[@]} == 0)); then
  ! grep --quiet '^```sh run' README.md || pages+=(README.md)
  pages+=(docs/guide/*.md)
fi
for file in "$thalweg" "$loadgen" "$clients/python/bin/python" \
  "$clients/typescript/node_modules/@s2-dev/streamstore/package.json" \
  "$target/sdk/debug/examples/quick-start"; do
  [[ -e $file ]] && continue
  echo "guide: $file is missing; build the server and the load generator, and run" \
    "scripts/clients.sh once, which installs the clients" >&2
  exit 2
done

# What a block may take, and what is waited for a server to serve or to end, in seconds.
limit=60
mkdir --parents "${TEST_DIR:-$target/tmp}"
work=$(mktemp --directory --tmpdir="${TEST_DIR:-$target/tmp}" thalweg-guide.XXXXXX)
ran=0
left=()
servers=()
followers=()
besides=()

cleanup() {
  local status=$?
  end_page
  if ((status == 0 || status == 2)); then
    rm --recursive --force -- "$work"
  else
    echo "guide: kept $work" >&2
  fi
  exit "$status"
}
trap cleanup EXIT

# Nobody listens on the ten ports from $1 on.
are_free() {
  local number
  for ((number = $1; number < $1 + 10; number++)); do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$number") 2>/dev/null || return 1
  done
}

# Below the ports that the kernel gives away by itself.
for ((tries = 0; tries < 100; tries++)); do
  [[ -z $port ]] || break
  candidate=$((RANDOM % 1000 * 10 + 20000))
  ! are_free "$candidate" || port=$candidate
done
if [[ ! $port =~ ^[1-9][0-9]{3,4}$ ]] || ! are_free "$port"; then
  echo "guide: no ten free ports${port:+ from $port on}" >&2
  exit 2
fi

check_versions() {
  local page=docs/guide/quick-start.md wanted
  for wanted in "s2-sdk==$(sed --quiet 's/^s2-sdk==//p' tests/clients/python/requirements.in)" \
    "streamstore@$(sed --quiet 's/.*streamstore": "\([0-9.]*\)".*/\1/p' tests/clients/typescript/package.json)" \
    "s2-sdk@=$(sed --quiet 's/^s2-sdk = .*"=\([0-9.]*\)".*/\1/p' tests/clients/rust/Cargo.toml)"; do
    grep --quiet --fixed-strings -- "$wanted" "$page" && continue
    echo "guide: $page installs another version than $wanted, which is what is tested" >&2
    return 1
  done
}

# What the page points to within the tree must be there.
check_links() {
  local line link
  while IFS=: read -r line link; do
    [[ $link == *:* || -e $(dirname -- "$page")/$link ]] || fail "$line" "the link to $link leads nowhere"
  done < <(grep --line-number --only-matching '\](\([^)#]\+\)' "$page" | sed 's/](//')
}

# Runs the page $1.
run_page() {
  local block
  read_page "$1"
  check_links
  begin_page
  for ((block = 0; block < ${#kinds[@]}; block++)); do do_block "$block"; done
  end_page
}

# Each of these pages has a fault in its first line, which must be told.
check_itself() {
  local fault
  for fault in 'sh run\nfalse\n```' 'sh run\nfalse; true\n```' 'sh run\ncat <&7\n```' 'sh\ntrue\n```' \
    'sh fails\ntrue\n```' 'sh run or=3\nexit 4\n```' 'sh shown: \ntrue\n```' 'sh run\ntrue' \
    'sh run\necho a\n```\n```text\nb\n```' 'sh run\necho a; echo b\n```\n```text\na\n```' \
    'sh run\necho a\n```\n```text\na\n…\nb\n```' 'sh run\necho "*a"\n```\n```text\n*\n```' \
    'sh beside\nsh -c ">ended; false"\n```\n```sh run\nuntil [[ -e ended ]]; do sleep 0.1; done; sleep 1\n```' \
    'sh server\nfalse\n```' 'text source\nwords that no source … has\n```' \
    'rust run=quick-start\nfn main() {}\n```'; do
    printf '```%b\n' "$fault" >"$work/fault.md"
    if (run_page "$work/fault.md") >"$work/fault.out" 2>&1 ||
      ! grep --quiet --fixed-strings "guide: $work/fault.md:1: " "$work/fault.out"; then
      cat "$work/fault.md" "$work/fault.out" >&2
      echo "guide: this fault is not noticed" >&2
      return 1
    fi
  done
}

check_itself
check_versions
for page in "${pages[@]}"; do
  start=$SECONDS
  run_page "$page"
  echo "guide: $page: ${#kinds[@]} blocks, $((SECONDS - start)) s"
done

if ((${#left[@]} > 0)); then
  printf '\nnot run:\n'
  printf '  %s\n' "${left[@]}"
fi
printf '\nguide: %d blocks were run, %d not\n' "$ran" "${#left[@]}"
((ran > 0))
