//! Proposals: the operations that devices, and the 24 words, make and sign (docs/formats.md, section 3).

use super::{
    Body, Cutoff, DocumentId, ErasedSection, IdentityError, IdentityId, KeyRing, Keys, OpNonce, Operation, PeersPart,
    RecoveryKeys, RecoverySecret, SealedPart, State, StreamId, Votes, WrappedKey,
    operation::{Parts, WireSealed, binding, epoch_id, identity_key_id, sealed_aad, vote, wrap_info},
};
use crate::{
    crypto::{
        AgreementPublic, DeviceKeys, Hash, PublicKey, Random, SealKey, Secret, Signature, SigningKey, encode,
        encode_secret,
    },
    identity::EpochId,
};

/// Cut-offs, or sections to erase, that one operation has room for.
pub const MAX_TARGETS: usize = 400;
/// Streams whose epochs one operation begins; others begin theirs when they are next written to.
const MAX_STREAMS: usize = 100;

/// What a member needs to propose: where the identity stands and the key that seals for its members.
#[derive(Clone)]
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
    /// Identity keys that are sealed under no newer one: two may have been made at once.
    pub beside: Vec<(Hash, Secret)>,
}

impl<'a> Proposer<'a> {
    /// Whoever has `signing` and the keys in `ring`, where the identity is in `state`. `None` if the ring has no identity key.
    pub fn of(state: &State, ring: &'a KeyRing, signing: &'a SigningKey) -> Option<Self> {
        // Without the current key another serves: a fresh one can be made from there (see `rewrap`).
        let current = ring.identity_key(&state.key_id());
        Some(Self {
            identity: state.identity(),
            binding: state.binding(),
            seen: state.head(),
            signing,
            identity_key: current.or_else(|| ring.newest_keys().first().map(|(_, key)| *key))?,
            beside: ring
                .newest_keys()
                .into_iter()
                .filter(|(id, _)| *id != state.key_id())
                .map(|(id, key)| (id, key.clone()))
                .collect(),
        })
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

fn propose(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    body: Body,
    peers: Option<PeersPart>,
    sealed: Option<(&[u8; 32], SealedPart)>,
) -> Operation {
    let nonce = OpNonce(random.bytes());
    let parts = Parts {
        peers: peers.map(|part| encode(&part)),
        sealed: sealed.map(|(key, part)| seal_part(random, &by.binding, &nonce, key, &part)),
    };
    Operation::make(by.signing, Some(by.identity), nonce, by.seen, body, parts)
}

/// Proposes something without a part of its own, or with one sealed under the current key.
fn propose_sealed(random: &mut dyn Random, by: &Proposer<'_>, body: Body, part: Option<SealedPart>) -> Operation {
    propose(random, by, body, None, part.map(|part| (by.identity_key, part)))
}

fn new_epoch(random: &mut dyn Random, stream: StreamId, label: &str) -> (StreamId, String, EpochId, Secret) {
    let key = Secret::make(random);
    (stream, label.to_owned(), epoch_id(&stream, &key), key)
}

fn wrap_for(
    random: &mut dyn Random,
    binding: &Hash,
    key: &[u8; 32],
    recipients: &[AgreementPublic],
) -> Result<WrappedKey, IdentityError> {
    let id = identity_key_id(key);
    let wraps = recipients
        .iter()
        .map(|to| to.wrap(random, &wrap_info(binding, &id, to), key));
    Ok(WrappedKey {
        id,
        wraps: wraps.collect::<Result<_, _>>()?,
    })
}

fn new_stream(random: &mut dyn Random, label: &str) -> (StreamId, String, EpochId, Secret) {
    let stream = StreamId(random.bytes());
    new_epoch(random, stream, label)
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
    let recovery = recovery.public();
    let key = wrap_for(random, &binding, &identity_key, &[keys.agreement.public(), recovery.1])
        .expect("keys derived from a secret are not of small order");
    let part = SealedPart {
        name: Some(name.to_owned()),
        streams: labels.iter().map(|label| new_stream(random, label)).collect(),
        ..Default::default()
    };
    let sealed = seal_part(random, &binding, &nonce, &identity_key, &part);
    let body = Body::Genesis {
        device: Keys::of(keys),
        recovery,
        key,
    };
    let parts = Parts {
        peers: None,
        sealed: Some(sealed),
    };
    Operation::make(&keys.signing, None, nonce, None, body, parts)
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
    let body = Body::AddDevice {
        device,
        consent,
        key: wrap_for(random, &by.binding, by.identity_key, &[device.1])?,
    };
    let part = SealedPart {
        name: Some(name.to_owned()),
        previous: by.beside.clone(),
        ..Default::default()
    };
    Ok(propose_sealed(random, by, body, Some(part)))
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
    propose_sealed(random, by, body, Some(named(name)))
}

fn named(name: &str) -> SealedPart {
    SealedPart {
        name: Some(name.to_owned()),
        ..Default::default()
    }
}

/// Proposes that `orderers` put operations in order from `term` on. The present orderer commits it as its last.
pub fn change_orderers(random: &mut dyn Random, by: &Proposer<'_>, term: u64, orderers: Vec<PublicKey>) -> Operation {
    let body = Body::ChangeOrderers {
        term,
        orderers,
        votes: None,
    };
    propose_sealed(random, by, body, None)
}

/// As [`change_orderers`], without the present orderer: this device votes for it, and `others` did (see [`votes_for`]). Once a majority has,
/// any of `orderers` may begin the term after the commit `from`.
pub fn change_orderers_by_vote(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    term: u64,
    orderers: Vec<PublicKey>,
    from: Hash,
    others: Vec<(PublicKey, Signature)>,
) -> Operation {
    let me = by.signing.public();
    let own = vote(by.signing, &by.identity, term, &orderers, &from);
    let mut votes: Vec<_> = others.into_iter().filter(|(device, _)| *device != me).collect();
    votes.push((me, own));
    votes.sort_by_key(|(device, _)| *device);
    votes.dedup_by_key(|(device, _)| *device);
    let votes = Some(Votes { from, by: votes });
    propose_sealed(random, by, Body::ChangeOrderers { term, orderers, votes }, None)
}

/// The votes that `operations` hold for these orderers.
pub fn votes_for<'a>(
    operations: impl IntoIterator<Item = &'a Operation>,
    wanted: (u64, &[PublicKey], &Hash),
) -> Vec<(PublicKey, Signature)> {
    let mut found = Vec::new();
    for operation in operations {
        if let Body::ChangeOrderers {
            term,
            orderers,
            votes: Some(votes),
        } = operation.body()
            && (*term, &orderers[..], &votes.from) == wanted
        {
            found.extend(votes.by.iter().copied());
        }
    }
    found.sort_by_key(|(device, _)| *device);
    found.dedup_by_key(|(device, _)| *device);
    found
}

/// Proposes a new stream for each label.
pub fn streams(random: &mut dyn Random, by: &Proposer<'_>, labels: &[&str]) -> Operation {
    let part = SealedPart {
        streams: labels.iter().map(|label| new_stream(random, label)).collect(),
        ..Default::default()
    };
    propose_sealed(random, by, Body::Streams {}, Some(part))
}

/// Proposes new epochs of streams, which are sealed under the current identity key.
pub fn new_epochs(random: &mut dyn Random, by: &Proposer<'_>, streams: &[(StreamId, &str)]) -> Operation {
    let part = SealedPart {
        streams: streams
            .iter()
            .map(|(stream, label)| new_epoch(random, *stream, label))
            .collect(),
        ..Default::default()
    };
    propose_sealed(random, by, Body::NewEpoch {}, Some(part))
}

/// What whoever has `signing` and the keys in `ring` should propose for the sake of all: a new identity key, where somebody knows the current
/// one who should not or lacks it who should; or the keys that were made at once with the current one, sealed under it, so that
/// who came meanwhile reads what was written under them. `None` if nothing is amiss, or it is no device.
///
/// # Errors
/// As [`remove_device`].
pub fn heal(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    (state, ring): (&State, &KeyRing),
) -> Result<Option<Operation>, IdentityError> {
    if !state.devices().contains_key(&by.signing.public()) {
        return Ok(None);
    }
    if state.needs_rewrap() {
        return rewrap(random, by, (state, ring)).map(Some);
    }
    if by.beside.is_empty() || ring.identity_key(&state.key_id()).is_none() {
        return Ok(None);
    }
    let part = SealedPart {
        previous: by.beside.clone(),
        ..Default::default()
    };
    Ok(Some(propose_sealed(random, by, Body::NewEpoch {}, Some(part))))
}

/// A new identity key for `state`'s devices but `without`, and for the recovery key, with new epochs of all streams under it.
fn fresh_key(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    (state, ring): (&State, &KeyRing),
    without: Option<&PublicKey>,
) -> Result<(Secret, WrappedKey, SealedPart), IdentityError> {
    let key = Secret::make(random);
    let wrapped = wrap_for(random, &by.binding, &key, &state.recipients(without))?;
    // What only an operation without a commit told must not be lost with it.
    let mut streams = ring.tentative_epochs();
    streams.truncate(MAX_STREAMS);
    for (stream, known) in ring.streams().iter().take(MAX_STREAMS) {
        streams.push(new_epoch(random, *stream, &known.label));
    }
    let current = identity_key_id(by.identity_key);
    let mut previous = vec![(current, Secret::from(by.identity_key))];
    previous.extend(by.beside.iter().filter(|(id, _)| *id != current).cloned());
    let part = SealedPart {
        name: None,
        streams,
        previous,
        documents: Vec::new(),
    };
    Ok((key, wrapped, part))
}

/// Proposes that `device` is removed. `cutoffs` are the heads of its author logs that are here: what lies beyond does not count. Of more than
/// [`MAX_TARGETS`] the rest is for [`raise_cutoff`].
///
/// # Errors
/// [`IdentityError::Crypto`] if a device's agreement key is one that no key can be wrapped for.
pub fn remove_device(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    (state, ring): (&State, &KeyRing),
    device: PublicKey,
    cutoffs: Vec<Cutoff>,
) -> Result<Operation, IdentityError> {
    let (key, wrapped, part) = fresh_key(random, by, (state, ring), Some(&device))?;
    let body = Body::RemoveDevice { device, key: wrapped };
    let peers = Some(PeersPart {
        cutoffs,
        ..Default::default()
    });
    Ok(propose(random, by, body, peers, Some((&key, part))))
}

/// Proposes a new identity key for all who should have it, and nobody else.
///
/// # Errors
/// As [`remove_device`].
pub fn rewrap(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    (state, ring): (&State, &KeyRing),
) -> Result<Operation, IdentityError> {
    let (key, wrapped, part) = fresh_key(random, by, (state, ring), None)?;
    Ok(propose(
        random,
        by,
        Body::Rewrap { key: wrapped },
        None,
        Some((&key, part)),
    ))
}

/// Proposes that more of a removed device's entries count. The same cut-offs after the same operation give the same proposal, so that it may
/// be made again after a crash.
pub fn raise_cutoff(
    signing: &SigningKey,
    identity: IdentityId,
    seen: Option<Hash>,
    device: PublicKey,
    cutoffs: Vec<Cutoff>,
) -> Operation {
    let peers = encode(&PeersPart {
        cutoffs,
        ..Default::default()
    });
    let parts: [&[u8]; 4] = [&identity.0, &device.0, &seen.unwrap_or(Hash([0; 32])).0, &peers];
    let digest = crate::crypto::hash("raise nonce", &parts);
    let nonce = OpNonce(*digest.0.first_chunk().expect("a hash has 32 bytes"));
    let parts = Parts {
        peers: Some(peers),
        sealed: None,
    };
    Operation::make(
        signing,
        Some(identity),
        nonce,
        seen,
        Body::RaiseCutoff { device },
        parts,
    )
}

/// Proposes another name for a device or peer.
pub fn rename_device(random: &mut dyn Random, by: &Proposer<'_>, device: PublicKey, name: &str) -> Operation {
    propose_sealed(random, by, Body::RenameDevice { device }, Some(named(name)))
}

/// Proposes that a cloud peer is none any more.
pub fn remove_peer(random: &mut dyn Random, by: &Proposer<'_>, peer: PublicKey) -> Operation {
    propose_sealed(random, by, Body::RemovePeer { peer }, None)
}

/// Proposes other recovery words. Signed by a device they count 72 hours later; signed by the present words, at once.
///
/// # Errors
/// [`IdentityError::Crypto`] if no key can be wrapped for them.
pub fn rotate_recovery(
    random: &mut dyn Random,
    by: &Proposer<'_>,
    recovery: RecoveryKeys,
) -> Result<Operation, IdentityError> {
    let key = wrap_for(random, &by.binding, by.identity_key, &[recovery.1])?;
    let body = Body::RotateRecovery { recovery, key };
    Ok(propose_sealed(random, by, body, None))
}

/// Proposes that sections are erased, and names no document: cloud peers carry that out, devices keep what nobody named to them.
pub fn erase(random: &mut dyn Random, by: &Proposer<'_>, sections: Vec<ErasedSection>) -> Operation {
    let peers = Some(PeersPart {
        erase: sections,
        ..Default::default()
    });
    propose(random, by, Body::Erase {}, peers, None)
}

/// What goes when documents are erased.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedDocuments {
    /// The documents, for the members: peers learn nothing of them.
    pub documents: Vec<DocumentId>,
    /// All sections with changes of theirs, and nothing else.
    pub sections: Vec<ErasedSection>,
    /// Attachments of theirs, by id.
    pub attachments: Vec<Hash>,
}

/// Proposes that documents are erased. Sections and attachments are [`MAX_TARGETS`] together at the most.
pub fn erase_documents(random: &mut dyn Random, by: &Proposer<'_>, what: ErasedDocuments) -> Operation {
    let peers = PeersPart {
        erase: what.sections,
        attachments: what.attachments,
        ..Default::default()
    };
    let part = SealedPart {
        documents: what.documents,
        ..Default::default()
    };
    propose(random, by, Body::Erase {}, Some(peers), Some((by.identity_key, part)))
}

/// Proposes nothing: an operation without an effect, so that there is a commit with a time. Erasures that are due are in force from there on.
pub fn mark_time(random: &mut dyn Random, by: &Proposer<'_>) -> Operation {
    propose_sealed(random, by, Body::Streams {}, None)
}

/// Calls an erasure off.
pub fn cancel_erase(random: &mut dyn Random, by: &Proposer<'_>, erase: Hash) -> Operation {
    propose_sealed(random, by, Body::CancelErase { erase }, None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    //! What only a hostile member signs, so that nothing outside this file can.

    use ipld_core::ipld::Ipld;

    use super::*;
    use crate::{
        crypto::{DeviceSecret, SeededRandom},
        identity::{Commit, CommitCore, Standing, Verdict, VoidReason, consent, operation::read_body},
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
            let ring = KeyRing::gather(
                &State::begin(&genesis).unwrap(),
                &keys.agreement,
                [(&genesis, Standing::InEffect)],
            );
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
                beside: Vec::new(),
            };
            propose_sealed(&mut self.random, &by, body, part)
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
            let genesis = Operation::make(
                &founder.keys.signing,
                None,
                OpNonce([1; 16]),
                None,
                body,
                Parts::default(),
            );
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
                [&founder.genesis, &operation].map(|operation| (operation, Standing::InEffect)),
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
        let elsewhere = Operation::make(&founder.keys.signing, other, nonce, None, body, Parts::default());
        let state = founder.state();
        assert!(
            !state
                .with_pending(vec![elsewhere], 0)
                .0
                .devices()
                .contains_key(&device.0)
        );
        assert!(state.with_pending(vec![here], 0).0.devices().contains_key(&device.0));
    }

    #[test]
    fn an_orderer_may_commit_what_has_no_effect_so_often_and_no_more() {
        let mut founder = Founder::new(1);
        let mut state = founder.state();
        let mut put = |state: &mut State, term: u64| {
            let orderers = vec![founder.keys.signing.public()];
            let operation = founder.propose(
                Body::ChangeOrderers {
                    term,
                    orderers,
                    votes: None,
                },
                None,
            );
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
