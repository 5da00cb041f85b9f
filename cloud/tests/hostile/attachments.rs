//! Attachments in hostile hands: a member and a stranger against a cloud peer, a cloud peer against a device.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rhizome::{
    AttachmentError, AttachmentId, AttachmentRef, Error, NetOptions, NewAttachment, Pod,
    crypto::{PublicKey, Random, Secret, SeededRandom, SigningKey},
    identity::IdentityId,
    log::{AttachmentReceipt, CHUNK, ChunkMap, ChunkSealer, Manifest, StoreId},
    net::{Frames, Host, Net, NetError, Report, Service, ServiceLimits},
    path,
    store::Blobs,
    sync::{ByeReason, MAX_FETCH, Message, RefuseReason, Replica},
};
use rhizome_cloud::{Limit, QuotaChange};

use crate::{
    member::Thief,
    stage::{MINUTE, Scene, WAKE, start, sync},
    taken::Taken,
    victim::{Cloud, MEBIBYTE},
    wire::{Attack, Wire, address, endpoint},
};

/// An attachment of its own making.
fn sealed(size: usize, seed: u64) -> (Manifest, Secret, Vec<Vec<u8>>) {
    let mut random = SeededRandom::new(seed);
    let mut sealer = ChunkSealer::new(&mut random);
    let mut boxes = Vec::new();
    for piece in vec![7; size].chunks(CHUNK) {
        boxes.extend(sealer.push(&mut random, piece).unwrap());
    }
    while let Some(sealed) = sealer.finish(&mut random) {
        boxes.push(sealed);
    }
    let (manifest, key) = sealer.into_parts();
    (manifest, key, boxes)
}

fn opening(identity: IdentityId) -> Message {
    Message::Attachments {
        identity,
        store: StoreId([9; 16]),
        wanted: Vec::new(),
    }
}

impl Thief {
    /// Begins a session about attachments with the cloud peer.
    async fn carries(&self, scene: &Scene) -> Wire {
        let mut wire = self.dial(scene).await;
        wire.say(&opening(self.member.replica.identity())).await;
        assert!(matches!(wire.hear().await, Some(Message::Attachments { .. })));
        wire
    }
}

fn is_turned_away(heard: &[Message]) -> bool {
    matches!(heard, [Message::Bye(ByeReason::Invalid)])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_puts_nothing_but_what_it_announced_and_what_was_checked() {
    let scene = Scene::new().await;
    let thief = Thief::of(&scene, "tablet").await;
    let peer = start(scene.dir.path(), scene.port).await;
    let (manifest, _, boxes) = sealed(3 * CHUNK, 1);
    let (other, _, others) = sealed(3 * CHUNK, 2);
    let (id, announced) = (manifest.id(), Message::Manifest(manifest.encode()));
    let chunk = |id: AttachmentId, number: u32, sealed: &[u8]| Message::Chunk {
        id,
        number,
        sealed: sealed.to_vec(),
    };
    let attacks: Vec<Vec<Message>> = vec![
        vec![chunk(id, 0, &boxes[0])],
        vec![Message::Manifest(vec![0x83, 1, 2, 3])],
        vec![Message::Manifest(vec![7; 1 << 20])],
        vec![announced.clone(), chunk(id, 0, &others[0])],
        vec![announced.clone(), chunk(id, 1, &boxes[0])],
        vec![announced.clone(), chunk(id, 3, &boxes[0])],
        vec![announced.clone(), chunk(id, u32::MAX, &boxes[0])],
        vec![announced.clone(), chunk(other.id(), 0, &others[0])],
        vec![announced.clone(), chunk(id, 0, &[])],
        vec![Message::Fetch {
            id,
            manifest: true,
            from: 0,
            count: MAX_FETCH + 1,
        }],
        vec![thief.hello()],
        vec![opening(thief.member.replica.identity())],
    ];
    for (place, attack) in attacks.iter().enumerate() {
        let mut wire = thief.carries(&scene).await;
        for message in attack {
            wire.say(message).await;
        }
        let heard = wire.rest().await;
        let rest: Vec<Message> = heard
            .into_iter()
            .filter(|m| !matches!(m, Message::Chunks { .. }))
            .collect();
        assert!(is_turned_away(&rest), "attack {place}: {rest:?}");
    }
    // What is not there is given to nobody, whatever is asked.
    let mut wire = thief.carries(&scene).await;
    for (id, from) in [(id, 0), (id, u32::MAX), (other.id(), 0)] {
        wire.say(&Message::Fetch {
            id,
            manifest: false,
            from,
            count: 8,
        })
        .await;
        assert_eq!(wire.hear().await, Some(Message::Fetched { id, count: 0 }));
    }
    drop(wire);
    let held = &peer.identities().await.unwrap()[0];
    assert_eq!(
        (held.attachments, held.attachment_bytes),
        (1, 0),
        "announced, and not a byte of it stored"
    );
    // The honest way is open to the same member.
    let mut wire = thief.carries(&scene).await;
    wire.say(&announced).await;
    let Some(Message::Chunks { map, .. }) = wire.hear().await else {
        panic!("no answer")
    };
    assert_eq!(ChunkMap::from_bytes(&map, 3).unwrap().count_missing(), 3);
    for (number, sealed) in (0..).zip(&boxes) {
        wire.say(&chunk(id, number, sealed)).await;
    }
    let mut stored = 0;
    let receipt = loop {
        match wire.hear().await {
            Some(Message::Stored { count, receipt, .. }) => {
                stored += count;
                if receipt.is_some() {
                    break receipt;
                }
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(stored, 3);
    assert_eq!(AttachmentReceipt::decode(&receipt.unwrap()).unwrap().attachment, id);
    // To put the same again would cost the disk and no quota: nobody who was told what is there does.
    wire.say(&chunk(id, 1, &boxes[1])).await;
    assert!(is_turned_away(&wire.rest().await));
    let mut wire = thief.carries(&scene).await;
    wire.say(&announced).await;
    assert!(matches!(wire.hear().await, Some(Message::Chunks { .. })));
    assert!(matches!(wire.hear().await, Some(Message::Stored { count: 0, .. })));
    wire.say(&chunk(id, 2, &boxes[2])).await;
    assert!(is_turned_away(&wire.rest().await));
    // To ask for it is not to announce it.
    let mut wire = thief.carries(&scene).await;
    wire.say(&Message::Fetch {
        id,
        manifest: false,
        from: 0,
        count: 0,
    })
    .await;
    assert_eq!(wire.hear().await, Some(Message::Fetched { id, count: 0 }));
    wire.say(&chunk(id, 0, &boxes[0])).await;
    assert!(is_turned_away(&wire.rest().await));
    peer.stop().await;
    scene.ends_well().await;
}

/// A manifest of 256 bytes whose one hash is that of a box with another length: what is charged is what the manifest says.
fn of_another_length(len: usize, seed: u8) -> (Message, Message) {
    let sealed = vec![seed; len];
    let hash = rhizome::log::hash_chunk(&sealed);
    let manifest = rhizome::crypto::encode(&(1u8, 256u64, serde_bytes_of(&hash.0)));
    let id = Manifest::decode(&manifest).unwrap().id();
    (Message::Manifest(manifest), Message::Chunk { id, number: 0, sealed })
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stores_a_box_that_is_longer_or_shorter_than_its_manifest_says() {
    let scene = Scene::new().await;
    let thief = Thief::of(&scene, "tablet").await;
    let peer = start(scene.dir.path(), scene.port).await;
    for (len, seed) in [((1 << 20) + 7, 1), (CHUNK, 2), (297, 3), (295, 4), (0, 5)] {
        let mut wire = thief.carries(&scene).await;
        let (manifest, chunk) = of_another_length(len, seed);
        wire.say(&manifest).await;
        assert!(matches!(wire.hear().await, Some(Message::Chunks { .. })), "{len}");
        wire.say(&chunk).await;
        let heard = wire.rest().await;
        assert!(is_turned_away(&heard), "{len}: {heard:?}");
    }
    assert_eq!(peer.identities().await.unwrap()[0].attachment_bytes, 0);
    let blobs = scene.cloud().join("blobs");
    assert!(
        !blobs.exists() || files_below(&blobs) == 0,
        "and nothing lies on the disk"
    );
    peer.stop().await;
    scene.ends_well().await;
}

fn files_below(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { files_below(&path) } else { 1 })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_manifests_end_at_the_quota() {
    let scene = Scene::new().await;
    let thief = Thief::of(&scene, "tablet").await;
    let peer = start(scene.dir.path(), scene.port).await;
    let before = peer.identities().await.unwrap()[0].bytes;
    let quota = before + 200_000_000;
    let change = QuotaChange {
        bytes: Some(Limit::Of(quota)),
        entries: None,
    };
    peer.set_quota("ALL", change).await.unwrap();
    let mut wire = thief.carries(&scene).await;
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..400u64 {
        // Nothing stands behind its hashes.
        let padded = 1u64 << 20;
        let hashes: Vec<u8> = (0..128)
            .map(|n| (n as u64 * 31 + seed) as u8 ^ (seed >> 8) as u8)
            .collect();
        let manifest = rhizome::crypto::encode(&(1u8, padded, serde_bytes_of(&hashes)));
        wire.say(&Message::Manifest(manifest)).await;
        match wire.hear().await {
            Some(Message::Chunks { .. }) => taken += 1,
            Some(Message::NotKept { reason, limit, .. }) => {
                assert_eq!((reason, limit), (RefuseReason::QuotaBytes, quota));
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(taken <= 190 && refused >= 210, "{taken} taken");
    let held = &peer.identities().await.unwrap()[0];
    assert!(held.bytes <= quota);
    assert_eq!((held.attachments, held.attachment_bytes), (taken, 0));
    drop(wire);
    let change = QuotaChange {
        bytes: Some(Limit::Unlimited),
        entries: None,
    };
    peer.set_quota("ALL", change).await.unwrap();
    peer.stop().await;
    scene.ends_well().await;
}

fn serde_bytes_of(bytes: &[u8]) -> serde_bytes::ByteBuf {
    serde_bytes::ByteBuf::from(bytes.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_outside_the_identity_gets_or_puts_a_chunk() {
    let scene = Scene::new().await;
    let thief = Thief::of(&scene, "tablet").await;
    let peer = start(scene.dir.path(), scene.port).await;
    let identity = thief.member.replica.identity();
    let (manifest, ..) = sealed(1000, 1);
    for (seed, identity) in [(1, identity), (2, IdentityId([5; 32]))] {
        let stranger = endpoint(&[seed; 32], 0, 2).await;
        let mut wire = Wire::dial(&stranger, address(&thief.cloud.2, scene.port)).await;
        wire.say(&opening(identity)).await;
        wire.say(&Message::Manifest(manifest.encode())).await;
        wire.say(&Message::AskHeld(vec![manifest.id()])).await;
        let heard = wire.rest().await;
        let expected = match seed {
            1 => ByeReason::NotAMember,
            _ => ByeReason::UnknownIdentity,
        };
        assert_eq!(heard, [Message::Bye(expected)]);
    }
    assert_eq!(peer.identities().await.unwrap()[0].attachments, 0);
    peer.stop().await;
    scene.ends_well().await;
}

/// A cloud peer that takes the question and says nothing has its share of the time, and a device that holds it has the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_nothing_does_not_use_up_the_time_of_the_others() {
    let scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    let (attached, bytes) = attach(&scene.phone, CHUNK).await;
    scene.phone.listen().await.unwrap();
    let reading = scene
        .tablet
        .read_attachment(&attached, 0..u64::MAX, std::time::Duration::from_secs(20));
    let silence = async {
        let mut wire = taken.accept().await;
        wire.hear().await;
        wire
    };
    let (read, wire) = tokio::join!(reading, silence);
    drop(wire);
    assert!(*read.unwrap() == bytes);
    taken.leave().await;
    scene.ends_well().await;
}

/// Counts how often it is asked for what there is of attachments, which may take a while on a device.
struct Counting {
    replica: Arc<Replica>,
    blobs: Blobs,
    asked: AtomicUsize,
}

impl Host for Counting {
    fn replica(&self, _: &IdentityId) -> Option<Arc<Replica>> {
        Some(self.replica.clone())
    }

    fn attachments(&self, _: &IdentityId) -> Option<(Blobs, Vec<AttachmentId>)> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Some((self.blobs.clone(), Vec::new()))
    }

    fn link(
        self: Arc<Self>,
        _: PublicKey,
        _: Frames,
        _: Message,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }

    fn ended(&self, _: &IdentityId, _: &Result<Report, NetError>) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_looked_up_for_a_stranger() {
    let scene = Scene::new().await;
    let thief = Thief::of(&scene, "tablet").await;
    let taken = Taken::over(&scene).await;
    let host = Arc::new(Counting {
        replica: taken.replica.clone(),
        blobs: Blobs::new(&scene.cloud(), taken.data.log().clone()),
        asked: AtomicUsize::new(0),
    });
    let options = NetOptions {
        listen: vec![([127, 0, 0, 1], 0).into()],
        ..NetOptions::default()
    };
    let net = Arc::new(Net::open(&[77; 32], options).await.unwrap());
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let service = Service::new(net.clone(), host.clone(), ServiceLimits::default(), stopping);
    let serving = tokio::spawn(service.run());
    let (identity, port) = (taken.replica.identity(), net.sockets()[0].port());
    let asked = || host.asked.load(Ordering::Relaxed);
    let stranger = endpoint(&[1; 32], 0, 2).await;
    for (by, expected) in [(&stranger, 0), (&thief.endpoint, 1)] {
        let mut wire = Wire::dial(by, address(&net.id(), port)).await;
        wire.say(&opening(identity)).await;
        let heard = wire.hear().await;
        assert_eq!(asked(), expected, "{heard:?}");
        match expected {
            0 => assert_eq!(heard, Some(Message::Bye(ByeReason::NotAMember))),
            _ => assert!(matches!(heard, Some(Message::Attachments { .. }))),
        }
    }
    stop.send_replace(true);
    serving.await.unwrap();
    net.close().await;
    taken.leave().await;
    scene.ends_well().await;
}

/// Asks for all there is and reads nothing: what waits to be sent stays on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_never_listens_costs_a_peer_little_memory() {
    let scene = Scene::new().await;
    let (attached, _) = attach(&scene.phone, 40 * CHUNK).await;
    {
        let peer = start(scene.dir.path(), scene.port).await;
        sync(&scene.phone, MINUTE).await;
        peer.stop().await;
    }
    let thief = Thief::of(&scene, "tablet").await;
    let cloud = Cloud::start(&scene.cloud(), scene.port);
    let before = cloud.memory();
    cloud.forget_peak();
    let mut wires = Vec::new();
    for _ in 0..8 {
        let mut wire = thief.carries(&scene).await;
        for from in (0..40).step_by(8).cycle().take(20_000 / 8) {
            let ask = Message::Fetch {
                id: attached.id,
                manifest: true,
                from,
                count: 8,
            };
            // Once its own answers are stuck the peer reads no more of the questions.
            let said = tokio::time::timeout(std::time::Duration::from_millis(500), wire.say(&ask)).await;
            if said != Ok(true) {
                break;
            }
        }
        wires.push(wire);
    }
    let grown = cloud.peak().saturating_sub(before);
    assert!(grown < 64 * MEBIBYTE, "grew by {} MiB", grown / MEBIBYTE);
    drop(wires);
    drop(cloud);
    scene.ends_well().await;
}

async fn attach(pod: &Pod, size: usize) -> (AttachmentRef, Vec<u8>) {
    let mut bytes = vec![0; size];
    SeededRandom::new(size as u64).fill(&mut bytes);
    let what = NewAttachment {
        media_type: "image/jpeg".to_owned(),
        ..NewAttachment::default()
    };
    let attached = pod.attach(std::io::Cursor::new(bytes.clone()), what).await.unwrap();
    let value = attached.to_value();
    let written = pod.create_document("journal", move |edit| edit.set(&path(["photo"]), value.clone()));
    written.await.unwrap();
    (attached, bytes)
}

/// A reference to what no honest device attached.
fn reference(manifest: &Manifest, key: Secret, size: usize) -> AttachmentRef {
    AttachmentRef {
        id: manifest.id(),
        key,
        size: size as u64,
        media_type: "image/jpeg".to_owned(),
        name: None,
        thumbnail: None,
    }
}

/// An attachment that a device reads, and another, as a hostile peer has them.
struct Crafted {
    id: AttachmentId,
    manifest: Manifest,
    boxes: Vec<Vec<u8>>,
    other: Manifest,
    others: Vec<Vec<u8>>,
}

/// What a hostile peer says of it.
type Says = fn(&Crafted) -> Vec<Message>;

impl Crafted {
    fn none(&self) -> Message {
        Message::Fetched { id: self.id, count: 0 }
    }

    fn chunk(&self, number: u32, sealed: &[u8]) -> Message {
        Message::Chunk {
            id: self.id,
            number,
            sealed: sealed.to_vec(),
        }
    }

    /// After the right manifest.
    fn after(&self, rest: Vec<Message>) -> Vec<Message> {
        let manifest = Message::Manifest(self.manifest.encode());
        [vec![manifest, self.none()], rest].concat()
    }
}

/// A cloud peer that answers a reading device with what it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_takes_no_chunk_that_is_not_of_what_it_reads() {
    let scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    let size = 3 * CHUNK;
    let (other, _, others) = sealed(size, 2);
    // What it says after the opening, whatever it is asked; and what the device makes of it.
    let attacks: [(Says, &str); 12] = [
        (|of| vec![of.none()], "attachment-not-here"),
        (|of| vec![Message::Manifest(of.other.encode()), of.none()], "network"),
        (|_| vec![Message::Manifest(vec![1; 1 << 20])], "network"),
        (
            |of| {
                vec![Message::Chunks {
                    id: of.id,
                    map: vec![7],
                }]
            },
            "network",
        ),
        (|of| of.after(vec![of.chunk(0, &of.others[0])]), "network"),
        (|of| of.after(vec![of.chunk(1, &of.boxes[0])]), "network"),
        (
            |of| of.after(vec![of.chunk(0, &of.boxes[0]), of.chunk(0, &of.boxes[0])]),
            "network",
        ),
        (|of| of.after(vec![of.chunk(7, &of.boxes[0])]), "network"),
        (|of| of.after(vec![of.none(), of.none()]), "attachment-not-here"),
        (|of| of.after(vec![Message::Bye(ByeReason::Busy)]), "network"),
        (|of| of.after(vec![Message::Synced(1)]), "network"),
        (
            |of| {
                vec![
                    Message::Manifest(of.manifest.encode()),
                    Message::Manifest(of.manifest.encode()),
                ]
            },
            "network",
        ),
    ];
    for (place, (says, expected)) in attacks.into_iter().enumerate() {
        // Each with an attachment of its own, so that none knows a manifest from the one before.
        let (manifest, key, boxes) = sealed(size, 100 + place as u64);
        let of = reference(&manifest, key, size);
        let says = says(&Crafted {
            id: of.id,
            manifest,
            boxes,
            other: other.clone(),
            others: others.clone(),
        });
        let reading = scene.tablet.read_attachment(&of, 0..size as u64, WAKE);
        let answering = async {
            let mut wire = taken.accept().await;
            assert!(matches!(wire.hear().await, Some(Message::Attachments { .. })));
            wire.say(&opening(taken.replica.identity())).await;
            for message in &says {
                wire.say(message).await;
            }
            wire.rest().await;
        };
        let (read, ()) = tokio::join!(reading, answering);
        assert_eq!(read.unwrap_err().kind(), expected, "attack {place}");
        assert_eq!(
            scene.tablet.attachment_status(of.id).await.unwrap().here,
            0,
            "attack {place}"
        );
    }
    let (manifest, key, boxes) = sealed(size, 1);
    let of = reference(&manifest, key, size);
    let of_it = Crafted {
        id: of.id,
        manifest,
        boxes,
        other,
        others,
    };
    // One that never answers: the deadline holds.
    let reading = scene
        .tablet
        .read_attachment(&of, 0..10, std::time::Duration::from_millis(1500));
    let (read, wire) = tokio::join!(reading, taken.accept());
    drop(wire);
    assert!(matches!(read.unwrap_err(), Error::Network(NetError::Deadline)));
    // What the reference says of the size must be what was sealed.
    let lied = AttachmentRef { size: 5, ..of.clone() };
    let reading = scene.tablet.read_attachment(&lied, 0..5, WAKE);
    let answering = async {
        let mut wire = taken.accept().await;
        wire.hear().await;
        wire.say(&opening(taken.replica.identity())).await;
        let last = Message::Fetched { id: of.id, count: 1 };
        for message in of_it.after(vec![of_it.chunk(0, &of_it.boxes[0]), last]) {
            wire.say(&message).await;
        }
        wire.rest().await;
    };
    let (read, ()) = tokio::join!(reading, answering);
    assert!(matches!(
        read.unwrap_err(),
        Error::Attachment(AttachmentError::BadReference)
    ));
    taken.leave().await;
    scene.ends_well().await;
}

/// A receipt counts only if this peer signed it for this attachment and the database that it showed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_a_device_on_a_forged_receipt() {
    let scene = Scene::new().await;
    let (attached, _) = attach(&scene.phone, 1000).await;
    let taken = Taken::over(&scene).await;
    let signing = &taken.data.keys().signing;
    let store = taken.replica.store().store_id();
    let thief = SigningKey::from_seed(&[4; 32]);
    let id = attached.id;
    let forged = [
        AttachmentReceipt::make(&thief, store, id, 1),
        AttachmentReceipt::make(signing, StoreId([8; 16]), id, 1),
        AttachmentReceipt::make(signing, store, AttachmentId([8; 32]), 1),
    ];
    for receipt in forged {
        let syncing = sync(&scene.phone, WAKE);
        let answering = async {
            let attack = Attack {
                ends: true,
                ..Attack::default()
            };
            taken.serve(attack).await;
            let mut wire = taken.accept().await;
            wire.hear().await;
            wire.say(&Message::Attachments {
                identity: taken.replica.identity(),
                store,
                wanted: Vec::new(),
            })
            .await;
            let Some(Message::AskHeld(ids)) = wire.hear().await else {
                panic!("it does not ask")
            };
            assert_eq!(ids, [id]);
            let held = Message::Held {
                held: vec![(id, Some(0))],
                receipts: vec![receipt.encode().to_vec()],
            };
            wire.say(&held).await;
            wire.rest().await;
        };
        let (report, ()) = tokio::join!(syncing, answering);
        let (carried, result) = report.peers[0].attachments.as_ref().unwrap();
        assert_eq!(carried.confirmed, 0);
        result.as_ref().expect_err("a receipt of somebody else's");
        assert_eq!(scene.phone.attachment_status(id).await.unwrap().holders, []);
        let error = scene.phone.evict_attachment(id).await.unwrap_err();
        assert!(matches!(error, Error::Attachment(AttachmentError::OnlyHere)));
    }
    taken.leave().await;
    scene.ends_well().await;
}
