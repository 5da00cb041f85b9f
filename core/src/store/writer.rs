//! One writer with group commit: jobs that wait together become durable together, with one flush of the disk.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{StoreError, Write};

/// How many waiting jobs one commit may gather. Bounds the time that the first of them waits.
const GROUP: usize = 256;

pub(super) type Deliver = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
pub(super) type Job = Box<dyn FnOnce(Result<&Write<'_>, StoreError>) -> Ran + Send>;

/// A job that ran: what it failed with, and how its caller is told.
pub(super) struct Ran {
    error: Option<StoreError>,
    deliver: Deliver,
}

/// The answer to a write, there when the write is durable.
pub struct Reply<R>(oneshot::Receiver<Result<R, StoreError>>);

impl<R> Reply<R> {
    /// Waits in an async task.
    pub async fn durable(self) -> Result<R, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits in a thread that may block.
    pub fn wait(self) -> Result<R, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

pub(super) enum Writer {
    /// A thread of its own: the ordinary case.
    Thread {
        jobs: Mutex<Option<Sender<Job>>>,
        thread: Mutex<Option<JoinHandle<()>>>,
    },
    /// The caller's thread: for databases in memory, where a simulation wants the same order every time.
    Inline(Mutex<Option<Connection>>),
}

impl Writer {
    pub(super) fn thread(conn: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new()
            .name("rhizome-store".to_owned())
            .spawn(move || run(&conn, &queue))
            .map_err(|error| StoreError::Disk(error.to_string()))?;
        Ok(Self::Thread {
            jobs: Mutex::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Runs `job` in a transaction. An error of the job's rolls back what it wrote, and only that.
    pub(super) fn submit<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Write<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Reply<R> {
        let (answer, reply) = oneshot::channel();
        let job: Job = Box::new(move |write| {
            let result = write.and_then(|write| in_savepoint(write, job));
            Ran {
                error: result.as_ref().err().cloned(),
                deliver: Box::new(move |committed| {
                    // Nobody may wait any more: the write happened all the same.
                    let _ = answer.send(result.and_then(|value| committed.map(|()| value)));
                }),
            }
        });
        match self {
            Self::Thread { jobs, .. } => {
                if let Some(jobs) = &*jobs.lock().expect("no job panics while it holds the lock") {
                    // If the thread is gone the job is dropped, and the reply says `Closed`.
                    let _ = jobs.send(job);
                }
            }
            Self::Inline(conn) => {
                if let Some(conn) = &*conn.lock().expect("no job panics while it holds the lock") {
                    commit_group(conn, vec![job]);
                }
            }
        }
        Reply(reply)
    }

    /// Finishes what was submitted and closes the connection. Later writes answer `Closed`.
    pub(super) fn close(&self) {
        match self {
            Self::Thread { jobs, thread } => {
                drop(jobs.lock().expect("no job panics while it holds the lock").take());
                let thread = thread.lock().expect("no job panics while it holds the lock").take();
                if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
                    let _ = thread.join();
                }
            }
            Self::Inline(conn) => drop(conn.lock().expect("no job panics while it holds the lock").take()),
        }
    }
}

fn run(conn: &Connection, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        commit_group(
            conn,
            std::iter::once(first).chain(queue.try_iter().take(GROUP - 1)).collect(),
        );
    }
}

/// Runs the jobs in one transaction and answers them after its commit. Where SQLite ends the transaction by itself (a full disk), those
/// that ran are told why, and the others get a transaction of their own.
fn commit_group(conn: &Connection, group: Vec<Job>) {
    let mut waiting = VecDeque::from(group);
    while !waiting.is_empty() {
        let mut answers: Vec<Deliver> = Vec::with_capacity(waiting.len());
        let begun = begin(conn);
        let write = Write::new(conn);
        let mut ended = None;
        while let Some(job) = waiting.pop_front() {
            // Without a transaction a savepoint would be one, and its release a commit that nobody is told of.
            let ran = job(begun.clone().map(|()| &write));
            answers.push(ran.deliver);
            if conn.is_autocommit() {
                ended = ran.error;
                break;
            }
        }
        let committed = match ended {
            Some(error) => Err(error),
            None => conn
                .execute_batch("COMMIT")
                .map_err(|error| StoreError::of("log.db", &error)),
        };
        if !conn.is_autocommit() {
            // SQLite rolls back by itself on most errors; on the others we do.
            let _ = conn.execute_batch("ROLLBACK");
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

fn begin(conn: &Connection) -> Result<(), StoreError> {
    conn.execute_batch("BEGIN IMMEDIATE")
        .map_err(|error| StoreError::of("log.db", &error))
}

/// Runs `job` so that it leaves all or nothing. The error that matters is the first; if what the job wrote cannot be undone alone, or
/// SQLite undid everything by itself, the whole transaction ends.
fn in_savepoint<R>(write: &Write<'_>, job: impl FnOnce(&Write<'_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
    write.conn.execute_batch("SAVEPOINT job")?;
    let result = job(write).and_then(|value| {
        write.conn.execute_batch("RELEASE job")?;
        Ok(value)
    });
    if result.is_err()
        && !write.conn.is_autocommit()
        && write.conn.execute_batch("ROLLBACK TO job; RELEASE job").is_err()
    {
        let _ = write.conn.execute_batch("ROLLBACK");
    }
    result
}

#[cfg(test)]
mod tests {
    use crate::{crypto::SeededRandom, store::LogStore};

    #[test]
    fn nothing_is_acknowledged_whose_commit_failed() {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::open(dir.path(), true, &mut SeededRandom::new(1)).unwrap();
        // A row that refers to nothing, which SQLite notices at the commit.
        let orphan = store.write(|write| {
            write.conn.execute_batch("PRAGMA defer_foreign_keys = ON")?;
            write.conn.execute(
                "INSERT INTO commits (identity, idx, hash, bytes) VALUES (99, 0, x'00', x'00')",
                [],
            )?;
            Ok(())
        });
        orphan.wait().expect_err("acknowledged");
        // The writer goes on, and what the group wrote before is gone with it.
        store.write(|write| write.set_meta("after", b"1")).wait().unwrap();
        assert_eq!(store.read(|read| read.meta("after")).unwrap().unwrap(), b"1");
        assert!(store.read(|read| read.identities()).unwrap().is_empty());
        store.close();
        store.write(|_| Ok(())).wait().expect_err("closed");
    }

    #[test]
    fn a_job_that_fails_takes_nothing_of_the_others_with_it() {
        let store = LogStore::in_memory(&mut SeededRandom::new(1)).unwrap();
        store.write(|write| write.set_meta("good", b"1")).wait().unwrap();
        let bad = store.write(|write| {
            write.set_meta("bad", b"1")?;
            Err::<(), _>(crate::store::StoreError::DiskFull)
        });
        bad.wait().expect_err("failed");
        assert!(store.read(|read| read.meta("bad")).unwrap().is_none());
        assert!(store.read(|read| read.meta("good")).unwrap().is_some());
    }
}
