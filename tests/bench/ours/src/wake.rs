//! A background wake, and the pods around it.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use rhizome::{SyncReport, Value as Field, path};
use serde_json::{Value, json};

use crate::{Failure, live, meter, people};

#[derive(Args)]
pub struct Options {
    /// The pod.
    #[arg(long)]
    dir: PathBuf,
}

fn told(report: &SyncReport) -> Value {
    let (sent, received) = people::bytes(report);
    let outcomes = report.peers.iter().filter_map(|peer| peer.result.as_ref().ok());
    let trips: u64 = outcomes.clone().map(|report| report.outcome.round_trips).sum();
    let entries: u64 = outcomes.map(|report| report.outcome.received).sum();
    json!({"sent": sent, "received": received, "round_trips": trips, "entries": entries})
}

/// Syncs an open pod once, after a sync that may have moved something.
pub async fn sync(options: Options) -> Result<Value, Failure> {
    let pod = people::open(&options.dir).await?;
    people::sync(&pod).await?;
    let began = Instant::now();
    let report = people::sync(&pod).await?;
    let seconds = began.elapsed().as_secs_f64();
    pod.shutdown().await;
    let mut said = told(&report);
    said["seconds"] = seconds.into();
    Ok(said)
}

/// For each line of the standard input: a new document, written and at the cloud peer.
pub async fn write(options: Options) -> Result<Value, Failure> {
    let pod = people::open(&options.dir).await?;
    let (mut commands, mut count) = (live::commands(), 0);
    while commands.next_line().await?.is_some() {
        count += 1;
        pod.create_document("journal", move |edit| {
            edit.set(&path(["date"]), Field::Date(count))?;
            edit.set_text(&path(["text"]), "what came while the phone was asleep")
        })
        .await?;
        people::sync(&pod).await?;
        live::say(&json!({"written": count}));
    }
    pod.shutdown().await;
    Ok(json!({"written": count}))
}

/// From the start of the process to its end: the harness measures around it.
pub async fn wake(options: Options) -> Result<Value, Failure> {
    let pod = people::open(&options.dir).await?;
    let report = people::sync(&pod).await?;
    pod.shutdown().await;
    let mut said = told(&report);
    said["peak_kb"] = meter::peak().into();
    Ok(said)
}
