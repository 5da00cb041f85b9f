//! Attachments as they cross. A reference stays the value it is in its document, so that nothing of it is lost on the way.

use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rhizome::AttachmentId;
use tokio::sync::{Mutex, watch};

use crate::{
    CancelHandle, CollectionHandle, Holder, PodHandle, RhizomeError, Value,
    collection::document_id,
    runtime::{ask, run},
};

/// What a document says of an attachment.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct AttachmentRef {
    /// Which attachment.
    pub id: String,
    /// Its bytes.
    pub size: u64,
    /// Its media type (RFC 6838), as `image/jpeg`; at most 255 bytes.
    pub media_type: String,
    /// What its file is called, if anything; at most 255 bytes.
    pub name: Option<String>,
    /// What goes into a document and stands for it there, with the key that opens it.
    pub value: Value,
    /// A small one to be shown in its place, as what stands for it: an attachment of its own, which is moved first.
    pub thumbnail: Option<Value>,
}

// The name and the type are a person's own words, and the value has the key.
impl std::fmt::Debug for AttachmentRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AttachmentRef({} bytes)", self.size)
    }
}

impl AttachmentRef {
    fn of(reference: rhizome::AttachmentRef, value: Value) -> Self {
        Self {
            id: reference.id.to_string(),
            size: reference.size,
            media_type: reference.media_type,
            name: reference.name,
            value,
            thumbnail: reference.thumbnail.map(|thumbnail| thumbnail.to_value().into()),
        }
    }
}

impl From<rhizome::AttachmentRef> for AttachmentRef {
    fn from(reference: rhizome::AttachmentRef) -> Self {
        let value = reference.to_value().into();
        Self::of(reference, value)
    }
}

/// The reference that a value of a document is; none if it is none. Instant.
#[uniffi::export]
pub fn attachment_ref(value: Value) -> Option<AttachmentRef> {
    let reference = rhizome::AttachmentRef::from_value(&value.clone().into())?;
    Some(AttachmentRef::of(reference, value))
}

fn reference(value: Value) -> Result<rhizome::AttachmentRef, RhizomeError> {
    rhizome::AttachmentRef::from_value(&value.into()).ok_or_else(|| {
        RhizomeError::invalid(
            "attachment-reference",
            "this value of a document is no reference to an attachment",
        )
    })
}

fn attachment_id(id: &str) -> Result<AttachmentId, RhizomeError> {
    AttachmentId::from_hex(id).ok_or_else(|| {
        RhizomeError::invalid(
            "id",
            "this is not the id of an attachment: one is 64 hexadecimal digits",
        )
    })
}

/// What an attachment is, besides its bytes.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct NewAttachment {
    /// Its media type (RFC 6838), as `image/jpeg`; 1 to 255 bytes.
    pub media_type: String,
    /// What its file is called, if that matters; at most 255 bytes.
    #[uniffi(default = None)]
    pub name: Option<String>,
    /// A small picture to be shown in its place, 262,144 bytes at the most. It is moved before larger ones.
    #[uniffi(default = None)]
    pub thumbnail: Option<Vec<u8>>,
    /// The small picture's media type.
    #[uniffi(default = "image/jpeg")]
    pub thumbnail_type: String,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Progress {
    /// Bytes that are done.
    pub done: u64,
    /// Of how many, where that is known.
    pub total: Option<u64>,
}

/// Hears how far the one call is that it is given to.
#[derive(Debug, uniffi::Object)]
pub struct ProgressHandle {
    told: watch::Sender<(Progress, bool)>,
    heard: Arc<Mutex<watch::Receiver<(Progress, bool)>>>,
}

#[uniffi::export]
impl ProgressHandle {
    /// One that has heard nothing yet. Instant.
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        let (told, heard) = watch::channel((Progress { done: 0, total: None }, false));
        Arc::new(Self {
            told,
            heard: Arc::new(Mutex::new(heard)),
        })
    }

    /// How far it is. Instant.
    pub fn now(&self) -> Progress {
        self.told.borrow().0
    }

    /// How far it is, once it is further than at the last time; none once the call has ended, however it did. Async.
    pub async fn next(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<Progress>, RhizomeError> {
        let heard = self.heard.clone();
        ask(cancel, async move {
            let mut heard = heard.lock().await;
            // Whoever has this handle has the other end too.
            if heard.changed().await.is_err() {
                return Ok(None);
            }
            let (progress, ended) = *heard.borrow_and_update();
            if ended {
                heard.mark_changed();
            }
            Ok::<_, RhizomeError>((!ended).then_some(progress))
        })
        .await
    }
}

/// A call that is heard of: it has ended when this is dropped.
struct Hearing(Option<Arc<ProgressHandle>>);

impl Hearing {
    fn progress(&self) -> Option<rhizome::AttachmentProgress> {
        let handle = self.0.clone()?;
        Some(Arc::new(move |done, total| {
            handle.told.send_modify(|told| told.0 = Progress { done, total });
        }))
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.told.send_modify(|told| told.1 = true);
        }
    }
}

/// A file that is opened by its first use, where it may wait for the disk.
enum Lazy {
    Path(PathBuf),
    Open(File),
}

impl Lazy {
    fn file(&mut self, open: impl Fn(&PathBuf) -> std::io::Result<File>) -> std::io::Result<&mut File> {
        if let Self::Path(path) = self {
            *self = Self::Open(open(path)?);
        }
        match self {
            Self::Open(file) => Ok(file),
            Self::Path(_) => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

struct Source(Lazy);

impl Read for Source {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.file(|path| File::open(path))?.read(bytes)
    }
}

struct Target(Lazy);

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.file(|path| File::create(path))?.write(bytes)
    }

    // Comes after the last byte: a file of an attachment without bytes is made here.
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.file(|path| File::create(path))?.flush()
    }
}

/// Where an attachment is.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct AttachmentStatus {
    /// Bytes that it takes, sealed, where it is whole; none if nothing of it is known here but its reference.
    pub size: Option<u64>,
    /// How many of them are here.
    pub here: u64,
    /// Whether it is kept here whole, and got where it is not.
    pub pinned: bool,
    /// Cloud peers that said, signed, that they hold all of it on their disk. Empty: it may be lost with this device.
    pub holders: Vec<Holder>,
}

/// The attachments of a pod, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct AttachmentsStatus {
    /// How many are known here.
    pub count: u64,
    /// Bytes that they take on this device, sealed.
    pub here: u64,
    /// How many are here whole and held by no cloud peer.
    pub only_here: u64,
    /// Bytes of these, sealed.
    pub only_here_bytes: u64,
    /// The most bytes that this device keeps of what is held elsewhere too; none: no limit.
    pub quota: Option<u64>,
}

/// What tidying did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Tidied {
    /// Attachments that are only elsewhere now, to keep to the quota.
    pub evicted: u64,
    /// Attachments that no document referred to for 30 days.
    pub dropped: u64,
}

impl PodHandle {
    async fn attach(
        &self,
        source: impl Read + Send + 'static,
        what: NewAttachment,
        progress: Option<Arc<ProgressHandle>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<AttachmentRef, RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move {
            let hearing = Hearing(progress);
            let what = rhizome::NewAttachment {
                media_type: what.media_type,
                name: what.name,
                thumbnail: what.thumbnail.map(|bytes| (bytes, what.thumbnail_type)),
                progress: hearing.progress(),
            };
            pod.attach(source, what).await.map(AttachmentRef::from)
        })
        .await
    }
}

#[uniffi::export]
impl PodHandle {
    /// Seals bytes and keeps them, on the disk when it returns. To be found again the reference's `value` goes into a document. Async.
    pub async fn attach_bytes(
        &self,
        bytes: Vec<u8>,
        what: NewAttachment,
        progress: Option<Arc<ProgressHandle>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<AttachmentRef, RhizomeError> {
        self.attach(std::io::Cursor::new(bytes), what, progress, cancel).await
    }

    /// As [`PodHandle::attach_bytes`], what is in a file: 8 GiB at the most, and in a few mebibytes of memory. The file is left as it is. Async.
    pub async fn attach_file(
        &self,
        path: String,
        what: NewAttachment,
        progress: Option<Arc<ProgressHandle>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<AttachmentRef, RhizomeError> {
        let source = Source(Lazy::Path(path.into()));
        self.attach(source, what, progress, cancel).await
    }

    /// Bytes of the attachment that a value of a document refers to, checked: those from `start` up to `end` that it has. What is not here is got
    /// within the deadline, and stays. `NotFound` if nobody who could be reached holds it. Async.
    pub async fn read_attachment(
        &self,
        of: Value,
        start: u64,
        end: u64,
        deadline_millis: u64,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<u8>, RhizomeError> {
        let (pod, of) = (self.0.clone(), reference(of)?);
        run(cancel, async move {
            let deadline = Duration::from_millis(deadline_millis);
            let mut bytes = pod.read_attachment(&of, start..end, deadline).await?;
            Ok::<_, rhizome::Error>(std::mem::take(&mut *bytes))
        })
        .await
    }

    /// Writes the attachment that a value of a document refers to into a file, checked; what is not here is got first, within the deadline. Gives
    /// how many bytes it has. A file that is there is replaced once all of it is here. Async.
    pub async fn export_attachment(
        &self,
        of: Value,
        path: String,
        deadline_millis: u64,
        progress: Option<Arc<ProgressHandle>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<u64, RhizomeError> {
        let (pod, of) = (self.0.clone(), reference(of)?);
        run(cancel, async move {
            let hearing = Hearing(progress);
            let (target, deadline) = (Target(Lazy::Path(path.into())), Duration::from_millis(deadline_millis));
            pod.export_attachment(&of, target, deadline, hearing.progress()).await
        })
        .await
    }

    /// Gets all of an attachment that is not here, within the deadline. What came stays, however it ends. Async.
    pub async fn fetch_attachment(
        &self,
        id: String,
        deadline_millis: u64,
        progress: Option<Arc<ProgressHandle>>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<(), RhizomeError> {
        let (pod, id) = (self.0.clone(), attachment_id(&id)?);
        run(cancel, async move {
            let hearing = Hearing(progress);
            pod.fetch_attachment(id, Duration::from_millis(deadline_millis), hearing.progress())
                .await
        })
        .await
    }

    /// Where an attachment is. Async.
    pub async fn attachment_status(
        &self,
        id: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<AttachmentStatus, RhizomeError> {
        let (pod, id) = (self.0.clone(), attachment_id(&id)?);
        ask(cancel, async move {
            let status = pod.attachment_status(id).await?;
            Ok::<_, rhizome::Error>(AttachmentStatus {
                size: status.size,
                here: status.here,
                pinned: status.pinned,
                holders: status.holders.into_iter().map(Holder::from).collect(),
            })
        })
        .await
    }

    /// All attachments together. Async.
    pub async fn attachments_status(
        &self,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<AttachmentsStatus, RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move {
            let status = pod.attachments_status().await?;
            Ok::<_, rhizome::Error>(AttachmentsStatus {
                count: status.count,
                here: status.here,
                only_here: status.only_here,
                only_here_bytes: status.only_here_bytes,
                quota: status.quota,
            })
        })
        .await
    }

    /// Keeps an attachment on this device, and gets it with the next sync if it is not here; or lets it go again when there is no room. Async.
    pub async fn pin_attachment(
        &self,
        id: String,
        pinned: bool,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<(), RhizomeError> {
        let (pod, id) = (self.0.clone(), attachment_id(&id)?);
        ask(cancel, async move { pod.pin_attachment(id, pinned).await }).await
    }

    /// The most bytes of attachments that this device keeps; none: no limit, as in the beginning. What no cloud peer holds, what is pinned, and
    /// thumbnails are kept whatever they take. Async.
    pub async fn set_attachment_quota(
        &self,
        bytes: Option<u64>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<(), RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move { pod.set_attachment_quota(bytes).await }).await
    }

    /// Removes an attachment's bytes from this device. It is got again when it is read. `Refused` if no cloud peer holds it. Async.
    pub async fn evict_attachment(&self, id: String, cancel: Option<Arc<CancelHandle>>) -> Result<(), RhizomeError> {
        let (pod, id) = (self.0.clone(), attachment_id(&id)?);
        ask(cancel, async move { pod.evict_attachment(id).await }).await
    }

    /// Makes room down to the quota, and lets go of what no document refers to for 30 days. A sync does this too, once a day. Async.
    pub async fn tidy_attachments(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Tidied, RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move {
            let tidied = pod.tidy_attachments().await?;
            Ok::<_, rhizome::Error>(Tidied {
                evicted: tidied.evicted,
                dropped: tidied.dropped,
            })
        })
        .await
    }
}

#[uniffi::export]
impl CollectionHandle {
    /// The attachments that a document refers to, wherever in it. Async.
    pub async fn attachments_of(
        &self,
        id: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<AttachmentRef>, RhizomeError> {
        let (pod, id) = (self.pod.clone(), document_id(&id)?);
        ask(cancel, async move {
            let references = pod.attachments_of(id).await?;
            Ok::<_, rhizome::Error>(references.into_iter().map(AttachmentRef::from).collect())
        })
        .await
    }
}
