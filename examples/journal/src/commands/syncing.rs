//! Syncing, and the truth about what is stored where.

use std::time::{Duration, Instant};

use rhizome::{PeerReport, PeerStatus, Pod, Status, SyncState, net::StopReason, store::AlarmKind, sync::ByeReason};
use serde_json::{Value as Json, json};

use super::devices::words_change_line;
use crate::{
    entry::COLLECTION,
    failure::Failure,
    output::{Output, bytes, count, one_line},
    when,
};

/// How often a live pod looks whether there is something to tell.
const LOOK: Duration = Duration::from_millis(500);

/// Syncs once.
pub async fn sync(pod: &Pod, output: &Output, deadline: u64, budget: Option<u64>) -> Result<(), Failure> {
    let began = Instant::now();
    let report = pod.sync_once(Duration::from_secs(deadline), budget).await?;
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let peers: Vec<Json> = report.peers.iter().map(peer_json).collect();
    output.result(
        &json!({"peers": peers, "state": state_json(&report.state), "millis": millis}),
        || {
            let mut lines: Vec<String> = report.peers.iter().map(peer_line).collect();
            lines.push(format!("{} ({millis} ms)", state_line(&report.state)));
            lines.join("\n")
        },
    );
    let failed = |peer: &PeerReport| peer.result.as_ref().err().map(ToString::to_string);
    match report.peers.iter().filter_map(failed).next_back() {
        None if report.peers.is_empty() => Err(Failure::new(
            "no-peer",
            "there is nobody to sync with: link a cloud peer or another device with `journal link`".to_owned(),
        )),
        Some(why) if report.peers.iter().all(|peer| peer.result.is_err()) => {
            let message = format!("no peer could be reached ({why}): everything is kept here, try again later");
            Err(Failure::new("unreachable", message))
        }
        _ => Ok(()),
    }
}

fn name_of(name: Option<&String>, key: &rhizome::crypto::PublicKey) -> String {
    name.map_or_else(|| key.short(), |name| one_line(name, 40))
}

fn peer_json(peer: &PeerReport) -> Json {
    let mut json = json!({"name": peer.name, "key": peer.key.to_string()});
    let more = match &peer.result {
        Ok(report) => json!({
            "outcome": outcome(report.reason), "sent": report.outcome.sent,
            "received": report.outcome.received, "left": report.outcome.left, "losses": report.outcome.losses,
            "round_trips": report.outcome.round_trips, "bytes_sent": report.bytes_sent,
            "bytes_received": report.bytes_received,
            "refused": report.outcome.refused.iter().map(|(reason, limit)| json!({"reason": reason.to_string(), "limit": limit})).collect::<Vec<_>>(),
        }),
        Err(error) => json!({"outcome": "failed", "why": error.to_string()}),
    };
    if let (Some(json), Json::Object(more)) = (json.as_object_mut(), more) {
        json.extend(more);
    }
    json
}

/// How a session ended, in a word.
fn outcome(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Done | StopReason::Remote(ByeReason::Done) => "done",
        StopReason::Deadline => "deadline",
        StopReason::Budget => "budget",
        StopReason::Stopped => "stopped",
        StopReason::Remote(_) => "ended-by-peer",
    }
}

fn peer_line(peer: &PeerReport) -> String {
    let name = name_of(peer.name.as_ref(), &peer.key);
    match &peer.result {
        Err(error) => format!("{name}: {error}"),
        Ok(report) => {
            let outcome = &report.outcome;
            let mut line = format!(
                "{name}: {} sent, {} received ({} out, {} in, {})",
                count(outcome.sent, "entry", "entries"),
                outcome.received,
                bytes(report.bytes_sent),
                bytes(report.bytes_received),
                count(outcome.round_trips, "round trip", "round trips"),
            );
            for (reason, _) in &outcome.refused {
                line.push_str(&format!("; refused: {reason}"));
            }
            if outcome.losses > 0 {
                line.push_str("; it had lost entries, which were sent again");
            }
            line
        }
    }
}

fn state_json(state: &SyncState) -> Json {
    match state {
        SyncState::UpToDate { at } => json!({"state": "up-to-date", "at": at}),
        SyncState::Syncing { done, total } => json!({"state": "syncing", "done": done, "total": total}),
        SyncState::Waiting { reason } => {
            json!({"state": "waiting", "reason": reason.kind(), "message": reason.to_string()})
        }
    }
}

fn state_line(state: &SyncState) -> String {
    match state {
        SyncState::UpToDate { at } => format!("up to date since {}", when::show_unsigned(*at)),
        SyncState::Syncing { done, total } => format!("syncing: {done} of {total}"),
        SyncState::Waiting { reason } => format!("waiting: {reason}"),
    }
}

/// Stays connected until Ctrl-C.
pub async fn live(pod: &Pod, output: &Output) -> Result<(), Failure> {
    let live = pod.go_live().await?;
    output.note("live: new entries pass both ways as they are written; Ctrl-C ends it");
    let mut told = None;
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let status = pod.status().await?;
        let now = (state_word(&status.sync), status.entries, status.only_here);
        if told.as_ref() != Some(&now) {
            output.result(&json!({"event": "status", "status": status_json(&status)}), || {
                let entries = count(status.entries, "entry", "entries");
                format!(
                    "{}; {entries}, {} only here",
                    state_line(&status.sync),
                    status.only_here
                )
            });
            told = Some(now);
        }
        tokio::select! {
            _ = &mut stop => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    live.stop().await;
    Ok(())
}

/// A state without its times and counts, which change all the while.
fn state_word(state: &SyncState) -> &'static str {
    match state {
        SyncState::UpToDate { .. } => "up-to-date",
        SyncState::Syncing { .. } => "syncing",
        SyncState::Waiting { reason } => reason.kind(),
    }
}

fn status_json(status: &Status) -> Json {
    let peer = |peer: &PeerStatus| {
        json!({
            "name": peer.name, "key": peer.key.to_string(), "cloud": peer.cloud, "this": peer.this, "ordered": peer.ordered,
            "reached": peer.reached,
        })
    };
    let alarms = status
        .alarms
        .iter()
        .map(|alarm| json!({"kind": alarm.kind.name(), "subject": alarm.subject.to_string(), "time": alarm.time}));
    json!({
        "sync": state_json(&status.sync), "entries": status.entries, "bytes": status.bytes, "only_here": status.only_here,
        "pending": status.pending, "waiting_for_key": status.waiting_for_key,
        "peers": status.peers.iter().map(peer).collect::<Vec<_>>(), "alarms": alarms.collect::<Vec<_>>(),
    })
}

/// What is stored where.
pub async fn status(pod: &Pod, output: &Output) -> Result<(), Failure> {
    let status = pod.status().await?;
    let documents = pod.count(COLLECTION).await?;
    let words_change_at = pod.members().await?.words_change_at;
    let mut json = status_json(&status);
    json["documents"] = documents.into();
    json["words_change_at"] = words_change_at.into();
    json["did"] = pod.did()?.into();
    output.result(&json, || {
        let mut lines = vec![
            format!(
                "{} in {} of the log, {}",
                count(documents, "journal entry", "journal entries"),
                count(status.entries, "entry", "entries"),
                bytes(status.bytes)
            ),
            state_line(&status.sync),
            match (status.only_here, status.entries) {
                (0, 0) => "nothing is written yet".to_owned(),
                (0, _) => "everything is held by a cloud peer".to_owned(),
                (some, _) => format!(
                    "{} held by no cloud peer",
                    count(some, "log entry is", "log entries are")
                ),
            },
        ];
        for peer in &status.peers {
            lines.push(format!("  {}", device_line(peer)));
        }
        if status.pending > 0 {
            let changes = count(status.pending as u64, "change waits", "changes wait");
            lines.push(format!(
                "{changes} for the one who orders the identity's changes: sync to finish"
            ));
        }
        if status.waiting_for_key > 0 {
            let entries = count(status.waiting_for_key, "entry waits", "entries wait");
            lines.push(format!("{entries} for a key that has not arrived: sync"));
        }
        lines.extend(words_change_at.map(words_change_line));
        for alarm in &status.alarms {
            let (when, about) = (when::show_unsigned(alarm.time), alarm.subject.short());
            lines.push(format!("! {when}  {} ({about})", what_happened(alarm.kind)));
        }
        lines.join("\n")
    });
    Ok(())
}

fn what_happened(alarm: AlarmKind) -> &'static str {
    match alarm {
        AlarmKind::Fork => "a device was copied or restored: both its histories are kept",
        AlarmKind::PeerLoss => "a peer lost what it had said it holds: it is sent again",
        AlarmKind::Equivocation => "whoever orders the identity's changes signed two different ones for one place",
        AlarmKind::HiddenCommits => "whoever orders the identity's changes keeps some from this device",
        AlarmKind::WrongErasure => "a device had something else erased than it said: what is here of that is kept",
    }
}

fn device_line(peer: &PeerStatus) -> String {
    let kind = match (peer.this, peer.cloud) {
        (true, _) => "this device",
        (false, true) => "cloud peer",
        (false, false) => "device",
    };
    let tentative = if peer.ordered { "" } else { ", not final yet" };
    format!(
        "{:<12} {} ({}){tentative}",
        kind,
        name_of(peer.name.as_ref(), &peer.key),
        peer.key.short()
    )
}

/// The identity.
pub fn did(pod: &Pod, output: &Output) -> Result<(), Failure> {
    let did = pod.did()?;
    let document = pod.did_document()?;
    output.result(&json!({"did": did, "document": document}), || {
        format!("{did}\n\n{document:#}")
    });
    Ok(())
}

/// Checks everything.
pub async fn verify(pod: &Pod, output: &Output) -> Result<(), Failure> {
    let entries = pod.verify().await?;
    output.result(&json!({"ok": true, "entries": entries}), || {
        format!(
            "{}: every chain and signature holds",
            count(entries, "entry", "entries")
        )
    });
    Ok(())
}
