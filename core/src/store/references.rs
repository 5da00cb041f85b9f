//! Which attachments documents refer to: in the views, since only whoever reads the documents knows it.

use std::collections::BTreeMap;

use super::{
    StoreError, ViewsWrite,
    database::{bytes, int},
};
use crate::log::{AttachmentId, DocumentId};

/// Part of the views' tables.
pub(super) const TABLES: &str = "
    CREATE TABLE attachments (
        attachment BLOB NOT NULL, document BLOB NOT NULL, thumbnail INTEGER NOT NULL, PRIMARY KEY (attachment, document)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX attachments_of_document ON attachments (document);
    CREATE INDEX thumbnails ON attachments (attachment) WHERE thumbnail = 1;
";

impl ViewsWrite<'_> {
    /// Notes the attachments that a document refers to, and which of them are thumbnails; none that it referred to before and does not now.
    /// Gives those that it did not refer to before.
    pub fn put_references(
        &self,
        document: &DocumentId,
        ids: &BTreeMap<AttachmentId, bool>,
    ) -> Result<Vec<AttachmentId>, StoreError> {
        let known = self.rows(
            "SELECT attachment, thumbnail FROM attachments WHERE document = ?1",
            [document.0],
            |row| Ok((AttachmentId(bytes(row, 0)?), row.get(1)?)),
        )?;
        let known: BTreeMap<AttachmentId, bool> = known.into_iter().collect();
        if known == *ids {
            return Ok(Vec::new());
        }
        self.run("DELETE FROM attachments WHERE document = ?1", [document.0])?;
        for (id, thumbnail) in ids {
            self.run(
                "INSERT INTO attachments (attachment, document, thumbnail) VALUES (?1, ?2, ?3)",
                (id.0, document.0, thumbnail),
            )?;
        }
        Ok(ids.keys().filter(|id| !known.contains_key(*id)).copied().collect())
    }

    /// Whether any document refers to an attachment, one in the trash too.
    pub fn is_referred_to(&self, id: &AttachmentId) -> Result<bool, StoreError> {
        let found = self.rows(
            "SELECT 1 FROM attachments WHERE attachment = ?1 LIMIT 1",
            [id.0],
            |_| Ok(()),
        )?;
        Ok(!found.is_empty())
    }

    /// The attachments that a document refers to, if it is in the trash too.
    pub fn references_of(&self, document: &DocumentId) -> Result<Vec<AttachmentId>, StoreError> {
        self.rows(
            "SELECT attachment FROM attachments WHERE document = ?1 ORDER BY attachment",
            [document.0],
            |row| Ok(AttachmentId(bytes(row, 0)?)),
        )
    }

    /// The documents that refer to an attachment, those in the trash too.
    pub fn referring_to(&self, id: &AttachmentId) -> Result<Vec<DocumentId>, StoreError> {
        self.rows(
            "SELECT document FROM attachments WHERE attachment = ?1",
            [id.0],
            |row| Ok(DocumentId(bytes(row, 0)?)),
        )
    }

    /// Whether any document shows an attachment as a thumbnail.
    pub fn is_thumbnail(&self, id: &AttachmentId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM attachments WHERE attachment = ?1 AND thumbnail = 1 LIMIT 1";
        Ok(!self.rows(sql, [id.0], |_| Ok(()))?.is_empty())
    }

    /// Thumbnails that documents refer to, by id, after `after`.
    pub fn thumbnails(&self, after: &AttachmentId, limit: u64) -> Result<Vec<AttachmentId>, StoreError> {
        self.rows(
            "SELECT DISTINCT attachment FROM attachments WHERE thumbnail = 1 AND attachment > ?1 ORDER BY attachment LIMIT ?2",
            (after.0, int(limit)),
            |row| Ok(AttachmentId(bytes(row, 0)?)),
        )
    }
}
