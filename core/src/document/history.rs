//! The history of a document: versions, what is different between two, who wrote which letters, and taking edits back.
//!
//! Every change is a version: the document as its author saw it when it was written. Automerge keeps all of them, so nothing more is stored
//! than who wrote a change and when, which the views note with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use automerge::{ChangeHash, ObjType, ReadDoc};

use super::{
    Document, DocumentError, Key, Value,
    document::guard,
    inverse::Inverse,
    marks::{Marks, Span, spans_at},
    tree::{At, Element, Id, Placed, Text, Tree, element, id},
};

/// A version of a document: the change that made it.
pub type ChangeId = [u8; 32];

/// What a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The first change of the document.
    Create,
    /// An edit.
    Edit,
    /// Takes back what this change did.
    Undo(ChangeId),
    /// Does again what this undo took back.
    Redo(ChangeId),
    /// Makes the document as it was after this change.
    Restore(ChangeId),
}

const UNDO: &str = "undo";
const REDO: &str = "redo";
const RESTORE: &str = "restore";

impl ChangeKind {
    /// As the change says it, in Automerge's field for a message.
    fn said(&self) -> Option<String> {
        let (word, change) = match self {
            Self::Create | Self::Edit => return None,
            Self::Undo(change) => (UNDO, change),
            Self::Redo(change) => (REDO, change),
            Self::Restore(change) => (RESTORE, change),
        };
        Some(format!("{word} {}", crate::crypto::hex(change)))
    }

    fn read(message: Option<&str>, first: bool) -> Self {
        let said = message.and_then(|message| {
            let (word, change) = message.split_once(' ')?;
            let change: ChangeId = data_encoding::HEXLOWER
                .decode(change.as_bytes())
                .ok()?
                .try_into()
                .ok()?;
            match word {
                UNDO => Some(Self::Undo(change)),
                REDO => Some(Self::Redo(change)),
                RESTORE => Some(Self::Restore(change)),
                _ => None,
            }
        });
        said.unwrap_or(if first { Self::Create } else { Self::Edit })
    }
}

/// A piece of a text in a comparison. `Debug` shows no text.
#[derive(Clone, PartialEq)]
pub enum TextPiece {
    /// The same in both, marks too.
    Kept(String),
    /// The same letters with other marks.
    Marked {
        /// The letters.
        text: String,
        /// Their marks before.
        before: Marks,
        /// Their marks after.
        after: Marks,
    },
    /// Only in the later one.
    Added(String),
    /// Only in the earlier one.
    Removed(String),
}

impl fmt::Debug for TextPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::Kept(text) => ("Kept", text),
            Self::Marked { text, .. } => ("Marked", text),
            Self::Added(text) => ("Added", text),
            Self::Removed(text) => ("Removed", text),
        };
        write!(f, "{kind}({} bytes)", text.len())
    }
}

/// What is different at one place.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// A field was put there, taken away or replaced as a whole; a counter counted on.
    Set {
        /// What was there.
        before: Option<Value>,
        /// What is there.
        after: Option<Value>,
    },
    /// A value of a list was put in. The path is its place after.
    Inserted(Value),
    /// A value of a list was taken out. The path is its place before.
    Removed(Value),
    /// A text was edited: all of it, in order.
    Text(Vec<TextPiece>),
}

/// One difference between two versions.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where.
    pub path: Vec<Key>,
    /// What.
    pub change: Changed,
}

/// A piece of a text that one change wrote. `Debug` shows no text.
#[derive(Clone, PartialEq)]
pub struct Authored {
    /// The letters.
    pub text: String,
    /// The change that put them in.
    pub change: ChangeId,
}

impl fmt::Debug for Authored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authored({} bytes)", self.text.len())
    }
}

impl Document {
    /// What a change is for; nothing if the document does not hold it.
    pub fn change_kind(&self, change: &ChangeId) -> Option<ChangeKind> {
        let meta = self.doc.get_change_meta_by_hash(&ChangeHash(*change))?;
        Some(ChangeKind::read(meta.message.as_deref(), meta.deps.is_empty()))
    }

    fn heads_at(&self, version: &[ChangeId]) -> Result<Vec<ChangeHash>, DocumentError> {
        let heads: Vec<ChangeHash> = version.iter().copied().map(ChangeHash).collect();
        if heads.iter().all(|head| self.has(head)) {
            Ok(heads)
        } else {
            Err(DocumentError::NoVersion)
        }
    }

    /// The document as it was at a version: everything that these changes build on, and they themselves. Nothing is the empty document.
    pub fn value_at(&self, version: &[ChangeId]) -> Result<Value, DocumentError> {
        let root = self.tree_at(version)?;
        Ok(Tree::Map(root).value())
    }

    /// The text at the end of a path as it was at a version, in pieces with their marks.
    pub fn spans_at(&self, version: &[ChangeId], path: &[Key]) -> Result<Option<Vec<Span>>, DocumentError> {
        let heads = self.heads_at(version)?;
        let mut at = automerge::ROOT;
        let mut kind = ObjType::Map;
        for key in path {
            if !super::read::suits(kind, key) {
                return Ok(None);
            }
            match guard(|| self.doc.get_at(&at, key.prop(), &heads)) {
                Some(Ok(Some((automerge::Value::Object(found), id)))) => (at, kind) = (id, found),
                _ => return Ok(None),
            }
        }
        Ok((kind == ObjType::Text)
            .then(|| spans_at(&self.doc, &at, &heads))
            .flatten())
    }

    fn tree_at(&self, version: &[ChangeId]) -> Result<Fields, DocumentError> {
        let heads = self.heads_at(version)?;
        if heads.is_empty() {
            return Ok(BTreeMap::new());
        }
        let at = At {
            doc: &self.doc,
            heads: Some(&heads),
        };
        guard(|| at.root()).ok_or(DocumentError::Failed)
    }

    /// What is different between two versions, by path; in the order of the fields' names.
    pub fn differences(&self, before: &[ChangeId], after: &[ChangeId]) -> Result<Vec<Difference>, DocumentError> {
        let (before, after) = (self.tree_at(before)?, self.tree_at(after)?);
        let mut found = Vec::new();
        compare_fields(&mut Vec::new(), &before, &after, &mut found);
        Ok(found)
    }

    /// Who wrote the text at the end of a path: its letters in order, by the change that put them in. Nothing if no text is there.
    pub fn blame(&self, path: &[Key]) -> Option<Vec<Authored>> {
        let text = super::marks::text_at(&self.doc, path)?;
        guard(|| {
            let mut pieces: Vec<Authored> = Vec::new();
            // Neighbours come from one change more often than not: its numbers are asked for once.
            let mut last: Option<(u128, u64, u64)> = None;
            let letters: Vec<u16> = self.doc.text(&text).ok()?.encode_utf16().collect();
            let mut at = 0;
            for (value, object) in self.doc.values(&text) {
                let (number, actor) = id(&object);
                let Some(element) = element(&value, (number, actor)) else {
                    continue;
                };
                let letters = String::from_utf16(letters.get(at..at + element.width)?).ok()?;
                at += element.width;
                let same = last.is_some_and(|(of, from, to)| of == actor && (from..=to).contains(&number));
                match pieces.last_mut() {
                    Some(piece) if same => piece.text.push_str(&letters),
                    _ => {
                        let hash = self.doc.hash_for_opid(&object)?;
                        let meta = self.doc.get_change_meta_by_hash(&hash)?;
                        last = Some((actor, meta.start_op, meta.max_op));
                        let change = hash.0;
                        pieces.push(Authored { text: letters, change });
                    }
                }
            }
            Some(pieces)
        })
        .flatten()
    }

    /// Makes the document as it was at a version, by a new change that touches only what is different. Nothing is rewritten: every version
    /// before stays. Gives the bytes of the change, if anything is different.
    pub fn restore(&mut self, version: &ChangeId) -> Result<Vec<Vec<u8>>, DocumentError> {
        let then = self.tree_at(&[*version])?;
        let said = ChangeKind::Restore(*version).said();
        let inverse = Inverse::everything();
        self.take_back(said, &inverse, &then)
    }

    /// Takes back the last of `own` that was not taken back yet, by a new change. `own` are the changes of one author, oldest first. What
    /// others wrote stays, also where it stands in place of what is taken back; an edit of which nothing is left is passed over. Gives the
    /// bytes of the change, or nothing if there is nothing to take back.
    pub fn undo(&mut self, own: &[ChangeId]) -> Result<Option<Vec<u8>>, DocumentError> {
        self.undo_until(own, &|| false)
    }

    /// As [`Document::undo`], unless `stop` says otherwise between two edits, the first of which has nothing left to take back: each takes
    /// time that grows with the document. Then it fails with [`DocumentError::Failed`].
    pub fn undo_until(&mut self, own: &[ChangeId], stop: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>, DocumentError> {
        self.take_back_last(own, self.steps(own)?.done, ChangeKind::Undo, stop)
    }

    /// Does again what the last [`Document::undo`] took back, if `own` made no edit since. Otherwise as that.
    pub fn redo(&mut self, own: &[ChangeId]) -> Result<Option<Vec<u8>>, DocumentError> {
        self.redo_until(own, &|| false)
    }

    /// As [`Document::redo`], and `stop` as with [`Document::undo_until`].
    pub fn redo_until(&mut self, own: &[ChangeId], stop: &dyn Fn() -> bool) -> Result<Option<Vec<u8>>, DocumentError> {
        self.take_back_last(own, self.steps(own)?.undone, ChangeKind::Redo, stop)
    }

    fn take_back_last(
        &mut self,
        own: &[ChangeId],
        steps: Vec<usize>,
        kind: fn(ChangeId) -> ChangeKind,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<u8>>, DocumentError> {
        for step in steps.into_iter().rev() {
            if stop() {
                return Err(DocumentError::Failed);
            }
            let made = self.take_back_own(&own[step..], kind)?;
            if let Some(change) = made.into_iter().next() {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    fn steps(&self, own: &[ChangeId]) -> Result<Steps, DocumentError> {
        let kinds = own
            .iter()
            .map(|change| self.change_kind(change).ok_or(DocumentError::NoVersion))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Steps::of(own, &kinds))
    }

    /// Takes back what `own` did: the first is the one that is undone, the others came after and cancel each other out (edits that were
    /// undone, and what undid them).
    fn take_back_own(
        &mut self,
        own: &[ChangeId],
        kind: fn(ChangeId) -> ChangeKind,
    ) -> Result<Vec<Vec<u8>>, DocumentError> {
        let first = own.first().ok_or(DocumentError::NoVersion)?;
        let meta = self
            .doc
            .get_change_meta_by_hash(&ChangeHash(*first))
            .ok_or(DocumentError::NoVersion)?;
        let base: Vec<ChangeId> = meta.deps.iter().map(|hash| hash.0).collect();
        let then = self.tree_at(&base)?;
        let base: Vec<ChangeHash> = base.into_iter().map(ChangeHash).collect();
        let mine: BTreeSet<&ChangeId> = own.iter().collect();
        let inverse = guard(|| {
            let since = self.doc.get_changes(&base);
            Inverse::of(&since, |change| mine.contains(&change.hash().0))
        })
        .ok_or(DocumentError::Failed)?;
        self.take_back(kind(*first).said(), &inverse, &then)
    }

    fn take_back(
        &mut self,
        said: Option<String>,
        inverse: &Inverse,
        then: &Fields,
    ) -> Result<Vec<Vec<u8>>, DocumentError> {
        let done = self.edit_saying(said, |edit| edit.write(|tx| inverse.apply(tx, then)));
        done.map(|((), changes)| changes)
    }
}

/// An author's edits that can be taken back, and those that can be done again, by their places among its changes; the next one last.
struct Steps {
    /// Edits, and redos of them.
    done: Vec<usize>,
    /// Undos.
    undone: Vec<usize>,
}

impl Steps {
    fn of(own: &[ChangeId], kinds: &[ChangeKind]) -> Self {
        let (mut done, mut undone) = (Vec::new(), Vec::new());
        // What stood after it was passed over: nothing of it was left.
        let take = |from: &mut Vec<usize>, change: &ChangeId| {
            if let Some(at) = from.iter().rposition(|place| own[*place] == *change) {
                from.truncate(at);
            }
        };
        for (place, kind) in kinds.iter().enumerate() {
            match kind {
                ChangeKind::Create | ChangeKind::Edit | ChangeKind::Restore(_) => {
                    undone.clear();
                    done.push(place);
                }
                ChangeKind::Undo(change) => {
                    take(&mut done, change);
                    undone.push(place);
                }
                ChangeKind::Redo(change) => {
                    take(&mut undone, change);
                    done.push(place);
                }
            }
        }
        Self { done, undone }
    }
}

fn differ(path: &[Key], key: impl Into<Key>, change: Changed) -> Difference {
    let path = path.iter().cloned().chain([key.into()]).collect();
    Difference { path, change }
}

type Fields = BTreeMap<String, Placed>;

fn compare_fields(path: &mut Vec<Key>, before: &Fields, after: &Fields, found: &mut Vec<Difference>) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if old.id() == new.id() => compare(path, name.as_str().into(), old, new, found),
            (old, new) => {
                let [before, after] = [old, new].map(|placed| placed.map(|placed| placed.tree.value()));
                if before != after {
                    found.push(differ(path, name.as_str(), Changed::Set { before, after }));
                }
            }
        }
    }
}

/// Two readings of what is the same value.
fn compare(path: &mut Vec<Key>, key: Key, old: &Placed, new: &Placed, found: &mut Vec<Difference>) {
    match (&old.tree, &new.tree) {
        (Tree::Map(old), Tree::Map(new)) => {
            path.push(key);
            compare_fields(path, old, new, found);
            path.pop();
        }
        (Tree::List(old), Tree::List(new)) => {
            path.push(key);
            compare_items(path, old, new, found);
            path.pop();
        }
        (Tree::Text(old), Tree::Text(new)) => {
            let pieces = compare_texts(old, new);
            if !matches!(&pieces[..], [] | [TextPiece::Kept(_)]) {
                found.push(differ(path, key, Changed::Text(pieces)));
            }
        }
        (Tree::Scalar(old), Tree::Scalar(new)) if old != new => {
            let (before, after) = (Some(old.clone()), Some(new.clone()));
            found.push(differ(path, key, Changed::Set { before, after }));
        }
        _ => {}
    }
}

fn compare_items(path: &mut Vec<Key>, before: &[Placed], after: &[Placed], found: &mut Vec<Difference>) {
    let known: HashMap<Id, &Placed> = before.iter().map(|item| (item.id(), item)).collect();
    let stays: HashSet<Id> = after.iter().map(Placed::id).collect();
    for (place, item) in before.iter().enumerate() {
        if !stays.contains(&item.id()) {
            found.push(differ(path, place, Changed::Removed(item.tree.value())));
        }
    }
    for (place, item) in after.iter().enumerate() {
        match known.get(&item.id()) {
            Some(old) => compare(path, place.into(), old, item, found),
            None => found.push(differ(path, place, Changed::Inserted(item.tree.value()))),
        }
    }
}

fn compare_texts(before: &Text, after: &Text) -> Vec<TextPiece> {
    let (old_marks, new_marks) = (before.marks(), after.marks());
    let (old_places, new_places) = (before.places(), after.places());
    let known: HashMap<Id, usize> = before
        .elements
        .iter()
        .enumerate()
        .map(|(place, element)| (element.id, place))
        .collect();
    let none = Marks::new();
    let mut pieces: Vec<TextPiece> = Vec::new();
    let mut add = |piece: TextPiece| match (pieces.last_mut(), piece) {
        (Some(TextPiece::Kept(text)), TextPiece::Kept(more))
        | (Some(TextPiece::Added(text)), TextPiece::Added(more))
        | (Some(TextPiece::Removed(text)), TextPiece::Removed(more)) => text.push_str(&more),
        (
            Some(TextPiece::Marked { text, before, after }),
            TextPiece::Marked {
                text: more,
                before: old,
                after: new,
            },
        ) if *before == old && *after == new => text.push_str(&more),
        (_, piece) => pieces.push(piece),
    };
    let letter = |element: &Element| String::from(element.character);
    let mut reached = 0;
    let stays: HashSet<Id> = after.elements.iter().map(|element| element.id).collect();
    for (place, element) in after.elements.iter().enumerate() {
        let Some(&old) = known.get(&element.id) else {
            add(TextPiece::Added(letter(element)));
            continue;
        };
        // What stood before it and is gone. The order of letters never changes.
        while reached < old {
            if !stays.contains(&before.elements[reached].id) {
                add(TextPiece::Removed(letter(&before.elements[reached])));
            }
            reached += 1;
        }
        reached = old + 1;
        let was = old_marks.get(old_places[old]).copied().unwrap_or(&none);
        let is = new_marks.get(new_places[place]).copied().unwrap_or(&none);
        add(if was == is {
            TextPiece::Kept(letter(element))
        } else {
            TextPiece::Marked {
                text: letter(element),
                before: was.clone(),
                after: is.clone(),
            }
        });
    }
    for element in &before.elements[reached..] {
        add(TextPiece::Removed(letter(element)));
    }
    pieces
}
