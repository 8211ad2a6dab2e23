# shellcheck shell=bash
# What goes wrong on a disk whose power is on, and what the server must do then; for power.sh, which
# sources this: it has `tell` (the disk), `probe` (a short load), `verify`, `fault` and `sleep_ms`.

# Nothing is acknowledged any more; WHY says after what.
expect_read_only() {
  probe
  ((probed == 0)) || fault "$probed appends were acknowledged $1"
}

# With syncs that fail nothing is acknowledged any more, whether the server goes on or not.
failing_syncs() {
  tell fault eio on
  # Syncs that were under way may still have succeeded.
  sleep_ms 100
  expect_read_only "while every sync failed"
  eio_rounds=$((eio_rounds + 1))
}

# A shard of which a write failed takes nothing more until it is started again, also when it could;
# what it has is still read.
failing_writes() {
  tell fault eio-writes on
  # Writes that were under way may still have succeeded.
  sleep_ms 100
  expect_read_only "while every write failed"
  tell fault eio-writes off
  expect_read_only "after a write had failed"
  kill -0 "$server_pid" 2>/dev/null || fault "the server ended because writes failed"
  verify "${probe_journals[@]}"
  write_rounds=$((write_rounds + 1))
}

# read_first STREAM: asks for its first record; leaves status and answer in $status and $answer.
read_first() {
  local url="http://127.0.0.1:$port/v1/streams/$1/records?seq_num=0&count=1"
  answer=$(curl --silent --max-time 10 --write-out '\n%{http_code}' \
    --header 's2-basin: loadgen-basin' "$url") || answer=none
  status=${answer##*$'\n'}
}

# A read that fails is refused by itself. What the server still has in memory, it may give.
failing_reads() {
  local number status answer
  tell fault eio-reads on
  # The probe's streams, of which a restart has left nothing in memory.
  for number in {0..3}; do
    read_first "loadgen-7-$number"
    case $status in
      500)
        [[ $answer == *'"code":"storage"'* ]] || fault "a failed read is answered $answer"
        reads_refused=$((reads_refused + 1))
        ;;
      200 | 416) ;;
      *) fault "a failed read is answered $answer" ;;
    esac
  done
  probe
  ((probed > 0)) || fault "no append is acknowledged while reads fail"
  tell fault eio-reads off
  for number in {0..3}; do
    read_first "loadgen-7-$number"
    [[ $status == 200 || $status == 416 ]] || fault "a read after failed ones is answered $answer"
  done
  verify "${probe_journals[@]}"
  read_rounds=$((read_rounds + 1))
}

# A full disk refuses appends that need room, and takes them again when there is some.
full_disk() {
  tell fault enospc on
  sleep_ms $((300 + RANDOM % 300))
  kill -0 "$server_pid" 2>/dev/null || fault "the server ended because its disk was full"
  tell fault enospc off
  # The server looks for room again every second.
  probed=0
  local deadline=$((SECONDS + 10))
  while ((probed == 0)); do
    ((SECONDS < deadline)) || fault "no append is acknowledged 10 s after the disk was full"
    probe
  done
  full_rounds=$((full_rounds + 1))
}
