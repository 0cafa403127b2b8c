#!/bin/bash
# Builds fusex, mounts a directory, uses it, and unmounts. Leaves nothing behind but ./target.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

# step WHAT: says what comes next.
step() {
    printf '\n== %s\n' "$1"
}

# run COMMAND...: shows it and does it.
run() {
    printf '$ %s\n' "$*"
    "$@"
}

clean_up() {
    # Also after a failure half-way: the mount may be there or not, the directory may be empty.
    if mountpoint -q "$place/mnt"; then "$fusex" umount --lazy "$place/mnt" || true; fi
    rm -rf --one-file-system "$place"
}

need_rust
step "what is missing"
install_missing cc=gcc /usr/include/stdio.h=libc6-dev fusermount3=fuse3 findmnt=util-linux
[ -e /dev/fuse ] || { echo "/dev/fuse is not there: try 'modprobe fuse' as root" >&2; exit 1; }

step "build (the first time takes some minutes)"
run cargo build --release --locked
fusex=${CARGO_TARGET_DIR:-target}/release/fusex

place=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir "$place/src" "$place/mnt"
echo "I was here before." >"$place/src/old"

step "mount $place/src, and what was negotiated with the kernel"
run "$fusex" mount -v "$place/src" "$place/mnt"

step "how the mount table shows it"
run findmnt "$place/mnt"
grep -F " $place/mnt " /proc/self/mounts

step "write and read through it"
run cat "$place/mnt/old"
echo "Written through the mount." >"$place/mnt/new"
run cat "$place/src/new"
run mkdir "$place/mnt/dir"
run ln "$place/mnt/new" "$place/mnt/dir/link"
run ls -lR "$place/mnt"
run dd if=/dev/zero of="$place/mnt/big" bs=1M count=64 conv=fsync
run cmp -n 67108864 "$place/src/big" /dev/zero

step "unmount"
run "$fusex" umount "$place/mnt"
run ls -l "$place/src"
