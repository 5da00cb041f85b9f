//! The state of an identity: a fold over its commits that every reader computes alike.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Body, Commit, CommitCore, IdentityError, IdentityId, Keys, MAX_SERVICES, OpNonce, Operation, RecoveryKeys,
    operation::consents,
};
use crate::crypto::{Hash, PublicKey, SigningKey};

/// A device of the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its public keys.
    pub keys: Keys,
    /// Whether a good wrap of the identity key came with it. One without can write but not read until a `Rewrap`.
    pub wrapped: bool,
}

/// A cloud peer of the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its public keys.
    pub keys: Keys,
    /// Where it can be reached.
    pub services: Vec<String>,
}

/// Whether an operation has an effect where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has.
    Ok,
    /// It stays in the chain and changes nothing.
    Void(VoidReason),
}

/// Why an operation has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoidReason {
    /// Its proposer is not a device of the identity.
    #[error("its proposer is not a device of the identity")]
    NotADevice,
    /// It stands in the log already.
    #[error("it stands in the log already")]
    Repeated,
    /// One of its keys is in use.
    #[error("one of its keys is in use already")]
    KeyInUse,
    /// The one it adds did not agree.
    #[error("the one it adds did not sign its consent")]
    NoConsent,
    /// It does not follow the current term.
    #[error("its term does not follow the current one")]
    WrongTerm,
    /// An orderer it names is not of the identity, or there are too many or too few.
    #[error("its orderers are not 1 to 7 distinct devices or peers")]
    BadOrderers,
    /// A peer's addresses are too many or too long.
    #[error("its services are too many or too long")]
    BadServices,
    /// A second genesis.
    #[error("an identity begins once")]
    SecondGenesis,
}

/// Commits of an identity log that may have no effect.
const MAX_VOID: u64 = 1_024;

/// An identity as far as its commits go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    identity: IdentityId,
    binding: Hash,
    recovery: RecoveryKeys,
    devices: BTreeMap<PublicKey, Device>,
    peers: BTreeMap<PublicKey, Peer>,
    keys_in_use: BTreeSet<[u8; 32]>,
    proposals: BTreeSet<(PublicKey, OpNonce)>,
    key_id: Hash,
    orderers: Vec<PublicKey>,
    term: u64,
    count: u64,
    head: Option<Hash>,
    time: u64,
    /// How many commits had no effect.
    void: u64,
}

impl State {
    /// The state right after `genesis`, before any commit.
    ///
    /// # Errors
    /// If it is not a genesis, or not a sound one.
    pub fn begin(genesis: &Operation) -> Result<Self, IdentityError> {
        let Body::Genesis { device, recovery, key } = genesis.body() else {
            return Err(IdentityError::BadCommit {
                index: 0,
                what: "the first operation is not a genesis",
            });
        };
        if device.0 != genesis.core().proposer {
            return Err(IdentityError::Void(VoidReason::NotADevice));
        }
        let recipients: Vec<_> = key.wraps.iter().map(|wrap| wrap.0).collect();
        let device = Device {
            keys: *device,
            wrapped: recipients == [device.1, recovery.1],
        };
        let mut state = Self {
            identity: genesis.identity(),
            binding: genesis.binding(),
            recovery: *recovery,
            devices: BTreeMap::new(),
            peers: BTreeMap::new(),
            keys_in_use: BTreeSet::from([recovery.0.0, recovery.1.0]),
            proposals: BTreeSet::from([(genesis.core().proposer, genesis.core().nonce)]),
            key_id: key.id,
            orderers: vec![device.keys.0],
            term: 0,
            count: 0,
            head: None,
            time: 0,
            void: 0,
        };
        if !state.claim(&device.keys) {
            return Err(IdentityError::Void(VoidReason::KeyInUse));
        }
        state.devices.insert(device.keys.0, device);
        Ok(state)
    }

    /// Applies the first commit and its genesis.
    pub fn open(commit: &Commit, genesis: &Operation) -> Result<Self, IdentityError> {
        let mut state = Self::begin(genesis)?;
        state.check_place(commit, genesis)?;
        state.advance(commit);
        Ok(state)
    }

    /// Applies the next commit. On an error nothing changes.
    pub fn apply(&mut self, commit: &Commit, operation: &Operation) -> Result<Verdict, IdentityError> {
        self.check_place(commit, operation)?;
        // Not `operation.identity()`: a genesis names no identity and stands at index 0 only, the same one again included.
        if operation.core().identity != Some(self.identity) {
            return Err(IdentityError::OtherIdentity);
        }
        let verdict = self.judge(operation);
        match verdict {
            Verdict::Ok => self.enact(operation),
            // An orderer could go on for ever with what has no effect; an honest one commits none of it.
            Verdict::Void(_) if self.void >= MAX_VOID => {
                return Err(IdentityError::BadCommit {
                    index: commit.core().index,
                    what: "too many before it had no effect",
                });
            }
            Verdict::Void(_) => self.void += 1,
        }
        self.advance(commit);
        Ok(verdict)
    }

    fn check_place(&self, commit: &Commit, operation: &Operation) -> Result<(), IdentityError> {
        let core = commit.core();
        let bad = |what| {
            Err(IdentityError::BadCommit {
                index: core.index,
                what,
            })
        };
        if core.identity != self.identity {
            return Err(IdentityError::OtherIdentity);
        }
        if core.index != self.count {
            return bad("its index does not follow");
        }
        if core.previous != self.head {
            return bad("it does not link to the commit before");
        }
        if core.operation != operation.id() {
            return bad("it names another operation");
        }
        if core.term != self.term {
            return bad("its term is not the current one");
        }
        if core.time < self.time {
            return bad("its time is before the commit before");
        }
        if !self.orderers.contains(&core.orderer) {
            return bad("its signer is not an orderer");
        }
        Ok(())
    }

    fn advance(&mut self, commit: &Commit) {
        self.count += 1;
        self.head = Some(commit.hash());
        self.time = commit.core().time;
    }

    /// The verdict on `operation` if it came next.
    pub fn judge(&self, operation: &Operation) -> Verdict {
        match self.check(operation) {
            Ok(()) => Verdict::Ok,
            Err(reason) => Verdict::Void(reason),
        }
    }

    fn check(&self, operation: &Operation) -> Result<(), VoidReason> {
        let core = operation.core();
        if !self.devices.contains_key(&core.proposer) {
            return Err(VoidReason::NotADevice);
        }
        if self.proposals.contains(&(core.proposer, core.nonce)) {
            return Err(VoidReason::Repeated);
        }
        match operation.body() {
            Body::Genesis { .. } => Err(VoidReason::SecondGenesis),
            Body::AddDevice { device, consent, .. } => self.check_newcomer(device, false, consent),
            Body::AddPeer {
                peer,
                consent,
                services,
            } => {
                if services.len() > MAX_SERVICES || services.iter().any(|service| service.len() > 255) {
                    return Err(VoidReason::BadServices);
                }
                self.check_newcomer(peer, true, consent)
            }
            Body::ChangeOrderers { term, orderers } => {
                if *term != self.term + 1 {
                    return Err(VoidReason::WrongTerm);
                }
                let distinct: BTreeSet<_> = orderers.iter().collect();
                let known = |key: &PublicKey| self.devices.contains_key(key) || self.peers.contains_key(key);
                if distinct.len() != orderers.len() || !(1..=7).contains(&orderers.len()) || !orderers.iter().all(known)
                {
                    return Err(VoidReason::BadOrderers);
                }
                Ok(())
            }
            Body::Streams {} => Ok(()),
        }
    }

    fn check_newcomer(&self, keys: &Keys, peer: bool, consent: &crate::crypto::Signature) -> Result<(), VoidReason> {
        let parts = [keys.0.0, keys.1.0, keys.2.0];
        let distinct = BTreeSet::from(parts).len() == parts.len();
        if !distinct || parts.iter().any(|key| self.keys_in_use.contains(key)) {
            return Err(VoidReason::KeyInUse);
        }
        if !consents(&self.identity, keys, peer, consent) {
            return Err(VoidReason::NoConsent);
        }
        Ok(())
    }

    /// Notes all three keys; false if any of them was in use.
    fn claim(&mut self, keys: &Keys) -> bool {
        let new = [keys.0.0, keys.1.0, keys.2.0].map(|key| self.keys_in_use.insert(key));
        new == [true; 3]
    }

    fn enact(&mut self, operation: &Operation) {
        let core = operation.core();
        self.proposals.insert((core.proposer, core.nonce));
        match operation.body() {
            Body::Genesis { .. } | Body::Streams {} => {}
            Body::AddDevice { device, key, .. } => {
                // Authority and keys have separate verdicts: a bad wrap does not keep a device out.
                let wrapped = key.id == self.key_id && key.wraps.len() == 1 && key.wraps[0].0 == device.1;
                self.claim(device);
                self.devices.insert(device.0, Device { keys: *device, wrapped });
            }
            Body::AddPeer { peer, services, .. } => {
                self.claim(peer);
                self.peers.insert(
                    peer.0,
                    Peer {
                        keys: *peer,
                        services: services.clone(),
                    },
                );
            }
            Body::ChangeOrderers { term, orderers } => {
                self.term = *term;
                self.orderers = orderers.clone();
            }
        }
    }

    /// The state if the pending operations were committed too, in whatever order lets most of them have an effect; and the operations in
    /// that order, each after those it builds on, so that whoever is told them one by one sees what this one sees. Last come those without an
    /// effect now. `ChangeOrderers` has none here: who orders is never tentative.
    pub fn with_pending(&self, pending: Vec<Operation>) -> (Self, Vec<Operation>) {
        let mut state = self.clone();
        let mut ordered = Vec::with_capacity(pending.len());
        let mut waiting = pending;
        loop {
            let mut later = Vec::new();
            let before = ordered.len();
            for op in waiting {
                let in_place = op.identity() == self.identity && !matches!(op.body(), Body::ChangeOrderers { .. });
                if in_place && state.judge(&op) == Verdict::Ok {
                    state.enact(&op);
                    ordered.push(op);
                } else {
                    later.push(op);
                }
            }
            waiting = later;
            if ordered.len() == before {
                ordered.extend(waiting);
                return (state, ordered);
            }
        }
    }

    /// The commit that `signing` would sign for `operation` now; `None` if it is not an orderer. `now` is its clock in
    /// milliseconds; a clock that runs behind the chain is carried forward, as times never decrease.
    pub fn next_commit(&self, signing: &SigningKey, operation: &Operation, now: u64) -> Option<Commit> {
        self.orderers.contains(&signing.public()).then(|| {
            Commit::make(
                signing,
                CommitCore {
                    identity: self.identity,
                    index: self.count,
                    previous: self.head,
                    operation: operation.id(),
                    term: self.term,
                    time: now.max(self.time),
                    orderer: signing.public(),
                },
            )
        })
    }

    /// The identity.
    pub fn identity(&self) -> IdentityId {
        self.identity
    }

    /// What stands for the identity in wraps and sealed parts.
    pub fn binding(&self) -> Hash {
        self.binding
    }

    /// The recovery keys.
    pub fn recovery(&self) -> RecoveryKeys {
        self.recovery
    }

    /// The devices, by signing key.
    pub fn devices(&self) -> &BTreeMap<PublicKey, Device> {
        &self.devices
    }

    /// The cloud peers, by signing key.
    pub fn peers(&self) -> &BTreeMap<PublicKey, Peer> {
        &self.peers
    }

    /// Who may sign commits now.
    pub fn orderers(&self) -> &[PublicKey] {
        &self.orderers
    }

    /// The orderers' term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// How many commits were applied.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash of the last commit.
    pub fn head(&self) -> Option<Hash> {
        self.head
    }

    /// The current identity key's id.
    pub fn key_id(&self) -> Hash {
        self.key_id
    }

    /// The device or peer whose iroh endpoint key is `endpoint`, by signing key.
    pub fn by_endpoint(&self, endpoint: &PublicKey) -> Option<PublicKey> {
        let devices = self.devices.values().map(|device| &device.keys);
        let peers = self.peers.values().map(|peer| &peer.keys);
        devices.chain(peers).find(|keys| keys.2 == *endpoint).map(|keys| keys.0)
    }
}
