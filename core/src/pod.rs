//! The facade: one person's data on one device, as an application holds it.
//!
//! A [`Pod`] is a folder, a device secret that the platform keeps, and an identity. It is written to with no network, for ever;
//! it syncs when it is told to. Every method that is `async` may wait for the disk or the network; the others answer from memory.
//!
//! ```no_run
//! # async fn example() -> Result<(), rhizome::Error> {
//! use rhizome::{FileKeeper, Pod, PodOptions, Value, path};
//! use std::sync::Arc;
//!
//! let options = PodOptions::new(Arc::new(FileKeeper::new("keys")));
//! let (pod, words) = Pod::create("journal.pod", options, "laptop").await?;
//! println!("write these down: {}", *words);
//! let written = pod
//!     .create_document("journal", |edit| {
//!         edit.set(&path(["date"]), Value::Date(0))?;
//!         edit.set_text(&path(["text"]), "a line")
//!     })
//!     .await?;
//! let page = pod.list("journal", "date", None, 20).await?;
//! assert_eq!(page.rows[0].document, written.document);
//! # Ok(()) }
//! ```

mod attaching;
mod carrying;
mod editing;
mod erasing;
mod history;
mod lacking;
mod linking;
mod members;
mod moving;
mod opening;
mod querying;
mod recovering;
mod running;
mod status;
mod syncing;
mod transacting;
mod watching;
mod writing;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, Weak},
};

pub use attaching::{AttachmentProgress, AttachmentStatus, AttachmentsStatus, NewAttachment, Tidied};
pub use editing::OpenDocument;
pub use erasing::Trashed;
pub use history::{BlameSpan, Conflict, DocumentVersion, HistoryCursor, HistoryPage};
pub use linking::{Invite, Linking};
pub use members::{Member, Members, Proposal, ProposalState, RemovedMember};
pub use moving::TakenIn;
pub use opening::PodOptions;
pub use querying::IndexProgress;
pub use recovering::WordsQuiz;
pub use status::{Conditions, EntryRef, Holder, Network, PeerStatus, Status, SyncState, WaitReason};
pub use syncing::{Live, PeerReport, SyncReport};
pub use watching::{
    Diff, DocumentWatch, ListDiff, ListWatch, Placed, PlacedAs, PlacedRow, QueryDiff, QueryWatch, StatusWatch,
};
pub use writing::{DocumentEdit, Written};

use crate::{
    document::{Key, Value},
    error::Error,
    identity::{did, did_document},
    log::{DocumentId, Event},
    net::apart,
    snapshot::export_identity,
};
use running::Running;
use watching::Changes;

/// One person's data on one device. Cheap to clone: every clone is the same pod.
#[derive(Clone)]
pub struct Pod(Arc<Inner>);

struct Inner {
    path: PathBuf,
    options: PodOptions,
    phase: RwLock<Phase>,
    /// Held while the pod is suspended, resumed or shut down.
    turning: tokio::sync::Mutex<()>,
    shared: Arc<Shared>,
}

/// What a pod keeps through every suspend and resume.
#[derive(Default)]
struct Shared {
    changes: Changes,
    conditions: Mutex<Conditions>,
}

enum Phase {
    Running(Arc<Running>),
    Suspended,
    Closed,
}

/// What is to be done with a running pod.
type Work<R> = dyn FnOnce(&Running) -> Result<R, Error> + Send;

/// Runs `work` where it may wait for the disk. A panic in it goes on in whoever waits.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> Result<R, Error> + Send + 'static) -> Result<R, Error> {
    match apart(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Error::Closed),
        },
    }
}

/// The pods that are open in this process: one folder is one pod, however often it is opened.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Inner>>>> = LazyLock::new(Mutex::default);

/// A path into a document from field names.
pub fn path<const N: usize>(fields: [&str; N]) -> [Key; N] {
    fields.map(Key::from)
}

impl Pod {
    fn running(&self) -> Result<Arc<Running>, Error> {
        match &*self.0.phase.read().unwrap_or_else(PoisonError::into_inner) {
            Phase::Running(running) => Ok(running.clone()),
            Phase::Suspended => Err(Error::Suspended),
            Phase::Closed => Err(Error::Closed),
        }
    }

    fn set_phase(&self, phase: Phase) -> Phase {
        std::mem::replace(
            &mut *self.0.phase.write().unwrap_or_else(PoisonError::into_inner),
            phase,
        )
    }

    /// Runs `work` where it may wait for the disk. `suspend()` waits for it to end.
    async fn work<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Running) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        self.boxed_work(Box::new(work)).await
    }

    async fn boxed_work<R: Send + 'static>(&self, work: Box<Work<R>>) -> Result<R, Error> {
        let running = self.running()?;
        let gate = running.gate.clone().try_read_owned().map_err(|_| Error::Suspended)?;
        blocking(move || {
            let result = work(&running);
            drop(gate);
            result
        })
        .await
    }

    /// The identity's DID.
    pub fn did(&self) -> Result<String, Error> {
        Ok(did(&self.running()?.replica.identity()))
    }

    /// The identity's DID document (W3C DID Core 1.0), as far as its log is ordered.
    pub fn did_document(&self) -> Result<serde_json::Value, Error> {
        Ok(did_document(&self.running()?.replica.known().ordered))
    }

    /// The public part of the identity log, as far as it is ordered, as a CAR file: whoever has it resolves the DID with
    /// [`resolve`](crate::resolve), asking nobody. It tells the public keys and addresses of devices and cloud peers, and when they came; no
    /// names, no streams.
    pub fn export_identity(&self) -> Result<Vec<u8>, Error> {
        Ok(export_identity(&self.running()?.replica.known().log))
    }

    /// The folder.
    pub fn path(&self) -> &std::path::Path {
        &self.0.path
    }

    /// A document as it is now; `None` if it is not here.
    pub async fn get(&self, document: DocumentId) -> Result<Option<Value>, Error> {
        self.work(move |running| running.shown(|documents| documents.get(&document)))
            .await
    }

    /// Appends an application's own events to the stream `label` as one entry. Durable when it returns.
    pub async fn append(&self, label: &str, events: Vec<Event>) -> Result<EntryRef, Error> {
        let label = label.to_owned();
        self.work(move |running| running.append_events(&label, events)).await
    }

    /// The applications' own events of the stream `label`, in the order that every device agrees on.
    pub async fn events(&self, label: &str) -> Result<Vec<Event>, Error> {
        let label = label.to_owned();
        self.work(move |running| Ok(running.documents.events(&label, &running.ring())?))
            .await
    }

    /// SQLite's own check of the log, and of every chain and signature of this device's author logs. Slow; dropped, it ends soon.
    pub async fn verify(&self) -> Result<u64, Error> {
        let wanted = Arc::new(());
        let asked = Arc::downgrade(&wanted);
        self.work(move |running| running.verify(&|| asked.strong_count() == 0))
            .await
    }

    /// Lets go of every file, lock and socket, at a durable point. Until [`Pod::resume`], calls answer [`Error::Suspended`] at once. To be
    /// awaited before the system suspends the app.
    pub async fn suspend(&self) -> Result<(), Error> {
        let _turning = self.0.turning.lock().await;
        self.running()?;
        if let Phase::Running(running) = self.set_phase(Phase::Suspended) {
            running.stop().await;
        }
        Ok(())
    }

    /// Takes everything up again after [`Pod::suspend`]. [`Error::InUse`] if another process has the folder meanwhile; the pod stays
    /// suspended then. Does nothing if it is not suspended.
    pub async fn resume(&self) -> Result<(), Error> {
        let _turning = self.0.turning.lock().await;
        match self.running() {
            Ok(_) => return Ok(()),
            Err(Error::Suspended) => {}
            Err(error) => return Err(error),
        }
        let running = Running::open(&self.0.path, &self.0.options, &self.0.shared).await?;
        self.set_phase(Phase::Running(running));
        self.0.shared.changes.everything();
        Ok(())
    }

    /// Ends the pod. Can be called again, and in any phase.
    pub async fn shutdown(&self) {
        let _turning = self.0.turning.lock().await;
        if let Phase::Running(running) = self.set_phase(Phase::Closed) {
            running.stop().await;
        }
        self.0.shared.changes.everything();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have opened the folder again since the first shutdown: that is another pod.
        if open
            .get(&self.0.path)
            .is_some_and(|pod| std::ptr::eq(pod.as_ptr(), &*self.0))
        {
            open.remove(&self.0.path);
        }
    }
}

impl std::fmt::Debug for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pod")
    }
}
