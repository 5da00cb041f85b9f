//! `did:rhizome:<CID of the genesis>` and the W3C DID document that follows from the log.

use cid::{Cid, multihash::Multihash};
use multibase::Base;
use serde_json::{Value, json};

use super::{IdentityId, State};

const DAG_CBOR: u64 = 0x71;
const BLAKE3: u64 = 0x1e;
const PREFIX: &str = "did:rhizome:";

/// The DID of an identity.
pub fn did(identity: &IdentityId) -> String {
    let digest = Multihash::wrap(BLAKE3, &identity.0).expect("32 bytes fit in a multihash of 64");
    format!("{PREFIX}{}", Cid::new_v1(DAG_CBOR, digest))
}

/// The identity of a DID; `None` if it is not a `did:rhizome`.
pub fn parse_did(text: &str) -> Option<IdentityId> {
    let cid = Cid::try_from(text.strip_prefix(PREFIX)?).ok()?;
    let identity = IdentityId::from_slice(cid.hash().digest())?;
    // One spelling only: what differs in version, codec, hash or case is another DID.
    (did(&identity) == text).then_some(identity)
}

/// The DID document (W3C DID Core 1.0): devices as verification methods, cloud peers as services. Keys are
/// `Multikey`s (W3C Controlled Identifiers 1.0, section 2.2.2): base58btc of the multicodec prefix and the key.
pub fn did_document(state: &State) -> Value {
    let did = did(&state.identity());
    let multikey = |codec: &[u8], key: &[u8; 32]| multibase::encode(Base::Base58Btc, [codec, key].concat());
    let method = |id: String, value: String| json!({"id": id, "type": "Multikey", "controller": did, "publicKeyMultibase": value});
    let mut methods = Vec::new();
    let mut signing = Vec::new();
    let mut agreement = Vec::new();
    for device in state.devices().values() {
        let name = device.keys.0.short();
        let (sign_id, agree_id) = (format!("{did}#{name}"), format!("{did}#{name}-agreement"));
        // Multicodec prefixes: ed25519-pub 0xed01, x25519-pub 0xec01.
        methods.push(method(sign_id.clone(), multikey(&[0xed, 0x01], &device.keys.0.0)));
        methods.push(method(agree_id.clone(), multikey(&[0xec, 0x01], &device.keys.1.0)));
        signing.push(sign_id);
        agreement.push(agree_id);
    }
    let services: Vec<Value> = state
        .peers()
        .values()
        .map(|peer| {
            json!({
                "id": format!("{did}#{}", peer.keys.0.short()),
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
        "service": services,
    })
}
