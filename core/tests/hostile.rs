//! What a hostile peer or member may try beyond bad bytes.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::replicas::{Member, converse};
use rhizome::{
    DeviceSecret, Document, Event, Pod, Value,
    crypto::{Keeper, SecretId, SeededRandom},
    document::Documents,
    identity::{Commit, CommitCore, Keys},
    log::{DocumentChange, DocumentId, Item, Position, Receipt, SessionId, StoreId, Time, Writer, make_entry},
    path,
    store::{Folder, LogStore, Views},
    sync::{Limits, Message, Refusal, Replica, Session},
};

/// Runs a conversation to its end and gives back what the listener said.
fn answers(listener: &mut Session, replica: &Replica, messages: Vec<Message>) -> Result<Vec<Message>, String> {
    let mut said = Vec::new();
    for message in messages {
        listener.receive(message, replica).map_err(|error| error.to_string())?;
        while let Some(message) = listener.next(replica).map_err(|error| error.to_string())? {
            said.push(message);
        }
    }
    Ok(said)
}

#[test]
fn a_member_of_one_identity_reaches_nothing_of_another_in_the_same_store() {
    // One store, as a cloud peer has it, with two identities.
    let (mut anna, mut boris) = (Member::first(1), Member::first(100));
    let range = anna.write("journal", 3);
    let author = range.author;
    let store = LogStore::in_memory(&mut SeededRandom::new(7)).unwrap();
    let keys = DeviceSecret::make(&mut SeededRandom::new(8)).keys();
    let host = |member: &Member| {
        let known = member.replica.known();
        let clock = std::sync::Arc::new(|| 1_000);
        let signing = keys.signing.clone();
        Replica::adopt(
            store.clone(),
            known.log.clone(),
            Vec::new(),
            signing,
            clock,
            Limits::default(),
        )
        .unwrap()
    };
    let (for_anna, for_boris) = (host(&anna), host(&boris));
    for_anna.take_range(range).unwrap();
    boris.write("journal", 1);
    let hello = |member: &Member| {
        let (known, items, digest) = member.replica.state().unwrap();
        let (count, head) = (known.ordered.count(), known.ordered.head());
        vec![
            Message::Hello {
                features: 0,
                identity: member.replica.identity(),
                digest,
                store: member.replica.store().store_id(),
                proofs: vec![],
            },
            Message::State {
                count,
                head,
                pending: vec![],
                items,
                more: false,
            },
        ]
    };
    let start = (1, rhizome::crypto::Hash(author.0));
    let held = anna.replica.read(|read| read.branches(&author)).unwrap()[0].head;
    for probe in [
        Message::Locate {
            author,
            points: vec![start],
        },
        Message::Confirm(vec![(author, held.seq, held.hash)]),
    ] {
        let mut session = Session::listen(Keys::of(&boris.keys).2);
        let mut messages = hello(&boris);
        messages.push(probe.clone());
        let said = answers(&mut session, &for_boris, messages).unwrap_or_default();
        let leaked = said.iter().any(|message| match message {
            Message::Range(range) => range.author == author,
            Message::Receipts(_) => true,
            _ => false,
        });
        assert!(!leaked, "{probe:?} leaked");
    }
    // Anna's own device gets all of it, so the test would see a leak.
    let second = anna.another(20);
    let known = anna.replica.known();
    let log = known
        .log
        .iter()
        .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()));
    for_anna.take_commits(&log.collect::<Vec<_>>()).unwrap();
    let mut session = Session::listen(Keys::of(&anna.keys).2);
    let mut messages = hello(&second);
    messages.push(Message::Locate {
        author,
        points: vec![start],
    });
    let said = answers(&mut session, &for_anna, messages).unwrap();
    assert!(
        said.iter()
            .any(|message| matches!(message, Message::Range(range) if range.author == author))
    );
}

#[test]
fn a_peer_that_was_wiped_is_noticed_reported_and_refilled() {
    let mut writer = Member::first(1);
    let peer = writer.another(10);
    let range = writer.write("journal", 5);
    assert_eq!(converse(&writer, &peer)[0].sent, 5);
    let held = |writer: &Member| {
        writer
            .replica
            .read(|read| read.holders(&range.author, 0, 6))
            .unwrap()
            .len()
    };
    assert_eq!(held(&writer), 1);
    assert_eq!(converse(&writer, &peer)[0].losses, 0);
    // The same keys and identity, and a database that was made anew.
    let known = writer.replica.known();
    let wiped = Member::new(77, peer.keys.clone(), known.log.clone(), known.pending.clone());
    let [outcome, _] = converse(&writer, &wiped);
    assert_eq!((outcome.losses, outcome.sent), (1, 5), "noticed, and sent again");
    let alarms = writer.replica.read(|read| read.alarms()).unwrap();
    assert_eq!(
        alarms.iter().map(|alarm| alarm.kind.name()).collect::<Vec<_>>(),
        ["peer-loss"]
    );
    assert_eq!(held(&writer), 1, "by its new word");
    assert_eq!(wiped.replica.state().unwrap().2, writer.replica.state().unwrap().2);
    assert_eq!(converse(&writer, &wiped)[0].losses, 0);
}

#[test]
fn a_receipt_counts_from_the_peer_that_signed_it_and_for_its_store() {
    let mut writer = Member::first(1);
    let ours = writer.write("journal", 2);
    let key = |seed| DeviceSecret::make(&mut SeededRandom::new(seed)).keys().signing;
    let (peer, other) = (key(20), key(30));
    let (store, elsewhere) = (StoreId([1; 16]), StoreId([2; 16]));
    let at = Position::start(&ours.author);
    let take = |receipt| writer.replica.take_receipts(&peer.public(), store, &[receipt]);
    for foreign in [
        Receipt::make(&other, store, ours.author, at, 1),
        Receipt::make(&peer, elsewhere, ours.author, at, 1),
    ] {
        assert_eq!(take(foreign), Err(Refusal::OtherIdentity));
    }
    take(Receipt::make(&peer, store, ours.author, at, 1)).unwrap();
}

#[test]
fn another_store_of_a_peer_is_told_and_so_is_what_it_no_longer_shows() {
    let mut writer = Member::first(1);
    let range = writer.write("journal", 2);
    let identity = writer.replica.identity();
    let head = writer
        .replica
        .read(|read| read.branches(&range.author))
        .unwrap()
        .remove(0)
        .head;
    let shown = BTreeMap::from([(range.author, vec![Item(range.author, 0, head.seq, head.hash)])]);
    let nothing = BTreeMap::new();
    let (one, other) = (StoreId([1; 16]), StoreId([2; 16]));
    let told = || writer.replica.read(|read| read.alarms()).unwrap().len();
    for (seed, expected) in [(20, 1), (30, 2)] {
        let peer = DeviceSecret::make(&mut SeededRandom::new(seed)).keys();
        let key = peer.signing.public();
        let find = |store, shown: &BTreeMap<_, _>, receipts: &[Receipt]| {
            writer
                .replica
                .find_losses(&key, store, shown, receipts.to_vec())
                .unwrap()
        };
        let noted = || writer.replica.read(|read| read.peer_store(&key)).unwrap();
        let kept = || writer.replica.read(|read| read.receipts_of(&identity, &key)).unwrap();
        assert!(find(one, &nothing, &[]).is_empty());
        assert!(find(one, &nothing, &[]).is_empty());
        assert_eq!((noted(), told()), (Some(one), expected - 1));
        let receipt = Receipt::make(&peer.signing, one, range.author, head, 1);
        let put = receipt.clone();
        writer
            .replica
            .store()
            .write(move |write| write.put_receipt(&put))
            .wait()
            .unwrap();
        assert!(find(one, &shown, &kept()).is_empty());
        assert_eq!((kept().len(), told()), (1, expected - 1));
        if seed == 20 {
            // The store that signed, and not what it signed for.
            assert_eq!(find(one, &nothing, &kept()), [receipt]);
            assert_eq!((noted(), kept().len(), told()), (Some(one), 0, expected));
        } else {
            // Another store, though it had signed for nothing.
            assert!(find(other, &shown, &[]).is_empty());
            assert_eq!((noted(), told()), (Some(other), expected));
        }
    }
}

#[test]
fn a_flood_of_changes_that_wait_for_others_does_not_cost_the_views() {
    let mut writer = Member::first(1);
    let stream = writer.stream("journal");
    let start = writer.begin_log(stream);
    let (good, bad) = (DocumentId([1; 16]), DocumentId([2; 16]));
    let session = SessionId([3; 16]);
    let ring = writer.replica.known().key_ring(&writer.keys);
    let epoch = ring.streams()[&stream].current;
    let mut after = Position::start(&start.id());
    let mut append = |writer: &mut Member, document: DocumentId, changes: Vec<Vec<u8>>| {
        let event = Event::Document(DocumentChange {
            collection: "journal".into(),
            document,
            session,
            changes,
        });
        let parts = Writer {
            signing: &writer.keys.signing,
            author: start.id(),
            after,
            epoch,
            key: ring.epoch(&epoch).unwrap(),
            head: None,
        };
        let entry = make_entry(&mut writer.random, &parts, Time::from_millis(5), &[vec![event]]).unwrap();
        after = entry.position();
        writer
            .replica
            .store()
            .write(move |write| write.append_own(&entry))
            .wait()
            .unwrap();
    };
    let actor = |document| DocumentChange::actor(&start.id(), &document, &session);
    let edit = |document: &mut Document, text: &str| {
        let set = |edit: &mut rhizome::Edit<'_>| edit.set(&path(["title"]), Value::String(text.to_owned()));
        document.edit::<(), rhizome::DocumentError>(set).unwrap().1
    };
    let mut kept = Document::new(&actor(good));
    append(&mut writer, good, edit(&mut kept, "kept"));
    // Every change but the first, as much larger once it is inflated as is let through.
    let noise: String = (0..125_000u64)
        .map(|n| rhizome::crypto::Hash::plain(&n.to_be_bytes()).to_string()[..8].to_owned())
        .collect();
    let mut flood = Document::new(&actor(bad));
    edit(&mut flood, "first, and never sent");
    for n in 0..10 {
        append(
            &mut writer,
            bad,
            edit(&mut flood, &format!("{n}{noise}{}", "a".repeat(6_900_000))),
        );
    }
    append(&mut writer, good, edit(&mut kept, "kept and changed"));
    let documents = Documents::new(
        writer.replica.store().clone(),
        Views::in_memory().unwrap(),
        writer.replica.identity(),
    );
    documents.fold(&ring).unwrap();
    let Some(Value::Map(map)) = documents.get(&good).unwrap() else {
        panic!("the views are gone")
    };
    assert_eq!(map["title"], Value::String("kept and changed".into()));
    assert_eq!(documents.behind().unwrap(), 0);
}

#[test]
fn what_was_good_before_a_bad_commit_is_kept() {
    let mut first = Member::first(1);
    let reader = first.another(10);
    let keys = DeviceSecret::make(&mut SeededRandom::new(99)).keys();
    let operation = first.add(&keys);
    first.replica.take_operation(operation).unwrap();
    let (commit, operation) = first.replica.known().log.last().unwrap().clone();
    let good = (commit.encode().to_vec(), operation.encode());
    let core = CommitCore {
        index: 99,
        ..commit.core().clone()
    };
    let bad = (
        Commit::make(&first.keys.signing, core).encode().to_vec(),
        operation.encode(),
    );
    let before = reader.replica.known().log.len();
    reader.replica.take_commits(&[good, bad]).unwrap_err();
    assert_eq!(reader.replica.known().log.len(), before + 1);
    // Another identity's commit is no equivocation of ours.
    let mut stranger = Member::first(50);
    stranger.another(60);
    let known = stranger.replica.known();
    let theirs = known
        .log
        .iter()
        .map(|(c, o)| (c.encode().to_vec(), o.encode()))
        .collect::<Vec<_>>();
    reader.replica.take_commits(&theirs).unwrap_err();
    assert!(reader.replica.read(|read| read.alarms()).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_making_was_cut_short_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pod");
    // What a kill between the database and pod.json leaves.
    drop(Folder::open(&folder, true).unwrap());
    tokio::task::block_in_place(|| {
        let log = LogStore::open(&folder, true, &mut SeededRandom::new(1)).unwrap();
        log.write(|write| write.set_meta("half", b"made")).wait().unwrap();
        log.close();
    });
    let (options, keeper) = common::options();
    keeper
        .create(&SecretId([1; 16]), &DeviceSecret::from_bytes([2; 32]))
        .unwrap();
    let (pod, _) = Pod::create(&folder, options, "phone").await.unwrap();
    common::write(&pod, "a line").await;
    assert_eq!(pod.verify().await.unwrap(), 1);
    pod.shutdown().await;
    // A database that nobody marked is left alone.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("log.db"), b"somebody's").unwrap();
    assert!(Pod::create(&other, common::options().0, "phone").await.is_err());
    assert_eq!(std::fs::read(other.join("log.db")).unwrap(), b"somebody's");
}
