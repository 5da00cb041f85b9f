//! Deleting entries, and bringing them back in time.

use rhizome::{DocumentId, Pod, Trashed};
use serde_json::{Value as Json, json};

use super::words::typed;
use crate::{
    entry::{COLLECTION, JournalEntry, find, one_of},
    failure::Failure,
    output::{Output, one_line},
    when,
};

const TITLE_WIDTH: usize = 72;

/// Deletes an entry: into the trash, or for good with the words.
pub async fn delete(pod: &Pod, output: &Output, id: &str, at_once: bool) -> Result<(), Failure> {
    if at_once {
        return delete_at_once(pod, output, id).await;
    }
    let document = find(pod, id).await?;
    pod.erase_document(document).await?;
    let due = in_trash(pod, document).await?.and_then(|trashed| trashed.due);
    let json = json!({"id": document.to_string(), "at_once": false, "due": due});
    output.result(&json, || {
        let short = document.short();
        let gone = match due {
            Some(due) => format!("gone for good on {}", when::show_unsigned(due)),
            None => "gone for good seven days after the next `journal sync` has put this in order".to_owned(),
        };
        format!("{short}  deleted; {gone}\nUntil then `journal undelete {short}` brings it back.")
    });
    Ok(())
}

/// Whatever is wrong with the id is told before a person types 24 words.
async fn delete_at_once(pod: &Pod, output: &Output, id: &str) -> Result<(), Failure> {
    let here = pod.documents(COLLECTION).await?.into_iter();
    let trashed = pod.trash().await?.into_iter().map(|trashed| trashed.document);
    let document = one_of(id, here.chain(trashed))?
        .ok_or_else(|| not_found(id, "no entry, and nothing in the trash, begins with", "journal list"))?;
    pod.erase_document_at_once(document, &typed()?).await?;
    output.result(&json!({"id": document.to_string(), "at_once": true, "due": null}), || {
        format!(
            "{}  deleted; nothing brings it back\n`journal sync` passes this on: each device and cloud peer drops the text once it hears of it.",
            document.short()
        )
    });
    Ok(())
}

/// Lists what was deleted and can still be brought back, the latest first.
pub async fn trash(pod: &Pod, output: &Output) -> Result<(), Failure> {
    let trash = pod.trash().await?;
    let members = pod.members().await?;
    let name = |trashed: &Trashed| {
        let by = members.members.iter().find(|member| member.key == trashed.by);
        by.and_then(|member| member.name.clone())
    };
    let rows: Vec<Json> = trash
        .iter()
        .map(|trashed| {
            json!({
                "id": trashed.document.to_string(), "title": JournalEntry::of(&trashed.value).headline(), "device": name(trashed),
                "key": trashed.by.to_string(), "since": trashed.since, "due": trashed.due,
            })
        })
        .collect();
    let lines = || {
        let lines = trash.iter().map(|trashed| {
            let device = name(trashed).map_or_else(|| trashed.by.short(), |name| one_line(&name, 40));
            format!("{}, by {device}", line(trashed))
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    if output.is_json() || !trash.is_empty() {
        output.result(&json!({"trash": rows}), lines);
    }
    output.note(match trash.is_empty() {
        true => "the trash is empty",
        false => "`journal undelete ID` brings one back",
    });
    Ok(())
}

fn line(trashed: &Trashed) -> String {
    let due = match trashed.due {
        Some(due) => format!("gone for good on {}", when::show_unsigned(due)),
        None => "waits for its order".to_owned(),
    };
    let entry = JournalEntry::of(&trashed.value);
    let title = one_line(entry.headline(), TITLE_WIDTH);
    format!("{}  {title}  ({due})", trashed.document.short())
}

/// Brings an entry back.
pub async fn undelete(pod: &Pod, output: &Output, id: &str) -> Result<(), Failure> {
    let trash = pod.trash().await?;
    let document = one_of(id, trash.iter().map(|trashed| trashed.document))?
        .ok_or_else(|| not_found(id, "nothing in the trash begins with", "journal trash"))?;
    pod.cancel_erase(document).await?;
    output.result(&json!({"id": document.to_string(), "undeleted": true}), || {
        format!("{}  is back", document.short())
    });
    Ok(())
}

async fn in_trash(pod: &Pod, document: DocumentId) -> Result<Option<Trashed>, Failure> {
    let trash = pod.trash().await?;
    Ok(trash.into_iter().find(|trashed| trashed.document == document))
}

fn not_found(id: &str, what: &str, command: &str) -> Failure {
    Failure::new(
        "no-document",
        format!("{what} {}: `{command}` shows the ids", id.trim()),
    )
}
