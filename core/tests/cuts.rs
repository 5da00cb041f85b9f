//! A session on a network so slow that its time is over before much has moved: what moved counts, and the time given is kept.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use common::{
    options,
    replicas::{Member, converse},
    second_device, write,
};
use iroh::{
    Endpoint, RelayMode, SecretKey,
    endpoint::{QuicTransportConfig, presets},
};
use rhizome::{
    Pod, SyncState, WaitReason,
    crypto::{Random, SeededRandom},
    identity::Keys,
    log::Position,
    net::{ALPN, NetError, StopReason},
    sync::{Message, Session},
};
use tokio::sync::watch;

/// Much more than passes in one of the sessions below.
const ENTRIES: usize = 300;
const ENTRY: usize = 1000;
/// What passes in one session, in bytes of frames each way.
const PASSES: usize = 12_000;

/// `ENTRIES` entries of about `ENTRY` bytes that nothing makes smaller.
fn fill(member: &mut Member) {
    let stream = member.stream("journal");
    let start = member.begin_log(stream);
    let mut after = Position::start(&start.id());
    let mut noise = SeededRandom::new(7);
    for _ in 0..ENTRIES {
        let payload: [u8; ENTRY] = (&mut noise as &mut dyn Random).bytes();
        let entry = member.make(start.id(), after, stream, &payload);
        after = entry.position();
        member
            .replica
            .store()
            .write(move |write| write.append_own(&entry))
            .wait()
            .unwrap();
    }
}

fn entries(member: &Member) -> u64 {
    member
        .replica
        .read(|read| read.counts(&member.replica.identity()))
        .unwrap()
        .0
}

/// A session that ends when so many bytes went one of the two ways: only frames that passed whole arrived.
fn cut_short(dialler: &Member, listener: &Member, passes: usize) {
    let mut sessions = [
        Session::dial(&dialler.replica, listener.replica.signer()).unwrap(),
        Session::listen(Keys::of(&dialler.keys).2),
    ];
    let (members, mut passed, mut quiet) = ([dialler, listener], [0, 0], 0);
    for turn in 0.. {
        let (from, to) = (turn % 2, 1 - turn % 2);
        let Some(message) = sessions[from].next(&members[from].replica).unwrap() else {
            quiet += 1;
            if quiet == 2 {
                return;
            }
            continue;
        };
        quiet = 0;
        passed[from] += message.to_frame().len();
        if passed[from] > passes {
            return;
        }
        sessions[to].receive(message, &members[to].replica).unwrap();
    }
}

#[test]
fn sessions_that_are_all_cut_early_get_everything_across_in_the_end() {
    for upwards in [true, false] {
        let mut one = Member::first(1);
        let two = one.another(2);
        fill(&mut one);
        let (dialler, listener) = if upwards { (&one, &two) } else { (&two, &one) };
        let mut sessions = 0;
        while entries(&two) < entries(&one) {
            let before = entries(&two);
            cut_short(dialler, listener, PASSES);
            sessions += 1;
            assert!(
                entries(&two) > before,
                "session {sessions} moved nothing: {before} of {} entries are there",
                entries(&one)
            );
        }
        // Of what passes, at least half is of use.
        assert!(sessions * PASSES <= 2 * ENTRIES * (ENTRY + 300), "{sessions} sessions");
        assert_eq!(converse(dialler, listener)[0].losses, 0);
    }
}

#[test]
fn ranges_grow_with_what_was_confirmed() {
    let mut one = Member::first(1);
    let two = one.another(2);
    fill(&mut one);
    let mut sessions = [
        Session::dial(&one.replica, two.replica.signer()).unwrap(),
        Session::listen(Keys::of(&one.keys).2),
    ];
    let (members, mut ranges) = ([&one, &two], Vec::new());
    for turn in 0..2000 {
        let (from, to) = (turn % 2, 1 - turn % 2);
        if let Some(message) = sessions[from].next(&members[from].replica).unwrap() {
            if let Message::Range(range) = &message {
                ranges.push(range.entries.len());
            }
            sessions[to].receive(message, &members[to].replica).unwrap();
        }
    }
    assert!(sessions.iter().all(Session::is_synced));
    assert_eq!(ranges.iter().sum::<usize>(), ENTRIES);
    assert!(ranges[0] <= 5, "the first are short: {ranges:?}");
    assert!(ranges.iter().max() > Some(&40), "later ones are long: {ranges:?}");
    assert!(ranges.len() < 40, "and so there are few: {ranges:?}");
}

/// What `sync_once` promises, and what a busy machine may add to it.
const DEADLINE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(1500);

/// How far one gets with a peer that never says a word.
#[derive(Clone, Copy, PartialEq)]
enum Talks {
    /// A stream opens, and takes nothing in.
    WithStream,
    /// A connection, on which no stream may be opened.
    Connection,
    /// Not even that.
    Never,
}

/// A phone that knows where its tablet listens, such a peer in the tablet's place with the tablet's key, and how many came to that.
async fn phone_and_mute(dir: &Path, talks: Talks) -> (Pod, Endpoint, watch::Receiver<u32>) {
    let (opts, keeper) = options();
    let (tablet, _) = Pod::create(dir.join("tablet"), opts, "tablet").await.unwrap();
    let (phone, _) = second_device(&tablet, &dir.join("phone")).await;
    let address: SocketAddr = tablet.listen().await.unwrap()[0].parse().unwrap();
    tablet.shutdown().await;
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(u32::from(talks == Talks::WithStream).into())
        // Less than a hello: what is said to it never arrives.
        .stream_receive_window(16u32.into())
        .build();
    let mute = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&keeper.first().keys().endpoint))
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr(address)
        .unwrap()
        .bind()
        .await
        .unwrap();
    let accepting = mute.clone();
    let came = watch::Sender::new(0);
    let coming = came.subscribe();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(incoming) = accepting.accept().await {
            came.send_modify(|came| *came += 1);
            if talks == Talks::Never {
                incoming.refuse();
            } else if let Ok(connection) = incoming.await {
                held.push(connection);
            }
        }
    });
    (phone, mute, coming)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_with_a_peer_that_falls_silent_ends_before_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (phone, mute, _) = phone_and_mute(dir.path(), Talks::WithStream).await;
    write(&phone, "a line").await;
    let began = Instant::now();
    let report = phone.sync_once(DEADLINE, None).await.unwrap();
    let took = began.elapsed();
    assert_eq!(report.peers[0].result.as_ref().unwrap().reason, StopReason::Deadline);
    let reason = WaitReason::NotFinished;
    assert_eq!(report.state, SyncState::Waiting { reason });
    // The product's own promise; its last words alone would take as long again.
    assert!(took <= DEADLINE + SLACK, "it took {took:?}");
    phone.shutdown().await;
    mute.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_with_a_peer_that_lets_nobody_speak_ends_before_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let (phone, mute, _) = phone_and_mute(dir.path(), Talks::Connection).await;
    let report = tokio::time::timeout(DEADLINE + SLACK, phone.sync_once(DEADLINE, None)).await;
    let report = report.expect("it waits for a stream for ever").unwrap();
    assert!(matches!(report.peers[0].result, Err(NetError::Unreachable(_))));
    let state = report.state;
    let reason = |state: &SyncState| {
        matches!(
            state,
            SyncState::Waiting {
                reason: WaitReason::PeerUnreachable { .. }
            }
        )
    };
    assert!(reason(&state), "{state:?}");
    phone.shutdown().await;
    mute.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pod_tries_again_at_once_when_the_network_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (phone, mute, mut came) = phone_and_mute(dir.path(), Talks::Never).await;
    let live = phone.go_live().await.unwrap();
    // By itself it waits longer each time, and would have waited for twenty minutes by then.
    let tried = async {
        for n in 1..=25 {
            came.wait_for(|came| *came >= n).await.unwrap();
            phone.network_changed().await.unwrap();
        }
    };
    let within = Duration::from_secs(120);
    tokio::time::timeout(within, tried).await.expect("it does not wait");
    live.stop().await;
    phone.shutdown().await;
    mute.close().await;
}
