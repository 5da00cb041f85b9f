//! The binary as a person or a script runs it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rhizome::{Confirm, FileKeeper, PeerAddress, Pod, PodOptions};
use serde_json::Value;

fn cloud(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rhizome-cloud"))
        .args(args)
        .output()
        .unwrap()
}

/// The one line on standard error.
fn complaint(output: &Output, code: i32) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("error: "), "{text}");
    assert!(output.stdout.is_empty());
    text
}

struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Server {
    fn start(data: &Path, more: &[&str]) -> Self {
        Self::start_at(data, "127.0.0.1:0", more)
    }

    fn start_at(data: &Path, listen: &str, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rhizome-cloud"))
            .args(["serve", "--json", "--listen", listen, "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Stops it as a service manager does; answers what it logged.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let began = Instant::now();
        let output = self.child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(began.elapsed() < Duration::from_secs(10));
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.out, &mut rest).unwrap();
        assert!(rest.ends_with("{\"event\":\"stopped\"}\n"), "{rest}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn wrong_arguments_get_one_line_that_says_what_to_do() {
    for (args, hint) in [
        (&[][..], "serve --data DIR"),
        (&["serve"], "--data"),
        (&["dance"], "dance"),
        (&["serve", "--data", "x", "--listen", "here"], "0.0.0.0:4433"),
        (&["serve", "--data", "x", "--relay", "maybe"], "public"),
        (&["serve", "--data", "x", "--quota-bytes", "a lot"], "10GB"),
        (&["serve", "--data", "x", "--announce", "a b"], "host name"),
        (&["serve", "--data", "x", "--per-minute", "0"], "per-minute"),
        (&["link", "--data", "x", "--minutes", "0"], "minutes"),
        (&["quota", "--data", "x", "--entries", "-3"], "-3"),
    ] {
        let text = complaint(&cloud(args), 2);
        assert!(text.contains(hint), "{text}");
    }
    assert!(cloud(&["--help"]).status.success());
    assert!(cloud(&["--version"]).status.success());
}

#[test]
fn a_folder_without_a_peer_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("none");
    let at = data.to_str().unwrap();
    for command in ["status", "identities", "quota"] {
        let text = complaint(&cloud(&[command, "--data", at]), 1);
        assert!(text.contains("serve --data"), "{text}");
    }
    let text = complaint(&cloud(&["link", "--data", at]), 1);
    assert!(text.contains("serve --data"), "{text}");
    assert!(!data.exists());
    let output = cloud(&["status", "--json", "--data", at]);
    let line: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["kind"], "no-peer");
}

#[test]
fn what_is_wrong_with_a_folder_is_said_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = data.to_str().unwrap();
    let mut server = Server::start(&data, &[]);
    assert_eq!(server.line()["event"], "listening");
    let text = complaint(&cloud(&["serve", "--data", at, "--listen", "127.0.0.1:0"]), 1);
    assert!(text.contains("another process"), "{text}");
    server.stop();

    let files = || {
        let mut files = Vec::new();
        for name in ["pod.json", "log.db", "lock"] {
            files.push((name, std::fs::read(data.join(name)).ok()));
        }
        files
    };
    let serve = ["serve", "--data", at, "--listen", "127.0.0.1:0"];
    let before = files();
    std::fs::rename(data.join("secret"), dir.path().join("away")).unwrap();
    for command in [&serve[..], &["status", "--data", at]] {
        let text = complaint(&cloud(command), 1);
        assert!(text.contains("secret"), "{text}");
    }
    assert!(!data.join("secret").exists());
    assert_eq!(files(), before);
    std::fs::rename(dir.path().join("away"), data.join("secret")).unwrap();

    std::fs::write(data.join("log.db"), vec![7; 8192]).unwrap();
    let before = files();
    let text = complaint(&cloud(&serve), 1);
    assert!(text.contains("damaged"), "{text}");
    assert_eq!(files(), before);
    std::fs::remove_file(data.join("log.db")).unwrap();
    let text = complaint(&cloud(&serve), 1);
    assert!(text.contains("log.db"), "{text}");
    assert!(!data.join("log.db").exists());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("data");
    let text = complaint(
        &cloud(&["serve", "--data", data.to_str().unwrap(), "--listen", &address]),
        1,
    );
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
}

#[test]
fn a_person_can_read_and_scan_the_code() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rhizome-cloud"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--announce",
            "cloud.example.org",
            "--data",
        ])
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("For another") {
        assert!(out.read_line(&mut text).unwrap() > 0, "{text}");
    }
    assert!(text.contains("127.0.0.1:"), "{text}");
    assert!(text.contains("\u{2588}"), "{text}");
    let code = text.lines().find(|line| line.starts_with("rhizome:")).unwrap();
    let ticket = rhizome::Ticket::parse(code).unwrap();
    assert!(
        ticket.addresses[0].starts_with("cloud.example.org:"),
        "{:?}",
        ticket.addresses
    );
    child.kill().unwrap();
    child.wait().unwrap();
    // Killed, it left its socket behind: that is no running server.
    let status = json(&cloud(&["status", "--json", "--data", data.to_str().unwrap()]));
    assert_eq!(status["running"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_is_asked_and_logs_no_user_data() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = data.to_str().unwrap().to_owned();
    let mut server = Server::start(
        &data,
        &["--quota-entries", "100", "--announce", "127.0.0.1", "--name", "attic"],
    );
    let listening = server.line();
    assert_eq!(listening["event"], "listening");
    assert!(listening["addresses"][0].as_str().unwrap().starts_with("127.0.0.1:"));
    let first = server.line();
    assert_eq!(first["event"], "code");
    let status = json(&cloud(&["status", "--json", "--data", &at]));
    assert_eq!(status["running"], true);
    assert_eq!(status["listening"], listening["addresses"]);
    assert_eq!(status["address"], listening["address"]);

    let again = json(&cloud(&["link", "--json", "--data", &at]));
    let code = again["code"].as_str().unwrap().to_owned();
    let address = PeerAddress::parse(status["address"].as_str().unwrap());
    assert_eq!(
        address,
        PeerAddress::parse(&code),
        "what to keep is where the code leads"
    );
    assert_ne!(Some(code.as_str()), first["code"].as_str());
    let options = PodOptions::new(Arc::new(FileKeeper::new(dir.path().join("keys"))));
    let (pod, _) = Pod::create(dir.path().join("pod"), options, "phone").await.unwrap();
    let yes: Confirm = Arc::new(|_| Box::pin(std::future::ready(true)));
    let linked = pod.link(&code, yes).await.unwrap();
    assert_eq!(server.line()["number"], linked.number);
    assert_eq!(server.line()["event"], "linked");
    pod.create_document("journal", |edit| edit.set_text(&rhizome::path(["text"]), "canary"))
        .await
        .unwrap();
    pod.sync_once(Duration::from_secs(20), None).await.unwrap();
    let status = pod.status().await.unwrap();
    assert_eq!(status.only_here, 0);
    assert!(status.peers.iter().any(|peer| peer.name.as_deref() == Some("attic")));

    let did = pod.did().unwrap();
    let identities = json(&cloud(&["identities", "--json", "--data", &at]));
    assert_eq!(identities[0]["did"], did);
    assert_eq!(identities[0]["entries"], 1);
    assert_eq!(identities[0]["quota_entries"], 100);
    let device = pod.device().unwrap().to_string();
    let members = identities[0]["members"].as_array().unwrap();
    let found = |cloud: bool| members.iter().find(|member| member["cloud"] == cloud).unwrap();
    assert_eq!(
        (members.len(), &found(false)["key"]),
        (2, &Value::from(device.as_str()))
    );
    assert_eq!(found(true)["this"], true);
    assert_eq!(identities[0]["orderers"], serde_json::json!([found(true)["key"]]));
    assert_eq!(
        (&identities[0]["pending"], &identities[0]["removed"]),
        (&0.into(), &serde_json::json!([]))
    );
    assert_eq!(identities[0]["head"].as_str().unwrap().len(), 8);
    let changed = json(&cloud(&[
        "quota",
        "--json",
        "--data",
        &at,
        "--identity",
        &did,
        "--bytes",
        "10GB",
    ]));
    assert_eq!(changed[0]["quota_bytes"], 10_000_000_000u64);
    assert_eq!(changed[0]["quota_entries"], 100);
    let text = complaint(
        &cloud(&["quota", "--data", &at, "--identity", "nobody", "--bytes", "1"]),
        1,
    );
    assert!(text.contains("identities"), "{text}");

    let logged = server.stop();
    for line in logged.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string());
    }
    for secret in [code.as_str(), did.as_str(), "canary", &device, &linked.number] {
        assert!(!logged.contains(secret), "{secret} is in the log:\n{logged}");
    }
    // At rest the same answers come from the folder.
    let identities = json(&cloud(&["identities", "--json", "--data", &at]));
    assert_eq!(identities[0]["quota_bytes"], 10_000_000_000u64);
    let changed = json(&cloud(&["quota", "--json", "--data", &at, "--bytes", "none"]));
    assert_eq!(changed[0]["quota_bytes"], Value::Null);
    let status = json(&cloud(&["status", "--json", "--data", &at]));
    assert_eq!((&status["running"], &status["entries"]), (&false.into(), &1.into()));
    pod.shutdown().await;
    let text = complaint(
        &cloud(&["status", "--data", dir.path().join("pod").to_str().unwrap()]),
        1,
    );
    assert!(text.contains("a pod"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_a_burst_has_all_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let free = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut server = Server::start_at(&data, &free, &[]);
    server.line();
    let code = server.line()["code"].as_str().unwrap().to_owned();
    let options = PodOptions::new(Arc::new(FileKeeper::new(dir.path().join("keys"))));
    let (pod, _) = Pod::create(dir.path().join("pod"), options, "phone").await.unwrap();
    let yes: Confirm = Arc::new(|_| Box::pin(std::future::ready(true)));
    pod.link(&code, yes).await.unwrap();
    for round in 0..4u64 {
        for _ in 0..60 {
            pod.append(
                "log",
                vec![rhizome::Event::App {
                    kind: "x".to_owned(),
                    payload: vec![7; 20_000],
                }],
            )
            .await
            .unwrap();
        }
        let syncing = {
            let pod = pod.clone();
            tokio::spawn(async move { pod.sync_once(Duration::from_secs(20), None).await })
        };
        tokio::time::sleep(Duration::from_millis(20 + 25 * round)).await;
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        syncing.abort();
        let status = pod.status().await.unwrap();
        let acknowledged = status.entries - status.only_here;
        let kept = json(&cloud(&["status", "--json", "--data", data.to_str().unwrap()]));
        assert!(
            kept["entries"].as_u64().unwrap() >= acknowledged,
            "{acknowledged} {kept}"
        );
        server = Server::start_at(&data, &free, &[]);
        server.line();
    }
    pod.sync_once(Duration::from_secs(20), None).await.unwrap();
    let status = pod.status().await.unwrap();
    assert_eq!(status.only_here, 0);
    assert!(status.alarms.is_empty(), "{:?}", status.alarms);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_who_was_removed_and_whom_the_words_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let at = data.to_str().unwrap().to_owned();
    let mut server = Server::start(&data, &[]);
    let listening = server.line();
    let code = server.line()["code"].as_str().unwrap().to_owned();
    let open = |name: &str| PodOptions::new(Arc::new(FileKeeper::new(dir.path().join(format!("{name}.keys")))));
    let (phone, words) = Pod::create(dir.path().join("phone"), open("phone"), "phone")
        .await
        .unwrap();
    let yes: Confirm = Arc::new(|_| Box::pin(std::future::ready(true)));
    phone.link(&code, yes).await.unwrap();
    phone.sync_once(Duration::from_secs(20), None).await.unwrap();
    let lost = phone.device().unwrap();
    phone.shutdown().await;
    let address = PeerAddress::parse(listening["address"].as_str().unwrap()).unwrap();
    let new = Pod::recover(dir.path().join("new"), open("new"), "new", &words, &address);
    let new = new.await.unwrap();
    new.remove_device(lost).await.unwrap();
    new.sync_once(Duration::from_secs(20), None).await.unwrap();
    let heard: Vec<Value> = (0..3).map(|_| server.line()["event"].clone()).collect();
    assert_eq!(heard, ["number", "linked", "recovered"]);

    let identities = json(&cloud(&["identities", "--json", "--data", &at]));
    assert_eq!(identities[0]["removed"], serde_json::json!([lost.to_string()]));
    assert_eq!(identities[0]["devices"], 1);
    let output = cloud(&["identities", "--data", &at]);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        format!("  device     {}", new.device().unwrap()),
        format!("  removed    {lost}"),
        format!("  ordered by this peer, term {}", identities[0]["term"]),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    assert!(
        text.contains("1 device, 1 cloud peer") && text.contains("0 operations wait"),
        "{text}"
    );
    new.shutdown().await;
    server.stop();
}
