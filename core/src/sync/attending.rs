//! The side that answers in a session about attachments (docs/formats.md, section 9).
//!
//! It does what it is asked and begins nothing: it says what it holds, takes manifests and chunks from devices of the identity, and gives
//! chunks to its members. Whatever the other side sends, no more of it is in memory than one batch of chunks, and nothing is stored that
//! was not checked against a manifest which there is room for.

use std::collections::{BTreeSet, VecDeque};

use super::{
    Message, RefuseReason, Replica, SessionError,
    message::{MAX_FETCH, MAX_LIST},
};
use crate::{
    crypto::PublicKey,
    log::{AttachmentId, ChunkMap, Manifest},
    store::{AppendError, Blobs, MOST_AT_ONCE, StoreError},
};

/// What waits to be said. What may be large is put together only when it is sent.
enum Out {
    Say(Message),
    Manifest,
    Chunk(u32),
    Fetched,
}

/// One session about attachments, on the side that was dialled.
pub struct Attendant {
    remote: PublicKey,
    blobs: Blobs,
    /// What this side, a device, asked for. A cloud peer takes whatever it has room for.
    wanted: BTreeSet<AttachmentId>,
    /// The manifest that was sent or asked for last: chunks are of it.
    open: Option<(AttachmentId, Manifest)>,
    /// Which chunks of it are here or in `batch`, if it was announced: the others are taken, each once.
    here: Option<ChunkMap>,
    /// Chunks that came and are not on the disk.
    batch: Vec<(u32, Vec<u8>)>,
    out: VecDeque<Out>,
    /// Chunks sent for the last `Fetch`.
    given: u32,
    /// Bytes of boxes taken and given.
    moved: (u64, u64),
}

impl Attendant {
    /// Begins with the other side's first message. `endpoint` is the key that the transport proved; `wanted` is what a device lacks.
    pub fn begin(
        replica: &Replica,
        blobs: Blobs,
        endpoint: &PublicKey,
        begin: &Message,
        wanted: Vec<AttachmentId>,
    ) -> Result<Self, SessionError> {
        let Message::Attachments { identity, .. } = begin else {
            return Err(SessionError::Protocol("a message at the wrong time"));
        };
        if *identity != replica.identity() {
            return Err(SessionError::UnknownIdentity);
        }
        let known = replica.known();
        let remote = known.tentative.by_endpoint(endpoint).ok_or(SessionError::NotAMember)?;
        let wanted: Vec<AttachmentId> = wanted.into_iter().take(MAX_LIST).collect();
        let answer = Message::Attachments {
            identity: *identity,
            store: replica.store().store_id(),
            wanted: wanted.clone(),
        };
        Ok(Self {
            remote,
            blobs,
            wanted: wanted.into_iter().collect(),
            open: None,
            here: None,
            batch: Vec::new(),
            out: VecDeque::from([Out::Say(answer)]),
            given: 0,
            moved: (0, 0),
        })
    }

    /// Bytes of boxes taken and given so far.
    pub fn moved(&self) -> (u64, u64) {
        self.moved
    }

    /// Handles messages that came together. What there is to answer comes from [`Attendant::next`].
    pub fn receive(&mut self, messages: Vec<Message>, replica: &Replica) -> Result<(), SessionError> {
        for message in messages {
            if !matches!(message, Message::Chunk { .. }) {
                self.flush(replica)?;
            }
            // Somebody may have removed the other side since.
            let known = replica.known();
            let state = &known.tentative;
            if !state.devices().contains_key(&self.remote) && !state.peers().contains_key(&self.remote) {
                return Err(SessionError::NotAMember);
            }
            match message {
                Message::AskHeld(ids) => self.say_held(&ids, replica)?,
                Message::Manifest(bytes) => self.take_manifest(&bytes, replica)?,
                Message::Chunk { id, number, sealed } => self.take_chunk(id, number, sealed, replica)?,
                Message::Fetch {
                    id,
                    manifest,
                    from,
                    count,
                } => self.give(id, manifest, (from, count), replica)?,
                Message::Bye(reason) => return Err(SessionError::Ended(reason)),
                _ => return Err(SessionError::Protocol("a message at the wrong time")),
            }
        }
        self.flush(replica)
    }

    /// The next message to send.
    #[allow(clippy::should_implement_trait)] // It reads from the disk and may fail, so it cannot be an Iterator.
    pub fn next(&mut self, replica: &Replica) -> Result<Option<Message>, SessionError> {
        while let Some(out) = self.out.pop_front() {
            let id = self.open.as_ref().map(|(id, _)| *id);
            match (out, id) {
                (Out::Say(message), _) => return Ok(Some(message)),
                (Out::Manifest, Some(_)) => {
                    let (_, manifest) = self.open.as_ref().expect("it has an id");
                    return Ok(Some(Message::Manifest(manifest.encode())));
                }
                (Out::Chunk(number), Some(id)) => {
                    let (_, manifest) = self.open.as_ref().expect("its id is that");
                    let sealed = self.blobs.read(&replica.identity(), manifest, &id, number)?;
                    if let Some(sealed) = sealed {
                        self.given += 1;
                        self.moved.1 += sealed.len() as u64;
                        return Ok(Some(Message::Chunk { id, number, sealed }));
                    }
                }
                (Out::Fetched, Some(id)) => {
                    let count = std::mem::take(&mut self.given);
                    return Ok(Some(Message::Fetched { id, count }));
                }
                (Out::Manifest | Out::Chunk(_) | Out::Fetched, None) => {}
            }
        }
        Ok(None)
    }

    fn say(&mut self, message: Message) {
        self.out.push_back(Out::Say(message));
    }

    fn refuse(&mut self, id: AttachmentId, reason: RefuseReason, limit: u64) {
        self.say(Message::NotKept { id, reason, limit });
    }

    /// A cloud peer's signed word that it holds an attachment. Devices give none: they may evict it.
    fn receipt(replica: &Replica, id: AttachmentId) -> Option<Vec<u8>> {
        (!replica.is_device()).then(|| replica.attachment_receipt(id).encode().to_vec())
    }

    fn say_held(&mut self, ids: &[AttachmentId], replica: &Replica) -> Result<(), SessionError> {
        let identity = replica.identity();
        let mut held = Vec::with_capacity(ids.len());
        let mut receipts = Vec::new();
        for id in ids {
            let map = replica.read(|read| read.chunk_map(&identity, id))?;
            let missing = map.map(|map| u64::from(map.count_missing()));
            if missing == Some(0) {
                receipts.extend(Self::receipt(replica, *id));
            }
            held.push((*id, missing));
        }
        self.say(Message::Held { held, receipts });
        Ok(())
    }

    fn take_manifest(&mut self, bytes: &[u8], replica: &Replica) -> Result<(), SessionError> {
        let Ok(manifest) = Manifest::decode(bytes) else {
            return Err(SessionError::Protocol("a manifest that makes no sense"));
        };
        let (id, identity) = (manifest.id(), replica.identity());
        (self.open, self.here) = (None, None);
        if let Err(reason) = replica.takes_attachment(&self.remote, &id, self.wanted.contains(&id)) {
            self.refuse(id, reason, 0);
            return Ok(());
        }
        let (kept, now, charged) = (manifest.clone(), replica.now(), !replica.is_device());
        let put = replica
            .store()
            .write(move |write| write.put_attachment(&identity, &kept, &ChunkMap::empty(kept.chunks()), now, charged));
        match put.wait() {
            Ok(()) => {}
            Err(StoreError::Refused(refused)) => {
                let limit = match *refused {
                    AppendError::Quota { limit, .. } => limit,
                    _ => 0,
                };
                self.refuse(id, RefuseReason::QuotaBytes, limit);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let map = replica.read(|read| read.chunk_map(&identity, &id))?;
        let map = map.unwrap_or_else(|| ChunkMap::empty(manifest.chunks()));
        self.say(Message::Chunks {
            id,
            map: map.as_bytes().to_vec(),
        });
        if map.count_missing() == 0 {
            let receipt = Self::receipt(replica, id);
            self.say(Message::Stored { id, count: 0, receipt });
        }
        (self.open, self.here) = (Some((id, manifest)), Some(map));
        Ok(())
    }

    fn take_chunk(
        &mut self,
        id: AttachmentId,
        number: u32,
        sealed: Vec<u8>,
        replica: &Replica,
    ) -> Result<(), SessionError> {
        let open = self.open.as_ref().filter(|(open, _)| *open == id);
        let (Some((_, manifest)), Some(here)) = (open, &mut self.here) else {
            return Err(SessionError::Protocol(
                "a chunk of an attachment that was not announced",
            ));
        };
        if !manifest.is_chunk(number, &sealed) {
            return Err(SessionError::Protocol("a chunk that is not of its attachment"));
        }
        // It was told what is here. To write the same over and over would cost the disk, and the sender no quota.
        if here.has(number) {
            return Err(SessionError::Protocol("a chunk that is here already"));
        }
        here.set(number);
        self.moved.0 += sealed.len() as u64;
        self.batch.push((number, sealed));
        if self.batch.len() >= MOST_AT_ONCE {
            self.flush(replica)?;
        }
        Ok(())
    }

    /// Puts chunks that came on the disk, and says so.
    fn flush(&mut self, replica: &Replica) -> Result<(), SessionError> {
        let batch = std::mem::take(&mut self.batch);
        let Some((id, manifest)) = self.open.as_ref().filter(|_| !batch.is_empty()) else {
            return Ok(());
        };
        let (id, count) = (*id, batch.len() as u64);
        let missing = self
            .blobs
            .write(&replica.identity(), manifest, &id, &batch, replica.now())?;
        match missing {
            Some(missing) => {
                let receipt = if missing == 0 { Self::receipt(replica, id) } else { None };
                if missing == 0 {
                    replica.store().announce(replica.identity());
                }
                self.say(Message::Stored { id, count, receipt });
            }
            // Dropped while it came.
            None => {
                (self.open, self.here) = (None, None);
                self.refuse(id, RefuseReason::NotWanted, 0);
            }
        }
        Ok(())
    }

    fn give(
        &mut self,
        id: AttachmentId,
        wants_manifest: bool,
        (from, count): (u32, u32),
        replica: &Replica,
    ) -> Result<(), SessionError> {
        if count > MAX_FETCH {
            return Err(SessionError::Protocol("more chunks than may be asked for at once"));
        }
        // What was asked for before goes out of the manifest that is open: it must be out before another is.
        let waits = self.out.iter().any(|out| !matches!(out, Out::Say(_)));
        if waits && self.open.as_ref().is_some_and(|(open, _)| *open != id) {
            return Err(SessionError::Protocol("another attachment before the answer"));
        }
        if self.open.as_ref().is_none_or(|(open, _)| *open != id) {
            let manifest = replica.read(|read| read.manifest(&replica.identity(), &id))?;
            (self.open, self.here) = (manifest.map(|manifest| (id, manifest)), None);
        }
        let Some((_, manifest)) = &self.open else {
            self.say(Message::Fetched { id, count: 0 });
            return Ok(());
        };
        let chunks = manifest.chunks();
        if wants_manifest {
            self.out.push_back(Out::Manifest);
        }
        let last = from.saturating_add(count).min(chunks);
        self.out.extend((from.min(chunks)..last).map(Out::Chunk));
        self.out.push_back(Out::Fetched);
        Ok(())
    }
}

impl std::fmt::Debug for Attendant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attendant({})", self.remote.short())
    }
}
