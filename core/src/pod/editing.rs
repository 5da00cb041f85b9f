//! A document that is open for editing: edits take effect in memory at once, and are made durable together.

use std::sync::{Arc, Mutex};

use super::{EntryRef, Pod, running::lock, writing::NOBODY};
use crate::{
    crypto::{OsRandom, Random},
    document::{Document, DocumentError, EditOp, Key, Value},
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
    saved: Arc<tokio::sync::Mutex<Saved>>,
}

/// What the caller sees.
struct Shown {
    /// The saved document with the unsaved edits, by an actor that is never written anywhere.
    document: Document,
    unsaved: Vec<EditOp>,
}

/// What the log has, as far as this document was brought up to it.
pub(super) struct Saved {
    pub document: Document,
    /// In which Automerge session the next change is made. It is this handle's own: an actor never has two live writers.
    pub session: Option<(AuthorId, SessionId)>,
}

/// An edit that changes the session and fails must not leave another half of it.
fn scratch(document: &Document) -> Document {
    document.fork_as(&(&mut OsRandom as &mut dyn Random).bytes())
}

impl Pod {
    /// Opens a document of a collection for editing; one that is not here is made by its first save.
    pub async fn open_document(&self, collection: &str, document: DocumentId) -> Result<OpenDocument, Error> {
        let found = self.work(move |running| running.saved_document(document)).await?;
        Ok(self.opened(collection, document, found))
    }

    /// A new document, under an id of its own. There is nothing of it until it is saved. Instant.
    pub fn new_document(&self, collection: &str) -> OpenDocument {
        let document = DocumentId((&mut OsRandom as &mut dyn Random).bytes());
        self.opened(collection, document, Document::new(&NOBODY))
    }

    fn opened(&self, collection: &str, id: DocumentId, document: Document) -> OpenDocument {
        OpenDocument(Arc::new(Open {
            pod: self.clone(),
            collection: collection.to_owned(),
            id,
            shown: Mutex::new(Shown {
                document: scratch(&document),
                unsaved: Vec::new(),
            }),
            saved: Arc::new(tokio::sync::Mutex::new(Saved {
                document,
                session: None,
            })),
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
        lock(&self.0.shown).document.value()
    }

    /// The value at the end of a path. Instant.
    pub fn get(&self, path: &[Key]) -> Option<Value> {
        lock(&self.0.shown).document.get(path)
    }

    /// Edits it in memory. Instant. All of `ops` or, on an error, none.
    pub fn edit(&self, ops: Vec<EditOp>) -> Result<(), DocumentError> {
        let mut shown = lock(&self.0.shown);
        shown
            .document
            .edit::<(), DocumentError>(|edit| ops.iter().try_for_each(|op| op.apply(edit)))?;
        shown.unsaved.extend(ops);
        Ok(())
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
        let mut saved = self.0.saved.clone().lock_owned().await;
        let mut left = lock(&self.0.shown).unsaved.len();
        let mut most = left;
        let mut last = None;
        while left > 0 {
            let (open, count) = (self.0.clone(), left.min(most));
            // The lock goes along: what is known of the log and what is in it change together, whatever becomes of this call.
            let (back, result) = self
                .0
                .pod
                .work(move |running| {
                    let ops: Vec<EditOp> = lock(&open.shown).unsaved[..count].to_vec();
                    let result = running.write_open(&open.collection, open.id, &mut saved, &ops);
                    if result.is_ok() {
                        lock(&open.shown).unsaved.drain(..count);
                    }
                    Ok((saved, result))
                })
                .await?;
            saved = back;
            match result {
                // Too much for one change or entry: in two, then.
                Err(Error::TooLarge { .. } | Error::Document(DocumentError::TooLarge)) if count > 1 => most = count / 2,
                Err(error) => return Err(error),
                Ok(entry) => {
                    last = entry.or(last);
                    left -= count;
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
            let mut saved = self.0.saved.clone().lock_owned().await;
            let open = self.0.clone();
            let merged = self
                .0
                .pod
                .work(move |running| {
                    let heads = saved.document.heads();
                    let theirs = running.saved_document(open.id)?;
                    // The views may lack what this handle wrote a moment ago, or be made again just now: nothing that was seen goes.
                    let merged = if heads.iter().all(|head| theirs.contains(head)) {
                        theirs
                    } else {
                        let mut merged = saved.document.clone();
                        merged.apply(&theirs.changes_since(&[]))?;
                        merged
                    };
                    if merged.heads() == heads {
                        return Ok(Some(false));
                    }
                    let fresh = scratch(&merged);
                    let _before = {
                        let mut shown = lock(&open.shown);
                        if !shown.unsaved.is_empty() {
                            return Ok(None);
                        }
                        // What is large is taken apart when nobody waits for the lock.
                        std::mem::replace(&mut shown.document, fresh)
                    };
                    saved.document = merged;
                    Ok(Some(true))
                })
                .await?;
            if let Some(changed) = merged {
                return Ok(changed);
            }
        }
        Ok(false)
    }

    /// Forgets the edits since the last save.
    pub async fn discard(&self) {
        let saved = self.0.saved.lock().await;
        let fresh = scratch(&saved.document);
        let mut shown = lock(&self.0.shown);
        shown.document = fresh;
        shown.unsaved.clear();
    }
}

impl std::fmt::Debug for OpenDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpenDocument({})", self.0.id.short())
    }
}
