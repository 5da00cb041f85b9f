//! The DID document against the data model of W3C DID Core 1.0 (sections 3 to 6), and the DID resolved from a CAR file.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use rhizome::{
    DeviceSecret, Resolved, Version,
    crypto::{DeviceKeys, Hash, SeededRandom, decode, encode},
    identity::{
        Commit, CommitCore, Keys, Operation, Proposer, RecoverySecret, State, add_device, add_peer, consent, did,
        did_document, did_document_cbor, genesis, streams,
    },
    resolve,
    snapshot::{CarError, ResolveError, export_identity},
    sync::Known,
};
use serde_json::{Value, json};

const BEGAN: u64 = 1_760_000_000_000;

fn keys(n: u64) -> DeviceKeys {
    DeviceSecret::make(&mut SeededRandom::new(100 + n)).keys()
}

/// An identity log: a genesis, then every ten seconds what was asked for.
struct Log {
    random: SeededRandom,
    first: DeviceKeys,
    state: State,
    log: Vec<(Commit, Operation)>,
}

impl Log {
    fn new(seed: u64) -> Self {
        let mut random = SeededRandom::new(seed);
        let first = keys(seed);
        let recovery = RecoverySecret::make(&mut random);
        let genesis = genesis(&mut random, &first, &recovery, "telephone", &["journal"]);
        let state = State::begin(&genesis).unwrap();
        let mut log = Self {
            random,
            first,
            state,
            log: Vec::new(),
        };
        log.commit(genesis);
        log
    }

    fn commit(&mut self, operation: Operation) {
        let core = CommitCore {
            identity: self.state.identity(),
            index: self.state.count(),
            previous: self.state.head(),
            operation: operation.id(),
            term: 0,
            time: BEGAN + 10_000 * self.state.count() + 7,
            orderer: self.first.signing.public(),
        };
        let commit = Commit::make(&self.first.signing, core);
        if self.log.is_empty() {
            self.state = State::open(&commit, &operation).unwrap();
        } else {
            self.state.apply(&commit, &operation).unwrap();
        }
        self.log.push((commit, operation));
    }

    fn propose(&mut self, make: impl FnOnce(&mut SeededRandom, &Proposer<'_>) -> Operation) {
        let known = Known::from_log(self.log.clone(), Vec::new()).unwrap();
        let identity_key = known
            .key_ring(&self.first)
            .identity_key(&self.state.key_id())
            .unwrap()
            .clone();
        let by = Proposer {
            identity: self.state.identity(),
            binding: self.state.binding(),
            seen: self.state.head(),
            signing: &self.first.signing,
            identity_key: &identity_key,
            beside: Vec::new(),
        };
        let operation = make(&mut self.random, &by);
        self.commit(operation);
    }

    fn add_device(&mut self, n: u64) {
        let device = keys(n);
        let agrees = consent(&device.signing, &self.state.identity(), &Keys::of(&device), false);
        self.propose(|random, by| add_device(random, by, Keys::of(&device), agrees, "tablet").unwrap());
    }

    fn add_peer(&mut self, n: u64, services: &[&str]) {
        let peer = keys(n);
        let agrees = consent(&peer.signing, &self.state.identity(), &Keys::of(&peer), true);
        let services = services.iter().map(|one| (*one).to_owned()).collect();
        self.propose(|random, by| add_peer(random, by, Keys::of(&peer), agrees, services, "cloud"));
    }

    fn did(&self) -> String {
        did(&self.state.identity())
    }

    fn file(&self) -> Vec<u8> {
        export_identity(&self.log)
    }

    fn hash(&self, index: usize) -> Hash {
        self.log[index].0.hash()
    }
}

/// Genesis only; two devices; three devices and two cloud peers.
fn logs() -> [Log; 3] {
    let alone = Log::new(1);
    let mut two = Log::new(2);
    two.add_device(20);
    let mut all = Log::new(3);
    all.add_device(30);
    all.add_peer(31, &["cloud.example:7777", "[2001:db8::1]:443"]);
    all.propose(|random, by| streams(random, by, &["letters"]));
    all.add_device(32);
    all.add_peer(33, &[]);
    [alone, two, all]
}

// The rules of the data model

type Findings = Vec<String>;

const RELATIONSHIPS: [&str; 5] = [
    "authentication",
    "assertionMethod",
    "keyAgreement",
    "capabilityInvocation",
    "capabilityDelegation",
];

/// Section 3.1: `did:`, a method name of lower-case letters and digits, a method-specific id of `idchar`s, the last of them no colon.
fn is_did(text: &str) -> bool {
    let mut parts = text.splitn(3, ':');
    let (scheme, method, id) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let idchar = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    scheme == Some("did")
        && !method.is_empty()
        && method.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        && !id.is_empty()
        && id.chars().all(idchar)
        && !id.ends_with(':')
}

/// A DID and a fragment (section 3.2) of unreserved characters.
fn is_did_url_of(text: &str, did: &str) -> bool {
    text.strip_prefix(did)
        .and_then(|rest| rest.strip_prefix('#'))
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)))
}

/// Controlled Identifiers 1.0, section 2.2.2: base58btc of a two-byte prefix and a public key of 32 bytes. Gives the prefix.
fn multikey(text: &str) -> Option<[u8; 2]> {
    const ALPHABET: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0u8; 34];
    for letter in text.strip_prefix('z')?.chars() {
        let mut carry = ALPHABET.find(letter)?;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = u8::try_from(carry & 255).unwrap();
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    (bytes[0] != 0).then(|| [bytes[0], bytes[1]])
}

const ED25519: [u8; 2] = [0xed, 1];
const X25519: [u8; 2] = [0xec, 1];

/// What in `document` is against DID Core 1.0 or Controlled Identifiers 1.0. Of extension points, only those that this method uses pass.
fn findings(document: &Value) -> Findings {
    let mut found = Findings::new();
    let mut rule = |holds: bool, text: &str| {
        if !holds {
            found.push(text.to_owned());
        }
    };
    let none = Vec::new();
    let set = |name: &str| document[name].as_array().unwrap_or(&none);
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let distinct = |values: &[Value]| {
        let spelt: BTreeSet<_> = values.iter().map(ToString::to_string).collect();
        spelt.len() == values.len()
    };

    // 6.3.1: the first context is DID Core's.
    rule(
        set("@context").first() == Some(&json!("https://www.w3.org/ns/did/v1")),
        "6.3.1 @context",
    );
    // 5.1.1: the id is there, and a DID.
    let did = text(&document["id"]);
    rule(is_did(&did), "5.1.1 id");
    let known = [
        "@context",
        "id",
        "controller",
        "alsoKnownAs",
        "verificationMethod",
        "service",
    ];
    for (name, value) in document.as_object().unwrap() {
        rule(
            known.contains(&&**name) || RELATIONSHIPS.contains(&&**name),
            "4.1 an unregistered property",
        );
        if !["id", "controller"].contains(&&**name) {
            // 5: each of these is a set.
            rule(value.as_array().is_some_and(|values| distinct(values)), "5 a set");
        }
    }
    // 5.1.2: a controller is a DID.
    let controllers = document
        .get("controller")
        .map(|one| one.as_array().cloned().unwrap_or_else(|| vec![one.clone()]));
    rule(
        controllers.unwrap_or_default().iter().all(|one| is_did(&text(one))),
        "5.1.2 controller",
    );
    // 5.2: id, type, controller, and one form of material.
    let mut ids = BTreeSet::new();
    let mut prefixes = std::collections::BTreeMap::new();
    for method in set("verificationMethod") {
        let id = text(&method["id"]);
        rule(is_did_url_of(&id, &did), "5.2 id");
        rule(ids.insert(id.clone()), "5.2 ids of methods and services are distinct");
        rule(method["type"] == "Multikey", "5.2 type");
        rule(is_did(&text(&method["controller"])), "5.2 controller");
        let prefix = multikey(&text(&method["publicKeyMultibase"]));
        rule(prefix.is_some(), "5.2.1 publicKeyMultibase");
        prefixes.insert(id, prefix);
        let allowed = ["id", "type", "controller", "publicKeyMultibase"];
        let fields = method
            .as_object()
            .map(|map| map.keys().all(|name| allowed.contains(&&**name)));
        rule(fields == Some(true), "5.2.1 one form of material, and no private key");
    }
    // 5.3: a relationship refers to methods (5.2.2) that are there, and are of a kind that can do it.
    for name in RELATIONSHIPS {
        for one in set(name) {
            let prefix = prefixes.get(&text(one)).copied().flatten();
            let wanted = if name == "keyAgreement" { X25519 } else { ED25519 };
            rule(prefix == Some(wanted), "5.3 a relationship");
        }
    }
    // 5.4: id, type and endpoint.
    for service in set("service") {
        let id = text(&service["id"]);
        rule(is_did_url_of(&id, &did), "5.4 id");
        rule(ids.insert(id), "5.2 ids of methods and services are distinct");
        let kind = &service["type"];
        rule(
            kind.is_string() || kind.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
            "5.4 type",
        );
        let endpoint = &service["serviceEndpoint"];
        let uri = |one: &Value| one.as_str().is_some_and(|uri| uri.contains(':') && !uri.contains(' '));
        let one = |one: &Value| uri(one) || one.is_object();
        let some = |all: &Vec<Value>| !all.is_empty() && all.iter().all(one);
        rule(
            one(endpoint) || endpoint.as_array().is_some_and(some),
            "5.4 serviceEndpoint",
        );
    }
    found
}

#[test]
fn documents_keep_to_the_data_model() {
    for (log, devices, peers) in logs()
        .iter()
        .zip([1, 2, 3])
        .zip([0, 0, 2])
        .map(|((log, d), p)| (log, d, p))
    {
        let document = did_document(&log.state);
        assert_eq!(findings(&document), Findings::new(), "{document:#}");
        let count = |name: &str| document[name].as_array().unwrap().len();
        // Each device signs and agrees; the recovery key may change the document and does nothing else; a peer is no method at all.
        assert_eq!(count("verificationMethod"), 2 * devices + 1);
        assert_eq!((count("authentication"), count("assertionMethod")), (devices, devices));
        assert_eq!(
            (count("keyAgreement"), count("capabilityDelegation")),
            (devices, devices)
        );
        assert_eq!((count("capabilityInvocation"), count("service")), (devices + 1, peers));
        assert_eq!(document["id"], log.did());
    }
}

#[test]
fn a_broken_document_is_noticed() {
    let [_, _, log] = logs();
    let good = did_document(&log.state);
    type Break = fn(&mut Value);
    let broken: [(&str, Break); 19] = [
        ("6.3.1 @context", |d| {
            d["@context"] = json!("https://www.w3.org/ns/did/v1")
        }),
        ("6.3.1 @context", |d| d["@context"].as_array_mut().unwrap().reverse()),
        ("5.1.1 id", |d| d["id"] = json!("rhizome:x")),
        ("5.1.1 id", |d| drop(d.as_object_mut().unwrap().remove("id"))),
        ("4.1 an unregistered property", |d| d["devices"] = json!([])),
        ("5.1.2 controller", |d| d["controller"] = json!(["me"])),
        ("5 a set", |d| {
            let one = d["authentication"][0].clone();
            d["authentication"].as_array_mut().unwrap().push(one);
        }),
        ("5 a set", |d| d["service"] = json!({})),
        ("5.2 id", |d| d["verificationMethod"][0]["id"] = json!("#key-1")),
        ("5.2 ids", |d| {
            d["verificationMethod"][1]["id"] = d["verificationMethod"][0]["id"].clone()
        }),
        ("5.2 type", |d| d["verificationMethod"][0]["type"] = Value::Null),
        ("5.2 controller", |d| {
            d["verificationMethod"][0]["controller"] = json!("did:Rhizome:x")
        }),
        ("5.2.1 publicKeyMultibase", |d| {
            d["verificationMethod"][0]["publicKeyMultibase"] = json!("z6Mk0")
        }),
        ("5.2.1 one form", |d| {
            d["verificationMethod"][0]["secretKeyMultibase"] = json!("z")
        }),
        ("5.3 a relationship", |d| {
            d["authentication"][0] = json!("did:rhizome:x#y")
        }),
        ("5.3 a relationship", |d| {
            d["keyAgreement"] = d["authentication"].clone()
        }),
        ("5.4 id", |d| d["service"][0]["id"] = json!("cloud")),
        ("5.2 ids", |d| {
            d["service"][0]["id"] = d["verificationMethod"][0]["id"].clone()
        }),
        ("5.4 serviceEndpoint", |d| {
            d["service"][0]["serviceEndpoint"] = json!([])
        }),
    ];
    for (wanted, spoil) in broken {
        let mut document = good.clone();
        spoil(&mut document);
        let found = findings(&document);
        assert!(found.iter().any(|one| one.starts_with(wanted)), "{wanted}: {found:?}");
    }
}

#[test]
fn both_representations_are_one_document() {
    for log in logs() {
        let document = did_document(&log.state);
        let bytes = did_document_cbor(&log.state);
        assert_eq!(decode::<Value>(&bytes).unwrap(), document);
        assert_eq!(encode(&document), bytes, "it has one spelling");
        let json: Value = serde_json::from_str(&document.to_string()).unwrap();
        assert_eq!(json, document);
    }
}

#[test]
fn names_within_a_document_stay_as_members_come() {
    let mut log = Log::new(4);
    let before = did_document(&log.state);
    (40..60).for_each(|n| log.add_device(n));
    let after = did_document(&log.state);
    for method in before["verificationMethod"].as_array().unwrap() {
        assert!(
            after["verificationMethod"].as_array().unwrap().contains(method),
            "{method}"
        );
    }
}

// Resolution

fn resolved(log: &Log, version: Version) -> Resolved {
    resolve(&log.did(), &log.file(), version).unwrap()
}

#[test]
fn who_has_the_file_resolves_the_did_as_members_do() {
    for log in logs() {
        let found = resolved(&log, Version::Latest);
        assert_eq!(found.document, did_document(&log.state));
        assert_eq!(found.state, log.state);
        assert_eq!(found.metadata.version.0, log.state.head().unwrap());
        assert_eq!((found.metadata.created, found.metadata.next), (BEGAN + 7, None));
    }
}

#[test]
fn every_version_is_found_by_its_id_and_by_its_time() {
    let [_, _, log] = logs();
    let seconds = |index: usize| BEGAN / 1000 + 10 * u64::try_from(index).unwrap();
    for index in 0..log.log.len() {
        let state = Known::from_log(log.log[..=index].to_vec(), Vec::new()).unwrap().ordered;
        let next = log
            .log
            .get(index + 1)
            .map(|(commit, _)| (commit.hash(), commit.core().time));
        for version in [
            Version::Id(log.hash(index)),
            // A second counts from its beginning: that is how `updated` says it.
            Version::Time(seconds(index)),
            Version::Time(seconds(index) + 9),
        ] {
            let found = resolved(&log, version);
            assert_eq!(
                (found.document, found.metadata.next),
                (did_document(&state), next),
                "{version:?}"
            );
            assert_eq!(found.metadata.version.0, log.hash(index));
        }
    }
    for version in [Version::Id(Hash([1; 32])), Version::Time(BEGAN / 1000 - 1)] {
        let refused = resolve(&log.did(), &log.file(), version);
        assert_eq!(refused, Err(ResolveError::NoSuchVersion));
    }
}

#[test]
fn a_resolution_is_told_as_the_standard_has_it() {
    let [alone, two, _] = logs();
    let result = resolved(&two, Version::Id(two.hash(0))).to_json();
    assert_eq!(
        result["didResolutionMetadata"],
        json!({"contentType": "application/did+ld+json"})
    );
    assert_eq!(
        result["didDocumentMetadata"],
        json!({
            "created": "2025-10-09T08:53:20Z", "versionId": two.hash(0).to_string(),
            "nextVersionId": two.hash(1).to_string(), "nextUpdate": "2025-10-09T08:53:30Z",
        })
    );
    let newest = resolved(&two, Version::Latest).to_json();
    assert_eq!(newest["didDocumentMetadata"]["updated"], "2025-10-09T08:53:30Z");
    assert_eq!(newest["didDocumentMetadata"].get("nextUpdate"), None);
    let word = |did: &str, file: &[u8]| resolve(did, file, Version::Latest).unwrap_err().word();
    assert_eq!(word("did:key:z6Mk", &alone.file()), "invalidDid");
    assert_eq!(word(&alone.did(), &two.file()), "notFound");
    assert_eq!(word(&alone.did(), b""), "invalidDidDocument");
}

#[test]
fn nobody_learns_names_or_streams_from_the_file() {
    let [_, _, log] = logs();
    let file = log.file();
    for (_, operation) in &log.log {
        type Parts = (
            serde_bytes::ByteBuf,
            rhizome::crypto::Signature,
            Option<serde_bytes::ByteBuf>,
            Option<serde_bytes::ByteBuf>,
        );
        let (_, _, peers, sealed): Parts = decode(&operation.encode()).unwrap();
        assert!(sealed.is_some());
        for part in [peers, sealed].into_iter().flatten() {
            assert!(!file.windows(part.len()).any(|bytes| bytes == &part[..]));
        }
    }
}

/// The sections of a file: where each begins and ends.
fn sections(file: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let (mut len, mut shift, begin) = (0usize, 0, at);
        loop {
            let byte = usize::from(file[at]);
            (len, at, shift) = (len | (byte & 127) << shift, at + 1, shift + 7);
            if byte < 128 {
                break;
            }
        }
        at += len;
        found.push(begin..at);
    }
    found
}

#[test]
fn whatever_is_changed_in_the_file_is_noticed() {
    let [_, log, _] = logs();
    let (did, file) = (log.did(), log.file());
    let read = |file: &[u8]| resolve(&did, file, Version::Latest);
    for place in 0..file.len() {
        let mut changed = file.clone();
        changed[place] ^= 1;
        assert!(read(&changed).is_err(), "byte {place}");
        assert!(read(&file[..place]).is_err(), "cut at {place}");
    }
    let parts = sections(&file);
    assert_eq!(parts.len(), 5, "a header, and two blocks for each commit");
    let of = |numbers: &[usize]| -> Vec<u8> {
        numbers
            .iter()
            .flat_map(|number| file[parts[*number].clone()].to_vec())
            .collect()
    };
    assert_eq!(of(&[0, 1, 2, 3, 4]), file);
    for numbers in [
        &[][..],
        &[0],
        &[0, 1],
        &[0, 1, 2],
        &[0, 2, 1],
        &[0, 1, 2, 3],
        &[0, 1, 2, 4, 3],
        &[0, 3, 4],
        &[0, 3, 4, 1, 2],
        &[0, 1, 2, 1, 2, 3, 4],
        &[0, 1, 2, 3, 4, 3, 4],
        &[1, 2, 3, 4],
        &[0, 0, 1, 2, 3, 4],
    ] {
        assert!(read(&of(numbers)).is_err(), "{numbers:?}");
    }
    assert!(read(&[&file[..], &[0]].concat()).is_err(), "a byte more");
    assert_eq!(
        read(&vec![0; (64 << 20) + 1]),
        Err(CarError::TooLarge { size: (64 << 20) + 1 }.into())
    );
}

#[test]
fn a_log_of_another_identity_is_not_taken_for_this_one() {
    let [alone, two, _] = logs();
    assert_eq!(
        resolve(&alone.did(), &two.file(), Version::Latest),
        Err(ResolveError::OtherDid)
    );
    // A log that begins with the right block and goes on with the commits of another.
    let mut mixed = alone.log.clone();
    mixed.extend(two.log[1..].iter().cloned());
    let file = export_identity(&mixed);
    assert!(matches!(
        resolve(&alone.did(), &file, Version::Latest),
        Err(ResolveError::Identity(_))
    ));
}
