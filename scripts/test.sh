#!/bin/bash
# Runs every check and every test. Installs what is missing. Ends with a summary: what failed,
# what was skipped and why, and a line "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} RUST_BACKTRACE=0
passed=0
failed=()
logs=$(mktemp -d)
skips=$logs/skips
: >"$skips"
child=
trap 'rm -rf "$logs"' EXIT
trap 'stop; exit 130' INT
trap 'stop; exit 143' TERM HUP

# stop: ends the command under way, which is not in the terminal's foreground.
stop() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
}

# in_time SECONDS COMMAND...: a command that hangs ends as a failure.
in_time() {
    local status=0
    # In the background, so that a signal does not have to wait for it.
    timeout --kill-after=10 "$@" </dev/null &
    child=$!
    wait "$child" || status=$?
    child=
    return $status
}

# skip WHAT WHY: notes that a check is not made.
skip() {
    echo "SKIP: $1: $2" | tee -a "$skips"
}

# check WHAT COMMAND...: one check.
check() {
    local what=$1
    shift
    printf '\n== %s\n' "$what"
    if in_time 900 "$@"; then
        passed=$((passed + 1))
    else
        failed+=("$what")
    fi
}

# component COMMAND NAME: a part of the Rust toolchain is there, or can be had.
component() {
    cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2" >/dev/null 2>&1
}

# tests: cargo test; counts each test.
tests() {
    local status=0 good bad skipped name
    printf '\n== tests\n'
    # shellcheck disable=SC2016 # The inner shell expands it.
    FUSEX_SKIP_LOG=$logs/skipped-tests in_time 1500 bash -o pipefail -c \
        'cargo test --locked --no-fail-fast -- --show-output 2>&1 | tee "$0"' "$logs/tests" ||
        status=$?
    read -r good bad < <(awk '/^test result:/ { good += $4; bad += $6 }
        END { print good + 0, bad + 0 }' "$logs/tests")
    # Unit tests only print that they skip.
    touch "$logs/skipped-tests"
    grep -o 'SKIP: .*' "$logs/tests" | grep -vxF -f "$logs/skipped-tests" >"$logs/printed" || true
    cat "$logs/skipped-tests" "$logs/printed" >>"$skips"
    # For cargo a test that skips itself, or part of itself, has passed.
    skipped=$(cat "$logs/skipped-tests" "$logs/printed" | wc -l)
    passed=$((passed + good - skipped))
    while read -r name; do
        failed+=("test $name")
    done < <(awk '/^ +Running / { of = $2 } /^test .* \.\.\. FAILED$/ { print $2, "of", of }' \
        "$logs/tests")
    if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
        # It did not compile, hung, or a test took the whole process with it.
        failed+=("tests: exit code $status")
    fi
}

# posix: the suite from outside, built once below target/.
posix() {
    if [ "$(id -u)" != 0 ]; then
        skip posix "needs root"
    elif [ ! -e /dev/fuse ]; then
        skip posix "/dev/fuse is not there"
    elif ! cargo install --quiet --locked --root "$target/tools" --version 0.2.2 pjdfstest \
        </dev/null 2>"$logs/pjdfstest"; then
        skip posix "pjdfstest cannot be built: $(tail -n 1 "$logs/pjdfstest")"
    else
        check posix scripts/posix.sh "$target/tools/bin/pjdfstest" "$target/debug/fusex"
    fi
}

need_rust
install_missing "${build_needs[@]}" /usr/include/sys/acl.h=libacl1-dev fusermount3=fuse3 \
    findmnt=util-linux mountpoint=util-linux git=git tar=tar rsync=rsync sqlite3=sqlite3 \
    setfattr=attr setfacl=acl stress-ng=stress-ng fio=fio \
    /usr/lib/python3/dist-packages/prometheus_client=python3-prometheus-client bindfs=bindfs \
    mergerfs=mergerfs sshfs=sshfs /usr/lib/openssh/sftp-server=openssh-sftp-server \
    /usr/include/fuse3/fuse.h=libfuse3-dev \
    qemu-system-x86_64=qemu-system-x86 busybox=busybox-static cpio=cpio \
    gcc-12=gcc-12 pahole=pahole patch=patch xz=xz-utils ||
    echo "going on without: what needs them is skipped" >&2

for script in scripts/*.sh kernel/*.sh tests/workloads/*.sh .ci/run; do
    bash -n "$script" || failed+=("syntax of $script")
done
if component fmt rustfmt; then
    check format cargo fmt --check
else
    skip format "no rustfmt"
fi
if component clippy clippy; then
    check clippy cargo clippy --locked --all-targets -- -D warnings
else
    skip clippy "no clippy"
fi
check documentation env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
check "fuzz targets" cargo build --manifest-path fuzz/Cargo.toml --target-dir "$target/fuzz"
if cargo deny --version >/dev/null 2>&1; then
    check dependencies cargo deny --locked check
else
    skip dependencies "cargo-deny is not installed"
fi
tests
posix

printf '\n== summary\n'
sort "$skips" | sed 's/^SKIP: /skipped: /'
for name in "${failed[@]}"; do echo "FAILED: $name"; done
echo "$passed passed, ${#failed[@]} failed, $(wc -l <"$skips") skipped"
[ ${#failed[@]} = 0 ]
