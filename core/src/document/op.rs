//! Edits as data: what is done to a document now and made durable later, or handed across a boundary that closures do not cross.

use std::ops::Range;

use automerge::transaction::Transactable;

use super::{DocumentError, Edit, Expand, Key, Value};

/// One edit of a document; the calls of [`Edit`] as values.
///
/// `Debug` shows the kind only: what users write must not reach logs.
#[derive(Clone, PartialEq)]
pub enum EditOp {
    /// [`Edit::set`].
    Set {
        /// Where.
        path: Vec<Key>,
        /// What.
        value: Value,
    },
    /// [`Edit::delete`].
    Delete {
        /// What.
        path: Vec<Key>,
    },
    /// [`Edit::insert`].
    Insert {
        /// The list.
        path: Vec<Key>,
        /// Before which of its values; its length for the end.
        index: usize,
        /// What.
        value: Value,
    },
    /// [`Edit::splice_text`].
    SpliceText {
        /// The text.
        path: Vec<Key>,
        /// From where, in UTF-16 code units.
        at: usize,
        /// How much goes, in UTF-16 code units.
        delete: usize,
        /// What comes.
        insert: String,
    },
    /// [`Edit::set_text`].
    SetText {
        /// The text.
        path: Vec<Key>,
        /// What it reads then.
        text: String,
    },
    /// [`Edit::increment`].
    Increment {
        /// The counter.
        path: Vec<Key>,
        /// By how much.
        by: i64,
    },
    /// [`Edit::mark`].
    Mark {
        /// The text.
        path: Vec<Key>,
        /// From where to where, in UTF-16 code units.
        range: Range<usize>,
        /// The mark's name.
        name: String,
        /// What it is set to.
        value: Value,
        /// Whether text put in at its ends gets it.
        expand: Expand,
    },
    /// [`Edit::unmark`].
    Unmark {
        /// The text.
        path: Vec<Key>,
        /// From where to where, in UTF-16 code units.
        range: Range<usize>,
        /// The mark's name.
        name: String,
        /// Whether text put in at its ends stays without it.
        expand: Expand,
    },
}

impl EditOp {
    /// Does it.
    pub fn apply<T: Transactable>(&self, edit: &mut Edit<'_, T>) -> Result<(), DocumentError> {
        match self {
            Self::Set { path, value } => edit.set(path, value.clone()),
            Self::Delete { path } => edit.delete(path),
            Self::Insert { path, index, value } => edit.insert(path, *index, value.clone()),
            Self::SpliceText {
                path,
                at,
                delete,
                insert,
            } => edit.splice_text(path, *at, *delete, insert),
            Self::SetText { path, text } => edit.set_text(path, text),
            Self::Increment { path, by } => edit.increment(path, *by),
            Self::Mark {
                path,
                range,
                name,
                value,
                expand,
            } => edit.mark(path, range.clone(), name, value, *expand),
            Self::Unmark {
                path,
                range,
                name,
                expand,
            } => edit.unmark(path, range.clone(), name, *expand),
        }
    }
}

impl std::fmt::Debug for EditOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Set { .. } => "Set",
            Self::Delete { .. } => "Delete",
            Self::Insert { .. } => "Insert",
            Self::SpliceText { .. } => "SpliceText",
            Self::SetText { .. } => "SetText",
            Self::Increment { .. } => "Increment",
            Self::Mark { .. } => "Mark",
            Self::Unmark { .. } => "Unmark",
        })
    }
}
