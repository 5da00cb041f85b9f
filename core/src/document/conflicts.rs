//! Conflicts: what several devices put into one place at the same time, of which one is shown.

use automerge::{Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc, Value as AutomergeValue, ValueRef};

use super::{
    Document, Key, MAX_DEPTH, Value,
    document::guard,
    read::{Node, at, read, scalar, suits},
};

/// One of the values of a place in a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The value.
    pub value: Value,
    /// The change that put it there.
    pub change: [u8; 32],
}

impl Document {
    /// Every value that the place at the end of a path has: more than one if devices wrote it without knowing of each other. The last is the
    /// one that is shown. Whoever sets the place decides between them. Empty if nothing is there, or the path leads to no single place.
    pub fn conflicts(&self, path: &[Key]) -> Vec<Candidate> {
        let Some((key, way)) = path.split_last() else {
            return Vec::new();
        };
        let Some(Node::Object(id, kind)) = at(&self.doc, way) else {
            return Vec::new();
        };
        if !suits(kind, key) {
            return Vec::new();
        }
        let all = guard(|| self.doc.get_all(&id, key.prop()).unwrap_or_default()).unwrap_or_default();
        all.into_iter()
            .filter_map(|(value, id)| {
                let change = self.doc.hash_for_opid(&id)?.0;
                let value = match value {
                    AutomergeValue::Object(kind) => read(&self.doc, &id, kind, path.len() + 1),
                    AutomergeValue::Scalar(value) => scalar(&value),
                };
                Some(Candidate { value, change })
            })
            .collect()
    }

    /// Every map, list and text anywhere in the document that stands beside the one that is shown at its place.
    pub(super) fn beside(&self) -> Vec<Value> {
        let mut found = Vec::new();
        guard(|| collect(&self.doc, &ROOT, ObjType::Map, 1, &mut found));
        found
    }
}

fn collect(doc: &Automerge, object: &ObjId, kind: ObjType, level: usize, found: &mut Vec<Value>) {
    if level > MAX_DEPTH {
        return;
    }
    let mut place = |prop: Prop, value: &ValueRef<'_>, id: ObjId, conflict: bool| {
        if let ValueRef::Object(kind) = value {
            collect(doc, &id, *kind, level + 1, found);
        }
        if !conflict {
            return;
        }
        for (value, other) in doc.get_all(object, prop).unwrap_or_default() {
            if let AutomergeValue::Object(kind) = value
                && other != id
            {
                found.push(read(doc, &other, kind, level + 1));
                collect(doc, &other, kind, level + 1, found);
            }
        }
    };
    match kind {
        ObjType::Map | ObjType::Table => {
            for item in doc.map_range(object, ..) {
                place(Prop::Map(item.key.to_string()), &item.value, item.id(), item.conflict);
            }
        }
        ObjType::List => {
            for item in doc.list_range(object, ..) {
                place(Prop::Seq(item.index), &item.value, item.id(), item.conflict);
            }
        }
        ObjType::Text => {}
    }
}
