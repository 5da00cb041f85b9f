//! The keys that a member reads out of the identity log: identity keys, then the names, streams and epochs sealed under them.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{
    Body, DocumentId, EpochId, Operation, State, StreamId,
    operation::{epoch_id, identity_key_id, wrap_info},
};
use crate::crypto::{AgreementKey, Hash, PublicKey, SealKey, Secret};

/// A stream and its epochs.
#[derive(Debug, Clone)]
pub struct Stream {
    /// What the person or the app calls it.
    pub label: String,
    /// The epoch to write under: the one that began last.
    pub current: EpochId,
    /// The identity key it is sealed under: if that is not the one in use, somebody who was removed may know it.
    pub under: Hash,
}

/// Where an operation stands whose keys are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In the log, with an effect.
    InEffect,
    /// Without a commit, with an effect if it had one.
    Pending,
    /// Without an effect, in the log or not.
    Void,
}

/// All the keys one device can reach.
#[derive(Clone)]
pub struct KeyRing {
    identity_keys: BTreeMap<Hash, Secret>,
    /// Those that are sealed under another.
    sealed_keys: BTreeSet<Hash>,
    /// The one in use, whether it is here or not.
    in_use: Hash,
    epochs: BTreeMap<EpochId, SealKey>,
    streams: BTreeMap<StreamId, Stream>,
    names: BTreeMap<PublicKey, String>,
    /// Epochs that no ordered operation tells of.
    tentative: Vec<(StreamId, String, EpochId, Secret)>,
    /// By erasure that was not called off, the documents that it names.
    erasing: BTreeMap<Hash, Vec<DocumentId>>,
    /// All of these documents.
    erased: BTreeSet<DocumentId>,
    alarms: usize,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "KeyRing({} epochs, {} streams)",
            self.epochs.len(),
            self.streams.len()
        )
    }
}

impl KeyRing {
    /// Reads every key that `agreement` can reach from `operations`, in the log's order, the pending ones last. What has no effect may hold keys
    /// all the same: two who began an epoch at once both wrote under theirs. `state` says which identity key is in use.
    pub fn gather<'a>(
        state: &State,
        agreement: &AgreementKey,
        operations: impl IntoIterator<Item = (&'a Operation, Standing)>,
    ) -> Self {
        let operations: Vec<(&Operation, Standing)> = operations.into_iter().collect();
        let mut ring = Self {
            identity_keys: BTreeMap::new(),
            sealed_keys: BTreeSet::new(),
            in_use: state.key_id(),
            epochs: BTreeMap::new(),
            streams: BTreeMap::new(),
            names: BTreeMap::new(),
            tentative: Vec::new(),
            erasing: BTreeMap::new(),
            erased: BTreeSet::new(),
            alarms: 0,
        };
        // Older identity keys are sealed under newer ones: each key that is found opens what waits for it, and may bring others.
        let mut found: Vec<Hash> = Vec::new();
        let mine = agreement.public();
        for (operation, standing) in &operations {
            let Some(key) = operation.wrapped_key() else { continue };
            for wrap in key.wraps.iter().filter(|wrap| wrap.0 == mine) {
                let info = wrap_info(&state.binding(), &key.id, &mine);
                let opened = agreement.unwrap(&info, wrap).ok();
                ring.keep_identity_key(&key.id, opened.as_deref().map(Vec::as_slice), *standing, &mut found);
            }
        }
        let mut closed: BTreeMap<Hash, Vec<usize>> = BTreeMap::new();
        for (place, (operation, _)) in operations.iter().enumerate() {
            if let Some(under) = operation.sealed_under() {
                closed.entry(under).or_default().push(place);
            }
        }
        // What is read is noted by place, and enacted in the log's order.
        let mut parts: BTreeMap<usize, (Hash, super::SealedPart)> = BTreeMap::new();
        while let Some(under) = found.pop() {
            let Some(key) = ring.identity_keys.get(&under).cloned() else {
                continue;
            };
            for place in closed.remove(&under).unwrap_or_default() {
                let (operation, standing) = operations[place];
                let Some(part) = operation.open_sealed(&state.binding(), &key) else {
                    continue;
                };
                for (id, key) in &part.previous {
                    ring.sealed_keys.insert(*id);
                    ring.keep_identity_key(id, Some(&key[..]), standing, &mut found);
                }
                parts.insert(place, (under, part));
            }
        }
        // One without a sealed part names no document to anybody.
        for (operation, standing) in &operations {
            let unnamed = *standing != Standing::Void && operation.sealed_under().is_none();
            if unnamed && state.erasures().contains_key(&operation.id()) {
                ring.erasing.insert(operation.id(), Vec::new());
            }
        }
        for (place, (under, mut part)) in parts {
            let (operation, standing) = operations[place];
            let documents = std::mem::take(&mut part.documents);
            if standing != Standing::Void && state.erasures().contains_key(&operation.id()) {
                ring.erased.extend(&documents);
                ring.erasing.insert(operation.id(), documents);
            }
            ring.enact(operation, standing, under, part);
        }
        ring
    }

    fn keep_identity_key(&mut self, id: &Hash, key: Option<&[u8]>, standing: Standing, found: &mut Vec<Hash>) {
        match key.and_then(Secret::from_slice) {
            Some(key) if identity_key_id(&key) == *id => {
                if self.identity_keys.insert(*id, key).is_none() {
                    found.push(*id);
                }
            }
            // Whoever is no member may put anything into an operation without an effect.
            _ => self.alarms += usize::from(standing != Standing::Void),
        }
    }

    fn enact(&mut self, operation: &Operation, standing: Standing, under: Hash, part: super::SealedPart) {
        if let Some(name) = part.name.filter(|_| standing != Standing::Void) {
            let named = match operation.body() {
                Body::Genesis { device, .. } | Body::AddDevice { device, .. } => Some(device.0),
                Body::AddPeer { peer, .. } => Some(peer.0),
                Body::RenameDevice { device } => Some(*device),
                _ => None,
            };
            if let Some(key) = named {
                self.names.insert(key, name);
            }
        }
        for (stream, label, epoch, key) in part.streams {
            if epoch_id(&stream, &key) != epoch {
                self.alarms += usize::from(standing != Standing::Void);
                continue;
            }
            self.epochs.insert(epoch, SealKey::derive("section", &key));
            match standing {
                Standing::InEffect => self.tentative.retain(|(_, _, known, _)| *known != epoch),
                Standing::Pending => self.tentative.push((stream, label.clone(), epoch, key)),
                Standing::Void => continue,
            }
            let known = Stream {
                label,
                current: epoch,
                under,
            };
            match self.streams.entry(stream) {
                Entry::Vacant(entry) => drop(entry.insert(known)),
                // Of two that were begun at once, the one under the key that is in use.
                Entry::Occupied(mut entry) if under == self.in_use || entry.get().under != self.in_use => {
                    entry.insert(Stream {
                        label: entry.get().label.clone(),
                        ..known
                    });
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    /// The key of an epoch, if it has arrived.
    pub fn epoch(&self, epoch: &EpochId) -> Option<&SealKey> {
        self.epochs.get(epoch)
    }

    /// The streams known.
    pub fn streams(&self) -> &BTreeMap<StreamId, Stream> {
        &self.streams
    }

    /// The stream to write to for `label`: of several that devices made apart, the one with the lowest id, so that all agree.
    pub fn stream(&self, label: &str) -> Option<(StreamId, &Stream)> {
        self.streams
            .iter()
            .find(|(_, stream)| stream.label == label)
            .map(|(id, stream)| (*id, stream))
    }

    /// The name of a device or peer.
    pub fn name(&self, key: &PublicKey) -> Option<&str> {
        self.names.get(key).map(String::as_str)
    }

    /// Documents that somebody erased and nobody called back, as far as is known here: nothing of them is shown.
    pub fn erased(&self) -> &BTreeSet<DocumentId> {
        &self.erased
    }

    /// The documents that an erasure names to the members, if it was not called off.
    pub fn erased_by(&self, erasure: &Hash) -> &[DocumentId] {
        self.erasing.get(erasure).map_or(&[], Vec::as_slice)
    }

    /// Every erasure that was not called off and names documents.
    pub fn erasing(&self) -> &BTreeMap<Hash, Vec<DocumentId>> {
        &self.erasing
    }

    /// The identity key by its id, if this device can reach it.
    pub fn identity_key(&self, id: &Hash) -> Option<&Secret> {
        self.identity_keys.get(id)
    }

    /// The identity keys here that are sealed under none of the others: the current one, and any that were made at once with it.
    pub fn newest_keys(&self) -> Vec<(Hash, &Secret)> {
        let newest = self
            .identity_keys
            .iter()
            .filter(|(id, _)| !self.sealed_keys.contains(*id));
        newest.map(|(id, key)| (*id, key)).collect()
    }

    /// Epochs of operations that wait for their commit.
    pub(super) fn tentative_epochs(&self) -> Vec<(StreamId, String, EpochId, Secret)> {
        self.tentative.clone()
    }

    /// How many wraps or epochs did not match their commitments. Anything but 0 means that a member lied.
    pub fn alarms(&self) -> usize {
        self.alarms
    }
}
