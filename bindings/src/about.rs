//! What this library is made of, for bug reports.

use crate::{RhizomeError, runtime::instant};

/// What this library is made of.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct About {
    /// Its version.
    pub version: String,
    /// The source id of the SQLite that is in it, which no other SQLite of the app's can reach, nor it theirs.
    pub sqlite: String,
}

/// What this library is made of. Instant.
#[uniffi::export]
pub fn about() -> Result<About, RhizomeError> {
    instant(|| {
        Ok(About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sqlite: rhizome::store::sqlite_source_id().map_err(rhizome::Error::from)?,
        })
    })
}
