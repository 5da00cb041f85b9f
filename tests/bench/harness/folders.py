"""Folders to measure in: made once and kept as long as our sources are the same, copied for each run, on a real disk."""

import hashlib
import json
import os
import shutil

from .building import ROOT


def cache():
    kept = os.environ.get("RHIZOME_CACHE", os.path.join(os.path.expanduser("~"), ".cache", "rhizome"))
    return os.path.join(kept, "bench")


OURS = ("core/src", "core/cipher", "core/sqlite", "cloud/src", "tests/bench/ours/src", "tests/bench/shared")
THEIRS = ("tests/bench/peers", "tests/bench/shared")


def _sources(tops):
    """A digest of whatever could change what programs put on the disk."""
    digest = hashlib.sha256()
    for top in tops:
        for folder, below, files in sorted(os.walk(os.path.join(ROOT, top))):
            below.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                digest.update(os.path.relpath(path, ROOT).encode())
                with open(path, "rb") as file:
                    digest.update(file.read())
    return digest.hexdigest()[:16]


class Folders:
    def __init__(self, keep=False, base=None):
        self.base = base or cache()
        self.work = os.path.join(self.base, f"work-{os.getpid()}")
        # With `keep`, what was made by other sources is used too: quicker while one thing is tuned, and no result to commit.
        self.keys = {tops: "kept" if keep else _sources(tops) for tops in (OURS, THEIRS)}
        self.count = 0

    def fresh(self):
        """A new path for a folder that nobody made yet, inside one that is there."""
        self.count += 1
        path = os.path.join(self.work, str(self.count))
        os.makedirs(path)
        return os.path.join(path, "run")

    def made(self, name, make, sources=OURS):
        """The folder `name`, made by `make(folder)` if it is not there. Gives it and what `make` said."""
        key = self.keys[sources]
        folder = os.path.join(self.base, "made", name)
        note = os.path.join(folder, "made.json")
        try:
            with open(note, encoding="utf-8") as file:
                said = json.load(file)
            if key in (said["key"], "kept"):
                return os.path.join(folder, "run"), said["said"]
        except (OSError, ValueError, KeyError):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        print(f"  making {name}", flush=True)
        said = make(os.path.join(folder, "run"))
        with open(note, "w", encoding="utf-8") as file:
            json.dump({"key": key, "said": said}, file)
        return os.path.join(folder, "run"), said

    def copied(self, folder):
        path = self.fresh()
        shutil.copytree(folder, path)
        os.sync()
        return path

    def drop(self, path):
        shutil.rmtree(os.path.dirname(path), ignore_errors=True)

    def close(self):
        shutil.rmtree(self.work, ignore_errors=True)
