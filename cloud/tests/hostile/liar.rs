//! A peer that signs for what it does not hold, says that it holds what it does not send, leaves out, turns around and repeats.

use rhizome::{
    crypto::{DeviceSecret, Hash, SeededRandom, hash},
    log::{AuthorId, Item, Position, Receipt, Section, StoreId},
    sync::Message,
};

use crate::{
    stage::{Scene, WAKE, alarms, is_distrust, sync, sync_well, waits},
    taken::Taken,
    wire::Attack,
};

/// The head of a range.
fn head(range: &rhizome::log::Range) -> Position {
    let mut position = range.after;
    for entry in &range.entries {
        let seq = position.seq + 1;
        let hash = entry.hash(&range.author, seq, &position.hash);
        position = Position { seq, hash };
    }
    position
}

/// Nobody can know at first: a receipt is a signed claim. At the next hello it is a lie that can be shown.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_when_a_peer_is_found_without_what_it_signed_for() {
    let mut scene = Scene::new().await;
    let document = scene.phone_writes("thrown away").await;
    let taken = Taken::over(&scene).await;
    let throwing_away = Attack::hearing(|message, answers| {
        let Message::Range(range) = message else {
            return Some(message);
        };
        answers.push(Message::Receipts(vec![
            taken.replica.receipt(range.author, head(&range)).encode().to_vec(),
        ]));
        None
    });
    let (_, report) = tokio::join!(taken.serve(throwing_away), sync(&scene.phone, WAKE));
    assert_eq!(waits(&report), "up-to-date");
    let holders = scene.phone.document_holders(document).await.unwrap();
    assert!(holders.iter().any(|holder| holder.cloud), "by the peer's word");
    assert!(alarms(&scene.phone).await.is_empty());
    let (_, report) = tokio::join!(taken.serve(Attack::default()), sync(&scene.phone, WAKE));
    assert_eq!(waits(&report), "up-to-date");
    assert_eq!(alarms(&scene.phone).await, ["peer-loss"]);
    assert_eq!(report.peers[0].result.as_ref().unwrap().outcome.losses, 1);
    taken.leave().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_for_nothing_or_by_nobody_count_for_nothing() {
    let mut scene = Scene::new().await;
    let document = scene.phone_writes("held by nobody").await;
    let taken = Taken::over(&scene).await;
    let signing = &taken.data.keys().signing;
    let stranger = DeviceSecret::make(&mut SeededRandom::new(1)).keys().signing;
    let store = taken.replica.store().store_id();
    for lie in [
        "no such head",
        "no such author",
        "another store",
        "another's",
        "a bad signature",
    ] {
        let lying = Attack::hearing(|message, answers| {
            let Message::Range(range) = message else {
                return Some(message);
            };
            let at = head(&range);
            let (author, time) = (range.author, 5);
            let nowhere = Position {
                seq: at.seq,
                hash: Hash([1; 32]),
            };
            let mut receipt = match lie {
                "no such head" => Receipt::make(signing, store, author, nowhere, time),
                "no such author" => Receipt::make(signing, store, AuthorId([9; 32]), at, time),
                "another store" => Receipt::make(signing, StoreId([1; 16]), author, at, time),
                "another's" => Receipt::make(&stranger, store, author, at, time),
                _ => Receipt::make(signing, store, author, at, time),
            }
            .encode()
            .to_vec();
            if lie == "a bad signature" {
                *receipt.last_mut().unwrap() ^= 1;
            }
            answers.push(Message::Receipts(vec![receipt]));
            None
        });
        let (_, report) = tokio::join!(taken.serve(lying), sync(&scene.phone, WAKE));
        // What names nothing is passed over, and the sync waits for a true word; what cannot be true ends it.
        let names_nothing = lie.starts_with("no such");
        assert_eq!(
            waits(&report),
            if names_nothing { "not-finished" } else { "distrust" },
            "{lie}"
        );
        assert_eq!(scene.phone.document_holders(document).await.unwrap(), [], "{lie}");
        assert_eq!(scene.phone.status().await.unwrap().only_here, 1, "{lie}");
    }
    taken.leave().await;
    scene.ends_well().await;
}

/// What a peer may do to what it holds of the phone's newest entries, on their way to the tablet, and what the tablet then says.
#[tokio::test(flavor = "multi_thread")]
async fn entries_claimed_and_not_sent_or_sent_with_a_hole_are_no_clean_sync() {
    let mut scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    for n in 0..4 {
        scene.phone_writes(&format!("{n} of a run")).await;
    }
    let (_, report) = tokio::join!(taken.serve(Attack::default()), sync(&scene.phone, WAKE));
    assert_eq!(waits(&report), "up-to-date");
    let before = scene.tablet.status().await.unwrap().entries;
    for way in [
        "nothing",
        "a middle left out",
        "a section left out",
        "the first left out",
        "turned around",
    ] {
        let withholding = Attack::saying(|message| {
            let Message::Range(mut range) = message else {
                return vec![message];
            };
            match way {
                "nothing" => return Vec::new(),
                "a middle left out" => drop(range.entries.remove(1)),
                "a section left out" => {
                    // Its hash in its place: the chain verifies all the same.
                    let section = &mut range.entries[2].sections[0];
                    if let Section::Box(sealed) = section {
                        *section = Section::Erased(hash("section", &[sealed]));
                    }
                }
                "the first left out" => drop(range.entries.remove(0)),
                _ => range.entries.reverse(),
            }
            vec![Message::Range(range)]
        });
        let (_, report) = tokio::join!(taken.serve(withholding), sync(&scene.tablet, WAKE));
        assert!(is_distrust(&report), "{way}: {:?}", report.state);
        assert_eq!(scene.tablet.status().await.unwrap().entries, before, "{way}");
    }
    taken.leave().await;
    scene.ends_well().await;
}

/// The promise ends here (T6): who knows of no entry misses none. It comes with the next honest sync.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_never_spoken_of_come_with_the_next_honest_sync() {
    let mut scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    let old = taken.items();
    scene.phone_writes("hidden").await;
    let (_, report) = tokio::join!(taken.serve(Attack::default()), sync(&scene.phone, WAKE));
    assert_eq!(waits(&report), "up-to-date");
    for whole_author in [false, true] {
        let hiding = Attack::saying(|message| match message {
            Message::State {
                count,
                head,
                pending,
                items,
                more,
            } => {
                let shown = |item: &Item| old.iter().find(|before| before.0 == item.0).copied();
                let items = if whole_author {
                    Vec::new()
                } else {
                    items.iter().filter_map(shown).collect()
                };
                vec![Message::State {
                    count,
                    head,
                    pending,
                    items,
                    more,
                }]
            }
            Message::Range(_) => Vec::new(),
            other => vec![other],
        });
        let (_, report) = tokio::join!(taken.serve(hiding), sync(&scene.tablet, WAKE));
        let hides_its_receipts = whole_author;
        assert_eq!(
            alarms(&scene.tablet).await.contains(&"peer-loss"),
            hides_its_receipts,
            "{report:?}"
        );
    }
    taken.leave().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_turned_around_or_repeated_and_old_sessions_played_again_do_no_harm() {
    let scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    // Large entries, so that they are many ranges.
    for _ in 0..6 {
        scene.phone_appends(300_000).await;
    }
    let (_, report) = tokio::join!(taken.serve(Attack::default()), sync(&scene.phone, crate::stage::MINUTE));
    assert_eq!(waits(&report), "up-to-date");
    let mut old: Vec<Message> = Vec::new();
    let mut held_back: Vec<Message> = Vec::new();
    let turning_around = Attack::saying(|message| {
        old.push(message.clone());
        if matches!(message, Message::Range(_)) {
            held_back.insert(0, message);
            // The first two come last.
            return if held_back.len() == 3 {
                std::mem::take(&mut held_back)
            } else {
                Vec::new()
            };
        }
        vec![message.clone(), message.clone()]
            .into_iter()
            .take(if matches!(message, Message::Receipts(_)) { 2 } else { 1 })
            .collect()
    });
    let (_, _) = tokio::join!(taken.serve(turning_around), sync(&scene.tablet, WAKE));
    // The same words again, whatever the tablet says now.
    assert!(old.len() > 4, "{old:?}");
    let replay = async {
        let mut wire = taken.accept().await;
        for message in &old {
            if !wire.say(message).await {
                break;
            }
        }
        wire.rest().await
    };
    let (_, _) = tokio::join!(replay, sync(&scene.tablet, WAKE));
    assert!(
        alarms(&scene.tablet).await.is_empty(),
        "an honest device's log did not fork"
    );
    taken.leave().await;
    scene.ends_well().await;
}

/// A peer put back to an old state that then took another branch to the same height: its head has the seq that it signed for, not the hash.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_rolled_back_and_grew_another_branch_is_noticed() {
    let mut scene = Scene::new().await;
    let dir = scene.dir.path().to_owned();
    scene.phone.suspend().await.unwrap();
    crate::stage::copy(&dir.join("phone"), &dir.join("copy"));
    crate::stage::copy(&scene.cloud(), &dir.join("old cloud"));
    scene.phone.resume().await.unwrap();
    let peer = crate::stage::start(&dir, scene.port).await;
    scene.phone_writes("the phone's").await;
    sync_well(&scene.phone).await;
    peer.stop().await;

    std::fs::remove_dir_all(scene.cloud()).unwrap();
    std::fs::rename(dir.join("old cloud"), scene.cloud()).unwrap();
    let peer = crate::stage::start(&dir, scene.port).await;
    let copy = rhizome::Pod::open(dir.join("copy"), crate::stage::pod_options(&dir, "phone"))
        .await
        .unwrap();
    crate::stage::write(&copy, "the copy's").await;
    sync_well(&copy).await;
    copy.shutdown().await;

    sync_well(&scene.phone).await;
    assert_eq!(alarms(&scene.phone).await, ["fork", "peer-loss"]);
    peer.stop().await;
    scene.ends_well().await;
}
