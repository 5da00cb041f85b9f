//! Rich text: marks over ranges of a text ("bold", a link with its address), as Automerge keeps them, so that others read them too.
//!
//! Marks of hostile devices can be put together so that a document is saved and never loaded again: an end that stands before its
//! beginning, or in another text. The order of the two in a text never changes once both are there, so it is enough that a document with
//! new marks is saved and loaded once before it is taken ([`marks_hold`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
};

use automerge::{
    Automerge, Change, LoadOptions, ObjId, ObjType, ReadDoc, ScalarValue,
    legacy::{ObjectId, OpType},
    marks::{ExpandMark, Mark as AutomergeMark, MarkSet},
    transaction::Transactable,
};

use super::{
    Document, DocumentError, Edit, Key, Value, chunk,
    document::guard,
    read::{is_boundary, scalar},
};

/// Whether text that is put in right at the ends of a mark gets the mark too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expand {
    /// At its start.
    Before,
    /// At its end: for bold and the like.
    #[default]
    After,
    /// At both.
    Both,
    /// At neither: for links and remarks.
    None,
}

impl From<Expand> for ExpandMark {
    fn from(expand: Expand) -> Self {
        match expand {
            Expand::Before => Self::Before,
            Expand::After => Self::After,
            Expand::Both => Self::Both,
            Expand::None => Self::None,
        }
    }
}

/// The marks of a piece of text: what each name is set to.
pub type Marks = BTreeMap<String, Value>;

/// A piece of text that has the same marks throughout. An object that another program put into the text is U+FFFC, as in the text itself.
///
/// `Debug` shows sizes only: what users write must not reach logs.
#[derive(Clone, PartialEq, Default)]
pub struct Span {
    /// The text.
    pub text: String,
    /// Its marks.
    pub marks: Marks,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({} bytes, {} marks)", self.text.len(), self.marks.len())
    }
}

impl Document {
    /// The text at the end of a path in pieces with their marks, in order; nothing if no text is there.
    pub fn spans(&self, path: &[Key]) -> Option<Vec<Span>> {
        spans(&self.doc, &text_at(&self.doc, path)?)
    }
}

/// The text object at the end of a path.
pub(super) fn text_at(doc: &impl ReadDoc, path: &[Key]) -> Option<ObjId> {
    match super::read::at(doc, path)? {
        super::read::Node::Object(id, ObjType::Text) => Some(id),
        _ => None,
    }
}

/// Puts pieces that follow each other and have the same marks together.
fn joined(pieces: impl Iterator<Item = Span>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for piece in pieces.filter(|piece| !piece.text.is_empty()) {
        match spans.last_mut() {
            Some(last) if last.marks == piece.marks => last.text.push_str(&piece.text),
            _ => spans.push(piece),
        }
    }
    spans
}

pub(super) fn spans(doc: &impl ReadDoc, text: &ObjId) -> Option<Vec<Span>> {
    guard(|| Some(joined(doc.spans(text).ok()?.map(span)))).flatten()
}

pub(super) fn spans_at(doc: &impl ReadDoc, text: &ObjId, heads: &[automerge::ChangeHash]) -> Option<Vec<Span>> {
    guard(|| Some(joined(doc.spans_at(text, heads).ok()?.map(span)))).flatten()
}

fn span(span: automerge::Span) -> Span {
    let (text, marks) = match span {
        automerge::Span::Text { text, marks } => (text, marks.as_deref().map(read_marks).unwrap_or_default()),
        automerge::Span::Block(_) => ("\u{fffc}".to_owned(), Marks::new()),
    };
    Span { text, marks }
}

fn read_marks(marks: &MarkSet) -> Marks {
    let set = marks.iter().filter(|(_, value)| !matches!(value, ScalarValue::Null));
    set.map(|(name, value)| (name.to_owned(), scalar(value))).collect()
}

/// What a mark can be set to; nothing for what it cannot.
pub(super) fn mark_value(value: &Value) -> Option<ScalarValue> {
    Some(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(*value),
        Value::Int(value) => ScalarValue::Int(*value),
        Value::Float(value) => ScalarValue::F64(*value),
        Value::String(value) => ScalarValue::Str(value.as_str().into()),
        Value::Bytes(value) => ScalarValue::Bytes(value.clone()),
        Value::Date(value) => ScalarValue::Timestamp(*value),
        Value::Text(_) | Value::Counter(_) | Value::List(_) | Value::Map(_) => return None,
    })
}

impl<T: Transactable> Edit<'_, T> {
    /// The text at the end of a path in pieces with their marks, with the edits so far.
    pub fn spans(&self, path: &[Key]) -> Option<Vec<Span>> {
        let id = self.object_of(path, ObjType::Text).ok()?;
        spans(&self.transaction, &id)
    }

    /// In the text at the end of a path, sets the mark `name` of the characters in `range` to `value`. Places are counted in
    /// UTF-16 code units; half a character is out of range.
    ///
    /// Names have 1 to 256 bytes. Values are whole: no texts, counters, lists or maps.
    pub fn mark(
        &mut self,
        path: &[Key],
        range: Range<usize>,
        name: &str,
        value: &Value,
        expand: Expand,
    ) -> Result<(), DocumentError> {
        let wrong = DocumentError::WrongType { step: path.len() };
        let value = mark_value(value)
            .filter(|value| !matches!(value, ScalarValue::Null))
            .ok_or(wrong)?;
        self.set_mark(path, range, name, value, expand)
    }

    /// Takes the mark `name` away from the characters in `range`.
    pub fn unmark(
        &mut self,
        path: &[Key],
        range: Range<usize>,
        name: &str,
        expand: Expand,
    ) -> Result<(), DocumentError> {
        self.set_mark(path, range, name, ScalarValue::Null, expand)
    }

    fn set_mark(
        &mut self,
        path: &[Key],
        range: Range<usize>,
        name: &str,
        value: ScalarValue,
        expand: Expand,
    ) -> Result<(), DocumentError> {
        let id = self.object_of(path, ObjType::Text)?;
        let inside = |at| is_boundary(&self.transaction, &id, at);
        if range.start > range.end || !inside(range.start) || !inside(range.end) {
            return Err(DocumentError::OutOfRange { step: path.len() });
        }
        if name.is_empty() || name.len() > chunk::MAX_MARK_NAME {
            return Err(DocumentError::WrongType { step: path.len() });
        }
        // A mark over nothing would wait for text that others put there: nobody asked for that.
        if range.is_empty() {
            return Ok(());
        }
        let mark = AutomergeMark::new(name.to_owned(), value, range.start, range.end);
        self.write(|tx| tx.mark(&id, mark, expand.into()))
    }
}

/// Whether the marks that `changes` set in `doc` are in texts, can be saved and loaded again, and read. Changes without marks cost nothing.
pub(super) fn marks_hold(doc: &Automerge, changes: &[Change]) -> bool {
    let marking: Vec<&Change> = changes
        .iter()
        .filter(|change| chunk::has_marks(change.raw_bytes()))
        .collect();
    if marking.is_empty() {
        return true;
    }
    guard(|| {
        for object in marked(&marking) {
            let ObjectId::Id(id) = &object else {
                return false;
            };
            let Ok((text, ObjType::Text)) = doc.import(&format!("{}@{}", id.0, id.1)) else {
                return false;
            };
            if spans(doc, &text).is_none() {
                return false;
            }
        }
        let options = LoadOptions::new().text_encoding(doc.text_encoding());
        Automerge::load_with_options(&doc.save_nocompress(), options)
            .is_ok_and(|again| again.get_heads() == doc.get_heads())
    })
    .unwrap_or(false)
}

/// What `changes` set marks in, each once: a text is walked as a whole, and a change may go back and forth between two.
fn marked(changes: &[&Change]) -> BTreeSet<ObjectId> {
    let operations = changes.iter().flat_map(|change| change.decode().operations);
    let marks = operations.filter(|operation| matches!(operation.action, OpType::MarkBegin(_) | OpType::MarkEnd(_)));
    marks.map(|operation| operation.obj).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_walked_once_however_often_a_change_comes_back_to_it() {
        let mut doc = Automerge::new();
        let mut tx = doc.transaction();
        let texts = ["one", "two"].map(|name| tx.put_object(automerge::ROOT, name, ObjType::Text).unwrap());
        for text in &texts {
            tx.splice_text(text, 0, 0, "some words that are marked").unwrap();
        }
        tx.commit();
        for _ in 0..2 {
            let mut tx = doc.transaction();
            for place in 0..20 {
                let mark = AutomergeMark::new("bold".to_owned(), ScalarValue::Boolean(true), place, place + 2);
                tx.mark(&texts[place % 2], mark, ExpandMark::After).unwrap();
            }
            tx.commit();
        }
        let changes = doc.get_changes(&[]);
        assert_eq!(marked(&changes.iter().collect::<Vec<_>>()).len(), 2);
        assert!(marks_hold(&doc, &changes));
    }
}
