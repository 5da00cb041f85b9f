//! Small inputs that unfold into as many bytes as the wire allows: what is short there must not be long in memory.

use rhizome::{
    Document, Version,
    document::{Limits, inspect},
    identity::{Commit, MAX_OPERATION, Operation, Ticket, did, parse_did},
    log::{Content, MAX_ENTRY, Receipt, Start},
    resolve,
    sync::{MAX_FRAME, Message},
};

use crate::{
    input::{Input, unfold},
    memory::note_input,
    targets::{
        document::{ACTORS, base, chunk},
        log::verified,
    },
    world::{World, world},
};

/// Which decoder, and what it is fed.
pub fn bomb(data: &[u8]) {
    let mut input = Input(data);
    let which = input.byte();
    let unfolded = |most| {
        let bytes = unfold(input, most);
        note_input(bytes.capacity());
        bytes
    };
    match which % 8 {
        0 => drop(Message::decode(&unfolded(MAX_FRAME))),
        1 => drop(Operation::decode(&unfolded(MAX_OPERATION))),
        2 => {
            // As large as a frame can carry them.
            let bytes = unfolded(MAX_FRAME);
            drop((Commit::decode(&bytes), Start::decode(&bytes), Receipt::decode(&bytes)));
            drop(resolve(&did(&world().state.identity()), &bytes, Version::Latest));
        }
        3 => drop(Content::decode(&unfolded(MAX_ENTRY))),
        4 => {
            let bytes = unfolded(MAX_ENTRY - 64);
            let plain = World::plain(&bytes);
            note_input(4 * plain.len());
            let Some(entry) = verified(&[&plain]) else { return };
            drop(rhizome::log::open_entry(&entry, &world().section_key));
        }
        5 => {
            let text = unfolded(MAX_FRAME);
            let text = String::from_utf8_lossy(&text);
            drop((Ticket::parse(&text), parse_did(&text)));
        }
        _ => changes(&mut input, which),
    }
}

/// Changes of one section: each as large as it likes once it is inflated, all together as large as an entry may be.
fn changes(input: &mut Input<'_>, which: u8) {
    let contents = unfold(*input, Limits::default().inflated);
    let tail = if which & 0x80 == 0 {
        contents
    } else {
        base().continued(&ACTORS[0], &contents)
    };
    let change = chunk(&tail, which & 0x40 != 0);
    // The harness's own copies: what the wire carries is what counts below.
    drop(tail);
    note_input(change.len());
    drop(inspect(&change, Limits::default()));
    let mut document: Document = base().document.clone();
    let _ = document.apply(&[change]);
}
