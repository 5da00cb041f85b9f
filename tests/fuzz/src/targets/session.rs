//! Frames, and sessions fed with them.

use rhizome::{
    crypto::Hash,
    identity::{Commit, Keys, Operation},
    log::{Item, Position, Range, Receipt, Section, StoreId},
    sync::{ByeReason, MAX_FRAME, Message, RefuseReason, Replica, Session},
};

use crate::{
    input::{Input, Output},
    memory::note_input,
    targets::identity::{any_commit, propose},
    world::{self, COMMIT, RECEIPT, START, World, world},
};

fn decode(frame: &[u8]) -> Option<Message> {
    let message = Message::decode(frame).ok()?;
    let again = message.to_frame();
    let read = Message::decode(&again[4..]).expect("what was encoded");
    assert_eq!(read, message);
    // A range may leave an epoch id out or not, and nobody reads the features of a hello.
    if !matches!(message, Message::Range(_) | Message::Hello { .. }) {
        assert_eq!(&again[4..], frame, "a message in a second spelling");
    }
    Some(message)
}

/// One frame, after its length.
pub fn frame(data: &[u8]) {
    decode(data);
    drop(Message::decode(data).map(|message| format!("{message:?}")));
}

/// The other side is device 1.
const REMOTE: usize = 1;

struct Talk<'a> {
    replica: &'a Replica,
    session: Session,
    /// Where the other side's own author log has come.
    head: Position,
    /// An operation that was proposed and waits.
    store: StoreId,
}

/// Signs what a frame carries anew, so that it gets past the signatures.
fn sign_all(message: Message) -> Message {
    let again = |bytes: Vec<u8>, kind| world::sign_again(&bytes, kind).unwrap_or(bytes);
    let operation = |bytes: Vec<u8>| world::sign_operation_again(&bytes).unwrap_or(bytes);
    match message {
        Message::Range(mut range) => {
            if let Some(start) = range.start.take() {
                range.start = Some(again(start, START));
                if let Ok(Some(start)) = (Range { ..(*range).clone() }).start() {
                    range.author = start.id();
                }
            }
            let signing = &world().keys[REMOTE].signing;
            world::sign_range(signing, &mut range);
            Message::Range(range)
        }
        Message::Operations(list) => Message::Operations(list.into_iter().map(operation).collect()),
        Message::Commits(list) => Message::Commits(
            list.into_iter()
                .map(|(commit, proposal)| (again(commit, COMMIT), operation(proposal)))
                .collect(),
        ),
        Message::Receipts(list) => Message::Receipts(list.into_iter().map(|bytes| again(bytes, RECEIPT)).collect()),
        Message::Loss(list) => Message::Loss(list.into_iter().map(|bytes| again(bytes, RECEIPT)).collect()),
        other => other,
    }
}

impl<'a> Talk<'a> {
    fn new(replica: &'a Replica, dials: bool) -> Self {
        let session = if dials {
            Session::dial(replica, world().keys[REMOTE].signing.public()).expect("a hello")
        } else {
            Session::listen(Keys::of(&world().keys[REMOTE]).2)
        };
        let mut talk = Self {
            replica,
            session,
            head: Position::start(&world::author(REMOTE)),
            store: StoreId([7; 16]),
        };
        talk.drain();
        talk
    }

    /// Everything there is to say; each must be a frame that another reads.
    fn drain(&mut self) -> bool {
        let mut frames = 0;
        loop {
            match self.session.next(self.replica) {
                Ok(Some(message)) => {
                    let frame = message.to_frame();
                    assert!(frame.len() <= MAX_FRAME + 4);
                    assert_eq!(decode(&frame[4..]), Some(message), "it says what nobody reads");
                    frames += 1;
                    assert!(frames < 2_000, "one message is answered without end");
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn position(&self, input: &mut Input<'_>) -> (rhizome::log::AuthorId, Position) {
        let which = input.byte();
        let author = world::author(usize::from(which & 3));
        if which & 0x80 != 0 {
            let position = Position {
                seq: input.number(),
                hash: Hash([input.byte(); 32]),
            };
            return (author, position);
        }
        let branches = self.replica.read(|read| read.branches(&author)).expect("read");
        let head = branches.last().map_or(Position::start(&author), |branch| branch.head);
        if which & 0x40 != 0 {
            return (author, Position::start(&author));
        }
        (author, head)
    }

    /// The next message of the other side.
    fn message(&mut self, input: &mut Input<'_>) -> Option<Message> {
        let world = world();
        let known = self.replica.known();
        let kind = input.byte();
        Some(match kind % 16 {
            0 => decode(input.chunk())?,
            1 => sign_all(decode(input.chunk())?),
            2 => {
                let (_, _, digest) = self.replica.state().expect("read");
                let proofs = (0..input.byte() % 3)
                    .map(|_| propose(input, &known.tentative))
                    .collect();
                Message::Hello {
                    features: 0,
                    identity: self.replica.identity(),
                    digest: if kind & 0x80 != 0 { digest } else { Hash([9; 32]) },
                    store: self.store,
                    proofs,
                }
            }
            3 => {
                let truth = kind & 0x80 != 0;
                let items = (0..input.byte() % 6)
                    .map(|_| {
                        let (author, position) = self.position(input);
                        Item(author, u64::from(input.byte()), position.seq, position.hash)
                    })
                    .collect();
                Message::State {
                    count: if truth { known.ordered.count() } else { input.number() },
                    head: if truth {
                        known.ordered.head()
                    } else {
                        Some(Hash([input.byte(); 32]))
                    },
                    pending: known.pending_ids(),
                    items,
                    more: kind & 0x40 != 0,
                }
            }
            4 | 5 => {
                // Entries of the other device, on from where it was or from the start: a fork.
                let after = if kind & 0x80 == 0 {
                    self.head
                } else {
                    Position::start(&world::author(REMOTE))
                };
                let entries: Vec<Vec<Section>> = (0..=input.byte() % 3)
                    .map(|n| {
                        let plain = World::plain(input.chunk());
                        vec![world.seal(REMOTE, after.seq + 1 + u64::from(n), 0, &plain)]
                    })
                    .collect();
                let mut range = world.range(REMOTE, after, entries);
                let end = world::sign_range(&world.keys[REMOTE].signing, &mut range);
                if kind & 0x40 == 0 {
                    self.head = end;
                }
                Message::Range(Box::new(range))
            }
            6 | 7 => {
                let mut state = known.ordered.clone();
                let mut pairs = Vec::new();
                for _ in 0..=input.byte() % 3 {
                    let bytes = propose(input, &state);
                    let Ok(operation) = Operation::decode(&bytes) else {
                        continue;
                    };
                    let orderer = world
                        .keys
                        .iter()
                        .find(|keys| state.orderers().contains(&keys.signing.public()))?;
                    let commit: Commit = if kind & 0x80 == 0 {
                        state.next_commit(&orderer.signing, &operation, input.number())?
                    } else {
                        any_commit(input, &state, &operation)
                    };
                    drop(state.apply(&commit, &operation));
                    pairs.push((commit.encode().to_vec(), bytes));
                }
                Message::Commits(pairs)
            }
            8 => Message::Operations(
                (0..=input.byte() % 3)
                    .map(|_| propose(input, &known.tentative))
                    .collect(),
            ),
            9 => {
                let (author, _) = self.position(input);
                let points = (0..input.byte() % 5)
                    .map(|_| self.position(input))
                    .map(|(_, position)| (position.seq, position.hash))
                    .collect();
                Message::Locate { author, points }
            }
            10 => Message::Synced(input.number()),
            11 => Message::Confirm(
                (0..input.byte() % 5)
                    .map(|_| self.position(input))
                    .map(|(author, position)| (author, position.seq, position.hash))
                    .collect(),
            ),
            12 | 13 => {
                let signing = &world.keys[if kind & 0x80 == 0 { REMOTE } else { 0 }].signing;
                let receipts = (0..input.byte() % 5)
                    .map(|_| {
                        let (author, position) = self.position(input);
                        let receipt = Receipt::make(signing, self.store, author, position, input.number());
                        receipt.encode().to_vec()
                    })
                    .collect();
                if kind % 16 == 12 {
                    Message::Receipts(receipts)
                } else {
                    Message::Loss(receipts)
                }
            }
            14 => {
                let (author, _) = self.position(input);
                Message::Refused {
                    author: (kind & 0x80 == 0).then_some(author),
                    reason: RefuseReason::QuotaBytes,
                    limit: input.number(),
                }
            }
            _ => Message::Bye(ByeReason::Done),
        })
    }

    /// One step. False once the session is over.
    fn step(&mut self, input: &mut Input<'_>) -> bool {
        let Some(message) = self.message(input) else {
            return true;
        };
        note_input(message.to_frame().len());
        if self.session.receive(message, self.replica).is_err() {
            return false;
        }
        self.session.retry_refused();
        self.drain()
    }
}

/// Writes some entries of device 0, so that there is something to send.
fn write(replica: &Replica, entries: usize) {
    let world = world();
    let range = world.range(
        0,
        Position::start(&world::author(0)),
        (0..entries)
            .map(|n| vec![world.seal(0, 2 + n as u64, 0, &World::plain(b"\x82\x00\x80"))])
            .collect(),
    );
    if entries > 0 {
        replica.take_range(range).expect("our own");
    }
}

/// Up to three sessions with one replica: a device or a cloud peer, that dials or listens.
pub fn session(data: &[u8]) {
    let mut input = Input(data);
    let how = input.byte();
    let replica = world().replica(if how & 1 == 0 { 0 } else { 2 });
    write(&replica, usize::from(how >> 4) % 4);
    for round in 0..3 {
        if !input.more() {
            break;
        }
        let mut talk = Talk::new(&replica, (how >> 1) & (1 << round) != 0);
        for _ in 0..24 {
            if !input.more() || !talk.step(&mut input) {
                break;
            }
        }
    }
    // What is in memory is what is on the disk, and all of it holds together.
    let known = replica.known();
    let stored = Replica::load(
        replica.store().clone(),
        replica.identity(),
        world().keys[0].signing.clone(),
        std::sync::Arc::new(|| 1_000),
        rhizome::sync::Limits::default(),
    )
    .expect("what was stored can be loaded");
    assert_eq!(stored.known().ordered, known.ordered);
    let (mut pending, mut kept) = (stored.known().pending_ids(), known.pending_ids());
    pending.sort();
    kept.sort();
    assert_eq!(pending, kept);
    let heads = replica.read(|read| read.heads(&replica.identity())).expect("read");
    for (author, branches) in heads {
        for branch in branches {
            let mut at = Position::start(&author);
            let entries = replica
                .read(|read| read.entries_after(&author, branch.branch, 1, u64::MAX, usize::MAX))
                .expect("read");
            for entry in &entries {
                let seq = at.seq + 1;
                at = Position {
                    seq,
                    hash: entry.entry().hash(&author, seq, &at.hash),
                };
                assert_eq!(entry.position(), at, "a chain that does not hold");
            }
            assert_eq!(at, branch.head);
        }
    }
    replica.store().close();
}

/// For seeds: a session program of frames as they were said.
pub fn program(how: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Output::default().byte(how);
    for frame in frames {
        out = out.byte(1).chunk(&frame[4..]);
    }
    out.0
}

/// For seeds: what device 1 says in an honest conversation with a device (or the cloud peer) that dials or listens.
pub fn conversation(with_peer: bool, dials: bool, entries: usize) -> Vec<Vec<u8>> {
    let world = world();
    let (ours, theirs) = (world.replica(if with_peer { 2 } else { 0 }), world.replica(REMOTE));
    write(&ours, entries);
    let plain = World::plain(b"\x82\x00\x80");
    let range = world.range(
        REMOTE,
        Position::start(&world::author(REMOTE)),
        vec![vec![world.seal(REMOTE, 2, 0, &plain)]],
    );
    theirs.take_range(range).expect("our own");
    let signer = theirs.signer();
    let mut sessions = if dials {
        [
            Session::dial(&ours, signer).expect("a hello"),
            Session::listen(Keys::of(&world.keys[if with_peer { 2 } else { 0 }]).2),
        ]
    } else {
        [
            Session::listen(Keys::of(&world.keys[REMOTE]).2),
            Session::dial(&theirs, ours.signer()).expect("a hello"),
        ]
    };
    let replicas = [&ours, &theirs];
    let mut said = Vec::new();
    let mut quiet = 0;
    let mut turn = 0;
    while quiet < 2 {
        let (from, to) = (turn % 2, 1 - turn % 2);
        turn += 1;
        match sessions[from].next(replicas[from]).expect("an honest session") {
            Some(message) => {
                quiet = 0;
                if from == 1 {
                    said.push(message.to_frame());
                }
                sessions[to].receive(message, replicas[to]).expect("an honest session");
            }
            None => quiet += 1,
        }
    }
    replicas.iter().for_each(|replica| replica.store().close());
    said
}
