"""Catching up: a phone that was just linked gets everything from the cloud peer; a samod client gets the same edits from a samod server."""

import os

from .entries import entry
from .folders import THEIRS
from .measuring import median
from .programs import Staying, run

KINDS = {"single": 1, "batch": None}
IDS = tuple(f"catchup-{kind}{part}" for kind in KINDS for part in ("", "-samod", "-bytes", "-memory"))
AIMS = {"single": ("ours >= 50000", "ours <= 1.6"), "batch": ("ours >= 500000", "ours <= 1.1")}


def measure(bench):
    sizes, folders = bench.sizes, bench.folders
    for kind, per_entry in (("single", 1), ("batch", sizes.catchup_batch)):
        made, said = folders.made(f"catchup-{kind}-{sizes.catchup}", lambda folder: _make(bench, folder, per_entry))
        theirs = None
        if not bench.alone:
            theirs, _ = folders.made(f"samod-{kind}-{sizes.catchup}", lambda folder: _make_samod(bench, folder, per_entry), THEIRS)
        answers = bench.in_turn(
            sizes.runs,
            ours=lambda: _ours(bench, made, said),
            samod=bench.theirs(lambda: _samod(bench, theirs)),
        )
        ours, samod = answers["ours"], answers["samod"]
        rate = sizes.catchup / median(ours, "seconds")
        samod_rate = sizes.catchup / median(samod, "seconds") if samod else None
        payload = said["payload"]
        shape = "one event an entry" if per_entry == 1 else f"{per_entry} events an entry"
        what = f"Catch-up of {sizes.catchup:,} events, {shape}"
        rate_aim, bytes_aim = AIMS[kind]
        yield entry(f"catchup-{kind}", what, "events/s", rate, aim=rate_aim)
        yield entry(f"catchup-{kind}-samod", f"{what}: against samod", "events/s", rate, "samod", samod_rate, "ratio >= 10")
        moved = median([{"bytes": answer["sent"] + answer["received"]} for answer in ours], "bytes")
        yield entry(f"catchup-{kind}-bytes", f"{what}: bytes moved over payload", "x", moved / payload, aim=bytes_aim)
        peak = median(ours, "peak_kb")
        if peak is not None:
            samod_peak = median(samod, "peak_kb") / 1000 if samod else None
            yield entry(f"catchup-{kind}-memory", f"{what}: peak memory", "MB", peak / 1000, "samod", samod_peak, "ours <= 40")


def _make(bench, folder, per_entry):
    sizes = bench.sizes
    os.makedirs(folder)
    answer = run(
        bench.programs.ours, "make-catchup", "--dir", folder, "--events", sizes.catchup, "--per-entry", per_entry, "--size", sizes.event
    )
    return {field: answer[field] for field in ("port", "entries", "payload")}


def _make_samod(bench, folder, per_change):
    sizes = bench.sizes
    return run(
        bench.programs.peer("samod"), "make", "--dir", folder, "--events", sizes.catchup, "--per-change", per_change,
        "--documents", sizes.samod_documents, "--size", sizes.event,
    )


def _ours(bench, made, said):
    folder = bench.folders.copied(made)
    with Staying(bench.programs.ours, "cloud", "--dir", os.path.join(folder, "cloud"), "--port", said["port"]) as cloud:
        cloud.heard()
        answer = run(bench.programs.ours, "catchup", "--dir", folder, "--entries", said["entries"])
    bench.folders.drop(folder)
    return answer


def _samod(bench, made):
    program, folder = bench.programs.peer("samod"), bench.folders.fresh()
    with Staying(program, "serve", "--dir", made) as server:
        port = server.heard()["port"]
        answer = run(program, "catchup", "--from", made, "--dir", folder, "--port", port, "--events", bench.sizes.catchup)
    bench.folders.drop(folder)
    return answer
