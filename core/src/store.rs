//! What is kept on disk: `log.db`, the truth, and `views.db`, what can be rebuilt from it. The only folder with SQL, and the
//! only one that waits on a disk.

mod check;
mod database;
mod entries;
mod error;
mod folder;
mod identities;
mod keeper_file;
mod log_db;
mod receipts;
mod views;
mod writer;

pub use database::{Read, Write, sqlite_source_id};
pub use entries::{Appended, BranchHead, OwnLog};
pub use error::{AppendError, StoreError};
pub use folder::{Folder, FolderFile};
pub use identities::{Quota, StoredIdentity, Usage};
pub use keeper_file::FileKeeper;
pub use log_db::{Change, LogStore};
pub use receipts::{Alarm, AlarmKind};
pub use views::{DocumentRow, ListCursor, Views, ViewsWrite};
pub use writer::Reply;
