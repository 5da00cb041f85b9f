//! Devices and a cloud peer in simulated time, from a seed: connections that break anywhere, messages that come twice or out of
//! order, partitions, crashes, clocks of 1970 and 9999, devices linked while the orderer is away. In the end all converge to
//! identical documents, and nothing that was acknowledged is missing.
//!
//! `RHIZOME_SIM_SCHEDULES=n` runs more schedules, `RHIZOME_SIM_SEED=s` replays one.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::replicas::begin;
use rhizome::{
    Document, DocumentId, Event, Value,
    crypto::{DeviceKeys, DeviceSecret, PublicKey, Random, SeededRandom},
    document::Documents,
    identity::{
        Commit, IdentityId, KeyRing, Keys, Operation, Proposer, add_device, add_peer, change_orderers, consent,
    },
    log::{Clock, DocumentChange, SessionId, Start, Time, Writer, make_entry, open_entry},
    path,
    store::{LogStore, Views},
    sync::{Known, Limits, Message, Outcome, Replica, Session, WallClock},
};

const SCHEDULES: u64 = 2_000;
const DOCUMENTS: usize = 3;

/// A number below `below`.
fn pick(random: &mut SeededRandom, below: u64) -> u64 {
    let random: &mut dyn Random = random;
    u64::from_le_bytes(random.bytes()) % below
}

struct Node {
    keys: DeviceKeys,
    store: LogStore,
    replica: Arc<Replica>,
    documents: Option<Documents>,
    clock: Clock,
    wall: Arc<AtomicU64>,
    random: SeededRandom,
    sessions: BTreeMap<DocumentId, SessionId>,
    /// The keys, as long as the identity log stays what it was.
    ring: Option<(Arc<Known>, Arc<KeyRing>)>,
    /// Every change that this device was told is durable.
    acknowledged: Vec<(DocumentId, String)>,
}

/// One connection: a session on each side, and what is on the way.
struct Link {
    ends: [usize; 2],
    sessions: [Session; 2],
    /// `on_the_way[i]` is what goes to end `i`.
    on_the_way: [VecDeque<Message>; 2],
}

struct World {
    random: SeededRandom,
    nodes: Vec<Node>,
    /// Which of them is the cloud peer, once there is one.
    cloud: Option<usize>,
    links: Vec<Link>,
    partition: Option<usize>,
    token: u64,
    documents: Vec<DocumentId>,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    writes: u64,
    sessions: u64,
    broken: u64,
    twisted: u64,
    crashes: u64,
    linked: u64,
}

fn wall_clock(wall: &Arc<AtomicU64>) -> WallClock {
    let wall = wall.clone();
    Arc::new(move || wall.load(Ordering::Relaxed))
}

/// A clock that is right, a little off, of 1970 or of 9999.
fn skewed(random: &mut SeededRandom) -> u64 {
    const NOW: u64 = 1_790_000_000_000;
    match pick(random, 6) {
        0 => 0,
        1 => 253_402_300_000_000,
        2 => NOW - 3_600_000,
        _ => NOW + pick(random, 10_000),
    }
}

fn new_keys(random: &mut SeededRandom) -> DeviceKeys {
    DeviceSecret::make(random).keys()
}

impl Node {
    fn new(
        random: &mut SeededRandom,
        keys: DeviceKeys,
        log: Vec<(Commit, Operation)>,
        pending: Vec<Operation>,
        peer: bool,
    ) -> Self {
        let wall = Arc::new(AtomicU64::new(skewed(random)));
        let mut own_random = SeededRandom::new(pick(random, u64::MAX));
        let store = LogStore::in_memory(&mut own_random).unwrap();
        let signing = keys.signing.clone();
        let replica = Replica::adopt(
            store.clone(),
            log,
            pending,
            signing,
            wall_clock(&wall),
            Limits::default(),
        )
        .unwrap();
        let replica = Arc::new(replica);
        let documents = (!peer).then(|| Documents::new(store.clone(), Views::in_memory().unwrap(), replica.identity()));
        Self {
            keys,
            store,
            replica,
            documents,
            clock: Clock::default(),
            wall,
            random: own_random,
            sessions: BTreeMap::new(),
            ring: None,
            acknowledged: Vec::new(),
        }
    }

    fn ring(&mut self) -> Arc<KeyRing> {
        let known = self.replica.known();
        match &self.ring {
            Some((of, ring)) if Arc::ptr_eq(of, &known) => ring.clone(),
            _ => {
                let ring = Arc::new(known.key_ring(&self.keys));
                self.ring = Some((known, ring.clone()));
                ring
            }
        }
    }

    fn fold(&mut self) {
        let ring = self.ring();
        if let Some(documents) = &self.documents {
            let folded = documents.fold(&ring).unwrap();
            assert_eq!(folded.unreadable, 0, "honest devices write nothing unreadable");
            self.clock.observe(folded.latest, self.wall.load(Ordering::Relaxed));
        }
    }

    /// Everything in memory is gone; what was durable is there.
    fn crash(&mut self, drop_views: bool) {
        let identity = self.replica.identity();
        let signing = self.keys.signing.clone();
        let replica = Replica::load(
            self.store.clone(),
            identity,
            signing,
            wall_clock(&self.wall),
            Limits::default(),
        )
        .unwrap();
        self.replica = Arc::new(replica);
        self.sessions.clear();
        if drop_views && self.documents.is_some() {
            self.documents = Some(Documents::new(
                self.store.clone(),
                Views::in_memory().unwrap(),
                identity,
            ));
        }
        self.clock = Clock::after(self.last_own_time());
        self.replica.commit_pending().unwrap();
        self.fold();
    }

    fn last_own_time(&mut self) -> Time {
        let ring = self.ring();
        let Some((stream, _)) = ring.stream("journal") else {
            return Time::default();
        };
        let Some(own) = self.store.read(|read| read.own_log(&stream)).unwrap() else {
            return Time::default();
        };
        let last = self
            .store
            .read(|read| read.entries_after(&own.author, 0, own.head.seq - 1, 1, 0))
            .unwrap();
        let contents = last
            .iter()
            .flat_map(|entry| open_entry(entry, ring.epoch(&entry.entry().epoch).unwrap()).unwrap());
        contents.map(|content| content.time).max().unwrap_or_default()
    }

    /// One edit, durable when it returns: a token into a list and a text of a document.
    fn write(&mut self, document: DocumentId, token: &str) {
        let ring = self.ring();
        let (stream, info) = ring.stream("journal").unwrap();
        let identity = self.replica.identity();
        let own = match self.store.read(|read| read.own_log(&stream)).unwrap() {
            Some(own) => own,
            None => {
                let start = Start::make(&mut self.random, &self.keys.signing, stream, identity, identity);
                self.store
                    .write(move |write| write.add_author(&start, true))
                    .wait()
                    .unwrap();
                self.store.read(|read| read.own_log(&stream)).unwrap().unwrap()
            }
        };
        let random: &mut dyn Random = &mut self.random;
        let session = *self
            .sessions
            .entry(document)
            .or_insert_with(|| SessionId(random.bytes()));
        let actor = DocumentChange::actor(&own.author, &document, &session);
        let documents = self.documents.as_ref().unwrap();
        let mut opened = documents
            .open(&document, &actor)
            .unwrap()
            .map_or_else(|| Document::new(&actor), |(_, document)| document);
        let known: BTreeSet<String> = match opened.value() {
            Value::Map(map) => map.keys().cloned().collect(),
            _ => BTreeSet::new(),
        };
        let ((), changes) = opened
            .edit::<(), rhizome::DocumentError>(|edit| {
                edit.set(&path([&format!("token {token}")]), Value::Date(known.len() as i64))?;
                if known.contains("text") {
                    edit.splice_text(&path(["text"]), 0, 0, token)?;
                    edit.increment(&path(["count"]), 1)
                } else {
                    edit.set_text(&path(["text"]), token)?;
                    edit.set(&path(["count"]), Value::Counter(1))
                }
            })
            .unwrap();
        let change = DocumentChange {
            collection: "journal".into(),
            document,
            session,
            changes,
        };
        let time = self.clock.tick(self.wall.load(Ordering::Relaxed));
        let writer = Writer {
            signing: &self.keys.signing,
            author: own.author,
            after: own.head,
            epoch: info.current,
            key: ring.epoch(&info.current).unwrap(),
            head: self.replica.known().ordered.head(),
        };
        let entry = make_entry(&mut self.random, &writer, time, &[vec![Event::Document(change)]]).unwrap();
        self.store.write(move |write| write.append_own(&entry)).wait().unwrap();
        self.acknowledged.push((document, token.to_owned()));
        self.fold();
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let keys = new_keys(&mut random);
        let log = begin(&mut random, &keys);
        let first = Node::new(&mut random, keys, log, Vec::new(), false);
        let documents = (0..DOCUMENTS)
            .map(|_| DocumentId((&mut random as &mut dyn Random).bytes()))
            .collect();
        Self {
            random,
            nodes: vec![first],
            cloud: None,
            links: Vec::new(),
            partition: None,
            token: 0,
            documents,
            totals: Totals::default(),
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        usize::try_from(pick(&mut self.random, below as u64)).unwrap()
    }

    fn identity(&self) -> IdentityId {
        self.nodes[0].replica.identity()
    }

    /// A member lets a newcomer in, wherever the orderer is.
    fn link_newcomer(&mut self, peer: bool) {
        let member = self.pick(self.nodes.len());
        if Some(member) == self.cloud {
            return;
        }
        let keys = new_keys(&mut self.random);
        let public = Keys::of(&keys);
        let consent = consent(&keys.signing, &self.identity(), &public, peer);
        let node = &mut self.nodes[member];
        let known = node.replica.known();
        let ring = known.key_ring(&node.keys);
        let by = Proposer {
            identity: node.replica.identity(),
            binding: known.ordered.binding(),
            seen: known.ordered.head(),
            signing: &node.keys.signing,
            identity_key: ring.identity_key(&known.ordered.key_id()).unwrap(),
        };
        if peer {
            let operation = add_peer(&mut node.random, &by, public, consent, Vec::new(), "cloud");
            node.replica.take_operation(operation).unwrap();
            let change = change_orderers(&mut node.random, &by, known.ordered.term() + 1, vec![public.0]);
            node.replica.take_operation(change).unwrap();
        } else {
            let operation = add_device(&mut node.random, &by, public, consent, "another").unwrap();
            node.replica.take_operation(operation).unwrap();
        }
        let known = node.replica.known();
        let newcomer = Node::new(&mut self.random, keys, known.log.clone(), known.pending.clone(), peer);
        if peer {
            self.cloud = Some(self.nodes.len());
        }
        self.nodes.push(newcomer);
        self.totals.linked += 1;
    }

    fn can_meet(&self, a: usize, b: usize) -> bool {
        a != b && self.partition.is_none_or(|alone| a != alone && b != alone)
    }

    fn connect(&mut self, a: usize, b: usize) {
        self.totals.sessions += 1;
        let remote: PublicKey = self.nodes[b].replica.signer();
        // The dialler knows whom it dials from its own log, or does not dial.
        let known = self.nodes[a].replica.known();
        if !known.tentative.devices().contains_key(&remote) && !known.tentative.peers().contains_key(&remote) {
            return;
        }
        let dialler = Session::dial(&self.nodes[a].replica, remote).unwrap();
        let listener = Session::listen(Keys::of(&self.nodes[a].keys).2);
        self.links.push(Link {
            ends: [a, b],
            sessions: [dialler, listener],
            on_the_way: Default::default(),
        });
    }

    /// One thing happens on one connection.
    fn step_link(&mut self, which: usize, faults: bool) {
        let side = self.pick(2);
        let twist = if faults { self.pick(40) } else { 39 };
        let link = &mut self.links[which];
        let node = &self.nodes[link.ends[side]];
        let queue = &mut link.on_the_way[side];
        let mut failed = false;
        if twist == 0 && !queue.is_empty() {
            // Twice.
            let again = queue[0].clone();
            queue.push_front(again);
            self.totals.twisted += 1;
        } else if twist == 1 && queue.len() > 1 {
            // Out of order.
            queue.swap(0, 1);
            self.totals.twisted += 1;
        }
        if let Some(message) = queue.pop_front() {
            failed |= link.sessions[side].receive(message, &node.replica).is_err();
        }
        if !failed {
            match link.sessions[side].next(&node.replica) {
                Ok(Some(message)) => {
                    // Through the bytes and back, as on a wire.
                    let frame = message.to_frame();
                    link.on_the_way[1 - side].push_back(Message::decode(&frame[4..]).unwrap());
                }
                Ok(None) => {}
                Err(_) => failed = true,
            }
        }
        let end = link.ends[side];
        // An application folds when it can, not at every message.
        if self.pick(8) == 0 {
            self.nodes[end].fold();
        }
        // What came may concern other connections of the same node.
        for link in &mut self.links {
            for side in 0..2 {
                if link.ends[side] == end {
                    link.sessions[side].local_change(&self.nodes[end].replica).unwrap();
                }
            }
        }
        if failed || (faults && self.pick(30) == 0) {
            self.totals.broken += 1;
            self.links.swap_remove(which);
        }
    }

    fn act(&mut self) {
        match self.pick(100) {
            0..=24 => {
                let node = self.pick(self.nodes.len());
                if Some(node) == self.cloud {
                    return;
                }
                self.token += 1;
                let token = format!("<{}>", self.token);
                let document = self.documents[self.token as usize % DOCUMENTS];
                self.nodes[node].write(document, &token);
                self.totals.writes += 1;
                for link in &mut self.links {
                    for side in 0..2 {
                        if link.ends[side] == node {
                            link.sessions[side].local_change(&self.nodes[node].replica).unwrap();
                        }
                    }
                }
            }
            25..=39 if self.links.len() < 4 && self.nodes.len() > 1 => {
                let (a, b) = (self.pick(self.nodes.len()), self.pick(self.nodes.len()));
                if self.can_meet(a, b) {
                    self.connect(a, b);
                }
            }
            40..=41 if self.nodes.len() < 4 => self.link_newcomer(false),
            42 if self.cloud.is_none() => self.link_newcomer(true),
            43 => {
                self.partition = if self.partition.is_some() {
                    None
                } else {
                    Some(self.pick(self.nodes.len()))
                };
                if let Some(alone) = self.partition {
                    self.links.retain(|link| !link.ends.contains(&alone));
                }
            }
            44..=45 => {
                let node = self.pick(self.nodes.len());
                self.links.retain(|link| !link.ends.contains(&node));
                let drop_views = self.pick(3) == 0;
                self.nodes[node].crash(drop_views);
                self.totals.crashes += 1;
            }
            46 => {
                let node = self.pick(self.nodes.len());
                let time = skewed(&mut self.random);
                self.nodes[node].wall.store(time, Ordering::Relaxed);
            }
            _ => {
                if !self.links.is_empty() {
                    let which = self.pick(self.links.len());
                    self.step_link(which, true);
                }
            }
        }
    }

    /// Lets every pair meet until nothing moves any more.
    fn settle(&mut self) {
        self.partition = None;
        self.links.clear();
        for round in 0.. {
            assert!(round < 12, "they do not converge");
            let mut moved = false;
            for a in 0..self.nodes.len() {
                for b in 0..self.nodes.len() {
                    if a != b {
                        self.connect(a, b);
                        moved |= self.run_to_end();
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn run_to_end(&mut self) -> bool {
        let Some(mut link) = self.links.pop() else { return false };
        let mut idle = 0;
        let mut steps = 0;
        while idle < 2 {
            steps += 1;
            assert!(steps < 100_000, "a session that never ends");
            let side = steps % 2;
            let node = &self.nodes[link.ends[side]];
            let mut busy = false;
            if let Some(message) = link.on_the_way[side].pop_front() {
                link.sessions[side].receive(message, &node.replica).unwrap();
                busy = true;
            }
            if let Some(message) = link.sessions[side].next(&node.replica).unwrap() {
                link.on_the_way[1 - side].push_back(message);
                busy = true;
            }
            idle = if busy { 0 } else { idle + 1 };
        }
        for side in 0..2 {
            assert!(
                link.sessions[side].is_synced(),
                "an end of a session that is not at its end"
            );
            self.nodes[link.ends[side]].fold();
        }
        let moved = |outcome: &Outcome| outcome.sent + outcome.received > 0;
        moved(link.sessions[0].outcome()) || moved(link.sessions[1].outcome())
    }

    fn check(&self) {
        let (_, _, digest) = self.nodes[0].replica.state().unwrap();
        let first = self.nodes[0].documents.as_ref().unwrap();
        for (place, node) in self.nodes.iter().enumerate() {
            assert_eq!(
                node.replica.state().unwrap().2,
                digest,
                "node {place} holds something else"
            );
            assert!(
                node.replica.known().pending.is_empty(),
                "node {place} has operations that nobody ordered"
            );
            let alarms = node.store.read(|read| read.alarms()).unwrap();
            assert!(alarms.is_empty(), "node {place}: {alarms:?}");
            let Some(documents) = &node.documents else { continue };
            assert_eq!(documents.waiting().unwrap(), 0);
            for document in &self.documents {
                let value = documents.get(document).unwrap();
                assert_eq!(value, first.get(document).unwrap(), "node {place} shows something else");
            }
            for (document, token) in self.nodes.iter().flat_map(|node| &node.acknowledged) {
                let Some(Value::Map(map)) = documents.get(document).unwrap() else {
                    panic!("a document is missing")
                };
                assert!(map.contains_key(&format!("token {token}")), "node {place} lost {token}");
            }
        }
    }
}

fn run(seed: u64) -> Totals {
    let mut world = World::new(seed);
    // Some schedules begin with everybody linked, others grow.
    for _ in 0..world.pick(3) {
        world.link_newcomer(false);
    }
    let steps = 60 + world.pick(120);
    for _ in 0..steps {
        world.act();
    }
    world.settle();
    world.check();
    world.totals
}

#[test]
fn devices_converge_whatever_the_network_the_clocks_and_the_crashes_do() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = number("RHIZOME_SIM_SEED") {
        run(seed);
        return;
    }
    let schedules = number("RHIZOME_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let first = number("RHIZOME_SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let totals = std::sync::Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + schedules {
                        return;
                    }
                    let done = std::panic::catch_unwind(|| run(seed));
                    let Ok(done) = done else {
                        eprintln!("FAILED: replay with RHIZOME_SIM_SEED={seed}");
                        next.store(u64::MAX - 1_000, Ordering::Relaxed);
                        panic!("seed {seed}");
                    };
                    let mut totals = totals.lock().unwrap();
                    totals.writes += done.writes;
                    totals.sessions += done.sessions;
                    totals.broken += done.broken;
                    totals.twisted += done.twisted;
                    totals.crashes += done.crashes;
                    totals.linked += done.linked;
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    println!(
        "{schedules} schedules: {} writes, {} devices and peers linked, {} sessions, {} broken, {} messages twice or out of order, \
         {} crashes, 0 lost",
        totals.writes, totals.linked, totals.sessions, totals.broken, totals.twisted, totals.crashes
    );
    assert!(totals.broken > 0 && totals.twisted > 0 && totals.crashes > 0 || schedules < 100);
}
