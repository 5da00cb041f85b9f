//! What calls leave behind: nothing. Alone in its process, so that all that is alive is its own.

#![allow(clippy::unwrap_used)]
#![cfg(feature = "testing")]

mod common;

use std::time::{Duration, Instant};

use common::{TestKeeper, loopback};
use rhizome_ffi::{CancelHandle, DocumentWrite, EditOp, PathKey, Value, create_pod};

#[tokio::test(flavor = "multi_thread")]
async fn as_much_is_alive_after_ten_thousand_calls_as_after_a_thousand() {
    let dir = tempfile::tempdir().unwrap();
    let created = create_pod(loopback(dir.path(), "pod"), TestKeeper::new(), "phone".to_owned(), None).await;
    let pod = created.unwrap().pod;
    let journal = pod.collection("journal".to_owned());
    let path = vec![PathKey::Field {
        name: "date".to_owned(),
    }];
    let edits = vec![EditOp::Set {
        path,
        value: Value::Date { millis: 1 },
    }];
    let id = journal
        .write(vec![DocumentWrite { id: None, edits }], None)
        .await
        .unwrap()[0]
        .id
        .clone();
    let (mut calls, mut after) = (0, Vec::new());
    for until in [1000, 10_000] {
        while calls < until {
            let cancel = CancelHandle::new();
            journal.get(id.clone(), Some(cancel.clone())).await.unwrap();
            journal.list("date".to_owned(), None, 10, None).await.unwrap();
            pod.status(None).await.unwrap();
            let watch = pod.watch_status();
            watch.next(None).await.unwrap();
            cancel.cancel();
            let _ = watch.next(Some(cancel)).await;
            calls += 5;
        }
        let tasks = || pod.clone().alive().tasks;
        // One brings the views up to the log for as long as the pod is open.
        let end = Instant::now() + Duration::from_secs(60);
        while tasks() != 1 {
            assert!(Instant::now() < end, "{} tasks", tasks());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let alive = pod.clone().alive();
        assert_eq!(alive.pod_handles, 1);
        after.push(alive.bytes);
    }
    // Caches fill and breathe; nine thousand calls that left two bytes each would show.
    assert!(after[1] - after[0] < 2 * 9_000, "{after:?} bytes");
    pod.shutdown().await.unwrap();
}
