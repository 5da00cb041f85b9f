//! The truth about what is stored where, and why not elsewhere.

use super::{
    Pod,
    running::{Running, lock},
};
use crate::{
    crypto::PublicKey,
    error::Error,
    log::{AuthorId, DocumentId},
    store::{Alarm, StoreError},
    sync::{ByeReason, RefuseReason},
};

/// An entry: its author log and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryRef {
    /// The author log.
    pub author: AuthorId,
    /// Its place.
    pub seq: u64,
}

/// A device or peer that said, signed, that it holds an entry on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its signing key.
    pub key: PublicKey,
    /// What the person calls it.
    pub name: Option<String>,
    /// Whether it is a cloud peer.
    pub cloud: bool,
    /// When it said so, by its clock, in milliseconds since 1970.
    pub since: u64,
}

/// Whether what is here is elsewhere too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncState {
    /// Every entry is held by a cloud peer, as of this time (milliseconds since 1970).
    UpToDate {
        /// When that was last confirmed.
        at: u64,
    },
    /// A session is under way.
    Syncing {
        /// Entries confirmed in it.
        done: u64,
        /// Entries to confirm, as far as is known.
        total: u64,
    },
    /// Something is only here, or what is elsewhere was not asked for.
    Waiting {
        /// Why.
        reason: WaitReason,
    },
}

/// Why a pod is not up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitReason {
    /// No cloud peer and no reachable device is linked.
    NoPeer,
    /// Nothing was tried since the pod was opened.
    NotTried,
    /// Entries were written since the last sync.
    NewEntries {
        /// How many are held by no cloud peer.
        entries: u64,
    },
    /// No peer answered since then (milliseconds since 1970).
    PeerUnreachable {
        /// Since when.
        since: u64,
    },
    /// The peer has no room: it takes this many bytes or entries.
    QuotaExceeded {
        /// The quota.
        limit: u64,
    },
    /// The deadline or the byte budget of the last sync was used up before everything moved.
    NotFinished,
    /// This version does not know a kind of operation of the identity's.
    UpdateNeeded,
    /// The peer refused for another reason.
    Refused(RefuseReason),
    /// The peer ended the session.
    Ended(ByeReason),
    /// What the peer sent does not hold together, or two peers contradict each other: see the alarms.
    Distrust,
    /// This device's own disk failed, or is full.
    Storage,
    /// The system says that there is no network.
    Offline,
    /// The system does not let this app talk to the local network, where the peer is.
    LocalNetworkDenied,
    /// The system restricts what this app does while it is not in front.
    Restricted,
    /// The battery is low.
    BatteryLow,
    /// The person asked the system to save data.
    DataSaver,
    /// The network costs by the byte.
    Metered,
}

/// What network there is, by the system's word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Network {
    /// The system did not say.
    #[default]
    Unknown,
    /// None.
    None,
    /// One that costs by the byte.
    Metered,
    /// One that does not.
    Unmetered,
}

/// What the system says of this device: the app forwards it, and a status gives it as the reason why something waits. It never keeps a
/// sync from being tried: whoever calls [`Pod::sync_once`] has decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The network.
    pub network: Network,
    /// Whether the person asked the system to save data.
    pub data_saver: bool,
    /// Whether the battery is low, or the system saves power.
    pub battery_low: bool,
    /// Whether the system restricts what this app does while it is not in front.
    pub restricted: bool,
    /// Whether the system keeps this app from the local network.
    pub local_network_denied: bool,
}

impl Conditions {
    /// Why something waits that would not if the system were otherwise, if `reason` is one that it can explain.
    fn explain(&self, reason: WaitReason) -> WaitReason {
        let unreachable = matches!(reason, WaitReason::PeerUnreachable { .. });
        let idle = matches!(
            reason,
            WaitReason::NotTried | WaitReason::NewEntries { .. } | WaitReason::NotFinished
        );
        match self {
            Self {
                network: Network::None, ..
            } if unreachable || idle => WaitReason::Offline,
            Self {
                local_network_denied: true,
                ..
            } if unreachable => WaitReason::LocalNetworkDenied,
            Self { restricted: true, .. } if idle => WaitReason::Restricted,
            Self { battery_low: true, .. } if idle => WaitReason::BatteryLow,
            Self { data_saver: true, .. } if idle => WaitReason::DataSaver,
            Self {
                network: Network::Metered,
                ..
            } if idle => WaitReason::Metered,
            _ => reason,
        }
    }
}

impl WaitReason {
    /// A stable word, for scripts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoPeer => "no-peer",
            Self::NotTried => "not-tried",
            Self::NewEntries { .. } => "new-entries",
            Self::PeerUnreachable { .. } => "peer-unreachable",
            Self::QuotaExceeded { .. } => "quota-exceeded",
            Self::NotFinished => "not-finished",
            Self::UpdateNeeded => "update-needed",
            Self::Refused(_) => "refused",
            Self::Ended(_) => "ended",
            Self::Distrust => "distrust",
            Self::Storage => "storage",
            Self::Offline => "offline",
            Self::LocalNetworkDenied => "local-network-denied",
            Self::Restricted => "restricted",
            Self::BatteryLow => "battery-low",
            Self::DataSaver => "data-saver",
            Self::Metered => "metered",
        }
    }
}

impl std::fmt::Display for WaitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPeer => f.write_str("no cloud peer or other device is linked"),
            Self::NotTried => f.write_str("not tried since the pod was opened"),
            Self::NewEntries { entries: 1 } => f.write_str("1 entry is held by no cloud peer yet"),
            Self::NewEntries { entries } => write!(f, "{entries} entries are held by no cloud peer yet"),
            Self::PeerUnreachable { .. } => f.write_str("no peer can be reached"),
            Self::QuotaExceeded { limit } => write!(f, "the cloud peer's quota of {limit} is used up"),
            Self::NotFinished => f.write_str("the last sync ran out of time or bytes"),
            Self::UpdateNeeded => f.write_str("this version is too old for the identity: update needed"),
            Self::Refused(reason) => write!(f, "the peer refused: {reason}"),
            Self::Ended(reason) => write!(f, "the peer ended the session: {reason}"),
            Self::Distrust => f.write_str("what the peer sent does not hold together"),
            Self::Storage => f.write_str("this device's disk is full or failed"),
            Self::Offline => f.write_str("there is no network"),
            Self::LocalNetworkDenied => {
                f.write_str("the system keeps this app from the local network: allow it in the settings")
            }
            Self::Restricted => f.write_str("the system restricts this app while it is not in front"),
            Self::BatteryLow => f.write_str("the battery is low"),
            Self::DataSaver => f.write_str("the system saves data"),
            Self::Metered => f.write_str("the network costs by the byte"),
        }
    }
}

/// A linked device or cloud peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its signing key.
    pub key: PublicKey,
    /// What the person calls it.
    pub name: Option<String>,
    /// Whether it is a cloud peer.
    pub cloud: bool,
    /// Whether it is this device.
    pub this: bool,
    /// Whether its membership is ordered; if not, it is tentative.
    pub ordered: bool,
    /// When it was last reached, in milliseconds since 1970.
    pub reached: Option<u64>,
}

/// Everything a person may ask of a pod's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether what is here is elsewhere too.
    pub sync: SyncState,
    /// Devices and cloud peers.
    pub peers: Vec<PeerStatus>,
    /// Entries here.
    pub entries: u64,
    /// Bytes that entries and identity log take here, about (see [`crate::store::Usage`]).
    pub bytes: u64,
    /// Entries that no cloud peer said it holds.
    pub only_here: u64,
    /// Operations of the identity that wait for their order.
    pub pending: usize,
    /// Entries whose key has not arrived.
    pub waiting_for_key: u64,
    /// Entries that are here and not shown yet: after a large sync, or while damaged views are made again.
    pub unfolded: u64,
    /// What the owner should know, newest first.
    pub alarms: Vec<Alarm>,
}

/// How the last attempt at a peer went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contact {
    pub reached: Option<u64>,
    pub waiting: Option<WaitReason>,
    pub syncing: Option<(u64, u64)>,
    /// Whether it answers sessions about attachments.
    pub attachments: bool,
}

impl Pod {
    /// The pod's state, with its reasons.
    pub async fn status(&self) -> Result<Status, Error> {
        self.work(Running::status).await
    }

    /// Says what the system says, for [`WaitReason`]. Instant.
    pub fn set_conditions(&self, conditions: Conditions) {
        let before = std::mem::replace(&mut *lock(&self.0.shared.conditions), conditions);
        if before != conditions {
            self.0.shared.changes.state();
        }
    }

    /// The devices and peers that hold an entry, by their signed word. Empty: it is only here, as far as is known.
    pub async fn holders(&self, entry: EntryRef) -> Result<Vec<Holder>, Error> {
        self.work(move |running| running.holders(entry)).await
    }

    /// The devices and peers that hold everything that is here of a document.
    pub async fn document_holders(&self, document: DocumentId) -> Result<Vec<Holder>, Error> {
        self.work(move |running| {
            let mut common: Option<Vec<Holder>> = None;
            for (author, branch, seq) in running.shown(|documents| documents.entries_of(&document))? {
                let holders = running.holders_on(author, branch, seq)?;
                common = Some(match common {
                    None => holders,
                    Some(before) => both(before, &holders),
                });
            }
            Ok(common.unwrap_or_default())
        })
        .await
    }
}

/// Those of `some` that are among `others` too.
fn both(some: Vec<Holder>, others: &[Holder]) -> Vec<Holder> {
    let among = |holder: &Holder| others.iter().any(|other| other.key == holder.key);
    some.into_iter().filter(among).collect()
}

impl Running {
    /// Who holds an entry: of a log that forked, whoever holds it on every branch that has one in this place.
    fn holders(&self, entry: EntryRef) -> Result<Vec<Holder>, Error> {
        let mut common: Option<Vec<Holder>> = None;
        for branch in self.log.read(|read| read.branches(&entry.author))? {
            if entry.seq > branch.head.seq || (branch.branch != 0 && entry.seq <= branch.base) {
                continue;
            }
            let holders = self.holders_on(entry.author, branch.branch, entry.seq)?;
            common = Some(match common {
                None => holders,
                Some(before) => both(before, &holders),
            });
        }
        Ok(common.unwrap_or_default())
    }

    fn holders_on(&self, author: AuthorId, branch: u32, seq: u64) -> Result<Vec<Holder>, Error> {
        let known = self.replica.known();
        let ring = self.ring();
        let found = self.log.read(|read| read.holders(&author, branch, seq))?;
        let holder = |(key, since): (PublicKey, u64)| Holder {
            key,
            name: ring.name(&key).map(str::to_owned),
            cloud: known.tentative.peers().contains_key(&key),
            since,
        };
        Ok(found.into_iter().map(holder).collect())
    }

    /// Entries that no cloud peer said it holds.
    fn only_here(&self) -> Result<u64, Error> {
        let known = self.replica.known();
        let mut count = 0;
        // Of removed devices what counts: nobody else takes more.
        for (author, branches) in self.replica.heads()? {
            for branch in branches {
                let mut held = branch.base.max(1);
                for peer in known.tentative.peers().keys() {
                    let at = self.log.read(|read| read.receipt_at(&author, branch.branch, peer))?;
                    held = held.max(at.map_or(0, |at| at.seq));
                }
                count += branch.head.seq.saturating_sub(held);
            }
        }
        Ok(count)
    }

    fn status(&self) -> Result<Status, Error> {
        let known = self.replica.known();
        let ring = self.ring();
        let contacts = lock(&self.contacts).clone();
        let me = self.keys.signing.public();
        let reached = |key: &PublicKey| contacts.get(key).and_then(|contact| contact.reached);
        let devices = known
            .tentative
            .devices()
            .keys()
            .map(|key| (key, false, known.ordered.devices().contains_key(key)));
        let clouds = known
            .tentative
            .peers()
            .keys()
            .map(|key| (key, true, known.ordered.peers().contains_key(key)));
        let peers: Vec<PeerStatus> = devices
            .chain(clouds)
            .map(|(key, cloud, ordered)| PeerStatus {
                key: *key,
                name: ring.name(key).map(str::to_owned),
                cloud,
                this: *key == me,
                ordered,
                reached: reached(key),
            })
            .collect();
        let (entries, bytes) = self.log.read(|read| read.counts(&self.replica.identity()))?;
        let only_here = self.only_here()?;
        let has_peer = peers.iter().any(|peer| !peer.this);
        let confirmed = self.log.read(|read| read.last_receipt(&self.replica.identity()))?;
        let last_reached = contacts
            .values()
            .filter_map(|contact| contact.reached)
            .max()
            .or(confirmed);
        let syncing = contacts.values().find_map(|contact| contact.syncing);
        let waiting = contacts.values().find_map(|contact| contact.waiting.clone());
        let conditions = *lock(&self.shared.conditions);
        let wait = |reason| SyncState::Waiting {
            reason: conditions.explain(reason),
        };
        // Views that turn out to be damaged are empty from there on, and counted as that.
        let unfolded = match self.documents.behind() {
            Err(StoreError::Damaged { file: "views.db", .. }) => self.documents.behind()?,
            other => other?,
        };
        let sync = match (has_peer, syncing, waiting) {
            (false, _, _) => wait(WaitReason::NoPeer),
            (true, Some((done, total)), _) => SyncState::Syncing { done, total },
            (true, None, Some(reason)) => wait(reason),
            (true, None, None) => match last_reached {
                None if only_here == 0 && entries == 0 => wait(WaitReason::NotTried),
                None => wait(if only_here > 0 {
                    WaitReason::NewEntries { entries: only_here }
                } else {
                    WaitReason::NotTried
                }),
                Some(_) if only_here > 0 => wait(WaitReason::NewEntries { entries: only_here }),
                Some(at) => SyncState::UpToDate { at },
            },
        };
        Ok(Status {
            sync,
            peers,
            entries,
            bytes,
            only_here,
            pending: known.pending.len(),
            waiting_for_key: self.documents.waiting()?,
            unfolded,
            alarms: self.log.read(|read| read.alarms())?,
        })
    }
}
