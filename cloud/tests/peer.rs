//! A cloud peer in this process, pods that link and sync with it, on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    future::Future,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rhizome::{
    Confirm, Error, FileKeeper, LinkOutcome, NetOptions, Pod, PodOptions, SyncState, Value, WaitReason, path,
    store::{AlarmKind, Quota},
};
use rhizome_cloud::{Event, Limit, Peer, PeerOptions, QuotaChange};

const MINUTE: Duration = Duration::from_secs(60);

fn loopback(port: u16) -> NetOptions {
    NetOptions {
        listen: vec![([127, 0, 0, 1], port).into()],
        ..NetOptions::default()
    }
}

fn peer_options(dir: &Path, port: u16) -> PeerOptions {
    PeerOptions {
        net: loopback(port),
        ..PeerOptions::new(dir.join("cloud"))
    }
}

async fn start(dir: &Path) -> Peer {
    Peer::start(peer_options(dir, 0)).await.unwrap()
}

fn pod_options(dir: &Path, name: &str) -> PodOptions {
    let keeper = Arc::new(FileKeeper::new(dir.join(format!("{name}.keys"))));
    PodOptions {
        net: loopback(0),
        ..PodOptions::new(keeper)
    }
}

async fn pod(dir: &Path, name: &str) -> Pod {
    let (pod, _) = Pod::create(dir.join(name), pod_options(dir, name), name).await.unwrap();
    pod
}

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

async fn link(pod: &Pod, peer: &Peer) -> LinkOutcome {
    pod.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap()
}

async fn write(pod: &Pod, text: &'static str) -> rhizome::Written {
    pod.create_document("journal", move |edit| {
        edit.set(&path(["date"]), Value::Date(1))?;
        edit.set_text(&path(["text"]), text)
    })
    .await
    .unwrap()
}

async fn sync(pod: &Pod) -> SyncState {
    let report = pod.sync_once(Duration::from_secs(20), None).await.unwrap();
    for peer in &report.peers {
        peer.result.as_ref().unwrap();
    }
    report.state
}

async fn only_here(pod: &Pod) -> u64 {
    pod.status().await.unwrap().only_here
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_that_never_meet_share_a_document() {
    let dir = tempfile::tempdir().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    let peer = Peer::start(PeerOptions {
        on_event: Arc::new(move |event| listener.lock().unwrap().push(event)),
        ..peer_options(dir.path(), 0)
    })
    .await
    .unwrap();
    let phone = pod(dir.path(), "phone").await;
    let before = write(&phone, "before the link").await;
    let linked = link(&phone, &peer).await;
    assert!(linked.ordered);
    assert!(matches!(sync(&phone).await, SyncState::UpToDate { .. }));
    assert_eq!(only_here(&phone).await, 0);
    let holders = phone.holders(before.entry.unwrap()).await.unwrap();
    assert_eq!(holders.len(), 1);
    assert!(holders[0].cloud);
    assert_eq!(holders[0].name.as_deref(), Some("cloud"));

    let invite = phone.invite(MINUTE, yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let options = pod_options(dir.path(), "tablet");
    let tablet = Pod::join(dir.path().join("tablet"), options, "tablet", &code, yes())
        .await
        .unwrap();
    invite.finished().await.unwrap();
    sync(&phone).await;
    phone.suspend().await.unwrap();

    sync(&tablet).await;
    assert_eq!(tablet.get(before.document).await.unwrap(), {
        phone.resume().await.unwrap();
        phone.get(before.document).await.unwrap()
    });
    phone.suspend().await.unwrap();
    let after = write(&tablet, "from the tablet").await;
    sync(&tablet).await;
    assert_eq!(only_here(&tablet).await, 0);
    tablet.suspend().await.unwrap();

    phone.resume().await.unwrap();
    sync(&phone).await;
    assert!(phone.get(after.document).await.unwrap().is_some());

    let identities = peer.identities().await.unwrap();
    assert_eq!(identities.len(), 1);
    assert_eq!(identities[0].did, phone.did().unwrap());
    assert_eq!((identities[0].devices, identities[0].peers), (2, 1));
    assert_eq!(identities[0].entries, 2);
    let heard = heard.lock().unwrap().clone();
    let short = linked.identity.short();
    assert_eq!(heard, [Event::Number(linked.number), Event::Linked { identity: short }]);
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_quota_refused_is_taken_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start(PeerOptions {
        quota: Quota {
            bytes: None,
            entries: Some(1),
        },
        ..peer_options(dir.path(), 0)
    })
    .await
    .unwrap();
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &peer).await;
    write(&phone, "one").await;
    assert!(matches!(sync(&phone).await, SyncState::UpToDate { .. }));
    write(&phone, "two").await;
    let state = sync(&phone).await;
    let refused = SyncState::Waiting {
        reason: WaitReason::QuotaExceeded { limit: 1 },
    };
    assert_eq!(state, refused);
    assert_eq!(only_here(&phone).await, 1);
    assert_eq!(peer.identities().await.unwrap()[0].entries, 1);

    let room = QuotaChange {
        entries: Some(Limit::Of(5)),
        bytes: None,
    };
    peer.set_quota(&phone.did().unwrap(), room).await.unwrap();
    assert!(matches!(sync(&phone).await, SyncState::UpToDate { .. }));
    assert_eq!(only_here(&phone).await, 0);

    let bytes = QuotaChange {
        bytes: Some(Limit::Of(10)),
        entries: Some(Limit::Unlimited),
    };
    peer.set_quota("all", bytes).await.unwrap();
    write(&phone, "three").await;
    let state = sync(&phone).await;
    let refused = SyncState::Waiting {
        reason: WaitReason::QuotaExceeded { limit: 10 },
    };
    assert_eq!(state, refused);
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pod_needs_no_restart_when_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::start(PeerOptions {
        quota: Quota {
            bytes: None,
            entries: Some(0),
        },
        ..peer_options(dir.path(), 0)
    })
    .await
    .unwrap();
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &peer).await;
    let live = phone.go_live().await.unwrap();
    write(&phone, "one").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(only_here(&phone).await, 1);
    let room = QuotaChange {
        entries: Some(Limit::Unlimited),
        bytes: None,
    };
    peer.set_quota("ALL", room).await.unwrap();
    let mut left = 100;
    while only_here(&phone).await > 0 && left > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        left -= 1;
    }
    let status = phone.status().await.unwrap();
    assert_eq!(status.only_here, 0, "{status:?}");
    live.stop().await;
    peer.stop().await;
}

fn reason(error: Error) -> String {
    match error {
        Error::Link(rhizome::net::LinkError::Refused(reason)) => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_links_once_while_it_is_valid_and_no_other_does() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let phone = pod(dir.path(), "phone").await;
    let mut wrong = peer.code(MINUTE);
    wrong.secret = [7; 16].into();
    assert_eq!(
        reason(phone.link(&wrong.to_string(), yes()).await.unwrap_err()),
        "wrong-code"
    );

    let code = peer.code(MINUTE).to_string();
    phone.link(&code, yes()).await.unwrap();
    let other = pod(dir.path(), "other").await;
    assert_eq!(reason(other.link(&code, yes()).await.unwrap_err()), "used");

    let expired = peer.code(Duration::ZERO).to_string();
    let late = other.link(&expired, yes()).await.unwrap_err();
    assert!(
        matches!(late, Error::Ticket(rhizome::identity::TicketError::Expired)),
        "{late}"
    );
    // A phone whose clock runs behind is told by the peer.
    let slow = PodOptions {
        clock: Arc::new(|| 0),
        ..pod_options(dir.path(), "slow")
    };
    let (slow, _) = Pod::create(dir.path().join("slow"), slow, "slow").await.unwrap();
    assert_eq!(reason(slow.link(&expired, yes()).await.unwrap_err()), "expired");
    assert_eq!(peer.identities().await.unwrap().len(), 1);

    // As a QR code it is in capitals.
    let loud = rhizome::Ticket::parse(&code.to_uppercase()).unwrap();
    assert_eq!(loud.to_string(), code);
    let damaged = other.link(&code[..code.len() - 1], yes()).await.unwrap_err();
    assert!(matches!(damaged, Error::Ticket(_)), "{damaged}");
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_serves_many_identities_apart() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let (anna, ben) = (pod(dir.path(), "anna").await, pod(dir.path(), "ben").await);
    link(&anna, &peer).await;
    link(&ben, &peer).await;
    write(&anna, "a").await;
    write(&ben, "b").await;
    let both = tokio::join!(sync(&anna), sync(&ben));
    assert!(matches!(both, (SyncState::UpToDate { .. }, SyncState::UpToDate { .. })));
    assert_eq!(anna.documents("journal").await.unwrap().len(), 1);
    assert_eq!(ben.documents("journal").await.unwrap().len(), 1);
    let entries: Vec<u64> = peer.identities().await.unwrap().iter().map(|one| one.entries).collect();
    assert_eq!(entries, [1, 1]);
    // A quota of one's own.
    let nothing = QuotaChange {
        entries: Some(Limit::Of(1)),
        bytes: None,
    };
    peer.set_quota(&anna.did().unwrap(), nothing).await.unwrap();
    write(&anna, "a").await;
    write(&ben, "b").await;
    let both = tokio::join!(sync(&anna), sync(&ben));
    assert!(matches!(both, (SyncState::Waiting { .. }, SyncState::UpToDate { .. })));
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_declined_or_linked_twice_stays_sound() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let phone = pod(dir.path(), "phone").await;
    let no: Confirm = Arc::new(|_| Box::pin(std::future::ready(false)));
    let declined = phone.link(&peer.code(MINUTE).to_string(), no).await.unwrap_err();
    assert!(
        matches!(declined, Error::Link(rhizome::net::LinkError::Declined)),
        "{declined}"
    );
    assert!(peer.identities().await.unwrap().is_empty());
    link(&phone, &peer).await;
    // Once more does no harm: a first link that was cut at its end is made whole so.
    let before = phone.status().await.unwrap().peers.len();
    link(&phone, &peer).await;
    assert_eq!(phone.status().await.unwrap().peers.len(), before);
    // A cloud peer's code lets no device in, and a device's code adds no cloud peer.
    let as_device = phone
        .link_device(&peer.code(MINUTE).to_string(), yes())
        .await
        .unwrap_err();
    assert!(
        matches!(as_device, Error::Link(rhizome::net::LinkError::OtherRole { .. })),
        "{as_device}"
    );
    write(&phone, "one").await;
    assert!(matches!(sync(&phone).await, SyncState::UpToDate { .. }));
    peer.stop().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_put_back_from_an_old_copy_is_noticed_and_refilled() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let port = peer.status().await.unwrap().listening[0]
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap();
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &peer).await;
    write(&phone, "one").await;
    sync(&phone).await;
    peer.stop().await;
    copy(&dir.path().join("cloud"), &dir.path().join("old"));

    let peer = Peer::start(peer_options(dir.path(), port)).await.unwrap();
    write(&phone, "two").await;
    write(&phone, "three").await;
    sync(&phone).await;
    assert_eq!(only_here(&phone).await, 0);
    assert_eq!(peer.identities().await.unwrap()[0].entries, 3);
    peer.stop().await;
    std::fs::remove_dir_all(dir.path().join("cloud")).unwrap();
    std::fs::rename(dir.path().join("old"), dir.path().join("cloud")).unwrap();

    let peer = Peer::start(peer_options(dir.path(), port)).await.unwrap();
    assert_eq!(peer.identities().await.unwrap()[0].entries, 1);
    assert!(matches!(sync(&phone).await, SyncState::UpToDate { .. }));
    assert_eq!(peer.identities().await.unwrap()[0].entries, 3);
    assert_eq!(only_here(&phone).await, 0);
    let alarms = phone.status().await.unwrap().alarms;
    assert!(
        alarms.iter().any(|alarm| alarm.kind == AlarmKind::PeerLoss),
        "{alarms:?}"
    );
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_serves_one_process_and_is_free_after_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let second = Peer::start(peer_options(dir.path(), 0)).await.err().unwrap();
    assert_eq!(second.kind, "in-use");
    // The second left the first's socket alone.
    assert!(dir.path().join("cloud/control.sock").exists());
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &peer).await;
    let live = phone.go_live().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = std::time::Instant::now();
    peer.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let left: Vec<_> = std::fs::read_dir(dir.path().join("cloud"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let unwanted = |name: &String| name.ends_with("-wal") || name.ends_with(".sock");
    assert!(!left.iter().any(unwanted), "{left:?}");
    live.stop().await;
    start(dir.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = peer_options(dir.path(), 0);
    options.limits.per_minute = 2;
    let peer = Peer::start(options).await.unwrap();
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &peer).await;
    sync(&phone).await;
    let report = phone.sync_once(Duration::from_secs(5), None).await.unwrap();
    let error = report.peers[0].result.as_ref().unwrap_err().to_string();
    assert!(error.contains("busy"), "{error}");
    peer.stop().await;
}

fn port(status: &rhizome_cloud::StatusReport) -> u16 {
    status.listening[0].rsplit_once(':').unwrap().1.parse().unwrap()
}

async fn join(dir: &Path, by: &Pod, name: &str) -> Pod {
    let invite = by.invite(MINUTE, yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let joined = Pod::join(dir.join(name), pod_options(dir, name), name, &code, yes())
        .await
        .unwrap();
    invite.finished().await.unwrap();
    joined
}

/// Waits until `done`, ten seconds at the most.
async fn until<F: Future<Output = bool>>(what: &str, done: impl Fn() -> F) {
    for _ in 0..200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_added_while_the_peer_was_away_syncs_before_the_one_that_added_it() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let port = port(&peer.status().await.unwrap());
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &peer).await;
    peer.stop().await;
    let tablet = join(dir.path(), &phone, "tablet").await;
    phone.suspend().await.unwrap();
    let written = write(&tablet, "at once").await;
    assert_eq!(tablet.status().await.unwrap().pending, 1);

    let peer = Peer::start(peer_options(dir.path(), port)).await.unwrap();
    assert!(matches!(sync(&tablet).await, SyncState::UpToDate { .. }));
    assert_eq!(tablet.status().await.unwrap().pending, 0);
    assert_eq!(only_here(&tablet).await, 0);
    phone.resume().await.unwrap();
    sync(&phone).await;
    assert!(phone.get(written.document).await.unwrap().is_some());
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_devices_see_each_other_at_once_and_again_after_the_peer_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let port = port(&peer.status().await.unwrap());
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &peer).await;
    let tablet = join(dir.path(), &phone, "tablet").await;
    let (live_phone, live_tablet) = (phone.go_live().await.unwrap(), tablet.go_live().await.unwrap());
    for text in ["one", "two", "three"] {
        let (from, to) = if text == "two" {
            (&tablet, &phone)
        } else {
            (&phone, &tablet)
        };
        let written = write(from, text).await;
        until("a live write arrives", async || {
            to.get(written.document).await.unwrap().is_some()
        })
        .await;
    }
    assert_eq!(peer.status().await.unwrap().connections, 2);
    peer.stop().await;
    let written = write(&phone, "alone").await;
    let peer = Peer::start(peer_options(dir.path(), port)).await.unwrap();
    until("live again", async || {
        tablet.get(written.document).await.unwrap().is_some()
    })
    .await;
    until("held", async || only_here(&phone).await == 0).await;
    live_phone.stop().await;
    live_tablet.stop().await;
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_cloud_peer_holds_everything_too() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (start(dir.path()).await, start(other.path()).await);
    let phone = pod(dir.path(), "phone").await;
    link(&phone, &first).await;
    write(&phone, "one").await;
    // The first peer orders; until it is met the second is tentative.
    assert!(!link(&phone, &second).await.ordered);
    sync(&phone).await;
    assert!(matches!(sync(&phone).await, SyncState::UpToDate { .. }));
    for peer in [&first, &second] {
        assert_eq!(peer.identities().await.unwrap()[0].entries, 1);
        assert_eq!(peer.identities().await.unwrap()[0].peers, 2);
    }
    first.stop().await;
    second.stop().await;
}

/// Two that are away come first by their keys, and the time given is too short for them.
#[tokio::test(flavor = "multi_thread")]
async fn peers_that_are_away_do_not_keep_the_others_waiting_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let phone = pod(dir.path(), "phone").await;
    let mut peers = Vec::new();
    for name in ["one", "two", "three"] {
        let peer = Peer::start(PeerOptions {
            net: loopback(0),
            ..PeerOptions::new(dir.path().join(name))
        })
        .await
        .unwrap();
        link(&phone, &peer).await;
        let members = phone.members().await.unwrap().members;
        let known: Vec<_> = peers.iter().map(|(key, _)| *key).collect();
        let new = members
            .iter()
            .find(|member| member.cloud && !known.contains(&member.key));
        peers.push((new.unwrap().key, peer));
    }
    sync(&phone).await;
    peers.sort_by_key(|(key, _)| *key);
    let (last, there) = peers.pop().unwrap();
    for (_, away) in peers {
        away.stop().await;
    }
    write(&phone, "for the one that is there").await;
    let mut tries = 0;
    while only_here(&phone).await > 0 {
        tries += 1;
        assert!(tries < 10, "the peers that are away come first for ever");
        let _ = phone.sync_once(Duration::from_secs(2), None).await.unwrap();
    }
    write(&phone, "and another").await;
    let report = phone.sync_once(Duration::from_secs(4), None).await.unwrap();
    let first = &report.peers[0];
    assert_eq!((first.key, first.result.is_ok()), (last, true));
    assert_eq!(report.peers.len(), 3);
    assert!(report.peers[1..].iter().all(|peer| peer.result.is_err()));
    phone.shutdown().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_stops_at_once_though_a_link_waits_for_a_person() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let phone = pod(dir.path(), "phone").await;
    let never: Confirm = Arc::new(|_| Box::pin(std::future::pending()));
    let code = peer.code(MINUTE).to_string();
    let linking = {
        let phone = phone.clone();
        tokio::spawn(async move { phone.link(&code, never).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = std::time::Instant::now();
    peer.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    linking.abort();
    // A link that was broken off leaves a peer that can be linked.
    let peer = start(dir.path()).await;
    link(&phone, &peer).await;
    peer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_written_can_be_read_in_the_peers_folder() {
    let dir = tempfile::tempdir().unwrap();
    let peer = start(dir.path()).await;
    let phone = pod(dir.path(), "phone-canary-name").await;
    link(&phone, &peer).await;
    write(&phone, "canary in a coal mine").await;
    sync(&phone).await;
    let files = |dir: &Path| -> Vec<u8> {
        let read = |file: std::io::Result<std::fs::DirEntry>| std::fs::read(file.unwrap().path()).unwrap_or_default();
        std::fs::read_dir(dir).unwrap().flat_map(read).collect()
    };
    let running = files(&dir.path().join("cloud"));
    peer.stop().await;
    let rest = files(&dir.path().join("cloud"));
    for bytes in [running, rest] {
        assert!(bytes.len() > 4096);
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        assert!(!bytes.windows(7).any(|window| window == b"journal"));
    }
}
