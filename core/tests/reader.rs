//! What the independent reader writes (`tests/reader`, in Python, from `docs/formats.md` alone), this library takes and opens; and
//! what this library writes, the reader opens.

#![allow(clippy::unwrap_used)]

mod common;
mod raw;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use raw::open_sealed;
use rhizome::{
    DeviceSecret, Document, DocumentId, Event, FileKeeper, Pod, PodOptions, Value as DocValue,
    crypto::{Random, SeededRandom, decode, hash},
    identity::{Commit, CommitCore, RecoverySecret, genesis},
    log::{DocumentChange, Position, Range, SessionId, Time, open_entry},
    path,
    store::LogStore,
    sync::{Known, Limits, Replica},
};
use serde_json::{Value, json};

const NOW: u64 = 1_760_000_000_000;

fn x(bytes: impl AsRef<[u8]>) -> String {
    data_encoding::HEXLOWER.encode(bytes.as_ref())
}

fn un(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER
        .decode(value.as_str().unwrap().as_bytes())
        .unwrap()
}

/// The Python of `make test`'s venv, or what `RHIZOME_PYTHON` names.
fn python() -> PathBuf {
    let from = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = || {
        from("RHIZOME_CACHE").or_else(|| {
            let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")));
            cache.map(|cache| cache.join("rhizome"))
        })
    };
    let venv = || {
        cache()
            .map(|cache| cache.join("venv/bin/python"))
            .filter(|python| python.exists())
    };
    from("RHIZOME_PYTHON")
        .or_else(venv)
        .unwrap_or_else(|| PathBuf::from("python3"))
}

/// Runs the reader with `input` and gives the JSON it answers. `None` if it was said to leave these tests out.
fn reader(arguments: &[&str], input: &str) -> Option<Value> {
    if std::env::var_os("RHIZOME_SKIP_READER").is_some() {
        eprintln!("skipped: RHIZOME_SKIP_READER is set");
        return None;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reader");
    let python = python();
    let hint =
        "`make test` sets its Python up; RHIZOME_PYTHON names another, RHIZOME_SKIP_READER=1 leaves this test out";
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.args(arguments).current_dir(&folder);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not run: {error}. {hint}", python.display()));
        // One that ends without reading it says why itself.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    let has_all = run(&["-c", "import blake3, cryptography, nacl"]);
    assert!(
        has_all.status.success(),
        "{} lacks what tests/reader/requirements.txt names. {hint}",
        python.display()
    );
    let output = run(&[&["-m", "rhizome_reader"], arguments].concat());
    assert!(
        output.status.success(),
        "the reader says: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn write(given: &Value) -> Option<Value> {
    reader(&["write"], &given.to_string())
}

#[test]
fn an_entry_written_by_the_independent_reader_is_accepted() {
    let random = &mut SeededRandom::new(1);
    let secret = DeviceSecret::make(random);
    let keys = secret.keys();
    let recovery = RecoverySecret::make(random);
    let operation = genesis(random, &keys, &recovery, "telephone", &["journal"]);
    let core = CommitCore {
        identity: operation.identity(),
        index: 0,
        previous: None,
        operation: operation.id(),
        term: 0,
        time: NOW,
        orderer: keys.signing.public(),
    };
    let log = vec![(Commit::make(&keys.signing, core), operation.clone())];
    let known = Known::from_log(log.clone(), Vec::new()).unwrap();
    let (ring, state) = (known.key_ring(&keys), &known.ordered);
    let (stream, _) = ring.stream("journal").expect("the genesis began it");
    let key = ring.identity_key(&state.key_id()).unwrap();
    let part = open_sealed(&operation, &state.binding(), key).unwrap();
    let identity = state.identity();

    // The reader knows the author id only from the start that it makes, so the actor is made here in the same way.
    let nonce: [u8; 16] = (random as &mut dyn Random).bytes();
    let start = rhizome::crypto::encode(&(
        1u8,
        stream,
        identity,
        identity,
        keys.signing.public(),
        serde_bytes::Bytes::new(&nonce),
    ));
    let author = rhizome::log::AuthorId(hash("author", &[&start]).0);
    let (document, session) = (DocumentId([1; 16]), SessionId([2; 16]));
    let mut written = Document::new(&DocumentChange::actor(&author, &document, &session));
    let set = |edit: &mut rhizome::Edit<'_>| edit.set(&path(["title"]), DocValue::String("From Python".to_owned()));
    let ((), changes) = written.edit::<(), rhizome::DocumentError>(set).unwrap();
    let time = Time::from_millis(NOW);
    let mut given = json!({
        "device_secret": x(secret.expose()), "stream": x(stream.0), "epoch_key": x(*part.streams[0].3), "owner": x(identity.0),
        "author_identity": x(identity.0), "nonce": x(nonce), "time": time.0, "identity_head": x(state.head().unwrap().0),
        "events": [
            {"kind": "app", "type": "greeting", "payload": x("hello")},
            {"kind": "doc", "collection": "journal", "document": x(document.0), "session": x(session.0),
             "changes": changes.iter().map(x).collect::<Vec<_>>()},
        ],
    });
    let Some(first) = write(&given) else { return };
    assert_eq!(un(&first["author"]), author.0);
    given["seq"] = json!(3);
    given["link"] = first["hash"].clone();
    given["identity_head"] = Value::Null;
    given["events"] = json!([{"kind": "app", "type": "greeting", "payload": ""}]);
    let second = write(&given).unwrap();

    let store = LogStore::in_memory(random).unwrap();
    let clock = Arc::new(|| NOW);
    let replica = Replica::adopt(store, log, Vec::new(), keys.signing.clone(), clock, Limits::default()).unwrap();
    // The identity log is counted too.
    let before = replica.read(|read| read.counts(&identity)).unwrap();
    let nothing_stored = || {
        let (_, items, _) = replica.state().unwrap();
        let start = replica.read(|read| read.start(&author)).unwrap();
        items.is_empty() && start.is_none() && replica.read(|read| read.counts(&identity)).unwrap() == before
    };
    let range = un(&first["range"]);
    for place in 0..range.len() {
        for bit in [1, 0x20, 0x80] {
            let mut changed = range.clone();
            changed[place] ^= bit;
            let taken = Range::decode(&changed).is_ok_and(|range| replica.take_range(range).is_ok());
            assert!(!taken, "taken with bit {bit:#x} of byte {place} changed");
            assert!(
                nothing_stored(),
                "something was stored with bit {bit:#x} of byte {place} changed"
            );
        }
    }
    assert!(
        replica
            .take_range(Range::decode(&un(&second["range"])).unwrap())
            .is_err(),
        "the second without the first"
    );
    assert!(nothing_stored());

    for (one, new) in [(&first, 1), (&second, 1), (&first, 0)] {
        let range = Range::decode(&un(&one["range"])).unwrap();
        assert_eq!(
            x(range.encode()),
            one["range"].as_str().unwrap(),
            "we would write the same bytes"
        );
        let taken = replica.take_range(range).unwrap();
        assert_eq!((taken.new, taken.forked), (new, false));
        assert_eq!(x(taken.head.hash.0), one["hash"].as_str().unwrap());
    }
    let entries = replica
        .read(|read| read.entries_after(&author, 0, Position::start(&author).seq, 10, 1 << 20))
        .unwrap();
    let epoch = entries[0].entry().epoch;
    assert_eq!((entries.len(), un(&first["epoch"])), (2, epoch.0.to_vec()));
    let opened = open_entry(&entries[0], ring.epoch(&epoch).expect("the key ring has the epoch")).unwrap();
    assert_eq!((opened.len(), opened[0].time), (1, time));
    let [Event::App { kind, payload }, Event::Document(change)] = &opened[0].events[..] else {
        panic!("other events")
    };
    assert_eq!(
        (kind.as_str(), &payload[..], change.document),
        ("greeting", &b"hello"[..], document)
    );
    let mut read = Document::new(&[0; 32]);
    read.apply(&change.changes).unwrap();
    assert_eq!(
        read.get(&path(["title"])),
        Some(DocValue::String("From Python".to_owned()))
    );
    assert_eq!(
        open_entry(&entries[1], ring.epoch(&epoch).unwrap()).unwrap()[0]
            .events
            .len(),
        1
    );

    // What is stored has the form that the reader gave: `[epoch id, identity head, sections, signature]`.
    type Stored = (
        rhizome::identity::EpochId,
        Option<rhizome::crypto::Hash>,
        Vec<rhizome::log::Section>,
        rhizome::crypto::Signature,
    );
    let stored: Stored = decode(&un(&first["stored"])).unwrap();
    let entry = entries[0].entry();
    assert!(stored == (entry.epoch, entry.head, entry.sections.clone(), entry.signature));
}

/// Two devices link, sync and write, one of them into a stream that no commit has ordered yet; the reader opens both folders.
#[tokio::test(flavor = "multi_thread")]
async fn the_independent_reader_opens_the_folders_of_two_devices() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let options = |name: &str| PodOptions {
        keeper: Arc::new(FileKeeper::new(at(&format!("{name}.secrets")))),
        ..common::options().0
    };
    let secret = |name: &str| {
        let mut files = std::fs::read_dir(at(&format!("{name}.secrets"))).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let (phone, _) = Pod::create(at("phone"), options("phone"), "phone").await.unwrap();
    let document = common::write(&phone, "from the phone").await;
    let minute = Duration::from_secs(60);
    let invite = phone.invite(minute, common::yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let (tablet, linked) = tokio::join!(
        Pod::join(at("tablet"), options("tablet"), "tablet", &code, common::yes()),
        invite.finished()
    );
    let tablet = tablet.unwrap();
    linked.unwrap();
    tablet.sync_once(minute, None).await.unwrap();
    for n in 0..20 {
        common::write(&tablet, &format!("line {n} from the tablet")).await;
    }
    let edit = |edit: &mut rhizome::Edit<'_>| edit.set_text(&path(["text"]), &"a longer text ".repeat(300));
    tablet.edit_document("journal", document, edit).await.unwrap();
    tablet.sync_once(minute, None).await.unwrap();
    let event = Event::App {
        kind: "greeting".to_owned(),
        payload: vec![0; 1000],
    };
    // The phone orders and is not asked: the stream is tentative.
    tablet.append("greetings", vec![event]).await.unwrap();

    let identity = phone.did().unwrap();
    let mut closed = false;
    loop {
        for (name, entries, pending, streams) in [
            ("phone", 22, 0, vec!["journal"]),
            ("tablet", 23, 1, vec!["greetings", "journal"]),
        ] {
            let (folder, secret) = (at(name), secret(name));
            let (folder, secret) = (folder.to_str().unwrap(), secret.to_str().unwrap());
            let Some(pod) = reader(&["pod", folder, "--secret-file", secret], "") else {
                return;
            };
            let found = (&pod["entries_verified"], &pod["pending"], &pod["alarms"]);
            assert_eq!(found, (&json!(entries), &json!(pending), &json!(0)), "{name}: {pod}");
            assert_eq!((&pod["streams"], &pod["identity"]), (&json!(streams), &json!(identity)));
            let names: Vec<_> = pod["devices"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| &one["name"])
                .collect();
            assert_eq!(names, ["phone", "tablet"]);
            assert!(pod["receipts"].as_u64().unwrap() > 0, "{name}: {pod}");
            assert_eq!(pod["documents"].as_array().unwrap().len(), 21);
        }
        if closed {
            return;
        }
        // First beside the open pods, with their write-ahead logs; then alone.
        phone.suspend().await.unwrap();
        tablet.suspend().await.unwrap();
        closed = true;
    }
}
