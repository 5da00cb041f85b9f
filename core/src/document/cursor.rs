//! Cursors: places in a text that stay where they are while others write before and after them.

use std::{fmt, str::FromStr};

use automerge::{ChangeHash, Cursor as AutomergeCursor, ObjId, ReadDoc};

use super::{
    Document, DocumentError, Key,
    document::guard,
    marks::text_at,
    read::is_boundary,
    tree::{self, element},
};

/// To which side of it a place in a text belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lean {
    /// To the character before it: what others put in at this place comes after it.
    #[default]
    Before,
    /// To the character after it: what others put in at this place comes before it.
    After,
}

/// A place in a text, between two characters. It is kept as a string, and means the same on every device that has the text.
///
/// When the character it belongs to is deleted, it stays where that was.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    before: bool,
    at: Anchor,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Anchor {
    Start,
    End,
    /// The number and the author of the operation that put the character in.
    Character(u64, Vec<u8>),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.before { "<" } else { ">" })?;
        match &self.at {
            Anchor::Start => f.write_str("s"),
            Anchor::End => f.write_str("e"),
            Anchor::Character(number, actor) => write!(f, "{number}@{}", crate::crypto::hex(actor)),
        }
    }
}

impl FromStr for Cursor {
    type Err = DocumentError;

    /// # Errors
    /// [`DocumentError::Cursor`].
    fn from_str(text: &str) -> Result<Self, DocumentError> {
        let read = || {
            let (before, rest) = match text.strip_prefix('<') {
                Some(rest) => (true, rest),
                None => (false, text.strip_prefix('>')?),
            };
            let at = match rest {
                "s" => Anchor::Start,
                "e" => Anchor::End,
                _ => {
                    let (number, actor) = rest.split_once('@')?;
                    let actor = data_encoding::HEXLOWER.decode(actor.as_bytes()).ok()?;
                    let number = number
                        .parse()
                        .ok()
                        .filter(|number| (1..=u64::from(u32::MAX)).contains(number))?;
                    let fits = (1..=64).contains(&actor.len());
                    fits.then_some(Anchor::Character(number, actor))?
                }
            };
            Some(Cursor { before, at })
        };
        read().ok_or(DocumentError::Cursor)
    }
}

impl Cursor {
    /// The same place, if its character was put in by `from`, as `to` wrote it.
    pub(crate) fn written_by(mut self, from: &[u8; 32], to: &[u8; 32]) -> Self {
        if let Anchor::Character(_, actor) = &mut self.at
            && actor == from
        {
            *actor = to.to_vec();
        }
        self
    }
}

impl Document {
    /// A cursor at a place in the text at the end of a path, in UTF-16 code units.
    ///
    /// # Errors
    /// If there is no text, or the place is past its end or inside a character.
    pub fn cursor(&self, path: &[Key], at: usize, lean: Lean) -> Result<Cursor, DocumentError> {
        cursor(&self.doc, path, at, lean)
    }

    /// Where a cursor is now in the text at the end of a path, in UTF-16 code units; nothing if there is no text, or it never had the
    /// character that the cursor belongs to.
    pub fn position(&self, path: &[Key], cursor: &Cursor) -> Option<usize> {
        let made = |element: &str| self.doc.hash_for_opid(&self.doc.import_obj(element).ok()?);
        position(&self.doc, path, cursor, made)
    }
}

/// As [`Document::cursor`].
pub(super) fn cursor(doc: &impl ReadDoc, path: &[Key], at: usize, lean: Lean) -> Result<Cursor, DocumentError> {
    let step = path.len();
    let id = text_at(doc, path).ok_or(DocumentError::NotFound { step })?;
    if !is_boundary(doc, &id, at) {
        return Err(DocumentError::OutOfRange { step });
    }
    let before = lean == Lean::Before;
    let place = if before { at.checked_sub(1) } else { Some(at) };
    let at = match place {
        None => Anchor::Start,
        Some(place) if place >= doc.length(&id) => Anchor::End,
        Some(place) => match doc.get(&id, place) {
            Ok(Some((_, ObjId::Id(number, actor, _)))) => Anchor::Character(number, actor.to_bytes().to_vec()),
            _ => return Err(DocumentError::Failed),
        },
    };
    Ok(Cursor { before, at })
}

/// As [`Document::position`]; `made` tells which change made an element.
pub(super) fn position(
    doc: &impl ReadDoc,
    path: &[Key],
    cursor: &Cursor,
    made: impl Fn(&str) -> Option<ChangeHash>,
) -> Option<usize> {
    let id = text_at(doc, path)?;
    let (number, actor) = match &cursor.at {
        Anchor::Start => return Some(0),
        Anchor::End => return Some(doc.length(&id)),
        Anchor::Character(number, actor) => (*number, &actor[..]),
    };
    let automerge = format!("{number}@{}", crate::crypto::hex(actor));
    let found = guard(|| {
        let cursor = AutomergeCursor::try_from(automerge.as_str()).ok()?;
        doc.get_cursor_position(&id, &cursor, None).ok()
    });
    // Whether the text had this element when it was put in.
    let was_last = || {
        let there = guard(|| {
            let cursor = AutomergeCursor::try_from(automerge.as_str()).ok()?;
            doc.get_cursor_position(&id, &cursor, Some(&[made(&automerge)?])).ok()
        });
        there.flatten().is_some()
    };
    let place = match found.flatten() {
        Some(place) => place,
        // A build of Automerge that checks itself panics for what was last in the text and is gone.
        None if was_last() => doc.length(&id),
        None => return None,
    };
    // Of a character that is gone this is the place where it was.
    match doc.get(&id, place) {
        Ok(Some((value, there @ ObjId::Id(..))))
            if cursor.before && matches!(&there, ObjId::Id(n, a, _) if *n == number && a.to_bytes() == actor) =>
        {
            Some(place + element(&value, tree::id(&there)).map_or(1, |element| element.width))
        }
        _ => Some(place),
    }
}
