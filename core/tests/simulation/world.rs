//! Devices and cloud peers of one identity, and what the steps of a schedule do to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::atomic::Ordering,
};

use rhizome::{
    DocumentId,
    crypto::{Hash, PublicKey, SeededRandom},
    identity::{IdentityError, add_device, add_peer, change_orderers, consent, rewrap},
    store::Quota,
    sync::{Message, ReplicaError, SessionError},
};

use super::{
    common::replicas::begin,
    disk::{Disk, ViewsFate},
    failure::{Failure, broken, ensure},
    generate::NOW,
    model::{Held, Model, Written},
    newer,
    node::{EditOf, LABELS, Node, keys_of, public, random_of},
    step::{Disks, Schedule, Step},
    totals::Totals,
    wire::{Link, Turn},
};

/// How often one device may be put back or copied: an author log has few branches.
const REWINDS: u32 = 3;

/// A fault that a test plants to see it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process that dies loses its last backup's distance: as if a write were acknowledged before it is durable.
    KillForgets,
}

/// A copy of a folder.
struct Saved {
    path: PathBuf,
    held: Held,
    commits: u64,
    ordered: bool,
}

pub struct World {
    pub schedule: Schedule,
    pub model: Model,
    pub nodes: BTreeMap<u64, Node>,
    /// What each node's disk must hold.
    pub held: BTreeMap<u64, Held>,
    pub links: BTreeMap<u64, Link>,
    pub totals: Totals,
    /// Devices and peers whose disk was put back, copied or wiped: of them others may report a loss or a fork.
    pub rewound: BTreeMap<PublicKey, u32>,
    pub fault: Option<Fault>,
    saved: BTreeMap<(u64, u64), Saved>,
    folders: Option<tempfile::TempDir>,
    token: u64,
}

/// How a whole session went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// They cannot meet, or one does not know the other.
    Apart,
    /// The connection broke.
    Cut,
    /// The one that was dialled does not know the other.
    Stranger,
    /// Both have what the other had, but for what one refused.
    Whole { moved: bool, refused: bool },
}

/// A folder on a file system in memory where there is one: syncing costs nothing there.
fn temporary() -> std::io::Result<tempfile::TempDir> {
    let prefix = "rhizome-sim-";
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in("/dev/shm")
        .or_else(|_| tempfile::Builder::new().prefix(prefix).tempdir())
}

impl World {
    pub fn new(schedule: &Schedule) -> Result<Self, Failure> {
        let folders = match schedule.disks {
            Disks::Memory => None,
            Disks::Files => Some(temporary().map_err(broken("the test's own files"))?),
        };
        let mut world = Self {
            schedule: schedule.clone(),
            model: Model::default(),
            nodes: BTreeMap::new(),
            held: BTreeMap::new(),
            links: BTreeMap::new(),
            totals: Totals::default(),
            rewound: BTreeMap::new(),
            fault: None,
            saved: BTreeMap::new(),
            folders,
            token: 0,
        };
        let keys = keys_of(schedule.seed, 0);
        let log = begin(&mut random_of(schedule.seed, "genesis", 0), &keys);
        let disk = world.new_disk("n0")?;
        let random = random_of(schedule.seed, "node", 0);
        world.add(0, Node::join(random, keys, false, disk, (log, Vec::new()), NOW)?);
        Ok(world)
    }

    fn new_disk(&self, name: &str) -> Result<Disk, Failure> {
        match &self.folders {
            None => Ok(Disk::in_memory()),
            Some(folders) => Disk::folder(folders.path().join(name)),
        }
    }

    fn add(&mut self, name: u64, node: Node) {
        self.nodes.insert(name, node);
        self.held.insert(name, Held::default());
    }

    /// The key of a node.
    pub fn key(&self, name: u64) -> PublicKey {
        self.nodes[&name].keys.signing.public()
    }

    /// The node, if it runs.
    pub fn running(&mut self, name: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&name).filter(|node| node.running.is_some())
    }

    /// The device, if it runs.
    pub fn device(&mut self, name: u64) -> Option<&mut Node> {
        self.running(name).filter(|node| !node.peer)
    }

    /// Does a step, then looks at what it touched.
    pub fn step(&mut self, step: &Step) -> Result<(), Failure> {
        let done = self.act(step)?;
        self.totals.step(step, done);
        if !done {
            return Ok(());
        }
        let touched: BTreeSet<u64> = match step {
            Step::Turn { link, .. } => self.links.get(link).into_iter().flat_map(|link| link.ends).collect(),
            other => {
                let names = ["node", "by", "from", "to", "new"];
                let numbers = other.numbers().into_iter();
                numbers
                    .filter(|(name, _)| names.contains(name))
                    .map(|(_, node)| node)
                    .collect()
            }
        };
        touched.into_iter().try_for_each(|name| self.look_at_disk(name))
    }

    /// What the disk of a node must hold is there, and nothing else; its quota is kept.
    pub fn look_at_disk(&mut self, name: u64) -> Result<(), Failure> {
        let Some(node) = self.nodes.get(&name) else {
            return Ok(());
        };
        let Some(running) = node.running() else { return Ok(()) };
        let identity = running.replica.identity();
        let heads = running.store.read(|read| read.heads(&identity));
        let heads = heads.map_err(broken("a log that cannot be read"))?;
        let held = self.held.get_mut(&name).expect("every node holds something");
        self.model.look_at(held, node.keys.signing.public(), &heads)
    }

    /// Does a step. Answers whether there was anything to do.
    fn act(&mut self, step: &Step) -> Result<bool, Failure> {
        match *step {
            Step::Device { new, by } => self.link_newcomer(new, by, false),
            Step::Peer { new, by } => self.link_newcomer(new, by, true),
            Step::Orderer { by, to } => self.change_orderer(by, to),
            Step::Rekey { by } => self.rekey(by),
            Step::Append {
                node,
                label,
                count,
                size,
            } => self.append(node, label, count, size),
            Step::Edit { node, document, what } => self.edit(node, document, what, 1),
            Step::Batch { node, first, count } => self.edit(node, first, 0, count),
            Step::Erase { node, document } => self.erase(node, document),
            Step::Unerase { node, document } => self.cancel_erase(node, document),
            Step::Tend { node } => self.tend(node),
            Step::Week {} => {
                self.week();
                Ok(true)
            }
            Step::Look { node } => match self.device(node) {
                Some(_) => self.look(node).map(|()| true),
                None => Ok(false),
            },
            Step::Connect { link, from, to } => {
                if self.links.contains_key(&link) {
                    return Ok(false);
                }
                let connected = self.connect(from, to, None, false)?;
                Ok(connected.map(|made| self.links.insert(link, made)).is_some())
            }
            Step::Turn { link, side, count } => self.turn_link(link, side, count),
            Step::Lose { link, side } => Ok(self.twist(link, side, |queue| queue.pop_front().is_some())),
            Step::Twice { link, side } => Ok(self.twist(link, side, |queue| {
                let again = queue.front().cloned();
                again.map(|frame| queue.push_front(frame)).is_some()
            })),
            Step::Swap { link, side } => Ok(self.twist(link, side, |queue| {
                let two = queue.len() > 1;
                if two {
                    queue.swap(0, 1);
                }
                two
            })),
            Step::Newer { link, side } => self.newer(link, side),
            Step::Cut { link } => Ok(self.links.remove(&link).is_some()),
            Step::Meet { from, to, bytes } => {
                let limit = (bytes > 0).then_some(usize::try_from(bytes).unwrap_or(usize::MAX));
                Ok(self.meet(from, to, limit)? != Meeting::Apart)
            }
            Step::Suspend { node } => {
                let running = self.running(node).is_some();
                self.drop_links(node, running);
                Ok(self.running(node).map(Node::close).is_some())
            }
            Step::Resume { node } => match self.nodes.get_mut(&node).filter(|node| node.running.is_none()) {
                Some(node) => node.open().map(|()| true),
                None => Ok(false),
            },
            Step::Kill { node, views } => self.kill(node, views),
            Step::Damage { node, place } => match self.device(node) {
                Some(device) if device.disk.path().is_some() => device.disk.damage(place).map(|()| true),
                _ => Ok(false),
            },
            Step::Save { node, slot } => self.save(node, slot),
            Step::Restore { node, slot } => self.restore(node, slot),
            Step::Copy { node, new } => self.copy(node, new),
            Step::Wipe { node, by } => self.wipe(node, by),
            Step::Clock { node, millis } => match self.nodes.get(&node) {
                Some(node) => {
                    node.wall.store(millis, Ordering::Relaxed);
                    Ok(true)
                }
                None => Ok(false),
            },
            Step::Quota { node, entries, bytes } => self.set_quota(node, entries, bytes),
            Step::Away { node } => {
                let there = self.nodes.contains_key(&node);
                self.drop_links(node, there);
                Ok(self
                    .nodes
                    .get_mut(&node)
                    .is_some_and(|node| !std::mem::replace(&mut node.away, true)))
            }
            Step::Back { node } => Ok(self
                .nodes
                .get_mut(&node)
                .is_some_and(|node| std::mem::replace(&mut node.away, false))),
        }
    }

    // ---- Writing ----

    fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    fn note(&mut self, written: Option<Written>) -> Result<bool, Failure> {
        match written {
            None => Ok(false),
            Some(written) => {
                self.totals.events += written.payloads.len() as u64;
                self.totals.changes += written.changes.len() as u64;
                self.model.note(written).map(|()| true)
            }
        }
    }

    fn append(&mut self, name: u64, label: u64, count: u64, size: u64) -> Result<bool, Failure> {
        let label = LABELS[label as usize % LABELS.len()];
        if count == 0 || self.device(name).is_none() {
            return Ok(false);
        }
        let payload = |token: u64| {
            // Bytes that no compression makes less of.
            let mut bytes = Vec::new();
            while bytes.len() < size as usize {
                bytes.extend(Hash::plain(format!("{token} {}", bytes.len()).as_bytes()).0);
            }
            [token.to_string().as_bytes(), b" ", &bytes[..]].concat()
        };
        let payloads = (0..count.min(64)).map(|_| payload(self.next_token())).collect();
        let written = self.device(name).expect("asked above").append(label, payloads)?;
        self.note(written)
    }

    /// The documents that schedules speak of.
    pub fn document(&self, number: u64) -> DocumentId {
        let bytes = Hash::plain(format!("{} document {number}", self.schedule.seed).as_bytes()).0;
        DocumentId(bytes[..16].try_into().expect("16 bytes of 32"))
    }

    fn edit(&mut self, name: u64, first: u64, what: u64, count: u64) -> Result<bool, Failure> {
        if count == 0 || self.device(name).is_none() {
            return Ok(false);
        }
        // Document 3 is in one collection for some devices and in another for others.
        let collection = if first == 3 && name % 2 == 1 {
            "atlas"
        } else {
            LABELS[0]
        };
        let edits: Vec<EditOf> = (first..first + count.min(8))
            .map(|number| EditOf {
                document: self.document(number),
                what,
                token: self.next_token(),
            })
            .collect();
        let written = self.device(name).expect("asked above").edit(collection, &edits)?;
        self.note(written)
    }

    // ---- The identity ----

    /// A member lets a newcomer in, wherever the orderer is.
    fn link_newcomer(&mut self, new: u64, by: u64, peer: bool) -> Result<bool, Failure> {
        if self.nodes.contains_key(&new) || self.device(by).is_none() {
            return Ok(false);
        }
        let keys = keys_of(self.schedule.seed, new);
        let them = public(&keys);
        let member = self.device(by).expect("asked above");
        let identity = member.running.as_ref().expect("it runs").replica.identity();
        let consent = consent(&keys.signing, &identity, &them, peer);
        let proposed = member.propose(|random, by, _| match peer {
            true => Ok(add_peer(random, by, them, consent, Vec::new(), "cloud")),
            false => add_device(random, by, them, consent, "another"),
        });
        let Some((operation, replica)) = proposed else {
            return Ok(false);
        };
        let operation = operation.map_err(broken("a newcomer that cannot be proposed"))?;
        replica
            .take_operation(operation)
            .map_err(broken("a newcomer that is not taken"))?;
        let known = replica.known();
        let disk = self.new_disk(&format!("n{new}"))?;
        let random = random_of(self.schedule.seed, "node", new);
        let log = (known.log.clone(), known.pending.clone());
        let wall = self.nodes[&by].wall.load(Ordering::Relaxed);
        let node = Node::join(random, keys, peer, disk, log, wall)?;
        self.add(new, node);
        let is_device = |key: &PublicKey| known.ordered.devices().contains_key(key);
        if peer && known.ordered.orderers().iter().all(is_device) {
            self.hand_over(by, them.0)?;
        }
        Ok(true)
    }

    fn hand_over(&mut self, by: u64, to: PublicKey) -> Result<bool, Failure> {
        let Some(member) = self.device(by) else {
            return Ok(false);
        };
        let change =
            member.propose(|random, by, known| change_orderers(random, by, known.ordered.term() + 1, vec![to]));
        let Some((change, replica)) = change else {
            return Ok(false);
        };
        match replica.take_operation(change) {
            // Somebody else changed them meanwhile.
            Err(ReplicaError::Identity(IdentityError::Void(_))) => Ok(false),
            other => other
                .map(|()| true)
                .map_err(broken("a change of orderers that is not taken")),
        }
    }

    /// Two who do it at once each write under their own epochs: both are read.
    fn rekey(&mut self, by: u64) -> Result<bool, Failure> {
        let Some(node) = self.device(by) else {
            return Ok(false);
        };
        let ring = node.ring();
        let proposed = node.propose(|random, by, known| rewrap(random, by, (&known.tentative, &ring)));
        let Some((Ok(operation), replica)) = proposed else {
            return Ok(false);
        };
        match replica.take_operation(operation) {
            Ok(()) => Ok(true),
            Err(ReplicaError::Identity(IdentityError::Void(_) | IdentityError::TooManyPending)) => Ok(false),
            Err(error) => Err(broken("a new identity key that cannot be proposed")(error)),
        }
    }

    fn change_orderer(&mut self, by: u64, to: u64) -> Result<bool, Failure> {
        let Some(target) = self.nodes.get(&to) else {
            return Ok(false);
        };
        let key = target.keys.signing.public();
        // Two live orderers with one key sign two histories: nothing prevents that, it can only be noticed.
        let copied = self
            .nodes
            .iter()
            .any(|(name, node)| *name != to && node.keys.signing.public() == key);
        if copied && !self.schedule.may_split {
            return Ok(false);
        }
        self.hand_over(by, key)
    }

    /// Whether taking `name` back to `commits` commits could make it sign another history: it is or was an orderer, and somebody knows more.
    fn would_split(&self, name: u64, commits: u64, ordered: bool) -> bool {
        let key = self.key(name);
        let others = self.nodes.iter().filter(|(other, _)| **other != name);
        let known = others.filter_map(|(_, node)| node.known());
        let (mut orders, mut most) = (ordered, 0);
        for state in known {
            orders |= state.ordered.orderers().contains(&key);
            most = most.max(state.ordered.count());
        }
        let own = self.nodes[&name].known();
        orders |= own.is_some_and(|known| known.ordered.orderers().contains(&key));
        orders && most > commits
    }

    // ---- Connections ----

    fn drop_links(&mut self, node: u64, really: bool) {
        if really {
            self.links.retain(|_, link| !link.ends.contains(&node));
        }
    }

    fn can_meet(&self, from: u64, to: u64) -> bool {
        let reachable = |name: &u64| {
            self.nodes
                .get(name)
                .is_some_and(|node| !node.away && node.running.is_some())
        };
        reachable(&from) && reachable(&to) && self.key(from) != self.key(to)
    }

    /// A connection, if they can meet and `from` knows whom it dials.
    fn connect(
        &mut self,
        from: u64,
        to: u64,
        allowance: Option<usize>,
        proving: bool,
    ) -> Result<Option<Link>, Failure> {
        if !self.can_meet(from, to) {
            return Ok(None);
        }
        let remote = self.key(to);
        let ends = [from, to].map(|name| self.nodes[&name].running().expect("they can meet"));
        let known = ends[0].replica.known();
        if !known.tentative.devices().contains_key(&remote) && !known.tentative.peers().contains_key(&remote) {
            return Ok(None);
        }
        let endpoint = public(&self.nodes[&from].keys).2;
        let replicas = [&*ends[0].replica, &*ends[1].replica];
        let link = Link::new([from, to], replicas, remote, endpoint, allowance, proving);
        self.totals.sessions += 1;
        link.map(Some).map_err(broken("a session that cannot begin"))
    }

    /// One turn of one side. `None` ends the connection.
    fn turn(&mut self, link: &mut Link, side: usize) -> Result<Option<bool>, Failure> {
        let node = &self.nodes[&link.ends[side]];
        let running = node.running().expect("connections end with their node");
        match link.turn(side, &running.replica) {
            Ok(Turn::Busy) => Ok(Some(true)),
            Ok(Turn::Idle) => Ok(Some(false)),
            Ok(Turn::Broken) => {
                self.totals.cuts += 1;
                Ok(None)
            }
            Err(error) => {
                self.totals.failed += 1;
                link.stranger = error == SessionError::NotAMember;
                if !link.twisted {
                    self.may_fail(link, side, &error)?;
                }
                Ok(None)
            }
        }
    }

    fn turn_link(&mut self, number: u64, side: u64, count: u64) -> Result<bool, Failure> {
        let Some(mut link) = self.links.remove(&number) else {
            return Ok(false);
        };
        for _ in 0..count.min(64) {
            if self.turn(&mut link, side as usize % 2)?.is_none() {
                return Ok(true);
            }
        }
        self.links.insert(number, link);
        Ok(true)
    }

    fn twist(
        &mut self,
        link: u64,
        side: u64,
        twist: impl FnOnce(&mut std::collections::VecDeque<Vec<u8>>) -> bool,
    ) -> bool {
        let Some(link) = self.links.get_mut(&link) else {
            return false;
        };
        let twisted = twist(&mut link.to[side as usize % 2]);
        link.twisted |= twisted;
        twisted
    }

    /// An operation of a kind that this version does not know comes in: it is refused as such, and nothing else changes.
    fn newer(&mut self, number: u64, side: u64) -> Result<bool, Failure> {
        let side = side as usize % 2;
        let Some(link) = self.links.get_mut(&number).filter(|link| link.to[side].is_empty()) else {
            return Ok(false);
        };
        let ends = link.ends.map(|name| &self.nodes[&name]);
        let replica = &ends[side].running().expect("connections end with their node").replica;
        let before = replica.known();
        let operation = newer::operation(&ends[1 - side].keys.signing, &before);
        link.twisted = true;
        match link.sessions[side].receive(Message::Operations(vec![operation]), replica) {
            // Before the hellos nothing else is heard.
            Err(SessionError::Protocol(_)) => {
                self.links.remove(&number);
            }
            other => {
                other.map_err(broken("an unknown kind of operation ended a session"))?;
                let refused = &link.sessions[side].outcome().refused;
                let said = refused.iter().any(|(reason, _)| reason.as_str() == "update-needed");
                ensure!(
                    said,
                    "update needed",
                    "an unknown kind of operation was not refused: {refused:?}"
                );
                self.totals.updates += 1;
            }
        }
        Ok(true)
    }

    /// A whole session, or until so many bytes went over.
    pub fn meet(&mut self, from: u64, to: u64, allowance: Option<usize>) -> Result<Meeting, Failure> {
        // Who is not known shows once more, and at length, that it is a member.
        match self.meet_once(from, to, allowance, false)? {
            Meeting::Stranger => self.meet_once(from, to, allowance, true),
            other => Ok(other),
        }
    }

    fn meet_once(&mut self, from: u64, to: u64, allowance: Option<usize>, proving: bool) -> Result<Meeting, Failure> {
        let Some(mut link) = self.connect(from, to, allowance, proving)? else {
            return Ok(Meeting::Apart);
        };
        let before = self.before_meeting([from, to])?;
        let (mut quiet, mut turns) = (0, 0);
        while quiet < 2 {
            turns += 1;
            ensure!(turns < 20_000, "endless", "a session that never ends");
            match self.turn(&mut link, turns % 2)? {
                None if link.stranger => return Ok(Meeting::Stranger),
                None => return Ok(Meeting::Cut),
                Some(busy) => quiet = if busy { 0 } else { quiet + 1 },
            }
        }
        self.after_meeting(&link, before)
    }

    // ---- Disks ----

    fn kill(&mut self, name: u64, views: u64) -> Result<bool, Failure> {
        if self.running(name).is_none() {
            return Ok(false);
        }
        self.drop_links(name, true);
        if self.fault == Some(Fault::KillForgets)
            && let Some(saved) = self.saved.get(&(name, 0)).map(|saved| saved.path.clone())
        {
            let node = self.running(name).expect("asked above");
            node.close();
            node.disk.restore(&saved)?;
            return node.open().map(|()| true);
        }
        let node = self.running(name).expect("asked above");
        node.kill(ViewsFate::of(views % 4)).map(|()| true)
    }

    fn save(&mut self, name: u64, slot: u64) -> Result<bool, Failure> {
        let (Some(node), Some(folders)) = (self.nodes.get(&name), &self.folders) else {
            return Ok(false);
        };
        let path = folders.path().join(format!("save{name}.{slot}"));
        let known = node.known();
        let Some(known) = known else { return Ok(false) };
        node.disk.save(&path)?;
        let saved = Saved {
            path,
            held: self.held[&name].clone(),
            commits: known.ordered.count(),
            ordered: known.ordered.orderers().contains(&self.key(name)),
        };
        self.saved.insert((name, slot), saved);
        Ok(true)
    }

    /// Whether a disk may be taken back once more. Notes it.
    fn may_rewind(&mut self, name: u64, commits: u64, ordered: bool) -> bool {
        let splits = self.would_split(name, commits, ordered);
        let key = self.key(name);
        let times = self.rewound.entry(key).or_default();
        if (splits && !self.schedule.may_split) || *times >= REWINDS {
            // Nothing was taken back if it is here for the first time.
            if *times == 0 {
                self.rewound.remove(&key);
            }
            return false;
        }
        *times += 1;
        true
    }

    fn restore(&mut self, name: u64, slot: u64) -> Result<bool, Failure> {
        let Some(saved) = self.saved.get(&(name, slot)) else {
            return Ok(false);
        };
        let (path, held) = (saved.path.clone(), saved.held.clone());
        let (commits, ordered) = (saved.commits, saved.ordered);
        if !self.may_rewind(name, commits, ordered) {
            return Ok(false);
        }
        self.drop_links(name, true);
        let node = self.nodes.get_mut(&name).expect("it was saved");
        node.close();
        node.disk.restore(&path)?;
        self.held.insert(name, held);
        node.open().map(|()| true)
    }

    fn copy(&mut self, name: u64, new: u64) -> Result<bool, Failure> {
        let there = self
            .nodes
            .get(&name)
            .filter(|node| !node.peer && node.running.is_some());
        let (Some(node), Some(folders)) = (there, &self.folders) else {
            return Ok(false);
        };
        if self.nodes.contains_key(&new) {
            return Ok(false);
        }
        let known = node.known().expect("it runs");
        let key = self.key(name);
        // A copy of whoever orders, or may come to: its commits and the original's would contradict each other.
        let orders = |operation: &rhizome::identity::Operation| matches!(operation.body(), rhizome::identity::Body::ChangeOrderers { orderers, .. } if orderers.contains(&key));
        let mut states = self.nodes.values().filter_map(Node::known);
        let is_orderer =
            states.any(|known| known.ordered.orderers().contains(&key) || known.pending.iter().any(orders));
        if is_orderer && !self.schedule.may_split {
            return Ok(false);
        }
        let path = folders.path().join(format!("n{new}"));
        if !self.may_rewind(name, known.ordered.count(), false) {
            return Ok(false);
        }
        let node = &self.nodes[&name];
        node.disk.save(&path)?;
        let mut twin = Node {
            peer: false,
            keys: node.keys.clone(),
            disk: Disk::folder(path)?,
            running: None,
            wall: std::sync::Arc::new(node.wall.load(Ordering::Relaxed).into()),
            random: random_of(self.schedule.seed, "node", new),
            away: false,
            knew: None,
        };
        twin.open()?;
        let held = self.held[&name].clone();
        self.add(new, twin);
        self.held.insert(new, held);
        Ok(true)
    }

    /// A cloud peer's database is gone, its keys are not; a device links it again.
    fn wipe(&mut self, name: u64, by: u64) -> Result<bool, Failure> {
        let is_peer = self.nodes.get(&name).is_some_and(|node| node.peer);
        let known = self.device(by).and_then(|device| device.known());
        let Some(known) = known.filter(|_| is_peer) else {
            return Ok(false);
        };
        let key = self.key(name);
        if !known.tentative.peers().contains_key(&key) || !self.may_rewind(name, known.ordered.count(), false) {
            return Ok(false);
        }
        self.drop_links(name, true);
        let disk = self.new_disk(&format!("n{name}w{}", self.rewound[&key]))?;
        let node = self.nodes.get_mut(&name).expect("asked above");
        node.close();
        let millis = node.wall.load(Ordering::Relaxed);
        let random = std::mem::replace(&mut node.random, SeededRandom::new(0));
        let (keys, away) = (node.keys.clone(), node.away);
        let log = (known.log.clone(), known.pending.clone());
        *node = Node::join(random, keys, true, disk, log, millis)?;
        node.away = away;
        self.held.insert(name, Held::default());
        Ok(true)
    }

    fn set_quota(&mut self, name: u64, entries: u64, bytes: u64) -> Result<bool, Failure> {
        let Some(node) = self.running(name).filter(|node| node.peer) else {
            return Ok(false);
        };
        let running = node.running().expect("it runs");
        let limit = |number: u64| (number > 0).then_some(number);
        let quota = Quota {
            bytes: limit(bytes),
            entries: limit(entries),
        };
        let identity = running.replica.identity();
        running
            .store
            .write(move |write| write.set_quota(&identity, quota))
            .wait()
            .map_err(broken("a quota that cannot be set"))?;
        Ok(true)
    }

    /// Ends every trouble: all run, are reached, and have room.
    pub fn end_troubles(&mut self) -> Result<(), Failure> {
        self.links.clear();
        let names: Vec<u64> = self.nodes.keys().copied().collect();
        for name in names {
            let node = self.nodes.get_mut(&name).expect("named above");
            node.away = false;
            if node.running.is_none() {
                node.open()?;
            }
            self.set_quota(name, 0, 0)?;
            self.look_at_disk(name)?;
        }
        Ok(())
    }
}
