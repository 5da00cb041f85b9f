"""Opening a pod to the first documents by date, and SQLCipher with the same table and index."""

from .entries import entry
from .folders import THEIRS
from .measuring import median
from .programs import run
from .sizes import FULL

IDS = (*(f"open-{count}" for count in FULL.open), "open-flat")


def measure(bench):
    sizes, folders = bench.sizes, bench.folders
    medians = []
    for name, count in zip(IDS, sizes.open):

        def make(program):
            return lambda folder: run(program, "make-documents", "--dir", folder, "--count", count)

        def open_once(program, folder):
            # Each in a process of its own.
            return run(program, "open", "--dir", folder, "--count", count, "--rows", sizes.rows)

        ours, _ = folders.made(f"open-{count}", make(bench.programs.ours))
        theirs = None
        if not bench.alone:
            theirs, _ = folders.made(f"open-{count}-cipher", make(bench.programs.peer("cipher")), THEIRS)
        said = bench.in_turn(
            sizes.runs * sizes.open_times,
            ours=lambda: open_once(bench.programs.ours, ours),
            cipher=bench.theirs(lambda: open_once(bench.programs.peer("cipher"), theirs)),
        )
        ours = median(said["ours"], "seconds") * 1000
        theirs = median(said["cipher"], "seconds") * 1000 if said["cipher"] else None
        medians.append((ours, theirs))
        what = f"Opening a pod with {count:,} documents to the first {sizes.rows}"
        yield entry(name, what, "ms", ours, "SQLCipher", theirs, "ratio <= 1")
    (small, their_small), (large, their_large) = medians[0], medians[-1]
    their_flat = their_large / their_small if their_small else None
    what = f"Opening with {sizes.open[-1]:,} documents over opening with {sizes.open[0]:,}"
    yield entry("open-flat", what, "x", large / small, "SQLCipher", their_flat, "ours <= 1.2")
