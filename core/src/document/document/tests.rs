use super::*;
use crate::document::Expand;
use automerge::{ExpandedChange, ObjType, ScalarValue};
use proptest::prelude::*;

type Outcome = Result<(), DocumentError>;

fn path(keys: &[&str]) -> Vec<Key> {
    keys.iter().map(|key| Key::from(*key)).collect()
}

fn edit(doc: &mut Document, work: impl FnOnce(&mut Edit<'_>) -> Outcome) -> Vec<Vec<u8>> {
    doc.edit(work).unwrap().1
}

fn refused(doc: &mut Document, work: impl FnOnce(&mut Edit<'_>) -> Outcome) -> DocumentError {
    let (saved, value) = (doc.save(), doc.value());
    let error = doc.edit(work).unwrap_err();
    assert_eq!((doc.save(), doc.value()), (saved, value));
    error
}

fn everything() -> Value {
    Value::Map(BTreeMap::from([
        ("null".into(), Value::Null),
        ("yes".into(), Value::Bool(true)),
        ("int".into(), Value::Int(i64::MIN)),
        ("float".into(), Value::Float(-0.5)),
        ("text".into(), Value::Text("Grüße 😀".into())),
        ("none".into(), Value::Text(String::new())),
        ("string".into(), Value::String("whole".into())),
        ("bytes".into(), Value::Bytes(vec![0, 255])),
        ("date".into(), Value::Date(-1)),
        ("count".into(), Value::Counter(5)),
        ("".into(), Value::Map(BTreeMap::new())),
        (
            "list".into(),
            Value::List(vec![
                Value::Int(1),
                Value::Text("in".into()),
                Value::List(vec![]),
                Value::Map(BTreeMap::from([("a".into(), Value::Null)])),
            ]),
        ),
    ]))
}

#[test]
fn every_kind_of_value_survives() {
    let mut doc = Document::new(&[1; 32]);
    let changes = edit(&mut doc, |e| e.set(&path(&["all"]), everything()));
    assert_eq!(changes.len(), 1);
    assert_eq!(doc.get(&path(&["all"])), Some(everything()));
    assert_eq!(
        doc.get(&[]),
        Some(Value::Map(BTreeMap::from([("all".into(), everything())])))
    );
    let mut other = Document::new(&[2; 32]);
    assert!(other.apply(&changes).unwrap().changed);
    assert_eq!(other.value(), doc.value());
    assert_eq!(other.heads(), doc.heads());
    let loaded = Document::load(&doc.save(), &[3; 32]).unwrap();
    assert_eq!(loaded.value(), doc.value());
    assert_eq!(doc.changes_since(&[]), changes);
    assert_eq!(doc.text(&path(&["all", "text"])).unwrap(), "Grüße 😀");
    assert_eq!(doc.text(&path(&["all", "count"])), None);
    assert_eq!(doc.get(&path(&["all", "no", "no"])), None);
    assert_eq!(
        doc.get(&["all".into(), "list".into(), 1.into()]),
        Some(Value::Text("in".into()))
    );
    assert_eq!(doc.get(&["all".into(), 1.into()]), None);
    let shown = format!("{doc:?} {:?}", Key::from("secret"));
    assert_eq!(shown, "Document { heads: 1, pending: 0 } Field(6 bytes)");
}

#[test]
fn one_change_per_edit() {
    let mut doc = Document::new(&[1; 32]);
    let changes = edit(&mut doc, |e| {
        e.set(&path(&["a", "b", "c"]), Value::Int(1))?;
        e.set(&path(&["list"]), Value::List(vec![]))?;
        for n in 0..300 {
            e.insert(&path(&["list"]), 0, Value::Int(n))?;
        }
        e.set_text(&path(&["texts", "note"]), "hello")?;
        e.splice_text(&path(&["texts", "note"]), 5, 0, " world")?;
        e.set(&path(&["n"]), Value::Counter(1))?;
        e.increment(&path(&["n"]), 4)?;
        e.delete(&["list".into(), 0.into()])
    });
    assert_eq!(changes.len(), 1);
    assert_eq!(doc.text(&path(&["texts", "note"])).unwrap(), "hello world");
    assert_eq!(doc.get(&path(&["n"])), Some(Value::Counter(5)));
    assert_eq!(doc.get(&["list".into(), 0.into()]), Some(Value::Int(298)));
    let info = inspect(&changes[0], Limits::default()).unwrap();
    assert_eq!((info.actor, info.sequence), (vec![1; 32], 1));
    assert_eq!((vec![info.hash], info.dependencies), (doc.heads(), vec![]));
    // Nothing new, no change.
    assert!(edit(&mut doc, |e| e.set(&path(&["a", "b", "c"]), Value::Int(1))).is_empty());
    assert!(edit(&mut doc, |e| e.set_text(&path(&["texts", "note"]), "hello world")).is_empty());
    assert!(edit(&mut doc, |_| Ok(())).is_empty());
    assert!(edit(&mut doc, |e| e.delete(&path(&["gone", "too"]))).is_empty());
    assert_eq!(doc.changes_since(&doc.heads()), Vec::<Vec<u8>>::new());
    let heads = doc.heads();
    let next = edit(&mut doc, |e| e.delete(&path(&["a"])));
    assert_eq!(inspect(&next[0], Limits::default()).unwrap().sequence, 2);
    assert_eq!(doc.changes_since(&heads), next);
}

#[test]
fn a_failed_edit_leaves_nothing() {
    #[derive(Debug, PartialEq)]
    enum Own {
        Mine,
        Document(DocumentError),
    }
    impl From<DocumentError> for Own {
        fn from(error: DocumentError) -> Self {
            Own::Document(error)
        }
    }
    for start in [false, true] {
        let mut doc = Document::new(&[1; 32]);
        if start {
            edit(&mut doc, |e| e.set(&path(&["all"]), everything()));
        }
        let saved = doc.save();
        let messy = |e: &mut Edit<'_>| {
            e.set(&path(&["all"]), everything())?;
            e.set_text(&path(&["all", "text"]), "other")?;
            e.insert(&path(&["all", "list"]), 1, Value::Null)?;
            e.delete(&["all".into(), "list".into(), 0.into()])?;
            e.increment(&path(&["all", "count"]), 3)
        };
        let result = doc.edit(|e| {
            messy(e)?;
            Err::<(), _>(Own::Mine)
        });
        assert_eq!(result, Err(Own::Mine));
        assert_eq!(doc.save(), saved);
        let result = doc.edit(|e| -> Result<(), Own> {
            messy(e)?;
            Ok(e.delete(&[])?)
        });
        assert_eq!(result, Err(Own::Document(DocumentError::EmptyPath)));
        assert_eq!(doc.save(), saved);
        let panicked = guard(|| {
            doc.edit(|e| -> Result<(), Own> {
                messy(e)?;
                panic!("by the application")
            })
        });
        assert!(panicked.is_none());
        assert_eq!(doc.save(), saved);
        // And it goes on as if nothing had been.
        let mut twin = Document::load(&saved, &[1; 32]).unwrap();
        assert_eq!(edit(&mut doc, |e| messy(e)), edit(&mut twin, |e| messy(e)));
        assert_eq!(doc.value(), twin.value());
    }
}

#[test]
fn errors_name_the_step() {
    use DocumentError as E;
    let mut doc = Document::new(&[1; 32]);
    edit(&mut doc, |e| {
        e.set(&path(&["a", "n"]), Value::Int(1))?;
        e.set(&path(&["l"]), Value::List(vec![Value::Null]))?;
        e.set_text(&path(&["t"]), "text")
    });
    let (l, t) = (path(&["l"]), path(&["t"]));
    let null = || Value::Null;
    let doc = &mut doc;
    assert_eq!(refused(doc, |e| e.set(&[], null())), E::EmptyPath);
    assert_eq!(
        refused(doc, |e| e.set(&path(&["a", "n", "x", "y"]), null())),
        E::WrongType { step: 1 }
    );
    assert_eq!(refused(doc, |e| e.set(&[0.into()], null())), E::WrongType { step: 0 });
    assert_eq!(
        refused(doc, |e| e.set(&path(&["l", "x"]), null())),
        E::WrongType { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.set(&path(&["t", "x"]), null())),
        E::WrongType { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.set(&["l".into(), 1.into()], null())),
        E::OutOfRange { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.set(&["l".into(), 1.into(), "x".into()], null())),
        E::OutOfRange { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.set(&["x".into(), 0.into()], null())),
        E::NotFound { step: 0 }
    );
    assert_eq!(
        refused(doc, |e| e.set(&["a".into(), "x".into(), 0.into(), "y".into()], null())),
        E::NotFound { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.delete(&["l".into(), 5.into()])),
        E::OutOfRange { step: 1 }
    );
    assert_eq!(refused(doc, |e| e.insert(&l, 2, null())), E::OutOfRange { step: 1 });
    assert_eq!(refused(doc, |e| e.insert(&t, 0, null())), E::WrongType { step: 0 });
    assert_eq!(
        refused(doc, |e| e.insert(&path(&["x"]), 0, null())),
        E::NotFound { step: 0 }
    );
    assert_eq!(refused(doc, |e| e.splice_text(&t, 3, 2, "")), E::OutOfRange { step: 1 });
    assert_eq!(
        refused(doc, |e| e.splice_text(&t, 3, usize::MAX, "")),
        E::OutOfRange { step: 1 }
    );
    assert_eq!(refused(doc, |e| e.splice_text(&l, 0, 0, "x")), E::WrongType { step: 0 });
    assert_eq!(
        refused(doc, |e| e.set_text(&path(&["a", "n"]), "x")),
        E::WrongType { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.increment(&path(&["a", "n"]), 1)),
        E::WrongType { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.increment(&path(&["a", "x"]), 1)),
        E::NotFound { step: 1 }
    );
    assert_eq!(
        refused(doc, |e| e.increment(&path(&["a", "n"]), i64::MIN)),
        E::CounterRange
    );
    assert_eq!(
        refused(doc, |e| e.set(&l, Value::List(vec![Value::Counter(i64::MAX)]))),
        E::CounterRange
    );
    let mut tower = Value::Null;
    for _ in 0..MAX_DEPTH {
        tower = Value::List(vec![tower]);
    }
    assert_eq!(refused(doc, |e| e.set(&l, tower.clone())), E::TooDeep);
    let Value::List(mut tower) = tower else {
        unreachable!("a list was made")
    };
    let Some(Value::List(mut tower)) = tower.pop() else {
        unreachable!("a list was made")
    };
    let tower = tower.pop().unwrap();
    edit(doc, |e| e.set(&l, tower.clone()));
    assert_eq!(doc.get(&l), Some(tower));
    let error = format!("{}", E::WrongType { step: 1 });
    assert_eq!(error, "step 1 of the path leads to a value of another type");
}

#[test]
fn an_edit_too_large_for_peers_is_taken_back() {
    let mut doc = Document::new(&[1; 32]);
    let large = Value::Bytes(vec![7; 9 << 20]);
    assert_eq!(
        refused(&mut doc, |e| e.set(&path(&["x"]), large.clone())),
        DocumentError::TooLarge
    );
    let first = edit(&mut doc, |e| e.set(&path(&["a"]), Value::Int(1)));
    let heads = doc.heads();
    let result = doc.edit(|e| e.set(&path(&["x"]), large));
    assert_eq!(result, Err(DocumentError::TooLarge));
    assert_eq!(doc.heads(), heads);
    let second = edit(&mut doc, |e| e.set(&path(&["b"]), Value::Int(2)));
    assert_eq!(inspect(&second[0], Limits::default()).unwrap().sequence, 2);
    let mut other = Document::new(&[2; 32]);
    other.apply(&[second, first].concat()).unwrap();
    assert_eq!(other.value(), doc.value());
}

#[test]
fn concurrent_texts_merge() {
    let mut a = Document::new(&[1; 32]);
    let note = path(&["note"]);
    let start = edit(&mut a, |e| e.set_text(&note, "The quick fox"));
    let mut b = Document::new(&[2; 32]);
    b.apply(&start).unwrap();
    let left = edit(&mut a, |e| e.set_text(&note, "The quick brown fox"));
    let right = edit(&mut b, |e| e.set_text(&note, "The quick fox jumps"));
    a.apply(&right).unwrap();
    b.apply(&left).unwrap();
    assert_eq!(a.text(&note).unwrap(), "The quick brown fox jumps");
    assert_eq!(a.value(), b.value());
}

#[test]
fn a_large_text_replaced_does_not_take_long() {
    let mut doc = Document::new(&[1; 32]);
    let note = path(&["note"]);
    let one: String = (0..50_000_u32).filter_map(|n| char::from_u32(0x61 + n % 7)).collect();
    let two: String = (0..50_000_u32).filter_map(|n| char::from_u32(0x41 + n % 11)).collect();
    edit(&mut doc, |e| e.set_text(&note, &format!("start {one} end")));
    let begun = std::time::Instant::now();
    edit(&mut doc, |e| e.set_text(&note, &format!("start {two} end")));
    assert_eq!(doc.text(&note).unwrap(), format!("start {two} end"));
    edit(&mut doc, |e| e.set_text(&note, &format!("start {two} more, the end")));
    assert!(doc.text(&note).unwrap().ends_with("more, the end"));
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn scattered_edits_of_a_large_text_stay_small() {
    let mut doc = Document::new(&[1; 32]);
    let note = path(&["note"]);
    let mut text: Vec<char> = (0..100_000_u32)
        .filter_map(|n| char::from_u32(0x61 + (n * 7 + n / 13) % 26))
        .collect();
    edit(&mut doc, |e| e.set_text(&note, &text.iter().collect::<String>()));
    for place in 0..200 {
        text[place * 487] = '.';
    }
    let text: String = text.iter().collect();
    let change = edit(&mut doc, |e| e.set_text(&note, &text)).remove(0);
    assert_eq!(doc.text(&note).unwrap(), text);
    assert_eq!(Change::from_bytes(change).unwrap().len(), 400);
}

#[test]
fn changes_out_of_order_wait_and_are_saved() {
    let mut a = Document::new(&[1; 32]);
    let mut changes = Vec::new();
    for n in 0..4 {
        changes.extend(edit(&mut a, |e| e.set(&path(&["n"]), Value::Int(n))));
    }
    let mut b = Document::new(&[2; 32]);
    let late: Vec<_> = [&changes[2], &changes[3], &changes[3]].map(Clone::clone).to_vec();
    let applied = b.apply(&late).unwrap();
    assert_eq!((applied.changed, applied.pending), (false, 2));
    assert_eq!(b.missing(), vec![inspect(&changes[1], Limits::default()).unwrap().hash]);
    assert!(b.heads().is_empty());
    edit(&mut b, |e| e.set(&path(&["own"]), Value::Null));
    let mut b = Document::load(&b.save(), &[2; 32]).unwrap();
    assert_eq!(b.pending(), 2);
    assert!(b.apply(&changes[..1]).unwrap().changed);
    let applied = b.apply(&changes[1..2]).unwrap();
    assert_eq!((applied.added, applied.pending), (3, 0));
    assert!(!b.apply(&changes).unwrap().changed);
    assert_eq!(b.get(&path(&["n"])), Some(Value::Int(3)));
    assert!(b.missing().is_empty());
    assert_eq!(Document::load(&b.save(), &[3; 32]).unwrap().value(), b.value());
    let empty = Document::new(&[4; 32]).save();
    assert_eq!(
        Document::load(&empty, &[4; 32]).unwrap().heads(),
        Vec::<[u8; 32]>::new()
    );
    for end in [0, 5, empty.len() - 1] {
        assert!(Document::load(&empty[..end], &[4; 32]).is_err());
    }
}

#[test]
fn two_changes_of_one_number_are_refused() {
    let mut a = Document::new(&[1; 32]);
    let mut twin = a.clone();
    let first = edit(&mut a, |e| e.set(&path(&["x"]), Value::Int(1)));
    let second = edit(&mut a, |e| e.set(&path(&["x"]), Value::Int(2)));
    let other = edit(&mut twin, |e| e.set(&path(&["x"]), Value::Int(3)));
    let fork = |index| Err(DocumentError::Fork { index });
    let mut b = Document::new(&[2; 32]);
    assert_eq!(b.apply(&[first.clone(), other.clone()].concat()), fork(1));
    assert!(b.heads().is_empty());
    b.apply(&first).unwrap();
    assert_eq!(b.apply(&[second.clone(), other.clone()].concat()), fork(1));
    assert_eq!(b.get(&path(&["x"])), Some(Value::Int(1)));
    b.apply(&second).unwrap();
    assert_eq!(b.apply(&other), fork(0));
    assert_eq!(b.get(&path(&["x"])), Some(Value::Int(2)));
    // Also against one that waits.
    let after = edit(&mut twin, |e| e.set(&path(&["x"]), Value::Int(4)));
    let mut c = Document::new(&[3; 32]);
    c.apply(&second).unwrap();
    assert_eq!(c.apply(&after), fork(0));
    // One that waited and turns out to be a fork is dropped.
    let mut d = Document::new(&[4; 32]);
    d.apply(&after).unwrap();
    let applied = d.apply(&first).unwrap();
    assert_eq!((applied.added, applied.pending), (1, 1));
    assert_eq!(d.apply(&other), fork(0));
    assert_eq!(a.apply(&other), fork(0));
}

#[test]
fn damaged_changes_are_refused() {
    let mut a = Document::new(&[1; 32]);
    let change = edit(&mut a, |e| e.set(&path(&["x"]), Value::from("value"))).remove(0);
    let mut b = Document::new(&[2; 32]);
    for place in 0..change.len() {
        let mut bad = change.clone();
        bad[place] ^= 1;
        assert!(b.apply(&[bad]).is_err(), "byte {place}");
    }
    assert_eq!(
        b.apply(&[change.clone(), vec![]]),
        Err(DocumentError::Chunk {
            index: 1,
            error: ChunkError::Truncated
        })
    );
    assert_eq!(
        b.apply(&[a.save()]),
        Err(DocumentError::Chunk {
            index: 0,
            error: ChunkError::Kind(0)
        })
    );
    assert!(b.heads().is_empty());
    b.apply(&[change]).unwrap();
}

#[test]
fn documents_with_the_same_start_share_their_texts() {
    let fields = BTreeMap::from([
        ("note".to_owned(), Value::Text(String::new())),
        ("tags".to_owned(), Value::List(vec![])),
    ]);
    let (mut a, start) = Document::with_initial(&[1; 32], &fields).unwrap();
    let (mut b, again) = Document::with_initial(&[2; 32], &fields).unwrap();
    assert_eq!(start, again);
    let note = path(&["note"]);
    let left = edit(&mut a, |e| e.set_text(&note, "one "));
    let right = edit(&mut b, |e| e.set_text(&note, "two "));
    a.apply(&[again, right].concat()).unwrap();
    b.apply(&left).unwrap();
    assert_eq!(a.value(), b.value());
    let text = a.text(&note).unwrap();
    assert!(text.contains("one ") && text.contains("two "));
    let mut c = Document::new(&[3; 32]);
    c.apply(&[left, start].concat()).unwrap();
    assert_eq!(c.text(&note).unwrap(), "one ");
    let (d, none) = Document::with_initial(&[1; 32], &BTreeMap::new()).unwrap();
    assert!(none.is_empty() && d.heads().is_empty());
}

#[test]
fn a_tower_of_objects_is_no_danger() {
    let mut hostile = Automerge::new();
    let mut tx = hostile.transaction();
    let mut at = ROOT;
    for _ in 0..20_000 {
        at = tx.put_object(&at, "x", ObjType::Map).unwrap();
    }
    tx.commit();
    let change = hostile.get_last_local_change().unwrap();
    let mut doc = Document::new(&[1; 32]);
    doc.apply(&[change.raw_bytes().to_vec()]).unwrap();
    assert_eq!(doc.value().depth(1000), MAX_DEPTH + 1);
    edit(&mut doc, |e| e.set(&path(&["y"]), Value::Null));
    let loaded = Document::load(&doc.save(), &[1; 32]).unwrap();
    assert_eq!(loaded.value(), doc.value());
    assert_eq!(doc.get(&vec![Key::from("x"); 1000]), None);
}

/// Applied or refused, a hostile change must leave a document that reads,
/// edits, saves and loads.
fn withstands(doc: &Document, hostile: Vec<Vec<u8>>) -> bool {
    let mut doc = doc.clone();
    let before = (doc.save(), doc.value());
    let taken = doc.apply(&hostile);
    if taken.is_err() {
        assert_eq!((doc.save(), doc.value()), before);
    }
    edit(&mut doc, |e| e.set(&path(&["after"]), Value::Int(1)));
    let loaded = Document::load(&doc.save(), &[9; 32]).unwrap();
    assert_eq!(loaded.value(), doc.value());
    assert_eq!(loaded.heads(), doc.heads());
    taken.is_ok_and(|applied| applied.changed)
}

/// A document by two authors, and its last change by one of them, which
/// builds on the rest.
fn victim() -> (Document, ExpandedChange) {
    let mut a = Document::new(&[1; 32]);
    let start = edit(&mut a, |e| e.set(&path(&["all"]), everything()));
    let mut b = Document::new(&[2; 32]);
    b.apply(&start).unwrap();
    let (note, list) = (path(&["all", "text"]), path(&["all", "list"]));
    let more = edit(&mut b, |e| {
        e.splice_text(&note, 2, 2, "abc")?;
        e.insert(&list, 1, Value::from("new"))?;
        e.mark(&note, 0..4, "bold", &Value::Bool(true), Expand::After)?;
        e.increment(&path(&["all", "count"]), 2)
    });
    a.apply(&more).unwrap();
    let mut c = a.fork_as(&[3; 32]);
    let last = edit(&mut c, |e| {
        e.splice_text(&note, 3, 1, "x")?;
        e.mark(&note, 2..6, "link", &Value::from("there"), Expand::None)?;
        e.unmark(&note, 1..3, "bold", Expand::Both)?;
        e.insert(&list, 0, Value::Null)?;
        e.delete(&["all".into(), "list".into(), 2.into()])?;
        e.increment(&path(&["all", "count"]), 1)?;
        e.set(&path(&["all", "made"]), Value::List(vec![Value::from(true)]))?;
        e.set(&path(&["all", "string"]), Value::from("later"))
    });
    let change = Change::from_bytes(last[0].clone()).unwrap();
    (a, ExpandedChange::from(&change))
}

fn bytes_of(change: ExpandedChange) -> Option<Vec<u8>> {
    guard(|| Change::from(change).raw_bytes().to_vec())
}

#[test]
fn a_text_that_compresses_like_a_bomb_is_sent_as_it_is() {
    let mut doc = Document::new(&[1; 32]);
    let dull = "-".repeat(80_000);
    let changes = edit(&mut doc, |e| e.set_text(&path(&["t"]), &dull));
    let mut other = Document::new(&[2; 32]);
    other.apply(&changes).unwrap();
    assert_eq!(other.text(&path(&["t"])), Some(dull));
    let mut third = Document::new(&[3; 32]);
    third.apply(&doc.changes_since(&[])).unwrap();
    assert_eq!(third.value(), doc.value());
    // What compresses as text does is compressed.
    let text: String = (0..8_000_u32)
        .map(|n| format!("{} ", n.wrapping_mul(2_654_435_761)))
        .collect();
    let changes = edit(&mut doc, |e| e.set_text(&path(&["u"]), &text));
    assert!(changes[0].len() < text.len());
}

#[test]
fn a_change_that_jumps_ahead_is_refused() {
    let (doc, last) = victim();
    assert!(withstands(&doc, vec![bytes_of(last.clone()).unwrap()]));
    for jump in [1_u64, 1000, 4_000_000_000] {
        let mut hostile = last.clone();
        hostile.start_op = hostile.start_op.saturating_add(jump);
        assert!(!withstands(&doc, vec![bytes_of(hostile).unwrap()]));
    }
    for sequence in [2, 3, 1000] {
        let mut hostile = last.clone();
        hostile.seq = sequence;
        assert!(!withstands(&doc, vec![bytes_of(hostile).unwrap()]));
    }
    let mut hostile = last;
    hostile.deps.clear();
    assert!(!withstands(&doc, vec![bytes_of(hostile).unwrap()]));
}

/// The end of a mark before its beginning; and a beginning and an end in two texts, and in a list.
#[test]
fn a_mark_that_would_spoil_the_document_is_refused() {
    use automerge::legacy::{ElementId, Key, ObjectId, OpType};
    let (doc, last) = victim();
    assert!(withstands(&doc, vec![bytes_of(last.clone()).unwrap()]));
    let end = last
        .operations
        .iter()
        .position(|op| matches!(op.action, OpType::MarkEnd(_)))
        .unwrap();
    let list = last
        .operations
        .iter()
        .find(|op| op.insert && op.obj != last.operations[end].obj)
        .unwrap();
    let list = list.obj.clone();
    type Break = Box<dyn Fn(&mut ExpandedChange)>;
    let breaks: [Break; 4] = [
        Box::new(move |change| change.operations[end].key = Key::Seq(ElementId::Head)),
        Box::new({
            let list = list.clone();
            move |change| {
                change.operations[end].obj = list.clone();
                change.operations[end].key = Key::Seq(ElementId::Head);
            }
        }),
        Box::new(move |change| {
            for op in &mut change.operations[end - 1..=end] {
                op.obj = list.clone();
                op.key = Key::Seq(ElementId::Head);
            }
        }),
        Box::new(move |change| {
            for op in &mut change.operations[end - 1..=end] {
                op.obj = ObjectId::Root;
            }
        }),
    ];
    for (number, broken) in breaks.iter().enumerate() {
        let mut hostile = last.clone();
        broken(&mut hostile);
        let bytes = bytes_of(hostile).unwrap();
        assert_eq!(check_change(&bytes, Limits::default()), Ok(()), "{number}");
        assert!(!withstands(&doc, vec![bytes.clone()]), "{number}");
        // Beside a good one, which it does not take along.
        let mut both = doc.fork_as(&[8; 32]);
        let good = edit(&mut both, |e| e.set(&path(&["good"]), Value::Int(1)));
        let mut ours = doc.clone();
        assert_eq!(
            ours.apply(&[good[0].clone(), bytes]),
            Err(DocumentError::Rejected { index: 1 })
        );
        ours.apply(&good).unwrap();
    }
}

/// How one operation of a change is made hostile.
fn twisted(change: &mut ExpandedChange, which: usize, how: u8, counter: u64, actor: u8, value: i64) {
    use automerge::legacy::{ElementId, Key, ObjectId, OpId, OpType};
    let count = change.operations.len();
    let op = &mut change.operations[which % count];
    let id = OpId::new(counter, &ActorId::from([actor; 32]));
    match how {
        0 => op.obj = ObjectId::Id(id),
        1 => op.obj = ObjectId::Root,
        2 => op.key = Key::Seq(ElementId::Id(id)),
        3 => op.key = Key::Seq(ElementId::Head),
        4 => op.key = Key::Map("key".into()),
        5 => op.pred = vec![id].into(),
        6 => op.pred = Vec::<OpId>::new().into(),
        7 => op.insert = !op.insert,
        8 => op.action = OpType::Delete,
        9 => op.action = OpType::Increment(value),
        10 => op.action = OpType::Make(ObjType::Text),
        11 => op.action = OpType::Make(ObjType::Table),
        12 => op.action = OpType::Put(ScalarValue::counter(value)),
        13 => op.action = OpType::Put(ScalarValue::Uint(value as u64)),
        14 => op.action = OpType::MarkEnd(true),
        19 => {
            // A mark elsewhere: its end may come to stand before its beginning, or in another object.
            let Some(end) = change
                .operations
                .iter()
                .position(|op| matches!(op.action, OpType::MarkEnd(_)))
            else {
                return;
            };
            let other = match value & 7 {
                0 => Key::Seq(ElementId::Head),
                1 => Key::Map("key".into()),
                _ => Key::Seq(ElementId::Id(id.clone())),
            };
            // The twist before may have swapped the end to the front.
            let before = end.saturating_sub(1);
            let place = if value & 8 > 0 { before } else { end };
            change.operations[place].key = other;
            if value & 16 > 0 {
                change.operations[before].obj = ObjectId::Id(id.clone());
                change.operations[end].obj = ObjectId::Id(id);
            }
        }
        15 => {
            let again = op.clone();
            change.operations.push(again);
        }
        16 => drop(change.operations.remove(which % count)),
        17 => op.action = OpType::Make(ObjType::Map),
        18 => {
            let pred: Vec<OpId> = op.pred.iter().cloned().chain([id]).collect();
            op.pred = pred.into();
        }
        _ => change.operations.swap(which % count, counter as usize % count),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 6000 }))]

    #[test]
    fn hostile_changes_never_spoil_a_document(
        twists in proptest::collection::vec(
            (any::<usize>(), 0..21_u8, 0..60_u64, 1..5_u8, any::<i64>()),
            1..4,
        )
    ) {
        let (doc, mut change) = victim();
        for (which, how, counter, actor, value) in twists {
            if !change.operations.is_empty() {
                twisted(&mut change, which, how, counter, actor, value);
            }
        }
        if let Some(bytes) = bytes_of(change) {
            withstands(&doc, vec![bytes]);
        }
    }
}

/// Why [`Document::apply`] compares what Automerge holds with what it was
/// given. Should this test fail with a later Automerge, less may do.
#[test]
fn automerge_alone_can_be_spoilt() {
    let (doc, good) = victim();
    let (mut taken, mut panicked, mut lost) = (0, 0, 0);
    for how in 0..21 {
        for (which, counter) in (0..6).flat_map(|w| [(w, 3), (w, 25), (w, 59)]) {
            let mut change = good.clone();
            twisted(&mut change, which, how, counter, 2, 5);
            let Some(bytes) = bytes_of(change) else {
                continue;
            };
            let spoilt = guard(|| {
                let mut bare = doc.doc.clone();
                let change = Change::from_bytes(bytes.clone()).ok()?;
                bare.apply_changes([change]).ok()?;
                Some(bare.save())
            });
            let mut ours = doc.clone();
            let accepted = ours.apply(std::slice::from_ref(&bytes)).is_ok();
            match spoilt {
                None => panicked += 1,
                Some(Some(saved)) => {
                    let loads = guard(|| Automerge::load(&saved).is_ok()).unwrap_or(false);
                    lost += usize::from(!loads);
                    assert!(loads || !accepted);
                }
                Some(None) => {}
            }
            taken += usize::from(accepted);
        }
    }
    println!("taken {taken}; Automerge alone: {panicked} panics, {lost} saved and lost");
    assert!(taken > 0 && panicked > 0 && lost > 0);
}

#[derive(Clone, Debug)]
enum Act {
    Set(u8, i64),
    Text(u8, u8, String),
    Rewrite(String),
    Insert(u8, i64),
    Replace(u8),
    Delete(u8),
    Count(i8),
    Nest(u8),
    Fail,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..3_u8, any::<i64>()).prop_map(|(k, v)| Act::Set(k, v)),
        (any::<u8>(), 0..3_u8, "[a-zü😀]{0,4}").prop_map(|(a, d, t)| Act::Text(a, d, t)),
        "[a-c ]{0,8}".prop_map(Act::Rewrite),
        (any::<u8>(), any::<i64>()).prop_map(|(a, v)| Act::Insert(a, v)),
        any::<u8>().prop_map(Act::Replace),
        any::<u8>().prop_map(Act::Delete),
        any::<i8>().prop_map(Act::Count),
        (0..3_u8).prop_map(Act::Nest),
        Just(Act::Fail),
    ]
}

fn perform(e: &mut Edit<'_>, act: &Act) -> Outcome {
    let (text, list) = (path(&["text"]), path(&["list"]));
    let length = match e.get(&list) {
        Some(Value::List(values)) => values.len(),
        _ => 0,
    };
    let at = |place: &u8| -> Vec<Key> { vec!["list".into(), (usize::from(*place) % length.max(1)).into()] };
    match act {
        Act::Set(key, value) => e.set(&path(&["map", &key.to_string()]), Value::Int(*value)),
        Act::Text(place, delete, insert) => {
            let Some(Value::Text(now)) = e.get(&text) else {
                return e.set_text(&text, insert);
            };
            let length = now.chars().count();
            let place = usize::from(*place) % (length + 1);
            let delete = usize::from(*delete).min(length - place);
            e.splice_text(&text, place, delete, insert)
        }
        Act::Rewrite(to) => e.set_text(&text, to),
        Act::Insert(place, value) => e.insert(&list, usize::from(*place) % (length + 1), Value::Int(*value)),
        Act::Replace(place) if length > 0 => e.set(&at(place), everything()),
        Act::Delete(place) if length > 0 => e.delete(&at(place)),
        Act::Replace(_) | Act::Delete(_) => Ok(()),
        Act::Count(by) => e.increment(&path(&["count"]), i64::from(*by)),
        Act::Nest(key) => {
            let key = key.to_string();
            match e.get(&path(&["map", &key])) {
                Some(Value::Int(_)) => e.delete(&path(&["map", &key])),
                _ => e.set(&path(&["map", &key, "in"]), Value::from("side")),
            }
        }
        Act::Fail => Err(DocumentError::Failed),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 60 } else { 500 }))]

    #[test]
    fn replicas_converge(
        steps in proptest::collection::vec(
            (0..3_usize, proptest::collection::vec(act(), 1..5), any::<u64>()),
            1..25,
        ),
        order in any::<u64>(),
    ) {
        let fields = BTreeMap::from([
            ("text".to_owned(), Value::Text("start".into())),
            ("list".to_owned(), Value::List(vec![Value::Int(0)])),
            ("count".to_owned(), Value::Counter(0)),
        ]);
        let mut docs: Vec<Document> = (1..4)
            .map(|n| Document::with_initial(&[n; 32], &fields).unwrap().0)
            .collect();
        let mut all: Vec<Vec<u8>> = Vec::new();
        for (who, acts, luck) in steps {
            let before = docs[who].value();
            let made = docs[who].edit(|e| acts.iter().try_for_each(|act| perform(e, act)));
            match made {
                Ok(((), changes)) => {
                    prop_assert!(changes.len() <= 1);
                    for change in &changes {
                        prop_assert_eq!(check_change(change, Limits::default()), Ok(()));
                    }
                    all.extend(changes);
                }
                Err(_) => prop_assert_eq!(docs[who].value(), before),
            }
            // Something arrives somewhere, perhaps too early, perhaps again.
            if let Some(change) = all.get(luck as usize % (all.len() + 1)) {
                docs[luck as usize / 64 % 3].apply(std::slice::from_ref(change)).unwrap();
            }
        }
        for (n, doc) in docs.iter_mut().enumerate() {
            let mut mixed = [all.clone(), all.clone()].concat();
            let mut luck = order ^ n as u64;
            for i in (1..mixed.len()).rev() {
                luck = luck.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                mixed.swap(i, (luck >> 33) as usize % (i + 1));
            }
            for part in mixed.chunks(3) {
                doc.apply(part).unwrap();
            }
            if n == 1 {
                *doc = Document::load(&doc.save(), &[2; 32]).unwrap();
            }
            prop_assert_eq!(doc.pending(), 0);
        }
        prop_assert_eq!(docs[0].value(), docs[1].value());
        prop_assert_eq!(docs[0].value(), docs[2].value());
        prop_assert_eq!(docs[0].heads(), docs[1].heads());
        prop_assert_eq!(docs[0].heads(), docs[2].heads());
    }
}
