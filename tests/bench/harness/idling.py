"""Nothing to do: a sync that finds nothing new, and phones that are connected and say nothing."""

import contextlib
import os
import time

from .entries import entry
from .measuring import median
from .programs import Failed, Staying, run

SYNC_IDS = ("idle-sync-bytes", "idle-sync-trips")
PHONES_IDS = ("phones-memory", "phones-cpu", "phones-away")

# How long phones may take until they are connected again.
PATIENCE = 120


def measure_sync(bench):
    sizes = bench.sizes

    def make(folder):
        os.makedirs(folder)
        return run(bench.programs.ours, "make-idle", "--dir", folder, "--count", sizes.idle_documents)

    made, said = bench.folders.made(f"idle-{sizes.idle_documents}", make)
    folder = bench.folders.copied(made)
    with Staying(bench.programs.ours, "cloud", "--dir", os.path.join(folder, "cloud"), "--port", said["port"]) as cloud:
        cloud.heard()
        answers = bench.in_turn(sizes.runs, ours=lambda: run(bench.programs.ours, "sync", "--dir", os.path.join(folder, "one")))["ours"]
    bench.folders.drop(folder)
    moved = [{"bytes": answer["sent"] + answer["received"], "trips": answer["round_trips"]} for answer in answers]
    what = f"Sync of nothing new, {sizes.idle_documents:,} documents, three devices"
    yield entry("idle-sync-bytes", f"{what}: bytes of frames", "bytes", median(moved, "bytes"), aim="ours <= 200")
    yield entry("idle-sync-trips", f"{what}: round trips", "round trips", median(moved, "trips"), aim="ours <= 1")


def measure_phones(bench):
    count = bench.sizes.phones
    ours = _ours(bench, count)
    bare = None if bench.alone else _bare(bench, count)
    if ours["memory"] is None:
        return
    theirs = bare or {"memory": None, "cpu": None}
    what = f"{count} phones connected and idle"
    yield entry("phones-memory", f"{what}: memory of the cloud peer a phone", "kB", ours["memory"], "bare iroh", theirs["memory"], "ratio <= 1.25")
    yield entry("phones-cpu", f"{what}: CPU of the cloud peer", "ms/s", ours["cpu"], "bare iroh", theirs["cpu"])
    yield entry("phones-away", "A phone that is linked and not connected: memory of the cloud peer", "kB", ours["away"], aim="ours <= 1")


def _quiet(bench, server):
    """Memory, and CPU a second, of a server whose phones have been still for a while."""
    time.sleep(bench.sizes.settle)
    before, began = server.ask("usage"), time.monotonic()
    time.sleep(bench.sizes.quiet)
    after, seconds = server.ask("usage"), time.monotonic() - began
    if after["resident_kb"] is None:
        return None, None
    return after["resident_kb"], (after["cpu"] - before["cpu"]) * 1000 / seconds


def _ours(bench, count):
    program, folders = bench.programs.ours, bench.folders
    with contextlib.ExitStack() as stack:
        empty = stack.enter_context(Staying(program, "cloud", "--dir", folders.fresh()))
        empty.heard()
        time.sleep(bench.sizes.settle)
        nobody = empty.ask("usage")["resident_kb"]
    folder = folders.fresh()
    with contextlib.ExitStack() as stack:
        os.makedirs(folder)
        phones = stack.enter_context(Staying(program, "phones", "--dir", folder))
        with Staying(program, "cloud", "--dir", os.path.join(folder, "cloud")) as cloud:
            port = cloud.heard()["port"]
            for number in range(count):
                phones.ask(f"link {cloud.ask('code')['code']}")
        # Once more from the start, so that what linking took is not counted.
        cloud = stack.enter_context(Staying(program, "cloud", "--dir", os.path.join(folder, "cloud"), "--port", port))
        cloud.heard()
        time.sleep(bench.sizes.settle)
        away = cloud.ask("usage")
        if away["identities"] != count or away["connections"] != 0:
            raise Failed(f"the cloud peer has {away['identities']} identities and {away['connections']} connections")
        phones.ask("live")
        _until(lambda: cloud.ask("usage")["connections"] == count, f"{count} phones connected")
        resident, cpu = _quiet(bench, cloud)
        if cloud.ask("usage")["connections"] != count:
            raise Failed("phones went away while they were measured")
        phones.stop()
    folders.drop(folder)
    if resident is None:
        return {"memory": None}
    print(f"  ours: {nobody} kB alone, {away['resident_kb']} kB with {count} linked, {resident} kB with all connected", flush=True)
    return {"memory": (resident - away["resident_kb"]) / count, "cpu": cpu, "away": (away["resident_kb"] - nobody) / count}


def _bare(bench, count):
    program = bench.programs.peer("net")
    with Staying(program, "serve") as server:
        there = server.heard()
        time.sleep(bench.sizes.settle)
        nobody = server.ask("usage")["resident_kb"]
        with Staying(program, "clients", "--port", there["port"], "--key", there["key"]) as clients:
            for number in range(count):
                clients.ask("connect")
            resident, cpu = _quiet(bench, server)
    print(f"  bare iroh: {nobody} kB alone, {resident} kB with {count} connected", flush=True)
    return {"memory": (resident - nobody) / count if resident else None, "cpu": cpu}


def _until(done, what):
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"it never came: {what}")
        time.sleep(0.2)
