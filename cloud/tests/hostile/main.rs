//! Hostile peers, over real connections on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

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
