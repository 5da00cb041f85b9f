"""What a cloud peer does with what phones push: verify and store. Counted by the CPU that it takes, as cores are what a server runs out of."""

from .entries import entry
from .measuring import median
from .programs import run

IDS = ("verify-range", "verify-single")


def measure(bench):
    sizes = bench.sizes
    kinds = (
        ("verify-range", sizes.verify, sizes.verify_range, f"Entries verified and stored a second and core, {sizes.verify_range} a range"),
        ("verify-single", sizes.verify_single, 1, "Entries verified and stored a second and core, one at a time"),
    )
    for name, count, together, what in kinds:

        def store(program):
            folder = bench.folders.fresh()
            answer = run(program, "verify", "--dir", folder, "--count", count, "--range", together, "--size", sizes.event)
            bench.folders.drop(folder)
            # The clock of the CPU counts in hundredths: less is not seen.
            return {**answer, "rate": answer["entries"] / max(answer["cpu"], 0.01)} if answer["cpu"] is not None else {**answer, "rate": None}

        said = bench.in_turn(
            sizes.runs,
            ours=lambda: store(bench.programs.ours),
            plain=bench.theirs(lambda: store(bench.programs.peer("plain"))),
        )
        ours = median(said["ours"], "rate")
        if ours is not None:
            theirs = median(said["plain"], "rate") if said["plain"] else None
            yield entry(name, what, "entries/s", ours, "Ed25519 + SQLite", theirs)
