//! Words in `views.db`: one FTS5 table for each search that is kept of a collection, with a column for each searched field.
//!
//! What goes in was cut into words and folded by the caller (`document/words.rs`), so the table's own tokeniser only cuts at spaces. The
//! tables hold no text, only which word stands where ("contentless"): what a hit shows is read from the document.

use super::{StoreError, database::bytes, views::ViewsWrite};
use crate::log::DocumentId;

/// Of more matches than this, those that came first into the views are not ranked.
pub const MAX_RANKED: u32 = 10_000;
/// Pages of about 4 kB that are written in one step when words are purged.
const PURGED_PAGES: i64 = 256;

/// What is looked for in a search's table.
pub struct Match<'a> {
    /// The search.
    pub definition: i64,
    /// An FTS5 expression: made by us, never a person's own words.
    pub expression: &'a str,
    /// How much a word counts in each column.
    pub weights: &'a [u8],
    /// Only documents with a key of this index from the first on and below the second.
    pub within: Option<(i64, &'a [u8], &'a [u8])>,
    /// Goes on after the hit with this rank and row.
    pub after: Option<(f64, i64)>,
    /// The most hits.
    pub limit: u32,
}

/// A hit: the less its rank, the better it fits.
pub struct MatchRow {
    /// Its rank, by BM25.
    pub rank: f64,
    /// Its row.
    pub row: i64,
    /// The document.
    pub document: DocumentId,
    /// Its short fields as JSON.
    pub fields: String,
}

fn column_names(columns: usize) -> String {
    let names: Vec<String> = (0..columns).map(|column| format!("f{column}")).collect();
    names.join(", ")
}

impl ViewsWrite<'_> {
    pub(super) fn make_search(&self, id: i64, columns: usize) -> Result<(), StoreError> {
        // `prefix`: what is searched while it is typed begins with two letters, and has an index of its own.
        self.execute(&format!(
            "CREATE VIRTUAL TABLE search_{id} USING fts5({}, content='', contentless_delete=1, prefix='2', tokenize='ascii')",
            column_names(columns)
        ))
    }

    pub(super) fn drop_search(&self, id: i64) -> Result<(), StoreError> {
        self.execute(&format!("DROP TABLE search_{id}"))
    }

    pub(super) fn clear_search(&self, id: i64) -> Result<(), StoreError> {
        self.execute(&format!("INSERT INTO search_{id} (search_{id}) VALUES ('delete-all')"))
    }

    pub(super) fn put_words(&self, id: i64, row: i64, fields: &[String]) -> Result<(), StoreError> {
        let places: Vec<String> = (0..fields.len()).map(|field| format!("?{}", field + 2)).collect();
        let sql = format!(
            "INSERT OR REPLACE INTO search_{id} (rowid, {}) VALUES (?1, {})",
            column_names(fields.len()),
            places.join(", ")
        );
        let mut values: Vec<&dyn rusqlite::ToSql> = vec![&row];
        values.extend(fields.iter().map(|field| field as &dyn rusqlite::ToSql));
        self.run(&sql, &values[..])?;
        Ok(())
    }

    pub(super) fn forget_words(&self, id: i64, row: i64) -> Result<(), StoreError> {
        self.run(&format!("DELETE FROM search_{id} WHERE rowid = ?1"), [row])?;
        Ok(())
    }

    /// The searches there are.
    pub fn searches(&self) -> Result<Vec<i64>, StoreError> {
        self.all_searches()
    }

    /// Writes a part of a search anew without the words of documents that are forgotten or changed: FTS5 keeps them until it merges what it
    /// has. `first` begins with all there is now; the calls after it go on, each about 1 MB. Answers whether there is more.
    pub fn purge_words(&self, id: i64, first: bool) -> Result<bool, StoreError> {
        // It may have been dropped since the last step.
        if !self.all_searches()?.contains(&id) {
            return Ok(false);
        }
        let before = self.0.total_changes();
        let pages = if first { -PURGED_PAGES } else { PURGED_PAGES };
        self.run(
            &format!("INSERT INTO search_{id} (search_{id}, rank) VALUES ('merge', ?1)"),
            [pages],
        )?;
        // The statement itself may count as one (https://www.sqlite.org/fts5.html#the_merge_command).
        Ok(self.0.total_changes() - before >= 2)
    }

    /// The best hits.
    pub fn matches(&self, wanted: &Match<'_>) -> Result<Vec<MatchRow>, StoreError> {
        let (rank, row) = wanted.after.unwrap_or((f64::NEG_INFINITY, 0));
        let (index, from, until) = wanted.within.unwrap_or((0, &[], &[]));
        self.found(
            &match_sql(wanted.definition, wanted.weights, wanted.within.is_some()),
            (wanted.expression, rank, row, wanted.limit, index, from, until),
            |row| {
                Ok(MatchRow {
                    rank: row.get(0)?,
                    row: row.get(1)?,
                    document: DocumentId(bytes(row, 2)?),
                    fields: row.get(3)?,
                })
            },
        )
    }
}

pub(super) fn match_sql(id: i64, weights: &[u8], within: bool) -> String {
    let weights: Vec<String> = weights.iter().map(u8::to_string).collect();
    // Every number is bound in every form of the statement, so that they stay where they are.
    let within = if within {
        "AND EXISTS (SELECT 1 FROM keys k WHERE k.row = m.row AND k.definition = ?5 AND k.key >= ?6 AND k.key < ?7)"
    } else {
        "AND ?5 IS NOT NULL AND ?6 IS NOT NULL AND ?7 IS NOT NULL"
    };
    format!(
        "SELECT best.rank, best.row, d.document, d.fields FROM (
             SELECT m.rank AS rank, m.row AS row FROM (
                 SELECT rowid AS row, bm25(search_{id}, {}) AS rank FROM search_{id} WHERE search_{id} MATCH ?1
                 ORDER BY rowid DESC LIMIT {MAX_RANKED}
             ) m WHERE (m.rank, m.row) > (?2, ?3) {within} ORDER BY m.rank, m.row LIMIT ?4
         ) best CROSS JOIN documents d ON d.id = best.row ORDER BY best.rank, best.row",
        weights.join(", ")
    )
}
