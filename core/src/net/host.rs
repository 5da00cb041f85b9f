//! Answering connections: who may speak, how many at once, and for how long they may be silent.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use iroh::endpoint::{Connection, Incoming};
use tokio::sync::{Semaphore, watch};

use super::{Drive, Frames, Mode, Net, NetError, Report, remote_key, stopped};
use crate::{
    crypto::PublicKey,
    identity::IdentityId,
    sync::{ByeReason, Message, Replica, Session},
};

/// What a service serves.
pub trait Host: Send + Sync + 'static {
    /// The replica of an identity, if it is here.
    fn replica(&self, identity: &IdentityId) -> Option<Arc<Replica>>;

    /// A stranger wants to link: `begin` is its first message, `endpoint` the key that its connection proved.
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
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one identity.
    pub per_identity: usize,
    /// Handshakes under way at once.
    pub handshakes: usize,
    /// New connections of one endpoint in a minute.
    pub per_minute: u32,
    /// How long a connection may take to say who it is.
    pub patience: Duration,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            per_identity: 16,
            handshakes: 64,
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
    handshakes: Arc<Semaphore>,
    identities: Mutex<HashMap<IdentityId, usize>>,
    recent: Mutex<HashMap<PublicKey, (Instant, u32)>>,
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
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            identities: Mutex::new(HashMap::new()),
            recent: Mutex::new(HashMap::new()),
        })
    }

    /// How many connections are open now.
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
        let Ok(handshake) = self.handshakes.clone().try_acquire_owned() else {
            // Nothing is kept of what is ignored, not even an answer.
            incoming.ignore();
            return;
        };
        // Under load a stranger first shows that its address is its own.
        if self.handshakes.available_permits() < self.limits.handshakes / 2 && !incoming.remote_addr_validated() {
            let _ = incoming.retry();
            return;
        }
        let service = self.clone();
        tasks.spawn(async move {
            let Ok(accepting) = incoming.accept() else { return };
            let connected = tokio::time::timeout(service.limits.patience, accepting).await;
            drop(handshake);
            let Ok(Ok(connection)) = connected else { return };
            let Ok(_place) = service.connections.clone().try_acquire_owned() else {
                connection.close(1u32.into(), ByeReason::Busy.as_str().as_bytes());
                return;
            };
            service.serve(&connection).await;
            connection.close(0u32.into(), ByeReason::Done.as_str().as_bytes());
        });
    }

    /// Whether an endpoint connects more often than it may.
    fn is_hasty(&self, endpoint: &PublicKey) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        recent.retain(|_, (since, _)| now.duration_since(*since) < Duration::from_secs(60));
        if recent.len() >= 65_536 {
            return true;
        }
        let (_, count) = recent.entry(*endpoint).or_insert((now, 0));
        *count += 1;
        *count > self.limits.per_minute
    }

    async fn serve(self: &Arc<Self>, connection: &Connection) {
        let endpoint = remote_key(connection);
        let first = async {
            let (send, recv) = connection.accept_bi().await.ok()?;
            let mut frames = Frames::new(send, recv, self.net.options().observer.clone());
            let message = frames.receive().await.ok()?;
            Some((frames, message))
        };
        let Ok(Some((frames, message))) = tokio::time::timeout(self.limits.patience, first).await else {
            return;
        };
        if self.is_hasty(&endpoint) {
            self.refuse(frames, ByeReason::Busy).await;
            return;
        }
        let identity = match &message {
            Message::LinkBegin { .. } => {
                self.host.clone().link(endpoint, frames, message).await;
                return;
            }
            Message::Hello { identity, .. } => *identity,
            _ => {
                self.refuse(frames, ByeReason::Invalid).await;
                return;
            }
        };
        let Some(replica) = self.host.replica(&identity) else {
            self.refuse(frames, ByeReason::UnknownIdentity).await;
            return;
        };
        if !self.enter(identity) {
            self.refuse(frames, ByeReason::Busy).await;
            return;
        }
        let result = match begin_session(endpoint, message, &replica).await {
            Ok(session) => {
                frames.trust();
                let mode = Mode::Serve;
                Drive {
                    frames,
                    session,
                    replica,
                    mode,
                    stop: self.stop.clone(),
                    progress: None,
                }
                .run()
                .await
            }
            Err(error) => {
                if let NetError::Session(error) = &error {
                    self.refuse(frames, error.bye()).await;
                }
                Err(error)
            }
        };
        self.leave(&identity);
        self.host.ended(&identity, &result);
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

async fn begin_session(endpoint: PublicKey, hello: Message, replica: &Arc<Replica>) -> Result<Session, NetError> {
    let replica = replica.clone();
    let begun = tokio::task::spawn_blocking(move || {
        let mut session = Session::listen(endpoint);
        session.receive(hello, &replica).map(|()| session)
    });
    Ok(begun.await.map_err(|_| NetError::Stopped)??)
}
