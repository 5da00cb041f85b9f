//! Collections: documents of one kind, listed by date.

use std::{collections::HashMap, sync::Arc};

use rhizome::{DocumentEdit, DocumentId, ListWatch, Pod};

use crate::{
    CancelHandle, DocumentHandle, DocumentSubscription, EditOp, EntryRef, Holder, RhizomeError, Value,
    document::{AsyncNext, Pulled},
    runtime::ask,
    value::{ops, row_fields},
};

/// An id as it crosses.
pub(crate) fn document_id(id: &str) -> Result<DocumentId, RhizomeError> {
    DocumentId::from_hex(id)
        .ok_or_else(|| RhizomeError::invalid("id", "this is not the id of a document: one is 32 hexadecimal digits"))
}

/// A row of a list.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ListRow {
    /// The document's id.
    pub id: String,
    /// The date it is listed by, in milliseconds since 1970.
    pub millis: i64,
    /// Its short top-level fields: strings, numbers, flags and counters as they are, dates as whole numbers.
    pub fields: HashMap<String, Value>,
}

impl From<rhizome::ListRow> for ListRow {
    fn from(row: rhizome::ListRow) -> Self {
        Self {
            id: row.document.to_string(),
            millis: row.millis,
            fields: row_fields(row.fields),
        }
    }
}

/// Where a page ends and the next begins.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct ListCursor {
    /// The date of the last row.
    pub millis: i64,
    /// The document of the last row.
    pub id: String,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Page {
    /// Newest first.
    pub rows: Vec<ListRow>,
    /// Give it back for the next page; none after the last.
    pub next: Option<ListCursor>,
}

/// What a write made.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Written {
    /// The document's id.
    pub id: String,
    /// The entry that holds the change; none if the edits changed nothing.
    pub entry: Option<EntryRef>,
}

impl From<rhizome::Written> for Written {
    fn from(written: rhizome::Written) -> Self {
        Self {
            id: written.document.to_string(),
            entry: written.entry.map(EntryRef::from),
        }
    }
}

/// Edits of one document in a batch.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct DocumentWrite {
    /// The document's id; none makes a new one.
    pub id: Option<String>,
    /// The edits: one change.
    pub edits: Vec<EditOp>,
}

fn edits(writes: Vec<DocumentWrite>) -> Result<Vec<DocumentEdit>, RhizomeError> {
    let edit = |write: DocumentWrite| {
        let ops = ops(write.edits)?;
        Ok(DocumentEdit {
            document: write.id.as_deref().map(document_id).transpose()?,
            edit: Box::new(move |edit| ops.iter().try_for_each(|op| op.apply(edit))),
        })
    };
    writes.into_iter().map(edit).collect()
}

/// Documents of one kind: listed, queried, searched, and each with its history.
#[derive(Debug, uniffi::Object)]
pub struct CollectionHandle {
    pub(crate) pod: Pod,
    pub(crate) name: String,
}

#[uniffi::export]
impl CollectionHandle {
    /// Its name. Instant.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// A document as it is now; none if it is not here. Async.
    pub async fn get(&self, id: String, cancel: Option<Arc<CancelHandle>>) -> Result<Option<Value>, RhizomeError> {
        let (pod, id) = (self.pod.clone(), document_id(&id)?);
        ask(
            cancel,
            async move { pod.get(id).await.map(|value| value.map(Value::from)) },
        )
        .await
    }

    /// A page by the date in the top-level `field`, newest first. `after` is the `next` of the page before. Async.
    pub async fn list(
        &self,
        field: String,
        after: Option<ListCursor>,
        limit: u32,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Page, RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        let after = after
            .map(|cursor| {
                Ok::<_, RhizomeError>(rhizome::ListCursor {
                    millis: cursor.millis,
                    document: document_id(&cursor.id)?,
                })
            })
            .transpose()?;
        ask(cancel, async move {
            let page = pod.list(&name, &field, after, limit).await?;
            Ok::<_, rhizome::Error>(Page {
                rows: page.rows.into_iter().map(ListRow::from).collect(),
                next: page.next.map(|next| ListCursor {
                    millis: next.millis,
                    id: next.document.to_string(),
                }),
            })
        })
        .await
    }

    /// How many documents there are. Async.
    pub async fn count(&self, cancel: Option<Arc<CancelHandle>>) -> Result<u64, RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        ask(cancel, async move { pod.count(&name).await }).await
    }

    /// Makes and edits many documents at once, in as few entries as they fit in. Durable when it returns; if it throws, what went into entries
    /// before stays. A document that is named and not here is made under that name. Async.
    pub async fn write(
        &self,
        writes: Vec<DocumentWrite>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<Written>, RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        let edits = edits(writes)?;
        ask(cancel, async move {
            let written = pod.write(&name, edits).await?;
            Ok::<_, rhizome::Error>(written.into_iter().map(Written::from).collect())
        })
        .await
    }

    /// As [`CollectionHandle::write`], in one entry: all of it is written, or nothing; and on every device either all of it is shown or nothing
    /// yet. `InvalidInput` with the code `too-large` beyond 2,048 documents or 1 MiB, sealed. Async.
    pub async fn transaction(
        &self,
        writes: Vec<DocumentWrite>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<Written>, RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        let edits = edits(writes)?;
        ask(cancel, async move {
            let written = pod.transaction(&name, edits).await?;
            Ok::<_, rhizome::Error>(written.into_iter().map(Written::from).collect())
        })
        .await
    }

    /// The ids of all documents, in their order. Async.
    pub async fn documents(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Vec<String>, RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        ask(cancel, async move {
            let ids = pod.documents(&name).await?;
            Ok::<_, rhizome::Error>(ids.iter().map(DocumentId::to_string).collect())
        })
        .await
    }

    /// Opens a document for editing; one that is not here is made by its first save. Async.
    pub async fn open(
        &self,
        id: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Arc<DocumentHandle>, RhizomeError> {
        let (pod, name, id) = (self.pod.clone(), self.name.clone(), document_id(&id)?);
        ask(cancel, async move {
            let document = pod.open_document(&name, id).await?;
            Ok::<_, rhizome::Error>(Arc::new(DocumentHandle(document)))
        })
        .await
    }

    /// A new document, under an id of its own. There is nothing of it until it is saved. Instant.
    pub fn new_document(&self) -> Arc<DocumentHandle> {
        Arc::new(DocumentHandle(self.pod.new_document(&self.name)))
    }

    /// The devices and peers that hold everything that is here of a document, by their signed word. Async.
    pub async fn holders(&self, id: String, cancel: Option<Arc<CancelHandle>>) -> Result<Vec<Holder>, RhizomeError> {
        let (pod, id) = (self.pod.clone(), document_id(&id)?);
        ask(cancel, async move {
            let holders = pod.document_holders(id).await?;
            Ok::<_, rhizome::Error>(holders.into_iter().map(Holder::from).collect())
        })
        .await
    }

    /// Watches the first `limit` rows by the date in `field`. Instant.
    pub fn watch(&self, field: String, limit: u32) -> Arc<ListSubscription> {
        Arc::new(ListSubscription(Pulled::new(
            self.pod.watch_list(&self.name, &field, limit),
        )))
    }

    /// Watches one document, which need not be here yet. Instant.
    pub fn watch_document(&self, id: String) -> Result<Arc<DocumentSubscription>, RhizomeError> {
        let watch = self.pod.watch_document(document_id(&id)?);
        Ok(Arc::new(DocumentSubscription(Pulled::new(watch))))
    }
}

/// A row of a list and its place.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct PlacedRow {
    /// Its place from 0, in the list as it is after the whole difference.
    pub index: u64,
    /// The row.
    pub row: ListRow,
}

/// What became of a list since the difference before: take away `removed` and every document in `placed`, then put those of `placed` where
/// they belong, first to last.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ListDiff {
    /// Ids of documents that are no longer in the list.
    pub removed: Vec<String>,
    /// Rows that are new, changed or elsewhere, by index.
    pub placed: Vec<PlacedRow>,
}

impl From<rhizome::ListDiff> for ListDiff {
    fn from(diff: rhizome::ListDiff) -> Self {
        Self {
            removed: diff.removed.iter().map(DocumentId::to_string).collect(),
            placed: diff
                .placed
                .into_iter()
                .map(|placed| PlacedRow {
                    index: placed.index as u64,
                    row: placed.row.into(),
                })
                .collect(),
        }
    }
}

/// The newest documents of a collection, as they change.
#[derive(uniffi::Object)]
pub struct ListSubscription(Pulled<ListWatch>);

struct NextList;

impl AsyncNext<ListWatch, ListDiff> for NextList {
    async fn next(self, watch: &mut ListWatch) -> Result<Option<ListDiff>, rhizome::Error> {
        Ok(watch.next().await?.map(ListDiff::from))
    }
}

#[uniffi::export]
impl ListSubscription {
    /// The difference since the last call, and first the whole list; waits for one. None once this was cancelled or the pod is shut down.
    /// Async.
    pub async fn next(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<ListDiff>, RhizomeError> {
        self.0.next(cancel, NextList).await
    }

    /// Ends it: whoever waits for the next is told none. Instant.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}
