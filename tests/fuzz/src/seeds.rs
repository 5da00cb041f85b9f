//! Inputs to begin with: the committed vectors, and programs that honest devices could have written.

use std::{fs, path::Path};

use data_encoding::HEXLOWER;
use rhizome::{Document, Value, crypto::encode, path};
use serde_json::Value as Json;

use crate::{
    input::Output,
    targets::{document, session},
    world::{AnyOperation, world},
};

fn vector(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors").join(name);
    serde_json::from_slice(&fs::read(path).expect("a committed vector")).expect("JSON")
}

/// Every string below a value that stands under one of these names (any name if there are none) and is hexadecimal.
fn hex_under(value: &Json, names: &[&str], found: &mut Vec<Vec<u8>>) {
    match value {
        Json::Array(list) => list.iter().for_each(|item| hex_under(item, names, found)),
        Json::Object(map) => {
            for (name, item) in map {
                match item {
                    Json::String(text) if names.is_empty() || names.contains(&name.as_str()) => {
                        found.extend(HEXLOWER.decode(text.as_bytes()).ok());
                    }
                    Json::Array(list) if names.contains(&name.as_str()) => {
                        let texts = list.iter().filter_map(Json::as_str);
                        found.extend(texts.filter_map(|text| HEXLOWER.decode(text.as_bytes()).ok()));
                        hex_under(item, names, found);
                    }
                    _ => hex_under(item, names, found),
                }
            }
        }
        _ => {}
    }
}

fn of(file: &str, names: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    hex_under(&vector(file), names, &mut found);
    found
}

/// The seeds of a target.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "cbor" => [
            of("wrap.json", &[]),
            of("receipt.json", &[]),
            of("entry.json", &["contents"]),
        ]
        .concat(),
        "ticket" => tickets(),
        "words" => words(),
        "folder" => vec![
            br#"{"format": 1, "secret": "000102030405060708090a0b0c0d0e0f", "recovery": null}"#.to_vec(),
            br#"{"format":2,"secret":"00","recovery":"ff"}"#.to_vec(),
            vec![7; 32],
        ],
        "operation" => of("identity.json", &["operation", "operations", "bytes"]),
        "commit" => of("identity.json", &["commit", "commits"]),
        "identity" => histories(),
        "car" => cars(),
        "start" => of("entry.json", &["start"]),
        "receipt" => of("receipt.json", &["receipt"]),
        "attachment" => of("attachment.json", &["manifest", "receipt", "refused"]),
        "entry" => of("range.json", &["range"]),
        "section" => sections(),
        "change" => document::tails()
            .iter()
            .map(|tail| document::base().continued(&document::ACTORS[0], tail))
            .collect(),
        "document" => {
            let tails = document::tails();
            let mut programs: Vec<Vec<u8>> = tails
                .iter()
                .map(|tail| document::program(std::slice::from_ref(tail), 1))
                .collect();
            programs.push(document::program(&tails, 1));
            programs.push(document::program(&tails, 0x15));
            programs
        }
        "saved" => [vec![0], document::base().document.save()]
            .map(|bytes| [vec![0], bytes].concat())
            .to_vec(),
        "value" => values(),
        "fold" => folds(),
        "frame" => {
            let mut frames = of("frames.json", &["frame"]);
            frames
                .iter_mut()
                .for_each(|frame| drop(frame.drain(..4.min(frame.len()))));
            frames
        }
        "session" => sessions(),
        _ => [bombs(), change_bombs()].concat(),
    }
}

fn values() -> Vec<Vec<u8>> {
    let scalars = [
        Value::Null,
        Value::Bool(false),
        Value::Bool(true),
        Value::Int(-1),
        Value::Date(1_700_000_000_000),
        Value::Counter(7),
        Value::Float(0.5),
        Value::Text("a text".to_owned()),
        Value::String("a string".to_owned()),
        Value::Bytes(vec![0, 255]),
    ];
    let list = Value::List(scalars.to_vec());
    let fields = [("list", list.clone()), ("text", scalars[7].clone())];
    let map = Value::Map(fields.map(|(name, value)| (name.to_owned(), value)).into());
    let base = document::base().document.value();
    let all = scalars.iter().chain([&list, &map, &base]);
    all.map(Value::to_bytes).collect()
}

fn tickets() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for ticket in vector("ticket.json")["good"].as_array().expect("a list") {
        let text = ticket["ticket"].as_str().expect("a text");
        found.push(text.as_bytes().to_vec());
        let code = text.trim_start_matches("rhizome:").to_ascii_uppercase();
        let bytes = data_encoding::BASE32_NOPAD.decode(code.as_bytes()).expect("base32");
        found.push(bytes[..bytes.len() - 4].to_vec());
    }
    found
}

fn words() -> Vec<Vec<u8>> {
    let mut found = vec![rhizome::identity::did(&world().state.identity()).into_bytes()];
    for n in 0..2 {
        let mut random = rhizome::crypto::SeededRandom::new(n);
        let secret = rhizome::identity::RecoverySecret::make(&mut random);
        found.push(secret.words().as_bytes().to_vec());
    }
    found
}

/// Programs of the identity target: each kind of operation, committed, out of place, and pending.
fn histories() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for kind in 0..8u8 {
        for committed in 0..3 {
            let mut out = Output::default();
            for nonce in 0..3u8 {
                out = out.byte(0).byte(kind).byte(nonce + 1);
                out = match kind {
                    1 => out.byte(3 + nonce).byte(nonce << 2),
                    2 => out.byte(3).byte(0).byte(1).chunk(b"peer.example:1"),
                    3 => out.byte(1).byte(2).byte(0).byte(2),
                    4 => out.byte(nonce),
                    5..=7 => out.chunk(&encode(&rhizome::identity::Body::Streams {})),
                    _ => out,
                };
                if kind != 4 {
                    out = out.byte(2);
                }
                out = out.byte(committed).bytes(&[0, 0]);
            }
            found.push(out.0);
        }
    }
    found
}

/// Files, and changes of a good one: nothing, each section out, twice, and changed at some places.
fn cars() -> Vec<Vec<u8>> {
    let mut found = of("did.json", &["car"]);
    found.retain(|file| file.len() < 4096);
    found.push(Vec::new());
    for place in 0..7 {
        for how in [3, 4, 8, 2] {
            for at in [0u8, 5, 60] {
                found.push(vec![place, how, at, 0]);
            }
        }
        found.push(
            Output::default()
                .byte(place)
                .byte(1)
                .bytes(&[40, 0])
                .chunk(&[0x81, 0])
                .0,
        );
    }
    found
}

fn sections() -> Vec<Vec<u8>> {
    of("entry.json", &["contents"])
        .into_iter()
        .map(|content| [vec![0], content].concat())
        .collect()
}

/// A change of a document that `tail` makes out of nothing.
fn first_tail(text: &str) -> Vec<u8> {
    let mut document = Document::new(&[5; 32]);
    let write = |edit: &mut rhizome::Edit<'_>| {
        edit.set(&path(["date"]), Value::Date(1))?;
        edit.set(&path(["title"]), Value::String(text.into()))?;
        edit.set_text(&path(["text"]), text)
    };
    let changes = document.edit::<(), rhizome::DocumentError>(write).expect("an edit").1;
    document::tail(&document::contents(&changes[0]))
}

fn folds() -> Vec<Vec<u8>> {
    let one = |out: Output, device: u8, collection: u8, number: u8, how: u8, tail: &[u8]| {
        // Device, one section, assembled, time, one event, a document, one change.
        out.byte(device)
            .byte(0)
            .byte(2)
            .byte(9)
            .byte(1)
            .byte(2)
            .byte(collection)
            .byte(number)
            .byte(1)
            .byte(1)
            .byte(how)
            .chunk(tail)
    };
    let (a, b) = (first_tail("one"), first_tail("a second text that is longer"));
    let simple = one(Output::default(), 0, 0, 1, 1, &a);
    let two = one(simple.clone(), 1, 1, 1, 1, &b);
    let compressed = one(simple.clone(), 1, 0, 2, 5, &b);
    let app = Output::default()
        .byte(0)
        .byte(1)
        .byte(2)
        .byte(5)
        .byte(1)
        .byte(0)
        .chunk(b"payload")
        .byte(1)
        .chunk(b"\x82\x00\x80");
    let unknown = Output::default()
        .byte(0)
        .byte(0)
        .byte(2)
        .byte(5)
        .byte(1)
        .byte(1)
        .chunk(&encode(&("later", (1, "x"))));
    [simple, two, compressed, app, unknown].map(|out| out.0).to_vec()
}

fn sessions() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for with_peer in [false, true] {
        for dials in [false, true] {
            for entries in [0, 3] {
                let frames = session::conversation(with_peer, dials, entries);
                let how = u8::from(with_peer) | u8::from(dials) << 1 | (entries as u8) << 4;
                found.push(session::program(how, &frames));
            }
            let how = u8::from(with_peer) | u8::from(dials) << 1 | 0x30;
            // A hello, a true State that holds nothing, then each kind of message.
            for kind in [4, 0x84, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
                let out = Output::default().byte(how).byte(2).byte(0).byte(0x83).byte(0);
                let out = out.byte(4).byte(0).chunk(b"\x82\x00\x80").byte(kind).byte(1);
                found.push(out.bytes(&[0, 0, 1, 0, 2, 0, 2, 1, 0, 0, 0]).0);
            }
        }
    }
    // Proofs in a hello.
    let operation = AnyOperation {
        signing: &world().keys[0].signing,
        identity: Some(rhizome::crypto::Hash(world().state.identity().0)),
        nonce: [1; 16],
        seen: None,
        public: &encode(&rhizome::identity::Body::Streams {}),
        peers: None,
        sealed: None,
    };
    found.push(
        Output::default()
            .byte(0)
            .byte(2)
            .byte(1)
            .byte(0)
            .byte(7)
            .byte(1)
            .chunk(&operation.encode())
            .0,
    );
    found
}

/// The program that unfolds into `bytes`, with runs of one byte as repetitions.
fn folded(out: Output, bytes: &[u8]) -> Output {
    let runs: Vec<&[u8]> = bytes.chunk_by(|a, b| a == b).collect();
    let mut out = out;
    let mut plain: Vec<u8> = Vec::new();
    let literal = |out: Output, plain: &mut Vec<u8>| {
        let done = plain.chunks(255).fold(out, |out, piece| {
            out.bytes(&[0, 0]).byte(piece.len() as u8).bytes(piece)
        });
        plain.clear();
        done
    };
    for run in runs {
        if run.len() < 16 {
            plain.extend_from_slice(run);
            continue;
        }
        out = literal(out, &mut plain);
        for part in run.chunks(0x1_0000) {
            out = out.bytes(&((part.len() - 1) as u16).to_le_bytes()).byte(1).byte(run[0]);
        }
    }
    literal(out, &mut plain)
}

/// Changes that are short on the wire: long texts of one letter, a long text deleted, fields without end.
fn change_bombs() -> Vec<Vec<u8>> {
    let tail = |document: &mut Document,
                edit: &dyn Fn(&mut rhizome::Edit<'_>) -> Result<(), rhizome::DocumentError>| {
        let changes = document.edit::<(), rhizome::DocumentError>(edit).expect("an edit");
        document::tail(&document::contents(&changes.1[0]))
    };
    let base = || document::base().document.fork_as(&document::ACTORS[0]);
    let tails = [
        tail(&mut base(), &|edit| {
            edit.set(&path(["s"]), Value::String("a".repeat(7_900_000)))
        }),
        tail(&mut base(), &|edit| {
            edit.set(&path(["b"]), Value::Bytes(vec![0; 250_000]))
        }),
        tail(&mut base(), &|edit| edit.set_text(&path(["t"]), &"a".repeat(100_000))),
        tail(&mut base(), &|edit| {
            edit.set(&path(["l"]), Value::List(vec![Value::Null; 2_000]))
        }),
        tail(&mut base(), &|edit| {
            (0..200).try_for_each(|n| edit.set(&path([format!("{n:0500}").as_str()]), Value::Null))
        }),
    ];
    let mut found = Vec::new();
    for tail in &tails {
        for how in [0x86, 0xc6] {
            let program = folded(Output::default().byte(how), tail).0;
            if program.len() < 16_384 {
                found.push(program);
            }
        }
    }
    found
}

/// Lists of as many of the smallest items as there is room for, in each place where a list may stand.
fn bombs() -> Vec<Vec<u8>> {
    let repeated = |which: u8, head: &[u8], item: &[u8], times: usize| {
        let mut out = Output::default()
            .byte(which)
            .bytes(&[0, 0])
            .byte(head.len() as u8)
            .bytes(head);
        let mut left = times;
        while left > 0 {
            let now = left.min(0x1_0000);
            out = out
                .bytes(&((now - 1) as u16).to_le_bytes())
                .byte(item.len() as u8)
                .bytes(item);
            left -= now;
        }
        out.0
    };
    let list = |count: u32| [&[0x9a][..], &count.to_be_bytes()].concat();
    let mut found = Vec::new();
    let million = 1_000_000u32;
    // A section's content: events of an unknown kind, of one with a large body, of apps, of documents with empty changes.
    for which in [3, 4] {
        found.push(repeated(
            which,
            &[&[0x82, 0][..], &list(340_000)].concat(),
            &[0x82, 0x60, 0xf6],
            340_000,
        ));
        found.push(repeated(
            which,
            &[&[0x82, 0, 0x81, 0x82, 0x61, b'x'][..], &list(million)].concat(),
            &[0xf6],
            million as usize,
        ));
        found.push(repeated(
            which,
            &[&[0x82, 0][..], &list(140_000)].concat(),
            &[0x82, 0x63, b'a', b'p', b'p', 0x82, 0x60, 0x40],
            131_000,
        ));
        let document = [
            &[0x82, 0, 0x81, 0x82, 0x63, b'd', b'o', b'c', 0x84, 0x60, 0x50][..],
            &[1; 16],
            &[0x50],
            &[2; 16],
            &list(million),
        ]
        .concat();
        found.push(repeated(which, &document, &[0x40], million as usize));
    }
    // Frames: services of a consent, lists of receipts, items, points.
    let consent = [&[36, 0x83, 0x58, 64][..], &[1; 64], &[0x60], &list(2_000_000)].concat();
    found.push(repeated(0, &consent, &[0x60], 2_000_000));
    for kind in [2, 3, 5, 10, 11] {
        found.push(repeated(
            0,
            &[&[kind, 0x81][..], &list(2_000_000)].concat(),
            &[0x40],
            2_000_000,
        ));
    }
    let range = [
        &[4, 0x85, 0xf6, 0x58, 32][..],
        &[1; 32],
        &[3, 0x58, 32],
        &[2; 32],
        &[0x99, 2, 0],
    ]
    .concat();
    let mut entry = vec![0x84, 0xf6, 0xf6, 0x99, 1, 0];
    entry.extend([0x40; 180]);
    found.push(repeated(0, &range, &entry, 512));
    // Operations and signed cores: values of any shape.
    for which in [1, 2] {
        found.push(repeated(which, &list(2_000_000), &[0xf6], 2_000_000));
    }
    // An operation whose core is lists in lists, each of which claims to be endless.
    let mut core = vec![0x88, 1, 0xf6, 0x58, 32];
    core.extend([1; 32]);
    core.push(0x50);
    core.extend([2; 16]);
    core.push(0xf6);
    core.extend([0x9a, 0xff, 0xff, 0xff, 0xff].repeat(100));
    let operation = [&[0x84, 0x59][..], &(core.len() as u16).to_be_bytes(), &core].concat();
    found.push(
        operation
            .chunks(255)
            .fold(Output::default().byte(1), |out, piece| {
                out.bytes(&[0, 0]).byte(piece.len() as u8).bytes(piece)
            })
            .0,
    );
    found.push(repeated(5, b"rhizome:", b"aaaaaaaa", 200_000));
    found
}
