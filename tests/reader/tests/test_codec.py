import unittest

from rhizome_reader import dagcbor
from rhizome_reader.dagcbor import UINT, Cid, Each, Maybe, decode, encode, fits
from rhizome_reader.errors import NotCanonical


class Codec(unittest.TestCase):
    def test_there_and_back(self):
        for value in (0, 23, 24, 255, 256, 65535, 65536, 2**32, 2**64 - 1, -1, -(2**64), b"", b"x" * 300, "", "é", [], [1, [2]], {},
                      {"b": 1, "aa": 2, "a": 3}, None, True, False, 1.5, Cid(b"\x01\x71")):
            self.assertEqual(decode(encode(value)), value)
        self.assertEqual(encode({"aa": 1, "b": 2}).hex(), "a261620262616101")

    def test_refused(self):
        for name, data in {
            "empty": "", "cut": "42ff", "trailing": "0000", "long 23": "1817", "long 255": "1900ff", "long 65535": "1a0000ffff",
            "long 2^32-1": "1b00000000ffffffff", "long negative": "3817", "long length": "580100", "reserved": "1c",
            "indefinite bytes": "5f41004100ff", "indefinite list": "9fff", "indefinite map": "bfff", "key order": "a2626161016162" + "02",
            "key twice": "a2616101616102", "key of bytes": "a1410101", "key of uint": "a10101", "undefined": "f7", "simple": "f0",
            "simple byte": "f820", "half": "f93c00", "single": "fa3f800000", "nan": "fb7ff8000000000000", "inf": "fb7ff0000000000000",
            "tag 43": "d82b420001", "long tag": "d9002a420001", "cid without zero": "d82a420171", "cid not bytes": "d82a00",
            "not utf-8": "61ff", "surrogate": "63eda080", "overlong": "62c080", "deep": "81" * 100 + "00", "break": "ff",
        }.items():
            with self.subTest(name), self.assertRaises(NotCanonical):
                decode(bytes.fromhex(data))

    def test_every_accepted_byte_string_is_its_own_encoding(self):
        for n in range(1 << 16):
            data = n.to_bytes(2, "big")
            for one in (data, data[1:], data + b"\0", b"\x81" + data):
                try:
                    value = decode(one)
                except NotCanonical:
                    continue
                self.assertEqual(encode(value), one)

    def test_shapes(self):
        self.assertTrue(fits([1, None, [b"a"]], [UINT, Maybe(3), Each(1, 1, 2)]))
        for wrong in ([True, None, [b"a"]], [-1, None, [b"a"]], [1, b"", [b"a"]], [1, None, []], [1, None, [b"a"], 0], {"a": 1}):
            self.assertFalse(fits(wrong, [UINT, Maybe(3), Each(1, 1, 2)]))
        self.assertFalse(fits({"a": 1, "b": 2}, {"a": UINT}))
        self.assertRaises(NotCanonical, dagcbor.encode, 2**64)
