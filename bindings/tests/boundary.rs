//! What holds at the boundary: every kind of error, cancelled calls that leave nothing behind, panics that end a call and no more, logs that
//! wait for nobody.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::UdpSocket,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{TestKeeper, loopback};
use rhizome_ffi::{
    CancelHandle, DocumentWrite, EditOp, LogLevel, LogRecord, LogSink, LogSinkError, PathKey, PodHandle, RhizomeError,
    Value, create_pod, join_pod, open_pod, set_log_level, set_log_sink,
};

async fn new_pod(dir: &std::path::Path) -> Arc<PodHandle> {
    create_pod(loopback(dir, "pod"), TestKeeper::new(), "phone".to_owned(), None)
        .await
        .unwrap()
        .pod
}

fn write(id: Option<String>) -> Vec<DocumentWrite> {
    let path = vec![PathKey::Field {
        name: "date".to_owned(),
    }];
    let edits = vec![EditOp::Set {
        path,
        value: Value::Date { millis: 1 },
    }];
    vec![DocumentWrite { id, edits }]
}

/// A code that leads to a socket where nobody answers.
fn silent_code(pod: &UdpSocket) -> String {
    use rhizome::identity::LinkRole;
    let ticket = rhizome::Ticket {
        role: LinkRole::Member,
        endpoint: rhizome::crypto::SigningKey::from_seed(&[7; 32]).public(),
        addresses: vec![pod.local_addr().unwrap().to_string()],
        secret: [1; 16].into(),
        expires: u64::MAX,
    };
    ticket.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_a_peer_that_never_answers_is_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let join = join_pod(
        loopback(dir.path(), "pod"),
        TestKeeper::new(),
        "phone".to_owned(),
        silent_code(&silent),
    )
    .unwrap();
    let cancel = CancelHandle::new();
    let waiting = tokio::spawn({
        let (join, cancel) = (join.clone(), cancel.clone());
        async move { join.pod(Some(cancel)).await.err() }
    });
    // It is dialled by now.
    let mut packet = [0; 2048];
    silent.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    tokio::task::spawn_blocking(move || silent.recv_from(&mut packet).unwrap())
        .await
        .unwrap();
    cancel.cancel();
    assert!(matches!(waiting.await.unwrap(), Some(RhizomeError::Cancelled { .. })));
    assert!(cancel.is_cancelled());
    // The link itself goes on until it is ended too.
    join.abort();
    assert_eq!(join.number(None).await.unwrap(), None);
    assert!(matches!(join.pod(None).await, Err(RhizomeError::Refused { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_is_cancelled_already_ends_a_call_that_would_wait() {
    let dir = tempfile::tempdir().unwrap();
    let pod = new_pod(dir.path()).await;
    let (subscription, cancel) = (pod.watch_status(), CancelHandle::new());
    assert!(subscription.next(None).await.unwrap().is_some());
    cancel.cancel();
    assert!(matches!(
        subscription.next(Some(cancel)).await,
        Err(RhizomeError::Cancelled { .. })
    ));
    // What was cancelled missed nothing.
    pod.collection("journal".to_owned())
        .write(write(None), None)
        .await
        .unwrap();
    assert_eq!(subscription.next(None).await.unwrap().unwrap().entries, 1);
    subscription.cancel();
    assert_eq!(subscription.next(None).await.unwrap(), None);
    pod.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = TestKeeper::new();
    let created = create_pod(loopback(dir.path(), "pod"), keeper.clone(), "phone".to_owned(), None)
        .await
        .unwrap();
    created
        .pod
        .collection("journal".to_owned())
        .write(write(None), None)
        .await
        .unwrap();
    created.pod.shutdown().await.unwrap();
    keeper.confuse();
    let wrong = open_pod(loopback(dir.path(), "pod"), keeper.clone(), None).await;
    let Err(RhizomeError::Storage {
        code,
        reason,
        retryable,
    }) = wrong
    else {
        panic!("{wrong:?}")
    };
    assert_eq!((code.as_str(), retryable), ("damaged", false), "{reason}");
    keeper.confuse();
    let pod = open_pod(loopback(dir.path(), "pod"), keeper, None).await.unwrap();
    assert_eq!(pod.status(None).await.unwrap().entries, 1);
    pod.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_make_no_sense_are_told_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = loopback(dir.path(), "pod");
    options.listen = vec!["localhost".to_owned()];
    let refused = create_pod(options, TestKeeper::new(), "phone".to_owned(), None)
        .await
        .err();
    assert!(matches!(refused, Some(RhizomeError::InvalidInput { code, .. }) if code == "address"));
    assert!(!dir.path().join("pod").exists());
    let pod = new_pod(dir.path()).await;
    let journal = pod.collection("journal".to_owned());
    let refused = journal.write(write(Some("a".repeat(31))), None).await.err();
    assert!(matches!(refused, Some(RhizomeError::InvalidInput { code, .. }) if code == "id"));
    assert_eq!(pod.status(None).await.unwrap().entries, 0);
    pod.shutdown().await.unwrap();
}

#[derive(Default)]
struct Sink {
    records: Mutex<Vec<LogRecord>>,
    slow: Mutex<()>,
}

impl LogSink for Sink {
    fn log(&self, records: Vec<LogRecord>) -> Result<(), LogSinkError> {
        let _slow = self.slow.lock().unwrap();
        self.records.lock().unwrap().extend(records);
        Ok(())
    }
}

async fn until(what: impl Fn() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while !what() {
        assert!(std::time::Instant::now() < end, "in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_told_what_it_asks_for_and_nobody_waits_for_it() {
    let sink = Arc::new(Sink::default());
    set_log_sink(Some(sink.clone()));
    let told = |word: &str| {
        sink.records
            .lock()
            .unwrap()
            .iter()
            .any(|record| record.message.contains(word))
    };
    tracing::debug!(target: "rhizome::test", "unasked");
    tracing::warn!(target: "iroh::test", "somebody else's");
    tracing::warn!(target: "rhizome::test", count = 3, "asked");
    until(|| told("asked count=3")).await;
    set_log_level(LogLevel::Debug);
    tracing::debug!(target: "rhizome::test", "asked later");
    until(|| told("asked later")).await;
    assert!(!told("unasked") && !told("somebody"));
    // A sink that stops for a while misses some, is told how many, and holds nobody up.
    let held = sink.slow.lock().unwrap();
    for n in 0..5000 {
        tracing::debug!(target: "rhizome::test", n, "many");
    }
    drop(held);
    until(|| {
        tracing::debug!(target: "rhizome::test", "more");
        told("records were dropped")
    })
    .await;
    set_log_sink(None);
    set_log_level(LogLevel::Warn);
    // The thread lets go of the sink.
    until(|| Arc::strong_count(&sink) == 1).await;
}

/// Run by `cargo test -p rhizome-ffi --features testing`, as `make test` does.
#[cfg(feature = "testing")]
mod testing {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_ends_its_call_and_the_pod_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let pod = new_pod(dir.path()).await;
        for error in [
            pod.panic_now().err(),
            pod.panic_here(None).await.err(),
            pod.panic_later(None).await.err(),
        ] {
            let Some(RhizomeError::Internal { code, reason, .. }) = error else {
                panic!("{error:?}")
            };
            assert_eq!(code, "panic");
            assert!(
                !reason.contains("a test asked"),
                "a panic's own words may hold anything: {reason}"
            );
        }
        pod.collection("journal".to_owned())
            .write(write(None), None)
            .await
            .unwrap();
        assert_eq!(pod.status(None).await.unwrap().entries, 1);
        pod.shutdown().await.unwrap();
    }
}
