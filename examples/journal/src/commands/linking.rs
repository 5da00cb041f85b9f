//! New identities, and devices and cloud peers that join one.

use std::{sync::Arc, time::Duration};

use rhizome::{Confirm, PeerAddress, Pod};
use serde_json::json;

use super::{dir, options, words};
use crate::{
    cli::{Cli, Join, Link},
    failure::Failure,
    output::{Output, confirmed, count},
};

/// How long a code is good that is shown here.
const CODE_GOOD_FOR: Duration = Duration::from_secs(600);

/// Makes a new identity.
pub async fn init(cli: &Cli, output: &Output, name: Option<&str>) -> Result<(), Failure> {
    let name = name.map_or_else(this_device, str::to_owned);
    let (pod, words) = Pod::create(dir(cli), options(cli, output)?, &name).await?;
    let did = pod.did()?;
    output.result(&json!({"did": did, "name": name, "words": *words}), || {
        format!("{did}\n\n{}", words::on_paper(&words))
    });
    words::quiz(output, &words);
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

/// Takes in what was written in another folder.
pub async fn take_in(pod: &Pod, output: &Output, other: &Pod) -> Result<(), Failure> {
    let taken = pod.take_in(other).await?;
    output.result(&json!({"entries": taken.documents, "events": taken.events}), || {
        let entries = count(taken.documents, "entry", "entries");
        format!("took in {entries}; the other folder is as it was")
    });
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
    let cloud = link.code.as_deref().filter(|_| !link.device);
    let address = cloud.and_then(PeerAddress::parse).map(|address| address.to_string());
    let json = json!({
        "event": "linked", "identity": pod.did()?, "operation": outcome.operation.to_string(), "number": outcome.number,
        "ordered": outcome.ordered, "address": address,
    });
    output.result(&json, || {
        let mut text = match outcome.ordered {
            true => "linked".to_owned(),
            false => "linked; works now, and becomes final at the next sync with the cloud peer".to_owned(),
        };
        if let Some(address) = &address {
            text.push_str(&format!(
                "\nKeep this beside the 24 words; with both, `journal recover` brings everything back:\n  {address}"
            ));
        }
        text
    });
    Ok(())
}

/// A name that a person's other devices can show: the host's.
pub fn this_device() -> String {
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
    confirmed(&format!(
        "This screen shows {first} {last}. Does the other one show the same?"
    ))
}
