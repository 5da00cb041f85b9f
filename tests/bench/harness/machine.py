"""What the figures were measured on: nothing that names a machine or a person."""

import os
import platform
import subprocess


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _field(text, name):
    for line in text.splitlines():
        if line.startswith(name):
            return line.split(":", 1)[1].strip()
    return None


def _disk(folder):
    """The kind of file system that `folder` stands on."""
    best, kind = "", None
    for line in _read("/proc/mounts").splitlines():
        _, place, found, *_ = line.split()
        inside = folder == place or folder.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, found
    return kind


def describe(folder):
    memory = _field(_read("/proc/meminfo"), "MemTotal")
    return {
        "cpu": _field(_read("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(int(memory.split()[0]) / 1e6) if memory else None,
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "file_system": _disk(os.path.realpath(folder)),
    }


def rust():
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
