"""Measures Rhizome against others doing the same work, durable on both sides, and prints one table.

    python3 tests/bench/run.py                  everything (make bench)
    python3 tests/bench/run.py --only catchup   one measure, or the one that gives an entry (make bench ONLY=id)
    python3 tests/bench/run.py --check          that everything of ours runs, with tiny sizes and no figures kept (make bench-check)

Results go to tests/bench/results.json and tests/bench/svg, which are committed. What got worse than the committed results is printed.
"""

import argparse
import os
import resource
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from harness import building, folders, machine, measures, measuring, picture, programs, results, sizes, table  # noqa: E402


def raise_file_limit():
    """Hundreds of phones in one process hold thousands of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        pass


def measure(bench, only):
    found = []
    for name in measures.chosen(only):
        print(f"{name}:", flush=True)
        _, run = measures.MEASURES[name]
        found.extend(run(bench))
    return found


def check():
    """Ours alone, in the profile that tests are built in, into a folder of its own."""
    suite = unittest.defaultTestLoader.discover(os.path.join(HERE, "harness"), top_level_dir=HERE)
    if not unittest.TextTestRunner(verbosity=1).run(suite).wasSuccessful():
        return 1
    with tempfile.TemporaryDirectory() as folder:
        places = folders.Folders(base=folder)
        found = measure(measuring.Bench(building.Programs(release=False), places, sizes.TINY, alone=True), None)
        places.close()
        missing = [name for name in measures.order() if name not in [entry["id"] for entry in found]]
        if missing and sys.platform == "linux":
            print(f"bench: not measured: {', '.join(missing)}")
            return 1
        path = os.path.join(folder, "results.json")
        versions, _ = building.versions()
        results.write(path, results.merged(results.load(path), found, machine.describe(folder), versions, measures.order()))
        pictures = os.path.join(folder, "svg")
        picture.write(pictures, found)
        drawn = len(os.listdir(pictures))
    committed = results.problems(results.load(os.path.join(HERE, "results.json")))
    for problem in committed:
        print(f"bench: results.json: {problem}")
    print(f"bench: {len(found)} entries measured, {drawn} pictures drawn, {len(committed)} problems in what is committed")
    return 1 if committed or drawn != len(found) else 0


def bench(only, runs, keep):
    raise_file_limit()
    path = os.path.join(HERE, "results.json")
    before = results.load(path)
    size = sizes.FULL if runs is None else sizes.dataclasses.replace(sizes.FULL, runs=runs)
    places = folders.Folders(keep)
    try:
        found = measure(measuring.Bench(building.Programs(), places, size), only)
    finally:
        places.close()
    print()
    for line in table.lines(found):
        print(line)
    print()
    worse = results.regressions(before, found)
    for line in worse:
        print(f"REGRESSION {line}")
    missed = [entry["id"] for entry in found if entry["met"] is False]
    print(f"{len(found)} entries, {len(missed)} aims missed, {len(worse)} regressions")
    if keep:
        print("nothing was written: folders of other sources were used")
        return 0
    ours, theirs = building.versions()
    versions = {"rust": machine.rust(), "ours": ours, "theirs": theirs}
    kept = results.merged(before, found, machine.describe(folders.cache()), versions, measures.order())
    results.write(path, kept)
    picture.write(os.path.join(HERE, "svg"), kept["results"])
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="ID", help="a measure, or an entry that one gives")
    parser.add_argument("--runs", type=int, help="runs of each side; the median counts")
    parser.add_argument("--keep", action="store_true", help="use folders that other sources made, and keep no figures")
    parser.add_argument("--check", action="store_true", help="that everything of ours runs, with tiny sizes")
    arguments = parser.parse_args()
    try:
        return check() if arguments.check else bench(arguments.only, arguments.runs, arguments.keep)
    except programs.Failed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
