#!/usr/bin/env python3
"""Changes the code that verifies, opens, authorises and checks limits, everywhere and one place at a time (cargo-mutants, with
mutants.toml beside this file), and names each change that no test notices and that survivors.toml does not explain.

Hours on a small machine. `campaign.py FILE ...` takes some of the files alone: `campaign.py core/src/log/entry.rs`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from run import ROOT, check_campaign, copy_of_the_tree

HERE = Path(__file__).resolve().parent
TESTS = ["--lib", "--test", "identity", "--test", "refusals", "--test", "vectors", "--test", "hostile", "--test", "simulation"]


def name_of(outcome):
    """A mutant without its line, which moves: `core/src/log/entry.rs: replace Section::len -> usize with 0`."""
    scenario = outcome["scenario"]
    if "Mutant" not in scenario:
        return None
    return re.sub(r":\d+:\d+: ", ": ", scenario["Mutant"]["name"])


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
        CARGO_PROFILE_DEV_DEBUG="false",
        RHIZOME_SIM_SCHEDULES=os.environ.get("RHIZOME_SIM_SCHEDULES", "50"),
    )
    with tempfile.TemporaryDirectory(prefix="rhizome-mutants-") as directory:
        tree, out = Path(directory) / "tree", Path(directory) / "out"
        tree.mkdir()
        out.mkdir()
        copy_of_the_tree(tree)
        command = ["cargo", "mutants", "--in-place", "--package", "rhizome", "--no-shuffle", "--colors", "never"]
        command += ["--config", str(HERE / "mutants.toml"), "--output", str(out)]
        for name in wanted:
            command += ["--file", name]
        subprocess.run([*command, "--", "--locked", *TESTS], cwd=tree, env=environment, check=False)
        outcomes = json.loads((out / "mutants.out" / "outcomes.json").read_text())["outcomes"]
    counts, survivors = {}, []
    for outcome in outcomes:
        name, summary = name_of(outcome), outcome["summary"]
        if name is None:
            if summary != "Success":
                sys.exit("the tests fail without any mutation")
            continue
        counts[summary] = counts.get(summary, 0) + 1
        if summary == "MissedMutant":
            survivors.append(name)
    unexplained = [name for name in survivors if name not in explained]
    stale = [name for name in explained if name.split(":")[0] in wanted and name not in survivors]
    for name in unexplained:
        print(f"SURVIVED  {name}")
    for name in stale:
        print(f"STALE     survivors.toml explains what is caught or gone: {name}")
    print(
        f"{sum(counts.values())} mutants: {counts.get('CaughtMutant', 0)} caught, {counts.get('Timeout', 0)} timeouts, "
        f"{counts.get('Unviable', 0)} unviable, {len(survivors)} survivors of which {len(survivors) - len(unexplained)} explained"
    )
    sys.exit(1 if unexplained or stale else 0)


if __name__ == "__main__":
    main()
