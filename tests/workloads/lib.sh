# What the workloads have in common. Run by bash.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022

# cannot WHY: ends a workload that cannot be run here.
cannot() {
    echo "$1" >&2
    exit 77
}

# make_tree DIR: a tree with everything that a file can be, but sockets.
make_tree() {
    mkdir -p "$1"/{deep/a/b/c,acl,sticky,setgid,empty}
    (
        cd "$1"
        for size in 0 1 4095 4096 4097 70000 1100000; do
            yes "$size bytes" | head -c "$size" >"size-$size" || [ $? = 141 ]
        done
        truncate -s 8M sparse
        printf middle | dd of=sparse bs=1 seek=4194304 conv=notrunc status=none
        for i in $(seq 30); do echo "$i" >"deep/a/file $i"; done
        ln size-70000 deep/hard-link
        ln size-70000 "deep/a/b/hard link"
        ln -s ../size-1 deep/relative
        ln -s /nowhere/at/all dangling
        ln -s "$(printf 'x%.0s' {1..1000})" long-target
        ln dangling deep/hard-link-of-a-link
        mkfifo -m 640 fifo
        mknod -m 666 null c 1 3
        mknod -m 600 block b 7 200
        echo name >"$(printf 'n%.0s' {1..255})"
        echo name >$'new\nline'
        echo name >-dash
        echo name >$'\303\244\342\202\254'
        echo name >$'not-utf8-\377'
        setfattr -n user.text -v text size-1
        setfattr -n user.binary -v 0x00ff00 deep/a
        setfattr -n user.empty deep
        setfattr -n user.long -v "$(printf 'v%.0s' {1..2000})" size-4096
        setfattr -n trusted.text -v trusted size-4096
        setfattr -h -n trusted.text -v "on a link" dangling
        setfacl -m u:1234:rw,g:2345:r,m:rw size-4097
        setfacl -m u:1234:rwx,d:u:1234:rwx,d:g::r-x acl
        echo inherits >acl/file
        mkdir acl/dir
        chown 1234:2345 size-4095 deep/a/b
        chown -h 1234:2345 long-target
        chmod 4755 size-4095
        chmod 2750 size-4096
        chmod 0000 size-0
        chmod 1777 sticky
        chmod 2775 setgid
        setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 size-1
        find . -depth -exec touch -h -d '2001-02-03 04:05:06.789012345' {} +
        touch -h -d '1969-12-31 23:59:58.5' dangling
        touch -d '2100-01-01' size-4097
    )
}

# listing DIR: all about every file below, but times of access and change and inode numbers.
listing() {
    (
        cd "$1"
        find . -print0 | sort -z >"$OUTSIDE/names"
        xargs -0 stat --printf '%N %F %a %u:%g links %h size %s mtime %y device %t:%T\n' \
            <"$OUTSIDE/names"
        xargs -0 getfattr -h -d -m - -e hex <"$OUTSIDE/names"
        xargs -0 getfacl -n -P <"$OUTSIDE/names"
        find . -type f -print0 | sort -z | xargs -0 sha256sum
    )
}

# is_sparse FILE: it takes up less than half of its size.
is_sparse() {
    [ $(($(stat -c '%b * %B' "$1"))) -lt $(($(stat -c %s "$1") / 2)) ]
}

# job NAME COMMAND...: runs it, and says so if it fails, with the end of its output. Its exit code
# is left in $status.
job() {
    local name=$1
    shift
    status=0
    "$@" >"$OUTSIDE/job.log" 2>&1 </dev/null || status=$?
    [ "$status" = 0 ] ||
        echo "not ok $name: exit code $status: $(tail -n 12 "$OUTSIDE/job.log" | tr '\n' ' ')"
}
