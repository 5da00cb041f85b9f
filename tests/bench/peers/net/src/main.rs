//! Bare iroh on loopback: what a connection costs before anything of ours runs on it. Endpoints are made as ours are.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use iroh::{
    Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey, TransportAddr,
    endpoint::{Connection, QuicTransportConfig, RecvStream, SendStream, presets},
};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;

const ALPN: &[u8] = b"bench/1";
/// The most bytes that one message has.
const MOST: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Echoes what each connection says first, and keeps it, until the standard input ends.
    Serve,
    /// Connects, sends so many bytes, reads as many, and closes.
    Echo {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        key: EndpointId,
        #[arg(long, default_value_t = 2048)]
        bytes: usize,
    },
    /// For each line of the standard input one more endpoint that connects and stays, until it ends.
    Clients {
        #[arg(long)]
        port: u16,
        #[arg(long)]
        key: EndpointId,
    },
}

async fn endpoint() -> Result<Endpoint, Failure> {
    let transport = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(2u32.into())
        .max_concurrent_uni_streams(0u32.into())
        .build();
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::generate())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .transport_config(transport)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?;
    Ok(builder.bind().await?)
}

async fn connect(endpoint: &Endpoint, port: u16, key: EndpointId) -> Result<Connection, Failure> {
    let address = TransportAddr::Ip(SocketAddr::from(([127, 0, 0, 1], port)));
    Ok(endpoint.connect(EndpointAddr::from_parts(key, [address]), ALPN).await?)
}

/// Echoes one message, then holds the stream for as long as the connection lives.
async fn hold(incoming: iroh::endpoint::Incoming) -> Result<(), Failure> {
    let connection = incoming.accept()?.await?;
    let (mut send, mut recv): (SendStream, RecvStream) = connection.accept_bi().await?;
    let mut length = [0; 4];
    recv.read_exact(&mut length).await?;
    let mut message = vec![0; (u32::from_be_bytes(length) as usize).min(MOST)];
    recv.read_exact(&mut message).await?;
    send.write_all(&message).await?;
    drop(message);
    connection.closed().await;
    Ok(())
}

async fn say(connection: &Connection, bytes: usize) -> Result<(SendStream, RecvStream), Failure> {
    let (mut send, mut recv) = connection.open_bi().await?;
    let mut message = vec![7; bytes];
    send.write_all(&(bytes as u32).to_be_bytes()).await?;
    send.write_all(&message).await?;
    recv.read_exact(&mut message).await?;
    Ok((send, recv))
}

fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn cpu() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

async fn serve() -> Result<Value, Failure> {
    let endpoint = endpoint().await?;
    let port = endpoint.bound_sockets().first().ok_or("it listens nowhere")?.port();
    println!("{}", json!({"port": port, "key": endpoint.id().to_string()}));
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(hold(incoming));
        }
    });
    let mut commands = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while commands.next_line().await?.is_some() {
        println!("{}", json!({"resident_kb": status("VmRSS:"), "cpu": cpu()}));
    }
    endpoint.close().await;
    Ok(json!({"peak_kb": status("VmHWM:")}))
}

async fn echo(port: u16, key: EndpointId, bytes: usize) -> Result<Value, Failure> {
    let endpoint = endpoint().await?;
    let connection = connect(&endpoint, port, key).await?;
    let (mut send, _recv) = say(&connection, bytes).await?;
    send.finish()?;
    connection.close(0u32.into(), b"done");
    endpoint.close().await;
    Ok(json!({"peak_kb": status("VmHWM:"), "sent": bytes, "received": bytes}))
}

async fn clients(port: u16, key: EndpointId) -> Result<Value, Failure> {
    let mut held = Vec::new();
    let mut commands = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while commands.next_line().await?.is_some() {
        let endpoint = endpoint().await?;
        let connection = connect(&endpoint, port, key).await?;
        let stream = say(&connection, 1024).await?;
        held.push((endpoint, connection, stream));
        println!("{}", json!({"phones": held.len()}));
    }
    let count = held.len();
    for (endpoint, connection, _) in held {
        connection.close(0u32.into(), b"done");
        let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.close()).await;
    }
    Ok(json!({"phones": count}))
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().program {
        Program::Serve => serve().await,
        Program::Echo { port, key, bytes } => echo(port, key, bytes).await,
        Program::Clients { port, key } => clients(port, key).await,
    };
    match result {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("bench-net: {failure}");
            ExitCode::FAILURE
        }
    }
}
