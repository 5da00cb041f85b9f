//! Deletion that deletes: what is erased is gone from every file, whoever it was sent to, and nothing else is.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{
    agree,
    replicas::{Member, converse},
    text, write,
};
use rhizome::{
    DeviceSecret, DocumentId, Error, NetOptions, Pod, PodOptions, Value,
    crypto::{Hash, OsRandom, Random, SeededRandom, encode},
    identity::{
        ErasedDocuments, ErasedSection, Erasure, IdentityError, Proposer, VoidReason, cancel_erase, erase,
        erase_documents, mark_time,
    },
    log::{Position, Range, Section, VerifiedEntry, open_entry},
    path,
    store::{LogStore, StoreError},
    sync::{Blind, CarriedOut, Eraser, Judgement, Known, Refusal},
};

const DAY: u64 = 24 * 60 * 60 * 1_000;
const WEEK: u64 = 7 * DAY;

impl Member {
    fn propose_erase(&mut self, sections: Vec<ErasedSection>) -> Hash {
        let random = &mut self.random;
        self.replica
            .propose(&self.keys, |by, _, _| Ok(erase(random, by, sections)))
            .unwrap()
    }

    fn mark(&mut self) {
        let random = &mut self.random;
        self.replica
            .propose(&self.keys, |by, _, _| Ok(mark_time(random, by)))
            .unwrap();
    }

    /// Tells `other` what is ordered, and nothing else.
    fn tell(&self, other: &Self) {
        let known = self.replica.known();
        let commits = known.log.iter();
        let commits: Vec<_> = commits
            .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()))
            .collect();
        other.replica.take_commits(&commits).unwrap();
    }

    fn later(&self, millis: u64) {
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    fn carry_out(&self) -> u64 {
        self.replica.carry_out(&Blind).unwrap().bytes
    }

    /// Whether each section of an author log's entries is there, entry by entry.
    fn holds(&self, author: rhizome::log::AuthorId) -> Vec<bool> {
        let entries = self
            .replica
            .read(|read| read.entries_after(&author, 0, 1, 512, 1 << 20));
        let is_there = |section: &Section| matches!(section, Section::Box(_));
        entries
            .unwrap()
            .iter()
            .map(|entry| entry.entry().sections.iter().all(is_there))
            .collect()
    }

    fn used(&self) -> u64 {
        let identity = self.replica.identity();
        self.replica.read(|read| read.counts(&identity)).unwrap().1
    }
}

/// Names the first section of an entry of a range.
fn section_of(range: &Range, place: usize) -> ErasedSection {
    let mut at = range.after;
    for entry in &range.entries[..=place] {
        let seq = at.seq + 1;
        at = Position {
            seq,
            hash: entry.hash(&range.author, seq, &at.hash),
        };
    }
    ErasedSection(Hash(range.author.0), at.seq, at.hash, 0)
}

fn with_hole(range: &Range, place: usize) -> Range {
    let mut range = range.clone();
    range.entries[place].sections[0].erase();
    range
}

#[test]
fn a_section_may_be_missing_only_where_an_erasure_in_force_names_it() {
    let mut writer = Member::first(1);
    let reader = writer.another(2);
    converse(&reader, &writer);
    let range = writer.write("journal", 4);
    let other = writer.write("other", 4);
    let named = section_of(&range, 1);
    let withheld = |range: Range| assert_eq!(reader.replica.take_range(range).unwrap_err(), Refusal::Withheld);
    withheld(with_hole(&range, 1));
    // Proposed, and even ordered: it can still be called off, so nobody may lack it.
    let asked = writer.propose_erase(vec![named]);
    writer.tell(&reader);
    assert!(reader.replica.known().ordered.erasures().contains_key(&asked));
    withheld(with_hole(&range, 1));
    // A clock alone does not make it so: the log does, or readers would not agree.
    reader.later(10 * WEEK);
    withheld(with_hole(&range, 1));
    writer.later(WEEK);
    writer.mark();
    writer.tell(&reader);
    // In force: this one, and no other.
    withheld(with_hole(&range, 0));
    withheld(with_hole(&range, 2));
    withheld(with_hole(&other, 1));
    assert_eq!(reader.replica.take_range(with_hole(&range, 1)).unwrap().new, 4);
    assert_eq!(reader.holds(range.author), [true, false, true, true]);
    // The chain verifies, and goes on.
    let sent = reader
        .replica
        .read(|read| read.range_after(&range.author, 0, range.after, 1 << 20));
    assert_eq!(
        sent.unwrap()
            .unwrap()
            .verify(&writer.keys.signing.public())
            .unwrap()
            .entries()
            .len(),
        4
    );
}

#[test]
fn what_is_in_force_is_given_and_kept_by_whoever_has_not_waited_and_never_asked_for_again() {
    let mut writer = Member::first(1);
    let (early, late) = (writer.another(2), writer.another(3));
    converse(&early, &writer);
    let range = writer.write("journal", 3);
    converse(&early, &writer);
    writer.propose_erase(vec![section_of(&range, 0), section_of(&range, 2)]);
    converse(&early, &writer);
    for member in [&writer, &early] {
        member.later(WEEK);
    }
    writer.mark();
    // Whoever orders may have lied about the time: until a week is over by its own clock, each device has all of it.
    let another = writer.another(4);
    converse(&late, &writer);
    converse(&another, &late);
    for member in [&writer, &late, &another] {
        assert_eq!(member.holds(range.author), [true, true, true]);
    }
    assert_eq!((late.carry_out(), another.carry_out()), (0, 0));
    // One side has erased, the other has not: nothing is sent again, nothing fetched, nobody distrusts anybody.
    assert!(writer.carry_out() > 0);
    assert_eq!(writer.holds(range.author), [false, true, false]);
    assert_eq!(early.holds(range.author), [true, true, true]);
    let used = late.used();
    for outcome in [converse(&early, &writer), converse(&late, &writer)].concat() {
        assert_eq!((outcome.sent, outcome.received, outcome.missing), (0, 0, 0));
        assert!(outcome.refused.is_empty());
    }
    assert_eq!(writer.holds(range.author), [false, true, false]);
    assert_eq!(late.used(), used);
    // Another chain, which the owner's words put in place of the thief's, would find it all there. Without one it goes when its time comes.
    for member in [&early, &late, &another] {
        member.later(WEEK);
        assert!(member.carry_out() > 0);
        assert_eq!(member.holds(range.author), [false, true, false]);
        let used = member.used();
        assert_eq!(member.carry_out(), 0, "once");
        assert_eq!(member.used(), used);
    }
}

/// Keeps every section, and counts how often it was asked.
struct Keeps(std::cell::Cell<u32>);

impl Eraser for Keeps {
    fn judge(&self, _: &Hash, _: &VerifiedEntry, _: u32) -> Result<Judgement, StoreError> {
        self.0.set(self.0.get() + 1);
        Ok(Judgement::Keep)
    }

    fn finish(&self, _: &[(Hash, Erasure)]) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// Two replicas that are done with an erasure, and had nothing of what it names.
fn done_before_it_came() -> (Member, Range, [Member; 2]) {
    let mut writer = Member::first(1);
    let range = writer.write("journal", 3);
    writer.propose_erase(vec![section_of(&range, 0), section_of(&range, 2)]);
    writer.later(WEEK);
    writer.mark();
    let done = [writer.another(2), writer.another(3)];
    for member in &done {
        assert_eq!(member.replica.carry_out(&Blind).unwrap().erasures, 0);
        member.later(WEEK);
        assert_eq!(member.replica.carry_out(&Blind).unwrap().erasures, 1);
        assert_eq!(member.replica.carry_out(&Blind).unwrap().erasures, 0);
    }
    (writer, range, done)
}

#[test]
fn what_comes_after_its_erasure_was_carried_out_goes_the_next_time() {
    let (_, range, [one, two]) = done_before_it_came();
    for member in [&one, &two] {
        assert_eq!(member.replica.take_range(range.clone()).unwrap().new, 3);
        let done = member.replica.carry_out(&Blind).unwrap();
        assert!(done.bytes > 0);
        assert_eq!(done.erasures, 1);
        assert_eq!(member.holds(range.author), [false, true, false]);
        // It is here now, with its holes: the same again brings nothing, and there is nothing to be done.
        assert_eq!(member.replica.take_range(range.clone()).unwrap().new, 0);
        assert_eq!(member.replica.carry_out(&Blind).unwrap(), CarriedOut::default());
    }
}

#[test]
fn what_was_named_wrongly_is_given_to_others_who_judge_it_themselves() {
    let (writer, range, [first, second]) = done_before_it_came();
    let keeps = Keeps(0.into());
    assert_eq!(writer.replica.carry_out(&keeps).unwrap().kept, 2);
    converse(&first, &writer);
    assert_eq!(first.holds(range.author), [true, true, true]);
    let done = first.replica.carry_out(&keeps).unwrap();
    assert_eq!((done.bytes, done.kept, done.erasures), (0, 2, 1));
    let asked = keeps.0.get();
    assert_eq!(first.replica.carry_out(&keeps).unwrap(), CarriedOut::default());
    assert_eq!(keeps.0.get(), asked, "and it is done again");
    converse(&second, &first);
    assert_eq!(second.holds(range.author), [true, true, true]);
}

/// Something comes while an erasure is carried out, after what is here was looked at.
struct Meanwhile<'a>(&'a Member, std::cell::Cell<Option<Range>>);

impl Eraser for Meanwhile<'_> {
    fn judge(&self, _: &Hash, _: &VerifiedEntry, _: u32) -> Result<Judgement, StoreError> {
        Ok(Judgement::Drop)
    }

    fn finish(&self, _: &[(Hash, Erasure)]) -> Result<bool, StoreError> {
        if let Some(range) = self.1.take() {
            self.0.replica.take_range(range).unwrap();
        }
        Ok(true)
    }
}

#[test]
fn what_comes_while_its_erasure_is_carried_out_is_not_passed_over() {
    let mut writer = Member::first(1);
    let (range, other) = (writer.write("journal", 1), writer.write("other", 1));
    writer.propose_erase(vec![section_of(&range, 0), section_of(&other, 0)]);
    writer.later(WEEK);
    writer.mark();
    let reader = writer.another(2);
    reader.replica.take_range(range.clone()).unwrap();
    assert_eq!(reader.carry_out(), 0);
    reader.later(WEEK);
    let meanwhile = Meanwhile(&reader, Some(other.clone()).into());
    let done = reader.replica.carry_out(&meanwhile).unwrap();
    assert!(done.bytes > 0 && done.erasures == 0, "it is not done: {done:?}");
    let done = reader.replica.carry_out(&meanwhile).unwrap();
    assert!(done.bytes > 0 && done.erasures == 1, "{done:?}");
    assert_eq!(
        (reader.holds(range.author), reader.holds(other.author)),
        (vec![false], vec![false])
    );
}

#[test]
fn whoever_has_not_heard_of_an_erasure_learns_of_it_before_the_hole_comes() {
    let mut writer = Member::first(1);
    let reader = writer.another(2);
    converse(&reader, &writer);
    let range = writer.write("journal", 3);
    writer.propose_erase(vec![section_of(&range, 1)]);
    writer.later(WEEK);
    writer.mark();
    assert!(writer.carry_out() > 0);
    let [outcome, _] = converse(&reader, &writer);
    assert_eq!((outcome.received, outcome.missing), (3, 0));
    assert!(outcome.refused.is_empty());
    assert_eq!(reader.holds(range.author), [true, false, true]);
}

#[test]
fn an_erasure_of_another_identity_or_of_what_is_not_there_drops_nothing() {
    // Both keep their entries in one store, as a cloud peer does.
    let mut thief = Member::first(1);
    let mut victim = Member::first(50);
    let range = victim.write("journal", 3);
    let own = thief.write("journal", 3);
    let keys = victim.keys.clone();
    let known = victim.replica.known();
    let store = thief.replica.store().clone();
    let clock = thief.clock.clone();
    let shared = rhizome::sync::Replica::adopt(
        store,
        known.log.clone(),
        Vec::new(),
        keys.signing.clone(),
        Arc::new(move || clock.load(Ordering::Relaxed)),
        rhizome::sync::Limits::default(),
    )
    .unwrap();
    shared.take_range(range.clone()).unwrap();
    let wrong_hash = ErasedSection(Hash(own.author.0), 2, Hash([9; 32]), 0);
    let no_section = ErasedSection(Hash(own.author.0), 2, section_of(&own, 0).2, 7);
    let mut named: Vec<_> = (0..3).map(|place| section_of(&range, place)).collect();
    named.extend([wrong_hash, no_section]);
    thief.propose_erase(named);
    thief.later(2 * WEEK);
    thief.mark();
    assert_eq!(thief.carry_out(), 0);
    let is_whole = |thief: &Member, range: &Range| thief.holds(range.author) == [true, true, true];
    assert!(is_whole(&thief, &range) && is_whole(&thief, &own));
    // Its own it may.
    thief.propose_erase(vec![section_of(&own, 0)]);
    thief.later(WEEK);
    thief.mark();
    assert!(thief.carry_out() > 0);
    assert!(is_whole(&thief, &range) && !is_whole(&thief, &own));
}

#[test]
fn who_is_no_device_erases_nothing() {
    let mut writer = Member::first(1);
    let range = writer.write("journal", 2);
    let stranger = Member::first(50);
    let known = writer.replica.known();
    let ring = known.key_ring(&writer.keys);
    let mut random = SeededRandom::new(3);
    let by = Proposer::of(&known.ordered, &ring, &stranger.keys.signing).unwrap();
    let forged = erase(&mut random, &by, vec![section_of(&range, 0)]);
    let refused = writer.replica.take_operation(forged).unwrap_err();
    assert_eq!(refused, IdentityError::Void(VoidReason::NotADevice).into());
    writer.later(2 * WEEK);
    writer.mark();
    assert_eq!(writer.carry_out(), 0);
}

/// A thief with the device that orders can date commits as it likes: each replica waits its own week all the same.
#[test]
fn an_orderer_that_lies_about_the_time_shreds_nothing_within_a_week() {
    let mut thief = Member::first(1);
    let victim = thief.another(2);
    converse(&victim, &thief);
    let range = thief.write("journal", 2);
    converse(&victim, &thief);
    thief.propose_erase(vec![section_of(&range, 0)]);
    // As if the week were over.
    thief.later(WEEK);
    thief.mark();
    converse(&victim, &thief);
    let known = victim.replica.known();
    assert!(
        known.is_erased(
            &range.author,
            Position {
                seq: 2,
                hash: section_of(&range, 0).2
            },
            0
        ),
        "in force, says the log"
    );
    assert_eq!(victim.carry_out(), 0);
    victim.later(WEEK - 1);
    assert_eq!(victim.carry_out(), 0);
    assert_eq!(victim.holds(range.author), [true, true]);
    victim.later(1);
    assert!(victim.carry_out() > 0);
}

/// The end of time is no week after itself: nothing that is dated there is in force, nor taken for an erasure with the words.
#[test]
fn an_erasure_dated_at_the_end_of_time_is_never_in_force() {
    for last in [u64::MAX - 1, u64::MAX] {
        let mut thief = Member::first(1);
        let victim = thief.another(2);
        converse(&victim, &thief);
        let range = thief.write("journal", 2);
        converse(&victim, &thief);
        thief.clock.store(last, Ordering::Relaxed);
        thief.propose_erase(vec![section_of(&range, 0)]);
        thief.mark();
        converse(&victim, &thief);
        assert_eq!(victim.replica.known().ordered.erasures().len(), 1);
        for member in [&victim, &thief] {
            assert_eq!(member.carry_out(), 0);
            assert_eq!(member.holds(range.author), [true, true]);
        }
        victim.later(2 * WEEK);
        assert_eq!(victim.carry_out(), 0);
    }
}

#[test]
fn a_clock_that_was_far_ahead_holds_nothing_up_for_ever() {
    let mut member = Member::first(1);
    let range = member.write("journal", 2);
    member.later(1_000 * WEEK);
    member.propose_erase(vec![section_of(&range, 0)]);
    member.later(WEEK);
    member.mark();
    member.clock.store(WEEK, Ordering::Relaxed);
    assert_eq!(member.carry_out(), 0);
    member.later(WEEK);
    assert!(member.carry_out() > 0);
}

#[test]
fn the_time_is_marked_when_an_erasure_is_due_and_not_over_and_over() {
    let mut member = Member::first(1);
    let range = member.write("journal", 3);
    let at = |member: &Member| member.replica.known().mark_time_at();
    assert_eq!(at(&member), None, "nothing waits");
    let now = 1_000;
    member.propose_erase(vec![section_of(&range, 0)]);
    assert_eq!(at(&member), Some(now + WEEK));
    // The orderer's clock stands still: each mark brings nothing, and the next waits longer.
    let mut last = now + WEEK;
    for round in 0..10 {
        member.mark();
        let next = at(&member);
        if round == 9 {
            assert_eq!(next, None, "there is an end to it");
        } else {
            assert!(next.unwrap() > last, "round {round}");
            last = next.unwrap();
        }
    }
    // Once anything is put in order later than that, it is in force and nothing waits.
    member.later(WEEK);
    member.mark();
    assert_eq!(at(&member), None);
    assert!(member.carry_out() > 0);
    // Marks that brought something do not count against the next.
    member.propose_erase(vec![section_of(&range, 1)]);
    assert_eq!(at(&member), Some(now + 2 * WEEK));
}

#[test]
fn an_erasure_that_two_devices_call_off_at_once_leaves_no_proposal_behind() {
    let mut writer = Member::first(1);
    let mut reader = writer.another(2);
    let range = writer.write("journal", 1);
    let asked = writer.propose_erase(vec![section_of(&range, 0)]);
    converse(&reader, &writer);
    for member in [&mut reader, &mut writer] {
        let random = &mut member.random;
        let cancel = member
            .replica
            .propose(&member.keys, |by, _, _| Ok(cancel_erase(random, by, asked)));
        cancel.unwrap();
    }
    // The reader's waits for its order; the writer orders its own.
    assert_eq!(reader.replica.known().pending.len(), 1);
    converse(&reader, &writer);
    for member in [&reader, &writer] {
        let known = member.replica.known();
        assert!(known.pending.is_empty() && known.ordered.erasures().is_empty());
    }
}

/// Says no so many times.
struct Slow {
    later: std::cell::Cell<u32>,
    unfinished: std::cell::Cell<u32>,
}

fn once_less(left: &std::cell::Cell<u32>) -> bool {
    let was = left.get();
    left.set(was.saturating_sub(1));
    was > 0
}

impl Eraser for Slow {
    fn judge(&self, _: &Hash, _: &VerifiedEntry, _: u32) -> Result<Judgement, StoreError> {
        Ok(if once_less(&self.later) {
            Judgement::Later
        } else {
            Judgement::Drop
        })
    }

    fn finish(&self, _: &[(Hash, Erasure)]) -> Result<bool, StoreError> {
        Ok(!once_less(&self.unfinished))
    }
}

#[test]
fn what_could_not_be_finished_is_taken_up_again() {
    let mut member = Member::first(1);
    let range = member.write("journal", 3);
    member.propose_erase(vec![section_of(&range, 0), section_of(&range, 2)]);
    member.later(WEEK);
    member.mark();
    let slow = Slow {
        later: 1.into(),
        unfinished: 2.into(),
    };
    let rounds: Vec<_> = (0..5).map(|_| member.replica.carry_out(&slow).unwrap()).collect();
    // One section at once, the other when it opens; done once everything else is.
    assert!(rounds[0].bytes > 0 && rounds[1].bytes > 0);
    assert_eq!(
        rounds.iter().map(|round| round.erasures).collect::<Vec<_>>(),
        [0, 0, 1, 0, 0]
    );
    assert_eq!(member.holds(range.author), [false, true, false]);
}

/// A branch of a log that forked holds copies of what came before: each goes.
#[test]
fn every_copy_of_a_section_goes() {
    let mut writer = Member::first(1);
    let stream = writer.stream("journal");
    let start = writer.begin_log(stream);
    let mut branch = |first: &[u8], after: Position, count: usize| {
        let mut entries = Vec::new();
        let mut at = after;
        for n in 0..count {
            let entry = writer.make(start.id(), at, stream, &[first, &[n as u8]].concat());
            at = entry.position();
            entries.push(entry);
        }
        entries
    };
    let range = |entries: &[rhizome::log::VerifiedEntry], after: Position| Range {
        start: (after.seq == 1).then(|| start.encode().to_vec()),
        author: start.id(),
        after,
        entries: entries.iter().map(|entry| entry.entry().clone()).collect(),
    };
    let begin = Position::start(&start.id());
    let one = branch(b"one", begin, 3);
    let two = branch(b"two", one[0].position(), 3);
    let three = branch(b"three", two[1].position(), 2);
    let reader = writer.another(2);
    reader.replica.take_range(range(&one, begin)).unwrap();
    reader.replica.take_range(range(&two, one[0].position())).unwrap();
    reader.replica.take_range(range(&three, two[1].position())).unwrap();
    let shared = &two[1];
    let named = ErasedSection(Hash(start.id().0), shared.position().seq, shared.position().hash, 0);
    writer.propose_erase(vec![named]);
    writer.later(WEEK);
    writer.mark();
    reader.later(WEEK);
    writer.tell(&reader);
    reader.later(WEEK);
    assert!(reader.carry_out() > 0);
    let branches = reader.replica.branches(&start.id()).unwrap();
    assert_eq!(branches.len(), 3);
    for branch in branches {
        let entries = reader
            .replica
            .read(|read| read.entries_after(&start.id(), branch.branch, 1, 100, 1 << 20));
        for entry in entries.unwrap() {
            let is_named = entry.position() == shared.position();
            assert_eq!(entry.holes().count(), usize::from(is_named));
        }
    }
}

// What follows is about pods.

struct Scene {
    dir: tempfile::TempDir,
    clock: Arc<AtomicU64>,
}

impl Scene {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            clock: Arc::new(AtomicU64::new(1_800_000_000_000)),
        }
    }

    fn options(&self, name: &str) -> PodOptions {
        let keeper = rhizome::FileKeeper::new(self.dir.path().join(format!("{name}.keys")));
        let clock = self.clock.clone();
        PodOptions {
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            net: NetOptions {
                listen: vec!["127.0.0.1:0".parse().unwrap()],
                ..NetOptions::default()
            },
            ..PodOptions::new(Arc::new(keeper))
        }
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn create(&self, name: &str) -> (Pod, rhizome::Zeroizing<String>) {
        Pod::create(self.folder(name), self.options(name), name).await.unwrap()
    }

    async fn join(&self, name: &str, host: &Pod) -> Pod {
        let invite = host
            .invite(Duration::from_secs(60), agree(&Arc::default()))
            .await
            .unwrap();
        let code = invite.ticket.to_string();
        let joining = Pod::join(
            self.folder(name),
            self.options(name),
            name,
            &code,
            agree(&Arc::default()),
        );
        let pod = joining.await.unwrap();
        invite.finished().await.unwrap();
        pod
    }

    fn later(&self, millis: u64) {
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    fn secret(&self, name: &str) -> DeviceSecret {
        use rhizome::{Keeper as _, Kept, SecretId};
        let folder = std::fs::read_to_string(self.folder(name).join("pod.json")).unwrap();
        let folder: serde_json::Value = serde_json::from_str(&folder).unwrap();
        let id = SecretId::from_hex(folder["secret"].as_str().unwrap()).unwrap();
        match rhizome::FileKeeper::new(self.dir.path().join(format!("{name}.keys")))
            .load(&id)
            .unwrap()
        {
            Kept::Found(secret) => secret,
            _ => panic!("the secret is kept"),
        }
    }

    /// In which files of a pod that is closed `canary` stands, with all the keys of the device in hand.
    fn finds(&self, name: &str, canary: &str) -> Vec<String> {
        let mut found = Vec::new();
        let secret = self.secret(name);
        let folder = self.folder(name);
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            if contains(&std::fs::read(&file).unwrap(), canary.as_bytes()) {
                found.push(format!("{} as it is", file.display()));
            }
        }
        if contains(&plain_views(&folder, &secret), canary.as_bytes()) {
            found.push("views.db, opened".to_owned());
        }
        if contains(&plain_log(&folder, &secret), canary.as_bytes()) {
            found.push("log.db, opened".to_owned());
        }
        found
    }

    /// The boxes of a closed pod's log.
    fn boxes(&self, name: &str) -> Vec<Vec<u8>> {
        let mut boxes = Vec::new();
        each_entry(&self.folder(name), &self.secret(name), &mut |entry, _| {
            for section in &entry.entry().sections {
                if let Section::Box(sealed) = section {
                    boxes.push(sealed.clone());
                }
            }
        });
        boxes
    }

    /// Of how many of these boxes any file of a pod still holds a piece.
    fn pieces(&self, name: &str, boxes: &[Vec<u8>]) -> usize {
        let mut wanted: HashMap<&[u8], Vec<(usize, &[u8])>> = HashMap::new();
        for (number, sealed) in boxes.iter().enumerate() {
            for piece in sealed.chunks_exact(32) {
                wanted.entry(&piece[..8]).or_default().push((number, piece));
            }
        }
        let mut found = BTreeSet::new();
        for file in std::fs::read_dir(self.folder(name)).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for (at, start) in bytes.windows(8).enumerate() {
                let pieces = wanted.get(start).into_iter().flatten();
                found.extend(
                    pieces
                        .filter(|(_, piece)| bytes[at..].starts_with(piece))
                        .map(|(number, _)| *number),
                );
            }
        }
        found.len()
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn each_entry(
    folder: &Path,
    secret: &DeviceSecret,
    job: &mut dyn FnMut(&rhizome::log::VerifiedEntry, &rhizome::identity::KeyRing),
) {
    let store = LogStore::open(folder, false, &mut OsRandom).unwrap();
    let identity = store.read(|read| read.identities()).unwrap()[0];
    let stored = store.read(|read| read.identity_log(&identity)).unwrap();
    let ring = Known::from_log(stored.ordered, stored.pending)
        .unwrap()
        .key_ring(&secret.keys());
    for (author, branches) in store.read(|read| read.heads(&identity)).unwrap() {
        for branch in branches {
            let entries = store.read(|read| read.entries_after(&author, branch.branch, 1, u64::MAX, usize::MAX));
            entries.unwrap().iter().for_each(|entry| job(entry, &ring));
        }
    }
    store.close();
}

/// Everything that the sections of a log hold.
fn plain_log(folder: &Path, secret: &DeviceSecret) -> Vec<u8> {
    let mut plain = Vec::new();
    each_entry(folder, secret, &mut |entry, ring| {
        let Some(key) = ring.epoch(&entry.entry().epoch) else {
            return;
        };
        for content in open_entry(entry, key).unwrap() {
            for event in content.events {
                match event {
                    rhizome::Event::Document(change) => plain.extend(change.changes.concat()),
                    rhizome::Event::App { payload, .. } => plain.extend(payload),
                    rhizome::Event::Unknown(_) => {}
                }
            }
        }
    });
    plain
}

/// The pages of `views.db` without their seal, those in no use among them.
fn plain_views(folder: &Path, secret: &DeviceSecret) -> Vec<u8> {
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("views.db{suffix}");
        if folder.join(&name).exists() {
            std::fs::copy(folder.join(&name), copy.path().join(&name)).unwrap();
        }
    }
    let file = copy.path().join("views.db");
    let conn = rusqlite::Connection::open(&file).unwrap();
    let key: String = secret.keys().views.iter().map(|byte| format!("{byte:02x}")).collect();
    let cipher: String = conn
        .query_row("PRAGMA cipher = 'chacha20'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(cipher, "chacha20");
    conn.execute_batch(&format!("PRAGMA key = 'raw:{key}'")).unwrap();
    let mode: String = conn
        .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "delete");
    conn.execute_batch("PRAGMA rekey = ''").unwrap();
    drop(conn);
    let plain = std::fs::read(&file).unwrap();
    assert!(plain.starts_with(b"SQLite format 3"), "opened");
    plain
}

async fn listed(pod: &Pod) -> Vec<DocumentId> {
    let page = pod.list("journal", "date", None, 1_000).await.unwrap();
    page.rows.iter().map(|row| row.document).collect()
}

async fn sync(pod: &Pod) {
    let report = pod.sync_once(Duration::from_secs(20), None).await.unwrap();
    for peer in &report.peers {
        let outcome = &peer.result.as_ref().unwrap().outcome;
        assert!(outcome.refused.is_empty() && outcome.missing == 0, "{outcome:?}");
    }
    assert!(!report.peers.is_empty());
}

async fn append(pod: &Pod, document: DocumentId, more: &str) {
    let now = text(pod, document).await.unwrap() + more;
    pod.edit_document("journal", document, move |edit| edit.set_text(&path(["text"]), &now))
        .await
        .unwrap();
}

const CANARY: &str = "a canary that sings 7fb1c0";

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_is_gone_at_once_comes_back_in_time_and_is_erased_after_a_week() {
    let scene = Scene::new();
    let (pod, _) = scene.create("phone").await;
    let mut others = Vec::new();
    for n in 0..30 {
        others.push(write(&pod, &format!("another one, number {n}")).await);
    }
    let document = write(&pod, CANARY).await;
    for (n, other) in others.iter().enumerate() {
        append(&pod, document, &format!(" and {n}")).await;
        append(&pod, *other, " goes on").await;
    }
    let said = text(&pod, document).await.unwrap();
    let count = pod.count("journal").await.unwrap();
    pod.erase_document(document).await.unwrap();
    assert_eq!(pod.get(document).await.unwrap(), None);
    assert_eq!(pod.count("journal").await.unwrap(), count - 1);
    assert!(!listed(&pod).await.contains(&document));
    let trash = pod.trash().await.unwrap();
    assert_eq!(trash.len(), 1);
    let now = scene.clock.load(Ordering::Relaxed);
    assert_eq!((trash[0].document, trash[0].due), (document, Some(now + WEEK)));
    let Value::Map(fields) = &trash[0].value else {
        panic!("a map")
    };
    assert_eq!(fields["text"], Value::Text(said.clone()));
    assert!(!format!("{trash:?}").contains("canary"));
    // Nobody writes to it, and deleting it again changes nothing.
    let edit = pod
        .edit_document("journal", document, |edit| edit.set_text(&path(["text"]), "no"))
        .await;
    assert!(matches!(edit, Err(Error::NoDocument(_))));
    let both = [document, others[0]].map(|document| rhizome::DocumentEdit {
        document: Some(document),
        edit: Box::new(|edit| edit.set_text(&path(["text"]), "no")),
    });
    let together = pod.transaction("journal", both.into()).await;
    assert!(matches!(together, Err(Error::NoDocument(_))), "all or nothing");
    let open = pod.open_document("journal", document).await.unwrap();
    open.edit(vec![rhizome::EditOp::SetText {
        path: path(["text"]).to_vec(),
        text: "no".into(),
    }])
    .unwrap();
    assert!(matches!(open.save().await, Err(Error::NoDocument(_))));
    assert!(pod.erase_document(document).await.unwrap().is_empty());
    // A day before it is due it comes back, all of it.
    scene.later(6 * DAY);
    pod.cancel_erase(document).await.unwrap();
    assert_eq!(text(&pod, document).await, Some(said.clone()));
    assert!(listed(&pod).await.contains(&document));
    assert!(pod.trash().await.unwrap().is_empty());
    assert!(matches!(pod.cancel_erase(document).await, Err(Error::NoDocument(_))));
    append(&pod, document, " still").await;
    // Again, and it is not called off.
    pod.erase_document(document).await.unwrap();
    scene.later(WEEK - 1);
    pod.suspend().await.unwrap();
    assert!(!scene.finds("phone", CANARY).is_empty(), "not yet: the search finds it");
    let before = scene.boxes("phone");
    pod.resume().await.unwrap();
    scene.later(1);
    settle(&pod, &scene).await;
    let late = pod.cancel_erase(document).await.unwrap_err();
    assert!(
        matches!(late, Error::Identity(IdentityError::Void(VoidReason::TooLate))),
        "{late}"
    );
    assert!(pod.trash().await.unwrap().is_empty());
    assert_eq!(pod.verify().await.unwrap(), 30 + 1 + 60 + 1);
    assert_eq!(pod.count("journal").await.unwrap(), count - 1);
    for (n, other) in others.iter().enumerate() {
        assert_eq!(
            text(&pod, *other).await.unwrap(),
            format!("another one, number {n} goes on")
        );
    }
    pod.shutdown().await;
    assert_eq!(scene.finds("phone", CANARY), Vec::<String>::new());
    let after = scene.boxes("phone");
    let erased: Vec<Vec<u8>> = before.into_iter().filter(|sealed| !after.contains(sealed)).collect();
    assert_eq!(erased.len(), 32, "all of its changes, and nothing else");
    assert_eq!(scene.pieces("phone", &erased), 0);
    assert!(scene.pieces("phone", &after) > 50, "the search finds what is there");
    // It opens as ever, and views that are made anew show the same.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(scene.folder("phone").join(format!("views.db{suffix}")));
    }
    let pod = Pod::open(scene.folder("phone"), scene.options("phone")).await.unwrap();
    assert_eq!(pod.count("journal").await.unwrap(), count - 1);
    pod.shutdown().await;
}

/// Lets a pod do what is to be done, without waiting for its hourly look.
async fn settle(pod: &Pod, _: &Scene) {
    for _ in 0..3 {
        pod.sync_once(Duration::from_millis(200), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_gone_from_two_devices_and_one_that_slept() {
    let scene = Scene::new();
    let (phone, _) = scene.create("phone").await;
    let tablet = scene.join("tablet", &phone).await;
    let sleeper = scene.join("sleeper", &phone).await;
    let document = write(&phone, CANARY).await;
    let kept = write(&phone, "kept").await;
    sync(&tablet).await;
    sync(&sleeper).await;
    append(&tablet, document, " on the tablet").await;
    sync(&tablet).await;
    // The sleeper goes to sleep with an edit that nobody has seen.
    append(&sleeper, document, " asleep").await;
    append(&sleeper, kept, " asleep").await;
    sleeper.suspend().await.unwrap();
    phone.erase_document(document).await.unwrap();
    sync(&tablet).await;
    assert_eq!(tablet.get(document).await.unwrap(), None, "hidden there too");
    assert_eq!(tablet.trash().await.unwrap()[0].document, document);
    scene.later(WEEK);
    settle(&phone, &scene).await;
    sync(&tablet).await;
    settle(&tablet, &scene).await;
    // Months later.
    scene.later(100 * DAY);
    sleeper.resume().await.unwrap();
    assert!(sleeper.get(document).await.unwrap().is_some());
    sync(&sleeper).await;
    assert_eq!(sleeper.get(document).await.unwrap(), None);
    // What it wrote late goes too, a week after that was proposed; and what it had, a week after it learned.
    sync(&tablet).await;
    scene.later(WEEK);
    for pod in [&phone, &sleeper, &tablet, &phone, &sleeper, &tablet] {
        settle(pod, &scene).await;
    }
    sync(&sleeper).await;
    sync(&tablet).await;
    scene.later(WEEK);
    for pod in [&phone, &sleeper, &tablet, &phone, &sleeper, &tablet] {
        settle(pod, &scene).await;
    }
    // One that comes afterwards gets everything else.
    let newcomer = scene.join("newcomer", &tablet).await;
    tablet.listen().await.unwrap();
    sync(&newcomer).await;
    for (name, pod) in [
        ("phone", phone),
        ("tablet", tablet),
        ("sleeper", sleeper),
        ("newcomer", newcomer),
    ] {
        assert_eq!(pod.count("journal").await.unwrap(), 1, "{name}");
        assert_eq!(text(&pod, kept).await.unwrap(), "kept asleep", "{name}");
        assert_eq!(pod.verify().await.unwrap(), 5, "{name}");
        assert!(pod.status().await.unwrap().alarms.is_empty(), "{name}");
        pod.shutdown().await;
        assert_eq!(scene.finds(name, CANARY), Vec::<String>::new(), "{name}");
        assert_eq!(
            scene.finds(name, " asleep").len(),
            2,
            "{name}: the search finds what is there"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_words_it_goes_at_once_and_without_them_not_within_a_week() {
    let scene = Scene::new();
    let (pod, words) = scene.create("phone").await;
    let (document, other) = (write(&pod, CANARY).await, write(&pod, "another canary b2").await);
    let wrong = rhizome::identity::RecoverySecret::make(&mut SeededRandom::new(1)).words();
    let refused = pod.erase_document_at_once(document, &wrong).await.unwrap_err();
    assert!(matches!(refused, Error::Words(_)), "{refused}");
    assert!(pod.get(document).await.unwrap().is_some());
    // Deleted, then for good: also what is in the trash.
    pod.erase_documents(vec![document, other]).await.unwrap();
    assert_eq!(pod.trash().await.unwrap().len(), 2);
    pod.erase_document_at_once(document, &words).await.unwrap();
    assert_eq!(pod.trash().await.unwrap().len(), 1);
    settle(&pod, &scene).await;
    pod.suspend().await.unwrap();
    assert_eq!(scene.finds("phone", CANARY), Vec::<String>::new());
    assert_eq!(
        scene.finds("phone", "another canary b2").len(),
        1,
        "in the log alone: nothing shows it"
    );
    pod.resume().await.unwrap();
    // Of two that were deleted in one call, one comes back; the other's week begins anew.
    let third = write(&pod, "third").await;
    pod.erase_documents(vec![third]).await.unwrap();
    pod.cancel_erase(other).await.unwrap();
    assert_eq!(text(&pod, other).await.unwrap(), "another canary b2");
    assert_eq!(pod.trash().await.unwrap().len(), 1);
    scene.later(WEEK);
    settle(&pod, &scene).await;
    assert_eq!(pod.get(third).await.unwrap(), None);
    assert_eq!(text(&pod, other).await.unwrap(), "another canary b2");
    pod.shutdown().await;
}

/// Erases every section there is, and says that it is of `named`.
fn propose_more_than_is_named(
    folder: &Path,
    keys: &rhizome::crypto::DeviceKeys,
    clock: Arc<AtomicU64>,
    named: DocumentId,
) {
    let store = LogStore::open(folder, false, &mut OsRandom).unwrap();
    let identity = store.read(|read| read.identities()).unwrap()[0];
    let now = Arc::new(move || clock.load(Ordering::Relaxed));
    let limits = rhizome::sync::Limits::default();
    let replica = rhizome::sync::Replica::load(store.clone(), identity, keys.signing.clone(), now, limits).unwrap();
    let mut sections = Vec::new();
    for author in store.read(|read| read.heads(&identity)).unwrap().into_keys() {
        for entry in store
            .read(|read| read.entries_after(&author, 0, 1, 99, usize::MAX))
            .unwrap()
        {
            let at = entry.position();
            sections.push(ErasedSection(Hash(author.0), at.seq, at.hash, 0));
        }
    }
    assert_eq!(sections.len(), 2);
    let what = ErasedDocuments {
        documents: vec![named],
        sections,
        attachments: Vec::new(),
    };
    replica
        .propose(keys, |by, _, _| Ok(erase_documents(&mut OsRandom, by, what)))
        .unwrap();
    store.close();
}

/// A member names one document and another one's sections: devices open what they erase, and keep it.
#[tokio::test(flavor = "multi_thread")]
async fn sections_of_a_document_that_was_not_named_are_kept_and_the_owner_is_told() {
    let scene = Scene::new();
    let (pod, _) = scene.create("phone").await;
    let (named, other) = (write(&pod, "named").await, write(&pod, "not named").await);
    pod.shutdown().await;
    let (folder, keys, clock) = (scene.folder("phone"), scene.secret("phone").keys(), scene.clock.clone());
    let lie = move || propose_more_than_is_named(&folder, &keys, clock, named);
    tokio::task::spawn_blocking(lie).await.unwrap();
    let pod = Pod::open(scene.folder("phone"), scene.options("phone")).await.unwrap();
    // It has to know of it before its week begins.
    settle(&pod, &scene).await;
    scene.later(WEEK);
    settle(&pod, &scene).await;
    assert_eq!(pod.get(named).await.unwrap(), None);
    assert_eq!(text(&pod, other).await.unwrap(), "not named");
    let alarms = pod.status().await.unwrap().alarms;
    assert_eq!(
        alarms.iter().map(|alarm| alarm.kind.name()).collect::<Vec<_>>(),
        ["wrong-erasure"]
    );
    pod.shutdown().await;
    assert_eq!(scene.boxes("phone").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_waits_for_its_order_can_be_called_off_too() {
    let scene = Scene::new();
    let (phone, _) = scene.create("phone").await;
    let tablet = scene.join("tablet", &phone).await;
    let document = write(&phone, "there and back").await;
    sync(&tablet).await;
    // The tablet orders nothing.
    tablet.erase_document(document).await.unwrap();
    let trash = tablet.trash().await.unwrap();
    assert_eq!((trash[0].since, trash[0].due), (None, None));
    assert_eq!(tablet.get(document).await.unwrap(), None);
    tablet.cancel_erase(document).await.unwrap();
    assert_eq!(text(&tablet, document).await.unwrap(), "there and back");
    sync(&tablet).await;
    scene.later(2 * WEEK);
    settle(&phone, &scene).await;
    sync(&tablet).await;
    for pod in [phone, tablet] {
        assert_eq!(text(&pod, document).await.unwrap(), "there and back");
        assert!(pod.trash().await.unwrap().is_empty());
        pod.shutdown().await;
    }
}

#[test]
fn an_erasure_without_attachments_is_written_as_before_there_were_any() {
    let part = rhizome::identity::PeersPart::default();
    assert_eq!(encode(&part).first(), Some(&0xa2), "a map of two");
    let with = rhizome::identity::PeersPart {
        attachments: vec![Hash([1; 32])],
        ..part
    };
    assert_eq!(encode(&with).first(), Some(&0xa3));
}

/// `count` letters and digits that nothing makes smaller.
fn noise(random: &mut SeededRandom, count: usize) -> String {
    let random: &mut dyn Random = random;
    let mut text = String::new();
    while text.len() < count {
        text.push_str(&Hash(random.bytes()).to_string());
    }
    text.truncate(count);
    text
}

/// Documents of all sizes, written, edited and erased in any order: pages are filled, split and put together again, and nothing stays in their
/// free room.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_in_the_free_room_of_pages() {
    const DOCUMENTS: usize = 160;
    let scene = Scene::new();
    let (pod, words) = scene.create("phone").await;
    let mut random = SeededRandom::new(5);
    let mut documents = Vec::new();
    for n in 0..DOCUMENTS {
        // Short enough that it is stored as it is, or long and stored deflated.
        let size = if n % 4 == 0 { 100 * n } else { 24 + n % 40 };
        let said = noise(&mut random, size);
        documents.push((write(&pod, &said).await, said));
    }
    pod.suspend().await.unwrap();
    let before = scene.boxes("phone");
    let short = |said: &str| (24..64).contains(&said.len());
    for (_, said) in documents.iter().filter(|(_, said)| short(said)).take(4) {
        assert_eq!(scene.finds("phone", said).len(), 2);
    }
    pod.resume().await.unwrap();
    // Shuffled, a few at a time; the others are written to meanwhile.
    documents.sort_by_key(|(document, _)| *document);
    let kept = documents.split_off(120);
    for some in documents.chunks(8) {
        for (document, _) in some {
            pod.erase_document_at_once(*document, &words).await.unwrap();
        }
        for (document, _) in kept.iter().take(5) {
            append(&pod, *document, " more").await;
        }
    }
    settle(&pod, &scene).await;
    pod.shutdown().await;
    let after = scene.boxes("phone");
    let gone: Vec<Vec<u8>> = before.into_iter().filter(|sealed| !after.contains(sealed)).collect();
    assert_eq!(gone.len(), 120);
    assert_eq!(scene.pieces("phone", &gone), 0);
    let (plain, views) = {
        let (folder, secret) = (scene.folder("phone"), scene.secret("phone"));
        (plain_log(&folder, &secret), plain_views(&folder, &secret))
    };
    for (_, said) in documents.iter().filter(|(_, said)| short(said)) {
        // Not even half of it.
        let piece = &said.as_bytes()[..said.len() / 2];
        assert!(!contains(&plain, piece) && !contains(&views, piece));
    }
    for (_, said) in kept.iter().filter(|(_, said)| short(said)) {
        assert!(contains(&plain, said.as_bytes()) && contains(&views, said.as_bytes()));
    }
}

/// Not a test of its own: what the killed process runs.
#[test]
fn child_that_erases() {
    let Ok(dir) = std::env::var("RHIZOME_ERASE_DIR") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = Path::new(&dir);
        let keeper = rhizome::FileKeeper::new(dir.join("phone.keys"));
        let pod = Pod::open(dir.join("phone"), PodOptions::new(Arc::new(keeper)))
            .await
            .unwrap();
        let words = std::fs::read_to_string(dir.join("words")).unwrap();
        println!("open");
        for document in pod.documents("journal").await.unwrap() {
            pod.erase_document_at_once(document, &words).await.unwrap();
        }
        println!("end");
    });
}

#[test]
fn an_erasure_whose_process_dies_is_finished_by_the_next() {
    use std::io::BufRead as _;
    let scene = Scene::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (pod, words) = scene.create("phone").await;
        std::fs::write(scene.dir.path().join("words"), words.as_bytes()).unwrap();
        for n in 0..150 {
            write(&pod, &format!("number {n}")).await;
        }
        pod.shutdown().await;
    });
    let before = scene.boxes("phone");
    let mut random = SeededRandom::new(9);
    let mut killed = 0;
    for _ in 0..10 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_erases", "--nocapture"])
            .env("RHIZOME_ERASE_DIR", scene.dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let opened = lines.map_while(Result::ok).any(|line| line.ends_with("open"));
        assert!(opened);
        let [millis] = (&mut random as &mut dyn Random).bytes();
        std::thread::sleep(Duration::from_millis(u64::from(millis)));
        killed += u64::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed > 0, "they were all done before");
    let left = runtime.block_on(async {
        let pod = Pod::open(scene.folder("phone"), scene.options("phone")).await.unwrap();
        settle(&pod, &scene).await;
        assert_eq!(pod.verify().await.unwrap(), 150);
        let left = pod.count("journal").await.unwrap();
        pod.shutdown().await;
        left
    });
    let after = scene.boxes("phone");
    assert_eq!(
        after.len() as u64,
        left,
        "what is not shown is not here, and what is here is shown"
    );
    assert!(left < 150, "some were erased");
    let gone: Vec<Vec<u8>> = before.into_iter().filter(|sealed| !after.contains(sealed)).collect();
    assert_eq!(scene.pieces("phone", &gone), 0);
}

/// Everything that one does with a document says of one that is deleted that there is none.
async fn is_none(pod: &Pod, document: DocumentId, version: [u8; 32], when: &str) {
    let say_no = [
        ("document_at", pod.document_at(document, version).await.map(drop)),
        ("spans", pod.spans(document, &path(["text"])).await.map(drop)),
        (
            "spans_at",
            pod.spans_at(document, version, &path(["text"])).await.map(drop),
        ),
        ("differences", pod.differences(document, None, version).await.map(drop)),
        ("blame", pod.blame(document, &path(["text"])).await.map(drop)),
        ("conflicts", pod.conflicts(document, &path(["text"])).await.map(drop)),
        ("restore", pod.restore("journal", document, version).await.map(drop)),
        ("undo", pod.undo("journal", document).await.map(drop)),
        ("redo", pod.redo("journal", document).await.map(drop)),
        ("export", pod.export_document(document).await.map(drop)),
        ("edit", {
            let edit = pod.edit_document("journal", document, |edit| edit.set_text(&path(["text"]), "no"));
            edit.await.map(drop)
        }),
    ];
    for (what, said) in say_no {
        assert!(matches!(said, Err(Error::NoDocument(_))), "{when}: {what}: {said:?}");
    }
    assert!(pod.history(document, None, 10).await.unwrap().versions.is_empty());
    assert!(pod.attachments_of(document).await.unwrap().is_empty());
    assert_eq!(pod.get(document).await.unwrap(), None);
    let status = pod.status().await.unwrap();
    assert!(status.alarms.is_empty(), "{when}: {:?}", status.alarms);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_undo_and_attachments_say_of_a_deleted_document_that_there_is_none() {
    let scene = Scene::new();
    let (pod, _) = scene.create("phone").await;
    let document = write(&pod, "one").await;
    let attached = rhizome::NewAttachment {
        media_type: "image/png".to_owned(),
        ..rhizome::NewAttachment::default()
    };
    let picture = pod.attach(&b"a picture"[..], attached).await.unwrap();
    let value = picture.to_value();
    pod.edit_document("journal", document, move |edit| {
        edit.set(&path(["picture"]), value.clone())
    })
    .await
    .unwrap();
    append(&pod, document, " two").await;
    assert_eq!(pod.attachments_of(document).await.unwrap().len(), 1);
    let versions = pod.history(document, None, 10).await.unwrap().versions;
    let [_, version, _] = &versions[..] else {
        panic!("{versions:?}")
    };
    let version = version.change;
    pod.erase_document(document).await.unwrap();
    is_none(&pod, document, version, "in the trash").await;
    // Nothing of that did harm: it comes back with its history, and what could be taken back still can.
    pod.cancel_erase(document).await.unwrap();
    assert_eq!(pod.history(document, None, 10).await.unwrap().versions, versions);
    assert_eq!(pod.attachments_of(document).await.unwrap().len(), 1);
    assert!(pod.undo("journal", document).await.unwrap().is_some());
    assert_eq!(text(&pod, document).await.unwrap(), "one");
    pod.erase_document(document).await.unwrap();
    scene.later(WEEK);
    settle(&pod, &scene).await;
    is_none(&pod, document, version, "erased").await;
    assert_eq!(pod.verify().await.unwrap(), 4);
    pod.shutdown().await;
    // Nor is it there in views that are made anew.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(scene.folder("phone").join(format!("views.db{suffix}")));
    }
    let pod = Pod::open(scene.folder("phone"), scene.options("phone")).await.unwrap();
    is_none(&pod, document, version, "made anew").await;
    pod.shutdown().await;
}
