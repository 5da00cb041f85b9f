//! Looking at entries.

use rhizome::{DocumentId, Holder, ListCursor, Pod};
use serde_json::json;

use crate::{
    entry::{COLLECTION, DATE, find, get},
    failure::Failure,
    output::{Output, one_line, printable},
    when,
};

/// Entries read at once when all of them are listed.
const PAGE: u32 = 200;
const TITLE_WIDTH: usize = 72;

/// Lists entries, newest first.
pub async fn list(pod: &Pod, output: &Output, limit: u32, after: Option<&str>, all: bool) -> Result<(), Failure> {
    let mut after = after.map(read_cursor).transpose()?;
    let mut entries = Vec::new();
    let next = loop {
        let page = pod
            .list(COLLECTION, DATE, after, if all { PAGE } else { limit })
            .await?;
        for row in &page.rows {
            let title = match row.fields.get("title").and_then(|title| title.as_str()) {
                Some(title) if !title.is_empty() => title.to_owned(),
                // A long title, or none: the row does not carry it.
                _ => get(pod, row.document).await?.headline().to_owned(),
            };
            if all && !output.is_json() {
                output.text(&line(row.document, row.millis, &title));
            } else {
                entries.push((row.document, row.millis, title));
            }
        }
        after = page.next;
        if !all || after.is_none() {
            break after;
        }
    };
    let next = next.map(|cursor| format!("{}:{}", cursor.millis, cursor.document));
    if output.is_json() {
        let rows = entries
            .iter()
            .map(|(document, date, title)| json!({"id": document.to_string(), "date": date, "title": title}));
        output.text(&json!({"entries": rows.collect::<Vec<_>>(), "next": next}).to_string());
        return Ok(());
    }
    for (document, date, title) in &entries {
        output.text(&line(*document, *date, title));
    }
    if pod.count(COLLECTION).await? == 0 {
        output.note("no entries yet: `journal new` writes one, `journal import DIR` reads Markdown files");
    }
    if let Some(next) = next {
        output.note(&format!("more: journal list --after {next}"));
    }
    Ok(())
}

fn line(document: DocumentId, date: i64, title: &str) -> String {
    format!(
        "{}  {}  {}",
        document.short(),
        when::show(date),
        one_line(title, TITLE_WIDTH)
    )
}

fn read_cursor(text: &str) -> Result<ListCursor, Failure> {
    let read = || {
        let (millis, document) = text.split_once(':')?;
        Some(ListCursor {
            millis: millis.parse().ok()?,
            document: read_id(document)?,
        })
    };
    read().ok_or_else(|| {
        let message = "--after wants the cursor that a page ended with".to_owned();
        Failure::new("usage", message)
    })
}

fn read_id(text: &str) -> Option<DocumentId> {
    let digits = (text.len() == 32 && text.is_ascii()).then_some(text)?;
    let bytes: Option<Vec<u8>> = (0..16)
        .map(|place| u8::from_str_radix(&digits[place * 2..place * 2 + 2], 16).ok())
        .collect();
    DocumentId::from_slice(&bytes?)
}

/// Shows an entry, and where it is held.
pub async fn show(pod: &Pod, output: &Output, id: &str) -> Result<(), Failure> {
    let document = find(pod, id).await?;
    let entry = get(pod, document).await?;
    let holders = pod.document_holders(document).await?;
    let held: Vec<_> = holders
        .iter()
        .map(|holder| json!({"name": holder.name, "key": holder.key.to_string(), "cloud": holder.cloud, "since": holder.since}))
        .collect();
    let json = json!({
        "id": document.to_string(), "date": entry.date, "title": entry.title, "text": entry.text, "tags": entry.tags,
        "only_here": held.is_empty(), "held_by": held,
    });
    output.result(&json, || {
        let tags: String = entry
            .tags
            .iter()
            .map(|tag| format!("  #{}", one_line(tag, 40)))
            .collect();
        format!(
            "{}\n{}  {}{tags}\n{}\n\n{}",
            one_line(entry.headline(), 100),
            document.short(),
            when::show(entry.date),
            where_held(&holders),
            printable(&entry.text)
        )
    });
    Ok(())
}

fn where_held(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "only on this device".to_owned();
    }
    let each: Vec<String> = holders
        .iter()
        .map(|holder| {
            let name = match &holder.name {
                Some(name) => one_line(name, 40),
                None => holder.key.short(),
            };
            format!("{name} since {}", when::show_unsigned(holder.since))
        })
        .collect();
    format!("held by {}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back() {
        let text = format!("-5:{}", "0f".repeat(16));
        let cursor = read_cursor(&text).expect("as we write it");
        assert_eq!((cursor.millis, cursor.document.0), (-5, [0x0f; 16]));
        for wrong in ["", "5", "5:", "x:0f", "5:zz", &format!("5:{}", "é".repeat(16))] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
