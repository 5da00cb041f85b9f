//! A pod on one device: what a person writes stays, and a folder is one pod.

#![allow(clippy::unwrap_used)]

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use common::{new_pod, options, second_device, text, write};
use rhizome::{Error, Event, Pod, SyncState, Value, Version, WaitReason, path, resolve};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_there_after_a_restart_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, words) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    assert_eq!(words.split(' ').count(), 24);
    let mut made = Vec::new();
    for n in 0..45 {
        made.push(write(&pod, &format!("line {n}")).await);
    }
    pod.shutdown().await;
    let pod = Pod::open(dir.path(), opts).await.unwrap();
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = pod.list("journal", "date", after, 20).await.unwrap();
        listed.extend(page.rows.iter().map(|row| row.document));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    made.reverse();
    assert_eq!(listed, made);
    assert_eq!(text(&pod, made[0]).await.unwrap(), "line 44");
    assert_eq!(pod.verify().await.unwrap(), 45);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_one_document_are_one_change_each_and_survive_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let document = write(&pod, "one").await;
    for round in 0..3 {
        for word in ["two", "three"] {
            let more = format!(" {word}{round}");
            let now = text(&pod, document).await.unwrap() + &more;
            pod.edit_document("journal", document, move |edit| edit.set_text(&path(["text"]), &now))
                .await
                .unwrap();
        }
        pod.suspend().await.unwrap();
        assert!(matches!(pod.get(document).await, Err(Error::Suspended)));
        pod.resume().await.unwrap();
    }
    assert_eq!(
        text(&pod, document).await.unwrap(),
        "one two0 three0 two1 three1 two2 three2"
    );
    let nothing = pod.edit_document("journal", document, |_| Ok(())).await.unwrap();
    assert_eq!(nothing.entry, None, "an edit that changes nothing writes nothing");
    let status = pod.status().await.unwrap();
    assert_eq!(status.entries, 7);
    assert_eq!(
        status.sync,
        SyncState::Waiting {
            reason: WaitReason::NoPeer
        }
    );
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let document = write(&pod, "kept").await;
    let failed = pod
        .edit_document("journal", document, |edit| {
            edit.set_text(&path(["text"]), "gone")?;
            edit.increment(&path(["title"]), 1)
        })
        .await;
    assert!(matches!(failed, Err(Error::Document(_))), "{failed:?}");
    assert_eq!(text(&pod, document).await.unwrap(), "kept");
    assert_eq!(pod.status().await.unwrap().entries, 1);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_opened_twice_in_a_process_is_one_pod() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let same = Pod::open(dir.path().join("."), opts.clone()).await.unwrap();
    let document = write(&pod, "seen by both").await;
    assert_eq!(text(&same, document).await.unwrap(), "seen by both");
    pod.shutdown().await;
    assert!(matches!(same.get(document).await, Err(Error::Closed)));
    assert!(matches!(
        Pod::create(dir.path(), opts, "phone").await,
        Err(Error::PodExists)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_secret_is_retryable_and_a_missing_one_needs_recovery_and_no_file_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let document = write(&pod, "kept").await;
    pod.shutdown().await;
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|file| {
                let file = file.unwrap();
                let bytes = std::fs::read(file.path()).unwrap();
                (file.file_name(), bytes, file.metadata().unwrap().modified().unwrap())
            })
            .collect();
        files.sort();
        files
    };
    let before = files();
    keeper.locked.store(true, Ordering::Relaxed);
    let locked = Pod::open(dir.path(), opts.clone()).await.unwrap_err();
    assert!(matches!(locked, Error::Locked) && locked.is_retryable());
    assert_eq!(files(), before);
    keeper.locked.store(false, Ordering::Relaxed);
    let pod = Pod::open(dir.path(), opts.clone()).await.unwrap();
    assert_eq!(text(&pod, document).await.unwrap(), "kept");
    pod.shutdown().await;
    let before = files();
    keeper.forget();
    let gone = Pod::open(dir.path(), opts).await.unwrap_err();
    assert!(matches!(gone, Error::NeedsRecovery) && !gone.is_retryable());
    assert_eq!(files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_views_are_folded_again_and_a_damaged_log_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let document = write(&pod, "kept").await;
    pod.shutdown().await;
    let views = dir.path().join("views.db");
    for damage in [0usize, 5_000] {
        let mut bytes = std::fs::read(&views).unwrap();
        bytes[damage] ^= 0xff;
        std::fs::write(&views, bytes).unwrap();
        let pod = Pod::open(dir.path(), opts.clone()).await.unwrap();
        assert_eq!(text(&pod, document).await.unwrap(), "kept");
        assert_eq!(pod.list("journal", "date", None, 5).await.unwrap().rows.len(), 1);
        pod.shutdown().await;
    }
    let log = dir.path().join("log.db");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[..64].fill(0x55);
    std::fs::write(&log, &bytes).unwrap();
    let damaged = Pod::open(dir.path(), opts.clone()).await.unwrap_err();
    assert_eq!(damaged.kind(), "damaged", "{damaged}");
    assert_eq!(std::fs::read(&log).unwrap(), bytes, "left as it is");
    std::fs::remove_file(&log).unwrap();
    assert_eq!(Pod::open(dir.path(), opts).await.unwrap_err().kind(), "damaged");
    assert!(!log.exists(), "no silent reset");
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_append_events_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    for n in 0..10u8 {
        pod.append(
            "steps",
            vec![Event::App {
                kind: "walked".into(),
                payload: vec![n],
            }],
        )
        .await
        .unwrap();
    }
    let events = pod.events("steps").await.unwrap();
    let payloads: Vec<u8> = events
        .iter()
        .map(|event| {
            if let Event::App { payload, .. } = event {
                payload[0]
            } else {
                255
            }
        })
        .collect();
    assert_eq!(payloads, (0..10).collect::<Vec<_>>());
    assert!(pod.events("journal").await.unwrap().is_empty());
    let huge = pod
        .append(
            "steps",
            vec![Event::App {
                kind: "big".into(),
                payload: vec![0; 2 << 20],
            }],
        )
        .await;
    assert!(matches!(huge, Err(Error::TooLarge { .. })), "{huge:?}");
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_from_many_tasks_at_once_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let pod = pod.clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    write(&pod, &format!("{task}.{n}")).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(pod.count("journal").await.unwrap(), 160);
    assert_eq!(pod.verify().await.unwrap(), 160);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_link_and_converge_without_a_cloud_peer() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(one.path()).await;
    let document = write(&phone, "from the phone").await;
    let (tablet, _keeper) = second_device(&phone, two.path()).await;
    assert_eq!(tablet.did().unwrap(), phone.did().unwrap());
    let report = tablet.sync_once(Duration::from_secs(20), None).await.unwrap();
    report.peers[0].result.as_ref().unwrap();
    assert_eq!(text(&tablet, document).await.as_deref(), Some("from the phone"));
    let other = write(&tablet, "from the tablet").await;
    for (pod, more) in [(&phone, " and more"), (&tablet, "yes: ")] {
        let now = text(pod, document).await.unwrap();
        let now = if more.starts_with(' ') {
            now + more
        } else {
            more.to_owned() + &now
        };
        pod.edit_document("journal", document, move |edit| edit.set_text(&path(["text"]), &now))
            .await
            .unwrap();
    }
    tablet.sync_once(Duration::from_secs(20), None).await.unwrap().peers[0]
        .result
        .as_ref()
        .unwrap();
    // The phone folds what came a moment after the session.
    for _ in 0..200 {
        if text(&phone, other).await.is_some() && text(&phone, document).await.unwrap().starts_with("yes") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(text(&phone, document).await.unwrap(), "yes: from the phone and more");
    assert_eq!(phone.get(document).await.unwrap(), tablet.get(document).await.unwrap());
    assert_eq!(text(&phone, other).await.unwrap(), "from the tablet");
    let status = tablet.status().await.unwrap();
    assert_eq!(status.peers.len(), 2);
    assert!(status.peers.iter().all(|peer| peer.ordered));
    assert!(matches!(phone.get(document).await.unwrap().unwrap(), Value::Map(_)));
    phone.shutdown().await;
    tablet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_given_the_identity_as_a_file_resolves_its_did() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(one.path()).await;
    let alone = phone.export_identity().unwrap();
    let (tablet, _keeper) = second_device(&phone, two.path()).await;
    let did = phone.did().unwrap();
    for pod in [&phone, &tablet] {
        let found = resolve(&did, &pod.export_identity().unwrap(), Version::Latest).unwrap();
        assert_eq!(found.document, pod.did_document().unwrap());
        assert_eq!(found.document["authentication"].as_array().unwrap().len(), 2);
    }
    let before = resolve(&did, &alone, Version::Latest).unwrap();
    assert_eq!(before.document["authentication"].as_array().unwrap().len(), 1);
    phone.shutdown().await;
    tablet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_put_away_lets_nobody_in() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(one.path()).await;
    let invite = phone.invite(Duration::from_secs(60), common::yes()).await.unwrap();
    let code = invite.ticket.to_string();
    drop(invite);
    let joined = Pod::join(two.path().join("pod"), options().0, "tablet", &code, common::yes()).await;
    assert!(matches!(joined, Err(Error::Link(_))), "{joined:?}");
    assert_eq!(phone.status().await.unwrap().peers.len(), 1);
    phone.shutdown().await;
}
