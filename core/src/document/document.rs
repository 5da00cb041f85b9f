//! One document: what Automerge holds, behind checks that let it take changes
//! from peers.
//!
//! Automerge 0.12 trusts the changes it is given. A change with a reference
//! that leads nowhere can panic, or be taken and saved into a state that can
//! never be loaded again. So changes are applied to a copy, every change just
//! applied is built anew from the copy and must come out with the same hash
//! (this is what loading a saved document will check), and only then the copy
//! takes the document's place.
//!
//! Panics are caught, which needs unwinding: a build with `panic = "abort"`
//! loses this guard.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, Prop, ROOT, ReadDoc, TextEncoding};

use super::chunk::{self, ChunkError, Limits, check_change, open_change};
use super::edit::Edit;
use super::marks::marks_hold;
use super::read::{get, read_map};
use super::value::Value;

/// Levels of lists and maps a document may have. What lies deeper (only a
/// hostile peer writes it) reads as nothing, so that the stack is never used up.
pub const MAX_DEPTH: usize = 64;

/// Bytes of changes held back while others they build on are missing.
pub const MAX_PENDING_BYTES: usize = 64 << 20;

/// How places in texts are counted, in calls only, never in what is stored: in UTF-16 code units, as Swift's `NSString` and Kotlin count.
pub(super) const ENCODING: TextEncoding = TextEncoding::Utf16CodeUnit;

/// Why a document refuses. Names no data of users: a step is the place in a
/// path, from 0, an index the place of a change in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The saved state cannot be read.
    #[error("the saved document is damaged")]
    Damaged,
    /// The bytes of a change were refused before Automerge saw them.
    #[error("change {index} is refused: {error}")]
    Chunk {
        /// Which change.
        index: usize,
        /// Why.
        error: ChunkError,
    },
    /// The bytes of a change are not those its checksum was made of.
    #[error("change {index} is damaged")]
    Checksum {
        /// Which change.
        index: usize,
    },
    /// The author has written two different changes with the same number.
    #[error("change {index} contradicts another of its author")]
    Fork {
        /// Which change.
        index: usize,
    },
    /// The change does not continue those it builds on, or refers to what is
    /// not there, or Automerge panicked on it.
    ///
    /// Only a hostile or broken device writes such. It may refer to what has
    /// not arrived here but has elsewhere: the caller should set the change
    /// aside and offer it again after others were applied, or replicas may
    /// come to differ.
    #[error("change {index} cannot be applied")]
    Rejected {
        /// Which change.
        index: usize,
    },
    /// Too many changes wait for others.
    #[error("too many changes wait for others that are missing")]
    PendingFull,
    /// The edit makes a change larger than peers accept; nothing of it stays.
    #[error("the edit is too large for one change")]
    TooLarge,
    /// The path leads through or to a value of another type.
    #[error("step {step} of the path leads to a value of another type")]
    WrongType {
        /// Which step.
        step: usize,
    },
    /// The path leads to nothing.
    #[error("step {step} of the path leads to nothing")]
    NotFound {
        /// Which step.
        step: usize,
    },
    /// A place past the end of a list or text.
    #[error("step {step} of the path is past the end")]
    OutOfRange {
        /// Which step; the path's length if the place is inside its target.
        step: usize,
    },
    /// The edit needs a path and was given none.
    #[error("the path is empty")]
    EmptyPath,
    /// More levels than [`MAX_DEPTH`].
    #[error("the value has too many levels")]
    TooDeep,
    /// A counter or an increment past [`chunk::MAX_COUNTER`].
    #[error("the counter is out of range")]
    CounterRange,
    /// A cursor's string that no cursor gave.
    #[error("this is not a cursor")]
    Cursor,
    /// A version, or a change, that the document does not have.
    #[error("the document has no such version")]
    NoVersion,
    /// Automerge refused what was checked before. Nothing of it stays.
    #[error("the document could not be edited")]
    Failed,
}

impl DocumentError {
    /// Which change of the call the error is about, if it is about one.
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::Chunk { index, .. } | Self::Checksum { index } | Self::Fork { index } | Self::Rejected { index } => {
                Some(*index)
            }
            _ => None,
        }
    }
}

/// One step of a path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A field of a map.
    Field(String),
    /// A place in a list, from 0.
    Index(usize),
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Key::Field(name.to_owned())
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Key::Field(name)
    }
}

impl From<usize> for Key {
    fn from(index: usize) -> Self {
        Key::Index(index)
    }
}

/// Names of fields may be users' data.
impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Field(name) => write!(out, "Field({} bytes)", name.len()),
            Key::Index(_) => out.write_str("Index"),
        }
    }
}

impl Key {
    pub(super) fn prop(&self) -> Prop {
        match self {
            Key::Field(name) => Prop::Map(name.clone()),
            Key::Index(index) => Prop::Seq(*index),
        }
    }
}

/// What applying changes did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether anything was added to what the document shows.
    pub changed: bool,
    /// How many changes were added to it.
    pub added: usize,
    /// How many wait for others that are missing.
    pub pending: usize,
    /// How many that had waited since an earlier call were dropped as they
    /// cannot be applied.
    pub dropped: usize,
}

/// What the head of a change says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeInfo {
    /// The hash, by which others refer to the change.
    pub hash: [u8; 32],
    /// Who wrote it. The caller should compare this with the device that the
    /// change came signed by: nothing in here can.
    pub actor: Vec<u8>,
    /// Its number among its author's changes, from 1.
    pub sequence: u64,
    /// The changes it builds on.
    pub dependencies: Vec<[u8; 32]>,
}

/// Reads the head of one change from a peer, after all checks that need no
/// document.
pub fn inspect(bytes: &[u8], limits: Limits) -> Result<ChangeInfo, DocumentError> {
    let change = read_change(bytes, limits, 0)?;
    Ok(ChangeInfo {
        hash: change.hash().0,
        actor: change.actor_id().to_bytes().to_vec(),
        sequence: change.seq(),
        dependencies: change.deps().iter().map(|hash| hash.0).collect(),
    })
}

/// One document that several devices edit.
///
/// A clone edits as the same actor: never let two copies that both live on
/// edit as one actor; [`Document::fork_as`] names another.
///
/// # Created twice
///
/// A document whose identifier is random has one creator; the others get it
/// with the creator's changes, and edits merge. Only if an application names a
/// document itself ("settings") can two devices create it unknown to each
/// other. Then plain fields merge (of two writes to one field, one wins), but
/// two texts, lists or maps created under one name are two objects, of which
/// one disappears from sight. [`Document::with_initial`] prevents this: the
/// first change is the same bytes everywhere.
#[derive(Clone)]
pub struct Document {
    pub(super) doc: Automerge,
    /// Changes whose dependencies are missing. Automerge has a queue too, but
    /// what lies in there cannot be seen, limited, or taken out again.
    pending: BTreeMap<ChangeHash, Change>,
    pub(super) limits: Limits,
}

impl fmt::Debug for Document {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Document")
            .field("heads", &self.doc.get_heads().len())
            .field("pending", &self.pending.len())
            .finish()
    }
}

impl Document {
    /// An empty document that `actor` edits.
    pub fn new(actor: &[u8; 32]) -> Self {
        Document {
            doc: Automerge::new_with_encoding(ENCODING).with_actor(ActorId::from(actor)),
            pending: BTreeMap::new(),
            limits: Limits::default(),
        }
    }

    /// A document that starts with `fields`, by a first change that is the
    /// same on every device that gives the same fields; with its bytes.
    ///
    /// The change's author is derived from the fields, and so nobody's device;
    /// peers need not be sent it if they start with the same fields.
    pub fn with_initial(
        actor: &[u8; 32],
        fields: &BTreeMap<String, Value>,
    ) -> Result<(Self, Vec<Vec<u8>>), DocumentError> {
        let mut start = Document::new(&initial_actor(fields));
        let ((), changes) = start.edit(|edit| {
            for (name, value) in fields {
                edit.set(&[Key::from(name.as_str())], value.clone())?;
            }
            Ok::<_, DocumentError>(())
        })?;
        Ok((start.fork_as(actor), changes))
    }

    /// A document from what [`Document::save`] gave.
    pub fn load(bytes: &[u8], actor: &[u8; 32]) -> Result<Self, DocumentError> {
        let end = chunk::chunk_end(bytes).map_err(|_| DocumentError::Damaged)?;
        let (saved, mut rest) = bytes.split_at(end);
        let options = automerge::LoadOptions::new().text_encoding(ENCODING);
        let doc = guard(|| Automerge::load_with_options(saved, options))
            .and_then(Result::ok)
            .ok_or(DocumentError::Damaged)?;
        let mut document = Document {
            doc: doc.with_actor(ActorId::from(actor)),
            pending: BTreeMap::new(),
            limits: Limits::default(),
        };
        while !rest.is_empty() {
            let end = chunk::chunk_end(rest).map_err(|_| DocumentError::Damaged)?;
            let (waiting, after) = rest.split_at(end);
            let change = read_change(waiting, document.limits, 0).map_err(|_| DocumentError::Damaged)?;
            document.pending.insert(change.hash(), change);
            rest = after;
        }
        Ok(document)
    }

    /// The whole document with its history, and the changes that wait for
    /// others (Automerge's own format: a document and changes after it).
    pub fn save(&self) -> Vec<u8> {
        let mut bytes = self.doc.save();
        for change in self.pending.values() {
            bytes.extend_from_slice(change.raw_bytes());
        }
        bytes
    }

    /// The document with its history as an Automerge file that other programs read: without the changes that wait for others.
    pub fn export(&self) -> Vec<u8> {
        self.doc.save()
    }

    /// The same document, edited as `actor` from here on.
    pub fn fork_as(&self, actor: &[u8; 32]) -> Self {
        let mut fork = self.clone();
        fork.doc.set_actor(ActorId::from(actor));
        fork
    }

    /// The changes that no other builds on. Those that wait are not among
    /// them.
    pub fn heads(&self) -> Vec<[u8; 32]> {
        self.doc.get_heads().iter().map(|hash| hash.0).collect()
    }

    /// Every change that is not among `heads` or before them, as peers take
    /// them, each after those it builds on.
    pub fn changes_since(&self, heads: &[[u8; 32]]) -> Vec<Vec<u8>> {
        let heads: Vec<ChangeHash> = heads.iter().copied().map(ChangeHash).collect();
        self.doc
            .get_changes(&heads)
            .into_iter()
            .map(|mut change| wire(&mut change, self.limits))
            .collect()
    }

    /// How many changes wait for others that are missing. They are kept by
    /// [`Document::save`], so that a caller may move its cursor past them.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The changes that those which wait are missing.
    pub fn missing(&self) -> Vec<[u8; 32]> {
        let mut missing: Vec<[u8; 32]> = self
            .pending
            .values()
            .flat_map(|change| change.deps())
            .filter(|hash| !self.pending.contains_key(hash) && !self.has(hash))
            .map(|hash| hash.0)
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// The value at the end of a path; nothing if there is none. The empty
    /// path is the whole document.
    pub fn get(&self, path: &[Key]) -> Option<Value> {
        get(&self.doc, path)
    }

    /// Everything the document shows.
    pub fn value(&self) -> Value {
        read_map(&self.doc, &ROOT, 1)
    }

    /// The text at the end of a path, collaborative or not.
    pub fn text(&self, path: &[Key]) -> Option<String> {
        match self.get(path)? {
            Value::Text(text) | Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Edits the document in one change.
    ///
    /// Gives what `edit` gave and the bytes of the change for peers: one, or
    /// none if nothing changed. If `edit` fails or panics, nothing remains.
    pub fn edit<R, E: From<DocumentError>>(
        &mut self,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<R, E>,
    ) -> Result<(R, Vec<Vec<u8>>), E> {
        self.edit_saying(None, edit)
    }

    /// As [`Document::edit`], by a change that says `what` it is for ([`super::ChangeKind`]).
    pub(super) fn edit_saying<R, E: From<DocumentError>>(
        &mut self,
        what: Option<String>,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<R, E>,
    ) -> Result<(R, Vec<Vec<u8>>), E> {
        let before = self.doc.get_heads();
        let (result, hash) = self.session(what, edit)?;
        let Some(hash) = hash else {
            return Ok((result, Vec::new()));
        };
        let made = made(&self.doc, &hash, self.limits);
        match made {
            Ok(bytes) => Ok((result, vec![bytes])),
            Err(error) => {
                // Peers would refuse the change: take it back, the slow way.
                let actor = self.doc.get_actor().clone();
                if let Some(Ok(earlier)) = guard(|| self.doc.fork_at(&before)) {
                    self.doc = earlier.with_actor(actor);
                }
                Err(error.into())
            }
        }
    }

    /// Runs the edits and commits them; with the hash of the change, if there
    /// was anything to commit.
    fn session<R, E: From<DocumentError>>(
        &mut self,
        what: Option<String>,
        edit: impl FnOnce(&mut Edit<'_>) -> Result<R, E>,
    ) -> Result<(R, Option<ChangeHash>), E> {
        let operations = self.limits.operations;
        // Dropped without a commit, it rolls back.
        let mut session = Edit::of(self.doc.transaction());
        let result = edit(&mut session)?;
        if session.failed {
            // An operation failed halfway and `edit` went on regardless.
            return Err(DocumentError::Failed.into());
        }
        if session.transaction.pending_ops() as u64 > operations {
            return Err(DocumentError::TooLarge.into());
        }
        let mut options = CommitOptions::default();
        if let Some(what) = what {
            options.set_message(what);
        }
        Ok((result, session.transaction.commit_with(options).0))
    }

    /// Applies changes from peers, in any order; those already known do no
    /// harm. Those that build on changes not yet here wait for them.
    ///
    /// All or nothing: on an error, which names the change it is about, the
    /// document is as before. The caller leaves that change out and calls
    /// again.
    pub fn apply(&mut self, changes: &[Vec<u8>]) -> Result<Applied, DocumentError> {
        let read = changes.iter().enumerate();
        let read: Result<Vec<Change>, _> = read
            .map(|(index, bytes)| read_change(bytes, self.limits, index))
            .collect();
        self.apply_read(&read?)
    }

    /// As [`Document::apply`], of changes that [`read_change`] gave.
    pub(super) fn apply_read(&mut self, changes: &[Change]) -> Result<Applied, DocumentError> {
        let mut waiting = self.pending.clone();
        // Where in this call a change came from; absent for earlier ones.
        let mut origin: HashMap<ChangeHash, usize> = HashMap::new();
        let mut numbers: HashMap<(ActorId, u64), ChangeHash> = waiting
            .values()
            .map(|change| ((change.actor_id().clone(), change.seq()), change.hash()))
            .collect();
        for (index, change) in changes.iter().enumerate() {
            let hash = change.hash();
            if waiting.contains_key(&hash) || self.has(&hash) {
                continue;
            }
            let number = (change.actor_id().clone(), change.seq());
            if numbers.insert(number, hash).is_some() {
                return Err(DocumentError::Fork { index });
            }
            origin.insert(hash, index);
            waiting.insert(hash, change.clone());
        }

        let mut dropped = 0;
        let (doc, added) = loop {
            let (ready, rest) = self.split_ready(&waiting);
            if ready.is_empty() {
                break (None, 0);
            }
            match self.extended(&ready) {
                Ok(doc) => {
                    waiting = rest;
                    break (Some(doc), ready.len());
                }
                Err((hash, fault)) => match origin.get(&hash) {
                    Some(&index) => return Err(fault.at(index)),
                    None => {
                        // It waited since an earlier call, whose caller no
                        // longer can be told.
                        waiting.remove(&hash);
                        dropped += 1;
                    }
                },
            }
        };
        let waits: usize = waiting.values().map(|change| change.raw_bytes().len()).sum();
        if waits > MAX_PENDING_BYTES {
            return Err(DocumentError::PendingFull);
        }
        if let Some(doc) = doc {
            self.doc = doc;
        }
        self.pending = waiting;
        Ok(Applied {
            changed: added > 0,
            added,
            pending: self.pending.len(),
            dropped,
        })
    }

    /// Whether the document holds this change (one that waits is not held).
    pub fn contains(&self, change: &[u8; 32]) -> bool {
        self.has(&ChangeHash(*change))
    }

    pub(super) fn has(&self, hash: &ChangeHash) -> bool {
        self.doc.get_change_meta_by_hash(hash).is_some()
    }

    /// Parts those changes whose dependencies are all here, each after those
    /// it builds on, from the rest.
    fn split_ready(&self, waiting: &BTreeMap<ChangeHash, Change>) -> (Vec<Change>, BTreeMap<ChangeHash, Change>) {
        let mut unmet: HashMap<ChangeHash, usize> = HashMap::new();
        let mut children: HashMap<ChangeHash, Vec<ChangeHash>> = HashMap::new();
        let mut next = Vec::new();
        for (hash, change) in waiting {
            let missing: HashSet<_> = change.deps().iter().filter(|dep| !self.has(dep)).collect();
            if missing.is_empty() {
                next.push(*hash);
            }
            unmet.insert(*hash, missing.len());
            for dep in missing {
                children.entry(*dep).or_default().push(*hash);
            }
        }
        let mut ready = Vec::new();
        let mut rest = waiting.clone();
        while let Some(hash) = next.pop() {
            ready.extend(rest.remove(&hash));
            for child in children.remove(&hash).unwrap_or_default() {
                if let Some(left) = unmet.get_mut(&child) {
                    *left -= 1;
                    if *left == 0 {
                        next.push(child);
                    }
                }
            }
        }
        (ready, rest)
    }

    /// A copy of the document with these changes, or which of them is at
    /// fault.
    fn extended(&self, ready: &[Change]) -> Result<Automerge, (ChangeHash, Fault)> {
        self.check_steps(ready)?;
        if let Some(doc) = self.extended_unless_refused(ready) {
            return Ok(doc);
        }
        // Something panicked or came out different: find out which.
        let mut so_far = self.clone();
        for change in ready {
            let one = std::slice::from_ref(change);
            match guard(|| so_far.extended_unless_refused(one)).flatten() {
                Some(doc) => so_far.doc = doc,
                None => {
                    let fault = if so_far.is_fork(change) {
                        Fault::Fork
                    } else {
                        Fault::Rejected
                    };
                    return Err((change.hash(), fault));
                }
            }
        }
        Ok(so_far.doc)
    }

    /// A copy of the document with these changes, if Automerge takes them and
    /// then holds them as they are.
    fn extended_unless_refused(&self, ready: &[Change]) -> Option<Automerge> {
        guard(|| {
            let before = self.doc.get_heads();
            let mut doc = self.doc.clone();
            doc.apply_changes(ready.iter().cloned()).ok()?;
            let held: HashSet<ChangeHash> = doc.get_changes(&before).iter().map(|change| change.hash()).collect();
            let faithful = held.len() == ready.len() && ready.iter().all(|c| held.contains(&c.hash()));
            (faithful && marks_hold(&doc, ready)).then_some(doc)
        })
        .flatten()
    }

    /// Whether Automerge holds another change of this author and number.
    fn is_fork(&self, change: &Change) -> bool {
        let probe = self.doc.clone();
        let refused = guard(|| {
            let mut probe = probe;
            probe.apply_changes([change.clone()])
        });
        matches!(refused, Some(Err(AutomergeError::DuplicateSeqNumber(..))))
    }

    /// Checks that each change continues those before it: it builds on its
    /// author's last one, and numbers its operations right after theirs. What
    /// jumps ahead could use up the numbers of the whole document.
    fn check_steps(&self, ready: &[Change]) -> Result<(), (ChangeHash, Fault)> {
        // Of the changes in this batch: author, number, last operation.
        let mut batch: HashMap<ChangeHash, (ActorId, u64, u64)> = HashMap::new();
        for change in ready {
            let hash = change.hash();
            let mut last = 0;
            let mut continues = change.seq() == 1;
            for dep in change.deps() {
                let (actor, sequence, max) = match batch.get(dep) {
                    Some(known) => known.clone(),
                    None => match self.doc.get_change_meta_by_hash(dep) {
                        Some(meta) => (meta.actor.into_owned(), meta.seq, meta.max_op),
                        None => return Err((hash, Fault::Rejected)),
                    },
                };
                last = last.max(max);
                continues |= actor == *change.actor_id() && sequence + 1 == change.seq();
            }
            if !continues || change.start_op().get() != last + 1 {
                return Err((hash, Fault::Rejected));
            }
            let place = (change.actor_id().clone(), change.seq(), change.max_op());
            batch.insert(hash, place);
        }
        Ok(())
    }
}

/// What is wrong with a change that is ready to be applied.
#[derive(Clone, Copy)]
enum Fault {
    Fork,
    Rejected,
}

impl Fault {
    fn at(self, index: usize) -> DocumentError {
        match self {
            Fault::Fork => DocumentError::Fork { index },
            Fault::Rejected => DocumentError::Rejected { index },
        }
    }
}

/// Runs what may panic on bytes from a peer. Nothing that it touched may be
/// used after a panic; callers work on copies.
pub(super) fn guard<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The bytes of a change that was just made in a document, for peers; [`DocumentError::TooLarge`] if they would refuse it.
pub(super) fn made(doc: &Automerge, hash: &ChangeHash, limits: Limits) -> Result<Vec<u8>, DocumentError> {
    let mut change = guard(|| doc.get_change_by_hash(hash))
        .flatten()
        .filter(|change| change.hash() == *hash)
        .ok_or(DocumentError::Failed)?;
    let bytes = wire(&mut change, limits);
    match check_change(&bytes, limits) {
        Ok(()) if marks_hold(doc, std::slice::from_ref(&change)) => Ok(bytes),
        Err(ChunkError::TooLarge | ChunkError::TooManyOperations) => Err(DocumentError::TooLarge),
        _ => Err(DocumentError::Failed),
    }
}

/// The bytes of a change for peers: compressed, unless it is so well compressed that it looks like a bomb.
fn wire(change: &mut Change, limits: Limits) -> Vec<u8> {
    let bytes = change.bytes().into_owned();
    if check_change(&bytes, limits) == Err(ChunkError::TooLarge) {
        return change.raw_bytes().to_vec();
    }
    bytes
}

/// A change from a peer, after all checks that need no document; `index` is its place in the call.
pub(super) fn read_change(bytes: &[u8], limits: Limits, index: usize) -> Result<Change, DocumentError> {
    let plain = open_change(bytes, limits).map_err(|error| DocumentError::Chunk { index, error })?;
    let checksum = chunk::checksum(&plain).map(<[u8]>::to_vec);
    let change = guard(|| Change::from_bytes(plain.into_owned()))
        .and_then(Result::ok)
        .ok_or(DocumentError::Rejected { index })?;
    // Automerge computes the hash but does not compare it.
    if checksum.as_deref() != change.hash().0.get(..4) {
        return Err(DocumentError::Checksum { index });
    }
    Ok(change)
}

/// The author of a first change that starts a document with `fields`.
fn initial_actor(fields: &BTreeMap<String, Value>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("Rhizome document initial fields 1");
    hash_map(&mut hasher, fields);
    *hasher.finalize().as_bytes()
}

fn hash_map(hasher: &mut blake3::Hasher, fields: &BTreeMap<String, Value>) {
    hasher.update(&(fields.len() as u64).to_le_bytes());
    for (name, value) in fields {
        hash_bytes(hasher, 0, name.as_bytes());
        hash_value(hasher, value);
    }
}

fn hash_bytes(hasher: &mut blake3::Hasher, kind: u8, bytes: &[u8]) {
    hasher.update(&[kind]);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn hash_value(hasher: &mut blake3::Hasher, value: &Value) {
    match value {
        Value::Null => hash_bytes(hasher, 1, &[]),
        Value::Bool(value) => hash_bytes(hasher, 2, &[u8::from(*value)]),
        Value::Int(value) => hash_bytes(hasher, 3, &value.to_le_bytes()),
        Value::Float(value) => hash_bytes(hasher, 4, &value.to_le_bytes()),
        Value::Text(value) => hash_bytes(hasher, 5, value.as_bytes()),
        Value::String(value) => hash_bytes(hasher, 6, value.as_bytes()),
        Value::Bytes(value) => hash_bytes(hasher, 7, value),
        Value::Date(value) => hash_bytes(hasher, 8, &value.to_le_bytes()),
        Value::Counter(value) => hash_bytes(hasher, 9, &value.to_le_bytes()),
        Value::List(values) => {
            hash_bytes(hasher, 10, &(values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| hash_value(hasher, value));
        }
        Value::Map(values) => {
            hash_bytes(hasher, 11, &[]);
            hash_map(hasher, values);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
