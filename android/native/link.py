#!/usr/bin/env python3
"""The linker that build.py names to cargo: it takes from rustc's list of exported symbols what is not our interface, then runs the real linker.

rustc exports every `#[no_mangle]` item of every crate that it links, and its version script names each one, which no second script can take back.
The real linker is $RHIZOME_LINKER; what may stay is $RHIZOME_EXPORTS, a regular expression.
"""

import os
import re
import sys


def main():
    keep = re.compile(os.environ["RHIZOME_EXPORTS"])
    for argument in sys.argv[1:]:
        flag, _, path = argument.removeprefix("-Wl,").replace(",", "=", 1).partition("=")
        if flag == "--version-script":
            with open(path) as script:
                lines = script.read().splitlines()
            with open(path, "w") as script:
                for line in lines:
                    name = line.strip().rstrip(";")
                    if not re.fullmatch(r"\w+", name) or keep.fullmatch(name):
                        script.write(line + "\n")
                # `global:` with nothing behind it is an error.
            with open(path) as script:
                text = script.read()
            with open(path, "w") as script:
                script.write(re.sub(r"global:\s*(?=local:)", "", text))
    real = os.environ["RHIZOME_LINKER"]
    os.execvp(real, [real] + sys.argv[1:])


if __name__ == "__main__":
    main()
