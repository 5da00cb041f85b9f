//! The edits that make up one change of a document.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use automerge::{
    AutoCommit, AutomergeError, ObjId, ObjType, Prop, ROOT, ScalarValue,
    transaction::{Transactable, Transaction},
};

use super::{
    DocumentError, Key, MAX_DEPTH, Value,
    chunk::MAX_COUNTER,
    read::{Node, child, get, is_boundary, suits, units},
    tree::{self, element},
};

/// Comparing two texts letter by letter may take their length times the edits
/// between them. Past this many edits, or steps, what differs between the
/// common start and end is replaced as a whole.
const MAX_EDITS: usize = 2000;
const MAX_STEPS: usize = 100_000_000;

/// The edits that make up one change; see [`super::Document::edit`].
///
/// Every operation checks before it writes, so that one that fails has done
/// nothing.
pub struct Edit<'a, T: Transactable = Transaction<'a>> {
    pub(super) transaction: T,
    /// Whether an operation failed that might have written something.
    pub(super) failed: bool,
    /// The text that was edited last, if nothing else was edited since: whoever types writes letter after letter into the same.
    text: Option<LastText>,
    of: PhantomData<&'a ()>,
}

struct LastText {
    path: Vec<Key>,
    id: ObjId,
    /// In UTF-16 code units.
    length: usize,
    /// Whether each of its elements is known to take one unit, so that no place is inside one; looked at when it is edited again.
    is_plain: Option<bool>,
}

impl<T: Transactable> fmt::Debug for Edit<'_, T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Edit")
            .field("operations", &self.transaction.pending_ops())
            .finish()
    }
}

impl<T: Transactable> Edit<'_, T> {
    pub(super) fn of(transaction: T) -> Self {
        Self {
            transaction,
            failed: false,
            text: None,
            of: PhantomData,
        }
    }

    /// The value at the end of a path, with the edits so far.
    pub fn get(&self, path: &[Key]) -> Option<Value> {
        get(&self.transaction, path)
    }

    /// Puts a value at the end of a path, in place of what is there. Fields
    /// missing on the way are made, as maps; an index must be in its list.
    ///
    /// A text, list or map is replaced as a whole: edits that others make in
    /// the old one at the same time are lost.
    pub fn set(&mut self, path: &[Key], value: Value) -> Result<(), DocumentError> {
        check_value(&value, path.len())?;
        let (parent, key) = self.parent(path)?;
        self.write(|tx| {
            let parent = parent(tx)?;
            put(tx, &parent, key, false, &value)
        })
    }

    /// Removes the value at the end of a path. A field that is not there is
    /// left so; an index must be in its list.
    pub fn delete(&mut self, path: &[Key]) -> Result<(), DocumentError> {
        let (key, way) = path.split_last().ok_or(DocumentError::EmptyPath)?;
        let step = way.len();
        let (id, kind) = match self.object(way) {
            Err(DocumentError::NotFound { .. }) if matches!(key, Key::Field(_)) => return Ok(()),
            found => found?,
        };
        if !suits(kind, key) {
            return Err(DocumentError::WrongType { step });
        }
        if child(&self.transaction, &id, key).is_none() {
            return match key {
                Key::Field(_) => Ok(()),
                Key::Index(_) => Err(DocumentError::OutOfRange { step }),
            };
        }
        self.write(|tx| tx.delete(&id, key.prop()))
    }

    /// Puts a value into the list at the end of a path, before the one at
    /// `index`, or at the end.
    pub fn insert(&mut self, path: &[Key], index: usize, value: Value) -> Result<(), DocumentError> {
        check_value(&value, path.len() + 1)?;
        let id = self.object_of(path, ObjType::List)?;
        if index > self.transaction.length(&id) {
            return Err(DocumentError::OutOfRange { step: path.len() });
        }
        self.write(|tx| put(tx, &id, Prop::Seq(index), true, &value))
    }

    /// In the text at the end of a path, removes `delete` from `at` on and puts `insert` there. Places are counted in UTF-16 code units, as
    /// Swift's `NSString` and Kotlin count. Half a character is out of range.
    pub fn splice_text(&mut self, path: &[Key], at: usize, delete: usize, insert: &str) -> Result<(), DocumentError> {
        let mut text = self.text(path)?;
        let past = DocumentError::OutOfRange { step: path.len() };
        let end = at.checked_add(delete).filter(|end| *end <= text.length).ok_or(past)?;
        let inside = |at| is_boundary(&self.transaction, &text.id, at);
        if text.is_plain != Some(true) && !(inside(at) && inside(end)) {
            return Err(past);
        }
        let gone = isize::try_from(delete).map_err(|_| past)?;
        if gone != 0 || !insert.is_empty() {
            self.write(|tx| tx.splice_text(&text.id, at, gone, insert))?;
        }
        let put = units(insert);
        text.length = text.length - delete + put;
        if put != insert.chars().count() {
            text.is_plain = Some(false);
        }
        self.text = Some(text);
        Ok(())
    }

    /// The text at the end of a path.
    fn text(&mut self, path: &[Key]) -> Result<LastText, DocumentError> {
        if let Some(mut text) = self.text.take_if(|text| text.path == path) {
            let looked = || {
                let values = self.transaction.values(&text.id);
                let mut elements = values.filter_map(|(value, id)| element(&value, tree::id(&id)));
                elements.all(|element| element.width == 1)
            };
            text.is_plain.get_or_insert_with(looked);
            return Ok(text);
        }
        let id = self.object_of(path, ObjType::Text)?;
        Ok(LastText {
            path: path.to_vec(),
            length: self.transaction.length(&id),
            is_plain: None,
            id,
        })
    }

    /// Makes the text at the end of a path read `text`, by the least edits,
    /// so that edits by others at the same time stay. A text that is not there
    /// is made, with the maps on the way to it.
    pub fn set_text(&mut self, path: &[Key], text: &str) -> Result<(), DocumentError> {
        let id = match self.object_of(path, ObjType::Text) {
            Err(DocumentError::NotFound { .. }) => {
                return self.set(path, Value::Text(text.to_owned()));
            }
            found => found?,
        };
        let old = self.transaction.text(&id).map_err(|_| DocumentError::Failed)?;
        if old == text {
            return Ok(());
        }
        let old: Vec<char> = old.chars().collect();
        let new: Vec<char> = text.chars().collect();
        let front = same(old.iter(), new.iter());
        let (kept, old, new) = (&old[..front], &old[front..], &new[front..]);
        let back = same(old.iter().rev(), new.iter().rev());
        let (gone, new) = (&old[..old.len() - back], &new[..new.len() - back]);
        if near(gone, new) {
            return self.write(|tx| tx.update_text(&id, text));
        }
        let gone = isize::try_from(gone.iter().map(|character| character.len_utf16()).sum::<usize>());
        let gone = gone.map_err(|_| DocumentError::Failed)?;
        let front = kept.iter().map(|character| character.len_utf16()).sum();
        let new: String = new.iter().collect();
        self.write(|tx| tx.splice_text(&id, front, gone, &new))
    }

    /// Adds to the counter at the end of a path, which must be there.
    pub fn increment(&mut self, path: &[Key], by: i64) -> Result<(), DocumentError> {
        let (key, way) = path.split_last().ok_or(DocumentError::EmptyPath)?;
        if by.unsigned_abs() > MAX_COUNTER.unsigned_abs() {
            return Err(DocumentError::CounterRange);
        }
        let step = way.len();
        let (id, kind) = self.object(way)?;
        if !suits(kind, key) {
            return Err(DocumentError::WrongType { step });
        }
        match child(&self.transaction, &id, key) {
            Some(Node::Scalar(Value::Counter(_))) => {}
            Some(_) => return Err(DocumentError::WrongType { step }),
            None => return Err(DocumentError::NotFound { step }),
        }
        self.write(|tx| tx.increment(&id, key.prop(), by))
    }

    /// Writes, and remembers if that failed.
    pub(super) fn write(
        &mut self,
        work: impl FnOnce(&mut T) -> Result<(), AutomergeError>,
    ) -> Result<(), DocumentError> {
        self.text = None;
        work(&mut self.transaction).map_err(|_| {
            self.failed = true;
            DocumentError::Failed
        })
    }

    /// The object at the end of a path.
    pub(super) fn object(&self, path: &[Key]) -> Result<(ObjId, ObjType), DocumentError> {
        let (id, kind, missing) = self.descend(path)?;
        match missing {
            Some(step) => Err(DocumentError::NotFound { step }),
            None => Ok((id, kind)),
        }
    }

    /// The object at the end of a path, which must be of this type.
    pub(super) fn object_of(&self, path: &[Key], wanted: ObjType) -> Result<ObjId, DocumentError> {
        let (id, kind) = self.object(path)?;
        if kind == wanted {
            Ok(id)
        } else {
            let step = path.len().saturating_sub(1);
            Err(DocumentError::WrongType { step })
        }
    }

    /// Goes down a path as far as there are objects; with the step that leads
    /// to nothing, if one does.
    fn descend(&self, path: &[Key]) -> Result<(ObjId, ObjType, Option<usize>), DocumentError> {
        if path.len() >= MAX_DEPTH {
            return Err(DocumentError::TooDeep);
        }
        let (mut id, mut kind) = (ROOT, ObjType::Map);
        for (step, key) in path.iter().enumerate() {
            if !suits(kind, key) {
                return Err(DocumentError::WrongType { step });
            }
            match (child(&self.transaction, &id, key), key) {
                (Some(Node::Object(next, next_kind)), _) => (id, kind) = (next, next_kind),
                (Some(Node::Scalar(_)), _) => return Err(DocumentError::WrongType { step }),
                (None, Key::Index(_)) => return Err(DocumentError::OutOfRange { step }),
                (None, Key::Field(_)) => return Ok((id, kind, Some(step))),
            }
        }
        Ok((id, kind, None))
    }

    /// How to find the object that the last step of a path starts from, making
    /// the maps that are missing; and that step. All checks are done before.
    #[allow(clippy::type_complexity)]
    fn parent(
        &self,
        path: &[Key],
    ) -> Result<(impl FnOnce(&mut T) -> Result<ObjId, AutomergeError> + use<T>, Prop), DocumentError> {
        let (key, way) = path.split_last().ok_or(DocumentError::EmptyPath)?;
        let (id, kind, missing) = self.descend(way)?;
        let missing: &[Key] = missing.and_then(|step| way.get(step..)).unwrap_or_default();
        let made = way.len() - missing.len();
        // Below what is made, only maps can be made.
        let below = missing.iter().chain([key]).enumerate();
        for (place, key) in below.skip(usize::from(missing.is_empty())) {
            if place > 0 && !matches!(key, Key::Field(_)) {
                return Err(DocumentError::NotFound { step: made + place - 1 });
            }
        }
        if missing.is_empty() {
            if !suits(kind, key) {
                return Err(DocumentError::WrongType { step: way.len() });
            }
            if matches!(key, Key::Index(_)) && child(&self.transaction, &id, key).is_none() {
                return Err(DocumentError::OutOfRange { step: way.len() });
            }
        }
        let names: Vec<Prop> = missing.iter().map(Key::prop).collect();
        let make = move |tx: &mut T| {
            let mut id = id;
            for name in names {
                id = tx.put_object(&id, name, ObjType::Map)?;
            }
            Ok(id)
        };
        Ok((make, key.prop()))
    }
}

impl Edit<'_, AutoCommit> {
    /// Takes back what was edited since the last commit.
    pub(super) fn roll_back(&mut self) {
        self.transaction.rollback();
        self.failed = false;
        self.text = None;
    }
}

/// How many items two sequences have in common from their start.
fn same<'a>(a: impl Iterator<Item = &'a char>, b: impl Iterator<Item = &'a char>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// Whether few enough letters are to be removed and put in to make one text
/// the other, that the comparison of Automerge (Myers' algorithm) ends soon.
/// This is its forward half, without the way it goes.
fn near(old: &[char], new: &[char]) -> bool {
    let most = MAX_EDITS.min(MAX_STEPS / (old.len() + new.len()).max(1));
    if old.len().abs_diff(new.len()) > most {
        return false;
    }
    // How far into `old` each diagonal has come; `most + 1` is the main one.
    let mut reached = vec![0_usize; 2 * most + 3];
    for edits in 0..=most {
        for diagonal in (most + 1 - edits..=most + 1 + edits).step_by(2) {
            let (removed, put) = (reached[diagonal - 1] + 1, reached[diagonal + 1]);
            let mut x = match edits {
                0 => 0,
                _ if diagonal == most + 1 - edits => put,
                _ if diagonal == most + 1 + edits => removed,
                _ => removed.max(put),
            };
            // On the diagonal, what is read of `new` is `x` less its number.
            let Some(y) = (x + most + 1).checked_sub(diagonal) else {
                continue;
            };
            if let (Some(old), Some(new)) = (old.get(x..), new.get(y..)) {
                let run = same(old.iter(), new.iter());
                x += run;
                if old.len() == run && new.len() == run {
                    return true;
                }
            }
            reached[diagonal] = x;
        }
    }
    false
}

/// Checks a value that is to lie `level` steps down.
fn check_value(value: &Value, level: usize) -> Result<(), DocumentError> {
    if level + value.depth(MAX_DEPTH) > MAX_DEPTH {
        return Err(DocumentError::TooDeep);
    }
    let in_range = value.all(&|value| match value {
        Value::Counter(value) => value.unsigned_abs() <= MAX_COUNTER.unsigned_abs(),
        _ => true,
    });
    if in_range {
        Ok(())
    } else {
        Err(DocumentError::CounterRange)
    }
}

/// Writes a value with everything below it, in place of what is there or
/// inserted into a list.
pub(super) fn put<T: Transactable>(
    tx: &mut T,
    parent: &ObjId,
    at: Prop,
    insert: bool,
    value: &Value,
) -> Result<(), AutomergeError> {
    let object = |tx: &mut T, kind| match &at {
        Prop::Seq(index) if insert => tx.insert_object(parent, *index, kind),
        _ => tx.put_object(parent, at.clone(), kind),
    };
    match stored(value) {
        Stored::Scalar(value) => match &at {
            Prop::Seq(index) if insert => tx.insert(parent, *index, value),
            _ => tx.put(parent, at.clone(), value),
        },
        Stored::Text(text) => {
            let id = object(tx, ObjType::Text)?;
            if text.is_empty() {
                return Ok(());
            }
            tx.splice_text(&id, 0, 0, text)
        }
        Stored::List(values) => {
            let id = object(tx, ObjType::List)?;
            for (index, value) in values.iter().enumerate() {
                put(tx, &id, Prop::Seq(index), true, value)?;
            }
            Ok(())
        }
        Stored::Map(values) => {
            let id = object(tx, ObjType::Map)?;
            for (name, value) in values {
                put(tx, &id, Prop::Map(name.clone()), false, value)?;
            }
            Ok(())
        }
    }
}

/// A value as Automerge stores it, or the object to be made for it.
enum Stored<'a> {
    Scalar(ScalarValue),
    Text(&'a str),
    List(&'a [Value]),
    Map(&'a BTreeMap<String, Value>),
}

fn stored(value: &Value) -> Stored<'_> {
    Stored::Scalar(match value {
        Value::Text(text) => return Stored::Text(text),
        Value::List(values) => return Stored::List(values),
        Value::Map(values) => return Stored::Map(values),
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(*value),
        Value::Int(value) => ScalarValue::Int(*value),
        Value::Float(value) => ScalarValue::F64(*value),
        Value::String(value) => ScalarValue::Str(value.as_str().into()),
        Value::Bytes(value) => ScalarValue::Bytes(value.clone()),
        Value::Date(value) => ScalarValue::Timestamp(*value),
        Value::Counter(value) => ScalarValue::counter(*value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearness_is_the_number_of_edits() {
        let chars = |text: &str| text.chars().collect::<Vec<char>>();
        let many = |letter: char, count| vec![letter; count];
        for (a, b) in [("", ""), ("a", ""), ("", "a"), ("abc", "xbz"), ("ab", "ba")] {
            assert!(near(&chars(a), &chars(b)), "{a} {b}");
        }
        assert!(near(&many('a', MAX_EDITS / 2), &many('b', MAX_EDITS / 2)));
        assert!(!near(&many('a', MAX_EDITS / 2 + 1), &many('b', MAX_EDITS / 2)));
        assert!(!near(&[], &many('a', MAX_EDITS + 1)));
        assert!(near(&many('a', MAX_EDITS), &[]));
        let mixed = [many('a', 3000), many('b', 3000)].concat();
        assert!(!near(&mixed, &many('b', 3000)));
        assert!(near(&many('b', 3001), &many('b', 3000)));
    }
}
