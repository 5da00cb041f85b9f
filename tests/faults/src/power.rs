//! What a power cut leaves of a file: what was flushed, and of what was written since any sectors, or none.

use crate::dice::Dice;

/// What a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// Something done to a file.
#[derive(Debug, Clone)]
pub enum Change {
    /// Bytes written at a place.
    Write(u64, Vec<u8>),
    /// A length set.
    Truncate(u64),
}

/// What a file would be after a power cut, more or less.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// Its bytes when it was last flushed.
    pub flushed: Vec<u8>,
    /// What was done to it since.
    pub since: Vec<Change>,
}

/// What a power cut takes of what was not flushed.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    /// All of it.
    Everything,
    /// Nothing: the power went just after all was written.
    Nothing,
    /// What came after some moment.
    After,
    /// Any sector, whenever it was written.
    Scattered,
}

impl Change {
    /// Does it.
    pub fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => put(to, *offset, bytes),
            Self::Truncate(len) => to.resize(*len as usize, 0),
        }
    }

    /// Those of its sectors that the dice leave.
    fn apply_torn(&self, to: &mut Vec<u8>, dice: &mut Dice) {
        match self {
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len() as u64;
                let mut at = *offset;
                while at < end {
                    let next = ((at / SECTOR + 1) * SECTOR).min(end);
                    if dice.below(2) == 0 {
                        put(to, at, &bytes[(at - offset) as usize..(next - offset) as usize]);
                    }
                    at = next;
                }
            }
            Self::Truncate(_) if dice.below(2) == 0 => self.apply(to),
            Self::Truncate(_) => {}
        }
    }
}

fn put(to: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if to.len() < end {
        to.resize(end, 0);
    }
    to[start..end].copy_from_slice(bytes);
}

impl Content {
    /// What is there when the power is back.
    pub fn survive(&self, loss: Loss, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.flushed.clone();
        match loss {
            Loss::Everything => {}
            Loss::Nothing => self.since.iter().for_each(|change| change.apply(&mut bytes)),
            Loss::After => {
                let whole = dice.below(self.since.len() as u64 + 1) as usize;
                self.since[..whole].iter().for_each(|change| change.apply(&mut bytes));
                if let Some(torn) = self.since.get(whole) {
                    torn.apply_torn(&mut bytes, dice);
                }
            }
            Loss::Scattered => self.since.iter().for_each(|change| change.apply_torn(&mut bytes, dice)),
        }
        bytes
    }
}
