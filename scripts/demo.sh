#!/bin/bash
# Builds fusex, mounts a directory, uses it, kills its server again and again under programs that
# are at work, and unmounts. Leaves nothing behind but ./target.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

# How often the worker is killed with each of the two signals, at least.
KILLS=20

# step WHAT: says what comes next.
step() {
    printf '\n== %s\n' "$1"
}

# run COMMAND...: shows it and does it.
run() {
    printf '$ %s\n' "$*"
    "$@"
}

# fail WHAT: ends the demo.
fail() {
    echo "demo: $1" >&2
    exit 1
}

# is_mounted: also when nobody serves it any more, where stat(2) fails.
is_mounted() {
    grep -qF " $place/mnt " /proc/self/mounts
}

clean_up() {
    # Also after a failure half-way: the mount may be there or not, programs may be at work on it.
    rm -f "$place/killing"
    if is_mounted; then
        "$fusex" supervise stop "$place/mnt" || "$fusex" umount --lazy "$place/mnt" || true
    fi
    wait || true
    rm -rf --one-file-system "$place"
}

# state KEY: a number of 'fusex supervise status --json'.
state() {
    "$fusex" supervise status --json "$place/mnt" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"
}

# process WHO: the process id of worker or supervisor; never 0, which kill takes for this script's
# group.
process() {
    local pid
    pid=$(state "$1_pid")
    [ "${pid:-0}" -gt 1 ] || fail "there is no $1"
    echo "$pid"
}

# kill_worker SIGNAL: and waits for the next one.
kill_worker() {
    local generation worker tries
    generation=$(state generation)
    worker=$(process worker)
    kill "-$1" "$worker"
    for tries in $(seq 500); do
        if [ "$(state generation)" -gt "$generation" ] && [ "$(state worker_pid)" != 0 ]; then
            return 0
        fi
        sleep 0.01
    done
    fail "no worker after worker $worker and ${tries}0 ms"
}

# kill_workers WHILE: with two signals in turn, often enough, and as long as process WHILE is there.
kill_workers() {
    kills=0
    while [ "$kills" -lt "$KILLS" ] || kill -0 "$1" 2>/dev/null; do
        kill_worker 8
        sleep 0.1
        kill_worker 9
        sleep 0.1
        kills=$((kills + 1))
    done
}

# slow_cat: 32 MiB, as somebody reads who takes a quarter of a MiB at a time.
slow_cat() {
    cat "$place/mnt/big" | while head -c 262144 >"$place/part" && [ -s "$place/part" ]; do
        cat "$place/part"
        sleep 0.05
    done >"$place/read"
    cmp "$place/read" "$place/src/big"
}

# make_repository DIRECTORY: 200 commits to 300 files.
make_repository() {
    git init -q -b main "$1"
    awk 'BEGIN {
        for (commit = 1; commit <= 200; commit++) {
            print "commit refs/heads/main"
            print "committer A <a> " 1600000000 + commit " +0000"
            print "data <<END\ncommit " commit "\nEND"
            for (change = 0; change < 5; change++) {
                file = (commit * 7 + change * 131) % 300
                print "M 100644 inline dir" file % 23 "/file" file "\ndata <<END"
                for (line = 0; line < 40; line++) print file, line, line % 9 == change ? commit : 0
                print "END"
            }
        }
    }' | git -C "$1" fast-import --quiet
}

# clone_repeatedly: as long as workers are killed, at least once; each clone must be whole.
clone_repeatedly() {
    local number=0 clone head
    head=$(git -C "$place/origin" rev-parse main)
    while [ "$number" = 0 ] || [ -e "$place/killing" ]; do
        number=$((number + 1))
        clone=$place/mnt/clone-$number
        git clone -q --no-local "$place/origin" "$clone"
        git -C "$clone" fsck --full --strict --no-progress
        [ "$(git -C "$clone" rev-parse HEAD)" = "$head" ]
        [ -z "$(git -C "$clone" status --porcelain)" ]
    done
    echo "$number" >"$place/clones"
}

# transactions: SQL, as long as workers are killed; then how many there were.
transactions() {
    local number=0
    while [ -e "$place/killing" ]; do
        number=$((number + 1))
        echo "BEGIN IMMEDIATE; INSERT INTO t VALUES ($number, hex(zeroblob($number % 900)));"
        echo "UPDATE sums SET total = total + $number; COMMIT;"
    done
    echo "$number" >"$place/transactions"
}

# write_database: every transaction must be there once, and the database be sound.
write_database() {
    local database=$place/mnt/data.db number
    sqlite3 -bail "$database" 'CREATE TABLE t(n INTEGER PRIMARY KEY, fill TEXT)' \
        'CREATE TABLE sums(total INT)' 'INSERT INTO sums VALUES (0)'
    transactions | sqlite3 -batch -bail "$database"
    number=$(<"$place/transactions")
    [ "$(sqlite3 "$database" 'PRAGMA integrity_check')" = ok ]
    [ "$(sqlite3 "$database" 'SELECT count(*), sum(n), max(n), total FROM t, sums')" = \
        "$number|$((number * (number + 1) / 2))|$number|$((number * (number + 1) / 2))" ]
}

# finished NAME PROCESS: it must have gone well.
finished() {
    wait "$2" || fail "$1 failed"
}

need_rust
step "what is missing"
install_missing "${build_needs[@]}" fusermount3=fuse3 findmnt=util-linux git=git \
    sqlite3=sqlite3
[ -e /dev/fuse ] || { echo "/dev/fuse is not there: try 'modprobe fuse' as root" >&2; exit 1; }

step "build (the first time takes some minutes)"
run cargo build --release --locked
fusex=${CARGO_TARGET_DIR:-target}/release/fusex

place=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir "$place/src" "$place/mnt" "$place/run"
echo "I was here before." >"$place/src/old"
# Where the control sockets are, unless root does this.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$place/run}
export HOME=$place GIT_CONFIG_NOSYSTEM=1

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

step "mount again; all data go through the worker, so that its death could be felt"
head -c 32M /dev/urandom >"$place/src/big"
make_repository "$place/origin"
run "$fusex" mount -o nopassthrough "$place/src" "$place/mnt"
run "$fusex" supervise list

step "kill -8 and kill -9 of the worker, under a slow cat, git clones and a sqlite writer"
touch "$place/killing"
slow_cat &
cat=$!
clone_repeatedly &
clones=$!
write_database &
database=$!
kill_workers "$cat"
rm "$place/killing"
finished "cat: reading or comparing" "$cat"
finished "git: a clone" "$clones"
finished "sqlite: the database" "$database"
[ "$(state deaths_signal) $(state deaths_killed)" = "$kills $kills" ] ||
    fail "not as many workers died as were killed ($kills and $kills)"
echo "killed with -8 and with -9: $kills times each"
echo "cat: 32 MiB, all as they are"
echo "git: $(<"$place/clones") clones, each complete and sound (fsck --full --strict)"
echo "sqlite: $(<"$place/transactions") transactions, each there once; integrity_check: ok"

step "kill -9 of supervisor and worker at once"
generation=$(state generation)
run kill -9 "$(process supervisor)" "$(process worker)"
run cmp "$place/mnt/big" "$place/src/big"
[ "$(state generation)" -gt "$generation" ] || fail "no new worker"
run "$fusex" supervise status "$place/mnt"

step "stop"
run "$fusex" supervise stop "$place/mnt"
if is_mounted; then fail "it is still mounted"; fi
