//! A stream on which anything can be said: well-formed messages, and bytes that are none.

use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey, TransportAddr,
    endpoint::{Connection, QuicTransportConfig, RecvStream, SendStream, presets},
};
use rhizome::{
    crypto::PublicKey,
    net::ALPN,
    sync::{ByeReason, Message, Replica, Session},
};

use crate::stage::apart;

/// An endpoint on loopback with a key of one's choice, that lets the other side open `streams` streams.
pub async fn endpoint(seed: &[u8; 32], port: u16, streams: u32) -> Endpoint {
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(streams.into())
        .build();
    Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(seed))
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
        .unwrap()
        .bind()
        .await
        .unwrap()
}

pub fn address(of: &PublicKey, port: u16) -> EndpointAddr {
    let id = EndpointId::from_bytes(&of.0).unwrap();
    EndpointAddr::from_parts(id, [TransportAddr::Ip(([127, 0, 0, 1], port).into())])
}

/// One connection with its stream. Closed when dropped.
pub struct Wire {
    pub connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl Wire {
    pub fn new(connection: Connection, (send, recv): (SendStream, RecvStream)) -> Self {
        Self { connection, send, recv }
    }

    /// Dials and opens the stream. Nothing is said yet, so the other side does not know of the stream.
    pub async fn dial(by: &Endpoint, to: EndpointAddr) -> Self {
        let connection = by.connect(to, ALPN).await.unwrap();
        let stream = connection.open_bi().await.unwrap();
        Self::new(connection, stream)
    }

    pub async fn accept(at: &Endpoint) -> Self {
        let connection = at.accept().await.unwrap().accept().unwrap().await.unwrap();
        let stream = connection.accept_bi().await.unwrap();
        Self::new(connection, stream)
    }

    /// Sends bytes as they are; false once the other side hung up.
    pub async fn raw(&mut self, bytes: &[u8]) -> bool {
        self.send.write_all(bytes).await.is_ok()
    }

    pub async fn say(&mut self, message: &Message) -> bool {
        self.raw(&message.to_frame()).await
    }

    /// The next message; none once the other side hung up.
    pub async fn hear(&mut self) -> Option<Message> {
        let mut length = [0; 4];
        self.recv.read_exact(&mut length).await.ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.recv.read_exact(&mut frame).await.ok()?;
        Some(Message::decode(&frame).expect("honest parties speak well"))
    }

    /// Reads one byte.
    pub async fn sip(&mut self) -> bool {
        self.recv.read_exact(&mut [0]).await.is_ok()
    }

    /// Everything that the other side still says, until it hangs up.
    pub async fn rest(&mut self) -> Vec<Message> {
        let mut heard = Vec::new();
        while let Some(message) = self.hear().await {
            heard.push(message);
        }
        heard
    }
}

type Hears<'a> = dyn FnMut(Message, &mut Vec<Message>) -> Option<Message> + Send + 'a;

/// What is done to an honest session's messages on their way.
pub struct Attack<'a> {
    /// Said in place of a message of the honest session's.
    pub says: Box<dyn FnMut(Message) -> Vec<Message> + Send + 'a>,
    /// Sees a message before the honest session does, may answer it, and may keep it from the session.
    pub hears: Box<Hears<'a>>,
    /// Whether it says goodbye when the honest session has all.
    pub ends: bool,
}

impl Default for Attack<'_> {
    fn default() -> Self {
        Self {
            says: Box::new(|message| vec![message]),
            hears: Box::new(|message, _| Some(message)),
            ends: false,
        }
    }
}

impl<'a> Attack<'a> {
    pub fn saying(says: impl FnMut(Message) -> Vec<Message> + Send + 'a) -> Self {
        Self {
            says: Box::new(says),
            ..Self::default()
        }
    }

    pub fn hearing(hears: impl FnMut(Message, &mut Vec<Message>) -> Option<Message> + Send + 'a) -> Self {
        Self {
            hears: Box::new(hears),
            ..Self::default()
        }
    }

    /// Runs `session` on `wire` with the attack in between, until the other side hangs up or the honest half gives up. Whatever was kept
    /// back, the other side is told that all is said. Gives everything that was heard.
    pub async fn run(mut self, wire: &mut Wire, mut session: Session, replica: &Replica) -> Vec<Message> {
        let mut heard = Vec::new();
        let (mut handled, mut said) = (0, 0);
        loop {
            let mut answers = Vec::new();
            let next = |session: &mut Session| apart(|| session.next(replica)).unwrap_or(None);
            while let Some(message) = next(&mut session) {
                answers.extend((self.says)(message));
            }
            // Not by the count of the honest half, from which messages were kept.
            answers.retain(|message| !matches!(message, Message::Synced(_)));
            if handled > 1 && handled != said {
                said = handled;
                answers.push(Message::Synced(handled));
            }
            let mut ended = false;
            for message in &answers {
                ended |= !wire.say(message).await;
            }
            if self.ends && session.is_synced() {
                wire.say(&Message::Bye(ByeReason::Done)).await;
                heard.extend(wire.rest().await);
                return heard;
            }
            let Some(message) = wire.hear().await else { return heard };
            heard.push(message.clone());
            if !matches!(message, Message::Synced(_) | Message::Bye(_)) {
                handled += 1;
            }
            let mut answers = Vec::new();
            let passed = (self.hears)(message, &mut answers);
            for message in &answers {
                ended |= !wire.say(message).await;
            }
            if let Some(message) = passed {
                ended |= apart(|| session.receive(message, replica)).is_err();
            }
            if ended {
                heard.extend(wire.rest().await);
                return heard;
            }
        }
    }
}
