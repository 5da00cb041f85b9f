//! Collections: what is declared of them, queries, counts and search.

use super::{Pod, QueryWatch, running::Running};
use crate::{
    document::{Page, Query, QueryError, QueryPage, Schema, Search, SearchPage},
    error::Error,
    log::DocumentId,
    store::{ListCursor, StoreError},
};

/// Steps of a build that [`Pod::declare`] does itself before it returns: a small collection is ready then.
const BUILT_AT_ONCE: usize = 16;

/// How far the indexes of a collection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexProgress {
    /// Documents that were gone through.
    pub done: u64,
    /// Documents there are.
    pub total: u64,
}

impl Pod {
    /// Says which indexes and searched fields a collection has: call it whenever the pod was opened, with the same or another schema. What is
    /// new is built in the background from the documents that are here; the pod stays usable, a suspend or a crash only delays it, and until it
    /// is done queries that need it answer [`QueryError::Building`]. A collection of some hundred documents is ready when this returns. What the
    /// schema does not name is dropped, but for what [`Pod::list`] asked for.
    pub async fn declare(&self, collection: &str, schema: Schema) -> Result<(), Error> {
        let collection = collection.to_owned();
        self.work(move |running| {
            running.asked(|documents| documents.declare(&collection, &schema))?;
            let built = (0..BUILT_AT_ONCE).try_for_each(|_| match running.documents.building(&collection)? {
                Some(_) => running.documents.build_some(Some(&collection)).map(drop),
                None => Ok(()),
            });
            // Also if a step failed: those before it stay done.
            running.shared.changes.everything();
            built?;
            // The rest follows in the background.
            running.log.announce(running.replica.identity());
            Ok(())
        })
        .await
    }

    /// How far the indexes of a collection are; `None` if they are ready. A status is told anew while it changes.
    pub async fn index_progress(&self, collection: &str) -> Result<Option<IndexProgress>, Error> {
        let collection = collection.to_owned();
        self.work(move |running| {
            let build = running.shown(|documents| documents.building(&collection))?;
            Ok(build.map(|build| IndexProgress {
                done: build.done,
                total: build.total,
            }))
        })
        .await
    }

    /// A page of what a query finds.
    ///
    /// # Errors
    /// [`Error::Query`]: no declared index answers it, or its index is still built.
    pub async fn query(&self, collection: &str, query: Query) -> Result<QueryPage, Error> {
        let collection = collection.to_owned();
        self.work(move |running| running.asked(|documents| documents.query(&collection, &query)))
            .await
    }

    /// How many documents a query finds, whatever its limit and cursor. Takes time that grows with that number, and reads no document.
    pub async fn count_query(&self, collection: &str, query: Query) -> Result<u64, Error> {
        let collection = collection.to_owned();
        self.work(move |running| running.asked(|documents| documents.count_query(&collection, &query)))
            .await
    }

    /// Watches what a query finds: its first page, from its cursor on.
    pub fn watch_query(&self, collection: &str, query: Query) -> QueryWatch {
        QueryWatch::new(self, collection, query)
    }

    /// A page of what a search finds in the fields that the collection's schema names.
    ///
    /// # Errors
    /// As [`Pod::query`].
    pub async fn search(&self, collection: &str, search: Search) -> Result<SearchPage, Error> {
        let collection = collection.to_owned();
        self.work(move |running| running.asked(|documents| documents.search(&collection, &search)))
            .await
    }

    /// A page of a collection by the date in its top-level `field`, newest first. `after` is the `next` of the page before. Nothing needs to be
    /// declared: the first call for a field makes an index of it and waits for that.
    pub async fn list(
        &self,
        collection: &str,
        field: &str,
        after: Option<ListCursor>,
        limit: u32,
    ) -> Result<Page, Error> {
        let (collection, field) = (collection.to_owned(), field.to_owned());
        self.work(move |running| {
            let find = || running.shown(|documents| documents.list_built(&collection, &field, after, limit));
            if let Some(page) = find()? {
                return Ok(page);
            }
            let built = || -> Result<Page, Error> {
                loop {
                    if *running.stop_signal().borrow() {
                        return Err(Error::Suspended);
                    }
                    running.documents.build_some(Some(&collection))?;
                    if let Some(page) = find()? {
                        return Ok(page);
                    }
                }
            };
            let page = built();
            // Others may wait for an index of this collection that was built on the way.
            running.shared.changes.everything();
            page
        })
        .await
    }

    /// Every document of a collection, by id.
    pub async fn documents(&self, collection: &str) -> Result<Vec<DocumentId>, Error> {
        let collection = collection.to_owned();
        self.work(move |running| running.shown(|documents| documents.ids(&collection)))
            .await
    }

    /// How many documents a collection has. Takes the same time however many there are.
    pub async fn count(&self, collection: &str) -> Result<u64, Error> {
        let collection = collection.to_owned();
        self.work(move |running| running.shown(|documents| documents.count(&collection)))
            .await
    }
}

impl Running {
    fn asked<R>(&self, ask: impl Fn(&crate::document::Documents) -> crate::document::Asked<R>) -> Result<R, Error> {
        Ok(self.shown(ask)??)
    }

    /// Builds indexes until all are built, `stop` says so or something new is to be folded, which goes first.
    pub fn build_indexes(&self, stop: &dyn Fn() -> bool) -> Result<(), Error> {
        let mut steps = 0_u32;
        let mut build = || -> Result<(), StoreError> {
            while !stop() && self.documents.build_some(None)? {
                steps += 1;
                if steps.is_multiple_of(STEPS_A_WORD) {
                    self.shared.changes.state();
                }
            }
            Ok(())
        };
        let built = build();
        if steps > 0 || built.is_err() {
            // Whoever waits for an index asks again, also if a step failed: those before it stay done.
            self.shared.changes.everything();
        }
        Ok(built?)
    }
}

/// After so many steps of a build those who watch the status are told.
const STEPS_A_WORD: u32 = 32;

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}
