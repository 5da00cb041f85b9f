"""Starts the programs that are measured: each a process of its own, which answers in lines of JSON."""

import json
import os
import subprocess
import time

# Longer than any program takes.
DEADLINE = 1800


class Failed(Exception):
    """A program did not do what it was to do: what was measured so far means nothing."""


def run(program, *arguments):
    """Runs a program to its end. Gives what it said, and beside it `wall` and `used_cpu`, in seconds, as the system measured them."""
    began = time.monotonic()
    process = subprocess.Popen(
        [program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complaint = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.stdout.close()
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        what = " ".join([os.path.basename(program), *map(str, arguments[:1])])
        raise Failed(f"{what} ended with {process.returncode}: {complaint.decode(errors='replace').strip()[-2000:]}")
    answer = json.loads(said.decode().strip().splitlines()[-1])
    answer = answer if isinstance(answer, dict) else {"said": answer}
    return {**answer, "wall": wall, "used_cpu": usage.ru_utime + usage.ru_stime}


class Staying:
    """A program that stays, is asked line by line, and ends when its standard input does."""

    def __init__(self, program, *arguments):
        self.name = " ".join([os.path.basename(program), *map(str, arguments[:1])])
        self.process = subprocess.Popen(
            [program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def heard(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failed(f"{self.name} ended with {self.process.wait(DEADLINE)}")
        return json.loads(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.heard()

    def stop(self):
        """Lets it end by itself. Gives its last words."""
        self.process.stdin.close()
        last = self.process.stdout.read().strip()
        if self.process.wait(DEADLINE) != 0:
            raise Failed(f"{self.name} ended with {self.process.returncode}")
        return json.loads(last.splitlines()[-1]) if last else {}

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if self.process.poll() is None and kind is None:
                self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
