//! The one error of the library's surface.

use crate::{
    document::{DocumentError, QueryError},
    identity::{IdentityError, TicketError},
    log::LogError,
    net::{LinkError, NetError},
    store::{AppendError, StoreError},
    sync::ReplicaError,
};

/// What a call could not do. The message is safe to log: it holds no user data and no keys, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no pod in the folder.
    #[error("there is no pod in this folder: create one, or link this device to an identity")]
    NoPod,
    /// There is one already.
    #[error("there is a pod in this folder already: open it, or choose another folder")]
    PodExists,
    /// Another process has it open.
    #[error("another process has this pod open: close it there first")]
    InUse,
    /// The platform's keeper is locked. Nothing was changed; try again when the device is unlocked.
    #[error("the device secret is locked: try again once the device is unlocked")]
    Locked,
    /// The device secret is gone: only the 24 recovery words open this folder. Nothing was changed.
    #[error("the device secret is gone: bring the pod back with its 24 recovery words; nothing was changed")]
    NeedsRecovery,
    /// The pod is suspended until `resume()`.
    #[error("the pod is suspended: resume it first")]
    Suspended,
    /// The pod was shut down.
    #[error("the pod is shut down: open it again")]
    Closed,
    /// The disk or a database.
    #[error(transparent)]
    Storage(StoreError),
    /// The keeper failed.
    #[error("the keeper of the device secret failed: {0}")]
    Keeper(#[source] std::io::Error),
    /// The identity log.
    #[error(transparent)]
    Identity(IdentityError),
    /// A document or an edit of it.
    #[error(transparent)]
    Document(DocumentError),
    /// An attachment.
    #[error(transparent)]
    Attachment(AttachmentError),
    /// No such document.
    #[error("there is no document {0}")]
    NoDocument(String),
    /// A query, search or declaration.
    #[error(transparent)]
    Query(QueryError),
    /// More than fits into one entry.
    #[error("one edit makes {size} bytes, more than the {max} of an entry: make it in smaller edits")]
    TooLarge {
        /// Bytes of the edit, sealed.
        size: usize,
        /// The most there can be.
        max: usize,
    },
    /// A link code.
    #[error(transparent)]
    Ticket(TicketError),
    /// A link.
    #[error(transparent)]
    Link(LinkError),
    /// The 24 words.
    #[error(transparent)]
    Words(WordsError),
    /// The network.
    #[error(transparent)]
    Network(NetError),
}

/// Why an attachment was not kept or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttachmentError {
    /// More bytes than there may be.
    #[error("an attachment has at most 8 GiB")]
    TooLarge,
    /// The media type is empty or longer than 255 bytes, the name is, or the thumbnail has more than 262,144 bytes.
    #[error("the attachment's media type, name or thumbnail is too long, or it has no media type")]
    BadDescription,
    /// What was to be attached cannot be read.
    #[error("what is to be attached cannot be read: {0}")]
    Source(std::io::ErrorKind),
    /// What it was to be written to failed.
    #[error("the attachment cannot be written there: {0}")]
    Target(std::io::ErrorKind),
    /// It is not on this device, and none that was reached holds it.
    #[error(
        "the attachment is not on this device, and none that was reached holds it: sync the device that has it first"
    )]
    NotHere,
    /// It does not open with this reference, or has another size than that says.
    #[error("the attachment is not the one that the document refers to")]
    BadReference,
    /// It cannot leave this device: no cloud peer holds it.
    #[error("no cloud peer holds this attachment: sync first")]
    OnlyHere,
}

impl AttachmentError {
    fn kind(self) -> &'static str {
        match self {
            Self::TooLarge => "attachment-too-large",
            Self::BadDescription => "attachment-description",
            Self::Source(_) => "attachment-source",
            Self::Target(_) => "attachment-target",
            Self::NotHere => "attachment-not-here",
            Self::BadReference => "attachment-reference",
            Self::OnlyHere => "attachment-only-here",
        }
    }
}

/// What is wrong with recovery words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A word is no word of the list, one is missing, or two are swapped.
    #[error("these are not 24 recovery words: look at each of them again, and at their order")]
    NotWords,
    /// They are words, of something else.
    #[error("these words do not belong here: they were changed since, or belong to another identity")]
    NotThese,
}

impl Error {
    /// A stable word for the kind, for scripts and bindings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoPod => "no-pod",
            Self::PodExists => "pod-exists",
            Self::InUse => "in-use",
            Self::Locked => "locked",
            Self::NeedsRecovery => "needs-recovery",
            Self::Suspended => "suspended",
            Self::Closed => "closed",
            Self::Storage(StoreError::DiskFull) => "disk-full",
            Self::Storage(StoreError::Damaged { .. } | StoreError::WrongKey { .. }) => "damaged",
            Self::Storage(StoreError::NewerSchema { .. } | StoreError::NewerIdentity { .. }) => "update-needed",
            Self::Storage(_) => "storage",
            Self::Keeper(_) => "keeper",
            Self::Identity(IdentityError::UpdateNeeded) => "update-needed",
            Self::Identity(_) => "identity",
            Self::Document(_) => "document",
            Self::Attachment(error) => error.kind(),
            Self::NoDocument(_) => "no-document",
            Self::Query(QueryError::NotIndexed) => "not-indexed",
            Self::Query(QueryError::Building { .. }) => "indexing",
            Self::Query(QueryError::Invalid(_)) => "query",
            Self::TooLarge { .. } => "too-large",
            Self::Ticket(_) => "ticket",
            Self::Link(_) => "link",
            Self::Words(_) => "wrong-words",
            Self::Network(_) => "network",
        }
    }

    /// Whether the same call may work later with nothing changed by the caller.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Locked | Self::InUse | Self::Suspended | Self::Network(_))
            || matches!(
                self,
                Self::Query(QueryError::Building { .. })
                    | Self::Storage(StoreError::DiskFull | StoreError::Disk(_) | StoreError::CannotOpen { .. })
            )
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse => Self::InUse,
            StoreError::Closed => Self::Suspended,
            other => Self::Storage(other),
        }
    }
}

impl From<ReplicaError> for Error {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Store(error) => error.into(),
            ReplicaError::Identity(error) => error.into(),
        }
    }
}

impl From<IdentityError> for Error {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::OtherWords => Self::Words(WordsError::NotThese),
            other => Self::Identity(other),
        }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => error.into(),
            AppendError::Log(error) => error.into(),
            other => Self::Storage(StoreError::Refused(Box::new(other))),
        }
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        match error {
            LogError::TooLarge { size, .. } => Self::TooLarge {
                size,
                max: crate::log::MAX_ENTRY,
            },
            LogError::AttachmentTooLarge => Self::Attachment(AttachmentError::TooLarge),
            other => Self::Storage(StoreError::Damaged {
                file: "log.db",
                why: other.to_string(),
            }),
        }
    }
}

impl From<DocumentError> for Error {
    fn from(error: DocumentError) -> Self {
        Self::Document(error)
    }
}

impl From<TicketError> for Error {
    fn from(error: TicketError) -> Self {
        Self::Ticket(error)
    }
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Replica(error) => error.into(),
            LinkError::Identity(error) => error.into(),
            LinkError::Refused(reason) if reason == "unknown-words" => Self::Words(WordsError::NotThese),
            other => Self::Link(other),
        }
    }
}

impl From<NetError> for Error {
    fn from(error: NetError) -> Self {
        Self::Network(error)
    }
}
