//! The identity's devices and cloud peers: who they are, and how one goes.

use super::{Pod, running::Running};
use crate::{
    crypto::{Hash, OsRandom, PublicKey},
    error::Error,
    identity::{
        MAX_TARGETS, Proposer, Verdict, change_orderers, change_orderers_by_vote, heal, raise_cutoff, remove_device,
        remove_peer, rename_device, votes_for,
    },
    sync::ReplicaError,
};

/// A device or cloud peer of the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its signing key: who it is.
    pub key: PublicKey,
    /// What the person calls it.
    pub name: Option<String>,
    /// Whether it is a cloud peer, which reads nothing.
    pub cloud: bool,
    /// Whether it is this device.
    pub this: bool,
    /// Whether it puts operations in order.
    pub orders: bool,
    /// Whether that it is one was put in order; until then it counts tentatively.
    pub ordered: bool,
}

/// A device that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedMember {
    /// Its signing key.
    pub key: PublicKey,
    /// What the person called it.
    pub name: Option<String>,
    /// Entries of it that are kept here and not shown: made after it was removed, or not seen by whoever removed it.
    pub kept: u64,
    /// Whether the removal was put in order.
    pub ordered: bool,
}

/// Who is of the identity, and who was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Devices, then cloud peers, by signing key.
    pub members: Vec<Member>,
    /// Devices that were removed.
    pub removed: Vec<RemovedMember>,
    /// From when on other recovery words count that a device proposed, by the orderer's clock, in milliseconds since 1970. Whoever did not
    /// expect that has 72 hours to take the identity back with the present words.
    pub words_change_at: Option<u64>,
}

/// How far a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProposalState {
    /// It waits for its order. On this device it counts already.
    Tentative,
    /// It is put in order, and counts everywhere.
    Ordered,
    /// Something else came before it: it has no effect.
    Void,
    /// It is not known here.
    Unknown,
}

/// A proposal about the identity, by its id.
pub type Proposal = Hash;

impl Pod {
    /// The identity's devices and cloud peers.
    pub async fn members(&self) -> Result<Members, Error> {
        self.work(Running::members).await
    }

    /// Removes a device. From here on nothing that is written by a device that knows of it can be read by the removed one, and nothing that
    /// it writes counts. It keeps, and can read, what it had until then; a device that does not know yet goes on taking its entries,
    /// and those stay: look at them. Sync first where there is time: what only a cloud peer has of it by now does not count, nor does what it
    /// never sent. The words let it in again, with all of it.
    ///
    /// # Errors
    /// [`crate::identity::IdentityError::Void`] for this device itself: another one removes it.
    pub async fn remove_device(&self, device: PublicKey) -> Result<Proposal, Error> {
        self.work(move |running| {
            let replica = &running.replica;
            let mut cutoffs = replica.cutoffs(&device)?;
            let rest = cutoffs.split_off(cutoffs.len().min(MAX_TARGETS));
            let proposed = replica.propose(&running.keys, |by, state, ring| {
                remove_device(&mut OsRandom, by, (state, ring), device, cutoffs)
            })?;
            for some in rest.chunks(MAX_TARGETS) {
                running.raise(device, some.to_vec())?;
            }
            Ok(proposed)
        })
        .await
    }

    /// Lets count what is kept here of a removed device: for when it is found again, or was removed with too little of it seen. `None` if
    /// there is nothing to let count.
    pub async fn readmit_entries(&self, device: PublicKey) -> Result<Option<Proposal>, Error> {
        self.work(move |running| {
            let cutoffs = running.replica.beyond(&device)?;
            let mut last = None;
            for some in cutoffs.chunks(MAX_TARGETS) {
                last = Some(running.raise(device, some.to_vec())?);
            }
            Ok(last)
        })
        .await
    }

    /// Removes a cloud peer: devices do not sync with it any more. It keeps what it stored, and could never read it.
    pub async fn remove_peer(&self, peer: PublicKey) -> Result<Proposal, Error> {
        self.work(move |running| Ok(running.propose(|by| remove_peer(&mut OsRandom, by, peer))?))
            .await
    }

    /// Calls a device or cloud peer something else.
    pub async fn rename(&self, member: PublicKey, name: &str) -> Result<Proposal, Error> {
        let name = name.to_owned();
        self.work(move |running| Ok(running.propose(|by| rename_device(&mut OsRandom, by, member, &name))?))
            .await
    }

    /// Asks the present orderer to let `orderer`, a device or cloud peer, put operations in order from here on.
    pub async fn hand_over(&self, orderer: PublicKey) -> Result<Proposal, Error> {
        self.work(move |running| {
            let term = running.replica.known().ordered.term() + 1;
            Ok(running.propose(|by| change_orderers(&mut OsRandom, by, term, vec![orderer]))?)
        })
        .await
    }

    /// As [`Pod::hand_over`] where the present orderer is lost: this device votes for `orderer`, beside those whose votes came here. Once most
    /// devices have, it takes over; what the old one put in order that they had not seen waits for its order again.
    pub async fn vote_for_orderer(&self, orderer: PublicKey) -> Result<Proposal, Error> {
        self.work(move |running| {
            let known = running.replica.known();
            let (term, orderers) = (known.ordered.term() + 1, vec![orderer]);
            // Votes count together only for the same place in the log: join one that is there.
            let wanted = known.pending.iter().rev().find_map(|operation| match operation.body() {
                crate::identity::Body::ChangeOrderers {
                    term: asked,
                    orderers: whom,
                    votes: Some(votes),
                } if *asked == term && *whom == orderers => Some(votes.from),
                _ => None,
            });
            let from = wanted.or(known.ordered.head()).ok_or(Error::Closed)?;
            let votes = votes_for(&known.pending, (term, &orderers, &from));
            Ok(running.propose(|by| change_orderers_by_vote(&mut OsRandom, by, term, orderers, from, votes))?)
        })
        .await
    }

    /// How far a proposal is. Memory only.
    pub fn proposal(&self, id: Proposal) -> Result<ProposalState, Error> {
        let known = self.running()?.replica.known();
        let mut ordered = known.log.iter().zip(&known.verdicts).rev();
        // One that had no effect may stand there again, and have one.
        let state = match ordered.find(|((_, operation), _)| operation.id() == id) {
            Some((_, Verdict::Ok)) => ProposalState::Ordered,
            Some((_, Verdict::Void(_))) => ProposalState::Void,
            None => match known.pending.iter().position(|operation| operation.id() == id) {
                Some(place) if place < known.in_effect => ProposalState::Tentative,
                Some(_) => ProposalState::Void,
                None => ProposalState::Unknown,
            },
        };
        Ok(state)
    }
}

impl Running {
    fn propose(
        &self,
        make: impl FnOnce(&crate::identity::Proposer<'_>) -> crate::identity::Operation,
    ) -> Result<Proposal, ReplicaError> {
        self.replica.propose(&self.keys, |by, _, _| Ok(make(by)))
    }

    fn raise(&self, device: PublicKey, cutoffs: Vec<crate::identity::Cutoff>) -> Result<Proposal, ReplicaError> {
        let (identity, seen) = (self.replica.identity(), self.replica.known().ordered.head());
        let raise = raise_cutoff(&self.keys.signing, identity, seen, device, cutoffs);
        let id = raise.id();
        self.replica.take_operation(raise)?;
        Ok(id)
    }

    /// Proposes what is amiss with the identity's keys, if anything is.
    pub fn heal(&self) -> Result<(), Error> {
        let (known, ring) = self.known_keys();
        let Some(mut by) = Proposer::of(&known.tentative, &ring, &self.keys.signing) else {
            return Ok(());
        };
        by.seen = known.ordered.head();
        if let Some(operation) = heal(&mut OsRandom, &by, (&known.tentative, &ring))? {
            self.replica.take_operation(operation)?;
        }
        Ok(())
    }

    fn members(&self) -> Result<Members, Error> {
        let (known, ring) = self.known_keys();
        let name = |key: &PublicKey| ring.name(key).map(str::to_owned);
        let (state, ordered) = (&known.tentative, &known.ordered);
        let member = |key: &PublicKey, cloud: bool| Member {
            key: *key,
            name: name(key),
            cloud,
            this: *key == self.keys.signing.public(),
            orders: ordered.orderers().contains(key),
            ordered: ordered.devices().contains_key(key) || ordered.peers().contains_key(key),
        };
        let devices = state.devices().keys().map(|key| member(key, false));
        let members = devices.chain(state.peers().keys().map(|key| member(key, true)));
        let mut removed = Vec::new();
        for key in state.removed().keys() {
            let mut kept = 0;
            for author in self.log.read(|read| read.logs_of(&self.replica.identity(), key))? {
                let last = |branches: Vec<crate::store::BranchHead>| {
                    branches.iter().map(|branch| branch.head.seq).max().unwrap_or(1)
                };
                let here = last(self.log.read(|read| read.branches(&author))?);
                kept += here.saturating_sub(last(self.replica.branches(&author)?));
            }
            removed.push(RemovedMember {
                key: *key,
                name: name(key),
                kept,
                ordered: ordered.removed().contains_key(key),
            });
        }
        Ok(Members {
            members: members.collect(),
            removed,
            words_change_at: ordered.next_recovery().map(|(_, at)| at),
        })
    }
}
