//! The pod, as it crosses.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rhizome::{Live, NetOptions, Pod};

use crate::{
    CancelHandle, CollectionHandle, Conditions, EntryRef, Holder, LinkingHandle, PeerStatus, RhizomeError,
    SecretKeeper, Status, StatusSubscription, StreamHandle, SyncReport,
    document::Pulled,
    keeper::Foreign,
    runtime::{ask, instant, run, runtime, to_its_end},
};

/// Which relays may carry what direct connections cannot. A relay sees the endpoint keys and addresses of both ends, sizes and times;
/// never content.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Relay {
    /// None: direct connections only.
    None,
    /// One of one's own.
    Own {
        /// Its URL.
        url: String,
    },
    /// The public relays of iroh's makers.
    Public,
}

/// How a pod is opened.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PodOptions {
    /// The pod's folder. Keep it out of system backups: the cloud peer and the recovery words are the backup.
    pub path: String,
    /// Relays.
    #[uniffi(default = None)]
    pub relay: Option<Relay>,
    /// Addresses to bind, as `IP:PORT`; none: every interface, on a port that the system chooses.
    #[uniffi(default = [])]
    pub listen: Vec<String>,
}

pub(crate) fn options(
    options: &PodOptions,
    keeper: Arc<dyn SecretKeeper>,
) -> Result<rhizome::PodOptions, RhizomeError> {
    let listen = options
        .listen
        .iter()
        .map(|address| {
            address.parse::<SocketAddr>().map_err(|_| {
                RhizomeError::invalid(
                    "address",
                    "an address to listen on is written IP:PORT, as in 127.0.0.1:0",
                )
            })
        })
        .collect::<Result<_, _>>()?;
    let mut made = rhizome::PodOptions::new(Arc::new(Foreign(keeper)));
    made.net = NetOptions {
        listen,
        relay: match &options.relay {
            None | Some(Relay::None) => rhizome::Relay::None,
            Some(Relay::Own { url }) => rhizome::Relay::Own(url.clone()),
            Some(Relay::Public) => rhizome::Relay::Public,
        },
        ..NetOptions::default()
    };
    Ok(made)
}

/// A new pod, and the words that bring its identity back.
#[derive(uniffi::Record)]
pub struct CreatedPod {
    /// The pod.
    pub pod: Arc<PodHandle>,
    /// The 24 recovery words: show them once; they are kept nowhere.
    pub words: Vec<String>,
}

/// Makes a new identity with this as its first device, named `name` for the person's other devices. Async.
#[uniffi::export]
pub async fn create_pod(
    pod: PodOptions,
    keeper: Arc<dyn SecretKeeper>,
    name: String,
    cancel: Option<Arc<CancelHandle>>,
) -> Result<CreatedPod, RhizomeError> {
    let opts = options(&pod, keeper)?;
    run(cancel, async move {
        let (pod, words) = Pod::create(pod.path, opts, &name).await?;
        Ok::<_, rhizome::Error>(CreatedPod {
            pod: Arc::new(PodHandle(pod)),
            words: words.split(' ').map(str::to_owned).collect(),
        })
    })
    .await
}

/// Opens the pod in a folder. A folder that is open in this process already is the same pod. Async.
#[uniffi::export]
pub async fn open_pod(
    pod: PodOptions,
    keeper: Arc<dyn SecretKeeper>,
    cancel: Option<Arc<CancelHandle>>,
) -> Result<Arc<PodHandle>, RhizomeError> {
    let opts = options(&pod, keeper)?;
    run(cancel, async move {
        let pod = Pod::open(pod.path, opts).await?;
        Ok::<_, rhizome::Error>(Arc::new(PodHandle(pod)))
    })
    .await
}

/// Joins the identity of the device that shows `code`, as a new device named `name`. Instant: the link goes on behind it.
#[uniffi::export]
pub fn join_pod(
    pod: PodOptions,
    keeper: Arc<dyn SecretKeeper>,
    name: String,
    code: String,
) -> Result<Arc<LinkingHandle>, RhizomeError> {
    let opts = options(&pod, keeper)?;
    let _entered = runtime().enter();
    Ok(LinkingHandle::newcomer(Pod::begin_join(pod.path, opts, &name, &code)))
}

/// Makes a code that a device of an identity scans to let this new one in; good for `expires_seconds`. Async.
#[uniffi::export]
pub async fn await_link(
    pod: PodOptions,
    keeper: Arc<dyn SecretKeeper>,
    name: String,
    expires_seconds: u32,
    cancel: Option<Arc<CancelHandle>>,
) -> Result<Arc<LinkingHandle>, RhizomeError> {
    let opts = options(&pod, keeper)?;
    run(cancel, async move {
        let expires_in = Duration::from_secs(expires_seconds.into());
        let linking = Pod::begin_await_link(pod.path, opts, &name, expires_in).await?;
        Ok::<_, rhizome::Error>(LinkingHandle::newcomer(linking))
    })
    .await
}

/// One person's data on one device.
#[derive(Debug, uniffi::Object)]
pub struct PodHandle(pub(crate) Pod);

#[uniffi::export]
impl PodHandle {
    /// The identity's DID. Instant.
    pub fn did(&self) -> Result<String, RhizomeError> {
        instant(|| Ok(self.0.did()?))
    }

    /// The signing key of this device, by which others know it. Instant.
    pub fn device(&self) -> Result<String, RhizomeError> {
        instant(|| Ok(self.0.device()?.to_string()))
    }

    /// The identity's DID document (W3C DID Core 1.0) as JSON, as far as its log is ordered. Instant.
    pub fn did_document(&self) -> Result<String, RhizomeError> {
        instant(|| Ok(self.0.did_document()?.to_string()))
    }

    /// The folder. Instant.
    pub fn path(&self) -> String {
        self.0.path().to_string_lossy().into_owned()
    }

    /// Documents of one kind. Instant; there is nothing of a collection before the first document in it.
    pub fn collection(&self, name: String) -> Arc<CollectionHandle> {
        Arc::new(CollectionHandle {
            pod: self.0.clone(),
            name,
        })
    }

    /// An event log for one kind of data. Instant; there is nothing of it before the first event in it.
    pub fn stream(&self, label: String) -> Arc<StreamHandle> {
        Arc::new(StreamHandle {
            pod: self.0.clone(),
            label,
        })
    }

    /// The pod's state, with its reasons. Async.
    pub async fn status(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Status, RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move { pod.status().await.map(Status::from) }).await
    }

    /// Watches the status. Instant.
    pub fn watch_status(&self) -> Arc<StatusSubscription> {
        Arc::new(StatusSubscription(Pulled::new(self.0.watch_status())))
    }

    /// Says what the system says of this device. Instant.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.0.set_conditions(conditions.into());
    }

    /// Makes a code that a new device scans to join this identity; good for `expires_seconds`. Async.
    pub async fn invite(
        &self,
        expires_seconds: u32,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Arc<LinkingHandle>, RhizomeError> {
        let pod = self.0.clone();
        run(cancel, async move {
            let linking = pod.begin_invite(Duration::from_secs(expires_seconds.into())).await?;
            Ok::<_, rhizome::Error>(LinkingHandle::member(linking))
        })
        .await
    }

    /// Lets the new device that shows `code` into this identity: it will read everything. Instant: the link goes on behind it.
    pub fn link_device(&self, code: String) -> Arc<LinkingHandle> {
        let _entered = runtime().enter();
        LinkingHandle::member(self.0.begin_link_device(&code))
    }

    /// Links the cloud peer that shows `code`: it will store what it cannot read. Instant: the link goes on behind it.
    pub fn link_cloud_peer(&self, code: String) -> Arc<LinkingHandle> {
        let _entered = runtime().enter();
        LinkingHandle::member(self.0.begin_link(&code))
    }

    /// The cloud peers of this identity. Async.
    pub async fn cloud_peers(
        &self,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<Arc<CloudPeerHandle>>, RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move {
            let status = pod.status().await?;
            let clouds = status.peers.into_iter().filter(|peer| peer.cloud);
            let handle = |peer: rhizome::PeerStatus| {
                Arc::new(CloudPeerHandle {
                    pod: pod.clone(),
                    key: peer.key.to_string(),
                })
            };
            Ok::<_, rhizome::Error>(clouds.map(handle).collect())
        })
        .await
    }

    /// The whole job of a background wake: connects to the cloud peers (or, without one, to devices whose address is known), moves what is
    /// missing both ways, gets durable receipts and closes, within `deadline_millis` and `byte_budget` (bytes both ways). What was moved stays
    /// moved, however it ends; what went wrong with a peer stands in the report. Async.
    pub async fn sync_once(
        &self,
        deadline_millis: u64,
        byte_budget: Option<u64>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<SyncReport, RhizomeError> {
        let pod = self.0.clone();
        run(cancel, async move {
            let report = pod
                .sync_once(Duration::from_millis(deadline_millis), byte_budget)
                .await?;
            Ok::<_, rhizome::Error>(SyncReport::from(report))
        })
        .await
    }

    /// Stays connected to every cloud peer until the handle is stopped or dropped: new entries move at once, both ways. For the foreground:
    /// an idle connection keeps a radio awake. Async.
    pub async fn go_live(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Arc<LiveHandle>, RhizomeError> {
        let pod = self.0.clone();
        run(cancel, async move {
            let live = pod.go_live().await?;
            Ok::<_, rhizome::Error>(Arc::new(LiveHandle(Mutex::new(Some(live)))))
        })
        .await
    }

    /// To be called when the system says that the network changed. Async.
    pub async fn network_changed(&self, cancel: Option<Arc<CancelHandle>>) -> Result<(), RhizomeError> {
        let pod = self.0.clone();
        run(cancel, async move { pod.network_changed().await }).await
    }

    /// The devices and peers that hold an entry, by their signed word. None: it is only here, as far as is known. Async.
    pub async fn holders(
        &self,
        entry: EntryRef,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<Holder>, RhizomeError> {
        let pod = self.0.clone();
        let author = rhizome::log::AuthorId::from_hex(&entry.author).ok_or_else(|| {
            RhizomeError::invalid(
                "id",
                "this is not the id of an author log: one is 64 hexadecimal digits",
            )
        })?;
        ask(cancel, async move {
            let entry = rhizome::EntryRef { author, seq: entry.seq };
            let holders = pod.holders(entry).await?;
            Ok::<_, rhizome::Error>(holders.into_iter().map(Holder::from).collect())
        })
        .await
    }

    /// Checks the log: SQLite's own check, and every chain and signature. Gives how many entries were checked. Slow. Async.
    pub async fn verify(&self, cancel: Option<Arc<CancelHandle>>) -> Result<u64, RhizomeError> {
        let pod = self.0.clone();
        ask(cancel, async move { pod.verify().await }).await
    }

    /// Lets go of every file, lock and socket, at a durable point. Until [`PodHandle::resume`], calls throw `Suspended` at once. To be
    /// awaited before the system suspends the app; once begun it ends, whoever waits. Async.
    pub async fn suspend(&self) -> Result<(), RhizomeError> {
        let pod = self.0.clone();
        to_its_end(async move { pod.suspend().await }).await
    }

    /// Takes everything up again. Does nothing if the pod is not suspended. Async.
    pub async fn resume(&self) -> Result<(), RhizomeError> {
        let pod = self.0.clone();
        to_its_end(async move { pod.resume().await }).await
    }

    /// Ends the pod. Can be called again, and in any phase. Async.
    pub async fn shutdown(&self) -> Result<(), RhizomeError> {
        let pod = self.0.clone();
        to_its_end(async move {
            pod.shutdown().await;
            Ok(())
        })
        .await
    }
}

/// Keeps a pod live until it is stopped or dropped.
#[derive(Debug, uniffi::Object)]
pub struct LiveHandle(Mutex<Option<Live>>);

#[uniffi::export]
impl LiveHandle {
    /// Ends the live sessions and waits for their last words. Can be called again. Async.
    pub async fn stop(&self) -> Result<(), RhizomeError> {
        let live = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        to_its_end(async move {
            if let Some(live) = live {
                live.stop().await;
            }
            Ok(())
        })
        .await
    }
}

/// A cloud peer of this identity: an always-on device of the person's own that stores what it cannot read.
#[derive(Debug, uniffi::Object)]
pub struct CloudPeerHandle {
    pod: Pod,
    key: String,
}

#[uniffi::export]
impl CloudPeerHandle {
    /// Its signing key. Instant.
    pub fn key(&self) -> String {
        self.key.clone()
    }

    /// What is known of it now; none if it is no longer linked. Async.
    pub async fn status(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<PeerStatus>, RhizomeError> {
        let (pod, key) = (self.pod.clone(), self.key.clone());
        ask(cancel, async move {
            let status = pod.status().await?;
            let found = status.peers.into_iter().find(|peer| peer.key.to_string() == key);
            Ok::<_, rhizome::Error>(found.map(PeerStatus::from))
        })
        .await
    }

    /// Since when it holds all that is here of a document, by its signed word, in milliseconds since 1970; none if it does not. Async.
    pub async fn holds(
        &self,
        document: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Option<u64>, RhizomeError> {
        let (pod, key) = (self.pod.clone(), self.key.clone());
        let document = crate::collection::document_id(&document)?;
        ask(cancel, async move {
            let holders = pod.document_holders(document).await?;
            let found = holders.into_iter().find(|holder| holder.key.to_string() == key);
            Ok::<_, rhizome::Error>(found.map(|holder| holder.since))
        })
        .await
    }
}
