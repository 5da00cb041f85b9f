//! A process that is killed with SIGKILL at random points of its appends: every acknowledged event is there afterwards, every chain
//! verifies, SQLite's integrity check passes. And a second process gets `InUse` until the first is gone.
//!
//! `RHIZOME_KILL_ROUNDS=n` kills more often.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rhizome::{
    Error, Event, FileKeeper, Pod, PodOptions,
    crypto::{Random, SeededRandom},
};

const ROUNDS: u64 = 40;
const APPENDS: u64 = 10_000;
const WRITERS: u64 = 4;

fn options(dir: &Path) -> PodOptions {
    PodOptions::new(Arc::new(FileKeeper::new(dir.join("keys"))))
}

fn number(event: &Event) -> u64 {
    match event {
        Event::App { payload, .. } => u64::from_le_bytes(payload[..8].try_into().unwrap()),
        _ => panic!("an event that nobody wrote"),
    }
}

/// Not a test of its own: what the killed process runs.
#[test]
fn child_that_writes() {
    let Ok(dir) = std::env::var("RHIZOME_KILL_DIR") else {
        return;
    };
    let first: u64 = std::env::var("RHIZOME_KILL_FIRST").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = Path::new(&dir);
        let pod = Pod::open(dir.join("pod"), options(dir)).await.unwrap();
        println!("open");
        let tasks: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let pod = pod.clone();
                tokio::spawn(async move {
                    for n in (first + writer..first + APPENDS).step_by(WRITERS as usize) {
                        let payload = [&n.to_le_bytes()[..], &[b'x'; 200]].concat();
                        pod.append(
                            "journal",
                            vec![Event::App {
                                kind: "n".into(),
                                payload,
                            }],
                        )
                        .await
                        .unwrap();
                        // Only now may anybody rely on it.
                        writeln!(std::io::stdout(), "ack {n}").unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        println!("end");
    });
}

fn spawn(dir: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes", "--nocapture"])
        .env("RHIZOME_KILL_DIR", dir)
        .env("RHIZOME_KILL_FIRST", first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_acknowledged_is_there_however_the_process_dies() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let block = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>| runtime.block_on(future);
    let folder = dir.path().to_owned();
    block(Box::pin({
        let folder = folder.clone();
        async move {
            Pod::create(folder.join("pod"), options(&folder), "phone")
                .await
                .unwrap()
                .0
                .shutdown()
                .await
        }
    }));
    let rounds = std::env::var("RHIZOME_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut random = SeededRandom::new(7);
    let mut random_below = |below: u64| u64::from_le_bytes((&mut random as &mut dyn Random).bytes()) % below;
    let mut acknowledged = BTreeSet::new();
    let (mut killed, mut in_use) = (0, 0);
    for round in 0..rounds {
        let first = round * APPENDS;
        let mut child = spawn(&folder, first);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after so many acknowledgements, and a little later, so that it dies in the middle of something.
        let until = random_below(APPENDS / rounds * 2) + 1;
        let (mut count, mut seen_open) = (0, false);
        let deadline = Instant::now() + Duration::from_secs(60);
        for line in lines {
            let line = line.unwrap();
            if line.ends_with("open") && !seen_open {
                seen_open = true;
                if round % 8 == 0 {
                    let opened = runtime.block_on(Pod::open(folder.join("pod"), options(&folder)));
                    assert!(
                        matches!(opened, Err(Error::InUse)),
                        "a second process got in: {opened:?}"
                    );
                    in_use += 1;
                }
            }
            if let Some(n) = line.strip_prefix("ack ") {
                acknowledged.insert(n.parse::<u64>().unwrap());
                count += 1;
                if count == until {
                    std::thread::sleep(Duration::from_micros(random_below(3_000)));
                    child.kill().unwrap();
                    killed += 1;
                }
            }
            assert!(Instant::now() < deadline, "the child writes nothing");
        }
        child.wait().unwrap();
        let known = acknowledged.clone();
        let folder = folder.clone();
        block(Box::pin(async move {
            let pod = Pod::open(folder.join("pod"), options(&folder)).await.unwrap();
            let events = pod.events("journal").await.unwrap();
            let there: BTreeSet<u64> = events.iter().map(number).collect();
            assert_eq!(events.len(), there.len(), "an event twice");
            let lost: Vec<&u64> = known.difference(&there).collect();
            assert!(lost.is_empty(), "lost {lost:?}");
            assert!(pod.verify().await.unwrap() >= known.len() as u64);
            pod.shutdown().await;
        }));
    }
    println!(
        "{killed} kills, {in_use} second processes turned away, {} appends acknowledged, 0 lost",
        acknowledged.len()
    );
    assert!(killed > rounds / 2 && acknowledged.len() > 100);
}
