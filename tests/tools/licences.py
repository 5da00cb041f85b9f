"""Checks every dependency in Cargo.lock: its licence, where it comes from, and a short list of what must not be there.

It needs only Python and cargo, and no service beyond the registry that the build itself uses (docs/decisions/0005). One line a finding; exit code 1 if
there is one.

    python3 tests/tools/licences.py               check
    python3 tests/tools/licences.py --self-test   prove that each rule can fail
"""

import json
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
}

# A licence that only these crates may bring, each looked at by a person. An entry that is no longer needed is a finding.
EXCEPTIONS = {
    # MPL-2.0 binds the file, not the program: an app says where the sources of these can be had, unchanged from crates.io
    # (docs/decisions/0006). What is generated from our own code is ours.
    "uniffi": "MPL-2.0",
    "uniffi_bindgen": "MPL-2.0",
    "uniffi_core": "MPL-2.0",
    "uniffi_internal_macros": "MPL-2.0",
    "uniffi_macros": "MPL-2.0",
    "uniffi_meta": "MPL-2.0",
    "uniffi_pipeline": "MPL-2.0",
    "uniffi_udl": "MPL-2.0",
    # The Unlicense gives to the public domain, which not every country knows; linked on wasm32 only, which we do not ship.
    "async_io_stream": "Unlicense",
    "pharos": "Unlicense",
    "ws_stream_wasm": "Unlicense",
    # SQLite itself and a part of its ciphers; the rest of the amalgamation is MIT and CC0.
    "sqlite3mc-src": "Unlicense",
}

BANNED = {
    "native-tls": "TLS of the system differs by platform; rustls with ring is what we ship",
    "openssl": "a second TLS library, to be cross-built for each phone; rustls with ring is what we ship",
    "openssl-sys": "a second TLS library, to be cross-built for each phone; rustls with ring is what we ship",
}

# Audit tools do not know this one: noq is the QUIC fork that iroh carries.
NOQ = "noq before 1.4.0 lacks the fix for CVE-2026-25800"
AT_LEAST = {
    "iroh": ("1.4.0", NOQ),
    "noq": ("1.4.0", NOQ),
    "noq-proto": ("1.4.0", NOQ),
    "noq-udp": ("1.4.0", NOQ),
}

APPLE = "netdev 0.46.3 uses in6_ifreq, which libc 0.2.190 took away on iOS, and mio 1.2.5 asks for that libc"
EXACTLY = {
    "libc": ("0.2.186", APPLE),
    "mio": ("1.2.4", APPLE),
}


class BadExpression(ValueError):
    pass


def satisfiable(expression, allowed):
    """Whether an SPDX licence expression (https://spdx.github.io/spdx-spec/, annex D; '/' is cargo's old OR) can be met from `allowed`."""
    tokens = re.findall(r"[()/]|[A-Za-z0-9.+:-]+", expression)
    if re.sub(r"\s", "", expression) != "".join(tokens):
        raise BadExpression(expression)
    at = 0

    def peek():
        return tokens[at] if at < len(tokens) else None

    def take():
        nonlocal at
        at += 1
        return tokens[at - 1]

    def either():
        met = both()
        while peek() in ("OR", "/"):
            take()
            met = both() or met
        return met

    def both():
        met = one()
        while peek() == "AND":
            take()
            met = one() and met
        return met

    def one():
        if peek() is None or peek() in (")", "OR", "AND", "WITH", "/"):
            raise BadExpression(expression)
        if peek() == "(":
            take()
            met = either()
            if peek() != ")":
                raise BadExpression(expression)
            take()
            return met
        name = take()
        if peek() == "WITH":
            take()
            if peek() is None or peek() in ("(", ")", "OR", "AND", "WITH", "/"):
                raise BadExpression(expression)
            name += " WITH " + take()
        return name in allowed

    met = either()
    if peek() is not None:
        raise BadExpression(expression)
    return met


def version(text):
    """A key that sorts as versions do: a pre-release stands before its release."""
    core, _, pre = text.split("+")[0].partition("-")
    return [int(part) for part in core.split(".")], pre == "", pre


def findings(metadata):
    """All findings over what `cargo metadata` printed."""
    found = []
    unused = set(EXCEPTIONS)
    root = metadata["workspace_root"].rstrip("/") + "/"
    for package in sorted(metadata["packages"], key=lambda p: (p["name"], p["version"])):
        name, number, source, licence = package["name"], package["version"], package["source"], package["license"]
        what = f"{name} {number}"

        if source is None:
            if not package["manifest_path"].startswith(root):
                found.append(f"{what}: comes from a path outside this workspace ({package['manifest_path']})")
        elif source != CRATES_IO:
            found.append(f"{what}: comes from {source}; only crates.io and this workspace are allowed")

        if not licence:
            found.append(f"{what}: names no licence (license-file: {package.get('license_file')})")
        else:
            try:
                if not satisfiable(licence, ALLOWED):
                    if name in EXCEPTIONS and satisfiable(licence, ALLOWED | {EXCEPTIONS[name]}):
                        unused.discard(name)
                    else:
                        found.append(f"{what}: licence '{licence}' cannot be met from the allowed ones")
            except BadExpression:
                found.append(f"{what}: licence '{licence}' is no SPDX expression")

        if name in BANNED:
            found.append(f"{what}: is banned: {BANNED[name]}")
        if name in AT_LEAST:
            least, why = AT_LEAST[name]
            if version(number) < version(least):
                found.append(f"{what}: must be {least} or later: {why}")
        if name in EXACTLY:
            exact, why = EXACTLY[name]
            if number != exact:
                found.append(f"{what}: must be {exact} (cargo update -p {name} --precise {exact}): {why}")
    for name in sorted(unused):
        found.append(f"{name}: has an exception in tests/tools/licences.py that nothing needs; take it out")
    return found


def lock_findings():
    if not os.path.exists(os.path.join(ROOT, "Cargo.lock")):
        return ["Cargo.lock: is missing; run cargo generate-lockfile, check what it chose, and commit it"]
    try:
        git = ["git", "-C", ROOT, "ls-files", "--error-unmatch", "Cargo.lock"]
        tracked = subprocess.run(git, capture_output=True).returncode
    except FileNotFoundError:
        return []
    # 1: a repository that does not know the file. 128: no repository (an unpacked archive), nothing to say.
    return ["Cargo.lock: is not committed; git add Cargo.lock"] if tracked == 1 else []


def main():
    found = lock_findings()
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--format-version", "1"]
    try:
        cargo = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("licences: cargo was not found; run make setup")
    if cargo.returncode != 0:
        reason = [line for line in cargo.stderr.splitlines() if line.startswith("error")] or ["error"]
        found.append(f"Cargo.lock: cargo metadata --locked failed: {reason[0]}")
        count = 0
    else:
        metadata = json.loads(cargo.stdout)
        count = len(metadata["packages"])
        found += findings(metadata)
    for line in found:
        print(line)
    if found:
        sys.exit(1)
    print(f"licences: {count} packages, all in order")


class SelfTest(unittest.TestCase):
    def package(self, **over):
        package = {"name": "some", "version": "1.0.0", "source": CRATES_IO, "license": "MIT", "license_file": None}
        package["manifest_path"] = "/elsewhere/some/Cargo.toml"
        package.update(over)
        return package

    def check(self, **over):
        needed = [self.package(name=name, license=licence) for name, licence in EXCEPTIONS.items()]
        return findings({"workspace_root": "/clone", "packages": needed + [self.package(**over)]})

    def assert_finding(self, text, **over):
        found = self.check(**over)
        self.assertEqual(len(found), 1, found)
        self.assertIn(text, found[0])

    def test_a_plain_dependency_passes(self):
        self.assertEqual(self.check(), [])

    def test_expressions_that_can_be_met(self):
        for good in (
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR GPL-3.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
            "GPL-2.0-only AND GPL-3.0-only OR ISC",
            "((MIT))",
        ):
            self.assertTrue(satisfiable(good, ALLOWED), good)

    def test_expressions_that_cannot_be_met(self):
        for bad in (
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT AND (GPL-3.0-only OR AGPL-3.0-only)",
            "GPL-2.0-only WITH Classpath-exception-2.0",
            "MIT WITH Some-exception",
            "MPL-2.0",
            "AGPL-3.0-only/GPL-3.0-only",
            "LicenseRef-MIT",
            "mit",
        ):
            self.assertFalse(satisfiable(bad, ALLOWED), bad)

    def test_and_binds_tighter_than_or(self):
        self.assertTrue(satisfiable("MIT OR ISC AND GPL-3.0-only", ALLOWED))
        self.assertFalse(satisfiable("(MIT OR ISC) AND GPL-3.0-only", ALLOWED))

    def test_expressions_that_are_none(self):
        for bad in ("", "MIT OR", "OR MIT", "MIT Apache-2.0", "(MIT", "MIT)", "MIT WITH", "MIT, ISC", "MIT WITH (X)", "MIT AND AND ISC"):
            with self.assertRaises(BadExpression, msg=bad):
                satisfiable(bad, ALLOWED)
        self.assert_finding("no SPDX expression", license="MIT, ISC")

    def test_a_licence_outside_the_list_is_found(self):
        self.assert_finding("cannot be met", license="GPL-3.0-only")

    def test_no_licence_is_found(self):
        self.assert_finding("names no licence", license=None, license_file="COPYING")

    def test_an_exception_holds_for_the_named_crate_and_licence_only(self):
        self.assert_finding("cannot be met", license="Unlicense")
        found = findings({"workspace_root": "/clone", "packages": [self.package(name=name, license="GPL-3.0-only") for name in EXCEPTIONS]})
        self.assertEqual(len([line for line in found if "cannot be met" in line]), len(EXCEPTIONS))

    def test_an_exception_nobody_needs_is_found(self):
        found = findings({"workspace_root": "/clone", "packages": []})
        self.assertEqual(len([line for line in found if "nothing needs" in line]), len(EXCEPTIONS))

    def test_other_sources_are_found(self):
        self.assert_finding("comes from git+", source="git+https://example.org/some#0123")
        self.assert_finding("comes from registry+", source="registry+https://example.org/index")
        self.assert_finding("outside this workspace", source=None)
        self.assert_finding("outside this workspace", source=None, manifest_path="/clone-of-mine/Cargo.toml")
        self.assertEqual(self.check(source=None, manifest_path="/clone/core/Cargo.toml"), [])

    def test_banned_crates_are_found(self):
        for name in BANNED:
            self.assert_finding("is banned", name=name)

    def test_old_quic_is_found(self):
        for name in AT_LEAST:
            self.assert_finding("CVE-2026-25800", name=name, version="1.3.9")
            self.assert_finding("CVE-2026-25800", name=name, version="1.4.0-rc.1")
            self.assertEqual(self.check(name=name, version="1.4.0"), [])
            self.assertEqual(self.check(name=name, version="1.10.0"), [])

    def test_versions_that_break_the_apple_build_are_found(self):
        self.assert_finding("in6_ifreq", name="libc", version="0.2.190")
        self.assert_finding("in6_ifreq", name="mio", version="1.2.5")
        self.assertEqual(self.check(name="mio", version="1.2.4"), [])


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        unittest.main(argv=sys.argv[:1])
    elif sys.argv[1:]:
        sys.exit(f"licences: unknown argument {sys.argv[1]}; say --self-test or nothing")
    else:
        main()
