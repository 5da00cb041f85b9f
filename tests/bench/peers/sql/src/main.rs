//! The rows of the bench in SQLite, plain or SQLCipher: this file is built twice, with one and with the other. Says in one line of JSON what
//! it did and how long that took.

#[path = "../../../shared/diary.rs"]
mod diary;
mod journal;
mod meter;
mod rows;
mod shown;
mod signed;

use std::{path::Path, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use rusqlite::Connection;
use serde_json::Value;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Inserts rows, each batch durable before the next.
    Append(rows::Options),
    /// Makes a table of documents with an index by date.
    MakeDocuments(shown::Making),
    /// Opens it and lists the first by date.
    Open(shown::Opening),
    /// Makes a journal, with an index by date.
    Import(journal::Importing),
    /// Reads rows of a journal by id, and by a range of dates.
    Query(journal::Asking),
    /// Changes the dates of rows, one at a time.
    Update(journal::Asking),
    /// Opens a journal and searches it.
    Search(journal::Asking),
    /// Checks an Ed25519 signature for each row and inserts it.
    Verify(signed::Options),
    /// Says which library this is.
    Version,
}

/// Opens a database whose commits are durable; sealed if this is SQLCipher. The key is raw, as ours is: nothing is stretched.
fn open(path: &Path) -> Result<Connection, Failure> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(60))?;
    if is_cipher() {
        cipher(&conn)?;
    }
    let mode: String = conn.query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))?;
    conn.execute_batch("PRAGMA synchronous = FULL; PRAGMA temp_store = memory")?;
    let synchronous: i64 = conn.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if mode != "wal" || synchronous != 2 {
        return Err("a commit would not be durable".into());
    }
    Ok(conn)
}

fn is_cipher() -> bool {
    env!("CARGO_PKG_NAME") == "bench-cipher"
}

/// Seals a connection, and says by which cipher build. The provider matters: only the system's libraries use what the processor has for AES.
fn cipher(conn: &Connection) -> Result<String, Failure> {
    let raw = "2a".repeat(32);
    conn.execute_batch(&format!("PRAGMA key = \"x'{raw}'\""))?;
    let ask = |pragma: &str| conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, String>(0));
    let version = ask("cipher_version").map_err(|_| "this SQLite has no cipher")?;
    let provider = ask("cipher_provider")?;
    if provider != "openssl" && provider != "commoncrypto" {
        return Err(format!("SQLCipher runs on {provider}").into());
    }
    Ok(format!(
        "SQLCipher {version}, {provider} {}",
        ask("cipher_provider_version")?
    ))
}

fn version() -> Result<Value, Failure> {
    let conn = Connection::open_in_memory()?;
    if is_cipher() {
        return Ok(cipher(&conn)?.into());
    }
    Ok(format!("SQLite {}", rusqlite::version()).into())
}

fn main() -> ExitCode {
    let result = match Cli::parse().program {
        Program::Append(options) => rows::append(&options),
        Program::MakeDocuments(making) => shown::make(&making),
        Program::Open(opening) => shown::open(&opening),
        Program::Import(importing) => journal::import(&importing),
        Program::Query(asking) => journal::query(&asking),
        Program::Update(asking) => journal::update(&asking),
        Program::Search(asking) => journal::search(&asking),
        Program::Verify(options) => signed::verify(&options),
        Program::Version => version(),
    };
    match result {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{}: {failure}", env!("CARGO_PKG_NAME"));
            ExitCode::FAILURE
        }
    }
}
