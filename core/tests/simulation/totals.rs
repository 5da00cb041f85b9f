//! What a run did, in numbers.

use std::{collections::BTreeMap, fmt};

use super::step::Step;

#[derive(Debug, Clone, Default)]
pub struct Totals {
    pub schedules: u64,
    /// Steps that did something, by word.
    steps: BTreeMap<&'static str, u64>,
    /// Steps that had nothing to do.
    idle: u64,
    pub sessions: u64,
    /// Connections that broke within a frame.
    pub cuts: u64,
    /// Sessions that ended in an error, on connections that were tampered with or between strangers.
    pub failed: u64,
    pub strangers: u64,
    pub refusals: u64,
    /// Losses of peers that were noticed.
    pub losses: u64,
    pub forks: u64,
    pub splits: u64,
    pub updates: u64,
    pub events: u64,
    pub changes: u64,
    pub looks: u64,
    /// Sections that erasures left a hole of, in the end, on all disks together.
    pub holes: u64,
}

impl Totals {
    pub fn step(&mut self, step: &Step, done: bool) {
        if done {
            *self.steps.entry(step.word()).or_default() += 1;
        } else {
            self.idle += 1;
        }
    }

    /// How often a kind of step did something.
    pub fn of(&self, word: &str) -> u64 {
        self.steps.get(word).copied().unwrap_or_default()
    }

    pub fn add(&mut self, other: &Self) {
        for (word, count) in &other.steps {
            *self.steps.entry(word).or_default() += count;
        }
        let pairs = [
            (&mut self.schedules, other.schedules),
            (&mut self.idle, other.idle),
            (&mut self.sessions, other.sessions),
            (&mut self.cuts, other.cuts),
            (&mut self.failed, other.failed),
            (&mut self.strangers, other.strangers),
            (&mut self.refusals, other.refusals),
            (&mut self.losses, other.losses),
            (&mut self.forks, other.forks),
            (&mut self.splits, other.splits),
            (&mut self.updates, other.updates),
            (&mut self.events, other.events),
            (&mut self.changes, other.changes),
            (&mut self.looks, other.looks),
            (&mut self.holes, other.holes),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        writeln!(
            f,
            "{} schedules, {} steps: {}",
            self.schedules,
            self.steps.values().sum::<u64>(),
            steps.join(", ")
        )?;
        write!(
            f,
            "{} events and {} changes acknowledged; {} sessions, {} cut within a frame, {} ended by an error ({} between strangers), {} with \
             refusals; {} losses of peers and {} forks noticed, {} split histories, {} updates needed; {} sections erased; {} comparisons with the model; losses 0, \
             panics 0, false receipts 0",
            self.events,
            self.changes,
            self.sessions,
            self.cuts,
            self.failed,
            self.strangers,
            self.refusals,
            self.losses,
            self.forks,
            self.splits,
            self.updates,
            self.holes,
            self.looks
        )
    }
}
