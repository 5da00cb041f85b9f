//! The protocol: two replicas of an identity compare what they hold and send each other what is missing.
//!
//! [`Session`] is a state machine: messages in, messages out. It waits for no socket and reads no clock, so a test can run
//! ten devices over a lossy network in one thread from a seed. [`Replica`] is what a session compares and changes: one
//! identity's log and entries in a store, with every check that stands between a peer's bytes and the disk.

mod attending;
mod counted;
mod erasing;
mod message;
mod regency;
mod replica;
mod session;

pub use attending::Attendant;
pub use erasing::{Blind, CarriedOut, Eraser, Judgement};
pub use message::{ByeReason, FEATURE_ATTACHMENTS, MAX_FETCH, MAX_FRAME, Message, MessageError, RefuseReason};
pub use regency::Regency;
pub use replica::{ADMISSION, Known, Limits, Refusal, Replica, ReplicaError, Submitted, TakenCommits, WallClock};
pub use session::{Outcome, Session, SessionError};
