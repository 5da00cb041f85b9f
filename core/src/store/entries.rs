//! Author logs in `log.db`: heads, branches, entries.
//!
//! Branch 0 is the one that came first. A branch that left it at `base` holds its own copies of everything after `base`, so
//! that reading one never needs more than two runs of rows.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row};

use super::{
    AppendError, Read, StoreError, Write,
    database::{bytes, int, uint},
};
use crate::{
    crypto::{Hash, PublicKey, Signature, decode, encode},
    identity::{EpochId, IdentityId, StreamId},
    log::{AuthorId, Entry, Item, Position, Range, Section, Start, VerifiedEntry, VerifiedRange},
};

/// Branches kept of one author log, the main one included.
const MAX_BRANCHES: usize = 8;
/// Entries that one read of a range looks at.
const READ_AT_ONCE: u64 = crate::log::MAX_RANGE as u64;

/// What became of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// How many of its entries are new here.
    pub new: usize,
    /// Whether they began another branch: the device was copied or restored.
    pub forked: bool,
    /// The end of the range, which is here now.
    pub head: Position,
}

/// One branch and its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BranchHead {
    /// Its number, from 0.
    pub branch: u32,
    /// The seq at which it left branch 0.
    pub base: u64,
    /// Its last entry.
    pub head: Position,
}

/// The author log that this device goes on writing in one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnLog {
    /// The author log.
    pub author: AuthorId,
    /// Its head.
    pub head: Position,
}

/// An author log's row.
pub(super) struct AuthorRow {
    pub(super) id: i64,
    author: AuthorId,
    device: PublicKey,
}

impl Read<'_> {
    fn author_row(&self, author: &AuthorId) -> Result<Option<AuthorRow>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT id, device FROM authors WHERE author = ?1")?;
        let row = statement.query_row([author.0], |row| {
            Ok(AuthorRow {
                id: row.get(0)?,
                author: *author,
                device: PublicKey(bytes(row, 1)?),
            })
        });
        Ok(row.optional()?)
    }

    pub(super) fn branches_of(&self, author: i64) -> Result<Vec<BranchHead>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT branch, base, seq, hash FROM branches WHERE author = ?1 ORDER BY branch")?;
        let rows = statement.query_map([author], |row| read_branch(row, 0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The branches of an author log; none if it has no entries.
    pub fn branches(&self, author: &AuthorId) -> Result<Vec<BranchHead>, StoreError> {
        self.author_row(author)?
            .map_or(Ok(Vec::new()), |row| self.branches_of(row.id))
    }

    /// The start of an author log, if it is known.
    pub fn start(&self, author: &AuthorId) -> Result<Option<Start>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT start FROM authors WHERE author = ?1")?;
        let bytes: Option<Vec<u8>> = statement.query_row([author.0], |row| row.get(0)).optional()?;
        bytes
            .map(|bytes| Start::from_store(author, &bytes).map_err(damaged))
            .transpose()
    }

    /// The have-vector of an identity.
    pub fn items(&self, identity: &IdentityId) -> Result<Vec<Item>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT a.author, b.base, b.seq, b.hash FROM identities i JOIN authors a ON a.identity = i.id
             JOIN branches b ON b.author = a.id WHERE i.identity = ?1 ORDER BY a.author, b.branch",
        )?;
        let rows = statement.query_map([identity.0], |row| {
            Ok(Item(
                AuthorId(bytes(row, 0)?),
                uint(row.get(1)?),
                uint(row.get(2)?),
                Hash(bytes(row, 3)?),
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Every branch of an identity, by author log.
    pub fn heads(&self, identity: &IdentityId) -> Result<BTreeMap<AuthorId, Vec<BranchHead>>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT b.branch, b.base, b.seq, b.hash, a.author FROM identities i JOIN authors a ON a.identity = i.id
             JOIN branches b ON b.author = a.id WHERE i.identity = ?1 ORDER BY a.author, b.branch",
        )?;
        let mut heads: BTreeMap<AuthorId, Vec<BranchHead>> = BTreeMap::new();
        let rows = statement.query_map([identity.0], |row| Ok((AuthorId(bytes(row, 4)?), read_branch(row, 0)?)))?;
        for row in rows {
            let (author, branch) = row?;
            heads.entry(author).or_default().push(branch);
        }
        Ok(heads)
    }

    fn hash_at(&self, author: &AuthorRow, branch: &BranchHead, seq: u64) -> Result<Option<Hash>, StoreError> {
        if seq == 1 {
            return Ok(Some(Hash(author.author.0)));
        }
        if seq > branch.head.seq {
            return Ok(None);
        }
        let stored_in = if seq <= branch.base { 0 } else { branch.branch };
        let mut statement = self
            .conn
            .prepare_cached("SELECT hash FROM entries WHERE author = ?1 AND branch = ?2 AND seq = ?3")?;
        let hash = statement
            .query_row((author.id, stored_in, int(seq)), |row| bytes(row, 0))
            .optional()?;
        Ok(hash.map(Hash))
    }

    /// Whether `position` lies on `branch` of `author`.
    pub fn is_on(&self, author: &AuthorId, branch: &BranchHead, position: Position) -> Result<bool, StoreError> {
        let Some(row) = self.author_row(author)? else {
            return Ok(position == Position::start(author));
        };
        Ok(self.hash_at(&row, branch, position.seq)? == Some(position.hash))
    }

    /// Whether `position` lies on any branch of `author`.
    pub fn holds(&self, author: &AuthorId, position: Position) -> Result<bool, StoreError> {
        for branch in self.branches(author)? {
            if self.is_on(author, &branch, position)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Points of a branch for finding where two branches part: the head, then ever further apart, down to the start.
    pub fn points(&self, author: &AuthorId, branch: &BranchHead) -> Result<Vec<(u64, Hash)>, StoreError> {
        let Some(row) = self.author_row(author)? else {
            return Ok(Vec::new());
        };
        let mut points = Vec::new();
        let (mut seq, mut step) = (branch.head.seq, 1);
        loop {
            let hash = self.hash_at(&row, branch, seq)?;
            points.push((seq, hash.ok_or_else(|| missing("an entry"))?));
            if seq == 1 {
                return Ok(points);
            }
            seq = seq.saturating_sub(step).max(1);
            if points.len() > 4 {
                step *= 2;
            }
        }
    }

    /// Entries of a branch after `seq`, oldest first, until `max_bytes` of boxes or `limit` entries are reached; at least one if there is one.
    /// Each is checked to be what was stored after the one before it, and the last to be the branch's head: what the disk changed or forgot is
    /// an error, not a shorter log.
    pub fn entries_after(
        &self,
        author: &AuthorId,
        branch: u32,
        seq: u64,
        limit: u64,
        max_bytes: usize,
    ) -> Result<Vec<VerifiedEntry>, StoreError> {
        let Some(row) = self.author_row(author)? else {
            return Ok(Vec::new());
        };
        let Some(head) = self.branches_of(row.id)?.into_iter().find(|head| head.branch == branch) else {
            return Ok(Vec::new());
        };
        let mut statement = self.conn.prepare_cached(
            "SELECT seq, hash, (SELECT epoch FROM epochs WHERE id = entries.epoch), head, sections, signature FROM entries
             WHERE author = ?1 AND branch = ?2 AND seq > ?3 AND seq <= ?4 ORDER BY seq LIMIT ?5",
        )?;
        let mut entries = Vec::new();
        let mut size = 0;
        let seq = seq.max(1);
        if seq >= head.head.seq || limit == 0 {
            return Ok(entries);
        }
        let link = self.hash_at(&row, &head, seq)?;
        let mut at = Position {
            seq,
            hash: link.ok_or_else(|| missing("an entry"))?,
        };
        // What lies before the branch's base stands in branch 0.
        for (stored_in, from, to) in [(0, seq, head.base), (branch, seq.max(head.base), head.head.seq)] {
            let left = limit.saturating_sub(entries.len() as u64);
            let mut rows = statement.query((row.id, stored_in, int(from), int(to), int(left)))?;
            while let Some(found) = rows.next()? {
                let entry = read_entry(*author, &at, found)?;
                at = entry.position();
                if at.seq == head.head.seq && at.hash != head.head.hash {
                    return Err(damaged("an author log does not end where it should"));
                }
                size += entry.entry().size();
                entries.push(entry);
                if size >= max_bytes {
                    return Ok(entries);
                }
            }
        }
        if at.seq < head.head.seq && (entries.len() as u64) < limit {
            return Err(missing("an entry"));
        }
        Ok(entries)
    }

    /// A range of a branch after `after`, of about `max_bytes`, that ends at an entry whose signature is good; with where it ends. `None` if
    /// there is nothing after it.
    pub fn range_to_send(
        &self,
        author: &AuthorId,
        branch: u32,
        after: Position,
        max_bytes: usize,
    ) -> Result<Option<(Range, Position)>, StoreError> {
        let Some(row) = self.author_row(author)? else {
            return Ok(None);
        };
        let mut entries = self.entries_after(author, branch, after.seq, READ_AT_ONCE, max_bytes)?;
        // Only the last signature of a run that came from elsewhere was checked: do not pass on a cut that nobody checked. Cut back to a
        // good one, or go on to it: what came in one frame then fits into one again.
        let good = |entry: &VerifiedEntry| {
            let (hash, signature) = (entry.position().hash, &entry.entry().signature);
            row.device.verify("entry", &hash.0, signature).is_ok()
        };
        if let Some(last) = entries.iter().rposition(good) {
            entries.truncate(last + 1);
        }
        while let Some(last) = entries.last() {
            if good(last) || entries.len() as u64 >= READ_AT_ONCE {
                break;
            }
            let next = self.entries_after(author, branch, last.position().seq, 1, 0)?;
            if next.is_empty() {
                break;
            }
            entries.extend(next);
        }
        let Some(head) = entries.last().map(VerifiedEntry::position) else {
            return Ok(None);
        };
        let start = if after.seq == 1 {
            self.start(author)?.map(|start| start.encode().to_vec())
        } else {
            None
        };
        let range = Range {
            start,
            author: *author,
            after,
            entries: entries.into_iter().map(VerifiedEntry::into_entry).collect(),
        };
        Ok(Some((range, head)))
    }

    /// As [`Read::range_to_send`], without where it ends.
    pub fn range_after(
        &self,
        author: &AuthorId,
        branch: u32,
        after: Position,
        max_bytes: usize,
    ) -> Result<Option<Range>, StoreError> {
        let found = self.range_to_send(author, branch, after, max_bytes)?;
        Ok(found.map(|(range, _)| range))
    }

    /// The author log that this device writes in `stream`, if it has one and may go on in it.
    pub fn own_log(&self, stream: &StreamId) -> Result<Option<OwnLog>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT a.author, b.seq, b.hash FROM streams s JOIN authors a ON a.stream = s.id AND a.own = 1
             LEFT JOIN branches b ON b.author = a.id AND b.branch = 0 WHERE s.stream = ?1 ORDER BY a.id DESC LIMIT 1",
        )?;
        let own = statement.query_row([stream.0], |row| {
            let author = AuthorId(bytes(row, 0)?);
            let head = match row.get::<_, Option<i64>>(1)? {
                Some(seq) => Position {
                    seq: uint(seq),
                    hash: Hash(bytes(row, 2)?),
                },
                None => Position::start(&author),
            };
            Ok(OwnLog { author, head })
        });
        Ok(own.optional()?)
    }

    /// The author logs of an identity that this device goes on writing in.
    pub fn own_logs(&self, identity: &IdentityId) -> Result<Vec<AuthorId>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT a.author FROM identities i JOIN authors a ON a.identity = i.id WHERE i.identity = ?1 AND a.own = 1",
        )?;
        let rows = statement.query_map([identity.0], |row| Ok(AuthorId(bytes(row, 0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The author logs of one device of an identity.
    pub fn logs_of(&self, identity: &IdentityId, device: &PublicKey) -> Result<Vec<AuthorId>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT a.author FROM identities i JOIN authors a ON a.identity = i.id WHERE i.identity = ?1 AND a.device = ?2
             ORDER BY a.author",
        )?;
        let rows = statement.query_map((identity.0, device.0), |row| Ok(AuthorId(bytes(row, 0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether this device goes on writing in `author`.
    pub fn is_own(&self, author: &AuthorId) -> Result<bool, StoreError> {
        let mut statement = self.conn.prepare_cached("SELECT own FROM authors WHERE author = ?1")?;
        Ok(statement
            .query_row([author.0], |row| row.get(0))
            .optional()?
            .unwrap_or(false))
    }

    /// How many entries an identity has here, and how many bytes it uses (see `Usage`).
    pub fn counts(&self, identity: &IdentityId) -> Result<(u64, u64), StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT used_entries, used_bytes FROM identities WHERE identity = ?1")?;
        let counts = statement
            .query_row([identity.0], |row| Ok((uint(row.get(0)?), uint(row.get(1)?))))
            .optional()?;
        Ok(counts.unwrap_or_default())
    }
}

impl Write<'_> {
    fn intern(&self, table: &str, column: &str, value: &[u8; 32]) -> Result<i64, StoreError> {
        let select = format!("SELECT id FROM {table} WHERE {column} = ?1");
        if let Some(id) = self
            .conn
            .prepare_cached(&select)?
            .query_row([value], |row| row.get(0))
            .optional()?
        {
            return Ok(id);
        }
        self.conn
            .prepare_cached(&format!("INSERT INTO {table} ({column}) VALUES (?1)"))?
            .execute([value])?;
        Ok(self.conn.last_insert_rowid())
    }

    /// The row of an identity, made if it is not there.
    pub(super) fn identity_row(&self, identity: &IdentityId) -> Result<i64, StoreError> {
        self.intern("identities", "identity", &identity.0)
    }

    /// Notes an author log; `own` if this device goes on writing in it.
    pub fn add_author(&self, start: &Start, own: bool) -> Result<(), StoreError> {
        let identity = self.identity_row(&start.owner())?;
        let stream = self.intern("streams", "stream", &start.stream().0)?;
        let new = self
            .conn
            .prepare_cached(
                "INSERT OR IGNORE INTO authors (author, identity, stream, device, start, own) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((start.id().0, identity, stream, start.device().0, start.encode(), own))?;
        if new > 0 {
            self.charge_author(identity)?;
        }
        Ok(())
    }

    /// This device will not go on in `author`: a copy of it may. Answers whether it would have.
    pub fn retire(&self, author: &AuthorId) -> Result<bool, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("UPDATE authors SET own = 0 WHERE author = ?1 AND own = 1")?;
        Ok(statement.execute([author.0])? > 0)
    }

    /// Adds entries that this device just made at the head of its own log.
    pub fn append_own(&self, entry: &VerifiedEntry) -> Result<(), StoreError> {
        let row = self
            .author_row(&entry.author())?
            .ok_or_else(|| missing("an author log"))?;
        self.put(&row, 0, std::slice::from_ref(entry))?;
        self.set_head(
            &row,
            BranchHead {
                branch: 0,
                base: 0,
                head: entry.position(),
            },
        )?;
        // A person's own device never refuses what they write.
        match self.count(&row, std::slice::from_ref(entry), false) {
            Ok(()) => Ok(()),
            Err(AppendError::Store(error)) => Err(error),
            Err(other) => Err(missing(&other.to_string())),
        }
    }

    /// Adds a verified range where it belongs: at the end of a branch, or as a branch of its own. Entries that are here
    /// already are passed over. All of it or nothing.
    pub fn append(&self, range: &VerifiedRange) -> Result<Appended, AppendError> {
        let row = self.author_row(&range.author())?.ok_or(AppendError::UnknownAuthor)?;
        let mut branches = self.branches_of(row.id)?;
        if branches.is_empty() {
            branches.push(BranchHead {
                branch: 0,
                base: 0,
                head: Position::start(&range.author()),
            });
        }
        // The branch that shares most with the range, and how much of the range it has.
        let mut best: Option<(BranchHead, usize)> = None;
        for branch in &branches {
            if self.hash_at(&row, branch, range.after().seq)? != Some(range.after().hash) {
                continue;
            }
            let mut known = 0;
            for entry in range.entries() {
                let at = entry.position();
                if at.seq > branch.head.seq || self.hash_at(&row, branch, at.seq)? != Some(at.hash) {
                    break;
                }
                known += 1;
            }
            if best.is_none_or(|(_, most)| known > most || (known == most && branch.head == range.after())) {
                best = Some((*branch, known));
            }
        }
        let (branch, known) = best.ok_or(AppendError::Gap)?;
        let new = &range.entries()[known..];
        if new.is_empty() {
            return Ok(Appended {
                new: 0,
                forked: false,
                head: range.head(),
            });
        }
        let joint = known
            .checked_sub(1)
            .map_or(range.after(), |last| range.entries()[last].position());
        let forked = joint.seq != branch.head.seq;
        let target = if forked {
            if branches.len() >= MAX_BRANCHES {
                return Err(AppendError::TooManyBranches);
            }
            self.begin_branch(&row, &branches, &branch, joint)?
        } else {
            branch
        };
        self.put(&row, target.branch, new)?;
        self.set_head(
            &row,
            BranchHead {
                head: range.head(),
                ..target
            },
        )?;
        self.count(&row, new, true)?;
        Ok(Appended {
            new: new.len(),
            forked,
            head: range.head(),
        })
    }

    /// A new branch that parts from `from` after `joint`. Relative to branch 0 it parts no later than `from` does.
    fn begin_branch(
        &self,
        row: &AuthorRow,
        branches: &[BranchHead],
        from: &BranchHead,
        joint: Position,
    ) -> Result<BranchHead, AppendError> {
        let branch = branches.iter().map(|head| head.branch).max().unwrap_or(0) + 1;
        let base = if from.branch == 0 {
            joint.seq
        } else {
            from.base.min(joint.seq)
        };
        if joint.seq > base {
            // Copies take room too, and are charged before they are made.
            let (bytes, count): (i64, i64) = self
                .conn
                .prepare_cached(
                    "SELECT coalesce(sum(length(sections)), 0), count(*) FROM entries
                     WHERE author = ?1 AND branch = ?2 AND seq > ?3 AND seq <= ?4",
                )?
                .query_row((row.id, from.branch, int(base), int(joint.seq)), |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?;
            self.charge(row, uint(bytes), uint(count), true)?;
            self.conn
                .prepare_cached(
                    "INSERT INTO entries SELECT author, ?3, seq, hash, epoch, head, sections, signature FROM entries
                     WHERE author = ?1 AND branch = ?2 AND seq > ?4 AND seq <= ?5",
                )?
                .execute((row.id, from.branch, branch, int(base), int(joint.seq)))?;
        }
        Ok(BranchHead {
            branch,
            base,
            head: joint,
        })
    }

    fn put(&self, row: &AuthorRow, branch: u32, entries: &[VerifiedEntry]) -> Result<(), StoreError> {
        let mut statement = self.conn.prepare_cached(
            "INSERT INTO entries (author, branch, seq, hash, epoch, head, sections, signature) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?;
        let mut epoch: Option<(EpochId, i64)> = None;
        for verified in entries {
            let (at, entry) = (verified.position(), verified.entry());
            let epoch_row = match epoch {
                Some((id, row)) if id == entry.epoch => row,
                _ => self.intern("epochs", "epoch", &entry.epoch.0)?,
            };
            epoch = Some((entry.epoch, epoch_row));
            statement.execute((
                row.id,
                branch,
                int(at.seq),
                at.hash.0,
                epoch_row,
                entry.head.map(|head| head.0),
                encode(&entry.sections),
                entry.signature.0,
            ))?;
        }
        Ok(())
    }

    fn set_head(&self, row: &AuthorRow, branch: BranchHead) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("REPLACE INTO branches (author, branch, base, seq, hash) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((
                row.id,
                branch.branch,
                int(branch.base),
                int(branch.head.seq),
                branch.head.hash.0,
            ))?;
        Ok(())
    }
}

fn read_branch(row: &Row<'_>, first: usize) -> rusqlite::Result<BranchHead> {
    Ok(BranchHead {
        branch: row.get(first)?,
        base: uint(row.get(first + 1)?),
        head: Position {
            seq: uint(row.get(first + 2)?),
            hash: Hash(bytes(row, first + 3)?),
        },
    })
}

/// Reads the entry after `before`, if that is what the row still is.
fn read_entry(author: AuthorId, before: &Position, row: &Row<'_>) -> Result<VerifiedEntry, StoreError> {
    let position = Position {
        seq: uint(row.get(0)?),
        hash: Hash(bytes(row, 1)?),
    };
    let sections: Vec<u8> = row.get(4)?;
    let sections: Vec<Section> = decode(&sections).map_err(damaged)?;
    let head: Option<Vec<u8>> = row.get(3)?;
    let entry = Entry {
        epoch: EpochId(bytes(row, 2)?),
        head: head.and_then(|head| Hash::from_slice(&head)),
        sections,
        signature: Signature(bytes(row, 5)?),
    };
    if position.seq != before.seq + 1 || position.hash != entry.hash(&author, position.seq, &before.hash) {
        return Err(damaged("an entry is not what was stored"));
    }
    Ok(VerifiedEntry::from_store(author, position, entry))
}

pub(super) fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged {
        file: "log.db",
        why: error.to_string(),
    }
}

fn missing(what: &str) -> StoreError {
    StoreError::Damaged {
        file: "log.db",
        why: format!("{what} is missing"),
    }
}
