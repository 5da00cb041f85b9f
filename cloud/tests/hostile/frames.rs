//! Bytes that are no frame, frames that are no message, messages that are too long or come when they may not: to a pod and to a cloud peer.

use rhizome::{
    crypto::{Hash, encode},
    log::{AuthorId, Entry, Item, Position, Range},
    sync::{ByeReason, MAX_FRAME, Message},
};

use crate::{
    member::Thief,
    stage::apart,
    stage::{Scene, WAKE, is_distrust, start, sync, sync_well},
    taken::Taken,
};

fn frame(length: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[kind], body].concat()
}

fn of(kind: u8, body: &[u8]) -> Vec<u8> {
    frame(body.len() as u32 + 1, kind, body)
}

/// What breaks the protocol whoever says it, once both sides know each other. `range` is one that the sender may send.
fn broken(range: &Range) -> Vec<(&'static str, Vec<u8>)> {
    let item = Item(AuthorId([1; 32]), 0, 2, Hash([2; 32]));
    let many = |count: u64| (0..count).map(|n| (n, Hash([n as u8; 32]))).collect::<Vec<_>>();
    let list = |count: usize| encode(&(vec![serde_bytes::Bytes::new(b"x"); count],));
    let mut too_long = range.clone();
    while too_long.entries.len() <= 512 {
        let more: Vec<Entry> = too_long.entries.clone();
        too_long.entries.extend(more);
    }
    let mut last_missing = Message::Range(Box::new(range.clone())).to_frame();
    last_missing.pop();
    let shorter = last_missing.len() as u32 - 4;
    last_missing[..4].copy_from_slice(&shorter.to_be_bytes());
    vec![
        ("an empty frame", vec![0, 0, 0, 0]),
        ("a byte more than the longest", frame(MAX_FRAME as u32 + 1, 4, &[0; 64])),
        ("the longest length there is", frame(u32::MAX, 4, &[0; 64])),
        ("a kind that there is not", of(12, &encode(&(1u8,)))),
        ("the last kind there could be", of(255, &[])),
        ("no CBOR", of(8, &[0xff; 32])),
        ("a form of another kind", of(8, &encode(&("done",)))),
        ("bytes behind the body", of(8, &[&encode(&(1u64,))[..], &[0]].concat())),
        ("an integer in a long form", of(8, &[0x81, 0x18, 0x01])),
        ("a list without an end", of(8, &[0x9f, 0x01, 0xff])),
        ("lists within lists", of(2, &vec![0x81; 100_000])),
        (
            "a list that promises more than there is",
            of(5, &[0x81, 0x9b, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
        ),
        ("a body cut short", last_missing),
        ("1,025 receipts", of(5, &list(1_025))),
        ("1,025 operations", of(2, &list(1_025))),
        ("257 points", of(7, &encode(&(AuthorId([1; 32]), many(257))))),
        (
            "8,193 branches",
            of(1, &encode(&(0u8, None::<Hash>, [0u8; 0], vec![item; 8_193], false))),
        ),
        ("513 entries", Message::Range(Box::new(too_long)).to_frame()),
        (
            "a hello in a session",
            Message::Synced(0).to_frame().into_iter().chain(of(0, &[])).collect(),
        ),
        (
            "a state too many",
            Message::State {
                count: 0,
                head: None,
                pending: vec![],
                items: vec![],
                more: false,
            }
            .to_frame(),
        ),
        ("a link's message", Message::LinkDone.to_frame()),
        ("a word that is no reason", of(9, &encode(&("goodbye",)))),
        (
            "operations that are none",
            Message::Operations(vec![vec![0; 100]]).to_frame(),
        ),
        (
            "commits that are none",
            Message::Commits(vec![(vec![0; 100], vec![0; 100])]).to_frame(),
        ),
        (
            "receipts that are none",
            Message::Receipts(vec![vec![0; 100]]).to_frame(),
        ),
        (
            "no points",
            Message::Locate {
                author: AuthorId([1; 32]),
                points: vec![],
            }
            .to_frame(),
        ),
        ("more branches of an author log than there can be", {
            let points = |n: u8| Message::Locate {
                author: AuthorId([1; 32]),
                points: vec![(2, Hash([n; 32]))],
            };
            (0..70).flat_map(|n| points(n).to_frame()).collect()
        }),
    ]
}

/// A range that the sender holds.
fn some_range(taken: &Taken) -> Range {
    let author = taken.items()[0].0;
    let start = Position::start(&author);
    let read = || taken.replica.read(|read| read.range_after(&author, 0, start, 1 << 20));
    apart(read).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_ends_the_session_and_says_that_it_distrusts_the_peer() {
    let scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    for (what, bytes) in broken(&some_range(&taken)) {
        let breaking = async {
            let mut wire = taken.greet().await;
            wire.raw(&bytes).await;
            wire.rest().await
        };
        let (heard, report) = tokio::join!(breaking, sync(&scene.phone, WAKE));
        assert!(is_distrust(&report), "{what}: {:?}", report.state);
        assert_eq!(heard.last(), Some(&Message::Bye(ByeReason::Invalid)), "{what}");
    }
    // The same, before anything else is said.
    for (what, bytes) in broken(&some_range(&taken)) {
        let breaking = async {
            let mut wire = taken.accept().await;
            wire.hear().await;
            wire.raw(&bytes).await;
            wire.rest().await
        };
        let (_, report) = tokio::join!(breaking, sync(&scene.phone, WAKE));
        assert!(is_distrust(&report), "{what}: {:?}", report.state);
    }
    taken.leave().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_peer_ends_the_session_and_goes_on_for_others() {
    let scene = Scene::new().await;
    let thief = Thief::of(&scene, "tablet").await;
    let taken = Taken::over(&scene).await;
    let bytes = broken(&some_range(&taken));
    taken.leave().await;
    let peer = start(scene.dir.path(), scene.port).await;
    for (what, bytes) in &bytes {
        let mut wire = thief.greet(&scene).await;
        wire.raw(bytes).await;
        let heard = wire.rest().await;
        assert_eq!(heard.last(), Some(&Message::Bye(ByeReason::Invalid)), "{what}");
    }
    for (what, bytes) in &bytes {
        // A stranger's first word.
        let mut wire = thief.dial(&scene).await;
        wire.raw(bytes).await;
        let heard = wire.rest().await;
        let said = |message: &Message| matches!(message, Message::Bye(ByeReason::Invalid | ByeReason::Busy));
        assert!(heard.iter().all(said), "{what}: {heard:?}");
        sync_well(&scene.phone).await;
    }
    assert_eq!(peer.status().await.unwrap().connections, 0);
    peer.stop().await;
    drop(thief);
    scene.ends_well().await;
}
