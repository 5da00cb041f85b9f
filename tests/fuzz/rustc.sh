#!/bin/sh
# Cargo's RUSTC_WORKSPACE_WRAPPER while fuzzing: it is asked for our own crates only, so that the four hundred dependencies stay as they are built
# for everything else. The core and the targets get libFuzzer's instrumentation and optimisation; checks of arithmetic stay on.
#
# These are LLVM's own switches, so a stable compiler takes them; cargo-fuzz passes the same, and needs a nightly one for its sanitizers only,
# which find nothing in code that forbids `unsafe`.
set -eu
rustc=$1
shift
name=
last=
for argument in "$@"; do
    [ "$last" != --crate-name ] || name=$argument
    last=$argument
done
case $name in
rhizome | rhizome_fuzz)
    set -- "$@" -Copt-level=2 -Cdebug-assertions=on -Coverflow-checks=on -Ccodegen-units=16 \
        -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
fuzz)
    set -- "$@" "-Clink-arg=${RHIZOME_LIBFUZZER:?run.py sets this}" -Clink-arg=-lstdc++
    ;;
esac
exec "$rustc" "$@"
