//! Ranges: a run of entries of one author log, verified by its links and its last signature.

use serde::{Deserialize, Serialize};

use super::{AuthorId, Entry, LogError, MAX_SECTIONS, Position, Section, Start, VerifiedEntry};
use crate::{
    crypto::{Bounded, CborError, Hash, PublicKey, Signature, decode, encode},
    identity::EpochId,
};

/// The most entries that one range may have.
pub const MAX_RANGE: usize = 512;

/// A range as received: nothing in it is checked but its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The start of the author log, when the range begins right after it.
    pub start: Option<Vec<u8>>,
    /// The author log.
    pub author: AuthorId,
    /// Where the header before the first entry stands.
    pub after: Position,
    /// The entries.
    pub entries: Vec<Entry>,
}

#[derive(Serialize)]
struct WireEntry<'a>(Option<EpochId>, Option<Hash>, &'a [Section], Signature);

#[derive(Serialize)]
struct WireRange<'a>(Option<&'a serde_bytes::Bytes>, AuthorId, u64, Hash, Vec<WireEntry<'a>>);

/// What [`WireEntry`] wrote.
#[derive(Deserialize)]
struct ReadEntry(Option<EpochId>, Option<Hash>, Bounded<Section, MAX_SECTIONS>, Signature);

#[derive(Deserialize)]
struct ReadRange(
    Option<serde_bytes::ByteBuf>,
    AuthorId,
    u64,
    Hash,
    Bounded<ReadEntry, MAX_RANGE>,
);

impl Range {
    /// The body of a `Range` frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut last = None;
        let entries = self.entries.iter().map(|entry| {
            let epoch = (last != Some(entry.epoch)).then_some(entry.epoch);
            last = Some(entry.epoch);
            WireEntry(epoch, entry.head, &entry.sections, entry.signature)
        });
        encode(&WireRange(
            self.start.as_deref().map(serde_bytes::Bytes::new),
            self.author,
            self.after.seq.saturating_add(1),
            self.after.hash,
            entries.collect(),
        ))
    }

    /// Reads what [`Range::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let ReadRange(start, author, seq, link, wire) = decode(bytes)?;
        let wire = wire.0;
        if wire.is_empty() || seq < 2 || (seq == 2) != start.is_some() {
            return Err(LogError::BadRange);
        }
        let mut last = None;
        let entries = wire
            .into_iter()
            .map(|ReadEntry(epoch, head, sections, signature)| {
                let epoch = epoch.or(last).ok_or(LogError::BadRange)?;
                last = Some(epoch);
                Ok(Entry {
                    epoch,
                    head,
                    sections: sections.0,
                    signature,
                })
            })
            .collect::<Result<_, LogError>>()?;
        let after = Position {
            seq: seq - 1,
            hash: link,
        };
        let range = Self {
            start: start.map(serde_bytes::ByteBuf::into_vec),
            author,
            after,
            entries,
        };
        // One spelling only, so also no epoch said twice.
        if range.encode() != bytes {
            return Err(CborError::NotCanonical.into());
        }
        Ok(range)
    }

    /// Checks the links and the signature of the last entry, and so of the whole run. What `after` names must be checked
    /// by the caller: it is either an entry that is here, or the start.
    pub fn verify(self, device: &PublicKey) -> Result<VerifiedRange, LogError> {
        let mut position = self.after;
        let mut entries = Vec::with_capacity(self.entries.len());
        for entry in self.entries {
            entry.check_size()?;
            let seq = position.seq.checked_add(1).ok_or(LogError::BadRange)?;
            position = Position {
                seq,
                hash: entry.hash(&self.author, seq, &position.hash),
            };
            entries.push(VerifiedEntry::vouch(self.author, position, entry));
        }
        let last = entries.last().ok_or(LogError::BadRange)?;
        last.entry().verify(device, &last.position().hash)?;
        Ok(VerifiedRange {
            author: self.author,
            after: self.after,
            entries,
        })
    }

    /// The start that the range brings, checked to be this author's.
    pub fn start(&self) -> Result<Option<Start>, LogError> {
        let Some(bytes) = &self.start else { return Ok(None) };
        let start = Start::decode(bytes)?;
        if start.id() != self.author || self.after != Position::start(&self.author) {
            return Err(LogError::OtherAuthor);
        }
        Ok(Some(start))
    }
}

/// A run of entries whose links and last signature are checked.
#[derive(Debug)]
pub struct VerifiedRange {
    author: AuthorId,
    after: Position,
    entries: Vec<VerifiedEntry>,
}

impl VerifiedRange {
    /// The author log.
    pub fn author(&self) -> AuthorId {
        self.author
    }

    /// What the first entry links to.
    pub fn after(&self) -> Position {
        self.after
    }

    /// The entries, at least one.
    pub fn entries(&self) -> &[VerifiedEntry] {
        &self.entries
    }

    /// The end of the run.
    pub fn head(&self) -> Position {
        self.entries
            .last()
            .expect("a verified range has at least one entry")
            .position()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_one_spelling() {
        let (epoch, other) = (EpochId([1; 32]), EpochId([2; 32]));
        let entry = |epoch| Entry {
            epoch,
            head: None,
            sections: vec![Section::Box(vec![0; 64])],
            signature: Signature([3; 64]),
        };
        let range = Range {
            start: None,
            author: AuthorId([4; 32]),
            after: Position {
                seq: 7,
                hash: Hash([5; 32]),
            },
            entries: vec![entry(epoch), entry(epoch), entry(other)],
        };
        let bytes = range.encode();
        assert_eq!(Range::decode(&bytes).unwrap(), range);
        let epochs = |epochs: [Option<EpochId>; 3]| {
            let entries = range.entries.iter().zip(epochs);
            let wire = entries.map(|(entry, epoch)| WireEntry(epoch, None, &entry.sections, entry.signature));
            encode(&WireRange(None, range.author, 8, range.after.hash, wire.collect()))
        };
        assert_eq!(epochs([Some(epoch), None, Some(other)]), bytes);
        // An epoch said again although nothing changed; none at all.
        Range::decode(&epochs([Some(epoch), Some(epoch), Some(other)])).expect_err("two spellings");
        Range::decode(&epochs([None, Some(epoch), Some(other)])).expect_err("no epoch");
    }
}
