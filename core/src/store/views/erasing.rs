//! Erasing in the views: which documents are gone, and which sections the others came from.

use std::{cell::Cell, collections::BTreeSet};

use super::{Views, ViewsWrite, of};
use crate::{
    log::{AuthorId, DocumentId},
    store::{
        StoreError,
        database::{bytes, int, uint},
        erasing::cut_wal,
    },
};

pub(super) const TABLES: &str = "
    CREATE TABLE gone (document BLOB PRIMARY KEY, unread INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
    CREATE INDEX gone_unread ON gone (document) WHERE unread = 1;
";

/// Where a change of a document stands: author log, branch, seq, number of the section.
pub type SectionPlace = (AuthorId, u32, u64, u32);

impl Views {
    /// Takes the words of what was taken out from the searches, and cuts the write-ahead log to nothing, so that nothing is left in it of
    /// pages as they were. Takes time that grows with all that is searched, in short steps between which others come in. False if that cannot
    /// be now, or `stop` says so: then all of it is to be done again.
    pub fn scrub(&self, stop: impl Fn() -> bool) -> Result<bool, StoreError> {
        for search in self.with(|views| views.searches())? {
            let mut first = true;
            loop {
                if stop() {
                    return Ok(false);
                }
                if !self.with(|views| views.purge_words(search, first))? {
                    break;
                }
                first = false;
            }
        }
        match self.path {
            Some(_) => self.with_connection(&Cell::new(false), |conn| cut_wal(conn).map_err(|error| of(&error))),
            None => Ok(true),
        }
    }
}

impl ViewsWrite<'_> {
    /// The documents that were taken out of the views.
    pub fn gone(&self) -> Result<BTreeSet<DocumentId>, StoreError> {
        let rows = self.rows("SELECT document FROM gone", [], |row| Ok(DocumentId(bytes(row, 0)?)))?;
        Ok(rows.into_iter().collect())
    }

    /// Takes a document out of everything that is shown, and notes that it is gone. Where its changes stand stays known, and which
    /// attachments it refers to: it may come back.
    pub fn take_out(&self, document: &DocumentId) -> Result<(), StoreError> {
        self.hide_document(document)?;
        self.run("INSERT OR IGNORE INTO gone (document) VALUES (?1)", [document.0])?;
        Ok(())
    }

    /// A document that was gone is not any more: fold its changes again.
    pub fn bring_back(&self, document: &DocumentId) -> Result<(), StoreError> {
        self.run("DELETE FROM gone WHERE document = ?1", [document.0])?;
        Ok(())
    }

    /// Notes whether changes of a document that is gone are here that nobody looked into: they may refer to attachments.
    pub fn note_unread(&self, document: &DocumentId, unread: bool) -> Result<(), StoreError> {
        self.run("UPDATE gone SET unread = ?2 WHERE document = ?1", (document.0, unread))?;
        Ok(())
    }

    /// The documents of which [`ViewsWrite::note_unread`] was told.
    pub fn unread(&self) -> Result<Vec<DocumentId>, StoreError> {
        self.rows("SELECT document FROM gone WHERE unread = 1", [], |row| {
            Ok(DocumentId(bytes(row, 0)?))
        })
    }

    /// Every section with changes of a document that was folded or met since.
    pub fn sections_of(&self, document: &DocumentId) -> Result<Vec<SectionPlace>, StoreError> {
        self.rows(
            "SELECT author, branch, seq, section FROM touched WHERE document = ?1 ORDER BY author, branch, seq, section",
            [document.0],
            |row| Ok((AuthorId(bytes(row, 0)?), row.get(1)?, uint(row.get(2)?), row.get(3)?)),
        )
    }

    /// Forgets a section of a document: it was erased.
    pub fn forget_section(&self, document: &DocumentId, place: &SectionPlace) -> Result<(), StoreError> {
        let (author, branch, seq, section) = place;
        self.run(
            "DELETE FROM touched WHERE document = ?1 AND author = ?2 AND branch = ?3 AND seq = ?4 AND section = ?5",
            (document.0, author.0, branch, int(*seq), section),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::store::{DefinitionKind, DocumentRow, Entries};

    #[test]
    fn words_are_purged_in_steps_and_whoever_stops_them_begins_again() {
        let views = Views::in_memory().unwrap();
        let words = |n: u64| -> Vec<String> {
            let word = |m: u64| crate::crypto::Hash::plain(&(n * 1_000 + m).to_be_bytes()).to_string()[..8].to_owned();
            (0..800).map(word).collect()
        };
        // Like no other word, so that it is kept whole.
        let own = |n: u8| vec![if n == 150 { "quokka" } else { "beef" }.to_owned()];
        let put = |views: &ViewsWrite<'_>, search: i64, n: u8| {
            let row = DocumentRow {
                document: DocumentId([n; 16]),
                collection: "notes".to_owned(),
                state: Vec::new(),
            };
            let entries = Entries {
                keys: Vec::new(),
                words: vec![(search, vec![[words(n.into()), own(n)].concat().join(" ")])],
            };
            views.put_document(&row, &Default::default(), &entries)
        };
        let put_all = views.with(|views| {
            let search = views.define("notes", DefinitionKind::Search, b"s", true, 1)?;
            (0..200).try_for_each(|n| put(views, search, n))
        });
        put_all.unwrap();
        views.with(|views| views.take_out(&DocumentId([150; 16]))).unwrap();
        let steps = Cell::new(0);
        let stop_after = |most: u32| {
            let steps = &steps;
            move || {
                steps.set(steps.get() + 1);
                steps.get() > most
            }
        };
        assert_eq!(views.scrub(stop_after(1)), Ok(false));
        let is_there = || {
            let data =
                views.with(|views| views.rows("SELECT block FROM search_1_data", [], |row| row.get::<_, Vec<u8>>(0)));
            let is_in = |block: &Vec<u8>| block.windows(6).any(|part| part == b"quokka");
            data.unwrap().iter().any(is_in)
        };
        assert!(is_there());
        steps.set(0);
        assert_eq!(views.scrub(stop_after(u32::MAX)), Ok(true));
        assert!(steps.get() > 2, "{} steps", steps.get());
        assert!(!is_there());
        steps.set(0);
        assert_eq!(views.scrub(stop_after(u32::MAX)), Ok(true));
        assert_eq!(steps.get(), 1, "nothing is left to do");
    }

    #[test]
    fn where_a_change_stands_is_known_until_it_is_forgotten() {
        let views = Views::in_memory().unwrap();
        let (document, author) = (DocumentId([1; 16]), AuthorId([2; 32]));
        let left = views.with(|views| {
            views.touch(&document, &author, 0, 2, 0)?;
            views.touch(&document, &author, 0, 3, 7)?;
            views.touch(&document, &author, 0, 3, 7)?;
            assert_eq!(views.touched(&document)?, [(author, 0, 3)]);
            views.take_out(&document)?;
            assert_eq!(views.gone()?, BTreeSet::from([document]));
            assert_eq!(views.sections_of(&document)?.len(), 2);
            views.forget_section(&document, &(author, 0, 3, 7))?;
            views.bring_back(&document)?;
            Ok((views.sections_of(&document)?, views.gone()?))
        });
        assert_eq!(left, Ok((vec![(author, 0, 2, 0)], BTreeSet::new())));
        assert_eq!(views.scrub(|| false), Ok(true));
    }
}
