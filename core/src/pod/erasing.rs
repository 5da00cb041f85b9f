//! Deleting documents: proposed, undone while there is time, carried out (docs/decisions/0008-erasing.md).

use std::collections::{BTreeMap, BTreeSet};

use super::{Pod, Proposal, recovering::read_words, running::Running};
use crate::{
    crypto::{Hash, OsRandom, PublicKey},
    document::{Value, holds_only},
    error::{Error, WordsError},
    identity::{
        ErasedDocuments, ErasedSection, Erasure, IdentityError, KeyRing, MAX_TARGETS, Proposer, RecoverySecret,
        VoidReason, cancel_erase, erase_documents, mark_time,
    },
    log::{AttachmentId, AuthorId, DocumentId, Position, VerifiedEntry},
    store::{AlarmKind, StoreError},
    sync::{Eraser, Judgement, Known},
};

/// A document that was deleted and can still be brought back.
#[derive(Clone, PartialEq)]
pub struct Trashed {
    /// The document.
    pub document: DocumentId,
    /// The collection it was in.
    pub collection: String,
    /// What it holds, as long as it is here.
    pub value: Value,
    /// Which device deleted it: its signing key.
    pub by: PublicKey,
    /// When it was deleted, by the clock of whoever puts operations in order, in milliseconds since 1970. `None` while that waits for its
    /// order.
    pub since: Option<u64>,
    /// From when it is gone for good, by the same clock: seven days later. `None` while it waits for its order: then not before seven days
    /// from now.
    pub due: Option<u64>,
}

// What it holds is a person's own words.
impl std::fmt::Debug for Trashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trashed({}, due {:?})", self.document.short(), self.due)
    }
}

impl Pod {
    /// Deletes a document: see [`Pod::erase_documents`].
    pub async fn erase_document(&self, document: DocumentId) -> Result<Vec<Proposal>, Error> {
        self.erase_documents(vec![document]).await
    }

    /// Deletes documents. They are gone from every list at once, here and on each device that learns of it; [`Pod::trash`] names them, and
    /// [`Pod::cancel_erase`] brings them back, until seven days after the deletion was put in order. From then on every device and cloud peer
    /// drops their text and attachments, each once it has known of the deletion for seven days by its own clock: a thief with a device
    /// cannot shred a life within a week, nor can whoever orders by dating things wrongly. Documents that are deleted already stay as they are.
    /// Many in one call take less room in the identity's log, which holds 4,096 operations.
    ///
    /// Until then everything is where it was, sealed. What stays for ever: that there was something of this size in this entry of this device at
    /// this time, and the documents' random ids. What a removed device, a backup or an export has is out of reach.
    ///
    /// # Errors
    /// [`Error::NoDocument`] for one that is not here: then none is deleted.
    pub async fn erase_documents(&self, documents: Vec<DocumentId>) -> Result<Vec<Proposal>, Error> {
        self.work(move |running| running.erase(documents, None)).await
    }

    /// Deletes a document for good, with the 24 words: as soon as this is put in order, and each device and cloud peer hears of it, its text is
    /// dropped there. Nothing brings it back. Also for what is in the trash.
    ///
    /// # Errors
    /// [`Error::Words`] if these are not the identity's words, [`Error::NoDocument`] if it is not here.
    pub async fn erase_document_at_once(&self, document: DocumentId, words: &str) -> Result<Vec<Proposal>, Error> {
        let words = read_words(words)?;
        self.work(move |running| {
            let made = running.erase(vec![document], Some(&words))?;
            running.tend()?;
            Ok(made)
        })
        .await
    }

    /// Brings a deleted document back, in time. Of others that were deleted in the same call, the seven days begin anew.
    ///
    /// # Errors
    /// [`Error::NoDocument`] if it is not in the trash; [`crate::identity::IdentityError::Void`] if it is too late.
    pub async fn cancel_erase(&self, document: DocumentId) -> Result<(), Error> {
        self.work(move |running| running.cancel_erase(document)).await
    }

    /// The documents that were deleted and can still be brought back, the latest first.
    pub async fn trash(&self) -> Result<Vec<Trashed>, Error> {
        self.work(Running::trash).await
    }
}

impl Running {
    /// Whether somebody deleted a document, as far as is known here.
    pub fn is_erased(&self, document: &DocumentId) -> bool {
        self.ring().erased().contains(document)
    }

    /// A deleted document is none: nobody writes to it.
    pub fn check_not_erased(&self, document: &DocumentId) -> Result<(), Error> {
        match self.is_erased(document) {
            true => Err(Error::NoDocument(document.to_string())),
            false => Ok(()),
        }
    }

    fn erase(&self, documents: Vec<DocumentId>, words: Option<&RecoverySecret>) -> Result<Vec<Proposal>, Error> {
        let documents: BTreeSet<DocumentId> = documents.into_iter().collect();
        // Nobody here writes on while the sections are gathered.
        let locks = documents.iter().map(|document| self.document_lock(document)).collect();
        let _locks = self.lock_documents(locks);
        let ring = self.ring();
        let mut wanted = BTreeSet::new();
        for document in documents {
            let erased = ring.erased().contains(&document);
            if !erased
                && self
                    .shown(|shown| shown.open(&document, &super::writing::NOBODY))?
                    .is_none()
            {
                return Err(Error::NoDocument(document.to_string()));
            }
            // With the words also what is in the trash; without them that would only begin the week anew.
            if !erased || words.is_some() {
                wanted.insert(document);
            }
        }
        let made = self.propose_erasures_of(&wanted, None, &ring, words)?;
        self.show_erasures();
        Ok(made)
    }

    /// Proposes that documents are erased with all that is theirs; `back` is being called back, and keeps what it refers to.
    fn propose_erasures_of(
        &self,
        documents: &BTreeSet<DocumentId>,
        back: Option<DocumentId>,
        ring: &KeyRing,
        words: Option<&RecoverySecret>,
    ) -> Result<Vec<Proposal>, Error> {
        self.make_good()?;
        let sections = self.documents.sections(documents, ring)?;
        // An attachment that an entry refers to which is not shown yet must not go. One that is not named stays, and nobody has its key.
        let attachments = match self.shows_all()? {
            true => self.documents.attachments_going(documents, back, ring)?,
            false => BTreeMap::new(),
        };
        let mut made = self.propose_erasures(&sections, &attachments, words)?;
        // What nobody folded yet has no section to name; what comes of it is erased once it comes.
        let named: BTreeSet<DocumentId> = sections.into_values().collect();
        let rest: Vec<DocumentId> = documents.difference(&named).copied().collect();
        if !rest.is_empty() {
            let rest = ErasedDocuments {
                documents: rest,
                ..ErasedDocuments::default()
            };
            made.push(self.propose_erasure(rest, words)?);
        }
        Ok(made)
    }

    /// One operation for as many sections and attachments as fit, each naming the documents that they are of.
    fn propose_erasures(
        &self,
        sections: &BTreeMap<ErasedSection, DocumentId>,
        attachments: &BTreeMap<AttachmentId, DocumentId>,
        words: Option<&RecoverySecret>,
    ) -> Result<Vec<Proposal>, Error> {
        let sections = sections
            .iter()
            .map(|(section, document)| (*document, Target::Section(*section)));
        let attachments = attachments
            .iter()
            .map(|(id, document)| (*document, Target::Attachment(Hash(id.0))));
        let mut by_document: Vec<(DocumentId, Target)> = sections.chain(attachments).collect();
        // Together what belongs together, so that few operations name one document.
        by_document.sort_unstable();
        let mut made = Vec::new();
        for some in by_document.chunks(MAX_TARGETS) {
            let mut what = ErasedDocuments {
                documents: some.iter().map(|(document, _)| *document).collect(),
                ..ErasedDocuments::default()
            };
            what.documents.dedup();
            for (_, target) in some {
                match target {
                    Target::Section(section) => what.sections.push(*section),
                    Target::Attachment(id) => what.attachments.push(*id),
                }
            }
            made.push(self.propose_erasure(what, words)?);
        }
        Ok(made)
    }

    fn propose_erasure(&self, what: ErasedDocuments, words: Option<&RecoverySecret>) -> Result<Proposal, Error> {
        let Some(words) = words else {
            let proposed = self
                .replica
                .propose(&self.keys, |by, _, _| Ok(erase_documents(&mut OsRandom, by, what)));
            return Ok(proposed?);
        };
        let (known, ring) = self.known_keys();
        let signing = words.signing();
        if known.ordered.recovery_at(self.replica.now()) != words.public() {
            return Err(Error::Words(WordsError::NotThese));
        }
        let by = Proposer::of(&known.tentative, &ring, &signing);
        let mut by = by.ok_or(IdentityError::NoKey)?;
        by.seen = known.ordered.head();
        let operation = erase_documents(&mut OsRandom, &by, what);
        let id = operation.id();
        self.replica.take_operation(operation)?;
        Ok(id)
    }

    fn cancel_erase(&self, document: DocumentId) -> Result<(), Error> {
        let (known, ring) = self.known_keys();
        let (naming, rest): (Vec<_>, Vec<_>) = ring
            .erasing()
            .iter()
            .partition(|(_, documents)| documents.contains(&document));
        if naming.is_empty() {
            return Err(Error::NoDocument(document.to_string()));
        }
        let too_late = |id: &Hash| {
            let erasure = known.tentative.erasures().get(id);
            erasure.is_some_and(|erasure| known.tentative.is_in_force(erasure))
        };
        if naming.iter().any(|(id, _)| too_late(id)) {
            return Err(IdentityError::Void(VoidReason::TooLate).into());
        }
        // The others that only these name are deleted anew first: whatever comes between, nothing that was deleted is left alone.
        let mut others: BTreeSet<DocumentId> = naming.iter().flat_map(|(_, documents)| *documents).copied().collect();
        others.remove(&document);
        for named in rest.iter().flat_map(|(_, documents)| *documents) {
            others.remove(named);
        }
        self.propose_erasures_of(&others, Some(document), &ring, None)?;
        for (erasure, _) in naming {
            self.call_off(*erasure)?;
        }
        self.show_erasures();
        Ok(())
    }

    fn call_off(&self, erasure: Hash) -> Result<(), Error> {
        self.replica
            .propose(&self.keys, |by, _, _| Ok(cancel_erase(&mut OsRandom, by, erasure)))?;
        Ok(())
    }

    /// An erasure that is not in force yet may name an attachment that a document refers to which nobody deleted: whoever proposed it did not
    /// have that document, or it was called back since. It is proposed anew without that attachment.
    fn spare_attachments(&self) -> Result<(), Error> {
        let (known, ring) = self.known_keys();
        let names_some = |erasure: &Erasure| !erasure.attachments.is_empty() && !known.tentative.is_in_force(erasure);
        let erasures = known.tentative.erasures().iter();
        let open: Vec<(&Hash, &Erasure)> = erasures.filter(|(_, erasure)| names_some(erasure)).collect();
        if open.is_empty() || !self.shows_all()? {
            return Ok(());
        }
        for (id, erasure) in open {
            let Some(documents) = ring.erasing().get(id) else {
                continue;
            };
            let mut going = Vec::new();
            for attachment in &erasure.attachments {
                if !self
                    .documents
                    .is_kept_by_a_document(&AttachmentId(attachment.0), &ring)?
                {
                    going.push(*attachment);
                }
            }
            if going.len() < erasure.attachments.len() {
                let anew = ErasedDocuments {
                    documents: documents.clone(),
                    sections: erasure.sections.clone(),
                    attachments: going,
                };
                self.propose_erasure(anew, None)?;
                self.call_off(*id)?;
            }
        }
        Ok(())
    }

    /// Shows what was just erased or called back. What fails now is made good by the next fold.
    fn show_erasures(&self) {
        let nothing = crate::document::Fold {
            limit: 0,
            ..Default::default()
        };
        if let Err(error) = self.fold(&nothing) {
            tracing::warn!(%error, "the views do not follow what was erased yet");
        }
    }

    fn trash(&self) -> Result<Vec<Trashed>, Error> {
        self.make_good()?;
        let (known, ring) = self.known_keys();
        // Of several erasures of one document the first that is due counts.
        let mut first: BTreeMap<DocumentId, &Erasure> = BTreeMap::new();
        let mut lost = BTreeSet::new();
        for (id, documents) in ring.erasing() {
            let Some(erasure) = known.tentative.erasures().get(id) else {
                continue;
            };
            let ordered = known.ordered.erasures().contains_key(id);
            for document in documents {
                if erasure.at_once || (ordered && known.ordered.is_in_force(erasure)) {
                    lost.insert(*document);
                }
                let known = first.entry(*document).or_insert(erasure);
                if erasure.due < known.due {
                    *known = erasure;
                }
            }
        }
        let is_ordered = |erasure: &Erasure| known.ordered.erasures().values().any(|ordered| ordered == erasure);
        first.retain(|document, _| !lost.contains(document));
        let mut erased = self.documents.erased(first.keys().copied(), &ring)?;
        let mut trash = Vec::new();
        for (document, erasure) in first {
            let Some(shown) = erased.remove(&document) else {
                continue;
            };
            let ordered = is_ordered(erasure);
            trash.push((
                erasure.since,
                Trashed {
                    document,
                    collection: shown.collection,
                    value: shown.value,
                    by: erasure.by,
                    since: ordered.then_some(erasure.since),
                    due: ordered.then_some(erasure.due),
                },
            ));
        }
        trash.sort_by_key(|(since, trashed)| (std::cmp::Reverse(*since), trashed.document));
        Ok(trash.into_iter().map(|(_, trashed)| trashed).collect())
    }

    /// Does what erasures ask of this device: has the time marked once one is due, has erased what comes late of a deleted document, and
    /// drops what is in force. To be called whenever something of the identity changed, and now and then.
    pub fn tend(&self) -> Result<(), Error> {
        let known = self.replica.known();
        let is_member = known.tentative.devices().contains_key(&self.keys.signing.public());
        if is_member && known.mark_time_at().is_some_and(|at| at <= self.replica.now()) {
            self.replica
                .propose(&self.keys, |by, _, _| Ok(mark_time(&mut OsRandom, by)))?;
        }
        if is_member {
            self.erase_late()?;
            self.spare_attachments()?;
        }
        let (known, ring) = self.known_keys();
        let device = Device {
            running: self,
            known: &known,
            ring: &ring,
        };
        let done = self.replica.carry_out(&device)?;
        if done.bytes > 0 {
            tracing::info!(bytes = done.bytes, "what was deleted is erased");
        }
        if done.kept > 0 {
            self.warn_of_a_wrong_erasure(done.kept)?;
        }
        Ok(())
    }

    fn warn_of_a_wrong_erasure(&self, kept: usize) -> Result<(), StoreError> {
        tracing::warn!(kept, "an erasure names what it must not: it is kept");
        let (subject, now) = (Hash(self.replica.identity().0), self.replica.now());
        let raise = self
            .log
            .write(move |write| write.raise(AlarmKind::WrongErasure, subject, now));
        raise.wait()
    }

    /// A device that did not know wrote to a deleted document: that goes too.
    fn erase_late(&self) -> Result<(), Error> {
        let (known, ring) = self.known_keys();
        let named: BTreeSet<ErasedSection> = {
            let erasures = known.tentative.erasures().values();
            erasures.flat_map(|erasure| erasure.sections.iter().copied()).collect()
        };
        let late = self.documents.late_sections(&ring, |section| named.contains(section))?;
        if let Err(error) = self.propose_erasures(&late, &BTreeMap::new(), None) {
            self.documents.still_late();
            return Err(error);
        }
        Ok(())
    }
}

/// What goes with a document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Section(ErasedSection),
    Attachment(Hash),
}

/// A device opens what it erases, and holds more than the log.
struct Device<'a> {
    running: &'a Running,
    known: &'a Known,
    ring: &'a KeyRing,
}

impl Eraser for Device<'_> {
    fn judge(&self, erasure: &Hash, entry: &VerifiedEntry, section: u32) -> Result<Judgement, StoreError> {
        let Some(documents) = self.ring.erasing().get(erasure) else {
            return Ok(Judgement::Later);
        };
        let documents = documents.iter().copied().collect();
        Ok(match holds_only(entry, section, &documents, self.ring) {
            Some(true) => Judgement::Drop,
            Some(false) => Judgement::Keep,
            None => Judgement::Later,
        })
    }

    fn finish(&self, erasures: &[(Hash, Erasure)]) -> Result<bool, StoreError> {
        let ids = erasures.iter().flat_map(|(_, erasure)| &erasure.attachments);
        let ids: Vec<AttachmentId> = ids.map(|id| AttachmentId(id.0)).collect();
        match self.running.erase_attachments(&ids, self.ring)? {
            None => return Ok(false),
            Some(0) => {}
            Some(kept) => self.running.warn_of_a_wrong_erasure(kept)?,
        }
        let named = erasures.iter().flat_map(|(id, _)| self.ring.erased_by(id));
        let documents: BTreeSet<DocumentId> = named.copied().collect();
        let documents: Vec<DocumentId> = documents.into_iter().collect();
        let is_erased = |author: &AuthorId, at: Position, section: u32| self.known.is_erased(author, at, section);
        self.running.documents.forget(&documents, is_erased)
    }
}
