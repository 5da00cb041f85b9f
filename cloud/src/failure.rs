//! What a command could not do, in one line that says what to do instead.

use rhizome::{Error, net::NetError, store::StoreError, sync::ReplicaError};
use serde::{Deserialize, Serialize};

/// Why a command failed. The message holds no keys and no user data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word, for scripts.
    pub kind: String,
    /// One line: what went wrong, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of a kind. Line breaks in what other libraries say become spaces.
    pub fn new(kind: &str, message: impl AsRef<str>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.as_ref().split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// A failure that can only be a mistake of ours.
    pub fn internal(what: impl AsRef<str>) -> Self {
        Self::new("internal", format!("{}: please report this", what.as_ref()))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse => Self::new(
                "in-use",
                "another process has this folder open: stop it first, or choose another folder",
            ),
            // The library speaks to the owner of a pod, who has a cloud peer. Here it is the cloud peer itself.
            StoreError::Damaged { file, why } => Self::new(
                "damaged",
                format!("{file} is damaged ({why}): it was left as it is; put a copy of the folder in its place"),
            ),
            StoreError::NewerSchema { file, found, known } => Self::new(
                "update-needed",
                format!("{file} has schema {found}, this version knows {known}: update rhizome-cloud"),
            ),
            StoreError::NewerIdentity { file } => Self::new(
                "update-needed",
                format!("{file} holds a change of an identity that this version does not know: update rhizome-cloud"),
            ),
            other => Self::from(Error::from(other)),
        }
    }
}

impl From<ReplicaError> for Failure {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Store(error) => error.into(),
            ReplicaError::Identity(error) => Error::from(ReplicaError::Identity(error)).into(),
        }
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Error::from(error).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
