//! Whether `log.db` holds together, asked when a pod opens it.
//!
//! SQLite notices a page that makes no sense, not one that makes another: a flipped bit in a number, a page that the disk put in another's
//! place, or one that it forgot to write. Entries are checked whenever they are read (`entries.rs`), and all that is signed when it is decoded.
//! What remains is looked at here, in time that grows with the number of author logs and not with the number of entries: that no author log
//! is missing, filed under another stream or shorter than its entries, and that this device goes on writing in none but its own.

use rusqlite::OptionalExtension;

use super::{
    Read, StoreError,
    database::{bytes, uint},
    entries::damaged,
    log_db::is_sound,
};
use crate::{
    crypto::{Hash, PublicKey},
    identity::{IdentityId, StreamId},
    log::{AuthorId, Start},
};

/// Every table but the one that grows with what a person writes.
const SMALL: [&str; 12] = [
    "meta",
    "identities",
    "commits",
    "operations",
    "streams",
    "epochs",
    "authors",
    "branches",
    "receipts",
    "alarms",
    "attachments",
    "attachment_receipts",
];

impl Read<'_> {
    /// Checks everything but entries, as the device with key `me` that goes on writing here for `identity`.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with what does not fit.
    pub fn check(&self, identity: &IdentityId, me: &PublicKey) -> Result<(), StoreError> {
        for table in SMALL {
            is_sound(self.conn, &format!("PRAGMA integrity_check('{table}')"))?;
        }
        let vacuum: i64 = self.conn.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?;
        if vacuum != 0 || !self.identities()?.contains(identity) {
            return Err(damaged("it is not laid out as we do"));
        }
        self.check_authors(me)?;
        self.check_branches()?;
        self.check_operations()
    }

    /// Each author log's row says what its signed start says.
    fn check_authors(&self, me: &PublicKey) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT a.author, a.start, a.device, a.own, i.identity, s.stream FROM authors a
             LEFT JOIN identities i ON i.id = a.identity LEFT JOIN streams s ON s.id = a.stream",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let start = Start::decode(&row.get::<_, Vec<u8>>(1)?).map_err(damaged)?;
            let own: bool = row.get(3)?;
            let fits = start.id() == AuthorId(bytes(row, 0)?)
                && start.device() == PublicKey(bytes(row, 2)?)
                && (!own || start.device() == *me)
                && start.owner() == IdentityId(bytes(row, 4)?)
                && start.stream() == StreamId(bytes(row, 5)?);
            if !fits {
                return Err(damaged("an author log is not filed as its start says"));
            }
        }
        Ok(())
    }

    /// Each author log's branches begin and end where its entries do.
    fn check_branches(&self) -> Result<(), StoreError> {
        // From one author log with entries to the next: a look at the first of each.
        let mut next = self
            .conn
            .prepare_cached("SELECT author FROM entries WHERE author > ?1 ORDER BY author LIMIT 1")?;
        let mut known = self.conn.prepare_cached("SELECT author FROM authors WHERE id = ?1")?;
        let mut ends = self.conn.prepare_cached(
            "SELECT (SELECT min(seq) FROM entries WHERE author = ?1 AND branch = ?2),
                    (SELECT max(seq) FROM entries WHERE author = ?1 AND branch = ?2),
                    (SELECT hash FROM entries WHERE author = ?1 AND branch = ?2 AND seq = ?3)",
        )?;
        let mut beyond = self
            .conn
            .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM entries WHERE author = ?1 AND branch > ?2 LIMIT 1)")?;
        let mut with_entries = 0;
        let mut after = i64::MIN;
        while let Some(author) = next.query_row([after], |row| row.get::<_, i64>(0)).optional()? {
            let id = known.query_row([author], |row| bytes::<32>(row, 0)).optional()?;
            let id = id.ok_or_else(|| damaged("there are entries of no author log"))?;
            let branches = self.branches_of(author)?;
            for (number, branch) in (0u32..).zip(&branches) {
                let (first, last, hash) = ends.query_row((author, branch.branch, branch.head.seq as i64), |row| {
                    let hash: Option<Vec<u8>> = row.get(2)?;
                    Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?, hash))
                })?;
                let hash = hash.and_then(|hash| Hash::from_slice(&hash));
                let fits = branch.branch == number
                    && (number != 0 || branch.base == 0)
                    && first.map(uint) == Some(branch.base.max(1) + 1)
                    && last.map(uint) == Some(branch.head.seq)
                    && hash == Some(branch.head.hash);
                if !fits {
                    let id = AuthorId(id);
                    return Err(damaged(format!(
                        "author log {} does not end where it should",
                        id.short()
                    )));
                }
            }
            let highest = branches.last().map_or(-1, |branch| i64::from(branch.branch));
            if beyond.query_row((author, highest), |row| row.get::<_, i64>(0))? > 0 {
                return Err(damaged("there are entries of no branch"));
            }
            with_entries += 1;
            after = author;
        }
        let with_branches: i64 = self
            .conn
            .query_row("SELECT count(DISTINCT author) FROM branches", [], |row| row.get(0))?;
        if with_branches != with_entries {
            return Err(damaged("an author log lost its entries"));
        }
        Ok(())
    }

    /// No operation says that it was committed where no commit is.
    fn check_operations(&self) -> Result<(), StoreError> {
        let lost: i64 = self.conn.query_row(
            "SELECT count(*) FROM operations o WHERE o.commit_index IS NOT NULL AND NOT EXISTS
             (SELECT 1 FROM commits c WHERE c.identity = o.identity AND c.idx = o.commit_index)",
            [],
            |row| row.get(0),
        )?;
        if lost > 0 {
            return Err(damaged("a commit is missing"));
        }
        Ok(())
    }
}
