//! What was written before on a device that joins an existing identity: it moves in.

use super::{DocumentEdit, Pod, path};
use crate::{
    crypto::{decode, encode},
    document::Value,
    error::Error,
    identity::IdentityId,
    log::{DocumentId, Event},
};

/// What moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Documents that are here now and were not before.
    pub documents: u64,
    /// Events of the applications' own.
    pub events: u64,
}

/// Documents in one write, and events in one entry.
const AT_ONCE: usize = 64;

impl Pod {
    /// Takes everything in that was written in `other`, a pod of another identity on this device: for a person who wrote first and linked
    /// their other devices later. Documents come under their own ids, as they are now; their history stays in `other`, which is not changed.
    /// What is here already is left as it is, so after a crash it can be called again: what it had moved is not moved twice, except events
    /// of the one entry that it was writing.
    pub async fn take_in(&self, other: &Self) -> Result<TakenIn, Error> {
        let mut taken = TakenIn::default();
        let (from, labels) = {
            let running = other.running()?;
            let ring = running.ring();
            let labels: Vec<String> = ring.streams().values().map(|stream| stream.label.clone()).collect();
            (running.replica.identity(), labels)
        };
        for label in labels {
            taken.documents += self.take_documents(other, &label).await?;
            taken.events += self.take_events(other, &label, from).await?;
        }
        Ok(taken)
    }

    async fn take_documents(&self, other: &Self, collection: &str) -> Result<u64, Error> {
        let mut count = 0;
        let mut edits: Vec<DocumentEdit> = Vec::new();
        for document in other.documents(collection).await? {
            let Some(value) = other.get(document).await? else {
                continue;
            };
            // What was deleted here since does not come back.
            if self.get(document).await?.is_none() && !self.running()?.is_erased(&document) {
                edits.push(whole(document, value));
                count += 1;
            }
            if edits.len() == AT_ONCE {
                self.write(collection, std::mem::take(&mut edits)).await?;
            }
        }
        if !edits.is_empty() {
            self.write(collection, edits).await?;
        }
        Ok(count)
    }

    async fn take_events(&self, other: &Self, label: &str, from: IdentityId) -> Result<u64, Error> {
        let events = other.events(label).await?;
        let key = format!("taken:{from}:{label}");
        let noted = key.clone();
        let before: u64 = self
            .work(move |running| {
                let noted = running.log.read(|read| read.meta(&noted))?;
                Ok(noted.and_then(|bytes| decode(&bytes).ok()).unwrap_or(0))
            })
            .await?;
        let mut done = usize::try_from(before).unwrap_or(usize::MAX).min(events.len());
        let rest: Vec<Vec<Event>> = events[done..].chunks(AT_ONCE).map(<[Event]>::to_vec).collect();
        for some in rest {
            done += some.len();
            self.append(label, some).await?;
            let (key, done) = (key.clone(), encode(&(done as u64)));
            self.work(move |running| Ok(running.log.write(move |write| write.set_meta(&key, &done)).wait()?))
                .await?;
        }
        Ok(done as u64 - before)
    }
}

/// A document with everything in it, as one edit.
fn whole(document: DocumentId, value: Value) -> DocumentEdit {
    DocumentEdit {
        document: Some(document),
        edit: Box::new(move |edit| {
            if let Value::Map(fields) = &value {
                for (name, field) in fields {
                    edit.set(&path([name.as_str()]), field.clone())?;
                }
            }
            Ok(())
        }),
    }
}
