//! Removal, keys, names, words and orderers: what several devices do to one identity at once.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::replicas::{Member, converse};
use rhizome::{
    Document, DocumentId, Event, Value,
    crypto::{DeviceSecret, Hash, PublicKey, Random, SeededRandom, encode, hash},
    document::Documents,
    identity::{
        Body, Commit, CommitCore, Cutoff, IdentityError, KeyRing, Keys, OpNonce, Operation, Proposer, RecoverySecret,
        Standing, State, Verdict, VoidReason, add_device, cancel_erase, change_orderers, change_orderers_by_vote,
        consent, erase, genesis, heal, raise_cutoff, remove_device, rename_device, rewrap, rotate_recovery, votes_for,
    },
    log::{AuthorId, DocumentChange, Position, Range, SessionId, Time, Writer, make_entry},
    path,
    store::Views,
    sync::{Known, Refusal, ReplicaError},
};
use serde_bytes::ByteBuf;

const HOUR: u64 = 60 * 60 * 1_000;

impl Member {
    fn key(&self) -> PublicKey {
        self.keys.signing.public()
    }

    fn ring(&self) -> KeyRing {
        self.replica.known().key_ring(&self.keys)
    }

    /// Proposes something, offline.
    fn propose(
        &mut self,
        make: impl FnOnce(&mut dyn Random, &Proposer<'_>, &State, &KeyRing) -> Result<Operation, IdentityError>,
    ) -> Result<Hash, ReplicaError> {
        let random = &mut self.random;
        self.replica
            .propose(&self.keys, |by, state, ring| make(random, by, state, ring))
    }

    fn remove(&mut self, device: PublicKey) {
        let cutoffs = self.replica.cutoffs(&device).unwrap();
        self.propose(|random, by, state, ring| remove_device(random, by, (state, ring), device, cutoffs))
            .unwrap();
    }

    /// Makes the identity key anew if it must be, as a pod does before it writes.
    fn heal(&mut self) {
        let (known, ring) = (self.replica.known(), self.ring());
        let by = Proposer::of(&known.tentative, &ring, &self.keys.signing).unwrap();
        if let Some(operation) = heal(&mut self.random, &by, (&known.tentative, &ring)).unwrap() {
            self.replica.take_operation(operation).unwrap();
        }
    }

    fn is_device(&self, key: PublicKey) -> bool {
        self.replica.known().ordered.devices().contains_key(&key)
    }

    /// How many entries of a log count here.
    fn counts(&self, author: AuthorId) -> u64 {
        let branches = self.replica.branches(&author).unwrap();
        branches.iter().map(|branch| branch.head.seq - 1).max().unwrap_or(0)
    }
}

/// A device, by number, that was there from the start.
fn family(count: u64) -> Vec<Member> {
    let mut first = Member::first(1);
    let mut others: Vec<Member> = (1..count).map(|n| first.another(100 * n)).collect();
    for other in &others {
        converse(other, &first);
    }
    others.insert(0, first);
    for a in 1..others.len() {
        converse(&others[a], &others[0]);
    }
    others
}

fn sync_all(members: &[Member]) {
    // Who was removed is not talked to.
    for _ in 0..3 {
        for a in 0..members.len() {
            for b in 0..a {
                let known = |one: &Member, other: &Member| {
                    let state = &one.replica.known().tentative;
                    state.devices().contains_key(&other.key())
                };
                if known(&members[a], &members[b]) && known(&members[b], &members[a]) {
                    converse(&members[a], &members[b]);
                }
            }
        }
    }
}

/// What one of several devices does, alone and offline.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Remove(usize),
    Rename(usize),
    Add(u64),
    Rotate(u64),
    Rewrap,
}

fn act(member: &mut Member, what: Act, names: &[PublicKey]) {
    match what {
        Act::Remove(who) => member.remove(names[who]),
        Act::Rename(who) => {
            let key = names[who];
            drop(member.propose(|random, by, _, _| Ok(rename_device(random, by, key, "renamed"))));
        }
        Act::Add(seed) => {
            let keys = DeviceSecret::make(&mut SeededRandom::new(seed)).keys();
            let operation = member.add(&keys);
            member.replica.take_operation(operation).unwrap();
        }
        Act::Rotate(seed) => {
            let words = RecoverySecret::make(&mut SeededRandom::new(seed)).public();
            member
                .propose(|random, by, _, _| rotate_recovery(random, by, words))
                .unwrap();
        }
        Act::Rewrap => {
            member
                .propose(|random, by, state, ring| rewrap(random, by, (state, ring)))
                .unwrap();
        }
    }
}

/// Whatever two or three of four devices do at once, and in whatever order it is put: all agree, who was removed is out and reads nothing that
/// is in use, and everybody else reads everything.
#[test]
fn whatever_devices_do_at_once_they_agree_and_who_was_removed_reads_nothing_new() {
    // Device 0 orders; 1 and 2 act; 3 is a victim that does nothing.
    let acts = |me: usize| {
        let other = 3 - me;
        [
            Act::Remove(3),
            Act::Remove(if me == 0 { 2 } else { other }),
            Act::Rename(3),
            Act::Add(5_000 + me as u64),
            Act::Rotate(6_000 + me as u64),
            Act::Rewrap,
        ]
    };
    let mut runs = 0;
    for first in acts(1) {
        for second in acts(2) {
            for third in acts(0).map(Some).into_iter().chain([None]) {
                for order in [[1, 2], [2, 1]] {
                    runs += 1;
                    run(&[(1, first), (2, second)], third, order);
                }
            }
        }
    }
    assert_eq!(runs, 6 * 6 * 7 * 2);
}

fn run(at_once: &[(usize, Act)], third: Option<Act>, order: [usize; 2]) {
    let what = format!("{at_once:?} {third:?} {order:?}");
    let mut members = family(4);
    let names: Vec<PublicKey> = members.iter().map(Member::key).collect();
    for (who, action) in at_once {
        act(&mut members[*who], *action, &names);
    }
    if let Some(action) = third {
        act(&mut members[0], action, &names);
    }
    // What each would seal now: under an epoch that nobody whom it removed knows.
    let sealed: Vec<_> = (0..3)
        .map(|n| {
            members[n].heal();
            let stream = members[n].stream("journal");
            let ring = members[n].ring();
            (n, ring.streams()[&stream].clone())
        })
        .collect();
    for n in order {
        if members[0].replica.known().tentative.devices().contains_key(&names[n])
            && members[n].replica.known().tentative.devices().contains_key(&names[0])
        {
            converse(&members[n], &members[0]);
        }
    }
    sync_all(&members);
    let state = members[0].replica.known().ordered.clone();
    let remain: Vec<usize> = (0..4).filter(|n| state.devices().contains_key(&names[*n])).collect();
    for n in &remain {
        let same = members[*n].replica.known();
        // A new key may be needed, and any of them may make it.
        assert_eq!(same.ordered.devices(), state.devices(), "{what}: {n} differs");
    }
    members[remain[0]].heal();
    sync_all(&members);
    sync_all(&members);
    let known = members[0].replica.known();
    let removed: Vec<usize> = (0..4).filter(|n| !remain.contains(n)).collect();
    for n in &remain {
        let same = members[*n].replica.known();
        assert_eq!(same.ordered.head(), known.ordered.head(), "{what}: {n} is behind");
        assert!(!same.ordered.needs_rewrap(), "{what}");
        let ring = members[*n].ring();
        assert!(
            ring.identity_key(&known.ordered.key_id()).is_some(),
            "{what}: {n} lacks the key"
        );
        assert_eq!(ring.alarms(), 0, "{what}");
        // Nobody's entries are lost, whoever began an epoch at once with whom.
        for (by, stream) in sealed.iter().filter(|(by, _)| remain.contains(by)) {
            assert!(ring.epoch(&stream.current).is_some(), "{what}: {n} cannot read {by}");
        }
    }
    let asked = at_once
        .iter()
        .map(|(who, action)| (*who, *action))
        .chain(third.map(|action| (0, action)));
    let victims: BTreeSet<usize> = asked
        .filter_map(|(_, action)| match action {
            Act::Remove(who) => Some(who),
            _ => None,
        })
        .collect();
    for n in &removed {
        assert!(
            victims.contains(n),
            "{what}: {n} was removed, and nobody asked for that"
        );
        // In league with the orderer it has the whole log, and its own key.
        let all = known.key_ring(&members[*n].keys);
        assert!(
            all.identity_key(&known.ordered.key_id()).is_none(),
            "{what}: {n} has the key"
        );
        let journal = members[remain[0]].stream("journal");
        let current = members[remain[0]].ring().streams()[&journal].current;
        assert!(all.epoch(&current).is_none(), "{what}: {n} reads on");
    }
    assert!(!removed.contains(&0), "{what}");
}

/// A log of `count` entries that `writer` made and `reader` got.
fn told(writer: &mut Member, reader: &Member, count: usize) -> Range {
    let range = writer.write("journal", count);
    reader.replica.take_range(range.clone()).unwrap();
    range
}

/// `count` more entries of that log, not stored anywhere.
fn more(writer: &mut Member, range: &Range, count: usize) -> Range {
    let stream = writer.stream("journal");
    let verified = range.clone().verify(&writer.key()).unwrap();
    let (mut after, mut entries) = (verified.head(), Vec::new());
    let first = after;
    for n in 0..count {
        let entry = writer.make(range.author, after, stream, format!("more {n}").as_bytes());
        after = entry.position();
        entries.push(entry.into_entry());
    }
    Range {
        start: None,
        author: range.author,
        after: first,
        entries,
    }
}

#[test]
fn what_lies_beyond_the_cut_off_is_kept_and_does_not_count_until_it_is_raised() {
    let mut members = family(3);
    let mut thief = members.pop().unwrap();
    let (mut second, first) = (members.pop().unwrap(), members.pop().unwrap());
    let range = told(&mut thief, &first, 3);
    let author = range.author;
    converse(&second, &first);
    // The second device had folded one more when it learned of the removal: that was built on, and stays.
    let late = more(&mut thief, &range, 1);
    second.replica.take_range(late.clone()).unwrap();
    let mut first = first;
    first.remove(thief.key());
    assert_eq!(first.counts(author), 3);
    converse(&second, &first);
    assert_eq!((first.counts(author), second.counts(author)), (4, 4));
    // What the thief makes now, dated back as it likes, is kept apart.
    let back_dated = more(&mut thief, &range_to(&range, &late), 2);
    first.replica.take_range(back_dated.clone()).unwrap();
    assert_eq!(first.counts(author), 4);
    let held = first.replica.read(|read| read.branches(&author)).unwrap();
    assert_eq!(held[0].head.seq, 7);
    // It is passed on to nobody, and does not keep two devices from agreeing.
    let outcomes = converse(&second, &first);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.missing == 0 && outcome.refused.is_empty())
    );
    assert_eq!(
        second.replica.read(|read| read.branches(&author)).unwrap()[0].head.seq,
        5
    );
    // The owner finds the phone again, and says that what is here counts.
    let cutoffs = first.replica.cutoffs(&thief.key()).unwrap();
    let known = first.replica.known();
    let raise = raise_cutoff(
        &first.keys.signing,
        known.ordered.identity(),
        known.ordered.head(),
        thief.key(),
        cutoffs,
    );
    first.replica.take_operation(raise).unwrap();
    converse(&second, &first);
    assert_eq!((first.counts(author), second.counts(author)), (6, 6));
    // There is an end to what is kept for that.
    let verified = range_to(&range, &back_dated);
    let flood = more(&mut thief, &verified, 512);
    first.replica.take_range(flood.clone()).unwrap();
    let flood = more(&mut thief, &range_to(&range, &flood), 512);
    first.replica.take_range(flood.clone()).unwrap();
    let flood = more(&mut thief, &range_to(&range, &flood), 1);
    assert_eq!(first.replica.take_range(flood), Err(Refusal::Removed));
    second.heal();
}

/// The log from its start to the end of `last`.
fn range_to(whole: &Range, last: &Range) -> Range {
    // Only where it ends matters to who goes on from there.
    Range {
        start: None,
        author: whole.author,
        after: last.after,
        entries: last.entries.clone(),
    }
}

#[test]
fn a_cloud_peer_takes_nothing_beyond_the_cut_off_and_keeps_what_it_has() {
    let mut members = family(2);
    let mut thief = members.pop().unwrap();
    let mut first = members.pop().unwrap();
    let peer = peer(&mut first, 900);
    let range = told(&mut thief, &first, 2);
    converse(&first, &peer);
    let author = range.author;
    let late = more(&mut thief, &range, 1);
    peer.replica.take_range(late.clone()).unwrap();
    first.remove(thief.key());
    // The orderer is the first device: it commits by itself.
    converse(&first, &peer);
    assert_eq!(peer.counts(author), 2);
    assert_eq!(peer.replica.read(|read| read.branches(&author)).unwrap()[0].head.seq, 4);
    let beyond = more(&mut thief, &range_to(&range, &late), 1);
    assert_eq!(peer.replica.take_range(beyond), Err(Refusal::Removed));
    // A log that no cut-off names counts for nothing.
    let stream = thief.stream("other");
    let start = thief.begin_log(stream);
    let entry = thief.make(start.id(), Position::start(&start.id()), stream, b"unknown");
    let unknown = Range {
        start: Some(start.encode().to_vec()),
        author: start.id(),
        after: Position::start(&start.id()),
        entries: vec![entry.into_entry()],
    };
    assert_eq!(peer.replica.take_range(unknown), Err(Refusal::Removed));
    let outcomes = converse(&first, &peer);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.losses == 0 && outcome.missing == 0)
    );
}

/// A cloud peer of the identity, with everything that `member` has.
fn peer(member: &mut Member, seed: u64) -> Member {
    let keys = DeviceSecret::make(&mut SeededRandom::new(seed)).keys();
    let public = Keys::of(&keys);
    let yes = consent(&keys.signing, &member.replica.identity(), &public, true);
    member
        .propose(|random, by, _, _| {
            Ok(rhizome::identity::add_peer(
                random,
                by,
                public,
                yes,
                Vec::new(),
                "cloud",
            ))
        })
        .unwrap();
    let known = member.replica.known();
    Member::new(seed + 1, keys, known.log.clone(), known.pending.clone())
}

#[test]
fn a_device_that_slept_through_ten_removals_reads_everything_with_one_wrap() {
    let mut members = family(12);
    let sleeper = members.remove(1);
    let mut first = members.remove(0);
    let mut sealed = Vec::new();
    let cloud = peer(&mut first, 9_900);
    for (n, victim) in members.iter().enumerate() {
        if n == 5 {
            // Half-way another one takes over the order.
            let (term, to) = (first.replica.known().ordered.term() + 1, vec![cloud.key()]);
            first
                .propose(|random, by, _, _| Ok(change_orderers(random, by, term, to)))
                .unwrap();
        }
        first.remove(victim.key());
        converse(&first, &cloud);
        let stream = first.stream("journal");
        sealed.push(first.ring().streams()[&stream].current);
    }
    assert_eq!(sealed.iter().collect::<BTreeSet<_>>().len(), 10);
    let written = first.write("journal", 2);
    // Its own entries were never sent.
    let mut sleeper = sleeper;
    let unsent = sleeper.write("journal", 3);
    converse(&first, &cloud);
    // It meets the cloud peer alone, which never saw it since.
    let _ = converse(&sleeper, &cloud);
    assert_eq!(sleeper.replica.known().ordered.term(), 1);
    converse(&first, &cloud);
    let ring = sleeper.ring();
    assert!(sealed.iter().all(|epoch| ring.epoch(epoch).is_some()));
    assert_eq!((sleeper.counts(written.author), first.counts(unsent.author)), (2, 3));
    // One wrap was enough: of the others in the log it needs none.
    let known = first.replica.known();
    let last = known.log.last().unwrap();
    let ring = KeyRing::gather(
        &known.ordered,
        &sleeper.keys.agreement,
        known.log.iter().map(|(_, operation)| {
            // Those between were lost to it.
            (operation, Standing::InEffect)
        }),
    );
    assert_eq!(ring.newest_keys().len(), 1);
    assert!(matches!(last.1.body(), Body::RemoveDevice { key, .. } if key.wraps.len() == 3));
}

/// A chain that one test signs as it likes.
struct Log {
    random: SeededRandom,
    words: RecoverySecret,
    known: Known,
    time: u64,
}

impl Log {
    fn new(keys: &rhizome::crypto::DeviceKeys) -> Self {
        let mut random = SeededRandom::new(77);
        let words = RecoverySecret::make(&mut random);
        let operation = genesis(&mut random, keys, &words, "first", &["journal"]);
        let core = CommitCore {
            identity: operation.identity(),
            index: 0,
            previous: None,
            operation: operation.id(),
            term: 0,
            time: 1,
            orderer: keys.signing.public(),
        };
        let log = vec![(Commit::make(&keys.signing, core), operation)];
        let known = Known::from_log(log, Vec::new()).unwrap();
        Self {
            random,
            words,
            known,
            time: 1,
        }
    }

    fn ring(&self, keys: &rhizome::crypto::DeviceKeys) -> KeyRing {
        self.known.key_ring(keys)
    }

    /// What the holder of the words proposes: it opens what they open.
    fn by_words(
        &mut self,
        words: &RecoverySecret,
        make: impl FnOnce(&mut dyn Random, &Proposer<'_>, &State, &KeyRing) -> Operation,
    ) -> Operation {
        let log = self.known.log.iter().zip(&self.known.verdicts);
        let standing = |verdict: &Verdict| match verdict {
            Verdict::Ok => Standing::InEffect,
            Verdict::Void(_) => Standing::Void,
        };
        let ring = KeyRing::gather(
            &self.known.ordered,
            &words.agreement(),
            log.map(|((_, operation), verdict)| (operation, standing(verdict))),
        );
        let signing = words.signing();
        let by = Proposer::of(&self.known.ordered, &ring, &signing).unwrap();
        make(&mut self.random, &by, &self.known.ordered, &ring)
    }

    fn by(
        &mut self,
        keys: &rhizome::crypto::DeviceKeys,
        make: impl FnOnce(&mut dyn Random, &Proposer<'_>, &State, &KeyRing) -> Operation,
    ) -> Operation {
        let ring = self.ring(keys);
        let by = Proposer::of(&self.known.ordered, &ring, &keys.signing).unwrap();
        make(&mut self.random, &by, &self.known.ordered, &ring)
    }

    /// Commits it at the log's time.
    fn commit(&mut self, orderer: &rhizome::crypto::SigningKey, operation: &Operation) -> Verdict {
        let commit = self.known.ordered.next_commit(orderer, operation, self.time).unwrap();
        let mut log = self.known.log.clone();
        log.push((commit, operation.clone()));
        self.known = Known::from_log(log, Vec::new()).unwrap();
        *self.known.verdicts.last().unwrap()
    }

    fn wire(&self, from: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pairs = self.known.log[from..].iter();
        pairs
            .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()))
            .collect()
    }
}

fn keys(seed: u64) -> rhizome::crypto::DeviceKeys {
    DeviceSecret::make(&mut SeededRandom::new(seed)).keys()
}

#[test]
fn words_that_a_device_changes_count_after_72_hours_of_commit_times() {
    let first = keys(1);
    let mut log = Log::new(&first);
    let old = log.words.clone();
    let new = RecoverySecret::make(&mut SeededRandom::new(500));
    let rotate = log.by(&first, |random, by, _, _| {
        rotate_recovery(random, by, new.public()).unwrap()
    });
    assert_eq!(log.commit(&first.signing, &rotate), Verdict::Ok);
    let due = 1 + 72 * HOUR;
    assert_eq!(log.known.ordered.next_recovery(), Some((new.public(), due)));
    // A minute before, the old words are the words.
    log.time = due - 1;
    let by_new = |random: &mut dyn Random, by: &Proposer<'_>| rename_device(random, by, first.signing.public(), "x");
    let early = {
        let signing = new.signing();
        let ring = log.ring(&first);
        let by = Proposer::of(&log.known.ordered, &ring, &signing).unwrap();
        by_new(&mut log.random, &by)
    };
    assert_eq!(
        log.commit(&first.signing, &early),
        Verdict::Void(VoidReason::NotADevice)
    );
    let by_old = log.by_words(&old, |random, by, _, _| by_new(random, by));
    assert_eq!(log.commit(&first.signing, &by_old), Verdict::Ok);
    // From then on the new ones are, from the very commit that comes at that time.
    log.time = due;
    let again = log.by_words(&old, |random, by, _, _| by_new(random, by));
    assert_eq!(
        log.commit(&first.signing, &again),
        Verdict::Void(VoidReason::NotADevice)
    );
    assert_eq!(log.commit(&first.signing, &early), Verdict::Ok);
    assert_eq!(log.known.ordered.recovery(), new.public());
    assert!(!log.known.ordered.needs_rewrap(), "the key came with the new words");
    // What was wrapped for the old words opens nothing that is made now.
    let fresh = log.by(&first, |random, by, state, ring| {
        rewrap(random, by, (state, ring)).unwrap()
    });
    log.commit(&first.signing, &fresh);
    let with_old = |words: &RecoverySecret| {
        let log_of = log
            .known
            .log
            .iter()
            .map(|(_, operation)| (operation, Standing::InEffect));
        KeyRing::gather(&log.known.ordered, &words.agreement(), log_of)
    };
    assert!(with_old(&old).identity_key(&log.known.ordered.key_id()).is_none());
    assert!(with_old(&new).identity_key(&log.known.ordered.key_id()).is_some());
}

#[test]
fn the_words_undo_what_a_thief_with_the_phone_did() {
    let (owner, thief, fresh) = (keys(1), keys(2), keys(3));
    let mut log = Log::new(&owner);
    let identity = log.known.ordered.identity();
    let joins = |keys: &rhizome::crypto::DeviceKeys| {
        let public = Keys::of(keys);
        (public, consent(&keys.signing, &identity, &public, false))
    };
    let (public, yes) = joins(&thief);
    let add = log.by(&owner, |random, by, _, _| {
        add_device(random, by, public, yes, "phone").unwrap()
    });
    log.commit(&owner.signing, &add);
    let to_thief = log.by(&owner, |random, by, _, _| {
        change_orderers(random, by, 1, vec![thief.signing.public()])
    });
    log.commit(&owner.signing, &to_thief);
    let honest = log.known.log.len();
    let first = Member::new(9, owner.clone(), log.known.log.clone(), Vec::new());
    // The thief removes the owner, changes the words, and orders all of it itself, with times as it likes.
    log.time = 5 * HOUR;
    let out = owner.signing.public();
    let remove = log.by(&thief, |random, by, state, ring| {
        remove_device(random, by, (state, ring), out, Vec::new()).unwrap()
    });
    assert_eq!(log.commit(&thief.signing, &remove), Verdict::Ok);
    let words = RecoverySecret::make(&mut SeededRandom::new(500));
    let rotate = log.by(&thief, |random, by, _, _| {
        rotate_recovery(random, by, words.public()).unwrap()
    });
    assert_eq!(log.commit(&thief.signing, &rotate), Verdict::Ok);
    first.replica.take_commits(&log.wire(honest)).unwrap();
    assert!(!first.is_device(out));
    let stolen = log.wire(0);
    let stolen_log = log.known.log.clone();
    // The owner types the words on a new device, which got the log from the cloud peer.
    let old = log.words.clone();
    log.time = 20 * HOUR;
    let take = log.by_words(&old, |random, by, _, _| {
        change_orderers(random, by, 2, vec![old.signing().public()])
    });
    // Nobody but the words may order now: they are no device, and sign the commits all the same.
    assert_eq!(log.known.ordered.judge(&take), Verdict::Ok);
    assert_eq!(log.commit(&old.signing(), &take), Verdict::Ok);
    let stay = log.by_words(&old, |random, by, _, _| {
        rotate_recovery(random, by, old.public()).unwrap()
    });
    assert_eq!(log.commit(&old.signing(), &stay), Verdict::Ok);
    let gone = thief.signing.public();
    let remove = log.by_words(&old, |random, by, state, ring| {
        remove_device(random, by, (state, ring), gone, Vec::new()).unwrap()
    });
    assert_eq!(log.commit(&old.signing(), &remove), Verdict::Ok);
    let (public, yes) = joins(&fresh);
    let add = log.by_words(&old, |random, by, _, _| {
        add_device(random, by, public, yes, "new phone").unwrap()
    });
    assert_eq!(log.commit(&old.signing(), &add), Verdict::Ok);
    let (public, yes) = joins(&owner);
    let back = log.by_words(&old, |random, by, _, _| {
        add_device(random, by, public, yes, "laptop").unwrap()
    });
    assert_eq!(log.commit(&old.signing(), &back), Verdict::Ok);
    let to_fresh = log.by_words(&old, |random, by, _, _| {
        change_orderers(random, by, 3, vec![fresh.signing.public()])
    });
    assert_eq!(log.commit(&old.signing(), &to_fresh), Verdict::Ok);
    let state = &log.known.ordered;
    assert_eq!(state.recovery(), old.public());
    assert_eq!(state.next_recovery(), None);
    assert!(state.devices().contains_key(&out) && !state.devices().contains_key(&gone));
    assert!(log.ring(&owner).identity_key(&state.key_id()).is_some());
    assert!(log.ring(&thief).identity_key(&state.key_id()).is_none());
    // The thief goes on in its own story, as long as it likes: who meets both takes the owner's.
    let recovered = log.wire(0);
    let mut theirs = Log {
        random: SeededRandom::new(5),
        words: old.clone(),
        known: Known::from_log(stolen_log, Vec::new()).unwrap(),
        time: 400 * HOUR,
    };
    for n in 2..6 {
        let on = theirs.by(&thief, |random, by, _, _| {
            change_orderers(random, by, n, vec![thief.signing.public()])
        });
        theirs.commit(&thief.signing, &on);
    }
    assert_eq!(theirs.known.ordered.term(), 5);
    assert_eq!(
        theirs.known.ordered.recovery(),
        words.public(),
        "by its own clock its words count"
    );
    let theirs = theirs.wire(0);
    for stories in [
        [&stolen, &theirs, &recovered],
        [&theirs, &recovered, &stolen],
        [&recovered, &theirs, &stolen],
    ] {
        let reader = Member::new(11, owner.clone(), log.known.log[..honest].to_vec(), Vec::new());
        for story in stories {
            drop(reader.replica.take_commits(story));
        }
        let known = reader.replica.known();
        assert_eq!(known.ordered.head(), log.known.ordered.head());
        assert!(reader.is_device(out));
    }
}

#[test]
fn a_majority_names_another_orderer_and_what_the_old_one_did_meanwhile_waits_again() {
    let mut members = family(3);
    let names: Vec<PublicKey> = members.iter().map(Member::key).collect();
    // The orderer is lost: the two others vote for one of them.
    let known = members[1].replica.known();
    let (term, from) = (known.ordered.term() + 1, known.ordered.head().unwrap());
    let wanted = vec![names[1]];
    members[2]
        .propose(|random, by, _, _| {
            Ok(change_orderers_by_vote(
                random,
                by,
                term,
                wanted.clone(),
                from,
                Vec::new(),
            ))
        })
        .unwrap();
    // What the lost one orders meanwhile, in some drawer.
    members[0]
        .propose(|random, by, _, _| Ok(rename_device(random, by, names[2], "old")))
        .unwrap();
    let renamed = members[0].replica.known().log.last().unwrap().1.id();
    converse(&members[1], &members[2]);
    assert_eq!(
        members[1].replica.known().ordered.term(),
        0,
        "one vote of three is none"
    );
    let one = &mut members[1];
    let votes = votes_for(&one.replica.known().pending, (term, &wanted, &from));
    assert_eq!(votes.len(), 1);
    one.propose(|random, by, _, _| Ok(change_orderers_by_vote(random, by, term, wanted.clone(), from, votes)))
        .unwrap();
    let known = one.replica.known();
    assert_eq!((known.ordered.term(), known.ordered.orderers()), (1, &wanted[..]));
    // Who voted takes it; and so does the lost one when it is found, with what it did as a proposal, which is put in order again.
    let [ref zero, ref one, ref two] = members[..] else {
        panic!()
    };
    converse(two, one);
    assert_eq!(two.replica.known().ordered.head(), one.replica.known().ordered.head());
    converse(zero, one);
    let known = zero.replica.known();
    assert_eq!(known.ordered.head(), one.replica.known().ordered.head());
    assert_eq!(known.ordered.orderers(), &wanted[..]);
    assert!(known.log.iter().any(|(_, operation)| operation.id() == renamed));
}

/// The first device was a majority of one at the beginning. Whoever stole it cannot begin there again once it is removed, nor while it is one
/// of several.
#[test]
fn whoever_was_alone_at_the_beginning_outvotes_nobody_later() {
    let mut members = family(3);
    let first = members[0].key();
    let begin = members[0].replica.known().log[..1].to_vec();
    let from = begin[0].0.hash();
    let alone = Known::from_log(begin, Vec::new()).unwrap();
    let ring = alone.key_ring(&members[0].keys);
    let by = Proposer::of(&alone.ordered, &ring, &members[0].keys.signing).unwrap();
    let random = &mut SeededRandom::new(3);
    let coup = change_orderers_by_vote(random, &by, 1, vec![first], from, Vec::new());
    let commit = alone.ordered.next_commit(&keys(8_000).signing, &coup, 5);
    assert!(commit.is_none(), "only an orderer that it names may");
    // Signed as the first commit of term 1: good where it stands.
    let core = CommitCore {
        identity: alone.ordered.identity(),
        index: 1,
        previous: Some(from),
        operation: coup.id(),
        term: 1,
        time: 5,
        orderer: first,
    };
    let commit = Commit::make(&members[0].keys.signing, core);
    assert!(alone.ordered.clone().apply(&commit, &coup).is_ok());
    let offered = [(commit.encode().to_vec(), coup.encode())];
    let (victim, rest) = members.split_first_mut().unwrap();
    for removed in [false, true] {
        if removed {
            rest[0].remove(first);
            rest[0].replica.take_commits(&[]).unwrap();
        }
        for member in rest.iter() {
            let before = member.replica.known().ordered.head();
            let taken = member.replica.take_commits(&offered).unwrap();
            assert!(taken.passed_over && taken.new == 0);
            assert_eq!(member.replica.known().ordered.head(), before);
        }
    }
    // And who met that story first leaves it for the other.
    let log = victim.replica.known().log.clone();
    let story = vec![log[0].clone(), (commit, coup)];
    let misled = Member::new(77, keys(7_000), story, Vec::new());
    let whole: Vec<_> = log
        .iter()
        .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()))
        .collect();
    misled.replica.take_commits(&whole).unwrap();
    assert_eq!(
        misled.replica.known().ordered.head(),
        victim.replica.known().ordered.head()
    );
}

#[test]
fn a_vote_that_is_not_one_counts_for_nothing() {
    let members = family(4);
    let names: Vec<PublicKey> = members.iter().map(Member::key).collect();
    let known = members[1].replica.known();
    let (identity, term, from) = (known.ordered.identity(), 1, known.ordered.head().unwrap());
    let wanted = [names[1]];
    let vote = |n: usize, term: u64, from: &Hash| {
        let signing = &members[n].keys.signing;
        (
            names[n],
            rhizome::identity::vote(signing, &identity, term, &wanted, from),
        )
    };
    let stranger = keys(4_000);
    let begins = |votes: Vec<_>| {
        let ring = members[1].ring();
        let by = Proposer::of(&known.ordered, &ring, &members[1].keys.signing).unwrap();
        let random = &mut SeededRandom::new(3);
        let operation = change_orderers_by_vote(random, &by, term, wanted.to_vec(), from, votes);
        known
            .ordered
            .next_commit(&members[1].keys.signing, &operation, 5)
            .is_some()
    };
    // Three of four are a majority, two are not.
    assert!(begins(vec![vote(2, term, &from), vote(3, term, &from)]));
    assert!(!begins(vec![vote(2, term, &from)]));
    assert!(!begins(vec![vote(2, term, &from), vote(2, term, &from)]));
    assert!(!begins(vec![vote(2, term, &from), vote(3, term + 1, &from)]));
    assert!(!begins(vec![vote(2, term, &from), vote(3, term, &Hash([1; 32]))]));
    let (_, forged) = vote(3, term, &from);
    assert!(!begins(vec![vote(2, term, &from), (names[0], forged)]));
    let outside = rhizome::identity::vote(&stranger.signing, &identity, term, &wanted, &from);
    assert!(!begins(vec![
        vote(2, term, &from),
        (stranger.signing.public(), outside)
    ]));
}

/// An operation that no honest device signs.
fn signed(signing: &rhizome::crypto::SigningKey, identity: rhizome::identity::IdentityId, body: &Body) -> Operation {
    let (nonce, none) = (OpNonce([9; 16]), None::<Hash>);
    let core = encode(&(1u8, Some(identity), signing.public(), nonce, none, body, none, none));
    let signature = signing.sign("operation", &hash("operation", &[&core]).0);
    let part = None::<ByteBuf>;
    Operation::decode(&encode(&(ByteBuf::from(core), signature, &part, &part))).unwrap()
}

#[test]
fn who_was_removed_stays_out_and_only_the_words_bring_it_back() {
    let first = keys(1);
    let second = keys(2);
    let mut log = Log::new(&first);
    let identity = log.known.ordered.identity();
    let public = Keys::of(&second);
    let yes = consent(&second.signing, &identity, &public, false);
    let add = log.by(&first, |random, by, _, _| {
        add_device(random, by, public, yes, "second").unwrap()
    });
    let remove = log.by(&first, |random, by, state, ring| {
        remove_device(random, by, (state, ring), public.0, Vec::new()).unwrap()
    });
    // The removal lands first: it is out all the same when the addition comes.
    assert_eq!(log.commit(&first.signing, &remove), Verdict::Ok);
    assert_eq!(log.commit(&first.signing, &add), Verdict::Void(VoidReason::WasRemoved));
    let words = log.words.clone();
    let back = log.by_words(&words, |random, by, _, _| {
        add_device(random, by, public, yes, "second").unwrap()
    });
    assert_eq!(log.commit(&first.signing, &back), Verdict::Ok);
    assert!(log.known.ordered.removed().is_empty());
    // A device for which nothing can be wrapped would make every later removal incomplete.
    let mut weak = Keys::of(&keys(7));
    weak.1.0 = [0; 32];
    let yes = consent(&keys(7).signing, &identity, &weak, false);
    let by_hand = log.by(&first, |random, by, _, _| {
        let good = Keys::of(&keys(7));
        let agreed = consent(&keys(7).signing, &identity, &good, false);
        add_device(random, by, good, agreed, "weak").unwrap()
    });
    let Body::AddDevice { key, .. } = by_hand.body().clone() else {
        panic!()
    };
    let body = Body::AddDevice {
        device: weak,
        consent: yes,
        key,
    };
    let weak = signed(&first.signing, identity, &body);
    assert_eq!(log.known.ordered.judge(&weak), Verdict::Void(VoidReason::BadKey));
    // Nobody removes itself, nor a peer as if it were a device.
    let itself = log.by(&first, |random, by, state, ring| {
        remove_device(random, by, (state, ring), by.signing.public(), Vec::new()).unwrap()
    });
    assert_eq!(
        log.known.ordered.judge(&itself),
        Verdict::Void(VoidReason::RemovesItself)
    );
    // Two that remove each other: one result, by the order.
    let [a, b] = [(&first, &second), (&second, &first)].map(|(by, whom)| {
        let whom = whom.signing.public();
        log.by(by, |random, by, state, ring| {
            remove_device(random, by, (state, ring), whom, Vec::new()).unwrap()
        })
    });
    assert_eq!(log.commit(&first.signing, &b), Verdict::Ok);
    assert_eq!(log.known.ordered.judge(&a), Verdict::Void(VoidReason::NotADevice));
    // The orderer that was removed is the only one: it may go on until somebody takes over, and forge nothing.
    assert_eq!(log.known.ordered.orderers(), &[first.signing.public()]);
}

#[test]
fn a_wrap_for_anybody_else_is_void_and_the_membership_stands() {
    let members = family(3);
    let mut random = SeededRandom::new(8);
    let victim = members[2].key();
    let known = members[0].replica.known();
    let ring = members[0].ring();
    let by = Proposer::of(&known.ordered, &ring, &members[0].keys.signing).unwrap();
    // As somebody would make it who does not know the second device: it wraps for one too few.
    let state = State::open(&known.log[0].0, &known.log[0].1).unwrap();
    assert_eq!(state.devices().len(), 1);
    let operation = remove_device(&mut random, &by, (&state, &ring), victim, Vec::new()).unwrap();
    let mut next = known.ordered.clone();
    let commit = next.next_commit(&members[0].keys.signing, &operation, 5).unwrap();
    assert_eq!(next.apply(&commit, &operation), Ok(Verdict::Ok));
    assert!(!next.devices().contains_key(&victim), "the removal stands");
    assert_eq!(next.key_id(), known.ordered.key_id(), "the wraps do not");
    assert!(next.exposed() && next.needs_rewrap());
    let again = rewrap(&mut random, &by, (&next, &ring)).unwrap();
    let commit = next.next_commit(&members[0].keys.signing, &again, 5).unwrap();
    assert_eq!(next.apply(&commit, &again), Ok(Verdict::Ok));
    assert!(!next.needs_rewrap() && next.key_id() != known.ordered.key_id());
    // A key that was ever named is never taken again: who was removed may have it.
    let Body::Rewrap { key } = again.body() else { panic!() };
    assert_eq!(next.key_id(), key.id);
}

#[test]
fn an_erasure_waits_a_week_and_can_be_called_off_until_then() {
    let first = keys(1);
    let mut log = Log::new(&first);
    let section = rhizome::identity::ErasedSection(Hash([3; 32]), 4, Hash([5; 32]), 0);
    let operation = log.by(&first, |random, by, _, _| erase(random, by, vec![section]));
    assert_eq!(log.commit(&first.signing, &operation), Verdict::Ok);
    let due = 1 + 7 * 24 * HOUR;
    assert_eq!(log.known.ordered.erasures()[&operation.id()].due, due);
    assert_eq!(log.known.ordered.erasures()[&operation.id()].sections, [section]);
    let off = log.by(&first, |random, by, _, _| cancel_erase(random, by, operation.id()));
    log.time = due - 1;
    let mut in_time = Log {
        random: SeededRandom::new(1),
        words: log.words.clone(),
        known: log.known.clone(),
        time: log.time,
    };
    assert_eq!(in_time.commit(&first.signing, &off), Verdict::Ok);
    assert!(in_time.known.ordered.erasures().is_empty());
    log.time = due;
    assert_eq!(log.commit(&first.signing, &off), Verdict::Void(VoidReason::TooLate));
    // The words do it at once.
    let words = log.words.clone();
    let now = log.by_words(&words, |random, by, _, _| erase(random, by, vec![section]));
    assert_eq!(log.commit(&first.signing, &now), Verdict::Ok);
    assert_eq!(log.known.ordered.erasures()[&now.id()].due, due);
    let cutoff = Cutoff(Hash([1; 32]), 2, Hash([3; 32]));
    let raise = raise_cutoff(
        &first.signing,
        log.known.ordered.identity(),
        None,
        first.signing.public(),
        vec![cutoff],
    );
    assert_eq!(log.known.ordered.judge(&raise), Verdict::Void(VoidReason::Unknown));
}

/// Views show what counts, and nothing else, whatever they showed before.
#[test]
fn what_was_folded_and_does_not_count_any_more_is_not_shown() {
    let mut member = Member::first(1);
    let stream = member.stream("journal");
    let start = member.begin_log(stream);
    let mut after = Position::start(&start.id());
    let ids = [1u8, 2].map(|n| DocumentId([n; 16]));
    for document in ids {
        let session = SessionId(document.0);
        let mut opened = Document::new(&DocumentChange::actor(&start.id(), &document, &session));
        let ((), changes) = opened
            .edit::<(), rhizome::DocumentError>(|edit| edit.set(&path(["n"]), Value::Int(1)))
            .unwrap();
        let ring = member.ring();
        let epoch = ring.streams()[&stream].current;
        let writer = Writer {
            signing: &member.keys.signing,
            author: start.id(),
            after,
            epoch,
            key: ring.epoch(&epoch).unwrap(),
            head: None,
        };
        let change = Event::Document(DocumentChange {
            collection: "journal".into(),
            document,
            session,
            changes,
        });
        let entry = make_entry(&mut member.random, &writer, Time::from_millis(1), &[vec![change]]).unwrap();
        after = entry.position();
        member
            .replica
            .store()
            .write(move |write| write.append_own(&entry))
            .wait()
            .unwrap();
    }
    let counts = Arc::new(AtomicU64::new(3));
    let (store, identity, limit) = (
        member.replica.store().clone(),
        member.replica.identity(),
        counts.clone(),
    );
    let heads = Box::new(move || {
        let mut heads = store.read(|read| read.heads(&identity))?;
        let limit = limit.load(Ordering::SeqCst);
        heads
            .values_mut()
            .flatten()
            .for_each(|branch| branch.head.seq = branch.head.seq.min(limit));
        Ok(heads)
    });
    let documents = Documents::with_heads(member.replica.store().clone(), Views::in_memory().unwrap(), heads);
    let shown = |entries| {
        assert_eq!(documents.fold(&member.ring()).unwrap().entries, entries);
        assert_eq!(documents.behind().unwrap(), 0);
        ids.map(|id| documents.get(&id).unwrap().is_some())
    };
    assert_eq!(shown(2), [true, true]);
    counts.store(2, Ordering::SeqCst);
    assert_eq!(shown(1), [true, false], "made again from what counts");
    assert_eq!(shown(0), [true, false], "once");
    counts.store(3, Ordering::SeqCst);
    assert_eq!(shown(1), [true, true]);
    counts.store(1, Ordering::SeqCst);
    assert_eq!(shown(0), [false, false]);
}
