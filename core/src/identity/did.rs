//! `did:rhizome:<CID of the genesis>` and the W3C DID document that follows from the log (docs/did-method.md).

use cid::{Cid, multihash::Multihash};
use multibase::Base;
use serde_json::{Value, json};

use super::{IdentityId, State};
use crate::crypto::encode;

const DAG_CBOR: u64 = 0x71;
const BLAKE3: u64 = 0x1e;
const PREFIX: &str = "did:rhizome:";

/// Multicodec prefixes of public keys, as varints: ed25519-pub, x25519-pub.
const ED25519: [u8; 2] = [0xed, 0x01];
const X25519: [u8; 2] = [0xec, 0x01];

/// The CID of a DAG-CBOR block whose BLAKE3 hash is `digest`.
pub(crate) fn cid_of(digest: &[u8; 32]) -> Cid {
    let digest = Multihash::wrap(BLAKE3, digest).expect("32 bytes fit in a multihash of 64");
    Cid::new_v1(DAG_CBOR, digest)
}

/// The DID of an identity.
pub fn did(identity: &IdentityId) -> String {
    format!("{PREFIX}{}", cid_of(&identity.0))
}

/// The identity of a DID; `None` if it is not a `did:rhizome`.
pub fn parse_did(text: &str) -> Option<IdentityId> {
    let cid = Cid::try_from(text.strip_prefix(PREFIX)?).ok()?;
    let identity = IdentityId::from_slice(cid.hash().digest())?;
    // One spelling only: what differs in version, codec, hash or case is another DID.
    (did(&identity) == text).then_some(identity)
}

/// The DID document (W3C DID Core 1.0), as JSON-LD: devices as verification methods, cloud peers as services. Keys are
/// `Multikey`s (W3C Controlled Identifiers 1.0, section 2.2.2): base58btc of the multicodec prefix and the key.
pub fn did_document(state: &State) -> Value {
    let did = did(&state.identity());
    let multikey = |codec: [u8; 2], key: &[u8; 32]| multibase::encode(Base::Base58Btc, [&codec[..], key].concat());
    let mut methods = Vec::new();
    // A method is named by its key: no identity uses a key twice, so a name is of one method for ever.
    let mut method = |codec, key| {
        let value = multikey(codec, key);
        let id = format!("{did}#{value}");
        methods.push(json!({"id": id, "type": "Multikey", "controller": did, "publicKeyMultibase": value}));
        id
    };
    let mut signing = Vec::new();
    let mut agreement = Vec::new();
    for device in state.devices().values() {
        signing.push(method(ED25519, &device.keys.0.0));
        agreement.push(method(X25519, &device.keys.1.0));
    }
    // It proposes what changes the document, as devices do, and nothing else: nobody is to take it for a login or a signature of the person.
    let recovery = method(ED25519, &state.recovery().0.0);
    let invocation: Vec<_> = signing.iter().chain([&recovery]).collect();
    let services: Vec<Value> = state
        .peers()
        .values()
        .map(|peer| {
            json!({
                "id": format!("{did}#peer-{}", multikey(ED25519, &peer.keys.0.0)),
                "type": "RhizomeCloudPeer",
                "serviceEndpoint": {"endpoint": peer.keys.2.to_string(), "addresses": peer.services},
            })
        })
        .collect();
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "verificationMethod": methods,
        "authentication": signing,
        "assertionMethod": signing,
        "keyAgreement": agreement,
        "capabilityInvocation": invocation,
        "capabilityDelegation": signing,
        "service": services,
    })
}

/// The same document as DAG-CBOR, which has one spelling.
pub fn did_document_cbor(state: &State) -> Vec<u8> {
    encode(&did_document(state))
}
