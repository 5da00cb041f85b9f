//! `docs/threats.md` names, for each threat, the tests that show what stands against it: they must exist.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path};

/// The names of all functions in the Rust sources below `dir`.
fn functions(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split("fn ").skip(1);
            let name = |rest: &str| {
                rest.split(|c: char| c != '_' && !c.is_ascii_alphanumeric())
                    .next()
                    .map(str::to_owned)
            };
            found.extend(names.filter_map(name));
        }
    }
}

/// What is wrong with the page: a number that is there twice, a threat that says nothing of its tests, a test that does not exist.
fn faults(page: &str, known: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut numbers = BTreeSet::new();
    for threat in page.split("\n**T").skip(1) {
        let number = threat.split('.').next().unwrap_or_default();
        if !numbers.insert(number) {
            faults.push(format!("T{number} is there twice"));
        }
        let threat = threat.split("\n## ").next().unwrap_or_default();
        let Some(shown) = threat.lines().find_map(|line| line.strip_prefix("*Shown by:* ")) else {
            faults.push(format!("T{number} does not say what shows it"));
            continue;
        };
        let named = shown.split('`').skip(1).step_by(2);
        // Names of tests; what has a space or a slash is a command or a folder.
        for test in named.filter(|name| !name.contains([' ', '/'])) {
            if !known.contains(test) {
                faults.push(format!("T{number} names {test}, which is no test"));
            }
        }
    }
    faults
}

#[test]
fn every_threat_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known = BTreeSet::new();
    for dir in ["bindings", "core", "cloud", "examples", "tests/faults", "tests/fuzz"] {
        functions(&root.join(dir), &mut known);
    }
    let page = fs::read_to_string(root.join("docs/threats.md")).unwrap();
    assert!(page.matches("\n**T").count() >= 27, "the page has another form");
    assert_eq!(faults(&page, &known), Vec::<String>::new());
}

#[test]
fn a_threat_without_tests_or_with_one_that_is_gone_is_found() {
    let known = BTreeSet::from(["here".to_owned()]);
    let page = "\n**T1. One.** x\n*Shown by:* `here`, `make sim`.\n\n**T2. Two.** x\n\n**T3. Three.** x\n*Shown by:* `gone`.\n\n**T1. Another.** x\n*Shown by:* `here`.\n";
    assert_eq!(
        faults(page, &known),
        [
            "T2 does not say what shows it",
            "T3 names gone, which is no test",
            "T1 is there twice"
        ]
    );
}
