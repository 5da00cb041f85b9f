//! Pods with many documents: made once, opened often.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use rhizome::{DocumentEdit, Index, Pod, Schema, Value as Field, path};
use serde_json::{Value, json};

use crate::{Failure, beside, meter, people};

#[derive(Args)]
pub struct Making {
    /// A folder for the pod.
    #[arg(long)]
    dir: PathBuf,
    /// Documents.
    #[arg(long)]
    count: usize,
}

#[derive(Args)]
pub struct Opening {
    /// The pod.
    #[arg(long)]
    dir: PathBuf,
    /// Documents that it has.
    #[arg(long)]
    count: u64,
    /// Rows to list.
    #[arg(long, default_value_t = 20)]
    rows: u32,
}

#[derive(Args)]
pub struct Idle {
    /// A folder for `one`, `two`, `three` and `cloud`.
    #[arg(long)]
    dir: PathBuf,
    /// Documents of all three together.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
}

/// Documents in one call: about what the pod puts into one entry.
const AT_ONCE: usize = 2000;

pub async fn write(pod: &Pod, from: usize, count: usize) -> Result<(), Failure> {
    for first in (from..from + count).step_by(AT_ONCE) {
        let until = (first + AT_ONCE).min(from + count);
        let edits = (first..until).map(|number| DocumentEdit {
            document: None,
            edit: Box::new(move |edit| {
                edit.set(&path(["date"]), Field::Date(1_700_000_000_000 + number as i64))?;
                edit.set(&path(["title"]), Field::String(format!("Day {number}")))?;
                edit.set_text(&path(["text"]), &"A line of what happened on that day. ".repeat(3))
            }),
        });
        pod.write("journal", edits.collect()).await?;
    }
    Ok(())
}

pub async fn make(making: Making) -> Result<Value, Failure> {
    let pod = people::create(&making.dir, "phone").await?;
    // Before the documents: each is in the index as soon as it is there.
    pod.declare("journal", Schema::new().index(Index::on("date"))).await?;
    let began = Instant::now();
    write(&pod, 0, making.count).await?;
    pod.shutdown().await;
    Ok(json!({"documents": making.count, "seconds": began.elapsed().as_secs_f64()}))
}

pub async fn open(opening: Opening) -> Result<Value, Failure> {
    let began = Instant::now();
    let pod = people::open(&opening.dir).await?;
    let page = pod.list("journal", "date", None, opening.rows).await?;
    let seconds = began.elapsed().as_secs_f64();
    let peak = meter::peak();
    let count = pod.count("journal").await?;
    pod.shutdown().await;
    if count != opening.count || page.rows.len() as u64 != u64::from(opening.rows).min(count) {
        return Err(format!("{count} documents, {} rows", page.rows.len()).into());
    }
    Ok(json!({"seconds": seconds, "peak_kb": peak}))
}

pub async fn make_idle(idle: Idle) -> Result<Value, Failure> {
    let cloud = people::cloud(&beside(&idle.dir, "cloud"), 0).await?;
    let one = people::create(&beside(&idle.dir, "one"), "one").await?;
    one.link(&cloud.code(people::LONG).to_string(), people::yes()).await?;
    let two = people::join(&one, &beside(&idle.dir, "two"), "two").await?;
    let three = people::join(&one, &beside(&idle.dir, "three"), "three").await?;
    people::sync(&one).await?;
    let mut from = 0;
    for (pod, share) in [
        (&one, idle.count - idle.count / 10 * 2),
        (&two, idle.count / 10),
        (&three, idle.count / 10),
    ] {
        write(pod, from, share).await?;
        from += share;
    }
    // Each gives what it has; then each has what the others gave.
    for pod in [&one, &two, &three, &one, &two, &three] {
        people::sync(pod).await?;
    }
    for pod in [&one, &two, &three] {
        let count = pod.count("journal").await?;
        if count != idle.count as u64 {
            return Err(format!("{count} documents, and {} were written", idle.count).into());
        }
    }
    for pod in [one, two, three] {
        pod.shutdown().await;
    }
    let port = people::port(&cloud).await?;
    cloud.stop().await;
    Ok(json!({"port": port, "documents": idle.count}))
}
