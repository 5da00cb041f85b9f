//! Deleting documents: what a pod does about it, what must be so once it was carried out everywhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use rhizome::{
    DocumentId, Event,
    crypto::Hash,
    document::Documents,
    identity::{
        ErasedDocuments, ErasedSection, Erasure, IdentityError, KeyRing, Operation, cancel_erase, erase_documents,
        mark_time,
    },
    log::{AuthorId, Position, VerifiedEntry, open_section},
    store::{BranchHead, StoreError},
    sync::{Blind, Eraser, Judgement, Known, Replica, ReplicaError},
};

use super::{
    failure::{Failure, broken, ensure},
    node::Node,
    world::World,
};

const DAY: u64 = 24 * 60 * 60 * 1_000;
pub const WEEK: u64 = 7 * DAY;
/// Months after which everything is carried out: the time is marked in one, dropped is in the next, and what came late is behind by one more.
const MONTHS: usize = 4;

/// Erasures that a device proposed, each of one document.
pub type Proposed = Vec<(Hash, DocumentId)>;

/// A device opens what it erases.
struct Device<'a> {
    documents: &'a Documents,
    known: &'a Known,
    ring: &'a KeyRing,
}

impl Eraser for Device<'_> {
    fn judge(&self, erasure: &Hash, entry: &VerifiedEntry, section: u32) -> Result<Judgement, StoreError> {
        let (Some(named), Some(key)) = (self.ring.erasing().get(erasure), self.ring.epoch(&entry.entry().epoch)) else {
            return Ok(Judgement::Later);
        };
        let of_them = |event: &Event| matches!(event, Event::Document(change) if named.contains(&change.document));
        let content = open_section(entry, key, section).and_then(Result::ok);
        let only = content.is_some_and(|content| content.events.iter().all(of_them));
        Ok(if only { Judgement::Drop } else { Judgement::Keep })
    }

    fn finish(&self, erasures: &[(Hash, Erasure)]) -> Result<bool, StoreError> {
        let named = erasures.iter().flat_map(|(id, _)| self.ring.erased_by(id));
        let documents: Vec<DocumentId> = named.copied().collect();
        let is_erased = |author: &_, at: Position, section: u32| self.known.is_erased(author, at, section);
        self.documents.forget(&documents, is_erased)
    }
}

/// Whether an operation was taken; not if it is too late for it, or too many wait.
fn take(replica: &Replica, operation: Operation) -> Result<bool, Failure> {
    match replica.take_operation(operation) {
        Ok(()) => Ok(true),
        Err(ReplicaError::Identity(IdentityError::Void(_) | IdentityError::TooManyPending)) => Ok(false),
        Err(error) => Err(broken("an operation about erasing that is not taken")(error)),
    }
}

impl Node {
    /// Asks the views. Those that turn out to be damaged are dropped: like a pod, this folds them again and asks again.
    fn ask<R>(&mut self, ask: impl Fn(&Documents, &KeyRing) -> Result<R, StoreError>) -> Result<R, Failure> {
        for _ in 0..4 {
            let ring = self.ring();
            let running = self.running().expect("only a running node is asked");
            let documents = running.documents.clone().expect("a device");
            match ask(&documents, &ring) {
                Err(StoreError::Damaged { file: "views.db", .. }) => self.fold()?,
                other => return other.map_err(broken("views that cannot be read")),
            }
        }
        Err(Failure::new("damaged again", "views that were folded anew are damaged"))
    }

    /// Whether somebody deleted a document, as far as this device knows.
    pub fn is_erased(&mut self, document: &DocumentId) -> bool {
        self.ring().erased().contains(document)
    }

    /// Deletes a document that is shown here.
    pub fn erase(&mut self, document: DocumentId) -> Result<Proposed, Failure> {
        self.fold()?;
        if self.is_erased(&document) || self.ask(|documents, _| documents.get(&document))?.is_none() {
            return Ok(Vec::new());
        }
        let wanted = BTreeSet::from([document]);
        let sections = self.ask(|documents, ring| documents.sections(&wanted, ring))?;
        self.propose_erasures(sections, wanted)
    }

    /// One operation for each document.
    fn propose_erasures(
        &mut self,
        sections: BTreeMap<ErasedSection, DocumentId>,
        documents: BTreeSet<DocumentId>,
    ) -> Result<Proposed, Failure> {
        let mut made = Vec::new();
        for document in documents {
            let of_it = sections.iter().filter(|(_, of)| **of == document);
            let what = ErasedDocuments {
                documents: vec![document],
                sections: of_it.map(|(section, _)| *section).collect(),
                attachments: Vec::new(),
            };
            let Some((operation, replica)) = self.propose(|random, by, _| erase_documents(random, by, what)) else {
                continue;
            };
            let id = operation.id();
            if take(&replica, operation)? {
                made.push((id, document));
            }
        }
        self.fold()?;
        Ok(made)
    }

    /// Brings a deleted document back, if it is not too late. Answers whether anything was proposed.
    pub fn cancel_erase(&mut self, document: DocumentId) -> Result<bool, Failure> {
        let ring = self.ring();
        let known = self.running().expect("only a running node is asked").replica.known();
        let naming = ring.erasing().iter().filter(|(_, named)| named.contains(&document));
        let naming: Vec<Hash> = naming.map(|(id, _)| *id).collect();
        let in_force = |id: &Hash| {
            let erasure = known.tentative.erasures().get(id);
            erasure.is_some_and(|erasure| known.tentative.is_in_force(erasure))
        };
        if naming.iter().any(in_force) {
            return Ok(false);
        }
        let mut proposed = false;
        for erasure in naming {
            let made = self.propose(|random, by, _| cancel_erase(random, by, erasure));
            if let Some((operation, replica)) = made {
                proposed |= take(&replica, operation)?;
            }
        }
        self.fold()?;
        Ok(proposed)
    }

    /// What a pod does now and then: has the time marked, has erased what came late, and drops what is in force. A cloud peer only drops.
    pub fn tend(&mut self) -> Result<Proposed, Failure> {
        let replica = self.running().expect("only a running node tends").replica.clone();
        if self.peer {
            replica.carry_out(&Blind).map_err(broken("an erasure that fails"))?;
            return Ok(Vec::new());
        }
        self.fold()?;
        let known = replica.known();
        let me = self.keys.signing.public();
        let mut made = Vec::new();
        if known.tentative.devices().contains_key(&me) {
            if known.mark_time_at().is_some_and(|at| at <= replica.now())
                && let Some((operation, replica)) = self.propose(|random, by, _| mark_time(random, by))
            {
                take(&replica, operation)?;
            }
            made = self.erase_late()?;
        }
        let (known, ring) = (replica.known(), self.ring());
        let running = self.running().expect("asked above");
        let documents = running.documents.clone().expect("a device");
        let device = Device {
            documents: &documents,
            known: &known,
            ring: &ring,
        };
        match replica.carry_out(&device) {
            // Met while views were damaged: dropped by the next fold, and done again.
            Err(StoreError::Damaged { file: "views.db", .. }) => self.fold()?,
            other => {
                let kept = other.map_err(broken("an erasure that fails"))?.kept;
                ensure!(kept == 0, "wrong erasure", "{kept} sections are not what is named");
            }
        }
        Ok(made)
    }

    fn erase_late(&mut self) -> Result<Proposed, Failure> {
        let known = self.running().expect("it runs").replica.known();
        let erasures = known.tentative.erasures().values();
        let named: BTreeSet<ErasedSection> = erasures.flat_map(|erasure| erasure.sections.iter().copied()).collect();
        let late = self.ask(|documents, ring| documents.late_sections(ring, |section| named.contains(section)))?;
        let documents: BTreeSet<DocumentId> = late.values().copied().collect();
        let made = self.propose_erasures(late, documents.clone())?;
        if made.len() < documents.len() {
            self.running()
                .and_then(|running| running.documents.as_ref())
                .expect("a device")
                .still_late();
        }
        Ok(made)
    }
}

impl World {
    pub fn erase(&mut self, name: u64, document: u64) -> Result<bool, Failure> {
        let document = self.document(document);
        // Where the history of the identity may split, holes may stand without the erasure that made them: docs/decisions/0008-erasing.md.
        if self.schedule.may_split {
            return Ok(false);
        }
        let Some(node) = self.device(name) else {
            return Ok(false);
        };
        let made = node.erase(document)?;
        Ok(self.note_erasures(made))
    }

    pub fn cancel_erase(&mut self, name: u64, document: u64) -> Result<bool, Failure> {
        let document = self.document(document);
        self.device(name).map_or(Ok(false), |node| node.cancel_erase(document))
    }

    pub fn tend(&mut self, name: u64) -> Result<bool, Failure> {
        let Some(node) = self.running(name) else {
            return Ok(false);
        };
        let made = node.tend()?;
        self.note_erasures(made);
        Ok(true)
    }

    fn note_erasures(&mut self, made: Proposed) -> bool {
        let any = !made.is_empty();
        self.model.note_erasures(made);
        any
    }

    /// A week passes for everybody.
    pub fn week(&mut self) {
        for node in self.nodes.values() {
            node.wall.fetch_add(WEEK + DAY, Ordering::Relaxed);
        }
    }

    /// Lets time pass until every erasure was carried out everywhere. Answers whether there was any.
    pub fn carry_out_all(&mut self, names: &[u64]) -> Result<bool, Failure> {
        let states = names.iter().filter_map(|name| self.nodes[name].known());
        let any = states.into_iter().any(|known| !known.ordered.erasures().is_empty());
        if !any {
            return Ok(false);
        }
        for month in 0..MONTHS {
            let clocks = names.iter().map(|name| {
                let node = &self.nodes[name];
                let ordered = node.known().map_or(0, |known| known.ordered.time());
                node.wall.load(Ordering::Relaxed).max(ordered)
            });
            let latest = clocks.max().unwrap_or_default();
            for name in names {
                self.nodes[name].wall.store(latest + 30 * DAY, Ordering::Relaxed);
            }
            for name in names {
                self.tend(*name)?;
            }
            self.everybody_meets(names, month)?;
        }
        Ok(true)
    }

    /// Nothing is left of a document that was erased, and of others everything is; every chain verifies.
    pub fn check_erased(&mut self, names: &[u64]) -> Result<(), Failure> {
        for name in names {
            let running = self.nodes[name].running().expect("all run");
            let known = running.replica.known();
            let erased = self.model.erased_by(known.ordered.erasures().keys());
            let mut holes = 0;
            for (author, branches) in self.heads(*name)? {
                for branch in branches {
                    let entries = running
                        .store
                        .read(|read| read.entries_after(&author, branch.branch, 1, u64::MAX, usize::MAX));
                    for entry in entries.map_err(broken("a log that cannot be read"))? {
                        let at = entry.position();
                        let written = self.model.entry(&at.hash).expect("looked at before");
                        let of_erased = written.changes.iter().map(|change| change.document);
                        let of_erased: BTreeSet<DocumentId> = of_erased.filter(|of| erased.contains(of)).collect();
                        ensure!(
                            entry.holes().count() == of_erased.len(),
                            "not erased",
                            "{name} has {} holes at {at:?}, and {} documents of it were erased",
                            entry.holes().count(),
                            of_erased.len()
                        );
                        holes += of_erased.len() as u64;
                    }
                    self.verify_chain(*name, &author, &branch)?;
                }
            }
            self.totals.holes += holes;
        }
        Ok(())
    }

    fn verify_chain(&self, name: u64, author: &AuthorId, branch: &BranchHead) -> Result<(), Failure> {
        let store = &self.nodes[&name].running().expect("all run").store;
        let start = store.read(|read| read.start(author));
        let start = start.map_err(broken("a log that cannot be read"))?;
        let device = start.expect("an author log that has entries").device();
        let mut after = Position::start(author);
        loop {
            let range = store.read(|read| read.range_after(author, branch.branch, after, 1 << 20));
            let Some(range) = range.map_err(broken("a log that cannot be read"))? else {
                break;
            };
            let verified = range.verify(&device).map_err(broken("a chain that does not verify"))?;
            after = verified.head();
        }
        ensure!(
            after == branch.head,
            "chain",
            "a log of {name} ends at {after:?}, not at {:?}",
            branch.head
        );
        Ok(())
    }
}
