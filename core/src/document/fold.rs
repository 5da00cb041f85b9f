//! From entries in the log to documents in the views.

mod erasing;

pub use erasing::ErasedShown;
pub(crate) use erasing::holds_only;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use automerge::Change;

use super::{
    Document, DocumentError, Limits, Value,
    attachment::all_referred_to,
    collection::{Declared, KeptHere, read_shown},
    document::read_change,
};
use crate::{
    identity::{IdentityId, KeyRing, StreamId},
    log::{AttachmentId, AuthorId, DocumentChange, DocumentId, Event, Time, VerifiedEntry, open_entry, open_sections},
    store::{BranchHead, DocumentRow, ListCursor, LogStore, StoreError, VersionPlace, VersionRow, Views, ViewsWrite},
};

/// Entries and bytes of boxes folded in one transaction of the views.
const BATCH_ENTRIES: u64 = 32;
const BATCH_BYTES: usize = 1 << 20;
/// How often a fold that was disturbed begins again; and one that somebody waits for: each time another has brought it further.
const ATTEMPTS: u32 = 4;
const ATTEMPTS_WAITED_FOR: u32 = 64;
/// The actor of a document that is only folded and shown. It never writes.
const READER: [u8; 32] = [0; 32];

/// What a fold did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// Documents that changed.
    pub documents: BTreeSet<DocumentId>,
    /// Attachments that one of them refers to and did not refer to before.
    pub attachments: BTreeSet<AttachmentId>,
    /// Entries folded.
    pub entries: u64,
    /// Entries that did not open or held something malformed: kept in the log, not shown.
    pub unreadable: u64,
    /// The latest time that any of them carried.
    pub latest: Time,
    /// Whether nothing is left of what there was to fold.
    pub to_the_end: bool,
}

impl Folded {
    fn add(&mut self, more: Self) {
        self.documents.extend(more.documents);
        self.attachments.extend(more.attachments);
        self.entries += more.entries;
        self.unreadable += more.unreadable;
        self.latest = self.latest.max(more.latest);
    }
}

/// How far an attempt to fold came.
#[derive(PartialEq, Eq)]
enum Reached {
    /// The end of what there was to fold.
    End,
    /// As far as it was to.
    Limit,
    /// To where another fold was at work too, or with newer keys: look again.
    Disturbed,
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
    pub(super) views: Views,
    heads: HeadsFn,
    pub(super) declared: Mutex<Declared>,
    /// How often a fold failed or the views were dropped, so that they lack what is in the log and nothing else would bring it.
    failed: AtomicU64,
    /// Up to which of these a later fold made good.
    made_good: AtomicU64,
    /// How often the views had been made anew when they were folded last, all of them.
    folded_anew: AtomicU64,
    /// The erased documents that the views are known to be without, and how often the file had been made anew. Set only while the views are
    /// held.
    followed: Mutex<Option<(u64, BTreeSet<DocumentId>)>>,
    /// Whether changes of an erased document may be here that no erasure names.
    late: AtomicBool,
    /// Whether the views are about to be closed.
    ending: AtomicBool,
    last: LastFolded,
}

/// Bytes of a saved document from which on it is worth keeping open.
const LARGE_DOCUMENT: usize = 16 << 10;

/// The large document that was folded last, as it was saved: whoever writes in it writes on, and it takes long to load.
#[derive(Default)]
struct LastFolded(Mutex<Option<(DocumentId, Vec<u8>, Document)>>);

impl LastFolded {
    fn lock(&self) -> MutexGuard<'_, Option<(DocumentId, Vec<u8>, Document)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The document that was saved as `state`, if it is this one.
    fn take(&self, document: &DocumentId, state: &[u8]) -> Option<Document> {
        let last = self.lock().take_if(|(id, saved, _)| id == document && saved == state);
        last.map(|(_, _, document)| document)
    }

    fn forget(&self, document: &DocumentId) {
        self.lock().take_if(|(id, ..)| id == document);
    }

    fn keep(&self, id: DocumentId, state: Vec<u8>, document: Document) {
        if state.len() >= LARGE_DOCUMENT {
            *self.lock() = Some((id, state, document));
        }
    }
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
            declared: Mutex::default(),
            failed: AtomicU64::new(0),
            made_good: AtomicU64::new(0),
            folded_anew: AtomicU64::new(0),
            followed: Mutex::default(),
            late: AtomicBool::new(true),
            ending: AtomicBool::new(false),
            last: LastFolded::default(),
        }
    }

    /// The views are about to be closed: what takes long in them ends soon, and is done another time.
    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Closes the views.
    pub fn close(&self) {
        self.views.close();
    }

    /// Folds every entry that is new, with the keys of `ring`. What waited for a key that has come is folded too. Damaged views are
    /// dropped and folded from the start.
    pub fn fold(&self, ring: &KeyRing) -> Result<Folded, StoreError> {
        self.fold_some(|| ring, &Fold::default())
    }

    /// As [`Documents::fold`], as much of it as `how` says. What is done stays done. `ring` gives the keys as they are when it is asked: it is
    /// asked again when another fold has met newer ones.
    pub fn fold_some<R: Deref<Target = KeyRing>>(
        &self,
        ring: impl Fn() -> R,
        how: &Fold<'_>,
    ) -> Result<Folded, StoreError> {
        // One that fails while this one is at work may be about an entry that this one has not seen.
        let failed = self.failed.load(Ordering::SeqCst);
        let most = if how.limit < u64::MAX {
            ATTEMPTS_WAITED_FOR
        } else {
            ATTEMPTS
        };
        let (mut attempts, mut folded) = (0, Folded::default());
        let mut made;
        let ended = loop {
            attempts += 1;
            made = self.views.made_anew();
            match self.fold_once(&ring, how, &mut folded) {
                Err(StoreError::Damaged { file: "views.db", .. }) if attempts < ATTEMPTS => {}
                Ok(Reached::Disturbed) if attempts < most => {}
                other => break other,
            }
        };
        match ended {
            Ok(reached) => {
                folded.to_the_end = reached == Reached::End;
                if how.only.is_none() && reached != Reached::Disturbed {
                    self.made_good.fetch_max(failed, Ordering::SeqCst);
                    self.folded_anew.fetch_max(made, Ordering::SeqCst);
                }
            }
            Err(error) => {
                self.note_failure();
                return Err(error);
            }
        }
        Ok(folded)
    }

    fn note_failure(&self) {
        self.forget_followed();
        self.failed.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the views lack something that was in the log when they were last brought up to it: fold before reading them.
    pub fn is_stale(&self) -> bool {
        self.failed.load(Ordering::SeqCst) > self.made_good.load(Ordering::SeqCst)
            || self.made_anew() > self.folded_anew.load(Ordering::SeqCst)
    }

    /// How often the views were made anew since they were opened.
    pub fn made_anew(&self) -> u64 {
        self.views.made_anew()
    }

    /// What it folds and commits is added to `folded`.
    fn fold_once<R: Deref<Target = KeyRing>>(
        &self,
        ring: &impl Fn() -> R,
        how: &Fold<'_>,
        folded: &mut Folded,
    ) -> Result<Reached, StoreError> {
        self.keep_declared()?;
        let ring = self.follow_erasures(ring, folded)?;
        if self.fold_waiting(&ring, how, folded)? == Reached::Disturbed {
            return Ok(Reached::Disturbed);
        }
        let mut reached = Reached::End;
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
                    // Somebody else may have folded meanwhile, or dropped the views: then this batch does not follow. Or they follow an erasure
                    // that these keys do not know: what it named would come back, or what was called back would stay out.
                    if views.cursor(&author, branch.branch)?.unwrap_or(branch.base.max(1)) != cursor
                        || !self.follows(&ring)
                    {
                        return Ok(None);
                    }
                    let folded = self.fold_batch(views, &ring, branch.branch, &batch, how)?;
                    views.set_cursor(&author, branch.branch, last.position().seq)?;
                    Ok(Some(folded))
                })?;
                let Some(folded_here) = folded_here else {
                    return Ok(Reached::Disturbed);
                };
                folded.add(folded_here);
                cursor = last.position().seq;
            }
            if cursor < branch.head.seq {
                reached = Reached::Limit;
            }
        }
        if how.only.is_none() && how.limit > 0 {
            self.read_gone(&ring, how)?;
        }
        Ok(reached)
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
            self.views.with(|views| {
                self.forget_followed();
                views.clear()
            })?;
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
        self.behind_in(|_| true)
    }

    /// How many entries of one author log are not folded yet.
    pub fn behind_of(&self, author: &AuthorId) -> Result<u64, StoreError> {
        self.behind_in(|of| of == author)
    }

    fn behind_in(&self, counts: impl Fn(&AuthorId) -> bool) -> Result<u64, StoreError> {
        let unfolded = self.unfolded()?;
        let counted = unfolded.iter().filter(|(author, ..)| counts(author));
        Ok(counted.map(|(_, branch, cursor)| branch.head.seq - cursor).sum())
    }

    fn fold_waiting(&self, ring: &KeyRing, how: &Fold<'_>, folded: &mut Folded) -> Result<Reached, StoreError> {
        let awaited = self.views.with(|views| views.awaited())?;
        for epoch in awaited
            .iter()
            .filter(|epoch| ring.epoch(epoch).is_some() && !(how.stop)())
        {
            let folded_here = self.views.with(|views| {
                if !self.follows(ring) {
                    return Ok(None);
                }
                let mut folded = Folded::default();
                for (author, branch, seq) in views.take_waiting(epoch)? {
                    let entries = self
                        .log
                        .read(|read| read.entries_after(&author, branch, seq - 1, 1, 0))?;
                    folded.add(self.fold_batch(views, ring, branch, &entries, how)?);
                }
                Ok(Some(folded))
            })?;
            let Some(folded_here) = folded_here else {
                return Ok(Reached::Disturbed);
            };
            folded.add(folded_here);
        }
        Ok(Reached::End)
    }

    /// A document that was saved as `state`, to be folded on.
    fn opened(&self, id: &DocumentId, state: &[u8]) -> Result<Document, StoreError> {
        match self.last.take(id, state) {
            Some(document) => Ok(document),
            None => Document::load(state, &READER).map_err(damaged),
        }
    }

    /// A document for writing as `actor`; a new one if it is not here. With the collection it is in.
    pub fn open(&self, document: &DocumentId, actor: &[u8; 32]) -> Result<Option<(String, Document)>, StoreError> {
        let row = self.shown(|views| views.document(document))?;
        row.map(|row| Ok((row.collection, Document::load(&row.state, actor).map_err(damaged)?)))
            .transpose()
    }

    /// Reads the views. If they turn out to be damaged they are empty now: fold, then ask again.
    pub(super) fn shown<R>(
        &self,
        read: impl FnOnce(&ViewsWrite<'_>) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let shown = self.views.with(read);
        if let Err(StoreError::Damaged { file: "views.db", .. }) = &shown {
            self.note_failure();
        }
        shown
    }

    /// Reads how far the views are. If they turn out to be damaged they are empty now, and this is what it says.
    pub(super) fn noted<R>(&self, read: impl Fn(&ViewsWrite<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        match self.shown(&read) {
            Err(StoreError::Damaged { file: "views.db", .. }) => self.views.with(read),
            other => other,
        }
    }

    /// A document as it is now.
    pub fn get(&self, document: &DocumentId) -> Result<Option<Value>, StoreError> {
        self.shown(|views| views.shown(document)?.as_deref().map(read_shown).transpose())
    }

    /// The last entry of each branch of each author log that changed a document.
    pub fn entries_of(&self, document: &DocumentId) -> Result<Vec<(AuthorId, u32, u64)>, StoreError> {
        self.shown(|views| views.touched(document))
    }

    /// Who wrote the changes of a document and when: at most `limit` entries before `before`, newest first.
    pub fn versions(
        &self,
        document: &DocumentId,
        before: Option<VersionPlace>,
        limit: u32,
    ) -> Result<Vec<VersionRow>, StoreError> {
        self.shown(|views| views.versions(document, before, limit))
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

    fn fold_batch(
        &self,
        views: &ViewsWrite<'_>,
        ring: &KeyRing,
        branch: u32,
        entries: &[VerifiedEntry],
        how: &Fold<'_>,
    ) -> Result<Folded, StoreError> {
        let mut folded = Folded::default();
        // In the order in which they were written: what is listed together lies together.
        let mut changed: Vec<(DocumentId, String, Vec<Change>)> = Vec::new();
        let mut places: BTreeMap<DocumentId, usize> = BTreeMap::new();
        for entry in entries {
            let Some(key) = ring.epoch(&entry.entry().epoch) else {
                views.wait_for(&entry.entry().epoch, &entry.author(), branch, entry.position().seq)?;
                continue;
            };
            folded.entries += 1;
            let Ok(contents) = open_sections(entry, key) else {
                folded.unreadable += 1;
                continue;
            };
            let mut versions: BTreeMap<DocumentId, VersionRow> = BTreeMap::new();
            for (section, content) in contents {
                if content.time <= how.horizon {
                    folded.latest = folded.latest.max(content.time);
                }
                for event in content.events {
                    let Event::Document(change) = event else { continue };
                    views.touch(&change.document, &entry.author(), branch, entry.position().seq, section)?;
                    if ring.erased().contains(&change.document) {
                        // Written by somebody who did not know, or on its way to be erased: shown to nobody.
                        self.late.store(true, Ordering::SeqCst);
                        views.note_unread(&change.document, true)?;
                        continue;
                    }
                    let Some(own) = own_changes(&entry.author(), &change) else {
                        folded.unreadable += 1;
                        continue;
                    };
                    // What changes nothing says nothing of the collection either: or it would matter what is folded together.
                    if own.is_empty() {
                        continue;
                    }
                    let DocumentChange {
                        document, collection, ..
                    } = change;
                    let version = versions
                        .entry(document)
                        .or_insert_with(|| VersionRow::of(content.time, entry, branch));
                    version.changes.extend(own.iter().map(|change| change.hash().0));
                    let place = *places.entry(document).or_insert(changed.len());
                    match changed.get_mut(place) {
                        Some((_, known, changes)) => {
                            *known = collection.min(std::mem::take(known));
                            changes.extend(own);
                        }
                        None => changed.push((document, collection, own)),
                    }
                }
            }
            for (document, version) in &versions {
                views.note_version(document, version)?;
            }
        }
        let mut kept = KeptHere::default();
        for (id, collection, changes) in changed {
            self.apply(views, &mut kept, id, collection, changes, &mut folded)?;
        }
        views.note_time(folded.latest.0)?;
        Ok(folded)
    }

    fn apply(
        &self,
        views: &ViewsWrite<'_>,
        kept: &mut KeptHere,
        id: DocumentId,
        collection: String,
        changes: Vec<Change>,
        folded: &mut Folded,
    ) -> Result<(), StoreError> {
        let known = views.document(&id)?;
        let is_new = known.is_none();
        // Two devices may name one document in two collections: all take the one that sorts first, whatever came first.
        let moved = known.as_ref().is_some_and(|row| collection < row.collection);
        let (collection, mut document) = match known {
            Some(row) => (row.collection.min(collection), self.opened(&id, &row.state)?),
            None => (collection, Document::new(&READER)),
        };
        // What did not fit before may fit now.
        let aside = views.take_aside(&id)?;
        let aside = aside
            .iter()
            .filter_map(|bytes| read_change(bytes, Limits::default(), 0).ok());
        let mut offered: Vec<Change> = aside.chain(changes).collect();
        // A document is there once somebody wrote changes of it, whether they fit already or not: the same in whatever order they come.
        let mut changed = is_new;
        loop {
            match document.apply_read(&offered) {
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
                        views.set_aside(&id, &change.hash().0, change.raw_bytes())?;
                    }
                }
            }
        }
        if !changed && !moved {
            return Ok(());
        }
        let value = document.value();
        let row = DocumentRow {
            document: id,
            collection,
            state: document.save(),
        };
        kept.put(views, &row, &value)?;
        let references = views.put_references(&id, &all_referred_to(&document, &value))?;
        self.last.keep(id, row.state, document);
        folded.attachments.extend(references);
        folded.documents.insert(id);
        Ok(())
    }
}

pub(super) fn damaged(error: DocumentError) -> StoreError {
    StoreError::Damaged {
        file: "views.db",
        why: error.to_string(),
    }
}

/// The changes, if every one was made by the actor that their author log and session give: nobody writes in another's name.
fn own_changes(author: &AuthorId, change: &DocumentChange) -> Option<Vec<Change>> {
    let actor = DocumentChange::actor(author, &change.document, &change.session);
    let own = |bytes: &Vec<u8>| {
        let change = read_change(bytes, Limits::default(), 0).ok()?;
        (change.actor_id().to_bytes() == actor).then_some(change)
    };
    change.changes.iter().map(own).collect()
}
