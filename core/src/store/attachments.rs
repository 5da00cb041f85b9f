//! What `log.db` knows of attachments: which there are, which of their chunks lie in `blobs/`, and who else holds them.

use rusqlite::{OptionalExtension, Row};

use super::{
    Read, StoreError, Write,
    database::{bytes, int, uint},
    entries::damaged,
};
use crate::{
    crypto::PublicKey,
    identity::IdentityId,
    log::{AttachmentId, AttachmentReceipt, CHUNK_BOX, ChunkMap, Manifest, StoreId},
};

/// What an attachment is charged beyond its boxes and its manifest.
const RECORD_BYTES: u64 = 1_024;

/// An attachment, as far as it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentRow {
    /// The attachment.
    pub id: AttachmentId,
    /// Bytes of all its boxes; 0 if its manifest is not here.
    pub size: u64,
    /// Bytes of the boxes that are here.
    pub here: u64,
    /// When it was last added to or read, in milliseconds since 1970.
    pub used: u64,
    /// Whether its owner wants it here.
    pub pinned: bool,
    /// Since when no document refers to it, as far as was noticed; `None` if one does.
    pub loose: Option<u64>,
}

impl AttachmentRow {
    /// Whether all of it is here.
    pub fn is_whole(&self) -> bool {
        self.size > 0 && self.here == self.size
    }
}

const COLUMNS: &str = "a.attachment, a.size, a.here, a.used, a.pinned, a.loose";
const OF: &str = "FROM identities i JOIN attachments a ON a.identity = i.id WHERE i.identity = ?1";

fn row(row: &Row<'_>) -> rusqlite::Result<AttachmentRow> {
    Ok(AttachmentRow {
        id: AttachmentId(bytes(row, 0)?),
        size: uint(row.get(1)?),
        here: uint(row.get(2)?),
        used: uint(row.get(3)?),
        pinned: row.get(4)?,
        loose: row.get::<_, Option<i64>>(5)?.map(uint),
    })
}

/// Chunks of an attachment whose boxes have `size` bytes.
fn chunks_of(size: u64) -> u32 {
    u32::try_from(size.div_ceil(CHUNK_BOX as u64)).unwrap_or(u32::MAX)
}

/// Bytes of the boxes that `map` shows.
fn bytes_here(map: &ChunkMap, size: u64) -> u64 {
    let chunks = chunks_of(size);
    let here = u64::from(chunks - map.count_missing());
    let short = u64::from(chunks) * CHUNK_BOX as u64 - size;
    here * CHUNK_BOX as u64 - if map.has(chunks - 1) { short } else { 0 }
}

impl Read<'_> {
    /// One attachment.
    pub fn attachment(&self, identity: &IdentityId, id: &AttachmentId) -> Result<Option<AttachmentRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} {OF} AND a.attachment = ?2");
        let mut statement = self.conn.prepare_cached(&sql)?;
        Ok(statement.query_row((identity.0, id.0), row).optional()?)
    }

    /// Every attachment of an identity: first what was not used for longest.
    pub fn attachments(&self, identity: &IdentityId) -> Result<Vec<AttachmentRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} {OF} ORDER BY a.used, a.id");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let rows = statement.query_map([identity.0], row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many attachments an identity has here, the bytes of their boxes, and of those that are here.
    pub fn attachment_usage(&self, identity: &IdentityId) -> Result<(u64, u64, u64), StoreError> {
        let sql = format!("SELECT count(*), coalesce(sum(a.size), 0), coalesce(sum(a.here), 0) {OF}");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let read = |row: &Row<'_>| Ok((uint(row.get(0)?), uint(row.get(1)?), uint(row.get(2)?)));
        Ok(statement.query_row([identity.0], read)?)
    }

    /// The manifest of an attachment, if it is here.
    ///
    /// # Errors
    /// One that does not give the id that it is filed under is [`StoreError::Damaged`].
    pub fn manifest(&self, identity: &IdentityId, id: &AttachmentId) -> Result<Option<Manifest>, StoreError> {
        let sql = format!("SELECT a.manifest {OF} AND a.attachment = ?2 AND a.size > 0");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let found: Option<Vec<u8>> = statement.query_row((identity.0, id.0), |row| row.get(0)).optional()?;
        let Some(found) = found else { return Ok(None) };
        let manifest = Manifest::decode(&found).map_err(damaged)?;
        if manifest.id() != *id {
            return Err(damaged("a manifest is filed under another attachment"));
        }
        Ok(Some(manifest))
    }

    /// Which chunks of an attachment are here; `None` if its manifest is not.
    pub fn chunk_map(&self, identity: &IdentityId, id: &AttachmentId) -> Result<Option<ChunkMap>, StoreError> {
        let sql = format!("SELECT a.chunks, a.size {OF} AND a.attachment = ?2 AND a.size > 0");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let found: Option<(Vec<u8>, i64)> = statement
            .query_row((identity.0, id.0), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((map, size)) = found else { return Ok(None) };
        let map = ChunkMap::from_bytes(&map, chunks_of(uint(size)));
        Ok(Some(map.ok_or_else(|| {
            damaged("an attachment has other chunks than its manifest")
        })?))
    }

    /// Attachments that are here whole and that `peer`, with the database `store`, gave no receipt for: the smallest first, so that
    /// thumbnails do not wait for what they show.
    pub fn attachments_to_push(
        &self,
        identity: &IdentityId,
        peer: &PublicKey,
        store: &StoreId,
    ) -> Result<Vec<AttachmentId>, StoreError> {
        let sql = format!(
            "SELECT a.attachment {OF} AND a.size > 0 AND a.here = a.size AND NOT EXISTS (
                 SELECT 1 FROM attachment_receipts r WHERE r.attachment = a.id AND r.peer = ?2 AND r.store = ?3)
             ORDER BY a.size, a.id"
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let rows = statement.query_map((identity.0, peer.0, store.0), |row| Ok(AttachmentId(bytes(row, 0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Attachments that are pinned and not here whole, the smallest first.
    pub fn attachments_wanted(&self, identity: &IdentityId) -> Result<Vec<AttachmentId>, StoreError> {
        let sql = format!(
            "SELECT a.attachment {OF} AND a.pinned = 1 AND (a.size = 0 OR a.here < a.size) ORDER BY a.size, a.id"
        );
        let mut statement = self.conn.prepare_cached(&sql)?;
        let rows = statement.query_map([identity.0], |row| Ok(AttachmentId(bytes(row, 0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The peers that hold an attachment, by what they signed: those whose database is still the one that they showed last.
    pub fn attachment_holders(
        &self,
        identity: &IdentityId,
        id: &AttachmentId,
    ) -> Result<Vec<AttachmentReceipt>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT r.bytes FROM identities i JOIN attachments a ON a.identity = i.id
             JOIN attachment_receipts r ON r.attachment = a.id WHERE i.identity = ?1 AND a.attachment = ?2 ORDER BY r.peer",
        )?;
        let rows = statement.query_map((identity.0, id.0), |row| row.get::<_, Vec<u8>>(0))?;
        let mut holders = Vec::new();
        for bytes in rows {
            let receipt = AttachmentReceipt::decode(&bytes?).map_err(damaged)?;
            if receipt.attachment != *id {
                return Err(damaged("a receipt is filed under another attachment"));
            }
            if self.peer_store(&receipt.peer)? == Some(receipt.store) {
                holders.push(receipt);
            }
        }
        Ok(holders)
    }
}

impl Write<'_> {
    /// Adds an attachment by its manifest, with the chunks that `map` shows. One whose manifest is here already stays as it is. When
    /// `charged` it counts against the identity's bytes, and is refused where there is no room.
    pub fn put_attachment(
        &self,
        identity: &IdentityId,
        manifest: &Manifest,
        map: &ChunkMap,
        now: u64,
        charged: bool,
    ) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        let (id, encoded) = (manifest.id(), manifest.encode());
        let known = self.attachment(identity, &id)?;
        if known.as_ref().is_some_and(|known| known.size > 0) {
            return Ok(());
        }
        let charge = match charged {
            true => manifest.total() + encoded.len() as u64 + RECORD_BYTES,
            false => 0,
        };
        if let Some(refused) = self.charge_row(owner, charge, 0)?.filter(|_| charged) {
            return Err(StoreError::Refused(Box::new(refused)));
        }
        self.conn
            .prepare_cached(
                "INSERT INTO attachments (identity, attachment, size, here, charged, used, chunks, manifest)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (identity, attachment) DO UPDATE SET
                 size = excluded.size, here = excluded.here, charged = excluded.charged, used = excluded.used,
                 chunks = excluded.chunks, manifest = excluded.manifest",
            )?
            .execute((
                owner,
                id.0,
                int(manifest.total()),
                int(bytes_here(map, manifest.total())),
                int(charge),
                int(now),
                map.as_bytes(),
                encoded,
            ))?;
        Ok(())
    }

    /// Notes which chunks are here now, or are not any more; gives how many are missing. `None` if the attachment is not here.
    pub fn mark_chunks(
        &self,
        identity: &IdentityId,
        id: &AttachmentId,
        numbers: &[u32],
        here: bool,
        now: u64,
    ) -> Result<Option<u32>, StoreError> {
        let (Some(known), Some(mut map)) = (self.attachment(identity, id)?, self.chunk_map(identity, id)?) else {
            return Ok(None);
        };
        for number in numbers {
            match here {
                true => map.set(*number),
                false => map.unset(*number),
            }
        }
        self.set_map(identity, &known, &map, now)?;
        Ok(Some(map.count_missing()))
    }

    fn set_map(&self, identity: &IdentityId, of: &AttachmentRow, map: &ChunkMap, now: u64) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        self.conn
            .prepare_cached(
                "UPDATE attachments SET chunks = ?3, here = ?4, used = max(used, ?5) WHERE identity = ?1 AND attachment = ?2",
            )?
            .execute((owner, of.id.0, map.as_bytes(), int(bytes_here(map, of.size)), int(now)))?;
        Ok(())
    }

    /// Nothing of an attachment is here any more but its manifest.
    pub fn empty_attachment(&self, identity: &IdentityId, id: &AttachmentId) -> Result<(), StoreError> {
        let Some(known) = self.attachment(identity, id)?.filter(|known| known.size > 0) else {
            return Ok(());
        };
        self.set_map(identity, &known, &ChunkMap::empty(chunks_of(known.size)), known.used)
    }

    /// Forgets an attachment and its receipts. What it was charged is free again.
    pub fn drop_attachment(&self, identity: &IdentityId, id: &AttachmentId) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        self.conn
            .prepare_cached(
                "DELETE FROM attachment_receipts WHERE attachment =
                 (SELECT id FROM attachments WHERE identity = ?1 AND attachment = ?2)",
            )?
            .execute((owner, id.0))?;
        let mut statement = self
            .conn
            .prepare_cached("DELETE FROM attachments WHERE identity = ?1 AND attachment = ?2 RETURNING charged")?;
        let freed: Option<i64> = statement.query_row((owner, id.0), |row| row.get(0)).optional()?;
        if let Some(freed) = freed {
            self.conn
                .prepare_cached("UPDATE identities SET used_bytes = max(0, used_bytes - ?2) WHERE id = ?1")?
                .execute((owner, freed))?;
        }
        Ok(())
    }

    /// Wants an attachment here, or not any more. One that is not known yet is noted without its manifest.
    pub fn pin_attachment(
        &self,
        identity: &IdentityId,
        id: &AttachmentId,
        pinned: bool,
        now: u64,
    ) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        self.conn
            .prepare_cached(
                "INSERT INTO attachments (identity, attachment, size, here, charged, used, pinned, chunks, manifest)
                 VALUES (?1, ?2, 0, 0, 0, ?3, ?4, x'', x'')
                 ON CONFLICT (identity, attachment) DO UPDATE SET pinned = excluded.pinned",
            )?
            .execute((owner, id.0, int(now), pinned))?;
        Ok(())
    }

    /// Notes that attachments were read, or since when no document refers to them.
    pub fn touch_attachment(&self, identity: &IdentityId, id: &AttachmentId, now: u64) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        self.conn
            .prepare_cached("UPDATE attachments SET used = max(used, ?3) WHERE identity = ?1 AND attachment = ?2")?
            .execute((owner, id.0, int(now)))?;
        Ok(())
    }

    /// Notes since when no document refers to an attachment, or that one does.
    pub fn set_loose(&self, identity: &IdentityId, id: &AttachmentId, since: Option<u64>) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        self.conn
            .prepare_cached("UPDATE attachments SET loose = ?3 WHERE identity = ?1 AND attachment = ?2")?
            .execute((owner, id.0, since.map(int)))?;
        Ok(())
    }

    /// Keeps a peer's receipt for an attachment that is known here.
    pub fn put_attachment_receipt(&self, identity: &IdentityId, receipt: &AttachmentReceipt) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO attachment_receipts (attachment, peer, store, bytes)
                 SELECT id, ?3, ?4, ?5 FROM attachments WHERE identity = ?1 AND attachment = ?2",
            )?
            .execute((
                owner,
                receipt.attachment.0,
                receipt.peer.0,
                receipt.store.0,
                receipt.encode(),
            ))?;
        Ok(())
    }

    /// Forgets a peer's receipt: it says that it does not hold all of the attachment after all.
    pub fn drop_attachment_receipt(
        &self,
        identity: &IdentityId,
        id: &AttachmentId,
        peer: &PublicKey,
    ) -> Result<(), StoreError> {
        let owner = self.identity_row(identity)?;
        self.conn
            .prepare_cached(
                "DELETE FROM attachment_receipts WHERE peer = ?3 AND attachment =
                 (SELECT id FROM attachments WHERE identity = ?1 AND attachment = ?2)",
            )?
            .execute((owner, id.0, peer.0))?;
        Ok(())
    }
}
