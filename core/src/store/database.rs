//! A connection lent for reading, and one lent for writing inside a transaction.

use rusqlite::Connection;

use super::StoreError;

/// Reads from one database. Lent by a store for the length of a closure.
pub struct Read<'a> {
    pub(super) conn: &'a Connection,
}

/// Reads and writes inside the store's current transaction. What it wrote is durable when the store's call returns.
pub struct Write<'a> {
    read: Read<'a>,
}

impl<'a> Write<'a> {
    pub(super) fn new(conn: &'a Connection) -> Self {
        Self { read: Read { conn } }
    }
}

impl<'a> std::ops::Deref for Write<'a> {
    type Target = Read<'a>;

    fn deref(&self) -> &Read<'a> {
        &self.read
    }
}

/// Sequence numbers, indexes and sizes as SQLite stores them. None of ours comes near 2^63.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The other way round; what is negative was not written by us and reads as 0.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Reads a fixed-length byte string, or says that the column is not one.
pub(super) fn bytes<const N: usize>(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<[u8; N]> {
    let value: Vec<u8> = row.get(column)?;
    value.try_into().map_err(|value: Vec<u8>| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Blob,
            format!("{} bytes where {N} belong", value.len()).into(),
        )
    })
}

/// The source id of the SQLite that is linked: an app may have another one beside it.
pub fn sqlite_source_id() -> Result<String, StoreError> {
    let conn = Connection::open_in_memory()?;
    Ok(conn.query_row("SELECT sqlite_source_id()", [], |row| row.get(0))?)
}
