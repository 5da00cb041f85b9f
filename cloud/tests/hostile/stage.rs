//! Honest parts: a cloud peer, two devices of one identity, what was acknowledged, and the check that all of it survived an attack.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use rhizome::{
    Confirm, DocumentId, Event, FileKeeper, NetOptions, Pod, PodOptions, SyncReport, SyncState, Value, WaitReason, path,
};
use rhizome_cloud::{Peer, PeerOptions};

pub const MINUTE: Duration = Duration::from_secs(60);
/// What a background wake gives a sync with a peer that may never end it.
pub const WAKE: Duration = Duration::from_secs(4);
/// Nothing here should take so long on any machine. It is no measure, only an end.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs what waits for the disk in a thread of its own. (`block_in_place` in the test's own task can take a wake-up away from it.)
pub fn apart<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

pub fn loopback(port: u16) -> NetOptions {
    NetOptions {
        listen: vec![([127, 0, 0, 1], port).into()],
        ..NetOptions::default()
    }
}

pub fn peer_options(dir: &Path, port: u16) -> PeerOptions {
    PeerOptions {
        net: loopback(port),
        ..PeerOptions::new(dir.join("cloud"))
    }
}

pub async fn start(dir: &Path, port: u16) -> Peer {
    Peer::start(peer_options(dir, port)).await.unwrap()
}

/// A port that is let go and taken again without anybody else taking it in between: below those that the system gives.
fn port_of_ones_own() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + std::process::id() % 97 * 200;
    loop {
        let port = first as u16 + NEXT.fetch_add(1, Ordering::Relaxed) % 200;
        if std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The keys are named apart from the folder, so that a copy of a folder can be opened with them.
pub fn pod_options(dir: &Path, keys: &str) -> PodOptions {
    PodOptions {
        net: loopback(0),
        ..PodOptions::new(Arc::new(FileKeeper::new(dir.join(format!("{keys}.keys")))))
    }
}

pub async fn create(dir: &Path, name: &str) -> Pod {
    Pod::create(dir.join(name), pod_options(dir, name), name)
        .await
        .unwrap()
        .0
}

pub fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

pub async fn link(pod: &Pod, peer: &Peer) {
    pod.link(&peer.code(MINUTE).to_string(), yes()).await.unwrap();
}

pub async fn join(dir: &Path, by: &Pod, name: &str) -> Pod {
    let invite = by.invite(MINUTE, yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let joined = Pod::join(dir.join(name), pod_options(dir, name), name, &code, yes())
        .await
        .unwrap();
    invite.finished().await.unwrap();
    joined
}

pub async fn write(pod: &Pod, text: &str) -> DocumentId {
    let text = text.to_owned();
    let written = pod.create_document("journal", move |edit| {
        edit.set(&path(["date"]), Value::Date(1))?;
        edit.set_text(&path(["text"]), &text)
    });
    written.await.unwrap().document
}

/// A sync that must end by itself, whatever the other side does.
pub async fn sync(pod: &Pod, within: Duration) -> SyncReport {
    tokio::time::timeout(within + PATIENCE, pod.sync_once(within, None))
        .await
        .expect("a sync ends by its deadline")
        .unwrap()
}

pub async fn sync_well(pod: &Pod) {
    let report = sync(pod, MINUTE).await;
    for peer in &report.peers {
        peer.result.as_ref().unwrap();
    }
    assert!(matches!(report.state, SyncState::UpToDate { .. }), "{report:?}");
}

pub async fn alarms(pod: &Pod) -> Vec<&'static str> {
    let mut alarms: Vec<_> = pod
        .status()
        .await
        .unwrap()
        .alarms
        .iter()
        .map(|a| a.kind.name())
        .collect();
    alarms.sort_unstable();
    alarms
}

/// The word for why a pod is not up to date.
pub fn waits(report: &SyncReport) -> &'static str {
    match &report.state {
        SyncState::Waiting { reason } => reason.kind(),
        SyncState::UpToDate { .. } => "up-to-date",
        SyncState::Syncing { .. } => "syncing",
    }
}

pub fn is_distrust(report: &SyncReport) -> bool {
    let reason = WaitReason::Distrust;
    report.state == SyncState::Waiting { reason }
}

pub fn copy(from: &Path, to: &Path) {
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

/// A phone and a tablet that share a journal through a cloud peer, at the moment the peer falls into other hands.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub port: u16,
    pub phone: Pod,
    pub tablet: Pod,
    /// Every text whose write was acknowledged.
    written: Vec<(DocumentId, String)>,
}

impl Scene {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = port_of_ones_own();
        let peer = start(dir.path(), port).await;
        let phone = create(dir.path(), "phone").await;
        link(&phone, &peer).await;
        let tablet = join(dir.path(), &phone, "tablet").await;
        let mut scene = Self {
            dir,
            port,
            phone,
            tablet,
            written: Vec::new(),
        };
        scene.phone_writes("one by the phone").await;
        scene.tablet_writes("one by the tablet").await;
        for pod in [&scene.phone, &scene.tablet, &scene.phone] {
            sync_well(pod).await;
        }
        peer.stop().await;
        scene
    }

    pub fn cloud(&self) -> PathBuf {
        self.dir.path().join("cloud")
    }

    pub async fn phone_writes(&mut self, text: &str) -> DocumentId {
        let document = write(&self.phone, text).await;
        self.written.push((document, text.to_owned()));
        document
    }

    /// An entry of this size.
    pub async fn phone_appends(&self, size: usize) {
        let kind = "large".to_owned();
        let payload = vec![7; size];
        self.phone
            .append("journal", vec![Event::App { kind, payload }])
            .await
            .unwrap();
    }

    pub async fn tablet_writes(&mut self, text: &str) -> DocumentId {
        let document = write(&self.tablet, text).await;
        self.written.push((document, text.to_owned()));
        document
    }

    /// The honest program runs again on the peer's folder. Nothing acknowledged is lost, both devices and the peer come to hold the same.
    pub async fn ends_well(self) {
        let peer = start(self.dir.path(), self.port).await;
        for pod in [&self.phone, &self.tablet, &self.phone] {
            sync_well(pod).await;
        }
        for pod in [&self.phone, &self.tablet] {
            for (document, text) in &self.written {
                let held = pod.get(*document).await.unwrap();
                let Some(Value::Map(map)) = held else {
                    panic!("{text:?} is lost")
                };
                assert_eq!(map["text"], Value::Text(text.clone()));
            }
            let status = pod.status().await.unwrap();
            assert_eq!((status.only_here, status.unfolded), (0, 0));
            // What two branches share is verified on each.
            assert!(pod.verify().await.unwrap() >= status.entries);
        }
        let (phone, tablet) = (self.phone.status().await.unwrap(), self.tablet.status().await.unwrap());
        assert_eq!(phone.entries, tablet.entries);
        assert_eq!(peer.identities().await.unwrap()[0].entries, phone.entries);
        self.phone.shutdown().await;
        self.tablet.shutdown().await;
        peer.stop().await;
    }
}
