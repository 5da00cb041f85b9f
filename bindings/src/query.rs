//! What is asked of a collection: its schema, queries, live queries and search.

use std::{collections::HashMap, ops::Bound, sync::Arc};

use data_encoding::HEXLOWER;
use rhizome::{DocumentId, QueryWatch};

use crate::{
    CancelHandle, CollectionHandle, RhizomeError, Value,
    document::{AsyncNext, Pulled},
    runtime::ask,
    value::row_fields,
};

/// What an application declares of a collection: a wish about reading only. Documents may lack any field or have it of another type, and are
/// then in no index that needs it.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct Schema {
    /// Its indexes, 32 at most.
    #[uniffi(default = [])]
    pub indexes: Vec<Index>,
    /// The fields that are searched, 16 at most.
    #[uniffi(default = [])]
    pub search: Vec<SearchField>,
}

/// Documents in the order of these fields, the first first. A document is in it if it has every field, with a value that has an order: all but
/// lists and maps.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct Index {
    /// 1 to 8, one that is taken by `each` element at most.
    pub fields: Vec<IndexField>,
}

/// A field of an index.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct IndexField {
    /// The names that lead to it, from the document's top.
    pub path: Vec<String>,
    /// Whether it is a list, each element of which is in the index on its own.
    #[uniffi(default = false)]
    pub each: bool,
}

/// A field whose words are searched.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct SearchField {
    /// The names that lead to it: a text or string, or a list or map of them.
    pub path: Vec<String>,
    /// How much a word in it counts, from 1 to 100.
    #[uniffi(default = 1)]
    pub weight: u8,
}

impl From<Schema> for rhizome::Schema {
    fn from(schema: Schema) -> Self {
        let field = |field: IndexField| rhizome::IndexField {
            path: field.path.into(),
            each: field.each,
        };
        let index = |index: Index| rhizome::Index {
            fields: index.fields.into_iter().map(field).collect(),
        };
        let search = |field: SearchField| rhizome::SearchField {
            path: field.path.into(),
            weight: field.weight,
        };
        Self {
            indexes: schema.indexes.into_iter().map(index).collect(),
            search: schema.search.into_iter().map(search).collect(),
        }
    }
}

/// How far the indexes of a collection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct IndexProgress {
    /// Documents that were gone through.
    pub done: u64,
    /// Documents there are.
    pub total: u64,
}

/// A field and what it is.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct FieldValue {
    /// The names that lead to it, from the document's top.
    pub path: Vec<String>,
    /// What it is. Numbers, dates and counters are equal if they are worth the same, a text is a string.
    pub value: Value,
}

/// A field in a range; without an end it goes on to the last value of the same kind.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct FieldRange {
    /// The names that lead to it, from the document's top.
    pub path: Vec<String>,
    /// From where, itself among it.
    #[uniffi(default = None)]
    pub from: Option<Value>,
    /// Up to where, itself not.
    #[uniffi(default = None)]
    pub until: Option<Value>,
    /// Whether what `from` is itself is left out.
    #[uniffi(default = false)]
    pub above_from: bool,
    /// Whether what `until` is itself is among it.
    #[uniffi(default = false)]
    pub to_until: bool,
    /// In place of both ends: strings and texts that begin with this. Not in a search.
    #[uniffi(default = None)]
    pub prefix: Option<String>,
}

type Bounds = (Bound<rhizome::Value>, Bound<rhizome::Value>);

impl FieldRange {
    fn bounds(self) -> (Vec<String>, Bounds) {
        let bound = |value: Option<Value>, included: bool| match value {
            None => Bound::Unbounded,
            Some(value) if included => Bound::Included(value.into()),
            Some(value) => Bound::Excluded(value.into()),
        };
        let bounds = (bound(self.from, !self.above_from), bound(self.until, self.to_until));
        (self.path, bounds)
    }

    fn has_ends(&self) -> bool {
        self.from.is_some() || self.until.is_some()
    }
}

/// A question to a collection, answered from one declared index by one walk: its `equal` fields (and the list that `contains` a value) are the
/// first of the index, in any order, then comes what it is sorted by, whose first field may have a range. It finds the documents that have every
/// field it names.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct Query {
    /// Where these fields are this.
    #[uniffi(default = [])]
    pub equal: Vec<FieldValue>,
    /// Where this list has this among its elements.
    #[uniffi(default = None)]
    pub contains: Option<FieldValue>,
    /// Where this field is in a range, and sorted by it.
    #[uniffi(default = None)]
    pub range: Option<FieldRange>,
    /// Sorted by these fields, the first first; then by id.
    #[uniffi(default = [])]
    pub sort: Vec<Vec<String>>,
    /// All of it from the other end.
    #[uniffi(default = false)]
    pub descending: bool,
    /// So many rows at most, from 1 to 10,000; 100 if nothing is said.
    #[uniffi(default = None)]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[uniffi(default = None)]
    pub after: Option<String>,
}

fn wrong(why: &str) -> RhizomeError {
    RhizomeError::invalid("query", why)
}

/// The bytes of a cursor.
pub(crate) fn cursor_bytes(cursor: &str) -> Result<Vec<u8>, RhizomeError> {
    let bytes = HEXLOWER.decode(cursor.as_bytes());
    bytes.map_err(|_| no_cursor())
}

/// What a cursor that no page gave is answered with.
pub(crate) fn no_cursor() -> RhizomeError {
    wrong("this is not the `next` of a page")
}

impl TryFrom<Query> for rhizome::Query {
    type Error = RhizomeError;

    fn try_from(query: Query) -> Result<Self, RhizomeError> {
        let mut made = Self::new();
        for field in query.equal {
            made = made.equals(field.path, field.value);
        }
        if let Some(field) = query.contains {
            made = made.contains(field.path, field.value);
        }
        made = match query.range {
            None => made,
            Some(range) if range.prefix.is_some() && range.has_ends() => {
                return Err(wrong("a range has ends or a prefix, not both"));
            }
            Some(FieldRange {
                path,
                prefix: Some(prefix),
                ..
            }) => made.prefix(path, &prefix),
            Some(range) => {
                let (path, bounds) = range.bounds();
                made.range(path, bounds)
            }
        };
        for field in query.sort {
            made = made.sort(field);
        }
        if query.descending {
            made = made.descending();
        }
        if let Some(limit) = query.limit {
            made = made.limit(limit);
        }
        if let Some(cursor) = query.after {
            let cursor = rhizome::QueryCursor::from_bytes(&cursor_bytes(&cursor)?);
            made = made.after(cursor.ok_or_else(no_cursor)?);
        }
        Ok(made)
    }
}

/// A row of a query's answer.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct QueryRow {
    /// The document's id.
    pub id: String,
    /// Its short top-level fields: strings, numbers, flags and counters as they are, dates as whole numbers.
    pub fields: HashMap<String, Value>,
}

impl From<rhizome::QueryRow> for QueryRow {
    fn from(row: rhizome::QueryRow) -> Self {
        Self {
            id: row.document.to_string(),
            fields: row_fields(row.fields),
        }
    }
}

/// A page of a query's answer.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct QueryPage {
    /// In the query's order.
    pub rows: Vec<QueryRow>,
    /// Give it back as `after` for the next page; none after the last. It stays where it is however the documents around it change.
    pub next: Option<String>,
}

/// Why a row is in a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum PlacedAs {
    /// It was not in the answer before.
    Inserted,
    /// It is where it was among the others, and another.
    Updated,
    /// What the answer is sorted by is another.
    Moved,
}

/// A row of a query's answer and its place.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct PlacedQueryRow {
    /// Its place from 0, in the answer as it is after the whole difference.
    pub index: u64,
    /// The row.
    pub row: QueryRow,
    /// Why it is here.
    pub placed: PlacedAs,
}

/// What became of a query's answer since the difference before: take away `removed` and every document in `placed`, then put those of `placed`
/// where they belong, first to last. What is in neither stays as it is.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct QueryDiff {
    /// Ids of documents that are no longer in it.
    pub removed: Vec<String>,
    /// Rows that are new, changed or elsewhere, by index.
    pub placed: Vec<PlacedQueryRow>,
}

impl From<rhizome::QueryDiff> for QueryDiff {
    fn from(diff: rhizome::QueryDiff) -> Self {
        let placed = |placed: rhizome::Placed<rhizome::QueryRow>| PlacedQueryRow {
            index: placed.index as u64,
            row: placed.row.into(),
            placed: match placed.placed {
                rhizome::PlacedAs::Inserted => PlacedAs::Inserted,
                rhizome::PlacedAs::Updated => PlacedAs::Updated,
                rhizome::PlacedAs::Moved => PlacedAs::Moved,
            },
        };
        Self {
            removed: diff.removed.iter().map(DocumentId::to_string).collect(),
            placed: diff.placed.into_iter().map(placed).collect(),
        }
    }
}

/// What a query finds, as it changes.
#[derive(uniffi::Object)]
pub struct QuerySubscription(Pulled<QueryWatch>);

struct NextQuery;

impl AsyncNext<QueryWatch, QueryDiff> for NextQuery {
    async fn next(self, watch: &mut QueryWatch) -> Result<Option<QueryDiff>, rhizome::Error> {
        Ok(watch.next().await?.map(QueryDiff::from))
    }
}

#[uniffi::export]
impl QuerySubscription {
    /// The difference since the last call, and first the whole answer; waits for one, and for an index that is built. None once this was
    /// cancelled or the pod is shut down. Async.
    pub async fn next(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Option<QueryDiff>, RhizomeError> {
        self.0.next(cancel, NextQuery).await
    }

    /// Ends it: whoever waits for the next is told none. Instant.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

/// What is searched for.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct Search {
    /// As a person typed it: words and "phrases" that all must be there, in any of the searched fields; `begin*` is the beginning of a word. Of
    /// more than 1,024 bytes, 16 terms or 48 words the first count.
    pub text: String,
    /// While it is typed: the last word may be begun only.
    #[uniffi(default = false)]
    pub typing: bool,
    /// Whether hits have excerpts; without them the documents' texts are not read, which is faster.
    #[uniffi(default = true)]
    pub excerpts: bool,
    /// Only documents with this field in this range. An index of this field alone must be declared.
    #[uniffi(default = None)]
    pub within: Option<FieldRange>,
    /// So many hits at most, from 1 to 1,000; 20 if nothing is said.
    #[uniffi(default = None)]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[uniffi(default = None)]
    pub after: Option<String>,
}

impl TryFrom<Search> for rhizome::Search {
    type Error = RhizomeError;

    fn try_from(search: Search) -> Result<Self, RhizomeError> {
        let mut made = Self::new(search.text);
        if search.typing {
            made = made.typing();
        }
        if !search.excerpts {
            made = made.without_excerpts();
        }
        if let Some(range) = search.within {
            if range.prefix.is_some() {
                return Err(wrong("a search is within a range that has ends, not a prefix"));
            }
            let (path, bounds) = range.bounds();
            made = made.within(path, bounds);
        }
        if let Some(limit) = search.limit {
            made = made.limit(limit);
        }
        if let Some(cursor) = search.after {
            let cursor = rhizome::SearchCursor::from_bytes(&cursor_bytes(&cursor)?);
            made = made.after(cursor.ok_or_else(no_cursor)?);
        }
        Ok(made)
    }
}

/// A part of a text, in UTF-16 code units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, uniffi::Record)]
pub struct TextRange {
    /// From where.
    pub start: u64,
    /// Up to where, itself not.
    pub end: u64,
}

/// Part of a text, and where in it is what was looked for.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct Excerpt {
    /// The names that lead to the field, from the document's top.
    pub path: Vec<String>,
    /// The part: some 200 bytes, or more if what was found is longer.
    pub text: String,
    /// Where in it, in order and apart from each other, each from the beginning of a word to the end of one.
    pub ranges: Vec<TextRange>,
    /// Whether the text has more before it.
    pub cut_before: bool,
    /// Whether the text has more after it.
    pub cut_after: bool,
}

impl From<(rhizome::FieldPath, rhizome::Excerpt)> for Excerpt {
    fn from((path, excerpt): (rhizome::FieldPath, rhizome::Excerpt)) -> Self {
        let mut walk = Walk::default();
        let ranges = excerpt.ranges.iter().map(|range| TextRange {
            start: walk.units_before(&excerpt.text, range.start),
            end: walk.units_before(&excerpt.text, range.end),
        });
        Self {
            path: path.names().to_vec(),
            ranges: ranges.collect(),
            text: excerpt.text,
            cut_before: excerpt.cut_before,
            cut_after: excerpt.cut_after,
        }
    }
}

/// Counts UTF-16 code units up to places that come one after the other.
#[derive(Default)]
struct Walk {
    bytes: usize,
    units: usize,
}

impl Walk {
    fn units_before(&mut self, text: &str, byte: usize) -> u64 {
        let part = text.get(self.bytes..byte).unwrap_or_default();
        self.units += part.encode_utf16().count();
        self.bytes += part.len();
        self.units as u64
    }
}

/// A document that was found.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct Hit {
    /// The document's id.
    pub id: String,
    /// How well it fits: the more, the better. Comparable within one search.
    pub score: f64,
    /// Its short top-level fields, as those of a query's row.
    pub fields: HashMap<String, Value>,
    /// Of each searched field in which something was found, the part with most of it.
    pub excerpts: Vec<Excerpt>,
}

/// A page of hits.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct SearchPage {
    /// The best first. Of more than 10,000 matches, those that came to this device last are ranked.
    pub hits: Vec<Hit>,
    /// Give it back as `after` for the next page; none after the last.
    pub next: Option<String>,
}

impl From<rhizome::SearchPage> for SearchPage {
    fn from(page: rhizome::SearchPage) -> Self {
        let hit = |hit: rhizome::Hit| Hit {
            id: hit.document.to_string(),
            score: hit.score,
            fields: row_fields(hit.fields),
            excerpts: hit.excerpts.into_iter().map(Excerpt::from).collect(),
        };
        Self {
            hits: page.hits.into_iter().map(hit).collect(),
            next: page.next.map(|next| HEXLOWER.encode(&next.to_bytes())),
        }
    }
}

#[uniffi::export]
impl CollectionHandle {
    /// Says which indexes and searched fields the collection has: to be called whenever the pod was opened. What is new is built in the
    /// background, and until it is done queries that need it throw `InvalidInput` with the code `indexing`; a collection of some hundred
    /// documents is ready when this returns. What the schema does not name is dropped, but for what lists asked for. Async.
    pub async fn declare(&self, schema: Schema, cancel: Option<Arc<CancelHandle>>) -> Result<(), RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        ask(cancel, async move { pod.declare(&name, schema.into()).await }).await
    }

    /// How far the indexes are; none if they are ready. Async.
    pub async fn index_progress(
        &self,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Option<IndexProgress>, RhizomeError> {
        let (pod, name) = (self.pod.clone(), self.name.clone());
        ask(cancel, async move {
            let progress = pod.index_progress(&name).await?;
            Ok::<_, rhizome::Error>(progress.map(|progress| IndexProgress {
                done: progress.done,
                total: progress.total,
            }))
        })
        .await
    }

    /// A page of what a query finds. `InvalidInput` with the code `not-indexed` if no declared index answers it, `indexing` while its index is
    /// built. Async.
    pub async fn query(&self, query: Query, cancel: Option<Arc<CancelHandle>>) -> Result<QueryPage, RhizomeError> {
        let (pod, name, query) = (self.pod.clone(), self.name.clone(), query.try_into()?);
        ask(cancel, async move {
            let page = pod.query(&name, query).await?;
            Ok::<_, rhizome::Error>(QueryPage {
                rows: page.rows.into_iter().map(QueryRow::from).collect(),
                next: page.next.map(|next| HEXLOWER.encode(&next.to_bytes())),
            })
        })
        .await
    }

    /// How many documents a query finds, whatever its limit and cursor. Takes time that grows with that number. Async.
    pub async fn count_query(&self, query: Query, cancel: Option<Arc<CancelHandle>>) -> Result<u64, RhizomeError> {
        let (pod, name, query) = (self.pod.clone(), self.name.clone(), query.try_into()?);
        ask(cancel, async move { pod.count_query(&name, query).await }).await
    }

    /// Watches what a query finds: its first page, from its cursor on. Instant.
    pub fn watch_query(&self, query: Query) -> Result<Arc<QuerySubscription>, RhizomeError> {
        let watch = self.pod.watch_query(&self.name, query.try_into()?);
        Ok(Arc::new(QuerySubscription(Pulled::new(watch))))
    }

    /// A page of what a search finds in the fields that the schema names. Throws as [`CollectionHandle::query`]. Async.
    pub async fn search(&self, search: Search, cancel: Option<Arc<CancelHandle>>) -> Result<SearchPage, RhizomeError> {
        let (pod, name, search) = (self.pod.clone(), self.name.clone(), search.try_into()?);
        ask(
            cancel,
            async move { pod.search(&name, search).await.map(SearchPage::from) },
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_an_excerpt_are_utf16() {
        let excerpt = rhizome::Excerpt {
            text: "ü😀 word".into(),
            ranges: vec![0..2, 7..11],
            cut_before: false,
            cut_after: true,
        };
        let excerpt = Excerpt::from((rhizome::FieldPath::from("text"), excerpt));
        let ranges: Vec<(u64, u64)> = excerpt.ranges.iter().map(|range| (range.start, range.end)).collect();
        assert_eq!(ranges, [(0, 1), (4, 8)]);
    }
}
