#!/usr/bin/env python3
"""Replaces how the generated Swift code reads numbers and strings that cross: `faster.py FILE`.

uniffi copies each through `Data`, which made most of what a page of a list costs. What is put in its place reads the same bytes under the same check of
the end. Code of another form than is known here is an error, so that a newer uniffi is looked at.
"""

import sys

CHECK = """    guard reader.data.count >= range.upperBound else {
        throw UniffiInternalError.bufferOverflow
    }
"""
CHANGES = [
    (
        CHECK
        + """    if T.self == UInt8.self {
        let value = reader.data[reader.offset]
        reader.offset += 1
        return value as! T
    }
    var value: T = 0
    let _ = withUnsafeMutableBytes(of: &value, { reader.data.copyBytes(to: $0, from: range)})
    reader.offset = range.upperBound
    return value.bigEndian
""",
        CHECK
        + """    var value: T = 0
    reader.data.withUnsafeBytes { bytes in
        withUnsafeMutableBytes(of: &value) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[range])) }
    }
    reader.offset = range.upperBound
    return T(bigEndian: value)
""",
    ),
    (
        """        return String(decoding: try readBytes(&buf, count: Int(len)), as: UTF8.self)
""",
        """        let range = buf.offset..<(buf.offset + Int(len))
        guard len >= 0, buf.data.count >= range.upperBound else {
            throw UniffiInternalError.bufferOverflow
        }
        buf.offset = range.upperBound
        return buf.data.withUnsafeBytes { String(decoding: UnsafeRawBufferPointer(rebasing: $0[range]), as: UTF8.self) }
""",
    ),
]


def main():
    if len(sys.argv) != 2:
        sys.exit("faster: say which file")
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    for old, new in CHANGES:
        if text.count(old) != 1:
            sys.exit(f"faster: the generated code is not as it was: {old.strip().splitlines()[-1].strip()} stands in it {text.count(old)} times")
        text = text.replace(old, new)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
