#!/bin/bash
# Boots one of Debian's kernels in a virtual machine, runs a script there, prints what that prints
# and ends with its exit code. Nothing of this machine changes: the kernel is downloaded with an apt
# configuration of its own, unpacked below target/vm, and not installed. No KVM, so that it runs
# inside of other virtual machines.
#
# usage: scripts/vm.sh [-t SECONDS] SERIES SCRIPT [FILE[:PLACE]]...
#
# SERIES is 6.1 or 6.12: the newest such kernel for clouds. SCRIPT is for busybox's sh, which runs
# it as root; what it prints on stderr is shown when it fails. Each FILE is in the machine too,
# where it is here or at PLACE, with the libraries that it needs. There is FUSE; there is no disk
# and no network. -t is how long the machine may run: 120 s.
#
# Exit codes: the script's; 77 when there can be no such machine here, with the reason on stderr;
# 70 when the machine ended before the script; 124 when it was not done in time.
set -euo pipefail

usage() {
    sed -n 's/^# usage/usage/p' "$0" >&2
    exit 64
}

# why_not REASON: ends, because there can be no machine here.
why_not() {
    echo "$*" >&2
    exit 77
}

# mirror: the address of the Debian archive that this machine installs from.
mirror() {
    # shellcheck disable=SC2016 # apt replaces them.
    apt-get indextargets --format '$(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "main" && $2 ~ /\/debian\/$/ && !found { print $2; found = 1 }'
}

# configure SUITE: writes an apt configuration with this suite alone, and with the machine's own
# way to the network.
configure() {
    local from key=/usr/share/keyrings/debian-archive-keyring.gpg
    from=$(mirror)
    [ -n "$from" ] || { echo "apt has no Debian archive" >&2; return 1; }
    mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    [ -e "$key" ] && key=" [signed-by=$key]" || key=
    echo "deb$key $from $1 main" >"$work/apt/sources.list"
    apt-config dump | grep '^Acquire::' >"$work/apt/apt.conf" || true
    cat >>"$work/apt/apt.conf" <<END
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$work/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$work/apt/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$work/apt/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
END
}

# fetch SUITE: makes work/kernel, with the image, and with FUSE where that is a module.
fetch() {
    local package
    configure "$1" && cd "$work/apt" && export APT_CONFIG=$PWD/apt.conf || return
    timeout 120 apt-get -qq update </dev/null || return
    package=$(apt-cache pkgnames "linux-image-$series." | grep -- '-cloud-amd64$' | sort -V | tail -n 1)
    [ -n "$package" ] || { echo "the archive does not have it" >&2; return 1; }
    timeout 300 apt-get -qq download "$package" </dev/null || return
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

# build: what the machine starts with.
build() {
    mkdir -p "$root"/{bin,dev,mnt,proc,sys,tmp}
    place "$(command -v busybox):/bin/busybox" "$script:/script" "$@"
    [ ! -e "$kernel/fuse.ko" ] || place "$kernel/fuse.ko:/fuse.ko"
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
[ ! -e /fuse.ko ] || insmod /fuse.ko
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
while getopts t: option; do
    case $option in
    t) seconds=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
series=$1 script=$2
shift 2
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
for file in "$script" "${@%%:*}"; do
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
