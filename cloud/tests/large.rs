//! A large attachment: cut at 99 % both ways, and the memory that it takes on each side. 48 MiB here; `make large` has 1 GiB.
//!
//! Each device is a process of its own, killed or ended between its steps, and this process is the cloud peer. Memory is read from `/proc`.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

use std::{
    io::{Read, Write},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rhizome::{
    AttachmentRef, Confirm, DocumentId, FileKeeper, NetOptions, NewAttachment, Pod, PodOptions,
    net::{Direction, Observer},
    path,
};
use rhizome_cloud::{Peer, PeerOptions};

const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1 << 20;
/// What each process may grow by while an attachment of any size passes through it.
const MOST: u64 = 32 * MIB;

fn size() -> u64 {
    let mib = std::env::var("RHIZOME_LARGE_MIB").map_or(48, |text| text.parse().unwrap());
    mib * MIB
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Resident memory now; from here on the peak is counted anew.
fn begin() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS:")
}

fn grown(since: u64) -> u64 {
    status("VmHWM:").saturating_sub(since)
}

/// Bytes that do not repeat, made as they are read.
#[derive(Clone)]
struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    fn new() -> Self {
        Self {
            state: 0x9e37_79b9_7f4a_7c15,
            left: size(),
        }
    }
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = (out.len() as u64).min(self.left) as usize;
        for word in out[..len].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            word.copy_from_slice(&self.state.to_le_bytes()[..word.len()]);
        }
        self.left -= len as u64;
        Ok(len)
    }
}

/// Compares what is written with what was attached.
struct Same(Noise, Arc<AtomicU64>);

impl Write for Same {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut expected = vec![0; bytes.len()];
        self.0.read_exact(&mut expected)?;
        assert!(bytes == expected, "it came back changed");
        self.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Wire {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Observer for Wire {
    fn frame(&self, direction: Direction, frame: &[u8]) {
        let count = match direction {
            Direction::Sent => &self.sent,
            Direction::Received => &self.received,
        };
        count.fetch_add(frame.len() as u64, Ordering::Relaxed);
    }
}

fn options(dir: &Path, name: &str) -> (PodOptions, Arc<Wire>) {
    let wire = Arc::new(Wire::default());
    let net = NetOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        observer: Some(wire.clone()),
        ..NetOptions::default()
    };
    let keeper = Arc::new(FileKeeper::new(dir.join(format!("{name}.keys"))));
    let options = PodOptions {
        net,
        ..PodOptions::new(keeper)
    };
    (options, wire)
}

/// What a step in a process of its own says: by how much it grew, and bytes of frames sent and received.
#[derive(Debug)]
struct Step {
    grown: u64,
    sent: u64,
    received: u64,
}

/// Runs one step of a device in a process of its own.
async fn step(dir: &Path, name: &str, what: &str, document: &str, budget: u64) -> Step {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture"])
        .env("RHIZOME_LARGE_DIR", dir)
        .env("RHIZOME_LARGE_STEP", format!("{name} {what} {document} {budget}"));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("step: "));
    let line = line.unwrap_or_else(|| panic!("{what}: {said} {}", String::from_utf8_lossy(&output.stderr)));
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    let step = Step {
        grown: numbers[0],
        sent: numbers[1],
        received: numbers[2],
    };
    println!(
        "{name} {what}: grew by {} KiB, sent {}, received {}",
        step.grown / 1024,
        step.sent,
        step.received
    );
    step
}

/// Not a test of its own: what the process of a device runs.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(dir) = std::env::var("RHIZOME_LARGE_DIR") else {
        return;
    };
    let (dir, asked) = (Path::new(&dir), std::env::var("RHIZOME_LARGE_STEP").unwrap());
    let words: Vec<&str> = asked.split(' ').collect();
    let (name, what, document, budget) = (words[0], words[1], words[2], words[3].parse::<u64>().unwrap());
    let (opts, wire) = options(dir, name);
    let pod = Pod::open(dir.join(name), opts).await.unwrap();
    let budget = Some(budget).filter(|budget| *budget > 0);
    let attached = async || -> AttachmentRef {
        let document = DocumentId::from_hex(document).unwrap();
        pod.attachments_of(document).await.unwrap().remove(0)
    };
    let before = begin();
    match what {
        "attach" => {
            let what = NewAttachment {
                media_type: "video/mp4".to_owned(),
                ..NewAttachment::default()
            };
            let value = pod.attach(Noise::new(), what).await.unwrap().to_value();
            let document = DocumentId::from_hex(document).unwrap();
            let edit = pod.edit_document("journal", document, move |edit| {
                edit.set(&path(["film"]), value.clone())
            });
            edit.await.unwrap();
        }
        "pin" => pod.pin_attachment(attached().await.id, true).await.unwrap(),
        "sync" => {
            let report = pod.sync_once(HOUR, budget).await.unwrap();
            report.peers[0].result.as_ref().unwrap();
        }
        "export" => {
            let count = Arc::new(AtomicU64::new(0));
            let same = Same(Noise::new(), count.clone());
            pod.export_attachment(&attached().await, same, HOUR, None)
                .await
                .unwrap();
            assert_eq!(count.load(Ordering::Relaxed), size());
        }
        other => panic!("{other}"),
    }
    let grown = grown(before);
    let (sent, received) = (wire.sent.load(Ordering::Relaxed), wire.received.load(Ordering::Relaxed));
    println!("\nstep: {grown} {sent} {received}");
    // Killed, with everything open: what was acknowledged is there all the same.
    std::process::exit(0);
}

fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_attachment_takes_little_memory_and_goes_on_where_it_was_cut() {
    if std::env::var_os("RHIZOME_LARGE_DIR").is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let peer = Peer::start(PeerOptions {
        net: options(dir, "cloud").0.net,
        ..PeerOptions::new(dir.join("cloud"))
    })
    .await
    .unwrap();
    let (phone, _) = Pod::create(dir.join("phone"), options(dir, "phone").0, "phone")
        .await
        .unwrap();
    phone.link(&peer.code(HOUR).to_string(), yes()).await.unwrap();
    let invite = phone.invite(HOUR, yes()).await.unwrap();
    let code = invite.ticket.to_string();
    let tablet = Pod::join(dir.join("tablet"), options(dir, "tablet").0, "tablet", &code, yes())
        .await
        .unwrap();
    invite.finished().await.unwrap();
    let written = phone.create_document("journal", |edit| edit.set(&path(["film"]), rhizome::Value::Null));
    let document = written.await.unwrap().document.to_string();
    phone.shutdown().await;
    tablet.shutdown().await;

    let before = begin();
    let all = size();
    // The phone: attached, sent up to 99 % of it, killed, sent to the end.
    let attach = step(dir, "phone", "attach", &document, 0).await;
    let cut = step(dir, "phone", "sync", "-", all / 100 * 99).await;
    let rest = step(dir, "phone", "sync", "-", 0).await;
    assert!(cut.sent >= all / 100 * 98);
    // What is there is not sent again: together no more than it has with its padding, and what was on the way when it was cut.
    let padded = peer.identities().await.unwrap()[0].attachment_bytes;
    assert!((all..all + all / 16).contains(&padded));
    assert!(
        cut.sent + rest.sent < padded + 6 * MIB,
        "{} of {padded}",
        cut.sent + rest.sent
    );
    let nothing = step(dir, "phone", "sync", "-", 0).await;
    assert!(nothing.sent < MIB);
    // The tablet: the same the other way.
    step(dir, "tablet", "sync", "-", 0).await;
    step(dir, "tablet", "pin", &document, 0).await;
    let got = step(dir, "tablet", "sync", "-", all / 100 * 99).await;
    let end = step(dir, "tablet", "export", &document, 0).await;
    assert!(got.received >= all / 100 * 97);
    assert!(
        got.received + end.received < padded + 6 * MIB,
        "{}",
        got.received + end.received
    );
    let here = grown(before);
    println!("cloud peer: grew by {} KiB", here / 1024);
    for (who, grown) in [
        ("attaching", attach.grown),
        ("sending", cut.grown.max(rest.grown)),
        ("getting", got.grown),
        ("exporting", end.grown),
        ("the cloud peer", here),
    ] {
        assert!(grown < MOST, "{who} grew by {} MiB", grown / MIB);
    }
    peer.stop().await;
}
