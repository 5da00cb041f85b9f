//! References to attachments, as documents hold them: a map of a reserved shape, sealed with the document like everything else in it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Document, Documents, Value};
use crate::{
    crypto::Secret,
    identity::KeyRing,
    log::{AttachmentId, CHUNK, DocumentId, MAX_CHUNKS},
    store::StoreError,
};

/// The field that makes a map a reference; its value is the attachment's id.
pub const ATTACHMENT_FIELD: &str = "$attachment";
/// Bytes that a media type may have, and a name.
const MAX_TEXT: usize = 255;
/// References that one document is searched for.
const MAX_REFERENCES: usize = 4_096;
/// Levels of lists and maps that are searched.
const MAX_DEPTH: usize = super::MAX_DEPTH;

/// What a document says of an attachment: where it is found, what opens it, and what it is.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachmentRef {
    /// Which attachment.
    pub id: AttachmentId,
    /// Opens it.
    pub key: Secret,
    /// Its bytes, without padding.
    pub size: u64,
    /// Its media type (RFC 6838), as `image/jpeg`; at most 255 bytes.
    pub media_type: String,
    /// What its file is called, if anything; at most 255 bytes.
    pub name: Option<String>,
    /// A small one to be shown in its place: an attachment of its own, which is moved first. It has no thumbnail itself.
    pub thumbnail: Option<Box<AttachmentRef>>,
}

impl AttachmentRef {
    /// The map that stands for it in a document.
    pub fn to_value(&self) -> Value {
        let size = i64::try_from(self.size).unwrap_or(i64::MAX);
        let mut map = BTreeMap::from([
            (ATTACHMENT_FIELD.to_owned(), Value::Bytes(self.id.0.to_vec())),
            ("key".to_owned(), Value::Bytes(self.key.to_vec())),
            ("size".to_owned(), Value::Int(size)),
            ("type".to_owned(), Value::String(self.media_type.clone())),
        ]);
        if let Some(name) = &self.name {
            map.insert("name".to_owned(), Value::String(name.clone()));
        }
        if let Some(thumbnail) = &self.thumbnail {
            map.insert("thumbnail".to_owned(), thumbnail.to_value());
        }
        Value::Map(map)
    }

    /// The reference that `value` is; `None` if it is none, or a field is missing or makes no sense. Fields that are not known are passed
    /// over. A thumbnail that makes no sense is none.
    pub fn from_value(value: &Value) -> Option<Self> {
        let mut reference = Self::without_thumbnail(value)?;
        if let Value::Map(map) = value {
            let thumbnail = map.get("thumbnail").and_then(Self::without_thumbnail);
            reference.thumbnail = thumbnail.map(Box::new);
        }
        Some(reference)
    }

    fn without_thumbnail(value: &Value) -> Option<Self> {
        let Value::Map(map) = value else { return None };
        let bytes = |field: &str| match map.get(field) {
            Some(Value::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        let text = |field: &str| match map.get(field) {
            Some(Value::String(text) | Value::Text(text)) if text.len() <= MAX_TEXT => Some(text.clone()),
            _ => None,
        };
        let size = match map.get("size") {
            Some(Value::Int(size)) => u64::try_from(*size).ok()?,
            _ => return None,
        };
        if size > u64::from(MAX_CHUNKS) * CHUNK as u64 {
            return None;
        }
        Some(Self {
            id: AttachmentId::from_slice(bytes(ATTACHMENT_FIELD)?)?,
            key: Secret::from_slice(bytes("key")?)?,
            size,
            media_type: text("type")?,
            name: text("name"),
            thumbnail: None,
        })
    }

    /// Every reference in `value` and all below it, 4,096 at most.
    pub fn all_in(value: &Value) -> Vec<Self> {
        let mut found = Vec::new();
        search(value, MAX_DEPTH, &mut found);
        found
    }
}

fn search(value: &Value, depth: usize, found: &mut Vec<AttachmentRef>) {
    if depth == 0 || found.len() >= MAX_REFERENCES {
        return;
    }
    match value {
        Value::Map(map) => {
            // A reference has none inside but its thumbnail.
            if map.contains_key(ATTACHMENT_FIELD)
                && let Some(reference) = AttachmentRef::from_value(value)
            {
                found.push(reference);
                return;
            }
            map.values().for_each(|value| search(value, depth - 1, found));
        }
        Value::List(list) => list.iter().for_each(|value| search(value, depth - 1, found)),
        _ => {}
    }
}

/// Ids of the attachments that a value refers to, and whether each is a thumbnail.
pub(super) fn referred_to(value: &Value) -> BTreeMap<AttachmentId, bool> {
    let mut ids = BTreeMap::new();
    add_referred_to(value, &mut ids);
    ids
}

/// As [`referred_to`] of a document whose value is `value`; with what stands beside it in conflicts, which somebody may still decide for.
pub(super) fn all_referred_to(document: &Document, value: &Value) -> BTreeMap<AttachmentId, bool> {
    let mut ids = referred_to(value);
    for beside in document.beside() {
        add_referred_to(&beside, &mut ids);
    }
    ids
}

fn add_referred_to(value: &Value, ids: &mut BTreeMap<AttachmentId, bool>) {
    for reference in AttachmentRef::all_in(value) {
        ids.insert(reference.id, false);
        if let Some(thumbnail) = reference.thumbnail {
            ids.entry(thumbnail.id).or_insert(true);
        }
    }
}

impl Documents {
    /// Whether any document refers to an attachment, one in the trash too.
    pub fn is_referred_to(&self, id: &AttachmentId) -> Result<bool, StoreError> {
        self.shown(|views| views.is_referred_to(id))
    }

    /// Whether a document that nobody deleted refers to an attachment.
    pub fn is_kept_by_a_document(&self, id: &AttachmentId, ring: &KeyRing) -> Result<bool, StoreError> {
        let referring = self.shown(|views| views.referring_to(id))?;
        Ok(referring.iter().any(|document| !ring.erased().contains(document)))
    }

    /// The attachments that go with documents which are erased, each with one that refers to it: those that no document refers to that stays,
    /// nor `back`, one that is being called back.
    pub fn attachments_going(
        &self,
        documents: &BTreeSet<DocumentId>,
        back: Option<DocumentId>,
        ring: &KeyRing,
    ) -> Result<BTreeMap<AttachmentId, DocumentId>, StoreError> {
        let stays = |other: &DocumentId| !documents.contains(other) && !ring.erased().contains(other);
        let mut going = BTreeMap::new();
        for document in documents {
            for id in self.shown(|views| views.references_of(document))? {
                if !self.shown(|views| views.referring_to(&id))?.iter().any(stays) {
                    going.insert(id, *document);
                }
            }
        }
        if let Some(back) = back.filter(|_| !going.is_empty()) {
            for id in self.shown(|views| views.references_of(&back))? {
                going.remove(&id);
            }
        }
        Ok(going)
    }

    /// Whether any document shows an attachment as a thumbnail.
    pub fn is_thumbnail(&self, id: &AttachmentId) -> Result<bool, StoreError> {
        self.shown(|views| views.is_thumbnail(id))
    }

    /// Thumbnails that documents refer to, by id, after `after`.
    pub fn thumbnails(&self, after: &AttachmentId, limit: u64) -> Result<Vec<AttachmentId>, StoreError> {
        self.shown(|views| views.thumbnails(after, limit))
    }
}

/// The name and the type are a person's own words.
impl std::fmt::Debug for AttachmentRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AttachmentRef({}, {} bytes)", self.id.short(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(n: u8) -> AttachmentRef {
        AttachmentRef {
            id: AttachmentId([n; 32]),
            key: Secret::from([7; 32]),
            size: 3,
            media_type: "image/jpeg".into(),
            name: Some("secret.jpg".into()),
            thumbnail: None,
        }
    }

    #[test]
    fn a_reference_goes_into_a_document_and_comes_back() {
        let mut photo = reference(1);
        photo.thumbnail = Some(Box::new(reference(2)));
        assert_eq!(AttachmentRef::from_value(&photo.to_value()), Some(photo.clone()));
        assert_eq!(AttachmentRef::from_value(&reference(1).to_value()), Some(reference(1)));
        assert!(!format!("{photo:?}").contains("secret"));
        let document = Value::Map(BTreeMap::from([
            ("photos".to_owned(), Value::List(vec![photo.to_value(), Value::Null])),
            ("voice".to_owned(), reference(3).to_value()),
        ]));
        let found = AttachmentRef::all_in(&document);
        assert_eq!(found, [photo, reference(3)]);
        let ids: Vec<(u8, bool)> = referred_to(&document)
            .iter()
            .map(|(id, small)| (id.0[0], *small))
            .collect();
        assert_eq!(ids, [(1, false), (2, true), (3, false)]);
    }

    #[test]
    fn what_makes_no_sense_is_no_reference() {
        let Value::Map(good) = reference(1).to_value() else {
            panic!("a map")
        };
        for (field, bad) in [
            (ATTACHMENT_FIELD, Value::Bytes(vec![1; 31])),
            (ATTACHMENT_FIELD, Value::Null),
            ("key", Value::Bytes(vec![1; 33])),
            ("key", Value::from("key")),
            ("size", Value::Int(-1)),
            ("size", Value::Int(i64::MAX)),
            ("size", Value::Null),
            ("type", Value::Int(1)),
            ("type", Value::String("x".repeat(256))),
        ] {
            let mut map = good.clone();
            map.insert(field.to_owned(), bad);
            assert_eq!(AttachmentRef::from_value(&Value::Map(map)), None, "{field}");
        }
        let mut map = good;
        map.insert("thumbnail".to_owned(), Value::from("none"));
        map.insert("later".to_owned(), Value::from(true));
        assert_eq!(AttachmentRef::from_value(&Value::Map(map)), Some(reference(1)));
    }
}
