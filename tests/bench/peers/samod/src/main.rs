//! The edits of the bench as Automerge documents, moved by samod (automerge-repo) over plain TCP: no encryption, no proof of who wrote.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use automerge::{Automerge, ObjType, ReadDoc, transaction::Transactable};
use clap::{Parser, Subcommand};
use samod::{BackoffConfig, DocumentId, Repo, storage::TokioFilesystemStorage, tokio_io::TcpDialer};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Makes a server's folder with documents, and `documents`, which names them.
    Make {
        #[arg(long)]
        dir: PathBuf,
        /// Edits of all documents together.
        #[arg(long, default_value_t = 100_000)]
        events: usize,
        /// Edits in one change.
        #[arg(long, default_value_t = 1)]
        per_change: usize,
        /// Documents that they are spread over.
        #[arg(long, default_value_t = 100)]
        documents: usize,
        /// Bytes of each edit.
        #[arg(long, default_value_t = 256)]
        size: usize,
    },
    /// Serves it until the standard input ends.
    Serve {
        #[arg(long)]
        dir: PathBuf,
    },
    /// A new device gets every document and has it on its disk.
    Catchup {
        /// The server's folder, for the names of the documents.
        #[arg(long)]
        from: PathBuf,
        /// A folder of its own.
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        port: u16,
        /// Edits of all documents together.
        #[arg(long, default_value_t = 100_000)]
        events: usize,
    },
}

const NAMES: &str = "documents";

async fn repo(dir: &Path) -> Repo {
    let storage = TokioFilesystemStorage::new(dir.join("store"));
    Repo::build_tokio().with_storage(storage).load().await
}

fn noise(state: &mut u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

async fn make(dir: &Path, events: usize, per_change: usize, documents: usize, size: usize) -> Result<Value, Failure> {
    std::fs::create_dir_all(dir)?;
    let repo = repo(dir).await;
    let (mut state, mut names) = (7, Vec::new());
    for _ in 0..documents {
        let mut document = Automerge::new();
        let notes = document
            .transact::<_, _, automerge::AutomergeError>(|tx| tx.put_object(automerge::ROOT, "notes", ObjType::List))
            .map_err(|failure| failure.error)?
            .result;
        let edits = events / documents;
        for first in (0..edits).step_by(per_change) {
            document
                .transact::<_, _, automerge::AutomergeError>(|tx| {
                    for place in first..(first + per_change).min(edits) {
                        tx.insert(&notes, place, noise(&mut state, size))?;
                    }
                    Ok(())
                })
                .map_err(|failure| failure.error)?;
        }
        names.push(repo.create(document).await?.document_id().to_string());
    }
    repo.stop().await;
    std::fs::write(dir.join(NAMES), names.join("\n"))?;
    Ok(json!({"documents": documents, "payload": events * size}))
}

async fn serve(dir: &Path) -> Result<Value, Failure> {
    let repo = repo(dir).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let acceptor = repo.make_acceptor(format!("tcp://127.0.0.1:{port}").parse()?)?;
    // A server that is up has its documents at hand, as ours has its files open.
    for name in std::fs::read_to_string(dir.join(NAMES))?.lines() {
        let name: DocumentId = name.parse().map_err(|_| "not a document's name")?;
        repo.find(name).await?.ok_or("the server lacks a document")?;
    }
    println!("{}", json!({"port": port}));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let _ = acceptor.accept_tokio_io(stream);
        }
    });
    let mut commands = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while commands.next_line().await?.is_some() {}
    Ok(json!({}))
}

fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Puts every file of a folder on the disk: samod writes them and leaves that to the system. The names come with them on the file systems
/// that we measure on.
fn sync_files(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += sync_files(&path)?;
        } else {
            let file = std::fs::File::open(&path)?;
            file.sync_all()?;
            bytes += file.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn edits(document: &Automerge) -> usize {
    match document.get(automerge::ROOT, "notes") {
        Ok(Some((_, notes))) => document.length(notes),
        _ => 0,
    }
}

async fn catch_up(from: &Path, dir: &Path, port: u16, events: usize) -> Result<Value, Failure> {
    let names = std::fs::read_to_string(from.join(NAMES))?;
    std::fs::create_dir_all(dir)?;
    let repo = repo(dir).await;
    let (baseline, began) = (peak(), Instant::now());
    let dialer = TcpDialer::new_host_port("127.0.0.1".to_owned(), port);
    let dialling = repo.dial(BackoffConfig::default(), Arc::new(dialer))?;
    dialling.established().await.map_err(|_| "the server does not answer")?;
    let mut finding = Vec::new();
    for name in names.lines() {
        let name: DocumentId = name.parse().map_err(|_| "not a document's name")?;
        finding.push(tokio::spawn(repo.find(name)));
    }
    let each = events / finding.len();
    for found in finding {
        let document = found.await??.ok_or("a document was not found")?;
        while document.with_document(|document| edits(document)) < each {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    repo.stop().await;
    let bytes = sync_files(&dir.join("store"))?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(json!({"seconds": seconds, "stored": bytes, "baseline_kb": baseline, "peak_kb": peak()}))
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().program {
        Program::Make {
            dir,
            events,
            per_change,
            documents,
            size,
        } => make(&dir, events, per_change, documents, size).await,
        Program::Serve { dir } => serve(&dir).await,
        Program::Catchup {
            from,
            dir,
            port,
            events,
        } => catch_up(&from, &dir, port, events).await,
    };
    match result {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench-samod: {failure}");
            ExitCode::FAILURE
        }
    }
}
