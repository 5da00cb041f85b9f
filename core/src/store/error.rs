//! What can go wrong on the way to the disk, sorted by what a person can do about it.

use rusqlite::{ErrorCode, ffi};

use crate::log::LogError;

/// A database or a folder could not do what was asked. Nothing that was acknowledged before is lost by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the disk is full: nothing was lost; free some space and try again")]
    DiskFull,
    /// The folder cannot be written.
    #[error("the folder cannot be written: check its permissions")]
    ReadOnly,
    /// Another process has the folder open.
    #[error("another process has this folder open: close it first")]
    InUse,
    /// A file cannot be opened or read.
    #[error("cannot open {file}: {why}")]
    CannotOpen {
        /// The file's name, without its folder.
        file: String,
        /// What the system said.
        why: String,
    },
    /// A database is not what we wrote.
    #[error(
        "{file} is damaged ({why}): it was left as it is; copy the folder away, then bring the pod back from its cloud peer"
    )]
    Damaged {
        /// The file's name.
        file: &'static str,
        /// What was found.
        why: String,
    },
    /// The database was made with another device secret.
    #[error("{file} belongs to another device secret: nothing was changed")]
    WrongKey {
        /// The file's name.
        file: &'static str,
    },
    /// Made by a newer version of this library.
    #[error("{file} has schema {found}, this version knows {known}: update the app")]
    NewerSchema {
        /// The file's name.
        file: &'static str,
        /// The schema's number in the file.
        found: i64,
        /// The newest this version knows.
        known: i64,
    },
    /// A newer version of this library took what this one does not know into the identity log.
    #[error("{file} holds a change of the identity that this version does not know: update the app")]
    NewerIdentity {
        /// The file's name.
        file: &'static str,
    },
    /// SQLite does not have the settings that make an acknowledged write durable.
    #[error("the database would not be durable here: {setting} is {found}")]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// What SQLite answered.
        found: String,
    },
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A write refused its own entries and was rolled back whole.
    #[error(transparent)]
    Refused(Box<AppendError>),
}

impl StoreError {
    /// Sorts an error of SQLite's. Its messages name tables and files, never values.
    pub(crate) fn of(file: &'static str, error: &rusqlite::Error) -> Self {
        let code = match error {
            // The file ends before what it should hold.
            rusqlite::Error::SqliteFailure(failure, _) if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ => {
                return Self::Damaged {
                    file,
                    why: error.to_string(),
                };
            }
            rusqlite::Error::SqliteFailure(failure, _) => failure.code,
            other => {
                return Self::Damaged {
                    file,
                    why: other.to_string(),
                };
            }
        };
        match code {
            ErrorCode::DiskFull => Self::DiskFull,
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged {
                file,
                why: error.to_string(),
            },
            // "Locking protocol": SQLite met other holders of its locks until it gave up.
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => Self::InUse,
            ErrorCode::CannotOpen => Self::CannotOpen {
                file: file.to_owned(),
                why: error.to_string(),
            },
            // Our own statements are never malformed and break no constraint on a log that we wrote. (Pages of the views are sealed: no
            // damage there gets so far.)
            ErrorCode::Unknown | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch if file == "log.db" => {
                Self::Damaged {
                    file,
                    why: error.to_string(),
                }
            }
            _ => Self::Disk(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::of("log.db", &error)
    }
}

impl From<rusqlite::Error> for AppendError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why entries were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// They do not verify.
    #[error(transparent)]
    Log(#[from] LogError),
    /// They do not join on to anything that is here.
    #[error("the entries do not follow what is here")]
    Gap,
    /// The author log has as many branches as are kept.
    #[error("the author log has forked more often than is kept")]
    TooManyBranches,
    /// The identity has no room left.
    #[error("the quota of {limit} {unit} is used up")]
    Quota {
        /// `bytes` or `entries`.
        unit: &'static str,
        /// The quota.
        limit: u64,
    },
    /// Nobody knows the author log's device.
    #[error("the author is not a device of the identity")]
    UnknownAuthor,
}
