//! What a person relies on, with real pods, a real cloud peer and real sockets on loopback.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rhizome::{
    Confirm, DocumentId, FileKeeper, NetOptions, Pod, PodOptions, SyncState, Value,
    crypto::{Random, SeededRandom},
    net::{Direction, Observer, StopReason},
    path,
};
use rhizome_cloud::{Peer, PeerOptions};

const MINUTE: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-7e1b93-sings";

fn loopback(port: u16, observer: Option<Arc<dyn Observer>>) -> NetOptions {
    NetOptions {
        listen: vec![([127, 0, 0, 1], port).into()],
        observer,
        ..NetOptions::default()
    }
}

async fn peer(dir: &Path, port: u16) -> Peer {
    let options = PeerOptions {
        net: loopback(port, None),
        ..PeerOptions::new(dir.join("cloud"))
    };
    Peer::start(options).await.unwrap()
}

fn options(dir: &Path, keys: &str, observer: Option<Arc<dyn Observer>>) -> PodOptions {
    let keeper = Arc::new(FileKeeper::new(dir.join(format!("{keys}.keys"))));
    PodOptions {
        net: loopback(0, observer),
        ..PodOptions::new(keeper)
    }
}

async fn create(dir: &Path, name: &str) -> Pod {
    Pod::create(dir.join(name), options(dir, name, None), name)
        .await
        .unwrap()
        .0
}

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

async fn write(pod: &Pod, text: &str) -> DocumentId {
    let text = text.to_owned();
    let written = pod
        .create_document("journal", move |edit| {
            edit.set(&path(["date"]), Value::Date(1_790_000_000_000))?;
            edit.set(&path(["title"]), Value::String(text.clone()))?;
            edit.set_text(&path(["text"]), &text)
        })
        .await
        .unwrap();
    written.document
}

async fn text(pod: &Pod, document: DocumentId) -> Option<String> {
    let Value::Map(map) = pod.get(document).await.unwrap()? else {
        return None;
    };
    match map.get("text") {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

async fn sync(pod: &Pod) -> SyncState {
    let report = pod.sync_once(MINUTE, None).await.unwrap();
    for peer in &report.peers {
        peer.result.as_ref().unwrap();
    }
    report.state
}

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    for _ in 0..1_500 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came: {what}");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[derive(Default)]
struct Recorder(Mutex<Vec<u8>>);

impl Observer for Recorder {
    fn frame(&self, _: Direction, frame: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(frame);
    }
}

#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_in_no_file_no_frame_and_no_log_line() {
    let logs = LogLines::default();
    let writer = logs.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let cloud = peer(dir.path(), 0).await;
    let opts = options(dir.path(), "phone", Some(recorder.clone()));
    let (pod, _) = Pod::create(dir.path().join("phone"), opts.clone(), "phone")
        .await
        .unwrap();
    pod.link(&cloud.code(MINUTE).to_string(), yes()).await.unwrap();
    let document = write(&pod, CANARY).await;
    for n in 0..20 {
        write(&pod, &format!("{CANARY} {n}")).await;
    }
    sync(&pod).await;
    // While everything is open, the write-ahead logs are full.
    let everywhere = || {
        let mut found: Vec<PathBuf> = Vec::new();
        let mut looked = 0;
        for file in files(dir.path()) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            looked += bytes.len();
            let utf16: Vec<u8> = CANARY.encode_utf16().flat_map(u16::to_le_bytes).collect();
            if contains(&bytes, CANARY.as_bytes()) || contains(&bytes, &utf16) {
                found.push(file);
            }
        }
        assert!(looked > 100_000, "the files of a pod and a peer were looked at");
        found
    };
    assert_eq!(everywhere(), Vec::<PathBuf>::new());
    assert!(dir.path().join("phone/log.db-wal").exists() && dir.path().join("phone/views.db-wal").exists());
    pod.suspend().await.unwrap();
    pod.resume().await.unwrap();
    assert_eq!(text(&pod, document).await.as_deref(), Some(CANARY));
    pod.list("journal", "date", None, 10).await.unwrap();
    // Errors speak of what was asked, not of what was written.
    let wrong = pod
        .edit_document("journal", document, |edit| edit.increment(&path([CANARY, "x"]), 1))
        .await;
    assert!(!wrong.unwrap_err().to_string().contains(CANARY));
    sync(&pod).await;
    pod.shutdown().await;
    let pod = Pod::open(dir.path().join("phone"), opts).await.unwrap();
    assert_eq!(pod.count("journal").await.unwrap(), 21);
    pod.shutdown().await;
    cloud.stop().await;
    assert_eq!(everywhere(), Vec::<PathBuf>::new());
    let frames = recorder.0.lock().unwrap();
    assert!(frames.len() > 5_000, "frames were seen");
    assert!(!contains(&frames, CANARY.as_bytes()), "a frame shows it");
    let logs = logs.0.lock().unwrap();
    assert!(logs.len() > 1_000, "log lines were seen");
    assert!(!contains(&logs, CANARY.as_bytes()), "a log line shows it");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_copied_and_written_in_both_places_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = peer(dir.path(), 0).await;
    let one = create(dir.path(), "one").await;
    one.link(&cloud.code(MINUTE).to_string(), yes()).await.unwrap();
    let mut all = vec![(write(&one, "before the copy").await, "before the copy".to_owned())];
    sync(&one).await;
    one.shutdown().await;
    copy(&dir.path().join("one"), &dir.path().join("two"));
    let one = Pod::open(dir.path().join("one"), options(dir.path(), "one", None))
        .await
        .unwrap();
    let two = Pod::open(dir.path().join("two"), options(dir.path(), "one", None))
        .await
        .unwrap();
    for round in 0..3 {
        for (name, pod) in [("one", &one), ("two", &two)] {
            for n in 0..2 {
                let line = format!("round {round}, {name}, {n}");
                all.push((write(pod, &line).await, line));
            }
        }
        // One after the other: they share an endpoint key.
        sync(&one).await;
        sync(&two).await;
    }
    sync(&one).await;
    for (name, pod) in [("one", &one), ("two", &two)] {
        for (document, line) in &all {
            assert_eq!(text(pod, *document).await.as_ref(), Some(line), "{name} lost a line");
        }
        let status = pod.status().await.unwrap();
        assert_eq!(
            status.alarms.iter().filter(|alarm| alarm.kind.name() == "fork").count(),
            1,
            "{name} tells the owner"
        );
        assert!(pod.verify().await.unwrap() >= all.len() as u64);
        assert_eq!(status.only_here, 0);
    }
    // Each went on in an author log of its own: what they write now does not fork any more.
    write(&one, "apart").await;
    write(&two, "apart too").await;
    sync(&one).await;
    sync(&two).await;
    assert_eq!(one.status().await.unwrap().alarms.len(), 1);
    assert_eq!(two.status().await.unwrap().alarms.len(), 1);
    one.shutdown().await;
    two.shutdown().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_is_cut_again_and_again_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = peer(dir.path(), 0).await;
    let phone = create(dir.path(), "phone").await;
    phone.link(&cloud.code(MINUTE).to_string(), yes()).await.unwrap();
    let mut random = SeededRandom::new(3);
    for n in 0..60 {
        // Random, so that nothing is made small by compression.
        let noise: [u8; 16 * 1024] = (&mut random as &mut dyn Random).bytes();
        let hex: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
        write(&phone, &format!("{n} {hex}")).await;
    }
    let content = phone.status().await.unwrap().bytes;
    // One range is at most 256 KiB and the entry that crosses it.
    const RANGE: u64 = 300 * 1024;
    let (mut total, mut cuts, mut before) = (0, 0, phone.status().await.unwrap().only_here);
    loop {
        // By bytes, and by time: in the middle of whatever is under way.
        let (deadline, budget) = match cuts % 3 {
            0 => (MINUTE, Some(60_000)),
            1 => (Duration::from_millis(20 + 7 * cuts), None),
            _ => (MINUTE, Some(1)),
        };
        let report = phone.sync_once(deadline, budget).await.unwrap();
        let Ok(session) = report.peers[0].result.as_ref() else {
            cuts += 1;
            continue;
        };
        total += session.bytes_sent + session.bytes_received;
        // What was confirmed is counted at the next session at the latest, and never goes back.
        let now = phone.status().await.unwrap().only_here;
        assert!(now <= before, "progress went back from {before} to {now}");
        before = now;
        if session.reason == StopReason::Done {
            break;
        }
        cuts += 1;
        assert!(cuts < 200, "it never ends");
    }
    assert!(cuts > 1, "the budget cut it: {cuts}");
    assert_eq!(phone.status().await.unwrap().only_here, 0);
    assert!(
        total <= content + content / 10 + (cuts + 1) * RANGE,
        "{total} bytes for {content} in {cuts} cuts"
    );
    phone.shutdown().await;
    cloud.stop().await;
}

#[cfg(target_os = "linux")]
fn open_files(inside: &Path) -> Vec<PathBuf> {
    let links = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    links.filter(|path| path.starts_with(inside)).collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_pod_holds_no_file_no_lock_and_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = peer(dir.path(), 0).await;
    let phone = create(dir.path(), "phone").await;
    let folder = dir.path().join("phone").canonicalize().unwrap();
    phone.link(&cloud.code(MINUTE).to_string(), yes()).await.unwrap();
    let address: std::net::SocketAddr = phone.listen().await.unwrap()[0].parse().unwrap();
    write(&phone, "a line").await;
    let live = phone.go_live().await.unwrap();
    assert!(open_files(&folder).len() >= 4, "an open pod holds files");
    assert!(
        std::net::UdpSocket::bind(address).is_err(),
        "an open pod holds its socket"
    );
    phone.suspend().await.unwrap();
    assert_eq!(open_files(&folder), Vec::<PathBuf>::new());
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inodes: Vec<String> = files(&folder)
        .iter()
        .map(|file| {
            format!(
                ":{} ",
                std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(file).unwrap())
            )
        })
        .collect();
    assert!(
        !inodes.iter().any(|inode| locks.contains(inode.as_str())),
        "a lock is held"
    );
    drop(std::net::UdpSocket::bind(address).expect("the socket is free"));
    assert!(matches!(
        phone.sync_once(MINUTE, None).await,
        Err(rhizome::Error::Suspended)
    ));
    phone.resume().await.unwrap();
    assert_eq!(phone.count("journal").await.unwrap(), 1);
    sync(&phone).await;
    live.stop().await;
    phone.shutdown().await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pod_shows_at_once_what_another_device_writes() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = peer(dir.path(), 0).await;
    let (phone, tablet) = linked_pair(dir.path(), &cloud).await;
    let (live_phone, live_tablet) = (phone.go_live().await.unwrap(), tablet.go_live().await.unwrap());
    let document = write(&phone, "just now").await;
    eventually("the tablet shows it", async || text(&tablet, document).await.is_some()).await;
    let back = write(&tablet, "seen").await;
    eventually("the phone shows it", async || text(&phone, back).await.is_some()).await;
    eventually("the cloud peer holds it", async || {
        tablet.status().await.unwrap().only_here == 0
    })
    .await;
    assert!(matches!(
        tablet.status().await.unwrap().sync,
        SyncState::UpToDate { .. }
    ));
    let holders = tablet.document_holders(back).await.unwrap();
    assert!(holders.iter().any(|holder| holder.cloud), "{holders:?}");
    live_phone.stop().await;
    live_tablet.stop().await;
    phone.shutdown().await;
    tablet.shutdown().await;
    cloud.stop().await;
}

async fn linked_pair(dir: &Path, cloud: &Peer) -> (Pod, Pod) {
    let phone = create(dir, "phone").await;
    phone.link(&cloud.code(MINUTE).to_string(), yes()).await.unwrap();
    let tablet = join(dir, &phone, "tablet").await;
    (phone, tablet)
}

async fn join(dir: &Path, member: &Pod, name: &str) -> Pod {
    let invite = member.invite(MINUTE, yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let joining = Pod::join(dir.join(name), options(dir, name, None), name, &code, yes());
    let (joined, invited) = tokio::join!(joining, invite.finished());
    invited.unwrap();
    joined.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_linked_while_the_orderer_is_away_works_at_once_and_is_ordered_later() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let cloud = peer(dir.path(), port).await;
    let (phone, tablet) = linked_pair(dir.path(), &cloud).await;
    sync(&phone).await;
    sync(&tablet).await;
    cloud.stop().await;
    // The cloud peer orders, and is away. The tablet lets a third device in.
    let laptop = join(dir.path(), &tablet, "laptop").await;
    let document = write(&laptop, "from a device that nobody ordered").await;
    let status = laptop.status().await.unwrap();
    assert_eq!(
        status.peers.iter().filter(|peer| !peer.ordered).count(),
        1,
        "tentative, and said so"
    );
    let cloud = peer(dir.path(), port).await;
    // It brings its own proof, and is ordered by this.
    sync(&laptop).await;
    assert!(laptop.status().await.unwrap().peers.iter().all(|peer| peer.ordered));
    sync(&phone).await;
    assert_eq!(
        text(&phone, document).await.as_deref(),
        Some("from a device that nobody ordered")
    );
    let names: BTreeMap<_, _> = phone
        .status()
        .await
        .unwrap()
        .peers
        .iter()
        .map(|peer| (peer.name.clone().unwrap(), peer.ordered))
        .collect();
    assert!(names["laptop"]);
    for pod in [phone, tablet, laptop] {
        pod.shutdown().await;
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_settled_in_one_round_trip_and_few_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let cloud = peer(dir.path(), 0).await;
    let phone = create(dir.path(), "phone").await;
    phone.link(&cloud.code(MINUTE).to_string(), yes()).await.unwrap();
    write(&phone, "a line").await;
    sync(&phone).await;
    let report = phone.sync_once(MINUTE, None).await.unwrap();
    let session = report.peers[0].result.as_ref().unwrap();
    assert_eq!(session.outcome.round_trips, 1);
    // A hello each way and a goodbye.
    assert!(session.bytes_sent + session.bytes_received < 300, "{session:?}");
    assert!(matches!(report.state, SyncState::UpToDate { .. }));
    phone.shutdown().await;
    cloud.stop().await;
}
