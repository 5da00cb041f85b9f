//! The editing of one text, letter by letter, in Automerge alone: what each commit adds is appended to a file and synced.

use std::{fs::File, io::Write, path::PathBuf, process::ExitCode, time::Instant};

use automerge::{AutoCommit, ObjType, ROOT, ReadDoc, transaction::Transactable};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Replays the edits of a trace.
    Trace(Options),
}

#[derive(Args)]
struct Options {
    /// A folder for the file.
    #[arg(long)]
    dir: PathBuf,
    /// The edits: `{"edits": [[at, deleted, inserted], ...], "text": what they make}`, in ASCII.
    #[arg(long)]
    trace: PathBuf,
    /// Edits in one commit.
    #[arg(long, default_value_t = 100)]
    together: usize,
}

fn commit(document: &mut AutoCommit, file: &mut File) -> Result<(), Failure> {
    document.commit();
    file.write_all(&document.save_incremental())?;
    Ok(file.sync_data()?)
}

fn replay(options: &Options) -> Result<Value, Failure> {
    let trace: Value = serde_json::from_slice(&std::fs::read(&options.trace)?)?;
    let edits: Vec<(usize, isize, String)> = serde_json::from_value(trace["edits"].clone())?;
    std::fs::create_dir_all(&options.dir)?;
    let mut file = File::create(options.dir.join("text.automerge"))?;
    let mut document = AutoCommit::new();
    let text = document.put_object(ROOT, "text", ObjType::Text)?;
    commit(&mut document, &mut file)?;
    let began = Instant::now();
    for together in edits.chunks(options.together) {
        for (at, delete, insert) in together {
            document.splice_text(&text, *at, *delete, insert)?;
        }
        commit(&mut document, &mut file)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    if Some(document.text(&text)?.as_str()) != trace["text"].as_str() {
        return Err("the text is another one".into());
    }
    Ok(json!({
        "edits": edits.len(), "seconds": seconds, "appended": file.metadata()?.len(), "saved": document.save().len(),
    }))
}

fn main() -> ExitCode {
    let Program::Trace(options) = Cli::parse().program;
    match replay(&options) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench-automerge: {failure}");
            ExitCode::FAILURE
        }
    }
}
