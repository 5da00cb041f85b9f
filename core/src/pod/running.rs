//! What an open pod holds, from the moment its files are open until they are closed.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    PodOptions, Shared, blocking, linking::PendingInvites, opening::open_files, status::Contact, syncing::Online,
    writing::EditSession,
};
use crate::{
    crypto::{DeviceKeys, Hash, PublicKey},
    document::{Documents, Fold},
    error::Error,
    identity::KeyRing,
    log::{AuthorId, Clock, DocumentId, Time, time_of},
    store::{Folder, LogStore, StoreError, Views},
    sync::{Known, Replica},
};

/// Documents that are edited at once wait for each other only if they share one of so many locks.
const DOCUMENT_LOCKS: usize = 64;
/// Entries folded before `open` returns; the rest follows behind it, so that opening takes the same time after 10 entries as after 100,000.
pub(super) const FOLD_AT_ONCE: u64 = 256;
/// How often a sync looks whether what it brought is shown.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long `stop` waits for tasks before it closes the files under them.
const STOP_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Running {
    folder: Mutex<Option<Folder>>,
    pub keys: DeviceKeys,
    pub log: LogStore,
    pub replica: Arc<Replica>,
    pub documents: Arc<Documents>,
    pub options: PodOptions,
    /// Read while a call is at work; written once, when the pod stops.
    pub gate: Arc<tokio::sync::RwLock<()>>,
    ring: RwLock<(Arc<Known>, Arc<KeyRing>)>,
    pub clock: Mutex<Clock>,
    /// The identity head that each author log named last.
    pub named_heads: Mutex<HashMap<AuthorId, Hash>>,
    /// The Automerge session of each document that was edited since the pod was opened.
    pub sessions: Mutex<HashMap<DocumentId, EditSession>>,
    document_locks: Vec<Mutex<()>>,
    pub online: tokio::sync::Mutex<Option<Online>>,
    pub invites: PendingInvites,
    pub contacts: Mutex<HashMap<PublicKey, Contact>>,
    /// Tells whoever waits to try again that the network is another now.
    pub network: watch::Sender<()>,
    pub shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// A lock whose holder never leaves what it guards half-changed, so a panic elsewhere does not spoil it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    pub async fn open(path: &Path, options: &PodOptions, shared: &Arc<Shared>) -> Result<Arc<Self>, Error> {
        let (path, opts, shared) = (path.to_owned(), options.clone(), shared.clone());
        let running = blocking(move || Self::open_blocking(&path, opts, shared)).await?;
        let running = Arc::new(running);
        running.clone().spawn_folding();
        Ok(running)
    }

    fn open_blocking(path: &Path, options: PodOptions, shared: Arc<Shared>) -> Result<Self, Error> {
        let opened = open_files(path, &options)?;
        let keys = opened.secret.keys();
        let views = Views::open(path, keys.views.clone())?;
        let replica = Arc::new(opened.replica);
        let counted = replica.clone();
        let heads = Box::new(move || counted.heads());
        let documents = Arc::new(Documents::with_heads(opened.log.clone(), views, heads));
        let known = replica.known();
        let ring = Arc::new(known.key_ring(&keys));
        let running = Self {
            folder: Mutex::new(Some(opened.folder)),
            keys,
            log: opened.log,
            replica,
            documents,
            options,
            gate: Arc::default(),
            ring: RwLock::new((known, ring)),
            clock: Mutex::default(),
            named_heads: Mutex::default(),
            sessions: Mutex::default(),
            document_locks: (0..DOCUMENT_LOCKS).map(|_| Mutex::default()).collect(),
            online: tokio::sync::Mutex::default(),
            invites: PendingInvites::default(),
            contacts: Mutex::default(),
            network: watch::Sender::new(()),
            shared,
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
        };
        running.read_clock()?;
        running.replica.commit_pending()?;
        let folded = running.fold(&Fold {
            limit: FOLD_AT_ONCE,
            ..Fold::default()
        });
        if let Err(error) = folded {
            // The log is open and whole: what cannot be shown now must not keep anybody from writing.
            tracing::warn!(%error, "the views are behind the log");
        }
        Ok(running)
    }

    /// Continues the clock after what it had seen, and after the last entry of each own author log.
    fn read_clock(&self) -> Result<(), StoreError> {
        let latest = match self.documents.latest() {
            // Dropped just now: the fold that follows reads every time again.
            Err(StoreError::Damaged { file: "views.db", .. }) => Time::default(),
            other => other?,
        };
        lock(&self.clock).observe(latest, latest.millis());
        let ring = self.ring();
        for stream in ring.streams().keys() {
            let Some(own) = self.log.read(|read| read.own_log(stream))? else {
                continue;
            };
            let before = own.head.seq.saturating_sub(1);
            let last = self.log.read(|read| read.entries_after(&own.author, 0, before, 1, 0))?;
            for entry in &last {
                let time = ring.epoch(&entry.entry().epoch).and_then(|key| time_of(entry, key));
                if let Some(time) = time {
                    // Our own last time counts even if the wall clock has gone back since.
                    lock(&self.clock).observe(time, time.millis());
                }
            }
        }
        Ok(())
    }

    /// The keys this device can reach now. Memory only, but for the moment after the identity log changed.
    pub fn ring(&self) -> Arc<KeyRing> {
        self.known_keys().1
    }

    /// What is known of the identity now, and the keys that follow from it. As [`Running::ring`].
    pub fn known_keys(&self) -> (Arc<Known>, Arc<KeyRing>) {
        let known = self.replica.known();
        {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&ring.0, &known) {
                return ring.clone();
            }
        }
        let fresh = (known.clone(), Arc::new(known.key_ring(&self.keys)));
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = fresh.clone();
        fresh
    }

    /// Brings the views up to the log, as far as `how` says.
    pub fn fold(&self, how: &Fold<'_>) -> Result<(), StoreError> {
        let now = (self.options.clock)();
        let horizon = Clock::horizon(now);
        let folded = match self.documents.fold_some(&self.ring(), &Fold { horizon, ..*how }) {
            Ok(folded) => folded,
            Err(error) => {
                // What it did before it failed stays done.
                self.shared.changes.everything();
                return Err(error);
            }
        };
        lock(&self.clock).observe(folded.latest, now);
        if folded.unreadable > 0 {
            tracing::warn!(
                entries = folded.unreadable,
                "entries that do not open are kept and not shown"
            );
        }
        self.shared.changes.shown(folded.documents);
        Ok(())
    }

    /// Reads from the views. What an earlier fold could not bring there is folded first, or the reader told why it cannot be: an answer never
    /// lacks what was acknowledged without a word.
    pub fn shown<R>(&self, read: impl Fn(&Documents) -> Result<R, StoreError>) -> Result<R, Error> {
        self.make_good()?;
        match read(&self.documents) {
            Err(StoreError::Damaged { file: "views.db", .. }) => {
                self.make_good()?;
                Ok(read(&self.documents)?)
            }
            other => Ok(other?),
        }
    }

    /// Folds what an earlier fold could not.
    pub fn make_good(&self) -> Result<(), Error> {
        if self.documents.is_stale() {
            self.fold(&Fold {
                limit: FOLD_AT_ONCE,
                ..Fold::default()
            })?;
            // The rest follows behind it.
            self.log.announce(self.replica.identity());
        }
        Ok(())
    }

    /// Waits until the views show what is in the log, as long as `until`.
    pub async fn caught_up(self: &Arc<Self>, until: Instant) -> Result<(), Error> {
        loop {
            let running = self.clone();
            let behind = tokio::task::spawn_blocking(move || running.documents.behind()).await;
            if behind.unwrap_or(Ok(0))? == 0 || Instant::now() >= until {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The lock under which a document is edited.
    pub fn document_lock(&self, document: &DocumentId) -> usize {
        usize::from(document.0[0]) % DOCUMENT_LOCKS
    }

    /// Takes locks in order, so that two batches never wait for each other in a circle.
    pub fn lock_documents(&self, mut which: Vec<usize>) -> Vec<MutexGuard<'_, ()>> {
        which.sort_unstable();
        which.dedup();
        which
            .into_iter()
            .map(|place| lock(&self.document_locks[place]))
            .collect()
    }

    /// Turns true when the pod stops.
    pub fn stop_signal(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Runs a task that `stop` ends and waits for. It watches [`Running::stop_signal`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task));
    }

    /// Folds what sessions bring, as it comes.
    fn spawn_folding(self: Arc<Self>) {
        let mut changes = self.log.changes();
        let mut stop = self.stop_signal();
        let running = Arc::downgrade(&self);
        self.spawn(async move {
            loop {
                let Some(strong) = running.upgrade() else { return };
                let stopping = stop.clone();
                let folded = tokio::task::spawn_blocking(move || {
                    strong.fold(&Fold { stop: &|| *stopping.borrow(), ..Fold::default() })
                })
                .await;
                if let Ok(Err(error)) = folded
                    && error != StoreError::Closed
                {
                    tracing::warn!(%error, "the views are behind the log");
                }
                tokio::select! {
                    () = crate::net::stopped(&mut stop) => return,
                    change = changes.recv() => if let Err(tokio::sync::broadcast::error::RecvError::Closed) = change { return },
                }
                // What came meanwhile is folded in the same go.
                while changes.try_recv().is_ok() {}
            }
        });
    }

    /// Where a device or peer was last found.
    pub fn note_addresses(&self, endpoint: &PublicKey, addresses: &[String]) -> Result<(), Error> {
        let key = format!("addresses:{endpoint}");
        let value = crate::crypto::encode(&addresses);
        Ok(self.log.write(move |write| write.set_meta(&key, &value)).wait()?)
    }

    /// Checks the database, and every chain and signature, unless it is `given_up`.
    pub fn verify(&self, given_up: &dyn Fn() -> bool) -> Result<u64, Error> {
        self.log.integrity_check()?;
        let mut count = 0;
        for (author, branches) in self.log.read(|read| read.heads(&self.replica.identity()))? {
            let start = self.log.read(|read| read.start(&author))?;
            let device = start.map(|start| start.device()).unwrap_or(PublicKey([0; 32]));
            for branch in branches {
                let mut after = crate::log::Position::start(&author);
                while let Some(range) = self
                    .log
                    .read(|read| read.range_after(&author, branch.branch, after, 1 << 20))?
                {
                    if *self.stop.borrow() || given_up() {
                        return Err(Error::Suspended);
                    }
                    let verified = range.verify(&device)?;
                    count += verified.entries().len() as u64;
                    after = verified.head();
                }
                if after != branch.head {
                    let why = "an author log does not end where it should".to_owned();
                    return Err(Error::Storage(StoreError::Damaged { file: "log.db", why }));
                }
            }
        }
        Ok(count)
    }

    /// Ends every task and closes every file, lock and socket.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let tasks: Vec<_> = lock(&self.tasks).drain(..).collect();
        let online = self.online.lock().await.take();
        if let Some(online) = online {
            online.close().await;
        }
        for task in tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout(STOP_WITHIN, task).await.is_err() {
                abort.abort();
            }
        }
        // Calls that are at work end first: they hold connections. New ones are turned away by now.
        let _gate = self.gate.write().await;
        let (log, documents) = (self.log.clone(), self.documents.clone());
        let closed = tokio::task::spawn_blocking(move || {
            documents.close();
            log.close();
        });
        let _ = closed.await;
        *lock(&self.folder) = None;
    }
}
