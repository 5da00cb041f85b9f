//! What tests do with the formats below the library's surface, from its public primitives alone (docs/formats.md).

use rhizome::{
    crypto::{Hash, PublicKey, SealKey, Signature, SigningKey, decode, encode, hash},
    identity::{IdentityId, OpNonce, Operation, SealedPart},
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// An operation's four items.
#[derive(Serialize, Deserialize)]
pub struct WireOperation(pub ByteBuf, pub Signature, pub Option<ByteBuf>, pub Option<ByteBuf>);

/// What a signed thing is on the wire.
#[derive(Serialize, Deserialize)]
pub struct Signed(pub ByteBuf, pub Signature);

/// The operation with `change` made to its items, signed parts included.
pub fn changed(operation: &Operation, change: impl FnOnce(&mut WireOperation)) -> Vec<u8> {
    let mut wire: WireOperation = decode(&operation.encode()).unwrap();
    change(&mut wire);
    encode(&wire)
}

/// Opens an operation's sealed part with the identity key.
pub fn open_sealed(operation: &Operation, binding: &Hash, identity_key: &[u8; 32]) -> Option<SealedPart> {
    let wire: WireOperation = decode(&operation.encode()).unwrap();
    let (_, sealed): (Hash, ByteBuf) = decode(&wire.3?).ok()?;
    let aad = encode(&(1u8, binding, operation.core().nonce));
    let plain = SealKey::derive("sealed part", identity_key).open(&aad, &sealed).ok()?;
    decode(&plain).ok()
}

/// An operation signed as it is, whatever stands in it.
pub fn operation(
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
    let core = encode(&(1u8, identity, proposer, nonce, seen, public, part(&peers), part(&sealed)));
    let signature = signing.sign("operation", &hash("operation", &[&core]).0);
    let (peers, sealed) = (peers.map(ByteBuf::from), sealed.map(ByteBuf::from));
    encode(&WireOperation(ByteBuf::from(core), signature, peers, sealed))
}
