//! iroh: the endpoint, frames on a stream, sessions and links driven over them. The only folder that waits on a socket.

mod apart;
mod carry;
mod drive;
mod endpoint;
mod frames;
mod host;
mod link;
mod recover;

pub(crate) use apart::apart;
pub use carry::{Carried, Carrier, CarryProgress, Errand, attend};
pub use drive::{Drive, Mode, Progress, Report, StopReason};
pub use endpoint::{Net, NetOptions, Relay, remote_key};
pub use frames::{Direction, Frames, Observer};
pub use host::{Host, Service, ServiceLimits};
pub use link::{
    Confirm, Invitations, Keep, LinkError, LinkOutcome, Newcomer, Shaken, answer, call, join, refuse, welcome,
};

pub use recover::{answer_recovery, ask_for_log};

use std::time::Duration;

use crate::sync::{ByeReason, SessionError};

/// The protocol's name in the QUIC handshake.
pub const ALPN: &[u8] = b"rhizome/1";

/// Why a connection could not be made or kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NetError {
    /// The endpoint cannot be made.
    #[error("cannot open a network endpoint: {0}")]
    Bind(String),
    /// An address is not `host:port` nor a relay's URL, or its name is not known.
    #[error("cannot use the address {address}: {why}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        why: String,
    },
    /// Nobody answered in time.
    #[error("no answer within {} s: it is switched off, or cannot be reached from this network", .0.as_secs_f64().ceil())]
    Unreachable(Duration),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The time given is over.
    #[error("the time given is over")]
    Deadline,
    /// The other side sent what is no frame or no message.
    #[error("the other side broke the protocol: {0}")]
    Protocol(String),
    /// The session ended.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The other side refused us.
    #[error("the other side refused: {0}")]
    Refused(ByeReason),
    /// This side is stopping.
    #[error("stopped")]
    Stopped,
}

/// Waits until `stop` turns true, or can no longer.
pub(crate) async fn stopped(stop: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that nobody is left who could stop us: that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}
