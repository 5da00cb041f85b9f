//! What must be refused, is, with a typed error and nothing stored.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::replicas::{Member, begin};
use ipld_core::ipld::Ipld;
use rhizome::{
    crypto::{DeviceSecret, Hash, SeededRandom, Signature, decode, encode},
    identity::{Commit, CommitCore, EpochId, Operation},
    log::{Item, LogError, Position, Range, Section, Start, Time, open_entry, time_of},
    store::AppendError,
    sync::{Refusal, Replica},
};

fn digest(replica: &Replica) -> (Hash, (u64, u64), usize) {
    let (known, _, digest) = replica.state().unwrap();
    let counts = replica.read(|read| read.counts(&replica.identity())).unwrap();
    (digest, counts, known.log.len())
}

/// `range` must be refused by `to`, and leave no trace.
fn refused(to: &Member, range: Range) -> Refusal {
    let before = digest(&to.replica);
    let author = range.author;
    let known = to.replica.read(|read| read.start(&author)).unwrap().is_some();
    let refusal = to.replica.take_range(range).expect_err("taken");
    assert_eq!(digest(&to.replica), before, "something was stored");
    assert_eq!(
        to.replica.read(|read| read.start(&author)).unwrap().is_some(),
        known,
        "an author was stored"
    );
    refusal
}

fn two() -> (Member, Member) {
    let mut writer = Member::first(1);
    let reader = writer.another(10);
    (writer, reader)
}

#[test]
fn every_flipped_bit_of_a_range_is_refused_and_the_range_itself_is_taken() {
    let (mut writer, reader) = two();
    let range = writer.write("journal", 1);
    let bytes = range.encode();
    let mut malformed = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match Range::decode(&flipped) {
            Ok(range) => drop(refused(&reader, range)),
            Err(_) => malformed += 1,
        }
    }
    for len in 0..bytes.len() {
        assert!(Range::decode(&bytes[..len]).is_err(), "a range cut to {len} bytes");
    }
    assert!(
        Range::decode(&[&bytes[..], &[0]].concat()).is_err(),
        "a range with a byte more"
    );
    assert!(malformed < bytes.len() * 8);
    assert_eq!(reader.replica.take_range(range.clone()).unwrap().new, 1);
    let after = digest(&reader.replica);
    assert_eq!(
        reader.replica.take_range(range).unwrap().new,
        0,
        "once more adds nothing"
    );
    assert_eq!(digest(&reader.replica), after);
}

#[test]
fn entries_out_of_their_place_are_refused() {
    let (mut writer, reader) = two();
    let good = writer.write("journal", 3);
    let other = writer.write("other", 3);
    let spoilt = |change: &dyn Fn(&mut Range)| {
        let mut range = good.clone();
        change(&mut range);
        refused(&reader, range)
    };
    spoilt(&|range| range.entries.swap(0, 1));
    spoilt(&|range| range.entries.swap(1, 2));
    spoilt(&|range| drop(range.entries.remove(0)));
    spoilt(&|range| drop(range.entries.remove(1)));
    spoilt(&|range| range.entries.insert(1, good.entries[0].clone()));
    spoilt(&|range| range.entries[2] = other.entries[2].clone());
    spoilt(&|range| range.entries[1] = other.entries[1].clone());
    spoilt(&|range| range.entries[2].sections = good.entries[1].sections.clone());
    spoilt(&|range| range.entries[2].sections.push(good.entries[1].sections[0].clone()));
    spoilt(&|range| range.entries[2].sections.clear());
    spoilt(&|range| range.entries[2].signature = good.entries[1].signature);
    spoilt(&|range| range.entries[2].signature = Signature([0; 64]));
    spoilt(&|range| range.entries[2].epoch = other.entries[2].epoch);
    spoilt(&|range| range.entries[0].epoch = EpochId([9; 32]));
    spoilt(&|range| range.entries[0].head = None);
    spoilt(&|range| range.entries[1].head = Some(Hash([3; 32])));
    spoilt(&|range| range.entries[0].sections[0] = Section::Erased(Hash([4; 32])));
    spoilt(&|range| range.author = other.author);
    spoilt(&|range| range.start = other.start.clone());
    spoilt(&|range| range.start = None);
    spoilt(&|range| range.after.hash = Hash([5; 32]));
    spoilt(&|range| range.after.seq = 7);
    assert_eq!(reader.replica.take_range(good.clone()).unwrap().new, 3);
    // A gap is told apart: the sender may try from further back.
    let stream = writer.stream("journal");
    let head = writer.replica.read(|read| read.branches(&good.author)).unwrap()[0].head;
    let left_out = writer.make(good.author, head, stream, b"left out");
    let last = writer.make(good.author, left_out.position(), stream, b"last");
    let gapped = Range {
        start: None,
        author: good.author,
        after: left_out.position(),
        entries: vec![last.entry().clone()],
    };
    assert_eq!(refused(&reader, gapped), Refusal::Append(AppendError::Gap));
}

#[test]
fn an_erased_section_leaves_a_chain_that_verifies_and_a_section_left_out_is_refused() {
    let (mut writer, reader) = two();
    let mut range = writer.write("journal", 2);
    let Section::Box(sealed) = &range.entries[0].sections[0] else {
        panic!("a box")
    };
    range.entries[0].sections[0] = Section::Erased(rhizome::crypto::hash("section", &[sealed]));
    assert_eq!(
        range
            .clone()
            .verify(&writer.keys.signing.public())
            .unwrap()
            .entries()
            .len(),
        2
    );
    // But nobody may leave one out on the way: no operation erased it, and what was stored so would never be made whole.
    refused(&reader, range);
}

#[test]
fn a_box_opens_only_where_it_was_sealed() {
    let mut writer = Member::first(1);
    let stream = writer.stream("journal");
    let start = writer.begin_log(stream);
    let first = writer.make(start.id(), Position::start(&start.id()), stream, b"a line");
    let ring = writer.replica.known().key_ring(&writer.keys);
    let key = ring.epoch(&first.entry().epoch).unwrap();
    assert_eq!(open_entry(&first, key).unwrap().len(), 1);
    // The device itself, and nobody else could, signs an entry with boxes of another place: each is bound to its own.
    let mut moved = |sections: Vec<Section>| {
        let mut entry = writer
            .make(start.id(), first.position(), stream, b"another")
            .entry()
            .clone();
        entry.sections = sections;
        let hash = entry.hash(&start.id(), 3, &first.position().hash);
        entry.signature = writer.keys.signing.sign("entry", &hash.0);
        let range = Range {
            start: None,
            author: start.id(),
            after: first.position(),
            entries: vec![entry],
        };
        let verified = range.verify(&writer.keys.signing.public()).unwrap();
        open_entry(&verified.entries()[0], key)
    };
    moved(first.entry().sections.clone()).unwrap_err();
    let sections = first.entry().sections.clone();
    moved(vec![sections[0].clone(), sections[0].clone()]).unwrap_err();
}

#[test]
fn strangers_write_nothing() {
    let (mut writer, reader) = two();
    // A device of another identity, in its own name.
    let mut stranger = Member::first(50);
    let theirs = stranger.write("journal", 1);
    assert_eq!(refused(&reader, theirs), Refusal::OtherIdentity);
    // A device that no operation knows, in the name of ours.
    let stream = writer.stream("journal");
    let identity = writer.replica.identity();
    let start = Start::make(&mut stranger.random, &stranger.keys.signing, stream, identity, identity);
    let entry = {
        let mut forged = writer
            .make(start.id(), Position::start(&start.id()), stream, b"forged")
            .entry()
            .clone();
        let hash = forged.hash(&start.id(), 2, &Hash(start.id().0));
        forged.signature = stranger.keys.signing.sign("entry", &hash.0);
        forged
    };
    let forged = Range {
        start: Some(start.encode().to_vec()),
        author: start.id(),
        after: Position::start(&start.id()),
        entries: vec![entry],
    };
    assert_eq!(refused(&reader, forged), Refusal::Append(AppendError::UnknownAuthor));
    // A device of ours, for another owner or in the name of another identity.
    let elsewhere = stranger.replica.identity();
    for (owner, author) in [(identity, elsewhere), (elsewhere, identity)] {
        let start = Start::make(&mut writer.random, &writer.keys.signing, stream, owner, author);
        let after = Position::start(&start.id());
        let entry = writer.make(start.id(), after, stream, b"elsewhere").into_entry();
        let range = Range {
            start: Some(start.encode().to_vec()),
            author: start.id(),
            after,
            entries: vec![entry],
        };
        assert_eq!(refused(&reader, range), Refusal::OtherIdentity);
    }
    // The same start with a signature of somebody else's.
    let mine = writer.write("journal", 1);
    let mut range = mine.clone();
    range
        .start
        .as_mut()
        .unwrap()
        .iter_mut()
        .last()
        .map(|byte| *byte ^= 1)
        .unwrap();
    assert!(matches!(refused(&reader, range), Refusal::Append(AppendError::Log(_))));
}

#[test]
fn every_flipped_bit_of_an_operation_is_refused_and_so_is_a_part_left_out() {
    let (mut writer, reader) = two();
    let keys = DeviceSecret::make(&mut SeededRandom::new(99)).keys();
    let operation = writer.add(&keys);
    let bytes = operation.encode();
    let before = digest(&reader.replica);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(operation) = Operation::decode(&flipped) {
            reader.replica.take_operation(operation).expect_err("taken");
        }
    }
    assert_eq!(digest(&reader.replica), before);
    reader.replica.take_operation(operation).unwrap();
    assert_ne!(digest(&reader.replica).0, before.0);
}

#[test]
fn a_commit_by_a_stranger_or_out_of_place_is_refused() {
    let (mut writer, reader) = two();
    let keys = DeviceSecret::make(&mut SeededRandom::new(99)).keys();
    let operation = writer.add(&keys);
    let known = reader.replica.known();
    let good = CommitCore {
        identity: reader.replica.identity(),
        index: known.ordered.count(),
        previous: known.ordered.head(),
        operation: operation.id(),
        term: 0,
        time: 2_000,
        orderer: writer.keys.signing.public(),
    };
    let before = digest(&reader.replica);
    let offer = |core: CommitCore, signing: &rhizome::crypto::SigningKey| {
        let commit = Commit::make(signing, core);
        reader
            .replica
            .take_commits(&[(commit.encode().to_vec(), operation.encode())])
    };
    let spoilt = |change: &dyn Fn(&mut CommitCore)| {
        let mut core = good.clone();
        change(&mut core);
        offer(core, &writer.keys.signing).expect_err("taken");
        assert_eq!(digest(&reader.replica), before);
    };
    spoilt(&|core| core.index += 1);
    spoilt(&|core| core.previous = None);
    spoilt(&|core| core.previous = Some(Hash([1; 32])));
    spoilt(&|core| core.operation = Hash([2; 32]));
    spoilt(&|core| core.term = 1);
    spoilt(&|core| core.time = 0);
    spoilt(&|core| core.identity.0[0] ^= 1);
    // Signed by one key, in the name of another.
    spoilt(&|core| core.orderer = reader.keys.signing.public());
    // By a device that does not order.
    let mut core = good.clone();
    core.orderer = reader.keys.signing.public();
    offer(core, &reader.keys.signing).expect_err("a device that does not order");
    let stranger = DeviceSecret::make(&mut SeededRandom::new(100)).keys().signing;
    let mut core = good.clone();
    core.orderer = stranger.public();
    offer(core, &stranger).expect_err("a stranger");
    assert_eq!(digest(&reader.replica), before);
    let commit = Commit::make(&writer.keys.signing, good.clone());
    for bit in 0..commit.encode().len() * 8 {
        let mut flipped = commit.encode().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(reader.replica.take_commits(&[(flipped, operation.encode())]).is_err());
    }
    assert_eq!(digest(&reader.replica), before);
    assert_eq!(offer(good.clone(), &writer.keys.signing).unwrap().new, 1);
    // The same orderer signs another commit for the same place: that shows.
    let other = CommitCore { time: 3_000, ..good };
    let error = offer(other, &writer.keys.signing).expect_err("equivocation");
    assert!(error.to_string().contains("equivocates"), "{error}");
    let alarms = reader.replica.read(|read| read.alarms()).unwrap();
    assert_eq!(alarms[0].kind.name(), "equivocation");
}

#[test]
fn two_entries_in_one_place_are_both_kept_and_told() {
    let (mut writer, reader) = two();
    let stream = writer.stream("journal");
    let start = writer.begin_log(stream);
    let first = Position::start(&start.id());
    let (left, right) = (
        writer.make(start.id(), first, stream, b"l"),
        writer.make(start.id(), first, stream, b"r"),
    );
    let more = writer.make(start.id(), right.position(), stream, b"rr");
    let range = |after: Position, entries: &[&rhizome::log::VerifiedEntry]| Range {
        start: (after.seq == 1).then(|| start.encode().to_vec()),
        author: start.id(),
        after,
        entries: entries.iter().map(|entry| entry.entry().clone()).collect(),
    };
    assert!(!reader.replica.take_range(range(first, &[&left])).unwrap().forked);
    assert!(
        reader
            .replica
            .take_range(range(first, &[&right, &more]))
            .unwrap()
            .forked
    );
    let branches = reader.replica.read(|read| read.branches(&start.id())).unwrap();
    assert_eq!(
        branches.iter().map(|branch| branch.head).collect::<Vec<_>>(),
        [left.position(), more.position()]
    );
    assert_eq!(
        reader.replica.read(|read| read.alarms()).unwrap()[0].kind.name(),
        "fork"
    );
    // Eight branches at most.
    for n in 0..6u8 {
        let entry = writer.make(start.id(), first, stream, &[n]);
        reader.replica.take_range(range(first, &[&entry])).unwrap();
    }
    let ninth = writer.make(start.id(), first, stream, b"9");
    assert_eq!(
        refused(&reader, range(first, &[&ninth])),
        Refusal::Append(AppendError::TooManyBranches)
    );
}

#[test]
fn a_peer_that_shows_more_of_a_log_than_its_writer_has_ends_it_here() {
    let (mut writer, _) = two();
    let mine = writer.write("journal", 2);
    let stream = writer.stream("journal");
    let own = || writer.replica.read(|read| read.own_log(&stream)).unwrap();
    let head = own().unwrap().head;
    let shows = |seq: u64, hash| BTreeMap::from([(mine.author, vec![Item(mine.author, 0, seq, hash)])]);
    writer.replica.retire_copied(&shows(head.seq, head.hash)).unwrap();
    assert!(own().is_some());
    writer
        .replica
        .retire_copied(&shows(head.seq + 1, Hash([9; 32])))
        .unwrap();
    assert!(own().is_none());
    // A peer's mere word alarms nobody.
    assert!(writer.replica.read(|read| read.alarms()).unwrap().is_empty());
}

#[test]
fn what_a_copy_wrote_further_on_ends_a_log_here_and_is_told() {
    let (mut writer, _) = two();
    let mine = writer.write("journal", 2);
    let stream = writer.stream("journal");
    let own = |writer: &Member| writer.replica.read(|read| read.own_log(&stream)).unwrap();
    let before = own(&writer).unwrap();
    assert_eq!(before.author, mine.author);
    // What is here already comes back from every peer.
    assert_eq!(writer.replica.take_range(mine.clone()).unwrap().new, 0);
    assert_eq!(own(&writer).map(|own| own.author), Some(mine.author));
    assert!(writer.replica.read(|read| read.alarms()).unwrap().is_empty());
    let further = writer.make(mine.author, before.head, stream, b"by the copy");
    let range = Range {
        start: None,
        author: mine.author,
        after: before.head,
        entries: vec![further.into_entry()],
    };
    assert_eq!(writer.replica.take_range(range).unwrap().new, 1);
    assert!(own(&writer).is_none());
    let alarms = writer.replica.read(|read| read.alarms()).unwrap();
    assert_eq!((alarms.len(), alarms[0].kind.name()), (1, "fork"));
}

#[test]
fn an_identity_log_with_another_beginning_is_refused() {
    let (writer, reader) = two();
    let mut random = SeededRandom::new(5);
    let other = begin(&mut random, &writer.keys);
    let pair = (other[0].0.encode().to_vec(), other[0].1.encode());
    reader.replica.take_commits(&[pair]).expect_err("another genesis");
}

#[test]
fn a_range_begins_where_it_says_and_holds_something() {
    let (mut writer, _) = two();
    let whole = writer.write("journal", 3).encode();
    let Ipld::List(parts) = decode(&whole).unwrap() else {
        panic!("a range is a list")
    };
    // Start, author, first number, link, entries.
    let changed = |seq: Option<i128>, start: bool, entries: bool| {
        let mut parts = parts.clone();
        if let Some(seq) = seq {
            parts[2] = Ipld::Integer(seq);
        }
        if !start {
            parts[0] = Ipld::Null;
        }
        if !entries {
            parts[4] = Ipld::List(Vec::new());
        }
        Range::decode(&encode(&Ipld::List(parts))).map(drop)
    };
    assert_eq!(changed(None, true, true), Ok(()));
    assert_eq!(changed(Some(3), false, true), Ok(()));
    for (seq, start, entries) in [
        (None, true, false),
        (Some(3), false, false),
        (Some(0), false, true),
        (Some(1), false, true),
        (Some(1), true, true),
        (None, false, true),
        (Some(3), true, true),
    ] {
        assert_eq!(
            changed(seq, start, entries),
            Err(LogError::BadRange),
            "{seq:?} {start} {entries}"
        );
    }
}

#[test]
fn another_commit_for_a_place_is_an_equivocation_only_by_its_orderer_in_its_term() {
    let (mut writer, reader) = two();
    let keys = DeviceSecret::make(&mut SeededRandom::new(99)).keys();
    let operation = writer.add(&keys);
    let taken = reader.replica.known().log.last().unwrap().0.core().clone();
    let offer = |core: CommitCore, signing: &rhizome::crypto::SigningKey| {
        let commit = Commit::make(signing, core);
        let offered = [(commit.encode().to_vec(), operation.encode())];
        reader.replica.take_commits(&offered).expect_err("taken").to_string()
    };
    let other = CommitCore {
        operation: operation.id(),
        ..taken
    };
    let later = CommitCore {
        term: 1,
        ..other.clone()
    };
    let by_reader = CommitCore {
        orderer: reader.keys.signing.public(),
        ..other.clone()
    };
    assert!(!offer(later, &writer.keys.signing).contains("equivocates"));
    assert!(!offer(by_reader, &reader.keys.signing).contains("equivocates"));
    assert!(reader.replica.read(|read| read.alarms()).unwrap().is_empty());
    assert!(offer(other.clone(), &writer.keys.signing).contains("equivocates"));
    assert_eq!(reader.replica.read(|read| read.alarms()).unwrap().len(), 1);
    // What it signed is kept, beside what is in the log: both together prove it to anybody.
    let kept = format!("equivocation:{}", reader.replica.identity());
    let proof = reader.replica.read(|read| read.meta(&kept)).unwrap().unwrap();
    let proof = Commit::decode(&proof).unwrap();
    assert_eq!(proof.core(), &other);
    let mine = &reader.replica.known().log[usize::try_from(other.index).unwrap()].0;
    assert_eq!((mine.core().index, mine.core().orderer), (other.index, other.orderer));
    assert_ne!(mine.hash(), proof.hash());
}

#[test]
fn the_time_of_an_entry_is_its_sections() {
    let (mut writer, _) = two();
    let stream = writer.stream("journal");
    let start = writer.begin_log(stream);
    let entry = writer.make(start.id(), Position::start(&start.id()), stream, b"now");
    let ring = writer.replica.known().key_ring(&writer.keys);
    let key = ring.epoch(&ring.streams()[&stream].current).unwrap();
    assert_eq!(time_of(&entry, key), Some(Time::from_millis(1)));
    let other = ring.stream("other").unwrap().1.current;
    assert_eq!(time_of(&entry, ring.epoch(&other).unwrap()), None);
}
