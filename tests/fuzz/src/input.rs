//! An input read as a small program: what is missing reads as zeros, so that every byte string is one.

/// Bytes yet to be read.
#[derive(Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether there is more.
    pub fn more(&self) -> bool {
        !self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Two bytes, the lower first.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A number: small ones in one byte, the extremes and any other besides.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            0xff => u64::MAX,
            0xfe => i64::MAX as u64,
            0xfd => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            small => u64::from(small),
        }
    }

    /// As many bytes as there are, at most `count`.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length in two bytes and as many bytes.
    pub fn chunk(&mut self) -> &'a [u8] {
        let count = self.short();
        self.take(count.into())
    }
}

/// The other way round: writes such programs, for seeds.
#[derive(Default, Clone)]
pub struct Output(pub Vec<u8>);

impl Output {
    /// One byte.
    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// A chunk, as [`Input::chunk`] reads it.
    ///
    /// # Panics
    /// If it is longer than two bytes can say.
    pub fn chunk(mut self, bytes: &[u8]) -> Self {
        let count = u16::try_from(bytes.len()).expect("a seed's chunk is below 64 KiB");
        self.0.extend_from_slice(&count.to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// The bytes as they are.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// Unfolds repetitions: `count (2 bytes) ‖ chunk`, again and again, until `most` bytes. A few bytes of corpus stand for the megabytes that a
/// hostile peer would send.
pub fn unfold(mut input: Input<'_>, most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while input.more() && out.len() < most {
        let count = usize::from(input.short()) + 1;
        let length = usize::from(input.byte());
        let piece = input.take(length);
        let room = (most - out.len()) / piece.len().max(1);
        out.extend_from_slice(&piece.repeat(count.min(room)));
        if room < count {
            break;
        }
    }
    out
}
