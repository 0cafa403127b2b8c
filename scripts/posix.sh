#!/bin/bash
# Runs the POSIX suite pjdfstest on a directory and on mounts of it, and compares: what fails on a
# mount and not on the directory is an error. Needs root.
#
# usage: scripts/posix.sh PJDFSTEST FUSEX
set -euo pipefail
suite=$1 fusex=$2

place=$(mktemp -d)
clean_up() {
    if mountpoint -q "$place/mnt"; then "$fusex" umount --lazy "$place/mnt" || true; fi
    if mountpoint -q "$place/other"; then umount --lazy "$place/other" || true; fi
    rm -rf --one-file-system "$place"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$place"
mkdir "$place/src" "$place/mnt" "$place/other"
chmod 777 "$place/src"

cat >"$place/config.toml" <<'END'
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.01
allow_remount = false

[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
END
# Another file system, for what must not cross from one to the other.
mount -t tmpfs tmpfs "$place/other"
chmod 777 "$place/other"

# suite NAME DIRECTORY: runs it; the cases that failed go to NAME.failed, those skipped to
# NAME.skipped.
suite() {
    "$suite" -c "$place/config.toml" -s "$place/other" -p "$2" \
        >"$place/$1.log" 2>"$place/$1.err" </dev/null || true
    grep '^Summary' "$place/$1.log" | sed "s/^Summary/$1/" ||
        { cat "$place/$1.log" "$place/$1.err"; echo "$1: the suite did not end"; exit 1; }
    awk '$2 == "FAILED" { print $1 }' "$place/$1.log" | sort >"$place/$1.failed"
    awk '$2 == "skipped" { print $1 }' "$place/$1.log" | sort >"$place/$1.skipped"
}

suite native "$place/src"
status=0
for mode in "" -s "-o nopassthrough --transport splice"; do
    name=mount${mode//[ =]/-}
    # shellcheck disable=SC2086 # No mode is no word.
    "$fusex" mount -o allow_other,suid,dev $mode "$place/src" "$place/mnt"
    suite "$name" "$place/mnt"
    "$fusex" umount "$place/mnt"
    comm -13 "$place/native.failed" "$place/$name.failed" >"$place/only"
    if [ -s "$place/only" ]; then
        status=1
        while read -r case; do
            echo "FAILED on $name, not on the lower directory: $case"
            grep -F -A 3 "$case " "$place/$name.log" | tail -n +2
        done <"$place/only"
    fi
    comm -13 "$place/native.skipped" "$place/$name.skipped" |
        sed "s/^/skipped on $name, not on the lower directory: /"
done
comm -12 "$place/native.failed" "$place/mount.failed" | sed 's/^/fails on both: /'
exit $status
