//! One side of one connection, as a state machine.
//!
//! After the hellos each side knows what the other holds and pushes what it lacks: first the identity log, so that authors are
//! known, then entries, a range at a time as the transport has room. `Synced` carries how many messages its sender had handled, so
//! that both know when all is said and nothing is on the way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    ByeReason, Message, Refusal, RefuseReason, Replica, ReplicaError, Submitted,
    message::{FEATURE_ATTACHMENTS, MAX_LIST, MAX_STATE_ITEMS},
};
use crate::{
    crypto::{Hash, PublicKey},
    identity::{IdentityError, Operation},
    log::{AuthorId, Item, Position, Receipt, StoreId},
    store::{AppendError, Appended, BranchHead, StoreError},
};

/// Bytes of boxes after which a range is cut: a part of what was confirmed in this session, within these bounds. A range counts only when all of
/// it is there, so that on a slow network whose sessions end early the first ones must be short; on a good one they are long after a moment.
const RANGE_BYTES_FIRST: usize = 4 * 1024;
const RANGE_BYTES_MOST: usize = 256 * 1024;
const RANGE_PART: usize = 4;
/// Items in one State message.
const ITEMS_AT_ONCE: usize = MAX_STATE_ITEMS;
/// Bytes of operations in one Commits or Operations message.
const OPERATIONS_BYTES: usize = 512 * 1024;
/// Ranges that may wait for their receipts: more would only fill the other side's memory.
const RANGES_IN_FLIGHT: usize = 32;
/// Receipts or heads in one Loss or Confirm message.
const AT_ONCE: usize = MAX_LIST;
/// Reasons of refusals remembered.
const MAX_REASONS: usize = 16;
/// Items of one author log that a peer may name: a few more than the branches that are kept.
const MAX_ITEMS_OF_AUTHOR: usize = 64;
/// Items that a peer may claim to hold: more than the author logs that a replica keeps of one identity, and 32 MiB of memory at the most.
const MAX_ITEMS: usize = 131_072;
/// Identity heads that entries named and that are not known here, as many as are remembered.
const MAX_NAMED: usize = 64;

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Our own disk or identity log.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The other side said what cannot be said here.
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    /// The other side ended the session.
    #[error("the other side ended the session: {0}")]
    Ended(ByeReason),
    /// The other side is not of the identity.
    #[error("the other side is not a device or peer of this identity")]
    NotAMember,
    /// The other side speaks for another identity.
    #[error("the other side asks for an identity that is not here")]
    UnknownIdentity,
}

impl From<StoreError> for SessionError {
    fn from(error: StoreError) -> Self {
        Self::Replica(error.into())
    }
}

impl SessionError {
    /// What to say to the other side.
    pub fn bye(&self) -> ByeReason {
        match self {
            Self::Replica(ReplicaError::Store(_)) => ByeReason::ShuttingDown,
            // What the other side sent of the identity log does not hold together.
            Self::Replica(ReplicaError::Identity(_)) | Self::Protocol(_) => ByeReason::Invalid,
            Self::Ended(_) => ByeReason::Done,
            Self::NotAMember => ByeReason::NotAMember,
            Self::UnknownIdentity => ByeReason::UnknownIdentity,
        }
    }
}

/// What a session did so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Entries sent that the other side confirmed.
    pub sent: u64,
    /// Entries received that are new here.
    pub received: u64,
    /// Entries still to send and to receive, as far as is known.
    pub left: u64,
    /// What the other side did not take, and why.
    pub refused: BTreeSet<(RefuseReason, u64)>,
    /// Receipts that the other side contradicted: it lost entries, which were sent again.
    pub losses: u64,
    /// Author logs of which the other side said that it holds more than it sent, though it said that it had sent all.
    pub missing: u64,
    /// Round trips that the session needed, one after the other: one for the hellos, one for what was missing there, one for what was
    /// missing here. The connection's own handshake is not counted.
    pub round_trips: u64,
    /// Whether the other side answers sessions about attachments.
    pub attachments: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Our hello is out (dialler) or theirs is awaited (listener).
    Hello,
    /// Their State is awaited.
    State,
    /// Both know what the other holds.
    Open,
}

/// A range that was sent.
struct Sent {
    author: AuthorId,
    head: Position,
    entries: u64,
    bytes: usize,
}

/// One side of a connection.
pub struct Session {
    remote: PublicKey,
    /// The other side's endpoint, until its hello shows which device or peer that is.
    endpoint: Option<PublicKey>,
    phase: Phase,
    our_digest: Hash,
    /// What our digest stands for: count of commits, pending operations, items. Kept until the other side's hello.
    offered: (u64, Vec<Hash>, Vec<Item>),
    /// The other side's receipts as they were when our hello went out. Its State is made after that, so it must account for them; later ones
    /// may come through another session before it.
    receipts: Vec<Receipt>,
    their_store: StoreId,
    /// What the other side holds, as it said and as we sent since.
    theirs: BTreeMap<AuthorId, Vec<Item>>,
    /// Heads that we sent since, the last of each author log confirmed or on the way.
    pushed: BTreeMap<AuthorId, Vec<Position>>,
    their_commits: u64,
    /// How many commits their State said they have.
    their_count: u64,
    their_pending: BTreeSet<Hash>,
    items_seen: usize,
    /// Author logs to look at again.
    dirty: BTreeSet<AuthorId>,
    identity_dirty: bool,
    /// Heads as they were when last looked at, to tell what a local change changed.
    seen: BTreeMap<AuthorId, Vec<BranchHead>>,
    /// Author logs that the other side refuses in this session.
    blocked: BTreeSet<AuthorId>,
    /// Author logs of which this side refused what was well made.
    declined: BTreeSet<AuthorId>,
    /// Whether their identity log is another than ours, and ours counts.
    passed_over: bool,
    /// Identity heads that received entries name.
    named: BTreeSet<Hash>,
    /// Whether anything came since the session was last settled.
    unsettled: bool,
    /// Author logs for which our points were sent.
    located: BTreeSet<AuthorId>,
    /// What was sent of each author log and not yet confirmed.
    in_flight: VecDeque<Sent>,
    /// Bytes of boxes that the other side confirmed.
    confirmed: usize,
    /// Ranges on their way to the disk, with the identity heads that they name.
    submitted: VecDeque<(AuthorId, BTreeSet<Hash>, Submitted)>,
    outbox: VecDeque<Message>,
    sent: u64,
    received: u64,
    synced_at: Option<u64>,
    their_synced: Option<u64>,
    outcome: Outcome,
}

impl Session {
    /// The side that dials: its first message is its hello.
    pub fn dial(replica: &Replica, remote: PublicKey) -> Result<Self, SessionError> {
        Self::dial_with(replica, remote, false)
    }

    /// As [`Session::dial`], once more after the other side said that this one is no member: it may have been put back to a time before it was.
    /// The hello is longer by the operations that show it.
    pub fn dial_proving(replica: &Replica, remote: PublicKey) -> Result<Self, SessionError> {
        Self::dial_with(replica, remote, true)
    }

    fn dial_with(replica: &Replica, remote: PublicKey, whole: bool) -> Result<Self, SessionError> {
        let mut session = Self::new(remote, None);
        session.say_hello(replica, whole)?;
        session.outcome.round_trips = 1;
        Ok(session)
    }

    /// The side that listens: it waits for the other's hello. `endpoint` is the key that the transport proved; whose it is, the
    /// identity log says, or an operation that the hello brings.
    pub fn listen(endpoint: PublicKey) -> Self {
        Self::new(endpoint, Some(endpoint))
    }

    fn new(remote: PublicKey, endpoint: Option<PublicKey>) -> Self {
        Self {
            remote,
            endpoint,
            phase: Phase::Hello,
            our_digest: Hash([0; 32]),
            offered: (0, Vec::new(), Vec::new()),
            receipts: Vec::new(),
            their_store: StoreId([0; 16]),
            theirs: BTreeMap::new(),
            pushed: BTreeMap::new(),
            their_commits: 0,
            their_count: 0,
            their_pending: BTreeSet::new(),
            items_seen: 0,
            dirty: BTreeSet::new(),
            identity_dirty: false,
            seen: BTreeMap::new(),
            blocked: BTreeSet::new(),
            declined: BTreeSet::new(),
            passed_over: false,
            named: BTreeSet::new(),
            unsettled: false,
            located: BTreeSet::new(),
            in_flight: VecDeque::new(),
            confirmed: 0,
            submitted: VecDeque::new(),
            outbox: VecDeque::new(),
            sent: 0,
            received: 0,
            synced_at: None,
            their_synced: None,
            outcome: Outcome::default(),
        }
    }

    fn say_hello(&mut self, replica: &Replica, whole: bool) -> Result<(), SessionError> {
        // Receipts and heads first: what comes between these reads is then newer than both, and looked at again.
        self.receipts = replica.read(|read| read.receipts_of(&replica.identity(), &self.remote))?;
        self.seen = replica.heads()?;
        let (known, items, digest) = replica.state()?;
        self.our_digest = digest;
        self.offered = (known.ordered.count(), known.pending_ids(), items);
        self.say(Message::Hello {
            features: FEATURE_ATTACHMENTS,
            identity: replica.identity(),
            digest,
            store: replica.store().store_id(),
            proofs: replica.proofs(whole),
        });
        Ok(())
    }

    fn say(&mut self, message: Message) {
        self.outbox.push_back(message);
    }

    /// Whose other side this is: a signing key.
    pub fn remote(&self) -> PublicKey {
        self.remote
    }

    /// What was done so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether both sides have all that the other had, as far as each knows.
    pub fn is_synced(&self) -> bool {
        self.phase == Phase::Open
            && self.outbox.is_empty()
            && self.dirty.is_empty()
            && !self.identity_dirty
            && self.in_flight.is_empty()
            && self.submitted.is_empty()
            && self.their_synced == Some(self.sent)
    }

    /// Whether answers wait to be sent. A driver stops reading when they pile up.
    pub fn backlog(&self) -> usize {
        self.outbox.len()
    }

    /// Handles one message of the other side. What there is to answer comes from [`Session::next`]. Ranges may still be on their way to the
    /// disk when it returns; whatever comes next waits for them, or [`Session::flush`] does.
    pub fn receive(&mut self, message: Message, replica: &Replica) -> Result<(), SessionError> {
        if !matches!(message, Message::Synced(_) | Message::Bye(_)) {
            self.received += 1;
        }
        if !matches!(message, Message::Range(_)) {
            self.flush(replica)?;
        }
        match (self.phase, message) {
            (_, Message::Bye(ByeReason::Done)) if self.phase == Phase::Open => {
                Err(SessionError::Ended(ByeReason::Done))
            }
            (_, Message::Bye(reason)) => Err(SessionError::Ended(reason)),
            (
                Phase::Hello,
                Message::Hello {
                    features,
                    identity,
                    digest,
                    store,
                    proofs,
                },
            ) => {
                self.outcome.attachments = features & FEATURE_ATTACHMENTS != 0;
                if identity != replica.identity() {
                    return Err(SessionError::UnknownIdentity);
                }
                self.take_hello(digest, store, &proofs, replica)
            }
            (
                Phase::State,
                Message::State {
                    count,
                    head,
                    pending,
                    items,
                    more,
                },
            ) => self.take_state((count, head, pending), items, more, replica),
            (Phase::State | Phase::Open, Message::Operations(list)) => self.take_operations(&list, replica),
            (Phase::State | Phase::Open, Message::Commits(list)) => {
                if self.passed_over || self.outcome.refused.contains(&(RefuseReason::UpdateNeeded, 0)) {
                    return Ok(());
                }
                let taken = match replica.take_commits(&list) {
                    // The identity log stops here; entries do not wait for it.
                    Err(ReplicaError::Identity(IdentityError::UpdateNeeded)) => return self.needs_update(),
                    other => other?,
                };
                self.identity_dirty = true;
                if taken.passed_over {
                    // They have commits where ours count: they get ours from the start, and what follows of theirs is nothing to us.
                    self.passed_over = true;
                    self.their_commits = 0;
                    return Ok(());
                }
                // They may let us commit what waited; but not before we know all that the other side knows.
                if replica.known().ordered.count() >= self.their_count {
                    replica.commit_pending()?;
                }
                self.note_their_commits(&list);
                Ok(())
            }
            (Phase::State | Phase::Open, Message::Range(range)) => self.take_range(*range, replica),
            (Phase::State | Phase::Open, Message::Receipts(list)) => self.take_receipts(&list, replica),
            (Phase::Open, Message::Refused { author, reason, limit }) => {
                if self.outcome.refused.len() < MAX_REASONS {
                    self.outcome.refused.insert((reason, limit));
                }
                if let Some(author) = author.filter(|author| self.seen.contains_key(author)) {
                    self.blocked.insert(author);
                    self.forget_in_flight(&author);
                }
                Ok(())
            }
            (Phase::Open, Message::Locate { author, points }) => self.take_points(author, &points, replica),
            (Phase::Open, Message::Synced(count)) => {
                self.their_synced = Some(count);
                Ok(())
            }
            (Phase::Open, Message::Loss(list)) => self.answer_loss(&list, replica),
            (Phase::Open, Message::Confirm(heads)) => self.answer_confirm(&heads, replica),
            _ => Err(SessionError::Protocol("a message at the wrong time")),
        }
    }

    fn take_hello(
        &mut self,
        digest: Hash,
        store: StoreId,
        proofs: &[Vec<u8>],
        replica: &Replica,
    ) -> Result<(), SessionError> {
        self.their_store = store;
        if let Some(endpoint) = self.endpoint {
            for proof in proofs {
                let operation = Operation::decode(proof).map_err(ReplicaError::from)?;
                ignore_void(replica.keep_operation(operation))?;
            }
            self.remote = replica
                .known()
                .tentative
                .by_endpoint(&endpoint)
                .ok_or(SessionError::NotAMember)?;
            self.say_hello(replica, false)?;
        }
        let (their_commits, their_pending, offered) = std::mem::take(&mut self.offered);
        // Both sides compare the same two digests, so that both go the same way, whatever was written here since our hello.
        if digest == self.our_digest {
            // They hold what we held then.
            self.phase = Phase::Open;
            self.their_commits = their_commits;
            self.their_pending = their_pending.into_iter().collect();
            for item in offered {
                self.theirs.entry(item.0).or_default().push(item);
            }
            // Both know it without a word more.
            self.their_synced = Some(self.sent + self.outbox.len() as u64);
            self.synced_at = Some(self.received);
            replica.commit_pending()?;
            self.check_losses(replica)?;
            return self.local_change(replica);
        }
        let (known, items, _) = replica.state()?;
        self.phase = Phase::State;
        self.outcome.round_trips += 1;
        let mut head = (known.ordered.count(), known.ordered.head(), known.pending_ids());
        let mut chunks = items.chunks(ITEMS_AT_ONCE).peekable();
        if chunks.peek().is_none() {
            let (count, head, pending) = head;
            self.say(Message::State {
                count,
                head,
                pending,
                items: Vec::new(),
                more: false,
            });
            return Ok(());
        }
        while let Some(items) = chunks.next() {
            let (count, head, pending) = std::mem::take(&mut head);
            self.say(Message::State {
                count,
                head,
                pending,
                items: items.to_vec(),
                more: chunks.peek().is_some(),
            });
        }
        Ok(())
    }

    fn take_state(
        &mut self,
        (count, head, pending): (u64, Option<Hash>, Vec<Hash>),
        items: Vec<Item>,
        more: bool,
        replica: &Replica,
    ) -> Result<(), SessionError> {
        if self.items_seen == 0 && self.their_commits == 0 {
            self.their_commits = count;
            self.their_count = count;
            self.their_pending = pending.into_iter().collect();
            let known = replica.known();
            if let (Some(last), Some(head)) = (count.checked_sub(1), head) {
                let ours = usize::try_from(last).ok().and_then(|last| known.log.get(last));
                if ours.is_some_and(|(commit, _)| commit.hash() != head) {
                    // Not the same chain: let them send theirs from the start, which shows who signed twice.
                    self.their_commits = 0;
                }
            }
            self.identity_dirty = true;
        }
        self.items_seen += items.len().max(1);
        if self.items_seen > MAX_ITEMS {
            return Err(SessionError::Protocol("too many author logs"));
        }
        for item in items {
            // Nearly all have one branch, and a peer may claim very many.
            let of_author = self.theirs.entry(item.0).or_insert_with(|| Vec::with_capacity(1));
            of_author.push(item);
            if of_author.len() > MAX_ITEMS_OF_AUTHOR {
                return Err(SessionError::Protocol("too many branches of an author log"));
            }
        }
        self.unsettled = true;
        if more {
            return Ok(());
        }
        self.phase = Phase::Open;
        if self.their_commits <= replica.known().ordered.count() {
            // They know no commit that we do not: nothing that we sign now contradicts what we signed and lost.
            replica.commit_pending()?;
        }
        self.check_losses(replica)?;
        replica.retire_copied(&self.theirs)?;
        self.look_at_heads(replica, true)?;
        self.outcome.left = self.difference();
        Ok(())
    }

    /// How many entries one side has and the other has not, as far as heads tell.
    fn difference(&self) -> u64 {
        let ours = |author: &AuthorId| {
            self.seen
                .get(author)
                .and_then(|branches| branches.iter().map(|branch| branch.head.seq).max())
                .unwrap_or(1)
        };
        let theirs = |author: &AuthorId| {
            self.theirs
                .get(author)
                .and_then(|items| items.iter().map(|item| item.2).max())
                .unwrap_or(1)
        };
        let authors: BTreeSet<&AuthorId> = self.seen.keys().chain(self.theirs.keys()).collect();
        authors
            .into_iter()
            .map(|author| ours(author).abs_diff(theirs(author)))
            .fold(0, u64::saturating_add)
    }

    fn check_losses(&mut self, replica: &Replica) -> Result<(), SessionError> {
        let receipts = std::mem::take(&mut self.receipts);
        let lost = replica.find_losses(&self.remote, self.their_store, &self.theirs, receipts)?;
        self.outcome.losses += lost.len() as u64;
        let said = self.outbox.len();
        for lost in lost.chunks(AT_ONCE) {
            self.say(Message::Loss(
                lost.iter().map(|receipt| receipt.encode().to_vec()).collect(),
            ));
        }
        if replica.is_device() {
            self.ask_for_receipts(replica)?;
        }
        if self.outbox.len() > said {
            // There is something to say after all.
            self.synced_at = None;
        }
        Ok(())
    }

    /// Asks for receipts for what the other side says it holds: a session may have been cut between the entries and their receipt.
    fn ask_for_receipts(&mut self, replica: &Replica) -> Result<(), SessionError> {
        let mut unconfirmed = Vec::new();
        for (author, branches) in &self.seen {
            for branch in branches {
                let held = self
                    .theirs
                    .get(author)
                    .is_some_and(|items| items.iter().any(|item| item.head() == branch.head));
                let receipt = replica.read(|read| read.receipt_at(author, branch.branch, &self.remote))?;
                if held && receipt != Some(branch.head) {
                    unconfirmed.push((*author, branch.head.seq, branch.head.hash));
                }
            }
        }
        for heads in unconfirmed.chunks(AT_ONCE) {
            self.say(Message::Confirm(heads.to_vec()));
        }
        Ok(())
    }

    /// Looks for author logs whose heads moved since the last look; `all` looks at every one.
    fn look_at_heads(&mut self, replica: &Replica, all: bool) -> Result<(), SessionError> {
        let heads = replica.heads()?;
        for (author, branches) in &heads {
            if all || self.seen.get(author) != Some(branches) {
                self.dirty.insert(*author);
            }
        }
        self.seen = heads;
        Ok(())
    }

    /// Something changed in the store: entries written here, or come from another device.
    pub fn local_change(&mut self, replica: &Replica) -> Result<(), SessionError> {
        self.flush(replica)?;
        if self.phase == Phase::Open {
            self.identity_dirty = true;
            // What one peer keeps back another may have sent.
            self.unsettled |= self.outcome.missing > 0;
            self.look_at_heads(replica, false)?;
        }
        Ok(())
    }

    /// Whether both sides have said all, and something came since that was last looked at.
    pub fn can_settle(&self) -> bool {
        self.unsettled && self.is_synced()
    }

    /// Once both sides have said all: whether the other side kept to what it claimed. For the eyes of a device's owner.
    pub fn settle(&mut self, replica: &Replica) -> Result<(), SessionError> {
        self.unsettled = false;
        if !replica.is_device() || self.outcome.refused.contains(&(RefuseReason::UpdateNeeded, 0)) {
            return Ok(());
        }
        let mut missing = 0;
        for (author, items) in self
            .theirs
            .iter()
            .filter(|(author, _)| !self.declined.contains(*author))
        {
            // What does not count is nobody's to send.
            if replica.is_removed(author)? {
                continue;
            }
            let ours = self.seen.get(author).into_iter().flatten().map(|branch| branch.head);
            let ours: Vec<Position> = ours.collect();
            for head in items
                .iter()
                .map(Item::head)
                .filter(|head| head.seq > 1 && !ours.contains(head))
            {
                // What is above all of ours was not sent; below that it may lie on a branch.
                let above = ours.iter().all(|own| own.seq < head.seq);
                if above || !replica.read(|read| read.holds(author, head))? {
                    missing += 1;
                    break;
                }
            }
        }
        self.outcome.missing = missing;
        // Whoever has an entry has the commits that its device knew, and sends them first.
        let known = replica.known();
        let hidden = |head: &Hash| !known.log.iter().any(|(commit, _)| commit.hash() == *head);
        if std::mem::take(&mut self.named).iter().any(hidden) {
            replica.note_hidden_commits()?;
        }
        Ok(())
    }

    /// Tries again what the other side refused, in a session that stays open.
    ///
    /// Answers whether there was anything to try.
    pub fn retry_refused(&mut self) -> bool {
        let refused = self.phase == Phase::Open && !self.blocked.is_empty();
        if refused {
            self.outcome.refused.clear();
            self.dirty.append(&mut self.blocked);
        }
        refused
    }

    /// What was sent of an author log and not confirmed did not arrive where it belongs.
    fn forget_in_flight(&mut self, author: &AuthorId) {
        if let Some(pushed) = self.pushed.get_mut(author) {
            pushed.retain(|position| {
                !self
                    .in_flight
                    .iter()
                    .any(|sent| sent.author == *author && sent.head == *position)
            });
        }
        self.in_flight.retain(|sent| sent.author != *author);
    }

    /// The next message to send, if there is one now. To be called when the transport has room.
    #[allow(clippy::should_implement_trait)] // It asks the replica, so it cannot be an Iterator.
    pub fn next(&mut self, replica: &Replica) -> Result<Option<Message>, SessionError> {
        let message = self.choose(replica)?;
        if message
            .as_ref()
            .is_some_and(|message| !matches!(message, Message::Synced(_) | Message::Bye(_)))
        {
            self.sent += 1;
        }
        Ok(message)
    }

    fn choose(&mut self, replica: &Replica) -> Result<Option<Message>, SessionError> {
        self.flush(replica)?;
        if let Some(message) = self.outbox.pop_front() {
            return Ok(Some(message));
        }
        if self.phase != Phase::Open {
            return Ok(None);
        }
        // Whoever is sent a hole has been sent the erasure that allows it.
        if self.identity_dirty || replica.known().ordered.count() > self.their_commits {
            if let Some(message) = self.next_of_identity(replica) {
                return Ok(Some(message));
            }
            self.identity_dirty = false;
        }
        while self.in_flight.len() < RANGES_IN_FLIGHT {
            let Some(author) = self.dirty.first().copied() else {
                break;
            };
            if let Some(message) = self.next_of(author, replica)? {
                return Ok(Some(message));
            }
            self.dirty.remove(&author);
        }
        if self.dirty.is_empty() && self.in_flight.is_empty() && self.synced_at != Some(self.received) {
            self.synced_at = Some(self.received);
            return Ok(Some(Message::Synced(self.received)));
        }
        Ok(None)
    }

    fn next_of_identity(&mut self, replica: &Replica) -> Option<Message> {
        let known = replica.known();
        let from = usize::try_from(self.their_commits).unwrap_or(usize::MAX);
        let mut commits = Vec::new();
        let mut size = 0;
        for (commit, operation) in known.log.get(from..).unwrap_or_default() {
            let pair = (commit.encode().to_vec(), operation.encode());
            size += pair.0.len() + pair.1.len();
            commits.push(pair);
            if size > OPERATIONS_BYTES || commits.len() == MAX_LIST {
                break;
            }
        }
        if !commits.is_empty() {
            self.their_commits += commits.len() as u64;
            return Some(Message::Commits(commits));
        }
        let mut operations = Vec::new();
        let mut size = 0;
        for operation in &known.pending {
            if size <= OPERATIONS_BYTES && self.their_pending.insert(operation.id()) {
                let bytes = operation.encode();
                size += bytes.len();
                operations.push(bytes);
            }
        }
        (!operations.is_empty()).then_some(Message::Operations(operations))
    }

    fn note_their_commits(&mut self, list: &[(Vec<u8>, Vec<u8>)]) {
        let last = list
            .last()
            .and_then(|(commit, _)| crate::identity::Commit::decode(commit).ok());
        if let Some(commit) = last {
            self.their_commits = self.their_commits.max(commit.core().index.saturating_add(1));
        }
    }

    /// What the other side lacks of one author log.
    fn next_of(&mut self, author: AuthorId, replica: &Replica) -> Result<Option<Message>, SessionError> {
        if self.blocked.contains(&author) {
            return Ok(None);
        }
        let claimed = self.theirs.get(&author).into_iter().flatten().map(Item::head);
        let mut theirs: Vec<Position> = claimed
            .chain(self.pushed.get(&author).into_iter().flatten().copied())
            .collect();
        theirs.sort_by_key(|position| std::cmp::Reverse(position.seq));
        let branches = replica.branches(&author)?;
        for branch in &branches {
            if theirs.contains(&branch.head) {
                continue;
            }
            let mut from = theirs.is_empty().then(|| Position::start(&author));
            let mut may_hold_it = false;
            // Newest first: the first that lies on the branch is where they are.
            for position in &theirs {
                if position.seq < branch.head.seq {
                    if replica.read(|read| read.is_on(&author, branch, *position))? {
                        from = Some(*position);
                        break;
                    }
                } else if position.seq > branch.head.seq && !replica.read(|read| read.holds(&author, *position))? {
                    may_hold_it = true;
                }
            }
            let Some(from) = from else {
                if !may_hold_it && self.located.insert(author) {
                    let points = replica.read(|read| read.points(&author, branch))?;
                    return Ok(Some(Message::Locate { author, points }));
                }
                continue;
            };
            let most = (self.confirmed / RANGE_PART).clamp(RANGE_BYTES_FIRST, RANGE_BYTES_MOST);
            let range = replica.read(|read| read.range_to_send(&author, branch.branch, from, most))?;
            let Some((range, head)) = range else { continue };
            self.pushed.entry(author).or_default().push(head);
            self.in_flight.push_back(Sent {
                author,
                head,
                entries: range.entries.len() as u64,
                bytes: range.entries.iter().map(|entry| entry.size()).sum(),
            });
            if head == branch.head && !replica.is_device() {
                // A device that gets its entries from a cloud peer learns with them that the peer holds them.
                self.say(Message::Receipts(vec![replica.receipt(author, head).encode().to_vec()]));
            }
            return Ok(Some(Message::Range(Box::new(range))));
        }
        Ok(None)
    }

    fn needs_update(&mut self) -> Result<(), SessionError> {
        self.outcome.refused.insert((RefuseReason::UpdateNeeded, 0));
        self.say(Message::Refused {
            author: None,
            reason: RefuseReason::UpdateNeeded,
            limit: 0,
        });
        Ok(())
    }

    fn take_operations(&mut self, list: &[Vec<u8>], replica: &Replica) -> Result<(), SessionError> {
        for bytes in list {
            let operation = match Operation::decode(bytes) {
                Err(IdentityError::UpdateNeeded) => return self.needs_update(),
                other => other.map_err(ReplicaError::from)?,
            };
            self.their_pending.insert(operation.id());
            match replica.take_operation(operation) {
                Err(ReplicaError::Identity(IdentityError::TooManyPending | IdentityError::LogFull)) => {
                    self.say(Message::Refused {
                        author: None,
                        reason: RefuseReason::Rate,
                        limit: 0,
                    });
                }
                Err(ReplicaError::Store(StoreError::Refused(refused))) => {
                    let (reason, limit) = reason_of(&Refusal::Append(*refused));
                    self.say(Message::Refused {
                        author: None,
                        reason,
                        limit,
                    });
                }
                other => ignore_void(other)?,
            }
        }
        self.identity_dirty = true;
        Ok(())
    }

    fn take_range(&mut self, range: crate::log::Range, replica: &Replica) -> Result<(), SessionError> {
        let author = range.author;
        self.unsettled = true;
        // The first range of an author log brings its start, which those after it need.
        if !self.seen.contains_key(&author) || self.submitted.len() >= RANGES_IN_FLIGHT {
            self.flush(replica)?;
        }
        let named: BTreeSet<Hash> = range.entries.iter().filter_map(|entry| entry.head).collect();
        match replica.submit_range(range) {
            Ok(submitted) => {
                self.submitted.push_back((author, named, submitted));
                Ok(())
            }
            Err(refusal) => self.after_range(author, BTreeSet::new(), Err(refusal), replica),
        }
    }

    /// Waits until the ranges that were received are on the disk, and says so to the other side.
    pub fn flush(&mut self, replica: &Replica) -> Result<(), SessionError> {
        if self.submitted.is_empty() {
            return Ok(());
        }
        while let Some((author, named, submitted)) = self.submitted.pop_front() {
            self.after_range(author, named, submitted.durable(replica), replica)?;
        }
        self.look_at_heads(replica, false)
    }

    fn after_range(
        &mut self,
        author: AuthorId,
        named: BTreeSet<Hash>,
        taken: Result<Appended, Refusal>,
        replica: &Replica,
    ) -> Result<(), SessionError> {
        match taken {
            Ok(appended) => {
                let known = replica.known();
                let unknown = |head: &Hash| !known.log.iter().any(|(commit, _)| commit.hash() == *head);
                let room = MAX_NAMED.saturating_sub(self.named.len());
                self.named.extend(named.into_iter().filter(unknown).take(room));
                if self.outcome.received == 0 {
                    // Our receipt goes out, and its arrival is waited for.
                    self.outcome.round_trips += 1;
                }
                self.outcome.received += appended.new as u64;
                self.outcome.left = self.outcome.left.saturating_sub(appended.new as u64);
                let items = self.theirs.entry(author).or_default();
                // A known head that lies before this one says nothing any more; a few too many do no harm.
                if items.len() >= 64 {
                    items.remove(0);
                }
                items.push(Item(author, 0, appended.head.seq, appended.head.hash));
                self.say(Message::Receipts(vec![
                    replica.receipt(author, appended.head).encode().to_vec(),
                ]));
                if appended.forked {
                    self.dirty.insert(author);
                }
                Ok(())
            }
            Err(Refusal::Append(AppendError::Gap)) => {
                // It joins on to nothing here: say where we stand, once.
                if self.located.insert(author) {
                    let branches = replica.branches(&author)?;
                    let points = match branches.first() {
                        Some(branch) => replica.read(|read| read.points(&author, branch))?,
                        None => vec![(1, Hash(author.0))],
                    };
                    self.say(Message::Locate { author, points });
                    Ok(())
                } else {
                    self.say(Message::Refused {
                        author: Some(author),
                        reason: RefuseReason::Invalid,
                        limit: 0,
                    });
                    Ok(())
                }
            }
            Err(Refusal::Append(AppendError::Store(error))) => Err(error.into()),
            Err(refusal) => {
                let (reason, limit) = reason_of(&refusal);
                if matches!(reason, RefuseReason::TooManyBranches | RefuseReason::Rate) {
                    self.declined.insert(author);
                }
                self.say(Message::Refused {
                    author: Some(author),
                    reason,
                    limit,
                });
                Ok(())
            }
        }
    }

    fn take_receipts(&mut self, list: &[Vec<u8>], replica: &Replica) -> Result<(), SessionError> {
        let receipts = list
            .iter()
            .map(|bytes| Receipt::decode(bytes))
            .collect::<Result<Vec<_>, _>>();
        let receipts = receipts.map_err(|_| SessionError::Protocol("a receipt that does not verify"))?;
        match replica.take_receipts(&self.remote, self.their_store, &receipts) {
            Ok(()) => {}
            Err(Refusal::Append(AppendError::Store(error))) => return Err(error.into()),
            Err(_) => return Err(SessionError::Protocol("a receipt of somebody else's")),
        }
        for receipt in receipts {
            let confirmed = |sent: &Sent| sent.author == receipt.author && sent.head == receipt.position;
            if let Some(place) = self.in_flight.iter().position(confirmed) {
                let sent = self.in_flight.remove(place).expect("just found there");
                self.confirmed = self.confirmed.saturating_add(sent.bytes);
                self.outcome.sent += sent.entries;
                self.outcome.left = self.outcome.left.saturating_sub(sent.entries);
            }
            // What was sent before the confirmed head says nothing any more.
            if let Some(pushed) = self.pushed.get_mut(&receipt.author) {
                pushed.retain(|position| position.seq >= receipt.position.seq);
            }
        }
        Ok(())
    }

    fn take_points(&mut self, author: AuthorId, points: &[(u64, Hash)], replica: &Replica) -> Result<(), SessionError> {
        if points.is_empty() {
            return Err(SessionError::Protocol("no points"));
        }
        self.items_seen += 1;
        if self.items_seen > MAX_ITEMS {
            return Err(SessionError::Protocol("too many points"));
        }
        if !replica.is_ours(&author)? {
            return Err(SessionError::Protocol("an author log of another identity"));
        }
        // Whatever was on the way for this author did not join on.
        self.forget_in_flight(&author);
        let mut shared = &points[points.len()..];
        for (place, (seq, hash)) in points.iter().enumerate() {
            let point = Position { seq: *seq, hash: *hash };
            if replica.read(|read| read.holds(&author, point))? {
                // What comes after it in the list comes before it in the log.
                shared = &points[place..];
                break;
            }
        }
        let start = [(1, Hash(author.0))];
        if shared.is_empty() {
            shared = &start;
        }
        let of_author = self.theirs.entry(author).or_default();
        if of_author.len() >= MAX_ITEMS_OF_AUTHOR {
            return Err(SessionError::Protocol("too many points"));
        }
        of_author.push(Item(author, 0, shared[0].0, shared[0].1));
        // Of a log that forked, each branch goes on from where it parted from theirs.
        for branch in replica.branches(&author)? {
            for (seq, hash) in shared {
                let point = Position { seq: *seq, hash: *hash };
                if replica.read(|read| read.is_on(&author, &branch, point))? {
                    if of_author.iter().all(|item| item.head() != point) {
                        of_author.push(Item(author, 0, *seq, *hash));
                    }
                    break;
                }
            }
        }
        self.dirty.insert(author);
        if shared[0] != points[0] && self.located.insert(author) {
            self.say(Message::Locate {
                author,
                points: shared.to_vec(),
            });
        }
        Ok(())
    }

    /// The other side says that we contradict receipts of ours. For what is here after all it gets new ones.
    fn answer_loss(&mut self, list: &[Vec<u8>], replica: &Replica) -> Result<(), SessionError> {
        let mut again = Vec::new();
        for bytes in list {
            let Ok(receipt) = Receipt::decode(bytes) else {
                return Err(SessionError::Protocol("a receipt that does not verify"));
            };
            if receipt.peer == replica.signer() && self.may_confirm(&receipt.author, receipt.position, replica)? {
                again.push(replica.receipt(receipt.author, receipt.position).encode().to_vec());
            }
        }
        if !again.is_empty() {
            self.say(Message::Receipts(again));
        }
        Ok(())
    }

    fn may_confirm(&self, author: &AuthorId, position: Position, replica: &Replica) -> Result<bool, SessionError> {
        let held = position.seq > 1 && replica.read(|read| read.holds(author, position))?;
        Ok(held && replica.is_ours(author)?)
    }

    fn answer_confirm(&mut self, heads: &[(AuthorId, u64, Hash)], replica: &Replica) -> Result<(), SessionError> {
        let mut receipts = Vec::new();
        for (author, seq, hash) in heads {
            let position = Position { seq: *seq, hash: *hash };
            if self.may_confirm(author, position, replica)? {
                receipts.push(replica.receipt(*author, position).encode().to_vec());
            }
        }
        if !receipts.is_empty() {
            self.say(Message::Receipts(receipts));
        }
        Ok(())
    }
}

/// Operations that can have no effect are not the sender's fault: two devices may have proposed the same.
fn ignore_void(result: Result<(), ReplicaError>) -> Result<(), SessionError> {
    match result {
        Err(ReplicaError::Identity(IdentityError::Void(_))) => Ok(()),
        other => Ok(other?),
    }
}

fn reason_of(refusal: &Refusal) -> (RefuseReason, u64) {
    match refusal {
        Refusal::Retry => (RefuseReason::Retry, 0),
        Refusal::OtherIdentity => (RefuseReason::NotAMember, 0),
        Refusal::Removed => (RefuseReason::Removed, 0),
        Refusal::Withheld => (RefuseReason::Withheld, 0),
        Refusal::TooManyAuthors => (RefuseReason::Rate, 0),
        Refusal::Append(error) => match error {
            AppendError::UnknownAuthor => (RefuseReason::UnknownAuthor, 0),
            AppendError::Quota { unit: "bytes", limit } => (RefuseReason::QuotaBytes, *limit),
            AppendError::Quota { limit, .. } => (RefuseReason::QuotaEntries, *limit),
            AppendError::TooManyBranches => (RefuseReason::TooManyBranches, 0),
            AppendError::Gap | AppendError::Log(_) | AppendError::Store(_) => (RefuseReason::Invalid, 0),
        },
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({}, {:?})", self.remote.short(), self.phase)
    }
}
