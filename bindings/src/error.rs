//! One error for everything, of few kinds that stay.

use std::any::Any;

use rhizome::{AttachmentError, Error, store::StoreError};

/// What a call could not do. Each kind has a stable `code` (the finer word, for programs), a `reason` that is safe to log (no user data, no
/// keys) and says what to do, and whether the same call may work later with nothing changed (`retryable`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum RhizomeError {
    /// No pod in the folder, no such document, or an attachment that is not here.
    #[error("{reason}")]
    NotFound {
        /// `no-pod`, `no-document` or `attachment-not-here`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// There is a pod in the folder.
    #[error("{reason}")]
    AlreadyExists {
        /// `pod-exists`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// Another process has the pod open.
    #[error("{reason}")]
    InUse {
        /// `in-use`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The device secret cannot be read before the device is unlocked.
    #[error("{reason}")]
    Locked {
        /// `locked`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The device secret is gone: only the recovery words open the folder.
    #[error("{reason}")]
    NeedsRecovery {
        /// `needs-recovery`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The pod is suspended.
    #[error("{reason}")]
    Suspended {
        /// `suspended`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The pod was shut down, or what was asked was told already.
    #[error("{reason}")]
    Closed {
        /// `closed`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The arguments: a path, a place, a value, an id, a code, a size, recovery words.
    #[error("{reason}")]
    InvalidInput {
        /// `document`, `not-indexed`, `indexing`, `query`, `too-large`, `attachment-too-large`, `attachment-description`,
        /// `attachment-reference`, `ticket`, `id`, `address` or `wrong-words`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The disk, a damaged file, a file that is attached or exported, or the keeper of the device secret.
    #[error("{reason}")]
    Storage {
        /// `disk-full`, `damaged`, `storage`, `attachment-source`, `attachment-target` or `keeper`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The network.
    #[error("{reason}")]
    Network {
        /// `network`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The other side, the person or the identity's rules said no.
    #[error("{reason}")]
    Refused {
        /// `link`, `identity` or `attachment-only-here`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// This version is too old for the folder or the identity.
    #[error("{reason}")]
    UpdateNeeded {
        /// `update-needed`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// The caller cancelled it.
    #[error("{reason}")]
    Cancelled {
        /// `cancelled`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
    /// A fault of ours.
    #[error("{reason}")]
    Internal {
        /// `panic`.
        code: String,
        /// What, and what to do.
        reason: String,
        /// Whether to try again.
        retryable: bool,
    },
}

impl RhizomeError {
    pub(crate) fn cancelled() -> Self {
        Self::Cancelled {
            code: "cancelled".to_owned(),
            reason: "the call was cancelled".to_owned(),
            retryable: true,
        }
    }

    /// The panic's own words stay behind: nobody has looked whether they hold what a person wrote.
    pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Self {
        // A payload may panic when it is dropped.
        std::mem::forget(panic);
        Self::Internal {
            code: "panic".to_owned(),
            reason: "a fault in the library ended this call: the pod stays usable; please report it".to_owned(),
            retryable: false,
        }
    }

    pub(crate) fn invalid(code: &str, reason: impl Into<String>) -> Self {
        Self::InvalidInput {
            code: code.to_owned(),
            reason: reason.into(),
            retryable: false,
        }
    }
}

impl From<Error> for RhizomeError {
    fn from(error: Error) -> Self {
        let (code, reason, retryable) = (error.kind().to_owned(), error.to_string(), error.is_retryable());
        match error {
            Error::NoPod | Error::NoDocument(_) | Error::Attachment(AttachmentError::NotHere) => Self::NotFound {
                code,
                reason,
                retryable,
            },
            Error::PodExists => Self::AlreadyExists {
                code,
                reason,
                retryable,
            },
            Error::InUse | Error::Storage(StoreError::InUse) => Self::InUse {
                code,
                reason,
                retryable,
            },
            Error::Locked => Self::Locked {
                code,
                reason,
                retryable,
            },
            Error::NeedsRecovery => Self::NeedsRecovery {
                code,
                reason,
                retryable,
            },
            Error::Suspended => Self::Suspended {
                code,
                reason,
                retryable,
            },
            Error::Closed => Self::Closed {
                code,
                reason,
                retryable,
            },
            Error::Document(_)
            | Error::Attachment(
                AttachmentError::TooLarge | AttachmentError::BadDescription | AttachmentError::BadReference,
            )
            | Error::Query(_)
            | Error::TooLarge { .. }
            | Error::Ticket(_)
            | Error::Words(_) => Self::InvalidInput {
                code,
                reason,
                retryable,
            },
            Error::Storage(_) | Error::Identity(_) if code == "update-needed" => Self::UpdateNeeded {
                code,
                reason,
                retryable,
            },
            Error::Storage(_)
            | Error::Keeper(_)
            | Error::Attachment(AttachmentError::Source(_) | AttachmentError::Target(_)) => Self::Storage {
                code,
                reason,
                retryable,
            },
            Error::Network(_) => Self::Network {
                code,
                reason,
                retryable,
            },
            Error::Identity(_) | Error::Link(_) | Error::Attachment(AttachmentError::OnlyHere) => Self::Refused {
                code,
                reason,
                retryable,
            },
        }
    }
}

impl From<rhizome::DocumentError> for RhizomeError {
    fn from(error: rhizome::DocumentError) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rhizome::{QueryError, WordsError, identity::IdentityError, net::NetError};

    #[test]
    fn kinds_keep_the_finer_word_and_whether_to_try_again() {
        let full = RhizomeError::from(Error::from(StoreError::DiskFull));
        assert!(matches!(&full, RhizomeError::Storage { code, retryable: true, .. } if code == "disk-full"));
        let old = RhizomeError::from(Error::Identity(IdentityError::UpdateNeeded));
        assert!(matches!(&old, RhizomeError::UpdateNeeded { code, .. } if code == "update-needed"));
        let file = "log.db";
        let old = RhizomeError::from(Error::from(StoreError::NewerIdentity { file }));
        assert!(matches!(&old, RhizomeError::UpdateNeeded { code, .. } if code == "update-needed"));
        let late = RhizomeError::from(Error::from(NetError::Deadline));
        assert!(matches!(&late, RhizomeError::Network { retryable: true, .. }));
        let words = RhizomeError::from(Error::Words(WordsError::NotThese));
        assert!(matches!(&words, RhizomeError::InvalidInput { code, retryable: false, .. } if code == "wrong-words"));
        let building = RhizomeError::from(Error::from(QueryError::Building { done: 3, total: 9 }));
        assert!(
            matches!(&building, RhizomeError::InvalidInput { code, retryable: true, reason } if code == "indexing" && reason.contains("3 of 9"))
        );
        let only_here = RhizomeError::from(Error::Attachment(AttachmentError::OnlyHere));
        assert!(matches!(&only_here, RhizomeError::Refused { code, .. } if code == "attachment-only-here"));
        let unread = RhizomeError::from(Error::Attachment(AttachmentError::Source(std::io::ErrorKind::NotFound)));
        assert!(matches!(&unread, RhizomeError::Storage { code, .. } if code == "attachment-source"));
        let taken = RhizomeError::from(Error::from(StoreError::InUse));
        assert!(matches!(&taken, RhizomeError::InUse { .. }));
        assert_eq!(taken.to_string(), Error::InUse.to_string());
    }
}
