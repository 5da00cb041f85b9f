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

    /// As [`Operation::decode`], from the core and its signature alone: enough for every verdict, and all that an exported identity log has.
    /// It opens nothing, and is not to be stored or sent: the parts that the core names are missing.
    pub(crate) fn decode_public(core_bytes: &[u8], signature: Signature) -> Result<Self, IdentityError> {
        if core_bytes.len() > MAX_OPERATION {
            return Err(IdentityError::TooLarge { size: core_bytes.len() });
        }
        let WireCore(version, identity, proposer, nonce, seen, public, peers_hash, sealed) =
            decode_canonical(core_bytes)?;
        let id = hash("operation", &[core_bytes]);
        proposer.verify("operation", &id.0, &signature)?;
        if version != VERSION || peers_hash.is_some() {
            return Err(IdentityError::UpdateNeeded);
        }
        let body = read_body(public)?;
        if matches!(body, Body::Genesis { .. }) != identity.is_none() {
            return Err(IdentityError::Malformed(crate::crypto::CborError::Malformed));
        }
        Ok(Self {
            core: OperationCore {
                identity,
                proposer,
                nonce,
                seen,
                body,
                sealed,
            },
            core_bytes: core_bytes.to_vec(),
            id,
            signature,
            sealed: None,
        })
    }

    /// What [`Operation::decode_public`] reads.
    pub(crate) fn public(&self) -> (&[u8], Signature) {
        (&self.core_bytes, self.signature)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    //! What only a hostile member signs, so that nothing outside this file can.

    use super::*;
    use crate::{
        crypto::{DeviceSecret, SeededRandom},
        identity::{Commit, CommitCore, KeyRing, State, Verdict, VoidReason},
    };

    /// The first device of an identity.
    struct Founder {
        random: SeededRandom,
        keys: DeviceKeys,
        genesis: Operation,
        identity_key: Secret,
    }

    impl Founder {
        fn new(seed: u64) -> Self {
            let mut random = SeededRandom::new(seed);
            let keys = DeviceSecret::make(&mut random).keys();
            let recovery = RecoverySecret::make(&mut random);
            let genesis = genesis(&mut random, &keys, &recovery, "first", &["journal"]);
            let ring = KeyRing::gather(&State::begin(&genesis).unwrap(), &keys.agreement, [&genesis]);
            let Body::Genesis { key, .. } = genesis.body() else {
                panic!("not a genesis")
            };
            let identity_key = ring.identity_key(&key.id).unwrap().clone();
            Self {
                random,
                keys,
                genesis,
                identity_key,
            }
        }

        fn propose(&mut self, body: Body, part: Option<SealedPart>) -> Operation {
            let by = Proposer {
                identity: self.genesis.identity(),
                binding: self.genesis.binding(),
                seen: None,
                signing: &self.keys.signing,
                identity_key: &self.identity_key,
            };
            propose(&mut self.random, &by, body, part)
        }

        /// A new device that consents, and the identity key wrapped for it.
        fn newcomer(&mut self, seed: u64) -> (Keys, Signature, WrappedKey) {
            let device = DeviceSecret::make(&mut SeededRandom::new(seed)).keys();
            let keys = Keys::of(&device);
            let yes = consent(&device.signing, &self.genesis.identity(), &keys, false);
            let id = identity_key_id(&self.identity_key);
            let info = wrap_info(&self.genesis.binding(), &id, &keys.1);
            let wrap = keys.1.wrap(&mut self.random, &info, &*self.identity_key).unwrap();
            (keys, yes, WrappedKey { id, wraps: vec![wrap] })
        }

        /// The commit that puts `operation` next.
        fn commit(&self, state: &State, operation: &Operation) -> Commit {
            let core = CommitCore {
                identity: self.genesis.identity(),
                index: state.count(),
                previous: state.head(),
                operation: operation.id(),
                term: 0,
                time: 0,
                orderer: self.keys.signing.public(),
            };
            Commit::make(&self.keys.signing, core)
        }

        fn state(&self) -> State {
            let before = State::begin(&self.genesis).unwrap();
            State::open(&self.commit(&before, &self.genesis), &self.genesis).unwrap()
        }
    }

    #[test]
    fn a_device_that_was_given_no_good_wrap_is_known_as_one() {
        let mut founder = Founder::new(1);
        let first = founder.keys.signing.public();
        assert!(founder.state().devices()[&first].wrapped);
        let mut added = |spoil: fn(&mut WrappedKey, Keys)| {
            let (device, consent, mut key) = founder.newcomer(50);
            spoil(&mut key, device);
            let operation = founder.propose(Body::AddDevice { device, consent, key }, None);
            let mut state = founder.state();
            let commit = founder.commit(&state, &operation);
            // It is a device all the same: what a member forgot must not keep it out.
            assert_eq!(state.apply(&commit, &operation), Ok(Verdict::Ok));
            state.devices()[&device.0].wrapped
        };
        assert!(added(|_, _| {}));
        assert!(!added(|key, _| key.id.0[0] ^= 1));
        assert!(!added(|key, _| key.wraps.push(key.wraps[0].clone())));
        assert!(!added(|key, device| key.wraps[0].0.0 = device.0.0));
        assert!(!added(|key, _| key.wraps.clear()));
        // A genesis wraps for its device and for the words.
        let Body::Genesis { device, recovery, key } = founder.genesis.body().clone() else {
            panic!("not a genesis")
        };
        let mut wraps = key.wraps.clone();
        wraps.reverse();
        for wraps in [wraps, key.wraps[..1].to_vec()] {
            let key = WrappedKey { id: key.id, wraps };
            let body = Body::Genesis { device, recovery, key };
            let genesis = sign(&founder.keys.signing, None, OpNonce([1; 16]), None, body, None);
            assert!(!State::begin(&genesis).unwrap().devices()[&device.0].wrapped);
        }
    }

    #[test]
    fn an_identity_key_under_another_ones_id_is_told_and_not_kept() {
        let mut founder = Founder::new(1);
        let earlier = Secret::from([9; 32]);
        let mut ring = |id: Hash| {
            let part = SealedPart {
                previous: vec![(id, earlier.clone())],
                ..Default::default()
            };
            let operation = founder.propose(Body::Streams {}, Some(part));
            KeyRing::gather(
                &founder.state(),
                &founder.keys.agreement,
                [&founder.genesis, &operation],
            )
        };
        let right = identity_key_id(&earlier);
        let kept = ring(right);
        assert_eq!((kept.identity_key(&right), kept.alarms()), (Some(&earlier), 0));
        let wrong = ring(Hash([1; 32]));
        assert!(wrong.identity_key(&Hash([1; 32])).is_none());
        assert!(wrong.alarms() > 0);
    }

    #[test]
    fn a_body_is_of_one_kind() {
        let map = |kinds: &[&str]| {
            let kinds = kinds
                .iter()
                .map(|kind| ((*kind).to_owned(), Ipld::Map(Default::default())));
            read_body(Ipld::Map(kinds.collect()))
        };
        let malformed = Err(IdentityError::Malformed(crate::crypto::CborError::Malformed));
        assert_eq!(map(&["Streams"]), Ok(Body::Streams {}));
        assert_eq!(map(&["OfALaterVersion"]), Err(IdentityError::UpdateNeeded));
        assert_eq!(map(&["OfALaterVersion", "Streams"]), malformed);
        assert_eq!(map(&[]), malformed);
        assert_eq!(read_body(Ipld::Null), malformed);
    }

    #[test]
    fn what_is_pending_in_another_identity_changes_nothing_here() {
        let mut founder = Founder::new(1);
        let (device, consent, key) = founder.newcomer(50);
        let body = Body::AddDevice { device, consent, key };
        let here = founder.propose(body.clone(), None);
        let nonce = OpNonce([7; 16]);
        let other = Some(Founder::new(2).genesis.identity());
        let elsewhere = sign(&founder.keys.signing, other, nonce, None, body, None);
        let state = founder.state();
        assert!(!state.with_pending(vec![elsewhere]).0.devices().contains_key(&device.0));
        assert!(state.with_pending(vec![here]).0.devices().contains_key(&device.0));
    }

    #[test]
    fn an_orderer_may_commit_what_has_no_effect_so_often_and_no_more() {
        let mut founder = Founder::new(1);
        let mut state = founder.state();
        let mut put = |state: &mut State, term: u64| {
            let orderers = vec![founder.keys.signing.public()];
            let operation = founder.propose(Body::ChangeOrderers { term, orderers }, None);
            let commit = founder.commit(state, &operation);
            state.apply(&commit, &operation)
        };
        for _ in 0..1_024 {
            assert_eq!(put(&mut state, 9), Ok(Verdict::Void(VoidReason::WrongTerm)));
        }
        let full = state.count();
        assert!(matches!(put(&mut state, 9), Err(IdentityError::BadCommit { .. })));
        assert_eq!(state.count(), full);
        // What has an effect is taken all the same.
        assert_eq!(put(&mut state, 1), Ok(Verdict::Ok));
    }
}
