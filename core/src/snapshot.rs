//! Content-addressed blocks, as they leave a pod in CAR files. What comes back from outside is verified before it is believed.
//!
//! ```
//! # fn example(did: &str, file: &[u8]) -> Result<(), rhizome::snapshot::ResolveError> {
//! use rhizome::{Version, resolve};
//!
//! let resolved = resolve(did, file, Version::Latest)?;
//! println!("{:#}", resolved.document);
//! # Ok(()) }
//! ```

mod car;
mod resolution;

pub use car::CarError;
pub use resolution::{Metadata, ResolveError, Resolved, Version, export_identity, resolve};
