//! CAR files, and DIDs resolved from them.

use rhizome::{
    Version,
    crypto::Hash,
    identity::{State, did, did_document},
    resolve,
    snapshot::export_identity,
    sync::Known,
};

use crate::{input::Input, world::world};

/// A log that its members know resolves, from its file, to what they know.
pub fn resolves(known: &Known) {
    let file = export_identity(&known.log);
    let found = resolve(&did(&known.ordered.identity()), &file, Version::Latest).expect("a log that members folded");
    // A file leaves out what is for peers, cut-offs among it: what follows from the public part is the same.
    let public = |state: &State| {
        let members = (
            state.devices().clone(),
            state.peers().clone(),
            state.orderers().to_vec(),
        );
        (members, state.head(), state.term(), state.recovery(), state.key_id())
    };
    assert_eq!(
        public(&found.state),
        public(&known.ordered),
        "a file that folds into another state"
    );
    assert_eq!(found.document, did_document(&known.ordered));
}

/// The sections of a file, without their lengths.
fn sections(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !file.is_empty() {
        let (len, rest) = unsigned_varint::decode::usize(file).expect("our own file");
        found.push(rest[..len].to_vec());
        file = &rest[len..];
    }
    found
}

/// `data` as a file. Then as changes of a good file, section by section, whose lengths and CIDs are made right again: one that differs from
/// the good file resolves to nothing.
pub fn car(data: &[u8]) {
    let world = world();
    let did = did(&world.state.identity());
    for version in [Version::Latest, Version::Time(1), Version::Id(Hash([1; 32]))] {
        let _ = resolve(&did, data, version).inspect(|found| drop(found.to_json()));
    }
    let good = export_identity(&world.log);
    let mut parts = sections(&good);
    let mut input = Input(data);
    while input.more() {
        let (place, how) = (usize::from(input.byte()) % parts.len(), input.byte());
        let at = usize::from(input.short()) % (parts[place].len() + 1);
        match how % 5 {
            0 => parts[place][at..].iter_mut().take(1).for_each(|byte| *byte ^= how >> 3),
            1 => drop(parts[place].splice(at..at, input.chunk().iter().copied())),
            2 => parts[place].truncate(at),
            3 if parts.len() > 1 => drop(parts.remove(place)),
            3 => {}
            _ => {
                let again = parts[place].clone();
                parts.insert(at % parts.len(), again);
            }
        }
    }
    let mut file = Vec::new();
    for (number, mut part) in parts.into_iter().enumerate() {
        if number > 0 && part.len() >= 36 {
            let hash = Hash::plain(&part[36..]).0;
            part[4..36].copy_from_slice(&hash);
        }
        file.extend_from_slice(unsigned_varint::encode::usize(
            part.len(),
            &mut unsigned_varint::encode::usize_buffer(),
        ));
        file.extend(part);
    }
    if resolve(&did, &file, Version::Latest).is_ok() {
        assert!(file == good, "two files for one log");
    }
}
