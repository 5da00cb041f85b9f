//! Documents that are open for editing.

use std::sync::Arc;

use rhizome::{DocumentWatch, OpenDocument};
use tokio::sync::{Mutex, watch};

use crate::{
    CancelHandle, EditOp, EntryRef, PathKey, RhizomeError, Span, Value,
    runtime::{ask, instant, run},
    value::{ops, path, place},
};

/// A document that is open for editing. Edits take effect in memory at once; [`DocumentHandle::save`] makes them durable.
#[derive(Debug, uniffi::Object)]
pub struct DocumentHandle(pub(crate) OpenDocument);

#[uniffi::export]
impl DocumentHandle {
    /// Its id. Instant.
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// Everything it shows, unsaved edits among it. Instant.
    pub fn value(&self) -> Result<Value, RhizomeError> {
        instant(|| Ok(self.0.value().into()))
    }

    /// The value at the end of a path, if there is one. Instant.
    pub fn get(&self, at: Vec<PathKey>) -> Result<Option<Value>, RhizomeError> {
        instant(|| Ok(self.0.get(&path(at)?).map(Value::from)))
    }

    /// The text at the end of a path in pieces with their marks; none if no text is there. Instant.
    pub fn spans(&self, at: Vec<PathKey>) -> Result<Option<Vec<Span>>, RhizomeError> {
        instant(|| {
            let spans = self.0.spans(&path(at)?);
            Ok(spans.map(|spans| spans.into_iter().map(Span::from).collect()))
        })
    }

    /// A cursor at place `at` of the text at the end of `text`, in UTF-16 code units: it stays where it is while others write before and after
    /// it, and is a string to be kept. In letters that are not saved yet it means something to this handle only. Instant.
    pub fn cursor(&self, text: Vec<PathKey>, at: u64, lean: Lean) -> Result<String, RhizomeError> {
        let lean = match lean {
            Lean::Before => rhizome::Lean::Before,
            Lean::After => rhizome::Lean::After,
        };
        instant(|| Ok(self.0.cursor(&path(text)?, place(at)?, lean)?.to_string()))
    }

    /// Where a cursor is now, in UTF-16 code units; none if it is of another text, or of letters that are not here. Instant.
    pub fn position(&self, text: Vec<PathKey>, cursor: String) -> Result<Option<u64>, RhizomeError> {
        instant(|| {
            let cursor: rhizome::Cursor = cursor.parse()?;
            Ok(self.0.position(&path(text)?, &cursor).map(|place| place as u64))
        })
    }

    /// Edits it in memory: all of `edits` or, on an error, none. Instant.
    pub fn edit(&self, edits: Vec<EditOp>) -> Result<(), RhizomeError> {
        instant(|| Ok(self.0.edit(ops(edits)?)?))
    }

    /// Whether every edit is on the disk. Instant.
    pub fn is_saved(&self) -> bool {
        self.0.is_saved()
    }

    /// Makes the edits durable that were made before this call, as one change; gives the entry that holds it, if there was anything to write.
    /// Async. On an error the edits stay: save again.
    pub async fn save(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<EntryRef>, RhizomeError> {
        let document = self.0.clone();
        ask(cancel, async move {
            document.save().await.map(|entry| entry.map(EntryRef::from))
        })
        .await
    }

    /// Saves, and brings in what others wrote since; gives whether the document shows something else now. Async.
    pub async fn refresh(&self, cancel: Option<Arc<CancelHandle>>) -> Result<bool, RhizomeError> {
        let document = self.0.clone();
        ask(cancel, async move { document.refresh().await }).await
    }

    /// Saves, and takes back what this device did last in the document and did not take back yet, by a new change; what others wrote stays, and
    /// comes in. Gives whether there was anything to take back. Async.
    pub async fn undo(&self, cancel: Option<Arc<CancelHandle>>) -> Result<bool, RhizomeError> {
        let document = self.0.clone();
        ask(cancel, async move { document.undo().await }).await
    }

    /// Saves, and does again what was taken back last, if this device did not edit the document since. Gives whether there was anything. Async.
    pub async fn redo(&self, cancel: Option<Arc<CancelHandle>>) -> Result<bool, RhizomeError> {
        let document = self.0.clone();
        ask(cancel, async move { document.redo().await }).await
    }

    /// Forgets the edits since the last save. Async.
    pub async fn discard(&self, cancel: Option<Arc<CancelHandle>>) -> Result<(), RhizomeError> {
        let document = self.0.clone();
        run(cancel, async move {
            document.discard().await;
            Ok::<(), RhizomeError>(())
        })
        .await
    }
}

/// To which side of it a place in a text belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Lean {
    /// To the character before it: what others put in at this place comes after it.
    Before,
    /// To the character after it: what others put in at this place comes before it.
    After,
}

/// A subscription: the core's watch, and whether the reader ended it.
pub(crate) struct Pulled<W> {
    watch: Arc<Mutex<W>>,
    ended: watch::Sender<bool>,
}

impl<W: Send + 'static> Pulled<W> {
    pub fn new(watch: W) -> Self {
        Self {
            watch: Arc::new(Mutex::new(watch)),
            ended: watch::Sender::new(false),
        }
    }

    /// What `next` makes of the watch; `None` once the reader ended it.
    pub async fn next<T: Send + 'static>(
        &self,
        cancel: Option<Arc<CancelHandle>>,
        next: impl AsyncNext<W, T>,
    ) -> Result<Option<T>, RhizomeError> {
        let (watch, mut ended) = (self.watch.clone(), self.ended.subscribe());
        ask(cancel, async move {
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => Ok(None),
                told = async { next.next(&mut *watch.lock().await).await } => told,
            }
        })
        .await
    }

    pub fn cancel(&self) {
        self.ended.send_replace(true);
    }
}

/// How the next of a watch is asked for.
pub(crate) trait AsyncNext<W, T>: Send + 'static {
    fn next(self, watch: &mut W) -> impl Future<Output = Result<Option<T>, rhizome::Error>> + Send;
}

/// A document as a subscription shows it.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
pub struct DocumentSnapshot {
    /// What it shows; none if it is not here.
    pub value: Option<Value>,
}

/// One document, as it changes.
#[derive(uniffi::Object)]
pub struct DocumentSubscription(pub(crate) Pulled<DocumentWatch>);

struct NextDocument;

impl AsyncNext<DocumentWatch, DocumentSnapshot> for NextDocument {
    async fn next(self, watch: &mut DocumentWatch) -> Result<Option<DocumentSnapshot>, rhizome::Error> {
        let told = watch.next().await?;
        Ok(told.map(|value| DocumentSnapshot {
            value: value.map(Value::from),
        }))
    }
}

#[uniffi::export]
impl DocumentSubscription {
    /// The document as it is now, at first and whenever it is another; none once this was cancelled or the pod is shut down. Async.
    pub async fn next(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<DocumentSnapshot>, RhizomeError> {
        self.0.next(cancel, NextDocument).await
    }

    /// Ends it: whoever waits for the next is told none. Instant.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}
