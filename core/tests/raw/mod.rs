//! What tests do with the formats below the library's surface, from its public primitives alone (docs/formats.md).

use rhizome::{
    crypto::{Hash, SealKey, Signature, decode, encode},
    identity::{Operation, SealedPart},
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// An operation's four items.
#[derive(Serialize, Deserialize)]
pub struct WireOperation(pub ByteBuf, pub Signature, pub Option<ByteBuf>, pub Option<ByteBuf>);

/// Opens an operation's sealed part with the identity key.
pub fn open_sealed(operation: &Operation, binding: &Hash, identity_key: &[u8; 32]) -> Option<SealedPart> {
    let wire: WireOperation = decode(&operation.encode()).unwrap();
    let (_, sealed): (Hash, ByteBuf) = decode(&wire.3?).ok()?;
    let aad = encode(&(1u8, binding, operation.core().nonce));
    let plain = SealKey::derive("sealed part", identity_key).open(&aad, &sealed).ok()?;
    decode(&plain).ok()
}
