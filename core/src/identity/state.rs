//! The state of an identity: a fold over its commits that every reader computes alike.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Body, Commit, CommitCore, Cutoff, ErasedSection, IdentityError, IdentityId, Keys, MAX_SERVICES, MAX_VOTES, OpNonce,
    Operation, RecoveryKeys, Votes, WrappedKey,
    operation::{consents, voted},
};
use crate::crypto::{AgreementPublic, Hash, PublicKey, SigningKey};

/// Milliseconds from a device's proposal of other recovery words until they count.
const ROTATION_AFTER: u64 = 72 * 60 * 60 * 1_000;
/// Milliseconds from the commit of a device's erasure until it is due, and from when a replica learned of it until it carries it out.
pub const ERASURE_AFTER: u64 = 7 * 24 * 60 * 60 * 1_000;

/// A device of the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its public keys.
    pub keys: Keys,
    /// Whether it was given a good wrap of the identity key. One without can write but not read until a `Rewrap`.
    pub wrapped: bool,
}

/// A device that was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Its public keys, if it was one when it was removed.
    pub keys: Option<Keys>,
    /// Who removed it; the first, if several did.
    pub by: Option<PublicKey>,
    /// By author log, where its entries end that count. They only accumulate.
    pub cutoffs: BTreeMap<Hash, BTreeSet<(u64, Hash)>>,
}

impl Removed {
    /// The last seq of `author` that can count; `None` if none does.
    pub fn last(&self, author: &Hash) -> Option<u64> {
        let (seq, _) = self.cutoffs.get(author)?.last()?;
        Some(*seq)
    }
}

/// A cloud peer that was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedPeer {
    /// What it was, if it was one.
    pub peer: Option<Peer>,
    /// Who removed it; the first, if several did.
    pub by: Option<PublicKey>,
}

/// An erasure that was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// What is to be erased.
    pub sections: Vec<ErasedSection>,
    /// The attachments that go with them, by id.
    pub attachments: Vec<Hash>,
    /// Who wants it.
    pub by: PublicKey,
    /// The time of its commit, in milliseconds since 1970.
    pub since: u64,
    /// From which commit time on, in milliseconds since 1970.
    pub due: u64,
    /// Whether the recovery key wants it: nobody need wait.
    pub at_once: bool,
}

impl Erasure {
    /// Whether it is in force after a commit at `time`. Whoever dates its own commit at the end of time gains nothing by that: no week follows.
    fn is_due(&self, time: u64) -> bool {
        self.at_once || time.saturating_sub(self.since) >= ERASURE_AFTER
    }
}

/// Other recovery words that a device proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rotation {
    recovery: RecoveryKeys,
    /// The identity key that came with it, well wrapped.
    key: Option<Hash>,
    due: u64,
}

/// How a commit stands against another one in its place: the greater one is right. Of two that are equal, the orderer lied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    term: u64,
    authority: Authority,
    /// Of two votes or recoveries at once the lower hash is right; commits of one orderer are never told apart by it.
    tie: Option<std::cmp::Reverse<Hash>>,
}

/// What begins a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Authority {
    /// The orderer's, of its term.
    Orderer,
    Majority,
    Recovery,
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
    /// A device removes itself.
    #[error("a device does not remove itself: another one does")]
    RemovesItself,
    /// What it changes is not there.
    #[error("what it is about is not of the identity")]
    Unknown,
    /// The key it adds was removed, and only the recovery key brings it back.
    #[error("its key was removed: only the recovery words bring it back")]
    WasRemoved,
    /// No key can be wrapped for one that it names: nobody could be removed any more.
    #[error("nothing can be wrapped for its agreement key")]
    BadKey,
    /// It comes after what it calls off.
    #[error("it comes too late")]
    TooLate,
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
    removed: BTreeMap<PublicKey, Removed>,
    removed_peers: BTreeMap<PublicKey, RemovedPeer>,
    keys_in_use: BTreeSet<[u8; 32]>,
    proposals: BTreeSet<(PublicKey, OpNonce)>,
    key_id: Hash,
    /// Every identity key that was ever named: none is used twice.
    key_ids: BTreeSet<Hash>,
    /// Whether somebody who was removed may know the current identity key.
    exposed: bool,
    /// Whether the current identity key is wrapped for the recovery key.
    recovery_wrapped: bool,
    rotation: Option<Rotation>,
    erasures: BTreeMap<Hash, Erasure>,
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
            removed: BTreeMap::new(),
            removed_peers: BTreeMap::new(),
            keys_in_use: BTreeSet::from([recovery.0.0, recovery.1.0]),
            proposals: BTreeSet::from([(genesis.core().proposer, genesis.core().nonce)]),
            key_id: key.id,
            key_ids: BTreeSet::from([key.id]),
            exposed: false,
            recovery_wrapped: device.wrapped,
            rotation: None,
            erasures: BTreeMap::new(),
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
        let time = commit.core().time;
        let verdict = self.judge_at(operation, time);
        match verdict {
            Verdict::Ok => {
                self.mature(time);
                self.enact(operation, time);
            }
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
        if core.time < self.time {
            return bad("its time is before the commit before");
        }
        if core.term == self.term {
            if !self.orderers.contains(&core.orderer) {
                return bad("its signer is not an orderer");
            }
            return Ok(());
        }
        // The first commit of a term that the old orderer need not know of.
        match self.begins_term(operation, core.time) {
            None => bad("its term is not the current one"),
            Some((term, orderers)) if term != core.term || !orderers.contains(&core.orderer) => {
                bad("its signer is not an orderer")
            }
            Some(_) => Ok(()),
        }
    }

    /// The term and orderers that `operation` begins right here, without the present orderer, if its votes or the recovery key may.
    fn begins_term<'a>(&self, operation: &'a Operation, time: u64) -> Option<(u64, &'a [PublicKey])> {
        let Body::ChangeOrderers { term, orderers, votes } = operation.body() else {
            return None;
        };
        let by_recovery = operation.core().proposer == self.recovery_at(time).0 && operation.core().seen == self.head;
        let by_majority = votes
            .as_ref()
            .is_some_and(|votes| self.is_majority(*term, orderers, votes));
        let may = (by_recovery || by_majority) && self.judge_at(operation, time) == Verdict::Ok;
        may.then_some((*term, &orderers[..]))
    }

    fn is_majority(&self, term: u64, orderers: &[PublicKey], votes: &Votes) -> bool {
        Some(votes.from) == self.head && self.has_most(&self.voters(term, orderers, votes))
    }

    /// The devices of this state that voted.
    fn voters(&self, term: u64, orderers: &[PublicKey], votes: &Votes) -> BTreeSet<PublicKey> {
        let few = votes.by.len() <= MAX_VOTES;
        let good = votes.by.iter().filter(|(device, signature)| {
            few && self.devices.contains_key(device)
                && voted(device, &self.identity, term, orderers, &votes.from, signature)
        });
        good.map(|(device, _)| *device).collect()
    }

    fn has_most(&self, voters: &BTreeSet<PublicKey>) -> bool {
        let here = voters.iter().filter(|voter| self.devices.contains_key(voter));
        here.count() * 2 > self.devices.len()
    }

    /// Whether a commit that begins a term here by votes counts against a log that went on from here to `end`: most of the devices there are by
    /// then must be among the voters, or whoever was alone at the beginning, and was removed since, could undo everything. Of what no
    /// votes begin this says yes.
    pub fn outvotes(&self, commit: &Commit, operation: &Operation, end: &Self) -> bool {
        if self.precedence(commit, operation).authority != Authority::Majority {
            return true;
        }
        match operation.body() {
            Body::ChangeOrderers {
                term,
                orderers,
                votes: Some(votes),
            } => end.has_most(&self.voters(*term, orderers, votes)),
            _ => true,
        }
    }

    /// How `commit`, which is good in this place, stands against others in it.
    pub fn precedence(&self, commit: &Commit, operation: &Operation) -> Precedence {
        let core = commit.core();
        let (term, authority) = match operation.body() {
            Body::ChangeOrderers { term, .. } if core.term != self.term => {
                let by_recovery = operation.core().proposer == self.recovery_at(core.time).0;
                (
                    *term,
                    if by_recovery {
                        Authority::Recovery
                    } else {
                        Authority::Majority
                    },
                )
            }
            _ => (core.term, Authority::Orderer),
        };
        let tie = (authority >= Authority::Majority).then(|| std::cmp::Reverse(commit.hash()));
        Precedence { term, authority, tie }
    }

    /// The recovery keys at a commit time, in milliseconds since 1970.
    pub fn recovery_at(&self, time: u64) -> RecoveryKeys {
        match self.rotation {
            Some(rotation) if rotation.due <= time => rotation.recovery,
            _ => self.recovery,
        }
    }

    /// Lets other words count whose time has come.
    fn mature(&mut self, time: u64) {
        if let Some(rotation) = self.rotation.filter(|rotation| rotation.due <= time) {
            self.rotation = None;
            self.recovery = rotation.recovery;
            self.recovery_wrapped = rotation.key == Some(self.key_id);
        }
    }

    fn advance(&mut self, commit: &Commit) {
        self.count += 1;
        self.head = Some(commit.hash());
        self.time = commit.core().time;
    }

    /// The verdict on `operation` if it came next.
    pub fn judge(&self, operation: &Operation) -> Verdict {
        self.judge_at(operation, self.time)
    }

    /// As [`State::judge`], in a commit of this time, in milliseconds since 1970: what waits for its time may count by then.
    pub fn judge_at(&self, operation: &Operation, time: u64) -> Verdict {
        match self.check(operation, time) {
            Ok(()) => Verdict::Ok,
            Err(reason) => Verdict::Void(reason),
        }
    }

    fn check(&self, operation: &Operation, time: u64) -> Result<(), VoidReason> {
        let core = operation.core();
        let by_recovery = core.proposer == self.recovery_at(time).0;
        if !by_recovery && !self.devices.contains_key(&core.proposer) {
            return Err(VoidReason::NotADevice);
        }
        if self.proposals.contains(&(core.proposer, core.nonce)) {
            return Err(VoidReason::Repeated);
        }
        let known = |key: &PublicKey| self.devices.contains_key(key) || self.peers.contains_key(key);
        // Where no device is left that could order, the words do, until they named one.
        let may_order = |key: &PublicKey| known(key) || (by_recovery && *key == core.proposer);
        match operation.body() {
            Body::Genesis { .. } => Err(VoidReason::SecondGenesis),
            Body::AddDevice { device, consent, .. } => {
                let before = self.removed.get(&device.0).map(|removed| removed.keys);
                self.check_newcomer(device, false, consent, before.map(|keys| (keys, by_recovery)))
            }
            Body::AddPeer {
                peer,
                consent,
                services,
            } => {
                if services.len() > MAX_SERVICES || services.iter().any(|service| service.len() > 255) {
                    return Err(VoidReason::BadServices);
                }
                let before = self.removed_peers.get(&peer.0);
                let before = before.map(|removed| (removed.peer.as_ref().map(|peer| peer.keys), by_recovery));
                self.check_newcomer(peer, true, consent, before)
            }
            Body::ChangeOrderers { term, orderers, .. } => {
                if *term != self.term + 1 {
                    return Err(VoidReason::WrongTerm);
                }
                let distinct: BTreeSet<_> = orderers.iter().collect();
                let fits = distinct.len() == orderers.len() && (1..=7).contains(&orderers.len());
                if !fits || !orderers.iter().all(may_order) {
                    return Err(VoidReason::BadOrderers);
                }
                Ok(())
            }
            Body::RemoveDevice { device, .. } if *device == core.proposer => Err(VoidReason::RemovesItself),
            Body::RemoveDevice { device, .. } if self.peers.contains_key(device) => Err(VoidReason::Unknown),
            Body::RemovePeer { peer } if self.devices.contains_key(peer) => Err(VoidReason::Unknown),
            // One that is not known is kept out, even if what added it comes again after this.
            Body::RemoveDevice { .. } | Body::RemovePeer { .. } => Ok(()),
            Body::RaiseCutoff { device } if !self.removed.contains_key(device) => Err(VoidReason::Unknown),
            Body::RenameDevice { device } if !known(device) => Err(VoidReason::Unknown),
            Body::RotateRecovery { recovery, .. } => {
                let now = self.recovery_at(time);
                // The words may say that they stay: that calls off what a device proposed.
                if by_recovery && *recovery == now {
                    return Ok(());
                }
                let parts = [recovery.0.0, recovery.1.0];
                if parts[0] == parts[1] || parts.iter().any(|key| self.keys_in_use.contains(key)) {
                    return Err(VoidReason::KeyInUse);
                }
                match recovery.1.can_receive() {
                    true => Ok(()),
                    false => Err(VoidReason::BadKey),
                }
            }
            Body::CancelErase { erase } => match self.erasures.get(erase) {
                None => Err(VoidReason::Unknown),
                Some(erasure) if erasure.is_due(time) => Err(VoidReason::TooLate),
                Some(_) => Ok(()),
            },
            Body::RaiseCutoff { .. }
            | Body::RenameDevice { .. }
            | Body::Streams {}
            | Body::NewEpoch {}
            | Body::Rewrap { .. }
            | Body::Erase {} => Ok(()),
        }
    }

    /// `before`: if it was removed, the keys it had then, and whether the recovery key wants it back.
    fn check_newcomer(
        &self,
        keys: &Keys,
        peer: bool,
        consent: &crate::crypto::Signature,
        before: Option<(Option<Keys>, bool)>,
    ) -> Result<(), VoidReason> {
        let parts = [keys.0.0, keys.1.0, keys.2.0];
        let distinct = BTreeSet::from(parts).len() == parts.len();
        let comes_back = match before {
            Some((_, false)) => return Err(VoidReason::WasRemoved),
            Some((had, true)) => had == Some(*keys),
            None => false,
        };
        if !distinct || (!comes_back && parts.iter().any(|key| self.keys_in_use.contains(key))) {
            return Err(VoidReason::KeyInUse);
        }
        if !peer && !keys.1.can_receive() {
            return Err(VoidReason::BadKey);
        }
        // Who comes back agreed when it first came.
        if !comes_back && !consents(&self.identity, keys, peer, consent) {
            return Err(VoidReason::NoConsent);
        }
        Ok(())
    }

    /// Notes all three keys; false if any of them was in use.
    fn claim(&mut self, keys: &Keys) -> bool {
        let new = [keys.0.0, keys.1.0, keys.2.0].map(|key| self.keys_in_use.insert(key));
        new == [true; 3]
    }

    /// Whom a new identity key is wrapped for: the devices by signing key but `without`, then the recovery key.
    pub fn recipients(&self, without: Option<&PublicKey>) -> Vec<AgreementPublic> {
        let devices = self.devices.values().filter(|device| Some(&device.keys.0) != without);
        let mut recipients: Vec<_> = devices.map(|device| device.keys.1).collect();
        recipients.push(self.recovery.1);
        recipients
    }

    /// Takes an identity key into use, if it was never named before and is wrapped for exactly those who should have it now.
    fn take_key(&mut self, key: &WrappedKey) -> bool {
        let recipients: Vec<_> = key.wraps.iter().map(|wrap| wrap.0).collect();
        let good = self.key_ids.insert(key.id) && recipients == self.recipients(None);
        if good {
            self.key_id = key.id;
            self.exposed = false;
            self.recovery_wrapped = true;
            self.devices.values_mut().for_each(|device| device.wrapped = true);
        }
        good
    }

    /// An orderer that is no member any more orders no more, unless nobody else would.
    fn stop_ordering(&mut self, key: &PublicKey) {
        if self.orderers.iter().any(|orderer| orderer != key) {
            self.orderers.retain(|orderer| orderer != key);
        }
    }

    fn cut(&mut self, device: &PublicKey, cutoffs: Vec<Cutoff>) {
        let removed = self.removed.entry(*device).or_default();
        for Cutoff(author, seq, hash) in cutoffs {
            removed.cutoffs.entry(author).or_default().insert((seq, hash));
        }
    }

    fn enact(&mut self, operation: &Operation, time: u64) {
        let core = operation.core();
        let by_recovery = core.proposer == self.recovery.0;
        self.proposals.insert((core.proposer, core.nonce));
        match operation.body() {
            Body::Genesis { .. } | Body::Streams {} | Body::NewEpoch {} | Body::RenameDevice { .. } => {}
            Body::AddDevice { device, key, .. } => {
                // Authority and keys have separate verdicts: a bad wrap does not keep a device out.
                let wrapped = key.id == self.key_id && key.wraps.len() == 1 && key.wraps[0].0 == device.1;
                self.claim(device);
                self.removed.remove(&device.0);
                self.devices.insert(device.0, Device { keys: *device, wrapped });
            }
            Body::AddPeer { peer, services, .. } => {
                self.claim(peer);
                self.removed_peers.remove(&peer.0);
                self.peers.insert(
                    peer.0,
                    Peer {
                        keys: *peer,
                        services: services.clone(),
                    },
                );
            }
            Body::ChangeOrderers { term, orderers, .. } => {
                self.term = *term;
                self.orderers = orderers.clone();
            }
            Body::RemoveDevice { device, key } => {
                let was = self.devices.remove(device);
                self.exposed |= was.is_some();
                let removed = self.removed.entry(*device).or_default();
                removed.keys = removed.keys.or(was.map(|was| was.keys));
                removed.by = removed.by.or(Some(core.proposer));
                self.cut(device, operation.for_peers().cutoffs);
                self.stop_ordering(device);
                self.take_key(key);
            }
            Body::RaiseCutoff { device } => self.cut(device, operation.for_peers().cutoffs),
            Body::RemovePeer { peer } => {
                let was = self.peers.remove(peer);
                let removed = self.removed_peers.entry(*peer).or_default();
                removed.peer = removed.peer.take().or(was);
                removed.by = removed.by.or(Some(core.proposer));
                self.stop_ordering(peer);
            }
            Body::Rewrap { key } => {
                self.take_key(key);
            }
            Body::RotateRecovery { recovery, key } => {
                self.keys_in_use.extend([recovery.0.0, recovery.1.0]);
                let well = key.id == self.key_id && key.wraps.len() == 1 && key.wraps[0].0 == recovery.1;
                self.rotation = (!by_recovery).then_some(Rotation {
                    recovery: *recovery,
                    key: well.then_some(key.id),
                    due: time.saturating_add(ROTATION_AFTER),
                });
                if by_recovery && *recovery != self.recovery {
                    self.recovery = *recovery;
                    self.recovery_wrapped = well;
                }
            }
            Body::Erase {} => {
                let part = operation.for_peers();
                let wait = if by_recovery { 0 } else { ERASURE_AFTER };
                let erasure = Erasure {
                    sections: part.erase,
                    attachments: part.attachments,
                    by: core.proposer,
                    since: time,
                    due: time.saturating_add(wait),
                    at_once: by_recovery,
                };
                self.erasures.insert(operation.id(), erasure);
            }
            Body::CancelErase { erase } => drop(self.erasures.remove(erase)),
        }
    }

    /// The state if the pending operations were committed too, in whatever order lets most of them have an effect; and the operations in
    /// that order, each after those it builds on, so that whoever is told them one by one sees what this one sees. Last come those without an
    /// effect now; the number is of those before them. `ChangeOrderers` has none here: who orders is never tentative. `now` is the reader's clock.
    pub fn with_pending(&self, pending: Vec<Operation>, now: u64) -> (Self, Vec<Operation>, usize) {
        let mut state = self.clone();
        state.time = state.time.max(now);
        state.mature(state.time);
        let mut ordered = Vec::with_capacity(pending.len());
        let mut waiting = pending;
        // Everybody who has the same operations sees the same. Removals come first: until they are ordered, what the removed do does not count.
        waiting.sort_by_key(|op| {
            let removes = matches!(op.body(), Body::RemoveDevice { .. } | Body::RemovePeer { .. });
            (!removes, op.id())
        });
        loop {
            let mut later = Vec::new();
            let before = ordered.len();
            for op in waiting {
                let in_place = op.identity() == self.identity && !matches!(op.body(), Body::ChangeOrderers { .. });
                if in_place && state.judge(&op) == Verdict::Ok {
                    state.enact(&op, state.time);
                    ordered.push(op);
                } else {
                    later.push(op);
                }
            }
            waiting = later;
            if ordered.len() == before {
                ordered.extend(waiting);
                return (state, ordered, before);
            }
        }
    }

    /// The commit that `signing` would sign for `operation` now; `None` if it may not: it is no orderer, and none of the term that the
    /// operation begins. `now` is its clock in milliseconds; a clock that runs behind the chain is carried forward, as times never decrease.
    pub fn next_commit(&self, signing: &SigningKey, operation: &Operation, now: u64) -> Option<Commit> {
        let (me, time) = (signing.public(), now.max(self.time));
        let begun = self.begins_term(operation, time);
        let term = match begun {
            _ if self.orderers.contains(&me) => self.term,
            Some((term, orderers)) if orderers.contains(&me) => term,
            _ => return None,
        };
        Some(Commit::make(
            signing,
            CommitCore {
                identity: self.identity,
                index: self.count,
                previous: self.head,
                operation: operation.id(),
                term,
                time,
                orderer: me,
            },
        ))
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

    /// The recovery keys that a device proposed, and the commit time in milliseconds since 1970 from which they count.
    pub fn next_recovery(&self) -> Option<(RecoveryKeys, u64)> {
        self.rotation.map(|rotation| (rotation.recovery, rotation.due))
    }

    /// The devices that were removed, and keys that were kept out, by signing key.
    pub fn removed(&self) -> &BTreeMap<PublicKey, Removed> {
        &self.removed
    }

    /// The cloud peers that were removed.
    pub fn removed_peers(&self) -> &BTreeMap<PublicKey, RemovedPeer> {
        &self.removed_peers
    }

    /// Erasures that were ordered and not called off, by operation.
    pub fn erasures(&self) -> &BTreeMap<Hash, Erasure> {
        &self.erasures
    }

    /// Whether an erasure of this state is in force: a commit says that its time has come. No later commit calls it off, so that the same log
    /// has the same erasures in force for every reader, whatever the reader's clock says.
    pub fn is_in_force(&self, erasure: &Erasure) -> bool {
        erasure.is_due(self.time)
    }

    /// Whether somebody who was removed may know the current identity key: nothing may be sealed under its epochs.
    pub fn exposed(&self) -> bool {
        self.exposed
    }

    /// Whether the identity key should be made anew: somebody knows it who should not, or lacks it who should.
    pub fn needs_rewrap(&self) -> bool {
        self.exposed || !self.recovery_wrapped || self.devices.values().any(|device| !device.wrapped)
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

    /// The time of the last commit, in milliseconds since 1970.
    pub fn time(&self) -> u64 {
        self.time
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
