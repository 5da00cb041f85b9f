//! Documents that somebody erased: out of the views as soon as that is known, back if it is called off, and what of them is still in the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::{PoisonError, atomic::Ordering},
};

use automerge::Change;

use super::{Documents, Fold, Folded, READER, own_changes};
use crate::{
    crypto::Hash,
    document::{Document, Value, attachment::all_referred_to, collection::KeptHere},
    identity::{ErasedSection, KeyRing},
    log::{AuthorId, DocumentId, Event, Position, VerifiedEntry, open_section},
    store::{LogStore, SectionPlace, StoreError, VersionRow, ViewsWrite},
};

/// Sections forgotten in one transaction of the views.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// What is left of a document on its way to be erased.
#[derive(Debug, Clone, PartialEq)]
pub struct ErasedShown {
    /// The collection it was in.
    pub collection: String,
    /// All that it held.
    pub value: Value,
}

/// A document's changes, gathered from the log.
#[derive(Default)]
struct Gathered {
    collection: String,
    /// Those that count.
    changes: Vec<Change>,
    /// Which came in which entry.
    versions: BTreeMap<(AuthorId, u32, u64), VersionRow>,
}

/// Reads entries of the log and keeps the last: one has up to 2,048 sections, and most are asked for one after the other.
struct Entries<'a> {
    log: &'a LogStore,
    last: Option<((AuthorId, u32, u64), Option<VerifiedEntry>)>,
}

impl<'a> Entries<'a> {
    fn of(log: &'a LogStore) -> Self {
        Self { log, last: None }
    }

    fn at(&mut self, place: &SectionPlace) -> Result<Option<&VerifiedEntry>, StoreError> {
        let (author, branch, seq, _) = *place;
        if self.last.as_ref().is_none_or(|(at, _)| *at != (author, branch, seq)) {
            let found = self
                .log
                .read(|read| read.entries_after(&author, branch, seq.saturating_sub(1), 1, 0))?;
            let found = found.into_iter().find(|entry| entry.position().seq == seq);
            self.last = Some(((author, branch, seq), found));
        }
        Ok(self.last.as_ref().and_then(|(_, entry)| entry.as_ref()))
    }
}

/// What is in the log of a document's changes.
fn gather(
    views: &ViewsWrite<'_>,
    entries: &mut Entries<'_>,
    ring: &KeyRing,
    document: &DocumentId,
) -> Result<Option<Gathered>, StoreError> {
    let mut gathered: Option<Gathered> = None;
    for place in views.sections_of(document)? {
        let Some(entry) = entries.at(&place)? else { continue };
        let Some(key) = ring.epoch(&entry.entry().epoch) else {
            continue;
        };
        let Some(Ok(content)) = open_section(entry, key, place.3) else {
            continue;
        };
        for event in content.events {
            let Event::Document(change) = event else { continue };
            if change.document != *document {
                continue;
            }
            let Some(own) = own_changes(&place.0, &change).filter(|own| !own.is_empty()) else {
                continue;
            };
            let collection = change.collection;
            let known = gathered.get_or_insert_with(|| Gathered {
                collection: collection.clone(),
                ..Gathered::default()
            });
            known.collection = collection.min(std::mem::take(&mut known.collection));
            let version = known.versions.entry((place.0, place.1, place.2));
            let version = version.or_insert_with(|| VersionRow::of(content.time, entry, place.1));
            version.changes.extend(own.iter().map(|change| change.hash().0));
            known.changes.extend(own);
        }
    }
    Ok(gathered)
}

impl Documents {
    pub(super) fn forget_followed(&self) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.late.store(true, Ordering::SeqCst);
    }

    /// Whether the views are without what `ring` says is erased, and with everything else. To be asked while they are held.
    pub(super) fn follows(&self, ring: &KeyRing) -> bool {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.views.made_anew();
        matches!(&*followed, Some((at, erased)) if *at == made && erased == ring.erased())
    }

    /// Takes out what was erased, and brings back what was called back. Gives the keys that say so.
    pub(super) fn follow_erasures<R: Deref<Target = KeyRing>>(
        &self,
        ring: &impl Fn() -> R,
        folded: &mut Folded,
    ) -> Result<R, StoreError> {
        let known = ring();
        if self.follows(&known) {
            return Ok(known);
        }
        let followed = self.views.with(|views| {
            // Asked while the views are held: of two folds, the one that comes later must not have the older keys.
            let ring = ring();
            let erased = ring.erased();
            let gone = views.gone()?;
            let (out, back): (Vec<_>, Vec<_>) = (
                erased.difference(&gone).copied().collect(),
                gone.difference(erased).copied().collect(),
            );
            for document in &out {
                views.take_out(document)?;
                self.last.forget(document);
            }
            let (mut here, mut entries) = (Folded::default(), Entries::of(&self.log));
            let mut kept = KeptHere::default();
            for document in &back {
                views.bring_back(document)?;
                if let Some(found) = gather(views, &mut entries, &ring, document)? {
                    self.apply(views, &mut kept, *document, found.collection, found.changes, &mut here)?;
                    for version in found.versions.values() {
                        views.note_version(document, version)?;
                    }
                }
            }
            let now = Some((self.views.made_anew(), erased.clone()));
            *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = now;
            here.documents.extend(out.into_iter().chain(back));
            Ok((ring, here))
        });
        let (ring, here) = followed.inspect_err(|_| self.forget_followed())?;
        folded.add(here);
        self.late.store(true, Ordering::SeqCst);
        Ok(ring)
    }

    /// Reads of documents that are gone which attachments they refer to, where changes of theirs came that nobody looked into: those stay as
    /// long as the documents may come back.
    pub(super) fn read_gone(&self, ring: &KeyRing, how: &Fold<'_>) -> Result<(), StoreError> {
        let mut entries = Entries::of(&self.log);
        for document in self.views.with(|views| views.unread())? {
            if (how.stop)() {
                break;
            }
            self.views.with(|views| {
                // Another fold may have brought it back.
                if !self.follows(ring) {
                    return Ok(());
                }
                if let Some(found) = gather(views, &mut entries, ring, &document)? {
                    let opened = opened(found.changes);
                    views.put_references(&document, &all_referred_to(&opened, &opened.value()))?;
                }
                views.note_unread(&document, false)
            })?;
        }
        Ok(())
    }

    /// What erased documents held, as long as their sections are here: folded from them, and kept nowhere.
    pub fn erased(
        &self,
        documents: impl IntoIterator<Item = DocumentId>,
        ring: &KeyRing,
    ) -> Result<BTreeMap<DocumentId, ErasedShown>, StoreError> {
        let documents: BTreeSet<DocumentId> = documents.into_iter().collect();
        // What was written together is read together.
        let places = self.places(&documents)?;
        let (mut entries, mut shown) = (Entries::of(&self.log), BTreeMap::new());
        for (_, document) in places {
            if shown.contains_key(&document) {
                continue;
            }
            let found = self.shown(|views| gather(views, &mut entries, ring, &document))?;
            let found = found.map(|found| ErasedShown {
                collection: found.collection,
                value: opened(found.changes).value(),
            });
            shown.insert(document, found);
        }
        let found = shown
            .into_iter()
            .filter_map(|(document, found)| Some((document, found?)));
        Ok(found.collect())
    }

    /// Where changes of documents stand, entry by entry.
    fn places<'a>(
        &self,
        documents: impl IntoIterator<Item = &'a DocumentId>,
    ) -> Result<Vec<(SectionPlace, DocumentId)>, StoreError> {
        let mut places = self.shown(|views| {
            let mut places = Vec::new();
            for document in documents {
                let of_one = views.sections_of(document)?;
                places.extend(of_one.into_iter().map(|place| (place, *document)));
            }
            Ok(places)
        })?;
        places.sort_unstable();
        Ok(places)
    }

    /// Every section that holds changes of these documents and nothing else, as far as the log was folded.
    pub fn sections(
        &self,
        documents: &BTreeSet<DocumentId>,
        ring: &KeyRing,
    ) -> Result<BTreeMap<ErasedSection, DocumentId>, StoreError> {
        let (mut entries, mut sections) = (Entries::of(&self.log), BTreeMap::new());
        for (place, document) in self.places(documents)? {
            let Some(entry) = entries.at(&place)? else { continue };
            if holds_only(entry, place.3, documents, ring) == Some(true) {
                let (author, at) = (entry.author(), entry.position());
                sections.insert(ErasedSection(Hash(author.0), at.seq, at.hash, place.3), document);
            }
        }
        Ok(sections)
    }

    /// Sections of erased documents that nobody named: a device wrote them that did not know. Looks only if there may be any that it has not
    /// told yet; see [`Documents::still_late`].
    pub fn late_sections(
        &self,
        ring: &KeyRing,
        is_named: impl Fn(&ErasedSection) -> bool,
    ) -> Result<BTreeMap<ErasedSection, DocumentId>, StoreError> {
        // What comes while this looks is looked at again.
        if ring.erased().is_empty() || !self.late.swap(false, Ordering::SeqCst) {
            return Ok(BTreeMap::new());
        }
        let found = self.sections(ring.erased(), ring);
        if found.is_err() {
            self.late.store(true, Ordering::SeqCst);
        }
        let mut late = found?;
        late.retain(|section, _| !is_named(section));
        Ok(late)
    }

    /// What was found late could not be named yet: look again.
    pub fn still_late(&self) {
        self.late.store(true, Ordering::SeqCst);
    }

    /// Forgets where changes of these documents stood, as far as `is_erased` says, and leaves nothing of them in the file. False if that
    /// cannot be now.
    pub fn forget(
        &self,
        documents: &[DocumentId],
        is_erased: impl Fn(&AuthorId, Position, u32) -> bool,
    ) -> Result<bool, StoreError> {
        let (mut entries, mut gone) = (Entries::of(&self.log), Vec::new());
        for (place, document) in self.places(documents)? {
            let is_gone = match entries.at(&place)? {
                Some(entry) => is_erased(&place.0, entry.position(), place.3),
                None => true,
            };
            if is_gone {
                gone.push((place, document));
            }
        }
        for some in gone.chunks(FORGOTTEN_AT_ONCE) {
            self.views.with(|views| {
                some.iter()
                    .try_for_each(|(place, document)| views.forget_section(document, place))
            })?;
        }
        for document in documents {
            self.views.with(|views| {
                // Nothing is left that could bring it back.
                if views.sections_of(document)?.is_empty() {
                    views.forget_document(document)?;
                }
                Ok(())
            })?;
        }
        self.views.scrub(|| self.ending.load(Ordering::SeqCst))
    }
}

/// A document of these changes, without those that it does not take.
fn opened(mut changes: Vec<Change>) -> Document {
    let mut opened = Document::new(&READER);
    while let Err(error) = opened.apply_read(&changes) {
        let Some(index) = error.index() else {
            // All of them together do not fit, since too many wait for others: as many as do, one by one.
            for change in &changes {
                let _ = opened.apply_read(std::slice::from_ref(change));
            }
            break;
        };
        changes.remove(index);
    }
    opened
}

/// Whether a section holds changes of these documents and nothing else. `None` if its key is not here; of what opens and makes no sense it says
/// yes.
pub(crate) fn holds_only(
    entry: &VerifiedEntry,
    section: u32,
    documents: &BTreeSet<DocumentId>,
    ring: &KeyRing,
) -> Option<bool> {
    let key = ring.epoch(&entry.entry().epoch)?;
    let of_them = |event: &Event| matches!(event, Event::Document(change) if documents.contains(&change.document));
    Some(match open_section(entry, key, section) {
        Some(Ok(content)) => !content.events.is_empty() && content.events.iter().all(of_them),
        Some(Err(_)) => true,
        None => false,
    })
}
