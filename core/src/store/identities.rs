//! Identity logs in `log.db`: commits in their order, operations by id, quotas.

use rusqlite::OptionalExtension;

use super::{
    AppendError, Read, StoreError, Write,
    database::{bytes, int, uint},
    entries::AuthorRow,
};
use crate::{
    crypto::Hash,
    identity::{Commit, IdentityError, IdentityId, Operation},
    log::VerifiedEntry,
};

/// What an entry is charged beyond its boxes: its row, with hashes, signature and an epoch of its own, takes no more on the disk.
const ENTRY_BYTES: u64 = 384;
/// What an author log is charged.
const AUTHOR_BYTES: u64 = 1_024;
/// What an operation or a commit is charged beyond its encoding.
const RECORD_BYTES: u64 = 256;

/// What an identity may use here at the most. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Bytes of sealed sections, and of what is stored with them (see [`Usage::bytes`]).
    pub bytes: Option<u64>,
    /// Entries.
    pub entries: Option<u64>,
}

/// What an identity uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of sealed sections, 384 more for each entry, 1,024 for each author log, and the identity log with 256 more for each operation
    /// and each commit: about what it takes on the disk.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

/// An identity's log as it was stored: verified then, parsed again now.
#[derive(Debug, Clone, Default)]
pub struct StoredIdentity {
    /// Commits and their operations, by index.
    pub ordered: Vec<(Commit, Operation)>,
    /// Operations without a commit.
    pub pending: Vec<Operation>,
}

impl Read<'_> {
    /// The identities with anything here.
    pub fn identities(&self) -> Result<Vec<IdentityId>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT identity FROM identities ORDER BY id")?;
        let rows = statement.query_map([], |row| Ok(IdentityId(bytes(row, 0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The log of an identity.
    pub fn identity_log(&self, identity: &IdentityId) -> Result<StoredIdentity, StoreError> {
        let unreadable = |error| match error {
            IdentityError::UpdateNeeded => StoreError::NewerIdentity { file: "log.db" },
            other => StoreError::Damaged {
                file: "log.db",
                why: other.to_string(),
            },
        };
        // By the id that the commit names: one operation may stand in the chain twice, though it has an effect only once.
        let mut operations = self.conn.prepare_cached(
            "SELECT o.bytes FROM identities i JOIN operations o ON o.identity = i.id WHERE i.identity = ?1 AND o.id = ?2",
        )?;
        let mut statement = self.conn.prepare_cached(
            "SELECT c.bytes FROM identities i JOIN commits c ON c.identity = i.id WHERE i.identity = ?1 ORDER BY c.idx",
        )?;
        let rows = statement.query_map([identity.0], |row| row.get::<_, Vec<u8>>(0))?;
        let mut log = StoredIdentity::default();
        for row in rows {
            let commit = Commit::decode(&row?).map_err(unreadable)?;
            let operation: Option<Vec<u8>> = operations
                .query_row((identity.0, commit.core().operation.0), |row| row.get(0))
                .optional()?;
            let operation = operation.ok_or_else(|| StoreError::Damaged {
                file: "log.db",
                why: format!("commit {} is without its operation", commit.core().index),
            })?;
            log.ordered
                .push((commit, Operation::decode(&operation).map_err(unreadable)?));
        }
        let mut statement = self.conn.prepare_cached(
            "SELECT o.bytes FROM identities i JOIN operations o ON o.identity = i.id
             WHERE i.identity = ?1 AND o.commit_index IS NULL ORDER BY o.id",
        )?;
        let rows = statement.query_map([identity.0], |row| row.get::<_, Vec<u8>>(0))?;
        for row in rows {
            log.pending.push(Operation::decode(&row?).map_err(unreadable)?);
        }
        Ok(log)
    }

    /// What an identity may use and uses; `None` if it is not known here.
    pub fn quota(&self, identity: &IdentityId) -> Result<Option<(Quota, Usage)>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT quota_bytes, quota_entries, used_bytes, used_entries FROM identities WHERE identity = ?1",
        )?;
        let found = statement.query_row([identity.0], |row| {
            let quota = Quota {
                bytes: row.get::<_, Option<i64>>(0)?.map(uint),
                entries: row.get::<_, Option<i64>>(1)?.map(uint),
            };
            Ok((
                quota,
                Usage {
                    bytes: uint(row.get(2)?),
                    entries: uint(row.get(3)?),
                },
            ))
        });
        Ok(found.optional()?)
    }
}

impl Write<'_> {
    /// Adds the next commit and its operation.
    pub fn put_commit(&self, identity: &IdentityId, commit: &Commit, operation: &Operation) -> Result<(), StoreError> {
        let row = self.identity_row(identity)?;
        let index = int(commit.core().index);
        let (bytes, commit_bytes) = (operation.encode(), commit.encode());
        let mut known = self
            .conn
            .prepare_cached("SELECT 1 FROM operations WHERE identity = ?1 AND id = ?2")?;
        // An operation that waited here is charged already.
        let new = if known.exists((row, operation.id().0))? {
            0
        } else {
            record(&bytes)
        };
        self.charge_row(row, record(commit_bytes) + new, 0)?;
        self.conn
            .prepare_cached("INSERT INTO commits (identity, idx, hash, bytes) VALUES (?1, ?2, ?3, ?4)")?
            .execute((row, index, commit.hash().0, commit_bytes))?;
        self.conn
            .prepare_cached(
                "REPLACE INTO operations (identity, id, bytes, commit_index, proposer) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((row, operation.id().0, bytes, index, operation.core().proposer.0))?;
        Ok(())
    }

    /// Takes back the commits from `index` on. Their operations wait for a commit again.
    pub fn take_back(&self, identity: &IdentityId, index: u64) -> Result<(), StoreError> {
        let row = self.identity_row(identity)?;
        let mut statement = self
            .conn
            .prepare_cached("DELETE FROM commits WHERE identity = ?1 AND idx >= ?2 RETURNING length(bytes)")?;
        let freed = statement.query_map((row, int(index)), |row| row.get::<_, i64>(0))?;
        let freed = freed.map(|bytes| bytes.map(|bytes| bytes + int(RECORD_BYTES)));
        let freed: i64 = freed.sum::<Result<_, _>>()?;
        // One operation may stand in the chain twice, with an effect once.
        self.conn
            .prepare_cached("UPDATE operations SET commit_index = NULL WHERE identity = ?1 AND commit_index >= ?2")?
            .execute((row, int(index)))?;
        self.conn
            .prepare_cached("UPDATE identities SET used_bytes = max(0, used_bytes - ?2) WHERE id = ?1")?
            .execute((row, freed))?;
        Ok(())
    }

    /// Adds an operation that waits for its commit. One that is known already stays as it is. Refused when `limited` and the owner's bytes
    /// are used up.
    pub fn put_pending(&self, identity: &IdentityId, operation: &Operation, limited: bool) -> Result<(), StoreError> {
        let row = self.identity_row(identity)?;
        let bytes = operation.encode();
        let new = self
            .conn
            .prepare_cached("INSERT OR IGNORE INTO operations (identity, id, bytes, proposer) VALUES (?1, ?2, ?3, ?4)")?
            .execute((row, operation.id().0, &bytes, operation.core().proposer.0))?;
        if new > 0 {
            let refused = self.charge_row(row, record(&bytes), 0)?;
            if let Some(refused) = refused.filter(|_| limited) {
                return Err(StoreError::Refused(Box::new(refused)));
            }
        }
        Ok(())
    }

    /// Forgets a pending operation that can have no effect any more.
    pub fn drop_pending(&self, identity: &IdentityId, operation: &Hash) -> Result<(), StoreError> {
        let row = self.identity_row(identity)?;
        let mut statement = self.conn.prepare_cached(
            "DELETE FROM operations WHERE identity = ?1 AND id = ?2 AND commit_index IS NULL RETURNING length(bytes)",
        )?;
        let freed: Option<i64> = statement.query_row((row, operation.0), |row| row.get(0)).optional()?;
        if let Some(freed) = freed {
            self.conn
                .prepare_cached("UPDATE identities SET used_bytes = max(0, used_bytes - ?2) WHERE id = ?1")?
                .execute((row, freed + int(RECORD_BYTES)))?;
        }
        Ok(())
    }

    /// Sets what an identity may use.
    pub fn set_quota(&self, identity: &IdentityId, quota: Quota) -> Result<(), StoreError> {
        let row = self.identity_row(identity)?;
        self.conn
            .prepare_cached("UPDATE identities SET quota_bytes = ?2, quota_entries = ?3 WHERE id = ?1")?
            .execute((row, quota.bytes.map(int), quota.entries.map(int)))?;
        Ok(())
    }

    /// Counts entries against their owner's quota; refuses them when `limited` and there is no room.
    pub(super) fn count(
        &self,
        author: &AuthorRow,
        entries: &[VerifiedEntry],
        limited: bool,
    ) -> Result<(), AppendError> {
        let bytes: u64 = entries.iter().map(|entry| entry.entry().size() as u64).sum();
        self.charge(author, bytes, entries.len() as u64, limited)
    }

    /// Counts entries and the bytes of their boxes against the owner's quota.
    pub(super) fn charge(&self, author: &AuthorRow, boxes: u64, count: u64, limited: bool) -> Result<(), AppendError> {
        let owner = self
            .conn
            .prepare_cached("SELECT identity FROM authors WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([author.id], |row| row.get(0)))
            .map_err(StoreError::from)?;
        let refused = self.charge_row(owner, boxes + count * ENTRY_BYTES, count)?;
        refused.filter(|_| limited).map_or(Ok(()), Err)
    }

    /// Counts a new author log against its owner's quota. Its first entry, which comes with it, finds out if there is no room.
    pub(super) fn charge_author(&self, owner: i64) -> Result<(), StoreError> {
        self.charge_row(owner, AUTHOR_BYTES, 0).map(drop)
    }

    /// Counts against a quota, and answers with the refusal if there is no room.
    pub(super) fn charge_row(&self, identity: i64, bytes: u64, count: u64) -> Result<Option<AppendError>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "UPDATE identities SET used_bytes = used_bytes + ?2, used_entries = used_entries + ?3 WHERE id = ?1
             RETURNING used_bytes, used_entries, quota_bytes, quota_entries",
        )?;
        let (used_bytes, used_entries, quota_bytes, quota_entries): (i64, i64, Option<i64>, Option<i64>) = statement
            .query_row((identity, int(bytes), int(count)), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        let over = |unit, limit| {
            Ok(Some(AppendError::Quota {
                unit,
                limit: uint(limit),
            }))
        };
        if let Some(limit) = quota_bytes.filter(|limit| used_bytes > *limit) {
            return over("bytes", limit);
        }
        if let Some(limit) = quota_entries.filter(|limit| used_entries > *limit) {
            return over("entries", limit);
        }
        Ok(None)
    }

    /// Notes whose device secret this database was made with, or checks that it is the same.
    pub fn check_secret(&self, value: &[u8; 32]) -> Result<(), StoreError> {
        match self.meta("secret_check")? {
            None => self.set_meta("secret_check", value),
            Some(found) if found == value => Ok(()),
            Some(_) => Err(StoreError::WrongKey { file: "log.db" }),
        }
    }
}

/// What an operation or a commit is charged.
fn record(encoded: &[u8]) -> u64 {
    encoded.len() as u64 + RECORD_BYTES
}
