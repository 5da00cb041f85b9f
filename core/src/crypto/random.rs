//! Where random bytes come from: always passed in, so that a simulation replays from its seed.

use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};

/// A source of random bytes fit for keys.
pub trait Random: Send {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

impl dyn Random + '_ {
    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// The operating system's source.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the system's random source answers on every platform we run on");
    }
}

/// The same bytes for the same seed. For simulations and vectors, never for a person's keys.
pub struct SeededRandom(blake3::OutputReader);

impl SeededRandom {
    /// A source that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(
            blake3::Hasher::new_derive_key("rhizome/1 seeded random")
                .update(&seed.to_be_bytes())
                .finalize_xof(),
        )
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}

/// Lends a [`Random`] to libraries that want `rand_core`'s trait.
pub(super) struct AsRng<'a>(pub &'a mut dyn Random);

impl TryRng for AsRng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.0.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.0.bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for AsRng<'_> {}
