//! Pods, devices and cloud peers on loopback, as every program here sets them up.

use std::{path::Path, sync::Arc, time::Duration};

use rhizome::{Confirm, FileKeeper, NetOptions, Pod, PodOptions, SyncState};
use rhizome_cloud::{Peer, PeerOptions};

use crate::Failure;

/// Longer than any run takes.
pub const LONG: Duration = Duration::from_secs(3600);

pub fn loopback(port: u16) -> NetOptions {
    NetOptions {
        listen: vec![([127, 0, 0, 1], port).into()],
        ..NetOptions::default()
    }
}

/// How the pod in `dir` is opened: its secret lies beside it, in `dir.keys`.
pub fn options(dir: &Path) -> PodOptions {
    PodOptions {
        net: loopback(0),
        ..PodOptions::new(Arc::new(FileKeeper::new(dir.with_extension("keys"))))
    }
}

pub fn yes() -> Confirm {
    Arc::new(|_| Box::pin(std::future::ready(true)))
}

pub async fn create(dir: &Path, name: &str) -> Result<Pod, Failure> {
    Ok(Pod::create(dir, options(dir), name).await?.0)
}

pub async fn open(dir: &Path) -> Result<Pod, Failure> {
    Ok(Pod::open(dir, options(dir)).await?)
}

/// Lets a new device into the identity of `by`.
pub async fn join(by: &Pod, dir: &Path, name: &str) -> Result<Pod, Failure> {
    let invite = by.invite(LONG, yes()).await?;
    let code = invite.ticket.to_string();
    let (joined, invited) = tokio::join!(Pod::join(dir, options(dir), name, &code, yes()), invite.finished());
    invited?;
    Ok(joined?)
}

/// A cloud peer that takes as many connections as a run has.
pub async fn cloud(dir: &Path, port: u16) -> Result<Peer, Failure> {
    let mut options = PeerOptions {
        net: loopback(port),
        ..PeerOptions::new(dir)
    };
    options.limits.connections = 4096;
    options.limits.strangers = 1024;
    Peer::start(options).await.map_err(|failure| failure.message.into())
}

/// The port that a cloud peer listens on.
pub async fn port(peer: &Peer) -> Result<u16, Failure> {
    let status = peer.status().await.map_err(|failure| failure.message)?;
    let listening = status.listening.first().ok_or("it listens nowhere")?;
    let (_, port) = listening.rsplit_once(':').ok_or("an address without a port")?;
    Ok(port.parse()?)
}

/// Syncs until everything is where it should be, or says why it is not.
pub async fn sync(pod: &Pod) -> Result<rhizome::SyncReport, Failure> {
    let mut report = pod.sync_once(LONG, None).await?;
    if let Some(failed) = report.peers.iter().position(|peer| peer.result.is_err()) {
        return Err(report.peers.swap_remove(failed).result.expect_err("just looked").into());
    }
    match &report.state {
        SyncState::UpToDate { .. } => Ok(report),
        other => Err(format!("the sync ended before everything moved: {other:?}").into()),
    }
}

/// Bytes of frames, sent and received.
pub fn bytes(report: &rhizome::SyncReport) -> (u64, u64) {
    let reports = report.peers.iter().filter_map(|peer| peer.result.as_ref().ok());
    reports.fold((0, 0), |(sent, received), report| {
        (sent + report.bytes_sent, received + report.bytes_received)
    })
}
