#!/bin/bash
# The whole crash matrix, and the storms whose figures are in the README. Needs root. Takes about
# half an hour; the results lie in target/crash/ as JSON and as pages.
set -euo pipefail
cd "$(dirname "$0")/.."

deaths=${1:-10000}
supervisors=${2:-200}
out=target/crash
mkdir -p "$out"
cargo build --locked --release
fusex=target/release/fusex
failed=0

# run NAME ARGUMENT...: a crash test; its verdict is printed, the rest goes to files.
run() {
    local name=$1 status=0
    shift
    printf '%s: fusex crash-test %s\n' "$name" "$*"
    "$fusex" crash-test "$@" --json --report "$out/$name.html" >"$out/$name.json" || status=$?
    if [ "$status" = 77 ]; then
        echo "SKIP: $name: see above" >&2
    elif [ "$status" != 0 ]; then
        failed=$((failed + 1))
        echo "FAILED ($status): $name: see $out/$name.html" >&2
    fi
}

storm() {
    local name=$1
    shift
    run "$name" --kill-worker="$deaths" --kill-supervisor="$supervisors" \
        --trace "$out/$name.trace.json" "$@"
}

run matrix --matrix
storm storm-dir -t dir
storm storm-dir-one -t dir -s
storm storm-mem -t mem
storm storm-mem-one -t mem -s
for fault in hang poison oom core; do run "$fault" --"$fault"; done
[ "$failed" = 0 ]
