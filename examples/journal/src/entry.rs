//! A journal entry: which fields of a document it is.

use rhizome::{DocumentId, Index, Pod, Schema, Value, path};

use crate::{failure::Failure, markdown::Note};

/// The collection.
pub const COLLECTION: &str = "journal";
/// The field that entries are listed by.
pub const DATE: &str = "date";

/// The field of an entry's tags.
pub const TAGS: &str = "tags";

/// What entries are listed and found by. A word in a title says more than one in a text.
pub fn schema() -> Schema {
    Schema::new()
        .index(Index::on(DATE))
        .index(Index::each(TAGS).then(DATE))
        .search("title", 4)
        .search(TAGS, 4)
        .search("text", 1)
}

/// An entry as it is now.
#[derive(Debug, Clone)]
pub struct JournalEntry {
    /// Its title, if it has one.
    pub title: Option<String>,
    /// When it was written, in milliseconds since 1970.
    pub date: i64,
    /// Its text.
    pub text: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The hash of the file that it was imported from.
    pub imported: Option<Vec<u8>>,
}

impl JournalEntry {
    /// Reads a document. Another app may have written it: what is missing or odd is left out.
    pub fn of(value: &Value) -> Self {
        let Value::Map(fields) = value else {
            return Self::of(&Value::Map(Default::default()));
        };
        let words = |value: &Value| match value {
            Value::String(words) | Value::Text(words) => Some(words.clone()),
            _ => None,
        };
        Self {
            title: fields.get("title").and_then(words).filter(|title| !title.is_empty()),
            date: match fields.get(DATE) {
                Some(Value::Date(millis)) => *millis,
                _ => 0,
            },
            text: fields.get("text").and_then(words).unwrap_or_default(),
            tags: match fields.get("tags") {
                Some(Value::List(tags)) => tags.iter().filter_map(words).collect(),
                _ => Vec::new(),
            },
            imported: match fields.get("imported") {
                Some(Value::Bytes(hash)) => Some(hash.clone()),
                _ => None,
            },
        }
    }

    /// The title, or the first line of the text.
    pub fn headline(&self) -> &str {
        self.title
            .as_deref()
            .or_else(|| self.text.lines().map(str::trim).find(|line| !line.is_empty()))
            .unwrap_or("(empty)")
    }
}

/// Makes a document read as `note`. Its text merges with what others write in it at the same time; the rest is replaced as a whole.
pub fn write(edit: &mut rhizome::Edit<'_>, note: &Note, date: i64) -> Result<(), rhizome::DocumentError> {
    let put = |edit: &mut rhizome::Edit<'_>, field, value: Value| match edit.get(&path([field])) {
        Some(known) if known == value => Ok(()),
        _ => edit.set(&path([field]), value),
    };
    put(edit, DATE, Value::Date(date))?;
    match &note.title {
        Some(title) => put(edit, "title", Value::String(title.clone()))?,
        None => edit.delete(&path(["title"]))?,
    }
    edit.set_text(&path(["text"]), &note.text)?;
    match note.tags.as_slice() {
        [] => edit.delete(&path(["tags"])),
        tags => put(
            edit,
            "tags",
            Value::List(tags.iter().map(|tag| Value::String(tag.clone())).collect()),
        ),
    }
}

/// The entry whose id begins with `prefix`.
pub async fn find(pod: &Pod, prefix: &str) -> Result<DocumentId, Failure> {
    if let Some(document) = one_of(prefix, pod.documents(COLLECTION).await?)? {
        return Ok(document);
    }
    let deleted = pod.trash().await?.into_iter().map(|trashed| trashed.document);
    let wanted = prefix.trim();
    let message = match one_of(prefix, deleted) {
        Ok(None) => format!("no entry begins with {wanted}: `journal list` shows the ids"),
        _ => format!("{wanted} is deleted: `journal undelete {wanted}` brings it back"),
    };
    Err(Failure::new("no-document", message))
}

/// The one of `documents` whose id begins with `prefix`.
pub fn one_of(prefix: &str, documents: impl IntoIterator<Item = DocumentId>) -> Result<Option<DocumentId>, Failure> {
    let wanted = prefix.trim().to_ascii_lowercase();
    if wanted.is_empty() || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("{prefix:?} is not an id: ids are hexadecimal, `journal list` shows them");
        return Err(Failure::new("no-document", message));
    }
    let documents = documents.into_iter();
    let mut found = documents.filter(|document| document.to_string().starts_with(&wanted));
    match (found.next(), found.count()) {
        (document, 0) => Ok(document),
        (_, more) => {
            let message = format!("{} entries begin with {wanted}: give more of the id", more + 1);
            Err(Failure::new("ambiguous", message))
        }
    }
}

/// The entry itself.
pub async fn get(pod: &Pod, document: DocumentId) -> Result<JournalEntry, Failure> {
    let value = pod.get(document).await?;
    let value = value.ok_or_else(|| rhizome::Error::NoDocument(document.to_string()))?;
    Ok(JournalEntry::of(&value))
}
