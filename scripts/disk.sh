# shellcheck shell=bash
# Takes a file system of tests/power away; for the scripts beside this one, which source it.
#
# They set $work (its directory is mnt in there), $disk_pid (empty while there is none) and, as a
# coprocess does, the array `disk`.

# Ends the file system: at the end of its input it is gone, or else after ten seconds.
kill_disk() {
  local out=${disk[1]:-} pid=$disk_pid deadline=$((SECONDS + 10))
  disk_pid=
  [[ -z $out ]] || exec {out}>&-
  while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.02; done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# Unmounts what is left: the file system may have been ended by a signal, and its mount then answers
# nothing.
unmount_disk() {
  if grep --quiet --fixed-strings " $work/mnt fuse" /proc/mounts; then
    umount --lazy "$work/mnt" 2>/dev/null || fusermount3 -u -z "$work/mnt" || true
  fi
}
