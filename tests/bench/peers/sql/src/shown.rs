//! Opening a table of documents to the first by date: the same table, index and question as ours in `views.db`.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::{Failure, meter};

#[derive(Args)]
pub struct Making {
    /// A folder for the database.
    #[arg(long)]
    dir: PathBuf,
    /// Documents.
    #[arg(long)]
    count: usize,
}

#[derive(Args)]
pub struct Opening {
    /// The folder.
    #[arg(long)]
    dir: PathBuf,
    /// Documents that it has.
    #[arg(long)]
    count: i64,
    /// Rows to list.
    #[arg(long, default_value_t = 20)]
    rows: usize,
}

/// About what an Automerge document of these fields takes.
const STATE: usize = 350;

pub fn make(making: &Making) -> Result<Value, Failure> {
    std::fs::create_dir_all(&making.dir)?;
    let mut conn = crate::open(&making.dir.join("shown.db"))?;
    conn.execute_batch(
        "CREATE TABLE documents (
             document BLOB PRIMARY KEY, collection TEXT NOT NULL, state BLOB NOT NULL, fields TEXT NOT NULL
         ) STRICT;
         CREATE TABLE dates (
             collection TEXT NOT NULL, field TEXT NOT NULL, millis INTEGER NOT NULL, document BLOB NOT NULL,
             PRIMARY KEY (collection, field, millis, document)
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX dates_of_document ON dates (document)",
    )?;
    let write = conn.transaction()?;
    let mut state = 7;
    for number in 0..making.count {
        let (document, body) = (meter::noise(&mut state, 16), meter::noise(&mut state, STATE));
        let millis = 1_700_000_000_000 + number as i64;
        let fields = json!({"date": millis, "title": format!("Day {number}")}).to_string();
        write
            .prepare_cached("INSERT INTO documents VALUES (?1, 'journal', ?2, ?3)")?
            .execute((&document, body, fields))?;
        write
            .prepare_cached("INSERT INTO dates VALUES ('journal', 'date', ?1, ?2)")?
            .execute((millis, &document))?;
    }
    write.commit()?;
    Ok(json!({"documents": making.count}))
}

pub fn open(opening: &Opening) -> Result<Value, Failure> {
    let began = Instant::now();
    let conn = crate::open(&opening.dir.join("shown.db"))?;
    let mut statement = conn.prepare(
        "SELECT i.millis, i.document, d.fields FROM dates i JOIN documents d ON d.document = i.document
         WHERE i.collection = ?1 AND i.field = ?2 ORDER BY i.millis DESC, i.document DESC LIMIT ?3",
    )?;
    let found = statement.query_map(("journal", "date", opening.rows as i64), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let mut rows: Vec<(i64, Vec<u8>, Value)> = Vec::new();
    for row in found {
        let (millis, document, fields): (i64, Vec<u8>, String) = row?;
        rows.push((millis, document, serde_json::from_str(&fields)?));
    }
    let seconds = began.elapsed().as_secs_f64();
    let count: i64 = conn.query_row("SELECT count(*) FROM documents", [], |row| row.get(0))?;
    if count != opening.count || rows.len() != opening.rows {
        return Err(format!("{count} documents, {} rows", rows.len()).into());
    }
    Ok(json!({"seconds": seconds, "peak_kb": meter::peak()}))
}
