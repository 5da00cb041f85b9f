"""What a call costs from Swift and from Kotlin, over the same call in Rust; and what it costs to load the library and open a pod."""

from .entries import entry
from .measuring import median
from .programs import run

LANGUAGES = ("swift", "kotlin")
# What the programs call it, what the entry is called, what it is, and the aim for its ratio.
CALLS = (
    ("instant", "call", "One value of an open document, from memory", None),
    ("async", "read", "One document, from the disk", "ratio <= 1.2"),
    ("page", "page", "A page of 100 rows", "ratio <= 2"),
)
IDS = tuple(f"{name}-{language}" for language in LANGUAGES for name in (*(call[1] for call in CALLS), "load"))


def measure(bench):
    sizes, folders = bench.sizes, bench.folders
    sides = {"rust": [bench.programs.ours], **{language: bench.programs.binding(language) for language in LANGUAGES}}
    sides = {language: program for language, program in sides.items() if program}

    def called(program):
        pod = folders.fresh()
        said = run(*program, "calls", "--dir", pod, "--documents", sizes.call_documents, "--calls", sizes.calls)
        folders.drop(pod)
        return said

    said = bench.in_turn(sizes.runs, **{name: (lambda program=program: called(program)) for name, program in sides.items()})
    for language in sides:
        if language == "rust":
            continue
        for field, name, what, aim in CALLS:
            ours, rust = (median(said[side], field) * 1e6 for side in (language, "rust"))
            yield entry(f"{name}-{language}", f"{what}, from {language.capitalize()}", "us", ours, "Rust", rust, aim)
        pod = folders.fresh()
        run(*sides[language], "calls", "--dir", pod, "--documents", sizes.call_documents, "--calls", 1)
        opened = bench.in_turn(sizes.runs * sizes.open_times, ours=lambda: run(*sides[language], "open", "--dir", pod))
        what = f"Loading the library and opening a pod to its first 20 rows, from {language.capitalize()}"
        yield entry(f"load-{language}", what, "ms", median(opened["ours"], "seconds") * 1000)
