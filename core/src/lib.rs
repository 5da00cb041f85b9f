//! Rhizome: people own their data; apps ask for access to it.
//!
//! A [`Pod`] keeps what a person writes as encrypted, append-only event logs on their device, works for ever with no network, and
//! syncs with their other devices and with a cloud peer that stores what it cannot read. Start there.
//!
//! Each module uses only those above it in this list: [`crypto`], [`identity`], [`log`], [`store`], [`document`], [`snapshot`], [`sync`],
//! [`net`], then the facade. `docs/formats.md` gives every byte, `docs/threats.md` what is promised against whom.

pub mod crypto;
pub mod document;
mod error;
pub mod identity;
pub mod log;
pub mod net;
mod pod;
pub mod snapshot;
pub mod store;
pub mod sync;

pub use crypto::{DeviceSecret, Keeper, Kept, SecretId, Zeroizing};
pub use document::{Document, DocumentError, Edit, EditOp, Key, ListRow, Page, Value};
pub use error::{Error, WordsError};
pub use identity::{CodeMatrix, PeerAddress, Ticket};
pub use log::{DocumentId, Event};
pub use net::{Confirm, LinkOutcome, NetOptions, Relay};
pub use pod::{
    Conditions, DocumentEdit, DocumentWatch, EntryRef, Holder, Invite, Linking, ListDiff, ListWatch, Live, Member,
    Members, Network, OpenDocument, PeerReport, PeerStatus, PlacedRow, Pod, PodOptions, Proposal, ProposalState,
    RemovedMember, Status, StatusWatch, SyncReport, SyncState, TakenIn, WaitReason, WordsQuiz, Written, path,
};
pub use snapshot::{Resolved, Version, resolve};
pub use store::{FileKeeper, ListCursor};
