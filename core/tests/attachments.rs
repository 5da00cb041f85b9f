//! Attachments on one device, and between two that meet: kept whole or not at all, read from anywhere, gone when nobody needs them.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::{Cursor, Read},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rhizome::{
    AttachmentError, AttachmentId, AttachmentRef, DocumentId, Error, FileKeeper, NewAttachment, Pod, PodOptions, Value,
    crypto::Secret,
    log::{CHUNK, MAX_CHUNKS},
    path,
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: u64 = 24 * 60 * 60 * 1000;

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251 + n / 251 % 7) as u8).collect()
}

fn photo() -> NewAttachment {
    NewAttachment {
        media_type: "image/jpeg".to_owned(),
        ..NewAttachment::default()
    }
}

async fn refer(pod: &Pod, to: &AttachmentRef) -> DocumentId {
    let value = to.to_value();
    let written = pod.create_document("journal", move |edit| edit.set(&path(["photo"]), value.clone()));
    written.await.unwrap().document
}

fn is_of(error: &Error, expected: AttachmentError) -> bool {
    matches!(error, Error::Attachment(error) if *error == expected)
}

/// Files below `blobs/`.
fn blobs(pod: &Path) -> Vec<PathBuf> {
    let Ok(folders) = std::fs::read_dir(pod.join("blobs")) else {
        return Vec::new();
    };
    let folders = folders.map(|folder| folder.unwrap().path());
    folders
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_and_every_range_reads_as_it_was_attached() {
    let dir = tempfile::tempdir().unwrap();
    let pod = common::new_pod(dir.path()).await;
    for size in [0, 1, 300, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
        let plain = bytes(size);
        let of = pod.attach(Cursor::new(plain.clone()), photo()).await.unwrap();
        assert_eq!(of.size, size as u64);
        let end = size as u64 + 10;
        for range in [
            0..end,
            0..0,
            5..6,
            end..end + 1,
            200..CHUNK as u64 + 200,
            CHUNK as u64 - 1..CHUNK as u64 + 1,
        ] {
            let read = pod.read_attachment(&of, range.clone(), Duration::ZERO).await.unwrap();
            let cut = |at: u64| (at as usize).min(size);
            assert!(*read == plain[cut(range.start)..cut(range.end)], "{size} {range:?}");
        }
        let out = Arc::new(std::sync::Mutex::new(Vec::new()));
        let written = pod
            .export_attachment(&of, Shared(out.clone()), Duration::ZERO, None)
            .await
            .unwrap();
        assert_eq!(written, size as u64);
        assert!(*out.lock().unwrap() == plain);
        // A reference of an application's own making may say any size: beyond the largest there is nothing to be read.
        let most = u64::from(MAX_CHUNKS) * CHUNK as u64;
        let lied = AttachmentRef { size: u64::MAX, ..of };
        for range in [most..most + 1, 0..most + 1, u64::MAX - 1..u64::MAX, 0..u64::MAX] {
            let error = pod
                .read_attachment(&lied, range.clone(), Duration::ZERO)
                .await
                .unwrap_err();
            assert!(is_of(&error, AttachmentError::BadReference), "{range:?}: {error}");
        }
    }
    pod.shutdown().await;
}

struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Gives some bytes, then does what it was told.
struct Source<F: FnMut() -> std::io::Result<usize>>(Cursor<Vec<u8>>, F);

impl<F: FnMut() -> std::io::Result<usize>> Read for Source<F> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(out)? {
            0 => (self.1)(),
            read => Ok(read),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_attached_whole_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pod = common::new_pod(dir.path()).await;
    let broken = Source(Cursor::new(bytes(2 * CHUNK)), || {
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let what = NewAttachment {
        thumbnail: Some((bytes(50), "image/webp".to_owned())),
        ..photo()
    };
    let error = pod.attach(broken, what).await.unwrap_err();
    assert!(
        is_of(&error, AttachmentError::Source(std::io::ErrorKind::BrokenPipe)),
        "{error}"
    );
    for what in [
        NewAttachment::default(),
        NewAttachment {
            media_type: "x".repeat(256),
            ..photo()
        },
        NewAttachment {
            name: Some("x".repeat(256)),
            ..photo()
        },
        NewAttachment {
            thumbnail: Some((vec![0; CHUNK + 1], "image/webp".to_owned())),
            ..photo()
        },
    ] {
        let error = pod.attach(Cursor::new(bytes(5)), what).await.unwrap_err();
        assert!(is_of(&error, AttachmentError::BadDescription), "{error}");
    }
    // Given up: the caller stops waiting, and the work behind it ends at the next piece.
    let (began, begun) = std::sync::mpsc::channel();
    let endless = Source(Cursor::new(Vec::new()), move || {
        let _ = began.send(());
        Ok(100)
    });
    let given_up = tokio::spawn({
        let pod = pod.clone();
        async move { pod.attach(endless, photo()).await.map(drop) }
    });
    tokio::task::spawn_blocking(move || begun.recv().unwrap())
        .await
        .unwrap();
    given_up.abort();
    while !blobs(dir.path()).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Suspended in the middle: nothing is left, and nothing is held open.
    let (began, begun) = std::sync::mpsc::channel();
    let endless = Source(Cursor::new(Vec::new()), move || {
        let _ = began.send(());
        Ok(100)
    });
    let attaching = tokio::spawn({
        let pod = pod.clone();
        async move { pod.attach(endless, photo()).await.map(drop) }
    });
    tokio::task::spawn_blocking(move || begun.recv().unwrap())
        .await
        .unwrap();
    pod.suspend().await.unwrap();
    assert!(matches!(attaching.await.unwrap(), Err(Error::Suspended)));
    assert_eq!(blobs(dir.path()), Vec::<PathBuf>::new());
    pod.resume().await.unwrap();
    assert_eq!(pod.attachments_status().await.unwrap().count, 0);
    pod.shutdown().await;
}

fn killed_options(dir: &Path) -> PodOptions {
    PodOptions::new(Arc::new(FileKeeper::new(dir.join("keys"))))
}

/// Not a test of its own: a process that dies while it attaches.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_dies() {
    let Ok(dir) = std::env::var("RHIZOME_ATTACH_AND_DIE") else {
        return;
    };
    let dir = Path::new(&dir);
    let pod = Pod::open(dir.join("pod"), killed_options(dir)).await.unwrap();
    let of = pod.attach(Cursor::new(bytes(2 * CHUNK)), photo()).await.unwrap();
    refer(&pod, &of).await;
    let dies = Source(Cursor::new(bytes(40 * CHUNK)), || std::process::abort());
    let _ = pod.attach(dies, photo()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_what_was_not_acknowledged_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (pod, _) = Pod::create(dir.path().join("pod"), killed_options(dir.path()), "phone")
        .await
        .unwrap();
    pod.shutdown().await;
    for round in 1..=3 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child_that_dies", "--exact"])
            .env("RHIZOME_ATTACH_AND_DIE", dir.path());
        assert!(!command.output().unwrap().status.success());
        assert_eq!(blobs(&dir.path().join("pod")).len(), round + 1, "one is not whole");
        let pod = Pod::open(dir.path().join("pod"), killed_options(dir.path()))
            .await
            .unwrap();
        let mut found = 0;
        for document in pod.documents("journal").await.unwrap() {
            let of = &pod.attachments_of(document).await.unwrap()[0];
            let read = pod.read_attachment(of, 0..u64::MAX, Duration::ZERO).await.unwrap();
            assert!(*read == bytes(2 * CHUNK));
            found += 1;
        }
        assert_eq!(found, round);
        assert_eq!(pod.attachments_status().await.unwrap().count, round as u64);
        pod.tidy_attachments().await.unwrap();
        assert_eq!(
            blobs(&dir.path().join("pod")).len(),
            round,
            "what was left of it is swept"
        );
        pod.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_document_refers_to_goes_after_thirty_days() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let (mut options, _) = common::options();
    let clock = now.clone();
    options.clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let pod = Pod::create(dir.path(), options, "phone").await.unwrap().0;
    let kept = pod.attach(Cursor::new(bytes(10)), photo()).await.unwrap();
    let loose = pod.attach(Cursor::new(bytes(20)), photo()).await.unwrap();
    let again = pod.attach(Cursor::new(bytes(30)), photo()).await.unwrap();
    let pinned = pod.attach(Cursor::new(bytes(40)), photo()).await.unwrap();
    pod.pin_attachment(pinned.id, true).await.unwrap();
    refer(&pod, &kept).await;
    let document = refer(&pod, &again).await;
    let clear = |pod: &Pod, value: Value| {
        let pod = pod.clone();
        async move {
            let edit = pod.edit_document("journal", document, move |edit| {
                edit.set(&path(["photo"]), value.clone())
            });
            edit.await.unwrap();
        }
    };
    clear(&pod, Value::Null).await;
    assert_eq!(pod.tidy_attachments().await.unwrap().dropped, 0);
    now.fetch_add(29 * DAY, Ordering::Relaxed);
    assert_eq!(pod.tidy_attachments().await.unwrap().dropped, 0);
    // Somebody brings it back: its thirty days begin anew, though nobody tidies up in between.
    clear(&pod, again.to_value()).await;
    clear(&pod, Value::Null).await;
    assert_eq!(pod.tidy_attachments().await.unwrap().dropped, 0);
    now.fetch_add(DAY, Ordering::Relaxed);
    assert_eq!(pod.tidy_attachments().await.unwrap().dropped, 1);
    for (of, here) in [(&kept, true), (&loose, false), (&again, true), (&pinned, true)] {
        assert_eq!(pod.attachment_status(of.id).await.unwrap().size.is_some(), here);
    }
    assert_eq!(blobs(dir.path()).len(), 3);
    pod.shutdown().await;
}

/// Two devices with no cloud peer: what one wants the other gives, whichever of them dials.
#[tokio::test(flavor = "multi_thread")]
async fn two_devices_that_meet_give_each_other_what_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let phone = common::new_pod(&dir.path().join("phone")).await;
    let (tablet, _) = common::second_device(&phone, &dir.path().join("tablet")).await;
    phone.listen().await.unwrap();
    let plain = bytes(2 * CHUNK + 1);
    let what = NewAttachment {
        thumbnail: Some((bytes(70), "image/webp".to_owned())),
        ..photo()
    };
    let of = phone.attach(Cursor::new(plain.clone()), what).await.unwrap();
    let document = refer(&phone, &of).await;
    let report = tablet.sync_once(MINUTE, None).await.unwrap();
    report.peers[0].result.as_ref().unwrap();
    assert_eq!(
        tablet.attachments_of(document).await.unwrap(),
        std::slice::from_ref(&of)
    );
    let small = of.thumbnail.as_ref().unwrap();
    assert_eq!(
        *tablet.read_attachment(small, 0..100, Duration::ZERO).await.unwrap(),
        bytes(70)
    );
    assert_eq!(tablet.attachment_status(of.id).await.unwrap().here, 0);
    assert_eq!(*tablet.read_attachment(&of, 0..u64::MAX, MINUTE).await.unwrap(), plain);
    // A device's word is no receipt: it may evict it.
    assert_eq!(tablet.attachment_status(of.id).await.unwrap().holders, []);
    let error = tablet.evict_attachment(of.id).await.unwrap_err();
    assert!(is_of(&error, AttachmentError::OnlyHere), "{error}");

    // The other way round: the phone cannot dial the tablet, but says what it wants when it is dialled.
    let back = tablet.attach(Cursor::new(plain.clone()), photo()).await.unwrap();
    refer(&tablet, &back).await;
    tablet.sync_once(MINUTE, None).await.unwrap();
    assert_eq!(
        phone.attachment_status(back.id).await.unwrap().here,
        0,
        "it did not ask"
    );
    phone.pin_attachment(back.id, true).await.unwrap();
    let report = tablet.sync_once(MINUTE, None).await.unwrap();
    let (carried, result) = report.peers[0].attachments.as_ref().unwrap();
    result.as_ref().unwrap();
    assert_eq!(carried.chunks_sent, 3);
    assert_eq!(
        *phone.read_attachment(&back, 0..u64::MAX, Duration::ZERO).await.unwrap(),
        plain
    );
    phone.shutdown().await;
    tablet.shutdown().await;
}

/// Refers to pictures whose thumbnails have these ids, and which nobody attached.
async fn refer_to_nothing(pod: &Pod, ids: impl Iterator<Item = [u8; 32]>) {
    let reference = |id: [u8; 32], thumbnail| AttachmentRef {
        id: AttachmentId(id),
        key: Secret::from([7; 32]),
        size: 10,
        media_type: "image/webp".to_owned(),
        name: None,
        thumbnail,
    };
    let pictures = ids.map(|id| {
        let of = id.map(|byte| !byte);
        reference(of, Some(Box::new(reference(id, None)))).to_value()
    });
    let all = Value::List(pictures.collect());
    let written = pod.create_document("journal", move |edit| edit.set(&path(["photos"]), all.clone()));
    written.await.unwrap();
}

/// More than one session asks for, and first in every order: what is there comes all the same.
#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_that_nobody_holds_keep_no_other_from_coming() {
    let dir = tempfile::tempdir().unwrap();
    let phone = common::new_pod(&dir.path().join("phone")).await;
    let (tablet, _) = common::second_device(&phone, &dir.path().join("tablet")).await;
    phone.listen().await.unwrap();
    let numbers = 1..=700u32;
    let ids = numbers.map(|n| {
        let mut id = [0; 32];
        id[4..8].copy_from_slice(&n.to_be_bytes());
        id
    });
    refer_to_nothing(&phone, ids).await;
    // A small one, and one that is no thumbnail: it has more than one chunk.
    let small = phone.attach(Cursor::new(bytes(70)), photo()).await.unwrap();
    let large = phone.attach(Cursor::new(bytes(2 * CHUNK)), photo()).await.unwrap();
    for thumbnail in [&small, &large] {
        let of = phone.attach(Cursor::new(bytes(900)), photo()).await.unwrap();
        let thumbnail = Some(Box::new(thumbnail.clone()));
        refer(&phone, &AttachmentRef { thumbnail, ..of }).await;
    }
    let mut asked = Vec::new();
    for _ in 0..3 {
        let report = tablet.sync_once(MINUTE, None).await.unwrap();
        let (carried, result) = report.peers[0].attachments.clone().unwrap();
        result.as_ref().unwrap();
        asked.push(carried.absent);
    }
    assert_eq!((asked[0].len(), asked[1].len()), (512, 700 - 512 + 512 - 190));
    assert_eq!(asked[0].union(&asked[1]).count(), 700, "each has its turn");
    assert_eq!(
        *tablet.read_attachment(&small, 0..100, Duration::ZERO).await.unwrap(),
        bytes(70)
    );
    // Its manifest is kept, so that it is not fetched with every sync to find out that it is too long.
    let status = tablet.attachment_status(large.id).await.unwrap();
    assert_eq!((status.here, status.size.is_some()), (0, true));
    phone.shutdown().await;
    tablet.shutdown().await;
}
