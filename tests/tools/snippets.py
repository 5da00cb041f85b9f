#!/usr/bin/env python3
"""Holds the code in the README and the guide to code that the tests run.

A code block in a page that is preceded by a line `<!-- from FILE#NAME -->` must read as the lines between `guide: NAME` and `guide: end` in
comments of that file, with their common indentation taken away. `snippets.py` checks, `snippets.py --write` copies.
"""

import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(<!-- from (?P<file>\S+)#(?P<name>[\w-]+) -->\n```\w*\n)(?P<code>.*?)(```\n)", re.DOTALL)


def snippet(file, name):
    """The lines of a file between its marks."""
    lines = file.read_text().splitlines()
    begins = [number for number, line in enumerate(lines) if re.search(rf"guide: {re.escape(name)}\s*$", line)]
    if len(begins) != 1:
        raise ValueError(f"{file.relative_to(ROOT)} has {len(begins)} snippets named {name}")
    begin = begins[0] + 1
    end = next((n for n in range(begin, len(lines)) if re.search(r"guide: end\s*$", lines[n])), None)
    if end is None:
        raise ValueError(f"{file.relative_to(ROOT)}: snippet {name} has no end")
    return textwrap.dedent("\n".join(lines[begin:end])) + "\n"


def renewed(page, root):
    """A page with its snippets as they are in the sources, and how many it has."""
    found = BLOCK.findall(page)
    return BLOCK.sub(lambda m: m[1] + snippet(root / m["file"], m["name"]) + m[5], page), len(found)


def main():
    write = sys.argv[1:] == ["--write"]
    if sys.argv[1:] and not write:
        sys.exit(f"snippets: unknown argument {sys.argv[1]}: say --write or nothing")
    wrong, count = [], 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]:
        text = page.read_text()
        try:
            fresh, snippets = renewed(text, ROOT)
        except (OSError, ValueError) as error:
            sys.exit(f"snippets: {page.relative_to(ROOT)}: {error}")
        # A mark that no block follows would never be checked.
        if text.count("<!-- from ") != snippets:
            sys.exit(f"snippets: {page.relative_to(ROOT)}: a mark is not followed by a code block")
        count += snippets
        if fresh != text:
            wrong.append(str(page.relative_to(ROOT)))
            if write:
                page.write_text(fresh)
    if wrong and not write:
        sys.exit(f"snippets: {', '.join(wrong)} shows code that is not what the tests run: run {Path(__file__).relative_to(ROOT)} --write")
    print(f"snippets: {count} in the README and the guide are code that the tests run")


if __name__ == "__main__":
    main()
