//! Operations: what devices propose about their identity (docs/formats.md, section 3).

use super::{EpochId, IdentityError, IdentityId, RecoverySecret, StreamId};
use crate::crypto::{
    AgreementPublic, DeviceKeys, Hash, PublicKey, Random, SealKey, Secret, Signature, SigningKey, Wrap, bytes_id,
    decode, decode_canonical, encode, encode_secret, hash, hash_of_secret, wiping,
};
use ipld_core::ipld::Ipld;
use serde::{Deserialize, Serialize};

/// The most bytes an operation may have, with its parts.
pub const MAX_OPERATION: usize = 65_536;
/// The most service addresses a peer may name, each of at most 255 bytes.
pub const MAX_SERVICES: usize = 8;

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
    },
    /// Streams and epochs, told to members only.
    Streams {},
}

const KINDS: [&str; 5] = ["Genesis", "AddDevice", "AddPeer", "ChangeOrderers", "Streams"];

/// What only members read.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedPart {
    /// The name of the device or peer that the operation adds.
    pub name: Option<String>,
    /// Epochs that begin here: stream, label, epoch, key.
    pub streams: Vec<(StreamId, String, EpochId, Secret)>,
    /// Identity keys from before the current one.
    pub previous: Vec<(Hash, Secret)>,
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
    Option<serde_bytes::ByteBuf>,
    Option<serde_bytes::ByteBuf>,
);

#[derive(Serialize, Deserialize)]
struct WireSealed(Hash, #[serde(with = "serde_bytes")] Vec<u8>);

/// A well-formed operation whose proposer signed it. Whether it has an effect is for [`super::State`] to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Operation {
    core: OperationCore,
    core_bytes: Vec<u8>,
    id: Hash,
    signature: Signature,
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
        let WireCore(version, identity, proposer, nonce, seen, public, peers_hash, sealed_hash) =
            decode_canonical(&core_bytes)?;
        let id = hash("operation", &[&core_bytes]);
        proposer.verify("operation", &id.0, &signature)?;
        if version != VERSION {
            return Err(IdentityError::UpdateNeeded);
        }
        let body = read_body(public)?;
        if peers_hash.is_some() {
            return Err(IdentityError::UpdateNeeded);
        }
        if peers.is_some() {
            return Err(IdentityError::BadPart);
        }
        if matches!(body, Body::Genesis { .. }) != identity.is_none() {
            return Err(IdentityError::Malformed(crate::crypto::CborError::Malformed));
        }
        let sealed = sealed.map(serde_bytes::ByteBuf::into_vec);
        // Whoever changed or withheld it is not the proposer, who signed the hash: take the operation from somebody else.
        if sealed.as_ref().map(|part| hash("operation part", &[part])) != sealed_hash {
            return Err(IdentityError::BadPart);
        }
        let core = OperationCore {
            identity,
            proposer,
            nonce,
            seen,
            body,
            sealed: sealed_hash,
        };
        Ok(Self {
            core,
            core_bytes,
            id,
            signature,
            sealed,
        })
    }

    /// The bytes that [`Operation::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        encode(&WireOperation(
            self.core_bytes.clone(),
            self.signature,
            None,
            self.sealed.clone().map(serde_bytes::ByteBuf::from),
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
}

fn read_body(public: Ipld) -> Result<Body, IdentityError> {
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

fn binding(proposer: &PublicKey, nonce: &OpNonce) -> Hash {
    hash("identity binding", &[&proposer.0, &nonce.0])
}

fn sealed_aad(binding: &Hash, nonce: &OpNonce) -> Vec<u8> {
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

#[derive(Clone, Copy)]
/// What a member needs to propose: where the identity stands and the key that seals for its members.
pub struct Proposer<'a> {
    /// The identity.
    pub identity: IdentityId,
    /// Its binding.
    pub binding: Hash,
    /// The last commit known.
    pub seen: Option<Hash>,
    /// The proposer's signing key.
    pub signing: &'a SigningKey,
    /// The current identity key.
    pub identity_key: &'a [u8; 32],
}

fn sign(
    signing: &SigningKey,
    identity: Option<IdentityId>,
    nonce: OpNonce,
    seen: Option<Hash>,
    body: Body,
    sealed: Option<Vec<u8>>,
) -> Operation {
    let sealed_hash = sealed.as_ref().map(|part| hash("operation part", &[part]));
    let public: Ipld = decode(&encode(&body)).expect("a body is a DAG-CBOR value");
    let core_bytes = encode(&WireCore(
        VERSION,
        identity,
        signing.public(),
        nonce,
        seen,
        public,
        None,
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
        sealed: sealed_hash,
    };
    Operation {
        core,
        core_bytes,
        id,
        signature,
        sealed,
    }
}

fn seal_part(
    random: &mut dyn Random,
    binding: &Hash,
    nonce: &OpNonce,
    identity_key: &[u8; 32],
    part: &SealedPart,
) -> Vec<u8> {
    let plain = encode_secret(part);
    let sealed = SealKey::derive("sealed part", identity_key).seal(random, &sealed_aad(binding, nonce), &plain);
    encode(&WireSealed(identity_key_id(identity_key), sealed))
}

fn propose(random: &mut dyn Random, by: &Proposer<'_>, body: Body, part: Option<SealedPart>) -> Operation {
    let nonce = OpNonce(random.bytes());
    let sealed = part.map(|part| seal_part(random, &by.binding, &nonce, by.identity_key, &part));
    sign(by.signing, Some(by.identity), nonce, by.seen, body, sealed)
}

fn new_stream(random: &mut dyn Random, label: &str) -> (StreamId, String, EpochId, Secret) {
    let stream = StreamId(random.bytes());
    let key = Secret::make(random);
    (stream, label.to_owned(), epoch_id(&stream, &key), key)
}

/// Begins an identity: its first device named `name`, its first streams by label.
pub fn genesis(
    random: &mut dyn Random,
    keys: &DeviceKeys,
    recovery: &RecoverySecret,
    name: &str,
    labels: &[&str],
) -> Operation {
    let nonce = OpNonce(random.bytes());
    let binding = binding(&keys.signing.public(), &nonce);
    let identity_key = Secret::make(random);
    let id = identity_key_id(&identity_key);
    let recovery = recovery.public();
    let wraps = [keys.agreement.public(), recovery.1]
        .iter()
        .map(|to| to.wrap(random, &wrap_info(&binding, &id, to), &*identity_key))
        .collect::<Result<_, _>>()
        .expect("keys derived from a secret are not of small order");
    let part = SealedPart {
        name: Some(name.to_owned()),
        streams: labels.iter().map(|label| new_stream(random, label)).collect(),
        previous: Vec::new(),
    };
    let sealed = seal_part(random, &binding, &nonce, &identity_key, &part);
    let body = Body::Genesis {
        device: Keys::of(keys),
        recovery,
        key: WrappedKey { id, wraps },
    };
    sign(&keys.signing, None, nonce, None, body, Some(sealed))
}

/// Proposes that the device with `keys` joins.
///
/// # Errors
/// [`IdentityError::Crypto`] if its agreement key is one that no key can be wrapped for.
pub fn add_device(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    device: Keys,
    consent: Signature,
    name: &str,
) -> Result<Operation, IdentityError> {
    let id = identity_key_id(by.identity_key);
    let wrap = device
        .1
        .wrap(random, &wrap_info(&by.binding, &id, &device.1), by.identity_key)?;
    let body = Body::AddDevice {
        device,
        consent,
        key: WrappedKey { id, wraps: vec![wrap] },
    };
    Ok(propose(
        random,
        by,
        body,
        Some(SealedPart {
            name: Some(name.to_owned()),
            ..Default::default()
        }),
    ))
}

/// Proposes that the cloud peer with `keys` joins.
pub fn add_peer(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    peer: Keys,
    consent: Signature,
    services: Vec<String>,
    name: &str,
) -> Operation {
    let body = Body::AddPeer {
        peer,
        consent,
        services,
    };
    propose(
        random,
        by,
        body,
        Some(SealedPart {
            name: Some(name.to_owned()),
            ..Default::default()
        }),
    )
}

/// Proposes that `orderers` put operations in order from `term` on.
pub fn change_orderers(random: &mut dyn Random, by: &Proposer<'_>, term: u64, orderers: Vec<PublicKey>) -> Operation {
    propose(random, by, Body::ChangeOrderers { term, orderers }, None)
}

/// Proposes a new stream for each label.
pub fn streams(random: &mut dyn Random, by: &Proposer<'_>, labels: &[&str]) -> Operation {
    let streams = labels.iter().map(|label| new_stream(random, label)).collect();
    propose(
        random,
        by,
        Body::Streams {},
        Some(SealedPart {
            streams,
            ..Default::default()
        }),
    )
}
