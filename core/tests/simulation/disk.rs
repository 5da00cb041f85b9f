//! Where a node keeps its data: a folder with real files, which can be copied, put back and damaged, or databases in memory, which are quick.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rhizome::{
    crypto::{DeviceKeys, SeededRandom, SigningKey},
    document::Documents,
    identity::{Commit, IdentityId, Operation},
    store::{LogStore, StoreError, Views},
    sync::{Limits, Replica, WallClock},
};

use super::{
    failure::{Failure, broken},
    node::Running,
};

/// What is left of the views when a process dies. The log is durable; the views may lag, or be gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewsFate {
    Kept,
    /// What was not synced is gone: the write-ahead log.
    Unsynced,
    Gone,
    Damaged,
}

impl ViewsFate {
    pub fn of(number: u64) -> Self {
        match number {
            0 => Self::Kept,
            1 => Self::Unsynced,
            2 => Self::Gone,
            _ => Self::Damaged,
        }
    }
}

pub enum Disk {
    Memory {
        identity: Option<IdentityId>,
        store: Option<LogStore>,
        documents: Option<Arc<Documents>>,
    },
    /// A folder, and how often it was made anew: each time under another name.
    Folder { path: PathBuf, times: u32 },
}

const LOG: [&str; 2] = ["log.db", "log.db-wal"];
const VIEWS: [&str; 2] = ["views.db", "views.db-wal"];

fn io<T>(result: std::io::Result<T>) -> Result<T, Failure> {
    result.map_err(broken("the test's own files"))
}

/// Copies the files that are there. What SQLite keeps in shared memory is not among them: it makes that again.
fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<(), Failure> {
    for name in names.iter().filter(|name| from.join(name).exists()) {
        io(fs::copy(from.join(name), to.join(name)))?;
    }
    Ok(())
}

impl Disk {
    pub fn in_memory() -> Self {
        Self::Memory {
            identity: None,
            store: None,
            documents: None,
        }
    }

    pub fn folder(path: PathBuf) -> Result<Self, Failure> {
        io(fs::create_dir_all(&path))?;
        Ok(Self::Folder { path, times: 0 })
    }

    /// The folder, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory { .. } => None,
            Self::Folder { path, .. } => Some(path),
        }
    }

    /// Makes the log of a node that joins.
    pub fn make(
        &mut self,
        random: &mut SeededRandom,
        (log, pending): (Vec<(Commit, Operation)>, Vec<Operation>),
        signing: SigningKey,
        clock: WallClock,
    ) -> Result<(), Failure> {
        let made = match self {
            Self::Memory { .. } => LogStore::in_memory(random),
            Self::Folder { path, .. } => LogStore::open(path, true, random),
        };
        let made = made.map_err(broken("a store that cannot be made"))?;
        let adopted = Replica::adopt(made.clone(), log, pending, signing, clock, Limits::default());
        let own = adopted.map_err(broken("an identity that cannot be kept"))?.identity();
        match self {
            Self::Memory { identity, store, .. } => (*identity, *store) = (Some(own), Some(made)),
            Self::Folder { .. } => {
                made.write(move |write| write.set_meta("identity", &own.0))
                    .wait()
                    .map_err(broken("an identity that cannot be kept"))?;
                made.close();
            }
        }
        Ok(())
    }

    pub fn open_log(&mut self, random: &mut SeededRandom) -> Result<(LogStore, IdentityId), Failure> {
        match self {
            Self::Memory { identity, store, .. } => {
                let made = "a disk is made before it is opened";
                Ok((store.clone().expect(made), identity.expect(made)))
            }
            Self::Folder { path, .. } => {
                let store = LogStore::open(path, false, random).map_err(broken("a log that does not open"))?;
                let identity = store.read(|read| read.meta("identity"));
                let identity = identity
                    .map_err(broken("a log that cannot be read"))?
                    .and_then(|bytes| IdentityId::from_slice(&bytes))
                    .ok_or_else(|| Failure::new("lost", "the log names no identity"))?;
                Ok((store, identity))
            }
        }
    }

    pub fn open_views(
        &mut self,
        log: &LogStore,
        identity: IdentityId,
        keys: &DeviceKeys,
    ) -> Result<Arc<Documents>, Failure> {
        let made = |views: Result<Views, StoreError>| {
            let views = views.map_err(broken("views that do not open"))?;
            Ok(Arc::new(Documents::new(log.clone(), views, identity)))
        };
        match self {
            Self::Memory { documents, .. } => {
                let kept = match documents.take() {
                    Some(kept) => kept,
                    None => made(Views::in_memory())?,
                };
                Ok(documents.insert(kept).clone())
            }
            Self::Folder { path, .. } => made(Views::open(path, keys.views.clone())),
        }
    }

    pub fn close(&mut self, running: &Running) {
        if let Self::Folder { .. } = self {
            if let Some(documents) = &running.documents {
                documents.close();
            }
            running.store.close();
        }
    }

    /// What is on the disk now becomes the folder; what the process that held it does afterwards is lost.
    pub fn kill(&mut self, running: &Running, fate: ViewsFate) -> Result<(), Failure> {
        match self {
            Self::Memory { documents, .. } => {
                if fate != ViewsFate::Kept {
                    *documents = None;
                }
            }
            Self::Folder { path, times } => {
                let old = path.clone();
                *times += 1;
                let fresh = old.with_extension(times.to_string());
                io(fs::create_dir_all(&fresh))?;
                copy(&old, &fresh, &LOG)?;
                match fate {
                    ViewsFate::Kept | ViewsFate::Damaged => copy(&old, &fresh, &VIEWS)?,
                    ViewsFate::Unsynced => copy(&old, &fresh, &VIEWS[..1])?,
                    ViewsFate::Gone => {}
                }
                *path = fresh;
                self.close(running);
                io(fs::remove_dir_all(&old))?;
                if fate == ViewsFate::Damaged {
                    self.damage(1_000)?;
                }
            }
        }
        Ok(())
    }

    /// Changes a run of bytes in each file of the views.
    pub fn damage(&self, place: u64) -> Result<(), Failure> {
        use std::os::unix::fs::FileExt;
        let Some(path) = self.path() else { return Ok(()) };
        for name in VIEWS {
            let Ok(file) = fs::OpenOptions::new().write(true).open(path.join(name)) else {
                continue;
            };
            let length = io(file.metadata())?.len();
            if length > 0 {
                let at = place % length;
                let bytes = vec![0xa5; usize::try_from((length - at).min(300)).expect("at most 300")];
                io(file.write_all_at(&bytes, at))?;
            }
        }
        Ok(())
    }

    /// Copies the folder as it is now, whether it is open or not.
    pub fn save(&self, to: &Path) -> Result<bool, Failure> {
        let Some(path) = self.path() else { return Ok(false) };
        if to.exists() {
            io(fs::remove_dir_all(to))?;
        }
        io(fs::create_dir_all(to))?;
        copy(path, to, &LOG)?;
        copy(path, to, &VIEWS)?;
        Ok(true)
    }

    /// Puts a copy in the place of what is there. Nothing may be open.
    pub fn restore(&mut self, from: &Path) -> Result<(), Failure> {
        let Self::Folder { path, times } = self else {
            return Ok(());
        };
        io(fs::remove_dir_all(&*path))?;
        *times += 1;
        *path = path.with_extension(times.to_string());
        io(fs::create_dir_all(&*path))?;
        copy(from, path, &LOG)?;
        copy(from, path, &VIEWS)
    }
}
