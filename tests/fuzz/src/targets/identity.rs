//! Operations, commits, and what follows from a history of them.

use rhizome::{
    crypto::{Hash, PublicKey, Wrap, encode},
    identity::{
        Body, Commit, CommitCore, Cutoff, IdentityError, Keys, Operation, PeersPart, RecoveryKeys, SealedPart, State,
        Verdict, Votes, WrappedKey, consent, did_document, vote,
    },
    sync::Known,
};

use crate::{
    input::Input,
    targets::car::resolves,
    world::{self, AnyOperation, COMMIT, MEMBERS, world},
};

fn read_operation(bytes: &[u8]) -> Option<Operation> {
    let operation = Operation::decode(bytes).ok()?;
    assert_eq!(operation.encode(), bytes, "an operation in a second spelling");
    Some(operation)
}

/// An operation as it came, then signed by a member: its form is then all that can be wrong.
pub fn operation(data: &[u8]) {
    read_operation(data);
    let Some(signed) = world::sign_operation_again(data) else {
        return;
    };
    let Some(operation) = read_operation(&signed) else {
        return;
    };
    let world = world();
    drop(State::begin(&operation));
    let (state, _, _) = world.state.with_pending(vec![operation.clone()], 0);
    did_document(&state);
    judge_and_apply(&mut world.state.clone(), &operation, 0);
    for keys in &world.keys[..2] {
        let known = Known::from_log(world.log.clone(), vec![operation.clone()]).expect("the log alone is good");
        known.key_ring(keys);
    }
}

/// Commits an operation, and checks what a verdict promises.
fn judge_and_apply(state: &mut State, operation: &Operation, time: u64) -> Option<Commit> {
    let before = state.clone();
    let orderer = world()
        .keys
        .iter()
        .find(|keys| state.orderers().contains(&keys.signing.public()))?;
    let commit = state.next_commit(&orderer.signing, operation, time)?;
    let verdict = state.judge_at(operation, commit.core().time);
    match state.apply(&commit, operation) {
        Ok(given) => {
            assert_eq!(given, verdict, "judged one way and applied another");
            assert_eq!(state.count(), before.count() + 1);
            assert_eq!(state.head(), Some(commit.hash()));
            if verdict != Verdict::Ok {
                assert_eq!(
                    (state.devices(), state.peers(), state.orderers(), state.term()),
                    (before.devices(), before.peers(), before.orderers(), before.term()),
                    "a void operation has an effect"
                );
            }
            Some(commit)
        }
        Err(_) => {
            assert_eq!(*state, before, "an error that changes the state");
            None
        }
    }
}

/// A commit as it came, then signed by a member.
pub fn commit(data: &[u8]) {
    let read = |bytes: &[u8]| {
        let commit = Commit::decode(bytes).ok()?;
        assert_eq!(commit.encode(), bytes);
        Some(commit)
    };
    read(data);
    let signed = world::sign_again(data, COMMIT);
    let Some(commit) = signed.and_then(|signed| read(&signed)) else {
        return;
    };
    let world = world();
    for (_, operation) in &world.log {
        let mut state = world.state.clone();
        if state.apply(&commit, operation).is_err() {
            assert_eq!(state, world.state);
        }
        drop(State::open(&commit, operation));
    }
}

/// The public part that a program asks for.
fn public(input: &mut Input<'_>, state: &State, peer: bool) -> Vec<u8> {
    let world = world();
    let member = usize::from(input.byte()) % MEMBERS;
    let mut keys = Keys::of(&world.keys[member]);
    let choices = input.byte();
    if choices & 1 != 0 {
        keys.2 = keys.0;
    }
    if choices & 2 != 0 {
        // A point of small order: nothing may be wrapped for it.
        keys.1.0 = [0; 32];
    }
    let agreed = consent(
        &world.keys[member].signing,
        &state.identity(),
        &keys,
        peer ^ (choices & 4 != 0),
    );
    if peer {
        let services = (0..input.byte() % 12)
            .map(|_| String::from_utf8_lossy(input.chunk()).into_owned())
            .collect();
        return encode(&Body::AddPeer {
            peer: keys,
            consent: agreed,
            services,
        });
    }
    // A wrap of anything, for anybody, by any name.
    let plain: &[u8] = if choices & 8 == 0 {
        &world.identity_key
    } else {
        input.chunk()
    };
    let id = if choices & 16 == 0 {
        state.key_id()
    } else {
        Hash([input.byte(); 32])
    };
    let info = [b"rhizome/1 identity key", &state.binding().0[..], &id.0, &keys.1.0].concat();
    let mut random = rhizome::crypto::SeededRandom::new(7);
    let mut wraps: Vec<Wrap> = keys.1.wrap(&mut random, &info, plain).into_iter().collect();
    if choices & 32 != 0 {
        wraps.push(Wrap(keys.1, keys.1, input.chunk().to_vec()));
    }
    encode(&Body::AddDevice {
        device: keys,
        consent: agreed,
        key: WrappedKey { id, wraps },
    })
}

/// One operation of a program, whatever it holds, signed by whom it says.
pub fn propose(input: &mut Input<'_>, state: &State) -> Vec<u8> {
    let world = world();
    let signing = &world.keys[usize::from(input.byte()) % MEMBERS].signing;
    let kind = input.byte();
    let nonce = [input.byte(); 16];
    let public = match kind % 8 {
        0 => encode(&Body::Streams {}),
        1 => public(input, state, false),
        2 => public(input, state, true),
        3 => {
            let term = state.term().wrapping_add(input.number());
            let orderers: Vec<PublicKey> = (0..input.byte() % 10)
                .map(|_| world.keys[usize::from(input.byte()) % MEMBERS].signing.public())
                .collect();
            encode(&Body::ChangeOrderers {
                term,
                orderers,
                votes: None,
            })
        }
        // What removes, renames, changes words or erases.
        5 | 6 => change(input, state),
        // One that some commit brought already.
        4 => return world.log[usize::from(input.byte()) % world.log.len()].1.encode(),
        _ => input.chunk().to_vec(),
    };
    let peers = match kind & 0x30 {
        0x10 => Some(encode(&PeersPart {
            cutoffs: vec![Cutoff(Hash([input.byte(); 32]), input.number(), Hash([1; 32]))],
            ..PeersPart::default()
        })),
        0x20 => Some(input.chunk().to_vec()),
        _ => None,
    };
    let sealed = match input.byte() % 5 {
        0 => None,
        1 => Some(input.chunk().to_vec()),
        2 => {
            let part = SealedPart {
                name: Some("name".into()),
                ..SealedPart::default()
            };
            Some(world::seal_part(
                &state.binding(),
                &nonce,
                &world.identity_key,
                &encode(&part),
            ))
        }
        3 => {
            // Under a key that may not be known, or come later.
            let key = [input.byte(); 32];
            Some(world::seal_part(&state.binding(), &nonce, &key, input.chunk()))
        }
        _ => Some(world::seal_part(
            &state.binding(),
            &nonce,
            &world.identity_key,
            input.chunk(),
        )),
    };
    let operation = AnyOperation {
        signing,
        identity: (kind & 0x80 == 0).then_some(Hash(state.identity().0)),
        nonce,
        seen: (kind & 0x40 == 0).then(|| state.head()).flatten(),
        public: &public,
        peers,
        sealed,
    };
    operation.encode()
}

/// The public part of what removes, renames, changes words or erases.
fn change(input: &mut Input<'_>, state: &State) -> Vec<u8> {
    let world = world();
    let kind = input.byte();
    let member = world.keys[usize::from(input.byte()) % MEMBERS].signing.public();
    // Wrapped for whom it should be, or not.
    let recipients = state.recipients((kind & 0x10 != 0).then_some(&member));
    let key = [input.byte(); 32];
    let id = if kind & 0x20 == 0 {
        rhizome::crypto::hash("identity key id", &[&key])
    } else {
        state.key_id()
    };
    let mut random = rhizome::crypto::SeededRandom::new(7);
    let wraps = recipients.iter().filter_map(|to| {
        let info = [b"rhizome/1 identity key", &state.binding().0[..], &id.0, &to.0].concat();
        to.wrap(&mut random, &info, &key).ok()
    });
    let key = WrappedKey {
        id,
        wraps: wraps.collect(),
    };
    encode(&match kind & 0x0f {
        0 => Body::RaiseCutoff { device: member },
        1 => Body::RenameDevice { device: member },
        2 => Body::RemovePeer { peer: member },
        3 => Body::NewEpoch {},
        4 | 5 => Body::Rewrap { key },
        6 => Body::RotateRecovery {
            recovery: RecoveryKeys(member, state.recovery().1),
            key,
        },
        7 => Body::Erase {},
        8 => Body::CancelErase {
            erase: state.erasures().keys().next().copied().unwrap_or(Hash([0; 32])),
        },
        9 => {
            let (term, orderers) = (state.term() + 1, vec![member]);
            let from = state.head().unwrap_or(Hash([0; 32]));
            let votes = input.byte();
            let by = world.keys.iter().enumerate().filter(|(n, _)| votes & (1 << n) != 0);
            let by = by.map(|(_, keys)| {
                let signature = vote(&keys.signing, &state.identity(), term, &orderers, &from);
                (keys.signing.public(), signature)
            });
            let by = by.collect();
            Body::ChangeOrderers {
                term,
                orderers,
                votes: Some(Votes { from, by }),
            }
        }
        _ => Body::RemoveDevice { device: member, key },
    })
}

/// A commit that may fit or not.
pub fn any_commit(input: &mut Input<'_>, state: &State, operation: &Operation) -> Commit {
    let keys = &world().keys[usize::from(input.byte()) % MEMBERS];
    let off = input.byte();
    let core = CommitCore {
        identity: state.identity(),
        index: if off & 1 == 0 { state.count() } else { input.number() },
        previous: if off & 2 == 0 { state.head() } else { None },
        operation: if off & 4 == 0 {
            operation.id()
        } else {
            Hash([input.byte(); 32])
        },
        term: if off & 8 == 0 { state.term() } else { input.number() },
        time: if off & 16 == 0 { 1_000 } else { input.number() },
        orderer: keys.signing.public(),
    };
    let commit = Commit::make(&keys.signing, core);
    let again = Commit::decode(commit.encode()).expect("our own");
    assert_eq!(again.hash(), commit.hash());
    commit
}

/// A history: operations proposed, committed rightly or wrongly, or left pending.
pub fn history(data: &[u8]) {
    let world = world();
    let mut input = Input(data);
    let mut state = world.state.clone();
    let mut log = world.log.clone();
    let mut pending = Vec::new();
    for _ in 0..24 {
        if !input.more() {
            break;
        }
        let bytes = propose(&mut input, &state);
        let Some(operation) = read_operation(&bytes) else {
            continue;
        };
        match input.byte() % 3 {
            0 => {
                let time = input.number();
                if let Some(commit) = judge_and_apply(&mut state, &operation, time) {
                    log.push((commit, operation));
                }
            }
            1 => {
                let commit = any_commit(&mut input, &state, &operation);
                let before = state.clone();
                match state.apply(&commit, &operation) {
                    Ok(_) => log.push((commit, operation)),
                    Err(error) => {
                        assert_eq!(state, before, "an error that changes the state");
                        assert!(!matches!(error, IdentityError::Void(_)));
                    }
                }
            }
            _ => pending.push(operation),
        }
    }
    let known = Known::from_log(log, pending).expect("every commit was applied before");
    assert_eq!(known.ordered, state, "a log that folds into another state");
    did_document(&known.tentative);
    resolves(&known);
    for keys in &world.keys {
        // A member may hand keys to whom it likes; nobody else comes to them.
        let mine = keys.agreement.public();
        let mut operations = known.log.iter().map(|(_, operation)| operation).chain(&known.pending);
        let was_handed = operations.any(|operation| match operation.body() {
            Body::Genesis { key, .. } | Body::AddDevice { key, .. } => key.wraps.iter().any(|wrap| wrap.0 == mine),
            _ => false,
        });
        assert!(
            known.key_ring(keys).stream("journal").is_none() || was_handed,
            "a key reached a stranger"
        );
    }
}
