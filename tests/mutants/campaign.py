#!/usr/bin/env python3
"""Changes the code that verifies, opens, authorises and checks limits, everywhere and one place at a time, and names each change that no
test notices and that survivors.toml does not explain.

cargo-mutants says which changes there are (mutants.toml beside this file); switched.py compiles them all at once, so that a mutant costs
the tests that reach it and not a build. `campaign.py FILE ...` takes some of the files alone: `campaign.py core/src/log/entry.rs`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from run import ROOT, check_campaign, copy_of_the_tree
from switched import change, list_mutants, switch

HERE = Path(__file__).resolve().parent
CORE = ["vectors", "identity", "refusals", "hostile", "simulation", "secrets"]
# From the quickest to the slowest: the first that notices ends it. The package, and its test programs.
TESTS = [
    ("rhizome", ["--lib", *(word for name in CORE for word in ("--test", name))]),
    ("rhizome-cloud", ["--test", "peer", "--test", "scenarios", "--test", "hostile"]),
]
SCHEDULES = os.environ.get("RHIZOME_SIM_SCHEDULES", "50")


def build(tree, environment):
    """The test programs: name, path and folder, in the order of TESTS; None if they do not compile."""
    programs = []
    for package, tests in TESTS:
        command = ["cargo", "test", "--locked", "--package", package, "--no-run", "--message-format", "json", *tests]
        result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            (tree / "errors").write_text(result.stderr)
            return None
        found = {}
        for line in result.stdout.splitlines():
            message = json.loads(line)
            if message.get("reason") == "compiler-artifact" and message.get("executable"):
                found[message["target"]["name"]] = (message["executable"], Path(message["manifest_path"]).parent)
        names = [package] * ("--lib" in tests) + [name for name in tests if not name.startswith("--")]
        programs += [(f"{package} {name}", *found[name]) for name in names]
    return programs


class Campaign:
    def __init__(self, tree, programs):
        self.tree, self.programs = tree, programs
        # For each program: how long it takes, and which tests reach a mutant (None: a thread that is no test's did, so all may matter).
        self.seconds, self.reached, self.noticed = {}, {}, None

    def run(self, program, folder, names, most, **more):
        """How a test program ends: passed, caught or timeout."""
        # Folders of its own for each run: two mutants at once must not meet, and what a killed one leaves goes with it.
        with tempfile.TemporaryDirectory(prefix="rhizome-mutant-") as scratch:
            environment = dict(os.environ, RHIZOME_SIM_SCHEDULES=SCHEDULES, TMPDIR=scratch, **more)
            command = [program, *(["--exact", *names] if names else [])]
            child = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
            )
            # The first test that fails is enough; and a pipe that closes is the end.
            late = threading.Event()
            timer = threading.Timer(most, lambda: (late.set(), os.killpg(child.pid, 9)))
            timer.start()
            failed = next((line for line in child.stdout if line.endswith(b"... FAILED\n")), None)
            timer.cancel()
            if failed:
                os.killpg(child.pid, 9)
                self.noticed = failed.decode().strip()
            code = child.wait()
            return "timeout" if late.is_set() else "caught" if failed or code != 0 else "passed"

    def rehearse(self):
        """All tests, with no mutant on: they pass, and tell which mutants each reaches."""
        for name, program, folder in self.programs:
            listed = subprocess.run([program, "--list"], cwd=folder, check=True, capture_output=True, text=True).stdout
            tests = {line.removesuffix(": test") for line in listed.splitlines() if line.endswith(": test")}
            notes = self.tree / f"reached-{name}"
            began = time.monotonic()
            if self.run(program, folder, [], 1800, RHIZOME_MUTANTS_REACHED=str(notes)) != "passed":
                sys.exit(f"{name} fails without any mutant: {self.noticed}")
            self.seconds[name] = time.monotonic() - began
            reached = defaultdict(set)
            for line in notes.read_text().splitlines() if notes.exists() else []:
                number, _, thread = line.partition(" ")
                reached[int(number)].add(thread)
            self.reached[name] = {number: threads if threads <= tests else None for number, threads in reached.items()}
            print(f"{name}: {len(tests)} tests in {self.seconds[name]:.0f} s reach {len(reached)} mutants", flush=True)

    def judge(self, mutant):
        """How a mutant ends: caught (by which program), timeout or missed."""
        own = mutant.file.removeprefix("core/src/").removesuffix(".rs").replace("/", "::") + "::"
        unit, program, folder = self.programs[0]
        near = sorted(test for test in self.reached[unit].get(mutant.number) or [] if test.startswith(own))
        if near:
            end = self.run(program, folder, near, 30 + 5 * self.seconds[unit], RHIZOME_MUTANT=str(mutant.number))
            if end != "passed":
                return end, "its own tests"
        for name, program, folder in self.programs:
            if mutant.number not in self.reached[name]:
                continue
            tests = self.reached[name][mutant.number]
            # Over real connections a machine that is too busy may fail a test: those must notice twice.
            for _ in range(2 if name.startswith("rhizome-cloud") else 1):
                end = self.run(program, folder, sorted(tests or []), 30 + 5 * self.seconds[name], RHIZOME_MUTANT=str(mutant.number))
                if end == "passed":
                    break
            else:
                return end, name
        return "missed", "(reached by no test)" if all(mutant.number not in one for one in self.reached.values()) else ""

    def judge_alone(self, mutant, original, environment):
        """The same for one that must be built by itself."""
        change(self.tree, mutant, original)
        programs = build(self.tree, environment)
        (self.tree / mutant.file).write_bytes(original)
        if programs is None:
            return "unviable", ""
        for name, program, folder in programs:
            end = self.run(program, folder, [], 30 + 5 * self.seconds[name])
            if end != "passed":
                return end, name
        return "missed", ""


def main():
    files = check_campaign()
    wanted = sys.argv[1:] or files
    for name in wanted:
        if name not in files:
            sys.exit(f"{name} is not in tests/mutants/mutants.toml")
    if shutil.which("cargo-mutants") is None:
        sys.exit("cargo-mutants is missing: cargo install --locked cargo-mutants --version ^27")
    explained = tomllib.loads((HERE / "survivors.toml").read_text()).get("survivors", {})
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    environment = dict(
        os.environ,
        CARGO_TARGET_DIR=str(target.with_name(target.name + "-mutants")),
        CARGO_PROFILE_DEV_OPT_LEVEL="1",
        CARGO_PROFILE_DEV_DEBUG="false",
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rhizome-mutants-") as directory:
        tree = Path(directory)
        copy_of_the_tree(tree)
        mutants = list_mutants(tree, HERE / "mutants.toml", wanted)
        print(f"{len(mutants)} mutants in {len(wanted)} files", flush=True)
        alone, originals = switch(tree, mutants, environment)
        programs = build(tree, environment)
        if programs is None:
            sys.exit(f"the tests do not compile against the switched tree:\n{(tree / 'errors').read_text()[-3000:]}")
        campaign = Campaign(tree, programs)
        campaign.rehearse()
        together = [mutant for mutant in mutants if not mutant.unviable and mutant not in alone]
        counts, survivors = Counter(unviable=len(mutants) - len(together) - len(alone)), {}

        def note(mutant, end, what):
            counts[end] += 1
            if end == "missed":
                survivors[mutant.name] = what
            if sum(counts.values()) % 50 == 0 or end != "caught" or what.startswith("rhizome-cloud"):
                print(f"{sum(counts.values()):5} of {len(mutants)}  {end} {mutant.name} {what}", flush=True)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for mutant, (end, what) in zip(together, pool.map(campaign.judge, together)):
                note(mutant, end, what)
        for name, original in originals.items():
            (tree / name).write_bytes(original)
        for mutant in alone:
            note(mutant, *campaign.judge_alone(mutant, originals[mutant.file], environment))
    unexplained = [name for name in survivors if name not in explained]
    stale = [name for name in explained if name.split(":")[0] in wanted and name not in survivors]
    for name in unexplained:
        print(f"SURVIVED  {name}  {survivors[name]}")
    for name in stale:
        print(f"STALE     survivors.toml explains what is caught or gone: {name}")
    print(
        f"{len(mutants)} mutants in {time.monotonic() - began:.0f} s: {counts['caught']} caught, {counts['timeout']} timeouts, "
        f"{counts['unviable']} unviable, {len(survivors)} survivors of which "
        f"{len(survivors) - len(unexplained)} explained"
    )
    sys.exit(1 if unexplained or stale else 0)


if __name__ == "__main__":
    main()
