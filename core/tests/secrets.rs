//! A pod that is suspended leaves no secret in memory: a process works with two pods, suspends them, and all of its memory is searched for
//! every secret it had. The same search finds each of them while the pods are open, so it can fail.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

mod common;
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
use memory::{Memory, Secrets};
use rhizome::{
    DeviceSecret, FileKeeper, Keeper, Kept, NetOptions, Pod, PodOptions, Ticket, Value, Zeroizing,
    crypto::{OsRandom, Random, SecretId, derive_key},
    identity::RecoverySecret,
    path,
    store::{Folder, LogStore},
    sync::{Limits, Replica},
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

/// The device secret of the pod `name`, from its keeper.
fn device_secret(dir: &Path, name: &str) -> DeviceSecret {
    let folder = Folder::open(&dir.join(name), false);
    let id = match folder {
        Ok(folder) => folder.read().unwrap().unwrap().secret,
        // The pod is open: its file says the same.
        Err(_) => {
            let json: serde_json::Value =
                serde_json::from_slice(&std::fs::read(dir.join(name).join("pod.json")).unwrap()).unwrap();
            let id = data_encoding::HEXLOWER.decode(json["secret"].as_str().unwrap().as_bytes());
            SecretId::from_slice(&id.unwrap()).unwrap()
        }
    };
    match FileKeeper::new(dir.join(format!("{name}.keys"))).load(&id).unwrap() {
        Kept::Found(secret) => secret,
        other => panic!("{other:?}"),
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

/// An Ed25519 key: its seed, and what signing computes from it (RFC 8032, section 5.1.5) in the forms that libraries keep.
fn add_signing_key(secrets: &mut Secrets, name: &str, seed: &[u8; 32]) {
    secrets.add(&format!("{name}: seed"), seed);
    let key = ed25519_dalek::SigningKey::from_bytes(seed);
    let mut scalar = key.to_scalar_bytes();
    secrets.add(&format!("{name}: scalar"), &scalar);
    secrets.add(&format!("{name}: reduced scalar"), &key.to_scalar().to_bytes());
    clamp(&mut scalar);
    secrets.add(&format!("{name}: clamped scalar"), &scalar);
}

fn clamp(scalar: &mut [u8; 32]) {
    scalar[0] &= 248;
    scalar[31] = scalar[31] & 127 | 64;
}

fn add_agreement_key(secrets: &mut Secrets, name: &str, scalar: &[u8; 32]) {
    secrets.add(name, scalar);
    let mut clamped = *scalar;
    clamp(&mut clamped);
    secrets.add(name, &clamped);
}

fn add_ticket(secrets: &mut Secrets, name: &str, code: &str) {
    secrets.add(&format!("{name}: secret"), &Ticket::parse(code).unwrap().secret[..]);
    let code = code.strip_prefix("rhizome:").unwrap();
    secrets.add(&format!("{name}: code"), code.to_ascii_lowercase().as_bytes());
    secrets.add(&format!("{name}: code"), code.to_ascii_uppercase().as_bytes());
}

/// Every key that the pod `name` can reach, from its files and its keeper, once no process has it open.
fn add_device(secrets: &mut Secrets, dir: &Path, name: &str) {
    let secret = device_secret(dir, name);
    let derive = |purpose: &str| derive_key(purpose, secret.expose());
    secrets.add(&format!("{name}: device secret"), secret.expose());
    add_signing_key(secrets, &format!("{name}: signing key"), &derive("device signing"));
    add_signing_key(secrets, &format!("{name}: endpoint key"), &derive("device endpoint"));
    add_agreement_key(secrets, &format!("{name}: agreement key"), &derive("device agreement"));
    let views = derive("views");
    secrets.add(&format!("{name}: key of views.db"), &*views);
    let hex = data_encoding::HEXLOWER.encode(&*views);
    secrets.add(&format!("{name}: key of views.db, hex"), hex.as_bytes());
    secrets.add(
        &format!("{name}: key of views.db, HEX"),
        hex.to_ascii_uppercase().as_bytes(),
    );

    let log = LogStore::open(&dir.join(name), false, &mut OsRandom).unwrap();
    let identity = log.read(|read| read.identities()).unwrap()[0];
    let keys = secret.keys();
    let replica = Replica::load(
        log.clone(),
        identity,
        keys.signing.clone(),
        Arc::new(|| 0),
        Limits::default(),
    )
    .unwrap();
    let known = replica.known();
    let (ring, binding) = (known.key_ring(&keys), known.ordered.binding());
    let identity_key = ring.identity_key(&known.ordered.key_id()).unwrap();
    secrets.add(&format!("{name}: identity key"), &**identity_key);
    secrets.add(
        &format!("{name}: key of sealed parts"),
        &*derive_key("sealed part", identity_key),
    );
    let mut epochs = 0;
    for operation in known.log.iter().map(|(_, operation)| operation).chain(&known.pending) {
        for (_, _, _, key) in &raw::open_sealed(operation, &binding, identity_key)
            .unwrap_or_default()
            .streams
        {
            secrets.add(&format!("{name}: epoch key"), &key[..]);
            secrets.add(&format!("{name}: section key"), &*derive_key("section", &key));
            epochs += 1;
        }
    }
    assert!(epochs > 0);
    log.close();
}

fn add_words(secrets: &mut Secrets, words: &str) {
    let mnemonic = bip39::Mnemonic::parse_normalized(words).unwrap();
    let entropy: [u8; 32] = mnemonic.to_entropy().try_into().unwrap();
    secrets.add("recovery: entropy", &entropy);
    let places: Vec<u8> = mnemonic
        .word_indices()
        .flat_map(|place| (place as u16).to_le_bytes())
        .collect();
    secrets.add("recovery: places of the words", &places);
    for some in words.split(' ').collect::<Vec<_>>().windows(5) {
        secrets.add("recovery: five of the words", some.join(" ").as_bytes());
    }
    add_signing_key(
        secrets,
        "recovery: signing key",
        &derive_key("recovery signing", &entropy),
    );
    add_agreement_key(
        secrets,
        "recovery: agreement key",
        &derive_key("recovery agreement", &entropy),
    );
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

    let mut secrets = Secrets::new();
    add_device(&mut secrets, dir, "home");
    add_device(&mut secrets, dir, "guest");
    add_words(&mut secrets, &std::fs::read_to_string(dir.join("words")).unwrap());
    add_ticket(&mut secrets, "own ticket", &code);
    add_ticket(
        &mut secrets,
        "their ticket",
        &std::fs::read_to_string(dir.join("their code")).unwrap(),
    );
    secrets.add("canary", canary[canary.len() - 50..].as_bytes());

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
