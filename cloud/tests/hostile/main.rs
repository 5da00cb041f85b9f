//! Hostile peers, over real connections on loopback: a cloud peer in other hands against a pod, members and strangers against a cloud peer.
//!
//! After each attack the honest program runs again on the peer's folder, and `Scene::ends_well` holds: nothing acknowledged is lost, every chain
//! verifies, both devices and the peer hold the same, and say so.
//!
//! Bounds held here (docs/formats.md, section 7, gives the limits behind them):
//! - 2,000 connections that never say who they are, 500 at a time, whatever they do instead, grow a cloud peer by at most 192 MiB, half-open
//!   handshakes by 32 MiB; somebody else's sync needs as many round trips as without them (`flood`).
//! - a pod that syncs with a peer which never ends grows by at most 64 MiB, and ends by its deadline with a reason (`endless`, `slow`);
//! - three bombs of 100 MiB each, signed by a member, grow a device by at most 64 MiB (`member`);
//! - what a member stores takes no more of the disk than its quota in bytes, and one mebibyte (`member`).
//!
//! `make hostile` runs floods of 10,000 and a million tiny entries. Memory is read from `/proc`, so that the tests are for Linux.

#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

mod attachments;
mod bomb;
#[path = "../../../core/tests/common/replicas.rs"]
#[allow(dead_code)]
mod replicas;
mod stage;
mod taken;
mod victim;
mod wire;

mod endless;
mod flood;
mod frames;
mod liar;
mod member;
mod orderer;
mod slow;

/// Whether the long form was asked for: `make hostile`.
fn full() -> bool {
    std::env::var_os("RHIZOME_HOSTILE_FULL").is_some()
}
