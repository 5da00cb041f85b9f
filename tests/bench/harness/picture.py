"""A picture of each result: two bars, drawn by hand, with the aim written below."""

import os
from xml.sax.saxutils import escape

WIDTH, LEFT, BAR = 640, 130, 26
OURS, THEIRS, INK = "#2f6f4f", "#9a9a9a", "#222222"


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _bar(row, name, value, most, unit, colour):
    top = 52 + row * (BAR + 10)
    length = max(1, round((WIDTH - LEFT - 150) * value / most)) if most else 1
    middle = top + BAR * 0.68
    return (
        f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{LEFT}" y="{top}" width="{length}" height="{BAR}" fill="{colour}"/>'
        f'<text x="{LEFT + length + 8}" y="{middle:.0f}">{escape(number(value))} {escape(unit)}</text>'
    )


def verdict(entry):
    if entry["aim"] is None:
        return "no aim"
    return f"aim: {entry['aim']} — {'met' if entry['met'] else 'missed' if entry['met'] is False else 'not compared'}"


def draw(entry):
    rows = [("ours", entry["ours"], OURS)]
    if entry["theirs"] is not None:
        rows.append((entry["peer"], entry["theirs"], THEIRS))
    most = max(value for _, value, _ in rows)
    bars = "".join(_bar(place, name, value, most, entry["unit"], colour) for place, (name, value, colour) in enumerate(rows))
    below = 52 + len(rows) * (BAR + 10) + 16
    ratio = f"ratio {entry['ratio']:g}, " if entry["ratio"] is not None else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {below + 14}" font-family="sans-serif" font-size="13" fill="{INK}">'
        f'<rect width="{WIDTH}" height="{below + 14}" fill="#ffffff"/>'
        f'<text x="16" y="28" font-size="15" font-weight="bold">{escape(entry["what"])}</text>{bars}'
        f'<text x="{LEFT}" y="{below}" fill="#666666">{escape(ratio + verdict(entry))}</text></svg>\n'
    )


def write(folder, results):
    """A file for each result, and none for what is measured no longer."""
    os.makedirs(folder, exist_ok=True)
    wanted = {entry["id"] + ".svg": draw(entry) for entry in results}
    for name in os.listdir(folder):
        if name.endswith(".svg") and name not in wanted:
            os.remove(os.path.join(folder, name))
    for name, picture in wanted.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(picture)
