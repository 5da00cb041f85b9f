//! What an entry was before: its versions, and going back.

use rhizome::{ChangeId, ChangeKind, DocumentId, DocumentVersion, Pod, Written};
use serde_json::{Value as Json, json};

use crate::{
    entry::{COLLECTION, JournalEntry, find},
    failure::Failure,
    output::{Output, one_line, printable},
    when,
};

/// Versions read at once.
const PAGE: u32 = 100;
/// Hexadecimal digits of a version that people are shown.
const SHORT: usize = 8;

/// Lists the versions of an entry, newest first.
pub async fn history(pod: &Pod, output: &Output, id: &str, limit: usize) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let mut versions = Vec::new();
    let mut after = None;
    loop {
        let page = pod.history(document, after, PAGE).await?;
        versions.extend(page.versions);
        after = page.next;
        if after.is_none() || versions.len() > limit {
            break;
        }
    }
    let more = versions.len() > limit;
    versions.truncate(limit);
    let rows: Vec<Json> = versions.iter().map(as_json).collect();
    output.result(
        &json!({"id": document.to_string(), "versions": rows, "more": more}),
        || versions.iter().map(line).collect::<Vec<_>>().join("\n"),
    );
    if more {
        output.note("there are older ones: --limit shows more");
    }
    Ok(())
}

/// Shows an entry as it was.
pub async fn show_at(pod: &Pod, output: &Output, id: &str, version: &str) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let version = find_version(pod, document, version).await?;
    let entry = JournalEntry::of(&pod.document_at(document, version.change).await?);
    let json = json!({
        "id": document.to_string(), "version": as_json(&version), "date": entry.date, "title": entry.title, "text": entry.text,
        "tags": entry.tags,
    });
    output.result(&json, || {
        format!(
            "{}\n{}  {}\n{}\n\n{}",
            one_line(entry.headline(), 100),
            document.short(),
            when::show(entry.date),
            line(&version),
            printable(&entry.text)
        )
    });
    Ok(())
}

/// Makes an entry as it was, by a new version.
pub async fn restore(pod: &Pod, output: &Output, id: &str, version: &str) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let version = find_version(pod, document, version).await?;
    let written = pod.restore(COLLECTION, document, version.change).await?;
    told(
        output,
        document,
        written.entry.is_some(),
        "restored",
        "it is so already",
    );
    Ok(())
}

/// Takes back what this device did last in an entry.
pub async fn undo(pod: &Pod, output: &Output, id: &str) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let undone: Option<Written> = pod.undo(COLLECTION, document).await?;
    told(
        output,
        document,
        undone.is_some(),
        "taken back",
        "this device has nothing to take back in it",
    );
    Ok(())
}

/// Does again what was taken back.
pub async fn redo(pod: &Pod, output: &Output, id: &str) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let redone: Option<Written> = pod.redo(COLLECTION, document).await?;
    told(
        output,
        document,
        redone.is_some(),
        "done again",
        "there is nothing to do again in it",
    );
    Ok(())
}

fn told(output: &Output, document: DocumentId, changed: bool, done: &str, nothing: &str) {
    output.result(&json!({"id": document.to_string(), "changed": changed}), || {
        format!("{}  {}", document.short(), if changed { done } else { nothing })
    });
}

fn hex(change: &ChangeId) -> String {
    change.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kind(kind: &ChangeKind) -> (&'static str, Option<String>) {
    match kind {
        ChangeKind::Create => ("create", None),
        ChangeKind::Edit => ("edit", None),
        ChangeKind::Undo(of) => ("undo", Some(hex(of))),
        ChangeKind::Redo(of) => ("redo", Some(hex(of))),
        ChangeKind::Restore(of) => ("restore", Some(hex(of))),
    }
}

fn as_json(version: &DocumentVersion) -> Json {
    let (kind, of) = kind(&version.kind);
    json!({
        "version": hex(&version.change), "kind": kind, "of": of, "time": version.millis, "device": version.device_name,
        "key": version.device.to_string(), "this_device": version.this_device,
    })
}

fn line(version: &DocumentVersion) -> String {
    let device = match &version.device_name {
        Some(name) => one_line(name, 40),
        None => version.device.short(),
    };
    let (kind, of) = kind(&version.kind);
    let of = of.map(|of| format!(" {}", &of[..SHORT])).unwrap_or_default();
    format!(
        "{}  {}  {device}  {kind}{of}",
        &hex(&version.change)[..SHORT],
        when::show_unsigned(version.millis)
    )
}

/// The version of an entry that begins with `prefix`.
async fn find_version(pod: &Pod, document: DocumentId, prefix: &str) -> Result<DocumentVersion, Failure> {
    let wanted = prefix.trim().to_ascii_lowercase();
    let unknown = || {
        let message = format!("no version begins with {prefix:?}: `journal history` shows them");
        Failure::new("no-version", message)
    };
    if wanted.is_empty() || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let mut found: Vec<DocumentVersion> = Vec::new();
    let mut after = None;
    loop {
        let page = pod.history(document, after, PAGE).await?;
        let matching = page.versions.into_iter();
        found.extend(matching.filter(|version| hex(&version.change).starts_with(&wanted)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    match found.len() {
        0 => Err(unknown()),
        1 => Ok(found.remove(0)),
        many => {
            let message = format!("{many} versions begin with {wanted}: give more of it");
            Err(Failure::new("ambiguous", message))
        }
    }
}
