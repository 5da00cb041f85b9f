//! Collections in `views.db`: documents, the indexes and searches that are kept of them, and how far each was built.
//!
//! Every index stands in one table, `keys`: a row for each document and value, ordered by the key's bytes (which the caller makes so that
//! they sort as the values do) and then by document. A page of a query is one walk from a place in it, and nothing is ever scanned: builds
//! for development assert that of every statement here. What lists do not show stands apart in `contents`, so that the rows of a page share
//! few pages of the file.

use rusqlite::StatementStatus;

use super::{
    StoreError,
    database::{bytes, int, uint},
    views::{ViewsWrite, of},
};
use crate::log::DocumentId;

pub(super) const TABLES: &str = "
    CREATE TABLE collections (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, count INTEGER NOT NULL DEFAULT 0, built BLOB, done INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE documents (
        id INTEGER PRIMARY KEY, document BLOB NOT NULL UNIQUE, collection INTEGER NOT NULL, words BLOB, fields TEXT NOT NULL
    ) STRICT;
    CREATE TABLE contents (id INTEGER PRIMARY KEY, value BLOB NOT NULL, state BLOB NOT NULL) STRICT;
    CREATE INDEX documents_of ON documents (collection, document);
    CREATE TABLE definitions (
        id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, kind INTEGER NOT NULL, spec BLOB NOT NULL,
        declared INTEGER NOT NULL, state INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE keys (
        definition INTEGER NOT NULL, key BLOB NOT NULL, document BLOB NOT NULL, row INTEGER NOT NULL,
        PRIMARY KEY (definition, key, document)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX keys_of ON keys (row, definition);
";

const BUILDING: i64 = 0;
const BUILT: i64 = 1;
const DROPPED: i64 = 2;

/// Rows of a dropped index that go in one transaction.
const SWEPT: u32 = 2000;

const PAGE_UP: &str = "SELECT k.key, k.document, d.fields FROM keys k CROSS JOIN documents d ON d.id = k.row
    WHERE k.definition = ?1 AND (k.key, k.document) > (?2, ?3) AND k.key < ?4
    ORDER BY k.key, k.document LIMIT ?5";
const PAGE_DOWN: &str = "SELECT k.key, k.document, d.fields FROM keys k CROSS JOIN documents d ON d.id = k.row
    WHERE k.definition = ?1 AND (k.key, k.document) < (?2, ?3) AND k.key >= ?4
    ORDER BY k.key DESC, k.document DESC LIMIT ?5";
const COUNT: &str = "SELECT count(*) FROM keys WHERE definition = ?1 AND key >= ?2 AND key < ?3";
const COUNT_ALL: &str = "SELECT count FROM collections WHERE name = ?1";
const IDS: &str =
    "SELECT document FROM documents WHERE collection = (SELECT id FROM collections WHERE name = ?1) ORDER BY document";

/// A document as the views hold it.
pub struct DocumentRow {
    /// The document.
    pub document: DocumentId,
    /// The collection it belongs to.
    pub collection: String,
    /// The saved document.
    pub state: Vec<u8>,
}

/// What a document shows, to be read without opening it.
#[derive(Default)]
pub struct Shown {
    /// Its short fields as JSON, for lists.
    pub fields: String,
    /// All of it: the caller's own bytes.
    pub value: Vec<u8>,
}

/// What a definition is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefinitionKind {
    /// Keys in order.
    Index,
    /// Words.
    Search,
}

/// An index or search that is kept of a collection.
#[derive(Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its number here.
    pub id: i64,
    /// What it is of.
    pub kind: DefinitionKind,
    /// What it holds of a document: the caller's own bytes.
    pub spec: Vec<u8>,
    /// Whether the application declared it; otherwise a list asked for it.
    pub declared: bool,
    /// Whether every document is in it.
    pub built: bool,
}

/// What one document has in the definitions of its collection.
#[derive(Default)]
pub struct Entries {
    /// Keys by definition. The same key twice is one.
    pub keys: Vec<(i64, Vec<u8>)>,
    /// The words of each searched field, by definition.
    pub words: Vec<(i64, Vec<String>)>,
}

impl Entries {
    /// Tells other words from these; nothing if there is no search.
    fn digest(&self) -> Option<[u8; 32]> {
        let mut text = Vec::new();
        for (definition, fields) in &self.words {
            text.extend_from_slice(&definition.to_be_bytes());
            for field in fields {
                text.extend_from_slice(&(field.len() as u64).to_be_bytes());
                text.extend_from_slice(field.as_bytes());
            }
        }
        (!text.is_empty()).then(|| crate::crypto::Hash::plain(&text).0)
    }
}

/// Part of an index, in one direction.
pub struct Slice<'a> {
    /// The index.
    pub definition: i64,
    /// The lowest key.
    pub from: &'a [u8],
    /// The first key above it.
    pub until: &'a [u8],
    /// Goes on after this row.
    pub after: Option<(&'a [u8], DocumentId)>,
    /// From the highest down.
    pub descending: bool,
    /// The most rows.
    pub limit: u32,
}

/// A row of a page: its key, its document, its short fields as JSON.
pub type KeyRow = (Vec<u8>, DocumentId, String);

/// A collection some of whose definitions do not have every document yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The collection.
    pub collection: String,
    /// Up to which document they are built; the empty string at first.
    pub after: Vec<u8>,
    /// How many documents were gone through.
    pub done: u64,
    /// How many there are.
    pub total: u64,
}

impl ViewsWrite<'_> {
    /// As `rows`, of a statement that must find what it looks for.
    pub(super) fn found<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.statement(sql)?;
        let rows = {
            let rows = statement.query_map(values, read).map_err(|error| of(&error))?;
            rows.collect::<Result<Vec<T>, _>>().map_err(|error| of(&error))?
        };
        let scanned = statement.reset_status(StatementStatus::FullscanStep);
        debug_assert_eq!(scanned, 0, "a query went through rows it was not asked for");
        Ok(rows)
    }

    fn one<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.found(sql, values, read)?.pop())
    }

    fn collection(&self, name: &str) -> Result<Option<i64>, StoreError> {
        self.one("SELECT id FROM collections WHERE name = ?1", [name], |row| row.get(0))
    }

    fn collection_or_new(&self, name: &str) -> Result<i64, StoreError> {
        if let Some(id) = self.collection(name)? {
            return Ok(id);
        }
        self.run("INSERT INTO collections (name) VALUES (?1)", [name])?;
        Ok(self.0.last_insert_rowid())
    }

    /// A document.
    pub fn document(&self, document: &DocumentId) -> Result<Option<DocumentRow>, StoreError> {
        self.one(
            "SELECT n.name, c.state FROM documents d CROSS JOIN contents c ON c.id = d.id CROSS JOIN collections n ON n.id = d.collection
             WHERE d.document = ?1",
            [document.0],
            |row| {
                Ok(DocumentRow {
                    document: *document,
                    collection: row.get(0)?,
                    state: row.get(1)?,
                })
            },
        )
    }

    /// What a document shows, as bytes.
    pub fn shown(&self, document: &DocumentId) -> Result<Option<Vec<u8>>, StoreError> {
        self.one(
            "SELECT c.value FROM documents d CROSS JOIN contents c ON c.id = d.id WHERE d.document = ?1",
            [document.0],
            |row| row.get(0),
        )
    }

    /// Keeps a document: its saved state, what it shows, and what it has in the definitions of its collection.
    pub fn put_document(&self, row: &DocumentRow, shown: &Shown, entries: &Entries) -> Result<(), StoreError> {
        let collection = self.collection_or_new(&row.collection)?;
        let before = self.one(
            "SELECT id, collection, words FROM documents WHERE document = ?1",
            [row.document.0],
            |row| Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?)),
        )?;
        let digest = entries.digest();
        let Some((id, was, mut words)) = before else {
            self.run(
                "INSERT INTO documents (document, collection, words, fields) VALUES (?1, ?2, ?3, ?4)",
                (row.document.0, collection, digest, &shown.fields),
            )?;
            let id = self.0.last_insert_rowid();
            self.run(
                "INSERT INTO contents (id, value, state) VALUES (?1, ?2, ?3)",
                (id, &shown.value, &row.state),
            )?;
            self.count_one(collection, 1)?;
            self.add_keys(id, &row.document, entries.keys.iter())?;
            return self.put_all_words(id, entries);
        };
        if was != collection {
            self.unlist(id, was)?;
            self.run("UPDATE documents SET collection = ?2 WHERE id = ?1", (id, collection))?;
            self.count_one(collection, 1)?;
            words = None;
        }
        self.run(
            "UPDATE documents SET words = ?2, fields = ?3 WHERE id = ?1",
            (id, digest, &shown.fields),
        )?;
        self.run(
            "UPDATE contents SET value = ?2, state = ?3 WHERE id = ?1",
            (id, &shown.value, &row.state),
        )?;
        self.put_keys(id, &row.document, entries)?;
        match words == digest {
            true => Ok(()),
            false => self.put_all_words(id, entries),
        }
    }

    fn count_one(&self, collection: i64, change: i64) -> Result<(), StoreError> {
        self.run(
            "UPDATE collections SET count = count + ?2 WHERE id = ?1",
            (collection, change),
        )?;
        Ok(())
    }

    /// Takes a document out of the indexes and the search of its collection.
    fn unlist(&self, id: i64, collection: i64) -> Result<(), StoreError> {
        self.run("DELETE FROM keys WHERE row = ?1", [id])?;
        for definition in self.searches_of(collection)? {
            self.forget_words(definition, id)?;
        }
        self.count_one(collection, -1)
    }

    /// Searches of a collection, dropped ones too as long as they hold anything.
    fn searches_of(&self, collection: i64) -> Result<Vec<i64>, StoreError> {
        self.rows(
            "SELECT id FROM definitions WHERE collection = ?1 AND kind = 1",
            [collection],
            |row| row.get(0),
        )
    }

    /// Removes all that the views hold of what a document said: its state, its fields, its keys and words, its versions, its changes that wait,
    /// what it refers to. Where its changes stand stays known. Words stay in the searches' segments until [`ViewsWrite::purge_words`]. Answers
    /// whether there was anything.
    pub fn forget_document(&self, document: &DocumentId) -> Result<bool, StoreError> {
        let hidden = self.hide_document(document)?;
        let references = self.run("DELETE FROM attachments WHERE document = ?1", [document.0])?;
        Ok(hidden || references > 0)
    }

    /// As [`ViewsWrite::forget_document`], but for which attachments it refers to.
    pub(super) fn hide_document(&self, document: &DocumentId) -> Result<bool, StoreError> {
        let known = self.one(
            "SELECT id, collection FROM documents WHERE document = ?1",
            [document.0],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )?;
        if let Some((id, collection)) = known {
            self.unlist(id, collection)?;
            self.run("DELETE FROM documents WHERE id = ?1", [id])?;
            self.run("DELETE FROM contents WHERE id = ?1", [id])?;
        }
        let mut others = 0;
        for table in ["aside", "versions"] {
            others += self.run(&format!("DELETE FROM {table} WHERE document = ?1"), [document.0])?;
        }
        Ok(known.is_some() || others > 0)
    }

    /// Makes a document's keys and words what they should be, writing only what differs.
    pub fn put_entries(&self, id: i64, document: &DocumentId, entries: &Entries) -> Result<(), StoreError> {
        self.put_keys(id, document, entries)?;
        let digest = entries.digest();
        let words: Option<Option<[u8; 32]>> =
            self.one("SELECT words FROM documents WHERE id = ?1", [id], |row| row.get(0))?;
        if words.flatten() != digest {
            self.put_all_words(id, entries)?;
            self.run("UPDATE documents SET words = ?2 WHERE id = ?1", (id, digest))?;
        }
        Ok(())
    }

    fn put_keys(&self, id: i64, document: &DocumentId, entries: &Entries) -> Result<(), StoreError> {
        let before: Vec<(i64, Vec<u8>)> =
            self.found("SELECT definition, key FROM keys WHERE row = ?1", [id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        for (definition, key) in before.iter().filter(|known| !entries.keys.contains(known)) {
            self.run(
                "DELETE FROM keys WHERE definition = ?1 AND key = ?2 AND document = ?3",
                (definition, key, document.0),
            )?;
        }
        let added = entries.keys.iter().filter(|wanted| !before.contains(wanted));
        self.add_keys(id, document, added)
    }

    fn add_keys<'k>(
        &self,
        id: i64,
        document: &DocumentId,
        keys: impl Iterator<Item = &'k (i64, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        for (definition, key) in keys {
            self.run(
                "INSERT OR IGNORE INTO keys (definition, key, document, row) VALUES (?1, ?2, ?3, ?4)",
                (definition, key, document.0, id),
            )?;
        }
        Ok(())
    }

    fn put_all_words(&self, id: i64, entries: &Entries) -> Result<(), StoreError> {
        let mut all = entries.words.iter();
        all.try_for_each(|(definition, fields)| self.put_words(*definition, id, fields))
    }

    /// What is kept of a collection, in the order it was asked for.
    pub fn definitions(&self, collection: &str) -> Result<Vec<Definition>, StoreError> {
        let Some(id) = self.collection(collection)? else {
            return Ok(Vec::new());
        };
        // A look through a table that has a few rows a collection.
        self.rows(
            "SELECT id, kind, spec, declared, state FROM definitions WHERE collection = ?1 AND state < 2 ORDER BY id",
            [id],
            |row| {
                Ok(Definition {
                    id: row.get(0)?,
                    kind: if row.get::<_, i64>(1)? == 0 {
                        DefinitionKind::Index
                    } else {
                        DefinitionKind::Search
                    },
                    spec: row.get(2)?,
                    declared: row.get(3)?,
                    built: row.get::<_, i64>(4)? == BUILT,
                })
            },
        )
    }

    /// Collections that anything is kept of.
    pub fn defined(&self) -> Result<Vec<String>, StoreError> {
        self.rows(
            "SELECT DISTINCT c.name FROM definitions d JOIN collections c ON c.id = d.collection WHERE d.state < 2 ORDER BY c.name",
            [],
            |row| row.get(0),
        )
    }

    /// Keeps another index or search of a collection. One of a search has so many `columns`. Until it is built it has the documents that
    /// were folded since.
    pub fn define(
        &self,
        collection: &str,
        kind: DefinitionKind,
        spec: &[u8],
        declared: bool,
        columns: usize,
    ) -> Result<i64, StoreError> {
        let collection = self.collection_or_new(collection)?;
        let count: i64 = self
            .one("SELECT count FROM collections WHERE id = ?1", [collection], |row| {
                row.get(0)
            })?
            .unwrap_or(0);
        let state = if count > 0 { BUILDING } else { BUILT };
        let number = match kind {
            DefinitionKind::Index => 0,
            DefinitionKind::Search => 1,
        };
        self.run(
            "INSERT INTO definitions (collection, kind, spec, declared, state) VALUES (?1, ?2, ?3, ?4, ?5)",
            (collection, number, spec, declared, state),
        )?;
        let id = self.0.last_insert_rowid();
        if kind == DefinitionKind::Search {
            self.make_search(id, columns)?;
        }
        if state == BUILDING {
            // One pass for all that is not built: it begins again, and finds most of it done.
            self.run(
                "UPDATE collections SET built = x'', done = 0 WHERE id = ?1",
                [collection],
            )?;
        }
        Ok(id)
    }

    /// Keeps a definition no longer. Its rows go bit by bit, by [`ViewsWrite::sweep`].
    pub fn undefine(&self, definition: i64) -> Result<(), StoreError> {
        self.run("UPDATE definitions SET state = ?2 WHERE id = ?1", (definition, DROPPED))?;
        Ok(())
    }

    /// Notes whether the application declared a definition.
    pub fn set_declared(&self, definition: i64, declared: bool) -> Result<(), StoreError> {
        self.run(
            "UPDATE definitions SET declared = ?2 WHERE id = ?1",
            (definition, declared),
        )?;
        Ok(())
    }

    /// The build of one collection, or of the next that has one.
    pub fn build(&self, collection: Option<&str>) -> Result<Option<Build>, StoreError> {
        // A look through a table that has a row a collection.
        let found = self.rows(
            "SELECT name, built, done, count FROM collections WHERE built IS NOT NULL AND (?1 IS NULL OR name = ?1) ORDER BY id LIMIT 1",
            [collection],
            |row| {
                Ok(Build {
                    collection: row.get(0)?,
                    after: row.get(1)?,
                    done: uint(row.get(2)?),
                    total: uint(row.get(3)?),
                })
            },
        )?;
        Ok(found.into_iter().next())
    }

    /// The next documents that a build goes through: row, document and what it shows.
    pub fn to_build(&self, build: &Build, limit: u32) -> Result<Vec<(i64, DocumentId, Vec<u8>)>, StoreError> {
        self.found(
            "SELECT d.id, d.document, c.value FROM documents d CROSS JOIN contents c ON c.id = d.id
             WHERE collection = (SELECT id FROM collections WHERE name = ?1) AND document > ?2 ORDER BY document LIMIT ?3",
            (&build.collection, &build.after, limit),
            |row| Ok((row.get(0)?, DocumentId(bytes(row, 1)?), row.get(2)?)),
        )
    }

    /// Notes how far a build came.
    pub fn built_up_to(&self, collection: &str, last: &DocumentId, more: u64) -> Result<(), StoreError> {
        self.run(
            "UPDATE collections SET built = ?2, done = done + ?3 WHERE name = ?1",
            (collection, last.0, int(more)),
        )?;
        Ok(())
    }

    /// Notes that a build went through every document.
    pub fn finish_build(&self, collection: &str) -> Result<(), StoreError> {
        self.run(
            "UPDATE collections SET built = NULL, done = 0 WHERE name = ?1",
            [collection],
        )?;
        self.run(
            "UPDATE definitions SET state = ?2 WHERE state = ?3 AND collection = (SELECT id FROM collections WHERE name = ?1)",
            (collection, BUILT, BUILDING),
        )?;
        Ok(())
    }

    /// Removes some of what is no longer kept. Answers whether there may be more.
    pub fn sweep(&self) -> Result<bool, StoreError> {
        let dropped = self.rows(
            "SELECT id, kind FROM definitions WHERE state = ?1 ORDER BY id LIMIT 1",
            [DROPPED],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )?;
        let Some((id, kind)) = dropped.into_iter().next() else {
            return Ok(false);
        };
        let some = self.found(
            "SELECT key, document FROM keys WHERE definition = ?1 ORDER BY key, document LIMIT ?2",
            (id, SWEPT),
            |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)),
        )?;
        for (key, document) in &some {
            self.run(
                "DELETE FROM keys WHERE definition = ?1 AND key = ?2 AND document = ?3",
                (id, key, document),
            )?;
        }
        if some.len() < SWEPT as usize {
            if kind == 1 {
                self.drop_search(id)?;
            }
            self.run("DELETE FROM definitions WHERE id = ?1", [id])?;
        }
        Ok(true)
    }

    /// Forgets every document, and keeps what was declared of them.
    pub(super) fn clear_documents(&self) -> Result<(), StoreError> {
        self.run("DELETE FROM keys", [])?;
        self.run("DELETE FROM documents", [])?;
        self.run("DELETE FROM contents", [])?;
        for id in self.all_searches()? {
            self.clear_search(id)?;
        }
        self.run("UPDATE collections SET count = 0, built = NULL, done = 0", [])?;
        self.run("UPDATE definitions SET state = ?1 WHERE state = ?2", (BUILT, BUILDING))?;
        Ok(())
    }

    pub(super) fn all_searches(&self) -> Result<Vec<i64>, StoreError> {
        self.rows("SELECT id FROM definitions WHERE kind = 1", [], |row| row.get(0))
    }

    /// A part of an index, with the short fields of its documents.
    pub fn slice(&self, slice: &Slice<'_>) -> Result<Vec<KeyRow>, StoreError> {
        // An empty document stands before every document of its key.
        let start = if slice.descending { slice.until } else { slice.from };
        let end = if slice.descending { slice.from } else { slice.until };
        let (key, document) = match &slice.after {
            Some((key, document)) => (*key, &document.0[..]),
            None => (start, &[][..]),
        };
        let sql = if slice.descending { PAGE_DOWN } else { PAGE_UP };
        self.found(sql, (slice.definition, key, document, end, slice.limit), |row| {
            Ok((row.get(0)?, DocumentId(bytes(row, 1)?), row.get(2)?))
        })
    }

    /// How many rows a part of an index has. Reads none of them but their keys.
    pub fn count_slice(&self, definition: i64, from: &[u8], until: &[u8]) -> Result<u64, StoreError> {
        let count = self.one(COUNT, (definition, from, until), |row| row.get(0))?;
        Ok(count.map_or(0, uint))
    }

    /// How many documents a collection has. A number that is kept: nothing is counted.
    pub fn count(&self, collection: &str) -> Result<u64, StoreError> {
        Ok(self.one(COUNT_ALL, [collection], |row| row.get(0))?.map_or(0, uint))
    }

    /// Every document of a collection, by id.
    pub fn documents(&self, collection: &str) -> Result<Vec<DocumentId>, StoreError> {
        self.found(IDS, [collection], |row| Ok(DocumentId(bytes(row, 0)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Views, search::match_sql};

    /// What SQLite would do for a statement.
    fn plan(views: &ViewsWrite<'_>, sql: &str) -> Vec<String> {
        let mut statement = views.0.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let count = statement.parameter_count();
        for place in 1..=count {
            statement.raw_bind_parameter(place, 1).unwrap();
        }
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        steps
    }

    #[test]
    fn every_query_walks_from_a_place_in_an_index() {
        let views = Views::in_memory().unwrap();
        views
            .with(|views| {
                let search = views.define("notes", DefinitionKind::Search, b"", true, 2)?;
                for sql in [PAGE_UP, PAGE_DOWN, COUNT, COUNT_ALL, IDS] {
                    let steps = plan(views, sql);
                    let all = steps
                        .iter()
                        .all(|step| step.starts_with("SEARCH") || step.starts_with("SCALAR SUBQUERY"));
                    assert!(all && !steps.is_empty(), "{sql}: {steps:?}");
                }
                for within in [false, true] {
                    let steps = plan(views, &match_sql(search, &[1, 1], within));
                    let bounded = |step: &String| {
                        let of_few = [
                            "SCAN m",
                            "SCAN best",
                            "CO-ROUTINE",
                            "CORRELATED SCALAR",
                            "USE TEMP B-TREE",
                            "MATERIALIZE",
                        ];
                        // The words' own index, asked with MATCH.
                        let by_words = step.contains("VIRTUAL TABLE INDEX") && step.contains(":M");
                        step.starts_with("SEARCH") || by_words || of_few.iter().any(|few| step.starts_with(few))
                    };
                    assert!(steps.iter().all(bounded), "{steps:?}");
                    assert!(steps.iter().any(|step| step.contains(":M")), "{steps:?}");
                }
                // The test can tell.
                let scan = plan(views, "SELECT document FROM documents WHERE fields = ?1");
                assert!(scan[0].starts_with("SCAN"), "{scan:?}");
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn what_is_forgotten_is_in_no_table() {
        let views = Views::in_memory().unwrap();
        views
            .with(|views| {
                let index = views.define("notes", DefinitionKind::Index, b"i", true, 0)?;
                let search = views.define("notes", DefinitionKind::Search, b"s", true, 1)?;
                for n in 0..3_u8 {
                    let row = DocumentRow {
                        document: DocumentId([n; 16]),
                        collection: "notes".to_owned(),
                        state: b"canary state".to_vec(),
                    };
                    let entries = Entries {
                        keys: vec![(index, b"canary key".to_vec())],
                        words: vec![(search, vec!["canary word".to_owned()])],
                    };
                    let shown = Shown {
                        fields: "canary fields".to_owned(),
                        value: b"canary value".to_vec(),
                    };
                    views.put_document(&row, &shown, &entries)?;
                    views.touch(&row.document, &crate::log::AuthorId([1; 32]), 0, 5, 0)?;
                    views.set_aside(&row.document, &[1; 32], b"canary change")?;
                }
                for n in 0..3_u8 {
                    assert_eq!(views.count("notes")?, u64::from(3 - n));
                    assert!(views.forget_document(&DocumentId([n; 16]))?);
                    assert!(!views.forget_document(&DocumentId([n; 16]))?);
                }
                let mut first = true;
                while views.purge_words(search, first)? {
                    first = false;
                }
                // Every row of every table, those of FTS5 among them.
                let tables = views.rows("SELECT name FROM sqlite_schema WHERE type = 'table'", [], |row| {
                    row.get::<_, String>(0)
                })?;
                assert!(tables.len() > 10, "{tables:?}");
                for table in tables.iter().filter(|table| **table != format!("search_{search}")) {
                    let mut statement = views.0.prepare(&format!("SELECT * FROM {table}")).unwrap();
                    let columns = statement.column_count();
                    let mut rows = statement.query([]).unwrap();
                    while let Some(row) = rows.next().unwrap() {
                        for column in 0..columns {
                            let found = match row.get_ref(column).unwrap() {
                                rusqlite::types::ValueRef::Text(bytes) | rusqlite::types::ValueRef::Blob(bytes) => {
                                    bytes
                                }
                                _ => continue,
                            };
                            let canary = found.windows(6).any(|part| part == b"canary");
                            assert!(!canary, "in {table}: {}", String::from_utf8_lossy(found));
                        }
                    }
                }
                Ok(())
            })
            .unwrap();
    }
}
