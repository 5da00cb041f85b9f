//! Keys, sealing, signing and key wrapping: pure functions over bytes.
//!
//! Nothing here reads a clock, a disk or a random source that the caller did not pass. Every hash, key and signature
//! is made for one written purpose (see `docs/formats.md`, section 1), so bytes made for one can never serve as another.

mod cbor;
mod hash;
mod ids;
mod keeper;
mod pad;
mod random;
mod seal;
mod secret;
mod sign;
mod wrap;

pub use cbor::{Bounded, CborError, decode, decode_canonical, encode};
pub(crate) use cbor::{Passed, encode_secret};
pub(crate) use hash::hash_of_secret;
pub use hash::{Hash, derive_key, hash, keyed_proof};
pub(crate) use ids::{bytes_id, from_hex, hex};
pub use keeper::{DeviceKeys, DeviceSecret, Keeper, Kept, SecretId};
pub use pad::{PAD_FLOOR, padme, padme_long};
pub use random::{OsRandom, Random, SeededRandom};
pub use seal::{NONCE_LEN, SealKey, TAG_LEN};
pub use secret::{Secret, wiping};
pub use sign::{PublicKey, Signature, SigningKey};
pub use wrap::{AgreementKey, AgreementPublic, Wrap};
pub use zeroize::Zeroizing;

/// What a cryptographic check found wrong. It never says more: details help only an attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// A signature does not verify, or its key is not a valid one.
    #[error("the signature does not verify")]
    BadSignature,
    /// A box was not sealed under this key with this associated data, or was changed since.
    #[error("the sealed bytes do not open: wrong key, or changed since they were sealed")]
    BadBox,
    /// A wrapped key is not for this recipient and purpose, or was changed since.
    #[error("the wrapped key does not open: not for this device, or changed since it was wrapped")]
    BadWrap,
}
