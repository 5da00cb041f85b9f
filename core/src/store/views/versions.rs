//! Who wrote the changes of each document, and when: one row for each entry that carries changes of it.

use super::{StoreError, ViewsWrite, bytes, int, uint};
use crate::log::{AuthorId, DocumentId, Time, VerifiedEntry};

/// Changes of one document that came in one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// When the entry was written, by its author's clock (a [`crate::log::Time`]).
    pub time: u64,
    /// The author log.
    pub author: AuthorId,
    /// The branch of it.
    pub branch: u32,
    /// The entry's place in it.
    pub seq: u64,
    /// The changes, in order.
    pub changes: Vec<[u8; 32]>,
}

/// Where a page of versions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionPlace {
    /// When the last of them was written.
    pub time: u64,
    /// Its author log.
    pub author: AuthorId,
    /// The branch of it.
    pub branch: u32,
    /// Its entry.
    pub seq: u64,
}

impl VersionRow {
    /// The one of an entry, with no changes yet.
    pub fn of(time: Time, entry: &VerifiedEntry, branch: u32) -> Self {
        Self {
            time: time.0,
            author: entry.author(),
            branch,
            seq: entry.position().seq,
            changes: Vec::new(),
        }
    }

    /// Its place among the versions.
    pub fn place(&self) -> VersionPlace {
        VersionPlace {
            time: self.time,
            author: self.author,
            branch: self.branch,
            seq: self.seq,
        }
    }
}

pub(super) const TABLE: &str = "
    CREATE TABLE versions (
        document BLOB NOT NULL, time INTEGER NOT NULL, author BLOB NOT NULL, branch INTEGER NOT NULL, seq INTEGER NOT NULL,
        changes BLOB NOT NULL, PRIMARY KEY (document, time, author, branch, seq)
    ) STRICT, WITHOUT ROWID;
";

impl ViewsWrite<'_> {
    /// Notes which changes of a document an entry carries.
    pub fn note_version(&self, document: &DocumentId, row: &VersionRow) -> Result<(), StoreError> {
        self.run(
            "REPLACE INTO versions (document, time, author, branch, seq, changes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                document.0,
                int(row.time),
                row.author.0,
                row.branch,
                int(row.seq),
                row.changes.concat(),
            ),
        )?;
        Ok(())
    }

    /// What was noted of a document, newest first: at most `limit` entries before `before`.
    pub fn versions(
        &self,
        document: &DocumentId,
        before: Option<VersionPlace>,
        limit: u32,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let before = before.unwrap_or(VersionPlace {
            time: u64::MAX,
            author: AuthorId([0xff; 32]),
            branch: u32::MAX,
            seq: u64::MAX,
        });
        self.rows(
            "SELECT time, author, branch, seq, changes FROM versions
             WHERE document = ?1 AND (time, author, branch, seq) < (?2, ?3, ?4, ?5)
             ORDER BY time DESC, author DESC, branch DESC, seq DESC LIMIT ?6",
            (
                document.0,
                int(before.time.min(i64::MAX as u64)),
                before.author.0,
                before.branch,
                int(before.seq.min(i64::MAX as u64)),
                limit,
            ),
            |row| {
                let changes: Vec<u8> = row.get(4)?;
                Ok(VersionRow {
                    time: uint(row.get(0)?),
                    author: AuthorId(bytes(row, 1)?),
                    branch: row.get(2)?,
                    seq: uint(row.get(3)?),
                    changes: changes.as_chunks().0.to_vec(),
                })
            },
        )
    }
}
