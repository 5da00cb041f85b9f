//! The targets. Each stands for one way in which bytes come from outside.

pub mod attachment;
pub mod bomb;
pub mod car;
pub mod document;
pub mod fold;
pub mod identity;
pub mod log;
pub mod plain;
pub mod session;

/// One thing to fuzz.
pub struct Target {
    /// Its name: that of its file in `corpus/`, and what `make fuzz ONLY=` takes.
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// The longest input that libFuzzer makes.
    pub longest: usize,
    /// Panics when a promise does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "cbor",
        what: "DAG-CBOR values of any shape: one spelling only",
        longest: 4096,
        run: plain::cbor,
    },
    Target {
        name: "ticket",
        what: "a code as scanned or typed, and its core behind a good checksum",
        longest: 1024,
        run: plain::ticket,
    },
    Target {
        name: "words",
        what: "a DID, and the 24 recovery words",
        longest: 512,
        run: plain::words,
    },
    Target {
        name: "folder",
        what: "pod.json and a kept secret's file",
        longest: 1024,
        run: plain::folder,
    },
    Target {
        name: "operation",
        what: "an operation as it came, and signed anew",
        longest: 8192,
        run: identity::operation,
    },
    Target {
        name: "commit",
        what: "a commit as it came, and signed anew",
        longest: 1024,
        run: identity::commit,
    },
    Target {
        name: "identity",
        what: "a history of signed operations and commits: state, verdicts, sealed parts, key wraps",
        longest: 4096,
        run: identity::history,
    },
    Target {
        name: "car",
        what: "a CAR file as it came, and a good one changed behind right CIDs: a DID resolved from it",
        longest: 4096,
        run: car::car,
    },
    Target {
        name: "start",
        what: "the start of an author log as it came, and signed anew",
        longest: 1024,
        run: log::start,
    },
    Target {
        name: "receipt",
        what: "a receipt as it came, and signed anew",
        longest: 1024,
        run: log::receipt,
    },
    Target {
        name: "attachment",
        what: "an attachment's manifest, map of chunks, box and reference; its receipt, also signed anew",
        longest: 4096,
        run: attachment::attachment,
    },
    Target {
        name: "entry",
        what: "a range of entries as it came, and signed anew",
        longest: 8192,
        run: log::range,
    },
    Target {
        name: "section",
        what: "the plain bytes of a section that opens",
        longest: 8192,
        run: log::section,
    },
    Target {
        name: "change",
        what: "one Automerge change: chunk walk and head, plain and compressed",
        longest: 4096,
        run: document::change,
    },
    Target {
        name: "document",
        what: "changes applied to a document with a history, in two orders; saved and loaded",
        longest: 4096,
        run: document::document,
    },
    Target {
        name: "saved",
        what: "a saved document, as the views hold it",
        longest: 4096,
        run: document::saved,
    },
    Target {
        name: "value",
        what: "what a document shows, as the views hold it",
        longest: 4096,
        run: document::value,
    },
    Target {
        name: "fold",
        what: "signed entries with any contents: taken, opened, folded, listed, folded again from nothing",
        longest: 4096,
        run: fold::fold,
    },
    Target {
        name: "frame",
        what: "the body of a frame: every message of sync and linking",
        longest: 8192,
        run: session::frame,
    },
    Target {
        name: "session",
        what: "sessions that are fed any frames, in any order, by a member who signs what it likes",
        longest: 4096,
        run: session::session,
    },
    Target {
        name: "bomb",
        what: "every decoder fed repetitions up to the largest frame: memory",
        longest: 512,
        run: bomb::bomb,
    },
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
