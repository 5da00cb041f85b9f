#!/bin/sh
# Opens documents of a pod with the JavaScript Automerge, and what it writes with ours, where this machine has Node; says plainly if it was left
# out. Under CI=true it is not left out. Everything of Node's stays outside the clone.
set -eu
cd "$(dirname "$0")/../.."

left_out() {
    if [ "${CI:-}" = true ]; then
        echo "javascript: documents cannot be opened with the JavaScript Automerge here: $1" >&2
        exit 1
    fi
    echo "javascript: SKIPPED: documents opened with the JavaScript Automerge. To test it, $1" >&2
    exit 0
}

{ command -v node && command -v npm; } >/dev/null || left_out "install Node 18 or later, with npm"

at="${RHIZOME_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rhizome}/javascript"
mkdir -p "$at"
# Installed again when what is wanted changed; otherwise this asks no network.
if ! cmp -s tests/javascript/package-lock.json "$at/installed.json"; then
    rm -f "$at/installed.json"
    cp tests/javascript/package.json tests/javascript/package-lock.json "$at"
    (cd "$at" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error) || left_out "let npm reach its registry"
    cp tests/javascript/package-lock.json "$at/installed.json"
fi
cp tests/javascript/check.js "$at"
RHIZOME_JAVASCRIPT="$at" cargo test --locked -p rhizome --test javascript
