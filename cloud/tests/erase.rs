//! Deletion that deletes, with a real cloud peer: two devices and the peer end without it, and so does whoever comes later.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rhizome::{
    AttachmentError, AttachmentRef, Confirm, DocumentId, Error, FileKeeper, NetOptions, NewAttachment, PeerAddress,
    Pod, PodOptions, Value, Zeroizing, path, sync::Outcome,
};
use rhizome_cloud::{Peer, PeerOptions};

const DAY: u64 = 24 * 60 * 60 * 1_000;
const WEEK: u64 = 7 * DAY;
const MINUTE: Duration = Duration::from_secs(60);

struct Scene {
    dir: tempfile::TempDir,
    clock: Arc<AtomicU64>,
}

fn loopback() -> NetOptions {
    NetOptions {
        listen: vec![([127, 0, 0, 1], 0).into()],
        ..NetOptions::default()
    }
}

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

impl Scene {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(AtomicU64::new(1_800_000_000_000)),
        }
    }

    fn now(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let clock = self.clock.clone();
        Arc::new(move || clock.load(Ordering::Relaxed))
    }

    fn later(&self, millis: u64) {
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn peer(&self) -> Peer {
        let options = PeerOptions {
            net: loopback(),
            clock: self.now(),
            ..PeerOptions::new(self.folder("cloud"))
        };
        Peer::start(options).await.unwrap()
    }

    fn options(&self, name: &str) -> PodOptions {
        PodOptions {
            net: loopback(),
            clock: self.now(),
            ..PodOptions::new(Arc::new(FileKeeper::new(self.folder(&format!("{name}.keys")))))
        }
    }

    async fn create(&self, name: &str) -> (Pod, Zeroizing<String>) {
        Pod::create(self.folder(name), self.options(name), name).await.unwrap()
    }

    async fn join(&self, name: &str, host: &Pod) -> Pod {
        let invite = host.invite(MINUTE, yes()).await.unwrap();
        let code = invite.ticket.to_string();
        let pod = Pod::join(self.folder(name), self.options(name), name, &code, yes());
        let pod = pod.await.unwrap();
        invite.finished().await.unwrap();
        pod
    }

    /// How many boxes of the cloud peer's folder are gone by now. Waits for the peer to carry out what it was just told.
    async fn erased(&self, peer: &Peer, more_than: u64) -> u64 {
        for _ in 0..400 {
            let erased = peer.identities().await.unwrap()[0].erased_bytes;
            if erased > more_than {
                return erased;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the peer erases nothing");
    }
}

/// Every box that a pod's log has: what a cloud peer could have of it.
fn boxes(folder: &Path) -> Vec<Vec<u8>> {
    use rhizome::{crypto::OsRandom, log::Section, store::LogStore};
    let store = LogStore::open(folder, false, &mut OsRandom).unwrap();
    let mut boxes = Vec::new();
    for identity in store.read(|read| read.identities()).unwrap() {
        for author in store.read(|read| read.heads(&identity)).unwrap().into_keys() {
            for entry in store
                .read(|read| read.entries_after(&author, 0, 1, 10_000, usize::MAX))
                .unwrap()
            {
                for section in &entry.entry().sections {
                    if let Section::Box(sealed) = section {
                        boxes.push(sealed.clone());
                    }
                }
            }
        }
    }
    store.close();
    boxes
}

/// How many of these boxes any file of a folder holds a piece of.
fn pieces(folder: &Path, boxes: &[Vec<u8>]) -> usize {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files: Vec<Vec<u8>> = files
        .filter(|file| file.is_file())
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let contains = |piece: &[u8]| {
        files
            .iter()
            .any(|file| file.windows(piece.len()).any(|window| window == piece))
    };
    boxes
        .iter()
        .filter(|sealed| sealed.chunks_exact(32).any(contains))
        .count()
}

async fn write(pod: &Pod, text: &str) -> DocumentId {
    let text = text.to_owned();
    let written = pod.create_document("journal", move |edit| {
        edit.set(&path(["date"]), Value::Date(1))?;
        edit.set_text(&path(["text"]), &text)
    });
    written.await.unwrap().document
}

async fn append(pod: &Pod, document: DocumentId, more: &'static str) {
    let edit = pod.edit_document("journal", document, move |edit| {
        edit.set(&path(["more"]), Value::String(more.to_owned()))
    });
    edit.await.unwrap();
}

async fn sync(pod: &Pod) -> Outcome {
    let report = pod.sync_once(Duration::from_secs(20), None).await.unwrap();
    let outcome = report.peers[0].result.as_ref().unwrap().outcome.clone();
    assert!(outcome.refused.is_empty() && outcome.missing == 0, "{outcome:?}");
    outcome
}

async fn has(pod: &Pod, document: DocumentId) -> bool {
    pod.get(document).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_everywhere_is_in_no_file_and_a_new_device_lacks_only_that() {
    let scene = Scene::new();
    let peer = scene.peer().await;
    let (phone, words) = scene.create("phone").await;
    phone.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let tablet = scene.join("tablet", &phone).await;
    let document = write(&phone, "a canary that sings").await;
    let other = write(&phone, "kept").await;
    sync(&phone).await;
    sync(&tablet).await;
    append(&tablet, document, "on the tablet").await;
    append(&tablet, other, "on the tablet").await;
    sync(&tablet).await;
    sync(&phone).await;
    phone.suspend().await.unwrap();
    let before = boxes(&scene.folder("phone"));
    phone.resume().await.unwrap();

    phone.erase_document(document).await.unwrap();
    assert!(!has(&phone, document).await);
    sync(&phone).await;
    assert!(
        phone.trash().await.unwrap()[0].due.is_some(),
        "the peer put it in order"
    );
    sync(&tablet).await;
    assert!(!has(&tablet, document).await);
    // Not a moment early, at the peer neither.
    scene.later(WEEK - 1);
    sync(&phone).await;
    sync(&tablet).await;
    assert_eq!(peer.identities().await.unwrap()[0].erased_bytes, 0);
    assert_eq!(pieces(&scene.folder("cloud"), &before), before.len());
    // The tablet hears of what is in force from the peer, which was told by the phone that it is time.
    scene.later(1);
    sync(&phone).await;
    let erased = scene.erased(&peer, 0).await;
    scene.later(DAY);
    sync(&tablet).await;
    sync(&phone).await;
    // Nothing comes again.
    for pod in [&phone, &tablet, &phone] {
        let outcome = sync(pod).await;
        assert_eq!((outcome.sent, outcome.received), (0, 0));
    }
    let newcomer = scene.join("newcomer", &phone).await;
    sync(&newcomer).await;
    let address = PeerAddress::parse(&peer.code(MINUTE).to_string()).unwrap();
    let recovered = Pod::recover(scene.folder("back"), scene.options("back"), "back", &words, &address);
    let recovered = recovered.await.unwrap();
    sync(&recovered).await;
    assert!(erased > 0);
    peer.stop().await;
    let mut left = Vec::new();
    for (name, pod) in [
        ("phone", phone),
        ("tablet", tablet),
        ("newcomer", newcomer),
        ("back", recovered),
    ] {
        assert!(has(&pod, other).await && !has(&pod, document).await, "{name}");
        assert_eq!(pod.count("journal").await.unwrap(), 1, "{name}");
        assert_eq!(pod.verify().await.unwrap(), 4, "{name}");
        assert!(pod.status().await.unwrap().alarms.is_empty(), "{name}");
        pod.shutdown().await;
        let here = boxes(&scene.folder(name));
        assert_eq!(here.len(), 2, "{name}");
        left = here;
    }
    let gone: Vec<Vec<u8>> = before.into_iter().filter(|sealed| !left.contains(sealed)).collect();
    assert_eq!(gone.len(), 2);
    for name in ["cloud", "phone", "tablet", "newcomer", "back"] {
        assert_eq!(pieces(&scene.folder(name), &gone), 0, "{name}");
        assert_eq!(
            pieces(&scene.folder(name), &left),
            2,
            "{name}: the search finds what is there"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_with_a_device_shreds_nothing_that_is_called_back_in_time_and_the_words_erase_at_once() {
    let scene = Scene::new();
    let peer = scene.peer().await;
    let (phone, words) = scene.create("phone").await;
    phone.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let stolen = scene.join("stolen", &phone).await;
    let (life, note) = (write(&phone, "a life").await, write(&phone, "a note").await);
    sync(&phone).await;
    sync(&stolen).await;
    stolen.erase_documents(vec![life, note]).await.unwrap();
    // A clock that the thief sets does not help: it is the orderer's that counts, and each replica's own.
    sync(&stolen).await;
    scene.later(6 * DAY);
    sync(&phone).await;
    assert_eq!(phone.trash().await.unwrap().len(), 2, "and the owner sees it");
    assert_eq!(peer.identities().await.unwrap()[0].erased_bytes, 0);
    phone.remove_device(stolen.device().unwrap()).await.unwrap();
    phone.cancel_erase(life).await.unwrap();
    phone.cancel_erase(note).await.unwrap();
    sync(&phone).await;
    scene.later(3 * WEEK);
    sync(&phone).await;
    assert!(has(&phone, life).await && has(&phone, note).await);
    assert!(phone.trash().await.unwrap().is_empty());
    assert_eq!(peer.identities().await.unwrap()[0].erased_bytes, 0);
    // The words do it at once, at the peer as soon as it hears of it.
    phone.erase_document_at_once(note, &words).await.unwrap();
    sync(&phone).await;
    scene.erased(&peer, 0).await;
    sync(&phone).await;
    phone.shutdown().await;
    stolen.shutdown().await;
    peer.stop().await;
    assert_eq!(boxes(&scene.folder("phone")).len(), 1);
}

async fn refer(pod: &Pod, to: &[&AttachmentRef]) -> DocumentId {
    let values: Vec<Value> = to.iter().map(|to| to.to_value()).collect();
    let written = pod.create_document("journal", move |edit| {
        edit.set(&path(["photos"]), Value::List(values.clone()))
    });
    written.await.unwrap().document
}

async fn attach(pod: &Pod, byte: u8) -> AttachmentRef {
    let what = NewAttachment {
        media_type: "image/jpeg".to_owned(),
        ..NewAttachment::default()
    };
    pod.attach(std::io::Cursor::new(vec![byte; 1_000]), what).await.unwrap()
}

/// Whoever deletes a document cannot see each other one that refers to its photos: it may be called back, or another device may just have
/// written it.
#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_that_turns_out_to_be_referred_to_is_spared_on_the_peer_too() {
    let scene = Scene::new();
    let peer = scene.peer().await;
    let (phone, _) = scene.create("phone").await;
    phone.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
    let tablet = scene.join("tablet", &phone).await;
    let (back, written, gone) = (
        attach(&phone, 1).await,
        attach(&phone, 2).await,
        attach(&phone, 3).await,
    );
    let one = refer(&phone, &[&back]).await;
    let two = refer(&phone, &[&back, &gone]).await;
    let three = refer(&phone, &[&written]).await;
    sync(&phone).await;
    sync(&tablet).await;
    assert_eq!(peer.identities().await.unwrap()[0].attachments, 3);
    phone.erase_documents(vec![one, two]).await.unwrap();
    phone.cancel_erase(one).await.unwrap();
    let four = refer(&tablet, &[&written]).await;
    phone.erase_document(three).await.unwrap();
    // What cloud peers will drop may not be evicted on their word.
    let evicted = phone.evict_attachment(written.id).await.unwrap_err();
    assert!(
        matches!(evicted, Error::Attachment(AttachmentError::OnlyHere)),
        "{evicted}"
    );
    for pod in [&phone, &tablet, &phone, &tablet] {
        sync(pod).await;
    }
    let mut trash: Vec<DocumentId> = phone.trash().await.unwrap().iter().map(|of| of.document).collect();
    trash.sort_unstable();
    let mut deleted = vec![two, three];
    deleted.sort_unstable();
    assert_eq!(trash, deleted);
    assert_eq!(phone.attachment_status(written.id).await.unwrap().holders.len(), 1);
    for _ in 0..3 {
        scene.later(WEEK);
        for pod in [&phone, &tablet, &phone] {
            sync(pod).await;
        }
    }
    for _ in 0..400 {
        if peer.identities().await.unwrap()[0].attachments < 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(peer.identities().await.unwrap()[0].attachments, 2);
    let pod = &phone;
    for (document, photo) in [(one, &back), (four, &written)] {
        assert!(has(pod, document).await);
        assert_eq!(pod.attachment_status(photo.id).await.unwrap().holders.len(), 1);
        pod.evict_attachment(photo.id).await.unwrap();
        assert_eq!(pod.read_attachment(photo, 0..10, MINUTE).await.unwrap().len(), 10);
        assert!(pod.trash().await.unwrap().is_empty());
        assert!(pod.status().await.unwrap().alarms.is_empty());
    }
    assert!(!has(&phone, two).await && !has(&phone, three).await);
    phone.shutdown().await;
    tablet.shutdown().await;
    peer.stop().await;
}
