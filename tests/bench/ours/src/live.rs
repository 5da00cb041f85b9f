//! A cloud peer and phones that stay connected to it.

use std::path::PathBuf;

use clap::Args;
use rhizome::Pod;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use crate::{Failure, beside, meter, people};

#[derive(Args)]
pub struct Serving {
    /// The cloud peer's folder; made if there is none.
    #[arg(long)]
    dir: PathBuf,
    /// The port to listen on. 0: one that the system chooses.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[derive(Args)]
pub struct Phones {
    /// A folder for their pods.
    #[arg(long)]
    dir: PathBuf,
}

/// What the harness writes to a program that stays, line by line.
pub fn commands() -> Lines<BufReader<Stdin>> {
    BufReader::new(tokio::io::stdin()).lines()
}

/// Answers the harness.
pub fn say(value: &Value) {
    println!("{value}");
}

/// Answers `code` and `usage`, until the standard input ends.
pub async fn serve(serving: Serving) -> Result<Value, Failure> {
    let cloud = people::cloud(&serving.dir, serving.port).await?;
    say(&json!({"port": people::port(&cloud).await?}));
    let mut commands = commands();
    while let Some(command) = commands.next_line().await? {
        match command.as_str() {
            "code" => say(&json!({"code": cloud.code(people::LONG).to_string()})),
            "usage" => {
                let (resident, cpu) = (meter::resident(), meter::cpu());
                let status = cloud.status().await.map_err(|failure| failure.message)?;
                say(&json!({
                    "resident_kb": resident, "cpu": cpu, "connections": status.connections, "identities": status.identities,
                }));
            }
            other => return Err(format!("what is {other:?}?").into()),
        }
    }
    cloud.stop().await;
    Ok(json!({"peak_kb": meter::peak()}))
}

/// `link` and a code: a new phone, linked, with one entry. `live`: all of them connect, and stay.
pub async fn phones(phones: Phones) -> Result<Value, Failure> {
    let mut pods: Vec<Pod> = Vec::new();
    let mut live = Vec::new();
    let mut commands = commands();
    while let Some(command) = commands.next_line().await? {
        if let Some(code) = command.strip_prefix("link ") {
            let pod = people::create(&beside(&phones.dir, &pods.len().to_string()), "phone").await?;
            pod.link(code, people::yes()).await?;
            pod.append("journal", meter::events(pods.len() as u64, 1, 256)).await?;
            people::sync(&pod).await?;
            pods.push(pod);
        } else {
            for pod in &pods {
                live.push(pod.go_live().await?);
            }
        }
        say(&json!({"phones": pods.len(), "live": live.len()}));
    }
    for handle in live {
        handle.stop().await;
    }
    let stopping: Vec<_> = pods
        .iter()
        .cloned()
        .map(|pod| tokio::spawn(async move { pod.shutdown().await }))
        .collect();
    for stopped in stopping {
        stopped.await?;
    }
    Ok(json!({"phones": pods.len()}))
}
