//! Rhizome for Swift and Kotlin: types and conversions, and nothing else. What a Swift or Kotlin person would want beyond that stands in
//! `core/` if it is behaviour, and in the hand-written layer of their language if it is idiom.
//!
//! - An *instant* call answers from memory: it waits for no disk, no network, and no lock that is held across either.
//! - An *async* call runs on threads of ours, whatever thread polls it, and takes a [`CancelHandle`]: the sources generated
//!   for Kotlin drop a call that is cancelled, those for Swift do not.
//! - Subscriptions are pulled: `next()` gives one difference, `None` once it was cancelled or the pod is shut down. No foreign code runs while
//!   a lock of ours is held.
//! - Every call that can fail throws [`RhizomeError`]. A panic is one of its kinds; the pod stays usable.
//! - Ids cross as lower-case hexadecimal, times as milliseconds since 1970-01-01 UTC, sizes in bytes.

mod about;
#[cfg(target_os = "android")]
mod android;
mod attachment;
mod collection;
mod document;
mod erasing;
mod error;
mod history;
mod keeper;
mod linking;
mod logging;
mod members;
mod pod;
mod query;
mod runtime;
mod status;
mod stream;
#[cfg(feature = "testing")]
mod testing;
mod value;

pub use about::{About, about};
pub use attachment::{
    AttachmentRef, AttachmentStatus, AttachmentsStatus, NewAttachment, Progress, ProgressHandle, Tidied, attachment_ref,
};
pub use collection::{
    CollectionHandle, DocumentWrite, ListCursor, ListDiff, ListRow, ListSubscription, Page, PlacedRow, Written,
};
pub use document::{DocumentHandle, DocumentSnapshot, DocumentSubscription, Lean};
pub use erasing::Trashed;
pub use error::RhizomeError;
pub use history::{BlameSpan, ChangeKind, Changed, Conflict, Difference, DocumentVersion, HistoryPage, TextPiece};
pub use keeper::{KeeperError, KeptSecret, SecretKeeper};
pub use linking::{CodeMatrix, LinkOutcome, LinkingHandle};
pub use logging::{LogLevel, LogRecord, LogSink, LogSinkError, set_log_level, set_log_sink};
pub use members::{
    Member, Members, ProposalState, QuizHandle, RemovedMember, TakenIn, new_words, peer_address, recover_folder,
    recover_pod, resolve_did,
};
pub use pod::{
    CloudPeerHandle, CreatedPod, LiveHandle, PodHandle, PodOptions, Relay, await_link, create_pod, join_pod, open_pod,
};
pub use query::{
    Excerpt, FieldRange, FieldValue, Hit, Index, IndexField, IndexProgress, PlacedAs, PlacedQueryRow, Query, QueryDiff,
    QueryPage, QueryRow, QuerySubscription, Schema, Search, SearchField, SearchPage, TextRange,
};
pub use runtime::CancelHandle;
pub use status::{
    Alarm, Conditions, EntryRef, Holder, Network, PeerReport, PeerStatus, Status, StatusSubscription, SyncReport,
    SyncState, WaitReason,
};
pub use stream::{AppEvent, StreamHandle};
pub use value::{EditOp, Expand, PathKey, Span, Value};

uniffi::setup_scaffolding!("rhizome");
