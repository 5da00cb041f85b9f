//! Folds that meet: one another, documents that are erased or called back meanwhile, and views that are damaged.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use common::replicas::Member;
use rhizome::{
    AttachmentId, AttachmentRef, Document, DocumentError, DocumentId, Edit, Event, Value,
    document::{Documents, Fold},
    identity::{ErasedDocuments, KeyRing, cancel_erase, erase_documents},
    log::{AuthorId, DocumentChange, Position, SessionId, Time, Writer, make_entry},
    path,
    store::Views,
};

const SESSION: SessionId = SessionId([3; 16]);
const A: DocumentId = DocumentId([1; 16]);
const B: DocumentId = DocumentId([2; 16]);
/// More entries than are folded in one go.
const MANY: usize = 40;

/// A device that writes documents into one author log.
struct Scene {
    member: Member,
    author: AuthorId,
    after: Position,
    written: BTreeMap<DocumentId, Document>,
}

impl Scene {
    fn new() -> Self {
        let mut member = Member::first(1);
        let stream = member.stream("journal");
        let author = member.begin_log(stream).id();
        Self {
            member,
            author,
            after: Position::start(&author),
            written: BTreeMap::new(),
        }
    }

    fn ring(&self) -> KeyRing {
        self.member.replica.known().key_ring(&self.member.keys)
    }

    /// The keys before and after `document` is erased, or the other way round.
    fn rings(&mut self, document: DocumentId) -> (KeyRing, KeyRing) {
        let before = self.ring();
        self.erase(document);
        (before, self.ring())
    }

    fn erase(&mut self, document: DocumentId) -> rhizome::crypto::Hash {
        let what = ErasedDocuments {
            documents: vec![document],
            ..ErasedDocuments::default()
        };
        let random = &mut self.member.random;
        self.member
            .replica
            .propose(&self.member.keys, |by, _, _| Ok(erase_documents(random, by, what)))
            .unwrap()
    }

    fn cancel(&mut self, erasure: rhizome::crypto::Hash) {
        let random = &mut self.member.random;
        self.member
            .replica
            .propose(&self.member.keys, |by, _, _| Ok(cancel_erase(random, by, erasure)))
            .unwrap();
    }

    fn documents(&self, views: Views) -> Documents {
        let store = self.member.replica.store().clone();
        Documents::new(store, views, self.member.replica.identity())
    }

    fn change(&mut self, document: DocumentId, field: &str, value: Value) -> Vec<Vec<u8>> {
        let actor = DocumentChange::actor(&self.author, &document, &SESSION);
        let opened = self.written.entry(document).or_insert_with(|| Document::new(&actor));
        let set = |edit: &mut Edit<'_>| edit.set(&path([field]), value);
        opened.edit::<(), DocumentError>(set).unwrap().1
    }

    fn append(&mut self, document: DocumentId, changes: Vec<Vec<u8>>) {
        self.append_of(SESSION, document, changes);
    }

    fn append_of(&mut self, session: SessionId, document: DocumentId, changes: Vec<Vec<u8>>) {
        let ring = self.ring();
        let stream = self.member.stream("journal");
        let epoch = ring.streams()[&stream].current;
        let writer = Writer {
            signing: &self.member.keys.signing,
            author: self.author,
            after: self.after,
            epoch,
            key: ring.epoch(&epoch).unwrap(),
            head: None,
        };
        let event = Event::Document(DocumentChange {
            collection: "journal".into(),
            document,
            session,
            changes,
        });
        let entry = make_entry(&mut self.member.random, &writer, Time::from_millis(5), &[vec![event]]).unwrap();
        self.after = entry.position();
        let store = self.member.replica.store();
        store.write(move |write| write.append_own(&entry)).wait().unwrap();
    }

    fn write(&mut self, document: DocumentId, title: &str) {
        let changes = self.change(document, "title", Value::String(title.to_owned()));
        self.append(document, changes);
    }

    fn write_many(&mut self, document: DocumentId) {
        for n in 0..MANY {
            self.write(document, &n.to_string());
        }
    }
}

fn title(documents: &Documents, document: DocumentId) -> Option<Value> {
    match documents.get(&document).unwrap()? {
        Value::Map(mut map) => map.remove("title"),
        _ => None,
    }
}

fn last() -> Option<Value> {
    Some(Value::String((MANY - 1).to_string()))
}

/// Folds with `before`; after the first batch another fold comes with `after`, to which this one has to keep from then on.
fn fold_disturbed(documents: &Documents, before: &KeyRing, after: &KeyRing, limit: u64) -> BTreeSet<DocumentId> {
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        if asked.get() == 2 {
            let other = Fold {
                limit,
                ..Fold::default()
            };
            documents.fold_some(|| after, &other).unwrap();
        }
        false
    };
    let how = Fold {
        stop: &stop,
        ..Fold::default()
    };
    let ring = || if asked.get() < 2 { before } else { after };
    documents.fold_some(ring, &how).unwrap().documents
}

#[test]
fn what_is_erased_while_it_is_folded_does_not_come_back() {
    let mut scene = Scene::new();
    scene.write_many(A);
    let (before, after) = scene.rings(A);
    let documents = scene.documents(Views::in_memory().unwrap());
    fold_disturbed(&documents, &before, &after, 0);
    // Not even an empty one: its first changes were taken out, the others wait for them.
    assert_eq!(documents.get(&A).unwrap(), None);
    assert_eq!(documents.behind().unwrap(), 0);
}

#[test]
fn what_is_called_back_while_it_is_folded_comes_back_whole() {
    let mut scene = Scene::new();
    scene.write_many(A);
    let (before, after) = scene.rings(A);
    let documents = scene.documents(Views::in_memory().unwrap());
    fold_disturbed(&documents, &after, &before, 0);
    assert_eq!(title(&documents, A), last());
    assert_eq!(documents.behind().unwrap(), 0);
}

#[test]
fn a_fold_that_meets_another_tells_what_it_did_before() {
    let mut scene = Scene::new();
    scene.write_many(A);
    scene.write_many(B);
    let ring = scene.ring();
    let documents = scene.documents(Views::in_memory().unwrap());
    assert!(fold_disturbed(&documents, &ring, &ring, u64::MAX).contains(&A));
    assert_eq!(title(&documents, B), last());
}

#[test]
fn what_is_in_the_trash_comes_back_although_the_views_were_damaged() {
    let mut scene = Scene::new();
    let folder = tempfile::tempdir().unwrap();
    let documents = scene.documents(Views::open(folder.path(), [7; 32]).unwrap());
    scene.write(A, "deleted");
    scene.write(B, "kept");
    let erasure = scene.erase(A);
    documents.fold(&scene.ring()).unwrap();
    assert_eq!(title(&documents, A), None);
    // The next fold meets a document that does not open.
    let beside = Views::open(folder.path(), [7; 32]).unwrap();
    let spoil = beside.with(|views| {
        let mut row = views.document(&B)?.unwrap();
        row.state = vec![1, 2, 3];
        views.put_document(&row, &Default::default(), &Default::default())
    });
    spoil.unwrap();
    beside.close();
    scene.write(B, "kept and changed");
    documents.fold(&scene.ring()).unwrap();
    assert_eq!(title(&documents, B), Some(Value::String("kept and changed".into())));
    assert_eq!(title(&documents, A), None);
    scene.cancel(erasure);
    documents.fold(&scene.ring()).unwrap();
    assert_eq!(title(&documents, A), Some(Value::String("deleted".into())));
}

fn photo(n: u8) -> AttachmentRef {
    AttachmentRef {
        id: AttachmentId([n; 32]),
        key: [7; 32].into(),
        size: 3,
        media_type: "image/jpeg".into(),
        name: None,
        thumbnail: None,
    }
}

/// Which of the first photos documents refer to.
fn referred_to(documents: &Documents) -> Vec<u8> {
    let is = |n: &u8| documents.is_referred_to(&photo(*n).id).unwrap();
    (1..9).filter(is).collect()
}

#[test]
fn what_somebody_may_still_decide_for_is_referred_to() {
    let mut scene = Scene::new();
    let other = SessionId([4; 16]);
    let begun = scene.change(A, "album", Value::Map(BTreeMap::new()));
    let mut beside = Document::new(&DocumentChange::actor(&scene.author, &A, &other));
    beside.apply(&begun).unwrap();
    scene.append(A, begun);
    // Two devices set both places without knowing of each other, each a map with a list of a photo, and a photo.
    let album = |n: u8| {
        let photos = Value::List(vec![photo(n).to_value()]);
        Value::Map(BTreeMap::from([("photos".to_owned(), photos)]))
    };
    for (field, mine, theirs) in [
        ("album", album(1), album(2)),
        ("cover", photo(3).to_value(), photo(4).to_value()),
    ] {
        let changes = scene.change(A, field, mine);
        scene.append(A, changes);
        let set = |edit: &mut Edit<'_>| edit.set(&path([field]), theirs);
        let changes = beside.edit::<(), DocumentError>(set).unwrap().1;
        scene.append_of(other, A, changes);
    }
    let documents = scene.documents(Views::in_memory().unwrap());
    documents.fold(&scene.ring()).unwrap();
    assert_eq!(referred_to(&documents), [1, 2, 3, 4]);
    // Decided.
    beside = documents
        .open(&A, &DocumentChange::actor(&scene.author, &A, &SessionId([5; 16])))
        .unwrap()
        .unwrap()
        .1;
    let set = |edit: &mut Edit<'_>| edit.set(&path(["cover"]), photo(5).to_value());
    let changes = beside.edit::<(), DocumentError>(set).unwrap().1;
    scene.append_of(SessionId([5; 16]), A, changes);
    documents.fold(&scene.ring()).unwrap();
    assert_eq!(referred_to(&documents), [1, 2, 5]);
}

#[test]
fn what_is_in_the_trash_refers_to_attachments_until_it_is_gone_for_good() {
    let mut scene = Scene::new();
    let changes = scene.change(A, "photo", photo(1).to_value());
    scene.append(A, changes);
    let knew = scene.documents(Views::in_memory().unwrap());
    knew.fold(&scene.ring()).unwrap();
    scene.erase(A);
    let ring = scene.ring();
    // It never saw the document.
    let new = scene.documents(Views::in_memory().unwrap());
    for documents in [&knew, &new] {
        documents.fold(&ring).unwrap();
        assert_eq!(documents.get(&A).unwrap(), None);
        assert_eq!(referred_to(documents), [1]);
    }
    // Somebody who does not know of it writes on.
    let changes = scene.change(A, "another", photo(2).to_value());
    scene.append(A, changes);
    for documents in [&knew, &new] {
        documents.fold(&ring).unwrap();
        assert_eq!(referred_to(documents), [1, 2]);
        assert!(documents.forget(&[A], |_, _, _| true).unwrap());
        assert_eq!(referred_to(documents), [0; 0]);
    }
}

#[test]
fn a_flood_in_the_trash_hides_nothing_else_there() {
    let mut scene = Scene::new();
    scene.write(A, "deleted");
    scene.change(B, "title", Value::String("first, and never sent".to_owned()));
    // As large together, once they are inflated, as is not taken.
    let noise: String = (0..125_000u64)
        .map(|n| rhizome::crypto::Hash::plain(&n.to_be_bytes()).to_string()[..8].to_owned())
        .collect();
    for n in 0..10 {
        scene.write(B, &format!("{n}{noise}{}", "a".repeat(6_900_000)));
    }
    scene.erase(A);
    scene.erase(B);
    let ring = scene.ring();
    let documents = scene.documents(Views::in_memory().unwrap());
    documents.fold(&ring).unwrap();
    let erased = documents.erased([A, B], &ring).unwrap();
    let Value::Map(map) = &erased[&A].value else {
        panic!("no map")
    };
    assert_eq!(map["title"], Value::String("deleted".into()));
    assert_eq!(erased[&B].value, Value::Map(BTreeMap::new()));
}
