//! What a newer version might say.

use std::collections::BTreeMap;

use rhizome::{
    crypto::{Hash, PublicKey, SigningKey, encode, hash},
    sync::Known,
};
use serde_bytes::ByteBuf;

type Core = (
    u8,
    Option<rhizome::identity::IdentityId>,
    PublicKey,
    ByteBuf,
    Option<Hash>,
    BTreeMap<String, BTreeMap<String, u64>>,
    Option<Hash>,
    Option<Hash>,
);

/// A well-formed operation of a kind that this version does not know, signed by a member.
pub fn operation(signing: &SigningKey, known: &Known) -> Vec<u8> {
    let core: Core = (
        1,
        Some(known.ordered.identity()),
        signing.public(),
        ByteBuf::from([9; 16]),
        known.ordered.head(),
        BTreeMap::from([("Levitate".to_owned(), BTreeMap::from([("height".to_owned(), 3)]))]),
        None,
        None,
    );
    let core = encode(&core);
    let id = hash("operation", &[&core]);
    let signature = signing.sign("operation", &id.0);
    encode(&(ByteBuf::from(core), signature, None::<ByteBuf>, None::<ByteBuf>))
}
