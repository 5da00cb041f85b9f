//! Looking at entries.

use rhizome::{DocumentId, Holder, ListCursor, Pod, Query, QueryCursor};
use serde_json::json;

use super::searching::{from_hex, hex};
use crate::{
    entry::{COLLECTION, DATE, TAGS, find, get},
    failure::Failure,
    output::{Output, one_line, printable},
    when,
};

/// Entries read at once when all of them are listed.
const PAGE: u32 = 200;
const TITLE_WIDTH: usize = 72;

/// Lists entries, newest first; with `tag` only those that have it.
pub async fn list(
    pod: &Pod,
    output: &Output,
    limit: u32,
    after: Option<&str>,
    all: bool,
    tag: Option<&str>,
) -> Result<(), Failure> {
    let mut after = after.map(str::to_owned);
    let mut entries = Vec::new();
    let next = loop {
        let (rows, next) = page(pod, tag, after.as_deref(), if all { PAGE } else { limit }).await?;
        for (document, date, fields) in rows {
            let title = headline(pod, document, &fields).await?;
            if all && !output.is_json() {
                output.text(&line(document, date, &title));
            } else {
                entries.push((document, date, title));
            }
        }
        after = next;
        if !all || after.is_none() {
            break after;
        }
    };
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

type Row = (DocumentId, i64, serde_json::Value);

/// A page of entries, and the cursor of the next.
async fn page(
    pod: &Pod,
    tag: Option<&str>,
    after: Option<&str>,
    limit: u32,
) -> Result<(Vec<Row>, Option<String>), Failure> {
    let Some(tag) = tag else {
        let page = pod
            .list(COLLECTION, DATE, after.map(read_cursor).transpose()?, limit)
            .await?;
        let next = page.next.map(|cursor| format!("{}:{}", cursor.millis, cursor.document));
        let rows = page.rows.into_iter().map(|row| (row.document, row.millis, row.fields));
        return Ok((rows.collect(), next));
    };
    let mut query = Query::new().contains(TAGS, tag).sort(DATE).descending().limit(limit);
    if let Some(after) = after {
        let cursor = from_hex(after).and_then(|bytes| QueryCursor::from_bytes(&bytes));
        query = query.after(cursor.ok_or_else(not_a_cursor)?);
    }
    let page = pod.query(COLLECTION, query).await?;
    let date = |fields: &serde_json::Value| fields[DATE].as_i64().unwrap_or_default();
    let rows = page
        .rows
        .into_iter()
        .map(|row| (row.document, date(&row.fields), row.fields));
    Ok((rows.collect(), page.next.map(|next| hex(&next.to_bytes()))))
}

/// What an entry is called in a list.
pub async fn headline(pod: &Pod, document: DocumentId, fields: &serde_json::Value) -> Result<String, Failure> {
    match fields.get("title").and_then(|title| title.as_str()) {
        Some(title) if !title.is_empty() => Ok(title.to_owned()),
        // A long title, or none: the row does not carry it.
        _ => Ok(get(pod, document).await?.headline().to_owned()),
    }
}

/// An entry in a list.
pub fn line(document: DocumentId, date: i64, title: &str) -> String {
    format!(
        "{}  {}  {}",
        document.short(),
        when::show(date),
        one_line(title, TITLE_WIDTH)
    )
}

fn not_a_cursor() -> Failure {
    let message = "--after wants the cursor that a page ended with".to_owned();
    Failure::new("usage", message)
}

fn read_cursor(text: &str) -> Result<ListCursor, Failure> {
    let read = || {
        let (millis, document) = text.split_once(':')?;
        Some(ListCursor {
            millis: millis.parse().ok()?,
            document: read_id(document)?,
        })
    };
    read().ok_or_else(not_a_cursor)
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
