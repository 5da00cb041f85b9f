//! No log line, no error and no `Debug` shows a secret: all that a run of pods logs at the finest level, iroh and all other libraries
//! included, is searched for every key, word and code, in bytes and in each way they could be spelled.

#![allow(clippy::unwrap_used)]

mod common;
mod leaks;
mod raw;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{text, write, yes};
use leaks::{add_device, add_ticket, add_words, device_secret};
use rhizome::{
    Error, FileKeeper, Kept, NetOptions, Pod, PodOptions, Ticket,
    crypto::{AgreementKey, OsRandom, Random, SealKey, Secret, SeededRandom, SigningKey},
    identity::{RecoverySecret, SealedPart},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

const MINUTE: Duration = Duration::from_secs(60);

/// Takes every event and span of every library at every level, with all fields as they would be written.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl LogLines {
    fn line(&self, metadata: &Metadata<'_>, fields: Fields) {
        let line = format!("{} {}{}\n", metadata.target(), metadata.name(), fields.0);
        self.0.lock().unwrap().extend_from_slice(line.as_bytes());
    }
}

impl Subscriber for LogLines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields(String::new());
        span.record(&mut fields);
        self.line(span.metadata(), fields);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields("span".to_owned());
        values.record(&mut fields);
        self.0.lock().unwrap().extend_from_slice(fields.0.as_bytes());
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.line(event.metadata(), fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn options(dir: &Path, name: &str) -> PodOptions {
    PodOptions {
        net: NetOptions {
            listen: vec![([127, 0, 0, 1], 0).into()],
            ..NetOptions::default()
        },
        ..PodOptions::new(Arc::new(FileKeeper::new(dir.join(format!("{name}.keys")))))
    }
}

/// The ways in which a line could spell the first half of `bytes`.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let half = &bytes[..bytes.len() / 2];
    let numbers: Vec<String> = half.iter().map(u8::to_string).collect();
    let hex_numbers: Vec<String> = half.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = data_encoding::BASE64.encode(half);
    vec![
        bytes.to_vec(),
        data_encoding::HEXLOWER.encode(half).into(),
        data_encoding::HEXUPPER.encode(half).into(),
        // The last letters hold bits of what comes after the half.
        data_encoding::BASE32_NOPAD.encode(half)[..half.len() * 8 / 5].into(),
        data_encoding::BASE32_NOPAD.encode(half)[..half.len() * 8 / 5]
            .to_ascii_lowercase()
            .into(),
        base64.as_bytes()[..half.len() * 4 / 3].to_vec(),
        numbers.join(", ").into(),
        hex_numbers.join(", ").into(),
        hex_numbers.join(":").into(),
        half.escape_ascii().to_string().into(),
    ]
}

/// Which of `secrets` any text in `lines` shows.
fn shown(lines: &[u8], secrets: &[(String, Vec<u8>)]) -> BTreeSet<String> {
    let mut by_start: HashMap<[u8; 2], Vec<(Vec<u8>, &String)>> = HashMap::new();
    for (name, bytes) in secrets {
        for needle in spellings(bytes) {
            by_start.entry([needle[0], needle[1]]).or_default().push((needle, name));
        }
    }
    let mut found = BTreeSet::new();
    for (place, start) in lines.windows(2).enumerate() {
        for (needle, name) in by_start.get(start).into_iter().flatten() {
            if lines[place..].starts_with(needle) {
                found.insert((*name).clone());
            }
        }
    }
    found
}

#[test]
fn no_log_line_and_no_error_shows_a_secret() {
    let lines = LogLines::default();
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let drawn: [u8; 20] = (&mut OsRandom as &mut dyn Random).bytes();
    let canary = format!("canary {}", data_encoding::BASE32_NOPAD.encode(&drawn));
    let mut secrets = Vec::new();
    let mut said: Vec<String> = Vec::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (home, words) = Pod::create(dir.join("home"), options(dir, "home"), "phone")
            .await
            .unwrap();
        let document = write(&home, &canary).await;
        let invite = home.invite(MINUTE, yes()).await.unwrap();
        let code = invite.ticket.to_string();
        let (guest, linked) = tokio::join!(
            Pod::join(dir.join("guest"), options(dir, "guest"), "watch", &code, yes()),
            invite.finished()
        );
        let guest = guest.unwrap();
        for peer in guest.sync_once(MINUTE, None).await.unwrap().peers {
            peer.result.unwrap();
        }
        assert_eq!(text(&guest, document).await.as_deref(), Some(&*canary));
        guest.suspend().await.unwrap();
        guest.resume().await.unwrap();
        let status = home.status().await.unwrap();
        home.verify().await.unwrap();
        // What goes wrong is told without what it was about.
        let mut broken = code.clone();
        broken.replace_range(broken.len() - 9..broken.len() - 8, "7");
        let errors: [Error; 5] = [
            Pod::join(dir.join("none"), options(dir, "none"), "none", &code, yes())
                .await
                .unwrap_err(),
            Pod::join(dir.join("none"), options(dir, "none"), "none", &words, yes())
                .await
                .unwrap_err(),
            home.link(&broken, yes()).await.unwrap_err(),
            home.link_device(&code, yes()).await.unwrap_err(),
            Pod::create(dir.join("home"), options(dir, "home"), "phone")
                .await
                .unwrap_err(),
        ];
        for error in &errors {
            said.push(format!("{error} {error:?}"));
        }
        let secret = device_secret(dir, "home");
        let keys = secret.keys();
        said.push(format!("{home:?} {:?} {linked:?} {status:?}", options(dir, "home")));
        said.push(format!("{secret:?} {keys:?} {:?} {:?}", keys.signing, keys.agreement));
        said.push(format!(
            "{:?} {:?} {:?}",
            keys.endpoint,
            keys.views,
            Kept::Found(secret)
        ));
        said.push(format!("{:?}", Ticket::parse(&code).unwrap()));
        said.push(format!("{:?}", RecoverySecret::from_words(&words).unwrap()));
        home.shutdown().await;
        guest.shutdown().await;
        add_ticket(&mut secrets, "ticket", &code);
        add_words(&mut secrets, &words);
    });
    // Opening the files again logs too.
    add_device(&mut secrets, dir, "home");
    add_device(&mut secrets, dir, "guest");
    secrets.push(("canary".to_owned(), canary.into_bytes()));
    let mut lines = lines.0.lock().unwrap().clone();
    assert!(lines.len() > 50_000, "log lines were seen");
    lines.extend_from_slice(said.join("\n").as_bytes());
    println!(
        "{} secrets searched for in {} bytes of log lines and errors",
        secrets.len(),
        lines.len()
    );
    assert_eq!(shown(&lines, &secrets), BTreeSet::new());

    // The search finds each spelling of each.
    for (name, bytes) in &secrets {
        for spelling in spellings(bytes) {
            let line = [b"a line ".as_slice(), &spelling, b" ends"].concat();
            assert!(shown(&line, &secrets).contains(name), "{name} is not found");
        }
    }
}

#[test]
fn no_debug_shows_what_it_holds() {
    let seed = [0xab; 32];
    let mut random = SeededRandom::new(1);
    let part = SealedPart {
        documents: Vec::new(),
        name: Some("canary".to_owned()),
        streams: Vec::new(),
        previous: vec![(rhizome::crypto::Hash([1; 32]), seed.into())],
    };
    let shown = [
        format!("{:?}", SigningKey::from_seed(&seed)),
        format!("{:?}", AgreementKey::from_scalar(seed)),
        format!("{:?}", SealKey::derive("test", &seed)),
        format!("{:?}", Secret::from(seed)),
        format!("{part:?}"),
        format!("{:?}", RecoverySecret::make(&mut random)),
    ];
    for text in shown {
        assert!(
            !text.contains("abab") && !text.contains("171") && !text.contains("canary"),
            "{text}"
        );
        assert!(text.len() < 80, "{text}");
    }
}
