//! Schedules from seeds.

use rhizome::crypto::{Random, SeededRandom};

use super::step::{Disks, Schedule, Step};

/// Documents that are edited: few, so that edits meet.
const DOCUMENTS: u64 = 4;
/// Connections that are open at once.
const LINKS: u64 = 4;
/// Nodes, copies included.
const NODES: u64 = 6;

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

/// The schedule of a seed.
pub fn schedule(seed: u64) -> Schedule {
    let mut draw = Draw(SeededRandom::new(seed));
    let disks = if draw.below(4) == 0 { Disks::Files } else { Disks::Memory };
    let may_split = disks == Disks::Files && draw.one_in(10);
    let mut steps = Vec::new();
    let mut nodes = 1;
    // Some schedules begin with everybody linked, others grow.
    for _ in 0..draw.below(4) {
        steps.push(match draw.below(3) {
            0 => Step::Peer { new: nodes, by: 0 },
            _ => Step::Device { new: nodes, by: 0 },
        });
        nodes += 1;
    }
    let length = 20 + draw.below(80);
    while (steps.len() as u64) < length {
        let step = one(&mut draw, nodes, disks);
        if let Step::Device { new, .. } | Step::Peer { new, .. } | Step::Copy { new, .. } = &step {
            if *new >= NODES {
                continue;
            }
            nodes += 1;
        }
        steps.push(step);
    }
    Schedule {
        seed,
        disks,
        may_split,
        steps,
    }
}

fn one(draw: &mut Draw, nodes: u64, disks: Disks) -> Step {
    let node = draw.below(nodes);
    let other = draw.below(nodes);
    let (link, side) = (draw.below(LINKS), draw.below(2));
    match draw.below(if disks == Disks::Files { 112 } else { 100 }) {
        0..=19 => Step::Edit {
            node,
            document: draw.below(DOCUMENTS),
            what: draw.below(5),
        },
        20..=24 => Step::Append {
            node,
            label: draw.below(4),
            count: 1 + draw.below(4),
            size: if draw.one_in(8) { 90_000 } else { 16 + draw.below(300) },
        },
        25..=26 => Step::Batch {
            node,
            first: draw.below(DOCUMENTS),
            count: 2 + draw.below(3),
        },
        27..=33 => Step::Look { node },
        34..=43 => Step::Connect {
            link,
            from: node,
            to: other,
        },
        44..=65 => Step::Turn {
            link,
            side,
            count: 1 + draw.below(6),
        },
        66..=73 => Step::Meet {
            from: node,
            to: other,
            bytes: if draw.one_in(2) { 0 } else { draw.bytes() },
        },
        74 => Step::Lose { link, side },
        75 => Step::Twice { link, side },
        76 => Step::Swap { link, side },
        77 => Step::Newer { link, side },
        78..=79 => Step::Cut { link },
        80..=82 => Step::Device { new: nodes, by: node },
        83 => Step::Peer { new: nodes, by: node },
        84 => Step::Orderer { by: node, to: other },
        85..=86 => Step::Suspend { node },
        87..=89 => Step::Resume { node },
        90..=92 => Step::Kill {
            node,
            views: draw.below(4),
        },
        93 => Step::Clock {
            node,
            millis: draw.millis(),
        },
        94..=95 => Step::Quota {
            node,
            entries: if draw.one_in(3) { 0 } else { 1 + draw.below(30) },
            bytes: if draw.one_in(3) { 1 + draw.below(20_000) } else { 0 },
        },
        96..=97 => Step::Away { node },
        98..=99 => Step::Back { node },
        100..=103 => Step::Save {
            node,
            slot: draw.below(3),
        },
        104..=106 => Step::Restore {
            node,
            slot: draw.below(3),
        },
        107..=108 => Step::Copy { node, new: nodes },
        109..=110 => Step::Wipe { node, by: other },
        _ => Step::Damage {
            node,
            place: draw.below(60_000),
        },
    }
}
