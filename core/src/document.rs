//! Documents: Automerge maps, lists, text and counters, in collections that are listed by date.
//!
//! A document's changes travel as events in entries; what is shown is folded from them into the views. Bytes from a peer reach
//! Automerge only after the author's signature was checked, and after [`chunk`] has walked them under its limits.

pub mod chunk;
#[allow(clippy::module_inception)] // The house names a file after its one idea.
mod document;
mod fold;
mod op;
mod value;

pub use chunk::{ChunkError, Limits};
pub use document::{Applied, Document, DocumentError, Edit, Key, MAX_DEPTH, MAX_PENDING_BYTES, inspect};
pub use fold::{Documents, Fold, Folded, ListRow, Page};
pub use op::EditOp;
pub use value::Value;
