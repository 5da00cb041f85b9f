//! Bare checks and inserts: one Ed25519 signature and one row for each, a transaction for as many as ours stores at once.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde_json::{Value, json};

use crate::{Failure, meter, open};

#[derive(Args)]
pub struct Options {
    /// A folder for the database.
    #[arg(long)]
    dir: PathBuf,
    /// Rows to check and store.
    #[arg(long, default_value_t = 100_000)]
    count: usize,
    /// Rows in one transaction.
    #[arg(long, default_value_t = 512)]
    range: usize,
    /// Bytes of each.
    #[arg(long, default_value_t = 256)]
    size: usize,
}

/// Transactions that are not counted.
const WARM_UP: usize = 8;

type Row = (Vec<u8>, Signature);

fn store(conn: &mut rusqlite::Connection, key: &VerifyingKey, first: usize, rows: &[Row]) -> Result<(), Failure> {
    for (payload, signature) in rows {
        key.verify_strict(payload, signature)?;
    }
    let write = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    {
        let mut statement = write.prepare_cached("INSERT INTO entries VALUES (1, ?1, ?2, ?3)")?;
        for (seq, (payload, signature)) in (first as i64..).zip(rows) {
            statement.execute((seq, payload, signature.to_bytes()))?;
        }
    }
    Ok(write.commit()?)
}

pub fn verify(options: &Options) -> Result<Value, Failure> {
    std::fs::create_dir_all(&options.dir)?;
    let mut conn = open(&options.dir.join("signed.db"))?;
    conn.execute_batch(
        "CREATE TABLE entries (
             author INTEGER NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, signature BLOB NOT NULL, PRIMARY KEY (author, seq)
         ) STRICT, WITHOUT ROWID",
    )?;
    let signing = SigningKey::from_bytes(&[42; 32]);
    let mut state = 7;
    let rows: Vec<Row> = (0..options.count + WARM_UP * options.range)
        .map(|_| {
            let payload = meter::noise(&mut state, options.size);
            let signature = signing.sign(&payload);
            (payload, signature)
        })
        .collect();
    let key = signing.verifying_key();
    let (warm, counted) = rows.split_at(WARM_UP * options.range);
    let mut first = 0;
    for rows in warm.chunks(options.range) {
        store(&mut conn, &key, first, rows)?;
        first += rows.len();
    }
    let (began, cpu) = (Instant::now(), meter::cpu());
    for rows in counted.chunks(options.range) {
        store(&mut conn, &key, first, rows)?;
        first += rows.len();
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = meter::cpu().zip(cpu).map(|(after, before)| after - before);
    let stored: i64 = conn.query_row("SELECT count(*) FROM entries", [], |row| row.get(0))?;
    if stored as usize != rows.len() {
        return Err(format!("{stored} rows were stored of {}", rows.len()).into());
    }
    Ok(json!({"entries": options.count, "seconds": seconds, "cpu": cpu, "peak_kb": meter::peak()}))
}
