//! Receipts: a peer's signed word that it holds a branch on disk.

use serde::{Deserialize, Serialize};

use super::{AuthorId, LogError, Position};
use crate::crypto::{Hash, PublicKey, Signature, SigningKey, bytes_id, decode_canonical, encode};

bytes_id!(
    /// A peer's database: 16 random bytes minted with it. Another one means that the peer lost what it had.
    StoreId,
    16
);

/// A receipt that its peer signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The peer's signing key.
    pub peer: PublicKey,
    /// Its database.
    pub store: StoreId,
    /// The author log.
    pub author: AuthorId,
    /// The end of the branch it holds.
    pub position: Position,
    /// When, by the peer's clock, in milliseconds since 1970.
    pub time: u64,
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct WireCore(u8, PublicKey, StoreId, AuthorId, u64, Hash, u64);

#[derive(Serialize, Deserialize)]
struct WireReceipt(#[serde(with = "serde_bytes")] Vec<u8>, Signature);

impl Receipt {
    /// Signs a receipt. Only to be given after what it names was flushed to disk.
    pub fn make(signing: &SigningKey, store: StoreId, author: AuthorId, position: Position, time: u64) -> Self {
        let peer = signing.public();
        let core = encode(&WireCore(1, peer, store, author, position.seq, position.hash, time));
        let signature = signing.sign("receipt", &core);
        Self {
            peer,
            store,
            author,
            position,
            time,
            bytes: encode(&WireReceipt(core, signature)),
        }
    }

    /// Reads a receipt and checks its form and its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let WireReceipt(core, signature) = decode_canonical(bytes)?;
        let WireCore(version, peer, store, author, seq, hash, time) = decode_canonical(&core)?;
        if version != 1 {
            return Err(LogError::NewerVersion);
        }
        peer.verify("receipt", &core, &signature)?;
        Ok(Self {
            peer,
            store,
            author,
            position: Position { seq, hash },
            time,
            bytes: bytes.to_vec(),
        })
    }

    /// The bytes that [`Receipt::decode`] reads.
    pub fn encode(&self) -> &[u8] {
        &self.bytes
    }
}
