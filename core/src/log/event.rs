//! Events, and what a section holds once it is opened.

use ipld_core::ipld::Ipld;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{AuthorId, LogError, Time};
use crate::crypto::{Passed, bytes_id, decode, encode, hash};

bytes_id!(
    /// A document: 16 random bytes.
    DocumentId,
    16
);
bytes_id!(
    /// One opening of a document on one device: 16 random bytes, so that no Automerge actor ever has two live writers.
    SessionId,
    16
);

/// One thing that happened.
#[derive(Clone, PartialEq)]
pub enum Event {
    /// An application's own event.
    App {
        /// The application's name for its kind.
        kind: String,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// Changes of one document.
    Document(DocumentChange),
    /// A kind this version does not know: kept, not folded.
    Unknown(String),
}

/// Changes of one document, made in one session.
#[derive(Clone, PartialEq, Eq)]
pub struct DocumentChange {
    /// The collection it belongs to.
    pub collection: String,
    /// The document.
    pub document: DocumentId,
    /// The session that made the changes.
    pub session: SessionId,
    /// Automerge change chunks.
    pub changes: Vec<Vec<u8>>,
}

impl DocumentChange {
    /// The Automerge actor of `session`.
    pub fn actor(author: &AuthorId, document: &DocumentId, session: &SessionId) -> [u8; 32] {
        hash("actor", &[&author.0, &document.0, &session.0]).0
    }
}

// Neither shows what a person wrote.
impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::App { payload, .. } => write!(f, "Event::App({} bytes)", payload.len()),
            Self::Document(change) => change.fmt(f),
            Self::Unknown(_) => f.write_str("Event::Unknown"),
        }
    }
}

impl std::fmt::Debug for DocumentChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "DocumentChange({}, {} changes)",
            self.document.short(),
            self.changes.len()
        )
    }
}

/// The content of a section.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// When the events were written, by a hybrid logical clock.
    pub time: Time,
    /// The events.
    pub events: Vec<Event>,
}

#[derive(Serialize)]
struct WireContent(u64, Vec<(String, Ipld)>);

#[derive(Deserialize)]
struct ReadContent(u64, Vec<ReadEvent>);

/// An event read in one go. As a value of any shape first, the body of one event would take two hundred times its bytes in memory.
struct ReadEvent(Event);

impl<'de> Deserialize<'de> for ReadEvent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ReadEvent;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("[kind, body]")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<ReadEvent, A::Error> {
                let short = |read| de::Error::invalid_length(read, &self);
                let kind: String = seq.next_element()?.ok_or_else(|| short(0))?;
                Ok(ReadEvent(match kind.as_str() {
                    "app" => {
                        let WireApp(kind, payload) = seq.next_element()?.ok_or_else(|| short(1))?;
                        Event::App { kind, payload }
                    }
                    "doc" => {
                        let WireDocument(collection, document, session, changes) =
                            seq.next_element()?.ok_or_else(|| short(1))?;
                        Event::Document(DocumentChange {
                            collection,
                            document,
                            session,
                            changes: changes.into_iter().map(serde_bytes::ByteBuf::into_vec).collect(),
                        })
                    }
                    _ => {
                        let Passed = seq.next_element()?.ok_or_else(|| short(1))?;
                        Event::Unknown(kind)
                    }
                }))
            }
        }
        d.deserialize_tuple(2, Visitor)
    }
}

#[derive(Serialize, Deserialize)]
struct WireApp(String, #[serde(with = "serde_bytes")] Vec<u8>);

#[derive(Serialize, Deserialize)]
struct WireDocument(String, DocumentId, SessionId, Vec<serde_bytes::ByteBuf>);

impl Content {
    /// The DAG-CBOR inside a section.
    pub(super) fn encode(time: Time, events: &[Event]) -> Vec<u8> {
        let events = events.iter().filter_map(|event| {
            let (kind, body) = match event {
                Event::App { kind, payload } => ("app", encode(&WireApp(kind.clone(), payload.clone()))),
                Event::Document(change) => {
                    let changes = change.changes.iter().cloned().map(serde_bytes::ByteBuf::from).collect();
                    let wire = WireDocument(change.collection.clone(), change.document, change.session, changes);
                    ("doc", encode(&wire))
                }
                Event::Unknown(_) => return None,
            };
            let body: Ipld = decode(&body).expect("just encoded");
            Some((kind.to_owned(), body))
        });
        encode(&WireContent(time.0, events.collect()))
    }

    /// Reads the DAG-CBOR inside a section.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let ReadContent(time, events) = decode(bytes)?;
        Ok(Self {
            time: Time(time),
            events: events.into_iter().map(|read| read.0).collect(),
        })
    }
}
