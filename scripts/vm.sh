#!/bin/bash
# Boots one of Debian's kernels in a virtual machine, runs a script there, prints what that prints
# and ends with its exit code. Nothing of this machine changes: the kernel is downloaded with an apt
# configuration of its own, unpacked below target/vm, and not installed. No KVM, so that it runs
# inside of other virtual machines.
#
# usage: scripts/vm.sh [-t SECONDS] [-m MODULE]... SERIES SCRIPT [FILE[:PLACE]]...
#        scripts/vm.sh -r SERIES
#
# SERIES is 6.1 or 6.12: the newest such kernel for clouds. SCRIPT is for busybox's sh, which runs
# it as root; what it prints on stderr is shown when it fails. Each FILE is in the machine too,
# where it is here or at PLACE, with the libraries that it needs. There is FUSE; there is no disk
# and no network. -t is how long the machine may run: 120 s. -m is a kernel module to load first.
# -r fetches the kernel, if that was not done before, and prints which one it is.
#
# Exit codes: the script's; 77 when there can be no such machine here, with the reason on stderr;
# 70 when the machine ended before the script; 124 when it was not done in time.
set -euo pipefail
. "$(dirname "$0")/debian.sh"

usage() {
    sed -n '/^# usage/,/^#$/s/^# \?//p' "$0" >&2
    exit 64
}

# fetch SUITE: makes work/kernel, with the image, and with FUSE where that is a module.
fetch() {
    local package
    use_suite "$1" "$work/apt" || return
    package=$(apt-cache pkgnames "linux-image-$series." | grep -- '-cloud-amd64$' | sort -V | tail -n 1)
    [ -n "$package" ] || { echo "the archive does not have it" >&2; return 1; }
    download "$package" || return
    dpkg-deb --fsys-tarfile "$package"_*.deb |
        tar -x --wildcards './boot/vmlinuz-*' '*/kernel/fs/fuse/*' || return
    mkdir "$work/kernel"
    find . -name 'fuse.ko*' -exec mv {} "$work/kernel/" \;
    [ ! -e "$work/kernel/fuse.ko.xz" ] || busybox unxz "$work/kernel/fuse.ko.xz" || return
    mv boot/vmlinuz-* "$work/kernel/vmlinuz"
}

# have_kernel SUITE: fetches the kernel, unless it was fetched before.
have_kernel() {
    [ ! -e "$kernel/vmlinuz" ] || return 0
    command -v apt-get >/dev/null || why_not "no kernel $series: there is no apt-get to fetch it"
    (fetch "$1") >"$work/fetch" 2>&1 ||
        why_not "no kernel $series from $1: $(head -n 1 "$work/fetch")"
    # Another one may have come first: then it is the same.
    mv -T "$work/kernel" "$kernel" 2>/dev/null || [ -e "$kernel/vmlinuz" ]
}

# place FILE[:PLACE]...: puts files into the machine, with their libraries.
place() {
    local pair from to library
    for pair in "$@"; do
        from=${pair%%:*} to=${pair#*:}
        install -D "$from" "$root/$to"
        # A static one has none.
        for library in $(ldd "$from" 2>/dev/null | grep -o '/[^ ]*'); do
            [ -e "$root/$library" ] || install -D "$library" "$root/$library"
        done
    done
}

# release: which kernel it is, as its file says.
release() {
    local at
    at=$(od -An -tu2 -j 526 -N 2 "$kernel/vmlinuz")
    dd "if=$kernel/vmlinuz" bs=1 skip=$((at + 512)) count=80 2>/dev/null | cut -d ' ' -f 1
}

# build: what the machine starts with.
build() {
    local module number=10
    mkdir -p "$root"/{bin,dev,mnt,proc,sys,tmp}
    place "$(command -v busybox):/bin/busybox" "$script:/script" "$@"
    [ ! -e "$kernel/fuse.ko" ] || modules=("$kernel/fuse.ko" "${modules[@]}")
    for module in "${modules[@]}"; do
        place "$module:/modules/$((number++)).ko"
    done
    cat >"$root/init" <<'END'
#!/bin/busybox sh
# Output goes to the second serial port, errors go to the first one, and to the third how far it is.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /tmp
mount -t tracefs none /sys/kernel/tracing
mount -t bpf none /sys/fs/bpf
for module in /modules/*.ko; do
    [ ! -e "$module" ] || insmod "$module"
done
mount -t fusectl none /sys/fs/fuse/connections
for port in 0 1 2; do stty raw <"/dev/ttyS$port"; done
echo up >/dev/ttyS2
sh /script </dev/null >/dev/ttyS1 2>/dev/ttyS0
code=$?
# What was written goes out first.
for port in 0 1; do stty raw <"/dev/ttyS$port"; done
echo "$code" >/dev/ttyS2
poweroff -f
END
    chmod 755 "$root/init"
    # Not compressed: here it is quick to read, and there slow to unpack.
    (cd "$root" && find . | cpio --quiet -o -H newc) >"$work/initramfs"
}

# run: starts the machine and waits for its end.
run() {
    local status=0
    # One processor, since with two of them the emulation loses wake-ups; without cmpxchg16b, after
    # which the flags are wrong in qemu 7.2. SIGKILL of this script ends the machine too.
    setpriv --pdeathsig TERM timeout --kill-after=5 "$seconds" qemu-system-x86_64 \
        -accel tcg -cpu qemu64,-cx16 -smp 1 -m 1G -nodefaults -display none -no-reboot \
        -serial "file:$work/console" -serial "file:$work/output" -serial "file:$work/state" \
        -kernel "$kernel/vmlinuz" -initrd "$work/initramfs" \
        -append "console=ttyS0 quiet no_timer_check oops=panic panic=-1 mitigations=off" </dev/null &
    machine=$!
    wait "$machine" || status=$?
    machine=
    return $status
}

seconds=120
modules=()
print_release=
while getopts t:m:r option; do
    case $option in
    t) seconds=$OPTARG ;;
    m) modules+=("$OPTARG") ;;
    r) print_release=yes ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || [ "$print_release$#" = yes1 ] || usage
series=$1 script=${2-}
shift $(($# > 1 ? 2 : 1))
case $series in
6.1) suite=bookworm ;;
6.12) suite=bookworm-backports ;;
*) usage ;;
esac

[ "$(uname -m)" = x86_64 ] || why_not "the kernels are for x86-64, this is $(uname -m)"
for tool in qemu-system-x86_64=qemu-system-x86 busybox=busybox-static cpio=cpio \
    setpriv=util-linux; do
    command -v "${tool%=*}" >/dev/null || why_not "${tool%=*} is missing (package ${tool#*=})"
done
if ldd "$(command -v busybox)" >/dev/null 2>&1; then
    why_not "busybox needs libraries (package busybox-static)"
fi
for file in ${script:+"$script"} "${modules[@]}" "${@%%:*}"; do
    [ -r "$file" ] || { echo "vm.sh: $file: cannot be read" >&2; exit 66; }
done

kernels=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/vm
mkdir -p "$kernels"
kernels=$(cd "$kernels" && pwd)
kernel=$kernels/$series
# What was left by one that was killed.
find "$kernels" -maxdepth 1 -name 'work.*' -mmin +60 -exec rm -rf {} +
work=$(mktemp -d "$kernels/work.XXXXXX")
root=$work/root
machine=
trap '[ -z "$machine" ] || { kill "$machine"; wait "$machine"; } 2>/dev/null || true
    rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

have_kernel "$suite"
if [ -n "$print_release" ]; then
    release
    exit 0
fi
build "$@"
status=0
run || status=$?
cat "$work/output" 2>/dev/null || true
code=$(tail -n 1 "$work/state" 2>/dev/null || true)
if [ "$code" = 0 ]; then
    exit 0
fi
tr -d '\r' <"$work/console" | tail -n 100 >&2 || true
case $code in
*[0-9]*) exit "$code" ;;
up) ended="before the script did" ;;
*) ended="before it was up" ;;
esac
if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    echo "vm.sh: stopped after $seconds s, $ended" >&2
    exit 124
fi
echo "vm.sh: the machine ended (qemu: $status) $ended" >&2
exit 70
