//! Automerge changes from a peer, behind a good checksum and a good head.

use std::{collections::BTreeMap, sync::OnceLock};

use automerge::Change;
use miniz_oxide::{deflate::compress_to_vec, inflate::decompress_to_vec_with_limit};
use rhizome::{
    Document, DocumentError, Expand, Lean, Value,
    document::{
        Limits,
        chunk::{check_change, open_change},
        inspect,
    },
    path,
};
use sha2::{Digest, Sha256};

use crate::{
    input::{Input, Output},
    memory::note_input,
};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// The author of the base document, and others.
pub const ACTORS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

fn leb(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

/// A change chunk with these contents and a checksum that is right.
pub fn chunk(contents: &[u8], compressed: bool) -> Vec<u8> {
    let mut plain = vec![1];
    plain.extend(leb(contents.len() as u64));
    plain.extend_from_slice(contents);
    let checksum: [u8; 32] = Sha256::digest(&plain).into();
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&checksum[..4]);
    if compressed {
        let deflated = compress_to_vec(contents, 6);
        out.push(2);
        out.extend(leb(deflated.len() as u64));
        out.extend(deflated);
    } else {
        out.extend(plain);
    }
    out
}

/// The contents of a change chunk that a document of ours made.
pub fn contents(chunk: &[u8]) -> Vec<u8> {
    let mut at = 9;
    while chunk[at] & 0x80 != 0 {
        at += 1;
    }
    let rest = &chunk[at + 1..];
    if chunk[8] == 1 {
        rest.to_vec()
    } else {
        decompress_to_vec_with_limit(rest, 8 << 20).expect("our own")
    }
}

/// What follows the number of the first operation in a change's contents: time, message, other actors, columns.
pub fn tail(contents: &[u8]) -> Vec<u8> {
    let mut at = 1 + 32 * usize::from(contents[0]);
    at += 1 + usize::from(contents[at]);
    for _ in 0..2 {
        while contents[at] & 0x80 != 0 {
            at += 1;
        }
        at += 1;
    }
    contents[at..].to_vec()
}

/// A document and what a change must say to continue it.
#[derive(Clone)]
pub struct History {
    /// The document.
    pub document: Document,
    /// The number of its last operation.
    last: u64,
    /// How many changes each actor made.
    sequences: BTreeMap<Vec<u8>, u64>,
    /// Every change in it.
    pub changes: Vec<Vec<u8>>,
}

impl History {
    /// An empty document.
    pub fn new() -> Self {
        Self {
            document: Document::new(&[0; 32]),
            last: 0,
            sequences: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// The contents of a change by `actor` that continues the document, with this tail.
    pub fn continued(&self, actor: &[u8; 32], tail: &[u8]) -> Vec<u8> {
        let heads = self.document.heads();
        let mut out = leb(heads.len() as u64);
        heads.iter().for_each(|head| out.extend_from_slice(head));
        out.push(32);
        out.extend_from_slice(actor);
        out.extend(leb(self.sequences.get(&actor[..]).copied().unwrap_or(0) + 1));
        out.extend(leb(self.last + 1));
        out.extend_from_slice(tail);
        out
    }

    /// Takes a change, if the document does.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), DocumentError> {
        let (heads, value, pending) = (self.document.heads(), self.document.value(), self.document.pending());
        let applied = self.document.apply(&[bytes.to_vec()]);
        match applied {
            Ok(applied) => {
                assert_eq!(applied.pending, self.document.pending());
                self.changes.push(bytes.to_vec());
                if applied.added > 0 {
                    self.recount();
                }
                Ok(())
            }
            Err(error) => {
                assert_eq!(self.document.heads(), heads, "an error that changes the document");
                assert_eq!(self.document.pending(), pending);
                assert!(
                    same(&self.document.value(), &value),
                    "an error that changes the document"
                );
                Err(error)
            }
        }
    }

    fn recount(&mut self) {
        for bytes in self.document.changes_since(&[]) {
            let change = Change::from_bytes(bytes).expect("the document holds it");
            self.last = self.last.max(change.max_op());
            let sequence = self.sequences.entry(change.actor_id().to_bytes().to_vec()).or_default();
            *sequence = change.seq().max(*sequence);
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

/// Equal, with NaN like NaN.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((x, a), (y, b))| x == y && same(a, b))
        }
        _ => a == b,
    }
}

/// A document with text, a list, a map, a counter and a date, by two authors.
pub fn base() -> &'static History {
    static BASE: OnceLock<History> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut first = Document::new(&ACTORS[0]);
        let fill = |edit: &mut rhizome::Edit<'_>| {
            edit.set(&path(["date"]), Value::Date(1_700_000_000_000))?;
            edit.set(&path(["count"]), Value::Counter(1))?;
            edit.set(&path(["list"]), Value::List(vec![Value::Int(1), Value::from("two")]))?;
            edit.set_text(&path(["text"]), "a line that two devices edit")
        };
        let mut changes = first.edit::<(), DocumentError>(fill).expect("a first edit").1;
        let mut second = first.fork_as(&ACTORS[1]);
        let more = |edit: &mut rhizome::Edit<'_>| {
            edit.splice_text(&path(["text"]), 2, 4, "word")?;
            edit.increment(&path(["count"]), 2)
        };
        changes.extend(second.edit::<(), DocumentError>(more).expect("a second edit").1);
        let mut history = History::new();
        for change in &changes {
            history.take(change).expect("our own");
        }
        history
    })
}

/// Tails of changes that continue the base document: for seeds.
pub fn tails() -> Vec<Vec<u8>> {
    type Work = fn(&mut rhizome::Edit<'_>) -> Result<(), DocumentError>;
    let edits: [Work; 12] = [
        |edit| edit.splice_text(&path(["text"]), 0, 2, "the"),
        |edit| edit.splice_text(&path(["text"]), 0, 20, ""),
        |edit| edit.increment(&path(["count"]), -5),
        |edit| edit.delete(&path(["list"])),
        |edit| edit.insert(&path(["list"]), 1, Value::Float(0.5)),
        |edit| {
            edit.set(
                &path(["deep"]),
                Value::List(vec![Value::Map(BTreeMap::from([(
                    "a".into(),
                    Value::Bytes(vec![1, 2]),
                )]))]),
            )
        },
        |edit| edit.set(&path(["date"]), Value::Date(-1)),
        |edit| edit.set(&path(["new"]), Value::Text("text of its own".into())),
        |edit| {
            for n in 0..20 {
                edit.set(&path([format!("field {n}").as_str()]), Value::Int(n))?;
            }
            edit.set(&path(["count"]), Value::Bool(true))
        },
        |edit| edit.mark(&path(["text"]), 2..10, "bold", &Value::Bool(true), Expand::After),
        |edit| {
            edit.mark(&path(["text"]), 0..4, "link", &Value::from("there"), Expand::None)?;
            edit.splice_text(&path(["text"]), 1, 6, "marked")?;
            edit.unmark(&path(["text"]), 2..9, "bold", Expand::Both)
        },
        |edit| {
            edit.set_text(&path(["text"]), "")?;
            edit.set_text(&path(["rich"]), "more")?;
            edit.mark(&path(["rich"]), 0..4, "bold", &Value::Date(5), Expand::Before)
        },
    ];
    let of = |document: &Document, edit: &Work| {
        let mut document = document.fork_as(&ACTORS[0]);
        tail(&contents(
            &document.edit::<(), DocumentError>(edit).expect("an edit").1[0],
        ))
    };
    edits.iter().map(|edit| of(&base().document, edit)).collect()
}

/// One change, before any document sees it.
pub fn change(data: &[u8]) {
    let limits = Limits::default();
    drop(inspect(data, limits));
    let plain = chunk(data, false);
    let compressed = chunk(data, true);
    note_input(plain.len() + compressed.len());
    let walked = check_change(&plain, limits);
    assert_eq!(
        check_change(&compressed, limits),
        walked,
        "what is compressed reads otherwise"
    );
    if walked.is_ok() {
        assert_eq!(open_change(&compressed, limits).as_deref(), Ok(&plain[..]));
        if let Ok(info) = inspect(&plain, limits) {
            assert_eq!(inspect(&compressed, limits).as_ref(), Ok(&info));
        }
    }
}

/// Changes that continue the base document, or do not; then all of them in other orders.
pub fn document(data: &[u8]) {
    let mut input = Input(data);
    let mut history = if input.byte() & 1 == 0 {
        base().clone()
    } else {
        History::new()
    };
    for _ in 0..12 {
        if !input.more() {
            break;
        }
        let how = input.byte();
        let bytes = input.chunk();
        let actor = &ACTORS[usize::from(how >> 4) % ACTORS.len()];
        let contents = match how & 3 {
            0 => bytes.to_vec(),
            _ => history.continued(actor, bytes),
        };
        let change = chunk(&contents, how & 4 != 0);
        note_input(2 * (contents.len() + change.len()));
        let _ = history.take(&change);
    }
    check(&history);
}

/// What holds of a document whatever changes it took.
fn check(history: &History) {
    let document = &history.document;
    drop(document.value().to_json().to_string());
    drop(document.missing());
    let saved = document.save();
    note_input(2 * saved.len());
    let loaded = Document::load(&saved, &ACTORS[2]).expect("a document that was saved cannot be loaded");
    assert_eq!(loaded.heads(), document.heads());
    assert_eq!(loaded.pending(), document.pending());
    assert!(same(&loaded.value(), &document.value()), "loaded it reads otherwise");
    // At once and backwards. What waited and was dropped before may fit here, so only whole histories are compared.
    if document.pending() == 0 {
        let mut backwards = Document::new(&ACTORS[2]);
        let mut changes = document.changes_since(&[]);
        changes.reverse();
        backwards.apply(&changes).expect("every one was taken before");
        assert_eq!(backwards.heads(), document.heads());
        assert!(
            same(&backwards.value(), &document.value()),
            "orders of changes differ in what they show"
        );
    }
    // Somebody goes on editing it.
    let mut edited = document.fork_as(&ACTORS[2]);
    let note = |edit: &mut rhizome::Edit<'_>| edit.set(&path(["note"]), Value::Int(1));
    let change = edited.edit::<(), DocumentError>(note);
    if let Ok(((), change)) = change {
        for change in &change {
            assert!(check_change(change, Limits::default()).is_ok());
        }
    }
    look_back(&loaded);
}

/// Its history is read, and goes back and forth, whatever it is.
fn look_back(document: &Document) {
    let text = path(["text"]);
    if let Some(spans) = document.spans(&text) {
        let letters: String = spans.iter().map(|span| span.text.as_str()).collect();
        assert_eq!(
            Some(letters),
            document.text(&text),
            "spans of other letters than the text"
        );
        let cursor = document.cursor(&text, 0, Lean::After).expect("a text has a beginning");
        assert_eq!(document.position(&text, &cursor), Some(0));
    }
    drop(document.blame(&text));
    let heads = document.heads();
    let changes = document.changes_since(&[]);
    let versions: Vec<_> = changes
        .iter()
        .filter_map(|change| inspect(change, Limits::default()).ok())
        .collect();
    for version in versions.iter().rev().take(3) {
        let shown = document.value_at(&[version.hash]).expect("a version of its own");
        drop(
            document
                .differences(&[version.hash], &heads)
                .expect("versions of its own"),
        );
        let mut back = document.fork_as(&ACTORS[2]);
        if let Ok(made) = back.restore(&version.hash) {
            // What is unlike itself (NaN), or lies too deep, or counts too far, may be left.
            drop(shown);
            assert!(
                made.iter()
                    .all(|change| check_change(change, Limits::default()).is_ok())
            );
        }
        let mut back = document.fork_as(&ACTORS[2]);
        if let Ok(Some(made)) = back.undo(&[version.hash]) {
            assert!(check_change(&made, Limits::default()).is_ok());
            let again = Document::load(&back.save(), &ACTORS[2]).expect("an undo that cannot be loaded");
            assert!(same(&again.value(), &back.value()), "loaded an undo reads otherwise");
        }
    }
}

/// A saved document. The views hold these sealed, so only this device's own bytes come here; still none may end the process.
pub fn saved(data: &[u8]) {
    let mut input = Input(data);
    let bytes = if input.byte() & 1 == 0 {
        input.0.to_vec()
    } else {
        // With a checksum that is right.
        let kind = input.byte() % 3;
        let mut body = vec![kind];
        body.extend(leb(input.0.len() as u64));
        body.extend_from_slice(input.0);
        let checksum: [u8; 32] = Sha256::digest(&body).into();
        [&MAGIC[..], &checksum[..4], &body].concat()
    };
    if let Ok(document) = Document::load(&bytes, &ACTORS[2]) {
        drop(document.value());
        drop(document.save());
    }
}

/// What a document shows, in the bytes of the views. Only this device's own come here too.
pub fn value(data: &[u8]) {
    if let Some(value) = Value::from_bytes(data) {
        let bytes = value.to_bytes();
        // A map that names a field twice keeps one.
        assert!(
            bytes.len() <= data.len(),
            "what was read is longer than what it was read from"
        );
        let again = Value::from_bytes(&bytes).expect("our own bytes");
        assert_eq!(again.to_bytes(), bytes, "a value that was read comes back as another");
    }
}

/// For seeds: a program of the document target with these tails, each of actor 0.
pub fn program(tails: &[Vec<u8>], how: u8) -> Vec<u8> {
    let mut out = Output::default().byte(0);
    for tail in tails {
        out = out.byte(how).chunk(tail);
    }
    out.0
}
