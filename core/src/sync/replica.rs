//! One identity's log and entries in a store, and every check between a peer's bytes and the disk.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{
    counted::{KEPT_BEYOND, counted_branches, counted_heads, cutoffs, raises},
    erasing::{Late, Memory, in_force},
    message::{MAX_PROOFS, RefuseReason},
};
use crate::{
    crypto::{AgreementKey, DeviceKeys, Hash, PublicKey, SigningKey},
    identity::{
        Body, Commit, Cutoff, ErasedSection, IdentityError, IdentityId, KeyRing, Operation, Proposer, Standing, State,
        Verdict, VoidReason,
    },
    log::{AttachmentId, AttachmentReceipt, AuthorId, Item, LogError, Position, Range, Receipt, StoreId, digest},
    store::{AlarmKind, AppendError, Appended, BranchHead, ErasureNote, LogStore, Read, Reply, StoreError, Write},
};

/// Milliseconds since 1970, by the device's clock. Passed in, so that a simulation has its own.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Under this name a store keeps the operation by which the words last let its device in.
pub const ADMISSION: &str = "admission";

/// What a replica keeps at the most of what others send it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Operations without a commit.
    pub pending: usize,
    /// Operations in all, before no more are taken.
    pub operations: usize,
    /// Author logs of one identity.
    pub authors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: 256,
            operations: 4_096,
            authors: 100_000,
        }
    }
}

/// Why a replica could not do something of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The identity log.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Why a peer's entries or operations were not taken. Nothing of them was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// They could not be stored, or do not fit.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The author's operation waits for its commit.
    #[error("the author's device waits to be ordered")]
    Retry,
    /// The author log belongs to another identity.
    #[error("the author log belongs to another identity")]
    OtherIdentity,
    /// The author's device was removed, and this lies beyond what counts of it.
    #[error("the author's device was removed")]
    Removed,
    /// A section is missing that no erasure in force names.
    #[error("a section was left out that nobody erased, as far as is known here")]
    Withheld,
    /// There are too many author logs.
    #[error("the identity has as many author logs as are kept")]
    TooManyAuthors,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Append(error.into())
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        Self::Append(error.into())
    }
}

/// What a replica knows of its identity at one moment.
#[derive(Debug, Clone)]
pub struct Known {
    /// After every commit.
    pub ordered: State,
    /// As if every pending operation were committed too.
    pub tentative: State,
    /// Commits and their operations.
    pub log: Vec<(Commit, Operation)>,
    /// Which of them have an effect.
    pub verdicts: Vec<Verdict>,
    /// Operations without a commit, each after those it builds on, then those without an effect.
    pub pending: Vec<Operation>,
    /// How many of them have an effect.
    pub in_effect: usize,
    /// The sections that erasures in force name: they may be missing.
    pub erased: BTreeSet<ErasedSection>,
    /// The attachments that they name.
    pub erased_attachments: BTreeSet<Hash>,
}

impl Known {
    /// Recomputes everything from the log, by commit times alone.
    pub fn from_log(log: Vec<(Commit, Operation)>, pending: Vec<Operation>) -> Result<Self, IdentityError> {
        Self::from_log_at(log, pending, 0)
    }

    /// As [`Known::from_log`]; what waits for its time counts tentatively by the clock `now`, in milliseconds since 1970, so that words
    /// which a device proposed work once their time has come, whether anything was put in order since or not.
    pub fn from_log_at(
        log: Vec<(Commit, Operation)>,
        pending: Vec<Operation>,
        now: u64,
    ) -> Result<Self, IdentityError> {
        let mut entries = log.iter();
        let (commit, genesis) = entries.next().ok_or(IdentityError::BadCommit {
            index: 0,
            what: "the identity log is empty",
        })?;
        let mut ordered = State::open(commit, genesis)?;
        let mut verdicts = vec![Verdict::Ok];
        for (commit, operation) in entries {
            verdicts.push(ordered.apply(commit, operation)?);
        }
        let (tentative, pending, in_effect) = ordered.with_pending(pending, now);
        let (erased, erased_attachments) = in_force(&ordered);
        Ok(Self {
            erased,
            erased_attachments,
            ordered,
            tentative,
            log,
            verdicts,
            pending,
            in_effect,
        })
    }

    /// The keys that `keys` can reach.
    pub fn key_ring(&self, keys: &DeviceKeys) -> KeyRing {
        self.key_ring_of(&keys.agreement)
    }

    /// The keys that `agreement`, a device's or the words', can reach.
    pub fn key_ring_of(&self, agreement: &AgreementKey) -> KeyRing {
        let log = self.log.iter().zip(&self.verdicts);
        let log = log.map(|((_, operation), verdict)| match verdict {
            Verdict::Ok => (operation, Standing::InEffect),
            Verdict::Void(_) => (operation, Standing::Void),
        });
        let pending = self
            .pending
            .iter()
            .enumerate()
            .map(|(place, operation)| match place < self.in_effect {
                true => (operation, Standing::Pending),
                false => (operation, Standing::Void),
            });
        KeyRing::gather(&self.tentative, agreement, log.chain(pending))
    }

    /// Ids of pending operations.
    pub fn pending_ids(&self) -> Vec<Hash> {
        self.pending.iter().map(Operation::id).collect()
    }
}

/// What became of commits that a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenCommits {
    /// How many are new here.
    pub new: usize,
    /// Whether the sender has others where those here count: it should be sent these.
    pub passed_over: bool,
}

/// One identity's log and entries. Cheap to share; calls may wait for the disk.
pub struct Replica {
    store: LogStore,
    identity: IdentityId,
    signing: SigningKey,
    now: WallClock,
    limits: Limits,
    known: Arc<RwLock<Arc<Known>>>,
    /// Held while erasures are carried out.
    pub(super) erasing: Mutex<Memory>,
    pub(super) late: Late,
    /// Held while the identity log changes, so that two sessions never commit to one place.
    changing: Mutex<()>,
}

impl Replica {
    /// Reads what the store has of `identity`.
    pub fn load(
        store: LogStore,
        identity: IdentityId,
        signing: SigningKey,
        now: WallClock,
        limits: Limits,
    ) -> Result<Self, ReplicaError> {
        let stored = store.read(|read| read.identity_log(&identity))?;
        // It was checked before it was stored: if it does not hold together now, it is not what was stored.
        let known = Known::from_log_at(stored.ordered, stored.pending, now()).map_err(|error| StoreError::Damaged {
            file: "log.db",
            why: error.to_string(),
        })?;
        Ok(Self {
            store,
            identity,
            signing,
            now,
            limits,
            known: Arc::new(RwLock::new(Arc::new(known))),
            erasing: Mutex::default(),
            late: Late::default(),
            changing: Mutex::new(()),
        })
    }

    /// Stores an identity log that this replica did not have, after checking all of it, and loads it.
    pub fn adopt(
        store: LogStore,
        log: Vec<(Commit, Operation)>,
        pending: Vec<Operation>,
        signing: SigningKey,
        now: WallClock,
        limits: Limits,
    ) -> Result<Self, ReplicaError> {
        let known = Known::from_log(log, pending)?;
        let identity = known.ordered.identity();
        let (log, pending) = (known.log.clone(), known.pending.clone());
        let write = store.write(move |write| {
            let have = write.identity_log(&identity)?;
            for (commit, operation) in log.iter().skip(have.ordered.len()) {
                write.put_commit(&identity, commit, operation)?;
            }
            for operation in &pending {
                write.put_pending(&identity, operation, false)?;
            }
            Ok(())
        });
        write.wait()?;
        Self::load(store, identity, signing, now, limits)
    }

    /// The store.
    pub fn store(&self) -> &LogStore {
        &self.store
    }

    /// The identity.
    pub fn identity(&self) -> IdentityId {
        self.identity
    }

    /// This device's or peer's signing key.
    pub fn signer(&self) -> PublicKey {
        self.signing.public()
    }

    /// The clock.
    pub fn now(&self) -> u64 {
        (self.now)()
    }

    /// What is known of the identity now. Memory only.
    pub fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_known(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.store.announce(self.identity);
    }

    /// Whether this replica is a device, which holds keys, and not a cloud peer.
    pub fn is_device(&self) -> bool {
        self.known().tentative.devices().contains_key(&self.signer())
    }

    /// What this replica holds, and the digest over it.
    pub fn state(&self) -> Result<(Arc<Known>, Vec<Item>, Hash), StoreError> {
        let known = self.known();
        let heads = self
            .store
            .read(|read| counted_heads(read, &self.identity, self.judge_of(&known)))?;
        let items = heads.iter().flat_map(|(author, branches)| {
            branches
                .iter()
                .map(|branch| Item(*author, branch.base, branch.head.seq, branch.head.hash))
        });
        let items: Vec<Item> = items.collect();
        let digest = digest(known.ordered.head(), &known.pending_ids(), &items);
        Ok((known, items, digest))
    }

    /// By which state this replica judges entries: a device by what it knows, a cloud peer by what is ordered.
    fn judge_of<'a>(&self, known: &'a Known) -> &'a State {
        match known.tentative.peers().contains_key(&self.signer()) {
            true => &known.ordered,
            false => &known.tentative,
        }
    }

    /// Every branch as far as it counts, by author log: of a removed device up to its cut-offs.
    pub fn heads(&self) -> Result<BTreeMap<AuthorId, Vec<BranchHead>>, StoreError> {
        let known = self.known();
        self.store
            .read(|read| counted_heads(read, &self.identity, self.judge_of(&known)))
    }

    /// The branches of one author log as far as they count.
    pub fn branches(&self, author: &AuthorId) -> Result<Vec<BranchHead>, StoreError> {
        let known = self.known();
        self.store
            .read(|read| counted_branches(read, self.judge_of(&known), author))
    }

    /// Whether the device that wrote `author` was removed.
    pub fn is_removed(&self, author: &AuthorId) -> Result<bool, StoreError> {
        let known = self.known();
        let removed = self.judge_of(&known).removed();
        if removed.is_empty() {
            return Ok(false);
        }
        let start = self.store.read(|read| read.start(author))?;
        Ok(start.is_some_and(|start| removed.contains_key(&start.device())))
    }

    /// Where the author logs of a removed device end here that do not count so far.
    pub fn beyond(&self, device: &PublicKey) -> Result<Vec<Cutoff>, StoreError> {
        let mut beyond = self.cutoffs(device)?;
        let counted = self.heads()?;
        beyond.retain(|Cutoff(author, seq, hash)| {
            let branches = counted.get(&AuthorId(author.0)).map_or(&[][..], Vec::as_slice);
            branches
                .iter()
                .all(|branch| (branch.head.seq, branch.head.hash) != (*seq, *hash))
        });
        Ok(beyond)
    }

    /// Where the author logs of `device` end here: what counts if it is removed now.
    pub fn cutoffs(&self, device: &PublicKey) -> Result<Vec<Cutoff>, StoreError> {
        self.store.read(|read| cutoffs(read, &self.identity, device))
    }

    /// Operations that show this device is a member, if that is not ordered yet: the one that adds it, after those that add whoever let it in.
    /// `whole`: even if it is ordered, for one who was put back to a time before that.
    pub fn proofs(&self, whole: bool) -> Vec<Vec<u8>> {
        let known = self.known();
        let in_effect = known.log.iter().zip(&known.verdicts);
        let in_effect = in_effect.filter(|(_, verdict)| whole && **verdict == Verdict::Ok);
        let operations = in_effect.map(|((_, operation), _)| operation).chain(&known.pending);
        let mut unknown = vec![self.signer()];
        let mut proofs = Vec::new();
        // Each stands after what it builds on, so the way back meets them all.
        for operation in operations.rev() {
            let adds = match operation.body() {
                Body::AddDevice { device, .. } => device.0,
                Body::AddPeer { peer, .. } => peer.0,
                _ => continue,
            };
            let ordered = known.ordered.devices().contains_key(&adds) || known.ordered.peers().contains_key(&adds);
            if unknown.contains(&adds) && (whole || !ordered) && proofs.len() < MAX_PROOFS {
                unknown.push(operation.core().proposer);
                proofs.push(operation.encode());
            }
        }
        proofs.reverse();
        if whole
            && proofs.len() < MAX_PROOFS
            && let Ok(Some(admission)) = self.store.read(|read| read.meta(ADMISSION))
        {
            proofs.push(admission);
        }
        proofs
    }

    /// Takes consecutive commits. Those that are here already are compared: a different one for the same place counts instead if a majority
    /// of devices or the recovery key stands behind it (see [`crate::identity::Precedence`]); what it displaces waits for a commit again. Else
    /// it is an equivocation, and the owner is told. Where the one here counts, the rest is passed over.
    pub fn take_commits(&self, commits: &[(Vec<u8>, Vec<u8>)]) -> Result<TakenCommits, ReplicaError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        let mut chain = Chain::of(&known);
        let mut passed_over = false;
        let mut take = |place: usize, commit: &[u8], operation: &[u8]| -> Result<(), ReplicaError> {
            if passed_over {
                return Ok(());
            }
            let (commit, operation) = (Commit::decode(commit)?, Operation::decode(operation)?);
            if commit.core().identity != self.identity {
                return Err(IdentityError::OtherIdentity.into());
            }
            let index = commit.core().index;
            if let Some((mine, _)) = usize::try_from(index).ok().and_then(|index| chain.log.get(index)) {
                if mine.hash() == commit.hash() {
                    return Ok(());
                }
                match chain.compare(&commit, &operation, &commits[place + 1..])? {
                    (Ordering::Greater, before) => chain.cut(before),
                    (Ordering::Less, _) => {
                        passed_over = true;
                        return Ok(());
                    }
                    (Ordering::Equal, _) => return self.check_equivocation(&known, &commit),
                }
            }
            chain.push(commit, operation)
        };
        let taken = commits
            .iter()
            .enumerate()
            .try_for_each(|(place, (commit, operation))| take(place, commit, operation));
        // What was good before the first that was not is kept all the same.
        let count = chain.log.len() - chain.kept;
        if count > 0 {
            self.store_chain(&known, chain)?;
        }
        taken.map(|()| TakenCommits {
            new: count,
            passed_over,
        })
    }

    /// Another commit for a place that is taken. It counts as an equivocation only if an orderer of that place signed it.
    fn check_equivocation(&self, known: &Known, commit: &Commit) -> Result<(), ReplicaError> {
        let index = commit.core().index;
        let at = known.log.get(usize::try_from(index).unwrap_or(usize::MAX));
        if at.is_some_and(|(mine, _)| {
            mine.core().orderer == commit.core().orderer && mine.core().term == commit.core().term
        }) {
            let (identity, now) = (self.identity, self.now());
            // Beside the one in the log it proves what the orderer did. The first is enough.
            let (key, proof) = (format!("equivocation:{identity}"), commit.encode().to_vec());
            self.store
                .write(move |write| {
                    if write.meta(&key)?.is_none() {
                        write.set_meta(&key, &proof)?;
                    }
                    write.raise(AlarmKind::Equivocation, Hash(identity.0), now)
                })
                .wait()?;
            return Err(IdentityError::Equivocation { index }.into());
        }
        Err(IdentityError::BadCommit {
            index,
            what: "it is not the one that is here",
        }
        .into())
    }

    fn store_chain(&self, known: &Known, chain: Chain) -> Result<(), ReplicaError> {
        let Chain { log, kept, .. } = chain;
        let ids: BTreeSet<Hash> = log.iter().map(|(_, operation)| operation.id()).collect();
        // What stood beyond the part that stays waits for a commit again.
        let displaced = known.log.get(kept..).unwrap_or_default().iter();
        let mut pending = displaced.map(|(_, operation)| operation.clone()).collect::<Vec<_>>();
        pending.extend(known.pending.iter().cloned());
        let mut seen = BTreeSet::new();
        pending.retain(|op| !ids.contains(&op.id()) && seen.insert(op.id()));
        let mut next = Known::from_log_at(log, pending, self.now())?;
        // What can have no effect any more, whatever is committed later, need not be offered for ever.
        let pending = std::mem::take(&mut next.pending).into_iter();
        let (keep, drop): (Vec<_>, Vec<_>) =
            pending.partition(|op| !is_hopeless(&next.ordered, op) && !is_called_off(&next.ordered, &ids, op));
        next.pending = keep;
        let (next, raised) = self.raise(known, next)?;
        let (identity, new) = (self.identity, next.log[kept..].to_vec());
        let back = (kept < known.log.len()).then_some(kept as u64);
        // The week that this replica waits begins where it learns of an erasure.
        let (before, after) = (known.ordered.erasures(), next.ordered.erasures());
        let learned: Vec<Hash> = after.keys().filter(|id| !before.contains_key(*id)).copied().collect();
        let forgotten: Vec<Hash> = before.keys().filter(|id| !after.contains_key(*id)).copied().collect();
        let note = ErasureNote {
            since: self.now(),
            done: false,
        };
        let write = self.store.write(move |write| {
            if let Some(index) = back {
                write.take_back(&identity, index)?;
            }
            for (commit, operation) in &new {
                write.put_commit(&identity, commit, operation)?;
            }
            for operation in &raised {
                write.put_pending(&identity, operation, false)?;
            }
            for erasure in &learned {
                write.note_erasure(&identity, erasure, Some(note))?;
            }
            for erasure in &forgotten {
                write.note_erasure(&identity, erasure, None)?;
            }
            drop.iter()
                .try_for_each(|operation| write.drop_pending(&identity, &operation.id()))
        });
        write.wait()?;
        self.set_known(next);
        Ok(())
    }

    /// Adds the proposals that keep what others built on, where `next` knows of a removal that `known` did not. They go to the disk with it,
    /// so that a crash cannot come between.
    fn raise(&self, known: &Known, next: Known) -> Result<(Known, Vec<Operation>), ReplicaError> {
        let raised = self
            .store
            .read(|read| raises(read, &known.tentative, &next, &self.signing))?;
        if raised.is_empty() {
            return Ok((next, raised));
        }
        let mut pending = next.pending;
        pending.extend(raised.iter().cloned());
        Ok((Known::from_log_at(next.log, pending, self.now())?, raised))
    }

    /// Proposes what `make` makes of where the identity stands now, as far as is known here, and commits it if this replica may. Answers with
    /// the operation's id.
    ///
    /// # Errors
    /// [`IdentityError::NoKey`] without any identity key; [`IdentityError::Void`] if it could have no effect.
    pub fn propose(
        &self,
        keys: &DeviceKeys,
        make: impl FnOnce(&Proposer<'_>, &State, &KeyRing) -> Result<Operation, IdentityError>,
    ) -> Result<Hash, ReplicaError> {
        let known = self.known();
        let ring = known.key_ring(keys);
        let mut by = Proposer::of(&known.tentative, &ring, &keys.signing).ok_or(IdentityError::NoKey)?;
        by.seen = known.ordered.head();
        let operation = make(&by, &known.tentative, &ring)?;
        let id = operation.id();
        self.take_operation(operation)?;
        Ok(id)
    }

    /// Takes an operation that waits for its commit, and commits what can be if this replica is an orderer.
    ///
    /// # Errors
    /// [`IdentityError::Void`] if it could have no effect.
    pub fn take_operation(&self, operation: Operation) -> Result<(), ReplicaError> {
        self.keep_operation(operation)?;
        self.commit_pending()?;
        Ok(())
    }

    /// As [`Replica::take_operation`], without committing: for a moment when the other side may know commits of ours that we lost.
    pub fn keep_operation(&self, operation: Operation) -> Result<(), ReplicaError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        if operation.identity() != self.identity {
            return Err(IdentityError::OtherIdentity.into());
        }
        let id = operation.id();
        if known.pending.iter().any(|op| op.id() == id) || known.log.iter().any(|(_, op)| op.id() == id) {
            return Ok(());
        }
        if let Verdict::Void(reason) = known.tentative.judge_at(&operation, self.now()) {
            return Err(IdentityError::Void(reason).into());
        }
        if known.pending.len() >= self.limits.pending {
            return Err(IdentityError::TooManyPending.into());
        }
        if known.log.len() + known.pending.len() >= self.limits.operations {
            return Err(IdentityError::LogFull.into());
        }
        let mut pending = known.pending.clone();
        pending.push(operation.clone());
        let (next, raised) = self.raise(&known, Known::from_log_at(known.log.clone(), pending, self.now())?)?;
        // A full quota keeps nobody from being let in, or from changing who orders: that costs room too, but is always taken.
        let limited = !self.is_device() && matches!(operation.body(), Body::Streams {});
        let identity = self.identity;
        self.store
            .write(move |write| {
                for operation in &raised {
                    write.put_pending(&identity, operation, false)?;
                }
                write.put_pending(&identity, &operation, limited)
            })
            .wait()?;
        self.set_known(next);
        Ok(())
    }

    /// Commits every pending operation that has an effect, if this replica is an orderer. Answers how many.
    pub fn commit_pending(&self) -> Result<usize, ReplicaError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        let mut chain = Chain::of(&known);
        let mut waiting: Vec<Operation> = known.pending.clone();
        // A change of orderers ends the term, so it comes last.
        waiting.sort_by_key(|operation| matches!(operation.body(), Body::ChangeOrderers { .. }));
        let mut count = 0;
        // One that votes or the recovery key stand behind begins a term wherever they say, whatever the old orderer committed since.
        for operation in &waiting {
            if chain.begin_term(&self.signing, operation, self.now())? {
                count += 1;
            }
        }
        loop {
            let next = waiting.iter().enumerate().find_map(|(place, operation)| {
                let commit = chain.state.next_commit(&self.signing, operation, self.now())?;
                let good = chain.state.judge_at(operation, commit.core().time) == Verdict::Ok;
                good.then_some((place, commit))
            });
            let Some((place, commit)) = next else { break };
            chain.push(commit, waiting.remove(place))?;
            count += 1;
        }
        if count > 0 {
            self.store_chain(&known, chain)?;
        }
        Ok(count)
    }

    /// Takes a range from a peer: author known, links and signature good, room left. Durable when it returns.
    pub fn take_range(&self, range: Range) -> Result<Appended, Refusal> {
        self.submit_range(range)?.durable(self)
    }

    /// As [`Replica::take_range`], without waiting for the disk: ranges that are submitted together become durable together.
    pub fn submit_range(&self, range: Range) -> Result<Submitted, Refusal> {
        let author = range.author;
        let known_start = self.store.read(|read| read.start(&author))?;
        let (start, is_new) = match known_start {
            Some(start) => (start, false),
            None => (range.start()?.ok_or(AppendError::Gap)?, true),
        };
        if start.owner() != self.identity || start.author() != self.identity {
            return Err(Refusal::OtherIdentity);
        }
        let known = self.known();
        let removed = self.judge_of(&known).removed().get(&start.device());
        if let Some(removed) = removed {
            let end = range.after.seq.saturating_add(range.entries.len() as u64);
            let room = if self.is_device() { KEPT_BEYOND } else { 0 };
            if end > removed.last(&Hash(author.0)).unwrap_or(1).saturating_add(room) {
                return Err(Refusal::Removed);
            }
        } else if !known.tentative.devices().contains_key(&start.device()) {
            return Err(AppendError::UnknownAuthor.into());
        }
        if !self.is_device() && removed.is_none() && !known.ordered.devices().contains_key(&start.device()) {
            return Err(Refusal::Retry);
        }
        let range = range.verify(&start.device())?;
        known.check_holes(&range)?;
        let (identity, now, limits) = (self.identity, self.now(), self.limits);
        let (latest, late) = (self.known.clone(), self.late.clone());
        let write = self.store.write(move |write| {
            if is_new {
                if write.heads(&identity)?.len() >= limits.authors {
                    return Ok(Err(Refusal::TooManyAuthors));
                }
                write.add_author(&start, false)?;
            }
            // What comes for a log that this device goes on writing was written by a copy of it.
            let own = write.is_own(&author)?;
            match write.append(&range) {
                Ok(appended) => {
                    if appended.forked || (own && appended.new > 0) {
                        write.raise(AlarmKind::Fork, Hash(author.0), now)?;
                        write.retire(&author)?;
                    }
                    // By what is known when it is written: what is being carried out meanwhile looks only at what is here before.
                    let known = latest.read().unwrap_or_else(PoisonError::into_inner).clone();
                    let entries = range.entries();
                    late.came(write, &known, &entries[entries.len() - appended.new..])?;
                    Ok(Ok(appended))
                }
                Err(AppendError::Store(error)) => Err(error),
                // Rolled back: not even the author's start stays.
                Err(refused) => Err(StoreError::Refused(Box::new(refused))),
            }
        });
        Ok(Submitted(write))
    }

    /// A receipt for what is here on disk.
    pub fn receipt(&self, author: AuthorId, position: Position) -> Receipt {
        Receipt::make(&self.signing, self.store.store_id(), author, position, self.now())
    }

    /// Whether an author log is this identity's, or not known here at all. A cloud peer keeps many identities in one store, and a member of
    /// one must reach nothing of another.
    pub fn is_ours(&self, author: &AuthorId) -> Result<bool, StoreError> {
        Ok(self
            .store
            .read(|read| read.start(author))?
            .is_none_or(|start| start.owner() == self.identity))
    }

    /// Keeps receipts that `peer` gave for something that is here.
    pub fn take_receipts(&self, peer: &PublicKey, store: StoreId, receipts: &[Receipt]) -> Result<(), Refusal> {
        for receipt in receipts {
            if receipt.peer != *peer || receipt.store != store || !self.is_ours(&receipt.author)? {
                return Err(Refusal::OtherIdentity);
            }
        }
        let receipts = receipts.to_vec();
        let put = move |write: &Write<'_>| receipts.iter().try_for_each(|receipt| write.put_receipt(receipt));
        Ok(self.store.write(put).wait()?)
    }

    /// Compares a peer's State with `receipts` that it gave before. What it lost is noted, told to the owner, and answered for the peer to
    /// hear.
    pub fn find_losses(
        &self,
        peer: &PublicKey,
        store: StoreId,
        theirs: &BTreeMap<AuthorId, Vec<Item>>,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Receipt>, StoreError> {
        let mut lost = Vec::new();
        for receipt in receipts {
            // Nobody shows what does not count, whether it is still there or not.
            if self.is_removed(&receipt.author)? {
                continue;
            }
            let items = theirs.get(&receipt.author).map_or(&[][..], Vec::as_slice);
            if receipt.store != store || !self.still_holds(items, &receipt)? {
                lost.push(receipt);
            }
        }
        // Most sessions find nothing: a wake of the radio is no reason to wait for the disk too.
        if lost.is_empty() && self.store.read(|read| read.peer_store(peer))? == Some(store) {
            return Ok(lost);
        }
        let (peer, now, dropped) = (*peer, self.now(), lost.clone());
        self.store
            .write(move |write| {
                let before = write.peer_store(&peer)?;
                write.note_peer_store(&peer, store)?;
                if before.is_some_and(|before| before != store) || !dropped.is_empty() {
                    write.raise(AlarmKind::PeerLoss, Hash(peer.0), now)?;
                }
                dropped.iter().try_for_each(|receipt| write.drop_receipt(receipt))
            })
            .wait()?;
        Ok(lost)
    }

    /// Whether a peer that shows `items` of an author log may still hold what its receipt says. A head further on that is not here yet is
    /// believed until its entries come: then its branch shows.
    fn still_holds(&self, items: &[Item], receipt: &Receipt) -> Result<bool, StoreError> {
        let (author, signed) = (&receipt.author, receipt.position);
        if items.iter().any(|item| item.head() == signed) {
            return Ok(true);
        }
        let further: Vec<Position> = items
            .iter()
            .map(Item::head)
            .filter(|head| head.seq > signed.seq)
            .collect();
        if further.is_empty() {
            return Ok(false);
        }
        self.store.read(|read| {
            let branches = read.branches(author)?;
            for head in further {
                let mut is_here = false;
                for branch in &branches {
                    if read.is_on(author, branch, head)? {
                        is_here = true;
                        if read.is_on(author, branch, signed)? {
                            return Ok(true);
                        }
                    }
                }
                if !is_here {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Stops writing to own author logs that a peer knows further than this device does: a copy of it writes there too.
    pub fn retire_copied(&self, theirs: &BTreeMap<AuthorId, Vec<Item>>) -> Result<(), StoreError> {
        let copied: Vec<AuthorId> = self.store.read(|read| {
            let mut copied = Vec::new();
            // By what is here, not by what a peer claims, which may be endless.
            for author in read.own_logs(&self.identity)? {
                for item in theirs.get(&author).into_iter().flatten() {
                    if !read.holds(&author, item.head())? {
                        copied.push(author);
                        break;
                    }
                }
            }
            Ok(copied)
        })?;
        if copied.is_empty() {
            return Ok(());
        }
        // The owner is told when signed entries come, not on a peer's mere word.
        let retire = move |write: &Write<'_>| copied.iter().try_for_each(|author| write.retire(author).map(drop));
        self.store.write(retire).wait()
    }

    /// An entry names a commit that no peer showed, though all said that they had sent all.
    pub fn note_hidden_commits(&self) -> Result<(), StoreError> {
        let (identity, now) = (self.identity, self.now());
        self.store
            .write(move |write| write.raise(AlarmKind::HiddenCommits, Hash(identity.0), now))
            .wait()
    }

    /// Signs that an attachment is here whole. Only to be given once every chunk is on the disk.
    pub fn attachment_receipt(&self, id: AttachmentId) -> AttachmentReceipt {
        AttachmentReceipt::make(&self.signing, self.store.store_id(), id, self.now())
    }

    /// Whether an attachment is taken from `remote`, or why not: devices of the identity may put what there is room for on a cloud peer, and
    /// a device takes what it `asked` for.
    pub fn takes_attachment(&self, remote: &PublicKey, id: &AttachmentId, asked: bool) -> Result<(), RefuseReason> {
        let known = self.known();
        if known.is_attachment_erased(id) {
            return Err(RefuseReason::NotWanted);
        }
        if self.is_device() {
            return if asked { Ok(()) } else { Err(RefuseReason::NotWanted) };
        }
        if self.judge_of(&known).devices().contains_key(remote) {
            return Ok(());
        }
        let waits = known.tentative.devices().contains_key(remote);
        Err(if waits {
            RefuseReason::Retry
        } else {
            RefuseReason::NotAMember
        })
    }

    /// Reads from the store.
    pub fn read<R>(&self, job: impl FnOnce(&Read<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.store.read(job)
    }
}

/// A range on its way to the disk.
pub struct Submitted(Reply<Result<Appended, Refusal>>);

impl Submitted {
    /// Waits for the disk.
    pub fn durable(self, replica: &Replica) -> Result<Appended, Refusal> {
        let appended = match self.0.wait() {
            Ok(appended) => appended?,
            Err(StoreError::Refused(refused)) => return Err(Refusal::Append(*refused)),
            Err(error) => return Err(error.into()),
        };
        if appended.new > 0 {
            replica.store.announce(replica.identity);
        }
        Ok(appended)
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replica({})", self.identity.short())
    }
}

/// An identity log that is being continued.
struct Chain {
    log: Vec<(Commit, Operation)>,
    /// How many of its commits are on the disk.
    kept: usize,
    /// After its last commit.
    state: State,
}

impl Chain {
    fn of(known: &Known) -> Self {
        Self {
            log: known.log.clone(),
            kept: known.log.len(),
            state: known.ordered.clone(),
        }
    }

    fn push(&mut self, commit: Commit, operation: Operation) -> Result<(), ReplicaError> {
        self.state.apply(&commit, &operation)?;
        self.log.push((commit, operation));
        Ok(())
    }

    /// Goes back to `state`, which the chain had.
    fn cut(&mut self, state: State) {
        let index = usize::try_from(state.count()).expect("as long as a list in memory");
        self.log.truncate(index);
        self.kept = self.kept.min(index);
        self.state = state;
    }

    /// The state before the commit at `index`, which is not the first.
    fn state_before(&self, index: usize) -> Result<State, ReplicaError> {
        Ok(Known::from_log(self.log[..index].to_vec(), Vec::new())?.ordered)
    }

    /// How `commit` stands against the one here in its place, with the state before both. `after` are the commits that follow it.
    fn compare(
        &self,
        commit: &Commit,
        operation: &Operation,
        after: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(Ordering, State), ReplicaError> {
        let index = usize::try_from(commit.core().index).unwrap_or(usize::MAX);
        // Nothing stands in the place of a genesis.
        if index == 0 {
            return Ok((Ordering::Equal, self.state.clone()));
        }
        let state = self.state_before(index)?;
        let (mine, my_operation) = &self.log[index];
        state.clone().apply(commit, operation)?;
        let (theirs, ours) = (
            state.precedence(commit, operation),
            state.precedence(mine, my_operation),
        );
        // Words that changed themselves here count no more, even where they had not yet.
        let signer = operation.core().proposer;
        let rotates = |op: &Operation| {
            op.core().proposer == signer
                && matches!(op.body(), Body::RotateRecovery { recovery, .. } if recovery.0 != signer)
        };
        let rotated_here = self.log[index..].iter().any(|(_, op)| rotates(op));
        let rotated_there = after
            .iter()
            .filter_map(|(_, operation)| Operation::decode(operation).ok())
            .any(|op| rotates(&op));
        let mut their_end = state.clone();
        let following = after.iter().map_while(|(commit, operation)| {
            let read = (Commit::decode(commit).ok()?, Operation::decode(operation).ok()?);
            Some(read)
        });
        for (commit, operation) in std::iter::once((commit.clone(), operation.clone())).chain(following) {
            if their_end.apply(&commit, &operation).is_err() {
                break;
            }
        }
        let they_count = state.outvotes(commit, operation, &self.state);
        let we_count = state.outvotes(mine, my_operation, &their_end);
        let order = match (they_count, we_count) {
            (false, true) => Ordering::Less,
            (true, false) => Ordering::Greater,
            _ => match theirs.cmp(&ours) {
                Ordering::Greater if rotated_here && !rotated_there => Ordering::Less,
                order => order,
            },
        };
        Ok((order, state))
    }

    /// Begins the term that `operation` asks for, if `signing` may and it stands above what is here.
    fn begin_term(&mut self, signing: &SigningKey, operation: &Operation, now: u64) -> Result<bool, ReplicaError> {
        let Body::ChangeOrderers { votes, .. } = operation.body() else {
            return Ok(false);
        };
        let from = votes.as_ref().map(|votes| votes.from).or(operation.core().seen);
        let base = self.log.iter().position(|(commit, _)| Some(commit.hash()) == from);
        let Some(index) = base.map(|base| base + 1) else {
            return Ok(false);
        };
        let state = match index == self.log.len() {
            true => self.state.clone(),
            false => self.state_before(index)?,
        };
        let Some(commit) = state.next_commit(signing, operation, now) else {
            return Ok(false);
        };
        if commit.core().term == state.term() {
            return Ok(false);
        }
        if index < self.log.len() && self.compare(&commit, operation, &[])?.0 != Ordering::Greater {
            return Ok(false);
        }
        self.cut(state);
        self.push(commit, operation.clone())?;
        Ok(true)
    }
}

/// Whether `operation` calls off an erasure that was put in order, and called off already: two devices did it at once.
fn is_called_off(state: &State, ordered: &BTreeSet<Hash>, operation: &Operation) -> bool {
    matches!(operation.body(), Body::CancelErase { erase } if ordered.contains(erase) && !state.erasures().contains_key(erase))
}

/// Whether no later commit can give `operation` an effect.
fn is_hopeless(state: &State, operation: &Operation) -> bool {
    // Terms only grow, whoever proposed it and whomever it names.
    if matches!(operation.body(), Body::ChangeOrderers { term, .. } if *term <= state.term()) {
        return true;
    }
    match state.judge(operation) {
        Verdict::Ok => false,
        Verdict::Void(reason) => match reason {
            VoidReason::Repeated
            | VoidReason::KeyInUse
            | VoidReason::NoConsent
            | VoidReason::BadServices
            | VoidReason::BadKey
            | VoidReason::RemovesItself
            | VoidReason::TooLate
            | VoidReason::SecondGenesis => true,
            // Of a removed device too: it may hold a key that its entries need, and the words may bring it back.
            VoidReason::WrongTerm
            | VoidReason::NotADevice
            | VoidReason::BadOrderers
            | VoidReason::Unknown
            | VoidReason::WasRemoved => false,
        },
    }
}
