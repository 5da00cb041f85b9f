//! An app that has an SQLite of its own keeps it, and so do we.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::{path::Path, process::Command};

#[test]
fn each_keeps_its_own_sqlite() {
    // Cargo puts the library, which this test is built with, beside the test.
    let tests = std::env::current_exe().unwrap();
    let library = tests.ancestors().nth(1).unwrap().join("librhizome_ffi.so");
    let python = std::env::var("RHIZOME_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/two_sqlites.py");
    let output = Command::new(python).arg(script).arg(&library).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let [theirs, ours] = said.lines().collect::<Vec<_>>()[..] else {
        panic!("{said}")
    };
    assert_eq!(ours, rhizome_ffi::about().unwrap().sqlite);
    assert_ne!(theirs, ours, "the test needs a Python whose SQLite is another");
}
