//! Writing: edits become changes, changes become one entry, and the entry is on the disk before anybody is told.

use std::{collections::HashSet, sync::Arc};

use super::{
    EntryRef, Pod,
    editing::{Made, OwnSession},
    running::{Running, lock},
};
use crate::{
    crypto::{OsRandom, Random, SealKey},
    document::{Document, DocumentError, Edit},
    error::Error,
    identity::{EpochId, StreamId, new_epochs, rewrap, streams},
    log::{
        AuthorId, DocumentChange, DocumentId, Event, LogError, MAX_ENTRY, MAX_SECTIONS, Position, SessionId, Start,
        Writer, make_entry,
    },
    store::StoreError,
};

/// Bytes gathered in one entry of a batch; with what fills it up it stays below the entry's own limit.
const BATCH_BYTES: usize = 960 * 1024;
/// Bytes around the changes of one document in its section, besides the collection's name.
const AROUND_CHANGES: usize = 128;
/// How often a write starts again because its author log was retired meanwhile.
const MOVES: usize = 3;

/// What a write made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The document.
    pub document: DocumentId,
    /// The entry that holds the change; `None` if the edit changed nothing.
    pub entry: Option<EntryRef>,
}

pub(super) type EditFn = Box<dyn Fn(&mut Edit<'_>) -> Result<(), DocumentError> + Send>;

/// One edit of a batch.
pub struct DocumentEdit {
    /// The document; `None` makes a new one.
    pub document: Option<DocumentId>,
    /// The edit. It may run more than once, always on a document as it was before it.
    pub edit: EditFn,
}

impl Pod {
    /// Makes a new document in a collection. All that `edit` does becomes one change; durable when this returns.
    pub async fn create_document(
        &self,
        collection: &str,
        edit: impl Fn(&mut Edit<'_>) -> Result<(), DocumentError> + Send + 'static,
    ) -> Result<Written, Error> {
        let made = self
            .write(
                collection,
                vec![DocumentEdit {
                    document: None,
                    edit: Box::new(edit),
                }],
            )
            .await?;
        Ok(made[0])
    }

    /// Edits a document that is here. All that `edit` does becomes one change; durable when this returns.
    pub async fn edit_document(
        &self,
        collection: &str,
        document: DocumentId,
        edit: impl Fn(&mut Edit<'_>) -> Result<(), DocumentError> + Send + 'static,
    ) -> Result<Written, Error> {
        if self.get(document).await?.is_none() {
            return Err(Error::NoDocument(document.to_string()));
        }
        let made = self
            .write(
                collection,
                vec![DocumentEdit {
                    document: Some(document),
                    edit: Box::new(edit),
                }],
            )
            .await?;
        Ok(made[0])
    }

    /// Makes and edits many documents at once, in as few entries as they fit in. Durable when this returns. A document that is named and
    /// not here is made under that name.
    pub async fn write(&self, collection: &str, edits: Vec<DocumentEdit>) -> Result<Vec<Written>, Error> {
        let collection = collection.to_owned();
        self.work(move |running| running.write(&collection, &edits)).await
    }
}

/// What is done to a document: gives the changes that it makes.
pub(super) type Work<'a> = dyn Fn(&mut Document) -> Result<Vec<Vec<u8>>, DocumentError> + 'a;

/// How much of what was asked for goes into one entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// As much as fits well.
    Some,
    /// All of it, or nothing is written.
    All,
}

/// What is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Documents that are nowhere yet.
    New,
    /// Any.
    Any,
}

/// The Automerge session in which this pod edits a document.
#[derive(Clone, Copy)]
pub(super) struct EditSession {
    author: AuthorId,
    id: SessionId,
    /// The last change it made.
    last: [u8; 32],
}

/// The actor of a document that is read, or edited by others forked from it.
pub(super) const NOBODY: [u8; 32] = [0; 32];

fn new_session() -> SessionId {
    SessionId((&mut OsRandom as &mut dyn Random).bytes())
}

/// One document's changes have a section of their own.
fn section(collection: &str, document: DocumentId, session: SessionId, changes: Vec<Vec<u8>>) -> Vec<Event> {
    vec![Event::Document(DocumentChange {
        collection: collection.to_owned(),
        document,
        session,
        changes,
    })]
}

struct Prepared {
    document: DocumentId,
    changes: Vec<Vec<u8>>,
    /// The hash of the last of them.
    last: Option<[u8; 32]>,
    session: SessionId,
}

/// Edits of one document as one change.
pub(super) fn editing(edits: &[DocumentEdit]) -> Box<Work<'_>> {
    Box::new(move |document| {
        let ((), changes) =
            document.edit::<(), DocumentError>(|scope| edits.iter().try_for_each(|edit| (edit.edit)(scope)))?;
        Ok(changes)
    })
}

impl Running {
    fn write(&self, collection: &str, edits: &[DocumentEdit]) -> Result<Vec<Written>, Error> {
        // Before anything is written of many.
        for document in edits.iter().filter_map(|edit| edit.document) {
            self.check_not_erased(&document)?;
        }
        let stream = self.stream(collection)?;
        let of = if edits.iter().all(|edit| edit.document.is_none()) {
            Of::New
        } else {
            Of::Any
        };
        let random: &mut dyn Random = &mut OsRandom;
        let works: Vec<(DocumentId, Box<Work<'_>>)> = edits
            .iter()
            .map(|edit| {
                let document = edit.document.unwrap_or_else(|| DocumentId(random.bytes()));
                (document, editing(std::slice::from_ref(edit)))
            })
            .collect();
        let named: Vec<(DocumentId, &Work<'_>)> = works.iter().map(|(document, work)| (*document, &**work)).collect();
        let mut written = Vec::with_capacity(named.len());
        let mut rest = &named[..];
        let stop = self.stop_signal();
        while !rest.is_empty() {
            if *stop.borrow() {
                // What was written stays written; the caller goes on with the same edits later.
                return Err(Error::Suspended);
            }
            let (done, made) = self.write_some(stream, collection, rest, (Take::Some, of))?;
            written.extend(made);
            rest = &rest[done..];
        }
        Ok(written)
    }

    /// Writes as many of `edits` as fit into one entry.
    pub(super) fn write_some(
        &self,
        stream: StreamId,
        collection: &str,
        edits: &[(DocumentId, &Work<'_>)],
        (take, of): (Take, Of),
    ) -> Result<(usize, Vec<Written>), Error> {
        let some = &edits[..edits.len().min(MAX_SECTIONS)];
        let _locks = self.lock_documents(some.iter().map(|(document, _)| self.document_lock(document)).collect());
        // What is written to a deleted document would go with it. Nobody deletes these any more while the locks are held.
        for (document, _) in some {
            self.check_not_erased(document)?;
        }
        if of == Of::Any {
            // An edit goes on from what the views show: they must show all that was written, and nobody writes more of these while the locks are
            // held.
            self.make_good()?;
        }
        for _ in 0..MOVES {
            let author = self.own_author(stream)?;
            let mut prepared: Vec<Prepared> = Vec::new();
            let mut taken = HashSet::new();
            let mut size = 0;
            let mut done = 0;
            for (document, edit) in some {
                // A document edited twice in a batch has its second edit in the next entry, on top of the first.
                if !taken.insert(*document) {
                    break;
                }
                let ready = self.prepare(author, *document, of, edit)?;
                let changes: usize = ready.changes.iter().map(Vec::len).sum();
                let bytes = changes + collection.len() + AROUND_CHANGES;
                if done > 0 && size + bytes > BATCH_BYTES && take == Take::Some {
                    break;
                }
                size += bytes;
                done += 1;
                prepared.push(ready);
                if size > MAX_ENTRY {
                    break;
                }
            }
            if take == Take::All && done < edits.len() {
                return Err(Error::TooLarge { size, max: MAX_ENTRY });
            }
            let changed = prepared.iter().filter(|ready| !ready.changes.is_empty());
            let sections: Vec<Vec<Event>> = changed
                .map(|ready| section(collection, ready.document, ready.session, ready.changes.clone()))
                .collect();
            let entry = if sections.is_empty() {
                None
            } else {
                Some(self.append(stream, author, Arc::new(sections)))
            };
            let entry = match entry {
                Some(Ok(None)) => continue,
                Some(Ok(Some(entry))) => Some(entry),
                None => None,
                Some(Err(error)) => {
                    self.forget_sessions(&prepared);
                    return Err(error);
                }
            };
            // The entry is on the disk: from here on the write has happened, whatever the views say.
            if let Some(entry) = entry {
                self.keep_sessions(author, &prepared);
                self.note_unshown(&entry);
            }
            let written = prepared.iter().map(|ready| Written {
                document: ready.document,
                entry: entry.filter(|_| !ready.changes.is_empty()),
            });
            return Ok((done, written.collect()));
        }
        Err(Error::InUse)
    }

    /// A document as the views show it; an empty one if it is not here.
    pub fn saved_document(&self, document: DocumentId) -> Result<Document, Error> {
        let opened = self.shown(|documents| documents.open(&document, &NOBODY))?;
        Ok(opened.map_or_else(|| Document::new(&NOBODY), |(_, opened)| opened))
    }

    /// Writes the change that `make` makes, by the actor it is given, of a document that is open for editing. `None` if it is empty.
    pub fn write_open(
        &self,
        collection: &str,
        document: DocumentId,
        session: &mut OwnSession,
        make: impl Fn([u8; 32]) -> Result<Made, DocumentError>,
    ) -> Result<Option<EntryRef>, Error> {
        let _locks = self.lock_documents(vec![self.document_lock(&document)]);
        self.check_not_erased(&document)?;
        let stream = self.stream(collection)?;
        for _ in 0..MOVES {
            let author = self.own_author(stream)?;
            *session = session.filter(|(of, _)| *of == author);
            let (_, id) = *session.get_or_insert_with(|| (author, new_session()));
            let Some((_, change)) = make(DocumentChange::actor(&author, &document, &id))?.change else {
                return Ok(None);
            };
            let sections = Arc::new(vec![section(collection, document, id, vec![change])]);
            // Tried again after an error, it is the same change: if it was written all the same, that is no harm.
            if let Some(entry) = self.append(stream, author, sections)? {
                self.note_unshown(&entry);
                return Ok(Some(entry));
            }
            // Of another author log by now.
            *session = None;
        }
        Err(Error::InUse)
    }

    /// The views follow behind what is written: whoever reads them waits for that, and whoever writes does not.
    fn note_unshown(&self, entry: &EntryRef) {
        lock(&self.unshown).insert(entry.author, entry.seq);
    }

    fn prepare(&self, author: AuthorId, document: DocumentId, of: Of, work: &Work<'_>) -> Result<Prepared, Error> {
        let known = lock(&self.sessions)
            .get(&document)
            .filter(|session| session.author == author)
            .copied();
        let (mut session, mut opened) = match known {
            Some(known) => (known.id, self.open_as(author, document, known.id)?),
            // The views have nothing of it, and are not waited for.
            None if of == Of::New => {
                let session = new_session();
                (
                    session,
                    Document::new(&DocumentChange::actor(&author, &document, &session)),
                )
            }
            None => self.open_anew(author, document)?,
        };
        // Views that were dropped and are not folded to their end yet lack what this session wrote: it must not number its changes again.
        if known.is_some_and(|known| !opened.contains(&known.last)) {
            (session, opened) = self.open_anew(author, document)?;
        }
        let changes = work(&mut opened)?;
        // A change builds on all there is.
        let last = opened.heads().first().copied().filter(|_| !changes.is_empty());
        Ok(Prepared {
            document,
            changes,
            last,
            session,
        })
    }

    fn open_as(&self, author: AuthorId, document: DocumentId, session: SessionId) -> Result<Document, Error> {
        let actor = DocumentChange::actor(&author, &document, &session);
        let opened = match self.documents.open(&document, &actor) {
            Err(StoreError::Damaged { file: "views.db", .. }) => {
                self.make_good()?;
                self.documents.open(&document, &actor)?
            }
            other => other?,
        };
        Ok(opened.map_or_else(|| Document::new(&actor), |(_, opened)| opened))
    }

    fn open_anew(&self, author: AuthorId, document: DocumentId) -> Result<(SessionId, Document), Error> {
        let session = new_session();
        Ok((session, self.open_as(author, document, session)?))
    }

    /// The sessions go on from what they wrote.
    fn keep_sessions(&self, author: AuthorId, prepared: &[Prepared]) {
        let mut sessions = lock(&self.sessions);
        for ready in prepared {
            if let Some(last) = ready.last {
                sessions.insert(
                    ready.document,
                    EditSession {
                        author,
                        id: ready.session,
                        last,
                    },
                );
            }
        }
    }

    /// An actor whose last change may or may not be in the log must never write again.
    fn forget_sessions(&self, prepared: &[Prepared]) {
        let mut sessions = lock(&self.sessions);
        for ready in prepared {
            sessions.remove(&ready.document);
        }
    }

    pub fn append_events(&self, label: &str, events: Vec<Event>) -> Result<EntryRef, Error> {
        let stream = self.stream(label)?;
        let sections = Arc::new(vec![events]);
        for _ in 0..MOVES {
            let author = self.own_author(stream)?;
            if let Some(entry) = self.append(stream, author, sections.clone())? {
                return Ok(entry);
            }
        }
        Err(Error::InUse)
    }

    /// The stream for a label. A new one is proposed if there is none: it works at once, tentatively.
    pub(super) fn stream(&self, label: &str) -> Result<StreamId, Error> {
        if let Some((stream, _)) = self.ring().stream(label) {
            return Ok(stream);
        }
        let labels = [label];
        self.replica
            .propose(&self.keys, |by, _, _| Ok(streams(&mut OsRandom, by, &labels)))?;
        self.ring().stream(label).map(|(stream, _)| stream).ok_or(Error::Closed)
    }

    /// The epoch to seal under, which nobody knows who was removed as far as is known here. Begun now, tentatively, if there is none.
    fn current_epoch(&self, stream: &StreamId) -> Result<(EpochId, SealKey), Error> {
        for _ in 0..MOVES {
            let (known, ring) = self.known_keys();
            let state = &known.tentative;
            let in_reach = ring.identity_key(&state.key_id()).is_some();
            let member = state.devices().contains_key(&self.keys.signing.public());
            let current = ring.streams().get(stream).ok_or(Error::Closed)?;
            // Who was removed itself goes on under what it has: nothing of it is lost, and nobody takes it.
            if !member || (in_reach && !state.exposed() && current.under == state.key_id()) {
                let key = ring.epoch(&current.current).cloned().ok_or(Error::Closed)?;
                return Ok((current.current, key));
            }
            self.replica.propose(&self.keys, |by, state, ring| {
                if !in_reach || state.exposed() {
                    rewrap(&mut OsRandom, by, (state, ring))
                } else {
                    Ok(new_epochs(&mut OsRandom, by, &[(*stream, &current.label)]))
                }
            })?;
        }
        Err(Error::InUse)
    }

    /// The author log that this device writes in `stream`; a new one if it has none, or may not go on in the one it had.
    fn own_author(&self, stream: StreamId) -> Result<AuthorId, Error> {
        if let Some(own) = self.log.read(|read| read.own_log(&stream))? {
            return Ok(own.author);
        }
        let identity = self.replica.identity();
        let start = Start::make(&mut OsRandom, &self.keys.signing, stream, identity, identity);
        let author = self.log.write(move |write| match write.own_log(&stream)? {
            Some(own) => Ok(own.author),
            None => {
                write.add_author(&start, true)?;
                Ok(start.id())
            }
        });
        Ok(author.wait()?)
    }

    /// Seals and appends one entry to `author`. `None` if that log was retired meanwhile: nothing was written.
    fn append(
        &self,
        stream: StreamId,
        author: AuthorId,
        sections: Arc<Vec<Vec<Event>>>,
    ) -> Result<Option<EntryRef>, Error> {
        let (epoch, key) = self.current_epoch(&stream)?;
        let time = lock(&self.clock).tick((self.options.clock)());
        let commit = self.replica.known().ordered.head();
        let head = commit.filter(|commit| lock(&self.named_heads).get(&author) != Some(commit));
        let signing = self.keys.signing.clone();
        let written = self.log.write(move |write| {
            let Some(own) = write.own_log(&stream)?.filter(|own| own.author == author) else {
                return Ok(Ok(None));
            };
            let writer = Writer {
                signing: &signing,
                author,
                after: own.head,
                epoch,
                key: &key,
                head,
            };
            let entry = match make_entry(&mut OsRandom, &writer, time, &sections) {
                Ok(entry) => entry,
                Err(error) => return Ok(Err(error)),
            };
            write.append_own(&entry)?;
            Ok::<Result<Option<Position>, LogError>, StoreError>(Ok(Some(entry.position())))
        });
        let Some(position) = written.wait()?? else {
            return Ok(None);
        };
        if let Some(head) = head {
            lock(&self.named_heads).insert(author, head);
        }
        self.log.announce(self.replica.identity());
        Ok(Some(EntryRef {
            author,
            seq: position.seq,
        }))
    }
}
