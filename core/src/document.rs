//! Documents: Automerge maps, lists, text and counters, in collections that are indexed, queried and searched.
//!
//! A document's changes travel as events in entries; what is shown is folded from them into the views. Bytes from a peer reach
//! Automerge only after the author's signature was checked, and after [`chunk`] has walked them under its limits.

mod attachment;
mod bytes;
pub mod chunk;
mod collection;
mod conflicts;
mod cursor;
#[allow(clippy::module_inception)] // The house names a file after its one idea.
mod document;
mod draft;
mod edit;
mod fold;
mod history;
mod inverse;
mod json;
mod key;
mod marks;
mod op;
mod query;
mod read;
mod schema;
mod search;
mod tree;
mod value;
mod words;

pub use attachment::{ATTACHMENT_FIELD, AttachmentRef};
pub use chunk::{ChunkError, Limits};
pub use collection::Asked;
pub use conflicts::Candidate;
pub use cursor::{Cursor, Lean};
pub use document::{Applied, Document, DocumentError, Key, MAX_DEPTH, MAX_PENDING_BYTES, inspect};
pub(crate) use draft::{Draft, NewChange};
pub use edit::Edit;
pub(crate) use fold::holds_only;
pub use fold::{Documents, ErasedShown, Fold, Folded, ListRow, Page};
pub use history::{Authored, ChangeId, ChangeKind, Changed, Difference, TextPiece};
pub use key::{MAX_EACH, MAX_INDEXED};
pub use marks::{Expand, Marks, Span};
pub use op::EditOp;
pub use query::{Ordered, Query, QueryCursor, QueryError, QueryPage, QueryRow};
pub use schema::{FieldPath, Index, IndexField, MAX_INDEXES, Schema, SearchField};
pub use search::{Hit, Search, SearchCursor, SearchPage};
pub use value::Value;
pub use words::Excerpt;
