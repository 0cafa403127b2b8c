#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds fusebpf.ko from Debian's kernel source and the patches in this directory, for the kernel
# that scripts/vm.sh boots, and prints where it is. Packages are unpacked below target/vm, and not
# installed. What was built is kept until something in this directory changes.
#
# usage: kernel/build.sh
#        kernel/build.sh -s DIR
#
# -s DIR: only writes the patched source, with what make and DKMS need, to a new directory DIR.
#
# Exit codes: 77 when it cannot be built here, with the reason on stderr.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../scripts/debian.sh"
series=6.12 suite=bookworm-backports

usage() {
    sed -n '/^# usage/,/^#$/s/^# \?//p' "$0" >&2
    exit 64
}

# in_archive COMMAND...: runs it where apt sees the suite; or says why that is not possible.
in_archive() {
    command -v apt-get >/dev/null || why_not "no kernel source: there is no apt-get to fetch it"
    (use_suite "$suite" "$work/apt" && "$@") >"$work/log" 2>&1 ||
        why_not "cannot unpack packages of $suite: $(head -n 1 "$work/log")"
}

# unpack_source: makes work/source with what is needed of the kernel's source.
unpack_source() {
    download "linux-source-$series" || return
    mkdir -p "$work/source"
    # The package, and in it the source.
    dpkg-deb --fsys-tarfile linux-source-*.deb | tar -xO "./usr/src/linux-source-$series.tar.xz" |
        tar -xJ -C "$work/source" --strip-components=1 "linux-source-$series/fs/fuse" \
            "linux-source-$series/Documentation/filesystems/fuse.rst"
}

# unpack_headers RELEASE: makes work/headers, a file system with what modules are built with.
unpack_headers() {
    local package base=${1%-*-*}
    download "linux-headers-$1" "linux-headers-$base-common" "linux-kbuild-$base" || return
    for package in *.deb; do
        dpkg-deb -x "$package" "$work/headers" || return
    done
    # It names its place in an installed system.
    echo "include $vm/headers-$1/usr/src/linux-headers-$base-common/Makefile" \
        >"$work/headers/usr/src/linux-headers-$1/Makefile"
}

# keep NAME PLACE: moves work/NAME to its place. If another one came first it is the same.
keep() {
    mv -T "$work/$1" "$2" 2>/dev/null || [ -e "$2" ]
}

# write_source DIR: the patched and renamed source, and how to build it.
write_source() {
    local patch
    if [ ! -e "$vm/source-$series" ]; then
        in_archive unpack_source
        keep source "$vm/source-$series"
    fi
    cp -r "$vm/source-$series" "$work/patched"
    for patch in "$here/patches/$series"/*.patch; do
        patch --quiet -d "$work/patched" -p 1 <"$patch"
    done
    mkdir -p "$1"
    cp "$work/patched/fs/fuse"/*.[ch] "$here/Makefile" "$here/dkms.conf" "$1"
    # Of no use without the exports of a FUSE that has its own name.
    rm "$1/cuse.c" "$1/virtio_fs.c"
    sed -i -f "$here/rename.sed" "$1"/*.[ch]
}

# build_module: makes work/fusebpf for the kernel of the virtual machine.
build_module() {
    local tool release status=0
    for tool in make=make gcc-12=gcc-12 pahole=pahole patch=patch xz=xz-utils; do
        command -v "${tool%=*}" >/dev/null || why_not "${tool%=*} is missing (package ${tool#*=})"
    done
    release=$("$here/../scripts/vm.sh" -r $series) || exit
    if [ ! -e "$vm/headers-$release" ]; then
        in_archive unpack_headers "$release"
        keep headers "$vm/headers-$release"
    fi
    write_source "$work/fusebpf"
    timeout 300 make -C "$work/fusebpf" KDIR="$vm/headers-$release/usr/src/linux-headers-$release" \
        >"$work/log" 2>&1 || status=$?
    if [ $status != 0 ] || grep -i warning "$work/log" >&2; then
        tail -n 20 "$work/log" >&2
        exit 1
    fi
    strip --strip-debug "$work/fusebpf/fusebpf.ko"
    cat "$here/patches/$series"/*.patch "$here/rename.sed" "$here/Makefile" >"$work/fusebpf/made-from"
}

target=
while getopts s: option; do
    case $option in
    s) target=$OPTARG ;;
    *) usage ;;
    esac
done
[ $# = $((OPTIND - 1)) ] || usage

vm=${CARGO_TARGET_DIR:-$here/../target}/vm
mkdir -p "$vm"
vm=$(cd "$vm" && pwd)
work=$(mktemp -d "$vm/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -n "$target" ]; then
    [ ! -e "$target" ] || { echo "build.sh: $target is there already" >&2; exit 73; }
    write_source "$target"
    exit 0
fi
module=$vm/fusebpf/fusebpf.ko
if ! cat "$here/patches/$series"/*.patch "$here/rename.sed" "$here/Makefile" |
    cmp -s - "$vm/fusebpf/made-from"; then
    build_module
    rm -rf "$vm/fusebpf"
    keep fusebpf "$vm/fusebpf"
fi
echo "$module"
