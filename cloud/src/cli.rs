//! The command line: `serve`, and what one asks of a server that may or may not run.

use std::{
    ffi::OsString,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, error::ErrorKind as UsageKind};
use rhizome::{NetOptions, Relay, net::ServiceLimits, store::Quota};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Data, Failure, Limit, Peer, PeerOptions, QuotaChange, StatusReport,
    control::{CodeReport, Request, ask},
    show::Screen,
};

/// Where it listens if not told otherwise: a port one can open in a firewall, the same after every start.
const LISTEN: [&str; 2] = ["0.0.0.0:4433", "[::]:4433"];
const CODE_MINUTES: u64 = 10;

/// A cloud peer for Rhizome: always on, stores what it cannot read.
#[derive(Debug, Parser)]
#[command(name = "rhizome-cloud", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the cloud peer until it is told to stop, and shows a code to link it
    Serve(Serve),
    /// Shows a new code to link the running cloud peer
    Link(Link),
    /// How the cloud peer is
    Status(Common),
    /// Whom the cloud peer stores for
    Identities(Common),
    /// Shows or changes what identities may use; at once, also while the server runs
    Quota(SetQuota),
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// The folder that holds everything: secret, lock, database
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// JSON, one object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    common: Common,
    /// A UDP address to listen on; may be repeated [default: 0.0.0.0:4433 and [::]:4433]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    listen: Vec<SocketAddr>,
    /// A host name or address by which phones reach this machine; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = announced)]
    announce: Vec<String>,
    /// A relay for phones that cannot reach this machine: none, public (those of iroh's makers), or the URL of your own. A relay sees
    /// keys, addresses, times and sizes, never content
    #[arg(long, value_name = "none|public|URL", default_value = "none", value_parser = relay)]
    relay: Relay,
    /// What devices call this peer
    #[arg(long, value_name = "NAME", default_value = "cloud", value_parser = name)]
    name: String,
    /// Shows a code even if somebody linked this peer already
    #[arg(long)]
    show_code: bool,
    /// The most bytes an identity that links from now on may store, such as 10GB
    #[arg(long, value_name = "BYTES", default_value = "none", value_parser = limit)]
    quota_bytes: Limit,
    /// The most entries an identity that links from now on may store
    #[arg(long, value_name = "N", default_value = "none", value_parser = limit)]
    quota_entries: Limit,
    /// The most connections at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    max_connections: usize,
    /// The most connections of one identity at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    per_identity: usize,
    /// The most new connections of one device in a minute
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    per_minute: u32,
}

#[derive(Debug, Args)]
struct Link {
    #[command(flatten)]
    common: Common,
    /// How long the code is valid
    #[arg(long, value_name = "N", default_value_t = CODE_MINUTES, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
}

#[derive(Debug, Args)]
struct SetQuota {
    #[command(flatten)]
    common: Common,
    /// Whose: a DID, the first 8 digits of an id, or ALL
    #[arg(long, value_name = "DID|ALL", default_value = "ALL")]
    identity: String,
    /// The most bytes, such as 10GB, or none
    #[arg(long, value_name = "N|none", value_parser = limit)]
    bytes: Option<Limit>,
    /// The most entries, or none
    #[arg(long, value_name = "N|none", value_parser = limit)]
    entries: Option<Limit>,
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address and a port, such as 0.0.0.0:4433 or [::]:4433".to_owned())
}

fn announced(text: &str) -> Result<String, String> {
    // An address costs at most 255 bytes in the identity log, its port included.
    let plain = !text.is_empty()
        && text.len() <= 249
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'));
    if plain {
        Ok(text.to_owned())
    } else {
        Err("write a host name or an IP address, with or without :PORT".to_owned())
    }
}

fn relay(text: &str) -> Result<Relay, String> {
    match text {
        "none" => Ok(Relay::None),
        "public" => Ok(Relay::Public),
        url if url.starts_with("https://") || url.starts_with("http://") => Ok(Relay::Own(url.to_owned())),
        _ => Err("write none, public, or a URL that begins with https://".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        Err("a name has 1 to 255 bytes and no control characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write a whole number, at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// `none`, or a number with or without a unit: k, M, G, T (thousands) or Ki, Mi, Gi, Ti (times 1024), with or without B.
fn limit(text: &str) -> Result<Limit, String> {
    let wrong = || "write none, or a whole number such as 5000, 10GB or 512MiB".to_owned();
    let text = text.trim().to_ascii_lowercase();
    if text == "none" {
        return Ok(Limit::Unlimited);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().trim_end_matches('b');
    let (base, letter) = match unit.strip_suffix('i') {
        Some(letter) => (1024u64, letter),
        None => (1000, unit),
    };
    let power = match letter {
        "" if base == 1000 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let value = number
        .checked_mul(base.pow(power))
        .filter(|value| i64::try_from(*value).is_ok());
    value.map(Limit::Of).ok_or_else(wrong)
}

/// Runs a command line. A failure is one line on standard error: exit code 2 for wrong arguments, 1 for everything else.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let json = args.iter().any(|arg| arg == "--json");
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), UsageKind::DisplayHelp | UsageKind::DisplayVersion) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&usage(&error), json);
            return ExitCode::from(2);
        }
    };
    let done = match cli.command {
        Command::Serve(serve) => run_server(serve),
        Command::Link(link) => show_code(&link),
        Command::Status(common) => show_status(&common),
        Command::Identities(common) => show_identities(&common),
        Command::Quota(quota) => set_quota(quota),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure, json);
            ExitCode::FAILURE
        }
    }
}

fn complain(failure: &Failure, json: bool) {
    if json {
        let line = json!({"event": "error", "kind": failure.kind, "message": failure.message});
        eprintln!("{line}");
    } else {
        eprintln!("error: {failure}");
    }
}

/// What clap says in a paragraph, in a line.
fn usage(error: &clap::Error) -> Failure {
    if error.kind() == UsageKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(
            "usage",
            "say what to do: `rhizome-cloud serve --data DIR` starts a cloud peer, `rhizome-cloud --help` tells the rest",
        );
    }
    let text = error.to_string();
    let what: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    Failure::new("usage", format!("{what}; see `rhizome-cloud --help`"))
}

fn read_answer<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|_| {
        Failure::new(
            "update-needed",
            "the running server is of another version: restart it with this one",
        )
    })
}

/// Asks the running server, or the folder itself if none runs.
fn ask_or_open<T: DeserializeOwned>(
    common: &Common,
    request: &Request,
    at_rest: impl FnOnce(&Data) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if let Some(value) = ask(&common.data, request)? {
        return read_answer(value);
    }
    let data = Data::open(&common.data, false)?;
    let result = at_rest(&data);
    data.close();
    result
}

fn show_code(link: &Link) -> Result<(), Failure> {
    let Common { data, json } = &link.common;
    let request = Request::Link { minutes: link.minutes };
    let Some(value) = ask(data, &request)? else {
        return Err(Failure::new(
            "not-running",
            format!(
                "no server runs on {0}: start it with `rhizome-cloud serve --data {0} --show-code`",
                data.display()
            ),
        ));
    };
    let code: CodeReport = read_answer(value)?;
    Screen { json: *json }.code(&code, link.minutes, &data.display().to_string());
    Ok(())
}

fn show_status(common: &Common) -> Result<(), Failure> {
    let status = ask_or_open(common, &Request::Status, StatusReport::at_rest)?;
    Screen { json: common.json }.status(&status);
    Ok(())
}

fn show_identities(common: &Common) -> Result<(), Failure> {
    let identities: Vec<crate::IdentityReport> = ask_or_open(common, &Request::Identities, Data::identities)?;
    Screen { json: common.json }.identities(&identities);
    Ok(())
}

fn set_quota(quota: SetQuota) -> Result<(), Failure> {
    let change = QuotaChange {
        bytes: quota.bytes,
        entries: quota.entries,
    };
    let request = Request::Quota {
        whose: quota.identity.clone(),
        change,
    };
    let identities: Vec<crate::IdentityReport> =
        ask_or_open(&quota.common, &request, |data| data.set_quota(&quota.identity, change))?;
    Screen {
        json: quota.common.json,
    }
    .identities(&identities);
    Ok(())
}

fn run_server(serve: Serve) -> Result<(), Failure> {
    start_logging(serve.common.json);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("internal", format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(serve_until_stopped(serve));
    // What still waits in a thread must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Logs to standard error: our own at `info`, of other libraries only warnings, unless `RUST_LOG` says otherwise.
fn start_logging(json: bool) {
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,rhizome=info,rhizome_cloud=info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error says that somebody in this process logs already.
    let _ = if json {
        log.json().try_init()
    } else {
        log.with_target(false).try_init()
    };
}

async fn serve_until_stopped(serve: Serve) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::new("internal", format!("cannot listen to signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let screen = Screen {
        json: serve.common.json,
    };
    let data = serve.common.data.clone();
    let shown = data.display().to_string();
    let options = PeerOptions {
        net: NetOptions {
            listen: addresses_to_bind(&serve.listen)?,
            relay: serve.relay.clone(),
            observer: None,
        },
        announce: serve.announce,
        name: serve.name,
        quota: Quota {
            bytes: serve.quota_bytes.value(),
            entries: serve.quota_entries.value(),
        },
        limits: ServiceLimits {
            connections: serve.max_connections,
            per_identity: serve.per_identity,
            per_minute: serve.per_minute,
            ..ServiceLimits::default()
        },
        on_event: Arc::new(move |event| screen.event(&event)),
        ..PeerOptions::new(data)
    };
    let peer = Peer::start(options).await?;
    let status = peer.status().await?;
    screen.listening(&status, &serve.relay, &shown);
    if status.identities == 0 || serve.show_code {
        let ticket = peer.code(Duration::from_secs(CODE_MINUTES * 60));
        let code = CodeReport {
            code: ticket.to_string(),
            expires: ticket.expires,
        };
        screen.code(&code, CODE_MINUTES, &shown);
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    peer.stop().await;
    screen.show(&json!({"event": "stopped"}), "Stopped.");
    Ok(())
}

/// The addresses to listen on. Whether each can be had is tried before, since the error then says which one and why.
fn addresses_to_bind(chosen: &[SocketAddr]) -> Result<Vec<SocketAddr>, Failure> {
    if !chosen.is_empty() {
        for address in chosen {
            UdpSocket::bind(address).map_err(|error| cannot_bind(*address, &error))?;
        }
        return Ok(chosen.to_vec());
    }
    let mut listen = Vec::new();
    for address in LISTEN {
        let address: SocketAddr = address.parse().expect("our own constant");
        match UdpSocket::bind(address) {
            Ok(_) => listen.push(address),
            // A machine without IPv6 is served by IPv4 alone.
            Err(error) if address.is_ipv6() && error.kind() != ErrorKind::AddrInUse => {}
            Err(error) => return Err(cannot_bind(address, &error)),
        }
    }
    Ok(listen)
}

fn cannot_bind(address: SocketAddr, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::AddrInUse => "another program uses this port: stop it, or choose another port with --listen",
        ErrorKind::AddrNotAvailable => "this machine does not have this address: choose another with --listen",
        ErrorKind::PermissionDenied => "the system does not allow this port: choose one above 1023 with --listen",
        _ => {
            return Failure::new(
                "network",
                format!("cannot listen on UDP {address}: {error}; choose another with --listen"),
            );
        }
    };
    Failure::new("network", format!("cannot listen on UDP {address}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, wanted) in [
            ("none", Limit::Unlimited),
            ("0", Limit::Of(0)),
            ("5000", Limit::Of(5000)),
            ("10GB", Limit::Of(10_000_000_000)),
            ("10 gb", Limit::Of(10_000_000_000)),
            ("512MiB", Limit::Of(512 << 20)),
            ("2k", Limit::Of(2000)),
            ("7b", Limit::Of(7)),
        ] {
            assert_eq!(limit(text), Ok(wanted), "{text}");
        }
        for text in ["", "-1", "GB", "1.5GB", "10 apples", "99999999TB", "i", "3i"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }
}
