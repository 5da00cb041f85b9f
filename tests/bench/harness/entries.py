"""One measured thing: what it is, our figure, a peer's, the aim, and whether it is met. And how much worse it may get before that is said."""

import operator
import re

FIELDS = ("id", "what", "unit", "ours", "peer", "theirs", "ratio", "aim", "met")

# Whether more is better, and by how much the compared figure may be worse than the committed one before it is a regression: time is noisy,
# memory less, bytes not at all.
UNITS = {
    "events/s": (True, 0.25),
    "entries/s": (True, 0.25),
    "ms": (False, 0.25),
    "us": (False, 0.25),
    "ms/s": (False, 0.25),
    "MB": (False, 0.10),
    "kB": (False, 0.10),
    "bytes": (False, 0.02),
    "round trips": (False, 0.0),
    "x": (False, 0.10),
}

OPERATORS = {">=": operator.ge, "<=": operator.le}


def is_met(aim, ours, ratio):
    """Whether an aim like "ratio >= 5" or "ours <= 200" is met; None if there is none, or nothing to compare with."""
    if aim is None:
        return None
    found = re.fullmatch(r"(ours|ratio) (>=|<=) ([0-9.]+)", aim)
    if not found:
        raise ValueError(f"not an aim: {aim!r}")
    value = {"ours": ours, "ratio": ratio}[found[1]]
    return None if value is None else OPERATORS[found[2]](value, float(found[3]))


def rounded(value):
    """Four digits are more than the noise leaves."""
    return None if value is None else float(f"{value:.4g}")


def entry(id, what, unit, ours, peer=None, theirs=None, aim=None):
    """Makes an entry of a result. `ours` and `theirs` are in `unit`; the ratio is the one over the other."""
    if unit not in UNITS:
        raise ValueError(f"not a unit: {unit!r}")
    ratio = ours / theirs if ours is not None and theirs else None
    values = (id, what, unit, rounded(ours), peer if theirs is not None else None, rounded(theirs), rounded(ratio), aim, is_met(aim, ours, ratio))
    return dict(zip(FIELDS, values))


def problems(found):
    """What is wrong with an entry's form."""
    if not isinstance(found, dict) or tuple(found) != FIELDS:
        return [f"an entry has the fields {', '.join(FIELDS)}, in this order"]
    name, wrong = found["id"], []
    number = lambda value: value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
    if not re.fullmatch(r"[a-z0-9-]+", str(name)):
        wrong.append(f"{name!r} is not an id")
    if found["unit"] not in UNITS:
        wrong.append(f"{name}: {found['unit']!r} is not a unit")
    if not all(number(found[field]) for field in ("ours", "theirs", "ratio")) or found["ours"] is None:
        wrong.append(f"{name}: a figure is not a number")
    elif (found["peer"] is None) != (found["theirs"] is None):
        wrong.append(f"{name}: a peer without a figure, or a figure without a peer")
    elif found["met"] != is_met(found["aim"], found["ours"], found["ratio"]):
        wrong.append(f"{name}: met is not what its figures say")
    return wrong


def regression(before, now):
    """Says how an entry got worse than the committed one, or None. Where there is a peer the ratios are compared, so that another machine, or
    a busy one, is no regression; time and rates without a peer are not compared."""
    more, margin = UNITS[now["unit"]]
    field = "ratio" if now["ratio"] is not None and before["ratio"] is not None else "ours"
    if field == "ours" and now["unit"] in ("events/s", "entries/s", "ms", "us", "ms/s"):
        return None
    old, new = before[field], now[field]
    worse = new < old * (1 - margin) if more else new > old * (1 + margin)
    return f"{now['id']}: {field} {old:g} -> {new:g}, worse by more than {margin:.0%}" if worse else None
