//! Reading a folder of Markdown files. A file is one entry under an id that follows from its name, so that reading the folder again finds
//! it; and the hash of the file is kept with it, so that what a person edited here since is not undone by a file that did not change.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rhizome::{DocumentEdit, DocumentId, Pod, Value, crypto::hash, path};
use serde_json::json;

use crate::{
    entry::{self, COLLECTION, JournalEntry},
    failure::Failure,
    markdown,
    output::{self, Output},
    when,
};

/// Files in one write: a durable point.
const BATCH: usize = 100;
/// A document's change must fit into one entry of the log.
const MAX_FILE: u64 = 900_000;
/// Skipped files that are named on a terminal.
const NAMED: usize = 10;

#[derive(Default)]
struct Counts {
    added: u64,
    changed: u64,
    unchanged: u64,
    /// Each with the reason.
    skipped: Vec<(String, String)>,
    other_files: u64,
    stopped: bool,
}

/// Reads a folder of Markdown files.
pub async fn import(pod: &Pod, output: &Output, dir: &Path) -> Result<(), Failure> {
    let root = dir.canonicalize().ok().filter(|root| root.is_dir()).ok_or_else(|| {
        let message = format!(
            "{} is not a folder: give the one with the Markdown files",
            dir.display()
        );
        Failure::new("usage", message)
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            asked.store(true, Ordering::Relaxed);
        }
    });
    let mut counts = Counts::default();
    let mut files = Vec::new();
    find_files(&root, &mut files, &mut counts);
    files.sort();
    let bar = progress(files.len(), output);
    for batch in files.chunks(BATCH) {
        if stop.load(Ordering::Relaxed) {
            counts.stopped = true;
            break;
        }
        read_batch(pod, &root, batch, &mut counts).await?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    report(output, &counts);
    if counts.stopped {
        let message = "stopped early: what was read is kept; run it again to go on".to_owned();
        return Err(Failure::new("interrupted", message));
    }
    Ok(())
}

fn progress(files: usize, output: &Output) -> ProgressBar {
    let target = if output.is_json() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len} files, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(files as u64), target).with_style(style)
}

/// Markdown files below `dir`, hidden folders and links left out.
fn find_files(dir: &Path, files: &mut Vec<PathBuf>, counts: &mut Counts) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            counts
                .skipped
                .push((dir.display().to_string(), format!("cannot be read: {}", error.kind())));
            return;
        }
    };
    for entry in entries.flatten() {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let Ok(kind) = entry.file_type() else { continue };
        if hidden || kind.is_symlink() {
            counts.other_files += 1;
        } else if kind.is_dir() {
            find_files(&entry.path(), files, counts);
        } else if is_markdown(&entry.path()) {
            files.push(entry.path());
        } else {
            counts.other_files += 1;
        }
    }
}

fn is_markdown(file: &Path) -> bool {
    file.extension()
        .is_some_and(|kind| ["md", "markdown"].iter().any(|known| kind.eq_ignore_ascii_case(known)))
}

async fn read_batch(pod: &Pod, root: &Path, batch: &[PathBuf], counts: &mut Counts) -> Result<(), Failure> {
    let did = pod.did()?;
    let mut edits = Vec::new();
    for file in batch {
        let shown = file.strip_prefix(root).unwrap_or(file).display().to_string();
        let (text, modified) = match read_file(file) {
            Ok(read) => read,
            Err(reason) => {
                counts.skipped.push((shown, reason));
                continue;
            }
        };
        let Some(document) = document_of(&did, root, file) else {
            counts.skipped.push((shown, "its name is not UTF-8".to_owned()));
            continue;
        };
        let content = hash("journal import content", &[text.as_bytes()]).0[..16].to_vec();
        let known = pod.get(document).await?.map(|value| JournalEntry::of(&value));
        match &known {
            Some(entry) if entry.imported.as_ref() == Some(&content) => {
                counts.unchanged += 1;
                continue;
            }
            Some(_) => counts.changed += 1,
            None => counts.added += 1,
        }
        let note = markdown::read(&text);
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let date = note
            .date
            .or_else(|| when::in_name(&name))
            // A file's time changes when it is copied: it names a new entry's date and no other's.
            .or(known.map(|entry| entry.date))
            .unwrap_or(modified);
        let note = markdown::Note {
            title: note.title.clone().or(Some(name)),
            ..note
        };
        edits.push(DocumentEdit {
            document: Some(document),
            edit: Box::new(move |edit| {
                entry::write(edit, &note, date)?;
                edit.set(&path(["imported"]), Value::Bytes(content.clone()))
            }),
        });
    }
    pod.write(COLLECTION, edits).await?;
    Ok(())
}

/// The text, and when the file was changed.
fn read_file(file: &Path) -> Result<(String, i64), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {}", error.kind());
    let about = std::fs::metadata(file).map_err(unreadable)?;
    if about.len() > MAX_FILE {
        return Err(format!("longer than {}", output::bytes(MAX_FILE)));
    }
    let text = String::from_utf8(std::fs::read(file).map_err(unreadable)?).map_err(|_| "not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Err("empty".to_owned());
    }
    let modified = about
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_millis()).ok());
    Ok((text, modified.unwrap_or_else(when::now)))
}

/// The id that follows from a file's place: the folder's own name and the path below it, so that files of two folders that are called
/// alike stay apart.
fn document_of(did: &str, root: &Path, file: &Path) -> Option<DocumentId> {
    let mut names = vec![did, root.file_name().map_or(Some(""), |name| name.to_str())?];
    for part in file.strip_prefix(root).ok()?.components() {
        names.push(part.as_os_str().to_str()?);
    }
    // No name holds a NUL.
    let joined = names.join("\0");
    DocumentId::from_slice(&hash("journal import", &[joined.as_bytes()]).0[..16])
}

fn report(output: &Output, counts: &Counts) {
    let skipped: Vec<_> = counts
        .skipped
        .iter()
        .map(|(path, reason)| json!({"path": path, "reason": reason}))
        .collect();
    let json = json!({
        "added": counts.added, "changed": counts.changed, "unchanged": counts.unchanged, "skipped": skipped,
        "other_files": counts.other_files, "stopped": counts.stopped,
    });
    output.result(&json, || {
        let (added, changed, unchanged) = (counts.added, counts.changed, counts.unchanged);
        let mut lines = vec![format!(
            "{added} added, {changed} changed, {unchanged} unchanged, {} skipped",
            skipped.len()
        )];
        for (path, reason) in counts.skipped.iter().take(NAMED) {
            lines.push(format!("  skipped {}: {reason}", output::one_line(path, 100)));
        }
        if counts.skipped.len() > NAMED {
            lines.push(format!(
                "  and {} more (--json lists them)",
                counts.skipped.len() - NAMED
            ));
        }
        if counts.other_files > 0 {
            let files = output::count(counts.other_files, "file or folder", "files or folders");
            lines.push(format!("  left alone: {files} that are hidden, links or not Markdown"));
        }
        lines.join("\n")
    });
}
