"""A journal of many entries against the same rows in SQLCipher: searched, read, written in bulk, watched."""

from .entries import entry
from .folders import THEIRS
from .measuring import median
from .programs import run
from .sizes import FULL

SEARCH_IDS = (*(f"search-{count}" for count in FULL.open), "search-flat")
QUERY_IDS = ("query-point", "query-range")
IMPORT_IDS = ("import",)
LIVE_IDS = (*(f"live-{where}-{count}" for where in ("local", "remote") for count in FULL.live), "live-local-flat", "live-remote-flat")


def _made(bench, name, count, *more):
    """The folders of both sides with `count` entries; theirs is None where ours is measured alone."""

    def make(program):
        return lambda folder: run(program, "import", "--dir", folder, "--count", count, *more)

    ours, _ = bench.folders.made(name, make(bench.programs.ours))
    if bench.alone:
        return ours, None
    theirs, _ = bench.folders.made(f"{name}-cipher", make(bench.programs.peer("cipher")), THEIRS)
    return ours, theirs


def _flat(name, what, pairs):
    """The largest size over the smallest, on both sides."""
    (small, their_small), (large, their_large) = pairs[0], pairs[-1]
    return entry(name, what, "x", large / small, "SQLCipher", their_large / their_small if their_small else None, "ours <= 1.2")


def measure_search(bench):
    sizes, pairs = bench.sizes, []
    for name, count in zip(SEARCH_IDS, sizes.open):
        ours, theirs = _made(bench, name, count, "--search")
        said = bench.in_turn(
            sizes.runs * sizes.open_times,
            ours=lambda: run(bench.programs.ours, "search", "--dir", ours, "--count", count),
            cipher=bench.theirs(lambda: run(bench.programs.peer("cipher"), "search", "--dir", theirs, "--count", count)),
        )
        pair = [answers and median(answers, "seconds") * 1000 for answers in (said["ours"], said["cipher"])]
        pairs.append(pair)
        yield entry(name, f"Opening a pod with {count:,} documents to the first search result", "ms", pair[0], "SQLCipher, FTS5", pair[1], "ratio <= 1")
    yield _flat("search-flat", f"Searching with {sizes.open[-1]:,} documents over searching with {sizes.open[0]:,}", pairs)


def measure_query(bench):
    sizes = bench.sizes
    ours, theirs = _made(bench, "query", sizes.query)
    asked = ("--count", sizes.query, "--times", sizes.reads)
    said = bench.in_turn(
        sizes.runs,
        ours=lambda: run(bench.programs.ours, "query", "--dir", ours, *asked),
        cipher=bench.theirs(lambda: run(bench.programs.peer("cipher"), "query", "--dir", theirs, *asked)),
    )
    for name, field, what in (
        ("query-point", "point", f"Reading one of {sizes.query:,} documents by its id"),
        ("query-range", "range", f"Reading a page of 20 of a range of dates, of {sizes.query:,} documents"),
    ):
        figures = [answers and median(answers, field) for answers in (said["ours"], said["cipher"])]
        yield entry(name, what, "us", figures[0], "SQLCipher", figures[1], "ratio <= 1")


def measure_import(bench):
    sizes = bench.sizes

    def written(program):
        folder = bench.folders.fresh()
        answer = run(program, "import", "--dir", folder, "--count", sizes.imported)
        bench.folders.drop(folder)
        return answer

    said = bench.in_turn(
        sizes.runs,
        ours=lambda: written(bench.programs.ours),
        cipher=bench.theirs(lambda: written(bench.programs.peer("cipher"))),
    )
    figures = [answers and median(answers, "seconds") * 1000 for answers in (said["ours"], said["cipher"])]
    yield entry("import", f"{sizes.imported:,} documents written in bulk, 2,000 a call", "ms", figures[0], "SQLCipher", figures[1], "ratio <= 3")


def measure_live(bench):
    sizes, folders = bench.sizes, bench.folders
    found = {"local": [], "remote": []}
    for count in sizes.live:
        # Where the cloud peer listens is known to the devices: the port stays the same.
        made, told = folders.made(f"live-{count}", lambda folder: run(bench.programs.ours, "make-watch", "--dir", folder, "--count", count))
        theirs = None if bench.alone else _made(bench, f"live-rows-{count}", count)[1]

        def watched():
            folder = folders.copied(made)
            answer = run(
                bench.programs.ours, "watch", "--dir", folder, "--count", count, "--port", told["port"], "--times", sizes.edits
            )
            folders.drop(folder)
            return answer

        def updated():
            folder = folders.copied(theirs)
            answer = run(bench.programs.peer("cipher"), "update", "--dir", folder, "--count", count, "--times", sizes.edits)
            folders.drop(folder)
            return answer

        said = bench.in_turn(sizes.runs, ours=watched, cipher=bench.theirs(updated))
        update = said["cipher"] and median(said["cipher"], "update")
        for where, pairs in found.items():
            pairs.append((median(said["ours"], where), update))
    whats = {"local": "From an edit to the difference of a watched page", "remote": "From the arrival of another device's edit to the difference"}
    for where, pairs in found.items():
        for count, full, pair in zip(sizes.live, FULL.live, pairs):
            yield entry(f"live-{where}-{full}", f"{whats[where]}, {count:,} documents", "us", pair[0], "SQLCipher, one update", pair[1], "ratio <= 3")
    for where, pairs in found.items():
        yield _flat(f"live-{where}-flat", f"{whats[where]}: {sizes.live[-1]:,} documents over {sizes.live[0]:,}", pairs)
