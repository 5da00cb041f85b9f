//! Nothing but its dependency: `tests/fuzz/run.py` takes the `libfuzzer.a` that building it leaves.
