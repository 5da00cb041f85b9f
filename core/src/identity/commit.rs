//! Commits: the orderer's chain over operations (docs/formats.md, section 3).

use serde::{Deserialize, Serialize};

use super::{IdentityError, IdentityId};
use crate::crypto::{Hash, PublicKey, Signature, SigningKey, decode_canonical, encode, hash};

/// What an orderer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitCore {
    /// The identity.
    pub identity: IdentityId,
    /// Its place, from 0.
    pub index: u64,
    /// The commit before.
    pub previous: Option<Hash>,
    /// The operation it puts here.
    pub operation: Hash,
    /// The orderers' term.
    pub term: u64,
    /// Milliseconds since 1970 by the orderer's clock; never less than the commit before.
    pub time: u64,
    /// Who signs.
    pub orderer: PublicKey,
}

#[derive(Serialize, Deserialize)]
struct WireCore(u8, IdentityId, u64, Option<Hash>, Hash, u64, u64, PublicKey);

#[derive(Serialize, Deserialize)]
struct WireCommit(#[serde(with = "serde_bytes")] Vec<u8>, Signature);

/// A well-formed commit that its orderer signed. Whether it fits is for [`super::State`] to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Commit {
    core: CommitCore,
    hash: Hash,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Commit({}, {})", self.core.index, self.hash.short())
    }
}

impl Commit {
    /// Signs `core`; `core.orderer` is the public half of `signing`.
    pub fn make(signing: &SigningKey, core: CommitCore) -> Self {
        let core_bytes = encode(&WireCore(
            1,
            core.identity,
            core.index,
            core.previous,
            core.operation,
            core.term,
            core.time,
            core.orderer,
        ));
        let hash = hash("commit", &[&core_bytes]);
        let signature = signing.sign("commit", &hash.0);
        Self {
            core,
            hash,
            bytes: encode(&WireCommit(core_bytes, signature)),
        }
    }

    /// Reads a commit and checks its form and its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        let WireCommit(core_bytes, signature) = decode_canonical(bytes)?;
        let WireCore(version, identity, index, previous, operation, term, time, orderer) =
            decode_canonical(&core_bytes)?;
        let hash = hash("commit", &[&core_bytes]);
        orderer.verify("commit", &hash.0, &signature)?;
        if version != 1 {
            return Err(IdentityError::UpdateNeeded);
        }
        let core = CommitCore {
            identity,
            index,
            previous,
            operation,
            term,
            time,
            orderer,
        };
        Ok(Self {
            core,
            hash,
            bytes: bytes.to_vec(),
        })
    }

    /// The bytes that [`Commit::decode`] reads.
    pub fn encode(&self) -> &[u8] {
        &self.bytes
    }

    /// H("commit", core).
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// What was signed.
    pub fn core(&self) -> &CommitCore {
        &self.core
    }
}
