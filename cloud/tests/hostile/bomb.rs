//! A compressed Automerge chunk that inflates to a hundred and fifty times its size.

/// Bits, the lowest first, as deflate has them.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn push(&mut self, bit: u8) {
        if self.used == 0 {
            self.bytes.push(0);
        }
        *self.bytes.last_mut().expect("pushed above") |= bit << (self.used % 8);
        self.used = (self.used + 1) % 8;
    }

    /// A Huffman code, which comes with its highest bit first.
    fn code(&mut self, code: u16, length: u32) {
        for bit in (0..length).rev() {
            self.push(u8::from(code >> bit & 1 == 1));
        }
    }
}

/// A chunk of about `size` zeros once inflated: deflate with its fixed codes, a zero and then "258 bytes as the one before" without end.
pub fn compressed_change(size: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(1);
    bits.push(1);
    bits.push(0);
    bits.code(0b0011_0000, 8);
    for _ in 0..size / 258 {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 2];
    let mut length = bits.bytes.len();
    while length > 0x7f {
        chunk.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    chunk.push(length as u8);
    chunk.extend(bits.bytes);
    chunk
}
