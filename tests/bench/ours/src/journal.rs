//! A journal of many entries: written in bulk, read by id and by date, watched while it changes, searched.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use rhizome::{DocumentEdit, DocumentId, Index, Pod, Query, Schema, Search, Value as Field, path};
use serde_json::{Value, json};

use crate::{Failure, diary, meter, people};

/// The collection.
pub const JOURNAL: &str = "journal";
/// Rows of a page.
pub const PAGE: u32 = 20;

#[derive(Args)]
pub struct Importing {
    /// A folder for a new pod.
    #[arg(long)]
    dir: PathBuf,
    /// Entries.
    #[arg(long)]
    count: usize,
    /// Entries in one call.
    #[arg(long, default_value_t = 2000)]
    together: usize,
    /// They can be searched.
    #[arg(long)]
    search: bool,
}

#[derive(Args)]
pub struct Asking {
    /// The pod.
    #[arg(long)]
    dir: PathBuf,
    /// Entries that it has.
    #[arg(long)]
    count: usize,
    /// How often it is asked.
    #[arg(long, default_value_t = 2000)]
    times: usize,
}

fn schema(search: bool) -> Schema {
    let schema = Schema::new().index(Index::on("date"));
    match search {
        true => schema.search("title", 4).search("text", 1),
        false => schema,
    }
}

/// Writes the entries of a journal.
pub async fn fill(pod: &Pod, count: usize, together: usize, search: bool) -> Result<(), Failure> {
    pod.declare(JOURNAL, schema(search)).await?;
    for first in (0..count).step_by(together) {
        let edits = (first..(first + together).min(count)).map(|number| DocumentEdit {
            document: None,
            edit: Box::new(move |edit| {
                let entry = diary::entry(number);
                edit.set(&path(["date"]), Field::Date(entry.date))?;
                edit.set(&path(["title"]), Field::String(entry.title))?;
                edit.set_text(&path(["text"]), &entry.text)
            }),
        });
        pod.write(JOURNAL, edits.collect()).await?;
    }
    Ok(())
}

/// Every entry durable and in the index.
pub async fn import(importing: Importing) -> Result<Value, Failure> {
    let pod = people::create(&importing.dir, "phone").await?;
    let began = Instant::now();
    fill(&pod, importing.count, importing.together, importing.search).await?;
    let seconds = began.elapsed().as_secs_f64();
    let count = pod.count(JOURNAL).await?;
    pod.shutdown().await;
    if count != importing.count as u64 {
        return Err(format!("{count} documents, and {} were written", importing.count).into());
    }
    Ok(json!({"documents": count, "seconds": seconds, "peak_kb": meter::peak()}))
}

/// The entries by number.
async fn by_number(pod: &Pod, count: usize) -> Result<Vec<DocumentId>, Failure> {
    let mut ids = Vec::with_capacity(count);
    let mut query = Query::new().sort("date").limit(1000);
    loop {
        let page = pod.query(JOURNAL, query.clone()).await?;
        ids.extend(page.rows.iter().map(|row| row.document));
        match page.next {
            Some(next) => query = query.after(next),
            None => break,
        }
    }
    match ids.len() == count {
        true => Ok(ids),
        false => Err(format!("{} documents, and {count} were written", ids.len()).into()),
    }
}

/// Microseconds of one of `count` that together took so long since `began`.
pub fn each(began: Instant, count: usize) -> f64 {
    began.elapsed().as_secs_f64() * 1e6 / count.max(1) as f64
}

/// Reads entries by id, then pages of a range of dates: both anywhere.
pub async fn query(asking: Asking) -> Result<Value, Failure> {
    let pod = people::open(&asking.dir).await?;
    pod.declare(JOURNAL, schema(false)).await?;
    let ids = by_number(&pod, asking.count).await?;
    let get = async |number: usize| {
        let found = pod.get(ids[number]).await?;
        match found {
            Some(Field::Map(fields)) if fields["date"] == Field::Date(diary::date(number)) => Ok::<_, Failure>(()),
            _ => Err("an entry is not there".into()),
        }
    };
    let page = async |number: usize| {
        let until = diary::date(number + PAGE as usize);
        let dates = Field::Date(diary::date(number))..Field::Date(until);
        let query = Query::new().range("date", dates).sort("date").limit(PAGE);
        let found = pod.query(JOURNAL, query).await?;
        let wanted = (asking.count - number).min(PAGE as usize);
        match found.rows.len() == wanted && found.rows[0].fields["title"] == format!("Day {number}") {
            true => Ok::<_, Failure>(()),
            false => Err("another page".into()),
        }
    };
    let warm = asking.times.div_ceil(10);
    for number in diary::drawn(warm, asking.count) {
        get(number).await?;
        page(number).await?;
    }
    let began = Instant::now();
    for number in diary::drawn(asking.times, asking.count) {
        get(number).await?;
    }
    let point = each(began, asking.times);
    let began = Instant::now();
    for number in diary::drawn(asking.times, asking.count) {
        page(number).await?;
    }
    let range = each(began, asking.times);
    pod.shutdown().await;
    Ok(json!({"point": point, "range": range, "peak_kb": meter::peak()}))
}

/// From the beginning of the process' work to the first page of what a search finds, with its excerpts.
pub async fn search(asking: Asking) -> Result<Value, Failure> {
    let wanted = asking.count / 2;
    let began = Instant::now();
    let pod = people::open(&asking.dir).await?;
    pod.declare(JOURNAL, schema(true)).await?;
    let page = pod
        .search(JOURNAL, Search::new(diary::rare(wanted)).limit(PAGE))
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    pod.shutdown().await;
    let first = wanted / diary::RARE * diary::RARE;
    let there = (asking.count - first).min(diary::RARE).min(PAGE as usize);
    match page.hits.len() == there && !page.hits[0].excerpts.is_empty() {
        true => Ok(json!({"seconds": seconds, "peak_kb": meter::peak()})),
        false => Err(format!("{} entries are found, and {there} are there", page.hits.len()).into()),
    }
}
