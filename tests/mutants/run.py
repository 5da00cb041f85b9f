#!/usr/bin/env python3
"""Breaks a copy of the tree in ways that must not pass, and shows that the tests notice.

Each mutation is a replacement of text in one file of a copy; nothing of it is in the tree itself. A mutation that no longer
applies is a failure too: it would prove nothing. `run.py NAME ...` runs some of them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ["-p", "rhizome"]
CLOUD = ["-p", "rhizome-cloud"]

# name: (file, text, replacement, the tests that must fail)
MUTATIONS = {
    "acknowledge before commit": (
        "core/src/store/writer.rs",
        """        let committed = match ended {""",
        """        for answer in answers.drain(..) {
            answer(Ok(()));
        }
        let committed = match ended {""",
        CORE + ["--lib", "store::"],
    ),
    "synchronous off": (
        "core/src/store/log_db.rs",
        '"synchronous", "full"',
        '"synchronous", "off"',
        CORE + ["--test", "pod", "what_is_written"],
    ),
    "entry signature not checked": (
        "core/src/log/entry.rs",
        'Ok(device.verify("entry", &hash.0, &self.signature)?)',
        "let _ = (device, hash);\n        Ok(())",
        CORE + ["--test", "refusals"],
    ),
    "link not checked": (
        "core/src/store/entries.rs",
        "if self.hash_at(&row, branch, range.after().seq)? != Some(range.after().hash) {",
        "if false {",
        CORE + ["--test", "refusals"],
    ),
    "empty associated data": (
        "core/src/log/entry.rs",
        "    encode(&(1u8, author, seq, epoch, number as u64))",
        "    let _ = (author, seq, epoch, number);\n    Vec::new()",
        CORE + ["--test", "refusals"],
    ),
    "unauthorised author accepted": (
        "core/src/sync/replica.rs",
        "if !known.tentative.devices().contains_key(&start.device()) {",
        "if false {",
        CORE + ["--test", "refusals"],
    ),
    "key wrapped for anybody": (
        "core/src/identity/state.rs",
        "let good = self.key_ids.insert(key.id) && recipients == self.recipients(None);",
        "let good = self.key_ids.insert(key.id) || recipients.is_empty();",
        CORE + ["--test", "root"],
    ),
    "nothing cut off": (
        "core/src/sync/counted.rs",
        "let head = end_on(read, author, removed, &branch)?;",
        "end_on(read, author, removed, &branch)?;\n        let head = Some(branch.head);",
        CORE + ["--test", "root"],
    ),
    "sealing patched out": (
        "core/src/crypto/seal.rs",
        "        [&nonce[..], &sealed].concat()",
        "        let _ = sealed;\n        [&nonce[..], plain, &[0; TAG_LEN]].concat()",
        CLOUD + ["--test", "scenarios", "a_canary_is_in_no_file"],
    ),
    "views not sealed": (
        "core/src/store/views.rs",
        "    let conn = wiping(|| open_sealed(path, key)).map_err(|error| of(&error))?;",
        "    let _ = (key, open_sealed);\n    let conn = Connection::open(path).map_err(|error| of(&error))?;",
        CLOUD + ["--test", "scenarios", "a_canary_is_in_no_file"],
    ),
}


def copy_of_the_tree(to):
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    for name in filter(None, names):
        source = ROOT / name
        if source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, to / name)


def run_tests(tree, arguments):
    # A target folder of its own: cargo tells copies of a workspace apart by the times of their files alone, and a mutated library must
    # never be found by an honest build.
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    environment = dict(os.environ, CARGO_TERM_COLOR="never", CARGO_TARGET_DIR=str(target.with_name(target.name + "-mutants")))
    command = ["cargo", "test", "--locked", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=1800)


def ran_and_failed(result):
    """A copy that does not compile proves nothing; one whose tests ran and failed does."""
    return result.returncode != 0 and "test result: FAILED" in result.stdout


def check_campaign():
    """The campaign's list of files follows the tree, though the campaign itself runs seldom."""
    files = tomllib.loads((ROOT / "tests/mutants/mutants.toml").read_text())["examine_globs"]
    for name in files:
        if not (ROOT / name).is_file():
            sys.exit(f"tests/mutants/mutants.toml names {name}, which is not there")
    return files


def main():
    check_campaign()
    wanted = sys.argv[1:] or list(MUTATIONS)
    unknown = [name for name in wanted if name not in MUTATIONS]
    if unknown:
        sys.exit(f"no such mutation: {unknown[0]}; there are: {', '.join(MUTATIONS)}")
    failures = 0
    with tempfile.TemporaryDirectory(prefix="rhizome-mutants-") as directory:
        tree = Path(directory)
        copy_of_the_tree(tree)
        clean = {}
        for name in wanted:
            file, text, replacement, arguments = MUTATIONS[name]
            began = time.monotonic()
            path = tree / file
            before = path.read_text()
            if before.count(text) != 1:
                print(f"STALE     {name}: its text stands {before.count(text)} times in {file}", flush=True)
                failures += 1
                continue
            key = tuple(arguments)
            if key not in clean:
                clean[key] = run_tests(tree, arguments)
            if clean[key].returncode != 0:
                print(f"BROKEN    {name}: its tests fail without it\n{clean[key].stdout[-2000:]}{clean[key].stderr[-2000:]}")
                failures += 1
                continue
            path.write_text(before.replace(text, replacement))
            result = run_tests(tree, arguments)
            path.write_text(before)
            # Cargo goes by the time of a file: the next mutation must not find this one's build.
            os.utime(path)
            seconds = time.monotonic() - began
            if ran_and_failed(result):
                failed = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("test ") and line.endswith("FAILED")]
                print(f"caught    {name} ({seconds:.0f} s) by {', '.join(failed) or 'its tests'}", flush=True)
            else:
                kind = "SURVIVED" if result.returncode == 0 else "NO BUILD"
                print(f"{kind}  {name}\n{result.stdout[-1500:]}{result.stderr[-1500:]}", flush=True)
                failures += 1
    print(f"{len(wanted) - failures} of {len(wanted)} mutations caught")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
