//! Durable rows: in batches on one connection, or one at a time from many callers.

use std::{path::PathBuf, sync::Mutex, time::Instant};

use clap::Args;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{Failure, meter, open};

#[derive(Args)]
pub struct Options {
    /// A folder for the database.
    #[arg(long)]
    dir: PathBuf,
    /// Rows to insert.
    #[arg(long, default_value_t = 100_000)]
    count: usize,
    /// Rows in one transaction.
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Bytes of each.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Callers at once, each a thread.
    #[arg(long, default_value_t = 1)]
    callers: usize,
    /// A connection for each caller, which wait for each other in SQLite. Otherwise they share one behind a lock.
    #[arg(long)]
    connections: bool,
}

fn insert(conn: &mut Connection, rows: &[Vec<u8>]) -> Result<(), Failure> {
    let write = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    {
        let mut statement = write.prepare_cached("INSERT INTO events (kind, time, payload) VALUES ('note', ?1, ?2)")?;
        for payload in rows {
            statement.execute((1_700_000_000_000i64, payload))?;
        }
    }
    Ok(write.commit()?)
}

fn batches(seed: u64, count: usize, options: &Options) -> Vec<Vec<Vec<u8>>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let rows: Vec<_> = (0..count).map(|_| meter::noise(&mut state, options.size)).collect();
    rows.chunks(options.batch).map(<[Vec<u8>]>::to_vec).collect()
}

pub fn append(options: &Options) -> Result<Value, Failure> {
    std::fs::create_dir_all(&options.dir)?;
    let path = options.dir.join("rows.db");
    let mut conn = open(&path)?;
    conn.execute_batch(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, time INTEGER NOT NULL, payload BLOB NOT NULL) STRICT",
    )?;
    let each = options.count / options.callers;
    let work: Vec<_> = (0..options.callers as u64)
        .map(|seed| batches(seed, each, options))
        .collect();
    for rows in batches(999, options.batch * 16, options) {
        insert(&mut conn, &rows)?;
    }
    let own: Vec<_> = work
        .iter()
        .map(|_| {
            if options.connections {
                open(&path).map(Some)
            } else {
                Ok(None)
            }
        })
        .collect::<Result<_, _>>()?;
    let shared = Mutex::new(conn);
    let (began, cpu) = (Instant::now(), meter::cpu());
    std::thread::scope(|scope| {
        let callers: Vec<_> = work
            .into_iter()
            .zip(own)
            .map(|(batches, mut own)| {
                let shared = &shared;
                scope.spawn(move || {
                    batches.iter().try_for_each(|rows| match &mut own {
                        Some(own) => insert(own, rows),
                        None => insert(&mut shared.lock().expect("no caller panics"), rows),
                    })
                })
            })
            .collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().expect("no caller panics"))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = meter::cpu().zip(cpu).map(|(after, before)| after - before);
    let conn = shared.into_inner().expect("no caller panics");
    let rows: i64 = conn.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    if rows as usize != each * options.callers + options.batch * 16 {
        return Err(format!("{rows} rows are in the database").into());
    }
    Ok(json!({
        "events": each * options.callers, "seconds": seconds, "cpu": cpu, "peak_kb": meter::peak(),
    }))
}
