//! A member that turned hostile: a device whose keys a thief has. It may write what it likes, within a quota, and the entries name it.

use iroh::Endpoint;
use rhizome::{
    Event, FileKeeper, SyncState,
    crypto::{Hash, Keeper, Kept, OsRandom},
    identity::{Keys, Proposer, streams},
    log::{DocumentChange, DocumentId, Position, Range, SessionId, Time, Writer, make_entry},
    store::Folder,
    sync::{Message, RefuseReason, Session},
};
use rhizome_cloud::{Limit, QuotaChange};

use crate::{
    full,
    replicas::Member,
    stage::apart,
    stage::{MINUTE, Scene, link, start, sync, sync_well, write},
    taken::Taken,
    victim::{MEBIBYTE, sync_apart},
    wire::{Attack, Wire, address, endpoint},
};

/// The keys of a device, what it knew of its identity, and a connection of one's own.
pub struct Thief {
    pub member: Member,
    pub cloud: Keys,
    pub endpoint: Endpoint,
}

impl Thief {
    /// Steals the device `name`; its owner has it still.
    pub async fn of(scene: &Scene, name: &str) -> Self {
        let folder = scene.dir.path().join(name);
        let copy = scene.dir.path().join(format!("{name} copied"));
        let pod = if name == "phone" { &scene.phone } else { &scene.tablet };
        pod.suspend().await.unwrap();
        crate::stage::copy(&folder, &copy);
        pod.resume().await.unwrap();
        let taken = Taken::over(scene).await;
        let cloud = taken.keys();
        let known = taken.replica.known();
        taken.leave().await;
        let member = apart(|| {
            let file = Folder::open(&copy, false).unwrap().read().unwrap().unwrap();
            let keeper = FileKeeper::new(scene.dir.path().join(format!("{name}.keys")));
            let Ok(Kept::Found(secret)) = keeper.load(&file.secret) else {
                panic!("no key to steal")
            };
            Member::new(7, secret.keys(), known.log.clone(), known.pending.clone())
        });
        let endpoint = endpoint(&member.keys.endpoint, 0, 2).await;
        Self {
            member,
            cloud,
            endpoint,
        }
    }

    pub async fn dial(&self, scene: &Scene) -> Wire {
        Wire::dial(&self.endpoint, address(&self.cloud.2, scene.port)).await
    }

    pub fn hello(&self) -> Message {
        Message::Hello {
            features: 0,
            identity: self.member.replica.identity(),
            digest: Hash([7; 32]),
            store: self.member.replica.store().store_id(),
            proofs: Vec::new(),
        }
    }

    /// Says hello, and that it holds what the cloud peer says that it holds.
    pub async fn greet(&self, scene: &Scene) -> Wire {
        let mut wire = self.dial(scene).await;
        wire.say(&self.hello()).await;
        assert!(matches!(wire.hear().await, Some(Message::Hello { .. })));
        let Some(Message::State { items, .. }) = wire.hear().await else {
            panic!("no state")
        };
        let known = self.member.replica.known();
        wire.say(&Message::State {
            count: known.ordered.count(),
            head: known.ordered.head(),
            pending: Vec::new(),
            items,
            more: false,
        })
        .await;
        wire
    }

    /// A session as the product has it.
    pub async fn sync(&self, scene: &Scene) -> Vec<Message> {
        let mut wire = self.dial(scene).await;
        let session = apart(|| Session::dial(&self.member.replica, self.cloud.0)).unwrap();
        let attack = Attack {
            ends: true,
            ..Attack::default()
        };
        attack.run(&mut wire, session, &self.member.replica).await
    }

    /// Says messages, and hears until as many answers of the kind that `answers` knows have come.
    pub async fn tell(&self, wire: &mut Wire, messages: &[Message]) -> Vec<Message> {
        let mut heard = Vec::new();
        for message in messages {
            assert!(wire.say(message).await, "the cloud peer hung up");
            loop {
                let answer = wire.hear().await.expect("an answer");
                let is_answer = matches!(
                    answer,
                    Message::Refused { .. } | Message::Receipts(_) | Message::Locate { .. }
                );
                heard.push(answer);
                if is_answer {
                    break;
                }
            }
        }
        heard
    }
}

fn refusals(heard: &[Message]) -> Vec<(RefuseReason, u64)> {
    let refused = |message: &Message| match message {
        Message::Refused { reason, limit, .. } => Some((*reason, *limit)),
        _ => None,
    };
    heard.iter().filter_map(refused).collect()
}

fn bytes_of(scene: &Scene) -> u64 {
    let size = |name: &str| std::fs::metadata(scene.cloud().join(name)).map_or(0, |file| file.len());
    size("log.db")
}

/// Tiny entries cost what they take on the disk and not only what is in them: a quota in bytes bounds the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_tiny_entries_fills_no_more_of_the_disk_than_the_quota_says() {
    let scene = Scene::new().await;
    let mut thief = Thief::of(&scene, "tablet").await;
    let peer = start(scene.dir.path(), scene.port).await;
    let (quota, tries) = if full() {
        (256 * MEBIBYTE, 1_000_000)
    } else {
        (2 * MEBIBYTE, 6_000)
    };
    let change = QuotaChange {
        bytes: Some(Limit::Of(quota)),
        entries: None,
    };
    peer.set_quota("all", change).await.unwrap();
    let mut wire = thief.greet(&scene).await;
    let stream = thief.member.stream("journal");
    let mut start_of = apart(|| thief.member.begin_log(stream));
    let mut after = Position::start(&start_of.id());
    let (mut sent, mut taken, mut refused) = (0, 0, Vec::new());
    while sent < tries && refused.is_empty() {
        if sent % 4_096 == 2_048 {
            // A new author log now and then: it takes room too.
            start_of = apart(|| thief.member.begin_log(stream));
            after = Position::start(&start_of.id());
        }
        let mut range = Range {
            start: (after.seq == 1).then(|| start_of.encode().to_vec()),
            author: start_of.id(),
            after,
            entries: Vec::new(),
        };
        for _ in 0..512 {
            let entry = apart(|| thief.member.make(start_of.id(), after, stream, b""));
            after = entry.position();
            range.entries.push(entry.entry().clone());
        }
        let count = range.entries.len();
        sent += count;
        let heard = thief.tell(&mut wire, &[Message::Range(Box::new(range))]).await;
        refused = refusals(&heard);
        taken += if refused.is_empty() { count } else { 0 };
    }
    assert_eq!(
        refused,
        [(RefuseReason::QuotaBytes, quota)],
        "of {sent} entries {taken} were taken"
    );
    drop(wire);
    let report = peer.identities().await.unwrap().remove(0);
    assert!(report.bytes <= quota);
    // The owner hears of it; somebody else on the same peer notices nothing.
    scene.phone_appends(900_000).await;
    let owner = sync(&scene.phone, MINUTE).await;
    assert_eq!(crate::stage::waits(&owner), "quota-exceeded");
    let other = crate::stage::create(scene.dir.path(), "other").await;
    link(&other, &peer).await;
    write(&other, "room").await;
    sync_well(&other).await;
    other.shutdown().await;
    peer.stop().await;
    let disk = bytes_of(&scene);
    println!(
        "{sent} tiny entries sent, {taken} taken, {} bytes charged, {disk} bytes on the disk",
        report.bytes
    );
    assert!(
        disk <= quota + MEBIBYTE,
        "{disk} bytes on the disk of a quota of {quota}"
    );
    let room = QuotaChange {
        bytes: Some(Limit::Unlimited),
        entries: None,
    };
    let peer = start(scene.dir.path(), scene.port).await;
    peer.set_quota("all", room).await.unwrap();
    assert!(matches!(
        sync(&scene.phone, MINUTE * 4).await.state,
        SyncState::UpToDate { .. }
    ));
    peer.stop().await;
}

/// Operations are signed, ordered and kept for ever, by every device: they cost their sender's quota, and there is an end to them.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_operations_is_charged_to_the_quota() {
    let scene = Scene::new().await;
    let thief = Thief::of(&scene, "tablet").await;
    let peer = start(scene.dir.path(), scene.port).await;
    let before = peer.identities().await.unwrap().remove(0);
    let quota = before.bytes + 100_000;
    let change = QuotaChange {
        bytes: Some(Limit::Of(quota)),
        entries: None,
    };
    peer.set_quota("all", change).await.unwrap();
    let known = thief.member.replica.known();
    let ring = known.key_ring(&thief.member.keys);
    let by = Proposer::of(&known.ordered, &ring, &thief.member.keys.signing).unwrap();
    let labels: Vec<String> = (0..100).map(|n| format!("{n}{}", "x".repeat(100))).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let mut wire = thief.greet(&scene).await;
    let mut sent = 0;
    let refused = loop {
        let operation = streams(&mut OsRandom, &by, &labels);
        sent += operation.encode().len() as u64;
        wire.say(&Message::Operations(vec![operation.encode()])).await;
        assert!(sent < 10_000_000, "nothing bounds operations");
        let mut refused = None;
        // Each is answered: by its commit, or by a refusal.
        while let Some(message) = wire.hear().await {
            match message {
                Message::Refused { reason, limit, .. } => refused = Some((reason, limit)),
                Message::Commits(_) => {}
                Message::Synced(_) => break,
                _ => continue,
            }
        }
        if let Some(refused) = refused {
            break refused;
        }
    };
    assert_eq!(refused, (RefuseReason::QuotaBytes, quota));
    assert!(sent < 250_000, "{sent} bytes of operations were taken");
    drop(wire);
    let room = QuotaChange {
        bytes: Some(Limit::Unlimited),
        entries: None,
    };
    peer.set_quota("all", room).await.unwrap();
    peer.stop().await;
    scene.ends_well().await;
}

/// A change that inflates to far more than it is, in an entry that a device of the identity signed: every device keeps the entry, and shows
/// what came before and after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_signed_by_a_member_hurts_no_device() {
    let mut scene = Scene::new().await;
    let mut thief = Thief::of(&scene, "tablet").await;
    let peer = start(scene.dir.path(), scene.port).await;
    let stream = thief.member.stream("journal");
    let begun = apart(|| thief.member.begin_log(stream));
    let ring = thief.member.replica.known().key_ring(&thief.member.keys);
    let epoch = ring.streams()[&stream].current;
    let mut after = Position::start(&begun.id());
    for n in 0..3u8 {
        let bomb = Event::Document(DocumentChange {
            collection: "journal".into(),
            document: DocumentId([n; 16]),
            session: SessionId([n; 16]),
            changes: vec![crate::bomb::compressed_change(100 << 20)],
        });
        let writer = Writer {
            signing: &thief.member.keys.signing,
            author: begun.id(),
            after,
            epoch,
            key: ring.epoch(&epoch).unwrap(),
            head: None,
        };
        let entry = make_entry(&mut thief.member.random, &writer, Time::from_millis(5), &[vec![bomb]]).unwrap();
        after = entry.position();
        let append = || {
            thief
                .member
                .replica
                .store()
                .write(move |write| write.append_own(&entry))
                .wait()
        };
        apart(append).unwrap();
    }
    thief.sync(&scene).await;
    scene.phone_writes("beside the bombs").await;
    scene.phone.suspend().await.unwrap();
    let synced = sync_apart(scene.dir.path(), "phone", 60).await;
    println!("three bombs of 100 MiB each: {synced:?}");
    assert_eq!(synced.waits, "up-to-date");
    assert!(synced.grown < 64 * MEBIBYTE, "{synced:?}");
    scene.phone.resume().await.unwrap();
    assert_eq!(scene.phone.status().await.unwrap().unfolded, 0);
    peer.stop().await;
    scene.ends_well().await;
}
