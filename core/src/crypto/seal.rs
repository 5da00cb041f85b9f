//! XChaCha20-Poly1305 boxes: a fresh random nonce, then the ciphertext with its tag.

use rhizome_cipher::{decrypt, encrypt};
use zeroize::Zeroizing;

use super::{CryptoError, Random, Secret, derive_key, wiping};

/// Bytes of nonce at the start of a box.
pub const NONCE_LEN: usize = rhizome_cipher::NONCE_LEN;
/// Bytes of authentication tag at the end of a box.
pub const TAG_LEN: usize = rhizome_cipher::TAG_LEN;

/// A key that seals and opens boxes. Wiped when dropped.
#[derive(Clone)]
pub struct SealKey(Secret);

impl SealKey {
    /// The sealing key that `secret` gives for `purpose`.
    pub fn derive(purpose: &str, secret: &[u8; 32]) -> Self {
        Self(derive_key(purpose, secret))
    }

    /// Seals `plain`, bound to `aad`. 192-bit nonces are drawn at random: no count to keep, none to lose in a restore.
    pub fn seal(&self, random: &mut dyn Random, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random.bytes();
        let sealed = wiping(|| encrypt(&self.0, &nonce, aad, plain));
        [&nonce[..], &sealed].concat()
    }

    /// Opens a box made by [`SealKey::seal`] with the same `aad`.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CryptoError::BadBox)?;
        wiping(|| decrypt(&self.0, nonce, aad, body))
            .map(Zeroizing::new)
            .map_err(|_| CryptoError::BadBox)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn a_box_opens_only_with_its_key_its_aad_and_every_bit_in_place() {
        let mut random = SeededRandom::new(1);
        let key = SealKey::derive("test", &[7; 32]);
        let sealed = key.seal(&mut random, b"aad", b"a line");
        assert_eq!(&**key.open(b"aad", &sealed).unwrap(), b"a line");
        assert_eq!(key.open(b"", &sealed), Err(CryptoError::BadBox));
        assert_eq!(
            SealKey::derive("other", &[7; 32]).open(b"aad", &sealed),
            Err(CryptoError::BadBox)
        );
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"aad", &bad), Err(CryptoError::BadBox));
        }
        for len in 0..sealed.len() {
            assert_eq!(key.open(b"aad", &sealed[..len]), Err(CryptoError::BadBox));
        }
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", SealKey::derive("test", &[7; 32])), "SealKey(..)");
    }
}
