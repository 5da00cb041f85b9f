#!/bin/sh
# Checks for what the build and the tests need and, on Debian and Ubuntu, installs what is missing.
# Safe to run again: it does nothing, and asks no network, when all is there.
#
#   setup.sh         everything (make setup)
#   setup.sh rust    only that the Rust toolchain is new enough
#   setup.sh bench   also what the peers of `make bench` link: the system's libcrypto
set -eu
cd "$(dirname "$0")/../.."

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Whether version $1 is at least version $2.
at_least() {
    printf '%s %s\n' "$1" "$2" | awk '{
        split($1, have, /[.+-]/); split($2, need, /[.+-]/)
        for (i = 1; i <= 3; i++) if (have[i] + 0 != need[i] + 0) exit !(have[i] + 0 > need[i] + 0)
    }'
}

check_rust() {
    need=$(sed -n 's/^rust-version *= *"\([^"]*\)".*/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        fail "Rust is missing: install Rust $need or later with rustup (https://rustup.rs), then run this again"
    fi
    have=$(rustc --version | cut -d' ' -f2)
    at_least "$have" "$need" || fail "Rust is $have, and this needs $need or later: run rustup update stable"
}

# Cargo tells copies of a workspace that share a target folder apart by the times of their files alone: what another clone built
# last could pass for a build of this one. So when the clone changes, our own sources count as changed; dependencies stay built.
claim_target() {
    [ -n "${CARGO_TARGET_DIR:-}" ] || return 0
    mkdir -p "$CARGO_TARGET_DIR"
    here=$(pwd -P)
    [ "$(cat "$CARGO_TARGET_DIR/.clone" 2>/dev/null)" != "$here" ] || return 0
    find bindings core cloud examples tests -type f \( -name '*.rs' -o -name '*.sql' \) -exec touch {} +
    printf '%s\n' "$here" >"$CARGO_TARGET_DIR/.clone"
}

# The commands and files that are not there, as names of Debian packages.
missing() {
    command -v make >/dev/null || echo make
    command -v cc >/dev/null || echo gcc
    # For libFuzzer, which is C++.
    command -v c++ >/dev/null || echo g++
    command -v pkg-config >/dev/null || echo pkg-config
    if command -v cc >/dev/null; then
        echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1 || echo libc6-dev
    else
        echo libc6-dev
    fi
    command -v python3 >/dev/null || echo python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
    # For tests/ladder. Not everyone has sbin in their PATH.
    [ -x /sbin/ip ] || [ -x /usr/sbin/ip ] || command -v ip >/dev/null || echo iproute2
    [ "$wanted" != bench ] || [ -n "$(find /usr/include /usr/local/include -name crypto.h -path '*openssl*' 2>/dev/null)" ] || echo libssl-dev
}

setup_linux() {
    lacking=$(missing | tr '\n' ' ')
    [ -n "$lacking" ] || return 0
    command -v apt-get >/dev/null || fail "missing: ${lacking% } (Debian's names); install them with this system's packages, then run this again"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null; then
        as_root=sudo
    else
        fail "missing: ${lacking% }; as root run: apt-get install $lacking"
    fi
    echo "setup: installing $lacking"
    $as_root apt-get update -qq
    # The names are ours, one word each.
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $lacking >/dev/null
    lacking=$(missing | tr '\n' ' ')
    [ -z "$lacking" ] || fail "still missing after the install: ${lacking% }; is another version of it first in PATH?"
}

setup_macos() {
    xcode-select -p >/dev/null 2>&1 || fail "the command line tools are missing: run xcode-select --install, then this again"
    command -v python3 >/dev/null || fail "python3 is missing: run xcode-select --install, or brew install python"
}

# fmt and clippy come with rustup's usual install, not with its minimal one.
check_components() {
    for tool in fmt clippy; do
        cargo "$tool" --version >/dev/null 2>&1 && continue
        [ $tool = fmt ] && component=rustfmt || component=clippy
        if command -v rustup >/dev/null; then
            rustup component add "$component"
        else
            fail "cargo $tool is missing: install $component as you installed Rust"
        fi
    done
}

wanted=${1:-all}
case "$wanted" in
rust)
    check_rust
    claim_target
    ;;
all | bench)
    case "$(uname -s)" in
    Linux) setup_linux ;;
    Darwin) setup_macos ;;
    *) echo "setup: $(uname -s) is not known here; a C and a C++ compiler, make and python3 are needed" ;;
    esac
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || fail "$(python3 --version) is too old: the tests' reader needs 3.9 or later"
    check_rust
    check_components
    ;;
*)
    fail "unknown argument $1: say rust, bench or nothing"
    ;;
esac
