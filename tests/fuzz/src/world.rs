//! The one identity that all targets share: devices, keys and streams that follow from fixed seeds, so that an input means the same for ever.

use std::sync::{Arc, OnceLock};

use rhizome::{
    crypto::{
        DeviceKeys, DeviceSecret, Hash, PublicKey, Random, SealKey, SeededRandom, Signature, SigningKey, decode,
        encode, hash,
    },
    identity::{
        Commit, CommitCore, Keys, Operation, Proposer, RecoverySecret, State, StreamId, add_device, add_peer, consent,
        genesis,
    },
    log::{AuthorId, Entry, Position, Range, Section, Start},
    store::LogStore,
    sync::{Known, Limits, Replica},
};
use serde_bytes::ByteBuf;

/// Devices: two of the identity, its cloud peer, and strangers.
pub const MEMBERS: usize = 5;

/// The identity, and what its devices know.
pub struct World {
    /// Of every member, by number: 0 and 1 are devices, 2 the cloud peer, 3 and 4 nobody.
    pub keys: Vec<DeviceKeys>,
    /// Commits and operations so far.
    pub log: Vec<(Commit, Operation)>,
    /// After them.
    pub state: State,
    /// The current identity key.
    pub identity_key: [u8; 32],
    /// The stream that devices write to, its epoch's id, and its key.
    pub stream: StreamId,
    /// The key of its epoch.
    pub section_key: SealKey,
    /// The epoch.
    pub epoch: rhizome::identity::EpochId,
    /// The author log of each device.
    pub starts: Vec<Start>,
}

/// The keys of member `n`.
fn keys(n: usize) -> DeviceKeys {
    DeviceSecret::from_bytes([n as u8 + 1; 32]).keys()
}

/// The commit that device 0 signs for `operation`.
pub fn commit(signing: &SigningKey, state: &State, operation: &Operation) -> Commit {
    state
        .next_commit(signing, operation, 1_000)
        .expect("device 0 orders this identity")
}

fn build() -> World {
    let mut random = SeededRandom::new(4);
    let keys: Vec<DeviceKeys> = (0..MEMBERS).map(keys).collect();
    let recovery = RecoverySecret::make(&mut random);
    let first = genesis(&mut random, &keys[0], &recovery, "first", &["journal", "other"]);
    let core = CommitCore {
        identity: first.identity(),
        index: 0,
        previous: None,
        operation: first.id(),
        term: 0,
        time: 0,
        orderer: keys[0].signing.public(),
    };
    let mut log = vec![(Commit::make(&keys[0].signing, core), first)];
    let known = Known::from_log(log.clone(), Vec::new()).expect("a genesis just made");
    let mut state = known.ordered.clone();
    let ring = known.key_ring(&keys[0]);
    let identity_key: [u8; 32] = **ring.identity_key(&state.key_id()).expect("wrapped for device 0");
    for (n, peer) in [(1, false), (2, true)] {
        let public = Keys::of(&keys[n]);
        let by = Proposer {
            identity: state.identity(),
            binding: state.binding(),
            seen: state.head(),
            signing: &keys[0].signing,
            identity_key: &identity_key,
            beside: Vec::new(),
        };
        let agreed = consent(&keys[n].signing, &state.identity(), &public, peer);
        let operation = if peer {
            add_peer(
                &mut random,
                &by,
                public,
                agreed,
                vec!["peer.example:7777".into()],
                "peer",
            )
        } else {
            add_device(&mut random, &by, public, agreed, "second").expect("an honest key")
        };
        let commit = commit(&keys[0].signing, &state, &operation);
        state.apply(&commit, &operation).expect("it follows");
        log.push((commit, operation));
    }
    let (stream, current) = ring.stream("journal").expect("begun in the genesis");
    let epoch = current.current;
    let identity = state.identity();
    let starts = keys
        .iter()
        .map(|keys| Start::make(&mut random, &keys.signing, stream, identity, identity))
        .collect();
    World {
        section_key: ring.epoch(&epoch).expect("begun in the genesis").clone(),
        keys,
        log,
        state,
        identity_key,
        stream,
        epoch,
        starts,
    }
}

/// The identity.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(build)
}

/// Makes what is shared, before anything is measured.
pub fn prepare() {
    world();
    crate::targets::document::base();
}

impl World {
    /// A replica of member `n` with a store of its own in memory. It knows the identity log, and has its author log if it is a device.
    pub fn replica(&self, n: usize) -> Replica {
        let store = LogStore::in_memory(&mut SeededRandom::new(n as u64)).expect("a database in memory");
        let signing = self.keys[n].signing.clone();
        Replica::adopt(
            store,
            self.log.clone(),
            Vec::new(),
            signing,
            Arc::new(|| 1_000),
            Limits::default(),
        )
        .expect("a log that was checked")
    }

    /// Which member has this signing key.
    pub fn member(&self, key: &PublicKey) -> Option<&DeviceKeys> {
        self.keys.iter().find(|keys| keys.signing.public() == *key)
    }

    /// Seals a section's plain bytes as device `n` would, for the place of entry `seq`, section `number`.
    pub fn seal(&self, n: usize, seq: u64, number: usize, plain: &[u8]) -> Section {
        let aad = encode(&(1u8, self.starts[n].id(), seq, self.epoch, number as u64));
        let mut random = SeededRandom::new(seq * 1_000 + number as u64);
        Section::Box(self.section_key.seal(&mut random, &aad, plain))
    }

    /// What stands in a section: the content's length, the content, and padding.
    pub fn plain(content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("an input is below 4 GiB");
        [&length.to_be_bytes()[..], content].concat()
    }

    /// A range of device `n` with these sections of each entry, after `after`, signed.
    pub fn range(&self, n: usize, after: Position, entries: Vec<Vec<Section>>) -> Range {
        let author = self.starts[n].id();
        let entry = |sections| Entry {
            epoch: self.epoch,
            head: None,
            sections,
            signature: Signature([0; 64]),
        };
        let mut range = Range {
            start: (after.seq == 1).then(|| self.starts[n].encode().to_vec()),
            author,
            after,
            entries: entries.into_iter().map(entry).collect(),
        };
        sign_range(&self.keys[n].signing, &mut range);
        range
    }
}

/// Signs the last entry of a range, whatever the range holds. Gives the position of its end.
pub fn sign_range(signing: &SigningKey, range: &mut Range) -> Position {
    let mut at = range.after;
    for entry in &range.entries {
        let seq = at.seq.saturating_add(1);
        at = Position {
            seq,
            hash: entry.hash(&range.author, seq, &at.hash),
        };
    }
    if let Some(last) = range.entries.last_mut() {
        last.signature = signing.sign("entry", &at.hash.0);
    }
    at
}

/// What kind of signed thing bytes are, as far as signing goes.
#[derive(Clone, Copy)]
pub struct Signed {
    /// The written purpose of the signature.
    pub purpose: &'static str,
    /// Where in the core the signer's key stands.
    pub signer: usize,
    /// Whether the core's hash is signed (by this domain), or the core itself.
    pub hashed: bool,
}

/// A commit.
pub const COMMIT: Signed = Signed {
    purpose: "commit",
    signer: 7,
    hashed: true,
};
/// The start of an author log.
pub const START: Signed = Signed {
    purpose: "start",
    signer: 4,
    hashed: false,
};
/// A receipt.
pub const RECEIPT: Signed = Signed {
    purpose: "receipt",
    signer: 1,
    hashed: false,
};

/// A receipt for an attachment.
pub const ATTACHMENT_RECEIPT: Signed = Signed {
    purpose: "attachment receipt",
    signer: 1,
    hashed: false,
};

/// Signs `[core, signature]` anew with the key of the member that its core names, or else of device 0, whose key is put in. `None` if the
/// bytes are not of that shape.
pub fn sign_again(bytes: &[u8], kind: Signed) -> Option<Vec<u8>> {
    use ipld_core::ipld::Ipld;
    let Ok((core, _)) = decode::<(ByteBuf, Ipld)>(bytes) else {
        return None;
    };
    let (core, signing) = name_signer(core.into_vec(), kind.signer)?;
    let signed = if kind.hashed {
        hash(kind.purpose, &[&core]).0.to_vec()
    } else {
        core.clone()
    };
    let signature = signing.sign(kind.purpose, &signed);
    Some(encode(&(ByteBuf::from(core), signature)))
}

/// As [`sign_again`], for an operation; its core is made to name the parts that come with it.
pub fn sign_operation_again(bytes: &[u8]) -> Option<Vec<u8>> {
    use ipld_core::ipld::Ipld;
    let Ok((core, _, peers, sealed)) = decode::<(ByteBuf, Ipld, Option<ByteBuf>, Option<ByteBuf>)>(bytes) else {
        return None;
    };
    let Ok(Ipld::List(mut items)) = decode::<Ipld>(&core) else {
        return None;
    };
    let part = |part: &Option<ByteBuf>| match part {
        Some(part) => Ipld::Bytes(hash("operation part", &[part]).0.to_vec()),
        None => Ipld::Null,
    };
    if items.len() == 8 {
        items[6] = part(&peers);
        items[7] = part(&sealed);
    }
    let (core, signing) = name_signer(encode(&Ipld::List(items)), 2)?;
    let signature = signing.sign("operation", &hash("operation", &[&core]).0);
    Some(encode(&(ByteBuf::from(core), signature, peers, sealed)))
}

fn name_signer(core: Vec<u8>, place: usize) -> Option<(Vec<u8>, &'static SigningKey)> {
    use ipld_core::ipld::Ipld;
    let Ok(Ipld::List(mut items)) = decode::<Ipld>(&core) else {
        // Not a list, so not of any form: signed all the same, by device 0.
        return Some((core, &world().keys[0].signing));
    };
    let slot = items.get_mut(place)?;
    let named = match slot {
        Ipld::Bytes(key) => PublicKey::from_slice(key).and_then(|key| world().member(&key)),
        _ => None,
    };
    if let Some(keys) = named {
        return Some((core, &keys.signing));
    }
    let signing = &world().keys[0].signing;
    *slot = Ipld::Bytes(signing.public().0.to_vec());
    Some((encode(&Ipld::List(items)), signing))
}

/// An operation of any form: `public` is the DAG-CBOR of its public part, taken as it is.
pub struct AnyOperation<'a> {
    /// Who signs.
    pub signing: &'a SigningKey,
    /// Whose log; `None` as in a genesis.
    pub identity: Option<Hash>,
    /// Its nonce.
    pub nonce: [u8; 16],
    /// The newest commit known.
    pub seen: Option<Hash>,
    /// DAG-CBOR of the public part.
    pub public: &'a [u8],
    /// The part for peers.
    pub peers: Option<Vec<u8>>,
    /// The sealed part.
    pub sealed: Option<Vec<u8>>,
}

impl AnyOperation<'_> {
    /// Its bytes, signed.
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |bytes: &[u8]| ByteBuf::from(bytes.to_vec());
        let part_hash = |part: &Option<Vec<u8>>| part.as_ref().map(|part| hash("operation part", &[part]));
        // A list of eight, whose sixth item is given as bytes.
        let mut core = vec![0x88];
        core.extend(encode(&1u8));
        core.extend(encode(&self.identity));
        core.extend(encode(&self.signing.public()));
        core.extend(encode(&bytes(&self.nonce)));
        core.extend(encode(&self.seen));
        core.extend_from_slice(self.public);
        core.extend(encode(&part_hash(&self.peers)));
        core.extend(encode(&part_hash(&self.sealed)));
        let signature = self.signing.sign("operation", &hash("operation", &[&core]).0);
        encode(&(
            bytes(&core),
            signature,
            self.peers.clone().map(ByteBuf::from),
            self.sealed.clone().map(ByteBuf::from),
        ))
    }
}

/// A sealed part whose plain bytes may be any.
pub fn seal_part(binding: &Hash, nonce: &[u8; 16], identity_key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
    let aad = encode(&(1u8, binding, ByteBuf::from(nonce.to_vec())));
    let mut random = SeededRandom::new(9);
    let sealed = SealKey::derive("sealed part", identity_key).seal(&mut random as &mut dyn Random, &aad, plain);
    encode(&(hash("identity key id", &[identity_key]), ByteBuf::from(sealed)))
}

/// The author log of device `n`.
pub fn author(n: usize) -> AuthorId {
    world().starts[n].id()
}
