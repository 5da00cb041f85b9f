//! Writing entries.

use std::{
    io::{Read, Write},
    path::Path,
};

use rhizome::{Pod, Value, path};
use serde_json::json;

use crate::{
    entry::{self, COLLECTION, find, get},
    failure::{Failure, system},
    markdown::{self, Note},
    output::Output,
    when,
};

/// Writes an entry.
pub async fn new(
    pod: &Pod,
    output: &Output,
    text: Option<&str>,
    title: Option<&str>,
    date: Option<&str>,
    tags: &[String],
) -> Result<(), Failure> {
    let date = match date {
        None => when::now(),
        Some(text) => when::parse(text).ok_or_else(|| {
            let message = format!("{text:?} is not a date: write YYYY-MM-DD or YYYY-MM-DDTHH:MM");
            Failure::new("usage", message)
        })?,
    };
    let mut note = match text {
        Some("-") => Note {
            text: from_stdin()?,
            ..Note::default()
        },
        Some(text) => Note {
            text: text.to_owned(),
            ..Note::default()
        },
        // In an editor a first line `# like this` becomes the title.
        None => markdown::read(&in_editor("")?),
    };
    if let Some(title) = title {
        note.title = Some(title.to_owned());
    }
    note.tags.extend(tags.iter().cloned());
    if note.text.trim().is_empty() && note.title.is_none() {
        let message = "nothing was written: the text is empty".to_owned();
        return Err(Failure::new("empty", message));
    }
    let written = pod
        .create_document(COLLECTION, move |edit| entry::write(edit, &note, date))
        .await?;
    let json = json!({"id": written.document.to_string(), "date": date});
    output.result(&json, || format!("{}  {}", written.document.short(), when::show(date)));
    Ok(())
}

/// Changes an entry.
pub async fn edit(
    pod: &Pod,
    output: &Output,
    id: &str,
    append: Option<&str>,
    text: Option<&str>,
    title: Option<&str>,
) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let text = match (text, append, title) {
        (Some("-"), _, _) => Some(from_stdin()?),
        (Some(text), _, _) => Some(text.to_owned()),
        (None, None, None) => {
            let before = get(pod, document).await?.text;
            Some(in_editor(&before)?.trim_end_matches('\n').to_owned())
        }
        (None, _, _) => None,
    };
    let (append, title) = (append.map(str::to_owned), title.map(str::to_owned));
    let written = pod
        .edit_document(COLLECTION, document, move |edit| {
            if let Some(title) = &title {
                edit.set(&path(["title"]), Value::String(title.clone()))?;
            }
            if let Some(more) = &append {
                let before = match edit.get(&path(["text"])) {
                    Some(Value::Text(before) | Value::String(before)) => before,
                    _ => String::new(),
                };
                let gap = if before.is_empty() { "" } else { "\n\n" };
                edit.set_text(&path(["text"]), &format!("{before}{gap}{more}"))?;
            }
            if let Some(text) = &text {
                edit.set_text(&path(["text"]), text)?;
            }
            Ok(())
        })
        .await?;
    let changed = written.entry.is_some();
    output.result(&json!({"id": document.to_string(), "changed": changed}), || {
        format!(
            "{}  {}",
            document.short(),
            if changed { "changed" } else { "unchanged" }
        )
    });
    Ok(())
}

/// Appends short entries one at a time. The number of each is printed only once it is on the disk, which is what a killed process is
/// measured against.
pub async fn burst(pod: &Pod, output: &Output, count: u64, ack_file: Option<&Path>) -> Result<(), Failure> {
    let mut ack = ack_file
        .map(|path| std::fs::File::create(path).map_err(system("cannot write the ack file")))
        .transpose()?;
    for number in 1..=count {
        let date = when::now();
        let note = Note {
            title: Some(format!("burst {number}")),
            text: format!("Entry {number} of a burst."),
            ..Note::default()
        };
        pod.create_document(COLLECTION, move |edit| entry::write(edit, &note, date))
            .await?;
        if let Some(ack) = &mut ack {
            writeln!(ack, "{number}").map_err(system("cannot write the ack file"))?;
        }
        output.text(&number.to_string());
    }
    Ok(())
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(system("cannot read the text from stdin"))?;
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Lets a person write in the editor they chose. For as long as it is open the text is in a file that only they may read, in memory where
/// the system has a place for that.
fn in_editor(before: &str) -> Result<String, Failure> {
    let chosen = ["VISUAL", "EDITOR"].iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.trim().is_empty()).then_some(value)
    });
    let Some(chosen) = chosen else {
        let message = "give the text (- reads it from stdin), or set EDITOR to a program that edits it".to_owned();
        return Err(Failure::new("usage", message));
    };
    let failed = system("cannot make a file for the editor");
    let place = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| Path::new(dir).is_dir());
    let dir = tempfile::Builder::new()
        .prefix("journal-")
        .tempdir_in(place.map_or_else(std::env::temp_dir, Into::into))
        .map_err(&failed)?;
    let file = dir.path().join("entry.md");
    std::fs::write(&file, before).map_err(&failed)?;
    // As git does: the variable may hold arguments.
    let mut words = chosen.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let status = std::process::Command::new(program)
        .args(words)
        .arg(&file)
        .status()
        .map_err(|error| Failure::new("editor", format!("cannot start the editor {program}: {error}")))?;
    if !status.success() {
        let message = format!("nothing was written: the editor {program} ended with {status}");
        return Err(Failure::new("editor", message));
    }
    std::fs::read_to_string(&file).map_err(system("cannot read back what the editor wrote"))
}
