//! `tests/vectors`: bytes of every format, made from seeds. Made again they must be the same bytes; and what was committed must
//! decode, since old data opens for ever. `RHIZOME_UPDATE_VECTORS=1` writes them (`make vectors`), which is a change of format.

#![allow(clippy::unwrap_used)]

mod raw;

use std::{collections::BTreeMap, path::PathBuf};

use raw::{WireOperation, open_sealed};
use rhizome::{
    DeviceSecret, Document, DocumentId, Event, Ticket, Value as DocValue, Version, Zeroizing,
    crypto::{
        AgreementKey, DeviceKeys, Hash, PAD_FLOOR, PublicKey, Random, SealKey, SeededRandom, Signature, SigningKey,
        Wrap, decode, derive_key, encode, hash, padme,
    },
    identity::{
        Body, Commit, CommitCore, Cutoff, EpochId, ErasedSection, IdentityId, KeyRing, Keys, LinkProof, LinkRole,
        OpNonce, Operation, Proposer, RecoverySecret, Removed, SealedPart, State, StreamId, Verdict, WrappedKey,
        add_device, add_peer, cancel_erase, change_orderers, change_orderers_by_vote, consent, did, did_document,
        did_document_cbor, erase, genesis, new_epochs, parse_did, raise_cutoff, remove_device, remove_peer,
        rename_device, rewrap, rotate_recovery, short_number, streams, vote,
    },
    log::{
        AttachmentId, AttachmentReceipt, AuthorId, CHUNK, ChunkSealer, Content, DocumentChange, Entry, Item, Manifest,
        Position, Range, Receipt, Section, SessionId, Start, StoreId, Time, VerifiedEntry, Writer, digest, hash_chunk,
        make_entry, open_chunk, open_entry,
    },
    path, resolve,
    snapshot::export_identity,
    sync::{ByeReason, Known, Limits, MAX_FRAME, Message, RefuseReason, Replica},
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

fn x(bytes: impl AsRef<[u8]>) -> String {
    data_encoding::HEXLOWER.encode(bytes.as_ref())
}

fn un(value: &Value) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text(value).as_bytes()).unwrap()
}

fn un_n<const N: usize>(value: &Value) -> [u8; N] {
    un(value).try_into().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}

fn committed(name: &str) -> Value {
    let path = folder().join(format!("{name}.json"));
    let text =
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; make vectors writes it", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// Makes the vectors of one file and compares them, or writes them.
fn check(name: &str, made: Value) {
    if std::env::var_os("RHIZOME_UPDATE_VECTORS").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
        std::fs::write(folder().join(format!("{name}.json")), text).unwrap();
    }
    assert!(
        committed(name) == made,
        "{name}.json is not what is made now: the format changed. If that is meant, make vectors"
    );
}

fn bytes<const N: usize>(random: &mut dyn Random) -> [u8; N] {
    random.bytes()
}

// Keys

fn secret(n: u8) -> DeviceSecret {
    DeviceSecret::make(&mut SeededRandom::new(100 + u64::from(n)))
}

/// The recovery secret and the entropy it is made of.
fn recovery() -> (RecoverySecret, [u8; 32]) {
    let entropy = bytes(&mut SeededRandom::new(99));
    (RecoverySecret::make(&mut SeededRandom::new(99)), entropy)
}

fn make_keys() -> Value {
    let device = secret(1);
    let keys = device.keys();
    let public = Keys::of(&keys);
    let (recovery, entropy) = recovery();
    let random = &mut SeededRandom::new(1);
    let (identity_key, stream, epoch_key): ([u8; 32], [u8; 32], [u8; 32]) =
        (bytes(random), bytes(random), bytes(random));
    json!({
        "device": {
            "secret": x(device.expose()), "signing_public": x(public.0.0), "agreement_public": x(public.1.0),
            "endpoint_public": x(public.2.0), "views_key": x(*keys.views),
        },
        "recovery": {
            "words": *recovery.words(), "entropy": x(entropy), "signing_public": x(recovery.public().0.0),
            "agreement_public": x(recovery.public().1.0),
        },
        "identity_key": {
            "key": x(identity_key), "id": x(hash("identity key id", &[&identity_key]).0),
            "sealed_part_key": x(*derive_key("sealed part", &identity_key)),
        },
        "epoch": {
            "stream": x(stream), "key": x(epoch_key), "id": x(hash("epoch id", &[&stream, &epoch_key]).0),
            "section_key": x(*derive_key("section", &epoch_key)),
        },
    })
}

#[test]
fn keys() {
    check("keys", make_keys());
    let v = committed("keys");
    let device = DeviceSecret::from_bytes(un_n(&v["device"]["secret"])).keys();
    assert_eq!(
        device.signing.public().to_string(),
        text(&v["device"]["signing_public"])
    );
    assert_eq!(
        device.agreement.public().to_string(),
        text(&v["device"]["agreement_public"])
    );
    let recovery = RecoverySecret::from_words(text(&v["recovery"]["words"])).expect("the words are good");
    assert_eq!(recovery.public().0.to_string(), text(&v["recovery"]["signing_public"]));
    assert_eq!(
        recovery.public().1.to_string(),
        text(&v["recovery"]["agreement_public"])
    );
}

// Sealing

#[test]
fn pad() {
    let lengths = [
        256, 257, 272, 273, 511, 512, 513, 1000, 1025, 4097, 65_535, 65_537, 1_000_000, 1_048_576, 1_048_577,
    ];
    let cases: Vec<_> = lengths.into_iter().map(|len| [len, padme(len)]).collect();
    check("pad", json!({ "cases": cases }));
    assert!((0..=PAD_FLOOR).all(|len| padme(len) == PAD_FLOOR), "the floor");
}

#[test]
fn seal() {
    let random = &mut SeededRandom::new(2);
    let cases: Vec<_> = [(0usize, 0usize), (0, 1), (5, 0), (70, 300)]
        .into_iter()
        .map(|(aad, plain)| {
            let secret: [u8; 32] = bytes(random);
            let (mut with, mut of) = (vec![0; aad], vec![0; plain]);
            random.fill(&mut with);
            random.fill(&mut of);
            let sealed = SealKey::derive("section", &secret).seal(random, &with, &of);
            json!({"secret": x(secret), "key": x(*derive_key("section", &secret)), "aad": x(with), "plain": x(of), "box": x(sealed)})
        })
        .collect();
    check("seal", json!({ "cases": cases }));
    for case in list(&committed("seal")["cases"]) {
        let key = SealKey::derive("section", &un_n(&case["secret"]));
        assert_eq!(
            **key.open(&un(&case["aad"]), &un(&case["box"])).unwrap(),
            un(&case["plain"])[..]
        );
    }
}

#[test]
fn wrap() {
    let random = &mut SeededRandom::new(3);
    let cases: Vec<_> = [32usize, 0, 100]
        .into_iter()
        .map(|len| {
            let scalar: [u8; 32] = bytes(random);
            let (mut info, mut plain) = (vec![0; len + 1], vec![0; len]);
            random.fill(&mut info);
            random.fill(&mut plain);
            let to = AgreementKey::from_scalar(Zeroizing::new(scalar)).public();
            let wrap = to.wrap(random, &info, &plain).unwrap();
            json!({"recipient_secret": x(scalar), "info": x(info), "wrap": x(encode(&wrap)), "plain": x(plain)})
        })
        .collect();
    check("wrap", json!({ "cases": cases }));
    for case in list(&committed("wrap")["cases"]) {
        let key = AgreementKey::from_scalar(Zeroizing::new(un_n(&case["recipient_secret"])));
        let wrap: Wrap = decode(&un(&case["wrap"])).unwrap();
        assert_eq!(**key.unwrap(&un(&case["info"]), &wrap).unwrap(), un(&case["plain"])[..]);
    }
}

// The identity log

/// What a signed thing is on the wire.
#[derive(Serialize, Deserialize)]
struct Signed(ByteBuf, Signature);

/// The operation with `change` made to its items, signed parts included.
fn changed(operation: &Operation, change: impl FnOnce(&mut WireOperation)) -> Vec<u8> {
    let mut wire: WireOperation = decode(&operation.encode()).unwrap();
    change(&mut wire);
    encode(&wire)
}

/// An operation signed as it is, whatever stands in it.
fn sign_operation(
    signing: &SigningKey,
    identity: Option<IdentityId>,
    nonce: OpNonce,
    public: &impl Serialize,
    peers: Option<Vec<u8>>,
    sealed: Option<Vec<u8>>,
) -> Vec<u8> {
    let part = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| hash("operation part", &[bytes]));
    let proposer: PublicKey = signing.public();
    let seen: Option<Hash> = None;
    let core = encode(&(
        1u8,
        identity,
        proposer,
        nonce,
        seen,
        public,
        part(&peers),
        part(&sealed),
    ));
    let signature = signing.sign("operation", &hash("operation", &[&core]).0);
    let (peers, sealed) = (peers.map(ByteBuf::from), sealed.map(ByteBuf::from));
    encode(&WireOperation(ByteBuf::from(core), signature, peers, sealed))
}

const BEGAN: u64 = 1_760_000_000_000;

/// An identity log under construction.
struct Chain {
    state: State,
    log: Vec<(Commit, Operation)>,
    rows: Vec<Value>,
    time: u64,
}

impl Chain {
    fn begin(by: &SigningKey, genesis: Operation) -> Self {
        let core = CommitCore {
            identity: genesis.identity(),
            index: 0,
            previous: None,
            operation: genesis.id(),
            term: 0,
            time: BEGAN,
            orderer: by.public(),
        };
        let commit = Commit::make(by, core);
        let state = State::open(&commit, &genesis).unwrap();
        let rows = vec![json!({"commit": x(commit.encode()), "operation": x(genesis.encode()), "verdict": "ok"})];
        Self {
            state,
            log: vec![(commit, genesis)],
            rows,
            time: BEGAN,
        }
    }

    fn core(&self, by: &SigningKey, operation: Hash) -> CommitCore {
        CommitCore {
            identity: self.state.identity(),
            index: self.state.count(),
            previous: self.state.head(),
            operation,
            term: self.state.term(),
            time: self.time,
            orderer: by.public(),
        }
    }

    /// Commits `operation`, whose verdict must be as said. Every other commit has the time of the one before.
    fn commit(&mut self, by: &SigningKey, operation: &[u8], ok: bool) {
        self.time += 40_000 * (self.state.count() % 2);
        let decoded = Operation::decode(operation).unwrap();
        let commit = Commit::make(by, self.core(by, decoded.id()));
        let verdict = self.state.apply(&commit, &decoded).unwrap();
        assert_eq!(
            verdict == Verdict::Ok,
            ok,
            "commit {}: {verdict:?}",
            commit.core().index
        );
        let verdict = if ok { "ok" } else { "void" };
        self.rows
            .push(json!({"commit": x(commit.encode()), "operation": x(operation), "verdict": verdict}));
        self.log.push((commit, decoded));
    }
}

/// The identity that the vectors of author logs use too: its log, and what its members hold.
struct Made {
    chain: Chain,
    pending: Vec<Operation>,
    vector: Value,
    devices: [DeviceKeys; 4],
}

fn make_identity() -> Made {
    let random = &mut SeededRandom::new(4);
    let keys = [1, 2, 3, 4].map(|n| secret(n).keys());
    let [first, second, peer, third] = &keys;
    let publics = [first, second, peer, third].map(Keys::of);
    let begin = genesis(random, first, &recovery().0, "telephone", &["journal", "letters"]);
    let mut chain = Chain::begin(&first.signing, begin.clone());
    let (identity, binding) = (chain.state.identity(), chain.state.binding());
    let alone = Known::from_log(chain.log.clone(), Vec::new()).unwrap();
    let identity_key = alone
        .key_ring(first)
        .identity_key(&chain.state.key_id())
        .unwrap()
        .clone();
    let propose = |signing| Proposer {
        identity,
        binding,
        seen: None,
        signing,
        identity_key: &identity_key,
        beside: Vec::new(),
    };
    let (by_first, by_second) = (propose(&first.signing), propose(&second.signing));
    let agrees = |keys: &DeviceKeys, peer| consent(&keys.signing, &identity, &Keys::of(keys), peer);

    // A proposal before its proposer is a device is void, and may come again; one that had an effect may not.
    let early = streams(random, &by_second, &["tablet"]);
    chain.commit(&first.signing, &early.encode(), false);
    let by_first_now = Proposer {
        seen: chain.state.head(),
        ..propose(&first.signing)
    };
    let add = add_device(random, &by_first_now, publics[1], agrees(second, false), "tablet").unwrap();
    chain.commit(&first.signing, &add.encode(), true);
    chain.commit(&first.signing, &early.encode(), true);
    chain.commit(&first.signing, &early.encode(), false);
    let nonce = early.core().nonce;
    let same_nonce = sign_operation(&second.signing, Some(identity), nonce, &Body::Streams {}, None, None);
    chain.commit(&first.signing, &same_nonce, false);

    // What is void.
    let services = |services: &[String], random: &mut SeededRandom| {
        add_peer(
            random,
            &by_first,
            publics[2],
            agrees(peer, true),
            services.to_vec(),
            "cloud",
        )
        .encode()
    };
    let address = |n: usize| format!("cloud{n}.example:7777");
    for void in [
        add_device(random, &by_first, publics[3], agrees(third, true), "reader")
            .unwrap()
            .encode(),
        add_device(random, &by_first, publics[0], agrees(first, false), "reader")
            .unwrap()
            .encode(),
        services(&(0..9).map(address).collect::<Vec<_>>(), random),
        services(&["a".repeat(256)], random),
        change_orderers(random, &by_first, 2, vec![publics[0].0]).encode(),
        change_orderers(random, &by_first, 1, vec![publics[2].0]).encode(),
        change_orderers(random, &by_first, 1, vec![]).encode(),
        change_orderers(random, &by_first, 1, vec![publics[0].0, publics[0].0]).encode(),
    ] {
        chain.commit(&first.signing, &void, false);
    }

    chain.commit(
        &first.signing,
        &services(&[address(1), "[2001:db8::1]:443".to_owned()], random),
        true,
    );
    // A bad wrap voids the wrap, a sealed part that does not open itself: the operations stand.
    let good = add_device(random, &by_first, publics[3], agrees(third, false), "reader").unwrap();
    let Body::AddDevice { device, consent, key } = good.body() else {
        unreachable!()
    };
    let other_key = WrappedKey {
        id: Hash(bytes(random)),
        wraps: key.wraps.clone(),
    };
    let bad_wrap = Body::AddDevice {
        device: *device,
        consent: *consent,
        key: other_key,
    };
    let bad_wrap = sign_operation(
        &first.signing,
        Some(identity),
        OpNonce(bytes(random)),
        &bad_wrap,
        None,
        None,
    );
    chain.commit(&first.signing, &bad_wrap, true);
    let id = chain.state.key_id();
    let no_box = encode(&(id, ByteBuf::from(bytes::<60>(random))));
    for junk in [no_box, b"not DAG-CBOR".to_vec()] {
        let nonce = OpNonce(bytes(random));
        let junk = sign_operation(
            &second.signing,
            Some(identity),
            nonce,
            &Body::Streams {},
            None,
            Some(junk),
        );
        chain.commit(&first.signing, &junk, true);
    }

    // Two orderers, of whom either may commit.
    let change = change_orderers(random, &by_first, 1, vec![publics[2].0, publics[1].0]);
    chain.commit(&first.signing, &change.encode(), true);
    chain.commit(
        &peer.signing,
        &streams(random, &by_first, &["from the telephone"]).encode(),
        true,
    );
    // A new epoch of the journal, with an older identity key; and an epoch whose key is not its id's, which is passed over.
    let begun = open_sealed(&begin, &binding, &identity_key).unwrap();
    let journal = &begun.streams[0];
    let (epoch_key, older): ([u8; 32], [u8; 32]) = (bytes(random), bytes(random));
    let mut part = SealedPart::default();
    let mut new_epoch = journal.clone();
    new_epoch.3 = epoch_key.into();
    new_epoch.2 = EpochId(hash("epoch id", &[&journal.0.0, &epoch_key]).0);
    let mut lie = new_epoch.clone();
    lie.2 = EpochId(bytes(random));
    part.streams = vec![new_epoch.clone(), lie.clone()];
    let nonce = OpNonce(bytes(random));
    let aad = encode(&(1u8, binding, nonce));
    let previous = (hash("identity key id", &[&older]), ByteBuf::from(older.to_vec()));
    let plain = BTreeMap::from([
        ("name", encode_to_ipld(&None::<String>)),
        ("streams", encode_to_ipld(&part.streams)),
        ("previous", encode_to_ipld(&vec![previous.clone()])),
    ]);
    let sealed = SealKey::derive("sealed part", &identity_key).seal(random, &aad, &encode(&plain));
    let sealed = encode(&(id, ByteBuf::from(sealed)));
    let rekey = sign_operation(
        &second.signing,
        Some(identity),
        nonce,
        &Body::Streams {},
        None,
        Some(sealed),
    );
    chain.commit(&second.signing, &rekey, true);
    // Sealed under that older key.
    let nonce = OpNonce(bytes(random));
    let mut old_part = SealedPart::default();
    let old_stream = StreamId(bytes(random));
    let old_key: [u8; 32] = bytes(random);
    let mut old_epoch = new_epoch.clone();
    (old_epoch.0, old_epoch.1) = (old_stream, "from before".to_owned());
    (old_epoch.2, old_epoch.3) = (EpochId(hash("epoch id", &[&old_stream.0, &old_key]).0), old_key.into());
    old_part.streams = vec![old_epoch];
    let aad = encode(&(1u8, binding, nonce));
    let sealed = SealKey::derive("sealed part", &older).seal(random, &aad, &encode(&old_part));
    let sealed = encode(&(previous.0, ByteBuf::from(sealed)));
    let before = sign_operation(
        &second.signing,
        Some(identity),
        nonce,
        &Body::Streams {},
        None,
        Some(sealed),
    );
    chain.commit(&peer.signing, &before, true);

    let fourth = secret(5).keys();
    let pending = vec![
        streams(random, &by_second, &["pending"]),
        add_device(random, &by_second, Keys::of(&fourth), agrees(&fourth, false), "watch").unwrap(),
    ];

    // What a reader with the identity key finds.
    let mut found: Vec<Value> = Vec::new();
    let mut names: BTreeMap<PublicKey, String> = BTreeMap::new();
    for (row, (_, operation)) in chain.rows.iter().zip(&chain.log) {
        let part = open_sealed(operation, &binding, &identity_key).or_else(|| open_sealed(operation, &binding, &older));
        let Some(part) = part.filter(|_| row["verdict"] == "ok") else {
            continue;
        };
        for (stream, label, epoch, key) in part.streams.iter().filter(|one| one.2 != lie.2) {
            found.push(json!({"stream": x(stream.0), "label": label, "epoch": x(epoch.0), "key": x(**key)}));
        }
        let named = match operation.body() {
            Body::Genesis { device, .. } | Body::AddDevice { device, .. } => Some(device.0),
            _ => None,
        };
        if let (Some(key), Some(name)) = (named, part.name.clone()) {
            names.insert(key, name);
        }
    }
    let state = &chain.state;
    let devices: Vec<_> = state
        .devices()
        .keys()
        .map(|key| json!({"signing": x(key.0), "name": names.get(key)}))
        .collect();
    let peers: Vec<_> = state
        .peers()
        .iter()
        .map(|(key, peer)| json!({"signing": x(key.0), "services": peer.services}))
        .collect();
    let refused = refused_commits(&chain, &keys, &identity_key, random);
    let vector = json!({
        "device_secrets": ([1, 2, 3].map(|n| x(secret(n).expose()))),
        "log": chain.rows,
        "pending": pending.iter().map(|operation| x(operation.encode())).collect::<Vec<_>>(),
        "expect": {
            "identity": x(identity.0), "did": did(&identity), "binding": x(binding.0), "commit_count": state.count(),
            "head": x(state.head().unwrap().0), "term": state.term(),
            "orderers": state.orderers().iter().map(|key| x(key.0)).collect::<Vec<_>>(), "devices": devices, "peers": peers,
            "identity_key": x(*identity_key), "streams": found,
        },
        "refused": refused,
    });
    Made {
        chain,
        pending,
        vector,
        devices: keys,
    }
}

/// Any value of ours as the one that its bytes say, to stand in a map beside others.
fn encode_to_ipld(value: &impl Serialize) -> ipld_core::ipld::Ipld {
    decode(&encode(value)).unwrap()
}

/// Commits that cannot come next.
fn refused_commits(
    chain: &Chain,
    keys: &[DeviceKeys; 4],
    identity_key: &[u8; 32],
    random: &mut SeededRandom,
) -> Vec<Value> {
    let [first, second, peer, _] = keys;
    let (identity, binding) = (chain.state.identity(), chain.state.binding());
    let by = Proposer {
        identity,
        binding,
        seen: None,
        signing: &first.signing,
        identity_key,
        beside: Vec::new(),
    };
    let good = streams(random, &by, &["refused"]);
    let mut refused = Vec::new();
    let mut add = |name: &str, commit: &[u8], operation: &[u8]| {
        let taken = || {
            let (commit, operation) = (Commit::decode(commit).ok()?, Operation::decode(operation).ok()?);
            chain.state.clone().apply(&commit, &operation).ok()
        };
        assert!(taken().is_none(), "{name} is taken");
        refused.push(json!({"name": name, "commit": x(commit), "operation": x(operation)}));
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut CommitCore));
    let changes: [Change<'_>; 10] = [
        ("an index too high", &|core| core.index += 1),
        ("an index that is taken", &|core| core.index -= 1),
        ("another commit before", &|core| core.previous = Some(Hash([7; 32]))),
        ("no commit before", &|core| core.previous = None),
        ("the term before", &|core| core.term = 0),
        ("a term too high", &|core| core.term += 1),
        ("a time before the last", &|core| core.time -= 1),
        ("another identity", &|core| core.identity = IdentityId([7; 32])),
        ("another operation", &|core| core.operation = Hash([7; 32])),
        ("an orderer that did not sign", &|core| {
            core.orderer = second.signing.public()
        }),
    ];
    for (name, change) in changes {
        let mut core = chain.core(&peer.signing, good.id());
        change(&mut core);
        add(name, Commit::make(&peer.signing, core).encode(), &good.encode());
    }
    let commit_of = |signing: &SigningKey, operation: &[u8]| {
        let wire: WireOperation = decode(operation).unwrap();
        Commit::make(signing, chain.core(signing, hash("operation", &[&wire.0])))
            .encode()
            .to_vec()
    };
    let commit = commit_of(&peer.signing, &good.encode());
    add(
        "an orderer of a term that is over",
        &commit_of(&first.signing, &good.encode()),
        &good.encode(),
    );
    let flipped = |signature: &mut Signature| signature.0[40] ^= 1;
    let mut wire: Signed = decode(&commit).unwrap();
    flipped(&mut wire.1);
    add("a commit whose signature was changed", &encode(&wire), &good.encode());
    add("bytes after the commit", &[&commit[..], &[0]].concat(), &good.encode());
    add(
        "an operation whose signature was changed",
        &commit,
        &changed(&good, |wire| flipped(&mut wire.1)),
    );
    add(
        "bytes after the operation",
        &commit,
        &[&good.encode()[..], &[0]].concat(),
    );
    let swapped = |wire: &mut WireOperation| wire.3 = Some(ByteBuf::from(b"another".to_vec()));
    add("a sealed part that was changed", &commit, &changed(&good, swapped));
    add(
        "a sealed part that was left out",
        &commit,
        &changed(&good, |wire| wire.3 = None),
    );
    let bare = sign_operation(
        &first.signing,
        Some(identity),
        OpNonce(bytes(random)),
        &Body::Streams {},
        None,
        None,
    );
    let added = Operation::decode(&bare).unwrap();
    add(
        "a sealed part that was added",
        &commit_of(&peer.signing, &bare),
        &changed(&added, swapped),
    );
    let again = chain.log[0].1.encode();
    add("the genesis again", &commit_of(&peer.signing, &again), &again);
    let elsewhere = genesis(random, first, &recovery().0, "telephone", &[]).encode();
    add(
        "the genesis of another identity",
        &commit_of(&peer.signing, &elsewhere),
        &elsewhere,
    );
    let mut signed =
        |name: &str, identity: Option<IdentityId>, public: &dyn Fn() -> ipld_core::ipld::Ipld, peers_left_out: bool| {
            let peers = peers_left_out.then(|| b"peers".to_vec());
            let mut operation =
                sign_operation(&first.signing, identity, OpNonce(bytes(random)), &public(), peers, None);
            if let Some(mut wire) = peers_left_out.then(|| decode::<WireOperation>(&operation).unwrap()) {
                wire.2 = None;
                operation = encode(&wire);
            }
            add(name, &commit_of(&peer.signing, &operation), &operation);
        };
    let streams_body = || encode_to_ipld(&Body::Streams {});
    signed(
        "an operation of another identity",
        Some(IdentityId([7; 32])),
        &streams_body,
        false,
    );
    signed("an operation of no identity", None, &streams_body, false);
    signed(
        "a part for peers that was left out",
        Some(identity),
        &streams_body,
        true,
    );
    let of_kind = |kind: &'static str| move || encode_to_ipld(&BTreeMap::from([(kind, BTreeMap::<String, u8>::new())]));
    signed("an unknown kind", Some(identity), &of_kind("Forget"), false);
    signed("a kind without its fields", Some(identity), &of_kind("AddPeer"), false);
    let two = || {
        encode_to_ipld(&BTreeMap::from([
            ("Streams", BTreeMap::<String, u8>::new()),
            ("AddPeer", BTreeMap::new()),
        ]))
    };
    signed("two kinds", Some(identity), &two, false);
    signed(
        "no kind",
        Some(identity),
        &|| encode_to_ipld(&BTreeMap::<String, u8>::new()),
        false,
    );
    let extra = || encode_to_ipld(&BTreeMap::from([("Streams", BTreeMap::from([("x", 1)]))]));
    signed("a field too many", Some(identity), &extra, false);
    let as_list = || {
        encode_to_ipld(&BTreeMap::from([(
            "ChangeOrderers",
            (2u64, vec![first.signing.public()]),
        )]))
    };
    signed("a list for a map", Some(identity), &as_list, false);
    // Not in the file: it would be most of it.
    let large = sign_operation(
        &first.signing,
        Some(identity),
        OpNonce([0; 16]),
        &Body::Streams {},
        None,
        Some(vec![0; 65_536]),
    );
    assert!(
        Operation::decode(&large).is_err(),
        "an operation of more than 65,536 bytes"
    );
    refused
}

fn read_row(row: &Value) -> (Commit, Operation) {
    (
        Commit::decode(&un(&row["commit"])).unwrap(),
        Operation::decode(&un(&row["operation"])).unwrap(),
    )
}

#[test]
fn identity() {
    check("identity", make_identity().vector);
    let v = committed("identity");
    let log: Vec<_> = list(&v["log"]).iter().map(read_row).collect();
    let pending: Vec<_> = list(&v["pending"])
        .iter()
        .map(|one| Operation::decode(&un(one)).unwrap())
        .collect();
    let known = Known::from_log(log, pending).unwrap();
    for (row, verdict) in list(&v["log"]).iter().zip(&known.verdicts) {
        assert_eq!(*verdict == Verdict::Ok, row["verdict"] == "ok");
    }
    let (state, expect) = (&known.ordered, &v["expect"]);
    assert_eq!(parse_did(text(&expect["did"])), Some(state.identity()));
    assert_eq!(state.identity().to_string(), text(&expect["identity"]));
    assert_eq!(state.binding().to_string(), text(&expect["binding"]));
    assert_eq!(
        (state.count(), state.term()),
        (
            expect["commit_count"].as_u64().unwrap(),
            expect["term"].as_u64().unwrap()
        )
    );
    assert_eq!(state.head().unwrap().to_string(), text(&expect["head"]));
    let hexes = |values: &Value| list(values).iter().map(|one| text(one).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        state.orderers().iter().map(ToString::to_string).collect::<Vec<_>>(),
        hexes(&expect["orderers"])
    );
    assert_eq!(
        known.tentative.devices().len(),
        state.devices().len() + 1,
        "the pending device is there tentatively"
    );

    let keys = |n: usize| DeviceSecret::from_bytes(un_n(&v["device_secrets"][n])).keys();
    for n in [0, 1] {
        let ring = known.key_ring(&keys(n));
        assert_eq!(
            x(**ring.identity_key(&state.key_id()).unwrap()),
            text(&expect["identity_key"])
        );
        assert_eq!(ring.alarms(), 1, "one epoch whose key is not its id's");
        for stream in list(&expect["streams"]) {
            let key = ring
                .epoch(&EpochId(un_n(&stream["epoch"])))
                .expect("the epoch's key arrived");
            let same = SealKey::derive("section", &un_n(&stream["key"]));
            let sealed = key.seal(&mut SeededRandom::new(0), b"", b"same");
            assert_eq!(**same.open(b"", &sealed).unwrap(), b"same"[..]);
            assert_eq!(
                ring.streams()[&StreamId(un_n(&stream["stream"]))].label,
                text(&stream["label"])
            );
        }
        for device in list(&expect["devices"]) {
            assert_eq!(ring.name(&PublicKey(un_n(&device["signing"]))), device["name"].as_str());
        }
    }
    assert!(
        known.key_ring(&keys(2)).identity_key(&state.key_id()).is_none(),
        "a peer holds no identity key"
    );
    for peer in list(&expect["peers"]) {
        let services: Vec<_> = list(&peer["services"]).iter().map(|one| text(one).to_owned()).collect();
        assert_eq!(state.peers()[&PublicKey(un_n(&peer["signing"]))].services, services);
    }
    for one in list(&v["refused"]) {
        let taken = || {
            let commit = Commit::decode(&un(&one["commit"])).ok()?;
            state
                .clone()
                .apply(&commit, &Operation::decode(&un(&one["operation"])).ok()?)
                .ok()
        };
        assert!(taken().is_none(), "{} is taken", one["name"]);
    }

    // A store keeps such a log and gives it back.
    let store = rhizome::store::LogStore::in_memory(&mut SeededRandom::new(0)).unwrap();
    let clock = std::sync::Arc::new(|| BEGAN);
    let replica = Replica::adopt(
        store,
        known.log.clone(),
        Vec::new(),
        keys(1).signing,
        clock,
        Limits::default(),
    )
    .unwrap();
    assert_eq!(replica.known().ordered.head(), state.head());
}

// The DID

/// The sections of a CAR file: each with its length before it.
fn sections(file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let (begin, mut len, mut shift) = (at, 0usize, 0);
        loop {
            let byte = usize::from(file[at]);
            (len, at, shift) = (len | (byte & 127) << shift, at + 1, shift + 7);
            if byte < 128 {
                break;
            }
        }
        at += len;
        found.push(file[begin..at].to_vec());
    }
    found
}

fn make_did() -> Value {
    let chain = make_identity().chain;
    let cases: Vec<Value> = [1, 3, chain.log.len()]
        .map(|commits| {
            let log = &chain.log[..commits];
            let state = Known::from_log(log.to_vec(), Vec::new()).unwrap().ordered;
            let (did, car) = (did(&state.identity()), export_identity(log));
            // The last of those with one time is the one at that time.
            let last = |index: usize| {
                log.get(index + 1)
                    .is_none_or(|(next, _)| next.core().time > log[index].0.core().time)
            };
            let versions: Vec<_> = (0..commits)
                .filter(|index| last(*index))
                .map(|index| {
                    let found = resolve(&did, &car, Version::Id(log[index].0.hash())).unwrap().to_json();
                    let time = log[index].0.core().time / 1000;
                    let document = Hash::plain(&encode(&found["didDocument"]));
                    json!({"time": time, "document_hash": x(document.0), "metadata": found["didDocumentMetadata"]})
                })
                .collect();
            json!({
                "log": chain.rows[..commits], "did": did, "document": did_document(&state),
                "document_cbor": x(did_document_cbor(&state)), "car": x(car), "versions": versions,
            })
        })
        .into();
    let did = did(&chain.state.identity());
    let parts = sections(&export_identity(&chain.log[..3]));
    let of = |numbers: &[usize]| {
        numbers
            .iter()
            .flat_map(|number| parts[*number].clone())
            .collect::<Vec<u8>>()
    };
    let good = of(&[0, 1, 2, 3, 4, 5, 6]);
    let changed = |place: usize, to: u8| {
        let mut file = good.clone();
        file[place] = to;
        file
    };
    // The header's length in two bytes, the second of which is zero.
    let long = [&[good[0] | 0x80, 0], &good[1..]].concat();
    let refused: Vec<Value> = [
        ("no bytes", vec![]),
        ("a header alone", of(&[0])),
        ("no header", of(&[1, 2, 3, 4, 5, 6])),
        ("the last commit left out", of(&[0, 1, 2, 3, 4])),
        ("the last step left out", of(&[0, 1, 2, 3, 4, 5])),
        ("a commit left out", of(&[0, 1, 2, 5, 6])),
        ("a commit twice", of(&[0, 1, 2, 3, 4, 3, 4, 5, 6])),
        ("commits in another order", of(&[0, 1, 2, 5, 6, 3, 4])),
        ("a step before its operation", of(&[0, 2, 1, 3, 4, 5, 6])),
        ("bytes cut off", good[..good.len() - 1].to_vec()),
        ("a byte more", [&good[..], &[0]].concat()),
        ("a length that is not the shortest", long),
        ("version 2", changed(parts[0].len() - 1, 2)),
        (
            "a block that was changed",
            changed(good.len() - 1, good[good.len() - 1] ^ 1),
        ),
        (
            "a CID that was changed",
            changed(parts[0].len() + 10, good[parts[0].len() + 10] ^ 1),
        ),
        ("a root that was changed", changed(20, good[20] ^ 1)),
    ]
    .map(|(name, car)| {
        assert!(resolve(&did, &car, Version::Latest).is_err(), "{name} is taken");
        json!({"name": name, "did": did, "car": x(car)})
    })
    .into();
    json!({"cases": cases, "refused": refused})
}

#[test]
fn did_documents() {
    check("did", make_did());
    let v = committed("did");
    for case in list(&v["cases"]) {
        let (did, car) = (text(&case["did"]), un(&case["car"]));
        let found = resolve(did, &car, Version::Latest).unwrap();
        assert_eq!(found.document, case["document"]);
        assert_eq!(decode::<Value>(&un(&case["document_cbor"])).unwrap(), case["document"]);
        let log = list(&case["log"]).iter().map(read_row).collect();
        let known = Known::from_log(log, Vec::new()).unwrap();
        assert_eq!(
            (did_document(&known.ordered), known.ordered),
            (found.document, found.state)
        );
        for one in list(&case["versions"]) {
            let id = Hash(un_n(&one["metadata"]["versionId"]));
            for version in [Version::Id(id), Version::Time(one["time"].as_u64().unwrap())] {
                let found = resolve(did, &car, version).unwrap().to_json();
                let document = Hash::plain(&encode(&found["didDocument"])).to_string();
                assert_eq!(document, text(&one["document_hash"]));
                assert_eq!(found["didDocumentMetadata"], one["metadata"]);
            }
        }
    }
    for one in list(&v["refused"]) {
        let taken = resolve(text(&one["did"]), &un(&one["car"]), Version::Latest);
        assert!(taken.is_err(), "{} is taken", one["name"]);
    }
}

// Author logs

struct Author {
    device: SigningKey,
    start: Start,
    epoch_key: [u8; 32],
    epoch: EpochId,
    entries: Vec<VerifiedEntry>,
}

fn section_aad(author: &AuthorId, seq: u64, epoch: &EpochId, number: u64) -> Vec<u8> {
    encode(&(1u8, author, seq, epoch, number))
}

fn section_hash(section: &Section) -> Hash {
    match section {
        Section::Box(sealed) => hash("section", &[sealed]),
        Section::Erased(hash) => *hash,
    }
}

fn header(entry: &Entry, author: &AuthorId, after: &Position) -> Vec<u8> {
    let sections: Vec<Hash> = entry.sections.iter().map(section_hash).collect();
    encode(&(
        1u8,
        author,
        after.seq + 1,
        after.hash,
        entry.epoch,
        sections,
        entry.head,
    ))
}

fn app(kind: &str, payload: Vec<u8>) -> Event {
    Event::App {
        kind: kind.to_owned(),
        payload,
    }
}

/// One author log with an entry of every sort.
fn make_author() -> Author {
    let random = &mut SeededRandom::new(5);
    let made = make_identity();
    let identity = made.chain.state.identity();
    let device = made.devices[0].signing.clone();
    let stream = StreamId(bytes(random));
    let epoch_key: [u8; 32] = bytes(random);
    let epoch = EpochId(hash("epoch id", &[&stream.0, &epoch_key]).0);
    let start = Start::make(random, &device, stream, identity, identity);
    let mut author = Author {
        device,
        start,
        epoch_key,
        epoch,
        entries: Vec::new(),
    };
    let key = SealKey::derive("section", &epoch_key);
    let id = author.start.id();
    let after = |author: &Author| {
        author
            .entries
            .last()
            .map_or(Position::start(&id), VerifiedEntry::position)
    };
    let mut append = |author: &mut Author, millis: u64, head: Option<Hash>, sections: &[Vec<Event>]| {
        let signing = author.device.clone();
        let writer = Writer {
            signing: &signing,
            author: id,
            after: after(author),
            epoch,
            key: &key,
            head,
        };
        let entry = make_entry(random, &writer, Time::from_millis(BEGAN + millis), sections).unwrap();
        author.entries.push(entry);
    };
    append(
        &mut author,
        0,
        made.chain.state.head(),
        &[vec![app("journal.opened", vec![0, 255])]],
    );

    let (document, session) = (DocumentId([0xd0; 16]), SessionId([0x5e; 16]));
    let actor = DocumentChange::actor(&id, &document, &session);
    let mut opened = Document::new(&actor);
    let ((), changes) = opened
        .edit::<(), rhizome::DocumentError>(|edit| {
            edit.set(&path(["title"]), DocValue::String("First day".to_owned()))?;
            edit.set_text(&path(["text"]), "Rain, then none.")
        })
        .unwrap();
    let doc = |changes| {
        Event::Document(DocumentChange {
            collection: "journal".to_owned(),
            document,
            session,
            changes,
        })
    };
    append(&mut author, 0, None, &[vec![doc(changes), doc(Vec::new())]]);
    let sections = [
        vec![app("a", vec![7; 600])],
        vec![],
        vec![app("b", vec![]), app("", vec![1])],
    ];
    append(&mut author, 86_400_000, Some(Hash([9; 32])), &sections);

    // A kind of a later version, and after it an entry whose first section was erased.
    let content = encode(&(
        Time::from_millis(BEGAN + 90_000_000),
        vec![("later", encode_to_ipld(&vec![1u8, 2]))],
    ));
    let mut plain = (u32::try_from(content.len()).unwrap().to_be_bytes()).to_vec();
    plain.extend_from_slice(&content);
    plain.resize(PAD_FLOOR - 40, 0);
    let at = after(&author);
    let sealed = key.seal(
        &mut SeededRandom::new(6),
        &section_aad(&id, at.seq + 1, &epoch, 0),
        &plain,
    );
    let unsigned = Entry {
        epoch,
        head: None,
        sections: vec![Section::Box(sealed)],
        signature: Signature([0; 64]),
    };
    let signature = author.device.sign("entry", &unsigned.hash(&id, at.seq + 1, &at.hash).0);
    let range = Range {
        start: None,
        author: id,
        after: at,
        entries: vec![Entry { signature, ..unsigned }],
    };
    let verified = range.verify(&author.device.public()).unwrap();
    author.entries.push(verified.entries()[0].clone());

    append(
        &mut author,
        100_000_000,
        None,
        &[vec![app("erased", vec![3; 40])], vec![app("kept", vec![4; 40])]],
    );
    let last = author.entries.pop().unwrap();
    let mut entry = last.entry().clone();
    entry.sections[0] = Section::Erased(section_hash(&entry.sections[0]));
    let range = Range {
        start: None,
        author: id,
        after: after(&author),
        entries: vec![entry],
    };
    let verified = range.verify(&author.device.public()).unwrap();
    assert_eq!(verified.head(), last.position(), "an erased section keeps its hash");
    author.entries.push(verified.entries()[0].clone());
    author
}

type Stored = (Option<EpochId>, Option<Hash>, Vec<Section>, Signature);

fn make_entry_vector() -> Value {
    let author = make_author();
    let id = author.start.id();
    let key = SealKey::derive("section", &author.epoch_key);
    let mut after = Position::start(&id);
    let entries: Vec<_> = author
        .entries
        .iter()
        .map(|verified| {
            let (entry, at) = (verified.entry(), verified.position());
            let contents = (0u64..).zip(&entry.sections).map(|(number, section)| match section {
                Section::Erased(_) => Value::Null,
                Section::Box(sealed) => {
                    let plain = key.open(&section_aad(&id, at.seq, &entry.epoch, number), sealed).unwrap();
                    let length = u32::from_be_bytes(plain[..4].try_into().unwrap()) as usize;
                    json!(x(&plain[4..4 + length]))
                }
            });
            let stored: Stored = (Some(entry.epoch), entry.head, entry.sections.clone(), entry.signature);
            let header = header(entry, &id, &after);
            assert_eq!(hash("entry", &[&header]), at.hash);
            let one = json!({
                "stored": x(encode(&stored)), "header": x(&header), "hash": x(at.hash.0), "contents": contents.collect::<Vec<_>>(),
            });
            after = at;
            one
        })
        .collect();
    json!({
        "device_secret": x(secret(1).expose()), "start": x(author.start.encode()), "author": x(id.0),
        "stream": x(author.start.stream().0), "epoch": x(author.epoch.0), "epoch_key": x(author.epoch_key), "entries": entries,
    })
}

#[test]
fn entry() {
    check("entry", make_entry_vector());
    let v = committed("entry");
    let start = Start::decode(&un(&v["start"])).unwrap();
    assert_eq!(
        (start.id().to_string(), start.stream().to_string()),
        (text(&v["author"]).to_owned(), text(&v["stream"]).to_owned())
    );
    let key = SealKey::derive("section", &un_n(&v["epoch_key"]));
    let mut after = Position::start(&start.id());
    for one in list(&v["entries"]) {
        let (epoch, head, sections, signature): Stored = decode(&un(&one["stored"])).unwrap();
        let entry = Entry {
            epoch: epoch.unwrap(),
            head,
            sections,
            signature,
        };
        let range = Range {
            start: None,
            author: start.id(),
            after,
            entries: vec![entry],
        };
        let verified = range.verify(&start.device()).unwrap();
        after = verified.head();
        assert_eq!(after.hash.to_string(), text(&one["hash"]));
        let opened = open_entry(&verified.entries()[0], &key).unwrap();
        let contents = list(&one["contents"]).iter().filter(|content| !content.is_null());
        assert!(
            opened
                == contents
                    .map(|content| Content::decode(&un(content)).unwrap())
                    .collect::<Vec<_>>()
        );
        for event in opened.iter().flat_map(|content| &content.events) {
            if let Event::Document(change) = event {
                let actor = DocumentChange::actor(&start.id(), &change.document, &change.session);
                let mut document = Document::new(&[0; 32]);
                document.apply(&change.changes).unwrap();
                for bytes in &change.changes {
                    let info = rhizome::document::inspect(bytes, rhizome::document::Limits::default()).unwrap();
                    assert_eq!(info.actor, actor);
                    assert_eq!(document.text(&path(["text"])).as_deref(), Some("Rain, then none."));
                }
            }
        }
    }
    assert_eq!(list(&v["entries"]).len(), 5);
}

fn make_range_vector() -> Value {
    let author = make_author();
    let id = author.start.id();
    let device = author.device.public();
    let heads: Vec<Position> = std::iter::once(Position::start(&id))
        .chain(author.entries.iter().map(VerifiedEntry::position))
        .collect();
    let run = |from: usize, to: usize| Range {
        start: (from == 0).then(|| author.start.encode().to_vec()),
        author: id,
        after: heads[from],
        entries: author.entries[from..to]
            .iter()
            .map(|entry| entry.entry().clone())
            .collect(),
    };
    let mut good = Vec::new();
    let mut take = |name: &str, range: Vec<u8>| {
        let head = Range::decode(&range).unwrap().verify(&device).unwrap().head();
        good.push(json!({"name": name, "range": x(range), "device": x(device.0), "heads": {"seq": head.seq, "hash": x(head.hash.0)}}));
    };
    take("all, from the start", run(0, 5).encode());
    take("the first", run(0, 1).encode());
    take("from the middle", run(2, 4).encode());
    let mut middle = run(0, 3);
    middle.entries[1].signature.0[0] ^= 1;
    take("a bad signature before the last", middle.encode());
    let mut epochs = run(3, 5);
    epochs.entries[1].epoch = EpochId([3; 32]);
    let hash = epochs.entries[1].hash(&id, heads[5].seq, &heads[4].hash);
    epochs.entries[1].signature = author.device.sign("entry", &hash.0);
    take("two epochs", epochs.encode());

    let mut refused = Vec::new();
    let mut refuse = |name: &str, range: Vec<u8>, device: PublicKey| {
        assert!(range_refused(&range, &device), "the range {name} is taken");
        refused.push(json!({"name": name, "range": x(range), "device": x(device.0)}));
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Range));
    let changes: [Change<'_>; 14] = [
        ("a bad last signature", &|range| range.entries[2].signature.0[0] ^= 1),
        ("the signature of another entry", &|range| {
            range.entries[2].signature = range.entries[1].signature
        }),
        ("no signature", &|range| range.entries[2].signature = Signature([0; 64])),
        ("a changed box", &|range| {
            let Section::Box(sealed) = &mut range.entries[0].sections[0] else {
                unreachable!()
            };
            sealed[30] ^= 1;
        }),
        ("an entry left out", &|range| drop(range.entries.remove(1))),
        ("entries in another order", &|range| range.entries.swap(0, 1)),
        ("another epoch", &|range| range.entries[1].epoch = EpochId([7; 32])),
        ("another head", &|range| range.entries[1].head = Some(Hash([7; 32]))),
        ("sections in another order", &|range| {
            range.entries[2].sections.swap(0, 1)
        }),
        ("another author", &|range| range.author = AuthorId([7; 32])),
        ("another link", &|range| range.after.hash = Hash([7; 32])),
        ("another seq", &|range| (range.after.seq, range.start) = (2, None)),
        ("no start", &|range| range.start = None),
        ("no entries", &|range| range.entries.clear()),
    ];
    for (name, change) in changes {
        let mut range = run(0, 3);
        change(&mut range);
        refuse(name, range.encode(), device);
    }
    refuse(
        "of another device",
        run(0, 3).encode(),
        secret(2).keys().signing.public(),
    );
    refuse("bytes after it", [run(0, 3).encode(), vec![0]].concat(), device);
    let mut late = run(1, 3);
    late.start = Some(author.start.encode().to_vec());
    refuse("a start where none belongs", late.encode(), device);
    let random = &mut SeededRandom::new(7);
    let other = Start::make(
        random,
        &author.device,
        author.start.stream(),
        author.start.owner(),
        author.start.author(),
    );
    let mut of_other = run(0, 3);
    of_other.start = Some(other.encode().to_vec());
    refuse("the start of another author log", of_other.encode(), device);
    // Signed by the device, and yet not of the form.
    let mut signed = |name: &str, sections: Vec<Section>| {
        let mut entry = Entry {
            epoch: author.epoch,
            head: None,
            sections,
            signature: Signature([0; 64]),
        };
        entry.signature = author.device.sign("entry", &entry.hash(&id, 3, &heads[1].hash).0);
        refuse(
            name,
            Range {
                start: None,
                author: id,
                after: heads[1],
                entries: vec![entry],
            }
            .encode(),
            device,
        );
    };
    signed("no sections", Vec::new());
    signed("2049 sections", vec![Section::Erased(Hash([1; 32])); 2049]);
    signed("a box of 43 bytes", vec![Section::Box(vec![1; 43])]);
    // A first entry that names no epoch.
    let one = author.entries[1].entry();
    let stored: Stored = (None, one.head, one.sections.clone(), one.signature);
    let bare = encode(&(None::<ByteBuf>, id, 3u64, heads[1].hash, vec![stored]));
    refuse("a first entry without an epoch", bare, device);
    json!({"good": good, "refused": refused})
}

/// Whether a receiver that did not know the author log refuses the range.
fn range_refused(bytes: &[u8], device: &PublicKey) -> bool {
    let taken = || {
        let range = Range::decode(bytes).ok()?;
        let start = range.start().ok()?;
        range
            .verify(device)
            .ok()
            .filter(|_| start.is_none_or(|start| start.device() == *device))
    };
    taken().is_none()
}

#[test]
fn range() {
    check("range", make_range_vector());
    let v = committed("range");
    for one in list(&v["good"]) {
        let range = Range::decode(&un(&one["range"])).unwrap();
        assert!(range.start().unwrap().is_none_or(|start| start.id() == range.author));
        let head = range.clone().verify(&PublicKey(un_n(&one["device"]))).unwrap().head();
        assert_eq!(
            (head.seq, head.hash.to_string()),
            (
                one["heads"]["seq"].as_u64().unwrap(),
                text(&one["heads"]["hash"]).to_owned()
            )
        );
        assert_eq!(x(range.encode()), text(&one["range"]));
    }
    for one in list(&v["refused"]) {
        assert!(
            range_refused(&un(&one["range"]), &PublicKey(un_n(&one["device"]))),
            "{} is taken",
            one["name"]
        );
    }
}

// What replicas say of themselves

#[test]
fn have() {
    let random = &mut SeededRandom::new(8);
    let (one, two) = (AuthorId(bytes(random)), AuthorId(bytes(random)));
    let hashes: [Hash; 6] = std::array::from_fn(|_| Hash(bytes(random)));
    let item = |author, base, seq, at: usize| Item(author, base, seq, hashes[at]);
    let cases = [
        (None, vec![], vec![]),
        (Some(hashes[0]), vec![], vec![item(one, 0, 2, 1)]),
        (
            Some(hashes[0]),
            vec![hashes[5], hashes[4], hashes[3]],
            vec![
                item(two, 0, 300, 1),
                item(one, 0, 70_000, 2),
                item(one, 5, 9, 3),
                item(one, 7, 9, 4),
            ],
        ),
    ];
    let cases: Vec<_> = cases
        .into_iter()
        .map(|(last, pending, items): (Option<Hash>, Vec<Hash>, Vec<Item>)| {
            let listed: Vec<_> = items.iter().map(|item| json!([x(item.0.0), item.1, item.2, x(item.3.0)])).collect();
            json!({
                "items": listed, "last_commit": last.map(|last| x(last.0)),
                "pending": pending.iter().map(|id| x(id.0)).collect::<Vec<_>>(), "digest": x(digest(last, &pending, &items).0),
            })
        })
        .collect();
    check("have", json!({ "cases": cases }));
}

#[test]
fn receipt() {
    let random = &mut SeededRandom::new(9);
    let position = Position {
        seq: 1_234,
        hash: Hash(bytes(random)),
    };
    let peer = secret(3).keys().signing;
    let made = Receipt::make(
        &peer,
        StoreId(bytes(random)),
        AuthorId(bytes(random)),
        position,
        BEGAN + 5,
    );
    let fields = json!({
        "store": x(made.store.0), "author": x(made.author.0), "seq": position.seq, "hash": x(position.hash.0), "time": made.time,
    });
    check(
        "receipt",
        json!({"receipt": x(made.encode()), "peer_signing_public": x(peer.public().0), "fields": fields}),
    );
    let v = committed("receipt");
    let read = Receipt::decode(&un(&v["receipt"])).unwrap();
    assert_eq!(read.peer.to_string(), text(&v["peer_signing_public"]));
    assert_eq!(
        (read.position.seq, read.time),
        (
            v["fields"]["seq"].as_u64().unwrap(),
            v["fields"]["time"].as_u64().unwrap()
        )
    );
    assert_eq!(
        (x(read.store.0), x(read.author.0)),
        (
            text(&v["fields"]["store"]).to_owned(),
            text(&v["fields"]["author"]).to_owned()
        )
    );
}

// Linking

fn code(core: &[u8]) -> String {
    let check = hash("ticket", &[core]);
    let code = data_encoding::BASE32_NOPAD.encode(&[core, &check.0[..4]].concat());
    format!("rhizome:{}", code.to_ascii_lowercase())
}

#[test]
fn ticket() {
    let random = &mut SeededRandom::new(10);
    let endpoint = Keys::of(&secret(1).keys()).2;
    let secret: [u8; 16] = bytes(random);
    let cases = [
        (
            LinkRole::Member,
            vec!["192.0.2.7:50000".to_owned(), "[2001:db8::7]:50000".to_owned()],
            1_760_000_300,
        ),
        (LinkRole::NewDevice, vec![], 0),
        (
            LinkRole::CloudPeer,
            vec!["cloud.example:7777".to_owned(), "https://relay.example/".to_owned()],
            u64::MAX,
        ),
    ];
    let good: Vec<_> = cases
        .into_iter()
        .map(|(role, addresses, expires)| {
            let ticket = Ticket { role, endpoint, addresses, secret: secret.into(), expires };
            json!({
                "ticket": ticket.to_string(), "role": role.byte(), "endpoint": x(endpoint.0), "addresses": ticket.addresses,
                "secret": x(secret), "expiry": expires,
            })
        })
        .collect();
    let whole = text(&good[0]["ticket"]).to_owned();
    let of = |version: u8, role: u8, secret: &[u8]| {
        code(&encode(&(
            version,
            role,
            endpoint,
            Vec::<String>::new(),
            serde_bytes::Bytes::new(secret),
            9u64,
        )))
    };
    let refused = [
        String::new(),
        "rhizome:".to_owned(),
        whole.trim_start_matches("rhizome:").to_owned(),
        whole.replace("rhizome:", "https:"),
        whole[..whole.len() - 1].to_owned(),
        format!("{whole}="),
        format!("{whole}a"),
        whole.replacen(":a", ":b", 1).replacen(":q", ":r", 1),
        format!("{}1", &whole[..whole.len() - 1]),
        of(2, 0, &secret),
        of(1, 3, &secret),
        of(1, 0, &secret[1..]),
        code(&[encode(&(1u8, 0u8)), vec![0]].concat()),
    ];
    check("ticket", json!({"good": good, "refused": refused}));
    let v = committed("ticket");
    for one in list(&v["good"]) {
        let read = Ticket::parse(text(&one["ticket"])).unwrap();
        assert_eq!(read.to_string(), text(&one["ticket"]));
        assert_eq!(
            (x(*read.secret), read.expires),
            (text(&one["secret"]).to_owned(), one["expiry"].as_u64().unwrap())
        );
        assert_eq!(
            (read.role.byte(), read.endpoint.to_string()),
            (one["role"].as_u64().unwrap() as u8, text(&one["endpoint"]).to_owned())
        );
        let typed = format!(" {}\n", text(&one["ticket"]).to_ascii_uppercase());
        assert!(Ticket::parse(&typed).unwrap() == read, "as a person may type it");
    }
    for one in list(&v["refused"]) {
        assert!(Ticket::parse(text(one)).is_err(), "{one} is taken");
    }
}

#[test]
fn link() {
    let random = &mut SeededRandom::new(11);
    let ticket_secret: [u8; 16] = bytes(random);
    let (nonce_d, nonce_s): ([u8; 32], [u8; 32]) = (bytes(random), bytes(random));
    let (keys_d, keys_s) = (Keys::of(&secret(2).keys()), Keys::of(&secret(1).keys()));
    let role = LinkRole::NewDevice;
    let proof = LinkProof::make(&ticket_secret, role, &keys_d, &nonce_d);
    let number = short_number(
        &ticket_secret,
        &proof.commitment,
        (&nonce_d, &keys_d),
        (&nonce_s, &keys_s),
    );
    let keys = |keys: &Keys| [x(keys.0.0), x(keys.1.0), x(keys.2.0)];
    check(
        "link",
        json!({
            "secret": x(ticket_secret), "nonce_d": x(nonce_d), "nonce_s": x(nonce_s), "keys_d": keys(&keys_d),
            "keys_s": keys(&keys_s), "role_d": role.byte(), "commitment": x(proof.commitment.0), "proof": x(proof.proof.0),
            "number": number,
        }),
    );
    let v = committed("link");
    let read = LinkProof {
        commitment: Hash(un_n(&v["commitment"])),
        proof: Hash(un_n(&v["proof"])),
    };
    assert!(read.proves(&un_n(&v["secret"]), role, &keys_d) && read.reveals(&un_n(&v["nonce_d"])));
}

// Frames

/// What stands in one whole frame, as `net` reads it from a stream.
fn unframe(frame: &[u8]) -> Option<Message> {
    let (length, rest) = frame.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    (length > 0 && length <= MAX_FRAME && rest.len() == length).then(|| Message::decode(rest).ok())?
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[kind], body].concat()
}

fn make_frames() -> Value {
    let random = &mut SeededRandom::new(12);
    let made = make_identity();
    let author = make_author();
    let range = Range {
        start: Some(author.start.encode().to_vec()),
        author: author.start.id(),
        after: Position::start(&author.start.id()),
        entries: author.entries.iter().map(|entry| entry.entry().clone()).collect(),
    };
    let identity = made.chain.state.identity();
    let pending: Vec<Vec<u8>> = made.pending.iter().map(Operation::encode).collect();
    let commits = made.chain.log[..2]
        .iter()
        .map(|(commit, operation)| (commit.encode().to_vec(), operation.encode()));
    let [hash_a, hash_b, hash_c]: [Hash; 3] = std::array::from_fn(|_| Hash(bytes(random)));
    let store = StoreId(bytes(random));
    let at = author.entries[0].position();
    let receipts: Vec<Vec<u8>> = [author.entries[0].position(), author.entries[4].position()]
        .map(|at| {
            Receipt::make(&made.devices[2].signing, store, range.author, at, BEGAN)
                .encode()
                .to_vec()
        })
        .to_vec();
    let keys = Keys::of(&made.devices[1]);
    let agrees = consent(&made.devices[1].signing, &identity, &keys, false);
    let (role, author) = (1, range.author);
    let items = vec![Item(author, 0, at.seq, at.hash), Item(author, 2, 70_000, hash_a)];
    let hello = |proofs| Message::Hello {
        features: 0,
        identity,
        digest: hash_a,
        store,
        proofs,
    };
    let text = |text: &str| text.to_owned();
    let sealed = SealedAttachment::make(5);
    let receipt_of_it = AttachmentReceipt::make(&made.devices[2].signing, store, sealed.manifest.id(), BEGAN);
    let receipt_of_it = receipt_of_it.encode().to_vec();
    let messages = [
        hello(vec![]),
        hello(pending.clone()),
        Message::State {
            count: 0,
            head: None,
            pending: vec![],
            items: vec![],
            more: false,
        },
        Message::State {
            count: 19,
            head: Some(hash_b),
            pending: vec![hash_a, hash_c],
            items,
            more: true,
        },
        Message::Operations(pending),
        Message::Commits(commits.collect()),
        Message::Range(Box::new(range)),
        Message::Receipts(receipts.clone()),
        Message::Refused {
            author: Some(author),
            reason: RefuseReason::QuotaBytes,
            limit: 1 << 40,
        },
        Message::Refused {
            author: None,
            reason: RefuseReason::Rate,
            limit: 0,
        },
        Message::Locate {
            author,
            points: vec![(at.seq, at.hash), (1, Hash(author.0))],
        },
        Message::Synced(300),
        Message::Bye(ByeReason::ShuttingDown),
        Message::Loss(receipts),
        Message::Confirm(vec![(author, at.seq, at.hash), (author, 70_000, hash_a)]),
        Message::LinkBegin {
            role,
            keys,
            commitment: hash_a,
            proof: hash_b,
        },
        Message::LinkReply {
            role,
            keys,
            nonce: hash_c,
        },
        Message::LinkReveal(hash_a),
        Message::LinkOffer(identity),
        Message::LinkConsent {
            consent: agrees,
            name: text("Zoë’s tablet"),
            services: vec![],
        },
        Message::LinkConsent {
            consent: agrees,
            name: text("cloud"),
            services: vec![text("cloud.example:7777")],
        },
        Message::LinkWelcome(hash_b),
        Message::LinkRefused(text("declined")),
        Message::LinkDone,
        Message::Recover {
            recovery: recovery().0.public().0,
            signature: recovery().0.signing().sign("recover", &[1; 64]),
        },
        Message::Hello {
            features: 1,
            identity,
            digest: hash_b,
            store,
            proofs: vec![],
        },
        Message::Attachments {
            identity,
            store,
            wanted: vec![AttachmentId(hash_a.0), AttachmentId(hash_b.0)],
        },
        Message::AskHeld(vec![AttachmentId(hash_a.0)]),
        Message::Held {
            held: vec![
                (AttachmentId(hash_a.0), Some(0)),
                (AttachmentId(hash_b.0), Some(300)),
                (AttachmentId(hash_c.0), None),
            ],
            receipts: vec![
                AttachmentReceipt::make(&made.devices[2].signing, store, AttachmentId(hash_a.0), BEGAN)
                    .encode()
                    .to_vec(),
            ],
        },
        Message::Manifest(sealed.manifest.encode()),
        Message::Chunks {
            id: sealed.manifest.id(),
            map: vec![0],
        },
        Message::Chunk {
            id: sealed.manifest.id(),
            number: 0,
            sealed: sealed.boxes[0].clone(),
        },
        Message::Stored {
            id: sealed.manifest.id(),
            count: 1,
            receipt: Some(receipt_of_it.clone()),
        },
        Message::Stored {
            id: sealed.manifest.id(),
            count: 8,
            receipt: None,
        },
        Message::Fetch {
            id: sealed.manifest.id(),
            manifest: true,
            from: 300,
            count: 8,
        },
        Message::Fetched {
            id: sealed.manifest.id(),
            count: 7,
        },
        Message::NotKept {
            id: sealed.manifest.id(),
            reason: RefuseReason::NotWanted,
            limit: 0,
        },
    ];
    let frames: Vec<_> = messages
        .iter()
        .map(|message| {
            let frame = message.to_frame();
            assert_eq!(unframe(&frame).as_ref(), Some(message));
            json!({"kind": message.kind(), "frame": x(&frame), "body": x(&frame[5..])})
        })
        .collect();
    let empty: [u8; 0] = [];
    let words = |word: &str| encode(&(word,));
    let refused = [
        vec![],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 2, 8],
        frame(8, &[]),
        frame(8, &encode(&empty)),
        frame(8, &[encode(&(3u64,)), vec![0]].concat()),
        // 3 in two bytes; an indefinite list; a map.
        frame(8, &[0x81, 0x18, 3]),
        frame(8, &[0x9f, 3, 0xff]),
        frame(8, &[0xa0]),
        frame(8, &encode(&(3u64, 3u64))),
        frame(8, &encode(&(-1i64,))),
        frame(12, &encode(&empty)),
        frame(31, &encode(&empty)),
        frame(40, &encode(&empty)),
        frame(255, &encode(&empty)),
        frame(39, &encode(&(1u64,))),
        frame(9, &words("because")),
        frame(6, &encode(&(None::<Hash>, "because", 0u64))),
        frame(34, &encode(&(serde_bytes::Bytes::new(&[1; 31]),))),
        frame(0, &encode(&(2u64, 0u64, identity, hash_a, store, empty))),
        [&(MAX_FRAME as u32 + 1).to_be_bytes()[..], &[2]].concat(),
    ];
    for one in &refused {
        assert_eq!(unframe(one), None, "{}", x(one));
    }
    json!({"frames": frames, "refused": refused.map(x)})
}

#[test]
fn frames() {
    check("frames", make_frames());
    let v = committed("frames");
    let mut kinds = Vec::new();
    for one in list(&v["frames"]) {
        let message = unframe(&un(&one["frame"])).expect("the frame decodes");
        assert_eq!(
            (u64::from(message.kind()), x(message.to_frame())),
            (one["kind"].as_u64().unwrap(), text(&one["frame"]).to_owned())
        );
        kinds.push(message.kind());
    }
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 32, 33, 34, 35, 36, 37, 38, 39, 40, 0, 48, 49, 50, 51, 52, 53, 54,
            55, 56, 57
        ],
        "a frame of every kind"
    );
    for one in list(&v["refused"]) {
        assert_eq!(unframe(&un(one)), None, "{one} is taken");
    }
}

/// An attachment of `size` bytes, byte n being n mod 251.
struct SealedAttachment {
    size: usize,
    key: [u8; 32],
    manifest: Manifest,
    boxes: Vec<Vec<u8>>,
}

impl SealedAttachment {
    fn make(size: usize) -> Self {
        let mut random = SeededRandom::new(60 + size as u64);
        let mut sealer = ChunkSealer::new(&mut random);
        let mut boxes = Vec::new();
        for piece in Self::plain(size).chunks(CHUNK) {
            boxes.extend(sealer.push(&mut random, piece).unwrap());
        }
        while let Some(sealed) = sealer.finish(&mut random) {
            boxes.push(sealed);
        }
        let (manifest, key) = sealer.into_parts();
        let key = *key;
        Self {
            size,
            key,
            manifest,
            boxes,
        }
    }

    fn plain(size: usize) -> Vec<u8> {
        (0..size).map(|n| (n % 251) as u8).collect()
    }
}

fn make_attachment() -> Value {
    let attachments: Vec<Value> = [0, 5, 3 * CHUNK - 40, 3 * CHUNK + 1]
        .map(SealedAttachment::make)
        .iter()
        .map(|made| {
            json!({
                "size": made.size,
                "padded": made.manifest.padded(),
                "key": x(made.key),
                "manifest": x(made.manifest.encode()),
                "id": x(made.manifest.id().0),
                // The boxes themselves where they are short: the others follow from their nonces.
                "nonces": made.boxes.iter().map(|sealed| x(&sealed[..24])).collect::<Vec<_>>(),
                "boxes": made.boxes.iter().filter(|sealed| sealed.len() < 1000).map(x).collect::<Vec<_>>(),
                "hashes": made.boxes.iter().map(|sealed| x(hash_chunk(sealed).0)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let manifest =
        |version: u8, padded: u64, hashes: usize| x(encode(&(version, padded, ByteBuf::from(vec![7; hashes]))));
    let refused = [
        manifest(2, 256, 32),
        manifest(1, 0, 0),
        manifest(1, 255, 32),
        manifest(1, 257, 32),
        manifest(1, 256, 31),
        manifest(1, 256, 64),
        manifest(1, 2 * CHUNK as u64, 32),
        x(encode(&(1u8, 256u64))),
    ];
    let by = SigningKey::from_seed(&[1; 32]);
    let receipt = AttachmentReceipt::make(&by, StoreId([3; 16]), AttachmentId([4; 32]), BEGAN);
    json!({
        "attachments": attachments,
        "refused": refused,
        "receipt": {
            "peer_signing_public": x(by.public().0),
            "store": x([3; 16]),
            "attachment": x([4; 32]),
            "time": BEGAN,
            "receipt": x(receipt.encode()),
        },
    })
}

#[test]
fn attachment() {
    check("attachment", make_attachment());
    let v = committed("attachment");
    for one in list(&v["attachments"]) {
        let manifest = Manifest::decode(&un(&one["manifest"])).unwrap();
        assert_eq!(x(manifest.id().0), text(&one["id"]));
        let size = one["size"].as_u64().unwrap();
        let key = rhizome::crypto::Secret::from(un_n::<32>(&one["key"]));
        for (number, sealed) in (0..).zip(list(&one["boxes"])) {
            let plain = open_chunk(&key, &manifest, size, number, &un(sealed)).unwrap();
            assert_eq!(*plain, SealedAttachment::plain(plain.len()));
        }
    }
    for one in list(&v["refused"]) {
        assert!(Manifest::decode(&un(one)).is_err(), "{one} is taken");
    }
    let receipt = AttachmentReceipt::decode(&un(&v["receipt"]["receipt"])).unwrap();
    assert_eq!(x(receipt.peer.0), text(&v["receipt"]["peer_signing_public"]));
    assert_eq!(receipt.time, v["receipt"]["time"].as_u64().unwrap());
}

/// The tables of `log.db` stand in `docs/formats.md` as they are made.
#[test]
fn the_page_gives_the_schema() {
    let tables = |sql: &[&str]| {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        sql.iter().for_each(|sql| db.execute_batch(sql).unwrap());
        let mut statement = db.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<Vec<(String, Option<String>)>, _>>().unwrap()
    };
    let page = include_str!("../../docs/formats.md");
    let (page, _) = page.split_once("```sql\n").unwrap().1.split_once("```").unwrap();
    let made = tables(&[
        include_str!("../src/store/migrations/0001.sql"),
        include_str!("../src/store/migrations/0002.sql"),
        include_str!("../src/store/migrations/0003.sql"),
    ]);
    assert!(made.len() > 10);
    assert_eq!(tables(&[page]), made);
}

/// An identity log to which each adds what it likes, at the time it likes.
struct Story {
    random: SeededRandom,
    known: Known,
    time: u64,
    rows: Vec<Value>,
}

/// Who proposes: a device, or the words.
enum By<'a> {
    Device(&'a DeviceKeys),
    Words(&'a RecoverySecret),
}

impl Story {
    fn begin(by: &SigningKey, genesis: Operation) -> Self {
        let chain = Chain::begin(by, genesis);
        Self {
            random: SeededRandom::new(40),
            known: Known::from_log(chain.log, Vec::new()).unwrap(),
            time: BEGAN,
            rows: chain.rows,
        }
    }

    fn propose(
        &mut self,
        by: &By<'_>,
        make: impl FnOnce(&mut dyn Random, &Proposer<'_>, &State, &KeyRing) -> Operation,
    ) -> Operation {
        let (signing, agreement) = match by {
            By::Device(keys) => (keys.signing.clone(), keys.agreement.clone()),
            By::Words(words) => (words.signing(), words.agreement()),
        };
        let ring = self.known.key_ring_of(&agreement);
        let proposer = Proposer::of(&self.known.ordered, &ring, &signing).unwrap();
        make(&mut self.random, &proposer, &self.known.ordered, &ring)
    }

    fn commit(&mut self, orderer: &SigningKey, operation: &Operation) -> Verdict {
        let commit = self.known.ordered.next_commit(orderer, operation, self.time).unwrap();
        let mut log = self.known.log.clone();
        log.push((commit.clone(), operation.clone()));
        self.known = Known::from_log(log, Vec::new()).unwrap();
        let verdict = *self.known.verdicts.last().unwrap();
        let word = if verdict == Verdict::Ok { "ok" } else { "void" };
        self.rows
            .push(json!({"commit": x(commit.encode()), "operation": x(operation.encode()), "verdict": word}));
        verdict
    }

    /// Proposes, commits, and says whether it had an effect.
    fn put(
        &mut self,
        orderer: &SigningKey,
        by: &By<'_>,
        make: impl FnOnce(&mut dyn Random, &Proposer<'_>, &State, &KeyRing) -> Operation,
    ) -> bool {
        let operation = self.propose(by, make);
        self.commit(orderer, &operation) == Verdict::Ok
    }

    /// All that the log says now.
    fn summary(&self) -> Value {
        let state = &self.known.ordered;
        let cutoffs = |removed: &Removed| -> Vec<Value> {
            let each = removed.cutoffs.iter();
            each.flat_map(|(author, ends)| ends.iter().map(move |(seq, hash)| json!([x(author.0), seq, x(hash.0)])))
                .collect()
        };
        let next = state.next_recovery();
        let erasures = state.erasures().iter().map(|(id, erasure)| {
            let sections = erasure.sections.iter();
            let sections = sections.map(|one| json!([x(one.0.0), one.1, x(one.2.0), one.3]));
            json!({"operation": x(id.0), "due": erasure.due, "sections": sections.collect::<Vec<_>>()})
        });
        json!({
            "devices": state.devices().keys().map(|key| x(key.0)).collect::<Vec<_>>(),
            "peers": state.peers().keys().map(|key| x(key.0)).collect::<Vec<_>>(),
            "removed": state.removed().iter().map(|(key, removed)| json!({"device": x(key.0), "cutoffs": cutoffs(removed)})).collect::<Vec<_>>(),
            "removed_peers": state.removed_peers().keys().map(|key| x(key.0)).collect::<Vec<_>>(),
            "orderers": state.orderers().iter().map(|key| x(key.0)).collect::<Vec<_>>(),
            "term": state.term(),
            "head": x(state.head().unwrap().0),
            "recovery": [x(state.recovery().0.0), x(state.recovery().1.0)],
            "next_recovery": next.map(|(keys, at)| json!({"keys": [x(keys.0.0), x(keys.1.0)], "at": at})),
            "key_id": x(state.key_id().0),
            "exposed": state.exposed(),
            "needs_rewrap": state.needs_rewrap(),
            "erasures": erasures.collect::<Vec<_>>(),
        })
    }

    /// What a reader with these keys reaches.
    fn reach(&self, agreement: &AgreementKey) -> Value {
        let ring = self.known.key_ring_of(agreement);
        let streams = ring.streams().iter().map(|(stream, known)| {
            json!({"stream": x(stream.0), "label": known.label, "current": x(known.current.0), "under": x(known.under.0)})
        });
        let names = self
            .known
            .ordered
            .devices()
            .keys()
            .chain(self.known.ordered.peers().keys());
        json!({
            "has_key": ring.identity_key(&self.known.ordered.key_id()).is_some(),
            "streams": streams.collect::<Vec<_>>(),
            "names": names.map(|key| json!([x(key.0), ring.name(key)])).collect::<Vec<_>>(),
            "alarms": ring.alarms(),
        })
    }
}

const HOUR: u64 = 3_600_000;

/// One log with every kind of operation, in the ways in which they go right and wrong; and pairs of commits for one place.
#[test]
fn root() {
    let keys = [1, 2, 3, 4, 5].map(|n| secret(n).keys());
    let [first, second, peer, third, fourth] = &keys;
    let (words, new_words) = (recovery().0, RecoverySecret::make(&mut SeededRandom::new(41)));
    let begin = genesis(&mut SeededRandom::new(42), first, &words, "telephone", &["journal"]);
    let identity = begin.identity();
    let mut story = Story::begin(&first.signing, begin);
    let order = &first.signing;
    let (a, b) = (By::Device(first), By::Device(second));
    let w = By::Words(&words);
    let mut sizes = BTreeMap::new();
    let joins = |keys: &DeviceKeys, peer| (Keys::of(keys), consent(&keys.signing, &identity, &Keys::of(keys), peer));
    let add = |story: &mut Story, by: &By<'_>, keys: &DeviceKeys, name: &str| {
        let (public, yes) = joins(keys, false);
        story.put(order, by, |random, by, _, _| {
            add_device(random, by, public, yes, name).unwrap()
        })
    };
    let remove = |story: &mut Story, orderer: &SigningKey, by: &By<'_>, whom: &DeviceKeys, cutoffs: Vec<Cutoff>| {
        let whom = whom.signing.public();
        story.put(orderer, by, |random, by, state, ring| {
            remove_device(random, by, (state, ring), whom, cutoffs).unwrap()
        })
    };
    assert!(add(&mut story, &a, second, "tablet"));
    assert!(add(&mut story, &b, third, "laptop"));
    let (public, yes) = joins(peer, true);
    assert!(story.put(order, &a, |random, by, _, _| add_peer(
        random,
        by,
        public,
        yes,
        vec!["box.example:7700".into()],
        "cloud"
    )));
    let renamed = third.signing.public();
    assert!(story.put(order, &b, |random, by, _, _| rename_device(
        random,
        by,
        renamed,
        "old laptop"
    )));
    let stream = story.known.key_ring(first).stream("journal").unwrap().0;
    assert!(story.put(order, &b, |random, by, _, _| new_epochs(
        random,
        by,
        &[(stream, "journal")]
    )));
    let cutoff = |n: u8, seq| Cutoff(Hash([n; 32]), seq, Hash([n + 1; 32]));
    // Two remove at once: the second wraps for one too many, so the key is exposed until somebody makes it anew.
    let late = {
        let whom = fourth.signing.public();
        story.propose(&b, |random, by, state, ring| {
            remove_device(random, by, (state, ring), whom, vec![]).unwrap()
        })
    };
    assert!(remove(&mut story, order, &a, third, vec![cutoff(10, 5), cutoff(12, 7)]));
    assert_eq!(story.commit(order, &late), Verdict::Ok);
    assert!(story.put(order, &a, |random, by, state, ring| {
        rewrap(random, by, (state, ring)).unwrap()
    }));
    let whom = third.signing.public();
    let raise = raise_cutoff(
        &second.signing,
        identity,
        story.known.ordered.head(),
        whom,
        vec![cutoff(10, 9)],
    );
    assert_eq!(story.commit(order, &raise), Verdict::Ok);
    let nobody = raise_cutoff(&second.signing, identity, None, first.signing.public(), vec![]);
    assert_ne!(story.commit(order, &nobody), Verdict::Ok);
    // Who was removed, or kept out, comes back by nobody but the words.
    assert!(!add(&mut story, &a, third, "laptop"));
    assert!(!add(&mut story, &a, fourth, "watch"));
    let itself = By::Device(second);
    assert!(!remove(&mut story, order, &itself, second, vec![]));
    let section = ErasedSection(Hash([20; 32]), 3, Hash([21; 32]), 1);
    let first_erase = story.propose(&a, |random, by, _, _| erase(random, by, vec![section]));
    assert_eq!(story.commit(order, &first_erase), Verdict::Ok);
    assert!(story.put(order, &b, |random, by, _, _| cancel_erase(random, by, first_erase.id())));
    assert!(!story.put(order, &b, |random, by, _, _| cancel_erase(random, by, first_erase.id())));
    assert!(story.put(order, &a, |random, by, _, _| erase(random, by, vec![section])));
    let other = new_words.public();
    assert!(story.put(order, &a, |random, by, _, _| {
        rotate_recovery(random, by, other).unwrap()
    }));
    story.time += 71 * HOUR;
    assert!(story.put(order, &w, |random, by, _, _| rename_device(
        random,
        by,
        whom_is(first),
        "telephone"
    )));
    let before_words = json!({"summary": story.summary(), "words": story.reach(&words.agreement())});
    let early = story.known.clone();
    // The words take the order, bring a device back, and give the order to the peer.
    let regent = words.signing();
    story.time += HOUR / 2;
    let take = story.propose(&w, |random, by, state, _| {
        change_orderers(random, by, state.term() + 1, vec![words.signing().public()])
    });
    assert_eq!(story.commit(&regent, &take), Verdict::Ok);
    let (public, yes) = joins(third, false);
    assert!(story.put(&regent, &w, |random, by, _, _| {
        add_device(random, by, public, yes, "laptop").unwrap()
    }));
    assert!(story.put(&regent, &w, |random, by, state, _| change_orderers(
        random,
        by,
        state.term() + 1,
        vec![peer.signing.public()]
    )));
    // What a device proposed counts from the commit that has its time.
    story.time = BEGAN + 72 * HOUR;
    assert!(!story.put(&peer.signing, &w, |random, by, _, _| erase(random, by, vec![section])));
    assert!(story.put(&peer.signing, &By::Device(third), |random, by, state, ring| {
        rewrap(random, by, (state, ring)).unwrap()
    }));
    // Most of the three devices name the first one again.
    let (term, from) = (story.known.ordered.term() + 1, story.known.ordered.head().unwrap());
    let wanted = vec![first.signing.public()];
    let theirs = vote(&third.signing, &identity, term, &wanted, &from);
    let voted = story.propose(&a, |random, by, _, _| {
        change_orderers_by_vote(
            random,
            by,
            term,
            wanted.clone(),
            from,
            vec![(third.signing.public(), theirs)],
        )
    });
    assert_eq!(story.commit(order, &voted), Verdict::Ok);
    assert!(story.put(order, &a, |random, by, _, _| remove_peer(
        random,
        by,
        peer.signing.public()
    )));
    for (_, operation) in &story.known.log {
        sizes.insert(operation.kind(), operation.encode().len());
    }
    assert_eq!(sizes.len(), 13, "every kind but Streams: {sizes:?}");

    // Pairs of commits for the place after `early`: the one that counts stands first.
    let mut pairs = Vec::new();
    {
        let mut story = Story {
            random: SeededRandom::new(43),
            known: early.clone(),
            time: story.time,
            rows: Vec::new(),
        };
        let (term, from) = (early.ordered.term() + 1, early.ordered.head().unwrap());
        let plain = story.propose(&a, |random, by, _, _| rename_device(random, by, whom_is(first), "x"));
        let handed = story.propose(&a, |random, by, _, _| {
            change_orderers(random, by, term, vec![peer.signing.public()])
        });
        let mine = vec![second.signing.public()];
        let yes = vote(&first.signing, &identity, term, &mine, &from);
        let voted = story.propose(&b, |random, by, _, _| {
            change_orderers_by_vote(
                random,
                by,
                term,
                mine.clone(),
                from,
                vec![(first.signing.public(), yes)],
            )
        });
        let mut by_words = |seed| {
            story.random = SeededRandom::new(seed);
            story.propose(&w, |random, by, _, _| {
                change_orderers(random, by, term, vec![regent.public()])
            })
        };
        let (one, two) = (by_words(44), by_words(45));
        let commit = |by: &SigningKey, operation: &Operation| {
            early.ordered.next_commit(by, operation, BEGAN + 71 * HOUR).unwrap()
        };
        let cases = [
            (commit(order, &plain), plain),
            (commit(order, &handed), handed),
            (commit(&second.signing, &voted), voted),
            (commit(&regent, &one), one),
            (commit(&regent, &two), two),
        ];
        let row = |(commit, operation): &(Commit, Operation)| json!([x(commit.encode()), x(operation.encode())]);
        for (n, higher) in cases.iter().enumerate() {
            for lower in &cases[..n] {
                let [up, down] = [higher, lower].map(|(commit, operation)| early.ordered.precedence(commit, operation));
                let order = match up.cmp(&down) {
                    std::cmp::Ordering::Greater => json!([row(higher), row(lower)]),
                    std::cmp::Ordering::Less => json!([row(lower), row(higher)]),
                    std::cmp::Ordering::Equal => continue,
                };
                pairs.push(order);
            }
        }
        // Only the two of the old orderer are equal: it lied.
        assert_eq!(pairs.len(), 9);
    }
    let reach: Vec<Value> = keys.iter().map(|keys| story.reach(&keys.agreement)).collect();
    let secrets = [1, 2, 3, 4, 5].map(|n| x(secret(n).expose()));
    check(
        "root",
        json!({
            "device_secrets": secrets,
            "recovery_entropies": [x(recovery().1), x(bytes::<32>(&mut SeededRandom::new(41)))],
            "log": story.rows,
            "after_the_first": early.log.len(),
            "then": before_words,
            "end": story.summary(),
            "reach": reach,
            "words_reach": [story.reach(&words.agreement()), story.reach(&new_words.agreement())],
            "pairs": pairs,
        }),
    );
    // What was committed folds to the same.
    let v = committed("root");
    let log: Vec<_> = list(&v["log"]).iter().map(read_row).collect();
    assert_eq!(Known::from_log(log, Vec::new()).unwrap().ordered, story.known.ordered);
}

fn whom_is(keys: &DeviceKeys) -> PublicKey {
    keys.signing.public()
}
