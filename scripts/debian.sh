# shellcheck shell=bash
# Packages of Debian's archive that are unpacked and not installed, with an apt configuration of
# its own: nothing of this machine changes. Sourced by bash.

# why_not REASON: ends, because it cannot be done here.
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

# use_suite SUITE DIR: makes DIR, where apt sees this suite alone from now on, by the machine's own
# way to the network, and goes there.
use_suite() {
    local from key=/usr/share/keyrings/debian-archive-keyring.gpg apt
    from=$(mirror)
    [ -n "$from" ] || { echo "apt has no Debian archive" >&2; return 1; }
    mkdir -p "$2/lists/partial" "$2/cache/archives/partial"
    apt=$(cd "$2" && pwd)
    [ -e "$key" ] && key=" [signed-by=$key]" || key=
    echo "deb$key $from $1 main" >"$apt/sources.list"
    apt-config dump | grep '^Acquire::' >"$apt/apt.conf" || true
    cat >>"$apt/apt.conf" <<END
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State::Lists "$apt/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$apt/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
END
    cd "$apt" && export APT_CONFIG=$apt/apt.conf || return
    timeout 120 apt-get -qq update </dev/null
}

# download PACKAGE...: fetches their files into this directory.
download() {
    timeout 300 apt-get -qq download "$@" </dev/null
}
