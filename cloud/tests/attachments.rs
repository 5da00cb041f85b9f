//! Attachments between devices that never meet, through a cloud peer that cannot read them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rhizome::{
    AttachmentRef, Confirm, DocumentId, Error, FileKeeper, NetOptions, NewAttachment, Pod, PodOptions, SyncReport,
    Value,
    log::CHUNK,
    net::{Direction, Observer},
    path,
};
use rhizome_cloud::{Limit, Peer, PeerOptions, QuotaChange};

const MINUTE: Duration = Duration::from_secs(60);
/// The kinds of a manifest and a chunk on the wire (docs/formats.md, section 5).
const CHUNK_KIND: u8 = 53;
const RANGE_KIND: u8 = 4;

fn loopback() -> NetOptions {
    NetOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ..NetOptions::default()
    }
}

fn peer_options(dir: &Path) -> PeerOptions {
    PeerOptions {
        net: loopback(),
        ..PeerOptions::new(dir.join("cloud"))
    }
}

/// Sees every frame of one pod, and remembers the kinds in their order.
#[derive(Default)]
struct Wire {
    kinds: Mutex<Vec<(Direction, u8)>>,
    chunks_in: AtomicUsize,
    chunks_out: AtomicUsize,
    bytes_out: AtomicU64,
}

impl Observer for Wire {
    fn frame(&self, direction: Direction, frame: &[u8]) {
        self.kinds.lock().unwrap().push((direction, frame[4]));
        if frame[4] == CHUNK_KIND {
            match direction {
                Direction::Sent => &self.chunks_out,
                Direction::Received => &self.chunks_in,
            }
            .fetch_add(1, Ordering::Relaxed);
        }
        if direction == Direction::Sent {
            self.bytes_out.fetch_add(frame.len() as u64, Ordering::Relaxed);
        }
    }
}

impl Wire {
    /// How many chunks went out and came in since it was last asked.
    fn chunks(&self) -> (usize, usize) {
        let out = self.chunks_out.swap(0, Ordering::Relaxed);
        (out, self.chunks_in.swap(0, Ordering::Relaxed))
    }
}

fn options(dir: &Path, name: &str) -> (PodOptions, Arc<Wire>) {
    let wire = Arc::new(Wire::default());
    let mut net = loopback();
    net.observer = Some(wire.clone());
    let keeper = Arc::new(FileKeeper::new(dir.join(format!("{name}.keys"))));
    let options = PodOptions {
        net,
        ..PodOptions::new(keeper)
    };
    (options, wire)
}

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

/// A phone and a tablet that share a cloud peer.
struct Scene {
    dir: tempfile::TempDir,
    peer: Peer,
    phone: Pod,
    tablet: Pod,
    phone_wire: Arc<Wire>,
    tablet_wire: Arc<Wire>,
    words: String,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peer = Peer::start(peer_options(dir.path())).await.unwrap();
        let (opts, phone_wire) = options(dir.path(), "phone");
        let (phone, words) = Pod::create(dir.path().join("phone"), opts, "phone").await.unwrap();
        phone.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
        let invite = phone.invite(MINUTE, yes()).await.unwrap();
        let (opts, tablet_wire) = options(dir.path(), "tablet");
        let code = invite.ticket.to_string();
        let tablet = Pod::join(dir.path().join("tablet"), opts, "tablet", &code, yes())
            .await
            .unwrap();
        invite.finished().await.unwrap();
        for pod in [&phone, &tablet] {
            sync(pod).await;
        }
        Self {
            dir,
            peer,
            phone,
            tablet,
            phone_wire,
            tablet_wire,
            words: words.to_string(),
        }
    }

    async fn end(self) {
        self.phone.shutdown().await;
        self.tablet.shutdown().await;
        self.peer.stop().await;
    }
}

async fn sync(pod: &Pod) -> SyncReport {
    sync_with(pod, None).await
}

async fn sync_with(pod: &Pod, budget: Option<u64>) -> SyncReport {
    let report = pod.sync_once(MINUTE, budget).await.unwrap();
    for peer in &report.peers {
        peer.result.as_ref().unwrap();
        if let Some((_, result)) = &peer.attachments {
            result.as_ref().unwrap();
        }
    }
    report
}

/// Bytes that repeat nowhere near, so that no chunk is another's.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

fn photo(name: &str) -> NewAttachment {
    NewAttachment {
        media_type: "image/jpeg".to_owned(),
        name: Some(name.to_owned()),
        ..NewAttachment::default()
    }
}

async fn write_with(pod: &Pod, attachment: &AttachmentRef) -> DocumentId {
    let value = attachment.to_value();
    let written = pod.create_document("journal", move |edit| {
        edit.set(&path(["date"]), Value::Date(1))?;
        edit.set(&path(["photo"]), value.clone())
    });
    written.await.unwrap().document
}

async fn attach(pod: &Pod, bytes: &[u8], what: NewAttachment) -> (AttachmentRef, DocumentId) {
    let attached = pod.attach(std::io::Cursor::new(bytes.to_vec()), what).await.unwrap();
    let document = write_with(pod, &attached).await;
    (attached, document)
}

async fn read_all(pod: &Pod, of: &AttachmentRef) -> Result<Vec<u8>, Error> {
    Ok(pod.read_attachment(of, 0..u64::MAX, MINUTE).await?.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_goes_through_a_cloud_peer_to_a_device_that_asks_for_it() {
    let scene = Scene::new().await;
    let bytes = noise(3 * CHUNK + 1000, 1);
    let what = NewAttachment {
        thumbnail: Some((noise(5000, 2), "image/webp".to_owned())),
        ..photo("beach.jpg")
    };
    let (attached, document) = attach(&scene.phone, &bytes, what).await;
    assert_eq!(read_all(&scene.phone, &attached).await.unwrap(), bytes);
    let status = scene.phone.attachments_status().await.unwrap();
    assert_eq!((status.count, status.only_here), (2, 2));

    let report = sync(&scene.phone).await;
    let (carried, _) = report.peers[0].attachments.as_ref().unwrap();
    assert_eq!((carried.chunks_sent, carried.confirmed), (5, 2));
    assert_eq!(scene.phone.attachments_status().await.unwrap().only_here, 0);
    let status = scene.phone.attachment_status(attached.id).await.unwrap();
    assert_eq!(status.holders.len(), 1);
    assert_eq!(status.holders[0].name.as_deref(), Some("cloud"));
    let held = &scene.peer.identities().await.unwrap()[0];
    assert_eq!(held.attachments, 2);
    assert!(held.attachment_bytes > bytes.len() as u64);
    // The thumbnail is smaller, so it went first; and with nothing new there is no session at all.
    assert_eq!(scene.phone_wire.chunks().0, 5);
    assert!(sync(&scene.phone).await.peers[0].attachments.is_none());

    // The other device gets the document and the thumbnail, and nothing else until somebody looks.
    sync(&scene.tablet).await;
    assert_eq!(scene.tablet_wire.chunks(), (0, 1));
    let found = scene.tablet.attachments_of(document).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&attached));
    assert_eq!(found[0].name.as_deref(), Some("beach.jpg"));
    let thumbnail = found[0].thumbnail.clone().unwrap();
    assert_eq!(
        scene.tablet.attachment_status(thumbnail.id).await.unwrap().here,
        status_size(&scene.tablet, &thumbnail).await
    );
    assert_eq!(scene.tablet.attachment_status(attached.id).await.unwrap().here, 0);

    // A range brings the chunks that it lies in, and no others; what came stays.
    let (from, to) = (CHUNK + 10, 2 * CHUNK + 20);
    let part = scene
        .tablet
        .read_attachment(&attached, from as u64..to as u64, MINUTE)
        .await
        .unwrap();
    assert!(part[..] == bytes[from..to]);
    assert_eq!(scene.tablet_wire.chunks(), (0, 2));
    assert_eq!(read_all(&scene.tablet, &attached).await.unwrap(), bytes);
    assert_eq!(scene.tablet_wire.chunks(), (0, 2));
    assert_eq!(read_all(&scene.tablet, &attached).await.unwrap(), bytes);
    assert_eq!(scene.tablet_wire.chunks(), (0, 0));
    // It need not be pushed by whoever got it: the peer is asked, and says that it holds it.
    sync(&scene.tablet).await;
    assert_eq!(scene.tablet_wire.chunks(), (0, 0));
    assert_eq!(scene.tablet.attachments_status().await.unwrap().only_here, 0);
    scene.end().await;
}

async fn status_size(pod: &Pod, of: &AttachmentRef) -> u64 {
    pod.attachment_status(of.id).await.unwrap().size.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_at_the_end_goes_on_there_both_ways() {
    let scene = Scene::new().await;
    let chunks = 100;
    let bytes = noise(chunks * CHUNK, 3);
    let (attached, _) = attach(&scene.phone, &bytes, photo("long.mp4")).await;
    // A budget that ends the first sync at 99 of 100 (and as many as PADMÉ adds).
    let all = status_size(&scene.phone, &attached).await;
    let count = all.div_ceil((CHUNK + 40) as u64) as usize;
    let report = sync_with(&scene.phone, Some(all / 100 * 99)).await;
    assert_eq!(
        format!("{:?}", report.peers[0].attachments.as_ref().unwrap().1),
        "Ok(Budget)"
    );
    let first = scene.phone_wire.chunks().0;
    assert!((count * 97 / 100..count).contains(&first), "{first} of {count}");
    assert_eq!(scene.phone.attachments_status().await.unwrap().only_here, 1);
    sync(&scene.phone).await;
    let second = scene.phone_wire.chunks().0;
    // What was on the way when it was cut may go again; no more than that.
    assert!(first + second <= count + 16, "{first} and {second} of {count}");
    assert_eq!(scene.phone.attachments_status().await.unwrap().only_here, 0);

    // The other way: cut at a range that is nearly all, in the middle of a sync, and by a kill of the whole pod.
    sync(&scene.tablet).await;
    scene.tablet.pin_attachment(attached.id, true).await.unwrap();
    sync_with(&scene.tablet, Some(all / 100 * 99)).await;
    let first = scene.tablet_wire.chunks().1;
    assert!((count * 97 / 100..count).contains(&first), "{first} of {count}");
    scene.tablet.suspend().await.unwrap();
    scene.tablet.resume().await.unwrap();
    sync(&scene.tablet).await;
    let second = scene.tablet_wire.chunks().1;
    assert_eq!(first + second, count, "nothing came twice");
    scene.peer.status().await.unwrap();
    assert_eq!(scene.tablet.attachment_status(attached.id).await.unwrap().here, all);
    assert!(read_all(&scene.tablet, &attached).await.unwrap() == bytes);
    assert_eq!(scene.tablet_wire.chunks(), (0, 0));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_go_first_however_much_waits() {
    let scene = Scene::new().await;
    let (_, _) = attach(&scene.phone, &noise(20 * CHUNK, 4), photo("a.jpg")).await;
    scene.phone_wire.kinds.lock().unwrap().clear();
    // No room for even one chunk: the documents are there all the same.
    let report = sync_with(&scene.phone, Some(100_000)).await;
    assert!(report.peers[0].result.as_ref().unwrap().outcome.sent > 0);
    assert_eq!(scene.phone.status().await.unwrap().only_here, 0);
    for line in 0..50 {
        let written = scene
            .phone
            .create_document("journal", move |edit| edit.set(&path(["n"]), Value::Int(line)));
        written.await.unwrap();
    }
    sync(&scene.phone).await;
    let kinds = scene.phone_wire.kinds.lock().unwrap().clone();
    let last_range = kinds
        .iter()
        .rposition(|kind| *kind == (Direction::Sent, RANGE_KIND))
        .unwrap();
    let first_chunk = kinds
        .iter()
        .position(|kind| *kind == (Direction::Sent, CHUNK_KIND))
        .unwrap();
    // At most the one chunk that the first sync had begun with.
    let before = kinds[..last_range]
        .iter()
        .filter(|kind| **kind == (Direction::Sent, CHUNK_KIND))
        .count();
    assert!(before <= 1, "{before} chunks before the last entries");
    assert!(first_chunk > 0);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_photo_arrives_and_an_entry_does_not_wait_for_it() {
    let scene = Scene::new().await;
    let live = (
        scene.phone.go_live().await.unwrap(),
        scene.tablet.go_live().await.unwrap(),
    );
    let bytes = noise(40 * CHUNK, 5);
    let (attached, document) = attach(&scene.phone, &bytes, photo("a.jpg")).await;
    let late = write_with(&scene.phone, &attached).await;
    for document in [document, late] {
        while scene.tablet.get(document).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    while scene.phone.attachments_status().await.unwrap().only_here > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    scene.tablet.pin_attachment(attached.id, true).await.unwrap();
    let all = status_size(&scene.phone, &attached).await;
    while scene.tablet.attachment_status(attached.id).await.unwrap().here < all {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read_all(&scene.tablet, &attached).await.unwrap() == bytes);
    live.0.stop().await;
    live.1.stop().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_the_cloud_peer_counts_attachments() {
    let scene = Scene::new().await;
    let bytes = noise(4 * CHUNK, 6);
    let used = scene.peer.identities().await.unwrap()[0].bytes;
    let quota = |bytes: u64| QuotaChange {
        bytes: Some(Limit::Of(bytes)),
        entries: None,
    };
    scene.peer.set_quota("ALL", quota(used + 500_000)).await.unwrap();
    let (attached, _) = attach(&scene.phone, &bytes, photo("a.jpg")).await;
    let report = sync(&scene.phone).await;
    let (carried, _) = report.peers[0].attachments.as_ref().unwrap();
    assert_eq!(carried.refused.len(), 1, "{carried:?}");
    assert_eq!(scene.phone_wire.chunks().0, 0, "no byte of it was sent");
    assert_eq!(scene.phone.status().await.unwrap().only_here, 0, "the entry was taken");
    assert_eq!(scene.phone.attachment_status(attached.id).await.unwrap().holders, []);
    assert_eq!(scene.peer.identities().await.unwrap()[0].attachments, 0);
    scene.peer.set_quota("ALL", quota(used + 5_000_000)).await.unwrap();
    sync(&scene.phone).await;
    assert_eq!(
        scene.phone.attachment_status(attached.id).await.unwrap().holders.len(),
        1
    );
    let charged = scene.peer.identities().await.unwrap()[0].bytes - used;
    assert!(
        (bytes.len() as u64..bytes.len() as u64 * 5 / 4).contains(&charged),
        "{charged}"
    );
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_holds_makes_room_here_and_nothing_else_does() {
    let scene = Scene::new().await;
    let mut all = Vec::new();
    for seed in 0..3 {
        let bytes = noise(2 * CHUNK, 10 + seed);
        let (attached, _) = attach(&scene.phone, &bytes, photo("a.jpg")).await;
        all.push((attached, bytes));
    }
    let size = status_size(&scene.phone, &all[0].0).await;
    // Only here: kept, whatever the quota says.
    scene.phone.set_attachment_quota(Some(size)).await.unwrap();
    assert_eq!(scene.phone.attachments_status().await.unwrap().here, 3 * size);
    let error = scene.phone.evict_attachment(all[0].0.id).await.unwrap_err();
    assert_eq!(error.kind(), "attachment-only-here");
    // Pinned: kept too.
    scene.phone.pin_attachment(all[0].0.id, true).await.unwrap();
    sync(&scene.phone).await;
    let status = scene.phone.attachments_status().await.unwrap();
    assert_eq!((status.here, status.only_here), (size, 0));
    assert_eq!(scene.phone.attachment_status(all[0].0.id).await.unwrap().here, size);
    assert_eq!(scene.phone.attachment_status(all[2].0.id).await.unwrap().here, 0);
    // What went comes back when it is read.
    scene.phone_wire.chunks();
    assert!(read_all(&scene.phone, &all[2].0).await.unwrap() == all[2].1);
    assert_eq!(scene.phone_wire.chunks(), (0, 2));
    scene.end().await;
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.metadata().unwrap().is_file() => found.push(path),
            false => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_an_attachment_stands_readable_in_any_file() {
    let scene = Scene::new().await;
    let canary = b"a canary that sings in every chunk";
    let name = "canary-name.jpg";
    let bytes = canary.repeat(CHUNK / 16);
    let what = NewAttachment {
        thumbnail: Some((canary.repeat(9), "image/canary".to_owned())),
        ..photo(name)
    };
    let (attached, _) = attach(&scene.phone, &bytes, what).await;
    sync(&scene.phone).await;
    sync(&scene.tablet).await;
    assert!(read_all(&scene.tablet, &attached).await.unwrap() == bytes);
    let mut searched = 0;
    let key = attached.key.to_vec();
    for folder in ["phone", "tablet", "cloud"] {
        for file in files(&scene.dir.path().join(folder)) {
            let held = std::fs::read(&file).unwrap();
            for word in [&canary[..], name.as_bytes(), b"image/canary", b"image/jpeg", &key] {
                assert!(!held.windows(word.len()).any(|part| part == word), "{}", file.display());
            }
            searched += usize::from(file.to_string_lossy().contains("blobs"));
        }
    }
    assert_eq!(searched, 6, "two attachments on three machines");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_a_documents_attachments_with_it_and_no_others() {
    let scene = Scene::new().await;
    let what = NewAttachment {
        thumbnail: Some((noise(500, 20), "image/webp".to_owned())),
        ..photo("a.jpg")
    };
    let (gone, document) = attach(&scene.phone, &noise(CHUNK + 1, 21), what).await;
    let (shared, other) = attach(&scene.phone, &noise(1000, 22), photo("b.jpg")).await;
    let value = shared.to_value();
    let edit = scene.phone.edit_document("journal", document, move |edit| {
        edit.set(&path(["second"]), value.clone())
    });
    edit.await.unwrap();
    for pod in [&scene.phone, &scene.tablet] {
        sync(pod).await;
    }
    assert!(read_all(&scene.tablet, &gone).await.is_ok() && read_all(&scene.tablet, &shared).await.is_ok());
    assert_eq!(scene.peer.identities().await.unwrap()[0].attachments, 3);
    let used = scene.peer.identities().await.unwrap()[0].bytes;
    // In the trash everything is where it was.
    scene.phone.erase_document(document).await.unwrap();
    for pod in [&scene.phone, &scene.tablet] {
        sync(pod).await;
        assert_eq!(pod.tidy_attachments().await.unwrap().dropped, 0);
        assert!(pod.attachment_status(gone.id).await.unwrap().here > 0);
    }
    scene
        .phone
        .erase_document_at_once(document, &scene.words)
        .await
        .unwrap();
    for pod in [&scene.phone, &scene.tablet, &scene.phone] {
        sync(pod).await;
    }
    let thumbnail = gone.thumbnail.as_ref().unwrap();
    let folders = ["phone", "tablet", "cloud"];
    let blobs = |folder: &str| {
        let all = files(&scene.dir.path().join(folder));
        all.into_iter()
            .filter(|file| file.to_string_lossy().contains("blobs"))
            .count()
    };
    // The peer does it behind its sessions.
    while folders.iter().any(|folder| blobs(folder) != 1) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for pod in [&scene.phone, &scene.tablet] {
        for id in [gone.id, thumbnail.id] {
            let status = pod.attachment_status(id).await.unwrap();
            assert_eq!((status.size, status.here, status.holders.len()), (None, 0, 0));
        }
        assert!(read_all(pod, &shared).await.is_ok());
        assert!(pod.get(other).await.unwrap().is_some());
        assert!(matches!(read_all(pod, &gone).await.unwrap_err(), Error::Attachment(_)));
    }
    let held = &scene.peer.identities().await.unwrap()[0];
    assert_eq!(held.attachments, 1);
    assert!(held.bytes + CHUNK as u64 <= used, "what it took is free again");
    scene.end().await;
}

/// What a power cut brought back, or a crash left, of what was dropped: a peer that starts removes it, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_stands_for_is_swept_when_a_peer_starts() {
    let scene = Scene::new().await;
    let (attached, _) = attach(&scene.phone, &noise(CHUNK + 5, 1), photo("a")).await;
    sync(&scene.phone).await;
    scene.peer.stop().await;
    let folder = scene.dir.path().join("cloud/blobs");
    let folder = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let kept = folder.join(attached.id.to_string());
    let left = ["ab".repeat(32), "new-0123".to_owned()].map(|name| folder.join(name));
    for path in &left {
        std::fs::write(path, b"sealed").unwrap();
    }
    assert!(kept.exists(), "the file is called by its id");
    let peer = Peer::start(peer_options(scene.dir.path())).await.unwrap();
    for _ in 0..400 {
        if !left.iter().any(|path| path.exists()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(!left.iter().any(|path| path.exists()), "it lies there for good");
    assert!(kept.exists());
    peer.stop().await;
    scene.phone.shutdown().await;
    scene.tablet.shutdown().await;
}
