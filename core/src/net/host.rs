//! Answering connections: who may speak, how many at once, and for how long they may be silent.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use iroh::endpoint::{Connection, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::{Drive, Frames, Mode, Net, NetError, Report, apart, attend, remote_key, stopped};
use crate::{
    crypto::PublicKey,
    identity::IdentityId,
    log::AttachmentId,
    store::Blobs,
    sync::{Attendant, ByeReason, Message, Replica, Session, SessionError},
};

/// What a service serves.
pub trait Host: Send + Sync + 'static {
    /// The replica of an identity, if it is here.
    fn replica(&self, identity: &IdentityId) -> Option<Arc<Replica>>;

    /// Where the attachments of an identity lie, and which of them this side, a device, wants; `None` if it keeps none. May wait for the disk.
    fn attachments(&self, _identity: &IdentityId) -> Option<(Blobs, Vec<AttachmentId>)> {
        None
    }

    /// A stranger wants to link, or to come back by the words: `begin` is its first message, `endpoint` the key that its connection proved.
    fn link(
        self: Arc<Self>,
        endpoint: PublicKey,
        frames: Frames,
        begin: Message,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// A session ended. Nothing in it names a person.
    fn ended(&self, identity: &IdentityId, result: &Result<Report, NetError>);
}

/// What a service takes on at the most.
#[derive(Debug, Clone, Copy)]
pub struct ServiceLimits {
    /// Sessions at once.
    pub connections: usize,
    /// Sessions at once of one identity.
    pub per_identity: usize,
    /// Links under way at once.
    pub links: usize,
    /// Connections at once that have not shown who they are. When one more comes, the one that is silent for longest goes: an honest one
    /// needs two round trips.
    pub strangers: usize,
    /// New connections of one endpoint in a minute.
    pub per_minute: u32,
    /// How long a handshake may take, and then a connection to say who it is.
    pub patience: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_identity: 16,
            links: 16,
            strangers: 256,
            per_minute: 120,
            patience: Duration::from_secs(10),
        }
    }
}

/// Accepts connections until told to stop.
pub struct Service<H> {
    net: Arc<Net>,
    host: Arc<H>,
    limits: ServiceLimits,
    stop: watch::Receiver<bool>,
    connections: Arc<Semaphore>,
    links: Arc<Semaphore>,
    strangers: Arc<Strangers>,
    identities: Mutex<HashMap<IdentityId, usize>>,
    recent: Mutex<HashMap<PublicKey, (Instant, u32)>>,
}

/// Whom a connection turned out to be.
enum Met {
    /// A device or peer of an identity that is here.
    Member {
        identity: IdentityId,
        frames: Frames,
        session: Box<Session>,
        replica: Arc<Replica>,
        _place: OwnedSemaphorePermit,
    },
    /// A device or peer of an identity that is here, about attachments.
    Carrier {
        identity: IdentityId,
        frames: Frames,
        attendant: Box<Attendant>,
        replica: Arc<Replica>,
        _place: OwnedSemaphorePermit,
    },
    /// Somebody who says that it was shown a code, or has the words.
    Newcomer {
        frames: Frames,
        begin: Message,
        _place: OwnedSemaphorePermit,
    },
}

impl<H: Host> Service<H> {
    /// A service for `host` on `net`.
    pub fn new(net: Arc<Net>, host: Arc<H>, limits: ServiceLimits, stop: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self {
            net,
            host,
            limits,
            stop,
            connections: Arc::new(Semaphore::new(limits.connections)),
            links: Arc::new(Semaphore::new(limits.links)),
            strangers: Arc::new(Strangers::new(limits.strangers)),
            identities: Mutex::new(HashMap::new()),
            recent: Mutex::new(HashMap::new()),
        })
    }

    /// How many sessions are open now.
    pub fn connections(&self) -> usize {
        self.limits
            .connections
            .saturating_sub(self.connections.available_permits())
    }

    /// Accepts until the endpoint closes or `stop` turns true, then waits for the sessions to end.
    pub async fn run(self: Arc<Self>) {
        let mut stop = self.stop.clone();
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                Some(_) = tasks.join_next() => {}
                incoming = self.net.accept() => match incoming {
                    Some(incoming) => self.take(incoming, &mut tasks),
                    None => break,
                },
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    fn take(self: &Arc<Self>, incoming: Incoming, tasks: &mut tokio::task::JoinSet<()>) {
        // Under load a stranger first shows that its address is its own: who lies about it turns nobody out.
        if self.strangers.are_many() && !incoming.remote_addr_validated() {
            let _ = incoming.retry();
            return;
        }
        let (service, mut waiting) = (self.clone(), Strangers::enter(&self.strangers));
        tasks.spawn(async move {
            let Ok(accepting) = incoming.accept() else { return };
            let patience = service.limits.patience;
            let connected = tokio::select! {
                () = waiting.turned_out() => return,
                connected = tokio::time::timeout(patience, accepting) => connected,
            };
            let Ok(Ok(connection)) = connected else { return };
            let met = tokio::select! {
                () = waiting.turned_out() => None,
                met = tokio::time::timeout(patience, service.meet(&connection)) => met.ok().flatten(),
            };
            drop(waiting);
            match met {
                Some(met) => {
                    service.serve(remote_key(&connection), met).await;
                    connection.close(0u32.into(), ByeReason::Done.as_str().as_bytes());
                }
                None => connection.close(1u32.into(), ByeReason::Busy.as_str().as_bytes()),
            }
        });
    }

    /// Whether an endpoint connects more often than it may.
    fn is_hasty(&self, endpoint: &PublicKey) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        recent.retain(|_, (since, _)| now.duration_since(*since) < Duration::from_secs(60));
        if recent.len() >= 65_536 {
            // A flood of keys must not make those wait who are known.
            recent.clear();
        }
        let (_, count) = recent.entry(*endpoint).or_insert((now, 0));
        *count += 1;
        *count > self.limits.per_minute
    }

    /// Hears the first message. `None`: there is nothing more to say to this one.
    async fn meet(&self, connection: &Connection) -> Option<Met> {
        let endpoint = remote_key(connection);
        let (send, recv) = connection.accept_bi().await.ok()?;
        let mut frames = Frames::new(send, recv, self.net.options().observer.clone());
        let message = frames.receive().await.ok()?;
        let (identity, replica) = match &message {
            Message::LinkBegin { .. } | Message::Recover { .. } => {
                let place = self.links.clone().try_acquire_owned();
                let Some(place) = place.ok().filter(|_| !self.is_hasty(&endpoint)) else {
                    self.refuse(frames, ByeReason::Busy).await;
                    return None;
                };
                return Some(Met::Newcomer {
                    frames,
                    begin: message,
                    _place: place,
                });
            }
            Message::Hello { identity, .. } | Message::Attachments { identity, .. } => {
                match self.host.replica(identity) {
                    Some(replica) => (*identity, replica),
                    None => {
                        self.refuse(frames, ByeReason::UnknownIdentity).await;
                        return None;
                    }
                }
            }
            _ => {
                self.refuse(frames, ByeReason::Invalid).await;
                return None;
            }
        };
        if self.is_hasty(&endpoint) {
            self.refuse(frames, ByeReason::Busy).await;
            return None;
        }
        if matches!(message, Message::Attachments { .. }) {
            return self.meet_carrier(endpoint, frames, message, replica).await;
        }
        let session = match begin_session(endpoint, message, &replica).await {
            Ok(session) => Box::new(session),
            Err(error) => {
                if let NetError::Session(error) = &error {
                    self.refuse(frames, error.bye()).await;
                }
                self.host.ended(&identity, &Err(error));
                return None;
            }
        };
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            self.refuse(frames, ByeReason::Busy).await;
            return None;
        };
        Some(Met::Member {
            identity,
            frames,
            session,
            replica,
            _place: place,
        })
    }

    async fn meet_carrier(
        &self,
        endpoint: PublicKey,
        frames: Frames,
        begin: Message,
        replica: Arc<Replica>,
    ) -> Option<Met> {
        let (host, known, identity) = (self.host.clone(), replica.clone(), replica.identity());
        let begun = apart(move || {
            // Before anything of the attachments is looked at: a stranger must not make a device read through all that it has.
            if known.known().tentative.by_endpoint(&endpoint).is_none() {
                return Some(Err(SessionError::NotAMember));
            }
            let (blobs, wanted) = host.attachments(&identity)?;
            Some(Attendant::begin(&known, blobs, &endpoint, &begin, wanted))
        });
        let refused = match (begun.await.ok()?, self.connections.clone().try_acquire_owned()) {
            (Some(Ok(attendant)), Ok(place)) => {
                return Some(Met::Carrier {
                    identity,
                    frames,
                    attendant: Box::new(attendant),
                    replica,
                    _place: place,
                });
            }
            (Some(Ok(_)), Err(_)) => ByeReason::Busy,
            (Some(Err(error)), _) => error.bye(),
            (None, _) => ByeReason::Invalid,
        };
        self.refuse(frames, refused).await;
        None
    }

    async fn serve(self: &Arc<Self>, endpoint: PublicKey, met: Met) {
        match met {
            Met::Newcomer { frames, begin, _place } => self.host.clone().link(endpoint, frames, begin).await,
            Met::Carrier {
                identity,
                frames,
                attendant,
                replica,
                _place,
            } => {
                if !self.enter(identity) {
                    self.refuse(frames, ByeReason::Busy).await;
                    return;
                }
                frames.trust();
                if let Err(error) = attend(frames, *attendant, replica, self.stop.clone()).await {
                    tracing::debug!(%error, "a session about attachments ended");
                }
                self.leave(&identity);
            }
            Met::Member {
                identity,
                frames,
                session,
                replica,
                _place,
            } => {
                if !self.enter(identity) {
                    self.refuse(frames, ByeReason::Busy).await;
                    return;
                }
                frames.trust();
                let drive = Drive {
                    frames,
                    session: *session,
                    replica,
                    mode: Mode::Serve,
                    stop: self.stop.clone(),
                    progress: None,
                };
                let result = drive.run().await;
                self.leave(&identity);
                self.host.ended(&identity, &result);
            }
        }
    }

    async fn refuse(&self, mut frames: Frames, reason: ByeReason) {
        let farewell = async move {
            let _ = frames.send(&Message::Bye(reason)).await;
            frames.finish().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
    }

    fn enter(&self, identity: IdentityId) -> bool {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let count = identities.entry(identity).or_default();
        if *count >= self.limits.per_identity {
            return false;
        }
        *count += 1;
        true
    }

    fn leave(&self, identity: &IdentityId) {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = identities.get_mut(identity) {
            *count -= 1;
            if *count == 0 {
                identities.remove(identity);
            }
        }
    }
}

/// Those who have not shown yet who they are, in the order in which they came.
struct Strangers {
    size: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// The number of the last who came.
    last: u64,
    places: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place among the strangers, left when dropped.
struct Stranger {
    number: u64,
    among: Arc<Strangers>,
    out: oneshot::Receiver<()>,
}

impl Strangers {
    fn new(size: usize) -> Self {
        Self {
            size: size.max(1),
            waiting: Mutex::default(),
        }
    }

    /// Whether half of the places are taken.
    fn are_many(&self) -> bool {
        self.lock().places.len() * 2 >= self.size
    }

    /// Takes a place, that of whoever waits for longest if all are taken.
    fn enter(among: &Arc<Self>) -> Stranger {
        let (send, out) = oneshot::channel();
        let mut waiting = among.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.places.push_back((number, send));
        if waiting.places.len() > among.size {
            // Its receiver learns of it by the sender's end.
            drop(waiting.places.pop_front());
        }
        drop(waiting);
        let among = among.clone();
        Stranger { number, among, out }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Returns when the place is needed for another.
    async fn turned_out(&mut self) {
        let _ = (&mut self.out).await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut waiting = self.among.lock();
        if let Ok(place) = waiting.places.binary_search_by_key(&self.number, |(number, _)| *number) {
            waiting.places.remove(place);
        }
    }
}

async fn begin_session(endpoint: PublicKey, hello: Message, replica: &Arc<Replica>) -> Result<Session, NetError> {
    let replica = replica.clone();
    let begun = apart(move || {
        let mut session = Session::listen(endpoint);
        session.receive(hello, &replica).map(|()| session)
    });
    Ok(begun.await.map_err(|_| NetError::Stopped)??)
}
