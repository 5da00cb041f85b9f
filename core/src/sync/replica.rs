//! One identity's log and entries in a store, and every check between a peer's bytes and the disk.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::message::MAX_PROOFS;
use crate::{
    crypto::{DeviceKeys, Hash, PublicKey, SigningKey},
    identity::{Body, Commit, IdentityError, IdentityId, KeyRing, Operation, State, Verdict, VoidReason},
    log::{AuthorId, Item, LogError, Position, Range, Receipt, Section, StoreId, digest},
    store::{AlarmKind, AppendError, Appended, LogStore, Read, Reply, StoreError, Write},
};

/// Milliseconds since 1970, by the device's clock. Passed in, so that a simulation has its own.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

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
    /// Operations without a commit, each after those it builds on.
    pub pending: Vec<Operation>,
}

impl Known {
    /// Recomputes everything from the log.
    pub fn from_log(log: Vec<(Commit, Operation)>, pending: Vec<Operation>) -> Result<Self, IdentityError> {
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
        let (tentative, pending) = ordered.with_pending(pending);
        Ok(Self {
            ordered,
            tentative,
            log,
            verdicts,
            pending,
        })
    }

    /// The keys that `keys` can reach.
    pub fn key_ring(&self, keys: &DeviceKeys) -> KeyRing {
        let in_effect = self
            .log
            .iter()
            .zip(&self.verdicts)
            .filter(|(_, v)| **v == Verdict::Ok)
            .map(|((_, operation), _)| operation);
        let pending = self
            .pending
            .iter()
            .filter(|op| self.tentative.devices().contains_key(&op.core().proposer));
        KeyRing::gather(&self.ordered, &keys.agreement, in_effect.chain(pending))
    }

    /// Ids of pending operations.
    pub fn pending_ids(&self) -> Vec<Hash> {
        self.pending.iter().map(Operation::id).collect()
    }
}

/// One identity's log and entries. Cheap to share; calls may wait for the disk.
pub struct Replica {
    store: LogStore,
    identity: IdentityId,
    signing: SigningKey,
    now: WallClock,
    limits: Limits,
    known: RwLock<Arc<Known>>,
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
        let known = Known::from_log(stored.ordered, stored.pending).map_err(|error| StoreError::Damaged {
            file: "log.db",
            why: error.to_string(),
        })?;
        Ok(Self {
            store,
            identity,
            signing,
            now,
            limits,
            known: RwLock::new(Arc::new(known)),
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
        let items = self.store.read(|read| read.items(&self.identity))?;
        let known = self.known();
        let digest = digest(known.ordered.head(), &known.pending_ids(), &items);
        Ok((known, items, digest))
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
        proofs
    }

    /// Takes consecutive commits. Those that are here already are compared: a different one for the same place is an equivocation, and
    /// the owner is told. Answers how many are new.
    pub fn take_commits(&self, commits: &[(Vec<u8>, Vec<u8>)]) -> Result<usize, ReplicaError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        let mut log = known.log.clone();
        let mut ordered = known.ordered.clone();
        let mut new = Vec::new();
        let mut take = |commit: &[u8], operation: &[u8]| -> Result<(), ReplicaError> {
            let (commit, operation) = (Commit::decode(commit)?, Operation::decode(operation)?);
            if commit.core().identity != self.identity {
                return Err(IdentityError::OtherIdentity.into());
            }
            let index = commit.core().index;
            if let Some((mine, _)) = usize::try_from(index).ok().and_then(|index| log.get(index)) {
                if mine.hash() != commit.hash() {
                    self.check_equivocation(&known, &commit)?;
                }
                return Ok(());
            }
            ordered.apply(&commit, &operation)?;
            log.push((commit.clone(), operation.clone()));
            new.push((commit, operation));
            Ok(())
        };
        let taken = commits
            .iter()
            .try_for_each(|(commit, operation)| take(commit, operation));
        // What was good before the first that was not is kept all the same.
        let count = new.len();
        if count > 0 {
            self.store_commits(&known, log, new)?;
        }
        taken.map(|()| count)
    }

    /// Another commit for a place that is taken. It counts as an equivocation only if an orderer of that place signed it.
    fn check_equivocation(&self, known: &Known, commit: &Commit) -> Result<(), ReplicaError> {
        let index = commit.core().index;
        let at = known.log.get(usize::try_from(index).unwrap_or(usize::MAX));
        if at.is_some_and(|(mine, _)| {
            mine.core().orderer == commit.core().orderer && mine.core().term == commit.core().term
        }) {
            let (identity, now) = (self.identity, self.now());
            self.store
                .write(move |write| write.raise(AlarmKind::Equivocation, Hash(identity.0), now))
                .wait()?;
            return Err(IdentityError::Equivocation { index }.into());
        }
        Err(IdentityError::BadCommit {
            index,
            what: "it is not the one that is here",
        }
        .into())
    }

    fn store_commits(
        &self,
        known: &Known,
        log: Vec<(Commit, Operation)>,
        new: Vec<(Commit, Operation)>,
    ) -> Result<(), ReplicaError> {
        let pending: Vec<Operation> = known
            .pending
            .iter()
            .filter(|op| !log.iter().any(|(_, ordered)| ordered.id() == op.id()))
            .cloned()
            .collect();
        let mut next = Known::from_log(log, pending)?;
        // What can have no effect any more, whatever is committed later, need not be offered for ever.
        let (keep, drop): (Vec<_>, Vec<_>) = next.pending.into_iter().partition(|op| !is_hopeless(&next.ordered, op));
        next.pending = keep;
        let identity = self.identity;
        let write = self.store.write(move |write| {
            for (commit, operation) in &new {
                write.put_commit(&identity, commit, operation)?;
            }
            drop.iter()
                .try_for_each(|operation| write.drop_pending(&identity, &operation.id()))
        });
        write.wait()?;
        self.set_known(next);
        Ok(())
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
        if let Verdict::Void(reason) = known.tentative.judge(&operation) {
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
        // A full quota keeps nobody from being let in, or from changing who orders: that costs room too, but is always taken.
        let limited = !self.is_device() && matches!(operation.body(), Body::Streams {});
        let identity = self.identity;
        self.store
            .write(move |write| write.put_pending(&identity, &operation, limited))
            .wait()?;
        self.set_known(Known::from_log(known.log.clone(), pending)?);
        Ok(())
    }

    /// Commits every pending operation that has an effect, if this replica is an orderer. Answers how many.
    pub fn commit_pending(&self) -> Result<usize, ReplicaError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known();
        let mut ordered = known.ordered.clone();
        let mut log = known.log.clone();
        let mut new = Vec::new();
        let mut waiting: Vec<Operation> = known.pending.clone();
        // A change of orderers ends the term, so it comes last.
        waiting.sort_by_key(|operation| matches!(operation.body(), Body::ChangeOrderers { .. }));
        while let Some(place) = waiting
            .iter()
            .position(|operation| ordered.judge(operation) == Verdict::Ok)
        {
            let operation = waiting.remove(place);
            let Some(commit) = ordered.next_commit(&self.signing, &operation, self.now()) else {
                break;
            };
            ordered.apply(&commit, &operation)?;
            log.push((commit.clone(), operation.clone()));
            new.push((commit, operation));
        }
        let count = new.len();
        if count > 0 {
            self.store_commits(&known, log, new)?;
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
        if !known.tentative.devices().contains_key(&start.device()) {
            return Err(AppendError::UnknownAuthor.into());
        }
        // No operation erases anything yet: a section left out on the way is a peer withholding, and what is here is had.
        let left_out = |section: &Section| matches!(section, Section::Erased(_));
        if range.entries.iter().any(|entry| entry.sections.iter().any(left_out)) {
            return Err(LogError::BadRange.into());
        }
        if !self.is_device() && !known.ordered.devices().contains_key(&start.device()) {
            return Err(Refusal::Retry);
        }
        let range = range.verify(&start.device())?;
        let (identity, now, limits) = (self.identity, self.now(), self.limits);
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
            | VoidReason::SecondGenesis => true,
            VoidReason::WrongTerm | VoidReason::NotADevice | VoidReason::BadOrderers => false,
        },
    }
}
