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
pub use document::{
    AttachmentRef, ChangeId, ChangeKind, Changed, Cursor, Difference, Document, DocumentError, Edit, EditOp, Excerpt,
    Expand, FieldPath, Hit, Index, IndexField, Key, Lean, ListRow, Marks, Page, Query, QueryCursor, QueryError,
    QueryPage, QueryRow, Schema, Search, SearchCursor, SearchField, SearchPage, Span, TextPiece, Value,
};
pub use error::{AttachmentError, Error, WordsError};
pub use identity::{CodeMatrix, PeerAddress, Ticket};
pub use log::{AttachmentId, DocumentId, Event};
pub use net::{Confirm, LinkOutcome, NetOptions, Relay};
pub use pod::{
    AttachmentProgress, AttachmentStatus, AttachmentsStatus, BlameSpan, Conditions, Conflict, Diff, DocumentEdit,
    DocumentVersion, DocumentWatch, EntryRef, HistoryCursor, HistoryPage, Holder, IndexProgress, Invite, Linking,
    ListDiff, ListWatch, Live, Member, Members, Network, NewAttachment, OpenDocument, PeerReport, PeerStatus, Placed,
    PlacedAs, PlacedRow, Pod, PodOptions, Proposal, ProposalState, QueryDiff, QueryWatch, RemovedMember, Status,
    StatusWatch, SyncReport, SyncState, TakenIn, Tidied, Trashed, WaitReason, WordsQuiz, Written, path,
};
pub use snapshot::{Resolved, Version, resolve};
pub use store::{FileKeeper, ListCursor};
