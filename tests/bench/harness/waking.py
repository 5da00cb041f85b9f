"""One background wake with one new entry, from the start of the process to its end, against a process that only connects and echoes."""

import os

from .entries import entry
from .measuring import median
from .programs import Failed, Staying, run

IDS = ("wake-time", "wake-cpu", "wake-memory", "wake-bytes")


def measure(bench):
    sizes, programs = bench.sizes, bench.programs
    made, said = bench.folders.made(f"wake-{sizes.wake_documents}", lambda folder: _make(bench, folder))
    folder = bench.folders.copied(made)
    place = lambda name: os.path.join(folder, name)
    with Staying(programs.ours, "cloud", "--dir", place("cloud"), "--port", said["port"]) as cloud:
        cloud.heard()
        with Staying(programs.ours, "writer", "--dir", place("one")) as writer:

            def wake():
                writer.ask("write")
                answer = run(programs.ours, "wake", "--dir", place("two"))
                if answer["entries"] != 1:
                    raise Failed(f"{answer['entries']} entries came with a wake, and one was written")
                return answer

            if bench.alone:
                answers = bench.in_turn(sizes.wakes, ours=wake, iroh=None)
            else:
                with Staying(programs.peer("net"), "serve") as server:
                    bare = server.heard()

                    def echo():
                        return run(programs.peer("net"), "echo", "--port", bare["port"], "--key", bare["key"], "--bytes", 1024)

                    answers = bench.in_turn(sizes.wakes, ours=wake, iroh=echo)
    bench.folders.drop(folder)
    ours, bare = answers["ours"], answers["iroh"]

    def pair(field, scale):
        theirs = median(bare, field) if bare else None
        mine = median(ours, field)
        return mine and mine * scale, "bare iroh", theirs and theirs * scale

    what = "A background wake with one new entry"
    yield entry("wake-time", f"{what}: time", "ms", *pair("wall", 1000), "ratio <= 4")
    yield entry("wake-cpu", f"{what}: CPU time", "ms", *pair("used_cpu", 1000), "ratio <= 4")
    if ours[0]["peak_kb"] is not None:
        yield entry("wake-memory", f"{what}: peak memory", "MB", *pair("peak_kb", 1e-3), "ratio <= 2")
    moved = median([{"bytes": answer["sent"] + answer["received"]} for answer in ours], "bytes")
    yield entry("wake-bytes", f"{what}: bytes of frames", "bytes", moved)


def _make(bench, folder):
    os.makedirs(folder)
    return run(bench.programs.ours, "make-idle", "--dir", folder, "--count", bench.sizes.wake_documents)
