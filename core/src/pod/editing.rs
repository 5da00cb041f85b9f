//! A document that is open for editing: edits take effect in memory at once, and are made durable together.

use std::sync::{Arc, Mutex};

use super::{EntryRef, Pod, running::lock};
use crate::{
    crypto::{OsRandom, Random},
    document::{Cursor, DocumentError, Draft, EditOp, Key, Lean, NewChange, Span, Value},
    error::Error,
    log::{AuthorId, DocumentId, SessionId},
};

/// How often [`OpenDocument::refresh`] tries to find a moment in which nothing is unsaved.
const QUIET_MOMENTS: usize = 8;

/// A document that is open for editing. Cheap to clone: every clone is the same.
///
/// Reading and editing are instant: they touch memory only, and wait for nothing that waits for a disk, the network or a merge.
/// [`OpenDocument::save`] makes the edits since the last save durable, as one change. What others wrote meanwhile comes in by
/// [`OpenDocument::refresh`], never between two edits of one save: places in texts and lists mean what the caller saw.
#[derive(Clone)]
pub struct OpenDocument(Arc<Open>);

struct Open {
    pod: Pod,
    collection: String,
    id: DocumentId,
    /// Held for moments, never across work.
    shown: Mutex<Shown>,
    /// Held while edits are saved or others' come in.
    session: Arc<tokio::sync::Mutex<OwnSession>>,
}

/// What the caller sees.
pub(super) struct Shown {
    /// The document with the unsaved edits.
    draft: Draft,
    /// As whom it is edited: an actor of the log or, until the first save, one that is never written anywhere.
    actor: [u8; 32],
    is_written: bool,
    unsaved: Vec<EditOp>,
    /// Whether an edit or a commit began and did not end: it panicked, or left what cannot go on.
    is_broken: bool,
    /// The change that the first of these became, until it is known to be on the disk.
    made: Option<Made>,
    /// The changes that no other builds on, of what is on the disk.
    heads: Vec<[u8; 32]>,
    /// As which actors the edits of those were written that are written nowhere. The operations have the same numbers.
    saved_as: Vec<([u8; 32], [u8; 32])>,
}

/// What unsaved edits became.
#[derive(Clone)]
pub(super) struct Made {
    /// How many.
    ops: usize,
    /// The change; none if they changed nothing together.
    pub change: Option<NewChange>,
}

impl Shown {
    fn of(draft: Draft, actor: [u8; 32], heads: Vec<[u8; 32]>) -> Self {
        Self {
            draft,
            actor,
            is_written: false,
            unsaved: Vec::new(),
            is_broken: false,
            made: None,
            heads,
            saved_as: Vec::new(),
        }
    }

    /// A cursor as it means something to others, if its letter was saved.
    fn written(&self, cursor: Cursor) -> Cursor {
        let saved = self.saved_as.iter();
        saved.fold(cursor, |cursor, (scratch, actor)| cursor.written_by(scratch, actor))
    }

    /// Makes at most `most` of the unsaved edits a change by `actor`, or gives the one that was made of them.
    pub(super) fn make(&mut self, actor: [u8; 32], most: usize) -> Result<Made, DocumentError> {
        self.mend()?;
        if self.is_written && self.actor == actor {
            if let Some(made) = self.made.as_ref().filter(|made| made.ops <= most) {
                return Ok(made.clone());
            }
            if self.made.is_none() && self.unsaved.len() <= most {
                self.is_broken = true;
                let change = self.draft.commit();
                if change.is_err() {
                    self.mend()?;
                }
                self.is_broken = false;
                return Ok(self.keep(self.unsaved.len(), change?));
            }
        }
        // The edits are made once more: by another actor, or some of them alone.
        let ops = self.unsaved.len().min(most);
        self.is_broken = true;
        self.draft.roll_back();
        let made = self.made_anew(&actor, ops);
        if made.is_err() {
            // As before, and not from the last change on: that takes long.
            let from = self.unsaved.len() - self.fresh().len();
            self.draft.edit(&self.unsaved[from..], &[])?;
        }
        self.is_broken = false;
        let (draft, change) = made?;
        self.draft = draft;
        if !self.is_written {
            self.saved_as.push((self.actor, actor));
            let over = self.saved_as.len().saturating_sub(REMEMBERED);
            self.saved_as.drain(..over);
        }
        (self.actor, self.is_written) = (actor, true);
        Ok(self.keep(ops, change))
    }

    /// The first `ops` of the unsaved edits as a change by `actor`, and the document with that and the rest. The draft is rolled back.
    fn made_anew(&mut self, actor: &[u8; 32], ops: usize) -> Result<(Draft, Option<NewChange>), DocumentError> {
        let mut draft = match self.made {
            Some(_) => self.draft.forked_at(actor, &self.heads)?,
            None => self.draft.forked(actor),
        };
        draft.edit(&self.unsaved[..ops], &[])?;
        let change = draft.commit()?;
        draft.edit(&self.unsaved[ops..], &[])?;
        Ok((draft, change))
    }

    /// Makes the draft anew if it is broken: from the last change on.
    fn mend(&mut self) -> Result<(), DocumentError> {
        if self.is_broken {
            let made = self.made.as_ref().and_then(|made| made.change.as_ref());
            let heads = made.map_or_else(|| self.heads.clone(), |(hash, _)| vec![*hash]);
            self.draft.roll_back();
            let mut draft = self.draft.forked_at(&self.actor, &heads)?;
            draft.edit(self.fresh(), &[])?;
            self.draft = draft;
            self.is_broken = false;
        }
        Ok(())
    }

    /// The edits that are in no change yet.
    fn fresh(&self) -> &[EditOp] {
        &self.unsaved[self.made.as_ref().map_or(0, |made| made.ops)..]
    }

    fn keep(&mut self, ops: usize, change: Option<NewChange>) -> Made {
        self.made.insert(Made { ops, change }).clone()
    }

    /// What was made is on the disk; gives of how many edits it was.
    pub(super) fn note_saved(&mut self) -> usize {
        let Some(made) = self.made.take() else { return 0 };
        if let Some((hash, _)) = made.change {
            self.heads = vec![hash];
        }
        self.unsaved.drain(..made.ops);
        made.ops
    }

    fn edit(&mut self, ops: Vec<EditOp>) -> Result<(), DocumentError> {
        self.mend()?;
        let made = self.unsaved.len() - self.fresh().len();
        self.is_broken = true;
        let edited = self.draft.edit(&ops, &self.unsaved[made..]);
        self.is_broken = false;
        edited?;
        self.unsaved.extend(ops);
        Ok(())
    }

    /// Forgets what is not saved; gives whether the session must write nothing any more. Goes on as another actor: what was forgotten may be
    /// in the log all the same, and cursors in its letters must not come to mean others.
    fn discard(&mut self) -> Result<bool, DocumentError> {
        if self.unsaved.is_empty() {
            return Ok(false);
        }
        let may_be_written = self.made.is_some();
        let is_whole = !may_be_written && !self.is_broken;
        let actor = scratch();
        self.is_broken = true;
        self.draft.roll_back();
        self.draft = match is_whole {
            true => self.draft.forked(&actor),
            false => self.draft.forked_at(&actor, &self.heads)?,
        };
        (self.actor, self.is_written, self.is_broken, self.made) = (actor, false, false, None);
        self.unsaved.clear();
        Ok(may_be_written)
    }
}

/// How many actors of its own a handle remembers, for cursors.
const REMEMBERED: usize = 64;

/// In which Automerge session a handle makes its next change. It is the handle's own: an actor never has two live writers.
pub(super) type OwnSession = Option<(AuthorId, SessionId)>;

fn scratch() -> [u8; 32] {
    (&mut OsRandom as &mut dyn Random).bytes()
}

impl Pod {
    /// Opens a document of a collection for editing; one that is not here is made by its first save.
    pub async fn open_document(&self, collection: &str, document: DocumentId) -> Result<OpenDocument, Error> {
        let shown = self.work(move |running| {
            let found = running.saved_document(document)?;
            let actor = scratch();
            Ok(Shown::of(Draft::of(&found, &actor)?, actor, found.heads()))
        });
        Ok(self.opened(collection, document, shown.await?))
    }

    /// A new document, under an id of its own. There is nothing of it until it is saved. Instant.
    pub fn new_document(&self, collection: &str) -> OpenDocument {
        let document = DocumentId((&mut OsRandom as &mut dyn Random).bytes());
        let actor = scratch();
        self.opened(collection, document, Shown::of(Draft::new(&actor), actor, Vec::new()))
    }

    fn opened(&self, collection: &str, id: DocumentId, shown: Shown) -> OpenDocument {
        OpenDocument(Arc::new(Open {
            pod: self.clone(),
            collection: collection.to_owned(),
            id,
            shown: Mutex::new(shown),
            session: Arc::default(),
        }))
    }
}

impl OpenDocument {
    /// Its id.
    pub fn id(&self) -> DocumentId {
        self.0.id
    }

    /// Everything it shows, unsaved edits among it. Instant.
    pub fn value(&self) -> Value {
        lock(&self.0.shown).draft.value()
    }

    pub(super) fn pod(&self) -> &Pod {
        &self.0.pod
    }

    pub(super) fn collection(&self) -> &str {
        &self.0.collection
    }

    /// The text at the end of a path in pieces with their marks. Instant.
    pub fn spans(&self, path: &[Key]) -> Option<Vec<Span>> {
        lock(&self.0.shown).draft.spans(path)
    }

    /// A cursor at a place in the text at the end of a path, in UTF-16 code units; see [`crate::Document::cursor`]. Instant. A cursor in letters
    /// that are not saved yet means something to this handle only.
    pub fn cursor(&self, path: &[Key], at: usize, lean: Lean) -> Result<Cursor, DocumentError> {
        let shown = lock(&self.0.shown);
        let cursor = shown.draft.cursor(path, at, lean)?;
        Ok(shown.written(cursor))
    }

    /// Where a cursor is now, in UTF-16 code units; see [`crate::Document::position`]. Instant.
    pub fn position(&self, path: &[Key], cursor: &Cursor) -> Option<usize> {
        let shown = lock(&self.0.shown);
        let written = || shown.draft.position(path, &shown.written(cursor.clone()));
        shown.draft.position(path, cursor).or_else(written)
    }

    /// The value at the end of a path. Instant.
    pub fn get(&self, path: &[Key]) -> Option<Value> {
        lock(&self.0.shown).draft.get(path)
    }

    /// Edits it in memory. Instant. All of `ops` or, on an error, none.
    pub fn edit(&self, ops: Vec<EditOp>) -> Result<(), DocumentError> {
        lock(&self.0.shown).edit(ops)
    }

    /// Whether everything is on the disk. Instant.
    pub fn is_saved(&self) -> bool {
        lock(&self.0.shown).unsaved.is_empty()
    }

    /// Makes the edits durable that were made before this call; gives the entry that holds the last of them, if there were any. Edits made
    /// meanwhile wait for the next save. May be dropped: what was begun ends by itself, and nothing is written twice.
    ///
    /// # Errors
    /// What keeps the pod from writing. The edits stay: save again.
    pub async fn save(&self) -> Result<Option<EntryRef>, Error> {
        let mut session = self.0.session.clone().lock_owned().await;
        let unsaved = || lock(&self.0.shown).unsaved.len();
        let mut left = unsaved();
        let mut most = usize::MAX;
        let mut last = None;
        while left > 0 {
            let open = self.0.clone();
            // The lock goes along: what is known of the log and what is in it change together, whatever becomes of this call.
            let (back, result) = self
                .0
                .pod
                .work(move |running| {
                    let make = |actor| lock(&open.shown).make(actor, most);
                    let result = running.write_open(&open.collection, open.id, &mut session, make);
                    let result = result.map(|entry| (entry, lock(&open.shown).note_saved()));
                    Ok((session, result))
                })
                .await?;
            session = back;
            match result {
                // Too much for one change or entry: in two, then.
                Err(Error::TooLarge { .. } | Error::Document(DocumentError::TooLarge)) if unsaved().min(most) > 1 => {
                    most = unsaved().min(most) / 2;
                }
                Err(error) => return Err(error),
                Ok((entry, count)) => {
                    last = entry.or(last);
                    left = left.saturating_sub(count);
                }
            }
        }
        Ok(last)
    }

    /// Brings in what others, and other calls, wrote since; saves first. Gives whether the document shows something else now. While edits
    /// come without a pause, what others wrote waits for the next call.
    pub async fn refresh(&self) -> Result<bool, Error> {
        for _ in 0..QUIET_MOMENTS {
            self.save().await?;
            let session = self.0.session.clone().lock_owned().await;
            let open = self.0.clone();
            let changed = self
                .0
                .pod
                .work(move |running| {
                    let _session = session;
                    // The views may lack what this handle wrote a moment ago, or be made again just now: nothing that was seen goes.
                    let theirs = running.saved_document(open.id)?;
                    let mut fresh = {
                        let mut shown = lock(&open.shown);
                        if !shown.unsaved.is_empty() {
                            return Ok(None);
                        }
                        shown.mend()?;
                        let actor = shown.actor;
                        shown.draft.forked(&actor)
                    };
                    if !fresh.take_in(&theirs)? {
                        return Ok(Some(false));
                    }
                    let heads = fresh.heads();
                    let _before = {
                        let mut shown = lock(&open.shown);
                        if !shown.unsaved.is_empty() {
                            return Ok(None);
                        }
                        shown.heads = heads;
                        // What is large is taken apart when nobody waits for the lock.
                        std::mem::replace(&mut shown.draft, fresh)
                    };
                    Ok(Some(true))
                })
                .await?;
            if let Some(changed) = changed {
                return Ok(changed);
            }
        }
        Ok(false)
    }

    /// Forgets the edits since the last save. After a save that failed, what it tried to write may be there all the same: it comes back with
    /// the next [`OpenDocument::refresh`] then.
    pub async fn discard(&self) {
        let mut session = self.0.session.lock().await;
        match lock(&self.0.shown).discard() {
            // It may have written: it must not write anything else under the same numbers.
            Ok(true) => *session = None,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "edits cannot be discarded"),
        }
    }
}

impl std::fmt::Debug for OpenDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenDocument({})", self.0.id.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crypto::SeededRandom, document::Document, path};

    struct Numbers(SeededRandom);

    impl Numbers {
        fn below(&mut self, most: usize) -> usize {
            let random: &mut dyn Random = &mut self.0;
            (u64::from_be_bytes(random.bytes()) % most as u64) as usize
        }
    }

    fn op(numbers: &mut Numbers, text: &mut Vec<char>) -> EditOp {
        let at = numbers.below(text.len() + 1);
        let delete = numbers.below((text.len() - at).min(3) + 1);
        let insert: Vec<char> = (0..numbers.below(4))
            .map(|_| ['a', 'é', '\u{20ac}', '😀'][numbers.below(4)])
            .collect();
        let units = |letters: &[char]| letters.iter().map(|letter| letter.len_utf16()).sum();
        let splice = EditOp::SpliceText {
            path: path(["text"]).to_vec(),
            at: units(&text[..at]),
            delete: units(&text[at..at + delete]),
            insert: insert.iter().collect(),
        };
        text.splice(at..at + delete, insert);
        splice
    }

    fn set(text: &str) -> EditOp {
        EditOp::SetText {
            path: path(["text"]).to_vec(),
            text: text.to_owned(),
        }
    }

    fn shows(found: Option<Value>, text: &[char]) -> bool {
        found == Some(Value::Text(text.iter().collect()))
    }

    /// Whatever becomes of saves, what is shown is what was typed, and what is saved in the end is that, once.
    #[test]
    fn what_was_typed_is_saved_once_whatever_becomes_of_saves() {
        let past_the_end = EditOp::SpliceText {
            path: path(["text"]).to_vec(),
            at: usize::MAX,
            delete: 0,
            insert: "x".into(),
        };
        for seed in 1..=300 {
            let mut numbers = Numbers(SeededRandom::new(seed));
            let mut actor = [1; 32];
            let mut log = Document::new(&[0; 32]);
            let mut shown = Shown::of(Draft::new(&scratch()), scratch(), Vec::new());
            shown.edit(vec![set("")]).expect("a text");
            // What is typed, what was typed when the last save that succeeded was begun, and when each edit since was made.
            let (mut text, mut saved, mut after) = (Vec::new(), None, vec![Vec::new()]);
            let mut uncertain = false;
            for step in 0..40 {
                let last = step == 39;
                match numbers.below(8) {
                    0..4 if !last => {
                        let op = op(&mut numbers, &mut text);
                        shown.edit(vec![op]).expect("a place in the text");
                        after.push(text.clone());
                        if numbers.below(4) == 0 {
                            shown
                                .edit(vec![set("lost"), past_the_end.clone()])
                                .expect_err("all or nothing");
                        }
                    }
                    // The author log was retired: never while something may be in it that is not known to be.
                    4 if !last && !uncertain => actor = scratch(),
                    5 if !last && !uncertain => {
                        let moved = shown.discard().expect("nothing stands against it");
                        if moved {
                            actor = scratch();
                        }
                        text = saved.clone().unwrap_or_default();
                        after.clear();
                        if saved.is_none() {
                            shown.edit(vec![set("")]).expect("a text");
                            after.push(Vec::new());
                        }
                    }
                    outcome => {
                        let most = if last || numbers.below(3) > 0 {
                            usize::MAX
                        } else {
                            1 + numbers.below(3)
                        };
                        // An uncertain change must come again as it is.
                        let most = if uncertain { usize::MAX } else { most };
                        let made = shown.make(actor, most).expect("a change");
                        let written = last || outcome != 6;
                        if let Some((_, change)) = made.change.filter(|_| written) {
                            log.apply(&[change]).expect("a change that peers take");
                        }
                        let known = last || !(6..=7).contains(&outcome);
                        uncertain = !known && (uncertain || written);
                        if known {
                            let count = shown.note_saved();
                            if count > 0 {
                                saved = after.drain(..count).next_back();
                            }
                        }
                    }
                }
                assert!(
                    shows(shown.draft.get(&path(["text"])), &text),
                    "seed {seed}, step {step}"
                );
            }
            while !shown.unsaved.is_empty() {
                let made = shown.make(actor, usize::MAX).expect("a change");
                log.apply(&made.change.map(|(_, change)| change).into_iter().collect::<Vec<_>>())
                    .expect("a change that peers take");
                shown.note_saved();
            }
            assert!(shows(log.get(&path(["text"])), &text), "seed {seed}");
            assert_eq!(log.pending(), 0);
            assert_eq!(shown.draft.heads(), log.heads(), "seed {seed}");
        }
    }
}
