//! DAG-CBOR in and out. A decoder accepts one spelling of a value only, so that what was signed is what was read.

use serde::{Serialize, de::DeserializeOwned};

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

/// Encodes `value` as DAG-CBOR.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_ipld_dagcbor::to_vec(value).expect("our own types have text keys and finite numbers, and a Vec does not fail")
}

/// Decodes DAG-CBOR; bytes that follow the value are an error. What is read this way is only ever acted upon, never
/// hashed or signed again.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    serde_ipld_dagcbor::from_slice(bytes).map_err(|_| CborError::Malformed)
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
