//! Frames on one bidirectional stream: bounded in size, counted, and shown to an observer if there is one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use iroh::endpoint::{RecvStream, SendStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use super::NetError;
use crate::sync::{MAX_FRAME, Message};

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From here.
    Sent,
    /// To here.
    Received,
}

/// Sees frames in the clear of the transport: what an application put in is sealed within them.
pub trait Observer: Send + Sync {
    /// One frame, with its length and kind.
    fn frame(&self, direction: Direction, frame: &[u8]);
}

/// Frames that wait to be sent.
const WAITING_OUT: usize = 4;
/// Messages that wait to be handled, and the bytes of frames that they, the one being read and those being handled may have together: room
/// for the largest frame, or for many ranges. This bounds the memory of a connection, whatever the other side sends.
const WAITING_IN: usize = 32;
const WAITING_IN_BYTES: usize = MAX_FRAME;

/// The most bytes of a frame from somebody who is not known yet: a hello with two operations that prove a membership. Many strangers may
/// send so much at once and stop there.
const STRANGERS_FRAME: usize = 192 * 1024;

/// A message, and the room that its frame takes until it is handled.
pub(super) struct Received {
    pub(super) message: Message,
    _room: OwnedSemaphorePermit,
}

impl Received {
    /// The message, and what is to be dropped once it is handled.
    pub(super) fn into_parts(self) -> (Message, OwnedSemaphorePermit) {
        (self.message, self._room)
    }
}

/// The two halves of a stream, each with a task of its own, so that neither waits for the other.
pub struct Frames {
    outgoing: mpsc::Sender<Vec<u8>>,
    /// Boxed, since a channel keeps room for as many as may wait, and most connections of a cloud peer are idle.
    incoming: mpsc::Receiver<Box<Result<Received, NetError>>>,
    writer: JoinHandle<Result<SendStream, NetError>>,
    reader: JoinHandle<()>,
    observer: Option<Arc<dyn Observer>>,
    sent: u64,
    received: Arc<AtomicU64>,
    limit: Arc<AtomicUsize>,
}

impl Frames {
    /// Takes over a stream.
    pub fn new(send: SendStream, recv: RecvStream, observer: Option<Arc<dyn Observer>>) -> Self {
        let (outgoing, mut queue) = mpsc::channel::<Vec<u8>>(WAITING_OUT);
        let mut stream = send;
        let writer = tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                stream
                    .write_all(&frame)
                    .await
                    .map_err(|error| NetError::Connection(error.to_string()))?;
            }
            Ok(stream)
        });
        let (found, incoming) = mpsc::channel(WAITING_IN);
        let received = Arc::new(AtomicU64::new(0));
        let count = received.clone();
        let limit = Arc::new(AtomicUsize::new(STRANGERS_FRAME));
        let bound = limit.clone();
        let watcher = observer.clone();
        let room = Arc::new(Semaphore::new(WAITING_IN_BYTES));
        let reader = tokio::spawn(async move {
            let mut recv = recv;
            loop {
                let message = read(&mut recv, watcher.as_deref(), &count, &bound, &room).await;
                let last = message.is_err();
                if found.send(Box::new(message)).await.is_err() || last {
                    return;
                }
            }
        });
        Self {
            outgoing,
            incoming,
            writer,
            reader,
            observer,
            sent: 0,
            received,
            limit,
        }
    }

    /// Lets the other side send frames of full size: it is known by now.
    pub fn trust(&self) {
        self.limit.store(MAX_FRAME, Ordering::Relaxed);
    }

    /// Waits for room and sends a message.
    pub async fn send(&mut self, message: &Message) -> Result<(), NetError> {
        let permit = self
            .outgoing
            .reserve()
            .await
            .map_err(|_| NetError::Connection("the stream is closed".to_owned()))?;
        let frame = message.to_frame();
        if let Some(observer) = &self.observer {
            observer.frame(Direction::Sent, &frame);
        }
        self.sent += frame.len() as u64;
        permit.send(frame);
        Ok(())
    }

    /// The next message. Cancel-safe.
    pub async fn receive(&mut self) -> Result<Message, NetError> {
        Ok(self.receive_held().await?.message)
    }

    /// As [`Frames::receive`], with the room that its frame takes.
    pub(super) async fn receive_held(&mut self) -> Result<Received, NetError> {
        let received = self.incoming.recv().await;
        received.map_or_else(|| Err(ended()), |received| *received)
    }

    /// The next message if it is here already.
    pub(super) fn ready(&mut self) -> Option<Result<Received, NetError>> {
        self.incoming.try_recv().ok().map(|received| *received)
    }

    /// Whether a message waits to be sent or the next can be sent at once, while [`Frames::receive`] is polled by the same task.
    pub(super) async fn receive_or_room(
        &mut self,
        may_receive: bool,
        may_send: bool,
    ) -> Result<Option<Received>, NetError> {
        tokio::select! {
            biased;
            message = self.incoming.recv(), if may_receive => message.map_or_else(|| Err(ended()), |received| *received).map(Some),
            room = self.outgoing.reserve(), if may_send => {
                room.map(|_| None).map_err(|_| NetError::Connection("the stream is closed".to_owned()))
            }
            else => std::future::pending().await,
        }
    }

    /// Bytes of frames sent and received.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent, self.received.load(Ordering::Relaxed))
    }

    /// Sends what waits, ends the stream, and waits until the other side has it all, as long as the caller lets it.
    pub async fn finish(self) {
        drop(self.outgoing);
        self.reader.abort();
        if let Ok(Ok(mut stream)) = self.writer.await {
            let _ = stream.finish();
            let _ = stream.stopped().await;
        }
    }
}

fn ended() -> NetError {
    NetError::Connection("the stream ended".to_owned())
}

async fn read(
    recv: &mut RecvStream,
    observer: Option<&dyn Observer>,
    count: &AtomicU64,
    limit: &AtomicUsize,
    room: &Arc<Semaphore>,
) -> Result<Received, NetError> {
    let lost = |error: iroh::endpoint::ReadExactError| NetError::Connection(error.to_string());
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.map_err(lost)?;
    let size = u32::from_be_bytes(length) as usize;
    if !(1..=limit.load(Ordering::Relaxed)).contains(&size) {
        return Err(NetError::Protocol(format!("a frame of {size} bytes")));
    }
    let permits = u32::try_from(size).expect("below the largest frame");
    let permit = room.clone().acquire_many_owned(permits).await;
    let _room = permit.expect("the room is never closed");
    // Grows as bytes arrive: a length alone reserves nothing.
    let mut frame = Vec::with_capacity(size.min(64 * 1024) + 4);
    frame.extend_from_slice(&length);
    let mut piece = vec![0; size.min(64 * 1024)];
    while frame.len() < size + 4 {
        let wanted = (size + 4 - frame.len()).min(piece.len());
        recv.read_exact(&mut piece[..wanted]).await.map_err(lost)?;
        frame.extend_from_slice(&piece[..wanted]);
    }
    count.fetch_add(frame.len() as u64, Ordering::Relaxed);
    if let Some(observer) = observer {
        observer.frame(Direction::Received, &frame);
    }
    let message = Message::decode(&frame[4..]).map_err(|error| NetError::Protocol(error.to_string()))?;
    Ok(Received { message, _room })
}
