//! A document as it was at some version, with the identity of every value: what undo, restore and comparison are made from.

use std::collections::BTreeMap;

use automerge::{ActorId, ChangeHash, ObjId, ObjType, ReadDoc, ScalarValue, Value as AutomergeValue, ValueRef};

use super::{
    MAX_DEPTH, Value,
    document::guard,
    marks::{Marks, Span, spans, spans_at},
    read::{scalar, units},
};

/// Which operation put a value where it is: its number, and its author. Two readings of one document name the same value alike.
pub(super) type Id = (u64, u128);

pub(super) fn id(object: &ObjId) -> Id {
    match object {
        ObjId::Root => (0, 0),
        ObjId::Id(number, actor, _) => (*number, author(actor)),
    }
}

/// The first 16 bytes of an actor: all that other programs have, and as much as nobody finds another for. Automerge's own number of an
/// actor is another once a new actor begins to write.
pub(super) fn author(actor: &ActorId) -> u128 {
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(actor.to_bytes()) {
        *to = *from;
    }
    u128::from_be_bytes(first)
}

/// A value at its place.
#[derive(Clone)]
pub(super) struct Placed {
    pub id: ObjId,
    pub tree: Tree,
}

impl Placed {
    pub fn id(&self) -> Id {
        id(&self.id)
    }
}

/// A value with everything below it.
#[derive(Clone)]
pub(super) enum Tree {
    Scalar(Value),
    Map(BTreeMap<String, Placed>),
    List(Vec<Placed>),
    Text(Text),
}

/// A text, element by element.
#[derive(Clone, Default)]
pub(super) struct Text {
    pub elements: Vec<Element>,
    pub spans: Vec<Span>,
}

/// One character of a text, or an object that another program put there.
#[derive(Clone, Copy)]
pub(super) struct Element {
    pub id: Id,
    /// U+FFFC for what is no single character.
    pub character: char,
    /// How many places of the text it takes: its UTF-16 code units.
    pub width: usize,
}

impl Text {
    /// The marks at each place.
    pub fn marks(&self) -> Vec<&Marks> {
        let of_each = |span: &'_ Span| units(&span.text);
        let spans = self.spans.iter();
        spans
            .flat_map(|span| std::iter::repeat_n(&span.marks, of_each(span)))
            .collect()
    }

    /// The place of each element, and last the place after all of them.
    pub fn places(&self) -> Vec<usize> {
        let mut at = 0;
        let ends = self.elements.iter().map(|element| {
            at += element.width;
            at
        });
        std::iter::once(0).chain(ends).collect()
    }
}

/// A document now, or as it was at some heads.
pub(super) struct At<'a, D> {
    pub doc: &'a D,
    pub heads: Option<&'a [ChangeHash]>,
}

impl<D: ReadDoc> At<'_, D> {
    /// The whole document.
    pub fn root(&self) -> BTreeMap<String, Placed> {
        self.fields(&automerge::ROOT, 1)
    }

    /// What lies in an object.
    pub fn tree(&self, object: &ObjId, kind: ObjType, level: usize) -> Tree {
        if level > MAX_DEPTH {
            return Tree::Scalar(Value::Null);
        }
        match kind {
            ObjType::Map | ObjType::Table => Tree::Map(self.fields(object, level)),
            ObjType::List => Tree::List(self.items(object, level)),
            ObjType::Text => match self.text(object) {
                Some(text) => Tree::Text(text),
                None => Tree::Scalar(Value::Text(self.letters(object))),
            },
        }
    }

    fn fields(&self, object: &ObjId, level: usize) -> BTreeMap<String, Placed> {
        let range = match self.heads {
            None => self.doc.map_range(object, ..),
            Some(heads) => self.doc.map_range_at(object, .., heads),
        };
        range
            .map(|item| (item.key.to_string(), self.placed(&item.value, item.id(), level)))
            .collect()
    }

    fn items(&self, object: &ObjId, level: usize) -> Vec<Placed> {
        let range = match self.heads {
            None => self.doc.list_range(object, ..),
            Some(heads) => self.doc.list_range_at(object, .., heads),
        };
        range.map(|item| self.placed(&item.value, item.id(), level)).collect()
    }

    fn letters(&self, object: &ObjId) -> String {
        let letters = guard(|| match self.heads {
            None => self.doc.text(object),
            Some(heads) => self.doc.text_at(object, heads),
        });
        letters.and_then(Result::ok).unwrap_or_default()
    }

    fn placed(&self, value: &ValueRef<'_>, id: ObjId, level: usize) -> Placed {
        let tree = match value {
            ValueRef::Object(kind) => self.tree(&id, *kind, level + 1),
            ValueRef::Scalar(value) => Tree::Scalar(scalar(&ScalarValue::from(value.clone()))),
        };
        Placed { id, tree }
    }

    /// A text; nothing if it is not what Automerge shows as its letters, which only somebody hostile can bring about.
    pub fn text(&self, object: &ObjId) -> Option<Text> {
        guard(|| {
            let (values, letters, spans) = match self.heads {
                None => (self.doc.values(object), self.doc.text(object), spans(self.doc, object)),
                Some(heads) => (
                    self.doc.values_at(object, heads),
                    self.doc.text_at(object, heads),
                    spans_at(self.doc, object, heads),
                ),
            };
            let elements: Vec<Element> = values
                .filter_map(|(value, object)| element(&value, id(&object)))
                .collect();
            let width: usize = elements.iter().map(|element| element.width).sum();
            let spans = spans?;
            let shown: usize = spans.iter().map(|span| units(&span.text)).sum();
            let count = units(&letters.ok()?);
            (width == count && shown == count).then_some(Text { elements, spans })
        })
        .flatten()
    }
}

/// An element of a text; nothing for the ends of marks, which Automerge gives as these words among them.
pub(super) fn element(value: &AutomergeValue<'_>, id: Id) -> Option<Element> {
    let (character, width) = match value {
        AutomergeValue::Scalar(value) => match &**value {
            ScalarValue::Str(text) if text == "markBegin" || text == "markEnd" => return None,
            ScalarValue::Str(text) => single(text),
            _ => ('\u{fffc}', 1),
        },
        AutomergeValue::Object(_) => ('\u{fffc}', 1),
    };
    Some(Element { id, character, width })
}

fn single(text: &str) -> (char, usize) {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => (character, character.len_utf16()),
        _ => ('\u{fffc}', units(text)),
    }
}

impl Tree {
    /// As an application sees it.
    pub fn value(&self) -> Value {
        match self {
            Tree::Scalar(value) => value.clone(),
            Tree::Map(fields) => Value::Map(
                fields
                    .iter()
                    .map(|(name, placed)| (name.clone(), placed.tree.value()))
                    .collect(),
            ),
            Tree::List(items) => Value::List(items.iter().map(|placed| placed.tree.value()).collect()),
            Tree::Text(text) => Value::Text(text.elements.iter().map(|element| element.character).collect()),
        }
    }
}
