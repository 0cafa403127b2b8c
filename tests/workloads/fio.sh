# fio with verification by crc32c; each job names a way of writing and reading back.
common=(--output=/dev/null --directory="$PWD" --verify=crc32c --verify_fatal=1 --do_verify=1
    --randrepeat=1 --fallocate=none --group_reporting --thread)
cd /
for name in "$@"; do
    case $name in
    seq-4k) args=(--rw=write --bs=4k --size=8M --ioengine=psync) ;;
    seq-1m) args=(--rw=write --bs=1M --size=64M --ioengine=sync --end_fsync=1) ;;
    rand-4k) args=(--rw=randwrite --bs=4k --size=8M --ioengine=psync --numjobs=2) ;;
    rand-mixed) args=(--rw=randrw --bssplit=512/30:4k/40:64k/30 --size=16M --ioengine=psync) ;;
    direct-seq) args=(--rw=write --bs=128k --size=32M --ioengine=psync --direct=1) ;;
    direct-rand) args=(--rw=randwrite --bs=4k --size=4M --ioengine=psync --direct=1) ;;
    aio-direct) args=(--rw=randwrite --bs=16k --size=16M --ioengine=libaio --iodepth=16 --direct=1) ;;
    uring-direct)
        args=(--rw=randwrite --bs=16k --size=16M --ioengine=io_uring --iodepth=16 --direct=1)
        ;;
    mmap) args=(--rw=randwrite --bs=4k --size=8M --ioengine=mmap) ;;
    overwrite) args=(--rw=randwrite --bs=8k --size=8M --ioengine=psync --overwrite=1 --loops=2) ;;
    fsync) args=(--rw=write --bs=16k --size=2M --ioengine=psync --fdatasync=4) ;;
    *) echo "unknown job: $name" >&2; exit 1 ;;
    esac
    job "$name" fio --name="$name" "${common[@]}" "${args[@]}"
    rm -f "${common[1]#--directory=}/$name".*
done
