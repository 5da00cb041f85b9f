"""Loads the library into a process that has an SQLite of its own, Python's, and prints the source ids of both, a line each.

    python3 two_sqlites.py LIBRARY
"""

import ctypes
import sqlite3
import sys


class Buffer(ctypes.Structure):
    """uniffi's RustBuffer."""

    _fields_ = [("capacity", ctypes.c_uint64), ("len", ctypes.c_uint64), ("data", ctypes.POINTER(ctypes.c_uint8))]


class Status(ctypes.Structure):
    """uniffi's RustCallStatus."""

    _fields_ = [("code", ctypes.c_int8), ("error", Buffer)]


def theirs():
    return sqlite3.connect(":memory:").execute("SELECT sqlite_source_id()").fetchone()[0]


def main():
    before = theirs()
    # Global, so that whatever it shows could be taken for another library's.
    library = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
    about = library.uniffi_rhizome_ffi_fn_func_about
    about.restype, about.argtypes = Buffer, [ctypes.POINTER(Status)]
    status = Status()
    said = about(ctypes.byref(status))
    if status.code != 0:
        sys.exit(f"about failed with {status.code}")
    # A record of two strings, each a length and UTF-8.
    record, fields = bytes(said.data[: said.len]), []
    while record:
        end = 4 + int.from_bytes(record[:4], "big")
        fields.append(record[4:end].decode())
        record = record[end:]
    if theirs() != before:
        sys.exit("Python's SQLite is another since the library was loaded")
    for name in ("sqlite3_open", "sqlite3_sourceid"):
        try:
            ctypes.c_void_p.in_dll(ctypes.CDLL(sys.argv[1]), name)
        except ValueError:
            continue
        # dlsym looks into what the library links too: the symbol must not be the library's own.
        sys.exit(f"the library shows {name}")
    print(before)
    print(fields[1])


if __name__ == "__main__":
    main()
