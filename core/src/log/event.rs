//! Events, and what a section holds once it is opened.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::{AuthorId, LogError, Time};
use crate::crypto::{Passed, bytes_id, decode, encode, hash};
pub use crate::identity::DocumentId;

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

/// `[time, [[kind, body], …]]`.
#[derive(Serialize)]
struct WireContent<'a>(u64, Vec<WireEvent<'a>>);

/// An event on its way out: `[kind, body]`.
struct WireEvent<'a>(&'a Event);

#[derive(Serialize)]
struct WireApp<'a>(&'a str, &'a serde_bytes::Bytes);

#[derive(Serialize)]
struct WireDocument<'a>(&'a str, DocumentId, SessionId, Vec<&'a serde_bytes::Bytes>);

impl Serialize for WireEvent<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Event::App { kind, payload } => ("app", WireApp(kind, serde_bytes::Bytes::new(payload))).serialize(s),
            Event::Document(change) => {
                let changes = change.changes.iter().map(|change| serde_bytes::Bytes::new(change));
                let wire = WireDocument(&change.collection, change.document, change.session, changes.collect());
                ("doc", wire).serialize(s)
            }
            Event::Unknown(_) => Err(ser::Error::custom("an event of an unknown kind is not written again")),
        }
    }
}

/// What [`WireContent`] wrote.
#[derive(Deserialize)]
struct ReadContent(u64, Vec<Event>);

#[derive(Deserialize)]
struct ReadApp(String, #[serde(with = "serde_bytes")] Vec<u8>);

#[derive(Deserialize)]
struct ReadDocument(String, DocumentId, SessionId, Vec<serde_bytes::ByteBuf>);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct KindThenBody;
        impl<'de> de::Visitor<'de> for KindThenBody {
            type Value = Event;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("[kind, body]")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Event, A::Error> {
                let kind: String = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let missing = || de::Error::invalid_length(1, &KindThenBody);
                Ok(match kind.as_str() {
                    "app" => {
                        let ReadApp(kind, payload) = seq.next_element()?.ok_or_else(missing)?;
                        Event::App { kind, payload }
                    }
                    "doc" => {
                        let ReadDocument(collection, document, session, changes) =
                            seq.next_element()?.ok_or_else(missing)?;
                        let changes = changes.into_iter().map(serde_bytes::ByteBuf::into_vec).collect();
                        Event::Document(DocumentChange {
                            collection,
                            document,
                            session,
                            changes,
                        })
                    }
                    _ => {
                        let Passed = seq.next_element()?.ok_or_else(missing)?;
                        Event::Unknown(kind)
                    }
                })
            }
        }
        d.deserialize_tuple(2, KindThenBody)
    }
}

impl Content {
    /// The DAG-CBOR inside a section. Events of unknown kinds are left out: this version cannot write them.
    pub(super) fn encode(time: Time, events: &[Event]) -> Vec<u8> {
        let known = events.iter().filter(|event| !matches!(event, Event::Unknown(_)));
        encode(&WireContent(time.0, known.map(WireEvent).collect()))
    }

    /// Reads the DAG-CBOR inside a section.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let ReadContent(time, events) = decode(bytes)?;
        Ok(Self {
            time: Time(time),
            events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: impl Serialize) -> Result<Content, LogError> {
        Content::decode(&encode(&(7u64, events)))
    }

    #[test]
    fn an_event_is_its_kind_and_its_body_and_nothing_else() {
        let body = ("kind", serde_bytes::Bytes::new(b"payload"));
        let content = read([("app", body)]).unwrap();
        assert_eq!(content.time, Time(7));
        let [Event::App { kind, payload }] = &content.events[..] else {
            panic!("another event: {content:?}");
        };
        assert_eq!((kind.as_str(), &payload[..]), ("kind", &b"payload"[..]));
        read([("app", body, 1u8)]).expect_err("three parts");
        read([("app",)]).expect_err("no body");
        read([("app", "kind")]).expect_err("another body");
        read([("doc", body)]).expect_err("the body of another kind");
        let unknown = read([("poll", ("what", 1u8, [2u8, 3]))]).unwrap();
        assert!(matches!(&unknown.events[..], [Event::Unknown(kind)] if kind == "poll"));
        assert_eq!(Content::encode(Time(7), &unknown.events), encode(&(7u64, [0u8; 0])));
    }
}
