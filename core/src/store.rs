//! What is kept on disk: `log.db`, the truth, and `views.db`, what can be rebuilt from it. The only folder with SQL, and the
//! only one that waits on a disk.

mod attachments;
mod blobs;
mod check;
mod collections;
mod database;
mod entries;
mod erasing;
mod error;
mod folder;
mod identities;
mod keeper_file;
mod log_db;
mod receipts;
mod references;
mod search;
mod views;
mod writer;

pub use attachments::AttachmentRow;
pub use blobs::{BlobWriter, Blobs, MOST_AT_ONCE};
pub use collections::{Build, Definition, DefinitionKind, DocumentRow, Entries, KeyRow, Shown, Slice};
pub use database::{Read, Write, sqlite_source_id};
pub use entries::{Appended, BranchHead, OwnLog};
pub use erasing::ErasureNote;
pub use error::{AppendError, StoreError};
pub use folder::{Folder, FolderFile};
pub use identities::{Quota, StoredIdentity, Usage};
pub use keeper_file::FileKeeper;
pub use log_db::{Change, LogStore};
pub use receipts::{Alarm, AlarmKind};
pub use search::{MAX_RANKED, Match, MatchRow};
pub use views::{ListCursor, SectionPlace, VersionPlace, VersionRow, Views, ViewsWrite};
pub use writer::Reply;
