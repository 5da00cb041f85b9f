//! Rhizome.
pub mod crypto;
pub mod document;
pub mod identity;
pub mod log;
pub mod store;
pub mod sync;
