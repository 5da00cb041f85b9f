//! Erasures carried out: what may be missing, when what is here goes, and in which steps (docs/decisions/0008-erasing.md).
//!
//! Which erasures are *in force* follows from the identity log alone, so all who have the same log agree on what may be missing on the wire.
//! When a replica drops what *it* has is its own affair, and never before it has known of the erasure for a week; until then it takes and
//! gives it like all else. What comes after that is taken too, and judged then.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Known, Refusal, Replica};
use crate::{
    crypto::Hash,
    identity::{ERASURE_AFTER, ErasedSection, Erasure, Operation, State},
    log::{AttachmentId, AuthorId, Position, VerifiedEntry, VerifiedRange},
    store::{ErasureNote, StoreError, Write},
};

/// Milliseconds after which the time is marked a second time, and up to which erasures that are due wait for each other.
const FIRST_MARK: u64 = 60_000;
const MARKS_APART: u64 = 60 * 60 * 1_000;
/// Marks in a row that may bring nothing.
const MOST_MARKS: u32 = 10;

/// What a replica says of a section that is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It goes.
    Drop,
    /// It is not what the erasure says that it is: it stays.
    Keep,
    /// It cannot be opened yet: ask again.
    Later,
}

/// What [`Replica::carry_out`] asks of whoever keeps more than the log.
pub trait Eraser {
    /// Whether a section of an entry may go. A cloud peer, which opens nothing, says yes.
    fn judge(&self, erasure: &Hash, entry: &VerifiedEntry, section: u32) -> Result<Judgement, StoreError>;

    /// Lets everything else go that stands for these erasures. They are done once this says true; with false it is asked again later.
    fn finish(&self, erasures: &[(Hash, Erasure)]) -> Result<bool, StoreError>;
}

/// Keeps nothing but the log, and opens nothing: a cloud peer.
pub struct Blind;

impl Eraser for Blind {
    fn judge(&self, _: &Hash, _: &VerifiedEntry, _: u32) -> Result<Judgement, StoreError> {
        Ok(Judgement::Drop)
    }

    fn finish(&self, _: &[(Hash, Erasure)]) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CarriedOut {
    /// Bytes of boxes that are gone.
    pub bytes: u64,
    /// Erasures that are done with this.
    pub erasures: usize,
    /// Sections that are not what their erasure says: they stay.
    pub kept: usize,
}

/// The sections and the attachments that erasures in force name.
pub(super) fn in_force(ordered: &State) -> (BTreeSet<ErasedSection>, BTreeSet<Hash>) {
    let (mut sections, mut attachments) = (BTreeSet::new(), BTreeSet::new());
    for erasure in ordered
        .erasures()
        .values()
        .filter(|erasure| ordered.is_in_force(erasure))
    {
        sections.extend(erasure.sections.iter().copied());
        attachments.extend(erasure.attachments.iter().copied());
    }
    (sections, attachments)
}

impl Known {
    /// Whether a section may be missing: an erasure names it, and is in force.
    pub fn is_erased(&self, author: &AuthorId, at: Position, section: u32) -> bool {
        let named = ErasedSection(Hash(author.0), at.seq, at.hash, section);
        self.erased.contains(&named)
    }

    /// Whether an erasure in force names an attachment.
    pub fn is_attachment_erased(&self, id: &AttachmentId) -> bool {
        self.erased_attachments.contains(&Hash(id.0))
    }

    /// Whether every section that a range lacks is one that may be missing.
    pub(super) fn check_holes(&self, range: &VerifiedRange) -> Result<(), Refusal> {
        for entry in range.entries() {
            let at = entry.position();
            if entry.holes().any(|number| !self.is_erased(&range.author(), at, number)) {
                return Err(Refusal::Withheld);
            }
        }
        Ok(())
    }

    /// The erasures in force that name sections which are in these entries.
    fn naming(&self, author: &AuthorId, entries: &[VerifiedEntry]) -> BTreeSet<Hash> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return BTreeSet::new();
        };
        let from = ErasedSection(Hash(author.0), first.position().seq, Hash([0; 32]), 0);
        let to = ErasedSection(Hash(author.0), last.position().seq, Hash([0xff; 32]), u32::MAX);
        let is_here = |named: &&ErasedSection| {
            let entry = entries.iter().find(|entry| entry.position().hash == named.2);
            entry.is_some_and(|entry| entry.has(named.3))
        };
        let named: BTreeSet<_> = self.erased.range(from..=to).filter(is_here).collect();
        if named.is_empty() {
            return BTreeSet::new();
        }
        let erasures = self.ordered.erasures().iter();
        let in_force = erasures.filter(|(_, erasure)| self.ordered.is_in_force(erasure));
        let naming = in_force.filter(|(_, erasure)| erasure.sections.iter().any(|section| named.contains(section)));
        naming.map(|(id, _)| *id).collect()
    }

    /// When the time should be marked next (see [`crate::identity::mark_time`]), so that an erasure which is due is in force: by the clock of
    /// whoever asks, in milliseconds since 1970. `None` if none waits, or somebody did already. The orderer's clock may be behind: after each
    /// mark that brought nothing the next waits four times as long, and after a few there is none.
    pub fn mark_time_at(&self) -> Option<u64> {
        let state = &self.ordered;
        let waiting = state.erasures().values().filter(|erasure| !state.is_in_force(erasure));
        let waiting: BTreeSet<u64> = waiting.map(|erasure| erasure.due).collect();
        let first = *waiting.first()?;
        // One mark serves all that are due at about the same time.
        let due = *waiting.range(..=first.saturating_add(MARKS_APART)).next_back()?;
        if self.pending.iter().any(Operation::is_bare) {
            return None;
        }
        let tries = u32::try_from(self.idle_marks()).unwrap_or(u32::MAX);
        (tries < MOST_MARKS).then(|| due.saturating_add(FIRST_MARK * (4u64.pow(tries) - 1)))
    }

    /// How many marks stand at the end of the log that brought nothing in force.
    fn idle_marks(&self) -> usize {
        let dues: BTreeSet<u64> = self.ordered.erasures().values().map(|erasure| erasure.due).collect();
        let times = |index: usize| self.log[index].0.core().time;
        let is_idle = |index: &usize| {
            let between = (Bound::Excluded(times(*index - 1)), Bound::Included(times(*index)));
            let brought = dues.range(between).next();
            self.log[*index].1.is_bare() && brought.is_none()
        };
        (1..self.log.len()).rev().take_while(is_idle).count()
    }
}

/// What a replica remembers of erasures, so that it need not ask its disk about each of them again and again.
#[derive(Default)]
pub(super) struct Memory {
    done: BTreeSet<Hash>,
}

/// Erasures that name something which came since they were last carried out. Touched by the store's jobs alone, one after another, so that
/// what it says is in order with what they write.
#[derive(Clone, Default)]
pub(super) struct Late(Arc<Mutex<BTreeSet<Hash>>>);

impl Late {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Hash>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries were added here: what erasures in force name of them is to be judged like all else, even where an erasure was done before.
    pub(super) fn came(&self, write: &Write<'_>, known: &Known, entries: &[VerifiedEntry]) -> Result<(), StoreError> {
        let Some(author) = entries.first().map(VerifiedEntry::author) else {
            return Ok(());
        };
        let identity = known.ordered.identity();
        for id in known.naming(&author, entries) {
            if let Some(note) = write.erasure_note(&identity, &id)?.filter(|note| note.done) {
                let again = ErasureNote { done: false, ..note };
                write.note_erasure(&identity, &id, Some(again))?;
            }
            self.lock().insert(id);
        }
        Ok(())
    }
}

impl Replica {
    /// Carries out what is in force: sections go whose erasure the recovery key signed, or that this replica has known to be ordered for a week
    /// by its own clock. Each step can be cut short: the next call goes on. Waits for the disk.
    pub fn carry_out(&self, eraser: &dyn Eraser) -> Result<CarriedOut, StoreError> {
        let known = self.known();
        if known.ordered.erasures().is_empty() {
            return Ok(CarriedOut::default());
        }
        // One at a time; who comes meanwhile would find nothing else to do.
        let mut memory = self.erasing.lock().unwrap_or_else(PoisonError::into_inner);
        // What another chain put aside may come again, and is to be done again then; and so is what something came late for.
        let late = self.take_late().inspect_err(|_| memory.done.clear())?;
        memory
            .done
            .retain(|id| known.ordered.erasures().contains_key(id) && !late.contains(id));
        let mut result = CarriedOut::default();
        let mut finished: Vec<(Hash, Erasure)> = Vec::new();
        let mut notes: BTreeMap<Hash, ErasureNote> = BTreeMap::new();
        for (id, erasure) in known.ordered.erasures() {
            if memory.done.contains(id) || !known.ordered.is_in_force(erasure) {
                continue;
            }
            let Some(note) = self.waited(id, erasure)? else {
                continue;
            };
            if note.done {
                memory.done.insert(*id);
                continue;
            }
            let (gone, open) = self.judge(id, erasure, eraser, &mut result)?;
            if !gone.is_empty() {
                let identity = self.identity();
                result.bytes += self.store().write(move |write| write.erase(&identity, &gone)).wait()?;
            }
            if !open {
                // It goes on knowing since when, for what comes late.
                let done = ErasureNote { done: true, ..note };
                notes.insert(*id, done);
                finished.push((*id, erasure.clone()));
            }
        }
        if (finished.is_empty() && result.bytes == 0) || !self.store().scrub()? || !eraser.finish(&finished)? {
            return Ok(result);
        }
        // Only now is nothing left to do for them, even if the power fails; but for what came meanwhile.
        let (identity, late) = (self.identity(), self.late.clone());
        let done: Vec<Hash> = self
            .store()
            .write(move |write| {
                let late = late.lock();
                notes.retain(|id, _| !late.contains(id));
                notes
                    .iter()
                    .try_for_each(|(id, note)| write.note_erasure(&identity, id, Some(*note)))?;
                Ok(notes.into_keys().collect())
            })
            .wait()?;
        result.erasures = done.len();
        memory.done.extend(done);
        Ok(result)
    }

    /// What came late, all of it on the disk by now.
    fn take_late(&self) -> Result<BTreeSet<Hash>, StoreError> {
        if self.late.lock().is_empty() {
            return Ok(BTreeSet::new());
        }
        let late = self.late.clone();
        self.store()
            .write(move |_| Ok(std::mem::take(&mut *late.lock())))
            .wait()
    }

    /// The note of an erasure whose wait is over here; `None` while it is not.
    fn waited(&self, id: &Hash, erasure: &Erasure) -> Result<Option<ErasureNote>, StoreError> {
        let (identity, now) = (self.identity(), self.now());
        let noted = self.read(|read| read.erasure_note(&identity, id))?;
        let mut note = noted.unwrap_or(ErasureNote {
            since: now,
            done: false,
        });
        // A clock that was far ahead when this was noted must not hold it up for ever.
        note.since = note.since.min(now);
        if noted != Some(note) {
            let id = *id;
            self.store()
                .write(move |write| write.note_erasure(&identity, &id, Some(note)))
                .wait()?;
        }
        let over = erasure.at_once || now >= note.since.saturating_add(ERASURE_AFTER);
        Ok((over || note.done).then_some(note))
    }

    /// Which sections of an erasure are here and may go; and whether some of them must be asked for again.
    fn judge(
        &self,
        id: &Hash,
        erasure: &Erasure,
        eraser: &dyn Eraser,
        result: &mut CarriedOut,
    ) -> Result<(Vec<ErasedSection>, bool), StoreError> {
        let (mut gone, mut open) = (Vec::new(), false);
        let mut by_entry: BTreeMap<(Hash, u64, Hash), Vec<u32>> = BTreeMap::new();
        for ErasedSection(author, seq, hash, number) in &erasure.sections {
            by_entry.entry((*author, *seq, *hash)).or_default().push(*number);
        }
        for ((author, seq, hash), numbers) in by_entry {
            let at = Position { seq, hash };
            let identity = self.identity();
            let Some(entry) = self.read(|read| read.entry_at(&identity, &AuthorId(author.0), at))? else {
                continue;
            };
            for number in numbers {
                match entry
                    .has(number)
                    .then(|| eraser.judge(id, &entry, number))
                    .transpose()?
                {
                    None => {}
                    Some(Judgement::Drop) => gone.push(ErasedSection(author, seq, hash, number)),
                    Some(Judgement::Keep) => result.kept += 1,
                    Some(Judgement::Later) => open = true,
                }
            }
        }
        Ok((gone, open))
    }
}
