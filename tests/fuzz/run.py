#!/usr/bin/env python3
"""Fuzzes the core's decoders with libFuzzer, from the committed corpus on.

    run.py                       every target for TIME seconds of its own (60); ONLY=name for one of them
    run.py --short               the form of `make test`: a few seconds each, all targets in about a minute of two cores
    run.py --merge               afterwards, takes what reached new code into the committed corpus, as few and as short inputs as will do
    run.py --coverage            measures what the committed corpus reaches and writes coverage.json
    run.py --replay target FILE  runs one input, such as a crash that was kept

TIME, ONLY and SEED are read from the environment. SEED is printed, and the same seed makes the same inputs from the same corpus (where a machine's
speed does not decide how far it comes). A crash keeps its input in the cache and prints it in base64: put that line into corpus/TARGET.txt when the fault
is mended, and it stays a test.
"""

import base64
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("RHIZOME_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rhizome")
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or CACHE / "target")
WORK = CACHE / "fuzz"
SHORT_SECONDS = 5
# One input may take this long, with a wide margin for a busy machine: it is there to end what never ends.
HANG_SECONDS = 60
# The counting allocator sees Rust's memory to the byte; this sees all of the process, SQLite's C included.
RESIDENT_MB = 1024


def cargo(arguments, environment, say):
    result = subprocess.run(["cargo", *arguments], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=None if say else subprocess.PIPE, check=False)
    if result.returncode:
        sys.exit(f"fuzz: cargo {' '.join(arguments)} failed\n{result.stderr or ''}")
    return result.stdout


def build_engine():
    """Compiles libFuzzer, once, apart from everything else. Gives the path of its archive."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(CACHE / "libfuzzer"))
    arguments = ["build", "--locked", "--manifest-path", str(HERE / "libfuzzer/Cargo.toml"), "--message-format=json"]
    for line in cargo(arguments, environment, say=True).splitlines():
        message = json.loads(line)
        if message.get("reason") == "build-script-executed" and "libfuzzer-sys" in message["package_id"]:
            return Path(message["out_dir"]) / "libfuzzer.a"
    sys.exit("fuzz: libfuzzer-sys was built without its build script")


def build():
    """Builds the fuzzing binary, with the core instrumented. Dependencies are those of every other build."""
    environment = dict(
        os.environ,
        CARGO_TARGET_DIR=str(TARGET),
        RUSTC_WORKSPACE_WRAPPER=str(HERE / "rustc.sh"),
        RHIZOME_LIBFUZZER=str(build_engine()),
    )
    cargo(["build", "--locked", "-p", "rhizome-fuzz", "--features", "libfuzzer", "--bin", "fuzz"], environment, say=True)
    # Another clone's build, or one of an ordinary profile, must not take its place while it runs.
    WORK.mkdir(parents=True, exist_ok=True)
    binary = WORK / f"fuzz-{os.getpid()}"
    shutil.copy2(TARGET / "debug/fuzz", binary)
    return binary


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def run_target(binary, name, longest, seconds, seed):
    """Fuzzes one target. Gives its figures."""
    corpus, found, crashes = WORK / "corpus" / name, WORK / "found" / name, WORK / "crashes" / name
    fresh(corpus)
    found.mkdir(parents=True, exist_ok=True)
    fresh(crashes)
    subprocess.run([binary, "unpack", name, corpus], check=True)
    command = [
        binary, "run", name, found, corpus, f"-max_total_time={seconds}", f"-max_len={longest}", f"-seed={seed}", f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={RESIDENT_MB}", f"-artifact_prefix={crashes}/", "-print_final_stats=1", "-use_value_profile=1", "-verbosity=1", "-len_control=20",
    ]  # fmt: skip
    began = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=WORK)
    said = result.stderr

    def figure(pattern):
        numbers = re.findall(pattern, said)
        return int(numbers[-1]) if numbers else 0

    kept = sorted(crashes.iterdir())
    return {
        "name": name,
        "seconds": time.monotonic() - began,
        "executions": figure(r"stat::number_of_executed_units: *(\d+)"),
        "edges": figure(r" cov: (\d+)"),
        "new": figure(r"stat::new_units_added: *(\d+)"),
        "peak": figure(r"figures: peak (\d+)"),
        "caught": figure(r"figures: peak \d+ caught (\d+)"),
        "resident": figure(r"stat::peak_rss_mb: *(\d+)"),
        "failed": result.returncode != 0 or bool(kept),
        "crash": kept[0] if kept else None,
        "said": said,
    }


def say(figures):
    print(
        f"{figures['name']:10} {figures['executions']:9} executions in {figures['seconds']:4.0f} s, {figures['edges']:5} edges, {figures['new']:5} new inputs, "
        f"{figures['peak'] / 1024:8.0f} KiB beyond an input, {figures['resident']:4} MB resident" + (", FAILED" if figures["failed"] else ""),
        flush=True,
    )
    if figures["failed"]:
        print("\n".join(figures["said"].splitlines()[-40:]))
        if figures["crash"]:
            print(f"kept as {figures['crash']}\n{base64.b64encode(figures['crash'].read_bytes()).decode()}", flush=True)


def merge(binary, name):
    """The fewest inputs, and the shortest, that reach what corpus, seeds and findings reach together."""
    subprocess.run([binary, "seeds", name, WORK / "corpus" / name], check=True)
    merged = fresh(WORK / "merged" / name)
    command = [binary, "run", name, "-merge=1", f"-rss_limit_mb={RESIDENT_MB}", merged, WORK / "corpus" / name, WORK / "found" / name]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=WORK)
    if result.returncode:
        sys.exit(f"fuzz: merging {name} failed\n{result.stderr[-3000:]}")
    subprocess.run([binary, "pack", name, merged], check=True)


def coverage(binary):
    """What the committed corpus reaches, by file: written down to be compared."""
    result = subprocess.run([binary, "coverage"], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"fuzz: the corpus breaks a promise\n{result.stderr}")
    measured = json.loads(result.stdout)
    decoders = sorted(json.loads((HERE / "decoders.json").read_text()))
    files = {name: measured["files"].get(name, [0, 0]) for name in decoders}
    hit, total = (sum(counts[place] for counts in files.values()) for place in (0, 1))
    print(f"{'edges reached':>16}  file of core/src")
    for name, (reached, edges) in files.items():
        print(f"{reached:6} of {edges:6}  {100 * reached / max(edges, 1):5.1f} %  {name}")
    print(f"{hit:6} of {total:6}  {100 * hit / total:5.1f} %  of all files that read bytes from outside")
    record = {"decoders": {"reached": hit, "edges": total}, "files": files, "targets": measured["targets"]}
    lines = json.dumps(record, indent=1, sort_keys=True)
    # A pair of numbers on one line.
    lines = re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", lines)
    (HERE / "coverage.json").write_text(lines + "\n")


def main():
    options = set(sys.argv[1:])
    if "--replay" in sys.argv:
        name, file = sys.argv[-2:]
        sys.exit(subprocess.run([build(), "run", name, f"-timeout={HANG_SECONDS}", Path(file).resolve()], check=False).returncode)
    if unknown := options - {"--short", "--merge", "--coverage"}:
        sys.exit(f"run.py: {unknown.pop()} is not an option\n{__doc__}")
    short = "--short" in options
    seconds = SHORT_SECONDS if short else int(os.environ.get("TIME") or 60)
    # The short form is a part of the tests, which should say the same of the same sources.
    seed = int(os.environ.get("SEED") or (1 if short else random.randrange(1, 2**31)))
    only = os.environ.get("ONLY") or ""
    binary = build()
    try:
        listed = subprocess.run([binary, "list"], check=True, capture_output=True, text=True).stdout
        targets = [line.split("\t")[:2] for line in listed.splitlines()]
        if only:
            targets = [target for target in targets if target[0] == only] or sys.exit(f"there is no target {only}")
        if options == {"--coverage"}:
            coverage(binary)
            return
        print(f"fuzzing {len(targets)} targets for {seconds} s each, SEED={seed}", flush=True)
        results = []
        with ThreadPoolExecutor(max_workers=max(1, min(os.cpu_count() or 1, 4))) as pool:
            work = [pool.submit(run_target, binary, name, longest, seconds, seed) for name, longest in targets]
            for done in work:
                results.append(done.result())
                say(results[-1])
        failures = sum(figures["failed"] for figures in results)
        print(
            f"{sum(figures['executions'] for figures in results)} executions of {len(results)} targets, SEED={seed}: {failures} failures, 0 panics uncaught, "
            f"{sum(figures['caught'] for figures in results)} panics of Automerge caught by the core, at most "
            f"{max(figures['peak'] for figures in results) / 2**20:.1f} MiB beyond an input"
            if not failures
            else f"{failures} of {len(results)} targets failed, SEED={seed}",
            flush=True,
        )
        if "--merge" in options and not failures:
            with ThreadPoolExecutor(max_workers=2) as pool:
                list(pool.map(lambda target: merge(binary, target[0]), targets))
            coverage(binary)
        sys.exit(1 if failures else 0)
    finally:
        binary.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
