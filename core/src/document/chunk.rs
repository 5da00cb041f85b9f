//! The bytes of one change from a peer, walked before Automerge sees them.
//!
//! Automerge 0.12 inflates a compressed change without a limit, expands run
//! lengths without a limit, and panics on some numbers it does not expect. All
//! of these are read here first, with bounded memory, and refused.
//!
//! The walk accepts exactly what Rhizome's own documents write. Author footers
//! are refused on purpose: nothing here writes them. Marks (rich text) come in
//! pairs, the end of each right after its beginning: Automerge pairs them by
//! their numbers, and a document that holds an end without its beginning, or
//! before it, can be saved but never loaded. What the walk cannot see, which
//! of the two comes first in the text, the document looks at.

use std::borrow::Cow;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE: u8 = 1;
const COMPRESSED: u8 = 2;
/// Bytes before the length: magic, checksum, kind.
const HEADER: usize = 9;
/// The longest length that follows them.
const LENGTH: usize = 10;
const HASH: usize = 32;

/// Heads one change may merge: as many as devices wrote at the same time.
const MAX_DEPENDENCIES: u64 = 4096;
/// Devices one change may refer to.
const MAX_ACTORS: u64 = 4096;
/// Rhizome's actors have 32 bytes.
const MAX_ACTOR_BYTES: u64 = 64;
const MAX_MESSAGE_BYTES: u64 = 1024;
/// The longest name of a mark, in bytes.
pub const MAX_MARK_NAME: usize = 256;

/// The largest counter, and the largest increment, either way: small enough
/// that millions of increments cannot overflow the sum of 64 bits (a panic in
/// a build that checks arithmetic).
pub const MAX_COUNTER: i64 = 1 << 42;

/// How often its compressed bytes the contents of a change may have. Entries carry a mebibyte, quotas count what is on the wire, and what a member
/// sends must not be a thousand times as long here. Text is seldom above four; an own change that is is sent as it is ([`super::document`]).
const MAX_RATIO: usize = 16;
/// Small changes may be inflated to this whatever their ratio.
const SMALL: usize = 16 << 10;

/// What one change may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes as they came.
    pub bytes: usize,
    /// Bytes once inflated.
    pub inflated: usize,
    /// Operations, and references from them to earlier ones.
    pub operations: u64,
    /// Bytes of field names once run lengths are expanded: Automerge copies
    /// the name for each operation.
    pub names: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // What was inflated is kept with a frame around it, and read again.
            bytes: (8 << 20) + HEADER + LENGTH,
            inflated: 8 << 20,
            // Automerge takes some 550 bytes for each while it applies them, however few bytes of run lengths they came as: 60 MB.
            operations: 110_000,
            names: 32 << 20,
        }
    }
}

/// Why the bytes of a change are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// More bytes than allowed, as they came or inflated.
    #[error("the change is larger than allowed")]
    TooLarge,
    /// More operations, or longer names, than allowed.
    #[error("the change expands to more than allowed")]
    TooManyOperations,
    /// Not a chunk of Automerge.
    #[error("the bytes are not a change")]
    Magic,
    /// A chunk, but of a whole document or something else.
    #[error("the chunk is not a change (kind {0})")]
    Kind(u8),
    /// The length does not cover exactly the rest of the bytes.
    #[error("the length of the change is wrong")]
    Length,
    /// The compressed contents cannot be inflated, or bytes follow them.
    #[error("the compressed change is damaged")]
    Deflate,
    /// The contents end too early.
    #[error("the change is cut off")]
    Truncated,
    /// A number that is too large, or not written the shortest way.
    #[error("a number in the change is damaged")]
    Number,
    /// The part before the columns.
    #[error("the head of the change is damaged")]
    Head,
    /// A column Rhizome does not write, or columns out of order.
    #[error("the change has a column that is not allowed ({0})")]
    Column(u32),
    /// A column whose contents cannot be.
    #[error("column {0} of the change is damaged")]
    Contents(u32),
}

/// Checks that `bytes` are one change that Automerge can be given.
///
/// The checksum itself is not computed here; [`super::document::Document`]
/// compares it with the hash that Automerge computes.
pub fn check_change(bytes: &[u8], limits: Limits) -> Result<(), ChunkError> {
    open_change(bytes, limits).map(drop)
}

/// As [`check_change`], giving the change uncompressed.
///
/// Automerge should be given these bytes rather than the compressed ones: then
/// two inflaters that read a stream differently cannot be played against each
/// other. The hash of the change is the same.
pub fn open_change(bytes: &[u8], limits: Limits) -> Result<Cow<'_, [u8]>, ChunkError> {
    if bytes.len() > limits.bytes {
        return Err(ChunkError::TooLarge);
    }
    let mut rest = Reader(bytes);
    if rest.take(MAGIC.len())? != MAGIC {
        return Err(ChunkError::Magic);
    }
    let checksum = rest.take(4)?;
    let kind = rest.byte()?;
    if kind != CHANGE && kind != COMPRESSED {
        return Err(ChunkError::Kind(kind));
    }
    if rest.unsigned()? != rest.0.len() as u64 {
        return Err(ChunkError::Length);
    }
    if kind == CHANGE {
        if rest.0.len() > limits.inflated {
            return Err(ChunkError::TooLarge);
        }
        walk(rest.0, limits)?;
        return Ok(Cow::Borrowed(bytes));
    }
    let most = rest.0.len().saturating_mul(MAX_RATIO).max(SMALL);
    let contents = inflate(rest.0, most.min(limits.inflated))?;
    walk(&contents, limits)?;
    let mut plain = Vec::with_capacity(HEADER + LENGTH + contents.len());
    plain.extend_from_slice(&MAGIC);
    plain.extend_from_slice(checksum);
    plain.push(CHANGE);
    let mut length = contents.len();
    while length > 0x7f {
        plain.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    plain.push(length as u8);
    plain.extend_from_slice(&contents);
    Ok(Cow::Owned(plain))
}

/// Where the chunk at the start of `bytes` ends. For our own saved state,
/// where chunks follow each other.
pub(super) fn chunk_end(bytes: &[u8]) -> Result<usize, ChunkError> {
    let mut rest = Reader(bytes);
    if rest.take(MAGIC.len())? != MAGIC {
        return Err(ChunkError::Magic);
    }
    rest.take(5)?;
    let length = rest.unsigned()?;
    let length = usize::try_from(length).map_err(|_| ChunkError::Length)?;
    rest.take(length)?;
    Ok(bytes.len() - rest.0.len())
}

/// The checksum written in a chunk.
pub(super) fn checksum(chunk: &[u8]) -> Option<&[u8]> {
    chunk.get(4..8)
}

/// Inflates with a hard cap on the output, and with nothing left over.
fn inflate(deflated: &[u8], cap: usize) -> Result<Vec<u8>, ChunkError> {
    let mut state = Box::<DecompressorOxide>::default();
    // One byte more than allowed is room enough to see that it is too much.
    let most = cap.saturating_add(1);
    let mut out = vec![0; deflated.len().saturating_mul(2).clamp(1024, most.max(1024))];
    let mut read = 0;
    let mut written = 0;
    loop {
        let (status, took, gave) = decompress(
            &mut state,
            deflated.get(read..).ok_or(ChunkError::Deflate)?,
            &mut out,
            written,
            inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        );
        read += took;
        written += gave;
        if written > cap {
            return Err(ChunkError::TooLarge);
        }
        match status {
            TINFLStatus::Done if read == deflated.len() => {
                out.truncate(written);
                return Ok(out);
            }
            TINFLStatus::HasMoreOutput if out.len() >= most => return Err(ChunkError::TooLarge),
            TINFLStatus::HasMoreOutput => {
                let larger = out.len().saturating_mul(2).min(most);
                out.resize(larger, 0);
            }
            _ => return Err(ChunkError::Deflate),
        }
    }
}

/// Bytes yet to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ChunkError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ChunkError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn take_long(&mut self, count: u64) -> Result<&'a [u8], ChunkError> {
        self.take(usize::try_from(count).map_err(|_| ChunkError::Truncated)?)
    }

    fn byte(&mut self) -> Result<u8, ChunkError> {
        Ok(self.take(1)?[0])
    }

    /// A LEB128 number, which must be written the shortest way.
    fn unsigned(&mut self) -> Result<u64, ChunkError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(ChunkError::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 {
                    Err(ChunkError::Number)
                } else {
                    Ok(value)
                };
            }
        }
        Err(ChunkError::Number)
    }

    /// A signed LEB128 number, which must be written the shortest way.
    fn signed(&mut self) -> Result<i64, ChunkError> {
        let mut value = 0_i64;
        let mut before = 0_u8;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte != 0 && byte != 0x7f {
                return Err(ChunkError::Number);
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let sign = before & 0x40 != 0;
                if shift > 0 && ((byte == 0 && !sign) || (byte == 0x7f && sign)) {
                    return Err(ChunkError::Number);
                }
                if shift + 7 < 64 && byte & 0x40 != 0 {
                    value |= -1 << (shift + 7);
                }
                return Ok(value);
            }
            before = byte;
        }
        Err(ChunkError::Number)
    }

    /// A length and as many bytes.
    fn prefixed(&mut self) -> Result<&'a [u8], ChunkError> {
        let length = self.unsigned()?;
        self.take_long(length)
    }
}

/// The columns of a change that Rhizome reads, by their specification: the
/// column's number times 16, plus its kind.
mod column {
    pub(super) const OBJECT_ACTOR: u32 = 0x01;
    pub(super) const OBJECT_COUNTER: u32 = 0x02;
    pub(super) const KEY_ACTOR: u32 = 0x11;
    pub(super) const KEY_COUNTER: u32 = 0x13;
    pub(super) const KEY_NAME: u32 = 0x15;
    pub(super) const INSERT: u32 = 0x34;
    pub(super) const ACTION: u32 = 0x42;
    pub(super) const VALUE_META: u32 = 0x56;
    pub(super) const VALUE: u32 = 0x57;
    pub(super) const PREDECESSOR_COUNT: u32 = 0x70;
    pub(super) const PREDECESSOR_ACTOR: u32 = 0x71;
    pub(super) const PREDECESSOR_COUNTER: u32 = 0x73;
    pub(super) const EXPAND: u32 = 0x94;
    pub(super) const MARK_NAME: u32 = 0xa5;

    pub(super) const ALL: [u32; 14] = [
        OBJECT_ACTOR,
        OBJECT_COUNTER,
        KEY_ACTOR,
        KEY_COUNTER,
        KEY_NAME,
        INSERT,
        ACTION,
        VALUE_META,
        VALUE,
        PREDECESSOR_COUNT,
        PREDECESSOR_ACTOR,
        PREDECESSOR_COUNTER,
        EXPAND,
        MARK_NAME,
    ];
}

const ACTION_SET: u64 = 1;
const ACTION_INCREMENT: u64 = 5;
const ACTION_MARK: u64 = 7;

/// Whether a change that passed [`open_change`], and is not compressed, sets marks.
pub(super) fn has_marks(plain: &[u8]) -> bool {
    let mut rest = Reader(plain.get(HEADER..).unwrap_or_default());
    let columns = rest.unsigned().and_then(|_| columns(rest.0, Limits::default()));
    columns.is_ok_and(|(columns, _)| !columns.of(column::MARK_NAME).is_empty())
}

/// The contents of one change, inflated.
fn walk(contents: &[u8], limits: Limits) -> Result<(), ChunkError> {
    let (columns, actors) = columns(contents, limits)?;
    columns.walk(actors, limits)
}

/// Reads the head of a change; its columns, and how many actors it names.
fn columns(contents: &[u8], limits: Limits) -> Result<(Columns<'_>, u64), ChunkError> {
    let mut rest = Reader(contents);
    let dependencies = rest.unsigned()?;
    if dependencies > MAX_DEPENDENCIES {
        return Err(ChunkError::Head);
    }
    rest.take_long(dependencies * HASH as u64)?;
    actor(&mut rest)?;
    let sequence = rest.unsigned()?;
    let first = rest.unsigned()?;
    rest.signed()?; // The time, which may be any.
    let message = rest.unsigned()?;
    if message > MAX_MESSAGE_BYTES || std::str::from_utf8(rest.take_long(message)?).is_err() {
        return Err(ChunkError::Head);
    }
    let others = rest.unsigned()?;
    if others > MAX_ACTORS {
        return Err(ChunkError::Head);
    }
    for _ in 0..others {
        actor(&mut rest)?;
    }
    // Automerge keeps both in 32 bits and panics past them.
    let highest = first.checked_add(limits.operations);
    if sequence == 0
        || sequence >= u64::from(u32::MAX)
        || first == 0
        || highest.is_none_or(|highest| highest >= u64::from(u32::MAX))
    {
        return Err(ChunkError::Head);
    }

    let mut columns = Columns::default();
    let count = rest.unsigned()?;
    let mut lengths = Vec::new();
    for _ in 0..count {
        let specification = rest.unsigned()?;
        let specification = u32::try_from(specification).map_err(|_| ChunkError::Column(u32::MAX))?;
        // Anything else includes a column with the bit that says deflated.
        let place = column::ALL
            .iter()
            .position(|known| *known == specification)
            .ok_or(ChunkError::Column(specification))?;
        if lengths.last().is_some_and(|(last, _)| *last >= place) {
            return Err(ChunkError::Column(specification));
        }
        lengths.push((place, rest.unsigned()?));
    }
    for (place, length) in lengths {
        columns.0[place] = rest.take_long(length)?;
    }
    if !rest.0.is_empty() {
        // An author's footer, or what a later Automerge may add.
        return Err(ChunkError::Length);
    }
    Ok((columns, 1 + others))
}

fn actor(rest: &mut Reader<'_>) -> Result<(), ChunkError> {
    let length = rest.unsigned()?;
    if length == 0 || length > MAX_ACTOR_BYTES {
        return Err(ChunkError::Head);
    }
    rest.take_long(length).map(drop)
}

/// The data of each column, in the order of [`column::ALL`].
#[derive(Default)]
struct Columns<'a>([&'a [u8]; column::ALL.len()]);

impl<'a> Columns<'a> {
    fn of(&self, specification: u32) -> &'a [u8] {
        column::ALL
            .iter()
            .position(|known| *known == specification)
            .and_then(|place| self.0.get(place))
            .copied()
            .unwrap_or_default()
    }

    fn walk(&self, actors: u64, limits: Limits) -> Result<(), ChunkError> {
        let mut actions = Vec::new();
        let operations = self.runs(
            column::ACTION,
            limits.operations,
            Reader::unsigned,
            |count, action| match action {
                Some(action) if action <= ACTION_INCREMENT || action == ACTION_MARK => {
                    actions.push((count, action));
                    Ok(())
                }
                _ => Err(ChunkError::Contents(column::ACTION)),
            },
        )?;
        self.values(&actions, operations)?;

        self.actors(column::OBJECT_ACTOR, operations, actors)?;
        self.runs(
            column::OBJECT_COUNTER,
            operations,
            Reader::unsigned,
            |_, counter| match counter {
                Some(counter) if counter > u64::from(u32::MAX) => Err(ChunkError::Contents(column::OBJECT_COUNTER)),
                _ => Ok(()),
            },
        )?;

        self.actors(column::KEY_ACTOR, operations, actors)?;
        self.counters(column::KEY_COUNTER, operations)?;
        let mut names = 0_u64;
        let mut keys = Vec::new();
        self.runs(column::KEY_NAME, operations, Reader::prefixed, |count, name| {
            keys.push((count, name.is_some()));
            let Some(name) = name else { return Ok(()) };
            if std::str::from_utf8(name).is_err() {
                return Err(ChunkError::Contents(column::KEY_NAME));
            }
            names = names.saturating_add(count.saturating_mul(name.len() as u64));
            if names > limits.names {
                return Err(ChunkError::TooManyOperations);
            }
            Ok(())
        })?;

        let inserts = self.booleans(column::INSERT, operations)?;
        if inserts.iter().map(|(count, _)| count).sum::<u64>() != operations {
            return Err(ChunkError::Contents(column::INSERT));
        }

        let mut predecessors = 0_u64;
        let mut each_has = Vec::new();
        let counts = self.runs(
            column::PREDECESSOR_COUNT,
            operations,
            Reader::unsigned,
            |count, each| {
                let each = each.ok_or(ChunkError::Contents(column::PREDECESSOR_COUNT))?;
                each_has.push((count, each > 0));
                predecessors = predecessors.saturating_add(count.saturating_mul(each));
                if predecessors > limits.operations {
                    return Err(ChunkError::TooManyOperations);
                }
                Ok(())
            },
        )?;
        if counts != operations
            || self.actors(column::PREDECESSOR_ACTOR, predecessors, actors)? != predecessors
            || self.counters(column::PREDECESSOR_COUNTER, predecessors)? != predecessors
        {
            return Err(ChunkError::Contents(column::PREDECESSOR_COUNT));
        }
        self.marks(&actions, operations, limits.names - names, [keys, inserts, each_has])
    }

    /// The marks: each is two operations, its beginning with a name and then its end without, put into a sequence and in place of nothing.
    /// Nothing else has a name or expands.
    fn marks(
        &self,
        actions: &[(u64, u64)],
        operations: u64,
        most: u64,
        [keys, inserts, replacing]: [Vec<(u64, bool)>; 3],
    ) -> Result<(), ChunkError> {
        let bad = ChunkError::Contents(column::MARK_NAME);
        let mut names = Vec::new();
        let mut bytes = 0_u64;
        self.runs(column::MARK_NAME, operations, Reader::prefixed, |count, name| {
            names.push((count, name.is_some()));
            let Some(name) = name else { return Ok(()) };
            if name.is_empty() || name.len() > MAX_MARK_NAME || std::str::from_utf8(name).is_err() {
                return Err(bad);
            }
            bytes = bytes.saturating_add(count.saturating_mul(name.len() as u64));
            if bytes > most {
                return Err(ChunkError::TooManyOperations);
            }
            Ok(())
        })?;
        let expands = self.booleans(column::EXPAND, operations)?;
        let all_true = |runs: &[(u64, bool)]| runs.iter().filter(|run| run.1).map(|run| run.0).sum::<u64>();
        let (mut named, mut expanding) = (all_true(&names), all_true(&expands));
        let [mut keys, mut inserts, mut replacing, mut names, mut expands] =
            [keys, inserts, replacing, names, expands].map(Overlay::new);
        let mut at = 0;
        for &(count, action) in actions {
            let from = at;
            at += count;
            if action != ACTION_MARK {
                continue;
            }
            if count % 2 != 0 {
                return Err(bad);
            }
            // Names take turns with none, and so take a byte each: the work is bounded by the bytes of their column.
            for place in from..at {
                let begins = (place - from) % 2 == 0;
                if names.at(place) != begins || keys.at(place) || !inserts.at(place) || replacing.at(place) {
                    return Err(bad);
                }
                named -= u64::from(begins);
                expanding -= u64::from(expands.at(place));
            }
        }
        if named > 0 || expanding > 0 {
            return Err(bad);
        }
        Ok(())
    }

    /// Walks a column of run lengths, of at most `most` entries in all, and
    /// calls `run` with each run's length and value. Gives the entries.
    ///
    /// The work is bounded by the bytes of the column, never by a run length.
    fn runs<T: Copy>(
        &self,
        specification: u32,
        most: u64,
        read: impl Fn(&mut Reader<'a>) -> Result<T, ChunkError>,
        mut run: impl FnMut(u64, Option<T>) -> Result<(), ChunkError>,
    ) -> Result<u64, ChunkError> {
        let mut rest = Reader(self.of(specification));
        let mut entries = 0_u64;
        while !rest.0.is_empty() {
            let length = rest.signed()?;
            let count = match length {
                // Nothing, as often as the next number says.
                0 => rest.unsigned()?,
                _ => length.unsigned_abs(),
            };
            entries = entries.saturating_add(count);
            if count == 0 || entries > most {
                return Err(if entries > most {
                    ChunkError::TooManyOperations
                } else {
                    ChunkError::Contents(specification)
                });
            }
            match length {
                0 => run(count, None)?,
                1.. => run(count, Some(read(&mut rest)?))?,
                // As many values one after the other.
                _ => {
                    for _ in 0..count {
                        run(1, Some(read(&mut rest)?))?;
                    }
                }
            }
        }
        Ok(entries)
    }

    /// A column of positions in the change's list of actors.
    fn actors(&self, specification: u32, most: u64, actors: u64) -> Result<u64, ChunkError> {
        self.runs(specification, most, Reader::unsigned, |_, actor| match actor {
            Some(actor) if actor >= actors => Err(ChunkError::Contents(specification)),
            _ => Ok(()),
        })
    }

    /// A column of differences between numbers that must fit 32 bits.
    fn counters(&self, specification: u32, most: u64) -> Result<u64, ChunkError> {
        let mut at = 0_i128;
        self.runs(specification, most, Reader::signed, |count, step| {
            // The end of a run is its extreme, as all of its steps are alike.
            at += i128::from(step.unwrap_or(0)) * i128::from(count);
            if (0..=i128::from(u32::MAX)).contains(&at) {
                Ok(())
            } else {
                Err(ChunkError::Contents(specification))
            }
        })
    }

    /// A column of booleans: lengths of runs that are by turns false, true.
    fn booleans(&self, specification: u32, most: u64) -> Result<Vec<(u64, bool)>, ChunkError> {
        let mut rest = Reader(self.of(specification));
        let mut entries = 0_u64;
        let mut runs = Vec::new();
        while !rest.0.is_empty() {
            let count = rest.unsigned()?;
            entries = entries.saturating_add(count);
            if entries > most {
                return Err(ChunkError::TooManyOperations);
            }
            runs.push((count, runs.len() % 2 == 1));
        }
        Ok(runs)
    }

    /// The values: a column of kinds and lengths, and one of their bytes.
    fn values(&self, actions: &[(u64, u64)], operations: u64) -> Result<(), ChunkError> {
        let bad = ChunkError::Contents(column::VALUE_META);
        let mut raw = Reader(self.of(column::VALUE));
        let mut actions = actions.iter().copied();
        let mut left = 0;
        let mut action = 0;
        let entries = self.runs(column::VALUE_META, operations, Reader::unsigned, |count, meta| {
            let meta = meta.ok_or(bad)?;
            let (kind, length) = (meta & 0x0f, meta >> 4);
            for _ in 0..count {
                if left == 0 {
                    (left, action) = actions.next().ok_or(bad)?;
                }
                left -= 1;
                let bytes = raw.take_long(length)?;
                value(kind, bytes, action).ok_or(bad)?;
            }
            Ok(())
        })?;
        if entries != operations || !raw.0.is_empty() {
            return Err(bad);
        }
        Ok(())
    }
}

/// Runs of a column, read at places that only go up; false past their end.
struct Overlay {
    runs: std::vec::IntoIter<(u64, bool)>,
    /// Where the present run ends, and what it says.
    end: u64,
    value: bool,
}

impl Overlay {
    fn new(runs: Vec<(u64, bool)>) -> Self {
        Self {
            runs: runs.into_iter(),
            end: 0,
            value: false,
        }
    }

    fn at(&mut self, place: u64) -> bool {
        while place >= self.end {
            let Some((count, value)) = self.runs.next() else {
                return false;
            };
            self.end += count;
            self.value = value;
        }
        self.value
    }
}

/// Nothing if this value cannot be, or not with this action.
fn value(kind: u64, bytes: &[u8], action: u64) -> Option<()> {
    let mut rest = Reader(bytes);
    match kind {
        0..=2 => {}
        3 => {
            let number = rest.unsigned().ok()?;
            if action == ACTION_INCREMENT && number > MAX_COUNTER.unsigned_abs() {
                return None;
            }
        }
        4 | 8 | 9 => {
            let number = rest.signed().ok()?;
            if (action == ACTION_INCREMENT || kind == 8) && number.unsigned_abs() > MAX_COUNTER.unsigned_abs() {
                return None;
            }
        }
        5 => drop(rest.take(8).ok()?),
        6 => {
            std::str::from_utf8(bytes).ok()?;
            rest.0 = &[];
        }
        7 => rest.0 = &[],
        _ => return None,
    }
    let fits = match action {
        ACTION_SET => true,
        ACTION_INCREMENT => kind == 3 || kind == 4,
        // Null takes a mark away; its end has none either.
        ACTION_MARK => kind != 8,
        // Making an object and deleting carry no value.
        _ => kind == 0,
    };
    (fits && rest.0.is_empty()).then_some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
