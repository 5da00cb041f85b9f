//! Attachments as an application holds them: put in, read back from wherever they lie, kept, and made room for.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Pod,
    carrying::CarryLimits,
    running::{Running, lock},
    status::Holder,
};
use crate::{
    crypto::{Hash, OsRandom, Zeroizing},
    document::AttachmentRef,
    error::{AttachmentError, Error},
    identity::KeyRing,
    log::{AttachmentId, CHUNK, ChunkSealer, DocumentId, MAX_CHUNKS, Manifest, open_chunk},
    net::{Errand, NetError, StopReason},
    store::{AttachmentRow, StoreError},
};

/// Under this name the database keeps how many bytes of attachments this device holds at the most.
const QUOTA: &str = "attachment_quota";
/// Under this name it keeps when attachments that nothing refers to were last looked for.
const TIDIED: &str = "attachments_tidied";
/// How often they are looked for.
const TIDY_EVERY: u64 = 24 * 60 * 60 * 1000;
/// How long no document refers to an attachment before it goes from this device.
const KEPT_LOOSE: u64 = 30 * 24 * 60 * 60 * 1000;
/// Bytes that a media type may have, and a name.
const MAX_TEXT: usize = 255;

/// Hears how many bytes are done, and of how many where that is known.
pub type AttachmentProgress = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// What an attachment is, besides its bytes.
#[derive(Clone, Default)]
pub struct NewAttachment {
    /// Its media type (RFC 6838), as `image/jpeg`; 1 to 255 bytes.
    pub media_type: String,
    /// What its file is called, if that matters; at most 255 bytes.
    pub name: Option<String>,
    /// A small picture to be shown in its place: its bytes (262,144 at the most) and media type. It is moved before larger ones.
    pub thumbnail: Option<(Vec<u8>, String)>,
    /// Hears of progress.
    pub progress: Option<AttachmentProgress>,
}

// A name is a person's own words.
impl std::fmt::Debug for NewAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewAttachment")
    }
}

/// Where an attachment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentStatus {
    /// Bytes that it takes, sealed, where it is whole; `None` if nothing of it is known here but its reference.
    pub size: Option<u64>,
    /// How many of them are here.
    pub here: u64,
    /// Whether it is kept here whole, and got where it is not.
    pub pinned: bool,
    /// Cloud peers that said, signed, that they hold all of it on their disk. Empty: it may be lost with this device.
    pub holders: Vec<Holder>,
}

/// The attachments of a pod, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachmentsStatus {
    /// How many are known here.
    pub count: u64,
    /// Bytes that they take on this device, sealed.
    pub here: u64,
    /// How many are here whole and held by no cloud peer.
    pub only_here: u64,
    /// Bytes of these, sealed.
    pub only_here_bytes: u64,
    /// The most bytes that this device keeps of what is held elsewhere too; `None`: no limit.
    pub quota: Option<u64>,
}

/// What [`Pod::tidy_attachments`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Attachments that are only elsewhere now, to keep to the quota.
    pub evicted: u64,
    /// Attachments that no document referred to for 30 days.
    pub dropped: u64,
}

impl Pod {
    /// Seals what `source` gives and keeps it, on the disk when this returns. To be found again the reference goes into a document, with
    /// [`AttachmentRef::to_value`]. Takes a few mebibytes of memory, however much comes. Dropped, it ends soon and leaves nothing; so it does
    /// when the pod is suspended.
    ///
    /// # Errors
    /// [`AttachmentError::TooLarge`] beyond 8 GiB, [`AttachmentError::Source`] if `source` fails, [`StoreError::DiskFull`]. Nothing was kept.
    pub async fn attach(
        &self,
        source: impl Read + Send + 'static,
        what: NewAttachment,
    ) -> Result<AttachmentRef, Error> {
        let wanted = Arc::new(());
        let asked = Arc::downgrade(&wanted);
        self.work(move |running| running.attach(source, what, &|| asked.strong_count() == 0))
            .await
    }

    /// Bytes of an attachment, checked: those of `range` that it has. What is not here is got from a cloud peer or another device within
    /// `deadline`, and stays.
    ///
    /// # Errors
    /// [`AttachmentError::NotHere`] if nobody who could be reached holds it, [`AttachmentError::BadReference`] if it is another than the
    /// reference says.
    pub async fn read_attachment(
        &self,
        of: &AttachmentRef,
        range: Range<u64>,
        deadline: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let range = range.start.min(of.size)..range.end.min(of.size);
        if range.is_empty() {
            return Ok(Zeroizing::default());
        }
        // A reference that an application made may say anything; no attachment is so long.
        let last = u32::try_from((range.end - 1) / CHUNK as u64).ok();
        let last = last.filter(|last| *last < MAX_CHUNKS);
        let last = last.ok_or(Error::Attachment(AttachmentError::BadReference))?;
        let first = u32::try_from(range.start / CHUNK as u64).expect("no more than the last");
        let chunks = first..last + 1;
        let _reading = self.running()?.reading(of.id);
        self.have(of.id, Some(chunks.clone()), deadline, None).await?;
        let of = of.clone();
        self.work(move |running| {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(64 << 20)));
            let manifest = running.manifest(&of.id)?;
            for chunk in chunks {
                let plain = running.open_part(&of, &manifest, chunk)?;
                let begins = u64::from(chunk) * CHUNK as u64;
                let cut = |at: u64| {
                    usize::try_from(at.saturating_sub(begins))
                        .unwrap_or(usize::MAX)
                        .min(plain.len())
                };
                bytes.extend_from_slice(&plain[cut(range.start)..cut(range.end)]);
            }
            running.after_reading(&of.id)?;
            Ok(bytes)
        })
        .await
    }

    /// Writes an attachment to `target`, checked, chunk by chunk; what is not here is got first, within `deadline`. Gives how many bytes it
    /// has. What was written when it fails is right as far as it goes.
    ///
    /// # Errors
    /// As of [`Pod::read_attachment`]; [`AttachmentError::Target`] if `target` fails.
    pub async fn export_attachment(
        &self,
        of: &AttachmentRef,
        mut target: impl Write + Send + 'static,
        deadline: Duration,
        progress: Option<AttachmentProgress>,
    ) -> Result<u64, Error> {
        let _reading = self.running()?.reading(of.id);
        self.have(of.id, None, deadline, progress).await?;
        let wanted = Arc::new(());
        let asked = Arc::downgrade(&wanted);
        let of = of.clone();
        self.work(move |running| {
            let manifest = running.manifest(&of.id)?;
            let failed = |error: std::io::Error| Error::Attachment(AttachmentError::Target(error.kind()));
            let stop = running.stop_signal();
            for chunk in 0..manifest.chunks() {
                if *stop.borrow() || asked.strong_count() == 0 {
                    return Err(Error::Suspended);
                }
                target
                    .write_all(&running.open_part(&of, &manifest, chunk)?)
                    .map_err(failed)?;
            }
            target.flush().map_err(failed)?;
            running.after_reading(&of.id)?;
            Ok(of.size)
        })
        .await
    }

    /// Gets all of an attachment that is not here, within `deadline`. What came stays, however it ends.
    pub async fn fetch_attachment(
        &self,
        id: AttachmentId,
        deadline: Duration,
        progress: Option<AttachmentProgress>,
    ) -> Result<(), Error> {
        self.have(id, None, deadline, progress).await
    }

    /// The attachments that a document refers to, wherever in it.
    pub async fn attachments_of(&self, document: DocumentId) -> Result<Vec<AttachmentRef>, Error> {
        let value = self.get(document).await?;
        Ok(value.map_or_else(Vec::new, |value| AttachmentRef::all_in(&value)))
    }

    /// Where an attachment is.
    pub async fn attachment_status(&self, id: AttachmentId) -> Result<AttachmentStatus, Error> {
        self.work(move |running| running.attachment_status(&id)).await
    }

    /// All attachments together.
    pub async fn attachments_status(&self) -> Result<AttachmentsStatus, Error> {
        self.work(Running::attachments_status).await
    }

    /// Keeps an attachment on this device, and gets it with the next sync if it is not here; or lets it go again when there is no room.
    pub async fn pin_attachment(&self, id: AttachmentId, pinned: bool) -> Result<(), Error> {
        self.work(move |running| {
            let (identity, now) = (running.replica.identity(), (running.options.clock)());
            let pin = running
                .log
                .write(move |write| write.pin_attachment(&identity, &id, pinned, now));
            pin.wait()?;
            running.log.announce(identity);
            Ok(())
        })
        .await
    }

    /// The most bytes of attachments that this device keeps; `None`: no limit, as in the beginning. What no cloud peer holds, what is
    /// pinned, and thumbnails are kept whatever they take.
    pub async fn set_attachment_quota(&self, bytes: Option<u64>) -> Result<(), Error> {
        self.work(move |running| {
            let value = bytes.map_or_else(Vec::new, |bytes| bytes.to_be_bytes().to_vec());
            running.log.write(move |write| write.set_meta(QUOTA, &value)).wait()?;
            running.make_room().map(drop)
        })
        .await
    }

    /// Removes an attachment's bytes from this device. It is got again when it is read.
    ///
    /// # Errors
    /// [`AttachmentError::OnlyHere`] if no cloud peer holds it.
    pub async fn evict_attachment(&self, id: AttachmentId) -> Result<(), Error> {
        self.work(move |running| {
            if running.cloud_holders(&id, &running.going())?.is_empty() {
                return Err(Error::Attachment(AttachmentError::OnlyHere));
            }
            Ok(running.blobs.evict(&running.replica.identity(), &id)?)
        })
        .await
    }

    /// Makes room down to the quota, and lets go of what no document refers to for 30 days. A sync does this too, once a day.
    pub async fn tidy_attachments(&self) -> Result<Tidied, Error> {
        self.work(|running| {
            Ok(Tidied {
                evicted: running.make_room()?,
                dropped: running.drop_loose()?,
            })
        })
        .await
    }

    /// Makes sure that chunks of an attachment, or all, are here.
    async fn have(
        &self,
        id: AttachmentId,
        chunks: Option<Range<u32>>,
        deadline: Duration,
        progress: Option<AttachmentProgress>,
    ) -> Result<(), Error> {
        let wanted = chunks.clone();
        if self.work(move |running| running.is_here(&id, wanted.as_ref())).await? {
            return Ok(());
        }
        let errand = Errand {
            read: vec![(id, chunks.clone())],
            ..Errand::default()
        };
        let until = Instant::now() + deadline;
        let mut failed = None;
        let running = self.running()?;
        let targets = running.carriers()?;
        for (place, target) in targets.iter().enumerate() {
            // One that says nothing takes its share of the time and not that of the others.
            let left = u32::try_from(targets.len() - place).unwrap_or(u32::MAX);
            let begun = Instant::now();
            let share = until.saturating_duration_since(begun) / left;
            let limits = CarryLimits {
                deadline: Some(until),
                patience: share,
                ..CarryLimits::default()
            };
            match running.carry(target, &errand, limits, progress.clone()).await.1 {
                Ok(StopReason::Stopped) | Err(NetError::Stopped) => return Err(Error::Suspended),
                Ok(StopReason::Deadline) => failed = Some(NetError::Deadline),
                // With more time it might have answered, whatever the others say.
                Err(_) if begun.elapsed() >= share => failed = Some(NetError::Deadline),
                Err(error) if !matches!(failed, Some(NetError::Deadline)) => failed = Some(error),
                Ok(_) | Err(_) => {}
            }
            let wanted = chunks.clone();
            if self.work(move |running| running.is_here(&id, wanted.as_ref())).await? {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Err(Error::Attachment(AttachmentError::NotHere)),
        }
    }
}

/// An attachment that is being read.
struct Reading(Arc<Running>, AttachmentId);

impl Drop for Reading {
    fn drop(&mut self) {
        let mut being_read = lock(&self.0.being_read);
        if let Some(place) = being_read.iter().position(|id| *id == self.1) {
            being_read.swap_remove(place);
        }
    }
}

impl Running {
    fn attach(
        &self,
        mut source: impl Read,
        what: NewAttachment,
        given_up: &dyn Fn() -> bool,
    ) -> Result<AttachmentRef, Error> {
        let texts = [
            Some(&what.media_type),
            what.name.as_ref(),
            what.thumbnail.as_ref().map(|(_, kind)| kind),
        ];
        let small = what.thumbnail.as_ref().is_none_or(|(bytes, _)| bytes.len() <= CHUNK);
        if what.media_type.is_empty() || !small || texts.iter().flatten().any(|text| text.len() > MAX_TEXT) {
            return Err(Error::Attachment(AttachmentError::BadDescription));
        }
        let thumbnail = match &what.thumbnail {
            Some((bytes, kind)) => Some(Box::new(self.seal(&mut &bytes[..], kind, None, None, given_up)?)),
            None => None,
        };
        let sealed = self.seal(&mut source, &what.media_type, what.name, what.progress, given_up);
        if let (Err(_), Some(thumbnail)) = (&sealed, &thumbnail) {
            let dropped = self.blobs.drop_attachments(&self.replica.identity(), &[thumbnail.id]);
            if let Err(error) = dropped {
                tracing::warn!(%error, "a thumbnail without its picture is left");
            }
        }
        let mut reference = sealed?;
        reference.thumbnail = thumbnail;
        self.make_room()?;
        self.log.announce(self.replica.identity());
        Ok(reference)
    }

    fn seal(
        &self,
        source: &mut dyn Read,
        media_type: &str,
        name: Option<String>,
        progress: Option<AttachmentProgress>,
        given_up: &dyn Fn() -> bool,
    ) -> Result<AttachmentRef, Error> {
        let mut random = OsRandom;
        let mut writer = self.blobs.begin(&self.replica.identity(), &mut random)?;
        let mut sealer = ChunkSealer::new(&mut random);
        let mut piece = Zeroizing::new(vec![0; CHUNK]);
        let stop = self.stop_signal();
        loop {
            if *stop.borrow() || given_up() {
                return Err(Error::Suspended);
            }
            let read = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Attachment(AttachmentError::Source(error.kind()))),
            };
            if let Some(sealed) = sealer.push(&mut random, &piece[..read])? {
                writer.push(&sealed)?;
            }
            if let Some(progress) = &progress {
                progress(sealer.size(), None);
            }
        }
        while let Some(sealed) = sealer.finish(&mut random) {
            writer.push(&sealed)?;
        }
        let size = sealer.size();
        let (manifest, key) = sealer.into_parts();
        let id = writer.keep(&manifest, (self.options.clock)())?;
        Ok(AttachmentRef {
            id,
            key,
            size,
            media_type: media_type.to_owned(),
            name,
            thumbnail: None,
        })
    }

    fn manifest(&self, id: &AttachmentId) -> Result<Manifest, Error> {
        let found = self.log.read(|read| read.manifest(&self.replica.identity(), id))?;
        found.ok_or(Error::Attachment(AttachmentError::NotHere))
    }

    fn is_here(&self, id: &AttachmentId, chunks: Option<&Range<u32>>) -> Result<bool, Error> {
        let map = self.log.read(|read| read.chunk_map(&self.replica.identity(), id))?;
        Ok(map.is_some_and(|map| match chunks {
            // Chunks past the last are nobody's to have: reading them says so.
            Some(range) => !map.missing().any(|number| range.contains(&number)),
            None => map.count_missing() == 0,
        }))
    }

    fn open_part(&self, of: &AttachmentRef, manifest: &Manifest, chunk: u32) -> Result<Zeroizing<Vec<u8>>, Error> {
        let identity = self.replica.identity();
        let sealed = self.blobs.read(&identity, manifest, &of.id, chunk)?;
        let sealed = sealed.ok_or(Error::Attachment(AttachmentError::NotHere))?;
        open_chunk(&of.key, manifest, of.size, chunk, &sealed)
            .map_err(|_| Error::Attachment(AttachmentError::BadReference))
    }

    /// Nothing is evicted of an attachment while this is held.
    fn reading(self: &Arc<Self>, id: AttachmentId) -> Reading {
        lock(&self.being_read).push(id);
        Reading(self.clone(), id)
    }

    fn after_reading(&self, id: &AttachmentId) -> Result<(), Error> {
        let (identity, id, now) = (self.replica.identity(), *id, (self.options.clock)());
        let touch = self.log.write(move |write| write.touch_attachment(&identity, &id, now));
        touch.wait()?;
        self.make_room().map(drop)
    }

    /// The attachments that somebody wants erased: cloud peers drop them, each in its own time, so that none can be relied on for them.
    fn going(&self) -> BTreeSet<Hash> {
        let known = self.replica.known();
        let erasures = known.tentative.erasures().values();
        erasures.flat_map(|erasure| &erasure.attachments).copied().collect()
    }

    /// The cloud peers of the identity that hold an attachment and will.
    fn cloud_holders(&self, id: &AttachmentId, going: &BTreeSet<Hash>) -> Result<Vec<Holder>, Error> {
        if going.contains(&Hash(id.0)) {
            return Ok(Vec::new());
        }
        let known = self.replica.known();
        let ring = self.ring();
        let receipts = self
            .log
            .read(|read| read.attachment_holders(&self.replica.identity(), id))?;
        let of_us = receipts
            .into_iter()
            .filter(|receipt| known.tentative.peers().contains_key(&receipt.peer));
        let holder = of_us.map(|receipt| Holder {
            key: receipt.peer,
            name: ring.name(&receipt.peer).map(str::to_owned),
            cloud: true,
            since: receipt.time,
        });
        Ok(holder.collect())
    }

    fn attachment_status(&self, id: &AttachmentId) -> Result<AttachmentStatus, Error> {
        let row = self.log.read(|read| read.attachment(&self.replica.identity(), id))?;
        Ok(AttachmentStatus {
            size: row.as_ref().map(|row| row.size).filter(|size| *size > 0),
            here: row.as_ref().map_or(0, |row| row.here),
            pinned: row.is_some_and(|row| row.pinned),
            holders: self.cloud_holders(id, &self.going())?,
        })
    }

    fn attachment_quota(&self) -> Result<Option<u64>, StoreError> {
        let found = self.log.read(|read| read.meta(QUOTA))?;
        Ok(found.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))))
    }

    fn attachments_status(&self) -> Result<AttachmentsStatus, Error> {
        let identity = self.replica.identity();
        let (count, _, here) = self.log.read(|read| read.attachment_usage(&identity))?;
        let mut status = AttachmentsStatus {
            count,
            here,
            quota: self.attachment_quota()?,
            ..AttachmentsStatus::default()
        };
        let going = self.going();
        for row in self.log.read(|read| read.attachments(&identity))? {
            if row.is_whole() && self.cloud_holders(&row.id, &going)?.is_empty() {
                status.only_here += 1;
                status.only_here_bytes += row.size;
            }
        }
        Ok(status)
    }

    /// Evicts what was not used for longest until this device keeps to its quota: only what a cloud peer holds, nothing that is pinned, and no
    /// thumbnail.
    pub fn make_room(&self) -> Result<u64, Error> {
        let identity = self.replica.identity();
        let Some(quota) = self.attachment_quota()? else {
            return Ok(0);
        };
        let (_, _, mut here) = self.log.read(|read| read.attachment_usage(&identity))?;
        if here <= quota {
            return Ok(0);
        }
        let (mut evicted, going) = (0, self.going());
        for row in self.log.read(|read| read.attachments(&identity))? {
            if here <= quota {
                break;
            }
            let may_go = row.here > 0
                && !row.pinned
                && !lock(&self.being_read).contains(&row.id)
                && !self.cloud_holders(&row.id, &going)?.is_empty();
            // A thumbnail takes little, and would come again with the next sync.
            if may_go && !self.shown(|documents| documents.is_thumbnail(&row.id))? {
                self.blobs.evict(&identity, &row.id)?;
                here = here.saturating_sub(row.here);
                evicted += 1;
            }
        }
        Ok(evicted)
    }

    /// Forgets attachments that no document refers to for so long that none will; and notes since when none refers to others.
    pub fn drop_loose(&self) -> Result<u64, Error> {
        let (identity, now) = (self.replica.identity(), (self.options.clock)());
        self.blobs.sweep(&identity)?;
        self.make_good()?;
        if !self.shows_all()? {
            return Ok(0);
        }
        let mut loose = Vec::new();
        for row in self.log.read(|read| read.attachments(&identity))? {
            let referred_to = self.shown(|documents| documents.is_referred_to(&row.id))?;
            match (referred_to, row.loose) {
                (false, Some(since)) if now.saturating_sub(since) >= KEPT_LOOSE && !row.pinned => loose.push(row.id),
                (false, None) => self.note_loose(&row, Some(now))?,
                (true, Some(_)) => self.note_loose(&row, None)?,
                _ => {}
            }
        }
        self.blobs.drop_attachments(&identity, &loose)?;
        let value = now.to_be_bytes();
        self.log.write(move |write| write.set_meta(TIDIED, &value)).wait()?;
        Ok(loose.len() as u64)
    }

    /// Whether the views show every entry that is here: one that is not shown yet may refer to any attachment.
    pub fn shows_all(&self) -> Result<bool, StoreError> {
        Ok(!self.documents.is_stale() && self.documents.behind()? == 0 && self.documents.waiting()? == 0)
    }

    /// Drops attachments that an erasure in force names. One that a document still refers to stays on this device, whoever named it: only
    /// what cloud peers had of it is gone. How many stay; `None` if that cannot be said yet, and nothing was done.
    pub fn erase_attachments(&self, ids: &[AttachmentId], ring: &KeyRing) -> Result<Option<usize>, StoreError> {
        if ids.is_empty() {
            return Ok(Some(0));
        }
        if !self.shows_all()? {
            return Ok(None);
        }
        let identity = self.replica.identity();
        let (mut erased, mut kept) = (Vec::new(), Vec::new());
        for id in ids {
            match self.documents.is_kept_by_a_document(id, ring)? {
                true => kept.push(*id),
                false => erased.push(*id),
            }
        }
        if !erased.is_empty() {
            self.blobs.drop_attachments(&identity, &erased)?;
        }
        let staying = kept.len();
        if kept.is_empty() {
            return Ok(Some(0));
        }
        let peers: Vec<_> = self.replica.known().tentative.peers().keys().copied().collect();
        let forget = self.log.write(move |write| {
            let each = kept.iter().flat_map(|id| peers.iter().map(move |peer| (id, peer)));
            each.into_iter()
                .try_for_each(|(id, peer)| write.drop_attachment_receipt(&identity, id, peer))
        });
        forget.wait()?;
        Ok(Some(staying))
    }

    fn note_loose(&self, row: &AttachmentRow, since: Option<u64>) -> Result<(), StoreError> {
        let (identity, id) = (self.replica.identity(), row.id);
        self.log
            .write(move |write| write.set_loose(&identity, &id, since))
            .wait()
    }

    /// What a sync does for attachments after it: makes room, and once a day looks for what nothing refers to.
    pub fn tidy_after_sync(&self) -> Result<(), Error> {
        self.make_room()?;
        let tidied = self.log.read(|read| read.meta(TIDIED))?;
        let tidied = tidied.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let now = (self.options.clock)();
        if tidied.is_none_or(|tidied| now.saturating_sub(tidied) >= TIDY_EVERY) {
            let (count, ..) = self.log.read(|read| read.attachment_usage(&self.replica.identity()))?;
            if count > 0 {
                self.drop_loose()?;
            }
        }
        Ok(())
    }
}
