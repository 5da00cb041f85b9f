//! The iroh endpoint, configured to talk to nobody but whom it is told to.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::Thread,
    time::Duration,
};

use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMap, RelayMode, RelayUrl, SecretKey, TransportAddr,
    endpoint::{BindOpts, Builder, Connection, QuicTransportConfig, presets},
};
use tokio::{runtime::Handle, sync::oneshot};

use super::{ALPN, Frames, NetError, Observer};
use crate::crypto::{PublicKey, Secret};

/// How long looking up one name may take.
const RESOLVE_WITHIN: Duration = Duration::from_secs(3);

/// Which relays an endpoint may use. A relay sees the endpoint keys and addresses of both ends, sizes and times; never content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Relay {
    /// None: direct connections only.
    #[default]
    None,
    /// One of one's own, by URL.
    Own(String),
    /// The public relays of iroh's makers.
    Public,
}

/// How an endpoint is made.
#[derive(Clone, Default)]
pub struct NetOptions {
    /// Addresses to bind. None: every interface, on a port that the system chooses.
    pub listen: Vec<SocketAddr>,
    /// Relays.
    pub relay: Relay,
    /// Sees every frame before the transport encrypts it and after it decrypts it: for tests and demonstrations.
    pub observer: Option<Arc<dyn Observer>>,
}

impl std::fmt::Debug for NetOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NetOptions({:?}, {:?})", self.listen, self.relay)
    }
}

/// An open endpoint.
#[derive(Debug)]
pub struct Net {
    endpoint: Endpoint,
    options: NetOptions,
}

impl Net {
    /// Opens an endpoint whose key is the Ed25519 key of `seed`.
    pub async fn open(seed: &[u8; 32], options: NetOptions) -> Result<Self, NetError> {
        let relay = match &options.relay {
            Relay::None => RelayMode::Disabled,
            Relay::Own(url) => {
                let url: RelayUrl = url.parse().map_err(|_| bad_address(url, "not a relay's URL"))?;
                RelayMode::Custom(RelayMap::from(url))
            }
            Relay::Public => RelayMode::Default,
        };
        // One stream a connection, and few that wait: a peer cannot make us hold more.
        let transport = QuicTransportConfig::builder()
            .max_concurrent_bidi_streams(2u32.into())
            .max_concurrent_uni_streams(0u32.into())
            .build();
        // `Minimal` publishes nothing anywhere: an endpoint is found by a ticket or by the identity log alone.
        let mut builder = Endpoint::builder(presets::Minimal)
            .alpns(vec![ALPN.to_vec()])
            .relay_mode(relay)
            .transport_config(transport);
        if !options.listen.is_empty() {
            builder = builder.clear_ip_transports();
            for (place, address) in options.listen.iter().enumerate() {
                // New flows leave by the last address of each family; iroh takes one for that, and wants it last.
                let same_family = |other: &SocketAddr| other.is_ipv4() == address.is_ipv4();
                let bind = match (options.listen[place + 1..].iter().any(same_family), address) {
                    (false, _) => BindOpts::default(),
                    (true, SocketAddr::V4(_)) => BindOpts::default().set_prefix_len(32).set_is_default_route(false),
                    (true, SocketAddr::V6(_)) => BindOpts::default().set_prefix_len(128).set_is_default_route(false),
                };
                builder = builder
                    .bind_addr_with_opts(*address, bind)
                    .map_err(|error| NetError::Bind(error.to_string()))?;
            }
        }
        let endpoint = bind(builder, seed.into()).await?;
        Ok(Self { endpoint, options })
    }

    /// How it was made.
    pub fn options(&self) -> &NetOptions {
        &self.options
    }

    /// The endpoint's key.
    pub fn id(&self) -> PublicKey {
        PublicKey(*self.endpoint.id().as_bytes())
    }

    /// Where this endpoint can be reached, as far as it knows: `host:port`, and its relay's URL.
    pub fn addresses(&self) -> Vec<String> {
        let addr = self.endpoint.addr();
        // The relay first: it must not be what a machine with many interfaces leaves out.
        let relay = addr.relay_urls().map(ToString::to_string);
        let mut addresses: Vec<String> = relay.chain(addr.ip_addrs().map(ToString::to_string)).collect();
        if addresses.is_empty() {
            addresses = self.endpoint.bound_sockets().iter().map(ToString::to_string).collect();
        }
        addresses.truncate(crate::identity::MAX_SERVICES);
        addresses
    }

    /// The sockets that are bound.
    pub fn sockets(&self) -> Vec<SocketAddr> {
        self.endpoint.bound_sockets()
    }

    /// Connects to `endpoint` at any of `addresses`, host names included, and opens the stream.
    pub async fn dial(
        &self,
        endpoint: &PublicKey,
        addresses: &[String],
        within: Duration,
    ) -> Result<(Connection, Frames), NetError> {
        let id = EndpointId::from_bytes(&endpoint.0).map_err(|_| bad_address(&endpoint.to_string(), "not a key"))?;
        let connect = async {
            let mut targets = Vec::new();
            let mut last = None;
            for address in addresses {
                // With no internet a name takes long to fail, and the peer may be in this room.
                match tokio::time::timeout(RESOLVE_WITHIN, resolve(address)).await {
                    Ok(Ok(found)) => targets.extend(found),
                    Ok(Err(error)) => last = Some(error),
                    Err(_) => last = Some(bad_address(address, "its name cannot be looked up now")),
                }
            }
            if targets.is_empty() {
                return Err(last.unwrap_or_else(|| bad_address("(none)", "the code or service has no address")));
            }
            let target = EndpointAddr::from_parts(id, targets);
            let connection = self
                .endpoint
                .connect(target, ALPN)
                .await
                .map_err(|error| NetError::Connection(error.to_string()))?;
            // Within the same time: a peer that lets nobody open a stream would keep us for ever.
            let (send, recv) = connection
                .open_bi()
                .await
                .map_err(|error| NetError::Connection(error.to_string()))?;
            Ok((connection, Frames::new(send, recv, self.options.observer.clone())))
        };
        tokio::time::timeout(within, connect)
            .await
            .unwrap_or(Err(NetError::Unreachable(within)))
    }

    /// The next connection that comes in; `None` once the endpoint is closed.
    pub async fn accept(&self) -> Option<iroh::endpoint::Incoming> {
        self.endpoint.accept().await
    }

    /// Tells the endpoint that the system's network changed. On Android nobody else does.
    pub async fn network_changed(&self) {
        self.endpoint.network_change().await;
    }

    /// Closes every connection and socket.
    pub async fn close(&self) {
        self.endpoint.close().await;
    }

    /// Closes every connection and socket, and waits for it no longer than `within`: a dial that nobody answers takes seconds to be given up,
    /// and its socket closes behind it.
    pub async fn close_within(&self, within: Duration) {
        let endpoint = self.endpoint.clone();
        let closing = tokio::spawn(async move { endpoint.close().await });
        let _ = tokio::time::timeout(within, closing).await;
    }
}

/// The key that the other end of a connection proved to hold.
pub fn remote_key(connection: &Connection) -> PublicKey {
    PublicKey(*connection.remote_id().as_bytes())
}

/// Binds an endpoint on a thread of its own. On the way into the endpoint the key is moved from state to state and from frame to frame, and
/// each move leaves a copy: all of them stand on this thread's stack, which goes with the thread.
async fn bind(builder: Builder, seed: Secret) -> Result<Endpoint, NetError> {
    let (answer, bound) = oneshot::channel();
    let runtime = Handle::current();
    let binding = move || {
        let _entered = runtime.enter();
        let bound = wait_for(async move {
            let builder = builder.secret_key(SecretKey::from_bytes(&seed));
            builder.bind().await.map_err(|error| NetError::Bind(error.to_string()))
        });
        // Whoever asked may have stopped waiting: then nobody else closes it.
        if let Err(Ok(endpoint)) = answer.send(bound) {
            wait_for(endpoint.close());
        }
    };
    std::thread::Builder::new()
        .name("rhizome-bind".to_owned())
        .spawn(binding)
        .map_err(|error| NetError::Bind(error.to_string()))?;
    bound
        .await
        .unwrap_or_else(|_| Err(NetError::Bind("its thread ended".to_owned())))
}

/// Polls `future` where it stands on this thread's stack.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

fn bad_address(address: &str, why: &str) -> NetError {
    NetError::Address {
        address: address.to_owned(),
        why: why.to_owned(),
    }
}

async fn resolve(address: &str) -> Result<Vec<TransportAddr>, NetError> {
    if address.starts_with("https://") || address.starts_with("http://") {
        let url: RelayUrl = address.parse().map_err(|_| bad_address(address, "not a relay's URL"))?;
        return Ok(vec![TransportAddr::Relay(url)]);
    }
    let found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| bad_address(address, &error.to_string()))?;
    Ok(found.take(8).map(TransportAddr::Ip).collect())
}
