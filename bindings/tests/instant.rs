//! What is called instant touches no file: the thread that edits is watched while thousands of entries arrive from another device. That it
//! waits for none either is shown on a disk that takes for ever (tests/faults/tests/instant.rs).

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{TestKeeper, loopback};
use rhizome_ffi::{
    Conditions, DocumentHandle, DocumentWrite, EditOp, Lean, Network, PathKey, PodHandle, Query, Value, attachment_ref,
    create_pod, join_pod,
};

const ENTRIES: usize = 5000;
const EDITS: usize = 1000;

fn field(name: &str) -> Vec<PathKey> {
    vec![PathKey::Field { name: name.to_owned() }]
}

fn everything() -> Query {
    Query {
        equal: Vec::new(),
        contains: None,
        range: None,
        sort: vec![vec!["date".to_owned()]],
        descending: false,
        limit: None,
        after: None,
    }
}

/// What this thread did so far: system calls that read or write, and times that it waited, be it for a lock held for a moment.
fn calls_and_waits() -> (u64, u64) {
    let number = |file: &str, name: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/thread-self/{file}")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .to_owned();
        line.trim_start_matches(':').trim().parse().unwrap()
    };
    let waits = number("status", "voluntary_ctxt_switches");
    (number("io", "syscr") + number("io", "syscw"), waits)
}

/// Edits for as long as `go` says and at least [`EDITS`] times, with every other instant call between; gives how often, and what that made the
/// thread do.
fn edit(pod: &PodHandle, document: &DocumentHandle, go: &AtomicBool) -> (usize, u64, u64) {
    let reading = {
        let before = calls_and_waits().0;
        calls_and_waits().0 - before
    };
    let (calls, waits) = calls_and_waits();
    let mut edits = 0;
    while edits < EDITS || go.load(Ordering::Relaxed) {
        let splice = EditOp::SpliceText {
            path: field("text"),
            at: (edits % 200) as u64,
            delete: u64::from(edits >= 200),
            insert: "x".to_owned(),
        };
        document.edit(vec![splice]).unwrap();
        edits += 1;
        let _ = (document.get(field("text")).unwrap(), document.is_saved(), document.id());
        let cursor = document.cursor(field("text"), 1, Lean::Before).unwrap();
        document.position(field("text"), cursor).unwrap();
        if edits % 10 == 0 {
            document.value().unwrap();
            document.spans(field("text")).unwrap();
            let _ = (
                pod.did().unwrap(),
                pod.device().unwrap(),
                pod.did_document().unwrap(),
                pod.path(),
            );
            let journal = pod.collection("journal".to_owned());
            let (list, other) = (journal.watch("date".to_owned(), 20), journal.new_document());
            journal.watch_query(everything()).unwrap().cancel();
            attachment_ref(Value::Null);
            let (watch, status) = (journal.watch_document(other.id()).unwrap(), pod.watch_status());
            list.cancel();
            watch.cancel();
            status.cancel();
            let network = if edits % 20 == 0 {
                Network::Metered
            } else {
                Network::Unmetered
            };
            pod.set_conditions(Conditions {
                network,
                data_saver: false,
                battery_low: false,
                restricted: false,
                local_network_denied: false,
            });
        }
    }
    let (calls_after, waits_after) = calls_and_waits();
    (edits, calls_after - calls - reading, waits_after - waits)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_instant_call_touches_a_file_while_entries_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let phone = create_pod(
        loopback(dir.path(), "phone"),
        TestKeeper::new(),
        "phone".to_owned(),
        None,
    )
    .await
    .unwrap()
    .pod;
    let invite = phone.invite(60, None).await.unwrap();
    let join = join_pod(
        loopback(dir.path(), "tablet"),
        TestKeeper::new(),
        "tablet".to_owned(),
        invite.code().unwrap(),
    )
    .unwrap();
    let matrix = invite.matrix().unwrap();
    assert_eq!((matrix.rows.len(), matrix.quiet_zone), (matrix.width as usize, 4));
    assert!(
        matrix
            .rows
            .iter()
            .all(|row| row.len() == matrix.rows.len() && row.contains(&true))
    );
    assert!(join.matrix().is_none(), "who read a code shows none");
    join.number(None).await.unwrap();
    invite.answer(true);
    join.answer(true);
    let tablet = join.pod(None).await.unwrap();
    let journal = phone.collection("journal".to_owned());
    let mut writers = Vec::new();
    for writer in 0..50 {
        let journal = journal.clone();
        writers.push(tokio::spawn(async move {
            for n in 0..ENTRIES / 50 {
                let edits = vec![EditOp::Set {
                    path: field("date"),
                    value: Value::Date {
                        millis: (writer * 1000 + n) as i64,
                    },
                }];
                journal
                    .write(vec![DocumentWrite { id: None, edits }], None)
                    .await
                    .unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(phone.status(None).await.unwrap().entries, ENTRIES as u64);

    let document = tablet.collection("journal".to_owned()).new_document();
    document
        .edit(vec![EditOp::SetText {
            path: field("text"),
            text: String::new(),
        }])
        .unwrap();
    let go = Arc::new(AtomicBool::new(true));
    // A thread as an app's is: one that never waits.
    let ui = std::thread::spawn({
        let (tablet, document, go) = (tablet.clone(), document.clone(), go.clone());
        move || edit(&tablet, &document, &go)
    });
    let saving = tokio::spawn({
        let (document, go) = (document.clone(), go.clone());
        async move {
            let mut saves = 0;
            while go.load(Ordering::Relaxed) {
                document.refresh(None).await.unwrap();
                saves += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            saves
        }
    });
    let report = tablet.sync_once(300_000, None, None).await.unwrap();
    assert_eq!(report.peers[0].received, ENTRIES as u64);
    go.store(false, Ordering::Relaxed);
    let saves: u64 = saving.await.unwrap();
    let (edits, calls, waits) = ui.join().unwrap();
    println!(
        "{edits} edits while {ENTRIES} entries arrived and {saves} saves were made: {calls} reads or writes, {waits} waits"
    );
    assert_eq!(calls, 0, "an instant call read or wrote something");
    document.save(None).await.unwrap();
    tablet.shutdown().await.unwrap();
    phone.shutdown().await.unwrap();
}
