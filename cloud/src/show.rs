//! What a person or a script sees: lines of text, or lines of JSON.

use std::io::{IsTerminal, Write};

use rhizome::{CodeMatrix, Relay};
use serde_json::{Value, json};

use crate::{Event, IdentityReport, StatusReport, control::CodeReport};

/// Writes to standard output, as text or as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// One JSON object a line.
    pub json: bool,
}

impl Screen {
    fn line(self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Whoever read us may be gone; the peer goes on.
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// One of two: the JSON, or the text.
    pub fn show(self, json: &Value, text: &str) {
        if self.json {
            self.line(&json.to_string());
        } else {
            self.line(text);
        }
    }

    /// Every address that the peer uses, on its start.
    pub fn listening(self, status: &StatusReport, relay: &Relay, data: &str) {
        let json = json!({
            "event": "listening",
            "addresses": status.listening,
            "announced": status.announced,
            "address": status.address,
            "relay": status.relay,
            "identities": status.identities,
            "version": status.version,
        });
        let relay = match relay {
            Relay::None => {
                "none: phones elsewhere find this peer only by a name or address given with --announce".to_owned()
            }
            Relay::Own(url) => format!("{url}\n{:16}{}", "", relay_sees()),
            Relay::Public => format!(
                "the public relays of iroh's makers, n0 (now {})\n{:16}{}",
                status.relay.as_deref().unwrap_or("none answers"),
                "",
                relay_sees()
            ),
        };
        let sockets: Vec<String> = status
            .listening
            .iter()
            .map(|address| format!("{address} (UDP)"))
            .collect();
        let text = format!(
            "rhizome-cloud {}\n\
             data            {data}\n\
             listens on      {}\n\
             found at        {}\n\
             relay           {relay}\n\
             address         {}\n\
             {:16}keep it beside the recovery words: with both, everything comes back\n\
             It contacts nobody else, and only answers.",
            status.version,
            sockets.join(", "),
            status.announced.join(", "),
            status.address.as_deref().unwrap_or_default(),
            "",
        );
        self.show(&json, &text);
    }

    /// A code, as text and as a picture to scan. The one place where it is written.
    pub fn code(self, code: &CodeReport, minutes: u64, data: &str) {
        let json = json!({"event": "code", "code": code.code, "expires": code.expires});
        let text = format!(
            "{}\nScan this with the app, or paste:\n\n{}\n\n\
             It links one identity, within {minutes} minutes. For another: rhizome-cloud link --data {data}",
            CodeMatrix::of(&code.code)
                .map_or_else(String::new, |matrix| matrix.blocks(std::io::stdout().is_terminal())),
            code.code,
        );
        self.show(&json, &text);
    }

    /// What happened.
    pub fn event(self, event: &Event) {
        match event {
            Event::Number(number) => self.show(
                &json!({"event": "number", "number": number}),
                &format!("The app should show the number {number}. If it shows another one, say no there."),
            ),
            Event::Linked { identity } => self.show(
                &json!({"event": "linked", "identity": identity}),
                &format!("Linked to identity {identity}."),
            ),
            Event::Recovered { identity } => self.show(
                &json!({"event": "recovered", "identity": identity}),
                &format!("Somebody with the recovery words of identity {identity} got its log. If that was not its owner, the words are known to somebody else."),
            ),
            Event::NotLinked { why } => {
                self.show(
                    &json!({"event": "not-linked", "why": why}),
                    &format!("Not linked: {why}."),
                );
            }
        }
    }

    /// `status`.
    pub fn status(self, status: &StatusReport) {
        let json = serde_json::to_value(status).unwrap_or_default();
        let mut lines = vec![match status.uptime_seconds {
            Some(seconds) => format!("running for      {}", duration(seconds)),
            None => "not running".to_owned(),
        }];
        if status.running {
            lines.push(format!("listens on       {}", status.listening.join(", ")));
            lines.push(format!("found at         {}", status.announced.join(", ")));
            lines.push(format!(
                "relay            {}",
                status.relay.as_deref().unwrap_or("none")
            ));
            lines.push(format!(
                "address          {}",
                status.address.as_deref().unwrap_or_default()
            ));
            lines.push(format!("connections      {}", status.connections));
        }
        lines.push(format!("identities       {}", status.identities));
        lines.push(format!("entries          {}", status.entries));
        lines.push(format!("stored           {}", bytes(status.bytes)));
        lines.push(format!("  attachments    {}", bytes(status.attachment_bytes)));
        lines.push(format!("store            {}", status.store));
        self.show(&json, &lines.join("\n"));
    }

    /// `identities` and `quota`.
    pub fn identities(self, identities: &[IdentityReport]) {
        let json = serde_json::to_value(identities).unwrap_or_default();
        let text: Vec<String> = identities.iter().map(identity_text).collect();
        let text = if text.is_empty() {
            "no identity is linked".to_owned()
        } else {
            text.join("\n")
        };
        self.show(&json, &text);
    }
}

fn identity_text(identity: &IdentityReport) -> String {
    let mut lines = vec![
        identity.did.clone(),
        format!(
            "  id {}, {}, {}, {} of {} entries, {} of {}",
            identity.short,
            count(identity.devices, "device", "devices"),
            count(identity.peers, "cloud peer", "cloud peers"),
            identity.entries,
            identity
                .quota_entries
                .map_or("unlimited".to_owned(), |limit| limit.to_string()),
            bytes(identity.bytes),
            identity.quota_bytes.map_or("unlimited".to_owned(), bytes),
        ),
    ];
    if identity.attachments > 0 {
        let count = usize::try_from(identity.attachments).unwrap_or(usize::MAX);
        lines.push(format!(
            "  {} of {}",
            self::count(count, "attachment", "attachments"),
            bytes(identity.attachment_bytes)
        ));
    }
    for member in &identity.members {
        let kind = match (member.this, member.cloud) {
            (true, _) => "this peer",
            (false, true) => "cloud peer",
            (false, false) => "device",
        };
        lines.push(format!("  {kind:<11}{}", member.key));
    }
    lines.extend(identity.removed.iter().map(|key| format!("  removed    {key}")));
    if identity.erased_bytes > 0 {
        lines.push(format!("  erased     {}", bytes(identity.erased_bytes)));
    }
    let orderers: Vec<String> = identity.orderers.iter().map(|key| orderer(identity, key)).collect();
    lines.push(format!(
        "  ordered by {}, term {}, up to {}; {} for it",
        orderers.join(", "),
        identity.term,
        identity.head.as_deref().unwrap_or("nothing"),
        count(identity.pending, "operation waits", "operations wait"),
    ));
    lines.join("\n")
}

fn orderer(identity: &IdentityReport, key: &str) -> String {
    match identity.members.iter().find(|member| member.key == key) {
        Some(member) if member.this => "this peer".to_owned(),
        Some(_) => key.chars().take(8).collect(),
        // They order for as long as it takes to put something right.
        None => "the recovery words".to_owned(),
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// What somebody who runs a relay learns.
pub fn relay_sees() -> &'static str {
    "a relay sees the keys and network addresses of this peer and of phones that come through it, when and how much they send; never content"
}

/// Bytes for a person.
fn bytes(count: u64) -> String {
    let units = ["kB", "MB", "GB", "TB", "PB"];
    let mut size = count as f64;
    let mut unit = "bytes";
    for next in units {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    if unit == "bytes" {
        format!("{count} bytes")
    } else {
        format!("{size:.1} {unit}")
    }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
