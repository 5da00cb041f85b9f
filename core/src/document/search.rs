//! Full-text search in a collection: what is asked, and what is answered.

use std::ops::RangeBounds;

use super::{FieldPath, Query, Value, words::Excerpt};
use crate::log::DocumentId;

/// What is searched for. Words and "phrases" that all must be there, in any of the searched fields; `begin*` is the beginning of a word.
#[derive(Clone)]
pub struct Search {
    pub(super) asked: String,
    pub(super) typing: bool,
    pub(super) excerpts: bool,
    pub(super) within: Option<(FieldPath, Query)>,
    pub(super) limit: u32,
    pub(super) after: Option<SearchCursor>,
}

impl Search {
    /// As a person typed it: any text can be given. Of more than 1,024 bytes, 16 terms or 48 words the first count.
    pub fn new(asked: impl Into<String>) -> Self {
        Self {
            asked: asked.into(),
            typing: false,
            excerpts: true,
            within: None,
            limit: 20,
            after: None,
        }
    }

    /// While it is typed: the last word may be begun only.
    #[must_use]
    pub fn typing(mut self) -> Self {
        self.typing = true;
        self
    }

    /// Only documents with this field in this range. An index of this field alone must be declared.
    #[must_use]
    pub fn within(mut self, path: impl Into<FieldPath>, range: impl RangeBounds<Value>) -> Self {
        let path = path.into();
        self.within = Some((path.clone(), Query::new().range(path, range)));
        self
    }

    /// Without excerpts: the documents' texts are not read, which is faster.
    #[must_use]
    pub fn without_excerpts(mut self) -> Self {
        self.excerpts = false;
        self
    }

    /// So many hits at most, from 1 to 1,000; 20 if nothing is said.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit.clamp(1, 1000);
        self
    }

    /// Goes on after a page.
    #[must_use]
    pub fn after(mut self, cursor: SearchCursor) -> Self {
        self.after = Some(cursor);
        self
    }
}

// A person's own words.
impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Search({} bytes)", self.asked.len())
    }
}

/// Where a page of hits ended. Good until the views are made again; hits that change their rank meanwhile may be missed or come twice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchCursor {
    pub(super) rank: f64,
    pub(super) row: i64,
}

impl SearchCursor {
    /// As bytes, to be kept.
    pub fn to_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rank.to_be_bytes());
        bytes[8..].copy_from_slice(&self.row.to_be_bytes());
        bytes
    }

    /// What [`SearchCursor::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (rank, row) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            rank: f64::from_be_bytes(*rank),
            row: i64::from_be_bytes(row.try_into().ok()?),
        })
    }
}

/// A document that was found.
#[derive(Clone, PartialEq)]
pub struct Hit {
    /// The document.
    pub document: DocumentId,
    /// How well it fits, by BM25 over the fields and their weights: the more, the better. Comparable within one search.
    pub score: f64,
    /// Its short top-level fields: strings, numbers, dates, flags and counters, without texts, lists and maps.
    pub fields: serde_json::Value,
    /// Of each searched field in which something was found, the part with most of it.
    pub excerpts: Vec<(FieldPath, Excerpt)>,
}

impl std::fmt::Debug for Hit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hit({}, {} excerpts)", self.document.short(), self.excerpts.len())
    }
}

/// A page of hits.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPage {
    /// The best first. Of more than 10,000 matches, those that came to this device last are ranked.
    pub hits: Vec<Hit>,
    /// Give it back for the next page; `None` after the last.
    pub next: Option<SearchCursor>,
}
