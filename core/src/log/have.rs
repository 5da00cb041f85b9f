//! Have-vectors: what a replica holds, one item for each branch of each author log, and one digest over all of it.

use serde::{Deserialize, Serialize};

use super::{AuthorId, Position};
use crate::crypto::{Hash, hash};

/// One branch that a replica holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Item(
    /// The author log.
    pub AuthorId,
    /// The seq at which the branch left the main one; 0 for the main one.
    pub u64,
    /// The head's seq.
    pub u64,
    /// The head's hash.
    pub Hash,
);

impl Item {
    /// The head.
    pub fn head(&self) -> Position {
        Position {
            seq: self.2,
            hash: self.3,
        }
    }
}

/// The digest of a replica's state: equal digests mean equal identity logs and equal entries.
pub fn digest(last_commit: Option<Hash>, pending: &[Hash], items: &[Item]) -> Hash {
    let mut pending = pending.to_vec();
    pending.sort();
    let mut heads: Vec<(AuthorId, u64, Hash)> = items.iter().map(|item| (item.0, item.2, item.3)).collect();
    heads.sort();
    let mut bytes = Vec::with_capacity(36 + pending.len() * 32 + heads.len() * 72);
    bytes.extend_from_slice(&last_commit.unwrap_or(Hash([0; 32])).0);
    bytes.extend_from_slice(&u32::try_from(pending.len()).unwrap_or(u32::MAX).to_be_bytes());
    pending.iter().for_each(|id| bytes.extend_from_slice(&id.0));
    for (author, seq, head) in heads {
        bytes.extend_from_slice(&author.0);
        bytes.extend_from_slice(&seq.to_be_bytes());
        bytes.extend_from_slice(&head.0);
    }
    hash("state", &[&bytes])
}
