//! A victim in a process of its own, so that its memory can be measured.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rhizome::Pod;

use crate::stage::{pod_options, waits};

/// What a process may use at the most while it is attacked, beyond what it used before.
pub const MEBIBYTE: u64 = 1 << 20;

fn status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

/// Resident memory now.
pub fn memory(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most resident memory since [`forget_peak`].
pub fn peak(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

pub fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// How a sync went in a process of its own.
#[derive(Debug)]
pub struct Synced {
    pub waits: String,
    /// Bytes by which the process grew.
    pub grown: u64,
}

/// Syncs the pod `name`, which nobody else may have open, within `seconds`, in a process of its own.
pub async fn sync_apart(dir: &Path, name: &str, seconds: u64) -> Synced {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["victim::child_that_syncs", "--exact", "--nocapture"])
        .env("RHIZOME_HOSTILE_DIR", dir)
        .env("RHIZOME_HOSTILE_NAME", name)
        .env("RHIZOME_HOSTILE_SECONDS", seconds.to_string());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find_map(|line| line.split_once("synced: "));
    let (waits, grown) = line
        .and_then(|(_, rest)| rest.split_once(' '))
        .expect("the child ends its sync");
    Synced {
        waits: waits.to_owned(),
        grown: grown.parse().unwrap(),
    }
}

/// Not a test of its own: what the process runs.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_syncs() {
    let Ok(dir) = std::env::var("RHIZOME_HOSTILE_DIR") else {
        return;
    };
    let name = std::env::var("RHIZOME_HOSTILE_NAME").unwrap();
    let seconds = std::env::var("RHIZOME_HOSTILE_SECONDS").unwrap().parse().unwrap();
    let dir = Path::new(&dir);
    let pod = Pod::open(dir.join(&name), pod_options(dir, &name)).await.unwrap();
    let before = memory(std::process::id());
    let report = pod.sync_once(Duration::from_secs(seconds), None).await.unwrap();
    let grown = peak(std::process::id()).saturating_sub(before);
    println!("\nsynced: {} {grown}", waits(&report));
    pod.shutdown().await;
}

/// A cloud peer as its owner runs it: the program, in a process of its own.
pub struct Cloud {
    child: Child,
}

impl Cloud {
    pub fn start(data: &Path, port: u16) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rhizome-cloud"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It says where it listens when it does.
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while said.read_line(&mut line).unwrap() > 0 && !line.contains(&port.to_string()) {}
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child }
    }

    pub fn memory(&self) -> u64 {
        memory(self.child.id())
    }

    pub fn peak(&self) -> u64 {
        peak(self.child.id())
    }

    pub fn forget_peak(&self) {
        forget_peak(self.child.id());
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
