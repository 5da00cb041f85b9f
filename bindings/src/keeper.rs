//! The platform's keeper of the device secret, as the core asks it.

use std::{io, sync::Arc};

use rhizome::{DeviceSecret, Keeper, Kept, SecretId};
use zeroize::Zeroizing;

/// What a keeper answers when asked for a secret.
#[derive(uniffi::Enum)]
pub enum KeptSecret {
    /// Here it is: 32 bytes.
    Found {
        /// The bytes.
        secret: Vec<u8>,
    },
    /// There is none by this id, and there will be none: it was deleted, or belongs to another device.
    Absent,
    /// It cannot be read now (a phone not unlocked since it started). Ask again later.
    Locked,
}

// Not what is kept.
impl std::fmt::Debug for KeptSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Found { .. } => "Found",
            Self::Absent => "Absent",
            Self::Locked => "Locked",
        })
    }
}

/// What a keeper could not do.
#[derive(Debug, thiserror::Error, uniffi::Error)]
pub enum KeeperError {
    /// The platform's store failed.
    #[error("{reason}")]
    Failed {
        /// Why, safe to log.
        reason: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for KeeperError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        // The exception's own words stay behind: nobody has looked what they hold.
        Self::Failed {
            reason: "the keeper threw something that is not a KeeperError".to_owned(),
        }
    }
}

/// Keeps device secrets where the platform keeps secrets. Called on threads of the library that may wait.
///
/// `Locked` must never be answered for a secret that is gone, nor `Absent` for one that is only locked: the first would retry for ever,
/// the second asks a person for their recovery words.
#[uniffi::export(foreign)]
pub trait SecretKeeper: Send + Sync {
    /// Looks for the secret named `id` (16 bytes).
    fn load(&self, id: Vec<u8>) -> Result<KeptSecret, KeeperError>;
    /// Stores a new secret (32 bytes) under `id`; durable when it returns. Never overwrites one.
    fn create(&self, id: Vec<u8>, secret: Vec<u8>) -> Result<(), KeeperError>;
}

/// A foreign keeper as the core's.
pub(crate) struct Foreign(pub Arc<dyn SecretKeeper>);

impl Keeper for Foreign {
    fn load(&self, id: &SecretId) -> io::Result<Kept> {
        match self.0.load(id.as_bytes().to_vec()) {
            Ok(KeptSecret::Found { secret }) => {
                let secret = Zeroizing::new(secret);
                let kept = DeviceSecret::from_slice(&secret).map(Kept::Found);
                kept.ok_or_else(|| io::Error::other("the keeper gave a secret that is not 32 bytes long"))
            }
            Ok(KeptSecret::Absent) => Ok(Kept::Absent),
            Ok(KeptSecret::Locked) => Ok(Kept::Locked),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn create(&self, id: &SecretId, secret: &DeviceSecret) -> io::Result<()> {
        // This copy is the platform's from here on: it passes through memory that we cannot wipe.
        let created = self.0.create(id.as_bytes().to_vec(), secret.expose().to_vec());
        created.map_err(io::Error::other)
    }
}
