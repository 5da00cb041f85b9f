"""The one table."""

from .picture import number

COLUMNS = ("what", "ours", "theirs", "peer", "ratio", "aim", "")


def lines(results):
    rows = [COLUMNS]
    for entry in results:
        met = {True: "met", False: "MISSED", None: ""}[entry["met"]]
        theirs = "" if entry["theirs"] is None else number(entry["theirs"])
        ratio = "" if entry["ratio"] is None else f"{entry['ratio']:.3g}"
        ours = f"{number(entry['ours'])} {entry['unit']}"
        rows.append((entry["what"], ours, theirs, entry["peer"] or "", ratio, entry["aim"] or "", met))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        cells = [cell.rjust(width) if place in (1, 2, 4) else cell.ljust(width) for place, (cell, width) in enumerate(zip(row, widths))]
        yield "  ".join(cells).rstrip()
