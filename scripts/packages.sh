# shellcheck shell=bash
# What scripts/demo.sh and scripts/test.sh have in common: installing what is missing.
# Sourced by bash; Debian and what descends from it.

# What it takes to build fusex, besides Rust.
# shellcheck disable=SC2034 # Used by who sources this.
build_needs=(cc=gcc make=make /usr/include/stdio.h=libc6-dev clang=clang pkg-config=pkg-config
    /usr/include/libelf.h=libelf-dev /usr/include/zlib.h=zlib1g-dev)

# install_missing THING=PACKAGE...: installs the packages of the things that are not there. A
# thing is a program, or a file when it has a slash. Fails, having said what to do, when that
# cannot be done.
install_missing() {
    local pair missing=()
    for pair in "$@"; do
        is_there "${pair%%=*}" || missing+=("${pair#*=}")
    done
    [ ${#missing[@]} = 0 ] && return
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get)
    if ! command -v apt-get >/dev/null; then
        echo "missing, and there is no apt-get to install: ${missing[*]}" >&2
        return 1
    elif [ "$(id -u)" != 0 ] && command -v sudo >/dev/null; then
        install=(sudo "${install[@]}")
    elif [ "$(id -u)" != 0 ]; then
        echo "missing; as root: apt-get install ${missing[*]}" >&2
        return 1
    fi
    echo "installing: ${missing[*]}"
    "${install[@]}" -qq update </dev/null &&
        "${install[@]}" -qq -y --no-install-recommends install "${missing[@]}" \
            </dev/null >/dev/null
}

# is_there THING: a program can be found, also one for root alone; a file exists.
is_there() {
    case $1 in
    */*) [ -e "$1" ] ;;
    *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

# need_rust: ends the script when there is no cargo; looks where rustup puts it.
need_rust() {
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing: install it with rustup, or your distribution" >&2
        exit 1
    fi
}
