//! Old data opens for ever: a pod's folder as each released schema wrote it, committed, and opened by this version.
//!
//! `RHIZOME_UPDATE_FIXTURES=1` writes the folder of the newest schema again; only before that schema was released.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::PathBuf, sync::Arc};

use rhizome::{FileKeeper, Pod, PodOptions, Value};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

fn options(dir: &std::path::Path) -> PodOptions {
    PodOptions::new(Arc::new(FileKeeper::new(dir.join("keys"))))
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
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
    let committed = fixture("pod-2");
    if std::env::var_os("RHIZOME_UPDATE_FIXTURES").is_some() {
        let _ = std::fs::remove_dir_all(&committed);
        let (pod, _) = Pod::create(committed.join("pod"), options(&committed), "fixture")
            .await
            .unwrap();
        for line in ["one", "two", "three"] {
            common::write(&pod, line).await;
        }
        pod.shutdown().await;
        // What can be rebuilt is not part of the promise.
        std::fs::remove_file(committed.join("pod/views.db")).unwrap();
    }
    opens_and_goes_on(committed).await;
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
    assert_eq!(pod.verify().await.unwrap(), 3);
    common::write(&pod, "four").await;
    assert_eq!(pod.verify().await.unwrap(), 4);
    pod.shutdown().await;
}
