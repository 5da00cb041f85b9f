//! Entries: one link of an author log, a batch of events in sealed sections, signed once (docs/formats.md, section 4).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use super::{AuthorId, Content, Event, LogError, Time};
use crate::{
    crypto::{Hash, NONCE_LEN, PublicKey, Random, SealKey, Signature, SigningKey, TAG_LEN, encode, hash, padme},
    identity::EpochId,
};

/// The most bytes that the boxes of one entry may have together.
pub const MAX_ENTRY: usize = 1 << 20;
/// The most sections that one entry may have.
pub const MAX_SECTIONS: usize = 2048;

const LENGTH_PREFIX: usize = 4;

/// A place in an author log: right after the start, `{seq: 1, hash: author id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counts up by one.
    pub seq: u64,
    /// The hash of the header there.
    pub hash: Hash,
}

impl Position {
    /// Right after the start of `author`.
    pub fn start(author: &AuthorId) -> Self {
        Self {
            seq: 1,
            hash: Hash(author.0),
        }
    }
}

/// A part of an entry, sealed on its own.
#[derive(Clone, PartialEq, Eq)]
pub enum Section {
    /// Nonce, ciphertext and tag.
    Box(Vec<u8>),
    /// Erased: its hash stays, so that the chain still verifies.
    Erased(Hash),
}

impl Section {
    fn hash(&self) -> Hash {
        match self {
            Self::Box(bytes) => hash("section", &[bytes]),
            Self::Erased(hash) => *hash,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Box(bytes) => bytes.len(),
            Self::Erased(_) => 0,
        }
    }
}

impl Section {
    /// Drops nonce and ciphertext, and keeps the hash. Gives how many bytes are gone.
    pub fn erase(&mut self) -> usize {
        let size = self.len();
        *self = Self::Erased(self.hash());
        size
    }
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Box(bytes) => write!(f, "Box({} bytes)", bytes.len()),
            Self::Erased(hash) => write!(f, "Erased({})", hash.short()),
        }
    }
}

impl Serialize for Section {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Box(bytes) => s.serialize_bytes(bytes),
            Self::Erased(hash) => (hash,).serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Section;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a box or [hash]")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Section, E> {
                Ok(Section::Box(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Section, E> {
                Ok(Section::Box(bytes))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Section, A::Error> {
                let hash = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                match seq.next_element::<de::IgnoredAny>()? {
                    None => Ok(Section::Erased(hash)),
                    Some(_) => Err(de::Error::invalid_length(2, &self)),
                }
            }
        }
        d.deserialize_any(Visitor)
    }
}

/// An entry as stored or received: what it claims is not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The epoch its sections are sealed under.
    pub epoch: EpochId,
    /// The newest commit the device knew, when that changed.
    pub head: Option<Hash>,
    /// Its sections.
    pub sections: Vec<Section>,
    /// By the device, over the header's hash.
    pub signature: Signature,
}

impl Entry {
    /// The header's hash, if the entry stood after `link` as number `seq` of `author`.
    pub fn hash(&self, author: &AuthorId, seq: u64, link: &Hash) -> Hash {
        let sections: Vec<Hash> = self.sections.iter().map(Section::hash).collect();
        hash(
            "entry",
            &[&encode(&(1u8, author, seq, link, self.epoch, sections, self.head))],
        )
    }

    /// Checks the limits of section 4.
    pub(super) fn check_size(&self) -> Result<(), LogError> {
        let size = self.size();
        let sections = self.sections.len();
        let too_small = |section: &Section| matches!(section, Section::Box(bytes) if bytes.len() < NONCE_LEN + TAG_LEN + LENGTH_PREFIX);
        if size > MAX_ENTRY || sections == 0 || sections > MAX_SECTIONS || self.sections.iter().any(too_small) {
            return Err(LogError::TooLarge { size, sections });
        }
        Ok(())
    }

    /// Bytes of all boxes.
    pub fn size(&self) -> usize {
        self.sections.iter().map(Section::len).sum()
    }

    /// Checks the signature over the header's `hash`.
    pub(super) fn verify(&self, device: &PublicKey, hash: &Hash) -> Result<(), LogError> {
        Ok(device.verify("entry", &hash.0, &self.signature)?)
    }
}

/// An entry whose place, links and author are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEntry {
    author: AuthorId,
    position: Position,
    entry: Entry,
}

impl VerifiedEntry {
    /// For entries that were just made, or that stand on a chain whose end was verified.
    pub(super) fn vouch(author: AuthorId, position: Position, entry: Entry) -> Self {
        Self {
            author,
            position,
            entry,
        }
    }

    /// For entries that were verified before they were stored.
    pub(crate) fn from_store(author: AuthorId, position: Position, entry: Entry) -> Self {
        Self::vouch(author, position, entry)
    }

    /// The author log.
    pub fn author(&self) -> AuthorId {
        self.author
    }

    /// Its seq and hash.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The entry itself.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Drops the sections that `gone` names, by number. Gives how many bytes of boxes are gone: 0 if none was there.
    pub fn erase(&mut self, gone: impl Fn(u32) -> bool) -> usize {
        let sections = (0u32..).zip(&mut self.entry.sections);
        sections
            .filter(|(number, section)| matches!(section, Section::Box(_)) && gone(*number))
            .map(|(_, section)| section.erase())
            .sum()
    }

    /// The numbers of the sections that are missing.
    pub fn holes(&self) -> impl Iterator<Item = u32> + '_ {
        let sections = (0u32..).zip(&self.entry.sections);
        sections
            .filter(|(_, section)| matches!(section, Section::Erased(_)))
            .map(|(number, _)| number)
    }

    /// Whether it has a section of this number, and it is not missing.
    pub fn has(&self, number: u32) -> bool {
        matches!(self.entry.sections.get(number as usize), Some(Section::Box(_)))
    }

    /// The entry itself, without what was checked about it.
    pub fn into_entry(self) -> Entry {
        self.entry
    }
}

fn section_aad(author: &AuthorId, seq: u64, epoch: &EpochId, number: usize) -> Vec<u8> {
    encode(&(1u8, author, seq, epoch, number as u64))
}

/// What the device that writes knows of its author log.
pub struct Writer<'a> {
    /// Signs.
    pub signing: &'a SigningKey,
    /// The author log.
    pub author: AuthorId,
    /// Its head.
    pub after: Position,
    /// The epoch to seal under.
    pub epoch: EpochId,
    /// Its key.
    pub key: &'a SealKey,
    /// The newest commit known, if the author log has not named it yet.
    pub head: Option<Hash>,
}

/// Seals `sections` of events into the next entry of an author log.
///
/// # Errors
/// [`LogError::TooLarge`] if they do not fit into one entry: nothing is made.
pub fn make_entry(
    random: &mut dyn Random,
    writer: &Writer<'_>,
    time: Time,
    sections: &[Vec<Event>],
) -> Result<VerifiedEntry, LogError> {
    let seq = writer.after.seq + 1;
    let overhead = NONCE_LEN + LENGTH_PREFIX + TAG_LEN;
    let contents: Vec<Zeroizing<Vec<u8>>> = sections
        .iter()
        .map(|events| Zeroizing::new(Content::encode(time, events)))
        .collect();
    let bare: usize = contents.iter().map(|content| content.len() + overhead).sum();
    let total = padme(bare);
    if total > MAX_ENTRY || contents.is_empty() || contents.len() > MAX_SECTIONS {
        return Err(LogError::TooLarge {
            size: total,
            sections: contents.len(),
        });
    }
    let last = contents.len() - 1;
    let seal = |(number, content): (usize, &Zeroizing<Vec<u8>>)| {
        let padding = if number == last { total - bare } else { 0 };
        let mut plain = Zeroizing::new(Vec::with_capacity(LENGTH_PREFIX + content.len() + padding));
        plain.extend_from_slice(&u32::try_from(content.len()).expect("below MAX_ENTRY").to_be_bytes());
        plain.extend_from_slice(content);
        plain.resize(LENGTH_PREFIX + content.len() + padding, 0);
        Section::Box(
            writer
                .key
                .seal(random, &section_aad(&writer.author, seq, &writer.epoch, number), &plain),
        )
    };
    let sections = contents.iter().enumerate().map(seal).collect();
    let mut entry = Entry {
        epoch: writer.epoch,
        head: writer.head,
        sections,
        signature: Signature([0; 64]),
    };
    let hash = entry.hash(&writer.author, seq, &writer.after.hash);
    entry.signature = writer.signing.sign("entry", &hash.0);
    Ok(VerifiedEntry::vouch(writer.author, Position { seq, hash }, entry))
}

/// Opens every section that was not erased.
///
/// # Errors
/// [`LogError::Crypto`] if a box does not open under `key`, [`LogError::Malformed`] if what it holds is not a content.
pub fn open_entry(entry: &VerifiedEntry, key: &SealKey) -> Result<Vec<Content>, LogError> {
    contents(entry, key)
        .map(|content| content.map(|(_, content)| content))
        .collect()
}

/// As [`open_entry`], each with the number of its section.
pub fn open_sections(entry: &VerifiedEntry, key: &SealKey) -> Result<Vec<(u32, Content)>, LogError> {
    contents(entry, key).collect()
}

/// Opens one section. `None` if it was erased, or there is none of this number.
pub fn open_section(entry: &VerifiedEntry, key: &SealKey, number: u32) -> Option<Result<Content, LogError>> {
    match entry.entry.sections.get(number as usize)? {
        Section::Box(sealed) => Some(open_box(entry, key, number, sealed)),
        Section::Erased(_) => None,
    }
}

/// When an entry was written, by the first section that was not erased: all of them say the same. `None` if none is left, or it does not open.
pub fn time_of(entry: &VerifiedEntry, key: &SealKey) -> Option<Time> {
    contents(entry, key).next()?.ok().map(|(_, content)| content.time)
}

fn contents<'a>(
    entry: &'a VerifiedEntry,
    key: &'a SealKey,
) -> impl Iterator<Item = Result<(u32, Content), LogError>> + 'a {
    (0u32..)
        .zip(&entry.entry.sections)
        .filter_map(move |(number, section)| match section {
            Section::Box(sealed) => Some(open_box(entry, key, number, sealed).map(|content| (number, content))),
            Section::Erased(_) => None,
        })
}

fn open_box(entry: &VerifiedEntry, key: &SealKey, number: u32, sealed: &[u8]) -> Result<Content, LogError> {
    let malformed = LogError::Malformed(crate::crypto::CborError::Malformed);
    let aad = section_aad(&entry.author, entry.position.seq, &entry.entry.epoch, number as usize);
    let plain = key.open(&aad, sealed)?;
    let (len, rest) = plain.split_first_chunk::<LENGTH_PREFIX>().ok_or(malformed.clone())?;
    let content = rest.get(..u32::from_be_bytes(*len) as usize).ok_or(malformed)?;
    Content::decode(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{crypto::SeededRandom, identity::StreamId, log::Start};

    const SMALLEST: usize = NONCE_LEN + TAG_LEN + LENGTH_PREFIX;

    fn of(sections: Vec<usize>) -> Entry {
        Entry {
            epoch: EpochId([1; 32]),
            head: None,
            sections: sections.into_iter().map(|len| Section::Box(vec![0; len])).collect(),
            signature: Signature([0; 64]),
        }
    }

    #[test]
    fn an_entry_is_within_its_limits_to_the_byte() {
        assert_eq!(of(vec![SMALLEST, 100]).size(), SMALLEST + 100);
        let fits = |sections| of(sections).check_size().is_ok();
        assert!(fits(vec![SMALLEST]));
        assert!(!fits(vec![SMALLEST - 1]) && !fits(vec![SMALLEST, SMALLEST - 1]) && !fits(vec![]));
        assert!(fits(vec![MAX_ENTRY]) && fits(vec![MAX_ENTRY - SMALLEST, SMALLEST]));
        assert!(!fits(vec![MAX_ENTRY + 1]) && !fits(vec![MAX_ENTRY, SMALLEST]));
        assert!(fits(vec![SMALLEST; MAX_SECTIONS]));
        assert!(!fits(vec![SMALLEST; MAX_SECTIONS + 1]));
    }

    #[test]
    fn what_is_made_is_within_the_limits_and_what_does_not_fit_is_not_made() {
        let random = &mut SeededRandom::new(1);
        let (signing, key) = (SigningKey::from_seed(&[1; 32]), SealKey::derive("section", &[2; 32]));
        let identity = crate::identity::IdentityId([3; 32]);
        let author = Start::make(random, &signing, StreamId([4; 32]), identity, identity).id();
        let writer = Writer {
            signing: &signing,
            author,
            after: Position::start(&author),
            epoch: EpochId([5; 32]),
            key: &key,
            head: None,
        };
        let app = |len| {
            let (kind, payload) = ("a".to_owned(), vec![0; len]);
            vec![Event::App { kind, payload }]
        };
        let mut made = |sections: &[Vec<Event>]| make_entry(random, &writer, Time::from_millis(1), sections);
        // The content's own bytes around a payload of this size.
        let around = Content::encode(Time::from_millis(1), &app(MAX_ENTRY - 100)).len() - (MAX_ENTRY - 100);
        let largest = MAX_ENTRY - SMALLEST - around;
        assert_eq!(made(&[app(largest)]).unwrap().entry().size(), MAX_ENTRY);
        let refused = |made: Result<VerifiedEntry, LogError>| matches!(made, Err(LogError::TooLarge { .. }));
        assert!(refused(made(&[app(largest + 1)])));
        assert!(refused(made(&[])));
        assert_eq!(
            made(&vec![app(1); MAX_SECTIONS]).unwrap().entry().sections.len(),
            MAX_SECTIONS
        );
        assert!(refused(made(&vec![app(1); MAX_SECTIONS + 1])));
    }
}
