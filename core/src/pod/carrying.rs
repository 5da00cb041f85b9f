//! When attachments are moved, and with whom: after the documents, in the time and bytes that these left.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::broadcast;

use super::{
    attaching::AttachmentProgress,
    running::{Running, lock},
    syncing::Target,
};
use crate::{
    crypto::PublicKey,
    error::Error,
    log::{AttachmentId, CHUNK, CHUNK_BOX},
    net::{Carried, Carrier, CarryProgress, Errand, NetError, StopReason, apart, stopped},
};

/// How long one peer may take to answer at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Thumbnails that one session gets at the most.
const THUMBNAILS_AT_ONCE: usize = 512;
/// How many of the thumbnails that documents refer to are looked at in one go.
const PAGE: u64 = 512;
/// Live, an attempt that failed is made again after this, then after twice as long, up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// Live, how often it is looked whether the documents' session is there.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What a session about attachments may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct CarryLimits {
    /// Until when; `None`: as long as it lasts.
    pub(super) deadline: Option<Instant>,
    /// Bytes both ways together.
    pub(super) budget: Option<u64>,
    /// How long the other side may say nothing, a minute at the most.
    pub(super) patience: Duration,
}

impl Default for CarryLimits {
    fn default() -> Self {
        Self {
            deadline: None,
            budget: None,
            patience: Duration::MAX,
        }
    }
}

impl Running {
    /// What is wanted here and not here: thumbnails that documents show, and what is pinned.
    pub fn wanted_attachments(&self) -> Result<(Vec<AttachmentId>, Vec<AttachmentId>), Error> {
        let identity = self.replica.identity();
        let pinned = self.log.read(|read| read.attachments_wanted(&identity))?;
        let thumbnails = self.thumbnails_wanted(&self.no_thumbnails()?, |_| true)?;
        Ok((thumbnails, pinned))
    }

    /// Attachments that are not to be got as a thumbnail: those that are here, and those that are too long for one.
    fn no_thumbnails(&self) -> Result<BTreeSet<AttachmentId>, Error> {
        let rows = self.log.read(|read| read.attachments(&self.replica.identity()))?;
        let not = rows.iter().filter(|row| row.is_whole() || row.size > CHUNK_BOX as u64);
        Ok(not.map(|row| row.id).collect())
    }

    /// As many of the thumbnails that documents show as one session gets: none of `not`, and only what `which` says.
    fn thumbnails_wanted(
        &self,
        not: &BTreeSet<AttachmentId>,
        which: impl Fn(&AttachmentId) -> bool,
    ) -> Result<Vec<AttachmentId>, Error> {
        let mut thumbnails = Vec::new();
        let mut after = AttachmentId([0; 32]);
        while thumbnails.len() < THUMBNAILS_AT_ONCE {
            let page = self.shown(|documents| documents.thumbnails(&after, PAGE))?;
            let Some(last) = page.last() else { break };
            after = *last;
            thumbnails.extend(page.into_iter().filter(|id| !not.contains(id) && which(id)));
        }
        thumbnails.truncate(THUMBNAILS_AT_ONCE);
        Ok(thumbnails)
    }

    /// What to ask one peer for: thumbnails, and what is pinned. What it did not hold when it was asked comes last, so that it keeps nothing
    /// else from being asked for; and live only when its time has come.
    fn to_ask(&self, peer: &PublicKey, live: bool) -> Result<(Vec<AttachmentId>, Vec<AttachmentId>), Error> {
        let identity = self.replica.identity();
        let (lacks, now) = (lock(&self.lacking).of(peer), Instant::now());
        let mut pinned = self.log.read(|read| read.attachments_wanted(&identity))?;
        let not = self.no_thumbnails()?;
        let mut thumbnails = self.thumbnails_wanted(&not, |id| !lacks.has(id))?;
        let mut over = Vec::new();
        for id in lacks.by_turn() {
            if thumbnails.len() >= THUMBNAILS_AT_ONCE || (live && !lacks.may_ask(&id, now)) {
                break;
            }
            if !not.contains(&id) && self.shown(|documents| documents.is_thumbnail(&id))? {
                thumbnails.push(id);
            } else if !pinned.contains(&id) {
                over.push(id);
            }
        }
        lock(&self.lacking).forget(peer, &over);
        pinned.retain(|id| !live || lacks.may_ask(id, now));
        Ok((thumbnails, pinned))
    }

    /// What there is to do with one peer; `None` if nothing.
    fn errand(&self, target: &Target, live: bool) -> Result<Option<Errand>, Error> {
        let identity = self.replica.identity();
        let (thumbnails, fetch) = self.to_ask(&target.key, live)?;
        let cloud = self.replica.known().tentative.peers().contains_key(&target.key);
        let store = self.log.read(|read| read.peer_store(&target.key))?;
        let push = match store.filter(|_| cloud) {
            Some(store) => !self
                .log
                .read(|read| read.attachments_to_push(&identity, &target.key, &store))?
                .is_empty(),
            None => false,
        };
        // What another device wants, it says when it is asked.
        let offers = !cloud && self.log.read(|read| read.attachment_usage(&identity))?.2 > 0;
        let errand = Errand {
            read: Vec::new(),
            thumbnails,
            push,
            fetch,
        };
        Ok((offers || errand != Errand::default()).then_some(errand))
    }

    /// Moves what there is to move with a peer whose documents are in sync.
    pub(super) async fn carry_all(
        self: &Arc<Self>,
        target: &Target,
        deadline: Option<Instant>,
        budget: Option<u64>,
    ) -> Option<(Carried, Result<StopReason, NetError>)> {
        let (running, to) = (self.clone(), target.clone());
        // Whoever syncs once asks for everything; a session that lasts has time.
        let live = deadline.is_none();
        let errand = apart(move || running.errand(&to, live)).await;
        match errand {
            Ok(Ok(Some(errand))) => {
                let limits = CarryLimits {
                    deadline,
                    budget,
                    ..CarryLimits::default()
                };
                let carried = self.carry(target, &errand, limits, None).await;
                let (mut lacking, now) = (lock(&self.lacking), Instant::now());
                let absent = carried.0.absent.iter();
                absent.for_each(|id| lacking.note(&target.key, *id, now));
                drop(lacking);
                Some(carried)
            }
            Ok(Ok(None)) | Err(_) => None,
            Ok(Err(error)) => {
                tracing::warn!(%error, "attachments are not moved now");
                None
            }
        }
    }

    /// Does an errand with one peer, on a connection of its own.
    pub(super) async fn carry(
        self: &Arc<Self>,
        target: &Target,
        errand: &Errand,
        limits: CarryLimits,
        progress: Option<AttachmentProgress>,
    ) -> (Carried, Result<StopReason, NetError>) {
        let CarryLimits {
            deadline,
            budget,
            patience,
        } = limits;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let within = left.unwrap_or(CONNECT_WITHIN).min(CONNECT_WITHIN).min(patience);
        let net = match self.net().await {
            Ok(net) => net,
            Err(Error::Network(error)) => return (Carried::default(), Err(error)),
            Err(_) => return (Carried::default(), Err(NetError::Stopped)),
        };
        let stop = self.stop_signal();
        let mut waiting = stop.clone();
        let dialled = tokio::select! {
            () = stopped(&mut waiting) => Err(NetError::Stopped),
            dialled = net.dial(&target.endpoint, &target.addresses, within) => dialled,
        };
        let (connection, frames) = match dialled {
            Ok(dialled) => dialled,
            Err(error) => return (Carried::default(), Err(error)),
        };
        frames.trust();
        let contacts = Arc::downgrade(self);
        // What somebody waits for does not wait for documents.
        let waits = errand.read.is_empty();
        let busy = move || waits && contacts.upgrade().is_some_and(|running| running.moves_documents());
        let carrier = Carrier {
            frames,
            replica: self.replica.clone(),
            blobs: self.blobs.clone(),
            remote: target.key,
            patience,
            budget,
            progress: progress.map(in_bytes),
            busy: Some(Arc::new(busy)),
        };
        let done = carrier.run(errand, deadline, stop).await;
        connection.close(0u32.into(), b"done");
        self.shared.changes.state();
        done
    }

    /// Whether a session about documents is moving any.
    fn moves_documents(&self) -> bool {
        lock(&self.contacts).values().any(|contact| contact.syncing.is_some())
    }
}

fn in_bytes(progress: AttachmentProgress) -> CarryProgress {
    Arc::new(move |_, done, of| {
        let bytes = |chunks: u32| u64::from(chunks) * CHUNK as u64;
        progress(bytes(done), Some(bytes(of)));
    })
}

/// Moves attachments for as long as a live session is held: whenever something is new, and documents are not on their way.
/// Dropped, it ends.
pub(super) async fn carry_live(running: Weak<Running>, target: Target) {
    let mut pause = RETRY_FIRST;
    let Some(mut changes) = running.upgrade().map(|running| running.log.changes()) else {
        return;
    };
    loop {
        let Some(strong) = running.upgrade() else { return };
        let ready = lock(&strong.contacts)
            .get(&target.key)
            .is_some_and(|contact| contact.attachments);
        if !ready || strong.moves_documents() {
            drop(strong);
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        }
        // What changes from here on calls for another round.
        while changes.try_recv().is_ok() {}
        let carried = strong.carry_all(&target, None, None).await;
        let failed =
            matches!(&carried, Some((_, Err(_)))) || matches!(&carried, Some((done, _)) if !done.refused.is_empty());
        if carried.is_some() {
            let tidied = strong.clone();
            let tidying = apart(move || tidied.tidy_after_sync()).await;
            if let Ok(Err(error)) = tidying {
                tracing::warn!(%error, "attachments are not tidied now");
            }
        }
        // It may hold by then what it did not hold now.
        let again = lock(&strong.lacking).next(&target.key);
        drop(strong);
        if failed {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LONGEST);
        } else {
            pause = RETRY_FIRST;
            let again = async {
                match again {
                    Some(due) => tokio::time::sleep_until(due.max(Instant::now() + RETRY_FIRST).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.recv() => if let Err(broadcast::error::RecvError::Closed) = change {
                    return;
                },
                () = again => {}
            }
        }
    }
}
