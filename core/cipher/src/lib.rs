//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), as plain functions.
//!
//! The cipher is generic code, which the compiler makes where it is used and with the options of whoever uses it. Made in the core, it was of the
//! size-first kind in the libraries for phones and of the not optimised kind in tests, and half as fast or far slower. Here it has options of its
//! own, whatever those of the core are.

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Error, Payload},
};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 24;
/// Bytes of the authentication tag at the end of a ciphertext.
pub const TAG_LEN: usize = 16;

/// The ciphertext of `plain` with its tag, bound to `aad`.
///
/// # Panics
/// For 256 GiB or more, which the cipher does not take.
#[inline(never)]
pub fn encrypt(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad })
        .expect("a message in memory is shorter than the cipher's 256 GiB")
}

/// What [`encrypt`] was given, if key, nonce, `aad` and every bit are the same.
#[inline(never)]
pub fn decrypt(key: &[u8; KEY_LEN], nonce: &[u8; NONCE_LEN], aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
    XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad })
}
