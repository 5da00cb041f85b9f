//! Finding entries by their words.

use std::time::{Duration, Instant};

use rhizome::{Error, Excerpt, Pod, QueryError, Search, SearchCursor, SearchPage, Value};
use serde_json::json;

use super::reading::{headline, line};
use crate::{
    entry::{COLLECTION, DATE},
    failure::Failure,
    output::Output,
    when,
};

/// How long a search waits for its index: a journal that an older version wrote is gone through once.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Finds entries, the best first.
pub async fn search(
    pod: &Pod,
    output: &Output,
    words: &str,
    limit: u32,
    after: Option<&str>,
    (from, until): (Option<&str>, Option<&str>),
) -> Result<(), Failure> {
    let mut search = Search::new(words).limit(limit);
    if let Some(after) = after {
        let cursor = from_hex(after).and_then(|bytes| SearchCursor::from_bytes(&bytes));
        search = search.after(
            cursor
                .ok_or_else(|| Failure::new("usage", "--after wants the cursor that a page ended with".to_owned()))?,
        );
    }
    if from.is_some() || until.is_some() {
        let from = from.map_or(Ok(i64::MIN), day)?;
        let until = until.map_or(Ok(i64::MAX), day)?;
        search = search.within(DATE, Value::Date(from)..Value::Date(until));
    }
    let page = ready(pod, output, &search).await?;
    let next = page.next.map(|cursor| hex(&cursor.to_bytes()));
    if output.is_json() {
        let entries: Vec<_> = page
            .hits
            .iter()
            .map(|hit| {
                let excerpts = hit.excerpts.iter().map(|(field, excerpt)| {
                    let ranges: Vec<_> = excerpt.ranges.iter().map(|range| [range.start, range.end]).collect();
                    json!({"field": field.names().join("."), "text": excerpt.text, "ranges": ranges})
                });
                json!({
                    "id": hit.document.to_string(), "date": hit.fields[DATE], "title": hit.fields["title"], "score": hit.score,
                    "excerpts": excerpts.collect::<Vec<_>>(),
                })
            })
            .collect();
        output.text(&json!({"entries": entries, "next": next}).to_string());
        return Ok(());
    }
    for hit in &page.hits {
        let date = hit.fields[DATE].as_i64().unwrap_or_default();
        let title = headline(pod, hit.document, &hit.fields).await?;
        output.text(&line(hit.document, date, &title));
        for (field, excerpt) in &hit.excerpts {
            // The title stands in the line above.
            if field.names() != ["title"] {
                output.text(&format!("          {}", marked(excerpt, output)));
            }
        }
    }
    if page.hits.is_empty() && after.is_none() {
        output
            .note("no entry has these words: begin* finds the beginning of a word, \"words in quotes\" those in a row");
    }
    if let Some(next) = next {
        output.note(&format!("more: journal search --after {next} …"));
    }
    Ok(())
}

async fn ready(pod: &Pod, output: &Output, search: &Search) -> Result<SearchPage, Failure> {
    let (began, mut told) = (Instant::now(), false);
    loop {
        match pod.search(COLLECTION, search.clone()).await {
            Err(Error::Query(QueryError::Building { done, total })) if began.elapsed() < READY_WITHIN => {
                if !std::mem::replace(&mut told, true) {
                    output.note(&format!(
                        "reading {total} entries once so that they can be found ({done} are done)"
                    ));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return Ok(other?),
        }
    }
}

fn day(text: &str) -> Result<i64, Failure> {
    when::begin(text).ok_or_else(|| Failure::new("usage", format!("{text:?} is not a date: write YYYY-MM-DD")))
}

/// What was found, in one line, with the words that were looked for in bold where that can be seen.
fn marked(excerpt: &Excerpt, output: &Output) -> String {
    // A person's words: nothing in them commands the terminal, and each sign keeps its place.
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c })
            .collect()
    };
    let mut line = String::new();
    if excerpt.cut_before {
        line.push_str("… ");
    }
    let mut at = 0;
    for range in &excerpt.ranges {
        line.push_str(&plain(&excerpt.text[at..range.start]));
        line.push_str(&output.bold(&plain(&excerpt.text[range.clone()])));
        at = range.end;
    }
    line.push_str(&plain(&excerpt.text[at..]));
    if excerpt.cut_after {
        line.push_str(" …");
    }
    line
}

/// Bytes as they are typed.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`hex`] wrote.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| digits.map(byte).collect())
        .flatten()
}
