//! The editing of one text, letter by letter, through an open document of a pod: each commit is sealed, signed and durable.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use rhizome::{EditOp, Value as Field, path};
use serde_json::{Value, json};

use crate::{Failure, meter, people};

#[derive(Args)]
pub struct Options {
    /// A folder for a new pod.
    #[arg(long)]
    dir: PathBuf,
    /// The edits: `{"edits": [[at, deleted, inserted], ...], "text": what they make}`, in ASCII.
    #[arg(long)]
    trace: PathBuf,
    /// Edits in one commit.
    #[arg(long, default_value_t = 100)]
    together: usize,
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        sum += match file.file_type()?.is_dir() {
            true => bytes_below(&file.path())?,
            false => file.metadata()?.len(),
        };
    }
    Ok(sum)
}

pub async fn replay(options: Options) -> Result<Value, Failure> {
    let trace: Value = serde_json::from_slice(&std::fs::read(&options.trace)?)?;
    let edits: Vec<(usize, usize, String)> = serde_json::from_value(trace["edits"].clone())?;
    let pod = people::create(&options.dir, "phone").await?;
    let document = pod.new_document("journal");
    let text = || path(["text"]).to_vec();
    document.edit(vec![EditOp::SetText {
        path: text(),
        text: String::new(),
    }])?;
    document.save().await?;
    let began = Instant::now();
    for together in edits.chunks(options.together) {
        for (at, delete, insert) in together {
            document.edit(vec![EditOp::SpliceText {
                path: text(),
                at: *at,
                delete: *delete,
                insert: insert.clone(),
            }])?;
        }
        document.save().await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let peak = meter::peak();
    let id = document.id();
    drop(document);
    let Some(Field::Map(fields)) = pod.get(id).await? else {
        return Err("the document is not there".into());
    };
    let made = match &fields["text"] {
        Field::Text(text) => text.as_str(),
        _ => "",
    };
    if Some(made) != trace["text"].as_str() {
        return Err("the text is another one".into());
    }
    pod.shutdown().await;
    Ok(json!({"edits": edits.len(), "seconds": seconds, "disk": bytes_below(&options.dir)?, "peak_kb": peak}))
}
