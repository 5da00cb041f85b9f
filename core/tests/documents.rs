//! Documents edited by several devices: marks, cursors, conflicts, history, undo. What two devices show after they have everything is one
//! thing, whatever came when; what a device saw is what its version says for ever; and nobody takes back what another wrote.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rhizome::{
    Document, DocumentError, Edit, Key, Value,
    document::{ChangeId, ChangeKind, Changed, Cursor, Expand, Lean, Span, TextPiece, inspect},
    path,
};

type Outcome = Result<(), DocumentError>;

fn edit(document: &mut Document, work: impl FnOnce(&mut Edit<'_>) -> Outcome) -> Vec<Vec<u8>> {
    document.edit(work).expect("the edit is right").1
}

fn hash(changes: &[Vec<u8>]) -> ChangeId {
    inspect(&changes[0], Default::default()).expect("our own").hash
}

fn span(text: &str, marks: &[(&str, Value)]) -> Span {
    Span {
        text: text.to_owned(),
        marks: marks
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
    }
}

fn text_of(document: &Document) -> String {
    document.text(&path(["text"])).unwrap_or_default()
}

/// A document with a text that `first` wrote, and the same for `second`.
fn two(text: &str) -> (Document, Document, Vec<Vec<u8>>) {
    let mut first = Document::new(&[1; 32]);
    let changes = edit(&mut first, |edit| edit.set_text(&path(["text"]), text));
    let second = first.fork_as(&[2; 32]);
    (first, second, changes)
}

#[test]
fn marks_are_read_in_pieces_and_merge() {
    let (mut first, mut second, _) = two("one 😀 two three");
    let text = path(["text"]);
    // The face is one character, and two units.
    let bold = edit(&mut first, |edit| {
        edit.mark(&text, 4..10, "bold", &Value::Bool(true), Expand::After)
    });
    let link = Value::from("https://example.org/");
    let linked = edit(&mut second, |edit| edit.mark(&text, 7..10, "link", &link, Expand::None));
    first.apply(&linked).expect("a mark");
    second.apply(&bold).expect("a mark");
    let yes = || Value::Bool(true);
    let wanted = vec![
        span("one ", &[]),
        span("😀 ", &[("bold", yes())]),
        span("two", &[("bold", yes()), ("link", link.clone())]),
        span(" three", &[]),
    ];
    assert_eq!(first.spans(&text), Some(wanted.clone()));
    assert_eq!(second.spans(&text), Some(wanted.clone()));
    let loaded = Document::load(&first.save(), &[3; 32]).expect("saved");
    assert_eq!(loaded.spans(&text), Some(wanted));
    // At the end of both: bold goes on, the link does not.
    edit(&mut first, |edit| edit.splice_text(&text, 10, 0, "!"));
    assert_eq!(first.spans(&text).expect("a text")[3], span("!", &[("bold", yes())]));
    edit(&mut first, |edit| edit.unmark(&text, 0..17, "bold", Expand::After));
    let plain = first.spans(&text).expect("a text");
    assert_eq!(
        plain,
        [
            span("one 😀 ", &[]),
            span("two", &[("link", link)]),
            span("! three", &[])
        ]
    );
    assert_eq!(first.spans(&path(["nothing"])), None);
    assert!(!format!("{plain:?}").contains("one"));
}

#[test]
fn a_mark_that_cannot_be_is_refused() {
    let (mut first, _, _) = two("letters");
    let text = path(["text"]);
    let mut refuse = |work: &dyn Fn(&mut Edit<'_>) -> Outcome| {
        let before = first.save();
        let error = first.edit(|edit| work(edit)).expect_err("it cannot be");
        assert_eq!(first.save(), before);
        error
    };
    let yes = Value::Bool(true);
    let out = DocumentError::OutOfRange { step: 1 };
    assert_eq!(refuse(&|edit| edit.mark(&text, 3..8, "b", &yes, Expand::None)), out);
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 5..3;
    assert_eq!(
        refuse(&|edit| edit.mark(&text, reversed.clone(), "b", &yes, Expand::None)),
        out
    );
    let wrong = DocumentError::WrongType { step: 1 };
    assert_eq!(refuse(&|edit| edit.mark(&text, 0..1, "", &yes, Expand::None)), wrong);
    assert_eq!(
        refuse(&|edit| edit.mark(&text, 0..1, &"n".repeat(257), &yes, Expand::None)),
        wrong
    );
    for value in [
        Value::Null,
        Value::Counter(1),
        Value::Text("t".into()),
        Value::List(Vec::new()),
    ] {
        assert_eq!(refuse(&|edit| edit.mark(&text, 0..1, "b", &value, Expand::None)), wrong);
    }
    assert_eq!(
        refuse(&|edit| edit.mark(&path(["none"]), 0..1, "b", &yes, Expand::None)),
        DocumentError::NotFound { step: 0 }
    );
    // Over nothing: nothing.
    assert!(edit(&mut first, |edit| edit.mark(&text, 3..3, "b", &yes, Expand::Both)).is_empty());
}

#[test]
fn half_a_character_is_out_of_range() {
    let (mut first, _, _) = two("a😀😀b");
    let text = path(["text"]);
    let yes = Value::Bool(true);
    let out = DocumentError::OutOfRange { step: 1 };
    for half in [2, 4] {
        for (at, delete) in [(half, 0), (half, 1), (half - 1, 1), (0, half)] {
            let error = first.edit::<(), _>(|edit| edit.splice_text(&text, at, delete, "x"));
            assert_eq!(error.expect_err("half a face"), out, "{delete} from {at} on");
        }
        for range in [half..6, 0..half] {
            let error = first.edit::<(), _>(|edit| edit.mark(&text, range, "b", &yes, Expand::None));
            assert_eq!(error.expect_err("half a face"), out);
        }
        assert_eq!(first.cursor(&text, half, Lean::Before), Err(out));
        assert_eq!(first.cursor(&text, half, Lean::After), Err(out));
    }
    edit(&mut first, |edit| edit.splice_text(&text, 3, 2, "😀é"));
    assert_eq!(text_of(&first), "a😀😀éb");
    edit(&mut first, |edit| edit.splice_text(&text, 1, 4, ""));
    assert_eq!(text_of(&first), "aéb");
}

#[test]
fn a_cursor_stays_where_it_is() {
    let (mut first, mut second, _) = two("ab😀cd");
    let text = path(["text"]);
    let units = |document: &Document, cursor: &Cursor| document.position(&text, cursor);
    // Between the face and the c: unit 4.
    let left = first.cursor(&text, 4, Lean::Before).expect("a place");
    let right = first.cursor(&text, 4, Lean::After).expect("a place");
    let start = first.cursor(&text, 0, Lean::Before).expect("a place");
    let end = first.cursor(&text, 6, Lean::After).expect("a place");
    assert_eq!(
        first.cursor(&text, 3, Lean::Before),
        Err(DocumentError::OutOfRange { step: 1 })
    );
    assert_eq!(
        first.cursor(&text, 7, Lean::Before),
        Err(DocumentError::OutOfRange { step: 1 })
    );
    for cursor in [&left, &right, &start, &end] {
        assert_eq!(cursor.to_string().parse::<Cursor>().as_ref(), Ok(cursor));
    }
    let theirs = edit(&mut second, |edit| edit.splice_text(&text, 4, 0, "XY"));
    first.apply(&theirs).expect("an edit");
    let more = edit(&mut second, |edit| edit.splice_text(&text, 0, 0, ">"));
    first.apply(&more).expect("an edit");
    assert_eq!(text_of(&first), ">ab😀XYcd");
    assert_eq!((units(&first, &left), units(&first, &right)), (Some(5), Some(7)));
    assert_eq!((units(&first, &start), units(&first, &end)), (Some(0), Some(9)));
    // The same on the other device.
    assert_eq!((units(&second, &left), units(&second, &right)), (Some(5), Some(7)));
    // Its characters go; the place stays.
    edit(&mut first, |edit| edit.splice_text(&text, 3, 5, ""));
    assert_eq!(text_of(&first), ">abd");
    assert_eq!((units(&first, &left), units(&first, &right)), (Some(3), Some(3)));
    edit(&mut first, |edit| edit.splice_text(&text, 0, 4, ""));
    assert_eq!((units(&first, &left), units(&first, &end)), (Some(0), Some(0)));
    for odd in [
        "",
        "<",
        "x",
        ">s@",
        "<1@",
        "<0@01",
        ">1@zz",
        "<99999999999@01",
        "ü1@01",
        "<-1@01",
        "<1@01@02",
    ] {
        assert_eq!(odd.parse::<Cursor>(), Err(DocumentError::Cursor), "{odd}");
    }
    // Of another document: no place here.
    let foreign: Cursor = format!("<7@{}", "09".repeat(32)).parse().expect("a cursor");
    assert_eq!(first.position(&text, &foreign), None);
}

#[test]
fn every_value_of_a_conflict_is_seen() {
    let (mut first, mut second, _) = two("");
    let title = path(["title"]);
    let a = edit(&mut first, |edit| edit.set(&title, Value::from("a")));
    let b = edit(&mut second, |edit| edit.set(&title, Value::List(vec![Value::Int(1)])));
    first.apply(&b).expect("an edit");
    second.apply(&a).expect("an edit");
    let both = first.conflicts(&title);
    assert_eq!(both, second.conflicts(&title));
    assert_eq!(both.len(), 2);
    assert_eq!(Some(&both[1].value), first.get(&title).as_ref());
    for (value, change) in [
        (Value::from("a"), hash(&a)),
        (Value::List(vec![Value::Int(1)]), hash(&b)),
    ] {
        assert!(both.iter().any(|one| one.value == value && one.change == change));
    }
    edit(&mut first, |edit| edit.set(&title, Value::from("c")));
    assert_eq!(first.conflicts(&title).len(), 1);
    assert!(first.conflicts(&path(["none"])).is_empty() && first.conflicts(&[]).is_empty());
}

#[test]
fn differences_name_what_changed() {
    let (mut document, _, start) = two("one two");
    let before = edit(&mut document, |edit| {
        edit.set(&path(["map", "same"]), Value::Int(1))?;
        edit.set(&path(["map", "other"]), Value::Int(2))?;
        edit.set(&path(["count"]), Value::Counter(3))?;
        edit.set(&path(["list"]), Value::List((0..3).map(Value::Int).collect()))
    });
    let after = edit(&mut document, |edit| {
        edit.set_text(&path(["text"]), "one and two")?;
        edit.mark(&path(["text"]), 0..3, "bold", &Value::Bool(true), Expand::None)?;
        edit.set(&path(["map", "other"]), Value::Null)?;
        edit.increment(&path(["count"]), 4)?;
        edit.delete(&["list".into(), 0.into()])?;
        edit.insert(&path(["list"]), 2, Value::Int(9))
    });
    let found = document
        .differences(&[hash(&before)], &[hash(&after)])
        .expect("versions");
    let shown: Vec<(Vec<Key>, Changed)> = found.into_iter().map(|one| (one.path, one.change)).collect();
    let set = |before, after| Changed::Set {
        before: Some(before),
        after: Some(after),
    };
    let pieces = vec![
        TextPiece::Marked {
            text: "one".into(),
            before: BTreeMap::new(),
            after: BTreeMap::from([("bold".into(), Value::Bool(true))]),
        },
        TextPiece::Kept(" ".into()),
        TextPiece::Added("and ".into()),
        TextPiece::Kept("two".into()),
    ];
    assert_eq!(
        shown,
        [
            (path(["count"]).to_vec(), set(Value::Counter(3), Value::Counter(7))),
            (vec!["list".into(), 0.into()], Changed::Removed(Value::Int(0))),
            (vec!["list".into(), 2.into()], Changed::Inserted(Value::Int(9))),
            (path(["map", "other"]).to_vec(), set(Value::Int(2), Value::Null)),
            (path(["text"]).to_vec(), Changed::Text(pieces)),
        ]
    );
    let all = document.differences(&[], &[hash(&start)]).expect("versions");
    assert_eq!(all.len(), 1);
    assert_eq!(document.differences(&[[7; 32]], &[]), Err(DocumentError::NoVersion));
}

#[test]
fn blame_names_the_change_of_every_letter() {
    let (mut first, mut second, start) = two("hello world");
    let text = path(["text"]);
    let theirs = edit(&mut second, |edit| edit.splice_text(&text, 5, 0, " big"));
    let mine = edit(&mut first, |edit| edit.splice_text(&text, 0, 1, "H"));
    first.apply(&theirs).expect("an edit");
    let pieces = first.blame(&text).expect("a text");
    let shown: Vec<(&str, ChangeId)> = pieces.iter().map(|piece| (piece.text.as_str(), piece.change)).collect();
    let (start, theirs, mine) = (hash(&start), hash(&theirs), hash(&mine));
    assert_eq!(
        shown,
        [("H", mine), ("ello", start), (" big", theirs), (" world", start)]
    );
    assert_eq!(first.blame(&path(["none"])), None);
}

#[test]
fn undo_leaves_what_others_wrote() {
    let (mut first, mut second, start) = two("shared");
    let text = path(["text"]);
    let mut own = vec![hash(&start)];
    let mine = edit(&mut first, |edit| {
        edit.splice_text(&text, 6, 0, " MINE")?;
        edit.splice_text(&text, 0, 1, "S")?;
        edit.mark(&text, 0..6, "bold", &Value::Bool(true), Expand::After)?;
        edit.set(&path(["title"]), Value::from("first"))?;
        edit.set(&path(["kept"]), Value::from("first"))?;
        edit.set(&path(["count"]), Value::Counter(1))
    });
    own.push(hash(&mine));
    second.apply(&mine).expect("an edit");
    let count = edit(&mut first, |edit| edit.increment(&path(["count"]), 10));
    own.push(hash(&count));
    // The other device writes in the middle of it, over a field, and counts.
    let theirs = edit(&mut second, |edit| {
        edit.splice_text(&text, 9, 0, "their")?;
        edit.set(&path(["title"]), Value::from("second"))?;
        edit.increment(&path(["count"]), 100)
    });
    first.apply(&theirs).expect("an edit");
    assert_eq!(text_of(&first), "Shared MItheirNE");
    // First the increment alone.
    let undone = first.undo(&own).expect("an undo").expect("something to undo");
    own.push(hash(&[undone]));
    assert_eq!(first.get(&path(["count"])), Some(Value::Counter(101)));
    let undone = first.undo(&own).expect("an undo").expect("something to undo");
    own.push(hash(&[undone]));
    assert_eq!(text_of(&first), "sharedtheir");
    assert_eq!(first.spans(&text), Some(vec![span("sharedtheir", &[])]));
    assert_eq!(first.get(&path(["title"])), Some(Value::from("second")));
    assert_eq!(first.get(&path(["kept"])), None);
    assert_eq!(first.change_kind(&own[4]), Some(ChangeKind::Undo(own[1])));
    // And again, one after the other; the other device gets it all.
    for _ in 0..2 {
        let redone = first.redo(&own).expect("a redo").expect("something to do again");
        own.push(hash(&[redone]));
    }
    assert_eq!(first.redo(&own).expect("a redo"), None);
    assert_eq!(text_of(&first).replace("their", ""), "Shared MINE");
    assert_eq!(first.get(&path(["title"])), Some(Value::from("second")));
    assert_eq!(first.get(&path(["kept"])), Some(Value::from("first")));
    second.apply(&first.changes_since(&second.heads())).expect("all of it");
    assert_eq!(second.value(), first.value());
    // Whatever is undone, an edit after it is the next, and there is nothing to do again.
    let more = edit(&mut first, |edit| edit.set(&path(["new"]), Value::Int(1)));
    own.push(hash(&more));
    let undone = first.undo(&own).expect("an undo").expect("something to undo");
    own.push(hash(&[undone]));
    let more = edit(&mut first, |edit| edit.set(&path(["new"]), Value::Int(2)));
    own.push(hash(&more));
    assert_eq!(first.redo(&own).expect("a redo"), None);
}

#[test]
fn what_others_wrote_at_the_same_time_shows_when_mine_is_taken_back() {
    for mine in [1, 3] {
        // Whoever has the higher name wins: both ways round.
        let (base, mut theirs, _) = two("");
        let mut first = base.fork_as(&[mine; 32]);
        let title = path(["title"]);
        let change = edit(&mut first, |edit| edit.set(&title, Value::from("mine")));
        let other = edit(&mut theirs, |edit| edit.set(&title, Value::from("theirs")));
        first.apply(&other).expect("an edit");
        assert_eq!(first.conflicts(&title).len(), 2);
        first.undo(&[hash(&change)]).expect("an undo");
        assert_eq!(first.get(&title), Some(Value::from("theirs")));
    }
}

#[test]
fn what_another_deleted_does_not_come_back() {
    let (mut first, mut second, start) = two("abc");
    let text = path(["text"]);
    let mine = edit(&mut first, |edit| {
        edit.splice_text(&text, 0, 2, "")?;
        edit.delete(&path(["gone"]))
    });
    let theirs = edit(&mut second, |edit| edit.splice_text(&text, 1, 1, ""));
    first.apply(&theirs).expect("an edit");
    assert_eq!(text_of(&first), "c");
    first.undo(&[hash(&start), hash(&mine)]).expect("an undo");
    assert_eq!(text_of(&first), "ac");
}

#[test]
fn an_undo_that_passes_over_edits_can_be_stopped_between_them() {
    let (mut first, _, start) = two("");
    let (title, place) = (path(["title"]), path(["place"]));
    let one = edit(&mut first, |edit| edit.set(&title, Value::from("one")));
    let two = edit(&mut first, |edit| edit.set(&place, Value::from("two")));
    let own = [hash(&start), hash(&one), hash(&two)];
    // Of the last nothing is left.
    let mut second = first.fork_as(&[2; 32]);
    let theirs = edit(&mut second, |edit| edit.set(&place, Value::from("theirs")));
    first.apply(&theirs).expect("an edit");
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 1;
    assert_eq!(first.undo_until(&own, &stop), Err(DocumentError::Failed));
    assert_eq!(first.get(&title), Some(Value::from("one")));
    first.undo(&own).expect("an undo");
    assert_eq!(
        (first.get(&title), first.get(&place)),
        (None, Some(Value::from("theirs")))
    );
}

#[test]
fn a_version_is_restored_by_a_new_change() {
    let (mut document, _, _) = two("one");
    let text = path(["text"]);
    let wanted = edit(&mut document, |edit| {
        edit.set_text(&text, "one two")?;
        edit.mark(&text, 0..3, "bold", &Value::Bool(true), Expand::None)?;
        edit.set(
            &path(["list"]),
            Value::List(vec![Value::Int(1), Value::Text("in".into())]),
        )?;
        edit.set(&path(["count"]), Value::Counter(5))
    });
    let (value, spans) = (document.value(), document.spans(&text));
    let later = edit(&mut document, |edit| {
        edit.set_text(&text, "three")?;
        edit.unmark(&text, 0..5, "bold", Expand::None)?;
        edit.set(&["list".into(), 0.into()], Value::Int(7))?;
        edit.splice_text(&["list".into(), 1.into()], 0, 0, "with")?;
        edit.increment(&path(["count"]), 2)?;
        edit.set(&path(["new"]), Value::Null)
    });
    let versions = document.changes_since(&[]).len();
    let restored = document.restore(&hash(&wanted)).expect("a version");
    assert_eq!(
        (document.value(), document.spans(&text)),
        (value.clone(), spans.clone())
    );
    assert_eq!(document.changes_since(&[]).len(), versions + 1);
    assert_eq!(
        document.change_kind(&hash(&restored)),
        Some(ChangeKind::Restore(hash(&wanted)))
    );
    // It can be taken back like any edit; and what is the same already is not written.
    assert!(document.restore(&hash(&wanted)).expect("a version").is_empty());
    document
        .undo(&[hash(&wanted), hash(&later), hash(&restored)])
        .expect("an undo");
    assert_eq!(text_of(&document), "three");
    assert_eq!(
        document.get(&["list".into(), 1.into()]),
        Some(Value::Text("within".into()))
    );
    assert_eq!(document.get(&path(["count"])), Some(Value::Counter(7)));
    // The version is what it was.
    assert_eq!(document.value_at(&[hash(&wanted)]), Ok(value));
    assert_eq!(document.spans_at(&[hash(&wanted)], &text), Ok(spans));
    assert_eq!(document.restore(&[9; 32]), Err(DocumentError::NoVersion));
}

/// One thing that a device does.
#[derive(Debug, Clone)]
enum Act {
    Type(u8, u8, u8),
    Mark(u8, u8, u8, bool),
    Set(u8, u8),
    Forget(u8),
    Insert(u8, u8),
    Replace(u8, u8),
    Remove(u8),
    Count(i8),
    Nest(u8, u8),
    Anew,
    Undo,
    Redo,
    Restore(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (any::<u8>(), 0..4_u8, 0..4_u8).prop_map(|(at, delete, insert)| Act::Type(at, delete, insert)),
        3 => (any::<u8>(), 1..6_u8, 0..2_u8, any::<bool>()).prop_map(|(a, n, name, on)| Act::Mark(a, n, name, on)),
        2 => (0..3_u8, 0..6_u8).prop_map(|(field, kind)| Act::Set(field, kind)),
        1 => (0..3_u8).prop_map(Act::Forget),
        2 => (any::<u8>(), 0..6_u8).prop_map(|(at, kind)| Act::Insert(at, kind)),
        1 => (any::<u8>(), 0..6_u8).prop_map(|(at, kind)| Act::Replace(at, kind)),
        1 => any::<u8>().prop_map(Act::Remove),
        1 => any::<i8>().prop_map(Act::Count),
        1 => (0..3_u8, 0..6_u8).prop_map(|(field, kind)| Act::Nest(field, kind)),
        1 => Just(Act::Anew),
        3 => Just(Act::Undo),
        2 => Just(Act::Redo),
        1 => any::<u8>().prop_map(Act::Restore),
    ]
}

fn some_value(kind: u8, device: usize, number: usize) -> Value {
    match kind {
        0 => Value::Int(number as i64),
        1 => Value::String(format!("{device}/{number}")),
        2 => Value::Date(number as i64),
        3 => Value::Bytes(vec![device as u8; number % 5]),
        4 => Value::Text("text".into()),
        _ => Value::Map(BTreeMap::from([("in".to_owned(), Value::Bool(true))])),
    }
}

/// The letter that only one device writes.
fn letter(device: usize) -> char {
    char::from(b'a' + device as u8)
}

struct Device {
    document: Document,
    own: Vec<ChangeId>,
    number: usize,
}

impl Device {
    fn text_length(&self) -> usize {
        text_of(&self.document).chars().count()
    }

    fn list_length(&self) -> usize {
        match self.document.get(&path(["list"])) {
            Some(Value::List(values)) => values.len(),
            _ => 0,
        }
    }

    /// Does it; gives the change, if there was anything to do.
    fn act(&mut self, act: &Act, seen: &[ChangeId]) -> Vec<Vec<u8>> {
        // A pod writes as another actor whenever it was closed.
        if self.own.len() % 3 == 2 {
            let mut actor = [self.number as u8 + 1; 32];
            actor[0] = (self.own.len() * 37) as u8;
            actor[1] = self.own.len() as u8;
            self.document = self.document.fork_as(&actor);
        }
        let (text, list) = (path(["text"]), path(["list"]));
        let (length, items) = (self.text_length(), self.list_length());
        let has_text = self.document.spans(&text).is_some();
        let number = self.own.len();
        let device = self.number;
        let field = |field: u8| path([["f0", "f1", "f2"][usize::from(field)]]);
        let made = match act {
            Act::Undo => return self.document.undo(&self.own).expect("an undo").into_iter().collect(),
            Act::Redo => return self.document.redo(&self.own).expect("a redo").into_iter().collect(),
            Act::Restore(which) => {
                let held: Vec<_> = seen.iter().filter(|version| self.document.contains(version)).collect();
                match held.get(usize::from(*which) % held.len().max(1)) {
                    Some(version) => return self.document.restore(version).expect("a version"),
                    None => return Vec::new(),
                }
            }
            act => self.document.edit::<_, DocumentError>(|edit| match act {
                Act::Type(at, delete, insert) if has_text => {
                    let at = usize::from(*at) % (length + 1);
                    let delete = usize::from(*delete).min(length - at);
                    let letters: String = std::iter::repeat_n(letter(device), usize::from(*insert)).collect();
                    edit.splice_text(&text, at, delete, &letters)
                }
                Act::Mark(at, count, name, on) if length > 0 => {
                    let at = usize::from(*at) % length;
                    let range = at..(at + usize::from(*count)).min(length);
                    let name = ["bold", "link"][usize::from(*name)];
                    let expand = [Expand::Before, Expand::After, Expand::Both, Expand::None][number % 4];
                    if *on {
                        edit.mark(&text, range, name, &Value::Int(device as i64), expand)
                    } else {
                        edit.unmark(&text, range, name, expand)
                    }
                }
                Act::Set(at, kind) => edit.set(&field(*at), some_value(*kind, device, number)),
                Act::Forget(at) => edit.delete(&field(*at)),
                Act::Insert(at, kind) if edit.get(&list).is_some() => {
                    edit.insert(&list, usize::from(*at) % (items + 1), some_value(*kind, device, number))
                }
                Act::Replace(at, kind) if items > 0 => {
                    let at = [Key::from("list"), (usize::from(*at) % items).into()];
                    edit.set(&at, some_value(*kind, device, number))
                }
                Act::Remove(at) if items > 0 => edit.delete(&["list".into(), (usize::from(*at) % items).into()]),
                Act::Count(by) if matches!(edit.get(&path(["count"])), Some(Value::Counter(_))) => {
                    edit.increment(&path(["count"]), i64::from(*by))
                }
                Act::Nest(at, kind) => {
                    let name = format!("n{at}");
                    edit.set(&path(["nest", &name, "deep"]), some_value(*kind, device, number))
                }
                Act::Anew => edit.set(&text, Value::Text(format!("{0}{0}", letter(device)))),
                _ => Ok(()),
            }),
        };
        // A step of a path may lead to what undo has taken away meanwhile.
        made.map(|((), changes)| changes).unwrap_or_default()
    }
}

fn devices(count: usize) -> (Vec<Device>, Vec<Vec<u8>>) {
    let mut start = Document::new(&[0xee; 32]);
    let changes = edit(&mut start, |edit| {
        edit.set_text(&path(["text"]), "....")?;
        edit.set(&path(["list"]), Value::List(vec![Value::Int(0)]))?;
        edit.set(&path(["nest"]), Value::Map(BTreeMap::new()))?;
        edit.set(&path(["count"]), Value::Counter(0))
    });
    let devices = (0..count).map(|number| Device {
        document: start.fork_as(&[number as u8 + 1; 32]),
        own: Vec::new(),
        number,
    });
    (devices.collect(), changes)
}

type Shown = (Value, Option<Vec<Span>>);

fn shown(document: &Document) -> Shown {
    (document.value(), document.spans(&path(["text"])))
}

fn mixed<T>(items: &mut [T], mut luck: u64) {
    for place in (1..items.len()).rev() {
        luck = luck
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        items.swap(place, (luck >> 33) as usize % (place + 1));
    }
}

const CASES: u32 = if cfg!(debug_assertions) { 48 } else { 600 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn every_order_of_every_edit_gives_one_document(
        count in 2..9_usize,
        steps in prop::collection::vec((any::<usize>(), act(), any::<u64>()), 1..40),
        order in any::<u64>(),
    ) {
        let (mut devices, start) = devices(count);
        let mut all = start;
        let mut seen: Vec<(ChangeId, Shown)> = Vec::new();
        for (who, act, luck) in steps {
            let versions: Vec<ChangeId> = seen.iter().map(|(version, _)| *version).collect();
            let device = &mut devices[who % count];
            let made = device.act(&act, &versions);
            for change in &made {
                let version = inspect(change, Default::default()).expect("our own").hash;
                device.own.push(version);
                seen.push((version, shown(&device.document)));
            }
            all.extend(made);
            // Something arrives somewhere, perhaps too early, perhaps again.
            if luck & 3 > 0 {
                let at = luck as usize / 8 % all.len();
                let to = luck as usize / 4096 % count;
                let some = &all[at.saturating_sub(luck as usize % 7)..=at];
                devices[to].document.apply(some).expect("what an honest device made");
            }
        }
        let mut documents: Vec<Document> = Vec::new();
        for (number, device) in devices.into_iter().enumerate() {
            let mut rest = all.clone();
            mixed(&mut rest, order ^ number as u64);
            let mut document = device.document;
            for part in rest.chunks(3) {
                document.apply(part).expect("what an honest device made");
            }
            prop_assert_eq!(document.pending(), 0);
            documents.push(document);
        }
        for document in &documents[1..] {
            prop_assert_eq!(document.heads(), documents[0].heads());
            prop_assert!(shown(document) == shown(&documents[0]), "{:?} {:?}", shown(document), shown(&documents[0]));
        }
        let loaded = Document::load(&documents[0].save(), &[0xff; 32]).expect("saved");
        prop_assert!(shown(&loaded) == shown(&documents[0]));
        // Every version is what its author saw, also on another device that has long gone on.
        for (version, (value, spans)) in seen {
            prop_assert_eq!(loaded.value_at(&[version]).expect("a version"), value);
            prop_assert_eq!(loaded.spans_at(&[version], &path(["text"])).expect("a version"), spans);
        }
        let letters = loaded.blame(&path(["text"])).map(|pieces| pieces.iter().map(|piece| piece.text.as_str()).collect::<String>());
        prop_assert_eq!(letters, loaded.spans(&path(["text"])).map(|_| text_of(&loaded)));
    }

    /// Undoing all, alone, is the document as it was; doing it all again, the document as it became.
    #[test]
    fn undo_of_everything_is_the_start_and_redo_the_end(acts in prop::collection::vec(act(), 1..16)) {
        let (mut devices, start) = devices(1);
        let device = &mut devices[0];
        let mut states = vec![shown(&device.document)];
        for act in acts.iter().filter(|act| !matches!(act, Act::Undo | Act::Redo)) {
            let versions: Vec<ChangeId> = start.iter().map(|_| hash(&start)).chain(device.own.clone()).collect();
            let made = device.act(act, &versions);
            for change in &made {
                device.own.push(inspect(change, Default::default()).expect("our own").hash);
                states.push(shown(&device.document));
            }
        }
        // An edit that shows nothing is passed over, or taken back and shows nothing either.
        states.dedup();
        let mut at = states.len() - 1;
        while let Some(made) = device.document.undo(&device.own).expect("an undo") {
            device.own.push(hash(&[made]));
            let now = shown(&device.document);
            at -= usize::from(now != states[at] && at > 0);
            prop_assert!(now == states[at], "{now:?} {:?}", states[at]);
        }
        prop_assert_eq!(at, 0);
        while let Some(made) = device.document.redo(&device.own).expect("a redo") {
            device.own.push(hash(&[made]));
            let now = shown(&device.document);
            at += usize::from(now != states[at] && at + 1 < states.len());
            prop_assert!(now == states[at], "{now:?} {:?}", states[at]);
        }
        prop_assert_eq!(at, states.len() - 1);
    }

    /// However two devices edit one text, when the first has undone all of its own, of its letters none is left, and of the other's exactly
    /// those that the other itself did not delete.
    #[test]
    fn undo_never_takes_back_what_another_wrote(
        steps in prop::collection::vec((any::<bool>(), any::<u8>(), 0..4_u8, 0..4_u8, any::<bool>()), 1..24),
    ) {
        let (mut both, _) = devices(2);
        // Which letters a device deleted is told by its own document: each letter is its own.
        let mut unique = 'A'..='\u{2000}';
        let mut theirs: Vec<char> = "....".chars().collect();
        let text = path(["text"]);
        for (first, at, delete, insert, meet) in steps {
            let device = &mut both[usize::from(!first)];
            let before: Vec<char> = text_of(&device.document).chars().collect();
            let at = usize::from(at) % (before.len() + 1);
            let delete = usize::from(delete).min(before.len() - at);
            let letters: String = unique.by_ref().take(usize::from(insert)).collect();
            let made = edit(&mut device.document, |edit| edit.splice_text(&text, at, delete, &letters));
            device.own.extend(made.first().map(|_| hash(&made)));
            if !first {
                let gone = &before[at..at + delete];
                let mut left: Vec<char> = theirs.iter().copied().filter(|letter| *letter == '.' || !gone.contains(letter)).collect();
                for _ in gone.iter().filter(|letter| **letter == '.') {
                    let dot = left.iter().position(|letter| *letter == '.').expect("four at first");
                    left.remove(dot);
                }
                theirs = left;
                theirs.extend(letters.chars());
            }
            if meet {
                let [first, second] = &mut both[..] else { unreachable!() };
                first.document.apply(&second.document.changes_since(&first.document.heads())).expect("edits");
                second.document.apply(&first.document.changes_since(&second.document.heads())).expect("edits");
            }
        }
        let [first, second] = &mut both[..] else { unreachable!() };
        first.document.apply(&second.document.changes_since(&[])).expect("edits");
        while let Some(made) = first.document.undo(&first.own).expect("an undo") {
            first.own.push(hash(&[made]));
        }
        let mut left: Vec<char> = text_of(&first.document).chars().collect();
        left.sort_unstable();
        theirs.sort_unstable();
        prop_assert_eq!(left, theirs);
    }
}
