//! The programs that `make bench` measures, ours. Each does one thing on folders that it is given, and says in one line of JSON on its
//! standard output what it did and how long that took. `tests/bench/run.py` starts them, beside those of the peers.

mod append;
mod calls;
mod catchup;
#[path = "../../shared/diary.rs"]
mod diary;
mod documents;
mod journal;
mod live;
mod meter;
mod people;
mod rotate;
mod trace;
mod verify;
mod wake;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use serde_json::Value;

/// Whatever went wrong: the run is over then, and the harness shows it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Appends events to a new pod, each batch durable before the next.
    Append(append::Options),
    /// Makes a writer with events, a cloud peer that holds them, and a linked phone that has none yet.
    MakeCatchup(catchup::Making),
    /// Serves a cloud peer's folder until the standard input ends.
    Cloud(live::Serving),
    /// A phone syncs once and must have so many entries then.
    Catchup(catchup::Options),
    /// Verifies and stores entries as a cloud peer does.
    Verify(verify::Options),
    /// Removes a device of an identity with entries.
    Rotate(rotate::Options),
    /// Makes a pod with documents.
    MakeDocuments(documents::Making),
    /// Opens a pod and lists the first documents by date.
    Open(documents::Opening),
    /// Makes a pod and calls it, again and again.
    Calls(calls::Options),
    /// Makes a journal, all of it durable and in its index.
    Import(journal::Importing),
    /// Reads entries of a journal by id, and by a range of dates.
    Query(journal::Asking),
    /// Opens a journal and searches it.
    Search(journal::Asking),
    /// Makes two devices with a journal and a cloud peer.
    MakeWatch(watch::Making),
    /// Watches a page of a journal while it is edited, here and on the other device.
    Watch(watch::Options),
    /// Replays the edits of a text through an open document.
    Trace(trace::Options),
    /// Makes three devices with documents and a cloud peer, all with everything.
    MakeIdle(documents::Idle),
    /// Syncs a pod once and counts the bytes.
    Sync(wake::Options),
    /// Writes one entry and syncs, for each line of the standard input.
    Writer(wake::Options),
    /// One background wake: opens, syncs once, closes.
    Wake(wake::Options),
    /// Phones, each an identity of its own, that link a cloud peer and stay connected to it.
    Phones(live::Phones),
}

async fn run(program: Program) -> Result<Value, Failure> {
    match program {
        Program::Append(options) => append::append(options).await,
        Program::MakeCatchup(making) => catchup::make(making).await,
        Program::Cloud(serving) => live::serve(serving).await,
        Program::Catchup(options) => catchup::catch_up(options).await,
        // Its calls wait for the disk, which a thread of the runtime may not.
        Program::Verify(options) => tokio::task::spawn_blocking(move || verify::verify(options)).await?,
        Program::Rotate(options) => tokio::task::spawn_blocking(move || rotate::rotate(options)).await?,
        Program::MakeDocuments(making) => documents::make(making).await,
        Program::Open(opening) => documents::open(opening).await,
        Program::Calls(options) => calls::call(options).await,
        Program::Import(importing) => journal::import(importing).await,
        Program::Query(asking) => journal::query(asking).await,
        Program::Search(asking) => journal::search(asking).await,
        Program::MakeWatch(making) => watch::make(making).await,
        Program::Watch(options) => watch::watch(options).await,
        Program::Trace(options) => trace::replay(options).await,
        Program::MakeIdle(idle) => documents::make_idle(idle).await,
        Program::Sync(options) => wake::sync(options).await,
        Program::Writer(options) => wake::write(options).await,
        Program::Wake(options) => wake::wake(options).await,
        Program::Phones(phones) => live::phones(phones).await,
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().program).await {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench-ours: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The folder `name` beside the others of a run.
fn beside(dir: &std::path::Path, name: &str) -> PathBuf {
    dir.join(name)
}
