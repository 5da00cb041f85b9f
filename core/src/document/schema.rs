//! What an application declares of a collection: the indexes that its queries need, and the fields that are searched.
//!
//! A collection needs no schema. What is declared is a wish about reading only: documents may lack any field or have it of another type, and
//! are then in no index that needs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{QueryError, Value};

/// Indexes of one collection.
pub const MAX_INDEXES: usize = 32;
/// Fields of one index.
pub const MAX_INDEX_FIELDS: usize = 8;
/// Searched fields of one collection.
pub const MAX_SEARCHED: usize = 16;
/// Steps of a field's path.
const MAX_STEPS: usize = 16;
/// Bytes of one step.
const MAX_STEP: usize = 256;

/// A field, from the document's top through maps: `"date"`, or `["place", "name"]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FieldPath(Vec<String>);

impl From<&str> for FieldPath {
    fn from(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

impl From<String> for FieldPath {
    fn from(name: String) -> Self {
        Self(vec![name])
    }
}

impl<const N: usize> From<[&str; N]> for FieldPath {
    fn from(names: [&str; N]) -> Self {
        Self(names.map(str::to_owned).into())
    }
}

impl From<Vec<String>> for FieldPath {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

// Names of fields may be a person's own.
impl std::fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FieldPath({} steps)", self.0.len())
    }
}

impl FieldPath {
    /// The names, from the top.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// What stands there in a document.
    pub(super) fn of<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, |value, name| match value {
            Value::Map(fields) => fields.get(name),
            _ => None,
        })
    }

    fn is_valid(&self) -> bool {
        (1..=MAX_STEPS).contains(&self.0.len()) && self.0.iter().all(|name| name.len() <= MAX_STEP)
    }
}

/// A field of an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IndexField {
    /// Where it stands.
    pub path: FieldPath,
    /// Whether it is a list, each element of which is in the index on its own.
    pub each: bool,
}

/// An index: documents in the order of these fields, the first first. A document is in it if it has every field, with a value that has an
/// order: nothing, a flag, a number, a date, a counter, a string or text, bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Index {
    /// One field at least; one that is taken by `each` element at most.
    pub fields: Vec<IndexField>,
}

impl Index {
    /// By one field.
    pub fn on(path: impl Into<FieldPath>) -> Self {
        Self { fields: Vec::new() }.then(path)
    }

    /// By each element of a list.
    pub fn each(path: impl Into<FieldPath>) -> Self {
        let (path, each) = (path.into(), true);
        Self {
            fields: vec![IndexField { path, each }],
        }
    }

    /// And, where these are the same, by another field.
    #[must_use]
    pub fn then(mut self, path: impl Into<FieldPath>) -> Self {
        let (path, each) = (path.into(), false);
        self.fields.push(IndexField { path, each });
        self
    }

    pub(super) fn check(&self) -> Result<(), QueryError> {
        let paths: BTreeMap<&FieldPath, bool> = self.fields.iter().map(|field| (&field.path, field.each)).collect();
        let fits = (1..=MAX_INDEX_FIELDS).contains(&self.fields.len())
            && paths.len() == self.fields.len()
            && paths.keys().all(|path| path.is_valid())
            && paths.values().filter(|each| **each).count() <= 1;
        fits.then_some(()).ok_or(QueryError::Invalid(
            "an index has 1 to 8 different fields, one list at most",
        ))
    }
}

/// A field whose words are searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchField {
    /// Where it stands: a text or string, or a list or map of them.
    pub path: FieldPath,
    /// How much a word in it counts, from 1 to 100.
    pub weight: u8,
}

/// What is kept of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Its indexes.
    pub indexes: Vec<Index>,
    /// The fields that are searched.
    pub search: Vec<SearchField>,
}

impl Schema {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// And an index.
    #[must_use]
    pub fn index(mut self, index: Index) -> Self {
        self.indexes.push(index);
        self
    }

    /// And a searched field; a word in it counts `weight` times.
    #[must_use]
    pub fn search(mut self, path: impl Into<FieldPath>, weight: u8) -> Self {
        let path = path.into();
        self.search.push(SearchField { path, weight });
        self
    }

    pub(super) fn check(&self) -> Result<(), QueryError> {
        self.indexes.iter().try_for_each(Index::check)?;
        if self.indexes.len() > MAX_INDEXES {
            return Err(QueryError::Invalid("a collection has 32 indexes at most"));
        }
        let fits = |field: &SearchField| field.path.is_valid() && (1..=100).contains(&field.weight);
        if self.search.len() > MAX_SEARCHED || !self.search.iter().all(fits) {
            return Err(QueryError::Invalid(
                "a collection has 16 searched fields at most, of weights from 1 to 100",
            ));
        }
        Ok(())
    }
}
