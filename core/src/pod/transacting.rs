//! Transactions: edits of several documents that happen together or not at all.

use super::{
    DocumentEdit, Pod, Written,
    running::Running,
    writing::{Of, Take, Work, editing},
};
use crate::{
    crypto::{OsRandom, Random},
    error::Error,
    log::{DocumentId, MAX_ENTRY, MAX_SECTIONS},
};

impl Pod {
    /// Makes and edits several documents of a collection in one entry: all of it is written, or nothing; and on every device either all of it
    /// is shown or nothing yet. Several edits of one document become one change. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it does not fit into one entry: 2,048 documents and 1 MiB, sealed. What an edit fails with.
    pub async fn transaction(&self, collection: &str, edits: Vec<DocumentEdit>) -> Result<Vec<Written>, Error> {
        let collection = collection.to_owned();
        self.work(move |running| running.transaction(&collection, edits)).await
    }
}

impl Running {
    fn transaction(&self, collection: &str, edits: Vec<DocumentEdit>) -> Result<Vec<Written>, Error> {
        let random: &mut dyn Random = &mut OsRandom;
        // In the order in which each document is named first.
        let mut grouped: Vec<(DocumentId, Vec<DocumentEdit>)> = Vec::new();
        let mut order = Vec::with_capacity(edits.len());
        for edit in edits {
            let document = edit.document.unwrap_or_else(|| DocumentId(random.bytes()));
            order.push(document);
            match grouped.iter_mut().find(|(known, _)| *known == document) {
                Some((_, edits)) => edits.push(edit),
                None => grouped.push((document, vec![edit])),
            }
        }
        if grouped.is_empty() {
            return Ok(Vec::new());
        }
        if grouped.len() > MAX_SECTIONS {
            let size = grouped.len() * MAX_ENTRY / MAX_SECTIONS;
            return Err(Error::TooLarge { size, max: MAX_ENTRY });
        }
        let stream = self.stream(collection)?;
        let works: Vec<(DocumentId, Box<Work<'_>>)> = grouped
            .iter()
            .map(|(document, edits)| (*document, editing(edits)))
            .collect();
        let works: Vec<(DocumentId, &Work<'_>)> = works.iter().map(|(document, work)| (*document, &**work)).collect();
        let (_, written) = self.write_some(stream, collection, &works, (Take::All, Of::Any))?;
        let of = |document: &DocumentId| written.iter().find(|written| written.document == *document).copied();
        Ok(order.iter().filter_map(of).collect())
    }
}
