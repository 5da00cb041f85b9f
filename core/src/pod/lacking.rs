//! What a peer was asked for and did not hold: it is asked for that after all else, and live ever more rarely.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{crypto::PublicKey, log::AttachmentId};

/// How long a peer is not asked again for what it did not hold, the first time and at the most. Each time doubles it.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How many are remembered of one peer.
const MOST: usize = 16_384;

/// When something may be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lacked {
    due: Instant,
    wait: Duration,
}

/// What one peer did not hold when it was asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Lacks(BTreeMap<AttachmentId, Lacked>);

impl Lacks {
    /// Whether it did not hold this one.
    pub(super) fn has(&self, id: &AttachmentId) -> bool {
        self.0.contains_key(id)
    }

    /// Whether it may be asked for this one now.
    pub(super) fn may_ask(&self, id: &AttachmentId, now: Instant) -> bool {
        self.0.get(id).is_none_or(|lacked| lacked.due <= now)
    }

    /// All of them: first what was not asked for for longest.
    pub(super) fn by_turn(&self) -> Vec<AttachmentId> {
        let mut all: Vec<_> = self.0.iter().map(|(id, lacked)| (lacked.due, *id)).collect();
        all.sort();
        all.into_iter().map(|(_, id)| id).collect()
    }
}

/// What each peer did not hold, since the pod was opened.
#[derive(Default)]
pub(super) struct Lacking(BTreeMap<PublicKey, Lacks>);

impl Lacking {
    /// What `peer` did not hold.
    pub(super) fn of(&self, peer: &PublicKey) -> Lacks {
        self.0.get(peer).cloned().unwrap_or_default()
    }

    /// It was asked and did not hold this one.
    pub(super) fn note(&mut self, peer: &PublicKey, id: AttachmentId, now: Instant) {
        let Lacks(of_it) = self.0.entry(*peer).or_default();
        if of_it.len() >= MOST && !of_it.contains_key(&id) {
            of_it.clear();
        }
        let before = of_it.get(&id).map(|lacked| (lacked.wait * 2).min(LONGEST));
        let wait = before.unwrap_or(FIRST);
        of_it.insert(id, Lacked { due: now + wait, wait });
    }

    /// Nobody wants these any more, or they are here.
    pub(super) fn forget(&mut self, peer: &PublicKey, ids: &[AttachmentId]) {
        if let Some(Lacks(of_it)) = self.0.get_mut(peer) {
            for id in ids {
                of_it.remove(id);
            }
        }
    }

    /// When it may be asked for the next of them.
    pub(super) fn next(&self, peer: &PublicKey) -> Option<Instant> {
        self.0.get(peer)?.0.values().map(|lacked| lacked.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PublicKey = PublicKey([1; 32]);
    const OTHER: PublicKey = PublicKey([2; 32]);

    fn id(n: u8) -> AttachmentId {
        AttachmentId([n; 32])
    }

    #[test]
    fn what_is_not_there_is_asked_for_again_ever_more_rarely() {
        let (mut lacking, mut now) = (Lacking::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            lacking.note(&PEER, id(1), now);
            assert!(!lacking.of(&PEER).may_ask(&id(1), now));
            let next = lacking.next(&PEER).unwrap();
            waits.push((next - now).as_secs());
            now = next;
            assert!(lacking.of(&PEER).may_ask(&id(1), now));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        // Another peer may hold it, and of another one nothing is known.
        assert!(!lacking.of(&OTHER).has(&id(1)) && lacking.of(&OTHER).may_ask(&id(1), now));
        assert_eq!(lacking.next(&OTHER), None);
        lacking.forget(&PEER, &[id(1), id(9)]);
        assert_eq!(lacking.next(&PEER), None);
    }

    #[test]
    fn each_has_its_turn_and_there_is_an_end_to_what_is_remembered() {
        let (mut lacking, now) = (Lacking::default(), Instant::now());
        for (n, after) in [(3, 0), (1, 1), (2, 2)] {
            lacking.note(&PEER, id(n), now + Duration::from_millis(after));
        }
        assert_eq!(lacking.of(&PEER).by_turn(), [id(3), id(1), id(2)]);
        lacking.note(&PEER, id(3), now + Duration::from_secs(2));
        assert_eq!(lacking.of(&PEER).by_turn(), [id(1), id(2), id(3)]);
        for n in 0..2 * MOST as u64 {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            lacking.note(&PEER, AttachmentId(bytes), now);
            assert!(lacking.0[&PEER].0.len() <= MOST);
        }
    }
}
