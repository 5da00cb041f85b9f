//! New identities, and devices and cloud peers that join one.

use std::{
    io::{BufRead, IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use rhizome::{Confirm, Pod};
use serde_json::json;

use super::{dir, options};
use crate::{
    cli::{Cli, Join, Link},
    failure::Failure,
    output::Output,
};

/// How long a code is good that is shown here.
const CODE_GOOD_FOR: Duration = Duration::from_secs(600);

/// Makes a new identity.
pub async fn init(cli: &Cli, output: &Output, name: Option<&str>) -> Result<(), Failure> {
    let name = name.map_or_else(this_device, str::to_owned);
    let (pod, words) = Pod::create(dir(cli), options(cli, output)?, &name).await?;
    let did = pod.did()?;
    output.result(&json!({"did": did, "name": name, "words": *words}), || {
        let words: Vec<&str> = words.split(' ').collect();
        let rows: Vec<String> = words
            .chunks(6)
            .enumerate()
            .map(|(row, words)| {
                let cells = words.iter().enumerate();
                let cells: Vec<String> = cells
                    .map(|(column, word)| format!("{:>2} {word:<9}", row * 6 + column + 1))
                    .collect();
                format!("  {}", cells.join(" ").trim_end())
            })
            .collect();
        format!(
            "{did}\n\nWrite these 24 words on paper, now. They bring everything back when every device is lost.\nThey are shown this once \
             and kept nowhere; whoever has them has your journal.\n\n{}",
            rows.join("\n")
        )
    });
    pod.shutdown().await;
    Ok(())
}

/// Joins the identity of another device.
pub async fn join(cli: &Cli, output: &Output, join: &Join) -> Result<(), Failure> {
    let name = join.name.clone().unwrap_or_else(this_device);
    let options = options(cli, output)?;
    let confirm = confirm(join.yes);
    let pod = match &join.code {
        Some(code) => Pod::join(dir(cli), options, &name, code, confirm).await?,
        None => {
            output.note("On a device that has the journal: journal --pod DIR link CODE --device, with this code.");
            let show = |ticket: &rhizome::Ticket| output.code(&ticket.to_string(), ticket.expires);
            Pod::await_link(dir(cli), options, &name, CODE_GOOD_FOR, show, confirm).await?
        }
    };
    let did = pod.did()?;
    output.result(&json!({"event": "joined", "did": did, "name": name}), || {
        format!("joined {did}\n`journal sync` brings what is there")
    });
    pod.shutdown().await;
    Ok(())
}

/// Links a cloud peer or a new device.
pub async fn link(pod: &Pod, output: &Output, link: &Link) -> Result<(), Failure> {
    let confirm = confirm(link.yes);
    let outcome = match &link.code {
        Some(code) if link.device => pod.link_device(code, confirm).await?,
        Some(code) => pod.link(code, confirm).await?,
        None => {
            let invite = pod.invite(CODE_GOOD_FOR, confirm).await?;
            output.note("On the new device: journal --pod DIR join CODE, with this code. It is good for 10 minutes and one device.");
            output.code(&invite.ticket.to_string(), invite.ticket.expires);
            invite.finished().await?
        }
    };
    let json = json!({
        "event": "linked", "identity": pod.did()?, "operation": outcome.operation.to_string(), "number": outcome.number,
        "ordered": outcome.ordered,
    });
    output.result(&json, || match outcome.ordered {
        true => "linked".to_owned(),
        false => "linked; works now, and becomes final at the next sync with the cloud peer".to_owned(),
    });
    Ok(())
}

/// A name that a person's other devices can show: the host's.
fn this_device() -> String {
    let host = std::fs::read_to_string("/etc/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    host.map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "laptop".to_owned())
}

/// Asks whether the other screen shows the same number. Only `yes` is yes.
fn confirm(yes: bool) -> Confirm {
    Arc::new(move |number: String| {
        Box::pin(async move {
            if yes {
                return true;
            }
            let (tell, told) = tokio::sync::oneshot::channel();
            // A thread of its own: the link may end while nobody answers.
            std::thread::spawn(move || {
                let _ = tell.send(ask(&number));
            });
            told.await.unwrap_or(false)
        })
    })
}

fn ask(number: &str) -> bool {
    let (first, last) = number.split_at(number.len() / 2);
    let mut stderr = std::io::stderr();
    let _ = write!(
        stderr,
        "This screen shows {first} {last}. Does the other one show the same? [y/N] "
    );
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if !std::io::stdin().is_terminal() {
        let _ = writeln!(stderr);
    }
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
