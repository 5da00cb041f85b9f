//! Streams: an application's own events, in the order that every device agrees on.

use std::sync::Arc;

use rhizome::{Event, Pod};

use crate::{CancelHandle, EntryRef, RhizomeError, runtime::ask};

/// An application's own event.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct AppEvent {
    /// The application's name for its kind.
    pub kind: String,
    /// Its bytes.
    pub payload: Vec<u8>,
}

// Not what a person wrote.
impl std::fmt::Debug for AppEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppEvent({} bytes)", self.payload.len())
    }
}

/// An append-only event log for one kind of data.
#[derive(Debug, uniffi::Object)]
pub struct StreamHandle {
    pub(crate) pod: Pod,
    pub(crate) label: String,
}

#[uniffi::export]
impl StreamHandle {
    /// Its label. Instant.
    pub fn label(&self) -> String {
        self.label.clone()
    }

    /// Appends events as one entry. Durable when it returns. Async.
    pub async fn append(
        &self,
        events: Vec<AppEvent>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<EntryRef, RhizomeError> {
        let (pod, label) = (self.pod.clone(), self.label.clone());
        let events = events
            .into_iter()
            .map(|AppEvent { kind, payload }| Event::App { kind, payload })
            .collect();
        ask(
            cancel,
            async move { pod.append(&label, events).await.map(EntryRef::from) },
        )
        .await
    }

    /// Every event, in the order that every device agrees on. Async.
    pub async fn events(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Vec<AppEvent>, RhizomeError> {
        let (pod, label) = (self.pod.clone(), self.label.clone());
        ask(cancel, async move {
            let events = pod.events(&label).await?;
            let own = events.into_iter().filter_map(|event| match event {
                Event::App { kind, payload } => Some(AppEvent { kind, payload }),
                Event::Document(_) | Event::Unknown(_) => None,
            });
            Ok::<_, rhizome::Error>(own.collect())
        })
        .await
    }
}
