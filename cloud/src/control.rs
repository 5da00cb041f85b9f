//! How the command line reaches a running peer: `control.sock` in its folder, for the folder's owner alone. One line of JSON each way.

use std::{
    io::{BufRead, BufReader, ErrorKind, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream as BlockingStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
};

use crate::{
    Failure, QuotaChange,
    peer::{Shared, stopped},
};

/// The system takes no longer path for a socket: 104 bytes with a zero on macOS, 108 on Linux.
const MAX_PATH: usize = 103;
const MAX_REQUEST: u64 = 64 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a command asks of a running peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// A new code.
    Link {
        /// Minutes that it is valid.
        minutes: u64,
    },
    /// A [`crate::StatusReport`].
    Status,
    /// A list of [`crate::IdentityReport`].
    Identities,
    /// Changes quotas; answers the identities that were meant.
    Quota {
        /// A DID, the first digits of an id, or `ALL`.
        whose: String,
        /// What to change.
        change: QuotaChange,
    },
}

/// The answer to [`Request::Link`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeReport {
    /// The code, to be shown to whoever is to link and to nobody else.
    pub code: String,
    /// Seconds since 1970.
    pub expires: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Ok(Value),
    Error(Failure),
}

fn socket(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Opens the socket of a folder whose lock this process holds: what a dead process left there is removed.
pub(crate) fn listen(data: &Path) -> Result<UnixListener, Failure> {
    let path = socket(data);
    let length = path.as_os_str().len();
    if length > MAX_PATH {
        return Err(Failure::new(
            "storage",
            format!(
                "{} has {length} bytes, a socket's path may have {MAX_PATH}: choose a folder with a shorter name, or a relative one",
                path.display()
            ),
        ));
    }
    forget(data);
    let cannot = |error: std::io::Error| Failure::new("storage", format!("cannot make {}: {error}", path.display()));
    let listener = UnixListener::bind(&path).map_err(cannot)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
    Ok(listener)
}

/// Removes the socket.
pub(crate) fn forget(data: &Path) {
    // If it is not there, all the better.
    let _ = std::fs::remove_file(socket(data));
}

/// Answers until told to stop.
pub(crate) async fn serve(listener: UnixListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(ANSWER_WITHIN, answer(stream, &shared)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the control socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
        }
    }
}

async fn answer(stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(MAX_REQUEST))
        .read_line(&mut line)
        .await?;
    let done = match serde_json::from_str(&line) {
        Ok(request) => carry_out(request, shared).await,
        Err(_) => Err(Failure::new(
            "update-needed",
            "the running server does not know this command: restart it with this version",
        )),
    };
    let answer = match done {
        Ok(value) => Answer::Ok(value),
        Err(failure) => Answer::Error(failure),
    };
    let mut text = serde_json::to_string(&answer).unwrap_or_default();
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

async fn carry_out(request: Request, shared: &Shared) -> Result<Value, Failure> {
    let value = match request {
        Request::Link { minutes } => {
            let ticket = shared.code(Duration::from_secs(minutes.saturating_mul(60)));
            serde_json::to_value(CodeReport {
                code: ticket.to_string(),
                expires: ticket.expires,
            })
        }
        Request::Status => serde_json::to_value(shared.status().await?),
        Request::Identities => serde_json::to_value(shared.identities().await?),
        Request::Quota { whose, change } => serde_json::to_value(shared.set_quota(whose, change).await?),
    };
    value.map_err(|_| Failure::internal("an answer is no JSON"))
}

/// Asks the peer that runs on a folder; `None` if none does.
pub fn ask(data: &Path, request: &Request) -> Result<Option<Value>, Failure> {
    let mut stream = match BlockingStream::connect(socket(data)) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput => Ok(None),
                ErrorKind::PermissionDenied => Err(Failure::new(
                    "locked",
                    format!("{} belongs to another user: run this as that user", data.display()),
                )),
                _ => Err(Failure::new(
                    "storage",
                    format!("the running server cannot be asked: {error}"),
                )),
            };
        }
    };
    let mut talk = || -> std::io::Result<String> {
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut text = serde_json::to_string(request)?;
        text.push('\n');
        stream.write_all(text.as_bytes())?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(line)
    };
    let line =
        talk().map_err(|error| Failure::new("network", format!("the running server does not answer: {error}")))?;
    match serde_json::from_str(&line) {
        Ok(Answer::Ok(value)) => Ok(Some(value)),
        Ok(Answer::Error(failure)) => Err(failure),
        Err(_) => Err(Failure::new(
            "network",
            "the running server stopped before it answered: try again",
        )),
    }
}
