//! What the tests share.

#![allow(dead_code)] // Each test uses a part of it.

pub mod replicas;

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rhizome::{Confirm, DeviceSecret, DocumentId, Keeper, Kept, NetOptions, Pod, PodOptions, SecretId, Value, path};

/// A keeper in memory that can be told to be locked, or to forget.
#[derive(Default)]
pub struct TestKeeper {
    secrets: Mutex<Vec<(SecretId, DeviceSecret)>>,
    pub locked: std::sync::atomic::AtomicBool,
}

impl TestKeeper {
    pub fn forget(&self) {
        self.secrets.lock().unwrap().clear();
    }

    /// The secret that was kept first.
    pub fn first(&self) -> DeviceSecret {
        self.secrets.lock().unwrap()[0].1.clone()
    }
}

impl Keeper for TestKeeper {
    fn load(&self, id: &SecretId) -> std::io::Result<Kept> {
        if self.locked.load(Ordering::Relaxed) {
            return Ok(Kept::Locked);
        }
        let secrets = self.secrets.lock().unwrap();
        Ok(secrets
            .iter()
            .find(|(known, _)| known == id)
            .map_or(Kept::Absent, |(_, s)| Kept::Found(s.clone())))
    }

    fn create(&self, id: &SecretId, secret: &DeviceSecret) -> std::io::Result<()> {
        self.secrets.lock().unwrap().push((*id, secret.clone()));
        Ok(())
    }
}

/// Options on loopback with a keeper of their own.
pub fn options() -> (PodOptions, Arc<TestKeeper>) {
    let keeper = Arc::new(TestKeeper::default());
    let mut options = PodOptions::new(keeper.clone());
    options.net = NetOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ..NetOptions::default()
    };
    (options, keeper)
}

pub async fn new_pod(dir: &Path) -> Pod {
    Pod::create(dir, options().0, "phone").await.unwrap().0
}

/// Says yes and remembers the number.
pub fn agree(seen: &Arc<Mutex<Vec<String>>>) -> Confirm {
    let seen = seen.clone();
    Arc::new(move |number| {
        seen.lock().unwrap().push(number);
        Box::pin(async { true })
    })
}

pub fn yes() -> Confirm {
    agree(&Arc::default())
}

static NEXT_DATE: AtomicU64 = AtomicU64::new(1);

/// Writes a journal entry with a date later than every one before.
pub async fn write(pod: &Pod, text: &str) -> DocumentId {
    let date = NEXT_DATE.fetch_add(1, Ordering::Relaxed) as i64;
    let text = text.to_owned();
    let written = pod
        .create_document("journal", move |edit| {
            edit.set(&path(["date"]), Value::Date(date))?;
            edit.set(&path(["title"]), Value::String(format!("entry {date}")))?;
            edit.set_text(&path(["text"]), &text)
        })
        .await
        .unwrap();
    assert!(written.entry.is_some());
    written.document
}

pub async fn text(pod: &Pod, document: DocumentId) -> Option<String> {
    match pod.get(document).await.unwrap()? {
        Value::Map(map) => match map.get("text") {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Links a second device to `pod`'s identity, over loopback.
pub async fn second_device(pod: &Pod, dir: &Path) -> (Pod, Arc<TestKeeper>) {
    let seen = Arc::default();
    let invite = pod
        .invite(std::time::Duration::from_secs(60), agree(&seen))
        .await
        .unwrap();
    let (options, keeper) = options();
    let code = invite.ticket.to_string();
    let joining = Pod::join(dir, options, "tablet", &code, agree(&seen));
    let (joined, invited) = tokio::join!(joining, invite.finished());
    let (joined, outcome) = (joined.unwrap(), invited.unwrap());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(
        seen.iter().all(|number| *number == outcome.number),
        "both screens show one number"
    );
    (joined, keeper)
}
