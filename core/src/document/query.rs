//! Questions to a collection, and which part of which index answers them.
//!
//! A query is answered from one index by one walk, or not at all: its equal fields (and the list that contains a value) are the first of the
//! index, in any order, then comes what is sorted by, whose first field may have a range. What it finds are the documents that have every
//! field it names. Nothing is ever sorted or skipped afterwards.

use std::ops::{Bound, RangeBounds};

use super::{
    FieldPath, Index, ListRow, Value,
    key::{self, END},
};
use crate::log::DocumentId;

/// Rows of a page, at most.
pub const MAX_PAGE: u32 = 10_000;

/// Why a query was not answered. Names no data of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No index answers it without looking at every document.
    #[error("no index answers this: declare one of the fields that are equal, then of those that are sorted by")]
    NotIndexed,
    /// The index is still built from the documents that are here; the pod does that by itself.
    #[error("the index is being built: {done} of {total} documents; try again soon")]
    Building {
        /// Documents that were gone through.
        done: u64,
        /// Documents there are.
        total: u64,
    },
    /// A query, declaration or cursor that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
}

/// The range of one field.
#[derive(Debug, Clone, PartialEq)]
enum Range {
    Between(Bound<Value>, Bound<Value>),
    Prefix(String),
}

/// A question to a collection. See the module for what it can ask.
#[derive(Debug, Clone, Default)]
pub struct Query {
    equal: Vec<(FieldPath, Value)>,
    contains: Option<(FieldPath, Value)>,
    range: Option<(FieldPath, Range)>,
    sort: Vec<FieldPath>,
    descending: bool,
    limit: Option<u32>,
    after: Option<QueryCursor>,
}

impl Query {
    /// Every document; to be said more exactly.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where a field is this. Numbers, dates and counters are equal if they are worth the same, a text is a string.
    #[must_use]
    pub fn equals(mut self, path: impl Into<FieldPath>, value: impl Into<Value>) -> Self {
        self.equal.push((path.into(), value.into()));
        self
    }

    /// Where a list has this among its elements. One list a query.
    #[must_use]
    pub fn contains(mut self, path: impl Into<FieldPath>, value: impl Into<Value>) -> Self {
        self.contains = Some((path.into(), value.into()));
        self
    }

    /// Where a field is in a range, and sorted by it. Without an end it goes on to the last value of the same kind: from a date on there are
    /// numbers, and no strings.
    #[must_use]
    pub fn range(mut self, path: impl Into<FieldPath>, range: impl RangeBounds<Value>) -> Self {
        let (from, until) = (range.start_bound().cloned(), range.end_bound().cloned());
        self.range = Some((path.into(), Range::Between(from, until)));
        self
    }

    /// Where a string or text begins with this, and sorted by it.
    #[must_use]
    pub fn prefix(mut self, path: impl Into<FieldPath>, prefix: &str) -> Self {
        self.range = Some((path.into(), Range::Prefix(prefix.to_owned())));
        self
    }

    /// Sorted by a field; a second one sorts what is the same by the first. Then by id.
    #[must_use]
    pub fn sort(mut self, path: impl Into<FieldPath>) -> Self {
        self.sort.push(path.into());
        self
    }

    /// All of it from the other end.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.descending = true;
        self
    }

    /// So many rows at most, from 1 to 10,000; 100 if nothing is said.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Goes on after a page.
    #[must_use]
    pub fn after(mut self, cursor: QueryCursor) -> Self {
        self.after = Some(cursor);
        self
    }

    pub(super) fn limited(&self) -> u32 {
        self.limit.unwrap_or(100).clamp(1, MAX_PAGE)
    }

    pub(super) fn is_descending(&self) -> bool {
        self.descending
    }

    pub(super) fn cursor(&self) -> Option<&QueryCursor> {
        self.after.as_ref()
    }

    /// Whether an index answers it. The index has these fields and no other: a document that lacks one more would not be found.
    pub(super) fn fits(&self, index: &Index) -> bool {
        let first = self.equal.len() + usize::from(self.contains.is_some());
        let Some((equal, rest)) = index.fields.split_at_checked(first) else {
            return false;
        };
        let named = |path: &FieldPath, each: bool| equal.iter().any(|field| field.path == *path && field.each == each);
        let sort: Vec<&FieldPath> = self
            .sort
            .iter()
            .filter(|path| self.equal.iter().all(|(equal, _)| equal != *path))
            .collect();
        self.equal.iter().all(|(path, _)| named(path, false))
            && self.contains.iter().all(|(path, _)| named(path, true))
            && rest.iter().all(|field| !field.each)
            && self
                .range
                .iter()
                .all(|(path, _)| rest.first().is_some_and(|field| field.path == *path))
            && rest.len() == sort.len().max(usize::from(self.range.is_some()))
            && sort.iter().zip(rest).all(|(path, field)| **path == field.path)
            && !index.fields.is_empty()
    }

    /// The first key it finds in an index that fits, and the first above all it finds.
    pub(super) fn bounds(&self, index: &Index) -> Result<(Vec<u8>, Vec<u8>), QueryError> {
        let mut start = Vec::new();
        let first = self.equal.len() + usize::from(self.contains.is_some());
        for field in index.fields.iter().take(first) {
            let mut named = self.equal.iter().chain(&self.contains);
            let value = named
                .find(|(path, _)| *path == field.path)
                .map(|(_, value)| value)
                .ok_or(QueryError::NotIndexed)?;
            append(&mut start, value)?;
        }
        let Some((_, range)) = &self.range else {
            let until = key::after_prefix(&start);
            return Ok((start, until));
        };
        range.bounds(start)
    }
}

fn append(key: &mut Vec<u8>, value: &Value) -> Result<(), QueryError> {
    if !key::is_whole(value) {
        return Err(QueryError::Invalid(
            "strings and bytes are in an index up to 240 bytes: ask for a shorter one",
        ));
    }
    if !key::append(key, value) {
        return Err(QueryError::Invalid("lists and maps have no order: ask for one value"));
    }
    Ok(())
}

impl Range {
    fn bounds(&self, start: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), QueryError> {
        let with = |value: &Value| {
            let mut key = start.clone();
            append(&mut key, value).map(|()| key)
        };
        let (low, high) = match self {
            Self::Prefix(prefix) if prefix.len() > key::MAX_INDEXED => {
                return Err(QueryError::Invalid(
                    "strings are in an index up to 240 bytes: ask for a shorter one",
                ));
            }
            Self::Prefix(prefix) => {
                let mut low = start.clone();
                key::append_prefix(&mut low, prefix);
                let high = key::after_prefix(&low);
                return Ok((low, high));
            }
            Self::Between(low, high) => (low, high),
        };
        let low_key = match low {
            Bound::Included(value) => with(value)?,
            Bound::Excluded(value) => key::after_prefix(&with(value)?),
            Bound::Unbounded => match high {
                Bound::Included(value) | Bound::Excluded(value) => kind(&start, &with(value)?).0,
                Bound::Unbounded => start.clone(),
            },
        };
        let high_key = match high {
            Bound::Included(value) => key::after_prefix(&with(value)?),
            Bound::Excluded(value) => with(value)?,
            Bound::Unbounded => match low {
                Bound::Included(value) | Bound::Excluded(value) => kind(&start, &with(value)?).1,
                Bound::Unbounded => key::after_prefix(&start),
            },
        };
        Ok((low_key, high_key))
    }
}

/// The first key of the kind of value that stands at the end of `key`, and the first of the next.
fn kind(start: &[u8], key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let tag = key.get(start.len()).map_or(END, |tag| tag & 0xf0);
    let (mut from, mut until) = (start.to_vec(), start.to_vec());
    from.push(tag);
    until.push(tag.saturating_add(0x10));
    (from, until)
}

/// Where a page of a query ended. It stays where it is however the documents around it change, and after the views were made again.
#[derive(Clone, PartialEq, Eq)]
pub struct QueryCursor {
    pub(super) key: Vec<u8>,
    pub(super) document: DocumentId,
}

impl QueryCursor {
    /// As bytes, to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.document.0[..], &self.key].concat()
    }

    /// What [`QueryCursor::to_bytes`] gave. Any other bytes are some place too: nothing worse comes of them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (document, key) = bytes.split_first_chunk::<16>()?;
        Some(Self {
            key: key.to_vec(),
            document: DocumentId(*document),
        })
    }
}

// The key is a person's own words.
impl std::fmt::Debug for QueryCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueryCursor({})", self.document.short())
    }
}

/// A row of a query's answer.
#[derive(Clone, PartialEq)]
pub struct QueryRow {
    /// The document.
    pub document: DocumentId,
    /// Its short top-level fields: strings, numbers, dates, flags and counters, without texts, lists and maps.
    pub fields: serde_json::Value,
    pub(super) key: Vec<u8>,
}

impl QueryRow {
    /// Its place in this query's order.
    pub fn cursor(&self) -> QueryCursor {
        QueryCursor {
            key: self.key.clone(),
            document: self.document,
        }
    }
}

impl std::fmt::Debug for QueryRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueryRow({})", self.document.short())
    }
}

/// A page of a query's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryPage {
    /// In the query's order.
    pub rows: Vec<QueryRow>,
    /// Give it back for the next page; `None` after the last.
    pub next: Option<QueryCursor>,
}

/// A row of an answer that has one order, which the row alone gives: two rows that are the same are in the same place to each other.
pub trait Ordered: Clone + PartialEq {
    /// The document.
    fn document(&self) -> DocumentId;
    /// Whether another row of the same document stands in the same place.
    fn same_place(&self, other: &Self) -> bool;
}

impl Ordered for QueryRow {
    fn document(&self) -> DocumentId {
        self.document
    }

    fn same_place(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Ordered for ListRow {
    fn document(&self) -> DocumentId {
        self.document
    }

    fn same_place(&self, other: &Self) -> bool {
        self.millis == other.millis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(query: &Query, index: &Index, value: &Value) -> bool {
        let (from, until) = query.bounds(index).unwrap();
        let document = Value::Map([("n".into(), value.clone()), ("k".into(), Value::from("x"))].into());
        key::keys(index, &document)
            .iter()
            .any(|key| *key >= from && *key < until)
    }

    #[test]
    fn an_index_answers_what_has_its_fields_in_its_order_and_nothing_else() {
        let index = Index::on("kind").then("done").then("date");
        let by = || Query::new().equals("done", true).equals("kind", "x");
        assert!(by().sort("date").fits(&index), "equal fields in any order");
        assert!(by().range("date", ..Value::from(5)).fits(&index));
        assert!(
            by().sort("kind").sort("date").fits(&index),
            "sorting by what is equal says nothing"
        );
        assert!(!by().fits(&index), "documents without a date would be missed");
        assert!(!by().sort("title").fits(&index));
        assert!(!Query::new().equals("done", true).sort("kind").sort("date").fits(&index));
        assert!(Query::new().equals("kind", "x").sort("done").sort("date").fits(&index));
        assert!(
            Query::new()
                .equals("kind", "x")
                .range("done", ..)
                .sort("done")
                .sort("date")
                .fits(&index)
        );
        assert!(!Query::new().equals("kind", "x").range("date", ..).fits(&index));
        assert!(!Query::new().fits(&index) && !Query::new().sort("date").fits(&index));
        let tags = Index::each("tags").then("date");
        assert!(Query::new().contains("tags", "a").sort("date").fits(&tags));
        assert!(!Query::new().equals("tags", "a").sort("date").fits(&tags));
        assert!(
            !Query::new().sort("tags").sort("date").fits(&tags),
            "a document would be there twice"
        );
        assert!(!Query::new().range("tags", ..).sort("tags").sort("date").fits(&tags));
    }

    #[test]
    fn a_range_has_the_ends_it_was_given() {
        let index = Index::on("k").then("n");
        let in_range = |range: (Bound<i64>, Bound<i64>), n: f64| {
            let range = (range.0.map(Value::Int), range.1.map(Value::Int));
            finds(
                &Query::new().equals("k", "x").range("n", range),
                &index,
                &Value::Float(n),
            )
        };
        use Bound::{Excluded, Included, Unbounded};
        for (range, inside) in [
            ((Included(1), Included(2)), [false, true, true, true, false]),
            ((Excluded(1), Included(2)), [false, false, true, true, false]),
            ((Included(1), Excluded(2)), [false, true, true, false, false]),
            ((Unbounded, Excluded(2)), [true, true, true, false, false]),
            ((Excluded(1), Unbounded), [false, false, true, true, true]),
            ((Unbounded, Unbounded), [true; 5]),
        ] {
            assert_eq!(
                [0.5, 1.0, 1.5, 2.0, 2.5].map(|n| in_range(range, n)),
                inside,
                "{range:?}"
            );
        }
        let from = Query::new().equals("k", "x").range("n", Value::from(1)..);
        assert!(!finds(&from, &index, &Value::from("a string")), "another kind");
        assert!(!finds(&from, &index, &Value::Null));
        let below = Query::new().equals("k", "x").range("n", ..Value::from("b"));
        assert!(finds(&below, &index, &Value::from("a")) && !finds(&below, &index, &Value::from(1)));
        let all = Query::new().equals("k", "x").range("n", ..);
        assert!(finds(&all, &index, &Value::Null) && finds(&all, &index, &Value::from("z")));
        assert!(!finds(
            &Query::new().equals("k", "y").range("n", ..),
            &index,
            &Value::Null
        ));
    }

    #[test]
    fn a_cursor_reads_back_and_shows_nothing() {
        let cursor = QueryCursor {
            key: b"secret".to_vec(),
            document: DocumentId([7; 16]),
        };
        assert_eq!(QueryCursor::from_bytes(&cursor.to_bytes()), Some(cursor.clone()));
        assert!(!format!("{cursor:?}").contains("secret") && QueryCursor::from_bytes(&[0; 15]).is_none());
        let query = Query::new().equals("a field", "a secret").prefix("another", "word");
        assert!(!format!("{query:?}").contains("secret"));
    }
}
