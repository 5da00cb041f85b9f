//! What an open pod holds, from the moment its files are open until they are closed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    PodOptions, Shared, blocking, lacking::Lacking, linking::PendingInvites, opening::open_files, status::Contact,
    syncing::Online, writing::EditSession,
};
use crate::{
    crypto::{DeviceKeys, Hash, PublicKey},
    document::{Documents, Fold},
    error::Error,
    identity::KeyRing,
    log::{AttachmentId, AuthorId, Clock, DocumentId, Time, time_of},
    net::{apart, stopped},
    store::{Blobs, Folder, LogStore, StoreError, Views},
    sync::{Known, Replica},
};

/// Documents that are edited at once wait for each other only if they share one of so many locks.
const DOCUMENT_LOCKS: usize = 64;
/// Entries folded before `open` returns; the rest follows behind it, so that opening takes the same time after 10 entries as after 100,000.
pub(super) const FOLD_AT_ONCE: u64 = 256;
/// How often the views are read when they turn out to be damaged.
const SHOWN_ATTEMPTS: u32 = 3;
/// Entries of its own author log that whoever reads waits for.
const OWN_AT_ONCE: u64 = 4096;
/// How often a sync looks whether what it brought is shown.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// A round of folding that took as long as this is followed by a pause of so many times that, up to the longest.
const LONG_FOLD: Duration = Duration::from_millis(10);
const PAUSE_TIMES: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How often a pod in which nothing happens looks whether something is to be erased.
const TEND_AGAIN: Duration = Duration::from_secs(60 * 60);
/// How long `stop` waits for tasks before it closes the files under them.
const STOP_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Running {
    folder: Mutex<Option<Folder>>,
    pub keys: DeviceKeys,
    pub log: LogStore,
    pub replica: Arc<Replica>,
    pub documents: Arc<Documents>,
    pub blobs: Blobs,
    /// Attachments that are being read: nothing of them is evicted meanwhile.
    pub being_read: Mutex<Vec<AttachmentId>>,
    /// What peers were asked for and did not hold.
    pub(super) lacking: Mutex<Lacking>,
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
    /// Author logs of this device that may not be folded to their end yet, and up to where they were written.
    pub unshown: Mutex<BTreeMap<AuthorId, u64>>,
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

/// Under which name the store keeps where a device or peer was last found.
pub(super) fn addresses_key(endpoint: &PublicKey) -> String {
    format!("addresses:{endpoint}")
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
        let blobs = Blobs::new(path, opened.log.clone());
        let running = Self {
            folder: Mutex::new(Some(opened.folder)),
            keys,
            log: opened.log,
            replica,
            documents,
            blobs,
            being_read: Mutex::default(),
            lacking: Mutex::default(),
            options,
            gate: Arc::default(),
            ring: RwLock::new((known, ring)),
            clock: Mutex::default(),
            named_heads: Mutex::default(),
            sessions: Mutex::default(),
            document_locks: (0..DOCUMENT_LOCKS).map(|_| Mutex::default()).collect(),
            online: tokio::sync::Mutex::default(),
            unshown: Mutex::default(),
            invites: PendingInvites::default(),
            contacts: Mutex::default(),
            network: watch::Sender::new(()),
            shared,
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
        };
        running.read_own()?;
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

    /// Continues the clock after what it had seen, and after the last entry of each own author log; which may have to be folded.
    fn read_own(&self) -> Result<(), StoreError> {
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
            // What was written last may not have been folded any more.
            lock(&self.unshown).insert(own.author, own.head.seq);
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

    /// Brings the views up to the log, as far as `how` says. Gives whether nothing is left of it.
    pub fn fold(&self, how: &Fold<'_>) -> Result<bool, StoreError> {
        let now = (self.options.clock)();
        let horizon = Clock::horizon(now);
        let folded = match self.documents.fold_some(|| self.ring(), &Fold { horizon, ..*how }) {
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
        if let Err(error) = self.note_referred(folded.attachments) {
            // The next tidying finds it too.
            tracing::warn!(%error, "attachments that are referred to again are not noted");
        }
        Ok(folded.to_the_end)
    }

    /// Nothing counts the days any more since which no document refers to these attachments: when one is left again they begin anew.
    fn note_referred(&self, ids: BTreeSet<AttachmentId>) -> Result<(), StoreError> {
        let identity = self.replica.identity();
        let mut loose = Vec::new();
        for id in ids {
            let row = self.log.read(|read| read.attachment(&identity, &id))?;
            if row.is_some_and(|row| row.loose.is_some()) {
                loose.push(id);
            }
        }
        if loose.is_empty() {
            return Ok(());
        }
        self.log
            .write(move |write| loose.iter().try_for_each(|id| write.set_loose(&identity, id, None)))
            .wait()
    }

    /// Reads from the views. What an earlier fold could not bring there is folded first, or the reader told why it cannot be: an answer never
    /// lacks what was acknowledged without a word.
    pub fn shown<R>(&self, read: impl Fn(&Documents) -> Result<R, StoreError>) -> Result<R, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let made = self.documents.made_anew();
            self.make_good()?;
            let found = read(&self.documents);
            // Damaged, or dropped by somebody else who found them so: what was read may be of views that are empty yet.
            let is_spoilt = matches!(found, Err(StoreError::Damaged { file: "views.db", .. }));
            if attempts == SHOWN_ATTEMPTS || !(is_spoilt || self.documents.made_anew() != made) {
                return Ok(found?);
            }
        }
    }

    /// Folds what was written and not folded yet, and what an earlier fold could not.
    pub fn make_good(&self) -> Result<(), Error> {
        let unshown = lock(&self.unshown).clone();
        for (author, seq) in unshown {
            // Views that are made again from the log are folded behind all this: nobody waits for that.
            let limit = match self.documents.behind_of(&author)? {
                few @ ..=OWN_AT_ONCE => few,
                _ => FOLD_AT_ONCE,
            };
            let all = self.fold(&Fold {
                only: Some(author),
                limit,
                stop: &|| *self.stop.borrow(),
                ..Fold::default()
            })?;
            if *self.stop.borrow() {
                return Err(Error::Suspended);
            }
            // Unless it was written again meanwhile.
            let mut unshown = lock(&self.unshown);
            if all && unshown.get(&author) == Some(&seq) {
                unshown.remove(&author);
            }
        }
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
        let running = self.clone();
        let folded = apart(move || {
            running.fold(&Fold {
                stop: &|| *running.stop.borrow() || Instant::now() >= until,
                ..Fold::default()
            })
        });
        if let Ok(Ok(true)) = folded.await {
            return Ok(());
        }
        loop {
            let running = self.clone();
            let behind = apart(move || running.documents.behind()).await;
            if behind.unwrap_or(Ok(0))? == 0 || Instant::now() >= until {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// [`Running::tend`], where nobody waits for what keeps it from working.
    pub async fn tended(self: Arc<Self>, when: &'static str) {
        let Ok(gate) = self.gate.clone().try_read_owned() else {
            return;
        };
        let tended = apart(move || {
            let tended = self.tend();
            drop(gate);
            tended
        });
        if let Ok(Err(error)) = tended.await {
            tracing::warn!(%error, when, "what was deleted cannot be erased now");
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
                let (began, stopping) = (Instant::now(), stop.clone());
                let folded = apart(move || {
                    strong.fold(&Fold { stop: &|| *stopping.borrow(), ..Fold::default() })
                })
                .await;
                if let Ok(Err(error)) = folded
                    && error != StoreError::Closed
                {
                    tracing::warn!(%error, "the views are behind the log");
                }
                let Some(strong) = running.upgrade() else { return };
                let tended = apart(move || strong.tend()).await;
                if let Ok(Err(error)) = tended
                    && !matches!(error, Error::Suspended)
                {
                    tracing::warn!(%error, "what was deleted cannot be erased now");
                }
                // What is folded goes first; indexes that are not built yet wait for quiet.
                if let Some(strong) = running.upgrade() {
                    let (stopping, news) = (stop.clone(), changes.resubscribe());
                    let waiting = !changes.is_empty();
                    let built = apart(move || {
                        strong.build_indexes(&move || waiting || *stopping.borrow() || !news.is_empty())
                    })
                    .await;
                    if let Ok(Err(error)) = built {
                        tracing::warn!(%error, "the indexes are behind the documents");
                    }
                }
                let took = began.elapsed();
                tokio::select! {
                    () = stopped(&mut stop) => return,
                    // An erasure may have become due meanwhile.
                    () = tokio::time::sleep(TEND_AGAIN) => {}
                    change = changes.recv() => if let Err(tokio::sync::broadcast::error::RecvError::Closed) = change { return },
                }
                // Whoever writes on in a long document must not keep a core busy all the time: what takes long is done less often. Who reads
                // does not wait for this.
                let pause = (took * PAUSE_TIMES).min(LONGEST_PAUSE);
                if took >= LONG_FOLD {
                    tokio::select! {
                        () = stopped(&mut stop) => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                // What came meanwhile is folded in the same go.
                while changes.try_recv().is_ok() {}
            }
        });
    }

    /// Notes where a device or peer was last found.
    pub fn note_addresses(&self, endpoint: &PublicKey, addresses: &[String]) -> Result<(), Error> {
        let key = addresses_key(endpoint);
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
        self.documents.end();
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
        let closed = apart(move || {
            documents.close();
            log.close();
        });
        let _ = closed.await;
        *lock(&self.folder) = None;
    }
}
