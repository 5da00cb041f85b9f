//! `views.db`: documents and lists, folded from the log. Every page is sealed (docs/decisions/0003-sealed-views.md); when a page
//! does not open, the file is dropped and folded again.

mod erasing;
mod versions;

pub use erasing::SectionPlace;
pub use versions::{VersionPlace, VersionRow};

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rhizome_sqlite as _; // Without this line the program does not link.
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, config::DbConfig, ffi};

use super::{
    StoreError, collections,
    database::{bytes, int, uint},
};
use crate::{
    crypto::{Secret, Zeroizing, wiping},
    identity::EpochId,
    log::{AuthorId, DocumentId},
};

const FILE: &str = "views.db";
/// "Rhzv": marks the file as ours, and makes a new one have its first page.
const APPLICATION_ID: i64 = 0x5268_7a76;
/// Another number here drops the file and folds it again.
const SCHEMA: i64 = 4;

/// Statements that stay prepared.
const STATEMENTS: usize = 128;

const TABLES: &str = "
    CREATE TABLE cursors (
        author BLOB NOT NULL, branch INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (author, branch)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 0), latest INTEGER NOT NULL) STRICT;
    CREATE TABLE waiting (
        epoch BLOB NOT NULL, author BLOB NOT NULL, branch INTEGER NOT NULL, seq INTEGER NOT NULL,
        PRIMARY KEY (epoch, author, branch, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE aside (
        document BLOB NOT NULL, hash BLOB NOT NULL, change BLOB NOT NULL, PRIMARY KEY (document, hash)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE touched (
        document BLOB NOT NULL, author BLOB NOT NULL, branch INTEGER NOT NULL, seq INTEGER NOT NULL,
        section INTEGER NOT NULL, PRIMARY KEY (document, author, branch, seq, section)
    ) STRICT, WITHOUT ROWID;
";

/// What can be rebuilt from the log. One connection: every write is short, and what is read often is in memory above.
pub struct Views {
    path: Option<PathBuf>,
    key: Secret,
    held: Mutex<Held>,
    /// How often the file was made anew since it was opened.
    made: AtomicU64,
}

enum Held {
    Open(Connection),
    /// The file was damaged, and could not be made anew yet: the disk is full, or fails.
    Lost,
    /// To be opened again: SQLite took a transaction back by itself.
    Unsure,
    Closed,
}

/// Where a page of a list ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    /// The date of its last row, in milliseconds since 1970.
    pub millis: i64,
    /// The document of its last row.
    pub document: DocumentId,
}

/// Reads and writes inside one transaction of the views.
pub struct ViewsWrite<'a>(pub(super) &'a Connection);

fn tables() -> String {
    [
        TABLES,
        collections::TABLES,
        versions::TABLE,
        erasing::TABLES,
        super::references::TABLES,
    ]
    .concat()
}

impl Views {
    /// Opens `dir/views.db`, or makes it. A file that is damaged, or of another schema, is dropped and made anew: the log has all
    /// of it. To be called only after the log opened under the same device secret, since a wrong key and a damaged first page look alike.
    pub fn open(dir: &Path, key: impl Into<Secret>) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let key = key.into();
        let conn = match open(&path, &key) {
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, "views.db is dropped and folded again from the log");
                make_anew(&path, &key)?
            }
            other => other?,
        };
        Ok(Self {
            path: Some(path),
            key,
            held: Mutex::new(Held::Open(conn)),
            made: AtomicU64::new(0),
        })
    }

    /// Views in memory, for simulations.
    pub fn in_memory() -> Result<Self, StoreError> {
        let conn = Connection::open_in_memory().map_err(|error| of(&error))?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        conn.execute_batch(&tables()).map_err(|error| of(&error))?;
        Ok(Self {
            path: None,
            key: [0; 32].into(),
            held: Mutex::new(Held::Open(conn)),
            made: AtomicU64::new(0),
        })
    }

    /// Runs `job` in a transaction, all of it or nothing. If a page turns out to be damaged, the file is dropped and made anew and
    /// [`StoreError::Damaged`] returned: fold again, then ask again.
    pub fn with<R>(&self, job: impl FnOnce(&ViewsWrite<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let taken_back = Cell::new(false);
        self.with_connection(&taken_back, |conn| transaction(conn, &taken_back, job))
    }

    /// As [`Views::with`], of what is done outside a transaction. `job` blames `views.db` for what SQLite says: see [`of`].
    fn with_connection<R>(
        &self,
        taken_back: &Cell<bool>,
        job: impl FnOnce(&Connection) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // The key and the pages pass over the stack as SQLite opens them.
        let result = self.opened(&mut held).and_then(|conn| wiping(|| job(conn)));
        if let Err(error) = &result {
            self.after(error, &mut held, taken_back.get())?;
        }
        result
    }

    fn opened<'a>(&self, held: &'a mut Held) -> Result<&'a Connection, StoreError> {
        if let (Held::Unsure, Some(path)) = (&*held, &self.path) {
            *held = Held::Open(open(path, &self.key)?);
        }
        match held {
            Held::Open(conn) => Ok(conn),
            Held::Lost => Err(StoreError::Damaged {
                file: FILE,
                why: "it is being made again".to_owned(),
            }),
            Held::Closed | Held::Unsure => Err(StoreError::Closed),
        }
    }

    /// What an error leaves to be done. Fails if the file cannot be made anew.
    fn after(&self, error: &StoreError, held: &mut Held, taken_back: bool) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        // Where reading fails in the middle of a change of words, SQLite takes the whole transaction back by itself, and FTS5, which is told of it
        // inside its own call, counts on with what it had not read: `fts5StorageLoadTotals` notes numbers as good that are none.
        if let (true, Held::Open(conn)) = (taken_back, &*held) {
            let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            *held = Held::Unsure;
        }
        if let StoreError::Damaged { file: FILE, .. } = error {
            tracing::warn!("views.db is damaged: it is dropped and folded again from the log");
            // Closed before it is removed. If it cannot be made now, the next call tries.
            *held = Held::Lost;
            self.made.fetch_add(1, Ordering::SeqCst);
            *held = Held::Open(make_anew(path, &self.key)?);
        }
        Ok(())
    }

    /// How often the file was made anew since it was opened: what was declared in it must be declared again.
    pub fn made_anew(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Closes the file. Later calls answer `Closed`.
    pub fn close(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = match &*held {
            Held::Open(conn) => {
                wiping(|| conn.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()))).map_err(|error| of(&error))
            }
            Held::Lost | Held::Unsure | Held::Closed => Ok(()),
        };
        *held = Held::Closed;
        // Closing moves the write-ahead log too, and would say nothing. A move that met a damaged page and stopped leaves pages of different
        // times, each of them whole: documents from before beside cursors from after.
        if let (Err(StoreError::Damaged { .. }), Some(path)) = (moved, &self.path) {
            tracing::warn!("views.db is damaged: it is dropped, and folded again from the log when it is opened");
            if let Err(error) = remove(path) {
                tracing::warn!(%error, "views.db cannot be removed");
            }
        }
    }
}

/// `taken_back` is set if SQLite took the transaction back by itself.
fn transaction<R>(
    conn: &Connection,
    taken_back: &Cell<bool>,
    job: impl FnOnce(&ViewsWrite<'_>) -> Result<R, StoreError>,
) -> Result<R, StoreError> {
    say(conn, "BEGIN IMMEDIATE")?;
    let result = job(&ViewsWrite(conn)).and_then(|value| say(conn, "COMMIT").map(|()| value));
    if result.is_err() {
        taken_back.set(conn.is_autocommit());
        if !conn.is_autocommit() {
            // The error that matters is the first one.
            let _ = say(conn, "ROLLBACK");
        }
    }
    result
}

fn say(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    let mut statement = conn.prepare_cached(sql).map_err(|error| of(&error))?;
    statement.execute([]).map(drop).map_err(|error| of(&error))
}

pub(super) fn of(error: &rusqlite::Error) -> StoreError {
    StoreError::of(FILE, error)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::CannotOpen {
                    file: FILE.to_owned(),
                    why: error.kind().to_string(),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn make_anew(path: &Path, key: &[u8; 32]) -> Result<Connection, StoreError> {
    remove(path)?;
    open(path, key)
}

fn open(path: &Path, key: &[u8; 32]) -> Result<Connection, StoreError> {
    let conn = wiping(|| open_sealed(path, key)).map_err(|error| of(&error))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    let version: i64 = conn
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| of(&error))?;
    if version == 0 {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {} PRAGMA user_version = {SCHEMA}; COMMIT",
            tables()
        ))
        .map_err(|error| of(&error))?;
    } else if version != SCHEMA {
        return Err(StoreError::Damaged {
            file: FILE,
            why: format!("schema {version}"),
        });
    }
    Ok(conn)
}

fn refused(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        ffi::Error::new(ffi::SQLITE_AUTH),
        Some(format!("views.db is not sealed: {why}")),
    )
}

/// Opens a database whose pages are sealed, and makes sure that they are before the first byte is written.
fn open_sealed(path: &Path, key: &[u8; 32]) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    // Where it may not write, SQLite opens for reading and says nothing, and would go on so when the disk may be written again.
    if conn.is_readonly(rusqlite::MAIN_DB)? {
        return Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_READONLY),
            None,
        ));
    }
    // Stock SQLite ignores a pragma that it does not know and answers with no row.
    let cipher: String = conn
        .query_row("PRAGMA cipher = 'chacha20'", [], |row| row.get(0))
        .map_err(|_| refused("this SQLite has no ciphers"))?;
    if cipher != "chacha20" {
        return Err(refused("another cipher was taken"));
    }
    // SQLite zeroes what it frees: the text of the key, opened pages.
    conn.execute_batch("PRAGMA memory_security = FILL")?;
    // A raw key: it is derived already, and needs no stretching.
    let key = Zeroizing::new(crate::crypto::hex(key));
    conn.execute_batch(&Zeroizing::new(["PRAGMA key = 'raw:", &key, "'"].concat()))?;
    // Reads the schema: a wrong key, an open file or a damaged first page ends here as NotADatabase.
    let salt: Option<String> = conn.query_row("SELECT sqlite3mc_codec_data('cipher_salt')", [], |row| row.get(0))?;
    if salt.is_none_or(|salt| salt.len() != 32) {
        return Err(refused("no cipher on the connection"));
    }
    let id: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages == 0 {
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    } else if id != APPLICATION_ID {
        return Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_NOTADB),
            None,
        ));
    }
    // Asked through SQLite: a file handle of our own would drop SQLite's locks when it closes.
    let bare = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    match bare.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)) {
        Err(rusqlite::Error::SqliteFailure(failure, _)) if failure.code == ErrorCode::NotADatabase => {}
        // A disk that fails here says nothing about the seal.
        Err(other) => return Err(other),
        Ok(_) => return Err(refused("the file opens without the key")),
    }
    drop(bare);
    // NORMAL: after a power cut the last folds may be missing, and are folded again from the log.
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;
         PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON; PRAGMA cache_size = -4096;",
    )?;
    // A statement is planned once, not for each value that it is given.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(conn)
}

impl ViewsWrite<'_> {
    pub(super) fn statement(&self, sql: &str) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        self.0.prepare_cached(sql).map_err(|error| of(&error))
    }

    /// Runs a statement that is not worth keeping.
    pub(super) fn execute(&self, sql: &str) -> Result<(), StoreError> {
        self.0.execute_batch(sql).map_err(|error| of(&error))
    }

    pub(super) fn run(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        self.statement(sql)?.execute(values).map_err(|error| of(&error))
    }

    pub(super) fn rows<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.statement(sql)?;
        let rows = statement.query_map(values, read).map_err(|error| of(&error))?;
        rows.collect::<Result<_, _>>().map_err(|error| of(&error))
    }

    /// Forgets everything but what is declared: it is folded again from the log.
    pub fn clear(&self) -> Result<(), StoreError> {
        for table in [
            "cursors",
            "clock",
            "waiting",
            "aside",
            "touched",
            "versions",
            "attachments",
            "gone",
        ] {
            self.execute(&format!("DELETE FROM {table}"))?;
        }
        self.clear_documents()
    }

    /// Up to which entry of each branch everything is folded.
    pub fn cursors(&self) -> Result<BTreeMap<(AuthorId, u32), u64>, StoreError> {
        let rows = self.rows("SELECT author, branch, seq FROM cursors", [], |row| {
            Ok(((AuthorId(bytes(row, 0)?), row.get(1)?), uint(row.get(2)?)))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Up to which entry of one branch everything is folded.
    pub fn cursor(&self, author: &AuthorId, branch: u32) -> Result<Option<u64>, StoreError> {
        let mut statement = self.statement("SELECT seq FROM cursors WHERE author = ?1 AND branch = ?2")?;
        let seq = statement
            .query_row((author.0, branch), |row| row.get::<_, i64>(0))
            .optional();
        Ok(seq.map_err(|error| of(&error))?.map(uint))
    }

    /// Moves the cursor of a branch; never back.
    pub fn set_cursor(&self, author: &AuthorId, branch: u32, seq: u64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO cursors (author, branch, seq) VALUES (?1, ?2, ?3)
             ON CONFLICT (author, branch) DO UPDATE SET seq = max(seq, excluded.seq)",
            (author.0, branch, int(seq)),
        )?;
        Ok(())
    }

    /// Keeps the latest of the times it is told.
    pub fn note_time(&self, time: u64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO clock (id, latest) VALUES (0, ?1) ON CONFLICT (id) DO UPDATE SET latest = max(latest, excluded.latest)",
            [int(time)],
        )?;
        Ok(())
    }

    /// The latest of them; 0 if there was none.
    pub fn latest_time(&self) -> Result<u64, StoreError> {
        let mut statement = self.statement("SELECT latest FROM clock")?;
        let latest = statement.query_row([], |row| row.get::<_, i64>(0)).optional();
        Ok(latest.map_err(|error| of(&error))?.map_or(0, uint))
    }

    /// Notes an entry whose epoch key has not arrived.
    pub fn wait_for(&self, epoch: &EpochId, author: &AuthorId, branch: u32, seq: u64) -> Result<(), StoreError> {
        self.run(
            "INSERT OR IGNORE INTO waiting (epoch, author, branch, seq) VALUES (?1, ?2, ?3, ?4)",
            (epoch.0, author.0, branch, int(seq)),
        )?;
        Ok(())
    }

    /// Epochs that entries wait for.
    pub fn awaited(&self) -> Result<Vec<EpochId>, StoreError> {
        self.rows("SELECT DISTINCT epoch FROM waiting", [], |row| {
            Ok(EpochId(bytes(row, 0)?))
        })
    }

    /// Takes the entries that wait for `epoch`, in order.
    pub fn take_waiting(&self, epoch: &EpochId) -> Result<Vec<(AuthorId, u32, u64)>, StoreError> {
        let entries = self.rows(
            "SELECT author, branch, seq FROM waiting WHERE epoch = ?1 ORDER BY author, branch, seq",
            [epoch.0],
            |row| Ok((AuthorId(bytes(row, 0)?), row.get(1)?, uint(row.get(2)?))),
        )?;
        self.run("DELETE FROM waiting WHERE epoch = ?1", [epoch.0])?;
        Ok(entries)
    }

    /// How many entries wait for a key.
    pub fn waiting(&self) -> Result<u64, StoreError> {
        let mut statement = self.statement("SELECT count(*) FROM waiting")?;
        statement
            .query_row([], |row| row.get::<_, i64>(0))
            .map(uint)
            .map_err(|error| of(&error))
    }

    /// Notes that a section of an entry changed a document.
    pub fn touch(
        &self,
        document: &DocumentId,
        author: &AuthorId,
        branch: u32,
        seq: u64,
        section: u32,
    ) -> Result<(), StoreError> {
        self.run(
            "INSERT OR IGNORE INTO touched (document, author, branch, seq, section) VALUES (?1, ?2, ?3, ?4, ?5)",
            (document.0, author.0, branch, int(seq), section),
        )?;
        Ok(())
    }

    /// The last entry of each author log that changed a document.
    pub fn touched(&self, document: &DocumentId) -> Result<Vec<(AuthorId, u32, u64)>, StoreError> {
        self.rows(
            "SELECT author, branch, max(seq) FROM touched WHERE document = ?1 GROUP BY author, branch",
            [document.0],
            |row| Ok((AuthorId(bytes(row, 0)?), row.get(1)?, uint(row.get(2)?))),
        )
    }

    /// Sets a change aside that a document did not take: a later one may make it fit.
    pub fn set_aside(&self, document: &DocumentId, hash: &[u8; 32], change: &[u8]) -> Result<(), StoreError> {
        self.run(
            "INSERT OR IGNORE INTO aside (document, hash, change) VALUES (?1, ?2, ?3)",
            (document.0, hash, change),
        )?;
        Ok(())
    }

    /// Takes what was set aside of a document.
    pub fn take_aside(&self, document: &DocumentId) -> Result<Vec<Vec<u8>>, StoreError> {
        let changes = self.rows(
            "SELECT change FROM aside WHERE document = ?1 ORDER BY hash",
            [document.0],
            |row| row.get(0),
        )?;
        self.run("DELETE FROM aside WHERE document = ?1", [document.0])?;
        Ok(changes)
    }
}
