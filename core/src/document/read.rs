//! What an Automerge document shows, as values: nothing deeper than [`MAX_DEPTH`].

use automerge::{ObjId, ObjType, ROOT, ReadDoc, ScalarValue, ValueRef};

use super::{Key, MAX_DEPTH, Value};

/// What a path leads to.
pub(super) enum Node {
    Object(ObjId, ObjType),
    Scalar(Value),
}

/// One step down from an object; nothing if nothing is there.
pub(super) fn child(doc: &impl ReadDoc, parent: &ObjId, key: &Key) -> Option<Node> {
    let (value, id) = doc.get(parent, key.prop()).ok()??;
    Some(match value {
        automerge::Value::Object(kind) => Node::Object(id, kind),
        automerge::Value::Scalar(value) => Node::Scalar(scalar(&value)),
    })
}

/// Whether a key of this sort can lead anywhere in an object of this type.
pub(super) fn suits(kind: ObjType, key: &Key) -> bool {
    match key {
        Key::Field(_) => matches!(kind, ObjType::Map | ObjType::Table),
        Key::Index(_) => kind == ObjType::List,
    }
}

pub(super) fn get(doc: &impl ReadDoc, path: &[Key]) -> Option<Value> {
    Some(match at(doc, path)? {
        Node::Object(id, kind) => read(doc, &id, kind, path.len() + 1),
        Node::Scalar(value) => value,
    })
}

/// What is at the end of a path.
pub(super) fn at(doc: &impl ReadDoc, path: &[Key]) -> Option<Node> {
    if path.len() >= MAX_DEPTH {
        return None;
    }
    let mut at = Node::Object(ROOT, ObjType::Map);
    for key in path {
        let Node::Object(id, kind) = &at else {
            return None;
        };
        if !suits(*kind, key) {
            return None;
        }
        at = child(doc, id, key)?;
    }
    Some(at)
}

/// An object with everything below it; `level` is how deep it lies.
pub(super) fn read(doc: &impl ReadDoc, id: &ObjId, kind: ObjType, level: usize) -> Value {
    if level > MAX_DEPTH {
        return Value::Null;
    }
    match kind {
        ObjType::Text => Value::Text(doc.text(id).unwrap_or_default()),
        ObjType::Map | ObjType::Table => read_map(doc, id, level),
        ObjType::List => Value::List(
            doc.list_range(id, ..)
                .map(|item| read_item(doc, &item.value, || item.id(), level))
                .collect(),
        ),
    }
}

pub(super) fn read_map(doc: &impl ReadDoc, id: &ObjId, level: usize) -> Value {
    Value::Map(
        doc.map_range(id, ..)
            .map(|item| {
                let value = read_item(doc, &item.value, || item.id(), level);
                (item.key.into_owned(), value)
            })
            .collect(),
    )
}

fn read_item(doc: &impl ReadDoc, value: &ValueRef<'_>, id: impl Fn() -> ObjId, level: usize) -> Value {
    match value {
        ValueRef::Object(kind) => read(doc, &id(), *kind, level + 1),
        ValueRef::Scalar(value) => scalar(&ScalarValue::from(value.clone())),
    }
}

pub(super) fn scalar(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Bytes(value) => Value::Bytes(value.clone()),
        ScalarValue::Str(value) => Value::String(value.to_string()),
        ScalarValue::Int(value) => Value::Int(*value),
        // Nothing here writes these; others' past the range of Int lose
        // precision rather than sign.
        ScalarValue::Uint(value) => i64::try_from(*value).map_or(Value::Float(*value as f64), Value::Int),
        ScalarValue::F64(value) => Value::Float(*value),
        ScalarValue::Counter(value) => Value::Counter(i64::from(value)),
        ScalarValue::Timestamp(value) => Value::Date(*value),
        ScalarValue::Boolean(value) => Value::Bool(*value),
        ScalarValue::Unknown { .. } | ScalarValue::Null => Value::Null,
    }
}

/// How many UTF-16 code units a text has.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Whether a place in a text is between two characters: not inside one, and not past its end.
pub(super) fn is_boundary(doc: &impl ReadDoc, text: &ObjId, at: usize) -> bool {
    let length = doc.length(text);
    if at == 0 || at >= length {
        return at <= length;
    }
    match doc.get(text, at) {
        // Only what takes more than one unit can be pointed into.
        Ok(Some((automerge::Value::Scalar(value), id))) if value.as_str().is_none_or(|letters| units(letters) > 1) => {
            !matches!(doc.get(text, at - 1), Ok(Some((_, before))) if before == id)
        }
        found => matches!(found, Ok(Some(_))),
    }
}
