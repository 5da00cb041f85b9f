"""Builds both sides. The peers have a workspace of their own, so that nothing but this builds them."""

import json
import os
import shutil
import subprocess
import sys

from . import programs

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEERS = os.path.join(HERE, "peers")


def target():
    default = os.path.join(os.path.expanduser("~"), ".cache", "rhizome", "target")
    return os.environ.get("CARGO_TARGET_DIR", default)


def _cargo(folder, *arguments):
    environment = {**os.environ, "CARGO_TARGET_DIR": target()}
    if subprocess.run(["cargo", "build", "--locked", *arguments], cwd=folder, env=environment).returncode != 0:
        raise programs.Failed("cargo build " + " ".join(arguments))


def _installed(folder, script):
    """A program for Node, with what it needs beside it, outside the clone."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise programs.Failed("this peer needs Node 18 or later, with npm")
    at = os.path.join(target(), f"bench-{os.path.basename(folder)}")
    shutil.copytree(folder, at, dirs_exist_ok=True)
    if subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=at).returncode != 0:
        raise programs.Failed("npm ci")
    os.chmod(os.path.join(at, script), 0o755)
    return os.path.join(at, script)


class Programs:
    """Builds a program when it is first asked for."""

    def __init__(self, release=True):
        self.release = release
        self.built = {}
        self.bindings = {}

    def _built(self, package, name, folder):
        if package not in self.built:
            print(f"building {package}", flush=True)
            _cargo(folder, "-p", package, *(["--release"] if self.release else []))
            self.built[package] = os.path.join(target(), "release" if self.release else "debug", name)
        return self.built[package]

    @property
    def ours(self):
        return self._built("rhizome-bench", "bench-ours", ROOT)

    def binding(self, language):
        """How the program of a language is started; None where the language is not to be had, which CI does not accept."""
        command = {"swift": ["ios/tools/bench"], "kotlin": [sys.executable, "android/make.py", "bench"]}[language]
        if language not in self.bindings:
            print(f"building for {language}", flush=True)
            told = subprocess.run([*command, *(["--release"] if self.release else [])], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            if told.returncode != 0 and os.environ.get("CI") == "true":
                raise programs.Failed(" ".join(command))
            if told.returncode != 0:
                print(f"bench: skipped: what calls cost from {language.capitalize()} (see above)", flush=True)
            self.bindings[language] = told.stdout.split("\n")[:-1] if told.returncode == 0 else None
        return self.bindings[language]

    def phone_library(self, folders):
        """The stripped library for arm64 phones, as it ships. In the profile of the tests that of this machine stands for it: another profile would
        take minutes to say something else than what ships."""
        if not self.release:
            _cargo(ROOT, "-p", "rhizome-ffi", "--features", "rhizome-ffi/testing")
            return os.path.join(target(), "debug", "librhizome_ffi.dylib" if sys.platform == "darwin" else "librhizome_ffi.so")
        folder = folders.fresh()
        if subprocess.run([sys.executable, "android/native/build.py", "--out", folder], cwd=ROOT).returncode != 0:
            raise programs.Failed("android/native/build.py")
        return os.path.join(folder, "librhizome_ffi.so")

    def peer(self, name):
        """`automerge`, `cipher`, `loro`, `net`, `plain`, `samod` or `yjs`. One package at a time: the two SQLites ask for features that exclude each other."""
        if name == "yjs":
            return _installed(os.path.join(PEERS, "yjs"), "bench-yjs.js")
        return self._built(f"bench-{name}", f"bench-{name}", PEERS)


def versions():
    """What both sides are made of, from the lock files."""

    def locked(folder, *wanted):
        asked = ["cargo", "metadata", "--locked", "--format-version", "1"]
        said = json.loads(subprocess.run(asked, cwd=folder, capture_output=True, text=True, check=True).stdout)
        return {package["name"]: package["version"] for package in said["packages"] if package["name"] in wanted}

    return locked(ROOT, "rhizome", "iroh", "rusqlite", "sqlite3mc-src", "automerge"), locked(
        PEERS, "automerge", "loro", "samod", "iroh", "rusqlite", "ed25519-dalek", "sqlcipher-src"
    )
