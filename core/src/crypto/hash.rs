//! BLAKE3 with a written context for every purpose (BLAKE3 paper, section 2.3, `derive_key` mode).

use zeroize::Zeroize;

use super::{
    ids::bytes_id,
    secret::{Secret, wiping},
};

bytes_id!(
    /// A BLAKE3 hash, 32 bytes.
    Hash,
    32
);

fn in_context(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// H(domain, parts joined): the hash of `parts` for one purpose.
pub fn hash(domain: &str, parts: &[&[u8]]) -> Hash {
    Hash(in_context(&format!("rhizome/1 {domain}"), parts))
}

/// As [`hash`], where a part is secret.
pub(crate) fn hash_of_secret(domain: &str, parts: &[&[u8]]) -> Hash {
    wiping(|| hash(domain, parts))
}

/// KDF(purpose, secret): a key that says nothing of the secret or of a key for another purpose.
pub fn derive_key(purpose: &str, secret: &[u8; 32]) -> Secret {
    Secret::filled(|key| fill_key(key, purpose, secret))
}

fn fill_key(key: &mut [u8; 32], purpose: &str, secret: &[u8]) {
    wiping(|| {
        let mut hasher = blake3::Hasher::new_derive_key(&format!("rhizome/1 key {purpose}"));
        hasher.update(secret);
        let mut output = hasher.finalize_xof();
        output.fill(key);
        output.zeroize();
        hasher.zeroize();
    });
}

/// Proof of knowing a one-time `secret`: BLAKE3 keyed by KDF(purpose, secret) over `parts`. The result compares in constant time.
pub fn keyed_proof(purpose: &str, secret: &[u8; 16], parts: &[&[u8]]) -> blake3::Hash {
    let key = Secret::filled(|key| fill_key(key, purpose, secret));
    wiping(|| {
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in parts {
            hasher.update(part);
        }
        let proof = hasher.finalize();
        hasher.zeroize();
        proof
    })
}

impl Hash {
    /// The plain BLAKE3 hash, as content identifiers (CIDs) want it.
    pub fn plain(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}
