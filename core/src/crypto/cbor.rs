//! DAG-CBOR in and out. A decoder accepts one spelling of a value only, so that what was signed is what was read.

use std::marker::PhantomData;

use ipld_core::cid::Cid;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};

use zeroize::Zeroizing;

use super::secret::{Wiped, wiping};

/// The bytes are not what the format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not DAG-CBOR, or not of the expected shape.
    #[error("not the DAG-CBOR value that was expected")]
    Malformed,
    /// The right value in a spelling that is not the canonical one.
    #[error("not in canonical DAG-CBOR")]
    NotCanonical,
}

/// A list of at most `N` items: a longer one is malformed, and is not read to its end. A byte on the wire can stand for an item of many bytes
/// in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded<T, const N: usize>(pub Vec<T>);

impl<T: Serialize, const N: usize> Serialize for Bounded<T, N> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Bounded<T, N> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Items<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a list of at most {N}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(N).min(64));
                while let Some(item) = seq.next_element()? {
                    if items.len() == N {
                        return Err(serde::de::Error::invalid_length(N + 1, &self));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }
        d.deserialize_seq(Items::<T, N>(PhantomData)).map(Self)
    }
}

/// A value of any shape that is checked and not kept.
pub(crate) struct Passed;

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Passed)
    }
}

impl<'de> Visitor<'de> for Passed {
    type Value = Passed;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a DAG-CBOR value")
    }

    fn visit_none<E>(self) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_str<E>(self, _: &str) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Passed, E> {
        Ok(Passed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Passed, A::Error> {
        while let Some(Passed) = seq.next_element()? {}
        Ok(Passed)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Passed, A::Error> {
        while let Some((Passed, Passed)) = map.next_entry()? {}
        Ok(Passed)
    }

    /// The library's way to say that this is a link (tag 42).
    fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, d: D) -> Result<Passed, D::Error> {
        d.deserialize_bytes(Link)
    }
}

/// A link: a CID in its one spelling, and nothing behind it. The library's own reader leaves what follows the hash unread.
struct Link;

impl Visitor<'_> for Link {
    type Value = Passed;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a link")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Passed, E> {
        match Cid::try_from(bytes) {
            Ok(cid) if cid.to_bytes() == bytes => Ok(Passed),
            _ => Err(E::custom("a link that is none")),
        }
    }
}

/// Encodes `value` as DAG-CBOR.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("our own types have text keys and finite numbers, and a Vec does not fail")
}

/// As [`encode`], for what must leave no copy in memory.
pub(crate) fn encode_secret<T: Serialize>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut bytes = Wiped::default();
    wiping(|| serde_ipld_dagcbor::to_writer(&mut bytes, value)).expect("as for `encode`, and memory does not fail");
    bytes.into_inner()
}

/// Decodes DAG-CBOR; bytes that follow the value are an error. What is read this way is only ever acted upon, never
/// hashed or signed again.
///
/// All of it is walked before any of it is kept: a list that claims more items than there are bytes reserves nothing for them.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    walk(bytes)?;
    serde_ipld_dagcbor::from_slice(bytes).map_err(|_| CborError::Malformed)
}

/// One walk for all types.
#[inline(never)]
fn walk(bytes: &[u8]) -> Result<(), CborError> {
    let Passed = serde_ipld_dagcbor::from_slice(bytes).map_err(|_| CborError::Malformed)?;
    Ok(())
}

/// As [`decode`], and the bytes must equal their own re-encoding.
pub fn decode_canonical<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    let value: T = decode(bytes)?;
    if encode(&value) == bytes {
        Ok(value)
    } else {
        Err(CborError::NotCanonical)
    }
}
