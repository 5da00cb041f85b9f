//! The keys that a member reads out of the identity log: identity keys, then the names, streams and epochs sealed under them.

use std::collections::BTreeMap;

use super::{
    Body, EpochId, Operation, State, StreamId,
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
}

/// All the keys one device can reach.
#[derive(Default, Clone)]
pub struct KeyRing {
    identity_keys: BTreeMap<Hash, Secret>,
    epochs: BTreeMap<EpochId, SealKey>,
    streams: BTreeMap<StreamId, Stream>,
    names: BTreeMap<PublicKey, String>,
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
    /// Reads every key that `agreement` can reach from `operations`: those in effect, in order, the pending ones last.
    pub fn gather<'a>(
        state: &State,
        agreement: &AgreementKey,
        operations: impl IntoIterator<Item = &'a Operation>,
    ) -> Self {
        let operations: Vec<&Operation> = operations.into_iter().collect();
        let mut ring = Self::default();
        for operation in &operations {
            if let Body::Genesis { key, .. } | Body::AddDevice { key, .. } = operation.body() {
                let mine = agreement.public();
                for wrap in key.wraps.iter().filter(|wrap| wrap.0 == mine) {
                    let info = wrap_info(&state.binding(), &key.id, &mine);
                    ring.keep_identity_key(
                        &key.id,
                        agreement.unwrap(&info, wrap).ok().as_deref().map(Vec::as_slice),
                    );
                }
            }
        }
        // Older identity keys are sealed under newer ones, so opening goes on until it opens nothing more. What is read
        // is noted by place, and enacted in the log's order.
        let mut parts: BTreeMap<usize, super::SealedPart> = BTreeMap::new();
        loop {
            let before = parts.len();
            for (place, operation) in operations
                .iter()
                .enumerate()
                .filter(|(_, op)| op.sealed_under().is_some())
            {
                if parts.contains_key(&place) {
                    continue;
                }
                let key = operation
                    .sealed_under()
                    .and_then(|id| ring.identity_keys.get(&id).cloned());
                let Some(part) = key.and_then(|key| operation.open_sealed(&state.binding(), &key)) else {
                    continue;
                };
                for (id, key) in &part.previous {
                    ring.keep_identity_key(id, Some(&key[..]));
                }
                parts.insert(place, part);
            }
            if parts.len() == before {
                break;
            }
        }
        for (place, part) in parts {
            ring.enact(operations[place], part);
        }
        ring
    }

    fn keep_identity_key(&mut self, id: &Hash, key: Option<&[u8]>) {
        match key.and_then(Secret::from_slice) {
            Some(key) if identity_key_id(&key) == *id => {
                self.identity_keys.insert(*id, key);
            }
            _ => self.alarms += 1,
        }
    }

    fn enact(&mut self, operation: &Operation, part: super::SealedPart) {
        if let Some(name) = part.name {
            let named = match operation.body() {
                Body::Genesis { device, .. } | Body::AddDevice { device, .. } => Some(device.0),
                Body::AddPeer { peer, .. } => Some(peer.0),
                Body::ChangeOrderers { .. } | Body::Streams {} => None,
            };
            if let Some(key) = named {
                self.names.insert(key, name);
            }
        }
        for (stream, label, epoch, key) in part.streams {
            if epoch_id(&stream, &key) != epoch {
                self.alarms += 1;
                continue;
            }
            self.epochs.insert(epoch, SealKey::derive("section", &key));
            let entry = self.streams.entry(stream).or_insert(Stream { label, current: epoch });
            entry.current = epoch;
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

    /// The identity key by its id, if this device can reach it.
    pub fn identity_key(&self, id: &Hash) -> Option<&Secret> {
        self.identity_keys.get(id)
    }

    /// How many wraps or epochs did not match their commitments. Anything but 0 means that a member lied.
    pub fn alarms(&self) -> usize {
        self.alarms
    }
}
