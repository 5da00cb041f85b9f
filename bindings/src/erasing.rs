//! Deleting documents, as it crosses.

use std::sync::Arc;

use rhizome::{DocumentId, Proposal};
use zeroize::Zeroizing;

use crate::{
    CancelHandle, PodHandle, RhizomeError, Value,
    collection::document_id,
    runtime::{ask, run},
};

/// A document that was deleted and can still be brought back.
#[derive(Clone, PartialEq, uniffi::Record)]
pub struct Trashed {
    /// The document's id.
    pub id: String,
    /// The collection it was in.
    pub collection: String,
    /// What it holds, as long as it is here.
    pub value: Value,
    /// Which device deleted it: its signing key.
    pub by: String,
    /// When it was deleted, by the clock of whoever puts operations in order, in milliseconds since 1970. None while that waits for its order.
    pub since: Option<u64>,
    /// From when it is gone for good, by the same clock: seven days later. None while it waits for its order: then not before seven days from
    /// now.
    pub due: Option<u64>,
}

// The collection's name and what it holds are a person's own.
impl std::fmt::Debug for Trashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trashed(due {:?})", self.due)
    }
}

fn proposals(made: Vec<Proposal>) -> Vec<String> {
    made.iter().map(Proposal::to_string).collect()
}

#[uniffi::export]
impl PodHandle {
    /// Deletes documents; gives the proposals' ids. They are gone from every list at once, here and on each device that learns of it;
    /// [`PodHandle::trash`] names them, and [`PodHandle::cancel_erase`] brings them back, until seven days after the deletion was put in order.
    /// From then on every device and cloud peer drops their text and attachments. `NotFound` if one is not here: then none is deleted. Async.
    pub async fn erase_documents(
        &self,
        ids: Vec<String>,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<String>, RhizomeError> {
        let pod = self.0.clone();
        let ids = ids
            .iter()
            .map(|id| document_id(id))
            .collect::<Result<Vec<DocumentId>, _>>()?;
        ask(cancel, async move { pod.erase_documents(ids).await.map(proposals) }).await
    }

    /// Deletes a document for good, by the 24 words: each device and cloud peer that hears of it drops its text. Nothing brings it back. Also for
    /// what is in the trash. Gives the proposals' ids. `InvalidInput` with the code `wrong-words` if these are not the identity's. Async.
    pub async fn erase_document_at_once(
        &self,
        id: String,
        words: String,
        cancel: Option<Arc<CancelHandle>>,
    ) -> Result<Vec<String>, RhizomeError> {
        let (pod, words, id) = (self.0.clone(), Zeroizing::new(words), document_id(&id)?);
        run(cancel, async move {
            pod.erase_document_at_once(id, &words).await.map(proposals)
        })
        .await
    }

    /// Brings a deleted document back, in time. Of others that were deleted in the same call, the seven days begin anew. `NotFound` if it is not
    /// in the trash, `Refused` if it is too late. Async.
    pub async fn cancel_erase(&self, id: String, cancel: Option<Arc<CancelHandle>>) -> Result<(), RhizomeError> {
        let (pod, id) = (self.0.clone(), document_id(&id)?);
        ask(cancel, async move { pod.cancel_erase(id).await }).await
    }

    /// The documents that were deleted and can still be brought back, the latest first. Async.
    pub async fn trash(&self, cancel: Option<Arc<CancelHandle>>) -> Result<Vec<Trashed>, RhizomeError> {
        let pod = self.0.clone();
        let trashed = |trashed: rhizome::Trashed| Trashed {
            id: trashed.document.to_string(),
            collection: trashed.collection,
            value: trashed.value.into(),
            by: trashed.by.to_string(),
            since: trashed.since,
            due: trashed.due,
        };
        ask(cancel, async move {
            let all = pod.trash().await?;
            Ok::<_, rhizome::Error>(all.into_iter().map(trashed).collect())
        })
        .await
    }
}
