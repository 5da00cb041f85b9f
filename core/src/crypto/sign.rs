//! Ed25519 (RFC 8032) with a written purpose before every message, verified strictly.

use std::sync::Arc;

use ed25519_dalek::Signer;

use super::{CryptoError, ids::bytes_id, wiping};

bytes_id!(
    /// The public half of a signing key: who a device is.
    PublicKey,
    32
);
bytes_id!(
    /// An Ed25519 signature.
    Signature,
    64
);

/// The secret half. Clones share it; wiped when the last is dropped.
#[derive(Clone)]
pub struct SigningKey(Arc<ed25519_dalek::SigningKey>);

fn message(purpose: &str, message: &[u8]) -> Vec<u8> {
    [b"rhizome/1 sign ", purpose.as_bytes(), &[0], message].concat()
}

impl SigningKey {
    /// The key whose RFC 8032 seed is `seed`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(wiping(|| Arc::new(ed25519_dalek::SigningKey::from_bytes(seed))))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `bytes` for one purpose.
    pub fn sign(&self, purpose: &str, bytes: &[u8]) -> Signature {
        let message = message(purpose, bytes);
        Signature(wiping(|| self.0.sign(&message)).to_bytes())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public().short())
    }
}

impl PublicKey {
    /// Checks that `signature` was made by this key over `bytes` for `purpose`. Strict: small-order keys and every
    /// second spelling of a signature are refused, so that a signature has one form and one meaning.
    pub fn verify(&self, purpose: &str, bytes: &[u8], signature: &Signature) -> Result<(), CryptoError> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .and_then(|key| {
                key.verify_strict(
                    &message(purpose, bytes),
                    &ed25519_dalek::Signature::from_bytes(&signature.0),
                )
            })
            .map_err(|_| CryptoError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_serves_one_purpose_one_message_one_key() {
        let key = SigningKey::from_seed(&[1; 32]);
        let signature = key.sign("a", b"m");
        assert!(key.public().verify("a", b"m", &signature).is_ok());
        assert!(key.public().verify("b", b"m", &signature).is_err());
        assert!(key.public().verify("a", b"n", &signature).is_err());
        assert!(
            SigningKey::from_seed(&[2; 32])
                .public()
                .verify("a", b"m", &signature)
                .is_err()
        );
    }

    #[test]
    fn a_small_order_key_that_accepts_anything_is_refused() {
        // The identity point: without strict verification, R = identity and s = 0 verify any message under it.
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(
            PublicKey(identity)
                .verify("a", b"anything", &Signature(signature))
                .is_err()
        );
    }
}
