//! What an app holds while it runs: open documents, subscriptions, links step by step.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{new_pod, options, second_device, text, write};
use rhizome::{
    Conditions, DocumentError, EditOp, Error, ListRow, Network, OpenDocument, Pod, SyncState, Value, WaitReason, path,
};

/// Longer than anything here takes on the slowest machine.
const SOON: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

fn set_text(text: &str) -> EditOp {
    EditOp::SetText {
        path: path(["text"]).into(),
        text: text.to_owned(),
    }
}

fn splice(at: usize, delete: usize, insert: &str) -> EditOp {
    EditOp::SpliceText {
        path: path(["text"]).into(),
        at,
        delete,
        insert: insert.to_owned(),
    }
}

fn shown(document: &OpenDocument) -> String {
    match document.get(&path(["text"])) {
        Some(Value::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_an_open_document_are_seen_at_once_and_durable_when_saved() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let document = pod.new_document("journal");
    document.edit(vec![set_text("a 🦔 b")]).unwrap();
    // UTF-16: the hedgehog is two units long.
    document.edit(vec![splice(5, 1, "c"), splice(0, 1, "d")]).unwrap();
    assert_eq!(shown(&document), "d 🦔 c");
    assert_eq!(
        document.edit(vec![splice(3, 0, "x")]),
        Err(DocumentError::OutOfRange { step: 1 })
    );
    assert!(!document.is_saved());
    assert_eq!(
        pod.get(document.id()).await.unwrap(),
        None,
        "nothing of it is anywhere before it is saved"
    );
    let entry = document.save().await.unwrap();
    assert!(entry.is_some() && document.is_saved());
    assert_eq!(document.save().await.unwrap(), None);
    assert_eq!(
        pod.status().await.unwrap().entries,
        1,
        "three edits are one change in one entry"
    );
    let id = document.id();
    pod.shutdown().await;
    let pod = Pod::open(dir.path(), opts).await.unwrap();
    assert_eq!(text(&pod, id).await.unwrap(), "d 🦔 c");
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_fails_leaves_an_open_document_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let document = pod.new_document("journal");
    document.edit(vec![set_text("kept")]).unwrap();
    let half = vec![splice(0, 0, "not "), splice(100, 1, "")];
    assert!(document.edit(half).is_err());
    assert_eq!(shown(&document), "kept");
    document.save().await.unwrap();
    document.edit(vec![set_text("thrown away")]).unwrap();
    document.discard().await;
    assert_eq!(shown(&document), "kept");
    assert!(document.is_saved());
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_mean_what_the_writer_saw_whatever_others_wrote_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let id = write(&pod, "the end").await;
    let mine = pod.open_document("journal", id).await.unwrap();
    let theirs = pod.open_document("journal", id).await.unwrap();
    theirs.edit(vec![splice(0, 0, "This is ")]).unwrap();
    theirs.save().await.unwrap();
    mine.edit(vec![splice(7, 0, ".")]).unwrap();
    assert_eq!(
        shown(&mine),
        "the end.",
        "others' words come in when they are asked for"
    );
    assert!(mine.refresh().await.unwrap());
    assert_eq!(shown(&mine), "This is the end.");
    assert!(!mine.refresh().await.unwrap());
    assert!(theirs.refresh().await.unwrap());
    assert_eq!(shown(&theirs), "This is the end.");
    // Handles go on side by side, and so do the pod's own edits.
    for n in 0..3 {
        mine.edit(vec![splice(0, 0, &format!("{n}"))]).unwrap();
        mine.save().await.unwrap();
        pod.edit_document("journal", id, |edit| edit.splice_text(&path(["text"]), 0, 0, "-"))
            .await
            .unwrap();
        theirs.refresh().await.unwrap();
        theirs.edit(vec![splice(0, 0, "+")]).unwrap();
        theirs.save().await.unwrap();
        mine.refresh().await.unwrap();
    }
    theirs.refresh().await.unwrap();
    let whole = text(&pod, id).await.unwrap();
    assert_eq!(shown(&mine), whole);
    assert_eq!(shown(&theirs), whole);
    for mark in ["0", "1", "2"] {
        assert_eq!(whole.matches(mark).count(), 1, "{whole}");
    }
    assert_eq!(
        (whole.matches('+').count(), whole.matches('-').count()),
        (3, 3),
        "{whole}"
    );
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_made_while_a_save_is_under_way_are_neither_lost_nor_written_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (opts, _keeper) = options();
    let (pod, _) = Pod::create(dir.path(), opts.clone(), "phone").await.unwrap();
    let document = pod.new_document("journal");
    document.edit(vec![set_text("")]).unwrap();
    let saver = tokio::spawn({
        let document = document.clone();
        async move {
            for round in 0..200 {
                let save = document.refresh();
                // Some are given up half-way.
                let _ = tokio::time::timeout(Duration::from_micros(round * 37 % 2000), save).await;
            }
        }
    });
    for n in 0..500 {
        document
            .edit(vec![splice(n, 0, if n % 10 == 0 { "|" } else { "x" })])
            .unwrap();
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    saver.await.unwrap();
    document.save().await.unwrap();
    let wanted = "|xxxxxxxxx".repeat(50);
    assert_eq!(shown(&document), wanted);
    let id = document.id();
    pod.shutdown().await;
    let pod = Pod::open(dir.path(), opts).await.unwrap();
    assert_eq!(text(&pod, id).await.unwrap(), wanted);
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_document_lives_through_a_suspend() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let document = pod.new_document("journal");
    document.edit(vec![set_text("one")]).unwrap();
    document.save().await.unwrap();
    pod.suspend().await.unwrap();
    document.edit(vec![splice(3, 0, " two")]).unwrap();
    assert_eq!(shown(&document), "one two");
    assert!(matches!(document.save().await, Err(Error::Suspended)));
    assert!(!document.is_saved());
    pod.resume().await.unwrap();
    document.save().await.unwrap();
    assert_eq!(text(&pod, document.id()).await.unwrap(), "one two");
    pod.shutdown().await;
    assert!(matches!(document.save().await, Ok(None)), "nothing to save");
    document.edit(vec![splice(0, 0, "x")]).unwrap();
    assert!(matches!(document.save().await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_an_entry_holds_is_saved_in_several() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let document = pod.new_document("journal");
    // Bytes that no compression makes smaller.
    let mut noise = 1_u64;
    let mut bytes = || -> Vec<u8> {
        (0..600_000)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect()
    };
    for n in 0..8 {
        let value = Value::Bytes(bytes());
        document
            .edit(vec![EditOp::Set {
                path: path([&format!("part{n}")]).into(),
                value,
            }])
            .unwrap();
    }
    document.save().await.unwrap();
    assert!(pod.status().await.unwrap().entries > 1);
    assert_eq!(pod.get(document.id()).await.unwrap(), Some(document.value()));
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_watched_here_and_from_another_device() {
    let (phone_dir, tablet_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(phone_dir.path()).await;
    let first = write(&phone, "first").await;
    let (tablet, _keeper) = second_device(&phone, tablet_dir.path()).await;
    let mut watch = tablet.watch_list("journal", "date", 3);
    let mut rows: Vec<ListRow> = Vec::new();
    soon(watch.next()).await.unwrap().unwrap().apply(&mut rows);
    // Nothing changed: it waits, and is dropped while it does.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), watch.next())
            .await
            .is_err()
    );
    let mut made = vec![first];
    for n in 0..4 {
        made.push(write(&phone, &format!("more {n}")).await);
    }
    tablet.sync_once(SOON, None).await.unwrap();
    made.reverse();
    let wanted = &made[..3];
    while rows.iter().map(|row| row.document).ne(wanted.iter().copied()) {
        soon(watch.next()).await.unwrap().unwrap().apply(&mut rows);
    }
    // Its own, and only what changed.
    let mine = write(&tablet, "mine").await;
    let diff = soon(watch.next()).await.unwrap().unwrap();
    assert_eq!(diff.removed, [made[2]]);
    assert_eq!(diff.placed.len(), 1);
    assert_eq!((diff.placed[0].index, diff.placed[0].row.document), (0, mine));
    diff.apply(&mut rows);
    // Through a suspend, and to the end.
    tablet.suspend().await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(50), watch.next())
            .await
            .is_err()
    );
    tablet.resume().await.unwrap();
    let again = write(&tablet, "again").await;
    let diff = soon(watch.next()).await.unwrap().unwrap();
    assert_eq!(diff.placed[0].row.document, again);
    tablet.shutdown().await;
    assert_eq!(soon(watch.next()).await.unwrap(), None);
    phone.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_and_the_status_are_watched() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let document = pod.new_document("journal");
    let (mut watch, mut status) = (pod.watch_document(document.id()), pod.watch_status());
    assert_eq!(soon(watch.next()).await.unwrap(), Some(None), "it is not here yet");
    assert_eq!(soon(status.next()).await.unwrap().unwrap().entries, 0);
    document.edit(vec![set_text("one")]).unwrap();
    document.save().await.unwrap();
    assert_eq!(soon(watch.next()).await.unwrap(), Some(Some(document.value())));
    while soon(status.next()).await.unwrap().unwrap().entries != 1 {}
    write(&pod, "another").await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), watch.next())
            .await
            .is_err(),
        "another document does not concern it"
    );
    let changed = document.clone();
    let (told, ()) = tokio::join!(soon(watch.next()), async {
        changed.edit(vec![set_text("two")]).unwrap();
        changed.save().await.unwrap();
    });
    assert_eq!(told.unwrap(), Some(Some(document.value())));
    pod.shutdown().await;
    assert_eq!(soon(watch.next()).await.unwrap(), None);
    while soon(status.next()).await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_system_says_is_the_reason_that_a_status_gives() {
    let (phone_dir, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let phone = new_pod(phone_dir.path()).await;
    let reason = async |pod: &Pod, conditions: Conditions| {
        pod.set_conditions(conditions);
        match pod.status().await.unwrap().sync {
            SyncState::Waiting { reason } => reason.kind(),
            other => panic!("{other:?}"),
        }
    };
    let offline = Conditions {
        network: Network::None,
        ..Conditions::default()
    };
    assert_eq!(reason(&phone, offline).await, "no-peer", "a network would not help");
    // Whoever joined knows where the other is.
    let (pod, _keeper) = second_device(&phone, dir.path()).await;
    write(&pod, "a line").await;
    let good = Conditions {
        network: Network::Unmetered,
        ..Conditions::default()
    };
    assert_eq!(reason(&pod, good).await, "new-entries");
    for (conditions, wanted) in [
        (offline, "offline"),
        (
            Conditions {
                network: Network::Metered,
                ..good
            },
            "metered",
        ),
        (
            Conditions {
                data_saver: true,
                ..good
            },
            "data-saver",
        ),
        (
            Conditions {
                battery_low: true,
                data_saver: true,
                ..good
            },
            "battery-low",
        ),
        (
            Conditions {
                restricted: true,
                battery_low: true,
                ..good
            },
            "restricted",
        ),
        (
            Conditions {
                local_network_denied: true,
                ..good
            },
            "new-entries",
        ),
    ] {
        assert_eq!(reason(&pod, conditions).await, wanted);
    }
    // It is a reason, not a rule: whoever asks for a sync gets one tried.
    phone.shutdown().await;
    pod.set_conditions(Conditions {
        local_network_denied: true,
        ..good
    });
    let report = pod.sync_once(Duration::from_secs(3), None).await.unwrap();
    let WaitReason::LocalNetworkDenied = (match report.state {
        SyncState::Waiting { reason } => reason,
        other => panic!("{other:?}"),
    }) else {
        panic!("the peer is away, and the system may be why")
    };
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_step_by_step() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pod = new_pod(dir.path()).await;
    let invite = pod.begin_invite(SOON).await.unwrap();
    let code = invite.code().unwrap().to_string();
    // Asked too early, and dropped: nothing is lost by it.
    assert!(
        tokio::time::timeout(Duration::from_millis(20), invite.finished())
            .await
            .is_err()
    );
    let join = Pod::begin_join(other.path(), options().0, "tablet", &code);
    let (here, there) = tokio::join!(soon(invite.number()), soon(join.number()));
    assert_eq!(here, there);
    assert_eq!(here.map(|number| number.len()), Some(6));
    invite.answer(true);
    join.answer(true);
    let (outcome, joined) = tokio::join!(soon(invite.finished()), soon(join.finished()));
    outcome.unwrap();
    let joined = joined.unwrap();
    assert_eq!(joined.did().unwrap(), pod.did().unwrap());
    assert!(matches!(join.finished().await, Err(Error::Closed)), "told once");
    joined.shutdown().await;
    pod.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_declined_aborted_or_late_links_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pod = new_pod(dir.path()).await;
    let declined = pod.begin_invite(SOON).await.unwrap();
    let code = declined.code().unwrap().to_string();
    let join = Pod::begin_join(other.path(), options().0, "tablet", &code);
    assert!(soon(join.number()).await.is_some());
    soon(declined.number()).await.unwrap();
    declined.answer(false);
    declined.answer(true);
    join.answer(true);
    let (here, there) = tokio::join!(soon(declined.finished()), soon(join.finished()));
    assert!(matches!(here, Err(Error::Link(_))), "{here:?}");
    assert!(there.is_err());
    let aborted = pod.begin_invite(SOON).await.unwrap();
    aborted.abort();
    assert_eq!(soon(aborted.number()).await, None);
    assert!(matches!(soon(aborted.finished()).await, Err(Error::Link(_))));
    // A new device that waits for a code to be scanned, and gives up.
    let third = tempfile::tempdir().unwrap();
    let waiting = soon(Pod::begin_await_link(
        third.path(),
        options().0,
        "third",
        Duration::from_secs(1),
    ))
    .await
    .unwrap();
    assert!(waiting.code().is_some());
    assert!(matches!(soon(waiting.finished()).await, Err(Error::Network(_))));
    let devices: BTreeMap<_, _> = pod
        .status()
        .await
        .unwrap()
        .peers
        .into_iter()
        .map(|peer| (peer.key, peer.this))
        .collect();
    assert_eq!(devices.into_values().collect::<Vec<_>>(), [true]);
    pod.shutdown().await;
}
