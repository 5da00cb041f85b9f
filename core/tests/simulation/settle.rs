//! The end of a schedule: troubles end, everybody meets everybody until nothing moves, and then all must agree.

use std::collections::BTreeSet;

use rhizome::{crypto::Hash, identity::heal, store::AlarmKind, sync::Known};

use super::{
    failure::{Failure, broken, ensure},
    world::{Meeting, World},
};

/// Rounds of meetings after which all must agree.
const ROUNDS: usize = 12;

impl World {
    /// Lets every pair meet until nothing moves, then checks that all agree.
    pub fn settle(&mut self) -> Result<(), Failure> {
        self.end_troubles()?;
        let names: Vec<u64> = self.nodes.keys().copied().collect();
        // Copies of one device have its key, and meet only through another that is none.
        let keys: BTreeSet<_> = names.iter().map(|name| self.key(*name)).collect();
        if keys.len() == 1 && names.len() > 1 {
            return names.iter().try_for_each(|name| self.look_at_disk(*name));
        }
        if !self.converge(&names)? {
            return names.iter().try_for_each(|name| self.look_at_disk(*name));
        }
        self.check_agreement(&names)?;
        if self.carry_out_all(&names)? {
            ensure!(self.converge(&names)?, "split", "after all was carried out");
            self.check_agreement(&names)?;
            self.check_erased(&names)?;
        }
        Ok(())
    }

    /// Lets all meet until nothing moves. Answers whether they follow one history of the identity.
    fn converge(&mut self, names: &[u64]) -> Result<bool, Failure> {
        for round in 0.. {
            let moved = self.everybody_meets(names, round)? | self.heal(names)?;
            let digests = names.iter().map(|name| self.digest(*name));
            let digests: BTreeSet<Hash> = digests.collect::<Result<_, _>>()?;
            if digests.len() == 1 && !moved {
                break;
            }
            if self.schedule.may_split && round >= 4 && self.is_split(names)? {
                self.totals.splits += 1;
                return Ok(false);
            }
            ensure!(
                round < ROUNDS,
                "does not converge",
                "{} states after {round} rounds",
                digests.len()
            );
        }
        Ok(true)
    }

    /// As every pod does before it syncs: proposes what is amiss with the identity's keys.
    fn heal(&mut self, names: &[u64]) -> Result<bool, Failure> {
        let mut healed = false;
        for name in names {
            let node = self.nodes.get_mut(name).expect("one of them");
            if node.peer {
                continue;
            }
            let ring = node.ring();
            let proposed = node.propose(|random, by, known| heal(random, by, (&known.tentative, &ring)));
            if let Some((Ok(Some(operation)), replica)) = proposed {
                replica
                    .take_operation(operation)
                    .map_err(broken("what heals the keys cannot be proposed"))?;
                healed = true;
            }
        }
        Ok(healed)
    }

    pub fn everybody_meets(&mut self, names: &[u64], round: usize) -> Result<bool, Failure> {
        let mut moved = false;
        for (place, a) in names.iter().enumerate() {
            for b in &names[place + 1..] {
                let (from, to) = if round.is_multiple_of(2) { (*a, *b) } else { (*b, *a) };
                let mut met = self.meet(from, to, None)?;
                if met == Meeting::Apart {
                    met = self.meet(to, from, None)?;
                }
                moved |= matches!(met, Meeting::Whole { moved: true, .. });
            }
        }
        Ok(moved)
    }

    /// Whether some of them follow another history of the identity. Then one of each two that contradict each other was told.
    fn is_split(&self, names: &[u64]) -> Result<bool, Failure> {
        let mut split = false;
        for (place, a) in names.iter().enumerate() {
            for b in &names[place + 1..] {
                let [one, other] = [a, b].map(|name| self.nodes[name].known().expect("all run"));
                let (a_key, b_key) = (self.key(*a), self.key(*b));
                split |= contradict(&one, &other);
                // Those whom each other's history does not know turn each other away before they could compare.
                let acquainted = is_member(&one, &b_key) && is_member(&other, &a_key);
                if contradict(&one, &other) && acquainted && a_key != b_key {
                    let subject = Hash(one.ordered.identity().0);
                    let told = self.has_alarm(*a, AlarmKind::Equivocation, subject)?
                        || self.has_alarm(*b, AlarmKind::Equivocation, subject)?;
                    ensure!(
                        told,
                        "unreported split",
                        "{a} and {b} follow two histories, and neither was told"
                    );
                }
            }
        }
        Ok(split)
    }

    fn check_agreement(&mut self, names: &[u64]) -> Result<(), Failure> {
        for name in names {
            self.look_at_disk(*name)?;
            let (node, held) = (&self.nodes[name], &self.held[name]);
            let running = node.running().expect("all run");
            let lost = names
                .iter()
                .flat_map(|other| &self.held[other].entries)
                .find(|hash| !held.entries.contains(*hash));
            let lost = lost.map(|hash| (hash, self.model.entry(hash)));
            ensure!(lost.is_none(), "lost", "{name} has no {lost:?}");
            let known = running.replica.known();
            ensure!(
                known.pending.is_empty(),
                "never ordered",
                "{name} has operations that nobody ordered"
            );
            let identity = running.replica.identity();
            let (entries, _) = running
                .store
                .read(|read| read.counts(&identity))
                .map_err(broken("a log that cannot be read"))?;
            let heads = self.heads(*name)?;
            let rows = heads
                .values()
                .flatten()
                .map(|branch| branch.head.seq - branch.base.max(1));
            let rows: u64 = rows.sum();
            ensure!(
                entries == rows,
                "counts",
                "{name} counts {entries} entries and has {rows}"
            );
            self.check_alarms(*name)?;
            self.check_all_receipts(*name)?;
        }
        for name in names {
            if !self.nodes[name].peer {
                self.look(*name)?;
                let documents = self.nodes[name].running().and_then(|running| running.documents.clone());
                let waiting = documents
                    .expect("a device")
                    .waiting()
                    .map_err(broken("views that cannot be read"))?;
                ensure!(
                    waiting == 0,
                    "never opened",
                    "{name} waits for keys of {waiting} entries"
                );
            }
        }
        Ok(())
    }

    /// Every fork is told, and nothing is told that did not happen.
    fn check_alarms(&mut self, name: u64) -> Result<(), Failure> {
        let forks = self.model.forks(&self.held[&name]);
        for author in &forks {
            let told = self.has_alarm(name, AlarmKind::Fork, Hash(author.0))?;
            ensure!(told, "unreported fork", "{name} was not told that {author:?} forked");
        }
        self.totals.forks += forks.len() as u64;
        let running = self.nodes[&name].running().expect("all run");
        let alarms = running
            .store
            .read(|read| read.alarms())
            .map_err(broken("a log that cannot be read"))?;
        for alarm in alarms {
            let fine = match alarm.kind {
                AlarmKind::PeerLoss => self.rewound.keys().any(|key| key.0 == alarm.subject.0),
                AlarmKind::Fork => {
                    let start = running
                        .store
                        .read(|read| read.start(&rhizome::log::AuthorId(alarm.subject.0)));
                    let start = start.map_err(broken("a log that cannot be read"))?;
                    start.is_some_and(|start| self.rewound.contains_key(&start.device()))
                }
                AlarmKind::Equivocation | AlarmKind::HiddenCommits => self.schedule.may_split,
                AlarmKind::WrongErasure => false,
            };
            ensure!(
                fine,
                "false alarm",
                "{name} was told of {:?}, and nothing happened",
                alarm.kind
            );
        }
        Ok(())
    }
}

fn is_member(known: &Known, key: &rhizome::crypto::PublicKey) -> bool {
    known.tentative.devices().contains_key(key) || known.tentative.peers().contains_key(key)
}

fn contradict(one: &Known, other: &Known) -> bool {
    one.log
        .iter()
        .zip(&other.log)
        .any(|((a, _), (b, _))| a.hash() != b.hash())
}
