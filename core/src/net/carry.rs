//! Moving attachments: a connection of their own beside the documents', so that no entry ever waits behind a photo.
//!
//! Whoever dials does all the asking ([`Carrier`]); the other side answers ([`attend`]). A chunk counts on either side once it is on the
//! disk, so that whatever cuts the connection, the next one goes on at the next chunk.

use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{Frames, NetError, StopReason, apart, frames::Received, stopped};
use crate::{
    crypto::PublicKey,
    log::{AttachmentId, AttachmentReceipt, ChunkMap, Manifest, StoreId},
    store::{Blobs, MOST_AT_ONCE, StoreError},
    sync::{Attendant, ByeReason, MAX_FETCH, Message, RefuseReason, Replica, SessionError},
};

/// An other side that says nothing for so long while we wait for it is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Chunks on their way that the other side has not on its disk yet.
const IN_FLIGHT: u64 = 2 * MAX_FETCH as u64;
/// Requests for chunks that wait for their answer.
const REQUESTS: usize = 2;
/// How often it is looked whether documents are still on their way.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Attachments asked about at once.
const ASKED_AT_ONCE: usize = 1_024;
/// Refusals remembered.
const MAX_REASONS: usize = 16;

/// Waits for the disk on a thread that may.
async fn on_disk<R: Send + 'static, E: Into<NetError> + Send + 'static>(
    work: impl FnOnce() -> Result<R, E> + Send + 'static,
) -> Result<R, NetError> {
    match apart(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(NetError::Stopped),
    }
}

impl From<StoreError> for NetError {
    fn from(error: StoreError) -> Self {
        Self::Session(error.into())
    }
}

async fn within<R>(patience: Duration, wait: impl Future<Output = Result<R, NetError>>) -> Result<R, NetError> {
    tokio::time::timeout(patience, wait)
        .await
        .unwrap_or(Err(NetError::Unreachable(patience)))
}

async fn in_time<R>(wait: impl Future<Output = Result<R, NetError>>) -> Result<R, NetError> {
    within(SILENCE, wait).await
}

/// Answers one session about attachments until the other side ends it, or `stop` turns true.
pub async fn attend(
    mut frames: Frames,
    attendant: Attendant,
    replica: Arc<Replica>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), NetError> {
    let answering = answer(&mut frames, attendant, &replica);
    let result = tokio::select! {
        biased;
        () = stopped(&mut stop) => Err(NetError::Stopped),
        result = answering => result,
    };
    let bye = match &result {
        Ok(()) | Err(NetError::Connection(_)) => None,
        Err(NetError::Session(error)) => Some(error.bye()),
        Err(NetError::Protocol(_)) => Some(ByeReason::Invalid),
        Err(_) => Some(ByeReason::ShuttingDown),
    };
    let farewell = async move {
        if let Some(bye) = bye {
            let _ = frames.send(&Message::Bye(bye)).await;
        }
        frames.finish().await;
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    result
}

async fn answer(frames: &mut Frames, mut attendant: Attendant, replica: &Arc<Replica>) -> Result<(), NetError> {
    loop {
        loop {
            let replica = replica.clone();
            let (next, back) = on_disk(move || {
                let next = attendant.next(&replica);
                Ok::<_, NetError>((next, attendant))
            })
            .await?;
            attendant = back;
            match next? {
                Some(message) => in_time(frames.send(&message)).await?,
                None => break,
            }
        }
        let mut received = vec![in_time(frames.receive_held()).await?];
        // What is here already becomes durable with one flush.
        while received.len() < MOST_AT_ONCE
            && let Some(next) = frames.ready()
        {
            received.push(next?);
        }
        let replica = replica.clone();
        let (handled, back) = on_disk(move || {
            // The room that their frames take is free again once all are handled.
            let (messages, _rooms): (Vec<_>, Vec<_>) = received.into_iter().map(Received::into_parts).unzip();
            let handled = attendant.receive(messages, &replica);
            Ok::<_, NetError>((handled, attendant))
        })
        .await?;
        attendant = back;
        match handled {
            Err(SessionError::Ended(_)) => return Ok(()),
            other => other?,
        }
    }
}

/// What a session about attachments is for, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Errand {
    /// Chunks that somebody waits for; without a range, all.
    pub read: Vec<(AttachmentId, Option<Range<u32>>)>,
    /// Small ones to be had first: those of more than one chunk are passed over.
    pub thumbnails: Vec<AttachmentId>,
    /// Whether the other side gets what is here and not there: for cloud peers. A device gets what it asks for in any case.
    pub push: bool,
    /// Others to be had whole.
    pub fetch: Vec<AttachmentId>,
}

/// What a session about attachments did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Chunks that the other side has on its disk now.
    pub chunks_sent: u64,
    /// Chunks that are on this disk now.
    pub chunks_received: u64,
    /// Attachments that the other side gave its receipt for.
    pub confirmed: u64,
    /// Attachments that the other side does not hold, or not whole.
    pub absent: BTreeSet<AttachmentId>,
    /// Why the other side did not take some, with the limit of a quota.
    pub refused: BTreeSet<(RefuseReason, u64)>,
    /// Bytes of frames sent and received.
    pub bytes: (u64, u64),
}

/// Hears how many chunks of an attachment are moved: of which, how many, of how many.
pub type CarryProgress = Arc<dyn Fn(&AttachmentId, u32, u32) + Send + Sync>;

/// Why an errand stops early.
enum Halt {
    Net(NetError),
    Budget,
}

impl<E: Into<NetError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Net(error.into())
    }
}

/// The side that dials.
pub struct Carrier {
    /// The stream.
    pub frames: Frames,
    /// Whose attachments.
    pub replica: Arc<Replica>,
    /// Where they lie.
    pub blobs: Blobs,
    /// The signing key of the other side.
    pub remote: PublicKey,
    /// How long it may say nothing while it is waited for; a minute at the most.
    pub patience: Duration,
    /// Bytes of frames that may go both ways together. May be overrun by one chunk.
    pub budget: Option<u64>,
    /// Hears of progress.
    pub progress: Option<CarryProgress>,
    /// Whether documents are on their way: chunks wait for them.
    pub busy: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Carrier {
    /// Does what `errand` says until all is done, or `deadline`, or `stop` turns true. What was moved stays moved, however it ends.
    pub async fn run(
        self,
        errand: &Errand,
        deadline: Option<std::time::Instant>,
        mut stop: watch::Receiver<bool>,
    ) -> (Carried, Result<StopReason, NetError>) {
        let mut work = Work {
            carrier: self,
            done: Carried::default(),
        };
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            () = stopped(&mut stop) => Ok(StopReason::Stopped),
            () = over => Ok(StopReason::Deadline),
            result = work.run(errand) => match result {
                Ok(()) => Ok(StopReason::Done),
                Err(Halt::Budget) => Ok(StopReason::Budget),
                Err(Halt::Net(error)) => Err(error),
            },
        };
        let mut frames = work.carrier.frames;
        work.done.bytes = frames.bytes();
        let bye = match &result {
            Ok(StopReason::Done) => ByeReason::Done,
            Ok(StopReason::Budget) => ByeReason::Budget,
            Ok(StopReason::Deadline) => ByeReason::Deadline,
            Ok(_) => ByeReason::ShuttingDown,
            Err(_) => ByeReason::Invalid,
        };
        // Chunks that wait to be sent would only hold the last word up.
        if matches!(result, Ok(StopReason::Done | StopReason::Budget)) {
            let farewell = async move {
                let _ = frames.send(&Message::Bye(bye)).await;
                frames.finish().await;
            };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        (work.done, result)
    }
}

struct Work {
    carrier: Carrier,
    done: Carried,
}

impl Work {
    async fn run(&mut self, errand: &Errand) -> Result<(), Halt> {
        let (store, wanted) = self.open().await?;
        for (id, range) in &errand.read {
            self.fetch(*id, range.clone(), u32::MAX).await?;
        }
        for id in &errand.thumbnails {
            self.fetch(*id, None, 1).await?;
        }
        if errand.push {
            self.push_all(store).await?;
        }
        for id in wanted {
            self.push(id, store).await?;
        }
        for id in &errand.fetch {
            self.fetch(*id, None, u32::MAX).await?;
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        self.carrier.patience.min(SILENCE)
    }

    async fn send(&mut self, message: &Message) -> Result<(), NetError> {
        let patience = self.patience();
        within(patience, self.carrier.frames.send(message)).await
    }

    async fn receive(&mut self) -> Result<Message, NetError> {
        let patience = self.patience();
        match within(patience, self.carrier.frames.receive()).await? {
            Message::Bye(reason) => Err(NetError::Refused(reason)),
            message => Ok(message),
        }
    }

    /// How many bytes may still be moved, once no document is on its way.
    async fn next_turn(&self) -> Result<u64, Halt> {
        while self.carrier.busy.as_ref().is_some_and(|busy| busy()) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }

        let (sent, received) = self.carrier.frames.bytes();
        match self.carrier.budget {
            Some(budget) if sent + received >= budget => Err(Halt::Budget),
            Some(budget) => Ok(budget - sent - received),
            None => Ok(u64::MAX),
        }
    }

    fn tell(&self, id: &AttachmentId, map: &ChunkMap, of: u32) {
        if let Some(progress) = &self.carrier.progress {
            progress(id, of - map.count_missing(), of);
        }
    }

    async fn open(&mut self) -> Result<(StoreId, Vec<AttachmentId>), Halt> {
        let replica = &self.carrier.replica;
        let hello = Message::Attachments {
            identity: replica.identity(),
            store: replica.store().store_id(),
            wanted: Vec::new(),
        };
        self.send(&hello).await?;
        match self.receive().await? {
            Message::Attachments {
                identity,
                store,
                wanted,
            } if identity == self.carrier.replica.identity() => Ok((store, wanted)),
            _ => Err(protocol("an answer that makes no sense").into()),
        }
    }

    /// Pushes all that is whole here and not there.
    async fn push_all(&mut self, store: StoreId) -> Result<(), Halt> {
        let (replica, remote) = (self.carrier.replica.clone(), self.carrier.remote);
        let list = move || replica.read(|read| read.attachments_to_push(&replica.identity(), &remote, &store));
        let ids = on_disk(list).await?;
        for some in ids.chunks(ASKED_AT_ONCE) {
            self.next_turn().await?;
            self.send(&Message::AskHeld(some.to_vec())).await?;
            let Message::Held { receipts, .. } = self.receive().await? else {
                return Err(protocol("another answer than what it holds").into());
            };
            // By what it signs, not by what it says.
            let mut confirmed = BTreeSet::new();
            for receipt in receipts {
                confirmed.insert(self.take_receipt(&receipt, some, store).await?);
            }
            for id in some.iter().filter(|id| !confirmed.contains(id)) {
                self.push(*id, store).await?;
            }
        }
        Ok(())
    }

    async fn take_receipt(
        &mut self,
        bytes: &[u8],
        of: &[AttachmentId],
        store: StoreId,
    ) -> Result<AttachmentId, NetError> {
        let receipt = AttachmentReceipt::decode(bytes).map_err(|_| protocol("a receipt that does not verify"))?;
        if receipt.peer != self.carrier.remote || receipt.store != store || !of.contains(&receipt.attachment) {
            return Err(protocol("a receipt of somebody else's"));
        }
        let (replica, id) = (self.carrier.replica.clone(), receipt.attachment);
        let identity = replica.identity();
        on_disk(move || {
            let keep = replica.store().write(move |write| {
                // Receipts count for the database that their peer showed last.
                write.note_peer_store(&receipt.peer, receipt.store)?;
                write.put_attachment_receipt(&identity, &receipt)
            });
            keep.wait()
        })
        .await?;
        self.done.confirmed += 1;
        Ok(id)
    }

    async fn push(&mut self, id: AttachmentId, store: StoreId) -> Result<(), Halt> {
        self.next_turn().await?;
        let replica = self.carrier.replica.clone();
        let identity = replica.identity();
        let manifest = on_disk(move || replica.read(|read| read.manifest(&identity, &id))).await?;
        let Some(manifest) = manifest else { return Ok(()) };
        self.send(&Message::Manifest(manifest.encode())).await?;
        let chunks = manifest.chunks();
        let mut there = match self.receive().await? {
            Message::Chunks { id: of, map } if of == id => {
                ChunkMap::from_bytes(&map, chunks).ok_or_else(|| protocol("a map of another attachment"))?
            }
            Message::NotKept { id: of, reason, limit } if of == id => {
                self.note_refusal(reason, limit);
                return Ok(());
            }
            _ => return Err(protocol("another answer than which chunks it holds").into()),
        };
        let missing: Vec<u32> = there.missing().collect();
        let mut sent = VecDeque::new();
        for number in missing {
            while sent.len() as u64 >= IN_FLIGHT {
                if !self.take_stored(id, store, (&mut sent, &mut there)).await? {
                    return Ok(());
                }
            }
            self.next_turn().await?;
            let (blobs, identity, of) = (self.carrier.blobs.clone(), identity, manifest.clone());
            let Some(sealed) = on_disk(move || blobs.read(&identity, &of, &id, number)).await? else {
                // Evicted or spoiled meanwhile.
                break;
            };
            self.send(&Message::Chunk { id, number, sealed }).await?;
            sent.push_back(number);
            self.tell(&id, &there, chunks);
        }
        let was_whole = there.count_missing() == 0;
        while !sent.is_empty() || was_whole {
            if !self.take_stored(id, store, (&mut sent, &mut there)).await? || was_whole {
                break;
            }
        }
        Ok(())
    }

    /// Waits until chunks are on the other side's disk. False if it takes no more of this one.
    async fn take_stored(
        &mut self,
        id: AttachmentId,
        store: StoreId,
        (sent, there): (&mut VecDeque<u32>, &mut ChunkMap),
    ) -> Result<bool, Halt> {
        match self.receive().await? {
            Message::Stored { id: of, count, receipt }
                if of == id && count <= sent.len() as u64 && (count > 0 || sent.is_empty()) =>
            {
                self.done.chunks_sent += count;
                for _ in 0..count {
                    let number = sent.pop_front().expect("no more than were sent");
                    there.set(number);
                }
                if let Some(receipt) = receipt {
                    self.take_receipt(&receipt, &[id], store).await?;
                }
                Ok(true)
            }
            Message::NotKept { id: of, reason, limit } if of == id => {
                self.note_refusal(reason, limit);
                Ok(false)
            }
            _ => Err(protocol("another answer than what it stored").into()),
        }
    }

    fn note_refusal(&mut self, reason: RefuseReason, limit: u64) {
        if self.done.refused.len() < MAX_REASONS {
            self.done.refused.insert((reason, limit));
        }
    }

    /// Gets chunks that are not here: of `range`, or all. Nothing of an attachment with more than `most` chunks.
    async fn fetch(&mut self, id: AttachmentId, range: Option<Range<u32>>, most: u32) -> Result<(), Halt> {
        let Some(manifest) = self.manifest_of(id, most).await? else {
            return Ok(());
        };
        let chunks = manifest.chunks();
        let (replica, identity) = (self.carrier.replica.clone(), self.carrier.replica.identity());
        let map = on_disk(move || replica.read(|read| read.chunk_map(&identity, &id))).await?;
        let Some(mut map) = map else { return Ok(()) };
        let range = range.unwrap_or(0..chunks);
        let mut missing: VecDeque<u32> = map.missing().filter(|number| range.contains(number)).collect();
        // Requests under way: which chunks each asks for.
        let mut asked: VecDeque<Range<u32>> = VecDeque::new();
        let mut batch: Vec<(u32, Vec<u8>)> = Vec::new();
        // Forgotten here meanwhile, by an erasure: nothing more is asked for, and what is on its way passes by.
        let mut dropped = false;
        while !missing.is_empty() || !asked.is_empty() {
            while asked.len() < REQUESTS
                && let Some(from) = missing.front().copied()
            {
                let left = match self.next_turn().await {
                    Ok(left) => left,
                    // What was asked for comes all the same.
                    Err(_) if !asked.is_empty() => break,
                    Err(halt) => return Err(halt),
                };
                let under_way: u64 = asked.iter().map(|range| u64::from(range.end - range.start)).sum();
                let room = (left / crate::log::CHUNK_BOX as u64).saturating_sub(under_way);
                if room == 0 && !asked.is_empty() {
                    // The rest of the budget is asked for already.
                    break;
                }
                let room = room.max(1);
                let mut to = from;
                while missing.front() == Some(&to) && to - from < MAX_FETCH && u64::from(to - from) < room {
                    missing.pop_front();
                    to += 1;
                }
                let count = to - from;
                let request = Message::Fetch {
                    id,
                    manifest: false,
                    from,
                    count,
                };
                self.send(&request).await?;
                asked.push_back(from..to);
            }
            match self.receive().await? {
                Message::Chunk { id: of, number, sealed } if of == id => {
                    let expected = asked.front().is_some_and(|range| range.contains(&number)) && !map.has(number);
                    if !expected || !manifest.is_chunk(number, &sealed) {
                        return Err(protocol("a chunk that is not of its attachment").into());
                    }
                    map.set(number);
                    batch.push((number, sealed));
                }
                Message::Fetched { id: of, count } if of == id => {
                    let Some(range) = asked.pop_front() else {
                        return Err(protocol("an answer to nothing").into());
                    };
                    let came = batch.len() as u64;
                    if !batch.is_empty() && !dropped {
                        if self.keep(id, &manifest, std::mem::take(&mut batch)).await? {
                            self.done.chunks_received += came;
                            self.tell(&id, &map, chunks);
                        } else {
                            dropped = true;
                            missing.clear();
                        }
                    }
                    batch.clear();
                    if count < range.end - range.start || came < u64::from(count) {
                        self.done.absent.insert(id);
                        // It has not all of it: what it has of the rest is asked for another time.
                        missing.clear();
                    }
                }
                _ => return Err(protocol("another answer than chunks").into()),
            }
        }
        Ok(())
    }

    /// Puts chunks on the disk. False if the attachment was dropped meanwhile.
    async fn keep(
        &mut self,
        id: AttachmentId,
        manifest: &Manifest,
        batch: Vec<(u32, Vec<u8>)>,
    ) -> Result<bool, NetError> {
        let (blobs, replica, manifest) = (
            self.carrier.blobs.clone(),
            self.carrier.replica.clone(),
            manifest.clone(),
        );
        let kept = on_disk(move || blobs.write(&replica.identity(), &manifest, &id, &batch, replica.now())).await?;
        Ok(kept.is_some())
    }

    /// The manifest of an attachment, from here or from there.
    async fn manifest_of(&mut self, id: AttachmentId, most: u32) -> Result<Option<Manifest>, Halt> {
        let (replica, identity) = (self.carrier.replica.clone(), self.carrier.replica.identity());
        let here = on_disk(move || replica.read(|read| read.manifest(&identity, &id))).await?;
        if here.is_some() {
            return Ok(here.filter(|manifest| manifest.chunks() <= most));
        }
        self.next_turn().await?;
        let request = Message::Fetch {
            id,
            manifest: true,
            from: 0,
            count: 0,
        };
        self.send(&request).await?;
        let manifest = match self.receive().await? {
            Message::Manifest(bytes) => {
                let manifest = Manifest::decode(&bytes).ok().filter(|manifest| manifest.id() == id);
                manifest.ok_or_else(|| protocol("a manifest of another attachment"))?
            }
            Message::Fetched { id: of, count: 0 } if of == id => {
                self.done.absent.insert(id);
                return Ok(None);
            }
            _ => return Err(protocol("another answer than a manifest").into()),
        };
        if !matches!(self.receive().await?, Message::Fetched { id: of, count: 0 } if of == id) {
            return Err(protocol("more than was asked for").into());
        }
        // Kept however long it is, so that it is not fetched again to find that out.
        let (replica, kept) = (self.carrier.replica.clone(), manifest.clone());
        on_disk(move || {
            let (now, map) = (replica.now(), ChunkMap::empty(kept.chunks()));
            let put = replica
                .store()
                .write(move |write| write.put_attachment(&identity, &kept, &map, now, false));
            put.wait()
        })
        .await?;
        Ok(Some(manifest).filter(|manifest| manifest.chunks() <= most))
    }
}

fn protocol(what: &str) -> NetError {
    NetError::Protocol(what.to_owned())
}
