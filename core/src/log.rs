//! Author logs: entries of sealed events, linked and signed; how they are made, verified and ordered.
//!
//! A person's every device writes logs of its own, so that no two ever wait for each other. Pure functions: time, keys and
//! randomness are passed in.

mod attachment;
mod author;
mod clock;
mod entry;
mod event;
mod have;
mod range;
mod receipt;

pub use attachment::{
    AttachmentId, AttachmentReceipt, CHUNK, CHUNK_BOX, ChunkMap, ChunkSealer, MAX_CHUNKS, Manifest, hash_chunk,
    open_chunk,
};
pub use author::{AuthorId, Start};
pub use clock::{Clock, Time};
pub use entry::{
    Entry, MAX_ENTRY, MAX_SECTIONS, Position, Section, VerifiedEntry, Writer, make_entry, open_entry, open_section,
    open_sections, time_of,
};
pub use event::{Content, DocumentChange, DocumentId, Event, SessionId};
pub use have::{Item, digest};
pub use range::{MAX_RANGE, Range, VerifiedRange};
pub use receipt::{Receipt, StoreId};

use crate::crypto::{CborError, CryptoError};

/// Why an author log, an entry or a receipt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The bytes are not what the format says.
    #[error("the log holds bytes of a wrong form: {0}")]
    Malformed(#[from] CborError),
    /// A signature or a box is not right.
    #[error("the log does not verify: {0}")]
    Crypto(#[from] CryptoError),
    /// Made by a version this one does not know.
    #[error("the log is of a newer version: update needed")]
    NewerVersion,
    /// An entry does not link to the one before it.
    #[error("the entry at {seq} does not follow what is here")]
    BadLink {
        /// Where it wants to stand.
        seq: u64,
    },
    /// An entry is larger than [`MAX_ENTRY`], or has more than [`MAX_SECTIONS`] sections.
    #[error(
        "an entry of {size} bytes in {sections} sections is too large: at most {MAX_ENTRY} bytes in {MAX_SECTIONS} sections"
    )]
    TooLarge {
        /// Bytes of its boxes.
        size: usize,
        /// How many there are.
        sections: usize,
    },
    /// A range with no entry, or more than [`MAX_RANGE`].
    #[error("a range has 1 to {MAX_RANGE} entries")]
    BadRange,
    /// A manifest or a chunk of an attachment is not what it should be.
    #[error("an attachment is not what its manifest or its reference says")]
    BadAttachment,
    /// More bytes than an attachment may have.
    #[error("an attachment has at most 8 GiB")]
    AttachmentTooLarge,
    /// A range belongs to another author log than it says.
    #[error("the range belongs to another author log")]
    OtherAuthor,
}
