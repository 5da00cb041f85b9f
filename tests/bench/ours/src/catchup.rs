//! Catching up: a phone that was just linked gets everything from the cloud peer, verified and durable.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use serde_json::{Value, json};

use crate::{Failure, beside, meter, people};

#[derive(Args)]
pub struct Making {
    /// A folder for `writer`, `phone` and `cloud`, and the keys of the first two.
    #[arg(long)]
    dir: PathBuf,
    /// Events to write.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Events in one entry.
    #[arg(long, default_value_t = 1)]
    per_entry: usize,
    /// Bytes of each event.
    #[arg(long, default_value_t = 256)]
    size: usize,
}

#[derive(Args)]
pub struct Options {
    /// The folder that `make-catchup` made, or a copy of it. Its cloud peer runs.
    #[arg(long)]
    dir: PathBuf,
    /// Entries that must be here afterwards.
    #[arg(long)]
    entries: u64,
}

/// Writers at once while the folders are made: it takes no measured time, but many small durable writes would take long one by one.
const WRITERS: usize = 64;

pub async fn make(making: Making) -> Result<Value, Failure> {
    let cloud = people::cloud(&beside(&making.dir, "cloud"), 0).await?;
    let writer = people::create(&beside(&making.dir, "writer"), "writer").await?;
    let code = cloud.code(people::LONG).to_string();
    writer.link(&code, people::yes()).await?;
    let events = meter::events(7, making.events, making.size);
    let entries: Vec<_> = events
        .chunks(making.per_entry)
        .map(<[rhizome::Event]>::to_vec)
        .collect();
    let count = entries.len();
    let tasks: Vec<_> = entries
        .chunks(count.div_ceil(WRITERS))
        .map(|share| {
            let (pod, share) = (writer.clone(), share.to_vec());
            tokio::spawn(async move {
                for events in share {
                    pod.append("journal", events).await?;
                }
                Ok::<_, rhizome::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let phone = people::join(&writer, &beside(&making.dir, "phone"), "phone").await?;
    phone.shutdown().await;
    people::sync(&writer).await?;
    writer.shutdown().await;
    let port = people::port(&cloud).await?;
    cloud.stop().await;
    Ok(json!({"port": port, "entries": count, "payload": making.events * making.size}))
}

pub async fn catch_up(options: Options) -> Result<Value, Failure> {
    let dir = beside(&options.dir, "phone");
    let pod = people::open(&dir).await?;
    if pod.status().await?.entries != 0 {
        return Err("the phone is not new".into());
    }
    let (baseline, cpu, began) = (meter::peak(), meter::cpu(), Instant::now());
    let report = people::sync(&pod).await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = meter::cpu().zip(cpu).map(|(after, before)| after - before);
    let peak = meter::peak();
    let entries = pod.status().await?.entries;
    pod.shutdown().await;
    if entries != options.entries {
        return Err(format!("{entries} entries came, and {} were to come", options.entries).into());
    }
    let (sent, received) = people::bytes(&report);
    Ok(json!({
        "seconds": seconds, "cpu": cpu, "sent": sent, "received": received, "baseline_kb": baseline, "peak_kb": peak,
    }))
}
