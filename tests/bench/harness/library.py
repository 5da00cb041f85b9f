"""How large the library is that an arm64 phone loads, against the budget that its build holds it to."""

import json
import os

from .building import ROOT
from .entries import entry

IDS = ("library-arm64",)


def measure(bench):
    with open(os.path.join(ROOT, "android", "native", "budget.json"), encoding="utf-8") as file:
        budget = json.load(file)["bytes"]
    library = bench.programs.phone_library(bench.folders)
    yield entry("library-arm64", "The library for arm64 phones, stripped", "bytes", os.path.getsize(library), aim=f"ours <= {budget}")
