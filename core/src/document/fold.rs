//! From entries in the log to documents in the views.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Document, DocumentError, Limits, Value, inspect};
use crate::{
    identity::{IdentityId, KeyRing, StreamId},
    log::{AuthorId, DocumentChange, DocumentId, Event, Time, VerifiedEntry, open_entry},
    store::{BranchHead, DocumentRow, ListCursor, LogStore, StoreError, Views, ViewsWrite},
};

/// Entries and bytes of boxes folded in one transaction of the views.
const BATCH_ENTRIES: u64 = 32;
const BATCH_BYTES: usize = 1 << 20;
/// How often a fold that was disturbed begins again.
const ATTEMPTS: u32 = 4;
/// The actor of a document that is only folded and shown. It never writes.
const READER: [u8; 32] = [0; 32];
/// Strings longer than this are not repeated in lists.
const LISTED_CHARS: usize = 200;

/// What a fold did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// Documents that changed.
    pub documents: BTreeSet<DocumentId>,
    /// Entries folded.
    pub entries: u64,
    /// Entries that did not open or held something malformed: kept in the log, not shown.
    pub unreadable: u64,
    /// The latest time that any of them carried.
    pub latest: Time,
    /// Whether another fold was at work too: look again.
    interrupted: bool,
}

/// How much to fold.
pub struct Fold<'a> {
    /// Of one author log alone.
    pub only: Option<AuthorId>,
    /// No more entries than this, give or take a batch.
    pub limit: u64,
    /// Asked before each batch.
    pub stop: &'a dyn Fn() -> bool,
    /// Times later than this do not count for [`Folded::latest`]: somebody's clock is wrong.
    pub horizon: Time,
}

impl Default for Fold<'_> {
    fn default() -> Self {
        Self {
            only: None,
            limit: u64::MAX,
            stop: &|| false,
            horizon: Time(u64::MAX),
        }
    }
}

/// A row of a list.
#[derive(Clone, PartialEq)]
pub struct ListRow {
    /// The document.
    pub document: DocumentId,
    /// The date it is listed by, in milliseconds since 1970.
    pub millis: i64,
    /// Its short top-level fields: strings, numbers, dates, flags and counters, without texts, lists and maps.
    pub fields: serde_json::Value,
}

// The fields are a person's own words.
impl std::fmt::Debug for ListRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListRow({})", self.document.short())
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub rows: Vec<ListRow>,
    /// Give it back for the next page; `None` after the last.
    pub next: Option<ListCursor>,
}

/// Asks how far each branch of each author log counts.
pub type HeadsFn = Box<dyn Fn() -> Result<BTreeMap<AuthorId, Vec<BranchHead>>, StoreError> + Send + Sync>;

/// The documents of one identity: folded from its log, kept in its views.
pub struct Documents {
    log: LogStore,
    views: Views,
    heads: HeadsFn,
    /// How often a fold failed or the views were dropped, so that they lack what is in the log and nothing else would bring it.
    failed: AtomicU64,
    /// Up to which of these a later fold made good.
    made_good: AtomicU64,
}

impl Documents {
    /// Documents of `identity` in `log`, shown from `views`: all that is there counts.
    pub fn new(log: LogStore, views: Views, identity: IdentityId) -> Self {
        let all = log.clone();
        let heads = Box::new(move || all.read(|read| read.heads(&identity)));
        Self::with_heads(log, views, heads)
    }

    /// As [`Documents::new`], and of each branch as much counts as `heads` says.
    pub fn with_heads(log: LogStore, views: Views, heads: HeadsFn) -> Self {
        Self {
            log,
            views,
            heads,
            failed: AtomicU64::new(0),
            made_good: AtomicU64::new(0),
        }
    }

    /// Closes the views.
    pub fn close(&self) {
        self.views.close();
    }

    /// Folds every entry that is new, with the keys of `ring`. What waited for a key that has come is folded too. Damaged views are
    /// dropped and folded from the start.
    pub fn fold(&self, ring: &KeyRing) -> Result<Folded, StoreError> {
        self.fold_some(ring, &Fold::default())
    }

    /// As [`Documents::fold`], as much of it as `how` says. What is done stays done.
    pub fn fold_some(&self, ring: &KeyRing, how: &Fold<'_>) -> Result<Folded, StoreError> {
        // One that fails while this one is at work may be about an entry that this one has not seen.
        let failed = self.failed.load(Ordering::SeqCst);
        let mut attempts = 0;
        let folded = loop {
            attempts += 1;
            match self.fold_once(ring, how) {
                Err(StoreError::Damaged { file: "views.db", .. }) if attempts < ATTEMPTS => {}
                Ok(folded) if folded.interrupted && attempts < ATTEMPTS => {}
                other => break other,
            }
        };
        match &folded {
            Ok(_) if how.only.is_none() => {
                self.made_good.fetch_max(failed, Ordering::SeqCst);
            }
            Ok(_) => {}
            Err(_) => self.note_failure(),
        }
        folded
    }

    fn note_failure(&self) {
        self.failed.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the views lack something that was in the log when they were last brought up to it: fold before reading them.
    pub fn is_stale(&self) -> bool {
        self.failed.load(Ordering::SeqCst) > self.made_good.load(Ordering::SeqCst)
    }

    fn fold_once(&self, ring: &KeyRing, how: &Fold<'_>) -> Result<Folded, StoreError> {
        let mut folded = Folded::default();
        self.fold_waiting(ring, how, &mut folded)?;
        for (author, branch, mut cursor) in self.unfolded()? {
            if how.only.is_some_and(|only| only != author) {
                continue;
            }
            while cursor < branch.head.seq && folded.entries < how.limit && !(how.stop)() {
                let left = BATCH_ENTRIES.min(branch.head.seq - cursor);
                let batch = self
                    .log
                    .read(|read| read.entries_after(&author, branch.branch, cursor, left, BATCH_BYTES))?;
                let Some(last) = batch.last() else { break };
                let folded_here = self.views.with(|views| {
                    // Somebody else may have folded meanwhile, or dropped the views: then this batch does not follow.
                    if views.cursor(&author, branch.branch)?.unwrap_or(branch.base.max(1)) != cursor {
                        return Ok(false);
                    }
                    fold_batch(views, ring, branch.branch, &batch, how, &mut folded)?;
                    views.set_cursor(&author, branch.branch, last.position().seq)?;
                    Ok(true)
                })?;
                if !folded_here {
                    folded.interrupted = true;
                    break;
                }
                cursor = last.position().seq;
            }
        }
        Ok(folded)
    }

    /// Branches that are not folded to their end, and how far they are.
    fn unfolded(&self) -> Result<Vec<(AuthorId, BranchHead, u64)>, StoreError> {
        let heads = (self.heads)()?;
        let mut cursors = self.noted(|views| views.cursors())?;
        let beyond = |heads: &BTreeMap<AuthorId, Vec<BranchHead>>| {
            let counts = |((author, branch), cursor): (&(AuthorId, u32), &u64)| {
                let branches = heads.get(author).map_or(&[][..], Vec::as_slice);
                branches
                    .iter()
                    .any(|head| head.branch == *branch && *cursor <= head.head.seq)
            };
            !cursors.iter().all(counts)
        };
        // Somebody may have written and folded since the heads were read: asked once more, now that the cursors are older.
        if beyond(&heads) && beyond(&(self.heads)()?) {
            // Something was folded that does not count: a device was removed by somebody who had seen less of it. What it changed is not undone
            // one by one.
            tracing::warn!("entries that do not count were folded: the views are folded again from the log");
            self.views.with(|views| views.clear())?;
            self.note_failure();
            cursors.clear();
        }
        let branches = heads
            .into_iter()
            .flat_map(|(author, branches)| branches.into_iter().map(move |b| (author, b)));
        let place = |(author, branch): (AuthorId, BranchHead)| {
            // Nothing of a log is folded twice for its branches: each begins where it parted.
            let cursor = cursors
                .get(&(author, branch.branch))
                .copied()
                .unwrap_or(branch.base.max(1));
            (cursor < branch.head.seq).then_some((author, branch, cursor))
        };
        Ok(branches.filter_map(place).collect())
    }

    /// The latest time that any fold counted.
    pub fn latest(&self) -> Result<Time, StoreError> {
        self.noted(|views| views.latest_time()).map(Time)
    }

    /// How many entries of the log are not folded yet.
    pub fn behind(&self) -> Result<u64, StoreError> {
        Ok(self
            .unfolded()?
            .iter()
            .map(|(_, branch, cursor)| branch.head.seq - cursor)
            .sum())
    }

    fn fold_waiting(&self, ring: &KeyRing, how: &Fold<'_>, folded: &mut Folded) -> Result<(), StoreError> {
        let awaited = self.views.with(|views| views.awaited())?;
        for epoch in awaited
            .iter()
            .filter(|epoch| ring.epoch(epoch).is_some() && !(how.stop)())
        {
            self.views.with(|views| {
                for (author, branch, seq) in views.take_waiting(epoch)? {
                    let entries = self
                        .log
                        .read(|read| read.entries_after(&author, branch, seq - 1, 1, 0))?;
                    fold_batch(views, ring, branch, &entries, how, folded)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A document for writing as `actor`; a new one if it is not here. With the collection it is in.
    pub fn open(&self, document: &DocumentId, actor: &[u8; 32]) -> Result<Option<(String, Document)>, StoreError> {
        let row = self.shown(|views| views.document(document))?;
        row.map(|row| Ok((row.collection, Document::load(&row.state, actor).map_err(damaged)?)))
            .transpose()
    }

    /// Reads the views. If they turn out to be damaged they are empty now: fold, then ask again.
    fn shown<R>(&self, read: impl FnOnce(&ViewsWrite<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let shown = self.views.with(read);
        if let Err(StoreError::Damaged { file: "views.db", .. }) = &shown {
            self.note_failure();
        }
        shown
    }

    /// Reads how far the views are. If they turn out to be damaged they are empty now, and this is what it says.
    fn noted<R>(&self, read: impl Fn(&ViewsWrite<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        match self.shown(&read) {
            Err(StoreError::Damaged { file: "views.db", .. }) => self.views.with(read),
            other => other,
        }
    }

    /// A document as it is now.
    pub fn get(&self, document: &DocumentId) -> Result<Option<Value>, StoreError> {
        Ok(self.open(document, &READER)?.map(|(_, document)| document.value()))
    }

    /// A page of `collection` by the date in its top-level `field`, newest first.
    pub fn list(
        &self,
        collection: &str,
        field: &str,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let rows = self.shown(|views| views.list(collection, field, after, limit))?;
        let full = rows.len() == limit as usize;
        let rows: Vec<ListRow> = rows
            .into_iter()
            .map(|(millis, document, fields)| ListRow {
                document,
                millis,
                fields: serde_json::from_str(&fields).unwrap_or_default(),
            })
            .collect();
        let next = rows.last().filter(|_| full).map(|row| ListCursor {
            millis: row.millis,
            document: row.document,
        });
        Ok(Page { rows, next })
    }

    /// Every document of a collection, by id.
    pub fn ids(&self, collection: &str) -> Result<Vec<DocumentId>, StoreError> {
        self.shown(|views| views.documents(collection))
    }

    /// How many documents a collection has.
    pub fn count(&self, collection: &str) -> Result<u64, StoreError> {
        self.shown(|views| views.count(collection))
    }

    /// The last entry of each branch of each author log that changed a document.
    pub fn entries_of(&self, document: &DocumentId) -> Result<Vec<(AuthorId, u32, u64)>, StoreError> {
        self.shown(|views| views.touched(document))
    }

    /// How many entries wait for a key.
    pub fn waiting(&self) -> Result<u64, StoreError> {
        self.noted(|views| views.waiting())
    }

    /// The applications' own events of every stream with this label (two devices may each have begun one), in the order that every device
    /// agrees on.
    pub fn events(&self, label: &str, ring: &KeyRing) -> Result<Vec<Event>, StoreError> {
        let heads = (self.heads)()?;
        let is_labelled = |stream: &StreamId| ring.streams().get(stream).is_some_and(|stream| stream.label == label);
        let mut events = Vec::new();
        // Branches that part from one another share copies of what came before.
        let mut seen = BTreeSet::new();
        for (author, branches) in heads {
            let start = self.log.read(|read| read.start(&author))?;
            if start.is_none_or(|start| !is_labelled(&start.stream())) {
                continue;
            }
            for branch in branches {
                let mut after = branch.base.max(1);
                loop {
                    let batch = self
                        .log
                        .read(|read| read.entries_after(&author, branch.branch, after, BATCH_ENTRIES, BATCH_BYTES))?;
                    let Some(last) = batch.last() else { break };
                    after = last.position().seq;
                    for entry in &batch {
                        let at = entry.position();
                        if at.seq > branch.head.seq {
                            break;
                        }
                        let Some(key) = ring.epoch(&entry.entry().epoch) else {
                            continue;
                        };
                        if !seen.insert((author, at)) {
                            continue;
                        }
                        for content in open_entry(entry, key).unwrap_or_default() {
                            let order = (content.time, author, at.seq, at.hash);
                            let own = content
                                .events
                                .into_iter()
                                .filter(|event| matches!(event, Event::App { .. }));
                            events.extend(own.map(|event| (order, event)));
                        }
                    }
                }
            }
        }
        events.sort_by_key(|(order, _)| *order);
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }
}

fn damaged(error: DocumentError) -> StoreError {
    StoreError::Damaged {
        file: "views.db",
        why: error.to_string(),
    }
}

fn fold_batch(
    views: &ViewsWrite<'_>,
    ring: &KeyRing,
    branch: u32,
    entries: &[VerifiedEntry],
    how: &Fold<'_>,
    folded: &mut Folded,
) -> Result<(), StoreError> {
    let mut changes: BTreeMap<DocumentId, (String, Vec<Vec<u8>>)> = BTreeMap::new();
    for entry in entries {
        let Some(key) = ring.epoch(&entry.entry().epoch) else {
            views.wait_for(&entry.entry().epoch, &entry.author(), branch, entry.position().seq)?;
            continue;
        };
        folded.entries += 1;
        let Ok(contents) = open_entry(entry, key) else {
            folded.unreadable += 1;
            continue;
        };
        for content in contents {
            if content.time <= how.horizon {
                folded.latest = folded.latest.max(content.time);
            }
            for event in content.events {
                let Event::Document(change) = event else { continue };
                views.touch(&change.document, &entry.author(), branch, entry.position().seq)?;
                let (document, collection) = (change.document, change.collection.clone());
                let Some(own) = own_changes(&entry.author(), change) else {
                    folded.unreadable += 1;
                    continue;
                };
                // What changes nothing says nothing of the collection either: or it would matter what is folded together.
                if own.is_empty() {
                    continue;
                }
                let known = changes
                    .entry(document)
                    .or_insert_with(|| (collection.clone(), Vec::new()));
                known.0 = collection.min(std::mem::take(&mut known.0));
                known.1.extend(own);
            }
        }
    }
    for (id, (collection, changes)) in changes {
        if apply(views, id, collection, changes)? {
            folded.documents.insert(id);
        }
    }
    views.note_time(folded.latest.0)
}

/// The changes, if every one was made by the actor that their author log and session give: nobody writes in another's name.
fn own_changes(author: &AuthorId, change: DocumentChange) -> Option<Vec<Vec<u8>>> {
    let actor = DocumentChange::actor(author, &change.document, &change.session);
    let own = |bytes: &Vec<u8>| inspect(bytes, Limits::default()).is_ok_and(|info| info.actor == actor);
    change.changes.iter().all(own).then_some(change.changes)
}

fn apply(
    views: &ViewsWrite<'_>,
    id: DocumentId,
    collection: String,
    changes: Vec<Vec<u8>>,
) -> Result<bool, StoreError> {
    let known = views.document(&id)?;
    let is_new = known.is_none();
    // Two devices may name one document in two collections: all take the one that sorts first, whatever came first.
    let moved = known.as_ref().is_some_and(|row| collection < row.collection);
    let (collection, mut document) = match known {
        Some(row) => (
            row.collection.min(collection),
            Document::load(&row.state, &READER).map_err(damaged)?,
        ),
        None => (collection, Document::new(&READER)),
    };
    // What did not fit before may fit now.
    let mut offered = views.take_aside(&id)?;
    offered.extend(changes);
    // A document is there once somebody wrote changes of it, whether they fit already or not: the same in whatever order they come.
    let mut changed = is_new;
    loop {
        match document.apply(&offered) {
            Ok(applied) => {
                changed |= applied.changed || applied.added > 0 || applied.pending > 0;
                break;
            }
            Err(error) => {
                // Without an index it is all of them together that do not fit: too many that wait for others.
                let refused = match error.index() {
                    Some(index) => vec![offered.remove(index)],
                    None => std::mem::take(&mut offered),
                };
                for change in refused {
                    views.set_aside(&id, &crate::crypto::Hash::plain(&change).0, &change)?;
                }
            }
        }
    }
    if !changed && !moved {
        return Ok(false);
    }
    let (fields, dates) = listed(&document.value());
    let row = DocumentRow {
        document: id,
        collection,
        state: document.save(),
    };
    views.put_document(&row, &fields, &dates)?;
    Ok(true)
}

/// What lists need of a document: its short fields as JSON, and its dates.
fn listed(value: &Value) -> (String, Vec<(String, i64)>) {
    let mut fields = serde_json::Map::new();
    let mut dates = Vec::new();
    if let Value::Map(map) = value {
        for (name, value) in map {
            match value {
                Value::Text(_) | Value::List(_) | Value::Map(_) | Value::Bytes(_) => continue,
                Value::String(text) if text.chars().count() > LISTED_CHARS => continue,
                Value::Date(millis) => dates.push((name.clone(), *millis)),
                _ => {}
            }
            fields.insert(name.clone(), value.to_json());
        }
    }
    (serde_json::Value::Object(fields).to_string(), dates)
}
