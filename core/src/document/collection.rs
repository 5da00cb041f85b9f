//! Documents as a collection: what is declared of it, kept of each document, built in the background, and asked.

use std::collections::BTreeMap;

use super::{
    DocumentError, Documents, Hit, Index, ListRow, Page, Query, QueryError, QueryPage, QueryRow, Schema, Search,
    SearchCursor, SearchField, SearchPage, Value,
    fold::damaged,
    key,
    words::{Excerpt, MAX_TEXT, Wanted, indexed},
};
use crate::{
    crypto::{decode, encode},
    log::DocumentId,
    store::{
        Build, Definition, DefinitionKind, DocumentRow, Entries, ListCursor, Match, Shown, Slice, StoreError,
        ViewsWrite,
    },
};

/// Documents that are gone through in one transaction of a build.
const BUILT_AT_ONCE: u32 = 16;
/// Strings longer than this are not repeated in lists.
const LISTED_CHARS: usize = 200;

/// What is kept of a collection's documents.
#[derive(Default)]
pub(super) struct Kept {
    indexes: Vec<(i64, Index)>,
    searches: Vec<(i64, Vec<SearchField>)>,
}

impl Kept {
    /// As it is now. Asked in every transaction: it is a look at a few rows.
    pub fn of(views: &ViewsWrite<'_>, collection: &str) -> Result<Self, StoreError> {
        let mut kept = Self::default();
        for definition in views.definitions(collection)? {
            match definition.kind {
                DefinitionKind::Index => kept
                    .indexes
                    .extend(read(&definition).map(|index| (definition.id, index))),
                DefinitionKind::Search => kept
                    .searches
                    .extend(read(&definition).map(|fields| (definition.id, fields))),
            }
        }
        Ok(kept)
    }

    /// What a document has of it.
    pub fn entries(&self, document: &Value) -> Entries {
        let keys = |(id, index): &(i64, Index)| {
            let id = *id;
            key::keys(index, document).into_iter().map(move |key| (id, key))
        };
        let words = |(id, fields): &(i64, Vec<SearchField>)| {
            let words = fields.iter().map(|field| indexed(&text(field, document)));
            (*id, words.collect())
        };
        Entries {
            keys: self.indexes.iter().flat_map(keys).collect(),
            words: self.searches.iter().map(words).collect(),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(definition: &Definition) -> Option<T> {
    decode(&definition.spec).ok()
}

/// The text of a searched field.
fn text(field: &SearchField, document: &Value) -> String {
    fn gather(value: &Value, text: &mut String) {
        match value {
            _ if text.len() >= MAX_TEXT => {}
            Value::String(more) | Value::Text(more) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(more);
            }
            Value::List(values) => values.iter().for_each(|value| gather(value, text)),
            Value::Map(values) => values.values().for_each(|value| gather(value, text)),
            _ => {}
        }
    }
    let mut text = String::new();
    if let Some(value) = field.path.of(document) {
        gather(value, &mut text);
    }
    text
}

/// What is kept of the collections that one transaction meets: nobody declares anything meanwhile.
#[derive(Default)]
pub(super) struct KeptHere(BTreeMap<String, Kept>);

impl KeptHere {
    /// Keeps a document as it is now.
    pub fn put(&mut self, views: &ViewsWrite<'_>, row: &DocumentRow, value: &Value) -> Result<(), StoreError> {
        let shown = Shown {
            fields: listed(value),
            value: value.to_bytes(),
        };
        let entries = match self.0.get(&row.collection) {
            Some(kept) => kept.entries(value),
            None => {
                let kept = Kept::of(views, &row.collection)?;
                let entries = kept.entries(value);
                self.0.insert(row.collection.clone(), kept);
                entries
            }
        };
        views.put_document(row, &shown, &entries)
    }
}

/// What a document shows, from the bytes that the views keep of it.
pub(super) fn read_shown(bytes: &[u8]) -> Result<Value, StoreError> {
    Value::from_bytes(bytes).ok_or_else(|| damaged(DocumentError::Damaged))
}

/// What lists show of a document: its short fields as JSON.
fn listed(value: &Value) -> String {
    let mut fields = serde_json::Map::new();
    if let Value::Map(map) = value {
        for (name, value) in map {
            match value {
                Value::Text(_) | Value::List(_) | Value::Map(_) | Value::Bytes(_) => continue,
                Value::String(text) if text.chars().count() > LISTED_CHARS => continue,
                _ => {}
            }
            fields.insert(name.clone(), value.to_json());
        }
    }
    serde_json::Value::Object(fields).to_string()
}

/// Everything that was declared, as it must be again should the views be made anew.
#[derive(Default)]
pub(super) struct Declared {
    /// How often the views had been made anew when this was written down; `None` before the first look.
    at: Option<u64>,
    collections: BTreeMap<String, Vec<Definition>>,
}

impl Declared {
    fn look(&mut self, views: &ViewsWrite<'_>) -> Result<(), StoreError> {
        self.collections.clear();
        for collection in views.defined()? {
            let definitions = views.definitions(&collection)?;
            self.collections.insert(collection, definitions);
        }
        Ok(())
    }
}

fn columns(definition: &Definition) -> usize {
    match definition.kind {
        DefinitionKind::Index => 0,
        DefinitionKind::Search => read::<Vec<SearchField>>(definition).map_or(0, |fields| fields.len()),
    }
}

/// An answer that may have to wait for a build.
pub type Asked<T> = Result<Result<T, QueryError>, StoreError>;

/// `?` for the inner of two results.
macro_rules! allowed {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        }
    };
}

impl Documents {
    /// Declares again what the views had before they were made anew.
    pub(super) fn keep_declared(&self) -> Result<(), StoreError> {
        let mut declared = self.declared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.views.made_anew();
        if declared.at == Some(now) {
            return Ok(());
        }
        self.views.with(|views| {
            if declared.at.is_some() {
                for (collection, definitions) in &declared.collections {
                    let known = views.definitions(collection)?;
                    let is_known = |wanted: &&Definition| {
                        known
                            .iter()
                            .any(|known| known.kind == wanted.kind && known.spec == wanted.spec)
                    };
                    for wanted in definitions.iter().filter(|wanted| !is_known(wanted)) {
                        views.define(collection, wanted.kind, &wanted.spec, wanted.declared, columns(wanted))?;
                    }
                }
            }
            declared.look(views)
        })?;
        declared.at = Some(now);
        Ok(())
    }

    /// Makes `schema` what is kept of a collection. What is new is built by [`Documents::build_some`] from the documents that are here, and
    /// kept by every fold from now on; what is no longer named is dropped. Declared again it changes nothing.
    pub fn declare(&self, collection: &str, schema: &Schema) -> Asked<()> {
        allowed!(schema.check());
        let mut wanted: Vec<(DefinitionKind, Vec<u8>, usize)> = Vec::new();
        for index in &schema.indexes {
            let spec = encode(index);
            if wanted.iter().all(|(_, known, _)| *known != spec) {
                wanted.push((DefinitionKind::Index, spec, 0));
            }
        }
        if !schema.search.is_empty() {
            wanted.push((DefinitionKind::Search, encode(&schema.search), schema.search.len()));
        }
        self.keep_declared()?;
        self.shown(|views| {
            let known = views.definitions(collection)?;
            for definition in known.iter().filter(|known| known.declared) {
                if wanted
                    .iter()
                    .all(|(kind, spec, _)| *kind != definition.kind || *spec != definition.spec)
                {
                    views.undefine(definition.id)?;
                }
            }
            for (kind, spec, columns) in &wanted {
                match known.iter().find(|known| known.kind == *kind && known.spec == *spec) {
                    Some(known) => views.set_declared(known.id, true)?,
                    None => drop(views.define(collection, *kind, spec, true, *columns)?),
                }
            }
            Ok(())
        })?;
        let mut declared = self.declared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.shown(|views| declared.look(views))?;
        Ok(Ok(()))
    }

    /// Builds a little of what is not built yet, of one collection or of the next that has something; removes a little of what was dropped.
    /// Answers whether there is more. What it did stays done, however it ends.
    pub fn build_some(&self, collection: Option<&str>) -> Result<bool, StoreError> {
        self.keep_declared()?;
        self.shown(|views| {
            let Some(build) = views.build(collection)? else {
                return views.sweep();
            };
            let kept = Kept::of(views, &build.collection)?;
            let some = views.to_build(&build, BUILT_AT_ONCE)?;
            for (row, id, shown) in &some {
                views.put_entries(*row, id, &kept.entries(&read_shown(shown)?))?;
            }
            match some.last() {
                Some((_, last, _)) if some.len() == BUILT_AT_ONCE as usize => {
                    views.built_up_to(&build.collection, last, some.len() as u64)?;
                }
                _ => views.finish_build(&build.collection)?,
            }
            Ok(true)
        })
    }

    /// How far the build of a collection is; `None` if everything is built.
    pub fn building(&self, collection: &str) -> Result<Option<Build>, StoreError> {
        self.noted(|views| views.build(Some(collection)))
    }

    /// A page of a query's answer.
    pub fn query(&self, collection: &str, query: &Query) -> Asked<QueryPage> {
        self.keep_declared()?;
        self.shown(|views| {
            let (definition, from, until) = allowed!(part(views, collection, query)?);
            let after = query.cursor();
            if after.is_some_and(|after| after.key < from || after.key >= until) {
                return Ok(Err(QueryError::Invalid("the cursor is of another query")));
            }
            let limit = query.limited();
            let rows = views.slice(&Slice {
                definition,
                from: &from,
                until: &until,
                after: after.map(|after| (&after.key[..], after.document)),
                descending: query.is_descending(),
                limit,
            })?;
            let row = |(key, document, fields): (Vec<u8>, DocumentId, String)| QueryRow {
                document,
                fields: serde_json::from_str(&fields).unwrap_or_default(),
                key,
            };
            let rows: Vec<QueryRow> = rows.into_iter().map(row).collect();
            let full = rows.len() == limit as usize;
            let next = rows.last().filter(|_| full).map(QueryRow::cursor);
            Ok(Ok(QueryPage { rows, next }))
        })
    }

    /// How many documents a query finds, whatever its limit and cursor. Reads no document.
    pub fn count_query(&self, collection: &str, query: &Query) -> Asked<u64> {
        self.keep_declared()?;
        self.shown(|views| {
            let (definition, from, until) = allowed!(part(views, collection, query)?);
            Ok(Ok(views.count_slice(definition, &from, &until)?))
        })
    }

    /// A page of `collection` by the date in its top-level `field`, newest first. Asked for the first time it declares an index of that field
    /// by itself, and builds it.
    pub fn list(
        &self,
        collection: &str,
        field: &str,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        loop {
            if let Some(page) = self.list_built(collection, field, after, limit)? {
                return Ok(page);
            }
            self.build_some(Some(collection))?;
        }
    }

    /// As [`Documents::list`]; `None` while its index is being built.
    pub(crate) fn list_built(
        &self,
        collection: &str,
        field: &str,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Option<Page>, StoreError> {
        self.keep_declared()?;
        let spec = encode(&Index::on(field));
        let wanted = |definition: &Definition| definition.kind == DefinitionKind::Index && definition.spec == spec;
        let mut is_new = false;
        let page = self.shown(|views| {
            let definition = match views.definitions(collection)?.into_iter().find(wanted) {
                Some(definition) => definition,
                None => {
                    is_new = true;
                    views.define(collection, DefinitionKind::Index, &spec, false, 0)?;
                    let made = views.definitions(collection)?.into_iter().find(wanted);
                    made.ok_or_else(|| StoreError::Disk("an index that was made is not there".to_owned()))?
                }
            };
            if !definition.built {
                return Ok(None);
            }
            let mut key = Vec::new();
            if let Some(after) = after {
                key::append(&mut key, &Value::Date(after.millis));
            }
            let rows = views.slice(&Slice {
                definition: definition.id,
                from: &[key::NUMBER],
                until: &[key::NUMBER + 1],
                after: after.map(|after| (&key[..], after.document)),
                descending: true,
                limit,
            })?;
            let full = rows.len() == limit as usize;
            let rows: Vec<ListRow> = rows
                .into_iter()
                .map(|(key, document, fields)| ListRow {
                    document,
                    millis: key::number(&key).unwrap_or_default(),
                    fields: serde_json::from_str(&fields).unwrap_or_default(),
                })
                .collect();
            let next = rows.last().filter(|_| full).map(|row| ListCursor {
                millis: row.millis,
                document: row.document,
            });
            Ok(Some(Page { rows, next }))
        })?;
        if is_new {
            let mut declared = self.declared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.shown(|views| declared.look(views))?;
        }
        Ok(page)
    }

    /// Every document of a collection, by id.
    pub fn ids(&self, collection: &str) -> Result<Vec<DocumentId>, StoreError> {
        self.shown(|views| views.documents(collection))
    }

    /// How many documents a collection has.
    pub fn count(&self, collection: &str) -> Result<u64, StoreError> {
        self.shown(|views| views.count(collection))
    }

    /// A page of what a search finds.
    pub fn search(&self, collection: &str, search: &Search) -> Asked<SearchPage> {
        self.keep_declared()?;
        let wanted = Wanted::of(&search.asked, search.typing);
        self.shown(|views| {
            let definitions = views.definitions(collection)?;
            let kept = definitions
                .iter()
                .find(|definition| definition.kind == DefinitionKind::Search);
            let Some((kept, fields)) = kept.and_then(|kept| Some((kept, read::<Vec<SearchField>>(kept)?))) else {
                return Ok(Err(QueryError::NotIndexed));
            };
            if !kept.built {
                return Ok(Err(unbuilt(views, collection)?));
            }
            let within = match &search.within {
                Some((_, query)) => Some(allowed!(part(views, collection, query)?)),
                None => None,
            };
            if wanted.is_empty() {
                return Ok(Ok(SearchPage {
                    hits: Vec::new(),
                    next: None,
                }));
            }
            let weights: Vec<u8> = fields.iter().map(|field| field.weight).collect();
            let found = views.matches(&Match {
                definition: kept.id,
                expression: &wanted.expression(),
                weights: &weights,
                within: within
                    .as_ref()
                    .map(|(index, from, until)| (*index, &from[..], &until[..])),
                after: search.after.map(|after| (after.rank, after.row)),
                limit: search.limit,
            })?;
            let full = found.len() == search.limit as usize;
            let next = found.last().filter(|_| full).map(|last| SearchCursor {
                rank: last.rank,
                row: last.row,
            });
            let mut hits = Vec::with_capacity(found.len());
            for row in found {
                let excerpts = if search.excerpts {
                    excerpts(views, &row.document, &fields, &wanted)?
                } else {
                    Vec::new()
                };
                hits.push(Hit {
                    document: row.document,
                    score: -row.rank,
                    fields: serde_json::from_str(&row.fields).unwrap_or_default(),
                    excerpts,
                });
            }
            Ok(Ok(SearchPage { hits, next }))
        })
    }
}

fn excerpts(
    views: &ViewsWrite<'_>,
    document: &DocumentId,
    fields: &[SearchField],
    wanted: &Wanted,
) -> Result<Vec<(super::FieldPath, Excerpt)>, StoreError> {
    let Some(shown) = views.shown(document)? else {
        return Ok(Vec::new());
    };
    let document = read_shown(&shown)?;
    let found = fields.iter().filter_map(|field| {
        let excerpt = wanted.excerpt(&text(field, &document))?;
        Some((field.path.clone(), excerpt))
    });
    Ok(found.collect())
}

fn unbuilt(views: &ViewsWrite<'_>, collection: &str) -> Result<QueryError, StoreError> {
    let (done, total) = views
        .build(Some(collection))?
        .map_or((0, 0), |build| (build.done, build.total));
    Ok(QueryError::Building { done, total })
}

/// The part of the index that answers a query: the index, the first key and the first above all.
fn part(views: &ViewsWrite<'_>, collection: &str, query: &Query) -> Asked<(i64, Vec<u8>, Vec<u8>)> {
    let mut building = false;
    for definition in views.definitions(collection)? {
        let index = (definition.kind == DefinitionKind::Index).then(|| read::<Index>(&definition));
        let Some(index) = index.flatten().filter(|index| query.fits(index)) else {
            continue;
        };
        if definition.built {
            return Ok(query.bounds(&index).map(|(from, until)| (definition.id, from, until)));
        }
        building = true;
    }
    Ok(Err(if building {
        unbuilt(views, collection)?
    } else {
        QueryError::NotIndexed
    }))
}
