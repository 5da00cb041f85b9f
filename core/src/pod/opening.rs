//! Creating, opening and joining a pod: what is checked before a file is touched.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Inner, OPEN, Phase, Pod, blocking,
    running::{Running, addresses_key},
};
use crate::{
    crypto::{
        AgreementPublic, DeviceKeys, DeviceSecret, Hash, Keeper, Kept, OsRandom, Random, SecretId, Wrap, Zeroizing,
        decode, encode,
    },
    error::Error,
    identity::{Commit, CommitCore, Keys, LinkRole, Operation, RecoverySecret, State, Ticket, genesis},
    net::{
        Confirm, Frames, Invitations, Keep, Net, NetError, NetOptions, Newcomer, Shaken, answer, call, join, refuse,
        remote_key,
    },
    store::{Folder, FolderFile, LogStore, StoreError},
    sync::{Limits, Replica, ReplicaError, WallClock},
};

/// How a pod is opened.
#[derive(Clone)]
pub struct PodOptions {
    /// Keeps the device secret.
    pub keeper: Arc<dyn Keeper>,
    /// Milliseconds since 1970.
    pub clock: WallClock,
    /// The network endpoint, which is opened when it is first needed.
    pub net: NetOptions,
}

impl PodOptions {
    /// The system's clock, every network interface, no relay.
    pub fn new(keeper: Arc<dyn Keeper>) -> Self {
        Self {
            keeper,
            clock: Arc::new(system_millis),
            net: NetOptions::default(),
        }
    }
}

fn system_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for PodOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PodOptions({:?})", self.net)
    }
}

/// The stream that every identity begins with.
const FIRST_STREAM: &str = "journal";
const LINK_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Opened {
    pub folder: Folder,
    pub secret: DeviceSecret,
    pub log: LogStore,
    pub replica: Replica,
}

fn random() -> impl Random {
    OsRandom
}

/// The folder's own name for itself, so that one folder is one pod however it is spelled.
fn canonical(dir: &Path) -> PathBuf {
    dir.canonicalize()
        .unwrap_or_else(|_| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()))
}

fn wrap_for_recovery(secret: &DeviceSecret, id: &SecretId, state: &State) -> Option<Vec<u8>> {
    let recipient = state.recovery().1;
    let info = wrap_info_of(&state.binding(), id, &recipient);
    let wrap: Option<Wrap> = recipient.wrap(&mut OsRandom, &info, secret.expose()).ok();
    wrap.map(|wrap| encode(&wrap))
}

/// The info of the wrap in `pod.json`.
pub(super) fn wrap_info_of(binding: &Hash, id: &SecretId, recipient: &AgreementPublic) -> Vec<u8> {
    [b"rhizome/1 device secret", &binding.0[..], &id.0, &recipient.0].concat()
}

/// Wraps what opens the folder for other words, once they count.
fn follow_words(folder: &Folder, file: &FolderFile, secret: &DeviceSecret, state: &State) -> Result<(), StoreError> {
    let wrapped = file.recovery.as_deref().and_then(|wrap| decode::<Wrap>(wrap).ok());
    if wrapped.is_some_and(|wrap| wrap.0 == state.recovery().1) {
        return Ok(());
    }
    folder.write(&FolderFile {
        secret: file.secret,
        recovery: wrap_for_recovery(secret, &file.secret, state),
    })
}

/// Where a device or peer was found: its endpoint key and addresses.
pub(super) type FoundAt = (crate::crypto::PublicKey, Vec<String>);

/// Writes a new pod's files, with where the one was found that let it in. `pod.json` comes last: without it there is no pod.
fn write_files(
    folder: &Folder,
    (secret, id): (&DeviceSecret, &SecretId),
    known: (Vec<(Commit, Operation)>, Vec<Operation>),
    found_at: Option<FoundAt>,
    options: &PodOptions,
) -> Result<(), ReplicaError> {
    let log = LogStore::open(folder.path(), true, &mut random())?;
    let signing = secret.keys().signing;
    let replica = Replica::adopt(
        log.clone(),
        known.0,
        known.1,
        signing,
        options.clock.clone(),
        Limits::default(),
    )?;
    let (identity, check) = (replica.identity(), secret.check_value());
    log.write(move |write| {
        write.check_secret(&check)?;
        if let Some((endpoint, addresses)) = &found_at {
            write.set_meta(&addresses_key(endpoint), &encode(addresses))?;
        }
        write.set_meta("identity", &identity.0)
    })
    .wait()?;
    let recovery = wrap_for_recovery(secret, id, &replica.known().ordered);
    log.close();
    Ok(folder.write(&FolderFile { secret: *id, recovery })?)
}

/// Takes an empty folder for a new pod.
fn new_folder(dir: &Path) -> Result<Folder, Error> {
    if Folder::is_used(dir) {
        return Err(Error::PodExists);
    }
    let folder = Folder::open(dir, true)?;
    // Somebody may have been quicker.
    if Folder::is_used(dir) {
        Err(Error::PodExists)
    } else {
        Ok(folder)
    }
}

fn new_secret(keeper: &dyn Keeper) -> Result<(DeviceSecret, SecretId), Error> {
    let mut random = random();
    let random: &mut dyn Random = &mut random;
    let (secret, id) = (DeviceSecret::make(random), SecretId(random.bytes()));
    keeper.create(&id, &secret).map_err(Error::Keeper)?;
    Ok((secret, id))
}

/// Opens the files of a pod: first the secret, and nothing is touched without it.
pub(super) fn open_files(dir: &Path, options: &PodOptions) -> Result<Opened, Error> {
    if !dir.join("pod.json").exists() {
        return Err(match Folder::is_used(dir) {
            true => Error::Storage(StoreError::Damaged {
                file: "pod.json",
                why: "it is missing".to_owned(),
            }),
            false => Error::NoPod,
        });
    }
    let folder = Folder::open(dir, false)?;
    let file = folder.read()?.ok_or(Error::NoPod)?;
    let secret = match options.keeper.load(&file.secret).map_err(Error::Keeper)? {
        Kept::Found(secret) => secret,
        Kept::Absent => return Err(Error::NeedsRecovery),
        Kept::Locked => return Err(Error::Locked),
    };
    let log = LogStore::open(dir, false, &mut random())?;
    let check = secret.check_value();
    log.write(move |write| write.check_secret(&check)).wait()?;
    let identity = log
        .read(|read| read.meta("identity"))?
        .and_then(|bytes| crate::identity::IdentityId::from_slice(&bytes));
    let identity = identity.ok_or(StoreError::Damaged {
        file: "log.db",
        why: "it does not name an identity".to_owned(),
    })?;
    let signing = secret.keys().signing;
    let me = signing.public();
    log.read(|read| read.check(&identity, &me))?;
    let replica = Replica::load(log.clone(), identity, signing, options.clock.clone(), Limits::default())?;
    if let Err(error) = follow_words(&folder, &file, &secret, &replica.known().ordered) {
        // The words from before open it still; a full disk must not keep anybody out.
        tracing::warn!(%error, "what the recovery words open could not be written anew");
    }
    Ok(Opened {
        folder,
        secret,
        log,
        replica,
    })
}

impl Pod {
    /// Makes a new identity with this as its first device, named `name` for the person's other devices. Gives the pod and the 24
    /// recovery words: show them once; they are kept nowhere.
    ///
    /// # Errors
    /// [`Error::PodExists`] if the folder holds one.
    pub async fn create(
        dir: impl AsRef<Path>,
        options: PodOptions,
        name: &str,
    ) -> Result<(Self, Zeroizing<String>), Error> {
        let (dir, name, opts) = (dir.as_ref().to_owned(), name.to_owned(), options.clone());
        let words = blocking({
            let dir = dir.clone();
            move || {
                let folder = new_folder(&dir)?;
                let (secret, id) = new_secret(&*opts.keeper)?;
                let recovery = RecoverySecret::make(&mut random());
                let keys = secret.keys();
                let operation = genesis(&mut random(), &keys, &recovery, &name, &[FIRST_STREAM]);
                let core = CommitCore {
                    identity: operation.identity(),
                    index: 0,
                    previous: None::<Hash>,
                    operation: operation.id(),
                    term: 0,
                    time: (opts.clock)(),
                    orderer: keys.signing.public(),
                };
                let commit = Commit::make(&keys.signing, core);
                let known = (vec![(commit, operation)], Vec::new());
                write_files(&folder, (&secret, &id), known, None, &opts)?;
                Ok(recovery.words())
            }
        })
        .await?;
        Ok((Self::open(dir, options).await?, words))
    }

    /// Opens the pod in a folder. A folder that is open in this process already is the same pod.
    ///
    /// # Errors
    /// [`Error::NoPod`], [`Error::InUse`], [`Error::Locked`], [`Error::NeedsRecovery`], or what is wrong with a file. None of them changes
    /// anything in the folder.
    pub async fn open(dir: impl AsRef<Path>, options: PodOptions) -> Result<Self, Error> {
        static OPENING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _opening = OPENING.lock().await;
        let path = canonical(dir.as_ref());
        let open = OPEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&path)
            .and_then(std::sync::Weak::upgrade);
        if let Some(pod) = open
            .map(Self)
            .filter(|pod| !matches!(pod.running(), Err(Error::Closed)))
        {
            return Ok(pod);
        }
        let shared = Arc::default();
        let running = Running::open(&path, &options, &shared).await?;
        let phase = RwLock::new(Phase::Running(running));
        let inner = Arc::new(Inner {
            path: path.clone(),
            options,
            phase,
            turning: tokio::sync::Mutex::new(()),
            shared,
        });
        OPEN.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path, Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    /// Joins the identity of the device that shows `code`, as a new device named `name`. `confirm` asks the person whether both screens
    /// show the same number.
    pub async fn join(
        dir: impl AsRef<Path>,
        options: PodOptions,
        name: &str,
        code: &str,
        confirm: Confirm,
    ) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        let ticket = Ticket::parse_at(code, (options.clock)() / 1000)?;
        let found_at = (ticket.endpoint, ticket.addresses.clone());
        let joining = Joining::begin(&dir, &options, Some(found_at)).await?;
        let net = Net::open(&joining.secret.keys().endpoint, options.net.clone()).await?;
        let linked = async {
            // The connection is held until the last word arrived.
            let (_connection, mut frames) = net.dial(&ticket.endpoint, &ticket.addresses, LINK_WITHIN).await?;
            let shaken = call(&mut frames, &ticket, LinkRole::NewDevice, joining.keys()).await?;
            let result = joining.finish(&mut frames, shaken, name, &confirm, &options).await;
            let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
            result
        };
        let linked = tokio::time::timeout(LINK_WITHIN, linked)
            .await
            .unwrap_or(Err(NetError::Deadline.into()));
        net.close().await;
        // The lock is this process's until the pod takes it.
        drop(joining);
        linked?;
        Self::open(&dir, options).await
    }

    /// Shows a code (through `show`) that a device of an identity scans to let this new one in; waits for it until `expires_in` has passed.
    pub async fn await_link(
        dir: impl AsRef<Path>,
        options: PodOptions,
        name: &str,
        expires_in: Duration,
        show: impl FnOnce(&Ticket) + Send,
        confirm: Confirm,
    ) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        let joining = Joining::begin(&dir, &options, None).await?;
        let net = Net::open(&joining.secret.keys().endpoint, options.net.clone()).await?;
        let invitations = Invitations::default();
        let expires = (options.clock)() / 1000 + expires_in.as_secs();
        let ticket = Ticket {
            role: LinkRole::NewDevice,
            endpoint: net.id(),
            addresses: net.addresses(),
            secret: invitations.issue(&mut random(), expires),
            expires,
        };
        show(&ticket);
        let served = tokio::time::timeout(
            expires_in,
            serve_one(&net, &invitations, &joining, name, &confirm, &options),
        );
        let linked = served.await.unwrap_or(Err(Error::Network(NetError::Deadline)));
        net.close().await;
        // The lock is this process's until the pod takes it.
        drop(joining);
        linked?;
        Self::open(&dir, options).await
    }
}

/// A new device on its way into an identity.
pub(super) struct Joining {
    folder: Arc<Folder>,
    secret: DeviceSecret,
    id: SecretId,
    /// Where whoever lets it in was found. Written with the rest: a new device that nobody can tell where the others are has nobody to sync with.
    found_at: Option<FoundAt>,
}

impl Joining {
    pub async fn begin(dir: &Path, options: &PodOptions, found_at: Option<FoundAt>) -> Result<Self, Error> {
        let (dir, keeper) = (dir.to_owned(), options.keeper.clone());
        blocking(move || {
            let folder = new_folder(&dir)?;
            let (secret, id) = new_secret(&*keeper)?;
            Ok(Self {
                folder: Arc::new(folder),
                secret,
                id,
                found_at,
            })
        })
        .await
    }

    /// Its public keys.
    pub fn keys(&self) -> Keys {
        Keys::of(&self.keys_of())
    }

    /// Its keys.
    pub fn keys_of(&self) -> DeviceKeys {
        self.secret.keys()
    }

    /// Writes the pod's files, the identity's log among them.
    pub fn write(&self, known: (Vec<(Commit, Operation)>, Vec<Operation>), options: &PodOptions) -> Result<(), Error> {
        let (secret, found_at) = ((&self.secret, &self.id), self.found_at.clone());
        Ok(write_files(&self.folder, secret, known, found_at, options)?)
    }

    async fn finish(
        &self,
        frames: &mut Frames,
        shaken: Shaken,
        name: &str,
        confirm: &Confirm,
        options: &PodOptions,
    ) -> Result<(), Error> {
        let newcomer = Newcomer {
            signing: self.secret.keys().signing,
            keys: self.keys(),
            name: name.to_owned(),
            services: Vec::new(),
            peer: false,
        };
        let (folder, secret, id, opts) = (self.folder.clone(), self.secret.clone(), self.id, options.clone());
        let found_at = self.found_at.clone();
        let keep: Keep<()> =
            Box::new(move |log, pending| write_files(&folder, (&secret, &id), (log, pending), found_at, &opts));
        join(frames, shaken, newcomer, confirm, keep).await?;
        Ok(())
    }
}

/// Answers connections until one of them is a link that succeeds, or proves the secret and fails.
async fn serve_one(
    net: &Net,
    invitations: &Invitations,
    joining: &Joining,
    name: &str,
    confirm: &Confirm,
    options: &PodOptions,
) -> Result<(), Error> {
    while let Some(incoming) = net.accept().await {
        let first = async {
            let connection = incoming.accept().ok()?.await.ok()?;
            let (send, recv) = connection.accept_bi().await.ok()?;
            let mut frames = Frames::new(send, recv, options.net.observer.clone());
            let message = frames.receive().await.ok()?;
            Some((connection, frames, message))
        };
        let Ok(Some((connection, mut frames, begin))) = tokio::time::timeout(LINK_WITHIN, first).await else {
            continue;
        };
        match invitations.claim(&begin, (options.clock)() / 1000) {
            Err(reason) => {
                refuse(&mut frames, reason).await;
                let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
            }
            Ok(secret) => {
                let endpoint = remote_key(&connection);
                let shaken = answer(
                    &mut frames,
                    &endpoint,
                    &begin,
                    &secret,
                    LinkRole::NewDevice,
                    joining.keys(),
                )
                .await?;
                let result = joining.finish(&mut frames, shaken, name, confirm, options).await;
                let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
                return result;
            }
        }
    }
    Err(Error::Network(NetError::Stopped))
}
