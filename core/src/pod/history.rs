//! The history of documents: who wrote what and when, what it was before, and taking edits back.

use std::collections::{HashMap, HashSet};

use super::{
    EntryRef, OpenDocument, Pod, Written,
    running::Running,
    writing::{NOBODY, Of, Take, Work},
};
use crate::{
    crypto::PublicKey,
    document::{ChangeId, ChangeKind, Difference, Document, DocumentError, Key, Span, Value},
    error::Error,
    log::{AuthorId, DocumentId, Time},
    store::{VersionPlace, VersionRow},
};

/// Entries of a document looked at in one go.
const PAGE: u32 = 256;
/// How many changes of its own a device can take back, one after the other; and how many entries of a document are looked through for them.
const UNDO_REACH: usize = 1000;
const UNDO_ENTRIES: usize = 20_000;

/// A version of a document: one change of it, and the document as whoever wrote that saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentVersion {
    /// The change: what the version is called by.
    pub change: ChangeId,
    /// What it is for.
    pub kind: ChangeKind,
    /// The entry that carried it.
    pub entry: EntryRef,
    /// The device that wrote it, by its signing key.
    pub device: PublicKey,
    /// What the person calls that device.
    pub device_name: Option<String>,
    /// Whether it is this device.
    pub this_device: bool,
    /// When it was written, by that device's clock: milliseconds since 1970.
    pub millis: u64,
}

/// A page of a document's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Newest first.
    pub versions: Vec<DocumentVersion>,
    /// Give it back for the next page; `None` after the last.
    pub next: Option<HistoryCursor>,
}

/// Where a page of a history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCursor(VersionPlace);

impl HistoryCursor {
    /// As bytes, to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let place = &self.0;
        let mut bytes = place.author.0.to_vec();
        bytes.extend_from_slice(&place.time.to_be_bytes());
        bytes.extend_from_slice(&place.branch.to_be_bytes());
        bytes.extend_from_slice(&place.seq.to_be_bytes());
        bytes
    }

    /// What [`HistoryCursor::to_bytes`] gave. Any other bytes of that length are some place too: nothing worse comes of them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (author, rest) = bytes.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (branch, rest) = rest.split_first_chunk()?;
        Some(Self(VersionPlace {
            time: u64::from_be_bytes(*time),
            author: AuthorId(*author),
            branch: u32::from_be_bytes(*branch),
            seq: u64::from_be_bytes(rest.try_into().ok()?),
        }))
    }
}

/// A piece of a text and who wrote it. `Debug` shows no text.
#[derive(Clone, PartialEq, Eq)]
pub struct BlameSpan {
    /// The letters.
    pub text: String,
    /// The version that put them in.
    pub version: DocumentVersion,
}

impl std::fmt::Debug for BlameSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlameSpan({} bytes, {:?})", self.text.len(), self.version)
    }
}

/// One of several values that devices put into one place without knowing of each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The value.
    pub value: Value,
    /// The version that put it there.
    pub version: DocumentVersion,
}

impl Pod {
    /// The versions of a document, newest first by the clocks of who wrote them; at most `limit` entries' worth. `after` is the `next` of the
    /// page before. A document that is not here has none.
    pub async fn history(
        &self,
        document: DocumentId,
        after: Option<HistoryCursor>,
        limit: u32,
    ) -> Result<HistoryPage, Error> {
        self.work(move |running| running.history(document, after, limit)).await
    }

    /// A document as it was at a version.
    ///
    /// # Errors
    /// [`Error::NoDocument`]; [`DocumentError::NoVersion`].
    pub async fn document_at(&self, document: DocumentId, version: ChangeId) -> Result<Value, Error> {
        self.work(move |running| Ok(running.known_document(document)?.value_at(&[version])?))
            .await
    }

    /// The text at the end of a path as it was at a version, in pieces with their marks. As [`Pod::document_at`].
    pub async fn spans_at(
        &self,
        document: DocumentId,
        version: ChangeId,
        path: &[Key],
    ) -> Result<Option<Vec<Span>>, Error> {
        let path = path.to_vec();
        self.work(move |running| Ok(running.known_document(document)?.spans_at(&[version], &path)?))
            .await
    }

    /// What is different in a document between two versions; from the empty document if `before` is `None`. As [`Pod::document_at`].
    pub async fn differences(
        &self,
        document: DocumentId,
        before: Option<ChangeId>,
        after: ChangeId,
    ) -> Result<Vec<Difference>, Error> {
        self.work(move |running| {
            let before: Vec<ChangeId> = before.into_iter().collect();
            Ok(running.known_document(document)?.differences(&before, &[after])?)
        })
        .await
    }

    /// Who wrote the text at the end of a path, letter by letter, in order; empty if no text is there.
    pub async fn blame(&self, document: DocumentId, path: &[Key]) -> Result<Vec<BlameSpan>, Error> {
        let path = path.to_vec();
        self.work(move |running| {
            let opened = running.known_document(document)?;
            let pieces = opened.blame(&path).unwrap_or_default();
            let changes = pieces.iter().map(|piece| piece.change).collect();
            let by_change = running.versions_by_change(document, &opened, changes)?;
            Ok(pieces
                .into_iter()
                .filter_map(|piece| {
                    let version = by_change.get(&piece.change)?.clone();
                    Some(BlameSpan {
                        text: piece.text,
                        version,
                    })
                })
                .collect())
        })
        .await
    }

    /// Every value that devices put into the place at the end of a path without knowing of each other; the last is shown. One, if nobody
    /// disagrees. Whoever sets the place decides.
    pub async fn conflicts(&self, document: DocumentId, path: &[Key]) -> Result<Vec<Conflict>, Error> {
        let path = path.to_vec();
        self.work(move |running| {
            let opened = running.known_document(document)?;
            let candidates = opened.conflicts(&path);
            let changes = candidates.iter().map(|candidate| candidate.change).collect();
            let by_change = running.versions_by_change(document, &opened, changes)?;
            Ok(candidates
                .into_iter()
                .filter_map(|candidate| {
                    let version = by_change.get(&candidate.change)?.clone();
                    Some(Conflict {
                        value: candidate.value,
                        version,
                    })
                })
                .collect())
        })
        .await
    }

    /// The text at the end of a path in pieces with their marks; `None` if no text is there.
    pub async fn spans(&self, document: DocumentId, path: &[Key]) -> Result<Option<Vec<Span>>, Error> {
        let path = path.to_vec();
        self.work(move |running| Ok(running.known_document(document)?.spans(&path)))
            .await
    }

    /// Makes a document as it was at a version, by a new change: every version stays. Durable when this returns.
    pub async fn restore(&self, collection: &str, document: DocumentId, version: ChangeId) -> Result<Written, Error> {
        let collection = collection.to_owned();
        self.work(move |running| {
            running.known_document(document)?;
            running.write_one(&collection, document, &move |opened| opened.restore(&version))
        })
        .await
    }

    /// Takes back what this device did last in a document and did not take back yet, by a new change: all that one edit, batch or save did.
    /// What others wrote stays, also where it stands in place of that. `None` if there is nothing to take back. It is told from the document
    /// itself what was taken back: so it goes on after the pod was closed, up to 1,000 changes back.
    pub async fn undo(&self, collection: &str, document: DocumentId) -> Result<Option<Written>, Error> {
        self.revert(collection, document, Document::undo_until).await
    }

    /// Does again what [`Pod::undo`] took back last, if this device did not edit the document since. `None` if there is nothing.
    pub async fn redo(&self, collection: &str, document: DocumentId) -> Result<Option<Written>, Error> {
        self.revert(collection, document, Document::redo_until).await
    }

    async fn revert(&self, collection: &str, document: DocumentId, how: TakeBack) -> Result<Option<Written>, Error> {
        let collection = collection.to_owned();
        self.work(move |running| {
            running.known_document(document)?;
            // A pod that is suspended waits for this.
            let stopping = running.stop_signal();
            let stop = || *stopping.borrow();
            let written = running.write_one(&collection, document, &|opened| {
                let mut own = running.own_changes(document).map_err(|_| DocumentError::Failed)?;
                own.retain(|change| opened.contains(change));
                Ok(how(opened, &own, &stop)?.into_iter().collect())
            });
            let written = written.map_err(|error| match *stopping.borrow() {
                true => Error::Suspended,
                false => error,
            })?;
            Ok(written.entry.map(|_| written))
        })
        .await
    }

    /// The document as an Automerge file, with its whole history: `Automerge.load` of any Automerge (0.5 and later, JavaScript 2.1 and later)
    /// reads it. It holds everything that was ever written in the document, in the clear.
    pub async fn export_document(&self, document: DocumentId) -> Result<Vec<u8>, Error> {
        self.work(move |running| Ok(running.known_document(document)?.export()))
            .await
    }
}

type TakeBack = fn(&mut Document, &[ChangeId], &dyn Fn() -> bool) -> Result<Option<Vec<u8>>, DocumentError>;

impl OpenDocument {
    /// As [`Pod::undo`], after a save: what is not saved yet is what is taken back first. Brings in what others wrote, too. Gives whether
    /// there was anything to take back.
    pub async fn undo(&self) -> Result<bool, Error> {
        self.save().await?;
        let written = self.pod().undo(self.collection(), self.id()).await?;
        self.refresh().await?;
        Ok(written.is_some())
    }

    /// As [`Pod::redo`]; see [`OpenDocument::undo`].
    pub async fn redo(&self) -> Result<bool, Error> {
        self.save().await?;
        let written = self.pod().redo(self.collection(), self.id()).await?;
        self.refresh().await?;
        Ok(written.is_some())
    }
}

impl Running {
    /// A document that is here.
    fn known_document(&self, document: DocumentId) -> Result<Document, Error> {
        let opened = self.shown(|documents| documents.open(&document, &NOBODY))?;
        opened
            .map(|(_, opened)| opened)
            .ok_or_else(|| Error::NoDocument(document.to_string()))
    }

    /// Writes one change of one document.
    fn write_one(&self, collection: &str, document: DocumentId, work: &Work<'_>) -> Result<Written, Error> {
        let stream = self.stream(collection)?;
        let (_, written) = self.write_some(stream, collection, &[(document, work)], (Take::All, Of::Any))?;
        written.first().copied().ok_or(Error::Closed)
    }

    fn history(&self, document: DocumentId, after: Option<HistoryCursor>, limit: u32) -> Result<HistoryPage, Error> {
        let mut page = HistoryPage {
            versions: Vec::new(),
            next: after,
        };
        let Some((_, opened)) = self.shown(|documents| documents.open(&document, &NOBODY))? else {
            page.next = None;
            return Ok(page);
        };
        let mut devices = Devices::default();
        // A page may hold nothing that the document took: then the next is looked at.
        while page.versions.is_empty() {
            let before = page.next.map(|cursor| cursor.0);
            let limit = limit.clamp(1, PAGE);
            let rows = self.shown(|documents| documents.versions(&document, before, limit))?;
            page.next = rows
                .last()
                .filter(|_| rows.len() == limit as usize)
                .map(|row| HistoryCursor(row.place()));
            for row in &rows {
                page.versions.extend(self.versions_of(row, &opened, &mut devices)?);
            }
            if page.next.is_none() {
                break;
            }
        }
        Ok(page)
    }

    /// The versions that an entry made, the last of them first.
    fn versions_of(
        &self,
        row: &VersionRow,
        opened: &Document,
        devices: &mut Devices,
    ) -> Result<Vec<DocumentVersion>, Error> {
        let device = self.device_of(row.author, devices)?;
        let this_device = device == self.keys.signing.public();
        let device_name = self.ring().name(&device).map(str::to_owned);
        let changes = row.changes.iter().rev();
        Ok(changes
            .filter_map(|change| {
                Some(DocumentVersion {
                    change: *change,
                    kind: opened.change_kind(change)?,
                    entry: EntryRef {
                        author: row.author,
                        seq: row.seq,
                    },
                    device,
                    device_name: device_name.clone(),
                    this_device,
                    millis: Time(row.time).millis(),
                })
            })
            .collect())
    }

    fn device_of(&self, author: AuthorId, devices: &mut Devices) -> Result<PublicKey, Error> {
        if let Some(device) = devices.0.get(&author) {
            return Ok(*device);
        }
        let start = self.log.read(|read| read.start(&author))?;
        let device = start.map(|start| start.device()).unwrap_or(PublicKey([0; 32]));
        devices.0.insert(author, device);
        Ok(device)
    }

    /// Every entry that was noted of a document, newest first; no more than `most`.
    fn rows(&self, document: DocumentId, most: usize) -> Result<Vec<VersionRow>, Error> {
        let mut rows: Vec<VersionRow> = Vec::new();
        while rows.len() < most {
            let before = rows.last().map(VersionRow::place);
            let some = self.shown(|documents| documents.versions(&document, before, PAGE))?;
            let more = some.len() == PAGE as usize;
            rows.extend(some);
            if !more {
                break;
            }
        }
        Ok(rows)
    }

    /// The versions of these changes of a document. Looks from the newest on and no further than it has to.
    fn versions_by_change(
        &self,
        document: DocumentId,
        opened: &Document,
        mut wanted: HashSet<ChangeId>,
    ) -> Result<HashMap<ChangeId, DocumentVersion>, Error> {
        let mut devices = Devices::default();
        let mut versions = HashMap::new();
        let mut before = None;
        while !wanted.is_empty() {
            let rows = self.shown(|documents| documents.versions(&document, before, PAGE))?;
            for row in &rows {
                if row.changes.iter().any(|change| wanted.contains(change)) {
                    let mut of_row = self.versions_of(row, opened, &mut devices)?;
                    of_row.retain(|version| wanted.remove(&version.change));
                    versions.extend(of_row.into_iter().map(|version| (version.change, version)));
                }
            }
            before = rows.last().map(VersionRow::place);
            if rows.len() < PAGE as usize {
                break;
            }
        }
        Ok(versions)
    }

    /// The last changes that this device made of a document, oldest first.
    fn own_changes(&self, document: DocumentId) -> Result<Vec<ChangeId>, Error> {
        let mut devices = Devices::default();
        let mut own = Vec::new();
        for row in self.rows(document, UNDO_ENTRIES)? {
            if own.len() >= UNDO_REACH {
                break;
            }
            if self.device_of(row.author, &mut devices)? == self.keys.signing.public() {
                own.extend(row.changes.iter().rev());
            }
        }
        own.reverse();
        Ok(own)
    }
}

/// Whose each author log is, as far as it was asked.
#[derive(Default)]
struct Devices(HashMap<AuthorId, PublicKey>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let cursor = HistoryCursor(VersionPlace {
            time: 1 << 40,
            author: AuthorId([7; 32]),
            branch: 3,
            seq: 9,
        });
        let bytes = cursor.to_bytes();
        assert_eq!(HistoryCursor::from_bytes(&bytes), Some(cursor));
        assert!(HistoryCursor::from_bytes(&bytes[1..]).is_none() && HistoryCursor::from_bytes(&[]).is_none());
        assert!(HistoryCursor::from_bytes(&[bytes, vec![0]].concat()).is_none());
    }
}
