//! A folder whose files SQLite reaches only through us: what each call does, and what a power cut would leave of it.
//!
//! The files themselves are the system's. Beside them stands, for each, what had been flushed and what was written since; a power cut
//! fails every call from then on, and [`Disk::reboot`] puts into the files what was flushed with an arbitrary part of the rest.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use rusqlite::ffi;

use crate::{
    dice::Dice,
    power::{Change, Content, Loss, SECTOR},
};

static DISKS: RwLock<Vec<Arc<Disk>>> = RwLock::new(Vec::new());

/// A call of SQLite's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Opens a file.
    Open {
        /// Whether it is not there yet.
        creates: bool,
    },
    /// Deletes one.
    Delete,
    /// Looks whether one is there.
    Access,
    /// Reads.
    Read {
        /// Bytes.
        len: usize,
    },
    /// Writes.
    Write {
        /// Where.
        offset: u64,
        /// Bytes.
        len: usize,
    },
    /// Sets a file's length.
    Truncate,
    /// Flushes.
    Sync,
    /// Asks for the length.
    Size,
    /// Takes a lock, or asks for one.
    Lock,
    /// Maps the memory that connections share.
    ShmMap,
    /// Takes a lock in it.
    ShmLock,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// What the system says.
    Go,
    /// Nothing is done, and this code returned.
    Fail(i32),
    /// The first bytes of it, and then this code.
    Part(usize, i32),
}

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Any call: the I/O error of its kind.
    Broken,
    /// Reads: an I/O error.
    Read,
    /// Reads: half of the bytes, then an I/O error.
    TornRead,
    /// Reads: the file ends early. It only befalls what can be made again: a file that says so is damaged, as far as anybody can see.
    ShortRead,
    /// Writes: an I/O error, nothing written.
    Write,
    /// Writes: the first sectors only, then an I/O error.
    TornWrite,
    /// Flushes: an I/O error. What was to be flushed never reaches the disk, though it reads back until the power goes.
    Sync,
    /// Writes beyond the end of a file: no room.
    Full,
    /// Writes beyond the end of a file: room for a part of it.
    FullTorn,
    /// Whatever changes a file or makes one: the disk may not be written.
    ReadOnly,
    /// Opening: it cannot.
    CannotOpen,
    /// Deleting: an I/O error.
    Delete,
    /// Cutting short: an I/O error.
    Truncate,
    /// Asking for the length: an I/O error.
    Size,
    /// Looking whether a file is there: an I/O error.
    Access,
    /// Locks: another holds them.
    Busy,
    /// Locks: an I/O error.
    Lock,
    /// Mapping the shared memory: an I/O error.
    ShmMap,
    /// Locks in the shared memory: an I/O error.
    ShmLock,
    /// Nothing but a pause, so that threads meet in other orders.
    Delay,
    /// The power goes.
    PowerCut,
}

impl Fault {
    /// Every one.
    pub const ALL: [Self; 21] = [
        Self::Broken,
        Self::Read,
        Self::TornRead,
        Self::ShortRead,
        Self::Write,
        Self::TornWrite,
        Self::Sync,
        Self::Full,
        Self::FullTorn,
        Self::ReadOnly,
        Self::CannotOpen,
        Self::Delete,
        Self::Truncate,
        Self::Size,
        Self::Access,
        Self::Busy,
        Self::Lock,
        Self::ShmMap,
        Self::ShmLock,
        Self::Delay,
        Self::PowerCut,
    ];

    /// Whether it can befall `op`.
    fn concerns(self, op: Op, grows: bool) -> bool {
        match self {
            Self::Broken | Self::Delay | Self::PowerCut => true,
            Self::Read | Self::TornRead | Self::ShortRead => matches!(op, Op::Read { .. }),
            Self::Write | Self::TornWrite => matches!(op, Op::Write { .. }),
            Self::Sync => op == Op::Sync,
            Self::Full | Self::FullTorn => grows,
            Self::ReadOnly => matches!(
                op,
                Op::Open { .. } | Op::Write { .. } | Op::Truncate | Op::Delete | Op::ShmMap
            ),
            Self::CannotOpen => matches!(op, Op::Open { .. }),
            Self::Delete => op == Op::Delete,
            Self::Truncate => op == Op::Truncate,
            Self::Size => op == Op::Size,
            Self::Access => op == Op::Access,
            Self::Busy => matches!(op, Op::Lock | Op::ShmLock),
            Self::Lock => op == Op::Lock,
            Self::ShmMap => op == Op::ShmMap,
            Self::ShmLock => op == Op::ShmLock,
        }
    }
}

/// One fault: which calls it counts, from which it strikes, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What happens.
    pub fault: Fault,
    /// At the how-manieth call that it can befall, from 1.
    pub at: u64,
    /// So many times.
    pub times: u64,
    /// Only files whose names begin so; the empty name is every file.
    pub file: &'static str,
}

#[derive(Debug, Clone, Default)]
struct Tracked {
    content: Content,
    len: u64,
    inode: u64,
    /// Whether the folder's own entry for it was flushed.
    entry_flushed: bool,
    /// SQLite flushes the folder with the first flush of a new journal.
    flushes_folder: bool,
}

#[derive(Default)]
struct Inner {
    plans: Vec<(Plan, u64)>,
    calls: u64,
    struck: u64,
    /// Calls that a short read struck: what reads as zeros is damaged.
    short_reads: u64,
    cut: bool,
    /// Every call waits.
    held: bool,
    /// Calls that wait.
    waiting: u64,
    /// Files that SQLite has open.
    open: u64,
    files: BTreeMap<PathBuf, Tracked>,
    /// Files that are gone, if the folder was not flushed since: the power may bring them back.
    ghosts: BTreeMap<PathBuf, Content>,
}

/// A folder that fails as it is told.
pub struct Disk {
    dir: PathBuf,
    inner: Mutex<Inner>,
    released: Condvar,
}

/// Calls go on, those that waited too, when this is dropped.
pub struct Held<'a>(&'a Disk);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.inner().held = false;
        self.0.released.notify_all();
    }
}

impl Disk {
    /// Takes `dir`, whose files are as if flushed. Nothing fails yet.
    pub fn new(dir: &Path) -> Arc<Self> {
        let disk = Arc::new(Self {
            dir: dir.to_owned(),
            inner: Mutex::default(),
            released: Condvar::new(),
        });
        DISKS.write().unwrap_or_else(PoisonError::into_inner).push(disk.clone());
        disk
    }

    /// The disk that `path` is on.
    pub fn of(path: &Path) -> Option<Arc<Self>> {
        let disks = DISKS.read().unwrap_or_else(PoisonError::into_inner);
        disks.iter().find(|disk| path.starts_with(&disk.dir)).cloned()
    }

    /// Lets go of the folder.
    pub fn remove(&self) {
        let mut disks = DISKS.write().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|disk| !std::ptr::eq(&**disk, self));
    }

    /// Whether any disk says that locks are held which are not.
    pub fn feigns_locks() -> bool {
        let disks = DISKS.read().unwrap_or_else(PoisonError::into_inner);
        disks.iter().any(|disk| {
            let inner = disk.inner();
            inner
                .plans
                .iter()
                .any(|(plan, seen)| plan.fault == Fault::Busy && *seen >= plan.at && *seen - plan.at < plan.times)
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on calls are counted, and fail as planned.
    pub fn plan(&self, plans: &[Plan]) {
        let mut inner = self.inner();
        inner.plans = plans.iter().map(|plan| (*plan, 0)).collect();
        (inner.calls, inner.struck, inner.short_reads) = (0, 0, 0);
    }

    /// Nothing fails any more. A power cut needs [`Disk::reboot`].
    pub fn heal(&self) {
        self.inner().plans.clear();
    }

    /// Every call waits until what this gives is dropped: a test that fails meanwhile leaves nobody waiting.
    pub fn hold(&self) -> Held<'_> {
        self.inner().held = true;
        Held(self)
    }

    /// How many calls wait.
    pub fn waiting(&self) -> u64 {
        self.inner().waiting
    }

    /// How many calls a fault struck.
    pub fn struck(&self) -> u64 {
        self.inner().struck
    }

    /// How many reads came back short.
    pub fn short_reads(&self) -> u64 {
        self.inner().short_reads
    }

    /// How many calls there were since the plan.
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// Whether the power is gone.
    pub fn is_cut(&self) -> bool {
        self.inner().cut
    }

    /// What becomes of a call.
    pub fn ask(&self, op: Op, path: &Path) -> Answer {
        let mut inner = self.inner();
        inner.waiting += 1;
        while inner.held {
            inner = self.released.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.waiting -= 1;
        inner.calls += 1;
        if inner.cut {
            return Answer::Fail(io_error(op));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let grows = match op {
            Op::Write { offset, len } => inner.files.get(path).is_none_or(|file| offset + len as u64 > file.len),
            _ => false,
        };
        let mut chosen = None;
        for (plan, seen) in &mut inner.plans {
            let befalls = plan.fault.concerns(op, grows) && name.starts_with(plan.file);
            if !befalls || (plan.fault == Fault::ShortRead && !name.starts_with("views.db")) {
                continue;
            }
            *seen += 1;
            if *seen >= plan.at && *seen - plan.at < plan.times {
                chosen.get_or_insert(plan.fault);
            }
        }
        let Some(fault) = chosen else { return Answer::Go };
        inner.struck += 1;
        match fault {
            Fault::Delay => {
                drop(inner);
                std::thread::sleep(Duration::from_micros(300));
                Answer::Go
            }
            Fault::PowerCut => {
                inner.cut = true;
                // What was on its way may have come there, as far as `reboot` likes.
                match op {
                    Op::Write { len, .. } => Answer::Part(len, io_error(op)),
                    _ => Answer::Fail(io_error(op)),
                }
            }
            Fault::ShortRead => match op {
                Op::Read { len } => {
                    inner.short_reads += 1;
                    Answer::Part(len / 2, ffi::SQLITE_IOERR_SHORT_READ)
                }
                _ => Answer::Go,
            },
            Fault::TornRead => match op {
                Op::Read { len } => Answer::Part(len / 2, io_error(op)),
                _ => Answer::Go,
            },
            Fault::TornWrite | Fault::FullTorn => match op {
                Op::Write { len, .. } => {
                    let code = if fault == Fault::TornWrite {
                        io_error(op)
                    } else {
                        ffi::SQLITE_FULL
                    };
                    Answer::Part(len / 2 / SECTOR as usize * SECTOR as usize, code)
                }
                _ => Answer::Go,
            },
            Fault::Sync => {
                if let Some(file) = inner.files.get_mut(path) {
                    file.content.since.clear();
                }
                Answer::Fail(io_error(op))
            }
            Fault::Full => Answer::Fail(ffi::SQLITE_FULL),
            Fault::ReadOnly => match op {
                Op::Open { .. } => Answer::Fail(ffi::SQLITE_READONLY),
                Op::ShmMap => Answer::Fail(ffi::SQLITE_READONLY_CANTINIT),
                _ => Answer::Fail(io_error(op)),
            },
            Fault::CannotOpen => Answer::Fail(ffi::SQLITE_CANTOPEN),
            Fault::Busy => Answer::Fail(ffi::SQLITE_BUSY),
            Fault::Broken
            | Fault::Read
            | Fault::Write
            | Fault::Delete
            | Fault::Truncate
            | Fault::Size
            | Fault::Access
            | Fault::Lock
            | Fault::ShmMap
            | Fault::ShmLock => Answer::Fail(io_error(op)),
        }
    }

    /// A file is about to be opened: what is on the disk of it now, if it is not known.
    pub fn opening(&self, path: &Path) {
        let inode = std::fs::metadata(path).map(|file| file.ino()).ok();
        let mut inner = self.inner();
        let known = inner.files.get(path).map(|file| file.inode);
        if known == inode && known.is_some() {
            return;
        }
        // Removed or replaced by somebody who did not ask us.
        if let Some(file) = inner.files.remove(path)
            && file.entry_flushed
        {
            inner.ghosts.insert(path.to_owned(), file.content);
        }
        if let Some(inode) = inode {
            let flushed = std::fs::read(path).unwrap_or_default();
            let tracked = Tracked {
                len: flushed.len() as u64,
                content: Content {
                    flushed,
                    since: Vec::new(),
                },
                inode,
                entry_flushed: true,
                flushes_folder: false,
            };
            inner.files.insert(path.to_owned(), tracked);
        }
    }

    /// A file was opened; a new one is not in the flushed folder yet.
    pub fn opened(&self, path: &Path, journal: bool) {
        let mut inner = self.inner();
        inner.open += 1;
        if inner.files.contains_key(path) {
            return;
        }
        let tracked = Tracked {
            inode: std::fs::metadata(path).map_or(0, |file| file.ino()),
            flushes_folder: journal,
            ..Tracked::default()
        };
        inner.files.insert(path.to_owned(), tracked);
    }

    /// A file that was open is closed.
    pub fn closed(&self) {
        self.inner().open -= 1;
    }

    /// How many files are open.
    pub fn open(&self) -> u64 {
        self.inner().open
    }

    /// Bytes were written.
    pub fn wrote(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let mut inner = self.inner();
        if let Some(file) = inner.files.get_mut(path) {
            file.len = file.len.max(offset + bytes.len() as u64);
            file.content.since.push(Change::Write(offset, bytes.to_vec()));
        }
    }

    /// A file's length was set.
    pub fn truncated(&self, path: &Path, len: u64) {
        let mut inner = self.inner();
        if let Some(file) = inner.files.get_mut(path) {
            file.len = len;
            file.content.since.push(Change::Truncate(len));
        }
    }

    /// A file was flushed.
    pub fn synced(&self, path: &Path) {
        let mut inner = self.inner();
        let Some(file) = inner.files.get_mut(path) else { return };
        for change in std::mem::take(&mut file.content.since) {
            change.apply(&mut file.content.flushed);
        }
        if std::mem::take(&mut file.flushes_folder) {
            inner.flush_folder();
        }
    }

    /// A file was deleted.
    pub fn deleted(&self, path: &Path, flushed: bool) {
        let mut inner = self.inner();
        if let Some(file) = inner.files.remove(path)
            && file.entry_flushed
        {
            inner.ghosts.insert(path.to_owned(), file.content);
        }
        if flushed {
            inner.flush_folder();
        }
    }

    /// After a power cut, with every database closed: the files become what was flushed, with a part of the rest that `seed` chooses.
    /// Nothing fails any more.
    pub fn reboot(&self, seed: u64) {
        let mut dice = Dice::new(seed);
        let mut inner = self.inner();
        assert_eq!(
            inner.open, 0,
            "no file may be open: the next process would meet this one's"
        );
        let files = std::mem::take(&mut inner.files);
        let ghosts = std::mem::take(&mut inner.ghosts);
        let loss = match dice.below(4) {
            0 => Loss::Everything,
            1 => Loss::Nothing,
            2 => Loss::After,
            _ => Loss::Scattered,
        };
        let paths: std::collections::BTreeSet<&PathBuf> = files.keys().chain(ghosts.keys()).collect();
        for path in paths {
            let file = files.get(path);
            let ghost = ghosts.get(path);
            let certain = file.is_some_and(|file| file.entry_flushed);
            let content = match (file, ghost) {
                (Some(file), _) if certain || dice.below(2) == 0 => Some(&file.content),
                (_, Some(ghost)) if dice.below(2) == 0 => Some(ghost),
                (None, _) | (Some(_), _) => None,
            };
            // The inode changes, and with it what anybody knew of the file.
            let _ = std::fs::remove_file(path);
            if let Some(content) = content {
                std::fs::write(path, content.survive(loss, &mut dice)).expect("the system's own disk works");
            }
        }
        self.spoil_shared_memory(&mut dice);
        inner.plans.clear();
        inner.cut = false;
    }

    /// The files that connections share memory through mean nothing after a power cut, whatever is in them.
    fn spoil_shared_memory(&self, dice: &mut Dice) {
        for file in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = file.path();
            if !path.to_string_lossy().ends_with("-shm") {
                continue;
            }
            if dice.below(2) == 0 {
                let _ = std::fs::remove_file(&path);
            } else {
                let garbage: Vec<u8> = (0..32768).map(|_| dice.below(256) as u8).collect();
                std::fs::write(&path, garbage).expect("the system's own disk works");
            }
        }
    }
}

impl Inner {
    fn flush_folder(&mut self) {
        self.ghosts.clear();
        for file in self.files.values_mut() {
            file.entry_flushed = true;
        }
    }
}

/// The I/O error that the system gives for a call.
fn io_error(op: Op) -> i32 {
    match op {
        Op::Open { .. } => ffi::SQLITE_CANTOPEN,
        Op::Delete => ffi::SQLITE_IOERR_DELETE,
        Op::Access => ffi::SQLITE_IOERR_ACCESS,
        Op::Read { .. } => ffi::SQLITE_IOERR_READ,
        Op::Write { .. } => ffi::SQLITE_IOERR_WRITE,
        Op::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
        Op::Sync => ffi::SQLITE_IOERR_FSYNC,
        Op::Size => ffi::SQLITE_IOERR_FSTAT,
        Op::Lock => ffi::SQLITE_IOERR_LOCK,
        Op::ShmMap => ffi::SQLITE_IOERR_SHMMAP,
        Op::ShmLock => ffi::SQLITE_IOERR_SHMLOCK,
    }
}
