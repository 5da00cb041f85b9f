//! A pod's folder: its lock, and the small file that names the device secret.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::crypto::{SecretId, hex};

/// Stands in a folder that is being made.
const CREATING: &str = "creating";

/// `pod.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderFile {
    /// The name under which the platform keeps the device secret.
    pub secret: SecretId,
    /// The device secret, wrapped for the recovery key.
    pub recovery: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    format: u32,
    secret: String,
    recovery: Option<String>,
}

/// A folder that this process alone has open. The lock ends with the process, however it dies.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

fn cannot(file: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull => StoreError::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
        _ => StoreError::CannotOpen {
            file: file.to_owned(),
            why: error.kind().to_string(),
        },
    }
}

/// How often a lock that is taken is asked for again, and when. Whoever starts a program holds copies of all of its open files in the new process, a
/// lock that it has just let go of among them, until that program runs.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl Folder {
    /// Whether there is a pod or cloud peer in `path` already.
    pub fn is_used(path: &Path) -> bool {
        path.join("pod.json").exists() || (path.join("log.db").exists() && !path.join(CREATING).exists())
    }

    /// Makes the folder if `create`, and takes its lock.
    pub fn open(path: &Path, create: bool) -> Result<Self, StoreError> {
        let name = || {
            path.file_name()
                .map_or_else(|| "the folder".to_owned(), |name| name.to_string_lossy().into_owned())
        };
        if create {
            std::fs::create_dir_all(path).map_err(|error| cannot(&name(), &error))?;
        }
        let lock = OpenOptions::new()
            .create(create)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(|error| cannot("lock", &error))?;
        let mut tries = 0;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &error)),
            }
        }
        let folder = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        if create && !path.join("pod.json").exists() {
            folder.begin().map_err(|error| cannot(CREATING, &error))?;
        }
        Ok(folder)
    }

    /// Marks the folder as being made, until `pod.json` is there. What an earlier attempt left that did not come so far is removed: nobody was
    /// ever told that it exists.
    fn begin(&self) -> io::Result<()> {
        if self.path.join(CREATING).exists() {
            for name in ["log.db", "log.db-wal", "log.db-shm"] {
                match std::fs::remove_file(self.path.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        } else if !self.path.join("log.db").exists() {
            write_durably(&self.path, CREATING, b"")?;
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `pod.json`; `None` if there is none.
    pub fn read(&self) -> Result<Option<FolderFile>, StoreError> {
        let text = match std::fs::read(self.path.join("pod.json")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot("pod.json", &error)),
        };
        let damaged = |why: &str| StoreError::Damaged {
            file: "pod.json",
            why: why.to_owned(),
        };
        let json: Json = serde_json::from_slice(&text).map_err(|_| damaged("it is not what we wrote"))?;
        if json.format != 1 {
            return Err(StoreError::NewerSchema {
                file: "pod.json",
                found: json.format.into(),
                known: 1,
            });
        }
        let unhex = |text: &str| {
            data_encoding::HEXLOWER
                .decode(text.as_bytes())
                .map_err(|_| damaged("not hexadecimal"))
        };
        let secret =
            SecretId::from_slice(&unhex(&json.secret)?).ok_or_else(|| damaged("the secret's id has a wrong length"))?;
        let recovery = json.recovery.as_deref().map(unhex).transpose()?;
        Ok(Some(FolderFile { secret, recovery }))
    }

    /// Writes `pod.json`: all of it or nothing, durable when it returns.
    pub fn write(&self, file: &FolderFile) -> Result<(), StoreError> {
        let json = Json {
            format: 1,
            secret: hex(&file.secret.0),
            recovery: file.recovery.as_deref().map(hex),
        };
        let text = serde_json::to_vec_pretty(&json).expect("strings and a number are JSON");
        write_durably(&self.path, "pod.json", &text).map_err(|error| cannot("pod.json", &error))?;
        // From here on the folder is a pod's, whether the mark goes or not.
        let _ = std::fs::remove_file(self.path.join(CREATING));
        Ok(())
    }
}

/// Writes a file so that a crash leaves the old one or the new one, whole.
pub(super) fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    // The rename itself is durable once the folder is.
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}
