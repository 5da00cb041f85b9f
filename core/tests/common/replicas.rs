//! Replicas in memory, one step below pods: for tests that hand bytes to each other themselves.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rhizome::{
    Event,
    crypto::{DeviceKeys, DeviceSecret, Random, SeededRandom},
    identity::{Commit, CommitCore, Keys, Operation, Proposer, RecoverySecret, StreamId, add_device, consent, genesis},
    log::{AuthorId, Position, Range, Start, Time, VerifiedEntry, Writer, make_entry},
    store::LogStore,
    sync::{Limits, Outcome, Replica, Session},
};

/// The commit and operation that begin an identity with `keys` as its first device and streams `journal` and `other`.
pub fn begin(random: &mut dyn Random, keys: &DeviceKeys) -> Vec<(Commit, Operation)> {
    let recovery = RecoverySecret::make(random);
    let operation = genesis(random, keys, &recovery, "first", &["journal", "other"]);
    let core = CommitCore {
        identity: operation.identity(),
        index: 0,
        previous: None,
        operation: operation.id(),
        term: 0,
        time: 0,
        orderer: keys.signing.public(),
    };
    vec![(Commit::make(&keys.signing, core), operation)]
}

/// A device with a store in memory.
pub struct Member {
    pub keys: DeviceKeys,
    pub replica: Replica,
    pub random: SeededRandom,
    /// In milliseconds since 1970.
    pub clock: Arc<AtomicU64>,
}

impl Member {
    pub fn new(seed: u64, keys: DeviceKeys, log: Vec<(Commit, Operation)>, pending: Vec<Operation>) -> Self {
        let mut random = SeededRandom::new(seed);
        let store = LogStore::in_memory(&mut random).unwrap();
        let signing = keys.signing.clone();
        let clock = Arc::new(AtomicU64::new(1_000));
        let now = clock.clone();
        let now = Arc::new(move || now.load(Ordering::Relaxed));
        let replica = Replica::adopt(store, log, pending, signing, now, Limits::default()).unwrap();
        Self {
            keys,
            replica,
            random,
            clock,
        }
    }

    /// The first device of a new identity.
    pub fn first(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let keys = DeviceSecret::make(&mut random).keys();
        let log = begin(&mut random, &keys);
        Self::new(seed + 1, keys, log, Vec::new())
    }

    /// Another device of the same identity, with the whole identity log.
    pub fn another(&mut self, seed: u64) -> Self {
        let keys = DeviceSecret::make(&mut SeededRandom::new(seed)).keys();
        let operation = self.add(&keys);
        self.replica.take_operation(operation).unwrap();
        let known = self.replica.known();
        Self::new(seed + 1, keys, known.log.clone(), known.pending.clone())
    }

    /// The operation that adds a device.
    pub fn add(&mut self, keys: &DeviceKeys) -> Operation {
        let public = Keys::of(keys);
        let consent = consent(&keys.signing, &self.replica.identity(), &public, false);
        let known = self.replica.known();
        let ring = known.key_ring(&self.keys);
        let by = Proposer::of(&known.ordered, &ring, &self.keys.signing).unwrap();
        add_device(&mut self.random, &by, public, consent, "another").unwrap()
    }

    pub fn stream(&self, label: &str) -> StreamId {
        self.replica.known().key_ring(&self.keys).stream(label).unwrap().0
    }

    /// A new author log.
    pub fn begin_log(&mut self, stream: StreamId) -> Start {
        let identity = self.replica.identity();
        let start = Start::make(&mut self.random, &self.keys.signing, stream, identity, identity);
        let kept = start.clone();
        self.replica
            .store()
            .write(move |write| write.add_author(&kept, true))
            .wait()
            .unwrap();
        start
    }

    /// An entry after `after`, not stored.
    pub fn make(&mut self, author: AuthorId, after: Position, stream: StreamId, payload: &[u8]) -> VerifiedEntry {
        let ring = self.replica.known().key_ring(&self.keys);
        let epoch = ring.streams()[&stream].current;
        let writer = Writer {
            signing: &self.keys.signing,
            author,
            after,
            epoch,
            key: ring.epoch(&epoch).unwrap(),
            head: self.replica.known().ordered.head(),
        };
        let event = Event::App {
            kind: "test".into(),
            payload: payload.to_vec(),
        };
        make_entry(&mut self.random, &writer, Time::from_millis(1), &[vec![event]]).unwrap()
    }

    /// `count` entries of a new author log, stored, as one range.
    pub fn write(&mut self, label: &str, count: usize) -> Range {
        let stream = self.stream(label);
        let start = self.begin_log(stream);
        let mut after = Position::start(&start.id());
        for n in 0..count {
            let entry = self.make(start.id(), after, stream, format!("entry {n}").as_bytes());
            after = entry.position();
            self.replica
                .store()
                .write(move |write| write.append_own(&entry))
                .wait()
                .unwrap();
        }
        let first = Position::start(&start.id());
        self.replica
            .read(|read| read.range_after(&start.id(), 0, first, 1 << 20))
            .unwrap()
            .unwrap()
    }
}

/// Lets two members talk until both have nothing more to say. Gives what each did.
pub fn converse(dialler: &Member, listener: &Member) -> [Outcome; 2] {
    let mut sessions = [
        Session::dial(&dialler.replica, listener.replica.signer()).unwrap(),
        Session::listen(Keys::of(&dialler.keys).2),
    ];
    let replicas = [&dialler.replica, &listener.replica];
    let mut quiet = 0;
    for turn in 0.. {
        let (from, to) = (turn % 2, 1 - turn % 2);
        match sessions[from].next(replicas[from]).unwrap() {
            Some(message) => {
                sessions[to].receive(message, replicas[to]).unwrap();
                quiet = 0;
            }
            None => quiet += 1,
        }
        if quiet == 2 {
            break;
        }
        assert!(turn < 10_000, "they never end");
    }
    assert!(sessions.iter().all(Session::is_synced));
    sessions.map(|session| session.outcome().clone())
}
