//! The history of documents as it crosses: versions, what is different between them, who wrote what, and taking edits back.

use std::{collections::HashMap, sync::Arc};

use data_encoding::HEXLOWER;
use rhizome::{ChangeId, HistoryCursor};

use crate::{
    CancelHandle, CollectionHandle, EntryRef, PathKey, RhizomeError, Span, Value, Written,
    collection::document_id,
    query::{cursor_bytes, no_cursor},
    runtime::ask,
    value::{marks, path, path_keys},
};

/// What a change is for.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum ChangeKind {
    /// The first change of the document.
    Create,
    /// An edit.
    Edit,
    /// Takes back what a change did.
    Undo {
        /// That change.
        change: String,
    },
    /// Does again what an undo took back.
    Redo {
        /// That undo.
        change: String,
    },
    /// Makes the document as it was after a change.
    Restore {
        /// That change.
        change: String,
    },
}

impl From<rhizome::ChangeKind> for ChangeKind {
    fn from(kind: rhizome::ChangeKind) -> Self {
        let hex = |change: ChangeId| HEXLOWER.encode(&change);
        match kind {
            rhizome::ChangeKind::Create => Self::Create,
            rhizome::ChangeKind::Edit => Self::Edit,
            rhizome::ChangeKind::Undo(change) => Self::Undo { change: hex(change) },
            rhizome::ChangeKind::Redo(change) => Self::Redo { change: hex(change) },
            rhizome::ChangeKind::Restore(change) => Self::Restore { change: hex(change) },
        }
    }
}

/// A version of a document: one change of it, and the document as whoever wrote that saw it.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct DocumentVersion {
    /// The change: what the version is called by.
    pub change: String,
    /// What it is for.
    pub kind: ChangeKind,
    /// The entry that carried it.
    pub entry: EntryRef,
    /// The device that wrote it, by its signing key.
    pub device: String,
    /// What the person calls that device.
    pub device_name: Option<String>,
    /// Whether it is this device.
    pub this_device: bool,
    /// When it was written, by that device's clock, in milliseconds since 1970.
    pub millis: u64,
}

impl From<rhizome::DocumentVersion> for DocumentVersion {
    fn from(version: rhizome::DocumentVersion) -> Self {
        Self {
            change: HEXLOWER.encode(&version.change),
            kind: version.kind.into(),
            entry: version.entry.into(),
            device: version.device.to_string(),
            device_name: version.device_name,
            this_device: version.this_device,
            millis: version.millis,
        }
    }
}

/// A page of a document's history.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct HistoryPage {
    /// Newest first.
    pub versions: Vec<DocumentVersion>,
    /// Give it back for the next page; none after the last.
    pub next: Option<String>,
}

/// A piece of a text in a comparison.
#[derive(Clone, PartialEq, uniffi::Enum)]
pub enum TextPiece {
    /// The same in both, marks too.
    Kept {
        /// The letters.
        text: String,
    },
    /// The same letters with other marks.
    Marked {
        /// The letters.
        text: String,
        /// Their marks before.
        before: HashMap<String, Value>,
        /// Their marks after.
        after: HashMap<String, Value>,
    },
    /// Only in the later one.
    Added {
        /// The letters.
        text: String,
    },
    /// Only in the earlier one.
    Removed {
        /// The letters.
        text: String,
    },
}

impl From<rhizome::TextPiece> for TextPiece {
    fn from(piece: rhizome::TextPiece) -> Self {
        match piece {
            rhizome::TextPiece::Kept(text) => Self::Kept { text },
            rhizome::TextPiece::Marked { text, before, after } => Self::Marked {
                text,
                before: marks(before),
                after: marks(after),
            },
            rhizome::TextPiece::Added(text) => Self::Added { text },
            rhizome::TextPiece::Removed(text) => Self::Removed { text },
        }
    }
}

/// What is different at one place.
#[derive(Clone, PartialEq, uniffi::Enum)]
pub enum Changed {
    /// A field was put there, taken away or replaced as a whole; a counter counted on.
    Set {
        /// What was there.
        before: Option<Value>,
        /// What is there.
        after: Option<Value>,
    },
    /// A value of a list was put in. The path is its place after.
    Inserted {
        /// The value.
        value: Value,
    },
    /// A value of a list was taken out. The path is its place before.
    Removed {
        /// The value.
        value: Value,
    },
    /// A text was edited.
    Text {
        /// All of it, in order.
        pieces: Vec<TextPiece>,
    },
}

/// One difference between two versions.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct Difference {
    /// Where.
    pub path: Vec<PathKey>,
    /// What.
    pub change: Changed,
}

impl From<rhizome::Difference> for Difference {
    fn from(difference: rhizome::Difference) -> Self {
        Self {
            path: path_keys(difference.path),
            change: match difference.change {
                rhizome::Changed::Set { before, after } => Changed::Set {
                    before: before.map(Value::from),
                    after: after.map(Value::from),
                },
                rhizome::Changed::Inserted(value) => Changed::Inserted { value: value.into() },
                rhizome::Changed::Removed(value) => Changed::Removed { value: value.into() },
                rhizome::Changed::Text(pieces) => Changed::Text {
                    pieces: pieces.into_iter().map(TextPiece::from).collect(),
                },
            },
        }
    }
}

/// A piece of a text and who wrote it.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct BlameSpan {
    /// The letters.
    pub text: String,
    /// The version that put them in.
    pub version: DocumentVersion,
}

/// One of several values that devices put into one place without knowing of each other.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct Conflict {
    /// The value.
    pub value: Value,
    /// The version that put it there.
    pub version: DocumentVersion,
}

fn change_id(change: &str) -> Result<ChangeId, RhizomeError> {
    let bytes = HEXLOWER.decode(change.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        RhizomeError::invalid(
            "id",
            "this is not a version of a document: one is 64 hexadecimal digits",
        )
    })
}

#[uniffi::export]
impl CollectionHandle {
    /// The versions of a document, newest first by the clocks of who wrote them; at most `limit` entries' worth. `after` is the `next` of the
    /// page before. A document that is not here has none. Async.
    pub async fn history(
        &self,
        id: String,
        after: Option<String>,
        limit: u32,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<HistoryPage, RhizomeError> {
        let (pod, id) = (self.pod.clone(), document_id(&id)?);
        let cursor = |text: String| HistoryCursor::from_bytes(&cursor_bytes(&text)?).ok_or_else(no_cursor);
        let after = after.map(cursor).transpose()?;
        ask(cancel, async move {
            let page = pod.history(id, after, limit).await?;
            Ok::<_, rhizome::Error>(HistoryPage {
                versions: page.versions.into_iter().map(DocumentVersion::from).collect(),
                next: page.next.map(|next| HEXLOWER.encode(&next.to_bytes())),
            })
        })
        .await
    }

    /// A document as it was at a version. `NotFound` if the document is not here, `InvalidInput` if it has no such version. Async.
    pub async fn document_at(
        &self,
        id: String,
        version: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Value, RhizomeError> {
        let (pod, id, version) = (self.pod.clone(), document_id(&id)?, change_id(&version)?);
        ask(
            cancel,
            async move { pod.document_at(id, version).await.map(Value::from) },
        )
        .await
    }

    /// The text at the end of a path in pieces with their marks, as it is now or as it was at a version; none if no text is there. Throws as
    /// [`CollectionHandle::document_at`]. Async.
    pub async fn spans(
        &self,
        id: String,
        at: Vec<PathKey>,
        version: Option<String>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Option<Vec<Span>>, RhizomeError> {
        let (pod, id, at) = (self.pod.clone(), document_id(&id)?, path(at)?);
        let version = version.as_deref().map(change_id).transpose()?;
        ask(cancel, async move {
            let spans = match version {
                None => pod.spans(id, &at).await?,
                Some(version) => pod.spans_at(id, version, &at).await?,
            };
            Ok::<_, rhizome::Error>(spans.map(|spans| spans.into_iter().map(Span::from).collect()))
        })
        .await
    }

    /// What is different in a document between two versions; from the empty document if there is no `before`. Throws as
    /// [`CollectionHandle::document_at`]. Async.
    pub async fn differences(
        &self,
        id: String,
        before: Option<String>,
        after: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<Difference>, RhizomeError> {
        let (pod, id) = (self.pod.clone(), document_id(&id)?);
        let (before, after) = (before.as_deref().map(change_id).transpose()?, change_id(&after)?);
        ask(cancel, async move {
            let differences = pod.differences(id, before, after).await?;
            Ok::<_, rhizome::Error>(differences.into_iter().map(Difference::from).collect())
        })
        .await
    }

    /// Who wrote the text at the end of a path, letter by letter, in order; empty if no text is there. `NotFound` if the document is not here.
    /// Async.
    pub async fn blame(
        &self,
        id: String,
        at: Vec<PathKey>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<BlameSpan>, RhizomeError> {
        let (pod, id, at) = (self.pod.clone(), document_id(&id)?, path(at)?);
        let span = |span: rhizome::BlameSpan| BlameSpan {
            text: span.text,
            version: span.version.into(),
        };
        ask(cancel, async move {
            let spans = pod.blame(id, &at).await?;
            Ok::<_, rhizome::Error>(spans.into_iter().map(span).collect())
        })
        .await
    }

    /// Every value that devices put into the place at the end of a path without knowing of each other; the last is shown. One, if nobody
    /// disagrees. Whoever sets the place decides. `NotFound` if the document is not here. Async.
    pub async fn conflicts(
        &self,
        id: String,
        at: Vec<PathKey>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<Conflict>, RhizomeError> {
        let (pod, id, at) = (self.pod.clone(), document_id(&id)?, path(at)?);
        let conflict = |conflict: rhizome::Conflict| Conflict {
            value: conflict.value.into(),
            version: conflict.version.into(),
        };
        ask(cancel, async move {
            let conflicts = pod.conflicts(id, &at).await?;
            Ok::<_, rhizome::Error>(conflicts.into_iter().map(conflict).collect())
        })
        .await
    }

    /// Makes a document as it was at a version, by a new change: every version stays. Durable when it returns. Throws as
    /// [`CollectionHandle::document_at`]. Async.
    pub async fn restore(
        &self,
        id: String,
        version: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Written, RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        let (id, version) = (document_id(&id)?, change_id(&version)?);
        ask(cancel, async move {
            pod.restore(&name, id, version).await.map(Written::from)
        })
        .await
    }

    /// Takes back what this device did last in a document and did not take back yet, by a new change: all that one edit, batch or save did. What
    /// others wrote stays. None if there is nothing to take back; it goes up to 1,000 changes back, also after the pod was closed. `NotFound`
    /// if the document is not here. Async.
    pub async fn undo(&self, id: String, cancel: Option<Arc<CancelHandle>>) -> Result<Option<Written>, RhizomeError> {
        let (pod, name, id) = (self.pod.clone(), self.name.clone(), document_id(&id)?);
        ask(cancel, async move {
            pod.undo(&name, id).await.map(|written| written.map(Written::from))
        })
        .await
    }

    /// Does again what was taken back last, if this device did not edit the document since. None if there is nothing. `NotFound` if the document
    /// is not here. Async.
    pub async fn redo(&self, id: String, cancel: Option<Arc<CancelHandle>>) -> Result<Option<Written>, RhizomeError> {
        let (pod, name, id) = (self.pod.clone(), self.name.clone(), document_id(&id)?);
        ask(cancel, async move {
            pod.redo(&name, id).await.map(|written| written.map(Written::from))
        })
        .await
    }

    /// The document as an Automerge file, with its whole history. It holds everything that was ever written in the document, in the clear.
    /// `NotFound` if it is not here. Async.
    pub async fn export_document(
        &self,
        id: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<u8>, RhizomeError> {
        let (pod, id) = (self.pod.clone(), document_id(&id)?);
        ask(cancel, async move { pod.export_document(id).await }).await
    }
}
