# stress-ng, one stressor after the other for a second, with two workers and its own checks.
at=$PWD
cd /
for name in "$@"; do
    args=("--$name" 2 --timeout 1)
    case $name in
    copy-file) args+=(--copy-file-bytes 128M) ;;
    hdd | iomix | fallocate | sync-file) args+=("--$name-bytes" 16M) ;;
    readahead | revio | msync | fiemap) args+=("--$name-bytes" 8M) ;;
    mmap) args+=(--mmap-bytes 8M --mmap-file) ;;
    seek) args+=(--seek-size 8M) ;;
    sendfile) args+=(--sendfile-size 4M) ;;
    dirdeep) args+=(--dirdeep-inodes 2000) ;;
    esac
    # --keep-name: what it leaves behind is known by its arguments.
    job "$name" stress-ng --keep-name --verify --temp-path "$at" "${args[@]}"
    # Wrong arguments are no finding.
    if [ "$status" = 1 ]; then
        cat "$OUTSIDE/job.log" >&2
        exit 1
    fi
done
