//! Subscriptions: what changed, told to whoever asks for it. They are pulled, so that one who is slow costs nothing and misses nothing: what
//! happened since the last `next()` comes as one difference.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use tokio::sync::{broadcast, watch};

use super::{Pod, Status};
use crate::{
    document::{ListRow, Ordered, Query, QueryError, QueryRow, Value},
    error::Error,
    log::DocumentId,
};

/// How many changes wait for a reader, before it is told to look at everything.
const WAITING: usize = 64;

/// Which documents the views show otherwise than before. `None`: any of them may.
type Shown = Option<Arc<BTreeSet<DocumentId>>>;

/// Tells the subscriptions of a pod that there is something to look at. It lives as long as the pod, through every suspend and resume.
pub(super) struct Changes {
    shown: broadcast::Sender<Shown>,
    state: watch::Sender<()>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            shown: broadcast::Sender::new(WAITING),
            state: watch::Sender::new(()),
        }
    }
}

impl Changes {
    /// The views show these documents otherwise.
    pub fn shown(&self, documents: BTreeSet<DocumentId>) {
        if !documents.is_empty() {
            // An error only says that nobody listens.
            let _ = self.shown.send(Some(Arc::new(documents)));
        }
        self.state();
    }

    /// Anything may be another than before.
    pub fn everything(&self) {
        let _ = self.shown.send(None);
        self.state();
    }

    /// The status may be another than before.
    pub fn state(&self) {
        self.state.send_replace(());
    }
}

/// Waits for changes of what the views show, and forgets none if it is dropped while it waits.
struct ShownChanges {
    changes: broadcast::Receiver<Shown>,
    /// Something changed that was not looked at yet.
    changed: bool,
}

impl ShownChanges {
    fn of(pod: &Pod) -> Self {
        Self {
            changes: pod.0.shared.changes.shown.subscribe(),
            changed: true,
        }
    }

    /// Until something changed that `concerns` the reader.
    async fn changed(&mut self, concerns: impl Fn(&BTreeSet<DocumentId>) -> bool) {
        while !self.changed {
            self.changed = match self.changes.recv().await {
                Ok(Some(documents)) => concerns(&documents),
                Ok(None) | Err(_) => true,
            };
        }
        // Whatever came meanwhile is seen by the same look.
        while !matches!(self.changes.try_recv(), Err(broadcast::error::TryRecvError::Empty)) {}
    }
}

/// Why a row is in a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacedAs {
    /// It was not in the answer before.
    Inserted,
    /// It is where it was among the others, and another.
    Updated,
    /// What the answer is sorted by is another.
    Moved,
}

/// A row of an answer and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed<Row> {
    /// Its place from 0, in the answer as it is after the whole difference.
    pub index: usize,
    /// The row.
    pub row: Row,
    /// Why it is here.
    pub placed: PlacedAs,
}

/// What became of an answer since the difference before: take away `removed` and every document in `placed`, then put those of `placed` where
/// they belong, first to last. What is in neither stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff<Row> {
    /// Documents that are no longer in it.
    pub removed: Vec<DocumentId>,
    /// Rows that are new, changed or elsewhere, by index.
    pub placed: Vec<Placed<Row>>,
}

/// A row of a list and its place.
pub type PlacedRow = Placed<ListRow>;
/// What became of a list.
pub type ListDiff = Diff<ListRow>;
/// What became of a query's answer.
pub type QueryDiff = Diff<QueryRow>;

impl<Row: Ordered> Diff<Row> {
    fn between(before: &[Row], after: &[Row]) -> Self {
        let known: HashMap<DocumentId, &Row> = before.iter().map(|row| (row.document(), row)).collect();
        let remaining: HashSet<DocumentId> = after.iter().map(Row::document).collect();
        let gone = before
            .iter()
            .map(Row::document)
            .filter(|document| !remaining.contains(document));
        // The order is that of key and document, which are part of the row: rows that are as they were are in the order they were in.
        let placed = |(index, row): (usize, &Row)| {
            let placed = match known.get(&row.document()) {
                None => PlacedAs::Inserted,
                Some(known) if *known == row => return None,
                Some(known) if known.same_place(row) => PlacedAs::Updated,
                Some(_) => PlacedAs::Moved,
            };
            let row = row.clone();
            Some(Placed { index, row, placed })
        };
        Self {
            removed: gone.collect(),
            placed: after.iter().enumerate().filter_map(placed).collect(),
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.placed.is_empty()
    }

    /// Makes the answer before into the answer after.
    pub fn apply(self, rows: &mut Vec<Row>) {
        let placed = self.placed.iter().map(|placed| placed.row.document());
        let away: HashSet<DocumentId> = self.removed.iter().copied().chain(placed).collect();
        rows.retain(|row| !away.contains(&row.document()));
        for Placed { index, row, .. } in self.placed {
            rows.insert(index.min(rows.len()), row);
        }
    }
}

/// An answer that is told difference by difference.
struct Rows<Row> {
    /// What the reader was told; `None` before the first time.
    told: Option<Vec<Row>>,
    changes: ShownChanges,
}

impl<Row: Ordered> Rows<Row> {
    fn of(pod: &Pod) -> Self {
        Self {
            told: None,
            changes: ShownChanges::of(pod),
        }
    }

    /// What an answer, asked after [`ShownChanges::changed`], tells the reader. `None`: nothing, wait for the next change.
    fn tell(&mut self, answer: Result<Vec<Row>, Error>) -> Option<Result<Option<Diff<Row>>, Error>> {
        let rows = match answer {
            Ok(rows) => rows,
            Err(Error::Closed) => return Some(Ok(None)),
            // Resuming says that everything may have changed, and so does an index that was built.
            Err(Error::Suspended | Error::Query(QueryError::Building { .. })) => {
                self.changes.changed = false;
                return None;
            }
            Err(error) => return Some(Err(error)),
        };
        self.changes.changed = false;
        let diff = Diff::between(self.told.as_deref().unwrap_or_default(), &rows);
        let first = self.told.replace(rows).is_none();
        (first || !diff.is_empty()).then_some(Ok(Some(diff)))
    }
}

/// The newest documents of a collection, as they change. See [`Pod::watch_list`].
pub struct ListWatch {
    pod: Pod,
    collection: String,
    field: String,
    limit: u32,
    rows: Rows<ListRow>,
}

impl ListWatch {
    /// The difference since the last call, and first the whole list; waits for one. `None` once the pod was shut down. Until a suspended
    /// pod is resumed it waits. To be dropped at any time: the next call tells what this one would have.
    pub async fn next(&mut self) -> Result<Option<ListDiff>, Error> {
        loop {
            self.rows.changes.changed(|_| true).await;
            let page = self.pod.list(&self.collection, &self.field, None, self.limit).await;
            if let Some(told) = self.rows.tell(page.map(|page| page.rows)) {
                return told;
            }
        }
    }
}

/// What a query finds, as it changes. See [`Pod::watch_query`].
pub struct QueryWatch {
    pod: Pod,
    collection: String,
    query: Query,
    rows: Rows<QueryRow>,
}

impl QueryWatch {
    pub(super) fn new(pod: &Pod, collection: &str, query: Query) -> Self {
        Self {
            pod: pod.clone(),
            collection: collection.to_owned(),
            query,
            rows: Rows::of(pod),
        }
    }

    /// The difference since the last call, and first the whole answer; otherwise as [`ListWatch::next`]. Waits for an index that is built.
    pub async fn next(&mut self) -> Result<Option<QueryDiff>, Error> {
        loop {
            self.rows.changes.changed(|_| true).await;
            let page = self.pod.query(&self.collection, self.query.clone()).await;
            if let Some(told) = self.rows.tell(page.map(|page| page.rows)) {
                return told;
            }
        }
    }
}

/// One document, as it changes. See [`Pod::watch_document`].
pub struct DocumentWatch {
    pod: Pod,
    document: DocumentId,
    told: Option<Option<Value>>,
    changes: ShownChanges,
}

impl DocumentWatch {
    /// The document as it is now (`None` if it is not here), at first and whenever it is another; otherwise as [`ListWatch::next`].
    pub async fn next(&mut self) -> Result<Option<Option<Value>>, Error> {
        loop {
            let document = self.document;
            self.changes.changed(|documents| documents.contains(&document)).await;
            let value = match self.pod.get(document).await {
                Ok(value) => value,
                Err(Error::Closed) => return Ok(None),
                Err(Error::Suspended) => {
                    self.changes.changed = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.changes.changed = false;
            if self.told.as_ref() != Some(&value) {
                self.told = Some(value.clone());
                return Ok(Some(value));
            }
        }
    }
}

/// The pod's status, as it changes. See [`Pod::watch_status`].
pub struct StatusWatch {
    pod: Pod,
    told: Option<Status>,
    changes: watch::Receiver<()>,
}

impl StatusWatch {
    /// The status now, at first and whenever it is another; otherwise as [`ListWatch::next`].
    pub async fn next(&mut self) -> Result<Option<Status>, Error> {
        loop {
            // Looking does not mark it seen before there is an answer: whoever drops this call misses nothing.
            if !self.changes.has_changed().unwrap_or(true) {
                let _ = self.changes.changed().await;
                self.changes.mark_changed();
            }
            let mut seen = self.changes.clone();
            seen.mark_unchanged();
            let status = match self.pod.status().await {
                Ok(status) => status,
                Err(Error::Closed) => return Ok(None),
                Err(Error::Suspended) => {
                    self.changes = seen;
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.changes = seen;
            if self.told.as_ref() != Some(&status) {
                self.told = Some(status.clone());
                return Ok(Some(status));
            }
        }
    }
}

impl Pod {
    /// Watches the first `limit` rows of [`Pod::list`].
    pub fn watch_list(&self, collection: &str, field: &str, limit: u32) -> ListWatch {
        ListWatch {
            pod: self.clone(),
            collection: collection.to_owned(),
            field: field.to_owned(),
            limit,
            rows: Rows::of(self),
        }
    }

    /// Watches one document, which need not be here yet.
    pub fn watch_document(&self, document: DocumentId) -> DocumentWatch {
        DocumentWatch {
            pod: self.clone(),
            document,
            told: None,
            changes: ShownChanges::of(self),
        }
    }

    /// Watches the status.
    pub fn watch_status(&self) -> StatusWatch {
        let mut changes = self.0.shared.changes.state.subscribe();
        changes.mark_changed();
        StatusWatch {
            pod: self.clone(),
            told: None,
            changes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(document: u8, millis: i64, word: u8) -> ListRow {
        ListRow {
            document: DocumentId([document; 16]),
            millis,
            fields: serde_json::json!({ "word": word }),
        }
    }

    fn list() -> impl Strategy<Value = Vec<ListRow>> {
        prop::collection::btree_map(0_u8..12, (0_i64..6, 0_u8..3), 0..10).prop_map(|rows| {
            let mut rows: Vec<ListRow> = rows
                .into_iter()
                .map(|(document, (millis, word))| row(document, millis, word))
                .collect();
            rows.sort_by_key(|row| std::cmp::Reverse((row.millis, row.document)));
            rows
        })
    }

    proptest! {
        #[test]
        fn a_difference_makes_one_list_into_the_other(before in list(), after in list()) {
            let diff = Diff::between(&before, &after);
            prop_assert_eq!(diff.is_empty(), before == after);
            let mut rows = before;
            diff.apply(&mut rows);
            prop_assert_eq!(rows, after);
        }
    }

    #[test]
    fn a_difference_names_only_what_changed() {
        let before = [row(1, 5, 0), row(2, 4, 0), row(3, 3, 0)];
        let after = [row(4, 6, 0), row(1, 5, 0), row(3, 3, 1)];
        let diff = Diff::between(&before, &after);
        assert_eq!(diff.removed, [DocumentId([2; 16])]);
        let places: Vec<(usize, u8, PlacedAs)> = diff
            .placed
            .iter()
            .map(|placed| (placed.index, placed.row.document.0[0], placed.placed))
            .collect();
        assert_eq!(places, [(0, 4, PlacedAs::Inserted), (2, 3, PlacedAs::Updated)]);
        let diff = Diff::between(&before, &[row(3, 6, 0), row(1, 5, 0), row(2, 4, 0)]);
        let moved: Vec<(usize, PlacedAs)> = diff.placed.iter().map(|placed| (placed.index, placed.placed)).collect();
        assert_eq!((diff.removed, moved), (Vec::new(), vec![(0, PlacedAs::Moved)]));
    }
}
