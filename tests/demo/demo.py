#!/usr/bin/env python3
"""What Rhizome is for, on one machine and over loopback alone: a phone, a tablet, and a cloud peer that cannot read.

    python3 tests/demo/demo.py                 watch it; what was made stays, so that one can go on with `journal`
    python3 tests/demo/demo.py --entries DIR   with a folder of real Markdown files instead of the few entries below
    python3 tests/demo/demo.py --check         the same as a test: one line a step, the independent reader at the end, nothing left
    python3 tests/demo/demo.py --canary        the same, and a known text must be in no file and no log line afterwards

Exit code 0: everything held. 1: with --canary, the text was found. 2: something else did not hold. Needs Python 3.9 and the programs that
`make build` builds, in $CARGO_TARGET_DIR/debug.
"""

import argparse
import json
import os
import queue
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
READER = os.path.join(ROOT, "tests", "reader")
PATIENCE = 60.0
# A folder of real Markdown may hold many thousands of files.
PATIENCE_WITH_ENTRIES = 3600
BURST = 5000
# The burst is killed once this many entries were acknowledged.
KILL_AFTER = 40

ENTRIES = [
    ("2026-03-02T07:40", "First light", "Frost on the ferry rail. Nobody else on deck, and the engine just a hum underfoot."),
    ("2026-03-05T21:15", "Soup", "Leeks, the last of the barley, too much pepper. It was exactly right."),
    ("2026-03-09T18:02", "The repair", "Took the radio apart on the kitchen table. Two screws left over, and it plays again."),
    ("2026-03-14T23:30", "Cannot sleep", "The letter is still in the drawer. I will answer it on Sunday, in ink."),
    ("2026-03-15T16:20", "Answered", "Three pages. Walked to the box before I could read them over."),
    ("2026-03-21T12:00", "Equinox", "Grüße from the hill: you can see both lakes from up here, and the snow line between them."),
    ("2026-03-28T09:10", "Platform 4", "Train forty minutes late. Wrote all this with no signal, which turns out not to matter."),
    ("2026-04-01T20:45", "A list", "- seeds\n- string\n- the blue paint\n- call Amara back"),
]


class DoesNotHold(Exception):
    pass


class CanaryFound(Exception):
    pass


def must(condition, why):
    if not condition:
        raise DoesNotHold(why)


# ---- processes ----------------------------------------------------------------------------------------------------------------------

RUNNING = []


def end(process, how=signal.SIGTERM):
    """Ends a process that we started, by its pid, and waits for it."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    if process in RUNNING:
        RUNNING.remove(process)


class Lines:
    """The lines that a process prints, with a limit on how long one waits for the next."""

    def __init__(self, process):
        self.queue = queue.Queue()
        threading.Thread(target=self._read, args=(process.stdout,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            self.queue.put(line)
        self.queue.put(None)

    def next(self, within=PATIENCE):
        try:
            return self.queue.get(timeout=within)
        except queue.Empty:
            raise DoesNotHold("a program said nothing for %d s" % within) from None

    def event(self, name):
        """The next line that is a JSON object with this `event`."""
        until = time.monotonic() + PATIENCE
        while True:
            line = self.next(max(0.1, until - time.monotonic()))
            must(line is not None, "a program ended before it said %r" % name)
            value = json.loads(line)
            if isinstance(value, dict) and value.get("event") == name:
                return value


class Place:
    """Where everything is: folders, programs, logs."""

    def __init__(self, root, options):
        self.root, self.patience = root, PATIENCE_WITH_ENTRIES if options.entries else PATIENCE
        target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
        suffix = ".exe" if os.name == "nt" else ""
        self.programs = {name: os.path.join(target, "debug", name + suffix) for name in ("journal", "rhizome-cloud")}
        for name, path in self.programs.items():
            must(os.path.exists(path), "%s is not built: `make build` builds it (looked in %s)" % (name, os.path.dirname(path)))
        self.logs = os.path.join(root, "logs")
        os.makedirs(self.logs)
        self.environment = {key: value for key, value in os.environ.items() if key not in ("RHIZOME_LOG", "RUST_LOG")}
        if options.canary:
            # Whoever looks for leaks in logs wants all of the log.
            self.environment["RHIZOME_LOG"] = "warn,rhizome=trace"
            self.environment["RUST_LOG"] = "warn,rhizome=trace,rhizome_cloud=trace"

    def folder(self, *names):
        return os.path.join(self.root, *names)

    def start(self, program, arguments, log_name, stdin=None):
        with open(os.path.join(self.logs, log_name + ".log"), "ab") as log:
            process = subprocess.Popen(
                [self.programs[program]] + arguments,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, env=self.environment,
            )
        RUNNING.append(process)
        if stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
        return process

    def last_words(self, log_name):
        with open(os.path.join(self.logs, log_name + ".log"), "rb") as log:
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(nothing)"


class Device:
    """A pod, and the journal that holds it open for the length of a command."""

    def __init__(self, place, name):
        self.place, self.name = place, name
        self.pod, self.keys = place.folder(name), place.folder("keys", name)
        self.number = 0

    def arguments(self, *words):
        return ["--pod", self.pod, "--keys", self.keys, "--json", "--listen", "127.0.0.1:0"] + list(words)

    def start(self, *words, stdin=None):
        return self.place.start("journal", self.arguments(*words), self.name, stdin)

    def run(self, *words, stdin=None, code=0, within=PATIENCE):
        """Runs a command to its end; what it printed, as JSON."""
        process = self.start(*words, stdin=stdin)
        lines = Lines(process)
        printed, until = [], time.monotonic() + within
        while True:
            line = lines.next(max(0.1, until - time.monotonic()))
            if line is None:
                break
            printed.append(line)
        found = process.wait(10)
        end(process)
        must(found == code, "%s: `journal %s` ended with %s: %s" % (self.name, words[0], found, self.place.last_words(self.name)))
        return json.loads(printed[-1]) if printed else None

    def entries(self):
        return self.run("list", "--all")["entries"]

    def show(self, entry):
        return self.run("show", entry)

    def sync(self):
        within = self.place.patience
        report = self.run("sync", "--deadline", str(int(within / 2)), within=within)
        peer = report["peers"][0]
        must(peer["outcome"] == "done", "%s: the sync ended as %s" % (self.name, json.dumps(peer)))
        return report


class Cloud:
    def __init__(self, place):
        self.place, self.data, self.address, self.process = place, place.folder("cloud"), "127.0.0.1:0", None

    def start(self):
        arguments = ["serve", "--data", self.data, "--listen", self.address, "--json"]
        self.process = self.place.start("rhizome-cloud", arguments, "cloud")
        self.lines = Lines(self.process)
        # From the second start on it is where the devices know it to be.
        self.address = self.lines.event("listening")["addresses"][0]

    def code(self):
        process = self.place.start("rhizome-cloud", ["link", "--data", self.data, "--json"], "cloud")
        code = Lines(process).event("code")["code"]
        end(process)
        return code

    def stop(self):
        if self.process:
            end(self.process)
            self.process = None


# ---- what is said ---------------------------------------------------------------------------------------------------------------------

def size(count):
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return "%.1f %s" % (count / scale, unit)
    return "%d B" % count


def duration(seconds):
    return "%.1f s" % seconds if seconds >= 1 else "%d ms" % round(seconds * 1000)


class Teller:
    """Tells what happens, and keeps what was measured."""

    def __init__(self, quiet):
        self.quiet, self.rows, self.number, self.title, self.began = quiet, [], 0, None, 0.0

    def step(self, title):
        self.done()
        self.number, self.title, self.began = self.number + 1, title, time.monotonic()
        if not self.quiet:
            print("\n%2d  %s" % (self.number, title), flush=True)

    def done(self):
        if self.title and self.quiet:
            print("ok  %-80s %8s" % (self.title, duration(time.monotonic() - self.began)), flush=True)
        self.title = None

    def say(self, text=""):
        if not self.quiet:
            for line in text.split("\n"):
                print(("      " + line).rstrip(), flush=True)

    def measured(self, what, seconds, report=None):
        self.rows.append((what, seconds, report["peers"][0] if report else None))

    def synced(self, what, report):
        peer = report["peers"][0]
        self.measured(what, report["millis"] / 1000, report)
        self.say("%s: %d sent, %d received; %s out, %s in, %d round trip%s, %s" % (
            what, peer["sent"], peer["received"], size(peer["bytes_sent"]), size(peer["bytes_received"]),
            peer["round_trips"], "" if peer["round_trips"] == 1 else "s", duration(report["millis"] / 1000)))

    def table(self):
        if self.quiet:
            return
        print("\n    %-46s %10s %10s %7s %8s" % ("what", "out", "in", "trips", "time"))
        print("    " + "-" * 85)
        for what, seconds, peer in self.rows:
            moved = (size(peer["bytes_sent"]), size(peer["bytes_received"]), str(peer["round_trips"])) if peer else ("", "", "")
            print("    %-46s %10s %10s %7s %8s" % ((what,) + moved + (duration(seconds),)))
        print("    Bytes of frames and round trips of the session; times of links and of writing include starting the programs.")


# ---- what a cloud peer sees -----------------------------------------------------------------------------------------------------------

def cbor(data, at=0):
    """One DAG-CBOR value: (value, where it ends). Enough for what is shown here; tests/reader is the careful one."""
    kind, short = data[at] >> 5, data[at] & 31
    at += 1
    number = short
    if short >= 24 and kind != 7:
        wide = 1 << (short - 24)
        number, at = int.from_bytes(data[at:at + wide], "big"), at + wide
    if kind == 0:
        return number, at
    if kind == 1:
        return -1 - number, at
    if kind in (2, 3):
        raw = data[at:at + number]
        return (raw if kind == 2 else raw.decode()), at + number
    if kind == 4:
        items = []
        for _ in range(number):
            item, at = cbor(data, at)
            items.append(item)
        return items, at
    if kind == 5:
        fields = {}
        for _ in range(number):
            name, at = cbor(data, at)
            fields[name], at = cbor(data, at)
        return fields, at
    if kind == 6:
        return cbor(data, at)
    return {20: False, 21: True}.get(short), at


def open_log(folder):
    """log.db, read-only: it is looked at as a stranger would who got hold of the disk."""
    path = os.path.abspath(os.path.join(folder, "log.db"))
    wal = os.path.exists(path + "-wal") and os.path.getsize(path + "-wal") > 0
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    database = sqlite3.connect("file:%s?%s" % (quoted, "mode=ro" if wal else "immutable=1"), uri=True)
    database.row_factory = sqlite3.Row
    return database


def what_it_sees(folder, device):
    """Lines that say all there is to see of the first entry that `device` wrote, and of the identity."""
    database = open_log(folder)
    try:
        entry = database.execute(
            "SELECT a.author, a.device, a.stream, e.seq, e.hash, e.sections, e.signature, s.* FROM entries e"
            " JOIN authors a ON a.id = e.author JOIN streams s ON s.id = a.stream WHERE a.device = ? ORDER BY e.seq LIMIT 1",
            (device,)).fetchone()
        stream = next(value for value in tuple(entry)[7:] if isinstance(value, bytes) and len(value) == 32)
        sections = cbor(entry["sections"])[0]
        boxes = [box for box in sections if isinstance(box, bytes)]
        nonce, sealed = boxes[0][:24], boxes[0][24:]
        lines = [
            "author log    %s…  one of this identity's, by device %s…" % (entry["author"].hex()[:16], entry["device"].hex()[:16]),
            "stream        %s…  a random number; that it is a journal is sealed" % stream.hex()[:16],
            "entry         number %d, %s in %d section%s" % (entry["seq"], size(sum(map(len, boxes))), len(boxes), "" if len(boxes) == 1 else "s"),
            "hash          %s…" % entry["hash"].hex()[:32],
            "signature     %s…" % entry["signature"].hex()[:32],
            "nonce         %s" % nonce.hex(),
            "ciphertext    %s…" % " ".join("%02x" % byte for byte in sealed[:24]),
        ]
        lines.append("identity log, the public parts:")
        orderings = database.execute("SELECT o.bytes, c.idx FROM operations o JOIN commits c ON c.identity = o.identity AND c.idx = o.commit_index ORDER BY c.idx")
        for row in orderings:
            core = cbor(row["bytes"])[0][0]
            core = cbor(core)[0] if isinstance(core, bytes) else core
            (kind, body), = core[5].items()
            about = body.get("device") or body.get("peer")
            about = " of the key %s…" % about[0].hex()[:16] if about else ""
            services = ", at " + " ".join(body["services"]) if body.get("services") else ""
            if kind == "ChangeOrderers":
                about = ": from now on %s… puts changes in order" % body["orderers"][0].hex()[:16]
            lines.append("  %d  %s%s%s" % (row["idx"], kind, about, services))
        return lines
    finally:
        database.close()


def files_below(folder):
    for at, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(at, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def holding(folder, needles):
    """The files below `folder` that hold one of `needles` (bytes)."""
    found, longest = [], max(map(len, needles))
    for path in files_below(folder):
        before = b""
        with open(path, "rb") as file:
            while True:
                piece = file.read(1 << 22)
                if not piece:
                    break
                piece = before + piece
                if any(needle in piece for needle in needles):
                    found.append(path)
                    break
                before = piece[-(longest - 1):] if longest > 1 else b""
    return found


# ---- the story ------------------------------------------------------------------------------------------------------------------------

class Demo:
    def __init__(self, options, place, teller):
        self.options, self.place, self.teller = options, place, teller
        self.cloud, self.phone, self.tablet = Cloud(place), Device(place, "phone"), Device(place, "tablet")
        # Letters only, so that no escape or encoding hides it; short, so that no compression does.
        self.canary = "canary" + "".join(random.SystemRandom().choice("bcdfghjklmnpqrstvwxz") for _ in range(18)) if options.canary else None

    def run(self):
        self.start_and_link()
        self.write_offline()
        self.wake()
        self.edit_apart()
        self.find_and_attach()
        self.delete()
        self.kill()
        self.look_at_the_cloud()
        self.teller.done()
        self.lose_the_phone()
        self.teller.done()
        if self.options.check:
            self.read_with_the_other_reader()
        if self.canary:
            self.teller.step("the canary is in no file and no log line")
            self.search()
            self.prove_the_search()
            self.teller.done()

    def start_and_link(self):
        tell, phone, tablet = self.teller, self.phone, self.tablet
        tell.step("A cloud peer starts: one command, one folder")
        began = time.monotonic()
        self.cloud.start()
        tell.measured("cloud peer starts", time.monotonic() - began)
        tell.say("It listens on %s and shows a code." % self.cloud.address)

        tell.step("A phone makes an identity and links the cloud peer")
        began = time.monotonic()
        made = phone.run("init", "--name", "phone")
        self.words = made["words"]
        must(len(self.words.split()) == 24, "init gives 24 words")
        tell.say(made["did"])
        tell.say("24 recovery words were shown once; they are kept nowhere.")
        linked = phone.run("link", self.cloud.code(), "--yes")
        tell.measured("phone: new identity, links the cloud peer", time.monotonic() - began)
        self.beside_the_words = linked["address"]
        tell.say("Both screens showed %s." % linked["number"])

        tell.step("A tablet joins by the phone's code")
        began = time.monotonic()
        showing = phone.start("link", "--show", "--yes")
        lines = Lines(showing)
        code = lines.event("code")["code"]
        joined = tablet.run("join", code, "--name", "tablet", "--yes")
        linked = lines.event("linked")
        must(showing.wait(PATIENCE) == 0, "the phone's `link --show` failed: " + self.place.last_words("phone"))
        end(showing)
        tell.measured("tablet: joins", time.monotonic() - began)
        must(joined["did"] == made["did"], "the tablet has another identity")
        tell.say("Both screens showed %s. %s" % (linked["number"], "" if linked["ordered"] else
                 "It works at once; the cloud peer makes it final when it is met."))

    def write_offline(self):
        tell, phone = self.teller, self.phone
        tell.step("The cloud peer is switched off, and the phone writes")
        self.cloud.stop()
        began = time.monotonic()
        if self.options.entries:
            counts = phone.run("import", self.options.entries, within=self.place.patience)
            tell.say("%d entries read from Markdown files, %d files skipped." % (counts["added"], len(counts["skipped"])))
            must(counts["added"] > 0, "there is no Markdown file in the folder")
            again = phone.run("import", self.options.entries, within=self.place.patience)
            must(again["added"] == again["changed"] == 0, "an import run again adds something")
            tell.say("Run again, the import adds nothing.")
        else:
            for date, title, text in ENTRIES:
                phone.run("new", "--date", date, "--title", title, "-", stdin=text.encode())
        if self.canary:
            phone.run("new", "--title", self.canary, "--tag", self.canary, "-", stdin=self.canary.encode())
        seconds = time.monotonic() - began
        self.written = phone.entries()
        tell.measured("phone: %d entries, no network" % len(self.written), seconds)
        status = phone.run("status")
        must(status["only_here"] == status["entries"] > 0, "every entry is only on the phone: %s" % json.dumps(status))
        must(phone.show(self.written[0]["id"])["only_here"], "the entry is only on this device")
        tell.say("%d entries, and the phone says so itself: none of them is anywhere else yet." % len(self.written))
        phone.run("sync", "--deadline", "1", code=1)
        tell.say("It tries to sync; nobody answers; nothing is lost and nothing waits for it.")

    def wake(self):
        tell, phone, tablet = self.teller, self.phone, self.tablet
        tell.step("The cloud peer is back, and the phone is woken in the background for one sync")
        self.cloud.start()
        report = phone.sync()
        tell.synced("phone: one sync in the background", report)
        must(report["state"]["state"] == "up-to-date", "the phone is up to date: %s" % json.dumps(report["state"]))
        held = phone.show(self.written[0]["id"])
        must(any(holder["cloud"] for holder in held["held_by"]), "the cloud peer gave its word for the entry")
        must(phone.run("status")["only_here"] == 0, "nothing is only on the phone")
        tell.say("The cloud peer has signed that it holds every one of them on its disk.")

        tell.step("The tablet wakes, syncs, and has them")
        report = tablet.sync()
        tell.synced("tablet: wakes and syncs", report)
        must(tablet.entries() == self.written, "the tablet has what the phone wrote")
        for entry in self.written[:20]:
            must(tablet.show(entry["id"])["text"] == phone.show(entry["id"])["text"], "the texts are the same")
        report = tablet.sync()
        tell.synced("tablet: again, nothing new", report)
        must(report["peers"][0]["received"] == 0, "nothing is sent twice")
        tell.say("All %d, the same to the letter." % len(self.written))

    def edit_apart(self):
        tell, phone, tablet = self.teller, self.phone, self.tablet
        tell.step("Both edit one entry, each with no network")
        self.cloud.stop()
        entry = self.written[0]["id"]
        lines = {phone: "The phone adds: the kettle was on.", tablet: "The tablet adds: and the window open."}
        for device, line in lines.items():
            device.run("edit", entry, "--append", line)
        must(phone.show(entry)["text"] != tablet.show(entry)["text"], "they differ while apart")
        self.cloud.start()
        for device, what in ((phone, "brings its edit"), (tablet, "brings its own, takes the other"), (phone, "takes the other")):
            tell.synced("%s: %s" % (device.name, what), device.sync())
        texts = [device.show(entry)["text"] for device in (phone, tablet)]
        must(texts[0] == texts[1], "both read the same")
        must(all(line in texts[0] for line in lines.values()), "both edits are in it")
        tell.say("Both now read, to the letter:")
        tell.say("  " + "\n  ".join(texts[0].strip().split("\n")[-3:]))

    def find_and_attach(self):
        tell, phone, tablet = self.teller, self.phone, self.tablet
        tell.step("The tablet finds that entry by its words, sees who wrote what, and takes its own line back")
        entry = self.written[0]["id"]
        began = time.monotonic()
        found = tablet.run("search", '"the phone adds"')["entries"]
        tell.measured("tablet: finds it, starting the program included", time.monotonic() - began)
        must(found[0]["id"] == entry, "the search finds another entry: %s" % json.dumps(found))
        versions = tablet.run("history", entry)["versions"]
        must({"phone", "tablet"} <= {version["device"] for version in versions}, "the history names both: %s" % json.dumps(versions))
        must([version["kind"] for version in versions][-1] == "create", "the history goes back to the beginning")
        tell.say("%d versions, the last by the %s; none is ever lost." % (len(versions), versions[0]["device"]))
        before = tablet.show(entry)["text"]
        must(tablet.run("undo", entry)["changed"], "the tablet takes its line back")
        after = tablet.show(entry)["text"]
        must("kettle" in after and "window open" not in after, "only its own line is gone: %r" % after)
        must(tablet.run("redo", entry)["changed"] and tablet.show(entry)["text"] == before, "and it is there again")
        tell.say("Taken back, the phone's line stays; done again, both are there.")

        tell.step("The phone attaches a picture, and the tablet gets it from the cloud peer")
        picture = self.place.folder("picture.png")
        taken = secrets.token_bytes(300_000)
        with open(picture, "wb") as file:
            file.write(taken)
        phone.run("attach", entry, picture)
        tell.synced("phone: brings the entry", phone.sync())
        held = phone.run("attachments", entry)["attachments"][0]
        must(held["held_by"] == ["cloud"], "the cloud peer gave its word for the picture: %s" % json.dumps(held))
        tell.synced("tablet: hears of the picture", tablet.sync())
        must(not tablet.run("attachments", entry)["attachments"][0]["here"], "pictures come when they are asked for")
        saved = tablet.run("attachments", entry, "--save", self.place.folder("saved"))["attachments"][0]["saved"]
        with open(saved, "rb") as file:
            must(file.read() == taken, "the tablet has another picture")
        tell.say("%s, byte for byte; until it was asked for, it took no room on the tablet." % size(len(taken)))

    def delete(self):
        tell, phone, tablet = self.teller, self.phone, self.tablet
        tell.step("An entry is deleted and comes back; another is deleted for good with the words")
        there = tablet.entries()
        kept, gone = [phone.run("new", "--title", title, "-", stdin=b"Nobody is to read this.")["id"] for title in ("Deleted too soon", "Of which nothing stays")]
        phone.sync()
        tablet.sync()
        listed = lambda device: {entry["id"] for entry in device.entries()}
        must({kept, gone} <= listed(tablet), "the tablet has both")
        phone.run("delete", kept)
        phone.sync()
        tablet.sync()
        must(kept not in listed(phone) | listed(tablet), "it is hidden on both")
        trash = tablet.run("trash")["trash"]
        must([entry["id"] for entry in trash] == [kept] and trash[0]["due"] > time.time() * 1000, "the tablet's trash: %s" % json.dumps(trash))
        tablet.run("undelete", kept)
        tell.say("Deleted by the phone, and brought back by the tablet; it had seven days for that.")
        phone.run("delete", gone, "--at-once", stdin=self.words.encode())
        for device in (phone, tablet, phone):
            tell.synced("%s: after deleting" % device.name, device.sync())
        for device in (phone, tablet):
            must(kept in listed(device) and gone not in listed(device), "the %s lists one of the two" % device.name)
            must(not device.run("trash")["trash"], "the trash of the %s is empty" % device.name)
            device.run("undelete", gone, code=1)
            must(device.run("verify")["ok"], "every chain verifies all the same")
        must(len(tablet.entries()) == len(there) + 1, "nothing else is gone")
        tell.say("With the 24 words there is no waiting: its text is gone from both, and every chain still verifies.")

    def kill(self):
        tell, phone, tablet = self.teller, self.phone, self.tablet
        tell.step("The phone writes a burst, and is killed with SIGKILL in the middle of it")
        process = phone.start("burst", "--count", str(BURST))
        lines, acknowledged = Lines(process), 0
        began = time.monotonic()
        while acknowledged < KILL_AFTER:
            line = lines.next()
            must(line is not None, "the burst ended by itself: %s" % self.place.last_words("phone"))
            acknowledged = int(line)
        # Anywhere within a write.
        time.sleep(random.random() * 0.02)
        process.kill()
        seconds = time.monotonic() - began
        process.wait(10)
        while True:
            line = lines.next()
            if line is None:
                break
            if line.endswith(b"\n"):
                acknowledged = int(line)
        end(process)
        must(acknowledged < BURST, "the burst was over before it was killed")
        if self.canary:
            # What a killed process leaves, before anybody cleans up.
            self.search()
        tell.measured("phone: %d acknowledged writes, then SIGKILL" % acknowledged, seconds)
        found = {entry["title"] for entry in phone.entries()}
        missing = [number for number in range(1, acknowledged + 1) if "burst %d" % number not in found]
        must(not missing, "acknowledged and lost: %s" % missing)
        verified = phone.run("verify")
        must(verified["ok"], "every chain verifies")
        tell.say("%d were acknowledged before it died, and all of them are there." % acknowledged)
        tell.say("Every chain and signature of its %d log entries holds." % verified["entries"])
        tell.synced("phone: after it was killed", phone.sync())
        tell.synced("tablet: takes the burst", tablet.sync())
        found = {entry["title"] for entry in tablet.entries()}
        must(all("burst %d" % number in found for number in range(1, acknowledged + 1)), "the tablet has them too")
        must(phone.entries() == tablet.entries(), "both list the same")
        must(not phone.run("status")["alarms"] and not tablet.run("status")["alarms"], "nobody has cause for alarm")

    def look_at_the_cloud(self):
        tell, phone = self.teller, self.phone
        tell.step("What the cloud peer can see of an entry")
        self.cloud.stop()
        me = next(peer["key"] for peer in phone.run("status")["peers"] if peer["this"])
        for line in what_it_sees(self.cloud.data, bytes.fromhex(me)):
            tell.say(line)
        if not self.options.entries:
            date, title, text = ENTRIES[0]
            tell.say("On the phone the same entry reads: %s, %s. %s" % (date[:10], title, text))
        shown = [phone.show(entry["id"]) for entry in self.written[:50]]
        needles = [line.encode() for entry in shown for line in entry["text"].split("\n") + [entry["title"] or ""] if len(line) >= 8]
        must(needles, "there is a text to look for")
        found = holding(self.cloud.data, needles)
        must(not found, "a text that the cloud peer must not know is in %s" % found)
        files = list(files_below(self.cloud.data))
        tell.say("None of %d lines of the journal is in any of its %d files (%s)." %
                 (len(needles), len(files), size(sum(map(os.path.getsize, files)))))

    def lose_the_phone(self):
        tell, lost, tablet = self.teller, self.phone, self.tablet
        tell.step("The phone is lost, and 24 words bring everything back on a new one")
        before = lost.entries()
        texts = {entry["id"]: lost.show(entry["id"])["text"] for entry in before[:20]}
        shutil.rmtree(lost.pod)
        shutil.rmtree(lost.keys)
        self.cloud.start()
        self.phone = new = Device(self.place, "new-phone")
        began = time.monotonic()
        new.run("recover", "--peer", self.beside_the_words, "--name", "new phone", stdin=self.words.encode())
        tell.measured("new phone: recovers with the words", time.monotonic() - began)
        tell.synced("new phone: brings everything back", new.sync())
        must(new.entries() == before, "the new phone lists what the lost one did")
        for entry, text in texts.items():
            must(new.show(entry)["text"] == text, "and reads the same")
        tell.say("All %d, from nothing but 24 words and the address of the cloud peer." % len(before))
        new.run("remove", "phone", "--yes")
        new.run("new", "--title", "The new phone", "-", stdin=b"Bought it at the station. Everything was there before I found a seat.")
        tell.synced("new phone: puts the lost one out", new.sync())
        tell.synced("tablet: hears of it", tablet.sync())
        must(tablet.entries() == new.entries(), "the tablet lists the same")
        devices = tablet.run("devices")
        must([device["name"] for device in devices["removed"]] == ["phone"], "the lost phone is out: %s" % json.dumps(devices))
        must(not tablet.run("status")["alarms"], "nobody has cause for alarm")
        tell.say("The lost phone is out: it keeps what it had, and reads nothing that is written from now on.")
        self.cloud.stop()

    def read_with_the_other_reader(self):
        tell = self.teller
        environment = dict(os.environ, PYTHONPATH=READER, PYTHONDONTWRITEBYTECODE="1")

        def reader(*arguments):
            return subprocess.run([sys.executable, "-m", "rhizome_reader"] + list(arguments), env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)

        wanted = subprocess.run([sys.executable, "-c", "import blake3, cryptography, nacl"], stderr=subprocess.DEVNULL)
        if wanted.returncode != 0:
            print("--  not read by tests/reader: its dependencies are not here (`make venv` installs them)")
            return
        tell.step("a second implementation reads both pods and the peer")
        for device in (self.phone, self.tablet):
            with open(os.path.join(device.pod, "pod.json"), encoding="utf-8") as file:
                secret = os.path.join(device.keys, json.load(file)["secret"] + ".secret")
            done = reader("pod", device.pod, "--secret-file", secret)
            must(done.returncode == 0, "the reader refuses the %s: %s" % (device.name, done.stderr.decode().strip()))
            summary = json.loads(done.stdout)
            listed = {"journal/" + entry["id"] for entry in device.entries()}
            must(listed == set(summary["documents"]), "the reader finds other documents in the %s" % device.name)
        done = reader("cloud", self.cloud.data)
        must(done.returncode == 0, "the reader refuses the cloud peer: %s" % done.stderr.decode().strip())
        tell.done()

    def search(self):
        needles = [self.canary.encode(), self.canary.upper().encode(), self.canary.encode("utf-16-le"), self.canary.encode().hex().encode()]
        found = holding(self.place.root, needles)
        if found:
            raise CanaryFound(", ".join(os.path.relpath(path, self.place.root) for path in found))

    def prove_the_search(self):
        """The pods do hold the canary for those with the keys, and the search does find it where it is."""
        shown = self.tablet.show(next(entry["id"] for entry in self.tablet.entries() if entry["title"] == self.canary))
        must(self.canary in shown["text"], "the canary can be read on the tablet")
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "control"), "wb") as file:
                file.write(secrets.token_bytes((1 << 22) - 10) + self.canary.encode() + secrets.token_bytes(100))
            must(holding(folder, [self.canary.encode()]), "the search finds what is there")

    def how_to_go_on(self):
        journal = self.place.programs["journal"]
        print("\n    Everything is still there. Go on with")
        for device in (self.phone, self.tablet):
            print("      %s --pod %s --keys %s list" % (journal, device.pod, device.keys))
        print("    and for `sync`, start the cloud peer again:")
        print("      %s serve --data %s --listen %s" % (self.place.programs["rhizome-cloud"], self.cloud.data, self.cloud.address))
        print("    When you have seen enough:  rm -r %s\n" % self.place.root)


def main():
    parser = argparse.ArgumentParser(description="What Rhizome is for, on one machine and over loopback alone.")
    parser.add_argument("--entries", metavar="DIR", help="a folder of Markdown files to use instead of the built-in entries")
    parser.add_argument("--keep", action="store_true", help="with --check or --canary: leave what was made")
    parser.add_argument("--check", action="store_true", help="as a test: one line a step")
    parser.add_argument("--canary", action="store_true", help="look for a known text in every file and log afterwards")
    options = parser.parse_args()
    quiet = options.check or options.canary
    keep = options.keep or not quiet
    root = tempfile.mkdtemp(prefix="rhizome-demo-")
    code, began = 2, time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        demo = Demo(options, Place(root, options), Teller(quiet))
        if not quiet:
            print("\nRhizome: a phone, a tablet, and a cloud peer that stores what it cannot read.")
            print("Everything happens on this machine, over loopback, in %s" % root)
        demo.run()
        code = 0
        if quiet:
            print("ok  everything held, in %s" % duration(time.monotonic() - began))
        else:
            demo.teller.table()
            demo.how_to_go_on()
    except CanaryFound as found:
        code = 1
        print("canary found in: %s" % found, file=sys.stderr)
    except DoesNotHold as why:
        print("this does not hold: %s" % why, file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
        print("\nstopped", file=sys.stderr)
    finally:
        for process in list(RUNNING):
            end(process)
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
        elif code != 0:
            print("what was made is in %s" % root, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
