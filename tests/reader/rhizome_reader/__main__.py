"""The command line. `write` reads a JSON object from stdin, all bytes in hex:

    {"device_secret", "stream", "epoch_key", "owner", "author_identity", "nonce",
     "time": uint (the hybrid clock as it stands in the content),
     "events": [{"kind": "app", "type", "payload"} | {"kind": "doc", "collection", "document", "session", "changes"}],
     "seq": uint and "link": hash of the entry before (both absent for a new author log), "identity_head": hash or absent}

The start of a continued author log is made again from the same fields: its nonce and identities tell its author id.
"""

import argparse
import json
import sys

from . import log, pod, vectors
from .crypto import Device, epoch_id
from .dagcbor import encode
from .errors import BadShape, ReaderError


def _event(one):
    x = bytes.fromhex
    if one["kind"] == "app":
        return ["app", [one["type"], x(one["payload"])]]
    if one["kind"] == "doc":
        return ["doc", [one["collection"], x(one["document"]), x(one["session"]), [x(c) for c in one["changes"]]]]
    raise BadShape("an event of the unknown kind %r" % one["kind"])


def write(given):
    x = lambda name: bytes.fromhex(given[name]) if given.get(name) is not None else None
    device, stream, key = Device(x("device_secret")), x("stream"), x("epoch_key")
    content = encode([given["time"], [_event(one) for one in given["events"]]])
    epoch = epoch_id(stream, key)
    author, start, entry, whole = log.write(device, stream, x("owner"), x("author_identity"), x("nonce"), epoch, key, [content],
                                            given.get("seq", 2), x("link"), x("identity_head"))
    out = {"author": author, "device": device.signing, "epoch": epoch, "start": start, "range": whole, "header": entry.header,
           "hash": entry.hash, "stored": encode([epoch, x("identity_head"), entry.sections, entry.signature]), "content": content}
    return dict({name: value.hex() for name, value in out.items()}, seq=entry.seq)


def _show(value):
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="rhizome_reader", description="An independent reader of Rhizome's formats.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("vectors", help="verify every vector in a folder").add_argument("dir")
    a_pod = commands.add_parser("pod", help="verify and open a pod's folder")
    a_pod.add_argument("dir")
    secret = a_pod.add_mutually_exclusive_group(required=True)
    secret.add_argument("--secret", metavar="HEX")
    secret.add_argument("--secret-file", metavar="FILE", help="32 bytes, or 64 hex digits")
    commands.add_parser("cloud", help="verify a cloud peer's log.db, without keys").add_argument("dir")
    commands.add_parser("write", help="write one entry; JSON on stdin and stdout")
    given = parser.parse_args(arguments)
    try:
        if given.command == "vectors":
            failed = 0
            for name, error in vectors.check_all(given.dir):
                print("%-8s %s" % (name, "ok" if error is None else "%s: %s" % (type(error).__name__, error)))
                failed += error is not None
            return 1 if failed else 0
        if given.command == "pod":
            raw = bytes.fromhex(given.secret) if given.secret else open(given.secret_file, "rb").read()
            _show(pod.read_pod(given.dir, raw if len(raw) == 32 else bytes.fromhex(raw.decode())))
        elif given.command == "cloud":
            _show(pod.read_cloud(given.dir))
        else:
            _show(write(json.load(sys.stdin)))
        return 0
    except ReaderError as error:
        print("%s: %s" % (type(error).__name__, error), file=sys.stderr)
    except (OSError, LookupError, TypeError, ValueError) as error:
        print("what was given cannot be read: %s %s" % (type(error).__name__, error), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
