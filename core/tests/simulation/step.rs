//! One step of a schedule: something that happens to a device, a peer or a connection. Steps name everything by numbers of their own, never by
//! place, so that a schedule keeps its meaning when steps are taken out of it: a step about what is not there does nothing.

use std::{fmt, str::FromStr};

/// Defines the steps once: their names in the code, their words in a file, their numbers by name.
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $word:literal { $($(#[$field_doc:meta])* $field:ident),* $(,)? })*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Step {
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: u64),* },)*
        }

        impl Step {
            /// Every kind's word.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// Its kind's word.
            pub fn word(&self) -> &'static str {
                match self { $(Self::$name { .. } => $word,)* }
            }

            /// Its numbers, by name.
            pub fn numbers(&self) -> Vec<(&'static str, u64)> {
                match self { $(Self::$name { $($field),* } => vec![$((stringify!($field), *$field)),*],)* }
            }

            /// The step of kind `word` whose numbers `number` gives.
            fn make(word: &str, mut number: impl FnMut(&str) -> Option<u64>) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name { $($field: number(stringify!($field))?),* }),)*
                    _ => None,
                }
            }
        }
    };
}

steps! {
    /// A device lets a new one in, wherever the orderer is.
    Device = "device" { new, by }
    /// A device links a new cloud peer; the first becomes the orderer.
    Peer = "peer" { new, by }
    /// A device proposes who puts operations in order from now on.
    Orderer = "orderer" { by, to }
    /// A device makes the identity key and every epoch anew, as after a removal.
    Rekey = "rekey" { by }
    /// A device appends `count` events of `size` bytes to a stream as one entry.
    Append = "append" { node, label, count, size }
    /// A device edits a document; makes it if it is not there.
    Edit = "edit" { node, document, what }
    /// A device edits several documents in one entry.
    Batch = "batch" { node, first, count }
    /// A device deletes a document.
    Erase = "erase" { node, document }
    /// A device brings a deleted document back.
    Unerase = "unerase" { node, document }
    /// A device or peer does what erasures ask of it.
    Tend = "tend" { node }
    /// A week passes for everybody.
    Week = "week" {}
    /// A device folds what came, and shows what the model says it must.
    Look = "look" { node }
    /// A connection, a session on each side.
    Connect = "connect" { link, from, to }
    /// One side of a connection receives and answers, `count` times.
    Turn = "turn" { link, side, count }
    /// What is next on its way to a side is lost.
    Lose = "lose" { link, side }
    /// It comes twice.
    Twice = "twice" { link, side }
    /// It comes after what follows it.
    Swap = "swap" { link, side }
    /// A connection brings a side an operation of a kind that this version does not know.
    Newer = "newer" { link, side }
    /// A connection breaks.
    Cut = "cut" { link }
    /// A session from beginning to end, or until so many bytes went over; 0: no limit.
    Meet = "meet" { from, to, bytes }
    /// Files, locks and sessions are let go of.
    Suspend = "suspend" { node }
    /// And taken up again.
    Resume = "resume" { node }
    /// The process dies and starts again on what was committed; `views`: 0 as they are, 1 without what was not synced, 2 gone, 3 damaged.
    Kill = "kill" { node, views }
    /// A byte of the views changes under an open pod.
    Damage = "damage" { node, place }
    /// A backup of a folder.
    Save = "save" { node, slot }
    /// The backup put back over the folder.
    Restore = "restore" { node, slot }
    /// A second live device on a copy of the folder, with the same keys.
    Copy = "copy" { node, new }
    /// A cloud peer's database is gone; it is linked anew.
    Wipe = "wipe" { node, by }
    /// A device's clock is set.
    Clock = "clock" { node, millis }
    /// What a cloud peer lets the identity store; 0: no limit.
    Quota = "quota" { node, entries, bytes }
    /// Nobody reaches a device or peer.
    Away = "away" { node }
    /// They do again.
    Back = "back" { node }
}

impl Step {
    /// The same step with other numbers, in the order of [`Step::numbers`].
    pub fn with(&self, numbers: &[u64]) -> Self {
        let mut numbers = numbers.iter().copied();
        Self::make(self.word(), |_| numbers.next()).expect("as many numbers as the step had")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        self.numbers()
            .iter()
            .try_for_each(|(name, number)| write!(f, " {name}={number}"))
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let mut numbers = words
            .map(|pair| {
                pair.split_once('=')
                    .and_then(|(name, number)| Some((name, number.parse().ok()?)))
            })
            .collect::<Option<Vec<(&str, u64)>>>()
            .ok_or_else(|| format!("not `name=number`: {line}"))?;
        let step = Self::make(word, |name| {
            let place = numbers.iter().position(|(known, _)| *known == name)?;
            Some(numbers.remove(place).1)
        });
        step.filter(|_| numbers.is_empty())
            .ok_or_else(|| format!("no step: {line}"))
    }
}

/// Where the nodes of a schedule keep their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// In memory: quick. Backups, copies and damage need files and do nothing here.
    Memory,
    /// In folders.
    Files,
}

/// A schedule: all that a run depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Keys, ids and nonces come from it.
    pub seed: u64,
    /// Where data is kept.
    pub disks: Disks,
    /// Whether an orderer may be taken back behind its own commits: then the identity log may split, which must be noticed.
    pub may_split: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        if self.disks == Disks::Files {
            writeln!(f, "files")?;
        }
        if self.may_split {
            writeln!(f, "may-split")?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl FromStr for Schedule {
    type Err = String;

    /// One step a line, after `seed n`; `#` begins a comment.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut schedule = Self {
            seed: 0,
            disks: Disks::Memory,
            may_split: false,
            steps: Vec::new(),
        };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.split_once(' ') {
                _ if line.is_empty() => {}
                _ if line == "files" => schedule.disks = Disks::Files,
                _ if line == "may-split" => schedule.may_split = true,
                Some(("seed", seed)) => schedule.seed = seed.parse().map_err(|_| format!("no seed: {line}"))?,
                _ => schedule.steps.push(line.parse()?),
            }
        }
        Ok(schedule)
    }
}

#[test]
fn every_step_reads_as_it_is_written() {
    for (place, word) in Step::WORDS.iter().enumerate() {
        let mut next = place as u64;
        let step = Step::make(word, |_| {
            next += 1;
            Some(next)
        });
        let step = step.unwrap();
        assert_eq!(step.to_string().parse(), Ok(step));
        let numbers: Vec<u64> = step.numbers().iter().map(|(_, number)| *number).collect();
        assert_eq!(step.with(&numbers), step);
    }
    for bad in [
        "",
        "fly node=1",
        "look",
        "look node=x",
        "look node=1 link=2",
        "look node",
    ] {
        assert!(bad.parse::<Step>().is_err(), "{bad}");
    }
    let text = "# why\nseed 7\nfiles\nmay-split\n\nlook node=1 # and why\n";
    let schedule: Schedule = text.parse().unwrap();
    assert_eq!(schedule.to_string(), "seed 7\nfiles\nmay-split\nlook node=1\n");
    assert_eq!(schedule.to_string().parse(), Ok(schedule));
}
