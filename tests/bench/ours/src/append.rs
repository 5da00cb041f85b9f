//! Durable appends: how many events a pod takes in a second, one batch after the other or from many callers at once.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use rhizome::Event;
use serde_json::{Value, json};

use crate::{Failure, meter, people};

#[derive(Args)]
pub struct Options {
    /// A folder for a new pod.
    #[arg(long)]
    dir: PathBuf,
    /// Events to append.
    #[arg(long, default_value_t = 100_000)]
    count: usize,
    /// Events in one entry.
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Bytes of each.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Callers at once.
    #[arg(long, default_value_t = 1)]
    callers: usize,
}

fn batches(seed: u64, count: usize, options: &Options) -> Vec<Vec<Event>> {
    let events = meter::events(seed, count, options.size);
    events.chunks(options.batch).map(<[Event]>::to_vec).collect()
}

pub async fn append(options: Options) -> Result<Value, Failure> {
    let pod = people::create(&options.dir, "phone").await?;
    let each = options.count / options.callers;
    let work: Vec<_> = (0..options.callers as u64)
        .map(|seed| batches(seed, each, &options))
        .collect();
    // The first writes make the author log and warm every cache.
    for batch in batches(999, options.batch * 16, &options) {
        pod.append("journal", batch).await?;
    }
    let (began, cpu) = (Instant::now(), meter::cpu());
    let callers: Vec<_> = work
        .into_iter()
        .map(|batches| {
            let pod = pod.clone();
            tokio::spawn(async move {
                for batch in batches {
                    pod.append("journal", batch).await?;
                }
                Ok::<_, rhizome::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = meter::cpu().zip(cpu).map(|(after, before)| after - before);
    let entries = pod.status().await?.entries;
    let expected = 16 + (each.div_ceil(options.batch) * options.callers) as u64;
    pod.shutdown().await;
    if entries != expected {
        return Err(format!("{entries} entries are in the pod, and {expected} were written").into());
    }
    Ok(json!({
        "events": each * options.callers, "seconds": seconds, "cpu": cpu, "peak_kb": meter::peak(),
    }))
}
