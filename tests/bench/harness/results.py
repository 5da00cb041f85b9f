"""The committed file: results, and what they were measured on. Written whole or entry by entry, and only after everything went well."""

import datetime
import json
import os

from . import entries

FIELDS = ("machine", "date", "versions", "results")


def load(path):
    """The committed results, or none."""
    if not os.path.exists(path):
        return {"machine": {}, "date": "", "versions": {}, "results": []}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def problems(found):
    """What is wrong with the form of a file of results."""
    if not isinstance(found, dict) or tuple(found) != FIELDS:
        return [f"results are an object of {', '.join(FIELDS)}, in this order"]
    wrong = [problem for entry in found["results"] for problem in entries.problems(entry)]
    names = [entry.get("id") for entry in found["results"] if isinstance(entry, dict)]
    wrong += [f"{name} is there twice" for name in sorted({str(name) for name in names if names.count(name) > 1})]
    return wrong


def merged(before, measured, machine, versions, order):
    """What to commit: what was measured now, in its place among what was measured before. Without what is no longer measured at all."""
    by_id = {entry["id"]: entry for entry in before["results"]}
    by_id.update({entry["id"]: entry for entry in measured})
    return {
        "machine": machine,
        "date": datetime.date.today().isoformat(),
        "versions": {**before["versions"], **versions},
        "results": [by_id[name] for name in order if name in by_id],
    }


def regressions(before, measured):
    by_id = {entry["id"]: entry for entry in before["results"]}
    found = (entries.regression(by_id[entry["id"]], entry) for entry in measured if entry["id"] in by_id)
    return [line for line in found if line]


def write(path, results):
    """Replaces the file in one step."""
    wrong = problems(results)
    if wrong:
        raise ValueError("; ".join(wrong))
    beside = path + ".new"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2, ensure_ascii=False)
        file.write("\n")
    os.replace(beside, path)
