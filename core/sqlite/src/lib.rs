//! Links SQLite3 Multiple Ciphers under `libsqlite3-sys`. There is no Rust API: name the crate once
//! (`use rhizome_sqlite as _;`) so that it is linked. A program that forgets does not link; it does not fall back to a
//! database without ciphers.

use libsqlite3_sys as _;
