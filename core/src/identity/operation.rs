//! Operations: what devices, and the 24 words, propose about their identity (docs/formats.md, section 3).

use super::{DocumentId, EpochId, IdentityError, IdentityId, StreamId};
use crate::crypto::{
    AgreementPublic, DeviceKeys, Hash, PublicKey, SealKey, Secret, Signature, SigningKey, Wrap, bytes_id, decode,
    decode_canonical, encode, hash, hash_of_secret, wiping,
};
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The most bytes an operation may have, with its parts.
pub const MAX_OPERATION: usize = 65_536;
/// The most service addresses a peer may name, each of at most 255 bytes.
pub const MAX_SERVICES: usize = 8;
/// The most devices that may vote in one operation.
pub const MAX_VOTES: usize = 256;

const VERSION: u8 = 1;

bytes_id!(
    /// 16 random bytes that make every proposal its own.
    OpNonce,
    16
);

/// The public keys of a device or cloud peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys(
    /// Signs; names the device.
    pub PublicKey,
    /// Keys are wrapped for it.
    pub AgreementPublic,
    /// The iroh endpoint.
    pub PublicKey,
);

impl Keys {
    /// The public halves of `keys`.
    pub fn of(keys: &DeviceKeys) -> Self {
        Self(
            keys.signing.public(),
            keys.agreement.public(),
            SigningKey::from_seed(&keys.endpoint).public(),
        )
    }
}

/// The public halves of the recovery keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryKeys(
    /// Signs what recovery does.
    pub PublicKey,
    /// Keys are wrapped for it.
    pub AgreementPublic,
);

/// An identity key by its id, wrapped for some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrappedKey {
    /// H("identity key id", key).
    pub id: Hash,
    /// One for each recipient.
    pub wraps: Vec<Wrap>,
}

/// The public part: all that a verdict needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Body {
    /// The first operation: the identity begins.
    Genesis {
        /// The first device.
        device: Keys,
        /// What the 24 words give.
        recovery: RecoveryKeys,
        /// The first identity key, for both.
        key: WrappedKey,
    },
    /// A device joins.
    AddDevice {
        /// The new device.
        device: Keys,
        /// Its own signature that it wants to.
        consent: Signature,
        /// The current identity key, for it.
        key: WrappedKey,
    },
    /// A cloud peer joins. It gets no key.
    AddPeer {
        /// The peer.
        peer: Keys,
        /// Its own signature that it wants to.
        consent: Signature,
        /// Where it can be reached.
        services: Vec<String>,
    },
    /// From here on, others put operations in order.
    ChangeOrderers {
        /// One more than the current term.
        term: u64,
        /// Signing keys of devices or peers.
        orderers: Vec<PublicKey>,
        /// Devices that want it even if the present orderer does not commit it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        votes: Option<Votes>,
    },
    /// Streams and epochs, told to members only.
    Streams {},
    /// A device is no member any more, nor ever again but by the recovery key. Its cut-offs are in the part for peers.
    RemoveDevice {
        /// Its signing key. One that was never added is kept out, too.
        device: PublicKey,
        /// A new identity key, for each remaining device by signing key, then for the recovery key.
        key: WrappedKey,
    },
    /// More of a removed device's entries count: cut-offs are in the part for peers.
    RaiseCutoff {
        /// The removed device's signing key.
        device: PublicKey,
    },
    /// A device or peer is called something else: the name is in the sealed part.
    RenameDevice {
        /// Its signing key.
        device: PublicKey,
    },
    /// A cloud peer is none any more, nor ever again but by the recovery key.
    RemovePeer {
        /// Its signing key.
        peer: PublicKey,
    },
    /// New epochs of streams, told to members only.
    NewEpoch {},
    /// A new identity key, for everybody who should have it.
    Rewrap {
        /// The key, for each device by signing key, then for the recovery key.
        key: WrappedKey,
    },
    /// Other recovery words. At once if the recovery key signs it, or else 72 hours later.
    RotateRecovery {
        /// What the new words give.
        recovery: RecoveryKeys,
        /// The current identity key, for them.
        key: WrappedKey,
    },
    /// Sections are to be erased: which, the part for peers says. Seven days later, or at once if the recovery key signs it.
    Erase {},
    /// An erasure is called off in time.
    CancelErase {
        /// The id of the operation that wanted it.
        erase: Hash,
    },
}

/// Devices that want a change of orderers, from where in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Votes {
    /// The last commit that stays: the highest that the voters know.
    pub from: Hash,
    /// Each device with its signature (see [`vote`]), by signing key.
    pub by: Vec<(PublicKey, Signature)>,
}

const KINDS: [&str; 14] = [
    "Genesis",
    "AddDevice",
    "AddPeer",
    "ChangeOrderers",
    "Streams",
    "RemoveDevice",
    "RaiseCutoff",
    "RenameDevice",
    "RemovePeer",
    "NewEpoch",
    "Rewrap",
    "RotateRecovery",
    "Erase",
    "CancelErase",
];

/// Where an author log of a removed device ends: what lies on a chain that ends here counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cutoff(
    /// The author log.
    pub Hash,
    /// The last entry's seq.
    pub u64,
    /// The last entry's hash.
    pub Hash,
);

/// A section to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ErasedSection(
    /// The author log.
    pub Hash,
    /// The entry's seq.
    pub u64,
    /// The entry's hash.
    pub Hash,
    /// The section's number in the entry, from 0.
    pub u32,
);

/// What peers read and a verdict does not need.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersPart {
    /// Of `RemoveDevice` and `RaiseCutoff`.
    pub cutoffs: Vec<Cutoff>,
    /// Of `Erase`.
    pub erase: Vec<ErasedSection>,
    /// Of `Erase`: attachments that go with the sections, by id. Written only if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Hash>,
}

/// What only members read.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedPart {
    /// The name of the device or peer that the operation adds or renames.
    pub name: Option<String>,
    /// Epochs that begin here: stream, label, epoch, key.
    pub streams: Vec<(StreamId, String, EpochId, Secret)>,
    /// Identity keys that are not sealed under a newer one elsewhere.
    pub previous: Vec<(Hash, Secret)>,
    /// Of `Erase`: the documents whose sections go. Written only if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<DocumentId>,
}

impl std::fmt::Debug for SealedPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SealedPart({} streams, {} previous keys)",
            self.streams.len(),
            self.previous.len()
        )
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationCore {
    /// The identity; `None` in a genesis.
    pub identity: Option<IdentityId>,
    /// Who proposes it.
    pub proposer: PublicKey,
    /// Makes it its own.
    pub nonce: OpNonce,
    /// The last commit the proposer knew.
    pub seen: Option<Hash>,
    /// The public part.
    pub body: Body,
    /// Commits to the part for peers.
    pub peers: Option<Hash>,
    /// Commits to the sealed part.
    pub sealed: Option<Hash>,
}

#[derive(Serialize, Deserialize)]
struct WireCore(
    u8,
    Option<IdentityId>,
    PublicKey,
    OpNonce,
    Option<Hash>,
    Ipld,
    Option<Hash>,
    Option<Hash>,
);

#[derive(Serialize, Deserialize)]
struct WireOperation(
    #[serde(with = "serde_bytes")] Vec<u8>,
    Signature,
    Option<ByteBuf>,
    Option<ByteBuf>,
);

#[derive(Serialize, Deserialize)]
pub(super) struct WireSealed(pub Hash, #[serde(with = "serde_bytes")] pub Vec<u8>);

/// The parts of an operation beside the public one, encoded.
#[derive(Default)]
pub(super) struct Parts {
    pub peers: Option<Vec<u8>>,
    pub sealed: Option<Vec<u8>>,
}

fn part_hash(part: &Option<Vec<u8>>) -> Option<Hash> {
    part.as_ref().map(|part| hash("operation part", &[part]))
}

/// A well-formed operation whose proposer signed it. Whether it has an effect is for [`super::State`] to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Operation {
    core: OperationCore,
    core_bytes: Vec<u8>,
    id: Hash,
    signature: Signature,
    peers: Option<Vec<u8>>,
    sealed: Option<Vec<u8>>,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Operation({}, {})", self.kind(), self.id.short())
    }
}

impl Operation {
    /// Reads an operation and checks its form, its parts and its signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, IdentityError> {
        if bytes.len() > MAX_OPERATION {
            return Err(IdentityError::TooLarge { size: bytes.len() });
        }
        let WireOperation(core_bytes, signature, peers, sealed) = decode_canonical(bytes)?;
        let (core, id) = read_core(&core_bytes, &signature)?;
        let (peers, sealed) = (peers.map(ByteBuf::into_vec), sealed.map(ByteBuf::into_vec));
        // Whoever changed or withheld one is not the proposer, who signed the hashes: take the operation from somebody else.
        if part_hash(&peers) != core.peers || part_hash(&sealed) != core.sealed {
            return Err(IdentityError::BadPart);
        }
        Ok(Self {
            core,
            core_bytes,
            id,
            signature,
            peers,
            sealed,
        })
    }

    /// Signs an operation with its parts.
    pub(super) fn make(
        signing: &SigningKey,
        identity: Option<IdentityId>,
        nonce: OpNonce,
        seen: Option<Hash>,
        body: Body,
        parts: Parts,
    ) -> Self {
        let Parts { peers, sealed } = parts;
        let (peers_hash, sealed_hash) = (part_hash(&peers), part_hash(&sealed));
        let public: Ipld = decode(&encode(&body)).expect("a body is a DAG-CBOR value");
        let core_bytes = encode(&WireCore(
            VERSION,
            identity,
            signing.public(),
            nonce,
            seen,
            public,
            peers_hash,
            sealed_hash,
        ));
        let id = hash("operation", &[&core_bytes]);
        let signature = signing.sign("operation", &id.0);
        let core = OperationCore {
            identity,
            proposer: signing.public(),
            nonce,
            seen,
            body,
            peers: peers_hash,
            sealed: sealed_hash,
        };
        Self {
            core,
            core_bytes,
            id,
            signature,
            peers,
            sealed,
        }
    }

    /// The bytes that [`Operation::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        encode(&WireOperation(
            self.core_bytes.clone(),
            self.signature,
            self.peers.clone().map(ByteBuf::from),
            self.sealed.clone().map(ByteBuf::from),
        ))
    }

    /// H("operation", core).
    pub fn id(&self) -> Hash {
        self.id
    }

    /// What was signed.
    pub fn core(&self) -> &OperationCore {
        &self.core
    }

    /// The public part.
    pub fn body(&self) -> &Body {
        &self.core.body
    }

    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self.core.body {
            Body::Genesis { .. } => KINDS[0],
            Body::AddDevice { .. } => KINDS[1],
            Body::AddPeer { .. } => KINDS[2],
            Body::ChangeOrderers { .. } => KINDS[3],
            Body::Streams {} => KINDS[4],
            Body::RemoveDevice { .. } => KINDS[5],
            Body::RaiseCutoff { .. } => KINDS[6],
            Body::RenameDevice { .. } => KINDS[7],
            Body::RemovePeer { .. } => KINDS[8],
            Body::NewEpoch {} => KINDS[9],
            Body::Rewrap { .. } => KINDS[10],
            Body::RotateRecovery { .. } => KINDS[11],
            Body::Erase {} => KINDS[12],
            Body::CancelErase { .. } => KINDS[13],
        }
    }

    /// The identity it belongs to: for a genesis, the one it begins.
    pub fn identity(&self) -> IdentityId {
        self.core
            .identity
            .unwrap_or_else(|| IdentityId(Hash::plain(&self.core_bytes).0))
    }

    /// For a genesis, what stands for the identity inside the genesis itself.
    pub(super) fn binding(&self) -> Hash {
        binding(&self.core.proposer, &self.core.nonce)
    }

    /// Whether it says nothing at all (see [`super::mark_time`]).
    pub fn is_bare(&self) -> bool {
        matches!(self.core.body, Body::Streams {}) && self.core.peers.is_none() && self.core.sealed.is_none()
    }

    /// The identity key that it wraps, if its kind does that.
    pub(super) fn wrapped_key(&self) -> Option<&WrappedKey> {
        match self.body() {
            Body::Genesis { key, .. }
            | Body::AddDevice { key, .. }
            | Body::RemoveDevice { key, .. }
            | Body::Rewrap { key }
            | Body::RotateRecovery { key, .. } => Some(key),
            _ => None,
        }
    }

    /// What peers read. Nothing, if there is no such part or it does not hold what it should: it is void alone.
    pub fn for_peers(&self) -> PeersPart {
        let part = self.peers.as_deref().and_then(|part| decode_canonical(part).ok());
        part.unwrap_or_default()
    }

    /// The id of the identity key that the sealed part wants.
    pub(super) fn sealed_under(&self) -> Option<Hash> {
        let WireSealed(id, _) = decode(self.sealed.as_deref()?).ok()?;
        Some(id)
    }

    /// Opens the sealed part. `None` if there is none that this key opens: it is void alone.
    pub(super) fn open_sealed(&self, binding: &Hash, identity_key: &[u8; 32]) -> Option<SealedPart> {
        let WireSealed(_, sealed) = decode(self.sealed.as_deref()?).ok()?;
        let key = SealKey::derive("sealed part", identity_key);
        let plain = key.open(&sealed_aad(binding, &self.core.nonce), &sealed).ok()?;
        wiping(|| decode(&plain)).ok()
    }

    /// As [`Operation::decode`], from the core and its signature alone: enough for every verdict, and all that an exported identity log has.
    /// It opens nothing, and is not to be stored or sent: the parts that the core names are missing.
    pub(crate) fn decode_public(core_bytes: &[u8], signature: Signature) -> Result<Self, IdentityError> {
        if core_bytes.len() > MAX_OPERATION {
            return Err(IdentityError::TooLarge { size: core_bytes.len() });
        }
        let (core, id) = read_core(core_bytes, &signature)?;
        Ok(Self {
            core,
            core_bytes: core_bytes.to_vec(),
            id,
            signature,
            peers: None,
            sealed: None,
        })
    }

    /// What [`Operation::decode_public`] reads.
    pub(crate) fn public(&self) -> (&[u8], Signature) {
        (&self.core_bytes, self.signature)
    }
}

/// What was signed, and its id, if it is of the right form and well signed.
fn read_core(core_bytes: &[u8], signature: &Signature) -> Result<(OperationCore, Hash), IdentityError> {
    let WireCore(version, identity, proposer, nonce, seen, public, peers, sealed) = decode_canonical(core_bytes)?;
    let id = hash("operation", &[core_bytes]);
    proposer.verify("operation", &id.0, signature)?;
    if version != VERSION {
        return Err(IdentityError::UpdateNeeded);
    }
    let body = read_body(public)?;
    if matches!(body, Body::Genesis { .. }) != identity.is_none() {
        return Err(IdentityError::Malformed(crate::crypto::CborError::Malformed));
    }
    let core = OperationCore {
        identity,
        proposer,
        nonce,
        seen,
        body,
        peers,
        sealed,
    };
    Ok((core, id))
}

pub(super) fn read_body(public: Ipld) -> Result<Body, IdentityError> {
    match &public {
        Ipld::Map(map) if map.len() == 1 => {
            if !map.keys().all(|kind| KINDS.contains(&kind.as_str())) {
                return Err(IdentityError::UpdateNeeded);
            }
        }
        _ => return Err(IdentityError::Malformed(crate::crypto::CborError::Malformed)),
    }
    Ok(decode_canonical(&encode(&public))?)
}

pub(super) fn binding(proposer: &PublicKey, nonce: &OpNonce) -> Hash {
    hash("identity binding", &[&proposer.0, &nonce.0])
}

pub(super) fn sealed_aad(binding: &Hash, nonce: &OpNonce) -> Vec<u8> {
    encode(&(VERSION, binding, nonce))
}

/// The info of an identity key's wrap.
pub(super) fn wrap_info(binding: &Hash, key: &Hash, recipient: &AgreementPublic) -> Vec<u8> {
    [b"rhizome/1 identity key", &binding.0[..], &key.0, &recipient.0].concat()
}

/// The id of an identity key.
pub(super) fn identity_key_id(key: &[u8; 32]) -> Hash {
    hash_of_secret("identity key id", &[key])
}

/// The id of an epoch whose stream and key are these.
pub(super) fn epoch_id(stream: &StreamId, key: &[u8; 32]) -> EpochId {
    EpochId(hash_of_secret("epoch id", &[&stream.0, key]).0)
}

fn consent_bytes(identity: &IdentityId, keys: &Keys, peer: bool) -> Vec<u8> {
    [&identity.0[..], &keys.0.0, &keys.1.0, &keys.2.0, &[u8::from(peer)]].concat()
}

/// The new device's (or peer's) own signature that it joins `identity`.
pub fn consent(signing: &SigningKey, identity: &IdentityId, keys: &Keys, peer: bool) -> Signature {
    signing.sign("consent", &consent_bytes(identity, keys, peer))
}

/// Whether `consent` is that signature.
pub(super) fn consents(identity: &IdentityId, keys: &Keys, peer: bool, consent: &Signature) -> bool {
    keys.0
        .verify("consent", &consent_bytes(identity, keys, peer), consent)
        .is_ok()
}

fn vote_bytes(identity: &IdentityId, term: u64, orderers: &[PublicKey], from: &Hash) -> Vec<u8> {
    encode(&(VERSION, identity, term, orderers, from))
}

/// A device's signature that it wants `orderers` to put operations in order in `term`, after the commit `from`.
pub fn vote(signing: &SigningKey, identity: &IdentityId, term: u64, orderers: &[PublicKey], from: &Hash) -> Signature {
    signing.sign("vote", &vote_bytes(identity, term, orderers, from))
}

/// Whether `signature` is that of `device`.
pub(super) fn voted(
    device: &PublicKey,
    identity: &IdentityId,
    term: u64,
    orderers: &[PublicKey],
    from: &Hash,
    signature: &Signature,
) -> bool {
    let bytes = vote_bytes(identity, term, orderers, from);
    device.verify("vote", &bytes, signature).is_ok()
}
