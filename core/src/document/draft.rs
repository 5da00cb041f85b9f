//! A document while somebody edits it: edits show at once, and become one change when they are to be kept. Each is made once.

use automerge::{ActorId, AutoCommit, ChangeHash, LoadOptions, ROOT, transaction::Transactable};

use super::{
    Cursor, Document, DocumentError, Edit, EditOp, Key, Lean, Limits, Span, Value,
    cursor::{cursor, position},
    document::{ENCODING, guard, made},
    marks::{spans, text_at},
    read::{get, read_map},
};

/// The hash of a change that was just made, and its bytes for peers.
pub(crate) type NewChange = ([u8; 32], Vec<u8>);

/// A document with edits that are in no change yet.
pub(crate) struct Draft {
    edit: Edit<'static, AutoCommit>,
    limits: Limits,
}

impl Draft {
    /// A copy of `document` to be edited as `actor`.
    pub fn of(document: &Document, actor: &[u8; 32]) -> Result<Self, DocumentError> {
        let saved = document.doc.save_nocompress();
        let options = LoadOptions::new().text_encoding(ENCODING);
        let doc = guard(|| AutoCommit::load_with_options(&saved, options)).and_then(Result::ok);
        Ok(Self::holding(doc.ok_or(DocumentError::Damaged)?, actor))
    }

    /// An empty document to be edited as `actor`.
    pub fn new(actor: &[u8; 32]) -> Self {
        Self::holding(AutoCommit::new_with_encoding(ENCODING), actor)
    }

    fn holding(doc: AutoCommit, actor: &[u8; 32]) -> Self {
        Self {
            edit: Edit::of(doc.with_actor(ActorId::from(actor))),
            limits: Limits::default(),
        }
    }

    fn doc(&self) -> &AutoCommit {
        &self.edit.transaction
    }

    /// Everything it shows.
    pub fn value(&self) -> Value {
        read_map(self.doc(), &ROOT, 1)
    }

    /// As [`Document::get`].
    pub fn get(&self, path: &[Key]) -> Option<Value> {
        get(self.doc(), path)
    }

    /// As [`Document::spans`].
    pub fn spans(&self, path: &[Key]) -> Option<Vec<Span>> {
        spans(self.doc(), &text_at(self.doc(), path)?)
    }

    /// As [`Document::cursor`].
    pub fn cursor(&self, path: &[Key], at: usize, lean: Lean) -> Result<Cursor, DocumentError> {
        cursor(self.doc(), path, at, lean)
    }

    /// As [`Document::position`].
    pub fn position(&self, path: &[Key], cursor: &Cursor) -> Option<usize> {
        let made = |element: &str| self.doc().hash_for_opid(&self.doc().import_obj(element).ok()?);
        position(self.doc(), path, cursor, made)
    }

    /// Edits it: all of `ops` or, on an error, none. `before` are the edits since the last change.
    pub fn edit(&mut self, ops: &[EditOp], before: &[EditOp]) -> Result<(), DocumentError> {
        for (index, op) in ops.iter().enumerate() {
            let done = match op.apply(&mut self.edit) {
                Ok(()) if self.edit.failed => Err(DocumentError::Failed),
                done => done,
            };
            // An edit checks before it writes: the first that is refused has done nothing.
            let unharmed = index == 0 && !self.edit.failed;
            if let Err(error) = done {
                if !unharmed {
                    self.roll_back();
                    before.iter().try_for_each(|op| op.apply(&mut self.edit))?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes back the edits since the last change.
    pub fn roll_back(&mut self) {
        self.edit.roll_back();
    }

    /// Makes the edits since the last change one change. Nothing if there are none.
    ///
    /// # Errors
    /// [`DocumentError::TooLarge`] if peers would refuse it. Then this copy is of no use any more.
    pub fn commit(&mut self) -> Result<Option<NewChange>, DocumentError> {
        let doc = &mut self.edit.transaction;
        if doc.pending_ops() as u64 > self.limits.operations {
            return Err(DocumentError::TooLarge);
        }
        let Some(hash) = doc.commit() else {
            return Ok(None);
        };
        let bytes = made(doc.document(), &hash, self.limits)?;
        Ok(Some((hash.0, bytes)))
    }

    /// A copy to be edited as `actor`. There must be no edits since the last change.
    pub fn forked(&mut self, actor: &[u8; 32]) -> Self {
        Self::holding(self.edit.transaction.fork(), actor)
    }

    /// As [`Draft::forked`], as it was at `heads`.
    pub fn forked_at(&mut self, actor: &[u8; 32], heads: &[[u8; 32]]) -> Result<Self, DocumentError> {
        let heads: Vec<ChangeHash> = heads.iter().copied().map(ChangeHash).collect();
        let doc = guard(|| self.edit.transaction.fork_at(&heads)).and_then(Result::ok);
        Ok(Self::holding(doc.ok_or(DocumentError::Failed)?, actor))
    }

    /// Takes in what is in `document`, whose changes were checked, and not here; gives whether there was anything. There must be no edits
    /// since the last change. On an error, this copy is of no use any more.
    pub fn take_in(&mut self, document: &Document) -> Result<bool, DocumentError> {
        let doc = &mut self.edit.transaction;
        let mut changes = document.doc.get_changes(&doc.get_heads());
        changes.retain(|change| doc.get_change_meta_by_hash(&change.hash()).is_none());
        if changes.is_empty() {
            return Ok(false);
        }
        let taken = guard(|| doc.apply_changes(changes.iter().cloned())).and_then(Result::ok);
        taken.ok_or(DocumentError::Failed)?;
        Ok(true)
    }

    /// The changes that no other builds on. There must be no edits since the last change.
    pub fn heads(&mut self) -> Vec<[u8; 32]> {
        self.edit.transaction.get_heads().iter().map(|hash| hash.0).collect()
    }
}
