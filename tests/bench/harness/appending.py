"""Durable appends: a thousand events an entry, against a thousand rows a transaction; and one at a time from many callers at once."""

from .entries import entry
from .measuring import median
from .programs import run

IDS = ("append-cipher", "append-plain", "append-callers")


def measure(bench):
    sizes, programs = bench.sizes, bench.programs

    def append(program, count, *more):
        folder = bench.folders.fresh()
        answer = run(program, "append", "--dir", folder, "--size", sizes.event, "--count", count, *more)
        bench.folders.drop(folder)
        return {**answer, "rate": answer["events"] / answer["seconds"]}

    batched = ("--batch", sizes.append_batch)
    said = bench.in_turn(
        sizes.runs,
        ours=lambda: append(programs.ours, sizes.append, *batched),
        cipher=bench.theirs(lambda: append(programs.peer("cipher"), sizes.append, *batched)),
        plain=bench.theirs(lambda: append(programs.peer("plain"), sizes.append, *batched)),
    )
    rate = {side: answers and median(answers, "rate") for side, answers in said.items()}
    what = f"Durable appends, {sizes.append_batch:,} events of {sizes.event} bytes a batch"
    yield entry("append-cipher", what, "events/s", rate["ours"], "SQLCipher", rate["cipher"], "ratio >= 5")
    yield entry("append-plain", what, "events/s", rate["ours"], "SQLite", rate["plain"])

    single = ("--batch", 1, "--callers", sizes.callers)
    said = bench.in_turn(
        sizes.runs,
        ours=lambda: append(programs.ours, sizes.append_single, *single),
        locked=bench.theirs(lambda: append(programs.peer("plain"), sizes.append_single, *single)),
        connections=bench.theirs(lambda: append(programs.peer("plain"), sizes.append_single, *single, "--connections")),
    )
    rate = {side: answers and median(answers, "rate") for side, answers in said.items()}
    # Theirs is the faster of one connection behind a lock and one for each caller.
    theirs = max(rate["locked"], rate["connections"]) if rate["locked"] else None
    what = f"Durable appends, one event at a time from {sizes.callers} callers"
    yield entry("append-callers", what, "events/s", rate["ours"], "SQLite", theirs, "ratio >= 1")
