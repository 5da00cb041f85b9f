//! An orderer that tells two devices two histories.

use crate::{
    stage::apart,
    stage::{Scene, WAKE, alarms, copy, is_distrust, join, sync, waits},
    taken::Taken,
    wire::Attack,
};

/// The cloud peer in two versions: the phone's proposal is committed in both, at another time in each.
async fn two_histories(scene: &Scene) -> (Taken, Taken) {
    let other = scene.dir.path().join("other cloud");
    copy(&scene.cloud(), &other);
    let taken = Taken::over(scene).await;
    // The phone adds a laptop while the peer is away; its proposal comes with its next sync.
    let laptop = join(scene.dir.path(), &scene.phone, "laptop").await;
    laptop.shutdown().await;
    let (_, report) = tokio::join!(taken.serve(Attack::default()), sync(&scene.phone, WAKE));
    assert_eq!(waits(&report), "up-to-date");
    let (_, operation) = taken.replica.known().log.last().unwrap().clone();
    let other = Taken::folder(&other, 0, 99_000).await;
    apart(|| other.replica.take_operation(operation)).unwrap();
    let heads = (
        taken.replica.known().ordered.head(),
        other.replica.known().ordered.head(),
    );
    assert_ne!(heads.0, heads.1, "two commits in one place");
    (taken, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_commits_in_one_place_come_to_light_when_a_device_sees_the_other() {
    let scene = Scene::new().await;
    let (taken, other) = two_histories(&scene).await;
    // On the tablet's connection the other version speaks.
    let telling_another = async {
        let mut wire = taken.accept().await;
        let tablet = rhizome::crypto::PublicKey(*wire.connection.remote_id().as_bytes());
        let session = rhizome::sync::Session::listen(tablet);
        Attack::default().run(&mut wire, session, &other.replica).await
    };
    let (_, report) = tokio::join!(telling_another, sync(&scene.tablet, WAKE));
    assert_eq!(waits(&report), "up-to-date", "nobody can know yet");
    assert!(alarms(&scene.tablet).await.is_empty());
    // Then it hears what the phone heard.
    let (_, report) = tokio::join!(taken.serve(Attack::default()), sync(&scene.tablet, WAKE));
    assert!(is_distrust(&report), "{:?}", report.state);
    assert_eq!(alarms(&scene.tablet).await, ["equivocation"]);
    // Nothing that either wrote is lost, whatever became of the identity log.
    for pod in [&scene.phone, &scene.tablet] {
        assert_eq!(pod.count("journal").await.unwrap(), 2);
        pod.verify().await.unwrap();
    }
    other.leave().await;
    taken.leave().await;
}

/// The peer keeps the two stories apart; but the phone's entries name the commit that the phone knew.
#[tokio::test(flavor = "multi_thread")]
async fn two_histories_come_to_light_when_a_device_reads_the_others_entries() {
    let mut scene = Scene::new().await;
    let (taken, other) = two_histories(&scene).await;
    // The first entry after opening names what its device knows.
    scene.phone.suspend().await.unwrap();
    scene.phone.resume().await.unwrap();
    scene.phone_writes("under the first history").await;
    let (_, report) = tokio::join!(taken.serve(Attack::default()), sync(&scene.phone, WAKE));
    assert_eq!(waits(&report), "up-to-date");
    // The other version gets the entries from the first, not the commits.
    for item in taken.items() {
        let ranges = || {
            let start = rhizome::log::Position::start(&item.0);
            let range = taken
                .replica
                .read(|read| read.range_after(&item.0, 0, start, 1 << 20))
                .unwrap();
            other.replica.take_range(range.unwrap()).unwrap();
        };
        apart(ranges);
    }
    let telling_another = async {
        let mut wire = taken.accept().await;
        let tablet = rhizome::crypto::PublicKey(*wire.connection.remote_id().as_bytes());
        let session = rhizome::sync::Session::listen(tablet);
        Attack::default().run(&mut wire, session, &other.replica).await
    };
    let (_, report) = tokio::join!(telling_another, sync(&scene.tablet, WAKE));
    assert_eq!(waits(&report), "up-to-date", "{report:?}");
    assert_eq!(scene.tablet.count("journal").await.unwrap(), 3, "the entries are good");
    assert_eq!(alarms(&scene.tablet).await, ["hidden-commits"]);
    other.leave().await;
    taken.leave().await;
}
