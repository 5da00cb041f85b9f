#!/usr/bin/env python3
"""Makes every symbol of a 64-bit Mach-O object local, but for those that are named: what Apple's `ld -r -exported_symbols_list` does.

    localise.py IN OUT NAMES     NAMES is a file with one symbol a line, as C has it after its underscore (`_name`)
    localise.py --self-test

A symbol table stands in three groups: local, defined and undefined symbols. Making a defined one local moves it into another group, so that
relocations, which name symbols by their place in the table, are written again. See <mach-o/nlist.h>, <mach-o/reloc.h> and <mach-o/loader.h>.
"""
import struct
import sys

MAGIC_64, OBJECT = 0xFEEDFACF, 1
LC_SYMTAB, LC_DYSYMTAB, LC_SEGMENT_64 = 0x2, 0xB, 0x19
N_STAB, N_PEXT, N_TYPE, N_EXT, N_UNDF = 0xE0, 0x10, 0x0E, 0x01, 0x0
# Common symbols are undefined ones with a size; those of this library are all defined.
NLIST = struct.Struct("<IBBHQ")
RELOC = struct.Struct("<iI")


def commands(data):
    magic, _, _, kind, count, _, _, _ = struct.unpack_from("<8I", data)
    if magic != MAGIC_64 or kind != OBJECT:
        raise ValueError("this is no 64-bit Mach-O object")
    at = 32
    for _ in range(count):
        command, size = struct.unpack_from("<2I", data, at)
        yield command, at
        at += size


def sections(data):
    for command, at in commands(data):
        if command == LC_SEGMENT_64:
            (count,) = struct.unpack_from("<I", data, at + 64)
            for number in range(count):
                # After the names, address, size, offset and alignment.
                yield struct.unpack_from("<2I", data, at + 72 + 80 * number + 56)


def localise(data, keep):
    """The object with only `keep` (a set of bytes) global; and which of `keep` it defines."""
    data = bytearray(data)
    places = dict(commands(data))
    symtab, dysymtab = places[LC_SYMTAB], places[LC_DYSYMTAB]
    table, count, strings, _ = struct.unpack_from("<4I", data, symtab + 8)
    (indirect,) = struct.unpack_from("<I", data, dysymtab + 8 + 4 * 13)
    if indirect:
        raise ValueError("an object with indirect symbols")

    groups, kept = ([], [], []), set()
    for place in range(count):
        name, kind, section, description, value = NLIST.unpack_from(data, table + NLIST.size * place)
        defined = not kind & N_STAB and kind & N_TYPE != N_UNDF
        if kind & N_EXT and defined:
            end = data.index(b"\0", strings + name)
            if bytes(data[strings + name : end]) in keep:
                kept.add(bytes(data[strings + name : end]))
                kind &= ~N_PEXT
            else:
                kind &= ~(N_EXT | N_PEXT)
        group = 2 if not kind & N_STAB and kind & N_TYPE == N_UNDF else 1 if kind & N_EXT else 0
        groups[group].append((place, NLIST.pack(name, kind, section, description, value)))

    new = {}
    for place, (before, entry) in enumerate(entry for group in groups for entry in group):
        new[before] = place
        data[table + NLIST.size * place : table + NLIST.size * (place + 1)] = entry
    first = 0
    for number, group in enumerate(groups):
        struct.pack_into("<2I", data, dysymtab + 8 + 8 * number, first, len(group))
        first += len(group)

    for offset, relocations in sections(data):
        for at in range(offset, offset + RELOC.size * relocations, RELOC.size):
            address, word = RELOC.unpack_from(data, at)
            # Only an external one names a symbol; others name a section, or hold a number.
            if word >> 27 & 1:
                RELOC.pack_into(data, at, address, word & 0xFF000000 | new[word & 0xFFFFFF])
    return bytes(data), kept


def self_test():
    names = [b"_kept", b"_gone", b"_wanted", b"_own"]
    strings = b"\0" + b"".join(name + b"\0" for name in names)
    starts = [strings.index(name) for name in names]
    # Defined and global, defined and hidden, undefined, and local.
    kinds = [0x0F, 0x1F, 0x01, 0x0E]
    order = [3, 0, 1, 2]
    size = 32 + 72 + 80 + 24 + 80
    table = b"".join(NLIST.pack(starts[n], kinds[n], 0 if n == 2 else 1, 0, n) for n in order)
    # One relocation for each symbol, by its place, and one that names a section.
    relocations = b"".join(RELOC.pack(4 * n, n | 1 << 27 | 2 << 28) for n in range(4)) + RELOC.pack(16, 1)
    data = struct.pack("<8I", MAGIC_64, 0x100000C, 0, OBJECT, 3, size - 32, 0, 0)
    data += struct.pack("<2I16s4Q4I", LC_SEGMENT_64, 152, b"", 0, 0, 0, 0, 7, 7, 1, 0)
    data += struct.pack("<16s16s2Q8I", b"__text", b"__TEXT", 0, 20, 0, 0, size, 5, 0, 0, 0, 0)
    data += struct.pack("<6I", LC_SYMTAB, 24, size + 40, 4, size + 40 + 64, len(strings))
    data += struct.pack("<20I", LC_DYSYMTAB, 80, 0, 1, 1, 2, 3, 1, *[0] * 12)
    assert len(data) == size
    made, kept = localise(data + relocations + table + strings, {b"_kept", b"_missing"})
    assert kept == {b"_kept"}
    found = {}
    for place in range(4):
        name, kind, _, _, value = NLIST.unpack_from(made, size + 40 + 16 * place)
        found[names[value]] = (place, kind)
    assert found == {b"_own": (0, 0x0E), b"_gone": (1, 0x0E), b"_kept": (2, 0x0F), b"_wanted": (3, 0x01)}
    assert struct.unpack_from("<6I", made, 32 + 152 + 24 + 8) == (0, 2, 2, 1, 3, 1)
    words = [RELOC.unpack_from(made, size + 8 * n)[1] for n in range(5)]
    assert [word & 0xFFFFFF for word in words] == [found[names[n]][0] for n in order] + [1]
    assert [word >> 24 for word in words] == [0x28] * 4 + [0]


def main(arguments):
    self_test()
    if arguments == ["--self-test"]:
        return
    source, out, names = arguments
    with open(names, "rb") as file:
        keep = set(file.read().split())
    with open(source, "rb") as file:
        made, kept = localise(file.read(), keep)
    if kept != keep:
        sys.exit("localise: %s defines no %s" % (source, b", ".join(sorted(keep - kept)).decode()))
    with open(out, "wb") as file:
        file.write(made)


if __name__ == "__main__":
    main(sys.argv[1:])
