//! When to sync, with whom, and what to say of it afterwards.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    Pod,
    carrying::carry_live,
    running::{Running, addresses_key, lock},
    status::{SyncState, WaitReason},
};
use crate::{
    crypto::{PublicKey, decode},
    error::Error,
    identity::{IdentityError, IdentityId},
    log::AttachmentId,
    net::{
        Carried, Drive, Frames, Host, Mode, Net, NetError, Report, Service, ServiceLimits, StopReason, apart, stopped,
    },
    store::{Blobs, StoreError},
    sync::{ByeReason, Message, Outcome, RefuseReason, Replica, ReplicaError, Session, SessionError},
};

/// Within a sync, how long one peer may take to answer at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long `suspend()` waits for the last packets of what it closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// A live session that broke is tried again after this, then after twice as long, up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// How the sync with one peer went.
#[derive(Debug)]
pub struct PeerReport {
    /// The peer's signing key.
    pub key: PublicKey,
    /// What the person calls it.
    pub name: Option<String>,
    /// What moved, or why not.
    pub result: Result<Report, NetError>,
    /// What moved of attachments after the documents, and how that ended; `None` if there was nothing to move, or no time.
    pub attachments: Option<(Carried, Result<StopReason, NetError>)>,
}

/// How a sync went.
#[derive(Debug)]
pub struct SyncReport {
    /// One for each peer that was tried.
    pub peers: Vec<PeerReport>,
    /// The pod's state afterwards.
    pub state: SyncState,
}

/// Keeps a pod live for as long as it is held.
#[derive(Debug)]
pub struct Live {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Live {
    /// Ends the live sessions and waits for their last words.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            let _ = task.await;
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// The endpoint, and the service that answers on it.
pub(super) struct Online {
    pub net: Arc<Net>,
    service: JoinHandle<()>,
}

impl Online {
    pub async fn close(self) {
        // The service was told to stop by now; sessions say goodbye before the endpoint goes.
        let _ = tokio::time::timeout(Duration::from_secs(4), self.service).await;
        self.net.close_within(CLOSE_WITHIN).await;
    }
}

/// A device or peer to dial.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub key: PublicKey,
    pub endpoint: PublicKey,
    pub addresses: Vec<String>,
    pub name: Option<String>,
}

impl Pod {
    /// The whole job of a background wake: connects to each cloud peer (or, without one, to each device whose address is known), moves
    /// what is missing both ways, gets durable receipts and closes, within `deadline` and `byte_budget` (bytes of frames both ways; it may
    /// be overrun by one range). What was moved stays moved, however it ends.
    ///
    /// # Errors
    /// Those of the pod itself. What went wrong with a peer stands in the report.
    pub async fn sync_once(&self, deadline: Duration, byte_budget: Option<u64>) -> Result<SyncReport, Error> {
        let running = self.running()?;
        let until = Instant::now() + deadline;
        // What one sync taught may call for a new identity key: it goes out with this one.
        if let Err(error) = self.work(Running::heal).await {
            tracing::warn!(%error, "the identity key cannot be made anew now");
        }
        // What became due meanwhile is in force with what this sync brings back.
        running.clone().tended("before a sync").await;
        // A peer that did not answer last time keeps nobody waiting: those that did go first, one after the other, so that nothing is fetched twice;
        // then the others, all at once.
        let (doubtful, known): (Vec<Target>, Vec<Target>) = {
            let contacts = lock(&running.contacts);
            running.targets()?.into_iter().partition(|target| {
                let contact = contacts.get(&target.key);
                contact.is_some_and(|contact| matches!(contact.waiting, Some(WaitReason::PeerUnreachable { .. })))
            })
        };
        let mut peers = Vec::new();
        let mut left = byte_budget;
        for target in known {
            if left == Some(0) {
                break;
            }
            let peer = running.clone().report(target, until, left).await;
            if let (Some(left), Ok(report)) = (&mut left, &peer.result) {
                *left = left.saturating_sub(report.bytes_sent + report.bytes_received);
            }
            peers.push(peer);
        }
        let share = left.map(|left| left / (doubtful.len() as u64).max(1));
        if share != Some(0) {
            let mut trying: JoinSet<PeerReport> = doubtful
                .into_iter()
                .map(|target| running.clone().report(target, until, share))
                .collect();
            while let Some(tried) = trying.join_next().await {
                let peer = tried.map_err(|_| Error::Closed)?;
                if let (Some(left), Ok(report)) = (&mut left, &peer.result) {
                    *left = left.saturating_sub(report.bytes_sent + report.bytes_received);
                }
                peers.push(peer);
            }
        }
        if peers.iter().any(|peer| matches!(peer.result, Err(NetError::Stopped))) {
            return Err(Error::Suspended);
        }
        running.caught_up(until).await?;
        running.clone().tended("after a sync").await;
        // Attachments have what the documents left.
        let targets = running.targets()?;
        for peer in &mut peers {
            let ready = matches!(&peer.result, Ok(report) if report.outcome.attachments && is_done(report.reason));
            let Some(target) = targets.iter().find(|target| target.key == peer.key && ready) else {
                continue;
            };
            if left == Some(0) || Instant::now() >= until {
                break;
            }
            peer.attachments = running.carry_all(target, Some(until), left).await;
            if let (Some(left), Some((carried, _))) = (&mut left, &peer.attachments) {
                *left = left.saturating_sub(carried.bytes.0 + carried.bytes.1);
            }
        }
        if let Err(error) = self.work(Running::tidy_after_sync).await {
            tracing::warn!(%error, "attachments are not tidied now");
        }
        let state = self.status().await?.sync;
        Ok(SyncReport { peers, state })
    }

    /// Stays connected to every cloud peer for as long as the handle is held: new entries are pushed at once, both ways. Connections that
    /// break are made again. For the foreground: an idle connection keeps a radio awake.
    pub async fn go_live(&self) -> Result<Live, Error> {
        let running = self.running()?;
        running.net().await?;
        let stop = watch::Sender::new(false);
        let mut tasks = Vec::new();
        for target in running.targets()? {
            let (weak, mut live_stop, mut pod_stop) =
                (Arc::downgrade(&running), stop.subscribe(), running.stop_signal());
            let network = running.network.subscribe();
            let (carried, to) = (weak.clone(), target.clone());
            let (mut carry_stop, mut pod_stops) = (stop.subscribe(), running.stop_signal());
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    () = stopped(&mut pod_stops) => {}
                    () = stopped(&mut carry_stop) => {}
                    () = carry_live(carried, to) => {}
                }
            }));
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    () = stopped(&mut pod_stop) => {}
                    () = stay_live(weak, target, live_stop.clone(), network) => {}
                    () = async { stopped(&mut live_stop).await; tokio::time::sleep(Duration::from_secs(5)).await } => {}
                }
            }));
        }
        Ok(Live { stop, tasks })
    }

    /// Opens the endpoint, so that linked devices can connect here, and says where it can be reached.
    pub async fn listen(&self) -> Result<Vec<String>, Error> {
        Ok(self.running()?.net().await?.addresses())
    }

    /// To be called when the system says that the network changed. On Android nobody else tells the endpoint; and live sessions that broke
    /// are tried again at once.
    pub async fn network_changed(&self) -> Result<(), Error> {
        let running = self.running()?;
        let net = running.online.lock().await.as_ref().map(|online| online.net.clone());
        if let Some(net) = net {
            net.network_changed().await;
        }
        running.network.send_replace(());
        Ok(())
    }
}

async fn stay_live(
    running: Weak<Running>,
    target: Target,
    mut stop: watch::Receiver<bool>,
    mut network: watch::Receiver<()>,
) {
    let mut pause = RETRY_FIRST;
    loop {
        let Some(strong) = running.upgrade() else { return };
        network.mark_unchanged();
        let began = Instant::now();
        let _ = strong.sync_until(&target, Mode::Live, Some(stop.clone())).await;
        drop(strong);
        if *stop.borrow() {
            return;
        }
        if began.elapsed() > RETRY_LONGEST {
            pause = RETRY_FIRST;
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            // What failed on the network before may work on this one.
            Ok(()) = network.changed() => pause = RETRY_FIRST,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LONGEST),
        }
    }
}

impl Running {
    /// The endpoint; opened, with its service, if it is not yet.
    pub async fn net(self: &Arc<Self>) -> Result<Arc<Net>, Error> {
        let mut online = self.online.lock().await;
        if let Some(online) = &*online {
            return Ok(online.net.clone());
        }
        if *self.stop_signal().borrow() {
            return Err(Error::Suspended);
        }
        let net = Arc::new(Net::open(&self.keys.endpoint, self.options.net.clone()).await?);
        let host = Arc::new(PodHost(Arc::downgrade(self)));
        // A phone serves the other devices of one person.
        let limits = ServiceLimits {
            connections: 16,
            links: 4,
            strangers: 32,
            ..ServiceLimits::default()
        };
        let service = Service::new(net.clone(), host, limits, self.stop_signal());
        *online = Some(Online {
            net: net.clone(),
            service: tokio::spawn(service.run()),
        });
        Ok(net)
    }

    /// Whom to sync with: every cloud peer; without one, every device whose address is known.
    fn targets(&self) -> Result<Vec<Target>, Error> {
        let (clouds, devices) = self.reachable()?;
        Ok(if clouds.is_empty() { devices } else { clouds })
    }

    /// Who may hold an attachment: every cloud peer, then every device whose address is known.
    pub(super) fn carriers(&self) -> Result<Vec<Target>, Error> {
        let (mut all, devices) = self.reachable()?;
        all.extend(devices);
        Ok(all)
    }

    /// Cloud peers, and devices whose address is known.
    fn reachable(&self) -> Result<(Vec<Target>, Vec<Target>), Error> {
        let known = self.replica.known();
        let ring = self.ring();
        let target = |keys: &crate::identity::Keys, addresses: Vec<String>| Target {
            key: keys.0,
            endpoint: keys.2,
            addresses,
            name: ring.name(&keys.0).map(str::to_owned),
        };
        // Where it was last found by a code or by the words may be news to the identity log.
        let noted = |endpoint: &PublicKey| -> Result<Option<Vec<String>>, StoreError> {
            let noted = self.log.read(|read| read.meta(&addresses_key(endpoint)))?;
            Ok(noted.and_then(|bytes| decode::<Vec<String>>(&bytes).ok()))
        };
        let mut clouds = Vec::new();
        for peer in known.tentative.peers().values() {
            let mut addresses = peer.services.clone();
            addresses.extend(noted(&peer.keys.2)?.unwrap_or_default());
            let mut seen = BTreeSet::new();
            addresses.retain(|address| seen.insert(address.clone()));
            clouds.push(target(&peer.keys, addresses));
        }
        let me = self.keys.signing.public();
        let mut devices = Vec::new();
        for device in known.tentative.devices().values().filter(|device| device.keys.0 != me) {
            if let Some(addresses) = noted(&device.keys.2)? {
                devices.push(target(&device.keys, addresses));
            }
        }
        Ok((clouds, devices))
    }

    async fn report(self: Arc<Self>, target: Target, deadline: Instant, budget: Option<u64>) -> PeerReport {
        // A peer that nobody had the time to dial was not found away.
        let result = if Instant::now() < deadline {
            self.sync_until(&target, Mode::Once { deadline, budget }, None).await
        } else {
            Err(NetError::Deadline)
        };
        PeerReport {
            key: target.key,
            name: target.name,
            result,
            attachments: None,
        }
    }

    async fn sync_until(
        self: &Arc<Self>,
        target: &Target,
        mode: Mode,
        stop: Option<watch::Receiver<bool>>,
    ) -> Result<Report, NetError> {
        let mut pod_stop = self.stop_signal();
        let _ended = Ended(self, target.key);
        let result = tokio::select! {
            biased;
            // A drive that is under way ends by itself, with a last word; before that there is nothing to save.
            result = self.dial_and_drive(target, mode, stop) => result,
            () = async { stopped(&mut pod_stop).await; tokio::time::sleep(Duration::from_secs(4)).await } => Err(NetError::Stopped),
        };
        self.note_contact(target, &result);
        result
    }

    /// Whoever says that this device is no member may have been put back to a time before it was: it is shown the proof.
    async fn dial_and_drive(
        self: &Arc<Self>,
        target: &Target,
        mode: Mode,
        stop: Option<watch::Receiver<bool>>,
    ) -> Result<Report, NetError> {
        match self.drive_once(target, mode, stop.clone(), Session::dial).await {
            Err(NetError::Refused(ByeReason::NotAMember)) => {
                self.drive_once(target, mode, stop, Session::dial_proving).await
            }
            other => other,
        }
    }

    async fn drive_once(
        self: &Arc<Self>,
        target: &Target,
        mode: Mode,
        stop: Option<watch::Receiver<bool>>,
        dial: fn(&Replica, PublicKey) -> Result<Session, SessionError>,
    ) -> Result<Report, NetError> {
        let within = match mode {
            Mode::Once { deadline, .. } => deadline.saturating_duration_since(Instant::now()).min(CONNECT_WITHIN),
            Mode::Live | Mode::Serve => CONNECT_WITHIN,
        };
        let net = match self.net().await {
            Ok(net) => net,
            Err(Error::Network(error)) => return Err(error),
            Err(_) => return Err(NetError::Stopped),
        };
        let stop = stop.unwrap_or_else(|| self.stop_signal());
        let mut waiting = stop.clone();
        let (connection, frames) = tokio::select! {
            () = stopped(&mut waiting) => return Err(NetError::Stopped),
            dialled = net.dial(&target.endpoint, &target.addresses, within) => dialled?,
        };
        frames.trust();
        let (replica, key) = (self.replica.clone(), target.key);
        let session = apart(move || dial(&replica, key))
            .await
            .map_err(|_| NetError::Stopped)??;
        let (contacts, peer) = (Arc::downgrade(self), target.key);
        let progress = move |outcome: &Outcome| {
            if let Some(running) = contacts.upgrade() {
                let mut contacts = lock(&running.contacts);
                let contact = contacts.entry(peer).or_default();
                let done = outcome.sent + outcome.received;
                contact.reached = Some((running.options.clock)());
                contact.attachments = outcome.attachments;
                contact.waiting = refusal_of(outcome);
                contact.syncing =
                    (outcome.left > 0 && contact.waiting.is_none()).then_some((done, done + outcome.left));
                drop(contacts);
                running.shared.changes.state();
            }
        };
        let drive = Drive {
            frames,
            session,
            replica: self.replica.clone(),
            mode,
            stop,
            progress: Some(Arc::new(progress)),
        };
        let result = drive.run().await;
        connection.close(0u32.into(), b"done");
        result
    }

    fn note_contact(&self, target: &Target, result: &Result<Report, NetError>) {
        let now = (self.options.clock)();
        let mut contacts = lock(&self.contacts);
        let contact = contacts.entry(target.key).or_default();
        contact.syncing = None;
        contact.waiting = match result {
            Ok(report) => {
                contact.reached = Some(now);
                reason_of(report)
            }
            Err(NetError::Stopped) => contact.waiting.take(),
            Err(error) => Some(reason_of_failure(error, contact.waiting.as_ref(), now)),
        };
        drop(contacts);
        self.shared.changes.state();
    }
}

/// However a session ends, dropped by its caller included, it is no longer under way.
struct Ended<'a>(&'a Running, PublicKey);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if let Some(contact) = lock(&self.0.contacts).get_mut(&self.1) {
            contact.syncing = None;
        }
        self.0.shared.changes.state();
    }
}

/// Whether both sides had all documents.
fn is_done(reason: StopReason) -> bool {
    matches!(reason, StopReason::Done | StopReason::Remote(ByeReason::Done))
}

fn reason_of_failure(error: &NetError, before: Option<&WaitReason>, now: u64) -> WaitReason {
    match error {
        NetError::Refused(reason) | NetError::Session(SessionError::Ended(reason)) => WaitReason::Ended(*reason),
        NetError::Session(SessionError::Replica(ReplicaError::Identity(IdentityError::UpdateNeeded))) => {
            WaitReason::UpdateNeeded
        }
        NetError::Session(SessionError::Replica(ReplicaError::Store(_))) => WaitReason::Storage,
        NetError::Session(_) | NetError::Protocol(_) => WaitReason::Distrust,
        NetError::Bind(_)
        | NetError::Address { .. }
        | NetError::Unreachable(_)
        | NetError::Connection(_)
        | NetError::Deadline
        | NetError::Stopped => match before {
            Some(WaitReason::PeerUnreachable { since }) => WaitReason::PeerUnreachable { since: *since },
            _ => WaitReason::PeerUnreachable { since: now },
        },
    }
}

fn refusal_of(outcome: &Outcome) -> Option<WaitReason> {
    if outcome.missing > 0 {
        return Some(WaitReason::Distrust);
    }
    outcome.refused.first().map(|(reason, limit)| match reason {
        RefuseReason::QuotaBytes | RefuseReason::QuotaEntries => WaitReason::QuotaExceeded { limit: *limit },
        RefuseReason::UpdateNeeded => WaitReason::UpdateNeeded,
        other => WaitReason::Refused(*other),
    })
}

fn reason_of(report: &Report) -> Option<WaitReason> {
    match report.reason {
        StopReason::Deadline | StopReason::Budget => Some(WaitReason::NotFinished),
        StopReason::Done | StopReason::Stopped | StopReason::Remote(_) => refusal_of(&report.outcome),
    }
}

/// Answers other devices, and links.
pub(super) struct PodHost(Weak<Running>);

impl Host for PodHost {
    fn replica(&self, identity: &IdentityId) -> Option<Arc<Replica>> {
        self.0
            .upgrade()
            .map(|running| running.replica.clone())
            .filter(|replica| replica.identity() == *identity)
    }

    fn attachments(&self, _: &IdentityId) -> Option<(Blobs, Vec<AttachmentId>)> {
        let running = self.0.upgrade()?;
        // What cannot be told now is asked for another time.
        let (mut wanted, pinned) = running.wanted_attachments().unwrap_or_default();
        wanted.extend(pinned);
        Some((running.blobs.clone(), wanted))
    }

    fn link(
        self: Arc<Self>,
        endpoint: PublicKey,
        frames: Frames,
        begin: Message,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            if let Some(running) = self.0.upgrade() {
                running.answer_link(endpoint, frames, begin).await;
            }
        })
    }

    fn ended(&self, _: &IdentityId, result: &Result<Report, NetError>) {
        if let Err(error) = result {
            tracing::debug!(%error, "a session ended");
        }
    }
}
