//! Who is of the identity: the list of devices and cloud peers, other names, and removals.

use std::time::Duration;

use rhizome::{Member, Members, Pod, RemovedMember, crypto::PublicKey};
use serde_json::{Value as Json, json};

use crate::{
    failure::Failure,
    output::{Output, confirmed, count, one_line},
    when,
};

/// How long a removal may wait for the cloud peers.
const SYNC_FIRST: Duration = Duration::from_secs(10);

/// Lists them.
pub async fn list(pod: &Pod, output: &Output) -> Result<(), Failure> {
    let members = pod.members().await?;
    output.result(&members_json(&members), || {
        let mut lines: Vec<String> = members.members.iter().map(member_line).collect();
        if !members.removed.is_empty() {
            lines.push("removed:".to_owned());
            lines.extend(members.removed.iter().map(removed_line));
        }
        lines.extend(members.words_change_at.map(words_change_line));
        lines.join("\n")
    });
    Ok(())
}

/// Calls one something else.
pub async fn rename(pod: &Pod, output: &Output, whom: &str, name: &str) -> Result<(), Failure> {
    let member = find(&pod.members().await?, whom)?;
    let proposal = pod.rename(member.key, name).await?;
    let json = json!({"key": member.key.to_string(), "name": name, "proposal": proposal.to_string()});
    output.result(&json, || {
        format!("{} is now called {}", called(&member), one_line(name, 40))
    });
    Ok(())
}

/// Removes one.
pub async fn remove(pod: &Pod, output: &Output, whom: &str, yes: bool) -> Result<(), Failure> {
    let member = find(&pod.members().await?, whom)?;
    if member.this {
        let message = "this is the device itself: remove it on another one".to_owned();
        return Err(Failure::new("usage", message));
    }
    let keeps = if member.cloud {
        "It keeps the sealed entries that it stored, and could never read them."
    } else {
        "It keeps, and can read, what it had until now: nothing is erased there. What your devices write once they know of this, it cannot read; \
         what it writes no longer counts."
    };
    if !yes && !confirmed(&format!("This removes {}. {keeps}\nRemove it?", called(&member))) {
        let message = "nothing was removed: nobody confirmed it (scripts say --yes)".to_owned();
        return Err(Failure::new("not-confirmed", message));
    }
    let proposal = match member.cloud {
        true => pod.remove_peer(member.key).await?,
        false => {
            // What only a cloud peer has of it would not count. Who cannot be met now keeps nobody from removing it.
            if let Err(error) = pod.sync_once(SYNC_FIRST, None).await {
                output.note(&format!("not synced first: {error}"));
            }
            pod.remove_device(member.key).await?
        }
    };
    let json = json!({"key": member.key.to_string(), "name": member.name, "proposal": proposal.to_string()});
    output.result(&json, || {
        let known = "Your other devices know of it after the next `journal sync`.";
        format!("removed {}\n{keeps}\n{known}", called(&member))
    });
    Ok(())
}

/// The one with this name, or whose key begins so.
pub fn find(members: &Members, whom: &str) -> Result<Member, Failure> {
    let key = whom.trim().to_ascii_lowercase();
    let named = members
        .members
        .iter()
        .filter(|member| member.name.as_deref() == Some(whom));
    let mut found: Vec<&Member> = named.collect();
    if found.is_empty() && !key.is_empty() {
        let begins = |member: &&Member| member.key.to_string().starts_with(&key);
        found = members.members.iter().filter(begins).collect();
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let message = format!(
                "no device or cloud peer is called {whom:?} or has a key that begins so: `journal devices` lists them"
            );
            Err(Failure::new("no-device", message))
        }
        several => {
            let message = format!(
                "{} are called {whom:?} or have a key that begins so: give more of the key",
                several.len()
            );
            Err(Failure::new("ambiguous", message))
        }
    }
}

/// When other words count, and what to do if that is somebody else's doing.
pub fn words_change_line(at: u64) -> String {
    format!(
        "! other recovery words count from {} on. If none of your devices asked for that: journal take-back DEVICE, with the words you have",
        when::show_unsigned(at)
    )
}

fn called(member: &Member) -> String {
    let kind = if member.cloud { "cloud peer" } else { "device" };
    format!("the {kind} {}", name_and_key(member.name.as_ref(), &member.key))
}

fn name_and_key(name: Option<&String>, key: &PublicKey) -> String {
    match name {
        Some(name) => format!("{} ({})", one_line(name, 40), key.short()),
        None => key.short(),
    }
}

fn member_line(member: &Member) -> String {
    let kind = match (member.this, member.cloud) {
        (true, _) => "this device",
        (false, true) => "cloud peer",
        (false, false) => "device",
    };
    let orders = if member.orders { ", orders changes" } else { "" };
    format!(
        "{kind:<12} {}{orders}{}",
        name_and_key(member.name.as_ref(), &member.key),
        tentative(member.ordered)
    )
}

fn removed_line(removed: &RemovedMember) -> String {
    let kept = match removed.kept {
        0 => String::new(),
        kept => format!(
            ", {} kept and not shown",
            count(kept, "entry of it is", "entries of it are")
        ),
    };
    format!(
        "  {}{kept}{}",
        name_and_key(removed.name.as_ref(), &removed.key),
        tentative(removed.ordered)
    )
}

fn tentative(ordered: bool) -> &'static str {
    if ordered { "" } else { ", not final yet" }
}

fn members_json(members: &Members) -> Json {
    let member = |member: &Member| {
        json!({
            "name": member.name, "key": member.key.to_string(), "cloud": member.cloud, "this": member.this, "orders": member.orders,
            "ordered": member.ordered,
        })
    };
    let removed = |removed: &RemovedMember| json!({"name": removed.name, "key": removed.key.to_string(), "kept": removed.kept, "ordered": removed.ordered});
    json!({
        "devices": members.members.iter().map(member).collect::<Vec<_>>(),
        "removed": members.removed.iter().map(removed).collect::<Vec<_>>(),
        "words_change_at": members.words_change_at,
    })
}
