//! The journal as rows: the table, index and full-text index that an application would make, and the same questions as ours answers.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use rusqlite::{Connection, TransactionBehavior};
use serde_json::{Value, json};

use crate::{Failure, diary, meter};

#[derive(Args)]
pub struct Importing {
    /// A folder for the database.
    #[arg(long)]
    dir: PathBuf,
    /// Rows.
    #[arg(long)]
    count: usize,
    /// Rows in one transaction.
    #[arg(long, default_value_t = 2000)]
    together: usize,
    /// They can be searched.
    #[arg(long)]
    search: bool,
}

#[derive(Args)]
pub struct Asking {
    /// The folder.
    #[arg(long)]
    dir: PathBuf,
    /// Rows that it has.
    #[arg(long)]
    count: usize,
    /// How often it is asked.
    #[arg(long, default_value_t = 2000)]
    times: usize,
}

/// Rows of a page.
const PAGE: usize = 20;

fn file(dir: &std::path::Path) -> PathBuf {
    dir.join("journal.db")
}

fn id(number: usize) -> Vec<u8> {
    meter::noise(&mut (number as u64 * 2 + 1), 16)
}

pub fn import(importing: &Importing) -> Result<Value, Failure> {
    std::fs::create_dir_all(&importing.dir)?;
    let mut conn = crate::open(&file(&importing.dir))?;
    conn.execute_batch(
        "CREATE TABLE journal (
             number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, date INTEGER NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL
         ) STRICT;
         CREATE INDEX journal_date ON journal (date)",
    )?;
    if importing.search {
        conn.execute_batch(
            "CREATE VIRTUAL TABLE words USING fts5 (title, text, content = 'journal', content_rowid = 'number')",
        )?;
    }
    let began = Instant::now();
    for first in (0..importing.count).step_by(importing.together) {
        let write = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for number in first..(first + importing.together).min(importing.count) {
            let entry = diary::entry(number);
            write
                .prepare_cached("INSERT INTO journal (id, date, title, text) VALUES (?1, ?2, ?3, ?4)")?
                .execute((id(number), entry.date, &entry.title, &entry.text))?;
            if importing.search {
                write
                    .prepare_cached("INSERT INTO words (rowid, title, text) VALUES (?1, ?2, ?3)")?
                    .execute((write.last_insert_rowid(), &entry.title, &entry.text))?;
            }
        }
        write.commit()?;
    }
    let seconds = began.elapsed().as_secs_f64();
    count_is(&conn, importing.count)?;
    Ok(json!({"documents": importing.count, "seconds": seconds, "peak_kb": meter::peak()}))
}

fn count_is(conn: &Connection, wanted: usize) -> Result<(), Failure> {
    let count: i64 = conn.query_row("SELECT count(*) FROM journal", [], |row| row.get(0))?;
    match count as usize == wanted {
        true => Ok(()),
        false => Err(format!("{count} rows, and {wanted} were written").into()),
    }
}

fn each(began: Instant, count: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / count.max(1) as f64
}

fn get(conn: &Connection, number: usize) -> Result<(), Failure> {
    let found: (i64, String, String) = conn
        .prepare_cached("SELECT date, title, text FROM journal WHERE id = ?1")?
        .query_row([id(number)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    match found.0 == diary::date(number) && !found.2.is_empty() {
        true => Ok(()),
        false => Err("another row".into()),
    }
}

fn page(conn: &Connection, number: usize, count: usize) -> Result<(), Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT id, date, title FROM journal WHERE date >= ?1 AND date < ?2 ORDER BY date, id LIMIT ?3",
    )?;
    let dates = (diary::date(number), diary::date(number + PAGE), PAGE as i64);
    let rows = statement.query_map(dates, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<(Vec<u8>, i64, String)> = rows.collect::<Result<_, _>>()?;
    match rows.len() == (count - number).min(PAGE) && rows[0].2 == format!("Day {number}") {
        true => Ok(()),
        false => Err("another page".into()),
    }
}

pub fn query(asking: &Asking) -> Result<Value, Failure> {
    let conn = crate::open(&file(&asking.dir))?;
    count_is(&conn, asking.count)?;
    for number in diary::drawn(asking.times.div_ceil(10), asking.count) {
        get(&conn, number)?;
        page(&conn, number, asking.count)?;
    }
    let began = Instant::now();
    for number in diary::drawn(asking.times, asking.count) {
        get(&conn, number)?;
    }
    let point = each(began, asking.times);
    let began = Instant::now();
    for number in diary::drawn(asking.times, asking.count) {
        page(&conn, number, asking.count)?;
    }
    Ok(json!({"point": point, "range": each(began, asking.times), "peak_kb": meter::peak()}))
}

/// Updates of what the rows are sorted by, each a transaction of its own: the median.
pub fn update(asking: &Asking) -> Result<Value, Failure> {
    let conn = crate::open(&file(&asking.dir))?;
    let mut times = Vec::new();
    for (turn, number) in diary::drawn(asking.times + 1, asking.count).enumerate() {
        let date = diary::date(asking.count + turn);
        let began = Instant::now();
        let changed = conn
            .prepare_cached("UPDATE journal SET date = ?1 WHERE id = ?2")?
            .execute((date, id(number)))?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
        if changed != 1 {
            return Err("no row was changed".into());
        }
    }
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    Ok(json!({"update": times[times.len() / 2], "peak_kb": meter::peak()}))
}

pub fn search(asking: &Asking) -> Result<Value, Failure> {
    let wanted = asking.count / 2;
    let began = Instant::now();
    let conn = crate::open(&file(&asking.dir))?;
    let mut statement = conn.prepare(
        "SELECT j.id, j.date, j.title, snippet(words, 1, '[', ']', '…', 16) FROM words JOIN journal j ON j.number = words.rowid
         WHERE words MATCH ?1 ORDER BY bm25(words, 4.0, 1.0) LIMIT ?2",
    )?;
    let rows = statement.query_map((diary::rare(wanted), PAGE as i64), |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let rows: Vec<(Vec<u8>, i64, String, String)> = rows.collect::<Result<_, _>>()?;
    let seconds = began.elapsed().as_secs_f64();
    let first = wanted / diary::RARE * diary::RARE;
    let there = (asking.count - first).min(diary::RARE).min(PAGE);
    match rows.len() == there && rows[0].3.contains('[') {
        true => Ok(json!({"seconds": seconds, "peak_kb": meter::peak()})),
        false => Err(format!("{} rows are found, and {there} are there", rows.len()).into()),
    }
}
