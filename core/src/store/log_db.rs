//! `log.db`: opened with settings that make an acknowledged write durable, or not opened at all.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags, ffi};
use tokio::sync::broadcast;

use super::{Read, Reply, StoreError, Write, database::bytes, writer::Writer};
use crate::{crypto::Random, identity::IdentityId, log::StoreId};

const FILE: &str = "log.db";
const APPLICATION_ID: i64 = 0x7268_7a31;
/// One file for each schema; the number of the last is `user_version`.
const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
];
/// More readers than this wait for each other: a phone has few cores, and each keeps a page cache.
const READERS: usize = 4;

/// What the store tells whoever listens: something of this identity is new.
pub type Change = IdentityId;

/// The truth: entries, identity logs, receipts. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct LogStore(Arc<Inner>);

struct Inner {
    path: Option<PathBuf>,
    writer: Writer,
    readers: Mutex<Readers>,
    given_back: Condvar,
    store_id: StoreId,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct Readers {
    pool: Vec<Connection>,
    lent: usize,
    closed: bool,
}

impl Drop for Inner {
    /// Whoever drops the last clone meets no open file afterwards: an opening that failed half-way is over when it says so.
    fn drop(&mut self) {
        let readers = self.readers.get_mut().unwrap_or_else(PoisonError::into_inner);
        readers.pool.clear();
        self.writer.close();
    }
}

/// A connection that is out for reading.
struct Lent<'a> {
    store: &'a LogStore,
    conn: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut readers = self.store.readers();
        readers.lent -= 1;
        if let Some(conn) = self.conn.take()
            && readers.pool.len() < READERS
            && !readers.closed
        {
            readers.pool.push(conn);
        }
        // Closed before anybody is told, if it is not kept.
        drop(self.conn.take());
        self.store.0.given_back.notify_all();
    }
}

impl LogStore {
    /// Opens `dir/log.db`; makes it if `create`.
    ///
    /// # Errors
    /// A file that is missing, damaged, of a newer schema, or whose settings would not be durable is an error, and is left as it is.
    pub fn open(dir: &Path, create: bool, random: &mut dyn Random) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        if !create && !path.exists() {
            return Err(StoreError::Damaged {
                file: FILE,
                why: "it is missing".to_owned(),
            });
        }
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let conn = Connection::open_with_flags(&path, flags)?;
        configure(&conn)?;
        require_durable(&conn)?;
        migrate(&conn)?;
        let store_id = mint_store_id(&conn, random)?;
        Ok(Self::new(Some(path), Writer::thread(conn)?, store_id))
    }

    /// A store in memory: the same tables and code, nothing on a disk. For simulations.
    pub fn in_memory(random: &mut dyn Random) -> Result<Self, StoreError> {
        let conn = Connection::open_in_memory()?;
        migrate(&conn)?;
        let store_id = mint_store_id(&conn, random)?;
        Ok(Self::new(None, Writer::Inline(Mutex::new(Some(conn))), store_id))
    }

    fn new(path: Option<PathBuf>, writer: Writer, store_id: StoreId) -> Self {
        let (changes, _) = broadcast::channel(256);
        Self(Arc::new(Inner {
            path,
            writer,
            readers: Mutex::default(),
            given_back: Condvar::new(),
            store_id,
            changes,
        }))
    }

    /// Names this database: another one after a wipe.
    pub fn store_id(&self) -> StoreId {
        self.0.store_id
    }

    /// Runs `job` in a transaction; the reply comes when it is durable.
    pub fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Write<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Reply<R> {
        self.0.writer.submit(job)
    }

    /// Runs `job` on a connection for reading. May wait for the disk, and for other readers: not for a thread that draws a screen. A job does
    /// not read from the store again by itself, or it could wait for its own connection.
    pub fn read<R>(&self, job: impl FnOnce(&Read<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        if let Writer::Inline(conn) = &self.0.writer {
            let conn = conn.lock().expect("no job panics while it holds the lock");
            return job(&Read {
                conn: conn.as_ref().ok_or(StoreError::Closed)?,
            });
        }
        let pooled = {
            let mut readers = self.readers();
            // Hundreds of sessions that begin at once would otherwise open as many connections.
            while readers.lent >= READERS && !readers.closed {
                readers = self.0.given_back.wait(readers).unwrap_or_else(PoisonError::into_inner);
            }
            if readers.closed {
                return Err(StoreError::Closed);
            }
            readers.lent += 1;
            readers.pool.pop()
        };
        // Given back however the job ends.
        let mut lent = Lent {
            store: self,
            conn: pooled,
        };
        let conn = match lent.conn.take() {
            Some(conn) => conn,
            None => self.open_reader()?,
        };
        let conn = lent.conn.insert(conn);
        job(&Read { conn })
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Readers> {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_reader(&self) -> Result<Connection, StoreError> {
        let path = self.0.path.as_ref().ok_or(StoreError::Closed)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok(conn)
    }

    /// Where the file is; `None` in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Tells listeners that something of `identity` is new.
    pub fn announce(&self, identity: IdentityId) {
        // An error only says that nobody listens.
        let _ = self.0.changes.send(identity);
    }

    /// Listens. A listener that was slow gets `Lagged`, which means: look at everything.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    /// Finishes what was submitted and closes every connection, and with them every file and lock. Later calls answer `Closed`.
    pub fn close(&self) {
        // Readers first: the last connection to close folds the write-ahead log back and removes it.
        let mut readers = self.readers();
        readers.closed = true;
        readers.pool.clear();
        while readers.lent > 0 {
            readers = self.0.given_back.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
        drop(readers);
        self.0.writer.close();
    }

    /// SQLite's own check of every page and index, for tests and for a person who asks. Slow.
    pub fn integrity_check(&self) -> Result<(), StoreError> {
        self.read(|read| is_sound(read.conn, "PRAGMA integrity_check"))
    }
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogStore({})", self.0.store_id.short())
    }
}

/// Runs an integrity check of SQLite's. It answers in words even when the disk failed, and that is not damage.
pub(super) fn is_sound(conn: &Connection, check: &str) -> Result<(), StoreError> {
    let answer: String = conn.query_row(check, [], |row| row.get(0))?;
    if answer == "ok" {
        return Ok(());
    }
    let codes = answer.split("error code=").skip(1).filter_map(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<i32>().ok()
    });
    // Of what a row has beyond its page it does not say the code.
    let unread = answer.contains("failed to get page").then_some(ffi::SQLITE_IOERR_READ);
    let codes = codes.chain(unread);
    for code in codes {
        let error = StoreError::of(FILE, &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        if !matches!(error, StoreError::Damaged { .. }) {
            return Err(error);
        }
    }
    Err(StoreError::Damaged {
        file: FILE,
        why: answer,
    })
}

/// A connection for writing beside the writer's.
pub(super) fn open_beside(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    configure(&conn)?;
    Ok(conn)
}

fn configure(conn: &Connection) -> Result<(), StoreError> {
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    conn.pragma_update(None, "synchronous", "full")?;
    // On Apple a plain fsync leaves data in the drive's cache; elsewhere these do nothing.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // What is freed is overwritten with zeros: an erased section leaves nothing behind.
    conn.pragma_update(None, "secure_delete", true)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Asks SQLite what it really does, since a setting that was not taken says nothing.
fn require_durable(conn: &Connection) -> Result<(), StoreError> {
    let expect = |setting: &'static str, wanted: &str| {
        let found: String = conn.query_row(&format!("PRAGMA {setting}"), [], |row| {
            row.get_ref(0).map(|value| match value {
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                _ => String::new(),
            })
        })?;
        if found == wanted {
            Ok(())
        } else {
            Err(StoreError::NotDurable { setting, found })
        }
    };
    expect("journal_mode", "wal")?;
    expect("synchronous", "2")?;
    expect("fullfsync", "1")?;
    expect("checkpoint_fullfsync", "1")
}

fn migrate(conn: &Connection) -> Result<(), StoreError> {
    let pragma = |name: &str| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(StoreError::Damaged {
            file: FILE,
            why: "it is a database of another program".to_owned(),
        });
    }
    let known = MIGRATIONS.len() as i64;
    // No schema ever has such a number: the disk spoiled it.
    if !(0..=i64::from(u16::MAX)).contains(&version) {
        return Err(StoreError::Damaged {
            file: FILE,
            why: format!("its schema would be {version}"),
        });
    }
    if version > known {
        return Err(StoreError::NewerSchema {
            file: FILE,
            found: version,
            known,
        });
    }
    for (number, sql) in (1i64..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {sql}; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT"
        ))?;
    }
    check_schema(conn)
}

/// SQLite keeps each table's statement as it was given. Another one is not ours, whatever it would do.
fn check_schema(conn: &Connection) -> Result<(), StoreError> {
    let mut statement = conn.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut found = 0;
    while let Some(row) = rows.next()? {
        let sql: String = row.get(0)?;
        if !MIGRATIONS.iter().any(|migration| migration.contains(&sql)) {
            return Err(StoreError::Damaged {
                file: FILE,
                why: "its tables are not as we make them".to_owned(),
            });
        }
        found += 1;
    }
    let all = |what: &str| -> usize {
        let counts = MIGRATIONS.iter().map(|migration| migration.matches(what).count());
        counts.sum()
    };
    let made = all("\nCREATE ") - all("\nDROP ");
    if found != made {
        return Err(StoreError::Damaged {
            file: FILE,
            why: format!("it has {found} tables and indexes of {made}"),
        });
    }
    Ok(())
}

fn mint_store_id(conn: &Connection, random: &mut dyn Random) -> Result<StoreId, StoreError> {
    let fresh: [u8; 16] = random.bytes();
    conn.execute(
        "INSERT OR IGNORE INTO meta (key, value) VALUES ('store_id', ?1)",
        [fresh],
    )?;
    let id = conn.query_row("SELECT value FROM meta WHERE key = 'store_id'", [], |row| bytes(row, 0))?;
    Ok(StoreId(id))
}

impl Read<'_> {
    /// A value kept under a name.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        use rusqlite::OptionalExtension;
        let mut statement = self.conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }
}

impl Write<'_> {
    /// Keeps a value under a name.
    pub fn set_meta(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut statement = self
            .conn
            .prepare_cached("REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
        statement.execute((key, value))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn readers_beyond_a_few_wait_for_each_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = LogStore::open(dir.path(), true, &mut SeededRandom::new(1)).expect("a store");
        let (inside, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 * READERS {
                scope.spawn(|| {
                    let read = store.read(|read| {
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(5));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        read.meta("nothing")
                    });
                    assert_eq!(read, Ok(None));
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(done.into_inner(), 8 * READERS);
        assert!(most.into_inner() <= READERS);
        store.close();
        assert_eq!(store.read(|read| read.meta("nothing")), Err(StoreError::Closed));
    }

    #[test]
    fn dropping_the_last_clone_closes_the_files() {
        let dir = tempfile::tempdir().expect("a folder");
        for round in 0..20 {
            let store = LogStore::open(dir.path(), true, &mut SeededRandom::new(1)).expect("a store");
            let write = store.write(|write| write.set_meta("key", &[1; 100_000])).wait();
            assert_eq!(write, Ok(()));
            assert_eq!(store.read(|read| read.meta("nothing")), Ok(None));
            assert!(dir.path().join("log.db-wal").exists());
            drop(store);
            // The last connection to close removes it.
            assert!(!dir.path().join("log.db-wal").exists(), "round {round}");
        }
    }
}
