//! A peer that answers slowly or not at all: a sync ends by its deadline all the same, and says so.

use std::time::Duration;

use crate::{
    stage::{Scene, WAKE, sync, waits},
    taken::Taken,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_lets_nobody_open_a_stream_ends_no_later_than_the_deadline() {
    let mut scene = Scene::new().await;
    scene.phone_writes("kept").await;
    let taken = Taken::with_streams(&scene.cloud(), scene.port, 0, 0).await;
    let holding = async {
        let connection = taken.endpoint.accept().await.unwrap().accept().unwrap().await.unwrap();
        connection.closed().await;
    };
    let (report, ()) = tokio::join!(sync(&scene.phone, WAKE), holding);
    assert_eq!(waits(&report), "peer-unreachable");
    taken.leave().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_nothing_ends_by_the_deadline() {
    let mut scene = Scene::new().await;
    scene.phone_writes("kept").await;
    let taken = Taken::over(&scene).await;
    let silent = async {
        let mut wire = taken.accept().await;
        wire.rest().await;
    };
    let (report, ()) = tokio::join!(sync(&scene.phone, WAKE), silent);
    assert_eq!(waits(&report), "not-finished");
    taken.leave().await;
    scene.ends_well().await;
}

/// Reads nothing, or a byte a second, while the phone has more to say than buffers take; or speaks a byte a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_or_writes_a_byte_a_second_ends_by_the_deadline() {
    let scene = Scene::new().await;
    for _ in 0..12 {
        scene.phone_appends(900_000).await;
    }
    let taken = Taken::over(&scene).await;
    for way in ["reads nothing", "reads slowly", "stops within a frame"] {
        let slow = async {
            let mut wire = taken.greet().await;
            if way == "stops within a frame" {
                // It promises two megabytes and sends ten bytes of them.
                wire.raw(&[0, 31, 255, 255, 4, 1, 1, 1, 1, 1]).await;
            }
            if way == "reads slowly" {
                // What came before the end can be read after it.
                while wire.connection.close_reason().is_none() && wire.sip().await {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            wire.connection.closed().await;
        };
        let (report, ()) = tokio::join!(sync(&scene.phone, WAKE), slow);
        assert_eq!(waits(&report), "not-finished", "{way}");
        assert!(scene.phone.status().await.unwrap().only_here > 0, "{way}");
    }
    taken.leave().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_suspended_though_its_peer_never_answers() {
    let scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    let phone = scene.phone.clone();
    let syncing = tokio::spawn(async move { phone.sync_once(Duration::from_secs(600), None).await });
    let mut wire = taken.accept().await;
    wire.hear().await.unwrap();
    tokio::time::timeout(crate::stage::PATIENCE, scene.phone.suspend())
        .await
        .expect("suspended")
        .unwrap();
    assert!(syncing.await.unwrap().is_err());
    drop(wire);
    taken.leave().await;
    scene.phone.resume().await.unwrap();
    scene.ends_well().await;
}
