//! The identity log: verdicts that everybody computes alike, keys that reach exactly those they are for.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::replicas::Member;
use rhizome::{
    Document, Event, Value,
    crypto::{DeviceSecret, Keeper, Kept, PublicKey, Random, SecretId, SeededRandom, Wrap, Zeroizing, decode},
    document::Documents,
    identity::{
        Body, Commit, CommitCore, IdentityError, Keys, LinkRole, MAX_OPERATION, Operation, Proposer, RecoverySecret,
        Ticket, TicketError, Verdict, VoidReason, add_device, add_peer, change_orderers, consent, did, did_document,
        parse_did, streams,
    },
    log::{DocumentChange, DocumentId, Position, Range, SessionId, Time, Writer, make_entry},
    path,
    store::{LogStore, Views},
    sync::{Limits, Replica, ReplicaError},
};

fn with_proposer<R>(member: &mut Member, work: impl FnOnce(&mut dyn Random, &Proposer<'_>) -> R) -> R {
    let known = member.replica.known();
    let ring = known.key_ring(&member.keys);
    let by = Proposer::of(&known.ordered, &ring, &member.keys.signing).unwrap();
    work(&mut member.random, &by)
}

fn keys(seed: u64) -> rhizome::crypto::DeviceKeys {
    DeviceSecret::make(&mut SeededRandom::new(seed)).keys()
}

/// The verdict on an operation that `first` puts in order.
fn verdict(first: &Member, operation: &Operation) -> Verdict {
    first.replica.known().ordered.judge(operation)
}

#[test]
fn operations_that_may_have_no_effect_have_none() {
    let mut first = Member::first(1);
    let identity = first.replica.identity();
    let device = keys(50);
    let public = Keys::of(&device);
    let yes = consent(&device.signing, &identity, &public, false);
    let void = |reason| Verdict::Void(reason);
    let good = with_proposer(&mut first, |random, by| {
        add_device(random, by, public, yes, "tablet").unwrap()
    });
    assert_eq!(verdict(&first, &good), Verdict::Ok);
    // Consent to be a device is none to be a peer, and none for other keys.
    let as_peer = with_proposer(&mut first, |random, by| {
        add_peer(random, by, public, yes, vec![], "cloud")
    });
    assert_eq!(verdict(&first, &as_peer), void(VoidReason::NoConsent));
    let other = Keys::of(&keys(51));
    let for_other = with_proposer(&mut first, |random, by| {
        add_device(random, by, other, yes, "tablet").unwrap()
    });
    assert_eq!(verdict(&first, &for_other), void(VoidReason::NoConsent));
    // A stranger proposes.
    let mut stranger = Member::first(60);
    let theirs = with_proposer(&mut stranger, |random, by| {
        let by = Proposer { identity, ..by.clone() };
        add_device(random, &by, public, yes, "tablet").unwrap()
    });
    assert_eq!(verdict(&first, &theirs), void(VoidReason::NotADevice));
    first.replica.take_operation(theirs).expect_err("taken");
    first.replica.take_operation(good.clone()).unwrap();
    assert_eq!(verdict(&first, &good), void(VoidReason::Repeated));
    let again = with_proposer(&mut first, |random, by| {
        add_device(random, by, public, yes, "tablet").unwrap()
    });
    assert_eq!(verdict(&first, &again), void(VoidReason::KeyInUse));
    // Cloud peers never propose.
    let cloud = keys(70);
    let cloud_keys = Keys::of(&cloud);
    let yes = consent(&cloud.signing, &identity, &cloud_keys, true);
    let too_many = vec!["host:1".to_owned(); 9];
    let crowded = with_proposer(&mut first, |random, by| {
        add_peer(random, by, cloud_keys, yes, too_many, "cloud")
    });
    assert_eq!(verdict(&first, &crowded), void(VoidReason::BadServices));
    let long = with_proposer(&mut first, |random, by| {
        add_peer(random, by, cloud_keys, yes, vec!["h".repeat(256)], "cloud")
    });
    assert_eq!(verdict(&first, &long), void(VoidReason::BadServices));
    let peer = with_proposer(&mut first, |random, by| {
        add_peer(random, by, cloud_keys, yes, vec!["h".repeat(255); 8], "cloud")
    });
    first.replica.take_operation(peer).unwrap();
    let by_peer = with_proposer(&mut first, |random, by| {
        let by = Proposer {
            signing: &cloud.signing,
            ..by.clone()
        };
        change_orderers(random, &by, 1, vec![cloud_keys.0])
    });
    assert_eq!(verdict(&first, &by_peer), void(VoidReason::NotADevice));
    let mut change = |term, orderers: Vec<_>| {
        let operation = with_proposer(&mut first, |random, by| change_orderers(random, by, term, orderers));
        (verdict(&first, &operation), operation)
    };
    assert_eq!(change(0, vec![cloud_keys.0]).0, void(VoidReason::WrongTerm));
    assert_eq!(change(2, vec![cloud_keys.0]).0, void(VoidReason::WrongTerm));
    assert_eq!(change(1, vec![]).0, void(VoidReason::BadOrderers));
    assert_eq!(
        change(1, vec![cloud_keys.0, cloud_keys.0]).0,
        void(VoidReason::BadOrderers)
    );
    assert_eq!(change(1, vec![Keys::of(&keys(80)).0]).0, void(VoidReason::BadOrderers));
    let (ok, operation) = change(1, vec![cloud_keys.0]);
    assert_eq!(ok, Verdict::Ok);
    first.replica.take_operation(operation).unwrap();
    // From here on the first device no longer orders: what it proposes waits.
    let later = with_proposer(&mut first, |random, by| streams(random, by, &["later"]));
    first.replica.take_operation(later).unwrap();
    let known = first.replica.known();
    assert_eq!(
        (known.ordered.term(), known.ordered.orderers()),
        (1, &[cloud_keys.0][..])
    );
    assert_eq!(known.pending.len(), 1);
}

#[test]
fn a_cloud_peer_reaches_no_key_and_a_new_device_reaches_all() {
    let mut first = Member::first(1);
    let more = with_proposer(&mut first, |random, by| streams(random, by, &["more"]));
    first.replica.take_operation(more).unwrap();
    let second = first.another(10);
    let known = second.replica.known();
    let ring = known.key_ring(&second.keys);
    assert_eq!(ring.streams().len(), 3);
    assert_eq!(ring.alarms(), 0);
    assert_eq!(ring.name(&second.keys.signing.public()), Some("another"));
    let cloud = known.key_ring(&keys(70));
    assert!(cloud.streams().is_empty() && cloud.identity_key(&known.ordered.key_id()).is_none());
    assert!(
        cloud.name(&second.keys.signing.public()).is_none(),
        "names are sealed too"
    );
}

#[test]
fn an_entry_whose_key_has_not_arrived_is_kept_and_opened_later() {
    let mut writer = Member::first(1);
    let reader = writer.another(10);
    let documents = Documents::new(
        reader.replica.store().clone(),
        Views::in_memory().unwrap(),
        reader.replica.identity(),
    );
    let operation = with_proposer(&mut writer, |random, by| streams(random, by, &["diary"]));
    writer.replica.take_operation(operation).unwrap();
    let stream = writer.stream("diary");
    let start = writer.begin_log(stream);
    let (document, session) = (DocumentId([7; 16]), SessionId([8; 16]));
    let mut opened = Document::new(&DocumentChange::actor(&start.id(), &document, &session));
    let ((), changes) = opened
        .edit::<(), rhizome::DocumentError>(|edit| edit.set(&path(["title"]), Value::String("sealed".into())))
        .unwrap();
    let ring = writer.replica.known().key_ring(&writer.keys);
    let epoch = ring.streams()[&stream].current;
    let entry = make_entry(
        &mut writer.random,
        &Writer {
            signing: &writer.keys.signing,
            author: start.id(),
            after: Position::start(&start.id()),
            epoch,
            key: ring.epoch(&epoch).unwrap(),
            head: None,
        },
        Time::from_millis(5),
        &[vec![Event::Document(DocumentChange {
            collection: "diary".into(),
            document,
            session,
            changes,
        })]],
    )
    .unwrap();
    let range = Range {
        start: Some(start.encode().to_vec()),
        author: start.id(),
        after: Position::start(&start.id()),
        entries: vec![entry.entry().clone()],
    };
    // The entry comes before the operation that brings its key.
    assert_eq!(reader.replica.take_range(range).unwrap().new, 1);
    let fold = || documents.fold(&reader.replica.known().key_ring(&reader.keys)).unwrap();
    assert_eq!((fold().entries, documents.waiting().unwrap()), (0, 1));
    assert_eq!(documents.get(&document).unwrap(), None);
    let known = writer.replica.known();
    let (commit, operation) = known.log.last().unwrap();
    reader
        .replica
        .take_commits(&[(commit.encode().to_vec(), operation.encode())])
        .unwrap();
    assert_eq!((fold().entries, documents.waiting().unwrap()), (1, 0));
    assert!(documents.get(&document).unwrap().is_some());
}

#[test]
fn a_change_in_another_actors_name_is_not_shown() {
    let mut writer = Member::first(1);
    let stream = writer.stream("journal");
    let start = writer.begin_log(stream);
    let (document, session) = (DocumentId([7; 16]), SessionId([8; 16]));
    let mut opened = Document::new(&[9; 32]);
    let ((), changes) = opened
        .edit::<(), rhizome::DocumentError>(|edit| edit.set(&path(["title"]), Value::String("forged".into())))
        .unwrap();
    let ring = writer.replica.known().key_ring(&writer.keys);
    let epoch = ring.streams()[&stream].current;
    let parts = Writer {
        signing: &writer.keys.signing,
        author: start.id(),
        after: Position::start(&start.id()),
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
    let entry = make_entry(&mut writer.random, &parts, Time::from_millis(5), &[vec![event]]).unwrap();
    writer
        .replica
        .store()
        .write(move |write| write.append_own(&entry))
        .wait()
        .unwrap();
    let documents = Documents::new(
        writer.replica.store().clone(),
        Views::in_memory().unwrap(),
        writer.replica.identity(),
    );
    assert_eq!(documents.fold(&ring).unwrap().unreadable, 1);
    assert_eq!(documents.get(&document).unwrap(), None);
}

#[test]
fn the_did_is_a_cid_and_its_document_follows_from_the_log() {
    let mut first = Member::first(1);
    let second = first.another(10);
    let identity = first.replica.identity();
    let text = did(&identity);
    // CIDv1, dag-cbor, blake3 of 32 bytes, in base32.
    assert!(text.starts_with("did:rhizome:bafyr4i"), "{text}");
    assert_eq!(parse_did(&text), Some(identity));
    assert_eq!(parse_did(&text.to_uppercase()), None);
    assert_eq!(parse_did("did:key:z6Mk"), None);
    let document = did_document(&second.replica.known().ordered);
    assert_eq!(document["id"], text);
    assert_eq!(document["authentication"].as_array().unwrap().len(), 2);
    // What every Ed25519 Multikey begins with.
    let first_key = document["verificationMethod"][0]["publicKeyMultibase"]
        .as_str()
        .unwrap();
    assert!(first_key.starts_with("z6Mk"), "{first_key}");
    assert_eq!(document, did_document(&first.replica.known().ordered));
}

#[test]
fn codes_that_are_damaged_old_or_none_are_told_apart() {
    let ticket = Ticket {
        role: LinkRole::CloudPeer,
        endpoint: Keys::of(&keys(1)).2,
        addresses: vec!["peer.example.org:4433".into(), "[::1]:4433".into()],
        secret: [5; 16].into(),
        expires: 1_000,
    };
    let code = ticket.to_string();
    assert_eq!(
        Ticket::parse_at(&format!("  {}\n", code.to_uppercase()), 999),
        Ok(ticket)
    );
    assert_eq!(Ticket::parse_at(&code, 1_000), Err(TicketError::Expired));
    assert_eq!(Ticket::parse("https://example.org"), Err(TicketError::NotATicket));
    for place in "rhizome:".len()..code.len() {
        let mut damaged = code.clone().into_bytes();
        damaged[place] = if damaged[place] == b'a' { b'b' } else { b'a' };
        assert!(
            Ticket::parse(std::str::from_utf8(&damaged).unwrap()).is_err(),
            "letter {place}"
        );
        assert!(Ticket::parse(&code[..place]).is_err(), "cut at {place}");
    }
    assert!(
        !format!("{:?}", Ticket::parse(&code)).contains("5, 5"),
        "no secret in Debug"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_24_words_open_what_opens_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (options, keeper) = common::options();
    let (pod, words) = rhizome::Pod::create(dir.path(), options, "phone").await.unwrap();
    let identity = parse_did(&pod.did().unwrap()).unwrap();
    pod.shutdown().await;
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("pod.json")).unwrap()).unwrap();
    let unhex = |value: &serde_json::Value| {
        data_encoding::HEXLOWER
            .decode(value.as_str().unwrap().as_bytes())
            .unwrap()
    };
    let id = SecretId::from_slice(&unhex(&json["secret"])).unwrap();
    let wrap: Wrap = decode(&unhex(&json["recovery"])).unwrap();
    let log = rhizome::store::LogStore::open(dir.path(), false, &mut SeededRandom::new(1)).unwrap();
    let stored = log.read(|read| read.identity_log(&identity)).unwrap();
    let state = rhizome::identity::State::begin(&stored.ordered[0].1).unwrap();
    let recovery = RecoverySecret::from_words(&words).unwrap();
    assert_eq!(recovery.public(), state.recovery());
    let info = [
        b"rhizome/1 device secret",
        &state.binding().0[..],
        &id.0,
        &recovery.public().1.0,
    ]
    .concat();
    let secret = recovery.agreement().unwrap(&info, &wrap).unwrap();
    let Kept::Found(kept) = keeper.load(&id).unwrap() else {
        panic!("kept")
    };
    assert_eq!(secret.as_slice(), kept.expose());
    let mut wrong: Zeroizing<String> = words.clone();
    wrong.push('x');
    assert!(RecoverySecret::from_words(&wrong).is_none());
    log.close();
}

#[test]
fn an_operation_has_its_largest_size_and_not_a_byte_more() {
    let mut first = Member::first(1);
    let mut labelled = |letters: usize| {
        let operation = with_proposer(&mut first, |random, by| streams(random, by, &[&"x".repeat(letters)]));
        operation.encode()
    };
    let letters = 60_000;
    let largest = letters + MAX_OPERATION - labelled(letters).len();
    let bytes = labelled(largest);
    assert_eq!(bytes.len(), MAX_OPERATION);
    Operation::decode(&bytes).unwrap();
    let bytes = labelled(largest + 1);
    assert_eq!(bytes.len(), MAX_OPERATION + 1);
    Operation::decode(&bytes).expect_err("a byte too many");
}

/// An identity whose orderer is a cloud peer that is not here: what `first` proposes waits.
fn unordered() -> Member {
    let mut first = Member::first(1);
    let cloud = keys(70);
    let public = Keys::of(&cloud);
    let yes = consent(&cloud.signing, &first.replica.identity(), &public, true);
    let peer = with_proposer(&mut first, |random, by| {
        add_peer(random, by, public, yes, vec![], "cloud")
    });
    first.replica.take_operation(peer).unwrap();
    let orderers = with_proposer(&mut first, |random, by| change_orderers(random, by, 1, vec![public.0]));
    first.replica.take_operation(orderers).unwrap();
    first
}

/// The device that an encoded operation adds.
fn added(operation: &[u8]) -> PublicKey {
    match Operation::decode(operation).unwrap().body() {
        Body::AddDevice { device, .. } => device.0,
        body => panic!("{body:?}"),
    }
}

fn shown(member: &Member, whole: bool) -> Vec<PublicKey> {
    member.replica.proofs(whole).iter().map(|proof| added(proof)).collect()
}

#[test]
fn a_device_that_waits_to_be_ordered_shows_who_let_it_in() {
    let mut first = unordered();
    assert!(shown(&first, false).is_empty());
    let mut second = first.another(10);
    let bystander = first.another(20);
    assert_eq!(shown(&bystander, false), [bystander.replica.signer()]);
    let third = second.another(30);
    let (two, three) = (second.replica.signer(), third.replica.signer());
    assert_eq!(shown(&second, false), [two]);
    // What it builds on comes first; the bystander is in the way of neither.
    assert_eq!(shown(&third, false), [two, three]);
    assert_eq!(shown(&third, true), [two, three]);
    // Of a longer line, as many as a greeting holds: the last.
    let mut line = vec![third];
    for seed in 0..9 {
        let next = line.last_mut().unwrap().another(100 + 10 * seed);
        line.push(next);
    }
    let signers: Vec<_> = line.iter().map(|member| member.replica.signer()).collect();
    assert_eq!(shown(line.last().unwrap(), false), signers[2..]);
}

#[test]
fn a_device_that_is_ordered_shows_so_only_when_asked_for_everything() {
    let mut first = Member::first(1);
    let second = first.another(10);
    let signer = second.replica.signer();
    assert!(shown(&second, false).is_empty());
    assert_eq!(shown(&second, true), [signer]);
    // The same device again, ordered without effect and once more waiting.
    let again = first.add(&second.keys);
    let known = first.replica.known();
    let core = CommitCore {
        identity: first.replica.identity(),
        index: known.ordered.count(),
        previous: known.ordered.head(),
        operation: again.id(),
        term: 0,
        time: 2_000,
        orderer: first.keys.signing.public(),
    };
    let mut log = known.log.clone();
    log.push((Commit::make(&first.keys.signing, core), again));
    let waiting = first.add(&second.keys);
    let second = Member::new(12, keys(10), log, vec![waiting]);
    assert_eq!(second.replica.signer(), signer);
    assert!(shown(&second, false).is_empty());
    let effective = known.log.last().unwrap().1.encode();
    assert!(second.replica.proofs(true).contains(&effective));
    let void = second.replica.known().log.last().unwrap().1.encode();
    assert!(!second.replica.proofs(true).contains(&void));
}

#[test]
fn what_is_known_already_is_kept_once() {
    let mut first = Member::first(1);
    let ordered = with_proposer(&mut first, |random, by| streams(random, by, &["more"]));
    first.replica.take_operation(ordered.clone()).unwrap();
    let waiting = with_proposer(&mut first, |random, by| streams(random, by, &["waits"]));
    for operation in [&ordered, &waiting, &ordered, &waiting] {
        first.replica.keep_operation(operation.clone()).unwrap();
    }
    let known = first.replica.known();
    assert_eq!((known.log.len(), known.pending.len()), (2, 1));
    assert_eq!(first.replica.now(), 1_000);
}

#[test]
fn what_waits_and_what_is_ordered_fill_the_log_together() {
    let mut first = Member::first(1);
    let known = first.replica.known();
    let store = LogStore::in_memory(&mut SeededRandom::new(5)).unwrap();
    let limits = Limits {
        operations: 3,
        ..Limits::default()
    };
    let (log, signing) = (known.log.clone(), first.keys.signing.clone());
    let full = Replica::adopt(store, log, Vec::new(), signing, Arc::new(|| 1_000), limits).unwrap();
    let mut propose = || with_proposer(&mut first, |random, by| streams(random, by, &["more"]));
    full.keep_operation(propose()).unwrap();
    full.keep_operation(propose()).unwrap();
    assert_eq!((full.known().log.len(), full.known().pending.len()), (1, 2));
    let error = full.keep_operation(propose()).expect_err("one too many");
    assert!(
        matches!(error, ReplicaError::Identity(IdentityError::LogFull)),
        "{error}"
    );
}
