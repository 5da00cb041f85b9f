//! A peer that never comes to an end, though every message is well made.

use rhizome::{
    crypto::Hash,
    identity::{Commit, CommitCore},
    log::{AuthorId, Item},
    sync::{Message, RefuseReason},
};

use crate::{
    stage::{Scene, WAKE, sync, waits},
    taken::Taken,
    victim::{MEBIBYTE, sync_apart},
    wire::Wire,
};

/// By how much a pod may grow that syncs with a peer which never ends.
const GROWTH: u64 = 64 * MEBIBYTE;

fn author(n: u64) -> AuthorId {
    AuthorId(
        *rhizome::crypto::hash("test author", &[&n.to_be_bytes()])
            .0
            .first_chunk()
            .unwrap(),
    )
}

/// Says `next()` until the other side hangs up, and does not care what it says.
async fn for_ever(mut wire: Wire, mut next: impl FnMut(u64) -> Message) -> u64 {
    let mut said = 0;
    while wire.say(&next(said)).await {
        said += 1;
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_with_an_endless_peer_ends_by_its_deadline_within_its_memory() {
    let mut scene = Scene::new().await;
    scene.phone_writes("kept").await;
    let items = {
        let taken = Taken::over(&scene).await;
        let items = taken.items();
        taken.leave().await;
        items
    };
    scene.phone.suspend().await.unwrap();
    let taken = Taken::over(&scene).await;
    let held = items[0];
    let endless: [(&str, &(dyn Fn(u64) -> Message + Sync)); 6] = [
        ("asks for receipts", &|_| {
            Message::Confirm(vec![(held.0, held.2, held.3); 1_024])
        }),
        ("refuses", &|n| Message::Refused {
            author: Some(author(n)),
            reason: RefuseReason::Rate,
            limit: n,
        }),
        ("looks for points", &|n| Message::Locate {
            author: author(n),
            points: vec![(n + 2, Hash([1; 32]))],
        }),
        ("says that all is said", &Message::Synced),
        ("finds losses", &|_| Message::Loss(Vec::new())),
        ("sends nothing", &|_| Message::Commits(Vec::new())),
    ];
    for (what, next) in endless {
        let attack = async { for_ever(taken.greet().await, next).await };
        let (said, synced) = tokio::join!(attack, sync_apart(scene.dir.path(), "phone", WAKE.as_secs()));
        println!("{what}: {said} messages, {synced:?}");
        // QUIC itself ends a connection on which too many small answers are left unread.
        let reasons = ["not-finished", "distrust", "peer-unreachable"];
        assert!(reasons.contains(&synced.waits.as_str()), "{what}: {synced:?}");
        assert!(synced.grown < GROWTH, "{what}: {synced:?}");
    }
    // A state of endless authors.
    let attack = async {
        let mut wire = taken.accept().await;
        wire.hear().await;
        wire.say(&taken.hello()).await;
        let next = |n: u64| {
            let items = (0..8_000)
                .map(|place| Item(author(n * 8_000 + place), 0, u64::MAX, Hash([3; 32])))
                .collect();
            taken.state(items, true)
        };
        for_ever(wire, next).await
    };
    let (said, synced) = tokio::join!(attack, sync_apart(scene.dir.path(), "phone", 60));
    println!("a state without an end: {said} messages, {synced:?}");
    assert_eq!(synced.waits, "distrust");
    assert!(synced.grown < GROWTH, "{synced:?}");
    taken.leave().await;
    scene.phone.resume().await.unwrap();
    scene.ends_well().await;
}

/// An orderer may sign what has no effect: a chain that every device keeps, for ever. There is an end to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderer_that_commits_without_an_end_is_stopped() {
    let scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    let known = taken.replica.known();
    let (last, operation) = known.log.last().unwrap().clone();
    let mut at = (last.core().clone(), last.hash());
    let mut next = || {
        let core = CommitCore {
            index: at.0.index + 1,
            previous: Some(at.1),
            term: known.ordered.term(),
            orderer: taken.keys().0,
            operation: operation.id(),
            ..at.0.clone()
        };
        let commit = Commit::make(&taken.data.keys().signing, core.clone());
        at = (core, commit.hash());
        (commit.encode().to_vec(), operation.encode())
    };
    let attack = async {
        let mut wire = taken.greet().await;
        let mut said = 0;
        while said < 3_000 && wire.say(&Message::Commits((0..200).map(|_| next()).collect())).await {
            said += 200;
        }
        wire.rest().await;
        said
    };
    let (said, report) = tokio::join!(attack, sync(&scene.phone, crate::stage::MINUTE));
    assert_eq!(waits(&report), "distrust", "after {said} commits");
    // What the phone kept of it.
    let counting = async {
        let mut wire = taken.accept().await;
        wire.hear().await;
        wire.say(&taken.hello()).await;
        match wire.hear().await {
            Some(Message::State { count, .. }) => count,
            other => panic!("{other:?}"),
        }
    };
    let (count, _) = tokio::join!(counting, sync(&scene.phone, WAKE));
    println!(
        "{said} commits without an effect sent, {} kept",
        count - known.ordered.count()
    );
    assert!(count <= known.ordered.count() + 1_024, "{count} commits are kept");
    taken.leave().await;
    scene.ends_well().await;
}
