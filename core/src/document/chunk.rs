//! The bytes of one change from a peer, walked before Automerge sees them.
//!
//! Automerge 0.12 inflates a compressed change without a limit, expands run
//! lengths without a limit, and panics on some numbers it does not expect. All
//! of these are read here first, with bounded memory, and refused.
//!
//! The walk accepts exactly what Rhizome's own documents write. Marks (rich
//! text) and author footers are refused on purpose: nothing here writes them,
//! and a document holding marks out of order can be saved but never loaded.

use std::borrow::Cow;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHANGE: u8 = 1;
const COMPRESSED: u8 = 2;
/// Bytes before the length: magic, checksum, kind.
const HEADER: usize = 9;
const HASH: usize = 32;

/// Heads one change may merge: as many as devices wrote at the same time.
const MAX_DEPENDENCIES: u64 = 4096;
/// Devices one change may refer to.
const MAX_ACTORS: u64 = 4096;
/// Rhizome's actors have 32 bytes.
const MAX_ACTOR_BYTES: u64 = 64;
const MAX_MESSAGE_BYTES: u64 = 1024;

/// The largest counter, and the largest increment, either way: small enough
/// that millions of increments cannot overflow the sum of 64 bits (a panic in
/// a build that checks arithmetic).
pub const MAX_COUNTER: i64 = 1 << 42;

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
            bytes: 8 << 20,
            inflated: 8 << 20,
            operations: 1_000_000,
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
    let contents = inflate(rest.0, limits.inflated)?;
    walk(&contents, limits)?;
    let mut plain = Vec::with_capacity(HEADER + 10 + contents.len());
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

    pub(super) const ALL: [u32; 12] = [
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
    ];
}

const ACTION_SET: u64 = 1;
const ACTION_INCREMENT: u64 = 5;

/// The contents of one change, inflated.
fn walk(contents: &[u8], limits: Limits) -> Result<(), ChunkError> {
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
    columns.walk(1 + others, limits)
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
                Some(action) if action <= ACTION_INCREMENT => {
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
        self.runs(column::KEY_NAME, operations, Reader::prefixed, |count, name| {
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

        if self.booleans(operations)? != operations {
            return Err(ChunkError::Contents(column::INSERT));
        }

        let mut predecessors = 0_u64;
        let counts = self.runs(
            column::PREDECESSOR_COUNT,
            operations,
            Reader::unsigned,
            |count, each| {
                let each = each.ok_or(ChunkError::Contents(column::PREDECESSOR_COUNT))?;
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

    /// The column of booleans: lengths of runs that are by turns false, true.
    fn booleans(&self, most: u64) -> Result<u64, ChunkError> {
        let mut rest = Reader(self.of(column::INSERT));
        let mut entries = 0_u64;
        while !rest.0.is_empty() {
            entries = entries.saturating_add(rest.unsigned()?);
            if entries > most {
                return Err(ChunkError::TooManyOperations);
            }
        }
        Ok(entries)
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
        // Making an object and deleting carry no value.
        _ => kind == 0,
    };
    (fits && rest.0.is_empty()).then_some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use automerge::transaction::Transactable;
    use automerge::{ActorId, Automerge, Change, ExpandedChange, ObjType, ROOT, ScalarValue};
    use proptest::prelude::*;

    fn unsigned(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value > 0x7f {
            out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    fn signed(mut value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
                out.push(byte);
                return out;
            }
            out.push(byte | 0x80);
        }
    }

    fn framed(kind: u8, contents: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([0; 4]);
        out.push(kind);
        out.extend(unsigned(contents.len() as u64));
        out.extend(contents);
        out
    }

    /// A change with these columns and otherwise nothing unusual.
    fn contents(columns: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut out = vec![0, 4, 1, 2, 3, 4, 1, 1, 0, 0, 0];
        out.extend(unsigned(columns.len() as u64));
        for (specification, data) in columns {
            out.extend(unsigned(u64::from(*specification)));
            out.extend(unsigned(data.len() as u64));
        }
        for (_, data) in columns {
            out.extend(data);
        }
        out
    }

    fn run(count: i64, value: Vec<u8>) -> Vec<u8> {
        [signed(count), value].concat()
    }

    /// `count` times setting a field named `name` to null.
    fn sets(count: i64, name: &str) -> Vec<(u32, Vec<u8>)> {
        let name = [unsigned(name.len() as u64), name.as_bytes().to_vec()].concat();
        vec![
            (column::KEY_NAME, run(count, name)),
            (column::INSERT, unsigned(count as u64)),
            (column::ACTION, run(count, vec![1])),
            (column::VALUE_META, run(count, vec![0])),
            (column::PREDECESSOR_COUNT, run(count, vec![0])),
        ]
    }

    fn check(columns: &[(u32, Vec<u8>)]) -> Result<(), ChunkError> {
        check_change(&framed(CHANGE, &contents(columns)), Limits::default())
    }

    /// Changes of every kind that a document here makes.
    fn real_changes() -> Vec<Vec<u8>> {
        let mut doc = Automerge::new().with_actor(ActorId::from([7; 32]));
        let mut other = doc.fork().with_actor(ActorId::from([3; 32]));
        let mut tx = doc.transaction();
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        let list = tx.put_object(ROOT, "list", ObjType::List).unwrap();
        let map = tx.put_object(ROOT, "map", ObjType::Map).unwrap();
        tx.splice_text(&text, 0, 0, "Grüße, 😀 everyone").unwrap();
        for n in 0..40_i64 {
            tx.insert(&list, n as usize, n * n - 300).unwrap();
        }
        for (name, value) in [
            ("null", ScalarValue::Null),
            ("yes", true.into()),
            ("no", false.into()),
            ("least", i64::MIN.into()),
            ("most", i64::MAX.into()),
            ("unsigned", u64::MAX.into()),
            ("float", f64::MIN_POSITIVE.into()),
            ("string", "string".into()),
            ("", "".into()),
            ("bytes", ScalarValue::Bytes(vec![0, 1, 255])),
            ("date", ScalarValue::Timestamp(-1)),
            ("counter", ScalarValue::counter(-5)),
        ] {
            tx.put(&map, name, value).unwrap();
        }
        tx.commit();
        let mut tx = doc.transaction();
        tx.increment(&map, "counter", -7).unwrap();
        tx.delete(&list, 3).unwrap();
        tx.delete(&map, "yes").unwrap();
        tx.splice_text(&text, 2, 5, &"long ".repeat(200)).unwrap();
        tx.commit();
        let mut tx = other.transaction();
        tx.put(ROOT, "mine", 1).unwrap();
        tx.commit();
        doc.merge(&mut other).unwrap();
        let mut tx = doc.transaction();
        tx.put(ROOT, "mine", 2).unwrap();
        let inner = tx.insert_object(&list, 1, ObjType::Map).unwrap();
        tx.put(&inner, "deep", "value").unwrap();
        tx.commit();
        doc.empty_commit(Default::default());
        let mut all = Vec::new();
        for mut change in doc.get_changes(&[]) {
            all.push(change.raw_bytes().to_vec());
            all.push(change.bytes().into_owned());
        }
        all
    }

    #[test]
    fn real_changes_pass_and_keep_their_hash() {
        let mut compressed = 0;
        for bytes in real_changes() {
            let plain = open_change(&bytes, Limits::default()).unwrap();
            compressed += usize::from(bytes[8] == COMPRESSED);
            assert_eq!(plain[8], CHANGE);
            let through = Change::from_bytes(plain.to_vec()).unwrap();
            let direct = Change::from_bytes(bytes.clone()).unwrap();
            assert_eq!(through.hash(), direct.hash());
            assert_eq!(checksum(&plain).unwrap(), &direct.hash().0[..4]);
        }
        assert!(compressed >= 2);
    }

    #[test]
    fn only_one_whole_change() {
        let bytes = real_changes().remove(0);
        let limits = Limits::default();
        let twice = [bytes.clone(), bytes.clone()].concat();
        assert_eq!(check_change(&twice, limits), Err(ChunkError::Length));
        for end in 0..bytes.len() {
            assert!(check_change(&bytes[..end], limits).is_err());
        }
        for kind in [0, 3, 4, 255] {
            let mut other = bytes.clone();
            other[8] = kind;
            assert_eq!(check_change(&other, limits), Err(ChunkError::Kind(kind)));
        }
        let mut other = bytes.clone();
        other[0] = 0;
        assert_eq!(check_change(&other, limits), Err(ChunkError::Magic));
        let small = Limits {
            bytes: bytes.len() - 1,
            ..limits
        };
        assert_eq!(check_change(&bytes, small), Err(ChunkError::TooLarge));
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec(bytes, 9)
    }

    #[test]
    fn a_deflate_bomb_is_refused() {
        let limits = Limits::default();
        let bomb = framed(COMPRESSED, &deflated(&vec![0; 64 << 20]));
        assert!(bomb.len() < 100_000);
        assert_eq!(check_change(&bomb, limits), Err(ChunkError::TooLarge));
        // The cap is exact, whatever the growth of the buffer.
        for size in [0, 1, 1000, 1023, 1024, 1025, 5000, 65_536] {
            let block = deflated(&vec![1; size]);
            assert_eq!(inflate(&block, size).map(|out| out.len()), Ok(size));
            if size > 0 {
                assert_eq!(inflate(&block, size - 1), Err(ChunkError::TooLarge));
            }
            let trailing = [block, vec![0]].concat();
            assert_eq!(inflate(&trailing, size + 9), Err(ChunkError::Deflate));
        }
        assert_eq!(inflate(&[], 100), Err(ChunkError::Deflate));
    }

    #[test]
    fn run_length_bombs_are_refused() {
        assert_eq!(check(&sets(1, "field")), Ok(()));
        assert_eq!(check(&sets(900_000, "field")), Ok(()));
        for count in [1_000_001, i64::from(u32::MAX), i64::MAX] {
            assert_eq!(check(&sets(count, "field")), Err(ChunkError::TooManyOperations));
        }
        // The longest literal run there is.
        let mut columns = sets(1, "field");
        columns[2].1 = run(i64::MIN, vec![1]);
        assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
        // Nothing, 2^64-1 times.
        columns[2].1 = [signed(0), unsigned(u64::MAX)].concat();
        assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
        // One long name, many times.
        assert_eq!(
            check(&sets(100_000, &"n".repeat(4000))),
            Err(ChunkError::TooManyOperations)
        );
        // References without end.
        let mut columns = sets(2, "field");
        columns[4].1 = run(2, unsigned(u64::MAX));
        assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
        // More entries in another column than there are operations.
        let mut columns = sets(2, "field");
        columns[1].1 = unsigned(u64::MAX);
        assert_eq!(check(&columns), Err(ChunkError::TooManyOperations));
    }

    #[test]
    fn numbers_automerge_panics_on_are_refused() {
        let mut columns = sets(1, "field");
        columns[4].1 = run(1, vec![1]);
        columns.push((column::PREDECESSOR_ACTOR, run(1, vec![0])));
        columns.push((column::PREDECESSOR_COUNTER, run(1, signed(5))));
        assert_eq!(check(&columns), Ok(()));
        columns[6].1 = run(1, signed(1 << 32));
        assert_eq!(check(&columns), Err(ChunkError::Contents(column::PREDECESSOR_COUNTER)));
        columns[6].1 = run(1, signed(-1));
        assert!(check(&columns).is_err());
        columns[6].1 = run(1, signed(5));
        columns[5].1 = run(1, vec![1]);
        assert_eq!(check(&columns), Err(ChunkError::Contents(column::PREDECESSOR_ACTOR)));
        for (seq, first) in [(0, 1), (1, 0), (1 << 32, 1), (1, u64::from(u32::MAX) - 9)] {
            let mut bytes = vec![0, 4, 1, 2, 3, 4];
            bytes.extend(unsigned(seq));
            bytes.extend(unsigned(first));
            bytes.extend([0, 0, 0, 0]);
            let bytes = framed(CHANGE, &bytes);
            assert_eq!(check_change(&bytes, Limits::default()), Err(ChunkError::Head));
        }
    }

    #[test]
    fn columns_not_written_here_are_refused() {
        // With the bit that says deflated, unknown, marks, out of order, twice.
        for bad in [0x4a, 0xb2, 0x94, 0xa5] {
            let mut columns = sets(1, "field");
            columns.push((bad, vec![1]));
            assert_eq!(check(&columns), Err(ChunkError::Column(bad)));
        }
        let mut columns = sets(1, "field");
        columns.swap(0, 1);
        assert!(matches!(check(&columns), Err(ChunkError::Column(_))));
        let mut columns = sets(1, "field");
        let again = columns[4].clone();
        columns.push(again);
        assert!(matches!(check(&columns), Err(ChunkError::Column(_))));
        for action in [6, 7, 99] {
            let mut columns = sets(1, "field");
            columns[2].1 = run(1, vec![action]);
            assert!(check(&columns).is_err());
        }
        let extra = [contents(&sets(1, "field")), vec![1, 1, 9]].concat();
        assert_eq!(
            check_change(&framed(CHANGE, &extra), Limits::default()),
            Err(ChunkError::Length)
        );
    }

    #[test]
    fn real_changes_with_marks_or_huge_counters_are_refused() {
        let mut doc = Automerge::new();
        let mut tx = doc.transaction();
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, "marked").unwrap();
        let mark = automerge::marks::Mark::new("bold".into(), true, 1, 3);
        tx.mark(&text, mark, automerge::marks::ExpandMark::Both).unwrap();
        tx.commit();
        let marked = doc.get_last_local_change().unwrap();
        assert!(check_change(marked.raw_bytes(), Limits::default()).is_err());
        for (start, step) in [(i64::MAX, 1), (1, i64::MAX), (1, i64::MIN)] {
            let mut doc = Automerge::new();
            let mut tx = doc.transaction();
            tx.put(ROOT, "n", ScalarValue::counter(start)).unwrap();
            tx.commit();
            let mut tx = doc.transaction();
            tx.increment(ROOT, "n", step).unwrap();
            tx.commit();
            let refused = doc
                .get_changes(&[])
                .iter()
                .any(|change| check_change(change.raw_bytes(), Limits::default()).is_err());
            assert!(refused);
        }
    }

    #[test]
    fn numbers_read_as_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(Reader(&unsigned(value)).unsigned(), Ok(value));
        }
        for value in [0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN] {
            assert_eq!(Reader(&signed(value)).signed(), Ok(value));
        }
        for long in [&[0x80, 0][..], &[0xff; 11], &[0xff, 0x80]] {
            assert!(Reader(long).unsigned().is_err());
            assert!(Reader(long).signed().is_err());
        }
    }

    /// Automerge must not panic or grow on what passed.
    fn consistent(bytes: &[u8]) {
        if let Ok(plain) = open_change(bytes, Limits::default()) {
            let change = Change::from_bytes(plain.to_vec());
            assert!(change.is_err() || change.is_ok_and(|change| change.len() <= 1_000_000));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            consistent(&bytes);
            consistent(&framed(CHANGE, &bytes));
            consistent(&framed(COMPRESSED, &bytes));
            consistent(&framed(COMPRESSED, &deflated(&bytes)));
        }

        #[test]
        fn any_columns(
            columns in proptest::collection::btree_map(
                0..column::ALL.len(),
                proptest::collection::vec(any::<u8>(), 0..12),
                0..12,
            )
        ) {
            let columns: Vec<_> =
                columns.into_iter().map(|(place, data)| (column::ALL[place], data)).collect();
            consistent(&framed(CHANGE, &contents(&columns)));
        }

        #[test]
        fn mutated_changes(
            which in any::<prop::sample::Index>(),
            edits in proptest::collection::vec(
                (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8),
                1..5,
            )
        ) {
            let all = real_changes();
            let mut bytes = which.get(&all).clone();
            for (place, byte, how) in edits {
                let place = place.index(bytes.len());
                match how {
                    0 => bytes[place] = byte,
                    1 => bytes.insert(place, byte),
                    _ => drop(bytes.remove(place)),
                }
            }
            consistent(&bytes);
            // With a length that is right again, to get past the frame.
            let mut rest = Reader(bytes.get(9..).unwrap_or_default());
            if rest.unsigned().is_ok() {
                consistent(&framed(CHANGE, rest.0));
                consistent(&framed(COMPRESSED, &deflated(rest.0)));
            }
        }
    }

    #[test]
    fn expanded_changes_still_convert() {
        // The tests of documents make hostile changes this way.
        for bytes in real_changes() {
            let change = Change::from_bytes(bytes).unwrap();
            let again = Change::from(ExpandedChange::from(&change));
            assert_eq!(again.hash(), change.hash());
        }
    }
}
