//! The editing of one text, letter by letter, through any library: what each commit adds is appended to a file and synced.

use std::{fs::File, io::Write, path::PathBuf, process::ExitCode, time::Instant};

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where, how many letters are removed from there on, and what is put there. The trace is ASCII.
pub type Edit = (usize, usize, String);

/// A document with one text, in some library.
pub trait Document: Sized {
    fn new() -> Result<Self, Failure>;

    /// Makes one change of these edits; what it added, as the library sends it to others.
    fn edit(&mut self, edits: &[Edit]) -> Result<Vec<u8>, Failure>;

    fn text(&self) -> Result<String, Failure>;

    /// All of it with its history, as the library keeps it in one file.
    fn saved(&mut self) -> Result<Vec<u8>, Failure>;
}

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

fn replay<D: Document>(options: &Options) -> Result<Value, Failure> {
    let trace: Value = serde_json::from_slice(&std::fs::read(&options.trace)?)?;
    let edits: Vec<Edit> = serde_json::from_value(trace["edits"].clone())?;
    std::fs::create_dir_all(&options.dir)?;
    let mut file = File::create(options.dir.join("text"))?;
    let mut document = D::new()?;
    file.write_all(&document.edit(&[])?)?;
    let began = Instant::now();
    for together in edits.chunks(options.together) {
        file.write_all(&document.edit(together)?)?;
        file.sync_data()?;
    }
    let seconds = began.elapsed().as_secs_f64();
    if Some(document.text()?.as_str()) != trace["text"].as_str() {
        return Err("the text is another one".into());
    }
    let appended = file.metadata()?.len();
    Ok(json!({"edits": edits.len(), "seconds": seconds, "appended": appended, "saved": document.saved()?.len()}))
}

/// The whole program of a peer.
pub fn run<D: Document>() -> ExitCode {
    let Program::Trace(options) = Cli::parse().program;
    match replay::<D>(&options) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
