//! What counts of the author logs of removed devices (docs/formats.md, section 3): what lies on a chain that ends in a cut-off.

use std::collections::BTreeMap;

use super::Known;
use crate::{
    crypto::Hash,
    identity::{Cutoff, IdentityId, Operation, Removed, State, raise_cutoff},
    log::{AuthorId, Position},
    store::{BranchHead, Read, StoreError},
};

/// Entries beyond the cut-offs of one author log that a device keeps, in case it is raised. A cloud peer takes none.
pub(super) const KEPT_BEYOND: u64 = 1_024;

/// The branches of an author log as far as they count.
fn counted(
    read: &Read<'_>,
    author: &AuthorId,
    removed: &Removed,
    branches: Vec<BranchHead>,
) -> Result<Vec<BranchHead>, StoreError> {
    let mut counted: Vec<BranchHead> = Vec::new();
    let Some(last) = removed.last(&Hash(author.0)) else {
        return Ok(counted);
    };
    for branch in branches {
        let head = end_on(read, author, removed, &branch)?;
        // On the way to a cut-off that is not here yet, as far as one can tell.
        let head = head.or((branch.head.seq < last).then_some(branch.head));
        if let Some(head) = head.filter(|head| counted.iter().all(|other| other.head != *head)) {
            counted.push(BranchHead { head, ..branch });
        }
    }
    Ok(counted)
}

/// The last cut-off that lies on `branch`.
fn end_on(
    read: &Read<'_>,
    author: &AuthorId,
    removed: &Removed,
    branch: &BranchHead,
) -> Result<Option<Position>, StoreError> {
    for (seq, hash) in removed.cutoffs.get(&Hash(author.0)).into_iter().flatten().rev() {
        let cutoff = Position { seq: *seq, hash: *hash };
        if read.is_on(author, branch, cutoff)? {
            return Ok(Some(cutoff));
        }
    }
    Ok(None)
}

/// Every branch of an identity as far as it counts, by author log.
pub(super) fn counted_heads(
    read: &Read<'_>,
    identity: &IdentityId,
    state: &State,
) -> Result<BTreeMap<AuthorId, Vec<BranchHead>>, StoreError> {
    let mut heads = read.heads(identity)?;
    for (device, removed) in state.removed() {
        for author in read.logs_of(identity, device)? {
            let Some(branches) = heads.remove(&author) else {
                continue;
            };
            let branches = counted(read, &author, removed, branches)?;
            if !branches.is_empty() {
                heads.insert(author, branches);
            }
        }
    }
    Ok(heads)
}

/// The branches of one author log as far as they count.
pub(super) fn counted_branches(
    read: &Read<'_>,
    state: &State,
    author: &AuthorId,
) -> Result<Vec<BranchHead>, StoreError> {
    let branches = read.branches(author)?;
    let start = read.start(author)?;
    match start.and_then(|start| state.removed().get(&start.device())) {
        Some(removed) => counted(read, author, removed, branches),
        None => Ok(branches),
    }
}

/// Where the author logs of a device end here: the cut-offs of its removal.
pub(super) fn cutoffs(
    read: &Read<'_>,
    identity: &IdentityId,
    device: &crate::crypto::PublicKey,
) -> Result<Vec<Cutoff>, StoreError> {
    let mut cutoffs = Vec::new();
    for author in read.logs_of(identity, device)? {
        for branch in read.branches(&author)? {
            cutoffs.push(Cutoff(Hash(author.0), branch.head.seq, branch.head.hash));
        }
    }
    Ok(cutoffs)
}

/// What this device had before it learned of a removal, others built on: it proposes that this counts. Of what it learns later it does not.
pub(super) fn raises(
    read: &Read<'_>,
    before: &State,
    after: &Known,
    signing: &crate::crypto::SigningKey,
) -> Result<Vec<Operation>, StoreError> {
    let (state, identity) = (&after.tentative, after.ordered.identity());
    let mut raises = Vec::new();
    if !state.devices().contains_key(&signing.public()) {
        return Ok(raises);
    }
    let news = state.removed().iter();
    for (device, removed) in news.filter(|(device, _)| !before.removed().contains_key(*device)) {
        let mut beyond = Vec::new();
        for cutoff in cutoffs(read, &identity, device)? {
            let author = AuthorId(cutoff.0.0);
            let branches = counted(read, &author, removed, read.branches(&author)?)?;
            let head = Position {
                seq: cutoff.1,
                hash: cutoff.2,
            };
            if branches.iter().all(|branch| branch.head != head) {
                beyond.push(cutoff);
            }
        }
        for some in beyond.chunks(crate::identity::MAX_TARGETS) {
            let seen = after.ordered.head();
            raises.push(raise_cutoff(signing, identity, seen, *device, some.to_vec()));
        }
    }
    Ok(raises)
}
