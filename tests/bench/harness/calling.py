"""What a call costs from Swift and from Kotlin, over the same call in Rust; and what it costs to load the library and open a pod."""

import os
import tempfile

from .entries import entry
from .measuring import median
from .programs import run

LANGUAGES = ("swift", "kotlin")
# What is measured, what it is called, and the aim for its ratio.
CALLS = (
    ("instant", "One value of an open document (instant)", None),
    ("async", "One document from the disk", "ratio <= 1.2"),
    ("page", "A page of 100 rows", "ratio <= 2"),
)
IDS = tuple(f"{what}-{language}" for language in LANGUAGES for what in ("call", "read", "page", "load"))
NAMES = {"instant": "call", "async": "read", "page": "page"}


def measure(bench):
    sizes = bench.sizes
    with tempfile.TemporaryDirectory(dir=bench.folders.place()) as folder:
        number = iter(range(1_000_000))

        def called(program):
            pod = os.path.join(folder, str(next(number)))
            return run(*program, "calls", "--dir", pod, "--documents", sizes.call_documents, "--calls", sizes.calls)

        sides = {language: bench.programs.binding(language) for language in LANGUAGES}
        said = bench.in_turn(
            sizes.runs,
            rust=lambda: called([bench.programs.ours]),
            **{language: (lambda program=program: called(program)) for language, program in sides.items() if program},
        )
        for language, program in sides.items():
            if not program:
                continue
            for field, what, aim in CALLS:
                ours, rust = (median(said[side], field) * 1e6 for side in (language, "rust"))
                yield entry(f"{NAMES[field]}-{language}", f"{what}, from {language.capitalize()}", "us", ours, "Rust", rust, aim)
            pod = os.path.join(folder, f"open-{language}")
            run(*program, "calls", "--dir", pod, "--documents", sizes.call_documents, "--calls", 1)
            opened = bench.in_turn(sizes.runs, ours=lambda: run(*program, "open", "--dir", pod))
            what = f"Process start to the first 20 rows and closed again, from {language.capitalize()}"
            yield entry(f"load-{language}", what, "ms", median(opened["ours"], "wall") * 1000)
