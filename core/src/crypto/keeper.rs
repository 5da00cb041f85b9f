//! The device secret, and the platform's store that keeps it (Keychain, Android Keystore, a file on a laptop).

use super::{AgreementKey, Random, Secret, SigningKey, derive_key, hash_of_secret, ids::bytes_id};

bytes_id!(
    /// The random name under which a keeper holds a device secret.
    SecretId,
    16
);

/// 32 bytes from which every other key of a device derives. Wiped when dropped.
#[derive(Clone)]
pub struct DeviceSecret(Secret);

/// What a keeper answers when asked for a secret.
#[derive(Debug)]
pub enum Kept {
    /// Here it is.
    Found(DeviceSecret),
    /// There is none by this id, and there will be none: it was deleted, or belongs to another device.
    Absent,
    /// It cannot be read now (a phone not unlocked since it started). Ask again later.
    Locked,
}

/// Keeps device secrets where the platform keeps secrets. Implemented by the platform layers.
///
/// `Locked` must never be answered for a secret that is gone, nor `Absent` for one that is only locked: the first would
/// retry for ever, the second asks a person for their recovery words.
pub trait Keeper: Send + Sync {
    /// Looks for the secret named `id`.
    fn load(&self, id: &SecretId) -> std::io::Result<Kept>;
    /// Stores a new secret under `id`; durable when it returns.
    fn create(&self, id: &SecretId, secret: &DeviceSecret) -> std::io::Result<()>;
}

/// The keys that a device secret gives.
#[derive(Clone)]
pub struct DeviceKeys {
    /// Signs operations, author logs and receipts.
    pub signing: SigningKey,
    /// Opens what is wrapped for this device.
    pub agreement: AgreementKey,
    /// The seed of the iroh endpoint's key.
    pub endpoint: Secret,
    /// Seals the pages of `views.db`.
    pub views: Secret,
}

impl DeviceSecret {
    /// A secret from its bytes. The caller's copy of them stays behind; a keeper uses [`DeviceSecret::from_slice`].
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }

    /// A secret from its 32 bytes, which the caller wipes; `None` if there are more or fewer.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Secret::from_slice(bytes).map(Self)
    }

    /// A new secret.
    pub fn make(random: &mut dyn Random) -> Self {
        Self(Secret::make(random))
    }

    /// The bytes, for a keeper to store.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Every key of the device.
    pub fn keys(&self) -> DeviceKeys {
        DeviceKeys {
            signing: SigningKey::from_seed(&derive_key("device signing", &self.0)),
            agreement: AgreementKey::from_scalar(derive_key("device agreement", &self.0)),
            endpoint: derive_key("device endpoint", &self.0),
            views: derive_key("views", &self.0),
        }
    }

    /// A value that tells whether a database was made with this secret, and nothing else about it.
    pub fn check_value(&self) -> [u8; 32] {
        hash_of_secret("secret check", &[&*self.0]).0
    }
}

impl std::fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceSecret(..)")
    }
}

impl std::fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKeys({})", self.signing.public().short())
    }
}
