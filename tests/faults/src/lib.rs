//! Tests only: what a pod does when the disk under it fails.
//!
//! [`vfs`] puts a layer between SQLite and the system's files, below the one that seals pages, so that `log.db` and `views.db` both go
//! through it and the library is tested as it ships. [`disk`] decides there what each call does, and knows what a
//! power cut would leave ([`power`]). [`person`] writes through a pod, and remembers what was acknowledged.

pub mod dice;
pub mod disk;
pub mod person;
pub mod power;
pub mod scratch;
pub mod vfs;
