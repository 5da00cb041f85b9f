//! A pod that is suspended leaves no secret in memory: a process works with two pods, suspends them, and all of its memory is searched for
//! every secret it had. The same search finds each of them while the pods are open, so it can fail.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;
mod leaks;
mod memory;
mod raw;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::yes;
use leaks::{add_device, add_ticket, add_words, device_secret};
use memory::{Memory, Secrets};
use rhizome::{
    FileKeeper, NetOptions, Pod, PodOptions, Ticket, Value, Zeroizing,
    crypto::{OsRandom, Random},
    identity::RecoverySecret,
    path,
};

const MINUTE: Duration = Duration::from_secs(60);

fn options(dir: &Path, name: &str) -> PodOptions {
    PodOptions {
        net: NetOptions {
            listen: vec![([127, 0, 0, 1], 0).into()],
            ..NetOptions::default()
        },
        ..PodOptions::new(Arc::new(FileKeeper::new(dir.join(format!("{name}.keys")))))
    }
}

fn read_secret_text(path: &Path) -> Zeroizing<String> {
    Zeroizing::new(std::fs::read_to_string(path).unwrap())
}

async fn write_canary(pod: &Pod, canary: &Zeroizing<String>) {
    let text = canary.clone();
    let written = pod
        .create_document("journal", move |edit| {
            edit.set(&path(["date"]), Value::Date(1_790_000_000_000))?;
            edit.set_text(&path(["text"]), &text)
        })
        .await
        .unwrap();
    let text = canary.clone();
    pod.edit_document("journal", written.document, move |edit| {
        edit.set_text(&path(["again"]), &text)
    })
    .await
    .unwrap();
    assert!(pod.get(written.document).await.unwrap().is_some());
    assert!(!pod.list("journal", "date", None, 20).await.unwrap().rows.is_empty());
}

/// Tells the parent where this process is, and waits until it may go on.
fn pause(at: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\nat {at}").unwrap();
    out.flush().unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// Not a test of its own: what the searched process runs. It wipes every copy of a secret that is the application's.
#[test]
fn child_that_suspends() {
    let Ok(dir) = std::env::var("RHIZOME_SECRETS_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let canary = read_secret_text(&dir.join("canary"));
        let (home, words) = Pod::create(dir.join("home"), options(dir, "home"), "phone")
            .await
            .unwrap();
        std::fs::write(dir.join("words"), words.as_bytes()).unwrap();
        drop(words);
        write_canary(&home, &canary).await;
        let invite = home.invite(MINUTE, yes()).await.unwrap();
        let code = Zeroizing::new(invite.ticket.to_string());
        std::fs::write(dir.join("code"), code.as_bytes()).unwrap();
        drop(code);
        pause("invite");
        invite.finished().await.unwrap();
        pause("linked");

        let code = read_secret_text(&dir.join("their code"));
        let guest = Pod::join(dir.join("guest"), options(dir, "guest"), "watch", &code, yes())
            .await
            .unwrap();
        drop(code);
        write_canary(&guest, &canary).await;
        for peer in guest.sync_once(MINUTE, None).await.unwrap().peers {
            peer.result.unwrap();
        }
        pause("synced");

        // What is only in passing is held for once, so that the search shows that it would find it.
        let held = (
            ["home", "guest"].map(|name| device_secret(dir, name)),
            RecoverySecret::from_words(&read_secret_text(&dir.join("words"))).unwrap(),
            read_secret_text(&dir.join("words")),
            ["code", "their code"].map(|code| read_secret_text(&dir.join(code))),
            ["code", "their code"].map(|code| Ticket::parse(&read_secret_text(&dir.join(code))).unwrap()),
        );
        pause("open");
        drop((held, canary));
        home.suspend().await.unwrap();
        guest.suspend().await.unwrap();
        pause("suspended");
        home.resume().await.unwrap();
        guest.resume().await.unwrap();
        assert_eq!(home.count("journal").await.unwrap(), 1);
        assert_eq!(guest.count("journal").await.unwrap(), 1);
        home.shutdown().await;
        guest.shutdown().await;
        pause("shut down");
    });
}

struct Searched {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Searched {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_suspends", "--nocapture"])
            .env("RHIZOME_SECRETS_DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn wait_for(&mut self, place: &str) {
        let wanted = format!("at {place}");
        assert!(
            self.lines.by_ref().any(|line| line.unwrap() == wanted),
            "the child ended before it was {wanted}"
        );
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Searched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the searched process holds while its pods are open. The search must find it.
const HELD: &[&str] = &[
    "home: device secret",
    "home: signing key: seed",
    "home: endpoint key: seed",
    "home: agreement key",
    "home: key of views.db",
    "home: identity key",
    "home: section key",
    "guest: device secret",
    "guest: signing key: seed",
    "guest: endpoint key: seed",
    "guest: agreement key",
    "guest: key of views.db",
    "guest: identity key",
    "guest: section key",
    "recovery: entropy",
    "recovery: five of the words",
    "own ticket: secret",
    "own ticket: code",
    "their ticket: secret",
    "their ticket: code",
    "canary",
];

#[test]
fn a_core_dump_of_a_suspended_pod_holds_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let drawn: [u8; 32] = (&mut OsRandom as &mut dyn Random).bytes();
    let canary = format!("a canary that sings {}", data_encoding::BASE32_NOPAD.encode(&drawn));
    std::fs::write(dir.join("canary"), &canary).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();

    let mut searched = Searched::start(dir);
    searched.wait_for("invite");
    searched.go_on();
    let code = std::fs::read_to_string(dir.join("code")).unwrap();
    let tablet = runtime.block_on(Pod::join(
        dir.join("tablet"),
        options(dir, "tablet"),
        "tablet",
        &code,
        yes(),
    ));
    let tablet = tablet.unwrap();
    searched.wait_for("linked");
    let (other, invite) = runtime.block_on(async {
        for peer in tablet.sync_once(MINUTE, None).await.unwrap().peers {
            peer.result.unwrap();
        }
        assert_eq!(
            tablet.count("journal").await.unwrap(),
            1,
            "the searched process served a sync"
        );
        let (other, _) = Pod::create(dir.join("other"), options(dir, "other"), "desk")
            .await
            .unwrap();
        let invite = other.invite(MINUTE, yes()).await.unwrap();
        (other, invite)
    });
    std::fs::write(dir.join("their code"), invite.ticket.to_string()).unwrap();
    searched.go_on();
    runtime.block_on(invite.finished()).unwrap();
    searched.wait_for("synced");
    searched.go_on();
    searched.wait_for("open");
    let open = Memory::of(&searched.child);
    searched.go_on();
    searched.wait_for("suspended");
    let suspended = Memory::of(&searched.child);
    searched.go_on();
    searched.wait_for("shut down");
    let closed = Memory::of(&searched.child);
    searched.go_on();
    assert!(searched.child.wait().unwrap().success());
    runtime.block_on(async {
        assert_eq!(other.count("journal").await.unwrap(), 1, "the searched process synced");
        other.shutdown().await;
        tablet.shutdown().await;
    });

    let mut known = Vec::new();
    add_device(&mut known, dir, "home");
    add_device(&mut known, dir, "guest");
    add_words(&mut known, &std::fs::read_to_string(dir.join("words")).unwrap());
    add_ticket(&mut known, "own ticket", &code);
    add_ticket(
        &mut known,
        "their ticket",
        &std::fs::read_to_string(dir.join("their code")).unwrap(),
    );
    known.push(("canary".to_owned(), canary.as_bytes()[canary.len() - 50..].to_vec()));
    let mut secrets = Secrets::new();
    for (name, bytes) in &known {
        secrets.add(name, bytes);
    }
    println!(
        "{} secrets searched for in {} MiB open, {} MiB suspended, {} MiB shut down",
        secrets.names().len(),
        open.len() >> 20,
        suspended.len() >> 20,
        closed.len() >> 20
    );
    let found = open.find(&secrets);
    for name in HELD {
        assert!(
            found.contains_key(*name),
            "the search does not find what is there: {name}"
        );
    }
    for (when, memory) in [("suspended", &suspended), ("shut down", &closed)] {
        let mut left = memory.find(&secrets);
        // What a person wrote passes through Automerge, SQLite and text of the application, and none of them wipes what it frees
        // (docs/threats.md, T4). Keys and words do not.
        if let Some(places) = left.remove("canary") {
            println!("{when}: {} pieces of the canary in freed memory", places.len());
        }
        for (name, places) in &left {
            println!("{when}: {name} {:?}", &places[..places.len().min(4)]);
        }
        assert!(left.is_empty(), "{when}, and {} secrets are in memory", left.len());
    }
}
