//! What a call costs, for the bindings to be compared with: the same calls, made in the same way, stand in `ios/` and `android/`.

use std::{hint::black_box, path::PathBuf, time::Instant};

use clap::Args;
use rhizome::path;
use serde_json::{Value, json};

use crate::{Failure, documents, people};

#[derive(Args)]
pub struct Options {
    /// A folder for the pod.
    #[arg(long)]
    dir: PathBuf,
    /// Documents.
    #[arg(long)]
    documents: usize,
    /// Instant calls; of those that wait for the disk a tenth, and of pages a hundredth.
    #[arg(long)]
    calls: u32,
}

/// Rows of a page.
const ROWS: u32 = 100;

pub async fn call(options: Options) -> Result<Value, Failure> {
    let pod = people::create(&options.dir, "phone").await?;
    documents::write(&pod, 0, options.documents).await?;
    let page = pod.list("journal", "date", None, ROWS).await?;
    let first = page.rows.first().ok_or("no documents")?.document;
    let open = pod.open_document("journal", first).await?;
    let title = path(["title"]);
    let mut said = json!({});
    // Once to warm up.
    for _ in 0..2 {
        let began = Instant::now();
        for _ in 0..options.calls {
            black_box(open.get(&title));
        }
        said["instant"] = json!(began.elapsed().as_secs_f64() / f64::from(options.calls));
        let waits = (options.calls / 10).max(1);
        let began = Instant::now();
        for _ in 0..waits {
            black_box(pod.get(first).await?);
        }
        said["async"] = json!(began.elapsed().as_secs_f64() / f64::from(waits));
        let pages = (options.calls / 100).max(1);
        let began = Instant::now();
        for _ in 0..pages {
            black_box(pod.list("journal", "date", None, ROWS).await?);
        }
        said["page"] = json!(began.elapsed().as_secs_f64() / f64::from(pages));
    }
    pod.shutdown().await;
    Ok(said)
}
