//! Schedules from seeds.

use std::collections::{BTreeMap, BTreeSet};

use rhizome::crypto::{Random, SeededRandom};

use super::step::{Disks, Schedule, Step};

/// Documents that are edited: few, so that edits meet.
const DOCUMENTS: u64 = 4;
/// Connections that are open at once.
const LINKS: u64 = 3;
/// Nodes, copies included.
const NODES: u64 = 5;

/// Now, as far as schedules go.
pub const NOW: u64 = 1_790_000_000_000;

struct Draw(SeededRandom);

impl Draw {
    /// A number below `below`.
    fn below(&mut self, below: u64) -> u64 {
        let random: &mut dyn Random = &mut self.0;
        u64::from_le_bytes(random.bytes()) % below
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A clock that is right, a little off, of 1970 or of 9999.
    fn millis(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => 253_402_300_000_000,
            2 => NOW - 3_600_000,
            3 => NOW + 86_400_000,
            _ => NOW + self.below(10_000),
        }
    }

    /// Bytes after which a connection breaks: within the hellos, or somewhere in what follows.
    fn bytes(&mut self) -> u64 {
        match self.below(3) {
            0 => 1 + self.below(700),
            1 => 1 + self.below(6_000),
            _ => 1 + self.below(400_000),
        }
    }
}

/// What a schedule under way probably looks like: enough that most steps have something to do.
struct Sketch {
    draw: Draw,
    disks: Disks,
    devices: Vec<u64>,
    peers: Vec<u64>,
    away: BTreeSet<u64>,
    suspended: BTreeSet<u64>,
    links: BTreeMap<u64, [u64; 2]>,
    saved: BTreeSet<(u64, u64)>,
    erased: BTreeSet<u64>,
}

/// The schedule of a seed.
pub fn schedule(seed: u64) -> Schedule {
    let mut draw = Draw(SeededRandom::new(seed));
    let disks = if draw.one_in(4) { Disks::Files } else { Disks::Memory };
    let may_split = disks == Disks::Files && draw.one_in(10);
    let mut sketch = Sketch {
        draw,
        disks,
        devices: vec![0],
        peers: Vec::new(),
        away: BTreeSet::new(),
        suspended: BTreeSet::new(),
        links: BTreeMap::new(),
        saved: BTreeSet::new(),
        erased: BTreeSet::new(),
    };
    let mut steps = Vec::new();
    // Some schedules begin with everybody linked, others grow.
    for new in 1..1 + sketch.draw.below(4) {
        steps.push(match sketch.draw.below(3) {
            0 => Step::Peer { new, by: 0 },
            _ => Step::Device { new, by: 0 },
        });
        sketch.note(steps.last().expect("just put there"));
    }
    let length = 12 + sketch.draw.below(60);
    while (steps.len() as u64) < length {
        if let Some(step) = sketch.step() {
            sketch.note(&step);
            steps.push(step);
        }
    }
    Schedule {
        seed,
        disks,
        may_split,
        steps,
    }
}

impl Sketch {
    fn one_of(&mut self, some: &[u64]) -> Option<u64> {
        let place = self.draw.below((some.len() as u64).max(1));
        some.get(usize::try_from(place).expect("a place in a list")).copied()
    }

    /// One that runs, mostly.
    fn awake(&mut self, some: &[u64]) -> Option<u64> {
        let awake: Vec<u64> = some
            .iter()
            .copied()
            .filter(|node| !self.suspended.contains(node))
            .collect();
        if self.draw.one_in(12) {
            self.one_of(some)
        } else {
            self.one_of(&awake)
        }
    }

    /// Two that can meet, mostly.
    fn pair(&mut self) -> Option<(u64, u64)> {
        let all: Vec<u64> = self.devices.iter().chain(&self.peers).copied().collect();
        let here: Vec<u64> = all.iter().copied().filter(|node| !self.away.contains(node)).collect();
        let (from, to) = (self.awake(&here)?, self.awake(&here)?);
        (from != to).then_some((from, to))
    }

    fn link(&mut self) -> Option<u64> {
        let links: Vec<u64> = self.links.keys().copied().collect();
        self.one_of(&links)
    }

    /// A step, if the kind that was drawn makes sense.
    fn step(&mut self) -> Option<Step> {
        let (devices, peers) = (self.devices.clone(), self.peers.clone());
        let all = [devices.clone(), peers.clone()].concat();
        let next = all.len() as u64;
        let side = self.draw.below(2);
        let kinds = if self.disks == Disks::Files { 122 } else { 110 };
        Some(match self.draw.below(kinds) {
            0..=19 => Step::Edit {
                node: self.awake(&devices)?,
                document: self.draw.below(DOCUMENTS),
                what: self.draw.below(5),
            },
            20..=24 => Step::Append {
                node: self.awake(&devices)?,
                label: self.draw.below(4),
                count: 1 + self.draw.below(4),
                size: if self.draw.one_in(8) {
                    90_000
                } else {
                    16 + self.draw.below(300)
                },
            },
            25..=26 => Step::Batch {
                node: self.awake(&devices)?,
                first: self.draw.below(DOCUMENTS),
                count: 2 + self.draw.below(3),
            },
            27..=31 => Step::Look {
                node: self.awake(&devices)?,
            },
            32..=40 => {
                let (from, to) = self.pair()?;
                let link = (0..LINKS).find(|link| !self.links.contains_key(link))?;
                Step::Connect { link, from, to }
            }
            41..=65 => Step::Turn {
                link: self.link()?,
                side,
                count: 1 + self.draw.below(6),
            },
            66..=73 => {
                let (from, to) = self.pair()?;
                let bytes = if self.draw.one_in(2) { 0 } else { self.draw.bytes() };
                Step::Meet { from, to, bytes }
            }
            74 => Step::Lose {
                link: self.link()?,
                side,
            },
            75 => Step::Twice {
                link: self.link()?,
                side,
            },
            76 => Step::Swap {
                link: self.link()?,
                side,
            },
            77 => Step::Newer {
                link: self.link()?,
                side,
            },
            78..=79 => Step::Cut { link: self.link()? },
            80..=82 if next < NODES => Step::Device {
                new: next,
                by: self.awake(&devices)?,
            },
            83..=84 if next < NODES => Step::Peer {
                new: next,
                by: self.awake(&devices)?,
            },
            85 if self.draw.below(2) == 0 => Step::Rekey {
                by: self.awake(&devices)?,
            },
            85 => Step::Orderer {
                by: self.awake(&devices)?,
                to: self.one_of(&all)?,
            },
            86..=87 => Step::Suspend {
                node: self.awake(&all)?,
            },
            88..=90 => {
                let suspended: Vec<u64> = self.suspended.iter().copied().collect();
                Step::Resume {
                    node: self.one_of(&suspended)?,
                }
            }
            91..=93 => Step::Kill {
                node: self.awake(&all)?,
                views: self.draw.below(4),
            },
            94..=95 => Step::Clock {
                node: self.one_of(&all)?,
                millis: self.draw.millis(),
            },
            96..=98 => Step::Quota {
                node: self.awake(&peers)?,
                entries: if self.draw.one_in(3) {
                    0
                } else {
                    1 + self.draw.below(20)
                },
                bytes: if self.draw.one_in(3) {
                    1 + self.draw.below(10_000)
                } else {
                    0
                },
            },
            99..=100 => Step::Away {
                node: self.one_of(&all)?,
            },
            101..=103 => {
                let away: Vec<u64> = self.away.iter().copied().collect();
                Step::Back {
                    node: self.one_of(&away)?,
                }
            }
            104 => Step::Erase {
                node: self.awake(&devices)?,
                document: self.draw.below(DOCUMENTS),
            },
            105 => {
                let erased: Vec<u64> = self.erased.iter().copied().collect();
                Step::Unerase {
                    node: self.awake(&devices)?,
                    document: self.one_of(&erased)?,
                }
            }
            106..=108 => Step::Tend {
                node: self.awake(&all)?,
            },
            109 => Step::Week {},
            110..=112 => Step::Save {
                node: self.one_of(&all)?,
                slot: self.draw.below(2),
            },
            113..=116 => {
                let saved: Vec<(u64, u64)> = self.saved.iter().copied().collect();
                let place = self.draw.below((saved.len() as u64).max(1));
                let (node, slot) = *saved.get(usize::try_from(place).expect("a place in a list"))?;
                Step::Restore { node, slot }
            }
            117..=118 if next < NODES => Step::Copy {
                node: self.awake(&devices)?,
                new: next,
            },
            119..=120 => Step::Wipe {
                node: self.one_of(&peers)?,
                by: self.awake(&devices)?,
            },
            121 => Step::Damage {
                node: self.awake(&devices)?,
                place: self.draw.below(60_000),
            },
            _ => return None,
        })
    }

    fn note(&mut self, step: &Step) {
        let mut apart = None;
        match *step {
            Step::Device { new, .. } | Step::Copy { new, .. } => self.devices.push(new),
            Step::Peer { new, .. } => self.peers.push(new),
            Step::Connect { link, from, to } => {
                self.links.insert(link, [from, to]);
            }
            Step::Cut { link } => {
                self.links.remove(&link);
            }
            Step::Suspend { node } => {
                self.suspended.insert(node);
                apart = Some(node);
            }
            Step::Resume { node } => {
                self.suspended.remove(&node);
            }
            Step::Away { node } => {
                self.away.insert(node);
                apart = Some(node);
            }
            Step::Back { node } => {
                self.away.remove(&node);
            }
            Step::Save { node, slot } => {
                self.saved.insert((node, slot));
            }
            Step::Erase { document, .. } => {
                self.erased.insert(document);
            }
            Step::Kill { node, .. } | Step::Restore { node, .. } | Step::Wipe { node, .. } => apart = Some(node),
            _ => {}
        }
        if let Some(node) = apart {
            self.links.retain(|_, ends| !ends.contains(&node));
        }
    }
}
