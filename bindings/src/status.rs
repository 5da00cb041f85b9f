//! The truth about what is stored where, as it crosses.

use std::sync::Arc;

use rhizome::StatusWatch;

use crate::{
    CancelHandle, RhizomeError,
    document::{AsyncNext, Pulled},
};

/// An entry: its author log and its place in it.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct EntryRef {
    /// The author log.
    pub author: String,
    /// Its place.
    pub seq: u64,
}

impl From<rhizome::EntryRef> for EntryRef {
    fn from(entry: rhizome::EntryRef) -> Self {
        Self {
            author: entry.author.to_string(),
            seq: entry.seq,
        }
    }
}

/// A device or peer that said, signed, that it holds an entry on its disk.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Holder {
    /// Its signing key.
    pub key: String,
    /// What the person calls it.
    pub name: Option<String>,
    /// Whether it is a cloud peer.
    pub cloud: bool,
    /// When it said so, by its clock, in milliseconds since 1970.
    pub since: u64,
}

impl From<rhizome::Holder> for Holder {
    fn from(holder: rhizome::Holder) -> Self {
        Self {
            key: holder.key.to_string(),
            name: holder.name,
            cloud: holder.cloud,
            since: holder.since,
        }
    }
}

/// Why a pod is not up to date.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct WaitReason {
    /// A stable word: `no-peer`, `not-tried`, `new-entries`, `peer-unreachable`, `quota-exceeded`, `not-finished`, `update-needed`,
    /// `refused`, `ended`, `distrust`, `storage`, `offline`, `local-network-denied`, `restricted`, `battery-low`, `data-saver` or `metered`.
    pub kind: String,
    /// In English, safe to log.
    pub text: String,
    /// For `peer-unreachable`: since when, in milliseconds since 1970.
    pub since: Option<u64>,
    /// For `new-entries`: how many. For `quota-exceeded`: the quota.
    pub amount: Option<u64>,
}

impl From<rhizome::WaitReason> for WaitReason {
    fn from(reason: rhizome::WaitReason) -> Self {
        use rhizome::WaitReason as Core;
        let (kind, text) = (reason.kind().to_owned(), reason.to_string());
        let (since, amount) = match reason {
            Core::PeerUnreachable { since } => (Some(since), None),
            Core::NewEntries { entries } => (None, Some(entries)),
            Core::QuotaExceeded { limit } => (None, Some(limit)),
            _ => (None, None),
        };
        Self {
            kind,
            text,
            since,
            amount,
        }
    }
}

/// Whether what is here is elsewhere too.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum SyncState {
    /// Every entry is held by a cloud peer.
    UpToDate {
        /// When that was last confirmed, in milliseconds since 1970.
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

impl From<rhizome::SyncState> for SyncState {
    fn from(state: rhizome::SyncState) -> Self {
        match state {
            rhizome::SyncState::UpToDate { at } => Self::UpToDate { at },
            rhizome::SyncState::Syncing { done, total } => Self::Syncing { done, total },
            rhizome::SyncState::Waiting { reason } => Self::Waiting { reason: reason.into() },
        }
    }
}

/// A linked device or cloud peer.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PeerStatus {
    /// Its signing key.
    pub key: String,
    /// What the person calls it.
    pub name: Option<String>,
    /// Whether it is a cloud peer.
    pub cloud: bool,
    /// Whether it is this device.
    pub this_device: bool,
    /// Whether its membership is ordered; if not, it is tentative.
    pub ordered: bool,
    /// When it was last reached, in milliseconds since 1970.
    pub reached: Option<u64>,
}

impl From<rhizome::PeerStatus> for PeerStatus {
    fn from(peer: rhizome::PeerStatus) -> Self {
        Self {
            key: peer.key.to_string(),
            name: peer.name,
            cloud: peer.cloud,
            this_device: peer.this,
            ordered: peer.ordered,
            reached: peer.reached,
        }
    }
}

/// Something the owner should know.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Alarm {
    /// `fork`, `peer-loss`, `equivocation`, `hidden-commits` or `wrong-erasure`: a document's deletion that names what is not of it.
    pub kind: String,
    /// Whom it is about: a peer's signing key, an author log, or an identity.
    pub subject: String,
    /// When it was first seen, in milliseconds since 1970.
    pub time: u64,
}

/// Everything a person may ask of a pod's state.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Status {
    /// Whether what is here is elsewhere too.
    pub sync: SyncState,
    /// Devices and cloud peers.
    pub peers: Vec<PeerStatus>,
    /// Entries here.
    pub entries: u64,
    /// Bytes that entries and identity log take here, about.
    pub bytes: u64,
    /// Entries that no cloud peer said it holds.
    pub only_here: u64,
    /// Operations of the identity that wait for their order.
    pub pending: u64,
    /// Entries whose key has not arrived.
    pub waiting_for_key: u64,
    /// Entries that are here and not shown yet.
    pub unfolded: u64,
    /// What the owner should know, newest first.
    pub alarms: Vec<Alarm>,
}

impl From<rhizome::Status> for Status {
    fn from(status: rhizome::Status) -> Self {
        Self {
            sync: status.sync.into(),
            peers: status.peers.into_iter().map(PeerStatus::from).collect(),
            entries: status.entries,
            bytes: status.bytes,
            only_here: status.only_here,
            pending: status.pending as u64,
            waiting_for_key: status.waiting_for_key,
            unfolded: status.unfolded,
            alarms: status
                .alarms
                .into_iter()
                .map(|alarm| Alarm {
                    kind: alarm.kind.name().to_owned(),
                    subject: alarm.subject.to_string(),
                    time: alarm.time,
                })
                .collect(),
        }
    }
}

/// How the sync with one peer went.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct PeerReport {
    /// The peer's signing key.
    pub key: String,
    /// What the person calls it.
    pub name: Option<String>,
    /// Entries sent that it confirmed.
    pub sent: u64,
    /// Entries received that are new here.
    pub received: u64,
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// Why it failed, if it did.
    pub error: Option<RhizomeError>,
}

/// How a sync went.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SyncReport {
    /// One for each peer that was tried.
    pub peers: Vec<PeerReport>,
    /// The pod's state afterwards.
    pub state: SyncState,
}

impl From<rhizome::SyncReport> for SyncReport {
    fn from(report: rhizome::SyncReport) -> Self {
        let peer = |peer: rhizome::PeerReport| {
            let (key, name) = (peer.key.to_string(), peer.name);
            match peer.result {
                Ok(report) => PeerReport {
                    key,
                    name,
                    sent: report.outcome.sent,
                    received: report.outcome.received,
                    bytes_sent: report.bytes_sent,
                    bytes_received: report.bytes_received,
                    error: None,
                },
                Err(error) => PeerReport {
                    key,
                    name,
                    sent: 0,
                    received: 0,
                    bytes_sent: 0,
                    bytes_received: 0,
                    error: Some(rhizome::Error::from(error).into()),
                },
            }
        };
        Self {
            peers: report.peers.into_iter().map(peer).collect(),
            state: report.state.into(),
        }
    }
}

/// What network there is, by the system's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Network {
    /// The system did not say.
    Unknown,
    /// None.
    None,
    /// One that costs by the byte.
    Metered,
    /// One that does not.
    Unmetered,
}

/// What the system says of this device; a status gives it as the reason why something waits. It never keeps a sync from being tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Conditions {
    /// The network.
    pub network: Network,
    /// Whether the person asked the system to save data.
    #[uniffi(default = false)]
    pub data_saver: bool,
    /// Whether the battery is low, or the system saves power.
    #[uniffi(default = false)]
    pub battery_low: bool,
    /// Whether the system restricts what this app does while it is not in front.
    #[uniffi(default = false)]
    pub restricted: bool,
    /// Whether the system keeps this app from the local network.
    #[uniffi(default = false)]
    pub local_network_denied: bool,
}

impl From<Conditions> for rhizome::Conditions {
    fn from(conditions: Conditions) -> Self {
        Self {
            network: match conditions.network {
                Network::Unknown => rhizome::Network::Unknown,
                Network::None => rhizome::Network::None,
                Network::Metered => rhizome::Network::Metered,
                Network::Unmetered => rhizome::Network::Unmetered,
            },
            data_saver: conditions.data_saver,
            battery_low: conditions.battery_low,
            restricted: conditions.restricted,
            local_network_denied: conditions.local_network_denied,
        }
    }
}

/// The pod's status, as it changes.
#[derive(uniffi::Object)]
pub struct StatusSubscription(pub(crate) Pulled<StatusWatch>);

struct NextStatus;

impl AsyncNext<StatusWatch, Status> for NextStatus {
    async fn next(self, watch: &mut StatusWatch) -> Result<Option<Status>, rhizome::Error> {
        Ok(watch.next().await?.map(Status::from))
    }
}

#[uniffi::export]
impl StatusSubscription {
    /// The status now, at first and whenever it is another; none once this was cancelled or the pod is shut down. Async.
    pub async fn next(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<Status>, RhizomeError> {
        self.0.next(cancel, NextStatus).await
    }

    /// Ends it: whoever waits for the next is told none. Instant.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}
