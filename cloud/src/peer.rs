//! A running cloud peer: one endpoint and one store for every identity that linked it.

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rhizome::{
    Confirm, LinkOutcome, NetOptions, PeerAddress, Relay, Ticket,
    crypto::{Hash, OsRandom, PublicKey},
    identity::{Commit, Erasure, IdentityError, IdentityId, Keys, LinkRole, MAX_SERVICES, Operation},
    log::{AttachmentId, VerifiedEntry},
    net::{
        Frames, Host, Invitations, Keep, LinkError, Net, NetError, Newcomer, Report, Service, ServiceLimits, answer,
        answer_recovery, join, refuse,
    },
    store::{Blobs, Quota, StoreError},
    sync::{Eraser, Judgement, Limits, Message, Replica, ReplicaError, WallClock},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    task::JoinHandle,
};

use crate::{Data, Failure, IdentityReport, QuotaChange, control};

/// A person compares two numbers within this time.
const LINK_WITHIN: Duration = Duration::from_secs(180);
/// How long sessions may take for their last words.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long a relay may take to answer before the first code is made without it.
const RELAY_WITHIN: Duration = Duration::from_secs(5);

/// How often a peer to which nothing comes looks whether something is to be erased.
const ERASE_AGAIN: Duration = Duration::from_secs(60 * 60);

/// How a cloud peer runs.
#[derive(Clone)]
pub struct PeerOptions {
    /// Its folder; made if it is not there.
    pub data: PathBuf,
    /// The endpoint.
    pub net: NetOptions,
    /// Host names or addresses, with or without a port, by which phones find this peer. They come first in codes and in the
    /// identity log.
    pub announce: Vec<String>,
    /// What the person's devices call it.
    pub name: String,
    /// What an identity that links from now on may use.
    pub quota: Quota,
    /// Connections.
    pub limits: ServiceLimits,
    /// Milliseconds since 1970.
    pub clock: WallClock,
    /// Hears what happens, for a screen.
    pub on_event: Arc<dyn Fn(Event) + Send + Sync>,
}

impl PeerOptions {
    /// Every interface on a port that the system chooses, no relay, no quota, the system's clock.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            net: NetOptions::default(),
            announce: Vec::new(),
            name: "cloud".to_owned(),
            quota: Quota::default(),
            limits: ServiceLimits::default(),
            clock: Arc::new(system_millis),
            on_event: Arc::new(|_| {}),
        }
    }
}

fn system_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What happens while a peer runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody used a code: both screens show this number.
    Number(String),
    /// An identity linked this peer.
    Linked {
        /// The first digits of its id.
        identity: String,
    },
    /// Somebody showed the recovery words of an identity, and got its log.
    Recovered {
        /// The first digits of its id.
        identity: String,
    },
    /// A link was not made.
    NotLinked {
        /// Why, in words for a person.
        why: String,
    },
}

/// What a peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Whether a server runs on the folder.
    pub running: bool,
    /// Its version, or that of this program.
    pub version: String,
    /// How long it has run, in seconds.
    pub uptime_seconds: Option<u64>,
    /// The sockets it listens on.
    pub listening: Vec<String>,
    /// What codes and the identity log name.
    pub announced: Vec<String>,
    /// What to keep beside the recovery words: with both, everything comes back. `None` while it does not run.
    pub address: Option<String>,
    /// The relay it keeps a connection to.
    pub relay: Option<String>,
    /// Names its database: another one after a loss.
    pub store: String,
    /// Identities that linked it.
    pub identities: usize,
    /// Entries stored.
    pub entries: u64,
    /// Bytes charged for what is stored.
    pub bytes: u64,
    /// Bytes of attachments' chunks among them.
    #[serde(default)]
    pub attachment_bytes: u64,
    /// Sessions now.
    pub connections: usize,
}

impl StatusReport {
    /// Of a folder that no server runs on.
    pub fn at_rest(data: &Data) -> Result<Self, Failure> {
        let identities = data.identities()?;
        Ok(Self {
            running: false,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: None,
            listening: Vec::new(),
            announced: Vec::new(),
            address: None,
            relay: None,
            store: data.log().store_id().to_string(),
            identities: identities.len(),
            entries: identities.iter().map(|identity| identity.entries).sum(),
            bytes: identities.iter().map(|identity| identity.bytes).sum(),
            attachment_bytes: identities.iter().map(|identity| identity.attachment_bytes).sum(),
            connections: 0,
        })
    }
}

/// A cloud peer that runs until [`Peer::stop`].
pub struct Peer {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    controlling: JoinHandle<()>,
    erasing: JoinHandle<()>,
}

/// What the service, the control socket and the handle share.
pub(crate) struct Shared {
    cloud: Arc<Cloud>,
    service: Arc<Service<Cloud>>,
    started: Instant,
}

/// The host of every identity that linked this peer.
struct Cloud {
    data: Arc<Data>,
    net: Arc<Net>,
    options: PeerOptions,
    invitations: Invitations,
    replicas: RwLock<HashMap<IdentityId, Arc<Replica>>>,
    /// Held while an identity is added.
    keeping: Mutex<()>,
    stop: watch::Receiver<bool>,
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> Result<R, Failure> + Send + 'static) -> Result<R, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Failure::internal("a task of the store ended early")))
}

/// Waits until `stop` turns true, or can no longer.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could stop us: that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Peer {
    /// Opens the folder and the endpoint, and serves.
    ///
    /// # Errors
    /// What is wrong with the folder, or why an address cannot be used. No file was changed then, but for a folder that was new.
    pub async fn start(options: PeerOptions) -> Result<Self, Failure> {
        let (path, opts) = (options.data.clone(), options.clone());
        let (data, replicas) = blocking(move || {
            let data = Data::open(&path, true)?;
            let replicas = load_replicas(&data, &opts)?;
            Ok((Arc::new(data), replicas))
        })
        .await?;
        let started = Self::start_on(data.clone(), replicas, options).await;
        if started.is_err() {
            data.close();
        }
        started
    }

    async fn start_on(
        data: Arc<Data>,
        replicas: HashMap<IdentityId, Arc<Replica>>,
        options: PeerOptions,
    ) -> Result<Self, Failure> {
        let listener = control::listen(data.path())?;
        let net = Arc::new(Net::open(&data.keys().endpoint, options.net.clone()).await?);
        wait_for_relay(&net).await;
        let (stop, stopping) = watch::channel(false);
        let limits = options.limits;
        let cloud = Arc::new(Cloud {
            data,
            net: net.clone(),
            options,
            invitations: Invitations::default(),
            replicas: RwLock::new(replicas),
            keeping: Mutex::default(),
            stop: stopping.clone(),
        });
        let service = Service::new(net, cloud.clone(), limits, stopping.clone());
        let shared = Arc::new(Shared {
            cloud: cloud.clone(),
            service: service.clone(),
            started: Instant::now(),
        });
        Ok(Self {
            serving: tokio::spawn(service.run()),
            controlling: tokio::spawn(control::serve(listener, shared.clone(), stopping)),
            erasing: tokio::spawn(cloud.erase_what_is_due()),
            shared,
            stop,
        })
    }

    /// A code that links this peer once, within `valid`.
    pub fn code(&self, valid: Duration) -> Ticket {
        self.shared.code(valid)
    }

    /// What the peer says of itself.
    pub async fn status(&self) -> Result<StatusReport, Failure> {
        self.shared.status().await
    }

    /// The identities that linked this peer.
    pub async fn identities(&self) -> Result<Vec<IdentityReport>, Failure> {
        self.shared.identities().await
    }

    /// As [`Data::set_quota`].
    pub async fn set_quota(&self, whose: &str, change: QuotaChange) -> Result<Vec<IdentityReport>, Failure> {
        self.shared.set_quota(whose.to_owned(), change).await
    }

    /// Ends every session with a last word, closes the endpoint, then the files.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(STOP_WITHIN, self.serving).await;
        let _ = tokio::time::timeout(STOP_WITHIN, self.controlling).await;
        let _ = tokio::time::timeout(STOP_WITHIN, self.erasing).await;
        self.shared.cloud.net.close().await;
        let data = self.shared.cloud.data.clone();
        control::forget(data.path());
        let _ = tokio::task::spawn_blocking(move || data.close()).await;
    }
}

/// Takes what is new of an identity log.
fn learn(replica: &Replica, log: &[(Commit, Operation)], pending: Vec<Operation>) -> Result<(), ReplicaError> {
    let commits: Vec<_> = log
        .iter()
        .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()))
        .collect();
    replica.take_commits(&commits)?;
    for operation in pending {
        match replica.take_operation(operation) {
            Err(ReplicaError::Identity(IdentityError::Void(_))) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Loads every identity, and orders what waited for it.
fn load_replicas(data: &Data, options: &PeerOptions) -> Result<HashMap<IdentityId, Arc<Replica>>, Failure> {
    let mut replicas = HashMap::new();
    for identity in data.log().read(|read| read.identities())? {
        let replica = Replica::load(
            data.log().clone(),
            identity,
            data.keys().signing.clone(),
            options.clock.clone(),
            Limits::default(),
        )?;
        replica.commit_pending()?;
        replicas.insert(identity, Arc::new(replica));
    }
    Ok(replicas)
}

/// A code should name the relay, which takes a moment to answer.
async fn wait_for_relay(net: &Net) {
    if net.options().relay == Relay::None {
        return;
    }
    let answered = async {
        while relay_of(net).is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(RELAY_WITHIN, answered).await.is_err() {
        tracing::warn!("the relay does not answer; codes do not name it until it does");
    }
}

fn relay_of(net: &Net) -> Option<String> {
    net.addresses().into_iter().find(|address| address.contains("://"))
}

impl Shared {
    pub(crate) fn code(&self, valid: Duration) -> Ticket {
        let cloud = &self.cloud;
        let expires = (cloud.options.clock)() / 1000 + valid.as_secs();
        Ticket {
            role: LinkRole::CloudPeer,
            endpoint: cloud.net.id(),
            addresses: cloud.announced(),
            secret: cloud.invitations.issue(&mut OsRandom, expires),
            expires,
        }
    }

    pub(crate) async fn status(&self) -> Result<StatusReport, Failure> {
        let data = self.cloud.data.clone();
        let rest = blocking(move || StatusReport::at_rest(&data)).await?;
        let address = PeerAddress {
            endpoint: self.cloud.net.id(),
            addresses: self.cloud.announced(),
        };
        Ok(StatusReport {
            running: true,
            uptime_seconds: Some(self.started.elapsed().as_secs()),
            listening: self.cloud.net.sockets().iter().map(ToString::to_string).collect(),
            announced: address.addresses.clone(),
            address: Some(address.to_string()),
            relay: relay_of(&self.cloud.net),
            connections: self.service.connections(),
            ..rest
        })
    }

    pub(crate) async fn identities(&self) -> Result<Vec<IdentityReport>, Failure> {
        let data = self.cloud.data.clone();
        blocking(move || data.identities()).await
    }

    pub(crate) async fn set_quota(&self, whose: String, change: QuotaChange) -> Result<Vec<IdentityReport>, Failure> {
        let data = self.cloud.data.clone();
        blocking(move || data.set_quota(&whose, change)).await
    }
}

impl Cloud {
    /// Where phones find this peer: what was announced, then what the endpoint knows of itself.
    fn announced(&self) -> Vec<String> {
        let port = self.net.sockets().first().map_or(0, SocketAddr::port);
        let named = self.options.announce.iter().map(|name| with_port(name, port));
        let mut addresses: Vec<String> = Vec::new();
        for address in named.chain(self.net.addresses().into_iter().map(reachable)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(MAX_SERVICES);
        addresses
    }

    /// Carries out what the identities' devices want erased: after every change of an identity, and now and then.
    async fn erase_what_is_due(self: Arc<Self>) {
        let mut changes = self.data.log().changes();
        let mut stop = self.stop.clone();
        let cloud = self.clone();
        let _ = tokio::task::spawn_blocking(move || cloud.sweep()).await;
        loop {
            let cloud = self.clone();
            let _ = tokio::task::spawn_blocking(move || cloud.carry_out()).await;
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(ERASE_AGAIN) => {}
                change = changes.recv() => if matches!(change, Err(RecvError::Closed)) { return },
            }
            // What came meanwhile is looked at in the same go.
            while changes.try_recv().is_ok() {}
        }
    }

    fn all_replicas(&self) -> Vec<Arc<Replica>> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.values().cloned().collect()
    }

    /// Removes what a crash left of attachments that nothing stands for any more.
    fn sweep(&self) {
        for replica in self.all_replicas() {
            let swept = self.data.blobs().sweep(&replica.identity());
            if let Err(error) = swept {
                let identity = replica.identity().short();
                tracing::warn!(%identity, %error, "what a crash left of attachments cannot be removed now");
            }
        }
    }

    fn carry_out(&self) {
        for replica in self.all_replicas() {
            let identity = replica.identity().short();
            let drops = Drops(self.data.blobs(), replica.identity());
            match replica.carry_out(&drops) {
                Ok(done) if done.bytes > 0 => tracing::info!(%identity, bytes = done.bytes, "sections were erased"),
                Ok(_) => {}
                Err(error) => tracing::warn!(%identity, %error, "sections cannot be erased now"),
            }
        }
    }

    fn tell(&self, event: Event) {
        (self.options.on_event)(event);
    }

    /// Keeps a new identity: its log, what it may use, and from then on its sessions.
    fn keep(&self, log: Vec<(Commit, Operation)>, pending: Vec<Operation>) -> Result<(), ReplicaError> {
        let _keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        // One identity is one replica, or two of them would order operations past each other. What is here keeps its quota.
        let known = log
            .first()
            .and_then(|(_, genesis)| Host::replica(self, &genesis.identity()));
        if let Some(replica) = known {
            return learn(&replica, &log, pending);
        }
        let replica = Replica::adopt(
            self.data.log().clone(),
            log,
            pending,
            self.data.keys().signing.clone(),
            self.options.clock.clone(),
            Limits::default(),
        )?;
        let (identity, quota) = (replica.identity(), self.options.quota);
        self.data
            .log()
            .write(move |write| write.set_quota(&identity, quota))
            .wait()?;
        replica.commit_pending()?;
        self.replicas
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(identity, Arc::new(replica));
        Ok(())
    }

    /// Gives the log of an identity to whoever holds its words: what it says of its members is sealed.
    async fn give_log(
        &self,
        endpoint: &PublicKey,
        mut frames: Frames,
        begin: &Message,
        mut stop: watch::Receiver<bool>,
    ) {
        let replicas = self.all_replicas();
        let own = self.net.id();
        let given = tokio::select! {
            given = tokio::time::timeout(LINK_WITHIN, answer_recovery(&mut frames, begin, &own, endpoint, &replicas)) => {
                given.unwrap_or(Err(NetError::Deadline.into()))
            }
            () = stopped(&mut stop) => Err(LinkError::Stopped),
        };
        match given {
            Ok(identity) => {
                tracing::info!(identity = %identity.short(), "somebody with the words of an identity got its log");
                self.tell(Event::Recovered {
                    identity: identity.short(),
                });
            }
            Err(error) => tracing::debug!(%error, "nobody comes back with these words"),
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
    }

    async fn join(
        self: &Arc<Self>,
        endpoint: &PublicKey,
        frames: &mut Frames,
        begin: &Message,
        secret: &[u8; 16],
    ) -> Result<LinkOutcome, LinkError> {
        let keys = self.data.keys();
        let shaken = answer(frames, endpoint, begin, secret, LinkRole::CloudPeer, Keys::of(keys)).await?;
        let newcomer = Newcomer {
            signing: keys.signing.clone(),
            keys: Keys::of(keys),
            name: self.options.name.clone(),
            services: self.announced(),
            peer: true,
        };
        let screen = self.clone();
        // Nobody sits here to compare: the number is shown, and the phone's owner decides.
        let confirm: Confirm = Arc::new(move |number| {
            screen.tell(Event::Number(number));
            Box::pin(std::future::ready(true))
        });
        let cloud = self.clone();
        let keep: Keep<()> = Box::new(move |log, pending| cloud.keep(log, pending));
        let (outcome, ()) = join(frames, shaken, newcomer, &confirm, keep).await?;
        Ok(outcome)
    }
}

/// A cloud peer opens nothing: what an erasure names goes.
struct Drops<'a>(&'a Blobs, IdentityId);

impl Eraser for Drops<'_> {
    fn judge(&self, _: &Hash, _: &VerifiedEntry, _: u32) -> Result<Judgement, StoreError> {
        Ok(Judgement::Drop)
    }

    fn finish(&self, erasures: &[(Hash, Erasure)]) -> Result<bool, StoreError> {
        let ids = erasures.iter().flat_map(|(_, erasure)| &erasure.attachments);
        let ids: Vec<AttachmentId> = ids.map(|id| AttachmentId(id.0)).collect();
        if !ids.is_empty() {
            self.0.drop_attachments(&self.1, &ids)?;
            self.0.sweep(&self.1)?;
        }
        Ok(true)
    }
}

impl Host for Cloud {
    fn replica(&self, identity: &IdentityId) -> Option<Arc<Replica>> {
        self.replicas
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(identity)
            .cloned()
    }

    fn attachments(&self, _: &IdentityId) -> Option<(Blobs, Vec<AttachmentId>)> {
        Some((self.data.blobs().clone(), Vec::new()))
    }

    fn link(
        self: Arc<Self>,
        endpoint: PublicKey,
        mut frames: Frames,
        begin: Message,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let mut stop = self.stop.clone();
            if matches!(begin, Message::Recover { .. }) {
                self.give_log(&endpoint, frames, &begin, stop).await;
                return;
            }
            match self.invitations.claim(&begin, (self.options.clock)() / 1000) {
                Err(reason) => {
                    // Anybody can cause this line, as often as they like.
                    tracing::debug!(reason, "a link was refused");
                    refuse(&mut frames, reason).await;
                }
                Ok(secret) => {
                    let linked = tokio::select! {
                        linked = tokio::time::timeout(LINK_WITHIN, self.join(&endpoint, &mut frames, &begin, &secret)) => {
                            linked.unwrap_or(Err(NetError::Deadline.into()))
                        }
                        () = stopped(&mut stop) => Err(LinkError::Stopped),
                    };
                    match linked {
                        Ok(outcome) => {
                            let identity = outcome.identity.short();
                            tracing::info!(%identity, "an identity linked this peer");
                            self.tell(Event::Linked { identity });
                        }
                        Err(error) => {
                            tracing::info!(%error, "a link was not made");
                            self.tell(Event::NotLinked { why: error.to_string() });
                        }
                    }
                }
            }
            let _ = tokio::time::timeout(Duration::from_secs(2), frames.finish()).await;
        })
    }

    fn ended(&self, identity: &IdentityId, result: &Result<Report, NetError>) {
        let identity = identity.short();
        match result {
            Ok(report) => tracing::debug!(
                %identity,
                received = report.outcome.received,
                sent = report.outcome.sent,
                "a session ended"
            ),
            Err(error) => tracing::debug!(%identity, %error, "a session ended"),
        }
    }
}

/// `name` with a port, if it has none.
fn with_port(name: &str, port: u16) -> String {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return SocketAddr::new(ip, port).to_string();
    }
    let has_port = name
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port {
        name.to_owned()
    } else {
        format!("{name}:{port}")
    }
}

/// An address that one can dial: "every interface" means this machine to whoever sits on it.
fn reachable(address: String) -> String {
    match address.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(v4)) if v4.ip().is_unspecified() => {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), v4.port()).to_string()
        }
        Ok(SocketAddr::V6(v6)) if v6.ip().is_unspecified() => {
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), v6.port()).to_string()
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_has_a_port() {
        for (name, wanted) in [
            ("cloud.example.org", "cloud.example.org:4433"),
            ("cloud.example.org:99", "cloud.example.org:99"),
            ("192.0.2.1", "192.0.2.1:4433"),
            ("2001:db8::1", "[2001:db8::1]:4433"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
        ] {
            assert_eq!(with_port(name, 4433), wanted);
        }
    }
}
