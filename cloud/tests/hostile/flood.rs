//! Connections that never speak, stop within a frame, say what nobody understands, or were never meant: and what somebody else notices who
//! syncs with the same cloud peer meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use iroh::{Endpoint, EndpointAddr, endpoint::Connection};
use rhizome::{
    crypto::{Hash, OsRandom, PublicKey, Random},
    identity::IdentityId,
    log::StoreId,
    net::ALPN,
    sync::Message,
};
use tokio::net::UdpSocket;

use crate::{
    full,
    stage::{Scene, sync, sync_well},
    taken::Taken,
    victim::{Cloud, MEBIBYTE},
    wire::{address, endpoint},
};

/// By how much a cloud peer may grow under 2,000 connections that never say who they are, whatever they do instead.
const GROWTH: u64 = 192 * MEBIBYTE;
/// And under handshakes that are left half-open.
const HALF_OPEN_GROWTH: u64 = 32 * MEBIBYTE;
const DIALLERS: u64 = 8;

/// What each connection of a flood does once it is there.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Does {
    /// No stream, no word.
    Nothing,
    /// Opens its stream and sends one byte of a length.
    OneByte,
    /// Promises the longest first frame and sends all but its last byte.
    AllButAByte,
    /// Says hello to an identity that nobody knows.
    HelloToNobody,
    /// A link with a wrong code.
    WrongCode,
}

async fn behave(connection: &Connection, does: Does) -> Option<()> {
    if does == Does::Nothing {
        connection.closed().await;
        return None;
    }
    let (mut send, _recv) = connection.open_bi().await.ok()?;
    let bytes = match does {
        Does::Nothing => return None,
        Does::OneByte => vec![0],
        Does::AllButAByte => [&(192u32 * 1024).to_be_bytes()[..], &[0; 192 * 1024 - 1]].concat(),
        Does::HelloToNobody => Message::Hello {
            features: 0,
            identity: IdentityId([9; 32]),
            digest: Hash([0; 32]),
            store: StoreId([0; 16]),
            proofs: Vec::new(),
        }
        .to_frame(),
        Does::WrongCode => Message::LinkBegin {
            role: 0,
            keys: rhizome::identity::Keys(
                PublicKey([1; 32]),
                rhizome::crypto::AgreementPublic([2; 32]),
                PublicKey([3; 32]),
            ),
            commitment: Hash([0; 32]),
            proof: Hash([0; 32]),
        }
        .to_frame(),
    };
    send.write_all(&bytes).await.ok()?;
    connection.closed().await;
    None
}

/// A flood that goes on until it is told to stop.
struct Flood {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    endpoints: Vec<Endpoint>,
}

impl Flood {
    /// `at_once` connections at a time, a new one for each that ends.
    async fn begin(to: EndpointAddr, at_once: u64, does: Does) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (mut tasks, mut endpoints) = (Vec::new(), Vec::new());
        for _ in 0..DIALLERS {
            let seed = (&mut OsRandom as &mut dyn Random).bytes();
            endpoints.push(endpoint(&seed, 0, 2).await);
        }
        for n in 0..at_once {
            let by = endpoints[(n % DIALLERS) as usize].clone();
            let (to, stop, made) = (to.clone(), stop.clone(), made.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(connection) = by.connect(to.clone(), ALPN).await {
                        made.fetch_add(1, Ordering::Relaxed);
                        behave(&connection, does).await;
                    }
                }
            }));
        }
        Self {
            stop,
            made,
            tasks,
            endpoints,
        }
    }

    async fn until(&self, made: u64) {
        while self.made.load(Ordering::Relaxed) < made {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for endpoint in self.endpoints {
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), endpoint.close()).await;
        }
        self.made.load(Ordering::Relaxed)
    }
}

/// In a flood, a place is taken away from whoever is silent for longest, and a busy machine makes everybody silent: a sync may need a few tries.
const TRIES: u32 = 12;

/// Three times something is written, and synced until it is at the cloud peer: how many syncs that took.
async fn write_and_sync(scene: &mut Scene) -> u32 {
    let mut tries = 0;
    for n in 0..3 {
        scene.phone_writes(&format!("{n} in the flood")).await;
        while scene.phone.status().await.unwrap().only_here > 0 {
            tries += 1;
            assert!(tries < TRIES, "nobody gets through the flood");
            sync(&scene.phone, crate::stage::MINUTE).await;
        }
    }
    tries
}

/// Round trips of a sync of nothing new.
async fn round_trips(scene: &Scene) -> u64 {
    for _ in 0..TRIES {
        let report = sync(&scene.phone, crate::stage::MINUTE).await;
        match &report.peers[0].result {
            Ok(done) => return done.outcome.round_trips,
            Err(error) => println!("a sync of nothing new: {error}"),
        }
    }
    panic!("nobody gets through the flood");
}

async fn others_sync_during(does: Does) {
    let mut scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    let cloud_keys = taken.keys();
    taken.leave().await;
    let cloud = Cloud::start(&scene.cloud(), scene.port);
    sync_well(&scene.phone).await;
    let alone = round_trips(&scene).await;
    let before = cloud.memory();
    cloud.forget_peak();
    let to = address(&cloud_keys.2, scene.port);
    let connections = match does {
        _ if full() => 10_000,
        Does::Nothing => 2_000,
        _ => 1_000,
    };
    let flood = Flood::begin(to, 500, does).await;
    // More than there are places, before anybody else comes.
    flood.until(300).await;
    let tries = write_and_sync(&mut scene).await;
    let during = round_trips(&scene).await;
    flood.until(connections).await;
    let (made, grown) = (flood.end().await, cloud.peak().saturating_sub(before));
    println!(
        "{does:?}: {made} connections, 3 syncs of somebody else in {tries} tries; the cloud peer grew by {} KiB",
        grown / 1024
    );
    assert_eq!(during, alone, "round trips");
    assert!(grown < GROWTH, "{} KiB", grown / 1024);
    drop(cloud);
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_sync_while_thousands_connect_and_say_nothing() {
    others_sync_during(Does::Nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_sync_while_thousands_stop_within_their_first_frame() {
    others_sync_during(Does::AllButAByte).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_sync_while_thousands_say_hello_to_nobody() {
    others_sync_during(Does::HelloToNobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_sync_while_thousands_try_codes() {
    others_sync_during(if full() { Does::OneByte } else { Does::WrongCode }).await;
}

/// Handshakes that are begun and left: packets of real dials pass to the cloud peer through a forwarder, and its answers do not pass back.
#[tokio::test(flavor = "multi_thread")]
async fn others_sync_while_thousands_of_handshakes_are_left_half_open() {
    let mut scene = Scene::new().await;
    let taken = Taken::over(&scene).await;
    let cloud_keys = taken.keys();
    taken.leave().await;
    let cloud = Cloud::start(&scene.cloud(), scene.port);
    sync_well(&scene.phone).await;
    let before = cloud.memory();
    cloud.forget_peak();
    let forwarder = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = forwarder.local_addr().unwrap().port();
    let forwarded = Arc::new(AtomicU64::new(0));
    let (count, to) = (forwarded.clone(), scene.port);
    let forwarding = tokio::spawn(async move {
        let mut packet = [0; 2048];
        let mut from: Vec<UdpSocket> = Vec::new();
        for _ in 0..64 {
            from.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        }
        while let Ok((length, _)) = forwarder.recv_from(&mut packet).await {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let _ = from[(n % 64) as usize]
                .send_to(&packet[..length], ("127.0.0.1", to))
                .await;
        }
    });
    let flood = Flood::begin(address(&cloud_keys.2, port), 2_000, Does::Nothing).await;
    while forwarded.load(Ordering::Relaxed) < 2_000 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let tries = write_and_sync(&mut scene).await;
    flood.end().await;
    forwarding.abort();
    let grown = cloud.peak().saturating_sub(before);
    println!(
        "{} first packets of handshakes; 3 syncs in {tries} tries; the cloud peer grew by {} KiB",
        forwarded.load(Ordering::Relaxed),
        grown / 1024
    );
    assert!(grown < HALF_OPEN_GROWTH, "{} KiB", grown / 1024);
    drop(cloud);
    scene.ends_well().await;
}
