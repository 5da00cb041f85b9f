#!/usr/bin/env python3
"""The public names of the Swift module: every one must have documentation, and all stand in a committed file, so that a change shows in review.

    api.py FOLDER DUMP            compares what `swift package dump-symbol-graph` wrote into FOLDER with DUMP
    api.py --update FOLDER DUMP   writes DUMP
    api.py --self-test            sees that an undocumented name is noticed
"""
import difflib
import json
import pathlib
import sys

MODULE = "Rhizome"


def graphs(folder):
    """What the compiler says of the module: its own names, and those it adds to others' types."""
    files = sorted(pathlib.Path(folder).glob(MODULE + ".symbols.json")) + sorted(pathlib.Path(folder).glob(MODULE + "@*.symbols.json"))
    if not files:
        sys.exit("api: no symbols of %s in %s" % (MODULE, folder))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def own(symbol):
    """Whether somebody wrote it: what the compiler derives from a conformance has no place in a source."""
    return "location" in symbol


def line(symbol):
    declaration = "".join(part["spelling"] for part in symbol["declarationFragments"])
    return "%s: %s" % (".".join(symbol["pathComponents"]), " ".join(declaration.split()))


def conformances(graph, found):
    """Lines for the protocols that the module's own types conform to."""
    names = {symbol["identifier"]["precise"]: symbol for symbol in graph["symbols"]}
    for relation in graph["relationships"]:
        if relation["kind"] == "conformsTo" and relation["source"] in found:
            target = names.get(relation["target"])
            protocol = ".".join(target["pathComponents"]) if target else relation["targetFallback"]
            yield "%s conforms to %s" % (".".join(names[relation["source"]]["pathComponents"]), protocol)


def undocumented(found):
    def blank(symbol):
        lines = symbol.get("docComment", {}).get("lines", [])
        return not any(line["text"].strip() for line in lines)

    return sorted(line(symbol) for symbol in found if blank(symbol))


def self_test():
    documented = {"pathComponents": ["A"], "declarationFragments": [{"spelling": "struct A"}], "docComment": {"lines": [{"text": "An A."}]}}
    bare = {"pathComponents": ["A", "b"], "declarationFragments": [{"spelling": "let  b: "}, {"spelling": "Int"}]}
    empty = dict(documented, docComment={"lines": [{"text": "  "}]})
    assert undocumented([documented]) == []
    assert undocumented([documented, bare]) == ["A.b: let b: Int"]
    assert undocumented([empty]) == ["A: struct A"]


def main(arguments):
    self_test()
    if arguments == ["--self-test"]:
        return
    update = arguments[:1] == ["--update"]
    folder, dump = arguments[1 if update else 0 :]
    read = graphs(folder)
    found = [symbol for graph in read for symbol in graph["symbols"] if own(symbol)]
    bare = undocumented(found)
    if bare:
        sys.exit("api: these public names have no documentation:\n  " + "\n  ".join(bare))
    ids = {symbol["identifier"]["precise"] for symbol in found}
    lines = {line(symbol) for symbol in found}
    lines.update(text for graph in read for text in conformances(graph, ids))
    lines = [text + "\n" for text in sorted(lines)]
    dump = pathlib.Path(dump)
    if update:
        dump.write_text("".join(lines), encoding="utf-8")
        return
    before = dump.read_text(encoding="utf-8").splitlines(keepends=True) if dump.exists() else []
    if before != lines:
        sys.stdout.writelines(difflib.unified_diff(before, lines, "committed", "now"))
        sys.exit("api: the public names of the Swift package changed: if that is meant, run ios/tools/test --api and commit %s" % dump)
    print("api: %d public names, all documented, as committed" % len(found))


main(sys.argv[1:])
