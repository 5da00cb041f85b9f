"""The editing of one long text, letter by letter, through a document and through Automerge, Loro and Yjs alone: all commit, durably, every hundred edits."""

import gzip
import json
import os
import random

from .entries import entry
from .measuring import median
from .programs import run

PEERS = ("automerge", "loro", "yjs")
IDS = ("trace", "trace-disk", "trace-loro", "trace-yjs")

# What the trace of automerge-perf (the writing of one paper) counts. Of the made one these are the same; how long its runs are and where they
# go is a guess.
INSERTS, DELETES = 182_315, 77_463
LETTERS = "etaoinshrdlucmfwypvbgkjqxz" + "etaoinshrdlu" * 3 + "etaoin" * 4 + " " * 28 + ".,\\{}\n"
REAL = "RHIZOME_BENCH_TRACE"


def made(count, seed=7):
    """`count` edits `[at, deleted, inserted]` of one letter each, and the text that they make: people type a run, take some of it back, go on
    nearby, and now and then elsewhere."""
    draw = random.Random(seed)
    text, edits, at = bytearray(), [], 0
    deletes = count * DELETES // (INSERTS + DELETES)
    inserts = count - deletes
    while inserts or deletes:
        where = draw.random()
        if where < 0.25:
            at = len(text)
        elif where < 0.35:
            at = draw.randint(0, len(text))
        else:
            at = min(max(at + draw.randint(-60, 60), 0), len(text))
        length = 1 + int(draw.expovariate(1 / 16))
        if inserts and (not deletes or not at or draw.random() < inserts / (inserts + deletes)):
            for _ in range(min(length, inserts)):
                letter = draw.choice(LETTERS)
                edits.append([at, 0, letter])
                text[at:at] = letter.encode()
                at += 1
                inserts -= 1
        elif at:
            for _ in range(min(length, deletes, at)):
                at -= 1
                edits.append([at, 1, ""])
                del text[at]
                deletes -= 1
        else:
            at = len(text)
            if not inserts and not text:
                break
    return {"edits": edits, "text": text.decode()}


def real(path):
    """A trace in the form of josephg/editing-traces (`automerge-paper.json.gz` there is the one of automerge-perf), as ours."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        trace = json.load(file)
    edits = [patch for transaction in trace["txns"] for patch in transaction["patches"]]
    if trace["startContent"] or not trace["endContent"].isascii():
        raise ValueError(f"{path}: a trace begins with nothing and is ASCII")
    return {"edits": edits, "text": trace["endContent"]}


def measure(bench):
    sizes, folders = bench.sizes, bench.folders
    path = os.environ.get(REAL)
    trace = real(path) if path and not bench.alone else made(sizes.trace)
    place = folders.fresh()
    os.makedirs(place)
    file = os.path.join(place, "trace.json")
    with open(file, "w", encoding="utf-8") as out:
        json.dump(trace, out)
    said_of = "automerge-perf's trace" if path and not bench.alone else "A made trace"

    def replay(program):
        folder = folders.fresh()
        answer = run(program, "trace", "--dir", folder, "--trace", file, "--together", sizes.trace_together)
        folders.drop(folder)
        return answer

    said = bench.in_turn(
        sizes.runs,
        ours=lambda: replay(bench.programs.ours),
        **{name: bench.theirs(lambda name=name: replay(bench.programs.peer(name))) for name in PEERS},
    )
    ours, theirs = said["ours"], said["automerge"]
    edits = f"{said_of} of {len(trace['edits']):,} edits, durable every {sizes.trace_together}"
    time = median(ours, "seconds") * 1000
    yield entry("trace", edits, "ms", time, "automerge", theirs and median(theirs, "seconds") * 1000, "ratio <= 1.15")
    what = f"Disk after {len(trace['edits']):,} edits, against one save()"
    yield entry("trace-disk", what, "bytes", median(ours, "disk"), "automerge", theirs and median(theirs, "saved"), "ratio <= 2")
    for name in PEERS[1:]:
        theirs = said[name]
        yield entry(f"trace-{name}", edits, "ms", time, name.capitalize(), theirs and median(theirs, "seconds") * 1000, None)
