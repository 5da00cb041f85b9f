//! Old data opens for ever: a pod's folder as each released schema wrote it, committed, and opened by this version.
//!
//! `RHIZOME_UPDATE_FIXTURES=1` writes the folder of the newest schema again; only before that schema was released.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "simulation/newer.rs"]
mod newer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rhizome::{
    DeviceSecret, FileKeeper, NewAttachment, Pod, PodOptions, Value,
    crypto::{SeededRandom, hash},
    identity::IdentityId,
    path,
    store::LogStore,
    sync::Known,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

fn options(dir: &Path) -> PodOptions {
    PodOptions::new(Arc::new(FileKeeper::new(dir.join("keys"))))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_schema_1_opens_and_goes_on() {
    opens_and_goes_on(fixture("pod-1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_schema_2_opens_and_goes_on() {
    opens_and_goes_on(fixture("pod-2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_schema_3_opens_and_goes_on() {
    let committed = fixture("pod-3");
    if std::env::var_os("RHIZOME_UPDATE_FIXTURES").is_some() {
        let _ = std::fs::remove_dir_all(&committed);
        let (pod, _) = Pod::create(committed.join("pod"), options(&committed), "fixture")
            .await
            .unwrap();
        for line in ["one", "two", "three"] {
            common::write(&pod, line).await;
        }
        let what = NewAttachment {
            media_type: "text/plain".to_owned(),
            ..NewAttachment::default()
        };
        let attached = pod.attach(&b"what was attached"[..], what).await.unwrap();
        let newest = pod.list("journal", "date", None, 1).await.unwrap().rows[0].document;
        let edit = pod.edit_document("journal", newest, move |edit| {
            edit.set(&path(["attached"]), attached.to_value())
        });
        edit.await.unwrap();
        pod.shutdown().await;
        // What can be rebuilt is not part of the promise.
        std::fs::remove_file(committed.join("pod/views.db")).unwrap();
    }
    opens_and_goes_on(committed.clone()).await;
    let dir = tempfile::tempdir().unwrap();
    copy(&committed, dir.path());
    let pod = Pod::open(dir.path().join("pod"), options(dir.path())).await.unwrap();
    let newest = pod.list("journal", "date", None, 1).await.unwrap().rows[0].document;
    let attached = &pod.attachments_of(newest).await.unwrap()[0];
    let read = pod
        .read_attachment(attached, 0..100, std::time::Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(&**read, b"what was attached");
    pod.shutdown().await;
}

async fn opens_and_goes_on(committed: PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    copy(&committed, dir.path());
    let pod = Pod::open(dir.path().join("pod"), options(dir.path())).await.unwrap();
    let page = pod.list("journal", "date", None, 10).await.unwrap();
    let mut lines = Vec::new();
    for row in &page.rows {
        let Some(Value::Map(map)) = pod.get(row.document).await.unwrap() else {
            panic!("a document")
        };
        lines.push(map["text"].clone());
    }
    assert_eq!(lines, ["three", "two", "one"].map(|line| Value::Text(line.into())));
    let before = pod.verify().await.unwrap();
    assert!(before >= 3);
    common::write(&pod, "four").await;
    assert_eq!(pod.verify().await.unwrap(), before + 1);
    pod.shutdown().await;
}

#[tokio::test]
async fn a_pod_that_a_newer_version_went_on_with_asks_for_an_update() {
    for newer in [a_newer_folder, a_newer_schema, a_newer_operation] {
        let dir = tempfile::tempdir().unwrap();
        copy(&fixture("pod-2"), dir.path());
        newer(dir.path());
        let error = Pod::open(dir.path().join("pod"), options(dir.path()))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            ("update-needed", false),
            "{error}"
        );
        assert!(error.to_string().contains("update the app"), "{error}");
    }
}

fn a_newer_folder(dir: &Path) {
    let file = dir.join("pod/pod.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
}

fn a_newer_schema(dir: &Path) {
    let log = rusqlite::Connection::open(dir.join("pod/log.db")).unwrap();
    log.pragma_update(None, "user_version", 1_000).unwrap();
}

fn a_newer_operation(dir: &Path) {
    let secret = std::fs::read_dir(dir.join("keys"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let signing = DeviceSecret::from_slice(&std::fs::read(secret).unwrap())
        .unwrap()
        .keys()
        .signing;
    let store = LogStore::open(&dir.join("pod"), false, &mut SeededRandom::new(1)).unwrap();
    let identity = store.read(|read| read.meta("identity")).unwrap().unwrap();
    let stored = store
        .read(|read| read.identity_log(&IdentityId::from_slice(&identity).unwrap()))
        .unwrap();
    let known = Known::from_log(stored.ordered, stored.pending).unwrap();
    store.close();
    let log = rusqlite::Connection::open(dir.join("pod/log.db")).unwrap();
    log.execute(
        "INSERT INTO operations (identity, id, bytes, proposer) VALUES (1, ?1, ?2, ?3)",
        (
            hash("operation", &[b"newer"]).0,
            newer::operation(&signing, &known),
            signing.public().0,
        ),
    )
    .unwrap();
}
