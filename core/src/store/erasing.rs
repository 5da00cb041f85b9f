//! Erasing in `log.db`: a section's nonce and ciphertext go, so that nothing of them is left in the file, and its hash stays.
//!
//! SQLite overwrites with zeros what it frees (`secure_delete`, and `core/sqlite` closes the hole that this leaves when pages are balanced). The
//! write-ahead log still holds pages as they were, until [`LogStore::scrub`] cuts it to nothing.

use rusqlite::Connection;

use super::{
    LogStore, Read, StoreError, Write,
    database::{int, uint},
    log_db::open_beside,
};
use crate::{
    crypto::{Hash, decode, encode},
    identity::{ErasedSection, IdentityId},
    log::{AuthorId, Position, VerifiedEntry},
};

/// How far a replica is with an erasure: since when it knows of it, by its own clock in milliseconds since 1970, and whether all is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasureNote {
    /// Since when.
    pub since: u64,
    /// Whether it was carried out here.
    pub done: bool,
}

fn note_key(identity: &IdentityId, operation: &Hash) -> String {
    format!("erasure:{identity}:{operation}")
}

fn sum_key(identity: &IdentityId) -> String {
    format!("erased:{identity}")
}

impl Read<'_> {
    /// The entry of an identity in this place, on whatever branch it lies. `None` if it is not here, or another identity's.
    pub fn entry_at(
        &self,
        identity: &IdentityId,
        author: &AuthorId,
        position: Position,
    ) -> Result<Option<VerifiedEntry>, StoreError> {
        if position.seq < 2 || self.start(author)?.is_none_or(|start| start.owner() != *identity) {
            return Ok(None);
        }
        for branch in self.branches(author)? {
            if self.is_on(author, &branch, position)? {
                let found = self.entries_after(author, branch.branch, position.seq - 1, 1, 0)?;
                return Ok(found.into_iter().next());
            }
        }
        Ok(None)
    }

    /// How far this replica is with an erasure.
    pub fn erasure_note(&self, identity: &IdentityId, operation: &Hash) -> Result<Option<ErasureNote>, StoreError> {
        let noted = self.meta(&note_key(identity, operation))?;
        Ok(noted
            .and_then(|bytes| decode(&bytes).ok())
            .map(|(since, done)| ErasureNote { since, done }))
    }

    /// Bytes of boxes of an identity that were erased here so far.
    pub fn erased_bytes(&self, identity: &IdentityId) -> Result<u64, StoreError> {
        let noted = self.meta(&sum_key(identity))?;
        Ok(noted.and_then(|bytes| decode(&bytes).ok()).unwrap_or(0))
    }
}

impl Write<'_> {
    /// Drops sections of an identity's entries, on every branch that has a copy. What is not here, or another identity's, is passed over.
    /// Gives how many bytes of boxes are gone.
    pub fn erase(&self, identity: &IdentityId, sections: &[ErasedSection]) -> Result<u64, StoreError> {
        let mut sections = sections.to_vec();
        sections.sort_unstable();
        let mut freed = 0;
        for of_entry in sections.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2)) {
            let author = AuthorId(of_entry[0].0.0);
            let at = Position {
                seq: of_entry[0].1,
                hash: of_entry[0].2,
            };
            let Some(mut entry) = self.entry_at(identity, &author, at)? else {
                continue;
            };
            let bytes = entry.erase(|number| of_entry.iter().any(|section| section.3 == number)) as u64;
            if bytes == 0 {
                continue;
            }
            let mut statement = self.conn.prepare_cached(
                "UPDATE entries SET sections = ?4 WHERE author = (SELECT id FROM authors WHERE author = ?1)
                 AND branch IN (SELECT b.branch FROM authors a JOIN branches b ON b.author = a.id WHERE a.author = ?1)
                 AND seq = ?2 AND hash = ?3",
            )?;
            let rows = statement.execute((author.0, int(at.seq), at.hash.0, encode(&entry.entry().sections)))?;
            freed += bytes * rows as u64;
        }
        if freed > 0 {
            self.conn
                .prepare_cached("UPDATE identities SET used_bytes = max(0, used_bytes - ?2) WHERE identity = ?1")?
                .execute((identity.0, int(freed)))?;
            let sum = self.erased_bytes(identity)?.saturating_add(freed);
            self.set_meta(&sum_key(identity), &encode(&sum))?;
        }
        Ok(freed)
    }

    /// Notes how far this replica is with an erasure; `None` forgets it.
    pub fn note_erasure(
        &self,
        identity: &IdentityId,
        operation: &Hash,
        note: Option<ErasureNote>,
    ) -> Result<(), StoreError> {
        let key = note_key(identity, operation);
        match note {
            Some(note) => self.set_meta(&key, &encode(&(note.since, note.done))),
            None => {
                self.conn
                    .prepare_cached("DELETE FROM meta WHERE key = ?1")?
                    .execute([key])?;
                Ok(())
            }
        }
    }
}

impl LogStore {
    /// Cuts the write-ahead log to nothing, so that no page is left in it as it was. False if somebody reads an older state just now: again
    /// later, then.
    pub fn scrub(&self) -> Result<bool, StoreError> {
        match self.path() {
            None => Ok(true),
            Some(path) => Ok(cut_wal(&open_beside(path)?)?),
        }
    }
}

/// Moves all of the write-ahead log into the file, and cuts it. False if somebody was in the way.
pub(super) fn cut_wal(conn: &Connection) -> rusqlite::Result<bool> {
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(uint(busy) == 0)
}
