//! Values and edits as they cross.

use std::collections::HashMap;

use crate::RhizomeError;

/// One value of a document, with everything below it.
#[derive(Clone, PartialEq, uniffi::Enum)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool {
        /// Which.
        value: bool,
    },
    /// A whole number.
    Int {
        /// The number.
        value: i64,
    },
    /// A number with a fraction.
    Float {
        /// The number.
        value: f64,
    },
    /// Text edited together: concurrent edits of it merge.
    Text {
        /// The text.
        value: String,
    },
    /// A string replaced as a whole: of concurrent writes one wins.
    Str {
        /// The string.
        value: String,
    },
    /// Bytes replaced as a whole.
    Bytes {
        /// The bytes.
        value: Vec<u8>,
    },
    /// A moment.
    Date {
        /// Milliseconds since 1970-01-01 UTC.
        millis: i64,
    },
    /// A number whose concurrent increments add up.
    Counter {
        /// The number.
        value: i64,
    },
    /// Values in order.
    List {
        /// The values.
        values: Vec<Value>,
    },
    /// Values by name.
    Map {
        /// The values.
        fields: HashMap<String, Value>,
    },
}

// What users write must not reach logs.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value")
    }
}

impl From<rhizome::Value> for Value {
    fn from(value: rhizome::Value) -> Self {
        use rhizome::Value as Core;
        match value {
            Core::Null => Self::Null,
            Core::Bool(value) => Self::Bool { value },
            Core::Int(value) => Self::Int { value },
            Core::Float(value) => Self::Float { value },
            Core::Text(value) => Self::Text { value },
            Core::String(value) => Self::Str { value },
            Core::Bytes(value) => Self::Bytes { value },
            Core::Date(millis) => Self::Date { millis },
            Core::Counter(value) => Self::Counter { value },
            Core::List(values) => Self::List {
                values: values.into_iter().map(Self::from).collect(),
            },
            Core::Map(fields) => Self::Map {
                fields: fields.into_iter().map(|(name, value)| (name, value.into())).collect(),
            },
        }
    }
}

impl From<Value> for rhizome::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool { value } => Self::Bool(value),
            Value::Int { value } => Self::Int(value),
            Value::Float { value } => Self::Float(value),
            Value::Text { value } => Self::Text(value),
            Value::Str { value } => Self::String(value),
            Value::Bytes { value } => Self::Bytes(value),
            Value::Date { millis } => Self::Date(millis),
            Value::Counter { value } => Self::Counter(value),
            Value::List { values } => Self::List(values.into_iter().map(Self::from).collect()),
            Value::Map { fields } => Self::Map(fields.into_iter().map(|(name, value)| (name, value.into())).collect()),
        }
    }
}

/// The short fields of a row: lists show them as JSON has them, dates as whole numbers.
pub(crate) fn row_fields(fields: serde_json::Value) -> HashMap<String, Value> {
    use serde_json::Value as Json;
    let Json::Object(fields) = fields else {
        return HashMap::new();
    };
    let value = |json: Json| match json {
        Json::Bool(value) => Value::Bool { value },
        Json::String(value) => Value::Str { value },
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int { value },
            None => number.as_f64().map_or(Value::Null, |value| Value::Float { value }),
        },
        // Rows hold neither lists nor maps.
        Json::Null | Json::Array(_) | Json::Object(_) => Value::Null,
    };
    fields.into_iter().map(|(name, json)| (name, value(json))).collect()
}

/// One step of a path into a document.
#[derive(Clone, PartialEq, Eq, uniffi::Enum)]
pub enum PathKey {
    /// A field of a map.
    Field {
        /// Its name.
        name: String,
    },
    /// A place in a list, from 0.
    Index {
        /// The place.
        index: u64,
    },
}

// Names of fields may be users' data.
impl std::fmt::Debug for PathKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PathKey")
    }
}

/// A path in a document as it crosses.
pub(crate) fn path(path: Vec<PathKey>) -> Result<Vec<rhizome::Key>, RhizomeError> {
    path.into_iter()
        .map(|key| match key {
            PathKey::Field { name } => Ok(rhizome::Key::Field(name)),
            PathKey::Index { index } => Ok(rhizome::Key::Index(place(index)?)),
        })
        .collect()
}

/// A path of a document as it was given.
pub(crate) fn path_keys(path: Vec<rhizome::Key>) -> Vec<PathKey> {
    path.into_iter()
        .map(|key| match key {
            rhizome::Key::Field(name) => PathKey::Field { name },
            rhizome::Key::Index(index) => PathKey::Index { index: index as u64 },
        })
        .collect()
}

pub(crate) fn place(place: u64) -> Result<usize, RhizomeError> {
    usize::try_from(place).map_err(|_| RhizomeError::invalid("document", "a place in a list or text is past its end"))
}

/// One edit of a document. Places in texts are counted in UTF-16 code units.
#[derive(Clone, PartialEq, uniffi::Enum)]
pub enum EditOp {
    /// Puts a value at the end of a path; maps on the way are made.
    Set {
        /// Where.
        path: Vec<PathKey>,
        /// What.
        value: Value,
    },
    /// Removes the value at the end of a path.
    Delete {
        /// What.
        path: Vec<PathKey>,
    },
    /// Puts a value into a list.
    Insert {
        /// The list.
        path: Vec<PathKey>,
        /// Before which of its values; its length for the end.
        index: u64,
        /// What.
        value: Value,
    },
    /// In a text, removes some of it and puts something there.
    SpliceText {
        /// The text.
        path: Vec<PathKey>,
        /// From where.
        at: u64,
        /// How much goes.
        delete: u64,
        /// What comes.
        insert: String,
    },
    /// Makes a text read as given, by the least edits; one that is not there is made.
    SetText {
        /// The text.
        path: Vec<PathKey>,
        /// What it reads then.
        text: String,
    },
    /// Adds to a counter.
    Increment {
        /// The counter.
        path: Vec<PathKey>,
        /// By how much.
        by: i64,
    },
    /// Sets a mark of some of a text.
    Mark {
        /// The text.
        path: Vec<PathKey>,
        /// From where.
        start: u64,
        /// Up to where, itself not.
        end: u64,
        /// The mark's name, of 1 to 256 bytes.
        name: String,
        /// What it is set to: neither nothing nor a text, counter, list or map.
        value: Value,
        /// Whether text put in at its ends gets it.
        expand: Expand,
    },
    /// Takes a mark away from some of a text.
    Unmark {
        /// The text.
        path: Vec<PathKey>,
        /// From where.
        start: u64,
        /// Up to where, itself not.
        end: u64,
        /// The mark's name.
        name: String,
        /// Whether text put in at its ends stays without it.
        expand: Expand,
    },
}

/// Whether text that is put in right at the ends of a mark gets the mark too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum Expand {
    /// At its start.
    Before,
    /// At its end: for bold and the like.
    After,
    /// At both.
    Both,
    /// At neither: for links and remarks.
    None,
}

impl From<Expand> for rhizome::Expand {
    fn from(expand: Expand) -> Self {
        match expand {
            Expand::Before => Self::Before,
            Expand::After => Self::After,
            Expand::Both => Self::Both,
            Expand::None => Self::None,
        }
    }
}

/// A piece of text that has the same marks throughout.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct Span {
    /// The text.
    pub text: String,
    /// What each of its marks is set to.
    pub marks: HashMap<String, Value>,
}

impl From<rhizome::Span> for Span {
    fn from(span: rhizome::Span) -> Self {
        Self {
            text: span.text,
            marks: marks(span.marks),
        }
    }
}

pub(crate) fn marks(marks: rhizome::Marks) -> HashMap<String, Value> {
    marks.into_iter().map(|(name, value)| (name, value.into())).collect()
}

// A person's own words.
impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Span({} bytes)", self.text.len())
    }
}

impl std::fmt::Debug for EditOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EditOp")
    }
}

impl TryFrom<EditOp> for rhizome::EditOp {
    type Error = RhizomeError;

    fn try_from(op: EditOp) -> Result<Self, RhizomeError> {
        Ok(match op {
            EditOp::Set { path: at, value } => Self::Set {
                path: path(at)?,
                value: value.into(),
            },
            EditOp::Delete { path: at } => Self::Delete { path: path(at)? },
            EditOp::Insert { path: at, index, value } => Self::Insert {
                path: path(at)?,
                index: place(index)?,
                value: value.into(),
            },
            EditOp::SpliceText {
                path: text,
                at,
                delete,
                insert,
            } => Self::SpliceText {
                path: path(text)?,
                at: place(at)?,
                delete: place(delete)?,
                insert,
            },
            EditOp::SetText { path: at, text } => Self::SetText { path: path(at)?, text },
            EditOp::Increment { path: at, by } => Self::Increment { path: path(at)?, by },
            EditOp::Mark {
                path: text,
                start,
                end,
                name,
                value,
                expand,
            } => Self::Mark {
                path: path(text)?,
                range: place(start)?..place(end)?,
                name,
                value: value.into(),
                expand: expand.into(),
            },
            EditOp::Unmark {
                path: text,
                start,
                end,
                name,
                expand,
            } => Self::Unmark {
                path: path(text)?,
                range: place(start)?..place(end)?,
                name,
                expand: expand.into(),
            },
        })
    }
}

/// Edits as they cross.
pub(crate) fn ops(ops: Vec<EditOp>) -> Result<Vec<rhizome::EditOp>, RhizomeError> {
    ops.into_iter().map(TryFrom::try_from).collect()
}
