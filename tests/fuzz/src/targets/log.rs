//! Author logs: starts, receipts, ranges of entries, and what sections hold.

use rhizome::{
    crypto::SealKey,
    log::{Content, Event, Position, Range, Receipt, Section, Start, VerifiedEntry, open_entry},
};

use crate::{
    input::Input,
    memory::note_input,
    world::{self, RECEIPT, START, World, world},
};

/// The start of an author log.
pub fn start(data: &[u8]) {
    let read = |bytes: &[u8]| {
        if let Ok(start) = Start::decode(bytes) {
            assert_eq!(start.encode(), bytes);
        }
    };
    read(data);
    if let Some(signed) = world::sign_again(data, START) {
        read(&signed);
    }
}

/// A receipt.
pub fn receipt(data: &[u8]) {
    let read = |bytes: &[u8]| {
        if let Ok(receipt) = Receipt::decode(bytes) {
            assert_eq!(receipt.encode(), bytes);
            // What is signed is what is read.
            if let Some(keys) = world().member(&receipt.peer) {
                let made = Receipt::make(
                    &keys.signing,
                    receipt.store,
                    receipt.author,
                    receipt.position,
                    receipt.time,
                );
                assert_eq!(made, receipt);
            }
        }
    };
    read(data);
    if let Some(signed) = world::sign_again(data, RECEIPT) {
        read(&signed);
    }
}

/// A range: decoded, then signed anew by device 0, verified and opened.
pub fn range(data: &[u8]) {
    let Ok(mut range) = Range::decode(data) else { return };
    // An epoch id that stands twice may be left out or not, so a range has more than one spelling; but encoding settles it.
    let encoded = range.encode();
    assert_eq!(Range::decode(&encoded).as_ref(), Ok(&range));
    let world = world();
    drop(range.start());
    drop(range.clone().verify(&world.keys[0].signing.public()));
    if range.start.is_some() {
        range.start = Some(world.starts[0].encode().to_vec());
        range.author = world.starts[0].id();
        range.after = Position::start(&range.author);
        assert!(range.start().is_ok());
    }
    let end = world::sign_range(&world.keys[0].signing, &mut range);
    if let Ok(verified) = range.verify(&world.keys[0].signing.public()) {
        assert_eq!(verified.head(), end);
        for entry in verified.entries() {
            drop(open_entry(entry, &world.section_key));
        }
    }
}

/// An entry of device 0 with these plain sections, sealed, signed, verified.
pub fn verified(plain: &[&[u8]]) -> Option<VerifiedEntry> {
    let world = world();
    let sections: Vec<Section> = plain
        .iter()
        .enumerate()
        .map(|(number, plain)| world.seal(0, 2, number, plain))
        .collect();
    let range = world.range(0, Position::start(&world::author(0)), vec![sections]);
    let verified = range.verify(&world.keys[0].signing.public()).ok()?;
    Some(verified.entries()[0].clone())
}

/// A section that opens: its bytes as they are, and as its content.
pub fn section(data: &[u8]) {
    let mut input = Input(data);
    let two = input.byte();
    let (first, rest) = if two & 1 == 0 {
        (&[][..], input.0)
    } else {
        (input.chunk(), input.0)
    };
    if let Ok(content) = Content::decode(rest) {
        for event in &content.events {
            drop(format!("{event:?}"));
            if let Event::App { kind, payload } = event {
                assert!(kind.len() + payload.len() <= rest.len());
            }
        }
    }
    let plain = World::plain(rest);
    note_input(2 * (plain.len() + first.len()));
    for sections in [&[data][..], &[&plain], &[first, &plain]] {
        let Some(entry) = verified(sections) else { continue };
        if let Ok(contents) = open_entry(&entry, &world().section_key) {
            assert_eq!(contents.len(), sections.len());
        }
        assert!(
            open_entry(&entry, &SealKey::derive("section", &[0; 32])).is_err(),
            "opened by another key"
        );
    }
}
