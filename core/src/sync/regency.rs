//! The 24 words put operations in order themselves for a moment: where whoever should do it is lost, or is a thief.

use super::{Known, ReplicaError};
use crate::{
    crypto::{PublicKey, Random, Signature, SigningKey},
    identity::{
        Body, Commit, IdentityError, KeyRing, Keys, Operation, Proposer, RecoverySecret, State, Verdict, add_device,
        add_peer, change_orderers, remove_device, rotate_recovery,
    },
};

/// What the words add to an identity's log. It counts wherever it is shown, whatever another orderer did meanwhile.
pub struct Regency {
    known: Known,
    /// Signs the commits: the words that began it.
    regent: SigningKey,
    /// Sign the proposals: the words now.
    words: RecoverySecret,
    began: usize,
    now: u64,
}

impl Regency {
    /// Takes the ordering over, after everything that `known` has. `now` is the clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`IdentityError::OtherWords`] if these are not the words of the identity.
    pub fn begin(
        random: &mut dyn Random,
        known: &Known,
        words: &RecoverySecret,
        now: u64,
    ) -> Result<Self, IdentityError> {
        if known.ordered.recovery_at(now) != words.public() {
            return Err(IdentityError::OtherWords);
        }
        let mut regency = Self {
            known: Known::from_log(known.log.clone(), Vec::new())?,
            regent: words.signing(),
            words: words.clone(),
            began: known.log.len(),
            now,
        };
        let regent = regency.regent.public();
        regency.put(random, |random, by, state, _| {
            Ok(change_orderers(random, by, state.term() + 1, vec![regent]))
        })?;
        Ok(regency)
    }

    /// The state with what was put in order so far.
    pub fn state(&self) -> &State {
        &self.known.ordered
    }

    /// Puts what `make` makes in order.
    ///
    /// # Errors
    /// [`IdentityError::Void`] if it has no effect: it is not put in order then.
    pub fn put(
        &mut self,
        random: &mut dyn Random,
        make: impl FnOnce(&mut dyn Random, &Proposer<'_>, &State, &KeyRing) -> Result<Operation, IdentityError>,
    ) -> Result<(), IdentityError> {
        let ring = self.known.key_ring_of(&self.words.agreement());
        let state = &self.known.ordered;
        let signing = self.words.signing();
        let by = Proposer::of(state, &ring, &signing).ok_or(IdentityError::NoKey)?;
        let operation = make(random, &by, state, &ring)?;
        if let Verdict::Void(reason) = state.judge_at(&operation, self.now) {
            return Err(IdentityError::Void(reason));
        }
        let commit = state.next_commit(&self.regent, &operation, self.now);
        let commit = commit.ok_or(IdentityError::OtherWords)?;
        let mut log = std::mem::take(&mut self.known.log);
        log.push((commit, operation));
        self.known = Known::from_log(log, Vec::new())?;
        Ok(())
    }

    /// Lets other words count from here on.
    pub fn change_words(&mut self, random: &mut dyn Random, new: &RecoverySecret) -> Result<(), IdentityError> {
        self.put(random, |random, by, _, _| rotate_recovery(random, by, new.public()))?;
        self.words = new.clone();
        Ok(())
    }

    /// Undoes what `thieves` did: they and every device that they let in are removed, whom they removed comes back, and the words stay. What
    /// counts of the removed devices' entries is what `cutoffs` says.
    pub fn undo(
        &mut self,
        random: &mut dyn Random,
        thieves: &[PublicKey],
        cutoffs: impl Fn(&PublicKey) -> Result<Vec<crate::identity::Cutoff>, ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let recovery = self.words.public();
        if self.state().next_recovery().is_some() {
            self.put(random, |random, by, _, _| rotate_recovery(random, by, recovery))?;
        }
        let mut out = thieves.to_vec();
        for (_, operation) in &self.known.log {
            let added = match operation.body() {
                Body::AddDevice { device, .. } => device.0,
                _ => continue,
            };
            if out.contains(&operation.core().proposer) && !out.contains(&added) {
                out.push(added);
            }
        }
        let removed = self.state().removed().iter();
        let back =
            removed.filter(|(key, removed)| removed.by.is_some_and(|by| out.contains(&by)) && !out.contains(key));
        let back: Vec<_> = back.filter_map(|(_, removed)| removed.keys).collect();
        let peers = self.state().removed_peers().values();
        let peers = peers.filter(|removed| removed.by.is_some_and(|by| out.contains(&by)));
        let peers: Vec<_> = peers.filter_map(|removed| removed.peer.clone()).collect();
        for device in &out {
            if self.state().devices().contains_key(device) {
                let cutoffs = cutoffs(device)?;
                self.put(random, |random, by, state, ring| {
                    remove_device(random, by, (state, ring), *device, cutoffs)
                })?;
            }
        }
        // Who comes back agreed when it first came.
        let agreed = Signature([0; 64]);
        for keys in back {
            let ring = self.known.key_ring_of(&self.words.agreement());
            let name = ring.name(&keys.0).unwrap_or_default().to_owned();
            self.put(random, |random, by, _, _| add_device(random, by, keys, agreed, &name))?;
        }
        for peer in peers {
            let ring = self.known.key_ring_of(&self.words.agreement());
            let name = ring.name(&peer.keys.0).unwrap_or_default().to_owned();
            self.put(random, |random, by, _, _| {
                Ok(add_peer(random, by, peer.keys, agreed, peer.services, &name))
            })?;
        }
        Ok(())
    }

    /// An operation by which the words let the device with these keys in, for whoever knows only that it was removed. It is not put in order:
    /// here the device may be a member all along.
    pub fn admission(&self, random: &mut dyn Random, keys: Keys) -> Result<Operation, IdentityError> {
        let ring = self.known.key_ring_of(&self.words.agreement());
        let signing = self.words.signing();
        let by = Proposer::of(&self.known.ordered, &ring, &signing).ok_or(IdentityError::NoKey)?;
        let name = ring.name(&keys.0).unwrap_or_default();
        add_device(random, &by, keys, Signature([0; 64]), name)
    }

    /// Gives the ordering to `orderer`, a device or peer. Gives the commits, oldest first, with their operations, and how many of them were
    /// there before.
    pub fn end(
        mut self,
        random: &mut dyn Random,
        orderer: PublicKey,
    ) -> Result<(Vec<(Commit, Operation)>, usize), IdentityError> {
        self.put(random, |random, by, state, _| {
            Ok(change_orderers(random, by, state.term() + 1, vec![orderer]))
        })?;
        Ok((self.known.log, self.began))
    }
}
