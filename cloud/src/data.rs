//! The folder of a cloud peer: laid out as a pod's is, but for many identities and with the device secret in it.
//!
//! `secret/` keeps the device secret (a server has no keychain; guard the folder as one would a private key), `pod.json` names it,
//! `lock` says who has the folder open, `log.db` holds what was stored, `blobs/` the chunks of attachments.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rhizome::{
    DeviceSecret, FileKeeper, Keeper, Kept, SecretId,
    crypto::{DeviceKeys, OsRandom, PublicKey, Random},
    identity::{IdentityId, did, parse_did},
    store::{Blobs, Folder, FolderFile, LogStore, Quota, StoreError},
    sync::Known,
};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// An upper limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// No limit.
    Unlimited,
    /// At the most so many.
    Of(u64),
}

impl Limit {
    /// As the store has it.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Of(value) => Some(value),
        }
    }
}

/// What to change of a quota. `None` leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuotaChange {
    /// Bytes charged for what is stored.
    pub bytes: Option<Limit>,
    /// Entries.
    pub entries: Option<Limit>,
}

/// One identity that this peer stores for: all that it can know of it but addresses and times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityReport {
    /// Its DID.
    pub did: String,
    /// The first digits of its id, as in the log.
    pub short: String,
    /// Entries stored.
    pub entries: u64,
    /// Bytes charged for what is stored (see `rhizome::store::Usage`).
    pub bytes: u64,
    /// Attachments stored, whole or in part.
    pub attachments: u64,
    /// Bytes of their chunks; their manifests and the room for what is missing are charged too.
    pub attachment_bytes: u64,
    /// Bytes of sections that were erased here, at the wish of the identity's devices.
    pub erased_bytes: u64,
    /// The most entries that are taken.
    pub quota_entries: Option<u64>,
    /// The most bytes that are taken.
    pub quota_bytes: Option<u64>,
    /// Devices of the identity.
    pub devices: usize,
    /// Cloud peers of the identity, this one included.
    pub peers: usize,
    /// Who they are. What the person calls them is sealed.
    pub members: Vec<MemberReport>,
    /// Signing keys of devices that were removed.
    pub removed: Vec<String>,
    /// Signing keys of whoever puts the identity's operations in order.
    pub orderers: Vec<String>,
    /// How often that changed.
    pub term: u64,
    /// The first digits of the hash of the last operation in order.
    pub head: Option<String>,
    /// Operations that wait for their order.
    pub pending: usize,
}

/// A device or cloud peer of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its signing key.
    pub key: String,
    /// Whether it is a cloud peer.
    pub cloud: bool,
    /// Whether it is this peer.
    pub this: bool,
}

/// The folder, opened by this process alone.
pub struct Data {
    path: PathBuf,
    folder: Mutex<Option<Folder>>,
    log: LogStore,
    blobs: Blobs,
    keys: DeviceKeys,
}

impl Data {
    /// Opens a cloud peer's folder; makes it if `create` and there is none.
    ///
    /// # Errors
    /// What is wrong with the folder, its secret or its database. Nothing in the folder was changed then.
    pub fn open(path: &Path, create: bool) -> Result<Self, Failure> {
        if path.join("pod.json").exists() {
            Self::open_files(path)
        } else if Folder::is_used(path) {
            Err(StoreError::Damaged {
                file: "pod.json",
                why: "it is missing".to_owned(),
            }
            .into())
        } else if create {
            Self::make_files(path)
        } else {
            Err(Failure::new(
                "no-peer",
                format!(
                    "there is no cloud peer in {0}: start one with `rhizome-cloud serve --data {0}`",
                    path.display()
                ),
            ))
        }
    }

    fn open_files(path: &Path) -> Result<Self, Failure> {
        let folder = Folder::open(path, false)?;
        let damaged = || StoreError::Damaged {
            file: "pod.json",
            why: "it is missing".to_owned(),
        };
        let file = folder.read()?.ok_or_else(damaged)?;
        if file.recovery.is_some() {
            return Err(Failure::new(
                "not-a-peer",
                format!(
                    "{} is the folder of a pod, not of a cloud peer: choose another",
                    path.display()
                ),
            ));
        }
        let place = keeper_dir(path);
        let secret = match FileKeeper::new(&place).load(&file.secret) {
            Ok(Kept::Found(secret)) => secret,
            Ok(Kept::Absent) => {
                return Err(Failure::new(
                    "needs-secret",
                    format!(
                        "the device secret is not in {}: put it back from a copy; nothing was changed",
                        place.display()
                    ),
                ));
            }
            Ok(Kept::Locked) => {
                return Err(Failure::new(
                    "locked",
                    format!(
                        "the device secret in {} may not be read: check who owns it; nothing was changed",
                        place.display()
                    ),
                ));
            }
            Err(error) => {
                return Err(Failure::new(
                    "keeper",
                    format!("the device secret in {} cannot be read: {error}", place.display()),
                ));
            }
        };
        let log = LogStore::open(path, false, &mut OsRandom)?;
        let check = secret.check_value();
        log.write(move |write| write.check_secret(&check)).wait()?;
        Ok(Self::new(path, folder, log, &secret))
    }

    /// Makes a new peer's files. `pod.json` comes last: without it there is no peer.
    fn make_files(path: &Path) -> Result<Self, Failure> {
        make_private(path).map_err(|error| {
            Failure::new(
                "storage",
                format!("cannot make the folder {}: {}", path.display(), error.kind()),
            )
        })?;
        let folder = Folder::open(path, true)?;
        // Somebody may have been quicker.
        if Folder::is_used(path) {
            drop(folder);
            return Self::open_files(path);
        }
        let random: &mut dyn Random = &mut OsRandom;
        let (secret, id) = (DeviceSecret::make(random), SecretId(random.bytes()));
        FileKeeper::new(keeper_dir(path))
            .create(&id, &secret)
            .map_err(|error| Failure::new("keeper", format!("the device secret cannot be written: {error}")))?;
        let log = LogStore::open(path, true, &mut OsRandom)?;
        let check = secret.check_value();
        log.write(move |write| write.check_secret(&check)).wait()?;
        folder.write(&FolderFile {
            secret: id,
            recovery: None,
        })?;
        Ok(Self::new(path, folder, log, &secret))
    }

    fn new(path: &Path, folder: Folder, log: LogStore, secret: &DeviceSecret) -> Self {
        Self {
            path: path.to_owned(),
            folder: Mutex::new(Some(folder)),
            blobs: Blobs::new(path, log.clone()),
            log,
            keys: secret.keys(),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store.
    pub fn log(&self) -> &LogStore {
        &self.log
    }

    /// The attachments.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The peer's keys.
    pub fn keys(&self) -> &DeviceKeys {
        &self.keys
    }

    /// The identities that linked this peer. Waits for the disk.
    pub fn identities(&self) -> Result<Vec<IdentityReport>, Failure> {
        let ids = self.log.read(|read| read.identities())?;
        ids.iter().map(|identity| self.identity(identity)).collect()
    }

    fn identity(&self, identity: &IdentityId) -> Result<IdentityReport, Failure> {
        let (stored, quota, (attachments, _, attachment_bytes), erased_bytes) = self.log.read(|read| {
            let (attachments, erased) = (read.attachment_usage(identity)?, read.erased_bytes(identity)?);
            Ok((read.identity_log(identity)?, read.quota(identity)?, attachments, erased))
        })?;
        let known = Known::from_log(stored.ordered, stored.pending).map_err(rhizome::sync::ReplicaError::from)?;
        let (quota, usage) = quota.unwrap_or_default();
        let (state, ordered) = (&known.tentative, &known.ordered);
        let member = |key: &PublicKey, cloud: bool| MemberReport {
            key: key.to_string(),
            cloud,
            this: *key == self.keys.signing.public(),
        };
        let devices = state.devices().keys().map(|key| member(key, false));
        Ok(IdentityReport {
            did: did(identity),
            short: identity.short(),
            entries: usage.entries,
            bytes: usage.bytes,
            attachments,
            attachment_bytes,
            erased_bytes,
            quota_entries: quota.entries,
            quota_bytes: quota.bytes,
            devices: state.devices().len(),
            peers: state.peers().len(),
            members: devices
                .chain(state.peers().keys().map(|key| member(key, true)))
                .collect(),
            removed: state.removed().keys().map(ToString::to_string).collect(),
            orderers: ordered.orderers().iter().map(ToString::to_string).collect(),
            term: ordered.term(),
            head: ordered.head().map(|head| head.short()),
            pending: known.in_effect,
        })
    }

    /// Changes the quota of one identity, by DID or by the first digits of its id, or of `ALL`. It holds from the next entry on.
    pub fn set_quota(&self, whose: &str, change: QuotaChange) -> Result<Vec<IdentityReport>, Failure> {
        let chosen = self.choose(whose)?;
        for &identity in &chosen {
            let write = self.log.write(move |write| {
                let (before, _) = write.quota(&identity)?.unwrap_or_default();
                let quota = Quota {
                    bytes: change.bytes.map_or(before.bytes, Limit::value),
                    entries: change.entries.map_or(before.entries, Limit::value),
                };
                write.set_quota(&identity, quota)
            });
            write.wait()?;
        }
        chosen.iter().map(|identity| self.identity(identity)).collect()
    }

    fn choose(&self, whose: &str) -> Result<Vec<IdentityId>, Failure> {
        let all = self.log.read(|read| read.identities())?;
        if whose.eq_ignore_ascii_case("all") {
            return Ok(all);
        }
        let by_did = parse_did(whose);
        let is_short = whose.len() >= 8 && !whose.starts_with("did:");
        let found: Vec<IdentityId> = all
            .into_iter()
            .filter(|id| by_did == Some(*id) || (is_short && id.to_string().starts_with(&whose.to_ascii_lowercase())))
            .collect();
        if found.len() == 1 {
            Ok(found)
        } else {
            Err(Failure::new(
                "no-identity",
                format!("no identity {whose:?} is linked here: `rhizome-cloud identities` lists them"),
            ))
        }
    }

    /// Closes every file and lets go of the lock. Later calls answer that the store is closed.
    pub fn close(&self) {
        self.log.close();
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn keeper_dir(path: &Path) -> PathBuf {
    path.join("secret")
}

/// Makes the folder for its owner alone. One that is there keeps its permissions.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
