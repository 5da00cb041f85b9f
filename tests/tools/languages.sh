#!/bin/sh
# Tests the Swift package and the Kotlin library with real Swift and real Kotlin, where this machine has them or can be given them; says plainly what
# was left out and how to get it. Under CI=true nothing is left out.
set -eu
cd "$(dirname "$0")/../.."

# left_out WHAT HOW: nobody may think that it was tested.
left_out() {
    if [ "${CI:-}" = true ]; then
        echo "languages: $1 cannot be tested here: $2" >&2
        exit 1
    fi
    echo "languages: SKIPPED: $1. To test it, $2" >&2
}

if ios/tools/with-swift; then
    ios/tools/test
else
    left_out "the Swift package" "install Swift 6 (Xcode 16 or https://swift.org/install), or run this as root on Debian"
fi

may_install() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]
}
if { command -v mvn && command -v javac; } >/dev/null || may_install; then
    python3 android/make.py test
else
    left_out "the Kotlin library" "install a JDK (17 or later) and Maven (3.8 or later)"
fi
