//! The reference: every entry that was ever acknowledged, which disk holds which of them, and what must be shown of those. It knows nothing of
//! tables, heads, branches or sessions, and merges documents with Automerge itself.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    rc::Rc,
};

use rhizome::{
    DocumentId,
    crypto::{Hash, PublicKey},
    identity::{EpochId, KeyRing},
    log::{AuthorId, Position, Time},
    store::BranchHead,
};
use serde_json::Value as Json;

use super::failure::{Failure, ensure};

/// An entry that a device was told is durable.
#[derive(Debug)]
pub struct Written {
    pub author: AuthorId,
    pub position: Position,
    /// The entry before it.
    pub link: Hash,
    pub label: &'static str,
    pub epoch: EpochId,
    pub time: Time,
    pub payloads: Vec<Vec<u8>>,
    pub changes: Vec<Changed>,
}

/// A change of a document.
#[derive(Debug, Clone)]
pub struct Changed {
    pub document: DocumentId,
    pub collection: &'static str,
    pub hash: [u8; 32],
    /// The changes it builds on.
    pub needs: Vec<[u8; 32]>,
    pub bytes: Vec<u8>,
    /// The field it adds, which no other change adds.
    pub adds: Option<String>,
    pub removes: Option<String>,
    pub creates: bool,
}

/// What one disk holds.
#[derive(Debug, Clone, Default)]
pub struct Held {
    pub entries: HashSet<Hash>,
    /// Where its author logs ended when last looked at.
    tips: HashSet<Hash>,
}

/// What must be shown of a document.
#[derive(Debug)]
pub struct Expected {
    pub collection: &'static str,
    /// By Automerge.
    pub json: Json,
    /// By the edits alone: the fields that are there, and how often the document was edited; the latter only if it was made once.
    pub fields: BTreeSet<String>,
    pub edits: Option<u64>,
}

type Merged = HashMap<(DocumentId, Vec<[u8; 32]>), Rc<Expected>>;

#[derive(Default)]
pub struct Model {
    entries: HashMap<Hash, Rc<Written>>,
    /// What each device or peer ever had on a disk, by its signing key.
    had: HashMap<PublicKey, HashSet<Hash>>,
    merged: Merged,
    /// Which document each erasure is of.
    erasures: HashMap<Hash, DocumentId>,
}

impl Model {
    /// Notes an entry that was acknowledged. Times in one author log increase.
    pub fn note(&mut self, written: Written) -> Result<(), Failure> {
        if let Some(before) = self.entries.get(&written.link) {
            ensure!(written.time > before.time, "time", "a log's times do not increase");
        }
        let before = self.entries.insert(written.position.hash, Rc::new(written));
        ensure!(before.is_none(), "repeated", "one entry was made twice");
        Ok(())
    }

    pub fn entry(&self, hash: &Hash) -> Option<&Rc<Written>> {
        self.entries.get(hash)
    }

    /// Compares what a disk holds with what it held: nothing is gone, and nothing is there that nobody wrote.
    pub fn look_at(
        &mut self,
        held: &mut Held,
        key: PublicKey,
        heads: &BTreeMap<AuthorId, Vec<BranchHead>>,
    ) -> Result<(), Failure> {
        let had = self.had.entry(key).or_default();
        let mut tips = HashSet::new();
        // Where the way back from each head met what was held before.
        let mut met = HashSet::new();
        for (author, branches) in heads {
            for branch in branches {
                let mut at = branch.head;
                tips.insert(at.hash);
                while at.hash.0 != author.0 && !held.entries.contains(&at.hash) {
                    let Some(entry) = self.entries.get(&at.hash) else {
                        return Err(Failure::new("invented", format!("nobody wrote {at:?} of {author:?}")));
                    };
                    let place = (entry.author, entry.position);
                    ensure!(
                        place == (*author, at),
                        "moved",
                        "{at:?} of {author:?} was written at {place:?}"
                    );
                    held.entries.insert(at.hash);
                    had.insert(at.hash);
                    at = Position {
                        seq: at.seq - 1,
                        hash: entry.link,
                    };
                }
                met.insert(at.hash);
            }
        }
        let lost = held.tips.iter().find(|tip| !met.contains(*tip));
        ensure!(lost.is_none(), "lost", "an entry that was held is gone: {lost:?}");
        held.tips = tips;
        Ok(())
    }

    /// Notes erasures that a device proposed.
    pub fn note_erasures(&mut self, made: impl IntoIterator<Item = (Hash, DocumentId)>) {
        self.erasures.extend(made);
    }

    /// The documents that erasures are of.
    pub fn erased_by<'a>(&self, erasures: impl Iterator<Item = &'a Hash>) -> BTreeSet<DocumentId> {
        erasures.map(|id| self.erasures[id]).collect()
    }

    /// Whether the device or peer `key` ever had an entry.
    pub fn ever_had(&self, key: &PublicKey, hash: &Hash) -> bool {
        self.had.get(key).is_some_and(|had| had.contains(hash))
    }

    /// Author logs that have two entries in one place, among `held`.
    pub fn forks(&self, held: &Held) -> BTreeSet<AuthorId> {
        let mut places = HashSet::new();
        let entries = held.entries.iter().map(|hash| &self.entries[hash]);
        entries
            .filter(|entry| !places.insert((entry.author, entry.position.seq)))
            .map(|entry| entry.author)
            .collect()
    }

    /// The entries of a disk that `ring` opens.
    fn opened<'a>(&'a self, held: &'a Held, ring: &'a KeyRing) -> impl Iterator<Item = &'a Rc<Written>> {
        let entries = held.entries.iter().map(|hash| &self.entries[hash]);
        entries.filter(|entry| ring.epoch(&entry.epoch).is_some())
    }

    /// The events of a label, in the order that every device must agree on.
    pub fn events(&self, held: &Held, ring: &KeyRing, label: &str) -> Vec<Vec<u8>> {
        let mut entries: Vec<_> = self.opened(held, ring).filter(|entry| entry.label == label).collect();
        entries.sort_by_key(|entry| (entry.time, entry.author, entry.position.seq, entry.position.hash));
        entries
            .iter()
            .flat_map(|entry| entry.payloads.iter().cloned())
            .collect()
    }

    /// The documents of which anything is here, as they must be shown: those that nobody erased, as far as `ring` can say.
    pub fn documents(&mut self, held: &Held, ring: &KeyRing) -> BTreeMap<DocumentId, Rc<Expected>> {
        let mut found: BTreeMap<DocumentId, Vec<(Rc<Written>, usize)>> = BTreeMap::new();
        let erased = self.erased_by(ring.erasing().keys());
        for entry in self.opened(held, ring) {
            for (place, change) in entry.changes.iter().enumerate() {
                if erased.contains(&change.document) {
                    continue;
                }
                found.entry(change.document).or_default().push((entry.clone(), place));
            }
        }
        let mut expected = BTreeMap::new();
        for (document, places) in found {
            let mut changes: Vec<&Changed> = places.iter().map(|(entry, place)| &entry.changes[*place]).collect();
            changes.sort_by_key(|change| change.hash);
            changes.dedup_by_key(|change| change.hash);
            let key = (document, changes.iter().map(|change| change.hash).collect());
            let merged = self.merged.entry(key).or_insert_with(|| Rc::new(merge(&changes)));
            expected.insert(document, merged.clone());
        }
        expected
    }
}

/// What changes make together: those whose dependencies are all among them.
fn merge(changes: &[&Changed]) -> Expected {
    let mut applied: Vec<&Changed> = Vec::new();
    let mut done: HashSet<[u8; 32]> = HashSet::new();
    let mut waiting = changes.to_vec();
    loop {
        let (ready, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|change| change.needs.iter().all(|hash| done.contains(hash)));
        if ready.is_empty() {
            break;
        }
        done.extend(ready.iter().map(|change| change.hash));
        applied.extend(ready);
        waiting = later;
    }
    let mut document = automerge::Automerge::new();
    let read = |change: &&Changed| automerge::Change::from_bytes(change.bytes.clone()).expect("a change that was made");
    document
        .apply_changes(applied.iter().map(read))
        .expect("changes whose dependencies are there");
    let removed: BTreeSet<&String> = applied.iter().filter_map(|change| change.removes.as_ref()).collect();
    let added = applied.iter().filter_map(|change| change.adds.as_ref());
    let made = applied.iter().filter(|change| change.creates).count();
    Expected {
        collection: changes
            .iter()
            .map(|change| change.collection)
            .min()
            .expect("at least one change"),
        json: serde_json::to_value(automerge::AutoSerde::from(&document)).expect("a document is JSON"),
        fields: added.filter(|name| !removed.contains(name)).cloned().collect(),
        edits: (made == 1).then(|| applied.iter().filter(|change| change.adds.is_some()).count() as u64),
    }
}
