# shellcheck shell=bash
# How scripts/guide.sh, which sources this, reads a page and runs its blocks. It sets $root, $clients,
# $thalweg, $loadgen, $port, $limit and $work, and has $ran, $left, $servers, $followers and $besides counted here.

# read_page FILE: its blocks, in $kinds (language and mark), $lines, $texts, and in $shown what the page
# says that each prints ("-" where it says nothing).
read_page() {
  local line number=0 open=false text=
  page=$1 kinds=() lines=() texts=() shown=()
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    if $open && [[ $line == '```' ]]; then
      open=false
      texts[-1]=$text
      ! [[ ${kinds[-1]} == text ]] || belongs_to_the_last
    elif $open; then
      text+=$line$'\n'
    elif [[ $line == '```'* ]]; then
      open=true text=
      kinds+=("${line#'```'}") lines+=("$number") texts+=("") shown+=("-")
    fi
  done <"$page"
  ! $open || fail "${lines[-1]}" "the block does not end"
}

# Makes a block that shows output part of the one before it.
belongs_to_the_last() {
  local last=$((${#kinds[@]} - 2))
  ((last >= 0)) && [[ ${shown[last]} == "-" ]] || fail "${lines[-1]}" "this is no block's output"
  shown[last]=${texts[-1]}
  unset 'kinds[-1]' 'lines[-1]' 'texts[-1]' 'shown[-1]'
}

# fail LINE MESSAGE: ends the run.
fail() {
  echo "guide: $page:$1: $2" >&2
  exit 1
}

# A directory as the page's reader has it, and nothing exported yet.
begin_page() {
  local dir
  dir=$(mktemp --directory --tmpdir="$work" "$(basename -- "$page" .md).XXXX")
  place=$dir/clone
  mkdir --parents "$place/target/release" "$dir/home"
  ln --symbolic "$thalweg" "$place/target/release/thalweg"
  ln --symbolic "$loadgen" "$place/target/release/loadgen"
  ln --symbolic "$clients/typescript/node_modules" "$place/node_modules"
  ln --symbolic "$clients/python" "$place/.venv"
  exports=$dir/exports
  # No settings of whoever runs this, and not their configuration of the command line tool.
  (
    while read -r name; do unset "$name"; done < <(compgen -v THALWEG_; compgen -v S2)
    export HOME=$dir/home XDG_CONFIG_HOME=$dir/home NO_COLOR=1 THALWEG_LISTEN=127.0.0.1:$port
    export -p
  ) >"$exports"
}

# Ends what the page left running; what ran beside it must not have failed by itself.
end_page() {
  local pid at
  for at in "${!besides[@]}"; do
    pid=${besides[at]}
    unset "besides[$at]"
    if kill -TERM "$pid" 2>/dev/null; then
      await_end "$pid"
    elif ! wait "$pid"; then
      cat "$work/beside.$at" >&2
      fail "$at" "what the block started did not succeed"
    fi
  done
  for pid in "${followers[@]}" "${servers[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${followers[@]}" "${servers[@]}"; do await_end "$pid"; done
  followers=() servers=()
}

# Waits until a child has ended, and sees to it that it does.
await_end() {
  local deadline=$((SECONDS + limit))
  while kill -0 "$1" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.05; done
  kill -KILL "$1" 2>/dev/null || true
}

# do_block INDEX: does what its mark says.
do_block() {
  local kind=${kinds[$1]} line=${lines[$1]} text=${texts[$1]} expected=${shown[$1]} needed
  case $kind in
    "sh run needs="*)
      needed=${kind##*=}
      if command -v "$needed" >/dev/null; then
        run_shell run
      else
        left+=("$page:$line: $needed is not installed")
      fi
      ;;
    "sh run" | "sh run or="* | "sh fails") run_shell "${kind#sh }" ;;
    "sh server") start_page_server ;;
    "sh follow") follow ;;
    "sh beside") run_beside ;;
    "sh shown: "?*) left+=("$page:$line: ${kind#sh shown: }") ;;
    "python file="* | "typescript file="* | "toml file="* | "json file="*)
      localised >"$place/${kind#*file=}"
      ;;
    "rust run="*) run_rust "${kind#*=}" ;;
    "text source") find_in_source ;;
    *) fail "$line" "the block does not say what is to be done with it: \`$kind\`" ;;
  esac
}

# The server that the page started last, of those that it has not ended.
newest_server() { ((${#servers[@]} == 0)) || echo "${servers[-1]}"; }

# The text of a block as it is run here: other ports, and the server of this page.
localised() {
  sed --expression="s/\b444\([0-9]\)\b/${port%0}\1/g" \
    --expression='s#^cargo run --release -- #target/release/thalweg #' \
    --expression='s#^cargo run --release -p loadgen -- #target/release/loadgen #' \
    --expression="s/\"\$(pgrep -x thalweg)\"/$(newest_server)/g" <<<"$text"
}

# What a block printed, with the page's ports, and without colours.
as_shown() {
  sed --expression="s/\b${port%0}\([0-9]\)\b/444\1/g" --expression=$'s/\x1b\\[[0-9;]*m//g' "$1"
}

# The shell that a block's file ($2) runs in: what was exported before ($1) holds, and what it exports is
# kept.
readonly in_shell='set -euo pipefail; source "$1"; source "$2"; export -p >"$1"'

run_shell() {
  local mark=$1 status=0 out=$work/out ended=
  ! [[ $text == *'$(pgrep -x thalweg)'* ]] || ended=$(newest_server)
  localised >"$work/block"
  (cd "$place" && timeout --kill-after=5 "$limit" bash -c "$in_shell" bash "$exports" "$work/block") \
    >"$out" 2>&1 </dev/null || status=$?
  if [[ -n $ended ]]; then await_end "$ended" && unset 'servers[-1]'; fi
  judge "$mark" "$status"
}

run_rust() {
  local source=tests/clients/rust/examples/$1.rs mark=run
  diff --unified "$source" - <<<"${text%$'\n'}" >&2 || fail "$line" "this is not $source"
  text=$target/sdk/debug/examples/$1
  run_shell run
}

# judge MARK STATUS: whether a block ended as the page says, and printed what the page shows.
judge() {
  ran=$((ran + 1))
  as_shown "$out" >"$work/printed"
  local bad=$2
  case $1 in
    "run or="*) (($2 != ${1#run or=})) || bad=0 ;;
    fails) (($2 > 0 && $2 < 124)) && bad=0 || bad=1 ;;
  esac
  if ((bad != 0)); then
    tail --lines=40 "$work/printed" >&2
    fail "$line" "the block ended with status $2"
  fi
  prints_as_shown && return
  printf -- '--- the page shows\n%s--- it printed\n' "$expected" >&2
  tail --lines=40 "$work/printed" >&2
  fail "$line" "the block printed something else than the page shows"
}

# Whether $work/printed is what the page shows, line by line, each as a pattern.
prints_as_shown() {
  local patterns printed at=0 from=0 star=-1 resume=0
  [[ $expected != "-" ]] || return 0
  mapfile -t patterns < <(sed 's/[][*?\\]/\\&/g; s/…/*/g' <<<"${expected%$'\n'}")
  mapfile -t printed <"$work/printed"
  while ((from < ${#printed[@]})); do
    if ((at < ${#patterns[@]})) && [[ ${patterns[at]} == "*" ]]; then
      star=$at resume=$from at=$((at + 1))
    elif ((at < ${#patterns[@]})) && [[ ${printed[from]} == ${patterns[at]} ]]; then
      at=$((at + 1)) from=$((from + 1))
    elif ((star >= 0)); then
      at=$((star + 1)) resume=$((resume + 1)) from=$resume
    else
      return 1
    fi
  done
  while ((at < ${#patterns[@]})) && [[ ${patterns[at]} == "*" ]]; do at=$((at + 1)); done
  ((at == ${#patterns[@]}))
}

# Runs a block that does not end by itself; its process is the shell's, so the last command's.
in_background() {
  { printf 'exec ' && localised; } >"$work/block.$line"
  (cd "$place" && exec bash -c "$in_shell" bash "$exports" "$work/block.$line") \
    >"$out" 2>&1 </dev/null &
}

run_beside() {
  local out=$work/beside.$line
  ran=$((ran + 1))
  in_background
  besides[line]=$!
}

start_page_server() {
  local out=$work/server.$line deadline=$((SECONDS + limit))
  : >"$out"
  in_background
  servers+=($!)
  # Its end is looked for; the shell need not report it.
  disown "$!"
  while ! grep --quiet '^listening on ' "$out"; do
    if ! kill -0 "${servers[-1]}" 2>/dev/null || ((SECONDS >= deadline)); then
      cat "$out" >&2
      fail "$line" "the server does not serve"
    fi
    sleep 0.02
  done
  judge run 0
}

follow() {
  local out=$work/follow.$line deadline=$((SECONDS + limit))
  : >"$out"
  in_background
  followers+=($!)
  disown "$!"
  while as_shown "$out" >"$work/printed" && ! prints_as_shown; do
    if ! kill -0 "${followers[-1]}" 2>/dev/null || ((SECONDS >= deadline)); then break; fi
    sleep 0.05
  done
  kill -INT "${followers[-1]}" 2>/dev/null || true
  kill -TERM "${followers[-1]}" 2>/dev/null || true
  await_end "${followers[-1]}"
  unset 'followers[-1]'
  judge run 0
}

# Each line must be in the source of the server, piece by piece: what lies between two … stands
# somewhere in one file's strings, whose broken lines are joined.
find_in_source() {
  local wanted piece
  ran=$((ran + 1))
  [[ -e $work/source ]] || find src -name '*.rs' -exec cat {} + |
    sed --null-data 's/\\\n *//g' >"$work/source"
  while IFS= read -r wanted; do
    while IFS= read -r piece; do
      [[ -n $piece ]] || continue
      grep --quiet --fixed-strings -- "$piece" "$work/source" ||
        fail "$line" "the server's source does not have \"$piece\""
    done < <(sed 's/ *… */\n/g' <<<"$wanted")
  done <<<"${text%$'\n'}"
}
