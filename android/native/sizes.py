"""How much of a library each crate takes, by the symbols it has before it is stripped; and whether it stays within its budget."""

import json
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
BUDGET = os.path.join(HERE, "budget.json")
# The first crate that a demangled name speaks of: whose generic code for another's type something is, the linker does not know either.
CRATE = re.compile(r"(?:^|[^\w:])([a-z_][a-z0-9_]*)(?:\[[0-9a-f]+\])?::")
# What is C or assembly, by how its names begin.
FOREIGN = (("sqlite3", "sqlite"), ("aegis", "sqlite"), ("chacha20", "sqlite"), ("ring_core", "ring"), ("ecp_nistz", "ring"), ("_Unwind", "unwind"), ("__", "compiler"))


def crate(name):
    found = CRATE.search(name)
    if found:
        return found.group(1)
    return next((crate for start, crate in FOREIGN if name.startswith(start)), "other")


def by_crate(listed):
    """Bytes of each crate, from what `nm --print-size --demangle` says; largest first."""
    sizes = {}
    for line in listed.splitlines():
        found = re.match(r"[0-9a-f]+ ([0-9a-f]+) [A-Za-z] (.+)", line)
        if found:
            name = crate(found.group(2))
            sizes[name] = sizes.get(name, 0) + int(found.group(1), 16)
    return sorted(sizes.items(), key=lambda each: -each[1])


def over_budget(stripped):
    """What is wrong with the size of a stripped library, if anything is."""
    with open(BUDGET) as file:
        budget = json.load(file)["bytes"]
    if stripped > budget:
        return f"it is {stripped:,} bytes, and its budget is {budget:,} ({os.path.basename(BUDGET)}): see what grew below"
    return None


def table(sizes, stripped, lines=20):
    """The largest crates, for a person."""
    whole = sum(size for _, size in sizes)
    shown = [f"  {size / 1e6:6.2f} MB  {name}" for name, size in sizes[:lines]]
    rest = sum(size for _, size in sizes[lines:])
    return "\n".join([*shown, f"  {rest / 1e6:6.2f} MB  {max(len(sizes) - lines, 0)} others", f"  {whole / 1e6:6.2f} MB  with names, of {stripped / 1e6:.2f} MB stripped"])
