//! `blobs/`: the chunks of attachments, one file for each attachment, its boxes one after another (docs/decisions/0009-attachments.md).
//!
//! Which of them are here says `log.db`, after they were flushed: a chunk that it does not show is not here, whatever the file holds. So a
//! crash at any moment loses what was not acknowledged and nothing else. A chunk is checked against its hash whenever it is read; one that
//! the disk spoiled is noted as missing, and comes again from whoever holds it.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use super::{AttachmentRow, LogStore, StoreError};
use crate::{
    crypto::{Random, hex},
    identity::IdentityId,
    log::{AttachmentId, ChunkMap, Manifest},
};

const FOLDER: &str = "blobs";
/// How a file is called that no manifest stands for yet.
const NEW: &str = "new-";
/// Chunks that are written with one flush: two mebibytes.
pub const MOST_AT_ONCE: usize = 8;

fn failed(error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly,
        kind => StoreError::Disk(format!("an attachment's file: {kind}")),
    }
}

/// The attachments of the identities in one folder. Cheap to clone; holds no file open between calls.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    log: LogStore,
    /// Read while chunks are written; written while files are removed.
    removing: RwLock<()>,
    /// Files that are being made.
    making: Mutex<BTreeSet<PathBuf>>,
}

impl Blobs {
    /// The attachments beside `log`, in `dir/blobs`. Touches no file.
    pub fn new(dir: &Path, log: LogStore) -> Self {
        Self(Arc::new(Inner {
            dir: dir.join(FOLDER),
            log,
            removing: RwLock::default(),
            making: Mutex::default(),
        }))
    }

    /// The database that says which chunks are here.
    pub fn log(&self) -> &LogStore {
        &self.0.log
    }

    fn folder(&self, identity: &IdentityId) -> PathBuf {
        self.0.dir.join(hex(&identity.0))
    }

    fn file(&self, identity: &IdentityId, id: &AttachmentId) -> PathBuf {
        self.folder(identity).join(hex(&id.0))
    }

    /// Makes the folder of an identity's attachments, so that its name survives a power cut.
    fn make_folder(&self, identity: &IdentityId) -> io::Result<PathBuf> {
        let folder = self.folder(identity);
        if !folder.is_dir() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&folder)?;
            sync_folder(&self.0.dir)?;
            sync_folder(self.0.dir.parent().unwrap_or(&self.0.dir))?;
        }
        Ok(folder)
    }

    /// Begins a new attachment.
    pub fn begin(&self, identity: &IdentityId, random: &mut dyn Random) -> Result<BlobWriter, StoreError> {
        let mut begin = || {
            let folder = self.make_folder(identity)?;
            let path = folder.join(format!("{NEW}{}", hex(&random.bytes::<16>())));
            self.making().insert(path.clone());
            let file = private(true).open(&path);
            if file.is_err() {
                self.making().remove(&path);
            }
            file.map(|file| (path, file))
        };
        let (path, file) = begin().map_err(|error| failed(&error))?;
        Ok(BlobWriter {
            blobs: self.clone(),
            identity: *identity,
            path,
            file,
            unsynced: 0,
            kept: false,
        })
    }

    fn making(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a chunk's box. `None` if it is not here; one that is not what its hash says is noted as missing.
    pub fn read(
        &self,
        identity: &IdentityId,
        manifest: &Manifest,
        id: &AttachmentId,
        number: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let mut sealed = vec![0; manifest.box_len(number.min(manifest.chunks() - 1))];
        let mut read = || -> io::Result<()> {
            let mut file = File::open(self.file(identity, id))?;
            file.seek(SeekFrom::Start(manifest.offset(number)))?;
            file.read_exact(&mut sealed)
        };
        let map = self.0.log.read(|read| read.chunk_map(identity, id))?;
        if !map.is_some_and(|map| map.has(number)) {
            return Ok(None);
        }
        match read() {
            Ok(()) if manifest.is_chunk(number, &sealed) => return Ok(Some(sealed)),
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {}
            Err(error) => return Err(failed(&error)),
        }
        // Somebody may have evicted it between the two reads: then there is nothing to note.
        tracing::warn!(
            attachment = id.short(),
            number,
            "a chunk is not what was written: it is asked for again"
        );
        let (identity, id) = (*identity, *id);
        self.0
            .log
            .write(move |write| write.mark_chunks(&identity, &id, &[number], false, 0))
            .wait()?;
        Ok(None)
    }

    /// Writes boxes that were checked against `manifest`, whose attachment is known here. Durable when it returns; gives how many chunks are
    /// missing then. `None` if the attachment was dropped meanwhile.
    pub fn write(
        &self,
        identity: &IdentityId,
        manifest: &Manifest,
        id: &AttachmentId,
        chunks: &[(u32, Vec<u8>)],
        now: u64,
    ) -> Result<Option<u32>, StoreError> {
        // Nobody removes the file between here and the note that the chunks are in it, and none is made for what was dropped before.
        let _keeping = self.0.removing.read().unwrap_or_else(PoisonError::into_inner);
        if self.0.log.read(|read| read.chunk_map(identity, id))?.is_none() {
            return Ok(None);
        }
        let write = || -> io::Result<()> {
            let folder = self.make_folder(identity)?;
            let path = self.file(identity, id);
            let is_new = !path.exists();
            let mut file = private(false).open(&path)?;
            for (number, sealed) in chunks {
                file.seek(SeekFrom::Start(manifest.offset(*number)))?;
                file.write_all(sealed)?;
            }
            file.sync_data()?;
            if is_new { sync_folder(&folder) } else { Ok(()) }
        };
        write().map_err(|error| failed(&error))?;
        let numbers: Vec<u32> = chunks.iter().map(|(number, _)| *number).collect();
        let (identity, id) = (*identity, *id);
        self.0
            .log
            .write(move |write| write.mark_chunks(&identity, &id, &numbers, true, now))
            .wait()
    }

    /// Removes the chunks of an attachment from this disk; its manifest stays.
    pub fn evict(&self, identity: &IdentityId, id: &AttachmentId) -> Result<(), StoreError> {
        let _alone = self.0.removing.write().unwrap_or_else(PoisonError::into_inner);
        let (owner, attachment) = (*identity, *id);
        self.0
            .log
            .write(move |write| write.empty_attachment(&owner, &attachment))
            .wait()?;
        self.remove(identity, id)
    }

    /// Forgets attachments altogether: their manifests, receipts and chunks, durably when it returns. Those that are not here are no error.
    pub fn drop_attachments(&self, identity: &IdentityId, ids: &[AttachmentId]) -> Result<(), StoreError> {
        let _alone = self.0.removing.write().unwrap_or_else(PoisonError::into_inner);
        let (owner, dropped) = (*identity, ids.to_vec());
        let drop_all = self
            .0
            .log
            .write(move |write| dropped.iter().try_for_each(|id| write.drop_attachment(&owner, id)));
        drop_all.wait()?;
        ids.iter().try_for_each(|id| self.remove(identity, id))?;
        // Or a name is back after a power cut, with nothing that stands for it. What an earlier call removed and did not flush counts too.
        match sync_folder(&self.folder(identity)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    fn remove(&self, identity: &IdentityId, id: &AttachmentId) -> Result<(), StoreError> {
        match fs::remove_file(self.file(identity, id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    /// Removes files that nothing stands for: what a crash left of an attachment that was being made, evicted or dropped.
    pub fn sweep(&self, identity: &IdentityId) -> Result<(), StoreError> {
        let _alone = self.0.removing.write().unwrap_or_else(PoisonError::into_inner);
        let files = match fs::read_dir(self.folder(identity)) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        for file in files {
            let path = file.map_err(|error| failed(&error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stands_for = match (name.strip_prefix(NEW), AttachmentId::from_hex(name)) {
                (Some(_), _) => self.making().contains(&path),
                (None, Some(id)) => {
                    let row: Option<AttachmentRow> = self.0.log.read(|read| read.attachment(identity, &id))?;
                    row.is_some_and(|row| row.here > 0)
                }
                // Not ours.
                (None, None) => true,
            };
            if !stands_for {
                fs::remove_file(&path).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blobs")
    }
}

/// A new attachment on its way to the disk. Dropped before [`BlobWriter::keep`], it leaves nothing.
pub struct BlobWriter {
    blobs: Blobs,
    identity: IdentityId,
    path: PathBuf,
    file: File,
    unsynced: usize,
    kept: bool,
}

impl BlobWriter {
    /// Writes the next chunk's box.
    pub fn push(&mut self, sealed: &[u8]) -> Result<(), StoreError> {
        let mut write = || -> io::Result<()> {
            self.file.write_all(sealed)?;
            self.unsynced += 1;
            // A little at a time, so that the system never holds much that is to be written: its memory counts as ours on some.
            if self.unsynced >= 4 * MOST_AT_ONCE {
                self.file.sync_data()?;
                self.unsynced = 0;
            }
            Ok(())
        };
        write().map_err(|error| failed(&error))
    }

    /// Keeps what was written as the attachment that `manifest` stands for. Durable when it returns.
    pub fn keep(mut self, manifest: &Manifest, now: u64) -> Result<AttachmentId, StoreError> {
        let (identity, id) = (self.identity, manifest.id());
        let _keeping = self.blobs.0.removing.read().unwrap_or_else(PoisonError::into_inner);
        let keep = || -> io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.path, self.blobs.file(&identity, &id))?;
            sync_folder(&self.blobs.folder(&identity))
        };
        keep().map_err(|error| failed(&error))?;
        let manifest = manifest.clone();
        let map = ChunkMap::full(manifest.chunks());
        self.blobs
            .0
            .log
            .write(move |write| write.put_attachment(&identity, &manifest, &map, now, false))
            .wait()?;
        self.kept = true;
        Ok(id)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is swept later.
            let _ = fs::remove_file(&self.path);
        }
        self.blobs.making().remove(&self.path);
    }
}

fn private(new: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(!new).create_new(new).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A name in a folder is durable once the folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::{Secret, SeededRandom},
        log::{CHUNK, ChunkSealer, open_chunk},
    };

    const OWNER: IdentityId = IdentityId([1; 32]);

    fn store(dir: &Path) -> Blobs {
        let log = LogStore::open(dir, true, &mut SeededRandom::new(1)).unwrap();
        Blobs::new(dir, log)
    }

    /// Seals `plain` in memory.
    fn sealed(plain: &[u8], seed: u64) -> (Manifest, Secret, Vec<Vec<u8>>) {
        let mut random = SeededRandom::new(seed);
        let mut sealer = ChunkSealer::new(&mut random);
        let mut boxes = Vec::new();
        for piece in plain.chunks(CHUNK) {
            boxes.extend(sealer.push(&mut random, piece).unwrap());
        }
        while let Some(sealed) = sealer.finish(&mut random) {
            boxes.push(sealed);
        }
        let (manifest, key) = sealer.into_parts();
        (manifest, key, boxes)
    }

    fn put(blobs: &Blobs, manifest: &Manifest, charged: bool) -> Result<(), StoreError> {
        let manifest = manifest.clone();
        let map = ChunkMap::empty(manifest.chunks());
        let put = move |write: &super::super::Write<'_>| write.put_attachment(&OWNER, &manifest, &map, 1, charged);
        blobs.log().write(put).wait()
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir.join(FOLDER).join(hex(&OWNER.0))).map_or(0, Iterator::count)
    }

    #[test]
    fn chunks_come_in_any_order_and_are_there_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(dir.path());
        let plain = vec![5; 3 * CHUNK + 1];
        let (manifest, key, boxes) = sealed(&plain, 2);
        let id = manifest.id();
        put(&blobs, &manifest, false).unwrap();
        assert_eq!(blobs.read(&OWNER, &manifest, &id, 0), Ok(None));
        let pick = |numbers: &[u32]| {
            numbers
                .iter()
                .map(|n| (*n, boxes[*n as usize].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(blobs.write(&OWNER, &manifest, &id, &pick(&[3, 1]), 2), Ok(Some(2)));
        // As after a kill: nothing is closed, and another opens the files.
        let again = store(dir.path());
        again.sweep(&OWNER).unwrap();
        assert_eq!(again.read(&OWNER, &manifest, &id, 0), Ok(None));
        assert_eq!(again.read(&OWNER, &manifest, &id, 1), Ok(Some(boxes[1].clone())));
        assert_eq!(again.write(&OWNER, &manifest, &id, &pick(&[0, 2]), 2), Ok(Some(0)));
        let row = again.log().read(|read| read.attachment(&OWNER, &id)).unwrap().unwrap();
        assert!(row.is_whole());
        assert_eq!(row.size, manifest.total());
        let mut read = Vec::new();
        for number in 0..manifest.chunks() {
            let sealed = again.read(&OWNER, &manifest, &id, number).unwrap().unwrap();
            read.extend_from_slice(&open_chunk(&key, &manifest, plain.len() as u64, number, &sealed).unwrap());
        }
        assert!(read == plain);
    }

    #[test]
    fn a_spoiled_chunk_is_missing_and_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(dir.path());
        let (manifest, _, boxes) = sealed(&[5; 100], 2);
        let id = manifest.id();
        let mut writer = blobs.begin(&OWNER, &mut SeededRandom::new(9)).unwrap();
        writer.push(&boxes[0]).unwrap();
        assert_eq!(writer.keep(&manifest, 1), Ok(id));
        assert_eq!(blobs.read(&OWNER, &manifest, &id, 0), Ok(Some(boxes[0].clone())));
        for spoil in [
            |bytes: &mut Vec<u8>| bytes[9] ^= 1,
            |bytes: &mut Vec<u8>| bytes.truncate(9),
        ] {
            let mut bytes = boxes[0].clone();
            spoil(&mut bytes);
            fs::write(blobs.file(&OWNER, &id), bytes).unwrap();
            assert_eq!(blobs.read(&OWNER, &manifest, &id, 0), Ok(None));
            let row = blobs.log().read(|read| read.attachment(&OWNER, &id)).unwrap().unwrap();
            assert_eq!(row.here, 0);
            assert_eq!(
                blobs.write(&OWNER, &manifest, &id, &[(0, boxes[0].clone())], 2),
                Ok(Some(0))
            );
            assert_eq!(blobs.read(&OWNER, &manifest, &id, 0), Ok(Some(boxes[0].clone())));
        }
    }

    #[test]
    fn what_is_not_kept_leaves_nothing_and_what_a_crash_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(dir.path());
        let (manifest, _, boxes) = sealed(&[5; 100], 2);
        let mut random = SeededRandom::new(9);
        drop(blobs.begin(&OWNER, &mut random).unwrap());
        assert_eq!(files(dir.path()), 0);
        let mut crashed = blobs.begin(&OWNER, &mut random).unwrap();
        crashed.push(&boxes[0]).unwrap();
        // Another one is being made while somebody sweeps.
        blobs.sweep(&OWNER).unwrap();
        assert_eq!(files(dir.path()), 1);
        crashed.kept = true;
        drop(crashed);
        assert_eq!(files(dir.path()), 1);
        blobs.sweep(&OWNER).unwrap();
        assert_eq!(files(dir.path()), 0);
        // Evicted, with the file still there.
        let mut writer = blobs.begin(&OWNER, &mut random).unwrap();
        writer.push(&boxes[0]).unwrap();
        let id = writer.keep(&manifest, 1).unwrap();
        let evict = move |write: &super::super::Write<'_>| write.empty_attachment(&OWNER, &id);
        blobs.log().write(evict).wait().unwrap();
        blobs.sweep(&OWNER).unwrap();
        assert_eq!(files(dir.path()), 0);
    }

    #[test]
    fn a_quota_counts_attachments_until_they_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = store(dir.path());
        let (one, _, boxes) = sealed(&[5; 2000], 2);
        let (two, ..) = sealed(&[5; 2000], 3);
        let usage = || blobs.log().read(|read| read.quota(&OWNER)).unwrap().unwrap().1.bytes;
        let quota = super::super::Quota {
            bytes: Some(4000),
            entries: None,
        };
        blobs
            .log()
            .write(move |write| write.set_quota(&OWNER, quota))
            .wait()
            .unwrap();
        put(&blobs, &one, true).unwrap();
        let used = usage();
        assert!((one.total()..4000).contains(&used), "{used}");
        put(&blobs, &one, true).unwrap();
        assert_eq!(usage(), used, "counted once");
        let refused = put(&blobs, &two, true).expect_err("no room");
        assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
        assert_eq!(usage(), used);
        blobs
            .write(&OWNER, &one, &one.id(), &[(0, boxes[0].clone())], 1)
            .unwrap();
        assert_eq!(files(dir.path()), 1);
        blobs.drop_attachments(&OWNER, &[one.id(), two.id()]).unwrap();
        assert_eq!((usage(), files(dir.path())), (0, 0));
        put(&blobs, &two, true).unwrap();
        // Dropped while chunks of it were on the way: they are not kept, and not a byte of them is written.
        assert_eq!(
            blobs.write(&OWNER, &one, &one.id(), &[(0, boxes[0].clone())], 1),
            Ok(None)
        );
        assert_eq!(files(dir.path()), 0);
    }
}
