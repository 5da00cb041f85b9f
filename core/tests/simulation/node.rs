//! A device or cloud peer: what its process holds, and what it does by itself. It does with replicas, documents and clocks what a pod does
//! with them, in one thread and with randomness and time that the schedule gives.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rhizome::{
    Document, DocumentId, Event, Value,
    crypto::{DeviceKeys, DeviceSecret, Hash, Random, SeededRandom},
    document::{self, Documents},
    identity::{Commit, KeyRing, Keys, Operation, Proposer, StreamId, streams},
    log::{AuthorId, Clock, DocumentChange, SessionId, Start, Writer, make_entry, open_entry},
    path,
    store::{LogStore, StoreError},
    sync::{Known, Limits, Replica, WallClock},
};

use super::{
    disk::{Disk, ViewsFate},
    failure::{Failure, broken},
    model::{Changed, Written},
};

/// The labels of streams, which are the names of collections too. An identity begins with the first two.
pub const LABELS: [&str; 4] = ["journal", "other", "atlas", "notes"];

pub struct Node {
    pub peer: bool,
    pub keys: DeviceKeys,
    pub disk: Disk,
    /// `None` while it is suspended.
    pub running: Option<Running>,
    pub wall: Arc<AtomicU64>,
    pub random: SeededRandom,
    /// Nobody reaches it.
    pub away: bool,
    /// What it knew of the identity when it was closed.
    pub knew: Option<Arc<Known>>,
}

/// What is in memory while the process runs.
pub struct Running {
    pub store: LogStore,
    pub replica: Arc<Replica>,
    /// A cloud peer has none.
    pub documents: Option<Arc<Documents>>,
    clock: Clock,
    ring: (Arc<Known>, Arc<KeyRing>),
    /// The Automerge session of each document that was edited since the process began: author log, session, last change.
    sessions: BTreeMap<DocumentId, (AuthorId, SessionId, [u8; 32])>,
    named_heads: BTreeMap<AuthorId, Hash>,
}

/// One edit of a document.
#[derive(Debug, Clone, Copy)]
pub struct EditOf {
    pub document: DocumentId,
    /// What is done, by number.
    pub what: u64,
    /// Stands for this edit and no other.
    pub token: u64,
}

fn wall_clock(wall: &Arc<AtomicU64>) -> WallClock {
    let wall = wall.clone();
    Arc::new(move || wall.load(Ordering::Relaxed))
}

impl Node {
    /// A new device or peer that keeps the identity log it was given.
    pub fn join(
        mut random: SeededRandom,
        keys: DeviceKeys,
        peer: bool,
        mut disk: Disk,
        log: (Vec<(Commit, Operation)>, Vec<Operation>),
        millis: u64,
    ) -> Result<Self, Failure> {
        let wall = Arc::new(AtomicU64::new(millis));
        disk.make(&mut random, log, keys.signing.clone(), wall_clock(&wall))?;
        let mut node = Self {
            peer,
            keys,
            disk,
            running: None,
            wall,
            random,
            away: false,
            knew: None,
        };
        node.open()?;
        Ok(node)
    }

    /// Opens the files, as a process does that begins.
    pub fn open(&mut self) -> Result<(), Failure> {
        let (store, identity) = self.disk.open_log(&mut self.random)?;
        let signing = self.keys.signing.clone();
        let replica = Replica::load(
            store.clone(),
            identity,
            signing,
            wall_clock(&self.wall),
            Limits::default(),
        );
        let replica = Arc::new(replica.map_err(broken("a replica that cannot be loaded"))?);
        let documents = match self.peer {
            true => None,
            false => Some(self.disk.open_views(&store, identity, &self.keys)?),
        };
        let known = replica.known();
        let ring = Arc::new(known.key_ring(&self.keys));
        let mut running = Running {
            store,
            replica,
            documents,
            clock: Clock::default(),
            ring: (known, ring),
            sessions: BTreeMap::new(),
            named_heads: BTreeMap::new(),
        };
        running.read_clock()?;
        running
            .replica
            .commit_pending()
            .map_err(broken("what waited cannot be committed"))?;
        self.running = Some(running);
        self.fold()
    }

    /// Lets go of everything, at a durable point.
    pub fn close(&mut self) {
        if let Some(running) = self.running.take() {
            self.knew = Some(running.replica.known());
            self.disk.close(&running);
        }
    }

    /// What it knows of the identity, or knew when it was closed.
    pub fn known(&self) -> Option<Arc<Known>> {
        let now = self.running.as_ref().map(|running| running.replica.known());
        now.or_else(|| self.knew.clone())
    }

    /// The process is gone between two instructions; another begins on what was on the disk.
    pub fn kill(&mut self, views: ViewsFate) -> Result<(), Failure> {
        if let Some(running) = self.running.take() {
            self.disk.kill(&running, views)?;
        }
        self.open()
    }

    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    fn now(&self) -> u64 {
        self.wall.load(Ordering::Relaxed)
    }

    /// The keys that this device can reach now.
    pub fn ring(&mut self) -> Arc<KeyRing> {
        let running = self.running.as_mut().expect("only a running node is asked");
        let known = running.replica.known();
        if !Arc::ptr_eq(&running.ring.0, &known) {
            running.ring = (known.clone(), Arc::new(known.key_ring(&self.keys)));
        }
        running.ring.1.clone()
    }

    /// Brings the views up to the log.
    pub fn fold(&mut self) -> Result<(), Failure> {
        let (ring, now) = (self.ring(), self.now());
        let running = self.running.as_mut().expect("only a running node folds");
        let Some(documents) = &running.documents else {
            return Ok(());
        };
        let how = document::Fold {
            horizon: Clock::horizon(now),
            ..document::Fold::default()
        };
        let folded = documents
            .fold_some(|| ring.clone(), &how)
            .map_err(broken("a fold that fails"))?;
        running.clock.observe(folded.latest, now);
        if folded.unreadable > 0 {
            return Err(Failure::new("unreadable", "honest devices write nothing unreadable"));
        }
        Ok(())
    }

    /// What a device needs to propose; `None` if it has no identity key yet.
    pub fn propose<R>(
        &mut self,
        make: impl FnOnce(&mut SeededRandom, &Proposer<'_>, &Known) -> R,
    ) -> Option<(R, Arc<Replica>)> {
        let ring = self.ring();
        let replica = self.running()?.replica.clone();
        let known = replica.known();
        let mut by = Proposer::of(&known.tentative, &ring, &self.keys.signing)?;
        by.seen = known.ordered.head();
        Some((make(&mut self.random, &by, &known), replica))
    }

    /// The stream for a label. A new one is proposed if there is none.
    fn stream(&mut self, label: &str) -> Result<Option<StreamId>, Failure> {
        if let Some((stream, _)) = self.ring().stream(label) {
            return Ok(Some(stream));
        }
        let proposed = self.propose(|random, by, _| streams(random, by, &[label]));
        let Some((operation, replica)) = proposed else {
            return Ok(None);
        };
        replica
            .take_operation(operation)
            .map_err(broken("a stream that cannot be proposed"))?;
        Ok(self.ring().stream(label).map(|(stream, _)| stream))
    }

    /// The author log that this device writes in `stream`.
    fn own_author(&mut self, stream: StreamId) -> Result<AuthorId, Failure> {
        let running = self.running.as_ref().expect("only a running node writes");
        let own = running.store.read(|read| read.own_log(&stream));
        if let Some(own) = own.map_err(broken("a log that cannot be read"))? {
            return Ok(own.author);
        }
        let identity = running.replica.identity();
        let start = Start::make(&mut self.random, &self.keys.signing, stream, identity, identity);
        let author = start.id();
        running
            .store
            .write(move |write| write.add_author(&start, true))
            .wait()
            .map_err(broken("an author log that cannot begin"))?;
        Ok(author)
    }

    /// Seals and appends one entry; durable when it returns.
    fn append_sections(
        &mut self,
        stream: StreamId,
        label: &'static str,
        author: AuthorId,
        sections: Vec<Vec<Event>>,
    ) -> Result<Written, Failure> {
        let (ring, now) = (self.ring(), self.now());
        let epoch = ring.streams()[&stream].current;
        let running = self.running.as_mut().expect("only a running node writes");
        let own = running.store.read(|read| read.own_log(&stream));
        let own = own
            .map_err(broken("a log that cannot be read"))?
            .expect("an author log that was there a moment ago");
        let time = running.clock.tick(now);
        let commit = running.replica.known().ordered.head();
        let writer = Writer {
            signing: &self.keys.signing,
            author,
            after: own.head,
            epoch,
            key: ring.epoch(&epoch).expect("the current epoch of a stream that is known"),
            head: commit.filter(|commit| running.named_heads.get(&author) != Some(commit)),
        };
        let entry = make_entry(&mut self.random, &writer, time, &sections).map_err(broken("an entry too large"))?;
        let position = entry.position();
        running
            .store
            .write(move |write| write.append_own(&entry))
            .wait()
            .map_err(broken("an append that fails"))?;
        running.named_heads.extend(commit.map(|commit| (author, commit)));
        running.store.announce(running.replica.identity());
        Ok(Written {
            author,
            position,
            link: own.head.hash,
            label,
            epoch,
            time,
            payloads: Vec::new(),
            changes: Vec::new(),
        })
    }

    /// Appends events as one entry.
    pub fn append(&mut self, label: &'static str, payloads: Vec<Vec<u8>>) -> Result<Option<Written>, Failure> {
        let Some(stream) = self.stream(label)? else {
            return Ok(None);
        };
        let author = self.own_author(stream)?;
        let event = |payload: &Vec<u8>| Event::App {
            kind: "event".into(),
            payload: payload.clone(),
        };
        let events = payloads.iter().map(event).collect();
        let written = self.append_sections(stream, label, author, vec![events])?;
        Ok(Some(Written { payloads, ..written }))
    }

    /// Edits documents in one entry; none if one of them is deleted, as far as is known here.
    pub fn edit(&mut self, collection: &'static str, edits: &[EditOf]) -> Result<Option<Written>, Failure> {
        if edits.iter().any(|edit| self.is_erased(&edit.document)) {
            return Ok(None);
        }
        let Some(stream) = self.stream(collection)? else {
            return Ok(None);
        };
        let author = self.own_author(stream)?;
        let mut sections = Vec::new();
        let mut changes = Vec::new();
        for edit in edits {
            let (session, changed) = self.edit_one(author, collection, edit)?;
            sections.push(vec![Event::Document(DocumentChange {
                collection: collection.to_owned(),
                document: edit.document,
                session,
                changes: changed.iter().map(|changed| changed.bytes.clone()).collect(),
            })]);
            let last = changed.last().expect("every edit changes something").hash;
            let running = self.running.as_mut().expect("only a running node writes");
            running.sessions.insert(edit.document, (author, session, last));
            changes.extend(changed);
        }
        let written = self.append_sections(stream, collection, author, sections)?;
        self.fold()?;
        Ok(Some(Written { changes, ..written }))
    }

    fn edit_one(
        &mut self,
        author: AuthorId,
        collection: &'static str,
        edit: &EditOf,
    ) -> Result<(SessionId, Vec<Changed>), Failure> {
        let running = self.running.as_ref().expect("only a running node writes");
        let documents = running.documents.clone().expect("only devices write");
        // Views that turn out to be damaged are dropped: like a pod, fold them again and ask again.
        if let Err(StoreError::Damaged { file: "views.db", .. }) = documents.get(&edit.document) {
            self.fold()?;
        }
        let running = self.running.as_ref().expect("only a running node writes");
        let open = |session: SessionId| {
            let actor = DocumentChange::actor(&author, &edit.document, &session);
            let opened = documents
                .open(&edit.document, &actor)
                .map_err(broken("a document that does not open"))?;
            Ok(opened.map_or_else(|| Document::new(&actor), |(_, opened)| opened))
        };
        let random: &mut dyn Random = &mut self.random;
        let known = running.sessions.get(&edit.document).filter(|known| known.0 == author);
        let (session, mut opened) = match known {
            // Views that are behind lack what the session wrote: it must not number its changes again.
            Some((_, session, last)) => match open(*session)? {
                opened if opened.contains(last) => (*session, opened),
                _ => {
                    let session = SessionId(random.bytes());
                    (session, open(session)?)
                }
            },
            None => {
                let session = SessionId(random.bytes());
                (session, open(session)?)
            }
        };
        let before = match opened.value() {
            Value::Map(map) => map,
            _ => BTreeMap::new(),
        };
        let effect = Effect::of(edit, &before);
        let ((), changes) = opened
            .edit::<(), rhizome::DocumentError>(|scope| effect.apply(scope))
            .map_err(broken("an edit that fails"))?;
        let changed = changes.into_iter().map(|bytes| {
            let info = document::inspect(&bytes, document::Limits::default()).map_err(broken("our own change"))?;
            Ok(Changed {
                document: edit.document,
                collection,
                hash: info.hash,
                needs: info.dependencies,
                bytes,
                adds: effect.adds.clone(),
                removes: effect.removes.clone(),
                creates: effect.creates,
            })
        });
        Ok((session, changed.collect::<Result<_, Failure>>()?))
    }
}

/// What an edit does to a document that shows `before`.
struct Effect {
    what: u64,
    token: u64,
    creates: bool,
    adds: Option<String>,
    removes: Option<String>,
}

impl Effect {
    fn of(edit: &EditOf, before: &BTreeMap<String, Value>) -> Self {
        let creates = !before.contains_key("text");
        let shown: BTreeSet<&String> = before.keys().filter(|name| name.starts_with('#')).collect();
        let removes = shown
            .first()
            .filter(|_| edit.what == 2 && !creates)
            .map(|name| (*name).clone());
        Self {
            what: edit.what,
            token: edit.token,
            creates,
            adds: removes.is_none().then(|| format!("#{}", edit.token)),
            removes,
        }
    }

    fn apply(&self, scope: &mut rhizome::Edit<'_>) -> Result<(), rhizome::DocumentError> {
        let mark = format!("<{}>", self.token);
        let date = Value::Date((self.token * 7_919 % 1_000) as i64);
        if self.creates {
            scope.set(&path(["date"]), date.clone())?;
            scope.set(&path(["title"]), Value::String(mark.clone()))?;
            scope.set_text(&path(["text"]), "")?;
            scope.set(&path(["count"]), Value::Counter(0))?;
            scope.set(&path(["list"]), Value::List(Vec::new()))?;
        }
        if let Some(removed) = &self.removes {
            return scope.delete(&path([removed]));
        }
        if let Some(added) = &self.adds {
            scope.set(&path([added]), Value::Bool(true))?;
        }
        // Every edit counts itself, so that a lost one shows.
        scope.splice_text(&path(["text"]), 0, 0, &mark)?;
        scope.increment(&path(["count"]), 1)?;
        scope.insert(&path(["list"]), 0, Value::Int(self.token as i64))?;
        if self.what == 1 {
            scope.set(&path(["date"]), date)?;
            scope.set(&path(["title"]), Value::String(mark))?;
        }
        Ok(())
    }
}

impl Running {
    /// Continues the clock after what it had seen, and after the last entry of each own author log.
    fn read_clock(&mut self) -> Result<(), Failure> {
        let Some(documents) = &self.documents else {
            return Ok(());
        };
        let latest = documents.latest().map_err(broken("views that cannot be read"))?;
        self.clock.observe(latest, latest.millis());
        for stream in self.ring.1.streams().keys() {
            let last = self.store.read(|read| {
                let Some(own) = read.own_log(stream)? else {
                    return Ok(Vec::new());
                };
                read.entries_after(&own.author, 0, own.head.seq.saturating_sub(1), 1, 0)
            });
            for entry in &last.map_err(broken("a log that cannot be read"))? {
                let key = self.ring.1.epoch(&entry.entry().epoch);
                for content in key.and_then(|key| open_entry(entry, key).ok()).unwrap_or_default() {
                    self.clock.observe(content.time, content.time.millis());
                }
            }
        }
        Ok(())
    }
}

/// The keys of a node of a schedule.
pub fn keys_of(seed: u64, name: u64) -> DeviceKeys {
    DeviceSecret::make(&mut random_of(seed, "keys", name)).keys()
}

/// Randomness that depends on the schedule's seed and a name, so that leaving out one step changes nothing for the others.
pub fn random_of(seed: u64, what: &str, name: u64) -> SeededRandom {
    let bytes = Hash::plain(format!("{seed} {what} {name}").as_bytes()).0;
    SeededRandom::new(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes of 32")))
}

/// The public keys of a node.
pub fn public(keys: &DeviceKeys) -> Keys {
    Keys::of(keys)
}
