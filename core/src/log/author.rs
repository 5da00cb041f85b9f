//! The start of an author log: who writes what, where, signed by the device.

use serde::{Deserialize, Serialize};

use super::LogError;
use crate::{
    crypto::{PublicKey, Random, Signature, SigningKey, bytes_id, decode_canonical, encode, hash},
    identity::{IdentityId, StreamId},
};

bytes_id!(
    /// An author log: the hash of its start. Never used again, not across streams, not after a restore.
    AuthorId,
    32
);

/// A start whose device signed it.
#[derive(Clone, PartialEq, Eq)]
pub struct Start {
    id: AuthorId,
    stream: StreamId,
    owner: IdentityId,
    author: IdentityId,
    device: PublicKey,
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct WireCore(
    u8,
    StreamId,
    IdentityId,
    IdentityId,
    PublicKey,
    #[serde(with = "serde_bytes")] [u8; 16],
);

#[derive(Serialize, Deserialize)]
struct WireStart(#[serde(with = "serde_bytes")] Vec<u8>, Signature);

impl Start {
    /// A new author log of the device with `signing`, in the `owner`'s `stream`. `author` is whose device it is: the owner, until
    /// streams are shared.
    pub fn make(
        random: &mut dyn Random,
        signing: &SigningKey,
        stream: StreamId,
        owner: IdentityId,
        author: IdentityId,
    ) -> Self {
        let device = signing.public();
        let core = encode(&WireCore(1, stream, owner, author, device, random.bytes()));
        let id = AuthorId(hash("author", &[&core]).0);
        let signature = signing.sign("start", &core);
        Self {
            id,
            stream,
            owner,
            author,
            device,
            bytes: encode(&WireStart(core, signature)),
        }
    }

    /// Reads a start and checks its form and its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let (start, core, signature) = Self::read(bytes)?;
        start.device.verify("start", &core, &signature)?;
        Ok(start)
    }

    /// Reads the start of `author`, whose signature was checked before it was stored: what the id is the hash of is what was checked.
    pub(crate) fn from_store(author: &AuthorId, bytes: &[u8]) -> Result<Self, LogError> {
        let (start, _, _) = Self::read(bytes)?;
        if start.id == *author {
            Ok(start)
        } else {
            Err(LogError::OtherAuthor)
        }
    }

    fn read(bytes: &[u8]) -> Result<(Self, Vec<u8>, Signature), LogError> {
        let WireStart(core, signature) = decode_canonical(bytes)?;
        let WireCore(version, stream, owner, author, device, _) = decode_canonical(&core)?;
        if version != 1 {
            return Err(LogError::NewerVersion);
        }
        let start = Self {
            id: AuthorId(hash("author", &[&core]).0),
            stream,
            owner,
            author,
            device,
            bytes: bytes.to_vec(),
        };
        Ok((start, core, signature))
    }

    /// The bytes that [`Start::decode`] reads.
    pub fn encode(&self) -> &[u8] {
        &self.bytes
    }

    /// The author log it begins.
    pub fn id(&self) -> AuthorId {
        self.id
    }

    /// The stream it writes to.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// Whose stream that is.
    pub fn owner(&self) -> IdentityId {
        self.owner
    }

    /// Whose device writes.
    pub fn author(&self) -> IdentityId {
        self.author
    }

    /// The device's signing key.
    pub fn device(&self) -> PublicKey {
        self.device
    }
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Start({})", self.id.short())
    }
}
