//! A cloud peer for Rhizome: a device of a person's own with no screen, always on, that stores what it cannot read.
//!
//! It is a thin server over the library. [`Data`] is its folder: the device secret, the lock, and one `log.db` for every identity that
//! linked it. [`Peer`] is a running one; a test can start it in its own process. The command line stands in [`cli`], and reaches a
//! running peer through a socket in the folder ([`control`]).

pub mod cli;
pub mod control;
mod data;
mod failure;
mod peer;
pub mod show;

pub use data::{Data, IdentityReport, Limit, MemberReport, QuotaChange};
pub use failure::Failure;
pub use peer::{Event, Peer, PeerOptions, StatusReport};
