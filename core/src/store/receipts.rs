//! Which peers hold what, by their own signed word, and what the owner must be told.

use rusqlite::OptionalExtension;

use super::{
    Read, StoreError, Write,
    database::{bytes, int, uint},
    entries::damaged,
};
use crate::{
    crypto::{Hash, PublicKey},
    identity::IdentityId,
    log::{AuthorId, Position, Receipt, StoreId},
};

/// Something the owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What happened.
    pub kind: AlarmKind,
    /// Whom it is about: a peer's signing key, an author log, or an identity.
    pub subject: Hash,
    /// When it was first seen, in milliseconds since 1970.
    pub time: u64,
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    /// An author log has two branches: its device was copied, or restored from a backup. Both are kept.
    Fork,
    /// A peer lost what it had said it holds. It is sent again.
    PeerLoss,
    /// An orderer signed two different commits for one place.
    Equivocation,
    /// An entry names a commit that is not in the identity log that a peer sent as whole: the orderer keeps commits back, or tells another
    /// device another story.
    HiddenCommits,
    /// An erasure names sections of other documents than it says. They are kept here; a cloud peer, which reads nothing, may have dropped
    /// them.
    WrongErasure,
}

impl AlarmKind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Fork, "fork"),
        (Self::PeerLoss, "peer-loss"),
        (Self::Equivocation, "equivocation"),
        (Self::HiddenCommits, "hidden-commits"),
        (Self::WrongErasure, "wrong-erasure"),
    ];

    /// Its name in the database and in scripts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::PeerLoss => "peer-loss",
            Self::Equivocation => "equivocation",
            Self::HiddenCommits => "hidden-commits",
            Self::WrongErasure => "wrong-erasure",
        }
    }
}

impl Read<'_> {
    /// The receipts of one peer, for every branch of an identity.
    pub fn receipts_of(&self, identity: &IdentityId, peer: &PublicKey) -> Result<Vec<Receipt>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT r.bytes FROM identities i JOIN authors a ON a.identity = i.id JOIN receipts r ON r.author = a.id
             WHERE i.identity = ?1 AND r.peer = ?2",
        )?;
        let rows = statement.query_map((identity.0, peer.0), |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|row| Receipt::decode(&row?).map_err(damaged)).collect()
    }

    /// The peers that hold entry `seq` of a branch, with when they said so: by what they signed, whatever else the row says.
    pub fn holders(&self, author: &AuthorId, branch: u32, seq: u64) -> Result<Vec<(PublicKey, u64)>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT r.bytes FROM authors a JOIN receipts r ON r.author = a.id WHERE a.author = ?1 AND r.branch = ?2 ORDER BY r.peer",
        )?;
        let rows = statement.query_map((author.0, branch), |row| row.get::<_, Vec<u8>>(0))?;
        let mut holders = Vec::new();
        for row in rows {
            let receipt = self.signed(author, branch, &row?)?;
            if receipt.position.seq >= seq {
                holders.push((receipt.peer, receipt.time));
            }
        }
        Ok(holders)
    }

    /// A stored receipt, if its peer signed it for an entry of this branch.
    fn signed(&self, author: &AuthorId, branch: u32, bytes: &[u8]) -> Result<Receipt, StoreError> {
        let receipt = Receipt::decode(bytes).map_err(damaged)?;
        let known = self.branches(author)?.into_iter().find(|known| known.branch == branch);
        let on_it = match known {
            Some(known) => receipt.author == *author && self.is_on(author, &known, receipt.position)?,
            None => false,
        };
        if on_it {
            Ok(receipt)
        } else {
            Err(damaged("a receipt is not for the entry that it is filed under"))
        }
    }

    /// The database that a peer showed last: another one now means that it was wiped.
    pub fn peer_store(&self, peer: &PublicKey) -> Result<Option<StoreId>, StoreError> {
        let found = self.meta(&format!("peer_store:{peer}"))?;
        Ok(found.and_then(|bytes| StoreId::from_slice(&bytes)))
    }

    /// When a peer last gave a receipt for anything of an identity, by the peer's clock.
    pub fn last_receipt(&self, identity: &IdentityId) -> Result<Option<u64>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT r.bytes FROM identities i JOIN authors a ON a.identity = i.id JOIN receipts r ON r.author = a.id
             WHERE i.identity = ?1 ORDER BY r.time DESC LIMIT 1",
        )?;
        let last: Option<Vec<u8>> = statement.query_row([identity.0], |row| row.get(0)).optional()?;
        let last = last.map(|bytes| Receipt::decode(&bytes)).transpose();
        Ok(last.map_err(damaged)?.map(|receipt| receipt.time))
    }

    /// What the owner should know, newest first.
    pub fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("SELECT kind, subject, time FROM alarms ORDER BY id DESC")?;
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, Hash(bytes(row, 1)?), uint(row.get(2)?)))
        })?;
        let mut alarms = Vec::new();
        for row in rows {
            let (name, subject, time) = row?;
            // A kind that a newer version wrote is not ours to show.
            if let Some((kind, _)) = AlarmKind::ALL.iter().find(|(_, known)| *known == name) {
                alarms.push(Alarm {
                    kind: *kind,
                    subject,
                    time,
                });
            }
        }
        Ok(alarms)
    }
}

impl Write<'_> {
    /// Keeps a receipt for an entry that is here; one for less than what is known already changes nothing.
    pub fn put_receipt(&self, receipt: &Receipt) -> Result<(), StoreError> {
        for branch in self.branches(&receipt.author)? {
            if !self.is_on(&receipt.author, &branch, receipt.position)? {
                continue;
            }
            self.conn
                .prepare_cached(
                    "INSERT INTO receipts (author, branch, peer, store, seq, hash, time, bytes)
                     VALUES ((SELECT id FROM authors WHERE author = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT (author, branch, peer) DO UPDATE SET store = excluded.store, seq = excluded.seq,
                     hash = excluded.hash, time = excluded.time, bytes = excluded.bytes
                     WHERE excluded.seq >= seq OR excluded.store <> store",
                )?
                .execute((
                    receipt.author.0,
                    branch.branch,
                    receipt.peer.0,
                    receipt.store.0,
                    int(receipt.position.seq),
                    receipt.position.hash.0,
                    int(receipt.time),
                    receipt.encode(),
                ))?;
        }
        Ok(())
    }

    /// Forgets a receipt that its peer contradicts.
    pub fn drop_receipt(&self, receipt: &Receipt) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "DELETE FROM receipts WHERE author = (SELECT id FROM authors WHERE author = ?1) AND peer = ?2 AND hash = ?3",
            )?
            .execute((receipt.author.0, receipt.peer.0, receipt.position.hash.0))?;
        Ok(())
    }

    /// Notes something the owner should know; once for each subject.
    pub fn raise(&self, kind: AlarmKind, subject: Hash, time: u64) -> Result<(), StoreError> {
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO alarms (kind, subject, time) VALUES (?1, ?2, ?3)")?
            .execute((kind.name(), subject.0, int(time)))?;
        Ok(())
    }

    /// Notes the database that a peer showed last.
    pub fn note_peer_store(&self, peer: &PublicKey, store: StoreId) -> Result<(), StoreError> {
        self.set_meta(&format!("peer_store:{peer}"), &store.0)
    }
}

impl Read<'_> {
    /// Where a peer's receipt for a branch stands.
    pub fn receipt_at(&self, author: &AuthorId, branch: u32, peer: &PublicKey) -> Result<Option<Position>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT r.bytes FROM authors a JOIN receipts r ON r.author = a.id
             WHERE a.author = ?1 AND r.branch = ?2 AND r.peer = ?3",
        )?;
        let found: Option<Vec<u8>> = statement
            .query_row((author.0, branch, peer.0), |row| row.get(0))
            .optional()?;
        let Some(bytes) = found else { return Ok(None) };
        let receipt = self.signed(author, branch, &bytes)?;
        if receipt.peer == *peer {
            Ok(Some(receipt.position))
        } else {
            Err(damaged("a receipt is filed under another peer"))
        }
    }
}
