//! From entries that a member signed to what an application lists.

use std::collections::BTreeMap;

use rhizome::{
    crypto::encode,
    document::Documents,
    log::{DocumentChange, DocumentId, Position, Range, Section, SessionId},
    store::Views,
    sync::{Known, Replica},
};
use serde_bytes::ByteBuf;

use crate::{
    input::Input,
    memory::note_input,
    targets::document::{History, chunk, same},
    world::{self, World, world},
};

const COLLECTIONS: [&str; 3] = ["journal", "notes", ""];

/// Documents as the program knows them, to write changes that continue them.
#[derive(Default)]
struct Mirror(BTreeMap<u8, History>);

/// The plain bytes of one section.
fn plain(input: &mut Input<'_>, device: usize, mirror: &mut Mirror) -> Vec<u8> {
    match input.byte() % 4 {
        0 => input.chunk().to_vec(),
        1 => World::plain(input.chunk()),
        _ => {
            let time = input.number();
            let events = input.byte() % 4;
            let mut content = vec![0x82];
            content.extend(encode(&time));
            content.push(0x80 + events);
            for _ in 0..events {
                content.extend(event(input, device, mirror));
            }
            World::plain(&content)
        }
    }
}

/// `[kind, body]`.
fn event(input: &mut Input<'_>, device: usize, mirror: &mut Mirror) -> Vec<u8> {
    let kind = input.byte();
    if kind & 3 == 0 {
        return encode(&("app", ("kind", ByteBuf::from(input.chunk().to_vec()))));
    }
    if kind & 3 == 1 {
        return input.chunk().to_vec();
    }
    let collection = COLLECTIONS[usize::from(input.byte()) % COLLECTIONS.len()];
    let number = input.byte() % 3;
    let document = DocumentId([number; 16]);
    let session = SessionId([input.byte() % 4; 16]);
    let actor = DocumentChange::actor(&world::author(device), &document, &session);
    let changes: Vec<ByteBuf> = (0..input.byte() % 4)
        .map(|_| {
            let how = input.byte();
            let bytes = input.chunk();
            let history = mirror.0.entry(number).or_default();
            let contents = match how & 3 {
                0 => bytes.to_vec(),
                _ => history.continued(&actor, bytes),
            };
            let change = chunk(&contents, how & 4 != 0);
            let _ = history.take(&change);
            ByteBuf::from(change)
        })
        .collect();
    encode(&("doc", (collection, document, session, changes)))
}

/// Takes what a program says into `replica`. Gives the ranges that were taken.
fn take(input: &mut Input<'_>, replica: &Replica) -> Vec<Range> {
    let world = world();
    let mut mirror = Mirror::default();
    let mut heads = [0, 1].map(|device| Position::start(&world::author(device)));
    let mut taken = Vec::new();
    for _ in 0..6 {
        if !input.more() {
            break;
        }
        let device = usize::from(input.byte() & 1);
        let plains: Vec<Vec<u8>> = (0..=input.byte() % 3)
            .map(|_| plain(input, device, &mut mirror))
            .collect();
        note_input(4 * plains.iter().map(Vec::len).sum::<usize>());
        let seq = heads[device].seq + 1;
        let sections: Vec<Section> = plains
            .iter()
            .enumerate()
            .map(|(number, plain)| world.seal(device, seq, number, plain))
            .collect();
        let mut range = world.range(device, heads[device], vec![sections]);
        let head = world::sign_range(&world.keys[device].signing, &mut range);
        assert_eq!(Range::decode(&range.encode()).as_ref(), Ok(&range));
        if replica.take_range(range.clone()).is_ok() {
            heads[device] = head;
            taken.push(range);
        }
    }
    taken
}

fn documents(replica: &Replica) -> Documents {
    Documents::new(
        replica.store().clone(),
        Views::in_memory().expect("a database in memory"),
        replica.identity(),
    )
}

/// Entries with any contents, folded as they come and at once.
pub fn fold(data: &[u8]) {
    let replica = world().replica(0);
    let known = Known::from_log(world().log.clone(), Vec::new()).expect("the log is good");
    let ring = known.key_ring(&world().keys[0]);
    let by_and_by = documents(&replica);
    by_and_by.fold(&ring).expect("nothing to fold");
    let taken = take(&mut Input(data), &replica);
    let folded = by_and_by.fold(&ring).expect("what a peer wrote is no reason to fail");
    assert_eq!(by_and_by.behind().expect("counted"), 0);
    assert_eq!(folded.entries, taken.len() as u64);
    by_and_by.events("journal", &ring).expect("listed");
    // In another order: each entry alone, on another device.
    let other = world().replica(1);
    let later = documents(&other);
    for range in taken {
        other.take_range(range).expect("taken before");
        later.fold(&ring).expect("what a peer wrote is no reason to fail");
    }
    for collection in COLLECTIONS {
        let ids = by_and_by.ids(collection).expect("listed");
        assert_eq!(later.ids(collection).expect("listed"), ids);
        let page = by_and_by.list(collection, "date", None, 2).expect("listed");
        if let Some(next) = page.next {
            by_and_by.list(collection, "date", Some(next), 2).expect("listed");
        }
        for id in ids {
            let shown = by_and_by.get(&id).expect("it is shown").expect("it is listed");
            let there = later.get(&id).expect("it is shown").expect("it is listed");
            assert!(same(&shown, &there), "two devices show one document differently");
            by_and_by.entries_of(&id).expect("listed");
        }
    }
}
