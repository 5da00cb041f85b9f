#!/usr/bin/env python3
"""The real cloud peer and the real journal, on networks from good to none (see rungs.py), each with `sync_once` within a deadline.

    python3 tests/ladder/ladder.py              every rung, and a table
    python3 tests/ladder/ladder.py --short      a few of them, in about a minute
    python3 tests/ladder/ladder.py --only WORD  those with this in their name

On each rung a phone and a tablet have written apart; the tablet is beside the cloud peer, the phone behind the bad network. Then the phone
syncs as a background wake does: process start, one `sync_once`, process end. What must hold:

  - it is done, or says why not in a word that fits the network, before its deadline and a little slack;
  - tried again and again it gets done, wherever that is possible at all;
  - what the phone says the cloud peer holds, another device gets from it;
  - back on a good network everything is everywhere, every chain verifies, and nobody has cause for alarm.

Exit code 0: everything held, or this system makes no network namespaces, which is said. 2: something did not hold, or with CI=true and every
right it cannot run. RHIZOME_LADDER_SEED=n makes another course of chance; it is printed. Needs what `make build` builds, and Linux with `ip`.
"""

import argparse
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "demo")]

import demo  # noqa: E402
import network  # noqa: E402
import rungs  # noqa: E402
from demo import DoesNotHold, Lines, duration, end, must, size  # noqa: E402

# What a deadline may be overrun by, in seconds: a transaction on a busy disk and a slow machine's threads, not a wait for the network.
SLACK = 1.5
# A process that is not gone by so long after its deadline hangs.
HANG = 30.0
# Kilobytes in one long entry.
BULK = 100
MUST = "RHIZOME_LADDER_MUST"
# A live session that broke is made again within so many seconds of the network's return; it tries once a minute at the least.
RECOVERS = 100


class Place(demo.Place):
    """A place whose programs run in the namespaces."""

    def __init__(self, root):
        super().__init__(root, argparse.Namespace(entries=None, canary=False))

    def start_in(self, namespace, program, arguments, log_name):
        with open(os.path.join(self.logs, log_name + ".log"), "ab") as log:
            process = subprocess.Popen(network.Network.inside(namespace) + [self.programs[program]] + arguments,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environment)
        demo.RUNNING.append(process)
        return process


class Device(demo.Device):
    def __init__(self, place, name, namespace):
        super().__init__(place, name)
        self.namespace = namespace

    def arguments(self, *words):
        return ["--pod", self.pod, "--keys", self.keys, "--json"] + list(words)

    def start(self, *words, stdin=None):
        return self.place.start_in(self.namespace, "journal", self.arguments(*words), self.name)

    def write(self, count, bulk=0):
        """Entries, one at a time, each acknowledged; and some long ones."""
        if count:
            done = self.run("burst", "--count", str(count))
            must(done == count, "%s: %s of %d entries were acknowledged" % (self.name, done, count))
        for _ in range(bulk // BULK):
            with tempfile.TemporaryDirectory(dir=self.place.root) as folder:
                # A long tag: a text would merge, at a price for each letter. It hardly shrinks: any of 20,000 letters of three bytes.
                tag = "".join(chr(random.randrange(0x4E00, 0x9C00)) for _ in range(BULK * 1000 // 2))
                with open(os.path.join(folder, "long.md"), "w", encoding="utf-8") as file:
                    file.write("---\ntags: [%s]\n---\nA long one." % tag)
                self.run("import", folder)

    def listed(self):
        return {entry["id"] for entry in self.entries()}

    def sync_within(self, deadline, budget=None, meanwhile=lambda: None):
        """One `sync_once`, whatever comes of it."""
        words = ["sync", "--deadline", str(deadline)] + (["--budget", str(budget)] if budget else [])
        began = time.monotonic()
        process = self.start(*words)
        lines, line = Lines(process), None
        while line is None:
            meanwhile()
            if not lines.queue.empty():
                line = lines.next()
                must(line is not None, "%s: the sync said nothing: %s" % (self.name, self.place.last_words(self.name)))
            must(time.monotonic() - began < deadline + HANG, "%s: a sync with a deadline of %d s hangs" % (self.name, deadline))
            time.sleep(0.005)
        process.wait(HANG)
        closed = time.monotonic() - began
        end(process)
        return Attempt(json.loads(line), closed)


class Attempt:
    """What came of one sync."""

    def __init__(self, report, closed):
        self.peer, self.state = report["peers"][0], report["state"]
        self.seconds, self.closed = report["millis"] / 1000, closed
        self.sent, self.received = self.peer.get("sent", 0), self.peer.get("received", 0)
        waiting = self.state["state"] != "up-to-date"
        self.says = self.state.get("reason", self.state["state"]) if waiting else rungs.DONE

    def __str__(self):
        return "%s after %s: %s" % (self.says, duration(self.seconds), self.peer.get("why", self.peer["outcome"]))


class Cloud(demo.Cloud):
    def __init__(self, place):
        super().__init__(place)
        self.address = "0.0.0.0:4433"

    def start(self):
        arguments = ["serve", "--data", self.data, "--listen", self.address, "--announce", network.CLOUD + ":4433", "--json"]
        self.process = self.place.start_in("cloud", "rhizome-cloud", arguments, "cloud")
        self.lines = Lines(self.process)
        self.lines.event("listening")


class Ladder:
    def __init__(self, place, seed):
        self.place, self.seed = place, seed
        self.network = network.Network()
        self.cloud = Cloud(place)
        self.phone, self.tablet = Device(place, "phone", "phone"), Device(place, "tablet", "cloud")
        self.attempts = self.unacknowledged = self.acknowledged = 0

    def link(self):
        self.network.become(rungs.GOOD["up"], rungs.GOOD["down"], self.seed)
        self.cloud.start()
        made = self.phone.run("init", "--name", "phone")
        self.phone.run("link", self.cloud.code(), "--yes")
        showing = self.tablet.start("join", "--show", "--name", "tablet", "--yes")
        lines = Lines(showing)
        code = lines.event("code")["code"]
        self.phone.run("link", code, "--device", "--yes")
        must(lines.event("joined")["did"] == made["did"] and showing.wait(demo.PATIENCE) == 0, "the tablet did not join")
        end(showing)
        self.everything_is_everywhere("linking")

    def climb(self, rung):
        """One rung, and back to the good one. What it took."""
        self.phone.write(rung.entries, rung.bulk)
        self.tablet.write(rung.entries)
        self.tablet.sync()
        before = self.phone.run("status")
        expected = self.phone.listed() | self.tablet.listed()

        if rung.before:
            getattr(self.network, rung.before)()
        self.network.become(rung.network["up"], rung.network["down"], "%s %s" % (self.seed, rung.name))
        tries = self.tries(rung, before)
        counted = self.network.count()
        self.no_false_acknowledgement(rung)

        self.network.become(rungs.GOOD["up"], rungs.GOOD["down"], self.seed)
        self.network.wifi()
        self.everything_is_everywhere(rung.name)
        missing = expected - self.phone.listed()
        must(not missing, "%s: acknowledged and lost: %s" % (rung.name, sorted(missing)[:10]))
        after = self.phone.run("status")
        return tries, counted, after

    def tries(self, rung, before):
        tries = []
        wanted = rungs.DONE in rung.may_say
        while len(tries) < rung.attempts:
            attempt = self.phone.sync_within(rung.deadline, rung.budget, self.midway(rung) if not tries else lambda: None)
            must(tries or rung.midway is None or self.happened, "%s: the sync was over before anything happened to the network" % rung.name)
            tries.append(attempt)
            must(attempt.says in rung.may_say, "%s: a sync says %s" % (rung.name, attempt))
            must(attempt.seconds <= rung.deadline + SLACK, "%s: a sync with a deadline of %d s ended %s" % (rung.name, rung.deadline, attempt))
            if attempt.says == rungs.DONE:
                break
        self.attempts += len(tries)
        must(not wanted or tries[-1].says == rungs.DONE, "%s: not done after %d syncs of %d s, the last: %s" %
             (rung.name, len(tries), rung.deadline, tries[-1]))
        return tries

    def midway(self, rung):
        """What to call again and again during a sync, so that what happens in the middle of it happens."""
        self.happened = False
        if rung.midway is None:
            return lambda: None
        # Well into the first of what comes down.
        own = isinstance(rung.midway, str)
        self.network.later({} if own else rung.midway, 30_000)

        def look():
            if not self.happened and not self.network.count()["later"]:
                self.happened = True
                if own:
                    getattr(self.network, rung.midway)()
        return look

    def live(self, rung):
        """A phone that is live while its network changes shows what is written elsewhere, before and after. How long the latter took."""
        self.network.become(rungs.GOOD["up"], rungs.GOOD["down"], self.seed)
        process = self.phone.start("live")
        lines = Lines(process)
        self.shows(lines, "before anything happened")
        for step in rung.happens:
            if isinstance(step, str):
                getattr(self.network, step)()
            else:
                time.sleep(step)
        began = time.monotonic()
        self.shows(lines, rung.name)
        seconds = time.monotonic() - began
        process.send_signal(signal.SIGINT)
        must(process.wait(demo.PATIENCE) == 0, "%s: it did not end well: %s" % (rung.name, self.place.last_words("phone")))
        end(process)
        counted = self.network.count()
        self.network.wifi()
        self.everything_is_everywhere(rung.name)
        return seconds, counted

    def shows(self, lines, when):
        """The tablet writes, and the live phone has it."""
        self.tablet.write(5)
        self.tablet.sync()
        wanted, until = self.tablet.run("status")["entries"], time.monotonic() + RECOVERS
        while True:
            must(time.monotonic() < until, "%s: a live phone does not show what was written %d s ago" % (when, RECOVERS))
            try:
                line = lines.queue.get(timeout=1)
            except queue.Empty:
                continue
            must(line is not None, "%s: the live phone ended: %s" % (when, self.place.last_words("phone")))
            if json.loads(line)["status"]["entries"] >= wanted:
                return

    def no_false_acknowledgement(self, rung):
        """What the phone says that the cloud peer holds, another device gets from it, before the phone had another chance to send it."""
        only_here = self.phone.run("status")["only_here"]
        self.tablet.sync()
        missing = sorted(self.phone.listed() - self.tablet.listed())
        # Each of them was written once, as one entry of the log.
        must(only_here >= len(missing), "%s: the cloud peer lacks %d entries of the phone, which says that it lacks %d" % (rung.name, len(missing), only_here))
        for entry in missing[:3] + missing[-3:]:
            must(self.phone.show(entry)["only_here"], "%s: the phone says that others hold %s, which the cloud peer lacks" % (rung.name, entry))

    def everything_is_everywhere(self, when):
        """Back on a good network: one sync each way, and nothing is left to do."""
        for device in (self.phone, self.tablet, self.phone):
            attempt = device.sync_within(60)
            must(attempt.says == rungs.DONE, "after %s: %s on a good network: %s" % (when, device.name, attempt))
        listed = [device.listed() for device in (self.phone, self.tablet)]
        must(listed[0] == listed[1], "after %s: phone and tablet do not list the same" % when)
        for device in (self.phone, self.tablet):
            must(device.run("verify")["ok"], "after %s: %s: a chain does not verify" % (when, device.name))
            status = device.run("status")
            must(status["only_here"] == 0 and not status["alarms"], "after %s: %s: %s" % (when, device.name, json.dumps(status)))


COLUMNS = "%-36s %-24s %5s %9s %9s %10s %10s %7s %7s"


def row(rung, tries, counted, payload):
    said = {}
    for attempt in tries:
        said[attempt.says] = said.get(attempt.says, 0) + 1
    said = ", ".join(word if count == 1 else "%d %s" % (count, word) for word, count in said.items())
    wire = counted["up"]["bytes"] + counted["down"]["bytes"]
    worst = max(attempt.seconds for attempt in tries)
    lost = sum(counted[way][what] for way in ("up", "down") for what in ("lost", "full", "too_big", "blocked"))
    ratio = "%.2f" % (wire / payload) if tries[-1].says == rungs.DONE else "-"
    return COLUMNS % (rung.name, said, len(tries), duration(worst), "%d s" % rung.deadline, size(payload), size(wire), ratio, lost)


def run(options, root):
    seed = int(os.environ.get("RHIZOME_LADDER_SEED", "1"))
    code, began, ladder = 2, time.monotonic(), None
    try:
        ladder = Ladder(Place(root), seed)
        ladder.link()
        chosen, live = ([rung for rung in some if (rung.short or not options.short) and options.only in rung.name] for some in (rungs.RUNGS, rungs.LIVE))
        must(chosen or live, "no rung is called so: see rungs.py")
        print("ladder: RHIZOME_LADDER_SEED=%d, %d rungs" % (seed, len(chosen) + len(live)))
        print(COLUMNS % ("network", "what the syncs said", "syncs", "longest", "deadline", "payload", "on wire", "ratio", "dropped"), flush=True)
        held = ladder.phone.run("status")["bytes"]
        for rung in chosen:
            tries, counted, status = ladder.climb(rung)
            print(row(rung, tries, counted, status["bytes"] - held), flush=True)
            held = status["bytes"]
        for rung in live:
            seconds, counted = ladder.live(rung)
            print("%-36s shows what is new %s later; %s on wire" % (rung.name, duration(seconds), size(counted["up"]["bytes"] + counted["down"]["bytes"])), flush=True)
        print("ladder: %d rungs, %d syncs, %d entries at the end; lost 0, false acknowledgements 0, deadlines overrun 0, in %s" %
              (len(chosen) + len(live), ladder.attempts, len(ladder.phone.listed()), duration(time.monotonic() - began)))
        code = 0
    except DoesNotHold as why:
        print("this does not hold: %s" % why, file=sys.stderr)
    finally:
        for process in list(demo.RUNNING):
            end(process)
        if ladder:
            ladder.network.close()
    return code


def main():
    parser = argparse.ArgumentParser(description="sync_once on networks from good to none.")
    parser.add_argument("--short", action="store_true", help="a few rungs, for `make test`")
    parser.add_argument("--only", default="", metavar="WORD", help="only rungs with this in their name")
    parser.add_argument("--keep", action="store_true", help="leave what was made")
    options = parser.parse_args()
    if os.environ.get(network.INSIDE):
        network.end_with_parent()
        try:
            return run(options, os.environ[network.INSIDE])
        except network.NoNamespaces as why:
            return cannot(why)
    # Who has every right to make networks and cannot must not believe that it passed.
    if os.environ.get("CI") == "true" and sys.platform.startswith("linux") and network.may():
        os.environ[MUST] = "1"
    root = tempfile.mkdtemp(prefix="rhizome-ladder-")
    code = None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        code = network.enter(sys.argv, root)
    except network.NoNamespaces as why:
        code = cannot(why)
    except KeyboardInterrupt:
        code = 130
        print("\nstopped", file=sys.stderr)
    finally:
        if options.keep or code == 2:
            print("what was made is in %s" % root, file=sys.stderr)
        else:
            shutil.rmtree(root, ignore_errors=True)
    return code


def cannot(why):
    if os.environ.get(MUST):
        print("ladder: FAILED: it must run here, and cannot: %s" % why, file=sys.stderr)
        return 2
    print("ladder: SKIPPED, nothing was tested: %s" % why)
    return 0


if __name__ == "__main__":
    sys.exit(main())
